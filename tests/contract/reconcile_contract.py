"""Reconciling makes store and catalogue agree again, whichever was lost, on every store and database.

A test module imports these tests and provides the fixture ``services``.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from sqlalchemy import delete, insert, select, update

from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.notes import note_key
from teleread.pipeline.prepare import prepare
from teleread.pipeline.reconcile import Finding, reconcile
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_all
from teleread.storage.catalogue import schema
from teleread.storage.objects.raw import raw_key
from tests.contract.integrity import (
    TABLES,
    arrive,
    ct,
    files,
    keys,
    kill_at_every_step,
    later,
    mend,
    rewrite,
    state,
    through,
)

# reconcile


def test_what_agrees_is_left_alone(services: Services) -> None:
    through(services, files(1))
    through(services, ct(), priority="urgent")
    mend(services)
    before = state(services)
    report, findings = mend(services)
    assert (report.left, findings) == (0, [])
    assert (report.arrivals, report.notes) == (2, 2)
    assert state(services) == before


def test_an_emptied_catalogue_catches_up_from_the_store(services: Services) -> None:
    landed = [through(services, files(seed), priority=p) for seed, p in ((1, "routine"), (2, "high"))]
    landed += [through(services, ct()), through(services, files(1), site="other")]
    arrive(services, files(1), priority="urgent")
    enqueue(services, landed[0].arrival_id)
    before = state(services)
    with services.catalogue.write() as conn:
        for table in reversed(schema.metadata.sorted_tables):
            if table.name in {name.name for name in TABLES} | {"recordings", "instances", "series"}:
                conn.execute(delete(table))
    report, findings = mend(services)
    assert {finding.code for finding in findings} == {"arrival_missing"}
    assert (report.left, len(findings)) == (0, 4)
    later(services, 0.1)
    while sweep_all(services)["prepared"]:
        pass
    assert state(services) == before


def test_a_priority_raised_after_the_backup_is_raised_again(services: Services) -> None:
    landed = through(services, files(1))
    arrive(services, files(1), priority="urgent")
    with services.catalogue.write() as conn:
        conn.execute(update(schema.arrivals).values(clinic_priority="routine"))
        conn.execute(update(schema.work_items).values(priority="routine", rank=2))
    _, findings = mend(services)
    assert findings == [Finding("priority_behind", landed.arrival_id, mended=True)]
    with services.catalogue.read() as conn:
        assert conn.scalar(select(schema.work_items.c.priority)) == "urgent"


def test_a_lost_derived_object_is_made_again_and_the_case_keeps_its_place(services: Services) -> None:
    through(services, ct())
    through(services, files(1))
    before = state(services)
    lost = [key for key in keys(services, "derived/") if key.endswith(("thumbnail.png", "wave.i16"))]
    assert len(lost) == 2
    services.store.delete(lost[0])
    rewrite(services.store, lost[1], services.store.blobs.get(lost[1])[:-7])
    assert reconcile(services, repair=False).found["derived_missing"] == 2
    assert reconcile(services, repair=False).left == 2
    report, _ = mend(services)
    assert report.left == 0
    later(services, 0.1)
    sweep_all(services)
    after = state(services)
    after.pop("swept_objects")
    before.pop("swept_objects")
    assert after == before


def test_a_lost_raw_object_is_named_and_quarantined_and_taken_back(services: Services) -> None:
    landed, waiting = through(services, files(1)), arrive(services, files(2))
    before = state(services)
    gone = {key: services.store.blobs.get(key) for key in (raw_key(landed.sha256), raw_key(waiting.sha256))}
    for key in gone:
        services.store.delete(key)
    for _ in range(2):
        report, findings = mend(services)
        assert {(finding.code, finding.thing) for finding in findings} == {("object_missing", key) for key in gone}
        assert report.left == 2
    with services.catalogue.read() as conn:
        assert conn.scalars(select(schema.quarantine.c.code)).all() == ["object_missing"] * 2
        states = {row.id: row.state for row in conn.execute(select(schema.arrivals))}
    assert states == {landed.arrival_id: "prepared", waiting.arrival_id: "quarantined"}
    for key, sealed in gone.items():
        rewrite(services.store, key, sealed)
    report, findings = mend(services)
    assert (report.left, {finding.code for finding in findings}) == (0, {"object_back"})
    after = state(services)
    after.pop("quarantine")
    before.pop("quarantine")
    assert after == before


def test_rows_about_objects_are_mended_from_the_objects(services: Services) -> None:
    landed = through(services, files(1))
    mend(services)
    before = state(services)
    with services.catalogue.write() as conn:
        conn.execute(update(schema.objects).values(root_sha256=None, intake_key="00" * 8))
        raw = schema.objects.c.key == raw_key(landed.sha256)
        conn.execute(update(schema.objects).where(raw).values(size_bytes=1))
    report, findings = mend(services)
    assert {finding.code for finding in findings} == {"object_row"}
    assert report.left == 0
    assert mend(services)[0].found.total() == 0
    assert state(services) == before


def test_arrivals_of_before_there_were_notes_get_theirs(services: Services) -> None:
    landed = arrive(services, files(1))
    key = note_key(landed.arrival_id, "routine")
    sealed = services.store.get(key)
    services.store.delete(key)
    _, findings = mend(services)
    assert findings == [Finding("note_missing", landed.arrival_id, mended=True)]
    assert services.store.get(key) == sealed


def test_a_reconcile_killed_at_any_step_reaches_the_same_state(services: Services) -> None:
    good, priority = through(services, files(1)), arrive(services, files(1), priority="high")
    second = arrive(services, files(2))
    lost = arrive(services, files(3))
    assert good.arrival_id == priority.arrival_id
    mend(services)

    def damage() -> None:
        later(services, 0.1)
        with services.catalogue.write() as conn:
            conn.execute(update(schema.arrivals).values(clinic_priority="routine"))
            conn.execute(delete(schema.quarantine))
            conn.execute(delete(schema.arrivals).where(schema.arrivals.c.id == second.arrival_id))
            conn.execute(update(schema.objects).values(intake_key=None))
        for key in [key for key in keys(services, "derived/") if key.endswith("wave.i16")]:
            services.store.delete(key)
        services.store.delete(raw_key(lost.sha256))
        services.store.delete(note_key(good.arrival_id, "routine"))

    def act(step: Callable[[str], None]) -> None:
        report, _ = mend(services, step=step)
        assert report.left == 1
        prepare(services, good.arrival_id)

    states, steps = kill_at_every_step(services, damage, act)
    assert steps >= 8
    for one in states:
        one.pop("swept_objects")
        assert one == states[0]


def test_the_merge_pairs_rows_and_objects_whatever_the_order_of_the_database(services: Services) -> None:
    from teleread.pipeline.pairs import pairs, stored_versions

    chance = random.Random(3)
    names = [f"derived/{version}/{chance.getrandbits(128):032x}/" for version in ("1", "10", "2", "2-b") for _ in "123"]
    stored, rows = set[str](), set[str]()
    landed = arrive(services, files(1))
    rows.add(raw_key(landed.sha256))
    stored |= set(keys(services))
    with services.catalogue.write() as conn:
        for group in names:
            for name in ("a-x.json", "b.json", "ab.json"):
                key = group + name
                values = {"key": key, "sha256": "0" * 64, "size_bytes": 1, "created_at": services.clock()}
                if chance.random() < 0.7:
                    conn.execute(insert(schema.objects).values(**values))
                    rows.add(key)
                    version = group.split("/")[1]
                    made = {"input_sha256": "0" * 64, "parameters": {}, "object_key": key}
                    more = {"arrival_id": landed.arrival_id, "name": f"{key[-40:-8]}"[:32], "code_version": version}
                    known = select(schema.derived).where(schema.derived.c.code_version == version)
                    if conn.execute(known).first() is None:
                        conn.execute(insert(schema.derived).values(**made, **more))
    for group in names:
        for name in ("a-x.json", "b.json", "ab.json"):
            if chance.random() < 0.7:
                stored.add(services.store.put(group + name, b"x").key)
    assert stored_versions(services.store) == {"1", "10", "2", "2-b"}
    found = list(pairs(services.catalogue, services.store))
    assert {key for pair in found for key in pair.stored} == stored
    assert {key for pair in found for key in pair.rows} == rows
    assert [pair.group for pair in found] == sorted({pair.group for pair in found})
    for pair in found[::3]:
        rest = list(pairs(services.catalogue, services.store, after=max([*pair.stored, *pair.rows])))
        assert [one.group for one in rest] == [one.group for one in found if one.group > pair.group]

"""Landing and sweeping keep store and catalogue true to each other, on every store and database.

A test module imports these tests and provides the fixture ``services``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from teleread.errors import StorageError
from teleread.pipeline.notes import Note, note_key, notes_prefix, read_note, write_note
from teleread.pipeline.orphans import SweepReport, sweep_orphans
from teleread.pipeline.prepare import prepare
from teleread.pipeline.reconcile import reconcile
from teleread.pipeline.scrub import Fault
from teleread.pipeline.services import Services
from teleread.storage.catalogue import schema, sweeping
from teleread.storage.objects.raw import put_raw, raw_key
from tests.contract.integrity import (
    arrive,
    ct,
    files,
    flip,
    keys,
    kill_at_every_step,
    later,
    mend,
    read_all,
    rewrite,
    state,
    through,
)


def walk(services: Services, **more: Any) -> SweepReport:
    """Whole walks of the sweeper until one changes nothing; the sum of what they did."""
    removed = adopted = finished = 0
    for _ in range(200):
        report = sweep_orphans(services, **more)
        removed, adopted, finished = removed + report.removed, adopted + report.adopted, finished + report.finished
        if report.ended:
            return SweepReport(removed=removed, adopted=adopted, finished=finished, ended=True)
    raise AssertionError("the walk does not come to an end")


# notes


def test_landing_keeps_a_note_with_what_the_row_says(services: Services) -> None:
    landed = arrive(services, files(1))
    note = read_note(services.store, note_key(landed.arrival_id, "routine"))
    with services.catalogue.read() as conn:
        row = conn.execute(select(schema.arrivals)).one()
        held = conn.execute(select(schema.objects)).one()
    assert (note.site_id, note.sha256, note.size_bytes) == (row.site_id, row.sha256, row.size_bytes)
    assert (note.source, note.kind, note.clinic_priority) == (row.source, row.kind, row.clinic_priority)
    assert note.arrived_at == row.arrived_at
    assert (held.root_sha256, len(held.intake_key)) == (landed.sha256, 16)


def test_a_raised_priority_is_another_note(services: Services) -> None:
    for priority in ("routine", "urgent", "high"):
        landed = arrive(services, files(1), priority=priority)
    found = {key.rpartition("/")[2] for key in keys(services, notes_prefix(landed.arrival_id))}
    assert found == {"routine", "urgent", "high"}
    assert reconcile(services, repair=False).left == 0


def test_a_note_that_cannot_be_read_holds_nothing_up(services: Services) -> None:
    landed = arrive(services, files(1))
    flip(services.store, note_key(landed.arrival_id, "routine"), 8 * 140)
    assert arrive(services, files(1)).receipt == landed.receipt


def test_rotten_bytes_that_come_again_take_the_place_of_the_rotten_ones(services: Services) -> None:
    landed = through(services, files(1))
    before = state(services)
    key = raw_key(landed.sha256)
    flip(services.store, key, 8 * 200)
    assert mend(services)[0].left == 0  # the size is right: only the scrub can know
    assert read_all(services)[1] == {Fault(key, "object_corrupt")}
    assert arrive(services, files(1)).receipt == landed.receipt
    assert read_all(services)[1] == set()
    after = state(services)
    told = {repr((key, True))}  # so that backups take it anew, and writers that saw the old one begin again
    assert set(after.pop("swept_objects")) - set(before.pop("swept_objects")) == told
    assert after == before


def test_bytes_stored_plain_before_sealing_are_sealed_when_they_come_again(services: Services) -> None:
    landed = through(services, files(1))
    before = state(services)
    before.pop("swept_objects")
    for key in keys(services, ""):
        if not key.startswith("arrivals/"):
            rewrite(services.store, key, services.store.get(key))
    with pytest.raises(StorageError) as failed:
        services.store.get(raw_key(landed.sha256))
    assert failed.value.code == "object_corrupt"
    assert arrive(services, files(1)).receipt == landed.receipt
    assert mend(services)[0].left == 0
    prepare(services, landed.arrival_id)
    after = state(services)
    after.pop("swept_objects")
    assert after == before


def test_landing_tries_again_when_the_sweeper_took_its_bytes(services: Services) -> None:
    data = b"lay there, unnamed"
    key = put_raw(services.store, data).key
    real_put = services.store.put
    swept: list[str] = []

    def put(name: str, *more: Any, **named: Any) -> Any:
        if not swept:
            later(services)
            with sweeping.sole_remover(services.catalogue):
                swept.append(key)
                assert sweeping.remove(services.catalogue, services.store, [key], services.clock()) == 1
        return real_put(name, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.store, "put", put)
        landed = arrive(services, {"a": data})
    assert swept
    assert services.store.get(raw_key(landed.sha256)) == data
    assert reconcile(services, repair=False).left == 0


# the sweeper


def test_bytes_whose_remover_died_can_be_landed(services: Services) -> None:
    data = next(iter(files(1).values()))
    stored = services.store.put_raw(data)
    with services.catalogue.write() as conn:
        sweeping.condemn(conn, [stored.key], services.clock())
    landed = arrive(services, {"a": data})
    assert landed.new
    assert services.store.get(raw_key(landed.sha256)) == data


def test_what_the_sweeper_removed_stands_in_the_audit(services: Services) -> None:
    keys_put = [services.store.put(f"derived/1/{'0' * 32}/{name}", b"1234").key for name in "ab"]
    later(services)
    assert walk(services).removed == len(keys_put)
    with services.catalogue.read() as conn:
        told = select(schema.audit_events.c.detail).where(schema.audit_events.c.action == "sweep_orphans")
        assert conn.scalars(told).all() == [{"objects": 2, "bytes": 8}]


def test_only_orphans_are_removed_and_only_old_ones(services: Services) -> None:
    through(services, files(1))
    through(services, ct())
    before = state(services)
    orphans = [put_raw(services.store, b"orphan").key, services.store.put("derived/1/" + "0" * 32 + "/x", b"y").key]
    services.store.put("certificates/one", b"of another part")
    assert walk(services).removed == 0
    later(services, 0.9)
    assert walk(services).removed == 0
    later(services)
    assert walk(services).removed == len(orphans)
    services.store.delete("certificates/one")
    after = state(services)
    assert len(after.pop("swept_objects")) == 2
    assert after == {name: value for name, value in before.items() if name != "swept_objects"}


def test_a_landing_that_was_cut_short_behind_its_note_is_an_arrival(services: Services) -> None:
    stored = put_raw(services.store, b"noted")
    at = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
    note = Note("village", stored.sha256, stored.size_bytes, "web", "unknown", "urgent", at)
    write_note(services.store, note)
    later(services)
    report = walk(services)
    assert (report.adopted, report.removed) == (1, 0)
    with services.catalogue.read() as conn:
        row = conn.execute(select(schema.arrivals)).one()
    assert (row.id, row.clinic_priority, row.arrived_at, row.state) == (note.arrival_id, "urgent", at, "landed")


def test_no_raw_object_is_removed_while_a_note_cannot_be_read(services: Services) -> None:
    orphan = put_raw(services.store, b"perhaps the note's").key
    stored = put_raw(services.store, b"noted")
    note = Note("gone-site", stored.sha256, stored.size_bytes, "web", "unknown", "high", datetime.now(UTC))
    write_note(services.store, note)
    sealed = services.store.blobs.get(note.key)
    flip(services.store, note.key, 8 * 140)
    later(services)
    assert walk(services).removed == 0
    rewrite(services.store, note.key, sealed)
    later(services)
    report = walk(services)
    assert (report.adopted, report.removed) == (1, 1)
    assert not services.store.exists(orphan)


def test_the_walk_goes_on_from_where_it_stands(services: Services) -> None:
    through(services, files(1))
    for i in range(7):
        put_raw(services.store, b"orphan %d" % i)
    later(services)
    slices = []
    while not (report := sweep_orphans(services, limit=3)).ended:
        slices.append(report)
    assert all(one.looked_at == 3 for one in slices)
    assert sum(one.removed for one in (*slices, report)) == 7


def test_a_sweeper_killed_at_any_step_is_finished_by_the_next(services: Services) -> None:
    arrive(services, files(1))

    def litter() -> None:
        for i in range(3):
            put_raw(services.store, b"orphan %d" % i)
        services.store.put("derived/1/" + "0" * 32 + "/x", b"y")
        later(services)

    def sweep(step: Callable[[str], None]) -> None:
        walk(services, step=step)

    states, steps = kill_at_every_step(services, litter, sweep)
    assert steps >= 8
    for one in states:
        assert all("True" in row for row in one.pop("swept_objects"))
        assert one == states[0]
    assert len(states[0]["stored"]) == 4 - 2  # the arrival's bytes and its note


def test_one_sweeper_at_a_time(services: Services) -> None:
    with sweeping.sole_remover(services.catalogue):
        assert sweep_orphans(services).busy

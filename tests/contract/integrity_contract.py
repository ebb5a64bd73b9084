"""Store and catalogue stay true to each other, on every store and database.

A test module imports these tests and provides the fixture ``services``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from sqlalchemy import delete, insert, select, update

from teleread.errors import StorageError
from teleread.ingest.formats import write_wfdb
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import Landed, land
from teleread.pipeline.notes import Note, note_key, notes_prefix, read_note, write_note
from teleread.pipeline.orphans import SweepReport, sweep_orphans
from teleread.pipeline.prepare import prepare
from teleread.pipeline.reconcile import Finding, Report, reconcile
from teleread.pipeline.scrub import Fault, ScrubReport, scrub, scrub_slice, scrub_state
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_all
from teleread.signal.ecg import simulate
from teleread.storage.catalogue import schema, sweeping
from teleread.storage.objects.protocol import ObjectStore
from teleread.storage.objects.raw import put_raw, raw_key
from tests.conftest import Clock

TABLES = {
    schema.arrivals: ("attempts", "prepared_at", "sent_by"),  # who sent it stands in no note
    schema.objects: ("created_at",),
    schema.derived: ("made_at",),
    schema.studies: ("created_at",),
    schema.work_items: ("created_at",),
    schema.quarantine: ("quarantined_at",),
    schema.swept_objects: ("id", "condemned_at"),
}


class Killed(Exception):
    """Stands for the end of the process: nothing behind it runs."""


class Fuse:
    """Ends the process at its nth step."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, _name: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def files(seed: int) -> dict[str, bytes]:
    record, _truth = simulate("normal", seed)
    return write_wfdb(record, "rec")


def ct() -> dict[str, bytes]:
    return {"a": Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()}


def arrive(services: Services, given: dict[str, bytes], *, priority: Any = "routine", site: str = "village") -> Landed:
    return land(services, site_id=site, source="web", files=given, clinic_priority=priority, actor="test")


def through(services: Services, given: dict[str, bytes], **more: Any) -> Landed:
    landed = arrive(services, given, **more)
    prepare(services, landed.arrival_id)
    enqueue(services, landed.arrival_id)
    return landed


def later(services: Services, hours: float = 2.0) -> None:
    """The store's clock is the real one; ours is put so much ahead of it."""
    clock = services.clock
    assert isinstance(clock, Clock)
    clock.now = max(clock.now, datetime.now(UTC)) + timedelta(hours=hours)


def state(services: Services) -> dict[str, Any]:
    """All that matters of the catalogue, and every object with its bytes' hash."""
    rows: dict[str, Any] = {}
    with services.catalogue.read() as conn:
        for table, beside in TABLES.items():
            wanted = [column for column in table.c if column.name not in beside]
            rows[table.name] = sorted(map(repr, conn.execute(select(*wanted)).all()))
    rows["stored"] = {info.key: services.store.measure(info.key) for info in services.store.list()}
    return rows


def walk(services: Services, **more: Any) -> SweepReport:
    """Whole walks of the sweeper until one changes nothing; the sum of what they did."""
    removed = adopted = finished = 0
    for _ in range(200):
        report = sweep_orphans(services, **more)
        removed, adopted, finished = removed + report.removed, adopted + report.adopted, finished + report.finished
        if report.ended:
            return SweepReport(removed=removed, adopted=adopted, finished=finished, ended=True)
    raise AssertionError("the walk does not come to an end")


def mend(services: Services, **more: Any) -> tuple[Report, list[Finding]]:
    findings: list[Finding] = []
    return reconcile(services, repair=True, tell=findings.append, **more), findings


def read_all(services: Services, **more: Any) -> tuple[ScrubReport, set[Fault]]:
    faults: set[Fault] = set()
    return scrub(services, tell=faults.add, **more), faults


def rewrite(store: ObjectStore, key: str, sealed: bytes) -> None:
    """Put other sealed bytes in an object's place, as a rotting disk does."""
    store.blobs.delete(key)
    with store.blobs.draft(len(sealed)) as draft:
        draft.write(sealed)
        assert draft.publish(key)


def flip(store: ObjectStore, key: str, bit: int) -> None:
    sealed = bytearray(store.blobs.get(key))
    sealed[bit // 8] ^= 1 << bit % 8
    rewrite(store, key, bytes(sealed))


def keys(services: Services, prefix: str = "") -> list[str]:
    return [info.key for info in services.store.list(prefix)]


def kill_at_every_step(
    services: Services, before: Callable[[], None], act: Callable[[Callable[[str], None]], None]
) -> tuple[list[dict[str, Any]], int]:
    """Run, killed at its first step, at its second and so on; after each, run to the end. The states reached."""
    states = []
    for n in range(1, 200):
        before()
        try:
            act(Fuse(n))
        except Killed:
            later(services, 0.1)
            act(lambda _name: None)
            states.append(state(services))
        else:
            return states, n - 1
    raise AssertionError("the steps do not come to an end")


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


# the scrub


def test_every_flipped_bit_is_found_and_nothing_else(services: Services) -> None:
    chance = random.Random(7)
    for seed in (1, 2):
        through(services, files(seed))
    through(services, ct())
    assert read_all(services)[1] == set()
    flips(services, chance, rounds=20, each=10)


def flips(services: Services, chance: random.Random, *, rounds: int, each: int) -> None:
    """Flip single bits of that many objects at once, anywhere, and see that exactly those are named."""
    everything = keys(services)
    for _ in range(rounds):
        whole = {key: services.store.blobs.get(key) for key in chance.sample(everything, min(each, len(everything)))}
        for key, sealed in whole.items():
            flip(services.store, key, chance.randrange(8 * len(sealed)))
        report, faults = read_all(services)
        assert {fault.key for fault in faults} == set(whole)
        assert {fault.code for fault in faults} == {"object_corrupt"}
        assert report.faults == len(whole)
        for key, sealed in whole.items():
            rewrite(services.store, key, sealed)


def test_an_object_that_a_row_names_and_the_store_has_not_is_named(services: Services) -> None:
    landed = through(services, files(1))
    derived = next(key for key in keys(services, "derived/") if key.endswith("wave.i16"))
    for key in (raw_key(landed.sha256), derived):
        services.store.delete(key)
    wanted = {Fault(raw_key(landed.sha256), "object_missing"), Fault(derived, "object_missing")}
    assert read_all(services)[1] == wanted


def test_a_derived_object_sealed_well_with_other_bytes_is_found(services: Services) -> None:
    through(services, files(1))
    key = keys(services, "derived/")[0]
    services.store.delete(key)
    services.store.put(key, b"not what the row says")
    assert read_all(services)[1] == {Fault(key, "object_corrupt")}


def test_what_the_scrub_found_is_mended_by_reconcile(services: Services) -> None:
    landed = through(services, files(1))
    before = state(services)
    key, note = raw_key(landed.sha256), note_key(landed.arrival_id, "routine")
    wave = next(one for one in keys(services, "derived/") if one.endswith("wave.i16"))
    sealed = services.store.blobs.get(key)
    for one in (wave, note):
        flip(services.store, one, 8 * 140)
    assert {fault.key for fault in read_all(services)[1]} == {wave, note}
    _, findings = mend(services)
    assert set(findings) == {Finding("derived_missing", wave, mended=True), Finding("note_corrupt", note, mended=True)}
    later(services, 0.1)
    sweep_all(services)
    flip(services.store, key, 8 * 140)
    assert read_all(services)[1] == {Fault(key, "object_corrupt")}
    for _ in range(2):
        assert mend(services)[1] == [Finding("object_corrupt", key, mended=False)]
    rewrite(services.store, key, sealed)
    assert mend(services)[1] == [Finding("object_back", key, mended=True)]
    assert read_all(services)[1] == set()
    after = state(services)
    for name in ("swept_objects", "quarantine"):
        before.pop(name), after.pop(name)
    assert after == before


def test_a_scrub_killed_at_any_step_goes_on_and_finds_all(services: Services) -> None:
    for seed in (1, 2):
        arrive(services, files(seed))
    bad = {keys(services, "arrivals/")[0], keys(services, "raw/")[1]}
    for key in bad:
        flip(services.store, key, 8 * 135)
    for n in range(1, 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("teleread.pipeline.scrub._KEEP_EVERY_S", 0.0)
            try:
                read_all(services, fresh=True, step=Fuse(n))
            except Killed:
                report, faults = read_all(services)
                assert ({fault.key for fault in faults}, report.faults) == (bad, 2)
                assert report.objects == 4
            else:
                assert n > 4
                return


def test_a_stopped_scrub_does_not_read_again_what_it_has_read(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teleread.pipeline.scrub._KEEP_EVERY_S", 0.0)
    for i in range(6):
        put_raw(services.store, b"object %d" % i)
    counts: list[int] = []

    def progress(count: int, _bytes: int) -> None:
        counts.append(count)
        if counts == [1, 2, 3]:
            raise Killed

    with pytest.raises(Killed):
        scrub(services, progress=progress)
    assert scrub(services, progress=progress).objects == 6
    assert counts[3:] == [3, 4, 5, 6]


def test_rot_is_found_slice_by_slice_and_stands_until_it_is_mended(services: Services) -> None:
    for seed in range(3):
        arrive(services, files(seed))
    key = keys(services, "raw/")[2]
    sealed = services.store.blobs.get(key)
    flip(services.store, key, 8 * 300)
    reports = []
    while (report := scrub_slice(services, bytes_wanted=1)) is not None:
        reports.append(report)
    assert len(reports) >= 6
    with services.catalogue.read() as conn:
        found = scrub_state(conn)
        events = conn.scalars(select(schema.audit_events.c.action)).all()
    assert (found.faults, [fault[:2] for fault in found.first_faults]) == (1, [(key, "object_corrupt")])
    assert events.count("scrub_found") == 1
    rewrite(services.store, key, sealed)
    later(services, 25)
    while scrub_slice(services) is not None:
        pass
    with services.catalogue.read() as conn:
        assert scrub_state(conn).faults == 0


def test_a_rotten_note_and_a_row_that_is_gone_are_told_apart(services: Services) -> None:
    landed = arrive(services, files(1))
    key = note_key(landed.arrival_id, "routine")
    services.store.delete(key)
    services.store.put(key, b'{"version":1}', root=landed.sha256)
    assert read_all(services)[1] == {Fault(key, "note_malformed")}
    with services.catalogue.write() as conn:
        conn.execute(delete(schema.arrivals))
    _, findings = mend(services)
    assert findings == [Finding("note_malformed", landed.arrival_id, mended=False)]
    with pytest.raises(StorageError, match="note_malformed"):
        read_note(services.store, key)


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

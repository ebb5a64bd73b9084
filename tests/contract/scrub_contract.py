"""The scrub finds and names every object that rots, on every store and database.

A test module imports these tests and provides the fixture ``services``.
"""

from __future__ import annotations

import random

import pytest
from sqlalchemy import delete, select

from teleread.errors import StorageError
from teleread.pipeline.notes import note_key, read_note
from teleread.pipeline.reconcile import Finding
from teleread.pipeline.scrub import Fault, scrub, scrub_slice, scrub_state
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_all
from teleread.storage.catalogue import schema
from teleread.storage.objects.raw import put_raw, raw_key
from tests.contract.integrity import (
    Fuse,
    Killed,
    arrive,
    ct,
    files,
    flip,
    keys,
    later,
    mend,
    read_all,
    rewrite,
    state,
    through,
)

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

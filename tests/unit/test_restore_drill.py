"""The drill: everything acknowledged before the backup is back, and what came after is caught up from the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.deletion import begin, run
from teleread.pipeline.restored import store_ring
from teleread.pipeline.retention import law
from teleread.storage.catalogue import schema
from teleread.storage.objects import FileBlobs
from teleread.storage.objects.protocol import Blobs
from tests.conftest import Clock
from tests.drill import Place
from tests.unit.test_pipeline_steps import sample, simulated


@pytest.fixture
def new_url(tmp_path: Path) -> Callable[[], str]:
    numbers = count()
    return lambda: f"sqlite:///{tmp_path / f'database-{next(numbers)}.db'}"


@pytest.fixture
def new_blobs(tmp_path: Path) -> Callable[[], Blobs]:
    return lambda: FileBlobs(tmp_path / "objects")


@pytest.fixture
def lose_store(tmp_path: Path) -> Callable[[], None]:
    return lambda: shutil.rmtree(tmp_path / "objects")


@pytest.fixture
def place(
    tmp_path: Path,
    alliance: Alliance,
    clock: Clock,
    pool: BoundedPool,
    new_url: Callable[[], str],
    new_blobs: Callable[[], Blobs],
) -> Place:
    made = Place(tmp_path, alliance, clock, pool, new_url, new_blobs)
    made.begin_anew()
    return made


def _worked(place: Place, folder: Path) -> tuple[set[str], set[str]]:
    """Work, a backup in the middle of it, and more work; returns what was acknowledged before and after."""
    services = place.services()
    place.work(services, {"a": sample("CT_small.dcm")}, "village")
    place.work(services, simulated(), "village")
    place.seal(services)
    place.work(services, {"a": sample("waveform_ecg.dcm")}, "other", until="landed")
    before = set(place.known)
    place.remember(services)
    place.clock.advance(60)

    def goes_on(name: str) -> None:
        if name in ("catalogue_dumped", "objects_copied"):
            place.work(services, simulated(seed=len(place.known)), "other", until="landed")

    made = place.back_up(services, folder, verify=True, step=goes_on)
    assert made.manifest.lost == ()
    services.vault.ring.new_intake()
    store_ring(services)
    place.clock.advance(60)
    place.work(services, simulated(seed=77), "village")
    place.remember(services)
    place.seal(services)
    services.close()
    return before, set(place.known) - before


def test_drill_with_the_store_that_survived(place: Place, tmp_path: Path) -> None:
    before, after = _worked(place, tmp_path / "backups")
    place.begin_anew()
    restored, caught_up, services = place.restore(tmp_path / "backups")
    assert restored.ring_newer
    assert place.wrong(services, only=before) == []
    # receipts and bytes of what came later are back too, to be read again: reports lie in the catalogue alone
    for arrival in after:
        for fact in ("identity", "derived", "report"):
            place.known[arrival].pop(fact, None)
    assert place.wrong(services) == []
    assert caught_up.compared.left == 0
    assert caught_up.compared.mended.total() >= len(after)
    assert caught_up.links["catalogue"] > 0
    # the system goes on, and a backup of it can be restored again
    place.work(services, simulated(seed=99), "village")
    place.remember(services)
    place.back_up(services, tmp_path / "backups")
    services.close()
    place.begin_anew()
    _, _, services = place.restore(tmp_path / "backups")
    assert place.wrong(services) == []
    services.close()


def test_drill_with_the_store_lost_too(place: Place, tmp_path: Path, lose_store: Callable[[], None]) -> None:
    before, after = _worked(place, tmp_path / "backups")
    place.begin_anew()
    lose_store()
    restored, caught_up, services = place.restore(tmp_path / "backups")
    assert restored.copied > 0
    assert not restored.ring_newer
    assert place.wrong(services, only=before) == []
    assert caught_up.compared.left == 0
    # what was landed while the backup ran had a copy or had none; it is whole or absent
    with services.catalogue.read() as conn:
        rows = {row.id for row in conn.execute(select(schema.arrivals.c.id))}
    assert before <= rows
    assert place.wrong(services, only=rows & after) == []
    services.close()


def test_what_was_deleted_after_the_backup_stays_deleted(place: Place, tmp_path: Path) -> None:
    services = place.services()
    gone = place.work(services, {"a": sample("waveform_ecg.dcm")}, "village")
    kept = place.work(services, {"a": sample("CT_small.dcm")}, "village")
    place.remember(services)
    with services.catalogue.write() as conn:
        conn.execute(update(schema.deliveries).values(delivered_at=place.clock()))
        conn.execute(update(schema.identity_questions).values(answered_at=place.clock(), answer="noted"))
        study = conn.scalar(select(schema.arrivals.c.study_id).where(schema.arrivals.c.id == gone))
        pseudonym = conn.scalar(select(schema.studies.c.patient_pseudonym).where(schema.studies.c.id == study))
    place.clock.advance(31 * 365.25 * 86400)
    place.back_up(services, tmp_path / "backups")
    (identifier,) = begin(services, str(pseudonym), law(), who="chief", reason="over")
    run(services, identifier)
    services.close()
    place.begin_anew()
    _, caught_up, services = place.restore(tmp_path / "backups")
    assert caught_up.replayed.deleted == (identifier,)
    with services.catalogue.read() as conn:
        assert conn.scalar(select(func.count()).where(schema.arrivals.c.id == gone)) == 0
    assert services.vault.join([str(pseudonym)], who="r", why="t", case_ids=["c"], at=place.clock()) == {}
    assert place.wrong(services, only={kept}) == []
    assert caught_up.compared.left == 0
    services.close()


def test_a_restore_without_catching_up_is_caught(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken twin: what came after the backup is missing, and the drill says so."""
    from teleread.pipeline import restored
    from teleread.pipeline.reconcile import Report

    _, after = _worked(place, tmp_path / "backups")
    place.begin_anew()
    monkeypatch.setattr(restored, "reconcile", lambda *_args, **_options: Report())
    _, _, services = place.restore(tmp_path / "backups")
    assert len([one for one in place.wrong(services) if "no receipt" in one]) == len(after)
    services.close()

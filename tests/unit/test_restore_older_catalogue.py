"""A catalogue restored from an older backup catches up with what the store holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.give_back import give_back
from teleread.pipeline.reconcile import reconcile
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_all
from teleread.storage.catalogue import schema, sweeping
from teleread.storage.objects.raw import put_raw, raw_key
from tests.contract.integrity import arrive, ct, files, later, state, through
from tests.signing import sign_report


def reconcile_all(services: Services) -> None:
    reconcile(services, repair=True)


def backed_up(database: Path) -> bytes:
    """A consistent copy of a database that is in use."""
    copy = database.with_suffix(".copy")
    with sqlite3.connect(database) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    return copy.read_bytes()


def put_back(services: Services, database: Path, copy: bytes) -> None:
    services.catalogue.close()
    for name in (database, Path(f"{database}-wal"), Path(f"{database}-shm")):
        name.unlink(missing_ok=True)
    database.write_bytes(copy)
    database.chmod(0o600)


def sign(services: Services, case_id: str) -> None:
    with services.catalogue.write() as conn:
        now = services.clock()
        report = sign_report(conn, case_id, text="normal", critical=False, signed_by="r", channel="web", at=now)
    give_back(services, report.id)


def comparable(services: Services) -> dict[str, Any]:
    found = state(services)
    found.pop("swept_objects")
    return found


def test_what_came_after_the_backup_is_there_again_with_receipts_priorities_and_derived_bytes(
    services: Services, tmp_path: Path
) -> None:
    early = [through(services, files(1)), through(services, ct()), arrive(services, files(2))]
    sign(services, enqueue(services, early[1].arrival_id))
    copy = backed_up(tmp_path / "catalogue.db")
    services.clock.advance(3600)  # type: ignore[attr-defined]
    arrive(services, files(1), priority="urgent")  # raised after the backup
    enqueue(services, early[0].arrival_id)
    late = [through(services, files(seed), priority="high") for seed in (3, 4)]
    late += [through(services, {"a": b"nobody can parse this"}), through(services, files(1), site="other")]
    later(services, 0.1)
    sweep_all(services)
    before = comparable(services)
    receipts = {one.receipt for one in (*early, *late)}

    put_back(services, tmp_path / "catalogue.db", copy)
    with services.catalogue.read() as conn:
        assert len(conn.execute(select(schema.arrivals)).all()) == len(early)
    assert reconcile(services, repair=False).left == 1 + len(late)
    assert reconcile(services, repair=True).left == 0
    later(services, 0.1)
    sweep_all(services)
    with services.catalogue.read() as conn:
        assert set(conn.scalars(select(schema.arrivals.c.receipt))) == receipts
    assert comparable(services) == before


def test_the_sweeper_alone_catches_up_and_removes_nothing_that_was_acknowledged(
    services: Services, tmp_path: Path
) -> None:
    through(services, files(1))
    copy = backed_up(tmp_path / "catalogue.db")
    through(services, files(2), priority="urgent")
    before = comparable(services)
    put_back(services, tmp_path / "catalogue.db", copy)
    later(services)
    for _ in range(4):  # the rounds of the durable lane
        sweep_all(services)
        later(services)
    assert comparable(services) == before


def test_a_case_reported_after_the_backup_waits_for_a_reader_again(services: Services, tmp_path: Path) -> None:
    """A report is nowhere but in the catalogue: what is lost with it is read again, not left unread."""
    landed = through(services, files(1))
    copy = backed_up(tmp_path / "catalogue.db")
    sign(services, landed.arrival_id)
    put_back(services, tmp_path / "catalogue.db", copy)
    assert reconcile(services, repair=True).left == 0
    with services.catalogue.read() as conn:
        assert conn.scalars(select(schema.work_items.c.state)).all() == ["SCHEDULED"]


@pytest.mark.parametrize("repair", [reconcile_all, sweep_all])
def test_a_removal_that_an_older_catalogue_still_has_to_end_spares_what_was_landed_since(
    services: Services, tmp_path: Path, repair: Callable[[Services], object]
) -> None:
    stored = [put_raw(services.store, data) for data in (ct()["a"], b"nobody sends this again")]
    with services.catalogue.write() as conn:
        sweeping.condemn(conn, [one.key for one in stored], services.clock())
    copy = backed_up(tmp_path / "catalogue.db")  # of a moment at which a remover was at work
    sweeping.finish(services.catalogue, services.store, [one.key for one in stored])
    later(services)
    landed = arrive(services, ct())
    put_raw(services.store, b"nobody sends this again")
    assert raw_key(landed.sha256) == stored[0].key
    put_back(services, tmp_path / "catalogue.db", copy)
    for _ in range(3):
        later(services)
        repair(services)
    assert services.store.get(stored[0].key) == ct()["a"]
    assert not services.store.exists(stored[1].key)
    with services.catalogue.read() as conn:
        assert list(conn.scalars(select(schema.arrivals.c.receipt))) == [landed.receipt]

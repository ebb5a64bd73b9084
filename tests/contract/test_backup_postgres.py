"""Backup, restore and deletion on PostgreSQL and S3, as in production; and from either database into the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Connection, select, text

from teleread.alliance import Alliance
from teleread.errors import Conflict
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline import deletion, land
from teleread.pipeline.keeping import place_hold
from teleread.pipeline.retention import law
from teleread.pipeline.services import Services
from teleread.storage.backup.make import make_backup
from teleread.storage.backup.restore import restore_backup
from teleread.storage.catalogue import schema, sweeping
from teleread.storage.objects import FileBlobs
from teleread.storage.objects.probe import ACCEPTABLE
from teleread.storage.objects.protocol import Blobs
from teleread.storage.objects.raw import raw_key
from teleread.storage.objects.urls import open_blobs
from tests.backups import Small, land_one, rows_of, small_on_files, wrong_with
from tests.conftest import Clock, services_on
from tests.contract.postgres import postgres_server
from tests.contract.rclone import ACCESS_KEY, SECRET_KEY, RcloneServer
from tests.system import wait_for
from tests.unit.test_deletion import *  # noqa: F403
from tests.unit.test_deletion_final import *  # noqa: F403
from tests.unit.test_deletion_killed import *  # noqa: F403
from tests.unit.test_pipeline_steps import arrive, sample
from tests.unit.test_restore_drill import *  # noqa: F403

pytestmark = pytest.mark.peers

_numbers = count()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Callable[[], str]]:
    with postgres_server() as make:
        yield make


@pytest.fixture
def new_url(postgres: Callable[[], str]) -> Callable[[], str]:
    return postgres


@pytest.fixture
def bucket() -> list[str]:
    """The bucket in use; losing the store is taking another."""
    return [f"bucket-{next(_numbers)}"]


@pytest.fixture
def new_blobs(s3: RcloneServer, bucket: list[str], tmp_path: Path) -> Callable[[], Blobs]:
    def make() -> Blobs:
        address = f"{ACCESS_KEY}:{quote(SECRET_KEY, safe='')}@{s3.endpoint}/{bucket[-1]}"
        url = f"s3://{address}?secure=0&accept={','.join(ACCEPTABLE)}"
        return open_blobs(url, remember=tmp_path / "probed.json")

    return make


@pytest.fixture
def lose_store(bucket: list[str]) -> Callable[[], None]:
    return lambda: bucket.append(f"bucket-{next(_numbers)}")


@pytest.fixture
def services(
    new_url: Callable[[], str],
    new_blobs: Callable[[], Blobs],
    alliance: Alliance,
    clock: Clock,
    pool: BoundedPool,
    tmp_path: Path,
) -> Iterator[Services]:
    with services_on((new_url(), new_url()), tmp_path, alliance, clock, pool, blobs=new_blobs()) as opened:
        yield opened


@pytest.mark.parametrize("into", ["postgresql", "sqlite"])
def test_a_backup_of_either_database_goes_into_the_other(
    postgres: Callable[[], str], tmp_path: Path, into: str
) -> None:
    files = small_on_files(tmp_path / "home")
    server = Small(files.home, (postgres(), postgres()))
    source, other = (files, server) if into == "postgresql" else (server, files)
    parts = source.open()
    told = {land_one(source, parts, number) for number in range(30)}
    make_backup(parts, tmp_path / "backups", verify=True)
    before = rows_of(parts.catalogue)
    source.key_file.unlink()
    restore_backup(other.target(), tmp_path / "backups", source.halves, actor="ops")
    other.landed = source.landed
    parts = other.open()
    assert wrong_with(other, parts, told) == []
    after = rows_of(parts.catalogue)
    assert {name for name in before if before[name] != after[name]} <= {"audit_events", "audit_unsealed", "backups"}
    # numbers go on behind those that were restored
    land_one(other, parts, 31)
    with parts.catalogue.read() as conn:
        ids = list(conn.scalars(select(schema.audit_events.c.id)))
    assert len(ids) == len(set(ids))
    source.close()
    other.close()


def test_a_snapshot_sees_nothing_of_what_comes_later(postgres: Callable[[], str], tmp_path: Path) -> None:
    server = Small(tmp_path, (postgres(), postgres()))
    parts = server.open()
    land_one(server, parts, 0)
    with parts.catalogue.snapshot() as conn:
        land_one(server, parts, 1)
        assert len(conn.execute(select(schema.arrivals)).all()) == 1
        assert len(conn.execute(select(schema.audit_events)).all()) == 1
    server.close()
    assert isinstance(server.blobs, FileBlobs)


def test_who_lands_and_who_deletes_the_same_bytes_do_not_block_each_other(
    services: Services, due: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have taken their first lock when they go on."""
    (identifier,) = deletion.begin(services, due["ecg"], law(), who="w", reason="retention over")
    check, condemn = sweeping.check, sweeping.condemn
    checked, deleted = threading.Event(), threading.Event()

    def late_check(conn: Connection, keys: Collection[str], mark: int) -> None:
        check(conn, keys, mark)
        checked.set()
        deleted.wait(5)

    def late_condemn(conn: Connection, keys: Sequence[str], at: datetime) -> list[str]:
        deleted.set()
        checked.wait(1)
        return condemn(conn, keys, at)

    monkeypatch.setattr(sweeping, "check", late_check)
    monkeypatch.setattr(sweeping, "condemn", late_condemn)
    monkeypatch.setattr(land, "_BUSY_TRIES", 1)
    with ThreadPoolExecutor(2) as threads:
        ran = threads.submit(deletion.run, services, identifier)
        assert deleted.wait(30)
        landed = threads.submit(arrive, services, {"a": sample("waveform_ecg.dcm")})
        assert ran.result(60) == "forgotten"
        assert services.store.get(raw_key(landed.result(60).sha256)) == sample("waveform_ecg.dcm")


def test_a_hold_that_comes_while_a_deletion_is_decided_is_refused(
    services: Services, due: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, decided, go_on = deletion._insert, threading.Event(), threading.Event()

    def late_insert(*given: Any) -> str:
        decided.set()
        go_on.wait(60)
        return insert(*given)

    def waits() -> bool:
        with services.catalogue.read() as conn:
            return bool(conn.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")))

    def hold() -> None:
        with services.catalogue.write() as conn:
            place_hold(conn, due["ecg"], who="court", reason="dispute", at=services.clock())

    monkeypatch.setattr(deletion, "_insert", late_insert)
    with ThreadPoolExecutor(2) as threads:
        begun = threads.submit(deletion.begin, services, due["ecg"], law(), who="w", reason="retention over")
        assert decided.wait(60)
        held = threads.submit(hold)
        try:
            wait_for(lambda: held.done() or waits(), 60, "the hold waits")
        finally:
            go_on.set()
        assert len(begun.result(60)) == 1
        with pytest.raises(Conflict) as refused:
            held.result(60)
    assert refused.value.code == "being_deleted"

"""Store and catalogue on PostgreSQL and S3, as in production; the weaker server, which keeps no promise of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, make_url, select, text

from teleread.alliance import Alliance
from teleread.errors import StorageError
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.services import Services
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import objects
from teleread.storage.objects import SealedStore
from teleread.storage.objects.s3 import S3Blobs
from teleread.storage.vault import KeyRing, Vault
from tests.conftest import Clock, services_of
from tests.contract.integrity_contract import *  # noqa: F403
from tests.contract.rclone import ACCESS_KEY, SECRET_KEY, RcloneServer
from tests.contract.reconcile_contract import *  # noqa: F403
from tests.contract.scrub_contract import *  # noqa: F403
from tests.contract.sweeping_contract import *  # noqa: F403
from tests.contract.sweeping_contract import AT, row
from tests.system import wait_for

pytestmark = pytest.mark.peers


@pytest.fixture
def database(new_url: Callable[[], str]) -> Iterator[Database]:
    database = Database(new_url())
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def vault(new_url: Callable[[], str], tmp_path: Path, clock: Clock) -> Iterator[Vault]:
    vault = Vault(new_url(), KeyRing.open(tmp_path / "keys.json", clock=clock))
    vault.migrate()
    yield vault
    vault.close()


@pytest.fixture
def store(s3: RcloneServer, vault: Vault, tmp_path: Path) -> Iterator[SealedStore]:
    bucket = tmp_path.name.replace("_", "-")[:60].strip("-")
    blobs = S3Blobs(s3.endpoint, bucket, ACCESS_KEY, SECRET_KEY, secure=False)
    blobs.ensure_bucket()
    store = SealedStore(blobs, vault.keys)
    yield store
    store.close()


@pytest.fixture
def services(
    database: Database, store: SealedStore, vault: Vault, alliance: Alliance, clock: Clock, pool: BoundedPool
) -> Iterator[Services]:
    opened = services_of(database, vault, store, alliance, clock, pool)
    yield opened
    opened.close()


@pytest.fixture
def in_another_language(database: Database, new_url: Callable[[], str]) -> Iterator[Database]:
    """A database that sorts by the rules of a language, as most that others have made do."""
    url = make_url(new_url())
    name = f"{url.database}_icu"
    plain = create_engine(url, isolation_level="AUTOCOMMIT")
    with plain.connect() as conn:
        conn.execute(
            text(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' "
                "LOCALE_PROVIDER icu ICU_LOCALE 'en-US-u-ka-shifted'"
            )
        )
    plain.dispose()
    other = Database(url.set(database=name).render_as_string(hide_password=False))
    other.migrate()
    yield other
    other.close()


def test_the_merge_follows_an_order_that_ignores_punctuation(services: Services, in_another_language: Database) -> None:
    with in_another_language.read() as conn:
        ordered = conn.scalar(text("SELECT 'derived/10/a' < 'derived/1/b'"))
    assert ordered  # not by the bytes
    test_the_merge_pairs_rows_and_objects_whatever_the_order_of_the_database(  # noqa: F405
        replace(services, catalogue=in_another_language)
    )


def waiting_locks(database: Database) -> int:
    with database.read() as conn:
        return len(conn.execute(text("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")).all())


def test_a_remover_waits_for_a_writer_whose_transaction_is_open(database: Database) -> None:
    condemned: list[list[str]] = []

    def condemn() -> None:
        with database.write() as conn:
            condemned.append(sweeping.condemn(conn, ["derived/1/a"], AT))

    remover = threading.Thread(target=condemn)
    with database.write() as conn:
        sweeping.check(conn, ["derived/1/a"], sweeping.mark(conn))
        remover.start()
        wait_for(lambda: waiting_locks(database) == 1, 30, "the remover waits", pause_s=0.01)
        conn.execute(insert(objects).values(**row("derived/1/a")))
    remover.join(30)
    assert condemned == [[]]


def test_a_writer_waits_for_a_remover_whose_transaction_is_open(database: Database) -> None:
    outcomes: list[str] = []

    def write_row() -> None:
        try:
            with database.write() as conn:
                sweeping.check(conn, ["derived/1/a"], 0)
                conn.execute(insert(objects).values(**row("derived/1/a")))
        except StorageError as error:
            outcomes.append(error.code)

    writer = threading.Thread(target=write_row)
    with database.write() as conn:
        assert sweeping.condemn(conn, ["derived/1/a"], AT) == ["derived/1/a"]
        writer.start()
        wait_for(lambda: waiting_locks(database) == 1, 30, "the writer waits", pause_s=0.01)
    writer.join(30)
    assert outcomes == ["object_swept"]
    with database.read() as conn:
        assert conn.execute(select(objects)).all() == []


def test_writers_do_not_wait_for_each_other(database: Database) -> None:
    with database.write() as conn:
        sweeping.check(conn, ["derived/1/a"], 0)
        other = threading.Thread(target=lambda: write_one(database))
        other.start()
        other.join(30)
        assert not other.is_alive()


def write_one(database: Database) -> None:
    with database.write() as conn:
        sweeping.check(conn, ["derived/1/b"], 0)
        conn.execute(insert(objects).values(**row("derived/1/b")))


def test_a_remover_whose_session_has_ended_deletes_nothing_more(database: Database, store: SealedStore) -> None:
    data = b"swept by the second remover"
    key = store.put_raw(data).key
    with sweeping.sole_remover(database) as alone:
        assert alone
        with database.write() as conn:
            condemned = sweeping.condemn(conn, [key], AT)
        with database.write() as conn:
            of_lock = "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            conn.execute(text(f"SELECT pg_terminate_backend(pid, 5000) FROM ({of_lock}) AS holders"))
        with sweeping.sole_remover(database) as second:
            assert second
            sweeping.finish(database, store, condemned)
        store.put_raw(data)
        for code in ("catalogue_unreachable", "remover_lost"):
            with pytest.raises(StorageError) as lost:
                sweeping.finish(database, store, condemned)
            assert lost.value.code == code
    assert store.get(key) == data

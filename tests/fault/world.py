"""The place where faults happen: a home with an object store and two databases, opened by one function.

A world is cheap: databases are copied from a template that was brought up to date once, and so are the project keys,
so that two worlds derive the same bytes from the same bytes. :func:`open_services` is the only place that knows how
the parts are put together; everything else of the harness goes through what it returns.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import psycopg
from sqlalchemy.engine import make_url

from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.products import EXPORT_PROJECT
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import Database
from teleread.storage.objects.filesystem import FileBlobs
from teleread.storage.objects.probe import NEEDED
from teleread.storage.objects.protocol import Blobs
from teleread.storage.objects.s3 import S3Blobs
from teleread.storage.objects.sealed import SealedStore
from teleread.storage.vault import KeyRing, Vault

Step = Callable[[str], None]
StoreKind = Literal["files", "s3", "ceph"]
DatabaseKind = Literal["sqlite", "postgres"]
COMBINATIONS: tuple[tuple[StoreKind, DatabaseKind], ...] = (
    ("files", "sqlite"),
    ("files", "postgres"),
    ("s3", "sqlite"),
    ("s3", "postgres"),
)
BEGINNING = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)


def no_step(_: str) -> None:
    """Nothing happens between two steps."""


@dataclass
class Clock:
    """Each delivery has its own minute, also when it is sent again by a later process."""

    now: datetime = BEGINNING

    def __call__(self) -> datetime:
        return self.now

    def minute(self, number: int) -> None:
        self.now = BEGINNING + timedelta(minutes=number)


@dataclass(frozen=True, slots=True)
class World:
    """Where one scenario happens; plain text, so that it can be told to another process."""

    home: str
    store_url: str
    catalogue_url: str
    vault_url: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def open_services(
    world: World, *, make_pool: Callable[[], BoundedPool], clock: Callable[[], datetime], step: Step = no_step
) -> Services:
    """The parts of a running system in this world, as the product opens them.

    Args:
        world: made by :class:`Ground`, or any home with databases that are up to date.
        make_pool: gives the parser processes.
        clock: see :class:`Clock`.
        step: told of every step that the store itself numbers.
    """
    ring = KeyRing.open(Path(world.home) / "keys.json", clock=clock)
    vault = Vault(world.vault_url, ring)
    return Services(
        alliance=Alliance("", "", "", 480, {}, (), ()),
        catalogue=Database(world.catalogue_url),
        store=SealedStore(_blobs(world.store_url, step), vault.keys),
        ring=ring,
        vault=vault,
        make_pool=make_pool,
        clock=clock,
    )


def _blobs(url: str, step: Step) -> Blobs:
    """As ``open_blobs``, with steps, and without the probe of a server, which would take most of a scenario's time."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FileBlobs(Path(parts.path), step=lambda name: step(f"file: {name}"))
    blobs = S3Blobs(
        f"{parts.hostname}:{parts.port}",
        parts.path.strip("/"),
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        secure=False,
    )
    if parts.query.endswith("enforces=all"):  # what the probe finds on the strong server
        blobs.rely_on(frozenset(NEEDED))
    blobs.ensure_bucket()
    return blobs


def bring_up_to_date(world: World, *, use: bool = True) -> None:
    """Make the tables; and, for ``use``, what is made once and random, so that every copy of this world has it."""
    catalogue = Database(world.catalogue_url)
    catalogue.migrate()
    vault = Vault(world.vault_url, KeyRing.open(Path(world.home) / "keys.json", clock=Clock()))
    vault.migrate()
    if use:
        vault.project_key(EXPORT_PROJECT)
    catalogue.close()
    vault.close()


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is one: SIGKILL does not take what the kernel has, so no disk is needed."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="teleread-fault-", dir=memory if os.access(memory, os.W_OK) else None, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


class Ground:
    """Makes worlds of one combination of store and database.

    Args:
        folder: for homes.
        store, database: which kinds.
        new_database: makes an empty PostgreSQL database and gives its URL.
        s3_url: gives the URL of a bucket by its name.
    """

    def __init__(
        self,
        folder: Path,
        store: StoreKind = "files",
        database: DatabaseKind = "sqlite",
        *,
        new_database: Callable[[], str] | None = None,
        s3_url: Callable[[str], str] | None = None,
    ) -> None:
        self._folder, self._store, self._database = folder, store, database
        self._new_database, self._s3_url = new_database, s3_url
        self._numbers = count(1)

    @cached_property
    def template(self) -> World:
        """A world that is up to date and empty; nobody works in it."""
        home = self._folder / f"template-{self._store}-{self._database}"
        home.mkdir()
        world = self._named(home, "template")
        if self._new_database is not None and self._database == "postgres":
            world = replace(world, catalogue_url=self._new_database(), vault_url=self._new_database())
        bring_up_to_date(world)
        return world

    @contextmanager
    def world(self) -> Iterator[World]:
        """A fresh world, gone when the block ends."""
        template, number = self.template, next(self._numbers)
        home = self._folder / f"{self._store}-{self._database}-{number}"
        shutil.copytree(template.home, home)
        world = self._named(home, f"{self._database}-{number}")
        if self._database == "postgres":
            world = replace(
                world,
                catalogue_url=_copy(template.catalogue_url, number),
                vault_url=_copy(template.vault_url, number),
            )
        try:
            yield world
        finally:
            shutil.rmtree(home, ignore_errors=True)
            if self._database == "postgres":
                for url in (world.catalogue_url, world.vault_url):
                    drop_database(url)

    @contextmanager
    def empty_world(self) -> Iterator[World]:
        """A world whose databases have no tables yet."""
        number = next(self._numbers)
        home = self._folder / f"{self._store}-{self._database}-{number}"
        home.mkdir()
        world = self._named(home, f"{self._database}-{number}")
        if self._new_database is not None and self._database == "postgres":
            world = replace(world, catalogue_url=self._new_database(), vault_url=self._new_database())
        yield world
        shutil.rmtree(home, ignore_errors=True)

    def _named(self, home: Path, bucket: str) -> World:
        store_url = f"file://{home}/objects"
        if self._store != "files":
            assert self._s3_url is not None
            store_url = self._s3_url(bucket)
        return World(str(home), store_url, f"sqlite:///{home}/catalogue.db", f"sqlite:///{home}/vault.db")


def _copy(url: str, number: int) -> str:
    source = make_url(url)
    name = f"{source.database}_{number}"
    with administration(url) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source.database}"')
    return source.set(database=name).render_as_string(hide_password=False)


def drop_database(url: str) -> None:
    """Remove it, whoever is connected."""
    with administration(url) as connection:
        connection.execute(f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)')


@contextmanager
def administration(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection beside the database, on the same server."""
    address = make_url(url)
    with psycopg.connect(
        host=address.host, port=address.port, user=address.username, dbname="postgres", autocommit=True
    ) as connection:
        yield connection


@contextmanager
def ground(store: StoreKind = "files", database: DatabaseKind = "sqlite") -> Iterator[Ground]:
    """Ground of one combination, with the servers that it needs."""
    with ExitStack() as stack:
        folder = stack.enter_context(fast_folder())
        new_database = s3_url = None
        if database == "postgres":
            from tests.contract.postgres import postgres_server

            new_database = stack.enter_context(postgres_server())
        if store != "files":
            s3_url = stack.enter_context(_buckets(folder) if store == "s3" else _strong_buckets())
        yield Ground(folder, store, database, new_database=new_database, s3_url=s3_url)


@contextmanager
def _buckets(folder: Path) -> Iterator[Callable[[str], str]]:
    """The weak server: what holds on it holds on a strong one too."""
    from urllib.parse import quote

    from tests.contract.rclone import ACCESS_KEY, SECRET_KEY, rclone_server

    served = folder / "s3"
    served.mkdir()
    with rclone_server(served) as server:
        credentials = f"{quote(ACCESS_KEY, '')}:{quote(SECRET_KEY, '')}"
        yield lambda bucket: f"s3://{credentials}@{server.endpoint}/{bucket}?secure=0"


@contextmanager
def _strong_buckets() -> Iterator[Callable[[str], str]]:
    """The strong server, relied on for all that it enforces: other requests than the weak one is sent."""
    from urllib.parse import quote

    from tests.contract.ceph import ACCESS_KEY, SECRET_KEY, ceph_server

    with ceph_server(tcp_nodelay=True) as server:
        credentials = f"{quote(ACCESS_KEY, '')}:{quote(SECRET_KEY, '')}"
        yield lambda bucket: f"s3://{credentials}@{server.endpoint}/{bucket}?secure=0&enforces=all"

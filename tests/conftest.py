"""Fixtures that every kind of test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from teleread.alliance import Alliance, Connection, Lead, Site
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import Database
from teleread.storage.objects import Blobs, FileBlobs, SealedStore
from teleread.storage.vault import KeyRing, Vault

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings. Where it is there, a test that misses something in it fails."""
    path = Path(os.environ.get("TELEREAD_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real recordings: TELEREAD_DATA names no folder ({path.name})")
    return path


@pytest.fixture
def alliance(tmp_path: Path) -> Alliance:
    """A lead hospital, a folder member and a web member; no member that needs a server."""
    cart = tmp_path / "cart"
    cart.mkdir()
    since = date(2026, 1, 1)
    sites = [
        Site("lead", "中心医院", "Lead Hospital", "lead", "0571-1"),
        Site("township", "镇卫生院", "Township Clinic", "member"),
        Site("village", "村卫生室", "Village Clinic", "member"),
        Site("other", "另一诊所", "Other Clinic", "member"),
    ]
    connections = (
        Connection(
            "township",
            "folder",
            since,
            path=cart,
            settle_s=0.0,
            whole_wait_s=0.0,
            report_back="folder",
            report_path=tmp_path / "reports",
        ),
        Connection("village", "web", since),
        Connection("other", "web", since),
    )
    return Alliance(
        "医联体",
        "Alliance",
        "0571-0",
        480,
        {site.id: site for site in sites},
        (Lead("ecg", "lead", since), Lead("imaging", "lead", since)),
        connections,
    )


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith("TELEREAD_") and name != "TELEREAD_DATA":
            monkeypatch.delenv(name)


@dataclass
class Clock:
    """A clock that goes only when told to."""

    now: datetime = field(default_factory=lambda: datetime(2026, 11, 1, 2, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def pool() -> Iterator[BoundedPool]:
    """The real parser processes, started once."""
    with BoundedPool(workers=1) as started:
        yield started


class SharedPool:
    """The session's pool for services that close theirs at the end of a test."""

    def __init__(self, pool: BoundedPool) -> None:
        self.run = pool.run

    def close(self) -> None:
        """Left open for the next test."""


def services_of(
    catalogue: Database,
    vault: Vault,
    store: SealedStore,
    alliance: Alliance,
    clock: Clock,
    pool: BoundedPool,
    spool_folder: Path | None = None,
) -> Services:
    """Services on these parts, with the session's pool."""
    return Services(
        alliance=alliance,
        catalogue=catalogue,
        store=store,
        ring=vault.ring,
        vault=vault,
        make_pool=lambda: SharedPool(pool),  # type: ignore[arg-type,return-value]
        clock=clock,
        spool_folder=spool_folder,
    )


@contextmanager
def services_on(
    urls: tuple[str, str],
    home: Path,
    alliance: Alliance,
    clock: Clock,
    pool: BoundedPool,
    *,
    blobs: Blobs | None = None,
    spool: bool = False,
) -> Iterator[Services]:
    """Real services on two empty databases; key ring, and objects unless ``blobs`` are given, lie under ``home``.

    Args:
        urls: of the catalogue and of the vault.
    """
    catalogue = Database(urls[0])
    catalogue.migrate()
    vault = Vault(urls[1], KeyRing.open(home / "keys.json", clock=clock))
    vault.migrate()
    store = SealedStore(FileBlobs(home / "objects") if blobs is None else blobs, vault.keys)
    opened = services_of(catalogue, vault, store, alliance, clock, pool, home / "spool" if spool else None)
    yield opened
    opened.close()


@pytest.fixture
def services(tmp_path: Path, alliance: Alliance, clock: Clock, pool: BoundedPool) -> Iterator[Services]:
    """Real services on SQLite and the file system."""
    urls = f"sqlite:///{tmp_path / 'catalogue.db'}", f"sqlite:///{tmp_path / 'vault.db'}"
    with services_on(urls, tmp_path, alliance, clock, pool, spool=True) as opened:
        yield opened

"""Fixtures that every kind of test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from teleread.alliance import Alliance, Connection, Lead, Site
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import Database
from teleread.storage.objects import FileBlobs, SealedStore
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


@pytest.fixture
def services(tmp_path: Path, alliance: Alliance, clock: Clock, pool: BoundedPool) -> Iterator[Services]:
    """Real services on SQLite and the file system."""
    catalogue = Database(f"sqlite:///{tmp_path / 'catalogue.db'}")
    catalogue.migrate()
    ring = KeyRing.open(tmp_path / "keys.json", clock=clock)
    vault = Vault(f"sqlite:///{tmp_path / 'vault.db'}", ring)
    vault.migrate()
    opened = Services(
        alliance=alliance,
        catalogue=catalogue,
        store=SealedStore(FileBlobs(tmp_path / "objects"), vault.keys),
        ring=ring,
        vault=vault,
        make_pool=lambda: SharedPool(pool),  # type: ignore[arg-type,return-value]
        clock=clock,
        spool_folder=tmp_path / "spool",
    )
    yield opened
    opened.close()

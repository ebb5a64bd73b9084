"""Routing, coverage and what explains them on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import Database
from teleread.storage.objects import FileBlobs, SealedStore
from teleread.storage.vault import KeyRing, Vault
from tests.conftest import Clock, SharedPool
from tests.unit.test_explain import *  # noqa: F403
from tests.unit.test_pipeline_route import *  # noqa: F403
from tests.unit.test_reading_coverage import (  # noqa: F401
    test_a_gap_raises_one_alarm_beforehand_that_follows_the_roster_and_is_cleared_when_mended,
)

pytestmark = pytest.mark.peers


@pytest.fixture
def services(
    new_url: Callable[[], str], alliance: Alliance, clock: Clock, pool: BoundedPool, tmp_path: Path
) -> Iterator[Services]:
    catalogue = Database(new_url())
    ring = KeyRing.open(tmp_path / "keys.json", clock=clock)
    vault = Vault(new_url(), ring)
    catalogue.migrate()
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

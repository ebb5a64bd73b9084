"""Routing, coverage and what explains them on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.services import Services
from tests.conftest import Clock, services_on
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
    with services_on((new_url(), new_url()), tmp_path, alliance, clock, pool, spool=True) as opened:
        yield opened

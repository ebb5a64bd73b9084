"""The same steps and the same pulls on PostgreSQL and S3, as in production."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.services import Services
from teleread.storage.objects.s3 import S3Blobs
from tests.conftest import Clock, services_on
from tests.contract.rclone import ACCESS_KEY, SECRET_KEY, RcloneServer
from tests.unit.test_consent import *  # noqa: F403
from tests.unit.test_pipeline_pull import *  # noqa: F403
from tests.unit.test_pipeline_steps import *  # noqa: F403

pytestmark = pytest.mark.peers


@pytest.fixture
def services(
    new_url: Callable[[], str], s3: RcloneServer, alliance: Alliance, clock: Clock, pool: BoundedPool, tmp_path: Path
) -> Iterator[Services]:
    blobs = S3Blobs(s3.endpoint, tmp_path.name.replace("_", "-")[:60], ACCESS_KEY, SECRET_KEY, secure=False)
    blobs.ensure_bucket()
    with services_on((new_url(), new_url()), tmp_path, alliance, clock, pool, blobs=blobs) as opened:
        yield opened

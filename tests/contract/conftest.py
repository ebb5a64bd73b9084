"""Servers that are started once for all tests that need them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.contract.ceph import CephServer, ceph_server
from tests.contract.postgres import postgres_server
from tests.contract.rclone import RcloneServer, rclone_server


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephServer]:
    """Ceph's gateway, as it is without any tuning."""
    with ceph_server() as running:
        yield running


@pytest.fixture(scope="module")
def new_url() -> Iterator[Callable[[], str]]:
    """Makes an empty database of PostgreSQL and returns its URL."""
    with postgres_server() as make:
        yield make


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneServer]:
    """The weaker server, which keeps no promise of its own."""
    with rclone_server(tmp_path_factory.mktemp("rclone")) as running:
        yield running

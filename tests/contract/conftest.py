"""Servers that are started once for all tests that need them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.ceph import CephServer, ceph_server


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephServer]:
    """Ceph's gateway, as it is without any tuning."""
    with ceph_server() as running:
        yield running

"""The critical loop on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.contract.criticals_contract import CriticalsContract
from tests.contract.postgres import postgres_server

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def new_url() -> Iterator[Callable[[], str]]:
    with postgres_server() as make:
        yield make


class TestCriticalsOnPostgres(CriticalsContract):
    pass

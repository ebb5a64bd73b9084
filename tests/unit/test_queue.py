"""The reading queue on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.contract.queue_contract import QueueContract


@pytest.fixture
def new_url(tmp_path: Path) -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"sqlite:///{tmp_path}/{next(numbers)}/catalogue.sqlite"


class TestQueueOnSqlite(QueueContract):
    pass

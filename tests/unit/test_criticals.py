"""The critical loop on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.criticals_contract import CriticalsContract


@pytest.fixture
def new_url(tmp_path: Path) -> Callable[[], str]:
    return lambda: f"sqlite:///{tmp_path / 'criticals.db'}"


class TestCriticalsOnSqlite(CriticalsContract):
    pass

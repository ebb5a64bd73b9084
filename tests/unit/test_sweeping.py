"""Removing objects, on SQLite and files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from teleread.storage.catalogue.database import Database
from teleread.storage.objects import FileBlobs, SealedStore
from tests.contract.keys import TestKeys
from tests.contract.sweeping_contract import *  # noqa: F403


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'catalogue.db'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def store(tmp_path: Path) -> SealedStore:
    return SealedStore(FileBlobs(tmp_path / "objects"), TestKeys())

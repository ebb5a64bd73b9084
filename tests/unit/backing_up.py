"""A small system and the folder of its backups."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backups import Small, small_on_files


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    made = small_on_files(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def lose(small: Small, *, store: bool = False, ring: bool = True) -> None:
    small.close()
    small.opened.clear()
    for path in [small.home / "vault", *small.home.glob("catalogue.db*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if ring:
        shutil.rmtree(small.home / "keys")
    if store:
        shutil.rmtree(small.home / "objects")

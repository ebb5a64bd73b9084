"""One forge and one ground of each combination for all fault tests of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.fault.forge import Forge, forge
from tests.fault.world import DatabaseKind, Ground, StoreKind, ground


@pytest.fixture(scope="session")
def running_forge() -> Iterator[Forge]:
    with forge() as running:
        yield running


@pytest.fixture(scope="session")
def grounds() -> Iterator[Callable[[StoreKind, DatabaseKind], Ground]]:
    """Ground of a combination, made when first asked for."""
    made: dict[tuple[StoreKind, DatabaseKind], Ground] = {}
    with ExitStack() as stack:

        def get(store: StoreKind, database: DatabaseKind) -> Ground:
            if (store, database) not in made:
                made[store, database] = stack.enter_context(ground(store, database))
            return made[store, database]

        yield get


@pytest.fixture
def embedded(grounds: Callable[[StoreKind, DatabaseKind], Ground]) -> Ground:
    """Files and SQLite, which need no package."""
    return grounds("files", "sqlite")

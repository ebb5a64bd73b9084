"""SIGKILL at steps numbered by us. ``make prove`` dies at every one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from tests.fault.forge import Forge
from tests.fault.sweep import Sweep, some
from tests.fault.world import DatabaseKind, Ground, StoreKind

Grounds = Callable[[StoreKind, DatabaseKind], Ground]
OTHERS: tuple[tuple[StoreKind, DatabaseKind], ...] = (("files", "postgres"), ("s3", "sqlite"), ("s3", "postgres"))
Twin = Literal["in-place store", "row first", "receipt first", "a work item each time"]
CAUGHT_BY: dict[Twin, set[str]] = {
    "in-place store": {"half_object", "wrong_object"},
    "row first": {"missing_object"},
    "receipt first": {"lost"},
    "a work item each time": {"doubled_work_item"},
}


def test_a_death_at_any_step_loses_and_doubles_nothing(running_forge: Forge, embedded: Ground) -> None:
    sweep = Sweep(running_forge, embedded)
    assert len(sweep.steps) > 300
    tally = sweep.all(some(len(sweep.steps), 40, "embedded"))
    assert not tally.caught, tally.first
    assert tally.deaths == 40


@pytest.mark.peers
@pytest.mark.parametrize(("store", "database"), OTHERS)
def test_nor_does_it_on_the_other_stores_and_databases(
    running_forge: Forge, grounds: Grounds, store: StoreKind, database: DatabaseKind
) -> None:
    sweep = Sweep(running_forge, grounds(store, database))
    tally = sweep.all(some(len(sweep.steps), 25, (store, database)))
    assert not tally.caught, tally.first


def test_every_kind_of_step_is_numbered(running_forge: Forge, embedded: Ground) -> None:
    """An empty list of steps would prove everything."""
    names = set(Sweep(running_forge, embedded).steps)
    assert {"begin", "statement", "before commit", "after commit", "acknowledge", "acknowledged"} <= names
    assert any(name.startswith("file: ") for name in names)
    assert any(name.startswith("before store.put") for name in names)


@pytest.mark.peers
def test_requests_to_a_server_are_numbered(running_forge: Forge, grounds: Grounds) -> None:
    assert {"before request", "after request"} <= set(Sweep(running_forge, grounds("s3", "sqlite")).steps)


@pytest.mark.parametrize("twin", CAUGHT_BY)
def test_a_broken_twin_is_caught(running_forge: Forge, embedded: Ground, twin: Twin) -> None:
    """By the check that is meant for it, at some of the first steps, and not only by a different end."""
    tally = Sweep(running_forge, embedded, twin).all(range(3, 103, 4))
    assert CAUGHT_BY[twin] & tally.caught.keys(), tally

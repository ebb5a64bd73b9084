"""Errors at the clients' boundary: requests, statements, commits, full databases, files that may not grow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fault.boundary import Boundary
from tests.fault.faults import ANSWERS
from tests.fault.forge import Forge
from tests.fault.sweep import Caught, some
from tests.fault.world import DatabaseKind, Ground, StoreKind

Grounds = Callable[[StoreKind, DatabaseKind], Ground]


@pytest.mark.parametrize("database", ["catalogue", "vault"])
def test_a_full_database_says_so_and_goes_on_when_space_returns(
    running_forge: Forge, embedded: Ground, database: str
) -> None:
    boundary = Boundary(running_forge, embedded)
    # SQLite never limits a database below what it holds
    assert set(boundary.fail(fault="pages", of=database, at=1)) == {f"{database}_full"}


def test_files_that_may_not_grow_are_a_full_store(running_forge: Forge, embedded: Ground) -> None:
    boundary = Boundary(running_forge, embedded)
    codes: set[str] = set()
    for size in (1 << 10, 1 << 14, 1 << 17, 500_000):
        codes |= set(boundary.fail(fault="file size", at=size))
    assert "store_full" in codes
    assert all(code.endswith(("_full", "_io")) for code in codes), codes


@pytest.mark.peers
@pytest.mark.parametrize("how", ANSWERS)
def test_a_request_that_fails_once_or_for_a_while_is_survived(running_forge: Forge, grounds: Grounds, how: str) -> None:
    boundary = Boundary(running_forge, grounds("s3", "sqlite"))
    for number in some(boundary.requests, 3, how):
        boundary.fail(fault="request", at=number, how=how)
    for number in some(boundary.requests, 2, (how, "often")):
        assert boundary.fail(fault="request", at=number, how=how, often=6)


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["statement", "commit", "lost commit"])
def test_a_database_connection_that_ends_is_survived(running_forge: Forge, grounds: Grounds, kind: str) -> None:
    boundary = Boundary(running_forge, grounds("files", "postgres"))
    total = boundary.statements if kind == "statement" else boundary.commits
    for number in some(total, 5, kind):
        assert boundary.fail(fault=kind, at=number), number


@pytest.mark.peers
@pytest.mark.parametrize("table", ["objects", "arrivals", "derived", "work_items", "audit_events"])
def test_a_full_database_server_says_so(running_forge: Forge, grounds: Grounds, table: str) -> None:
    assert set(Boundary(running_forge, grounds("files", "postgres")).fail(fault="full", at=table)) == {"catalogue_full"}


def test_a_process_that_lets_a_bare_error_out_is_caught(running_forge: Forge, embedded: Ground) -> None:
    """The broken twin: a step without translation."""
    boundary = Boundary(running_forge, embedded, twin="bare errors")
    with pytest.raises(Caught) as caught:
        boundary.fail(fault="file size", at=1 << 14)
    assert caught.value.kind == "bare_exception"

"""Steps found from outside: death before the n-th system call, and errors of calls. All in ``make prove``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault.durability import CALLS, RECEIPT, unsynced
from tests.fault.forge import Forge
from tests.fault.outside import DEADLY, FAILING, Outside, judge, why_not
from tests.fault.sweep import some
from tests.fault.world import COMBINATIONS, DatabaseKind, Ground, StoreKind

pytestmark = [pytest.mark.peers, pytest.mark.skipif(bool(why_not()), reason=why_not())]
Grounds = Callable[[StoreKind, DatabaseKind], Ground]
# whose failure says that bytes are not durable, so that silence would be a lie
MUST_BE_HEARD = ("fsync", "linkat", "write")


@pytest.mark.parametrize(("store", "database"), COMBINATIONS)
def test_a_death_before_any_system_call_loses_and_doubles_nothing(
    running_forge: Forge, grounds: Grounds, store: StoreKind, database: DatabaseKind
) -> None:
    outside = Outside(running_forge, grounds(store, database))
    calls = outside.calls(DEADLY)
    expected = {"files": {"fsync", "linkat", "write"}, "s3": {"sendto"}}[store]
    expected |= {"sqlite": {"pwrite64", "fdatasync"}, "postgres": {"sendto"}}[database]
    assert expected <= calls.keys()
    for call, total in sorted(calls.items()):
        for number in some(total, 3, (call, store, database)):
            outside.die_at(call, number)


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_failing_system_call_is_reported_by_a_code_and_survived(
    running_forge: Forge, grounds: Grounds, error: str
) -> None:
    outside = Outside(running_forge, grounds("files", "sqlite"))
    for call, total in sorted(outside.calls(FAILING, "stubborn_run").items()):
        for number in some(total, 2, (call, error)):
            codes = outside.fail_at(call, number, error)
            assert codes or call not in MUST_BE_HEARD, f"{call} {number} failed and nobody heard of it"


@pytest.mark.parametrize(("call", "number"), [("pwrite64", 200), ("write", 5), ("fsync", 20), ("openat", 40)])
def test_a_disk_that_fails_for_a_while_is_survived(
    running_forge: Forge, grounds: Grounds, call: str, number: int
) -> None:
    assert Outside(running_forge, grounds("files", "sqlite")).fail_at(call, number, "EIO", often=True)


@pytest.mark.parametrize("database", ["catalogue", "vault"])
def test_a_database_file_that_opens_for_reading_alone_once_is_written_again(
    running_forge: Forge, grounds: Grounds, database: str
) -> None:
    """SQLite then falls back to reading, silently; a pooled connection would stay so for ever."""
    outside = Outside(running_forge, grounds("files", "sqlite"))
    with outside.ground.world() as world:
        trace = Path(world.home) / "trace"
        outside._traced(["-e", "trace=openat", "-o", str(trace)], "stubborn_run", world)
        opens = [line for line in trace.read_text().splitlines() if "openat(" in line]
    wanted = re.compile(rf"/{database}\.db\", O_RDWR\|O_CREAT\|O_NOFOLLOW")
    number = next(number for number, line in enumerate(opens, 1) if wanted.search(line))
    with outside.ground.world() as world:
        ended = outside._injected("openat", f"error=EIO:when={number}", "stubborn_run", world)
        judge(ended, database)
    assert f"{database}_readonly" in ended.said("error")


def test_a_naive_store_is_caught_from_outside_too(running_forge: Forge, grounds: Grounds) -> None:
    """The broken twin: dying between two pieces of one object."""
    outside = Outside(running_forge, grounds("files", "sqlite"), twin="in-place store")
    caught = outside.caught_by_deaths("write", range(2, 12))
    assert {"half_object", "wrong_object"} & caught.keys(), caught


def test_everything_is_on_the_disk_when_the_receipt_is_given(running_forge: Forge, grounds: Grounds) -> None:
    trace = Outside(running_forge, grounds("files", "sqlite")).trace(CALLS)
    assert sum(RECEIPT in line for line in trace) == 7
    assert unsynced(trace) == []


def test_a_store_that_does_not_sync_is_caught(running_forge: Forge, grounds: Grounds) -> None:
    """The broken twin, which no kill can catch."""
    late = unsynced(Outside(running_forge, grounds("files", "sqlite"), twin="no sync").trace(CALLS))
    assert any("/objects/raw/" in path for path in late)

"""Faults, all of them: every numbered step, every system call, every error at the boundary, and 1,000 random kills.

Their numbers follow from the product: a run without faults counts the steps first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from tests.contract.ceph import ceph_missing
from tests.contract.postgres import postgres_programs
from tests.contract.rclone import rclone_binary
from tests.fault.boundary import Boundary
from tests.fault.faults import ANSWERS
from tests.fault.forge import forge
from tests.fault.kills import kill_once
from tests.fault.outside import DEADLY, FAILING, Outside, why_not
from tests.fault.sweep import Sweep
from tests.fault.world import COMBINATIONS, DatabaseKind, StoreKind, ground

_HEARD = frozenset({"fsync", "linkat", "write"})


@dataclass(frozen=True, slots=True)
class Counted:
    """A proof that knows for how many numbers it must hold."""

    count: int
    prove: Callable[[int], object]

    def __call__(self, number: int) -> None:
        self.prove(number)


@contextmanager
def random_kills() -> Iterator[Callable[[int], None]]:
    """A process killed at a random moment loses and doubles nothing; one in ten on the other combinations."""
    present = [pair for pair in COMBINATIONS[1:] if _present(*pair)]
    with ExitStack() as stack:
        running = stack.enter_context(forge())
        sweeps = [Sweep(running, stack.enter_context(ground(*pair))) for pair in (COMBINATIONS[0], *present)]

        def prove(number: int) -> None:
            other = number % 10 == 0 and len(sweeps) > 1
            kill_once(sweeps[1 + number // 10 % (len(sweeps) - 1)] if other else sweeps[0], number)

        yield prove


def _present(store: StoreKind, database: DatabaseKind) -> bool:
    return (store == "files" or rclone_binary() is not None) and (
        database == "sqlite" or postgres_programs() is not None
    )


@contextmanager
def every_step(store: StoreKind, database: DatabaseKind) -> Iterator[Counted]:
    """Death at every step numbered by us."""
    if not _present(store, database):
        yield _left_out("its Debian package is missing")
        return
    with forge() as running, ground(store, database) as here:
        sweep = Sweep(running, here)
        yield Counted(len(sweep.steps), lambda number: sweep.die_at(number + 1))


@contextmanager
def every_call(store: StoreKind, database: DatabaseKind) -> Iterator[Counted]:
    """Death before every write, fsync, link, rename and send."""
    if why_not() or not _present(store, database):
        yield _left_out(why_not() or "its Debian package is missing")
        return
    with forge() as running, ground(store, database) as here:
        outside = Outside(running, here)
        calls = [(call, n) for call, total in sorted(outside.calls(DEADLY).items()) for n in range(1, total + 1)]
        yield Counted(len(calls), lambda number: outside.die_at(*calls[number]))


@contextmanager
def every_error(error: str) -> Iterator[Counted]:
    """The error at every system call that makes something durable or reads it, on the embedded store and database."""
    if why_not():
        yield _left_out(why_not())
        return
    with forge() as running, ground() as here:
        outside = Outside(running, here)
        totals = sorted(outside.calls(FAILING, "stubborn_run").items())
        calls = [(call, n) for call, total in totals for n in range(1, total + 1)]

        def prove(number: int) -> None:
            call, n = calls[number]
            codes = outside.fail_at(call, n, error)
            assert codes or call not in _HEARD, f"{call} {n} failed and nobody heard of it"

        yield Counted(len(calls), prove)


@contextmanager
def every_request() -> Iterator[Counted]:
    """Every way to fail at every request to an S3 server, once and for a while."""
    if not _present("s3", "sqlite"):
        yield _left_out("rclone is missing")
        return
    with forge() as running, ground("s3", "sqlite") as here:
        boundary = Boundary(running, here)
        faults = [(n, how, often) for n in range(1, boundary.requests + 1) for how in ANSWERS for often in (1, 6)]

        def prove(number: int) -> None:
            at, how, often = faults[number]
            boundary.fail(fault="request", at=at, how=how, often=often)

        yield Counted(len(faults), prove)


@contextmanager
def every_statement() -> Iterator[Counted]:
    """The connection to PostgreSQL ends at every statement, before every commit, and after it unheard."""
    if not _present("files", "postgres"):
        yield _left_out("PostgreSQL is missing")
        return
    with forge() as running, ground("files", "postgres") as here:
        boundary = Boundary(running, here)
        faults = [("statement", n) for n in range(1, boundary.statements + 1)]
        faults += [(kind, n) for kind in ("commit", "lost commit") for n in range(1, boundary.commits + 1)]

        def prove(number: int) -> None:
            kind, at = faults[number]
            assert boundary.fail(fault=kind, at=at), f"{kind} {at} failed and nobody heard of it"

        yield Counted(len(faults), prove)


@contextmanager
def strong_server() -> Iterator[Counted]:
    """Death at every fifth step on a server whose conditional writes are relied on; a bucket there costs a second."""
    if ceph_missing():
        yield _left_out("Ceph is missing")
        return
    with forge() as running, ground("ceph", "sqlite") as here:
        sweep = Sweep(running, here)
        yield Counted(len(sweep.steps) // 5, lambda number: sweep.die_at(5 * number + 1))


def _left_out(reason: str) -> Counted:
    print(f"left out: {reason}", flush=True)
    return Counted(0, lambda _: None)


Proofs = dict[str, tuple[int | None, Callable[[], object]]]
EVERY_STEP: Proofs = {
    f"death at every step, {store} and {database}": (None, partial(every_step, store, database))
    for store, database in COMBINATIONS
}
EVERY_STEP["death at every fifth step, ceph and sqlite"] = (None, strong_server)
EVERY_CALL: Proofs = {
    f"death at every system call, {store} and {database}": (None, partial(every_call, store, database))
    for store, database in COMBINATIONS
}
BOUNDARY: Proofs = {
    **{f"{error} at every system call": (None, partial(every_error, error)) for error in ("EIO", "ENOSPC")},
    "every failing request": (None, every_request),
    "every ended connection": (None, every_statement),
}

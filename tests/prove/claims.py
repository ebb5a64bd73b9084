"""Many claimers, processes of their own, that pause until their leases run out, act with old tokens and are killed.

Time is a file that grows with every act, and now and then by much. So nothing waits, nothing depends on how fast the
machine is, and a killed process leaves time as it is. A claimer pauses by laying a case aside and doing others.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import ColumnElement, select

from teleread.errors import Conflict, StorageError
from teleread.reading import claims
from teleread.reading.claims import Claim, Reach
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from tests.prove.claims_history import Belief, event_of, faults
from tests.queueing import case_id, put

BEGAN = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
PRIORITIES = ("urgent", "high", "routine")
ROUND_S = 12.0  # passes while every claimer does one thing
ALL_READ = b"x"  # said by a claimer that has nothing left to do


class SharedTime:
    """A clock that all processes move and none can hold or turn back."""

    def __init__(self, path: Path, tick_s: float) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._tick_s = tick_s

    def now(self) -> float:
        return os.fstat(self._fd).st_size * self._tick_s

    def pass_by(self, seconds: float = 0.0) -> None:
        os.write(self._fd, bytes(1 + int(seconds / self._tick_s)))

    def at(self, now: float) -> datetime:
        return BEGAN + timedelta(seconds=now)


@dataclass(frozen=True)
class Trial:
    """One run: how many claimers, cases and kills."""

    url: str
    folder: Path
    claimers: int
    cases: int
    kills: int
    seed: int


class Claimer:
    """One process's life: claims, works, pauses, and tries its luck with tokens that it has lost."""

    def __init__(self, trial: Trial, who: str, acts: int) -> None:
        self._database = Database(trial.url, wait_s=60)
        self._time = SharedTime(trial.folder / "time", ROUND_S / trial.claimers)
        self._random = Random(f"{trial.seed} {who}")
        self._who = who
        self._acts = acts
        self._log = os.open(trial.folder / f"{who}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lost: list[Claim] = []
        self._aside: list[Claim] = []
        self._jump = 0.3 / trial.claimers

    def live(self) -> None:
        reach = Reach(self._who, ("all", "night"))
        while not self._all_read():
            self._tell_parent()
            try:
                self._once(reach)
            except StorageError as error:
                # one of 64 who want to write to SQLite may wait for too long, and then has done nothing
                if error.code != "catalogue_busy":
                    raise
                self._write({"busy": str(error)})
        os.write(self._acts, ALL_READ)

    def _once(self, reach: Reach) -> None:
        with self._database.write() as conn:
            at = self._time.at(self._time.now())
            claims.expire(conn, at)
            mine = claims.claim_next(conn, reach, at)
            got = self._time.now()  # whoever had it until now must have been told so
        if mine is not None:
            self._believe("claimed", mine, at, got, until=mine.lease_until)
            self._work(mine)
        else:
            self._time.pass_by()  # somebody who was killed still has a case

    def _work(self, mine: Claim) -> None:
        for _ in range(self._random.randrange(3)):
            self._beat(mine)
        if self._random.random() < self._jump:
            self._time.pass_by(self._random.choice((60, 150, 1200)))
        if self._lost and self._random.random() < 0.5:
            self._sign(self._aimed(self._random.choice(self._lost)), stale=True)
        luck = self._random.random()
        if luck < 0.1:
            self._release(mine)
        elif luck < 0.3:
            self._aside.append(mine)
            return
        else:
            self._sign(mine, stale=False)
        self._lost = [*self._lost[-20:], mine]  # whatever came of it, this token has served
        if self._aside and self._random.random() < 0.3:
            late = self._aside.pop(0)
            self._sign(late, stale=False)
            self._lost.append(late)

    def _aimed(self, lost: Claim) -> Claim:
        """A token that was lost: for its own work item, the one that its case has now, or one that another reads."""
        luck = self._random.random()
        items = schema.work_items.c
        if luck < 0.3:
            return lost
        return self._moved_to(lost, items.case_id == lost.case_id if luck < 0.5 else items.claimed_by != self._who)

    def _moved_to(self, lost: Claim, wanted: ColumnElement[bool]) -> Claim:
        """The token shown for a work item that somebody reads."""
        items = schema.work_items.c
        with self._database.read() as conn:
            row = conn.execute(
                select(items.id, items.case_id).where(wanted, items.state == "IN PROGRESS").limit(1)
            ).one_or_none()
        return lost if row is None else replace(lost, item_id=row.id, case_id=row.case_id)

    def _beat(self, mine: Claim) -> None:
        at = BEGAN
        try:
            with self._database.write() as conn:
                at = self._time.at(self._tick())
                until = claims.heartbeat(conn, mine.item_id, self._who, mine.fence, at)
        except Conflict:
            self._believe("refused", mine, at, self._time.now())
        else:
            self._believe("heartbeat", mine, at, self._time.now(), until=until)

    def _sign(self, mine: Claim, *, stale: bool) -> None:
        at = BEGAN
        try:
            with self._database.write() as conn:
                at = self._time.at(self._tick())
                claims.complete(conn, mine.item_id, self._who, mine.fence, at)
        except Conflict:
            self._believe("refused", mine, at, self._time.now(), stale=stale)
        else:
            self._believe("accepted", mine, at, self._time.now(), stale=stale and self._ended(mine))

    def _ended(self, mine: Claim) -> bool:
        """Whether an accepted token had been lost; one whose owner had only let it lie may serve once."""
        table = schema.item_events
        with self._database.read() as conn:
            ends = conn.execute(
                select(table.c.event).where(table.c.item_id == mine.item_id, table.c.from_state == "IN PROGRESS")
            ).all()
        return len(ends) != 1

    def _release(self, mine: Claim) -> None:
        at = BEGAN
        try:
            with self._database.write() as conn:
                at = self._time.at(self._tick())
                claims.give_back(conn, mine.case_id, "released", self._who, "interrupted", at, fence=mine.fence)
        except Conflict:
            self._believe("refused", mine, at, self._time.now())

    def _tick(self) -> float:
        self._time.pass_by()
        return self._time.now()

    def _believe(
        self, what: str, mine: Claim, acted: datetime, at: float, *, until: datetime = BEGAN, stale: bool = False
    ) -> None:
        began, held = ((one - BEGAN).total_seconds() for one in (acted, until))
        self._write(asdict(Belief(what, mine.case_id, mine.item_id, self._who, mine.fence, began, at, held, stale)))

    def _write(self, known: dict[str, Any]) -> None:
        os.write(self._log, json.dumps(known).encode() + b"\n")

    def _tell_parent(self) -> None:
        os.write(self._acts, b".")

    def _all_read(self) -> bool:
        with self._database.read() as conn:
            still = select(schema.work_items.c.id).where(schema.work_items.c.state.in_(["SCHEDULED", "IN PROGRESS"]))
            return conn.execute(still.limit(1)).first() is None


def run(trial: Trial, claimer: type[Claimer] = Claimer) -> list[str]:
    """Run a trial and say what is wrong with its history."""
    return tried(trial, claimer)[0]


def tried(trial: Trial, claimer: type[Claimer] = Claimer) -> tuple[list[str], dict[str, Any]]:
    """As :func:`run`, and how much there was of what."""
    database = Database(trial.url)
    database.migrate()
    names = [f"case {i}" for i in range(trial.cases)]
    with database.write() as conn:
        for i, name in enumerate(names):
            at = BEGAN - timedelta(minutes=i)
            put(conn, name, PRIORITIES[i % 3], at, pool=("all", "night")[i % 2])  # type: ignore[arg-type]
    database.close()
    began = time.monotonic()
    killed = _live_and_die(trial, claimer)
    seconds = round(time.monotonic() - began, 1)
    with database.read() as conn:
        events = [event_of(row) for row in conn.execute(select(schema.item_events).order_by(schema.item_events.c.id))]
    database.close()
    known = [json.loads(line) for path in trial.folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    busy = [one["busy"] for one in known if "busy" in one]
    beliefs = [Belief(**one) for one in known if "busy" not in one]
    missed = ["nobody was ever refused"] if not any(one.what == "refused" for one in beliefs) else []
    found = missed + faults(events, beliefs, cases=[case_id(name) for name in names])
    figures: dict[str, Any] = {"claimers": trial.claimers, "cases": trial.cases, "kills": killed}
    figures |= {"acts": len(beliefs), **Counter(one.what for one in beliefs)}
    figures |= {"stale": sum(one.stale for one in beliefs), "events": len(events), "busy": Counter(busy)}
    return found, figures | {"faults": len(found), "seconds": seconds}


def _live_and_die(trial: Trial, claimer: type[Claimer]) -> int:
    acts, told = os.pipe()
    born = 0
    alive: set[int] = set()

    def bear() -> None:
        nonlocal born
        born += 1
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(acts)
                claimer(trial, f"reader{born}", told).live()
                status = 0
            finally:
                os._exit(status)  # nothing of the parent's is run or written by its copy
        alive.add(child)

    try:
        return _play(trial, acts, told, alive, bear)
    finally:
        for child in alive:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(acts)


def _play(trial: Trial, acts: int, told: int, alive: set[int], bear: Callable[[], None]) -> int:
    """Until all are read; how many were killed meanwhile."""
    random = Random(trial.seed)
    for _ in range(trial.claimers):
        bear()
    killed = 0
    while alive:
        if killed < trial.kills and _acted(acts, random.randrange(1, 2 + 2 * trial.cases // (trial.kills + 1))):
            victim = random.choice(sorted(alive))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            alive.discard(victim)
            killed += 1
            bear()
            continue
        os.close(told)
        while os.read(acts, 4096):
            pass  # until the last one has gone
        for child in sorted(alive):
            _, status = os.waitpid(child, 0)
            alive.discard(child)
            assert status == 0, "a claimer failed"
    return killed


def _acted(acts: int, n: int) -> bool:
    """Wait for so many acts; False when there is nothing left to be done."""
    return all(os.read(acts, 1) != ALL_READ for _ in range(n))


@contextmanager
def on_sqlite() -> Iterator[Callable[[int], None]]:
    """64 claimers, 1,000 cases, 60 kills, on SQLite."""

    def prove(number: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            _prove(f"sqlite:///{folder}/catalogue.sqlite", Path(folder), number)

    yield prove


@contextmanager
def on_postgres() -> Iterator[Callable[[int], None]]:
    """The same on PostgreSQL."""
    from tests.contract.postgres import postgres_server

    with postgres_server() as make:

        def prove(number: int) -> None:
            with tempfile.TemporaryDirectory() as folder:
                _prove(make(), Path(folder), number)

        yield prove


def _prove(url: str, folder: Path, number: int) -> None:
    found, figures = tried(Trial(url, folder, claimers=64, cases=1000, kills=60, seed=number))
    print(json.dumps(figures), flush=True)
    assert not found, found[:10]

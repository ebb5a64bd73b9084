"""An urgent case that nobody takes, while the processes that watch over it are killed again and again.

The ladder is shortened from minutes to seconds, so that a run takes a quarter of a minute; the bound stays as it is.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import patch

from sqlalchemy import select

from teleread.pipeline.watch import watch
from teleread.reading import escalation
from teleread.reading_room import ReadingRoom
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from tests.queueing import put

SHORT = MappingProxyType(
    {kind: timedelta(seconds=n) for kind, n in (("unclaimed", 3), ("unclaimed_coordinator", 6), ("overflow", 9))}
)
BOUND_S = 5.0
ENDS_S = 15.0
CASES = 20


def run(url: str, seed: int, watchers: int = 2, kill_every_s: float = 0.7) -> list[str]:
    """Let the watchers be killed and replaced until the ladder is over; says which steps came too late, or never."""
    random = Random(seed)
    database = Database(url)
    database.migrate()
    with patch.object(escalation, "LADDER", SHORT):
        with database.write() as conn:
            keys = [put(conn, f"case {i}", "urgent", _now(), pool="all") for i in range(CASES)]
        begun = _now()
        database.close()
        seen = _killing(url, begun, watchers, kill_every_s, random)
    late = []
    for key in keys:
        for kind, after in SHORT.items():
            when = seen.get((key, kind))
            if when is None or when > after.total_seconds() + BOUND_S:
                late.append(f"{kind} of {key}: seen after {when} s")
    return late


def _killing(
    url: str, begun: datetime, watchers: int, kill_every_s: float, random: Random
) -> dict[tuple[str, str], float]:
    """When each step was first seen by an onlooker, in seconds from the beginning."""
    alive = [_bear(url) for _ in range(watchers)]
    seen: dict[tuple[str, str], float] = {}
    onlooker = Database(url)
    killed_at = time.monotonic()
    try:
        while (passed := (_now() - begun).total_seconds()) < ENDS_S:
            with onlooker.read() as conn:
                for row in conn.execute(select(schema.alarms.c.detail, schema.alarms.c.kind)):
                    seen.setdefault((row.detail["case_id"], row.kind), passed)
            if watchers and time.monotonic() - killed_at > kill_every_s:
                killed_at = time.monotonic()
                _end(alive.pop(random.randrange(len(alive))))
                alive.append(_bear(url))
            time.sleep(0.1)
    finally:
        for child in alive:
            _end(child)
        onlooker.close()
    return seen


def _bear(url: str) -> int:
    child = os.fork()
    if child == 0:
        try:
            services: Any = SimpleNamespace(catalogue=Database(url), clock=_now, room=ReadingRoom())
            while True:
                watch(services)
                time.sleep(0.5)
        finally:
            os._exit(1)
    return child


def _end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def on_sqlite() -> Iterator[Callable[[int], None]]:
    """Twenty urgent cases, two watchers, one killed every 0.7 s."""

    def prove(number: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            late = run(f"sqlite:///{folder}/catalogue.sqlite", number)
        assert not late, late

    yield prove

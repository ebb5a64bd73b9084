"""How fast an audit trail is chained and checked, and what memory that takes.

    .venv-core/bin/python -m benchmarks.audit [--events 1000000] [--postgres]

PostgreSQL is a private server of Debian's package, with the test suite's settings (no fsync).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert

from teleread.storage import audit
from teleread.storage.audit import Trail
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from tests.contract.postgres import postgres_server

KEY = bytes(32)
AT = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 10_000
ACTIONS = ("land", "prepare", "enqueue", "view", "view", "view", "sign", "give_back")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    with urls(options.postgres) as make:
        measure(make(), options.events)
    return 0


@contextmanager
def urls(postgres: bool) -> Iterator[Callable[[], str]]:
    if postgres:
        with postgres_server() as make:
            yield make
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield lambda: f"sqlite:///{folder}/catalogue.db"


def measure(url: str, events: int) -> None:
    database = Database(url)
    database.migrate()
    begun = time.monotonic()
    for start in range(0, events, BATCH):
        with database.write() as conn:
            conn.execute(insert(schema.audit_events), [event(n) for n in range(start, min(start + BATCH, events))])
    say("events recorded, in bulk", events, time.monotonic() - begun)
    sealer = audit.Sealer([Trail("catalogue", database, schema.audit)], KEY, lambda: AT + timedelta(days=30))
    begun = time.monotonic()
    sealed = sealer.seal_all()
    say("events chained", sealed, time.monotonic() - begun)
    begun = time.monotonic()
    for _ in range(1_000):
        sealer.seal_all()
    print(f"{'a look that finds nothing to chain':<40} {time.monotonic() - begun:9.2f} ms")
    with database.write() as conn:
        conn.execute(insert(schema.audit_events), [event(events)])
    begun = time.monotonic()
    sealer.seal_all()
    print(f"{'one event chained':<40} {1000 * (time.monotonic() - begun):9.2f} ms")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_mb()
    begun = time.monotonic()
    verdict = audit.verify(database, schema.audit, KEY, AT + timedelta(days=30))
    assert verdict.broken is None, verdict.broken
    say("links verified", verdict.links, time.monotonic() - begun)
    print(f"{'memory that verifying added':<40} {peak_mb() - before:9.1f} MB")
    database.close()


def peak_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def event(number: int) -> dict[str, object]:
    return {
        "at": AT + timedelta(seconds=number, microseconds=number % 1_000_000),
        "actor": f"reader{number % 50}",
        "action": ACTIONS[number % len(ACTIONS)],
        "object_type": "case",
        "object_id": f"{number:032x}",
        "detail": {"priority": "urgent", "part": "wave"},
    }


def say(what: str, count: int, seconds: float) -> None:
    print(f"{what:<40} {count:9d} in {seconds:7.1f} s: {count / seconds:9.0f} /s", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

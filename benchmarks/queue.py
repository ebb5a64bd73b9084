"""The reading queue with a million waiting cases: claims a second, and pages at any depth while they are claimed.

    .venv-core/bin/python -m benchmarks.queue [--items N] [--seconds S] [--claimers N] [--only sqlite|postgres] [--json]

Eight processes claim as fast as they can, in rounds by turns with the same number that claim by bare SQL with the same
audit insert; another process reads pages of 50 at random depths as a reader of two pools, forwards and backwards.
PostgreSQL is a cluster of its own from Debian's package; both databases write what is committed to the disk.
Beside the rates stands what one claim costs the processor, client and database together: a busy machine changes that
less.
``--explain`` prints the plans instead.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psutil
from sqlalchemy import Connection, event, text

from teleread.reading import claims, desk
from teleread.reading.claims import Reach
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import work_items

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
NOW = BEGAN + timedelta(days=30)
POOLS = ("ecg", "ct")
PAGE = 50
ROUNDS = 3

# item i came i seconds after the beginning; ids are spread, few are urgent, 20 % high, 60 % of all are in one pool
_ITEMS = """
INSERT INTO work_items (id, case_id, seq, state, priority, rank, reasons, site_id, modality, arrival_id, analysed,
    arrived_at, created_at, kind, band, order_at, due_at, pool, overflow_pool, fence)
SELECT id, id, 1, 'SCHEDULED', CASE r WHEN 0 THEN 'urgent' WHEN 1 THEN 'high' ELSE 'routine' END, r, '[]',
    'site' || (i % 92), CASE i % 5 WHEN 3 THEN 'CT' WHEN 4 THEN 'MR' ELSE 'ECG' END, id, {true},
    at, at, 'reading', CASE r WHEN 0 THEN 0 ELSE 1 END, at, at_limit,
    CASE i % 5 WHEN 3 THEN 'ct' WHEN 4 THEN 'mr' ELSE 'ecg' END, CASE WHEN i % 97 = 0 THEN 'ct' END, 0
FROM ({numbers}) AS n
"""
_ARRIVALS = """
INSERT INTO arrivals (id, receipt, site_id, sha256, size_bytes, object_key, source, kind, clinic_priority, state,
    arrived_at, case_id)
SELECT id, substr(id, 17), 'site' || (i % 92), id || id, 1, 'raw/one', 'web', 'ecg', 'routine', 'prepared', at, id
FROM ({numbers}) AS n
"""
_RANK = "CASE WHEN i % 5000 = 0 THEN 0 WHEN i % 50 < 10 THEN 1 ELSE 2 END AS r"
_NUMBERS = {
    True: f"""
    WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < :n)
    SELECT i, printf('%032x', (i * 2654435761) % 4294967296) AS id, {_RANK},
        strftime('%Y-%m-%d %H:%M:%S.000000', '2026-03-01', '+' || i || ' seconds') AS at,
        strftime('%Y-%m-%d %H:%M:%S.000000', '2026-03-01', '+' || (i + 40000000) || ' seconds') AS at_limit FROM c""",
    False: f"""
    SELECT i, lpad(to_hex((i * 2654435761) % 4294967296), 32, '0') AS id, {_RANK},
        timestamptz '2026-03-01 00:00:00+00' + i * interval '1 second' AS at,
        timestamptz '2026-03-01 00:00:00+00' + (i + 40000000) * interval '1 second' AS at_limit
    FROM generate_series(0::bigint, :n - 1) AS i""",
}


@dataclass(frozen=True)
class Figures:
    """Of one database; times in ms, rates per second."""

    ours: float
    bare: float
    pages: int
    page_p50: float
    page_p99: float
    page_idle_p99: float
    ours_cpu_ms: float
    bare_cpu_ms: float


def fill(database: Database, items: int) -> None:
    """So many waiting cases, each with its arrival."""
    database.migrate()
    numbers = _NUMBERS[database.is_sqlite]
    indexes = sorted(work_items.indexes, key=lambda index: str(index.name))
    with database.write() as conn:
        for index in indexes:  # made anew at the end, which is quicker
            index.drop(conn)
        one = {"key": "raw/one", "sha": "0" * 64, "at": BEGAN.replace(tzinfo=None).isoformat(" ")}
        conn.execute(text("INSERT INTO objects (key, sha256, size_bytes, created_at) VALUES (:key, :sha, 1, :at)"), one)
        conn.execute(text(_ARRIVALS.format(numbers=numbers)), {"n": items})
        conn.execute(text(_ITEMS.format(numbers=numbers, true="1" if database.is_sqlite else "true")), {"n": items})
        for index in indexes:
            index.create(conn)
    if database.is_sqlite:
        with database.write() as conn:
            conn.execute(text("ANALYZE"))
    else:
        with database._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.execute(text("VACUUM ANALYZE"))


def claim(database: Database, who: str) -> bool:
    """One claim, as the page's."""
    with database.write() as conn:
        return claims.claim_next(conn, Reach(who, POOLS), NOW) is not None


def claim_bare(database: Database, who: str) -> bool:
    """One claim by SQL alone, as one would write it who knows the indexes, with the same audit insert and no other."""
    mark, lock, front = ("?", "", 1) if database.is_sqlite else ("%s", "FOR UPDATE SKIP LOCKED", 8)
    fronts = " UNION ALL ".join(
        f"""SELECT * FROM (SELECT id FROM work_items WHERE state = 'SCHEDULED' AND pool = '{pool}'
        ORDER BY band, order_at, id LIMIT {front}) AS {pool}"""
        for pool in POOLS
    )
    with database.write() as conn:
        cursor = conn.connection.cursor()
        at = str(NOW.replace(tzinfo=None)) if database.is_sqlite else NOW
        until = str((NOW + timedelta(minutes=15)).replace(tzinfo=None)) if database.is_sqlite else NOW
        cursor.execute(
            f"""UPDATE work_items SET state = 'IN PROGRESS', fence = fence + 1, claimed_by = {mark},
            claimed_at = {mark}, lease_until = {mark} WHERE id = (SELECT id FROM work_items WHERE state = 'SCHEDULED'
            AND id IN ({fronts}) ORDER BY band, order_at, id LIMIT 1 {lock}) RETURNING case_id, fence""",
            (who, at, until),
        )
        row = cursor.fetchone()
        if row is None:
            return False  # others have just taken all that it looked at
        cursor.execute(
            f"""INSERT INTO audit_events (at, actor, action, object_type, object_id, detail)
            VALUES ({mark}, {mark}, 'claim', 'case', {mark}, {mark}) RETURNING id""",
            (at, who, row[0], json.dumps({"fence": row[1]})),
        )
        cursor.fetchone()
    return True


def read_page(database: Database, random: Random, items: int) -> None:
    """A page of 50 somewhere in the list."""
    i = random.randrange(items)
    cursor = (0 if i % 5000 == 0 else 1, BEGAN + timedelta(seconds=i), "")
    where: dict[str, Any] = {"after": cursor} if random.random() < 0.5 else {"before": cursor}
    with database.read() as conn:
        desk.page(conn, desk.View(), Reach("reader", POOLS), limit=PAGE, **where)


def in_children(n: int, work: Callable[[int], Any]) -> list[Any]:
    """What n processes say that do the same at once."""
    pipes = []
    for number in range(n):
        there, here = os.pipe()
        if os.fork() == 0:
            status = 1
            try:
                os.write(here, json.dumps(work(number)).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(here)
        pipes.append(there)
    found = []
    for there in pipes:
        with os.fdopen(there, "rb") as pipe:
            found.append(json.loads(pipe.read()))
        os.wait()
    return found


def one_round(url: str, act: Callable[[Database, str], bool], claimers: int, seconds: float, items: int) -> Any:
    """Claims a second of all claimers together, and the milliseconds of the pages read meanwhile."""

    def work(number: int) -> Any:
        database = Database(url)
        if number == claimers:
            return _pages(database, seconds, items)
        act(database, f"warm{number}")
        n, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            n += act(database, f"reader{number}")
        return n / (time.perf_counter() - begun)

    *rates, pages = in_children(claimers + 1, work)
    return sum(rates), pages


def cost_ms(url: str, act: Callable[[Database, str], bool], n: int = 1000) -> float:
    """Processor time of one claim, the database's with it."""

    def work(_number: int) -> None:
        database = Database(url)
        for _ in range(n):
            act(database, "reader")
        database.close()

    begun = _spent_s()
    in_children(1, work)
    time.sleep(0.2)  # until the database's process has gone, and is counted with its parent
    return (_spent_s() - begun) * 1000 / n


def _spent_s() -> float:
    """Processor time of this process's children, those that have ended and those that run."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + sum(sum(one.cpu_times()[:4]) for one in psutil.Process().children(True))


def _pages(database: Database, seconds: float, items: int) -> list[float]:
    random = Random(os.getpid())
    for _ in range(20):
        read_page(database, random, items)
    found, ends = [], time.perf_counter() + seconds
    while time.perf_counter() < ends:
        begun = time.perf_counter()
        read_page(database, random, items)
        found.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.005)
    return found


def measure(url: str, items: int, claimers: int, seconds: float) -> Figures:
    """Fill and measure."""
    database = Database(url)
    begun = time.perf_counter()
    fill(database, items)
    print(f"  {items} cases in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    database.close()
    ours, bare, pages, ours_cpu, bare_cpu = [], [], [], [], []
    for _ in range(ROUNDS):
        rate, read = one_round(url, claim, claimers, seconds, items)
        ours.append(rate)
        pages += read
        bare.append(one_round(url, claim_bare, claimers, seconds, items)[0])
        ours_cpu.append(cost_ms(url, claim))
        bare_cpu.append(cost_ms(url, claim_bare))
        print(f"  claims/s {ours[-1]:.0f}, by SQL alone {bare[-1]:.0f}", file=sys.stderr, flush=True)
    (idle,) = in_children(1, lambda _number: _pages(Database(url), seconds, items))
    pages.sort()
    return Figures(
        statistics.median(ours),
        statistics.median(bare),
        len(pages),
        statistics.median(pages),
        pages[int(len(pages) * 0.99)],
        sorted(idle)[int(len(idle) * 0.99)],
        statistics.median(ours_cpu),
        statistics.median(bare_cpu),
    )


def explain(url: str, items: int) -> None:
    """The plans of the claim and of a page."""
    database = Database(url)
    fill(database, items)
    prefix = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN (ANALYZE, BUFFERS) "

    with database.write() as conn:

        def show(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
            if statement.lstrip().startswith(("SELECT", "WITH", "UPDATE")):
                cursor = conn.connection.cursor()
                cursor.execute(prefix + statement, parameters)
                print(statement[:200].replace("\n", " "), "...")
                for row in cursor.fetchall():
                    print("   ", row[-1])

        event.listen(conn, "before_cursor_execute", show)
        _acts(conn)


def _acts(conn: Connection) -> None:
    at, reach = BEGAN + timedelta(seconds=400_000), Reach("reader", POOLS)
    desk.page(conn, desk.View(), reach, after=(1, at, ""))
    desk.page(conn, desk.View(), reach, before=(1, at, ""))
    desk.page(conn, desk.View(site="site7"), None, after=(1, at, ""))
    desk.tally(conn, desk.View(), reach)
    claims.claim_next(conn, reach, NOW)


@contextmanager
def databases(only: str | None) -> Iterator[list[tuple[str, str]]]:
    """Names and URLs of empty ones."""
    with tempfile.TemporaryDirectory() as folder:
        found = [] if only == "postgres" else [("SQLite", f"sqlite:///{folder}/catalogue.sqlite")]
        if only == "sqlite":
            yield found
            return
        from tests.contract.postgres import postgres_server

        with postgres_server(durable=True) as make:
            yield [*found, ("PostgreSQL", make())]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000, help="waiting cases (default: a million)")
    parser.add_argument("--claimers", type=int, default=8, help="processes that claim (default: 8)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round (default: 5)")
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="one database alone")
    parser.add_argument("--explain", action="store_true", help="print the plans and measure nothing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with databases(options.only) as found:
        for name, url in found:
            print(name, file=sys.stderr, flush=True)
            if options.explain:
                explain(url, options.items)
                continue
            got = measure(url, options.items, options.claimers, options.seconds)
            _show(name, got, as_json=options.json)
    return 0


def _show(name: str, got: Figures, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"database": name, **{key: getattr(got, key) for key in Figures.__dataclass_fields__}}))
        return
    print(
        f"{name}: {got.ours:.0f} claims/s, {got.bare:.0f} by SQL alone ({got.bare / got.ours:.2f} times); processor "
        f"{got.ours_cpu_ms:.2f} ms a claim, {got.bare_cpu_ms:.2f} ms ({got.ours_cpu_ms / got.bare_cpu_ms:.2f} times); "
        f"page of {PAGE} at any depth, median {got.page_p50:.1f} ms, p99 {got.page_p99:.1f} ms of {got.pages} "
        f"({got.page_idle_p99:.1f} ms when nobody claims)"
    )


if __name__ == "__main__":
    sys.exit(main())

"""The vault's speed: enrolling, joining, finding object keys, and another master key under 100,000 entries.

    .venv/bin/python -m benchmarks.vault [--entries N] [--url URL]

SQLite in a temporary folder unless a URL names an empty PostgreSQL database. Beside it, in the same run, bare inserts
into the same database, one durable transaction each: what the disk and the database alone cost.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import text

from teleread.storage.catalogue.database import Database
from teleread.storage.objects.protocol import DataKey
from teleread.storage.vault import Identity, KeyRing, Vault

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
ROUNDS = 5


def patient(number: int) -> Identity:
    return Identity(f"H{number % 10}", f"{number // 10:07}", f"张^{number % 997}", date(1950, 1, 1 + number % 28), "M")


def per_second(count: int, act: Callable[[int], object], start: int = 0) -> float:
    """Median of the rounds."""
    rates = []
    for number in range(ROUNDS):
        begun = time.perf_counter()
        for i in range(count):
            act(start + number * count + i)
        rates.append(count / (time.perf_counter() - begun))
    return statistics.median(rates)


def measure(folder: Path, url: str, entries: int) -> None:
    ring = KeyRing.open(folder / "ring", clock=lambda: AT)
    vault = Vault(url, ring)
    vault.migrate()
    database = Database(url)
    with database.write() as conn:
        conn.execute(text("CREATE TABLE bare (id INTEGER PRIMARY KEY, it TEXT)"))

    def bare(number: int) -> None:
        with database.write() as conn:
            conn.execute(text("INSERT INTO bare VALUES (:id, :it)"), {"id": number, "it": "x" * 800})

    pseudonyms: list[str] = []
    keys: list[DataKey] = []

    def enroll(number: int) -> None:
        key = DataKey(secrets.token_hex(32), secrets.token_bytes(8), secrets.token_bytes(32))
        pseudonyms.append(vault.enroll(patient(number), AT, data_keys=[key]).pseudonym)
        keys.append(key)

    def join(number: int) -> None:
        vault.join([pseudonyms[number]], who="r1", why="read", case_ids=["c1"], at=AT)

    def join_50(number: int) -> None:
        vault.join(pseudonyms[number : number + 50], who="r1", why="read", case_ids=["c1"], at=AT)

    rows = [
        ("bare durable insert", per_second(100, bare)),
        ("enroll, new, one object key", per_second(100, enroll)),
        ("enroll, known", per_second(200, lambda n: vault.enroll(patient(n % 500), AT))),
        ("join, one", per_second(100, lambda n: join(n % 500))),
        ("join, fifty at once", per_second(20, lambda n: join_50(n % 400))),
        (
            "object key out of the vault",
            per_second(200, lambda n: vault.keys.recover(keys[n % 500].root_sha256, keys[n % 500].id)),
        ),
        ("project pseudonym", per_second(200, lambda n: vault.project_pseudonym("a", pseudonyms[n % 500]))),
    ]
    for name, rate in rows:
        print(f"{name:<32} {rate:10,.0f} /s", flush=True)
    fill(vault, len(pseudonyms), entries)
    waits: list[float] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            begun = time.perf_counter()
            join(len(waits) % 500)
            waits.append(time.perf_counter() - begun)

    worker = threading.Thread(target=work)
    worker.start()
    begun = time.perf_counter()
    wrapped = vault.rotate()
    taken = time.perf_counter() - begun
    over.set()
    worker.join()
    print(f"rotation of {wrapped:,} keys: {taken:.1f} s, {wrapped / taken:,.0f} /s")
    print(f"joins meanwhile: {len(waits)}, the slowest waited {max(waits) * 1000:.0f} ms")
    database.close()
    vault.close()


def fill(vault: Vault, start: int, entries: int) -> None:
    """The rest of the entries, many in a transaction, by the vault's own parts."""
    rows, database = vault._entries, vault._database
    for first in range(start, entries, 1_000):
        with database.write() as conn:
            for number in range(first, min(first + 1_000, entries)):
                rows.insert(conn, patient(number), AT, None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--url", help="an empty PostgreSQL database")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.url or f"sqlite:///{folder}/vault.db", options.entries)
    return 0


if __name__ == "__main__":
    sys.exit(main())

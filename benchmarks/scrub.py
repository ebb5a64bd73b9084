"""How fast everything that is stored is read and hashed, beside hashlib on the same bytes in memory.

    python -m benchmarks.scrub [--megabytes 512] [--rounds 5]

Prints one line of JSON for each size of object: medians over the rounds, in which all take turns, and the CPU time
that each needs, which a busy machine distorts less. ``hashlib``: the same number of bytes, unsealed, in memory, one
thread. ``files``: hashlib.file_digest of the stored files as they lie, one after another.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlalchemy import insert

from teleread.pipeline.scrub import scrub
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import objects
from teleread.storage.objects import FileBlobs, SealedStore
from tests.contract.keys import TestKeys

_AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
SIZES = (60_000, 512 << 10, 16 << 20)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512, help="of objects of each size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            count = max(1, options.megabytes * 1_000_000 // size)
            print(json.dumps(measured(Path(folder), size, count, options.rounds, options.threads)), flush=True)


def measured(home: Path, size: int, count: int, rounds: int, threads: int) -> dict[str, Any]:
    """Both speeds for objects of one size, in MB/s."""
    catalogue = Database(f"sqlite:///{home / 'catalogue.db'}")
    catalogue.migrate()
    store = SealedStore(FileBlobs(home / "objects"), TestKeys())
    plain = bytearray(random.Random(size).randbytes(size))
    with catalogue.write() as conn:
        for number in range(count):
            plain[:8] = number.to_bytes(8, "big")
            stored = store.put_raw(bytes(plain))
            row = {"key": stored.key, "sha256": stored.sha256, "size_bytes": size, "created_at": _AT}
            conn.execute(insert(objects).values(**row))
    services: Any = SimpleNamespace(catalogue=catalogue, store=store, clock=lambda: _AT)
    paths = [home / "objects" / info.key for info in store.blobs.list()]

    def ours() -> None:
        report = scrub(services, fresh=True, threads=threads)
        assert (report.objects, report.faults) == (count, 0)

    def hashes() -> None:
        for _ in range(count):
            hashlib.sha256(plain).digest()

    def files() -> None:
        for path in paths:
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256").digest()

    taken: dict[str, list[tuple[float, float]]] = {"scrub": [], "hashlib": [], "files": []}
    for _ in range(rounds):
        for name, act in (("scrub", ours), ("hashlib", hashes), ("files", files)):
            wall, cpu = time.perf_counter(), time.process_time()
            act()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    catalogue.close()
    mb = count * size / 1e6
    speed = {name: mb / statistics.median(wall for wall, _ in times) for name, times in taken.items()}
    cpu_ms = {name: 1e3 * statistics.median(cpu for _, cpu in times) / mb for name, times in taken.items()}
    return {
        "object_bytes": size,
        "objects": count,
        "threads": threads,
        "mb_s": {name: round(value) for name, value in speed.items()},
        "cpu_ms_per_mb": {name: round(value, 2) for name, value in cpu_ms.items()},
        "of_hashlib": round(speed["scrub"] / speed["hashlib"], 2),
        "of_files": round(speed["scrub"] / speed["files"], 2),
    }


if __name__ == "__main__":
    main()

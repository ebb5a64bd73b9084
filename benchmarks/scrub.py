"""How fast everything that is stored is read and hashed, beside hashlib on the same bytes in memory.

    python -m benchmarks.scrub [--megabytes 512] [--rounds 5]

Prints one line of JSON for each size of object: medians over the rounds, in which both take turns. hashlib gets as
many threads as the scrub, and its bytes are in memory, unsealed and without a file to open.
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
from concurrent.futures import ThreadPoolExecutor
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
    ours, theirs = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        report = scrub(services, fresh=True, threads=threads)
        ours.append(count * size / 1e6 / (time.perf_counter() - begun))
        assert (report.objects, report.faults) == (count, 0)
        begun = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            for _digest in pool.map(lambda _number: hashlib.sha256(plain).digest(), range(count)):
                pass
        theirs.append(count * size / 1e6 / (time.perf_counter() - begun))
    catalogue.close()
    scrub_speed, hash_speed = statistics.median(ours), statistics.median(theirs)
    return {
        "object_bytes": size,
        "objects": count,
        "threads": threads,
        "scrub_mb_s": round(scrub_speed),
        "hashlib_mb_s": round(hash_speed),
        "ratio": round(scrub_speed / hash_speed, 2),
    }


if __name__ == "__main__":
    main()

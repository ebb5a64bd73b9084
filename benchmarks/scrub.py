"""How fast everything that is stored is read and hashed, beside hashlib on the same bytes in memory.

    python -m benchmarks.scrub [--megabytes 1500] [--rounds 5]

Prints one line of JSON for objects of one size, and for a mix as an alliance has it: a hundred ECGs of 60 KB, twenty
slices of 0.5 MB and one film of 16 MB. Medians over the rounds, in which all take turns, and the CPU time that each
needs, which a busy machine distorts less. ``hashlib``: the same number of bytes, unsealed, in memory, one thread.
``files``: hashlib.file_digest of the stored files as they lie, one after another.
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
ECG, SLICE, FILM = 60_000, 512 << 10, 16 << 20
MIXES: dict[str, tuple[int, ...]] = {
    "ecg": (ECG,),
    "slice": (SLICE,),
    "film": (FILM,),
    "mix": (*[ECG] * 100, *[SLICE] * 20, FILM),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1500, help="of objects of each size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    for name, mix in MIXES.items():
        with tempfile.TemporaryDirectory() as folder:
            sizes = list(mix) * max(1, options.megabytes * 1_000_000 // sum(mix))
            print(
                json.dumps({"objects": name, **measured(Path(folder), sizes, options.rounds, options.workers)}),
                flush=True,
            )


def measured(home: Path, sizes: list[int], rounds: int, workers: int) -> dict[str, Any]:
    """All speeds for objects of these sizes, in MB/s."""
    catalogue = Database(f"sqlite:///{home / 'catalogue.db'}")
    catalogue.migrate()
    store = SealedStore(FileBlobs(home / "objects"), TestKeys())
    plains = {size: bytearray(random.Random(size).randbytes(size)) for size in set(sizes)}
    with catalogue.write() as conn:
        for number, size in enumerate(sizes):
            plains[size][:8] = number.to_bytes(8, "big")
            stored = store.put_raw(bytes(plains[size]))
            row = {"key": stored.key, "sha256": stored.sha256, "size_bytes": size, "created_at": _AT}
            conn.execute(insert(objects).values(**row))
    services: Any = SimpleNamespace(catalogue=catalogue, store=store, clock=lambda: _AT)
    paths = [home / "objects" / info.key for info in store.blobs.list()]

    def ours() -> None:
        report = scrub(services, fresh=True, workers=workers)
        assert (report.objects, report.faults) == (len(sizes), 0)

    def hashes() -> None:
        for size in sizes:
            hashlib.sha256(plains[size]).digest()

    def files() -> None:
        for path in paths:
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256").digest()

    taken: dict[str, list[tuple[float, float]]] = {"scrub": [], "hashlib": [], "files": []}
    for _ in range(rounds):
        for name, act in (("scrub", ours), ("hashlib", hashes), ("files", files)):
            wall, cpu = time.perf_counter(), _cpu_s()
            act()
            taken[name].append((time.perf_counter() - wall, _cpu_s() - cpu))
    catalogue.close()
    mb = sum(sizes) / 1e6
    speed = {name: mb / statistics.median(wall for wall, _ in times) for name, times in taken.items()}
    cpu_ms = {name: 1e3 * statistics.median(cpu for _, cpu in times) / mb for name, times in taken.items()}
    return {
        "count": len(sizes),
        "workers": workers,
        "mb_s": {name: round(value) for name, value in speed.items()},
        "cpu_ms_per_mb": {name: round(value, 2) for name, value in cpu_ms.items()},
        "of_hashlib": round(speed["scrub"] / speed["hashlib"], 2),
        "of_files": round(speed["scrub"] / speed["files"], 2),
    }


def _cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


if __name__ == "__main__":
    main()

"""How fast the object store is, beside what it cannot beat.

    python -m benchmarks.object_store files     durable sealed puts into the file store, beside plain files

Every round does all kinds of work, so that a busy moment meets all of them; the first round warms up and does not
count; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from pathlib import Path

from teleread.storage.objects import FileBlobs, SealedStore
from tests.contract.keys import TestKeys

SMALL, LARGE = 4096, 1 << 19
FOLDERS = 256


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result: objects and plaintext megabytes a second, and how that compares."""

    what: str
    size_bytes: int
    per_s: float
    mb_per_s: float
    beside: str = ""
    ratio: float | None = None
    bar: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work on objects of one size: ``run`` does one round of it, on what ``prepare`` made; making and
    cleaning are not timed.
    """

    what: str
    size_bytes: int
    objects: int
    run: Callable[[list[bytes]], object]
    beside: str = ""
    bar: str = ""
    prepare: Callable[[], list[bytes]] = list
    clean: Callable[[], object] = _nothing


def measure(works: Sequence[Work], rounds: int) -> list[Figure]:
    """Median speed of each kind of work."""
    seconds: dict[Work, list[float]] = {work: [] for work in works}
    for number in range(rounds + 1):
        for work in works:
            prepared = work.prepare()
            began = time.perf_counter()
            work.run(prepared)
            if number:
                seconds[work].append(time.perf_counter() - began)
            work.clean()
        _say(f"round {number} of {rounds}" if number else "warm")
    speed = {work: work.objects / statistics.median(taken) for work, taken in seconds.items()}
    named = {(work.what, work.size_bytes): per_s for work, per_s in speed.items()}
    return [
        Figure(
            work.what,
            work.size_bytes,
            round(per_s, 1),
            round(per_s * work.size_bytes / 1e6, 1),
            work.beside,
            round(per_s / named[work.beside, work.size_bytes], 3) if work.beside else None,
            work.bar,
        )
        for work, per_s in speed.items()
    ]


# durable sealed puts


def files(folder: Path, *, threads: int, rounds: int, scale: float) -> list[Figure]:
    """Puts by several threads, beside writing the plaintext to files without a word to the disk."""
    plain = folder / "plain"
    plain.mkdir()
    store = SealedStore(FileBlobs(folder / "objects"), TestKeys())
    for i in range(FOLDERS):
        store.put(f"known/{i:02x}/first", b"")
    numbers = count()

    def write(data: bytes) -> None:
        with open(plain / data[:8].hex(), "wb") as file:
            file.write(data)

    def put_known(data: bytes) -> None:
        store.put(f"known/{data[7]:02x}/{data[:8].hex()}", data)

    def drop() -> None:
        # what nobody synced would be written to the disk while others are measured
        shutil.rmtree(plain)
        plain.mkdir()

    def new(size: int, objects: int) -> list[bytes]:
        rest = os.urandom(size - 8)
        return [next(numbers).to_bytes(8, "big") + rest for _ in range(objects)]

    def many(put: Callable[[bytes], object], data: list[bytes]) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(put, data):
                pass

    works = []
    for size, objects, bar in ((SMALL, 2000, "1,000 / s"), (LARGE, 300, "400 MB/s")):
        objects = max(threads, int(objects * scale))
        prepare = partial(new, size, objects)
        for what, put, beside in (
            ("plain files, no fsync", write, ""),
            ("sealed, durable, into folders that exist", put_known, "plain files, no fsync"),
            ("sealed, durable, raw (new folders)", store.put_raw, "plain files, no fsync"),
        ):
            run, clean = partial(many, put), _nothing if beside else drop
            works.append(Work(what, size, objects, run, beside, bar if beside else "", prepare, clean))
    return measure(works, rounds)


PARTS: dict[str, Callable[..., list[Figure]]] = {"files": files}


@contextmanager
def _emptied(parent: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="benchmark-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _say(line: str) -> None:
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def _table(figures: Sequence[Figure]) -> Iterator[str]:
    yield "| what | size | objects/s | MB/s | beside | ratio | bar |"
    yield "|---|---|---|---|---|---|---|"
    for one in figures:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        size = f"{one.size_bytes // 1024} KiB"
        yield f"| {one.what} | {size} | {one.per_s:,.0f} | {one.mb_per_s:,.0f} | {one.beside} | {ratio} | {one.bar} |"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.object_store", description=__doc__)
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--threads", type=int, help="8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of objects")
    parser.add_argument("--folder", type=Path, default=Path(), help="where to write; its disk is what is measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(words)
    threads = options.threads or {"files": 8, "scrub": os.cpu_count() or 2}[options.part]
    load = os.getloadavg()[0]
    with _emptied(options.folder) as folder:
        figures = PARTS[options.part](folder, threads=threads, rounds=options.rounds, scale=options.scale)
    machine = f"{os.cpu_count()} cores, load {load:.1f} before, Python {platform.python_version()}, {threads} threads"
    if options.json:
        print(json.dumps({"machine": machine, "figures": [asdict(one) for one in figures]}, indent=1))
    else:
        print(machine, *_table(figures), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

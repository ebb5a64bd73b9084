"""Looks for recordings in a folder that a cart writes into. It polls: shared folders tell nobody of changes.

A file is taken once it is whole and still: the same size and time of change in two looks, and for some seconds. A
name written over is another recording. Files that belong together (a WFDB header and what it names) are taken
together. What is in a folder named ``urgent`` (or 紧急) is urgent.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from teleread.agent.disk import FULL, read_json, write_json
from teleread.agent.spool import Spool

log = logging.getLogger(__name__)

STILL_S = 2.0
PARTNER_WAIT_S = 60.0
"""How long a header waits for the files that it names before it is sent alone."""
DEPTH = 4
URGENT_FOLDERS = frozenset({"urgent", "紧急", "急诊"})
_UNFINISHED = (".part", ".tmp", ".temp", ".crdownload", ".filepart", "~")
_HEADER_BYTES = 64 << 10
_IN_MEMORY_BYTES = 32 << 20

Sign = tuple[int, int]
"""Size and time of change in nanoseconds: who writes a file anew changes one of them."""


@dataclass(slots=True)
class _Seen:
    sign: Sign
    since: float


class Watcher:
    """Brings what appears in a folder into the spool, each version of a file once.

    Args:
        memory: where what was taken is written down, so that a restart takes nothing twice.
        clock: seconds that only go on, for stillness; the wall clock is not to be trusted.
        now: seconds since 1970 by this PC.
    """

    def __init__(
        self,
        folder: Path,
        spool: Spool,
        memory: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._spool = spool
        self._memory = memory
        self._clock = clock
        self._now = now
        self._taken: dict[str, Sign] = {name: (sign[0], sign[1]) for name, sign in (read_json(memory) or {}).items()}
        self._seen: dict[str, _Seen] = {}

    def look(self) -> int:
        """One look; returns how many recordings were taken.

        Raises:
            OSError: the folder itself cannot be read, or this PC's disk takes nothing more.
        """
        present = dict(_walk(self._folder))
        moment = self._clock()
        still: dict[str, Sign] = {}
        for name, sign in present.items():
            seen = self._seen.get(name)
            if seen is None or seen.sign != sign:
                self._seen[name] = _Seen(sign, moment)
            elif moment - seen.since >= STILL_S and self._taken.get(name) != sign and sign[0] > 0:
                still[name] = sign
        self._seen = {name: seen for name, seen in self._seen.items() if name in present}
        count = 0
        for names in self._recordings(still, present):
            count += self._take(names, still)
        gone = [name for name in self._taken if name not in present]
        for name in gone:
            del self._taken[name]
        if count or gone:
            write_json(self._memory, self._taken)
        return count

    def _recordings(self, still: dict[str, Sign], present: dict[str, Sign]) -> Iterator[list[str]]:
        """Names that are one recording each, those that wait for partners left out."""
        used: set[str] = set()
        for name in sorted(still):
            if not name.lower().endswith(".hea"):
                continue
            partners = [os.path.join(os.path.dirname(name), one) for one in self._named_by(name)]
            missing = [one for one in partners if one not in still]
            waited = self._clock() - self._seen[name].since
            if missing and waited < PARTNER_WAIT_S:
                used.update([name, *partners])
                continue
            used.update([name, *partners])
            yield [name, *(one for one in partners if one in still)]
        for name in sorted(still):
            stem, ending = os.path.splitext(name)
            # a signal file whose header is still being written says nothing about itself
            waits = ending.lower() == ".dat" and self._clock() - self._seen[name].since < PARTNER_WAIT_S
            if name not in used and not (waits and f"{stem}.hea" not in self._taken):
                yield [name]

    def _named_by(self, header: str) -> list[str]:
        try:
            with (self._folder / header).open("rb") as file:
                text = file.read(_HEADER_BYTES).decode("utf-8", "replace")
        except OSError:
            return []
        lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        named = dict.fromkeys(line[0] for line in lines[1:])
        return [one for one in named if one == os.path.basename(one) and one not in {".", "..", "~"}]

    def _take(self, names: list[str], still: dict[str, Sign]) -> int:
        paths = {os.path.basename(name): self._folder / name for name in names}
        urgent = any(part.lower() in URGENT_FOLDERS for part in Path(names[0]).parts[:-1])
        try:
            if sum(still[name][0] for name in names) <= _IN_MEMORY_BYTES:
                files = {name: path.read_bytes() for name, path in paths.items()}
                if any(_sign(self._folder / name) != still[name] for name in names):
                    return 0  # written over while it was read: the next look finds it still
                self._spool.add(files, urgent=urgent, seen_at=self._now())
            else:
                self._spool.add_paths(paths, urgent=urgent, seen_at=self._now())
        except OSError as error:
            if error.errno in FULL:
                raise  # every file would fail so: it is said on the page
            # held open by the program that writes it, or the share went away: the next look tries again
            log.warning("a file in the watched folder cannot be taken yet: %s", type(error).__name__)
            return 0
        self._taken |= {name: still[name] for name in names}
        return 1


def _walk(folder: Path, inside: str = "", depth: int = DEPTH) -> Iterator[tuple[str, Sign]]:
    for entry in sorted(os.scandir(folder / inside), key=lambda one: one.name):
        name = os.path.join(inside, entry.name)
        if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
            continue
        try:
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) and depth > 0:
                yield from _walk(folder, name, depth - 1)
            elif stat.S_ISREG(found.st_mode):
                yield name, (found.st_size, found.st_mtime_ns)
        except OSError:
            continue  # gone between two looks at the same folder


def _sign(path: Path) -> Sign:
    found = path.stat()
    return found.st_size, found.st_mtime_ns

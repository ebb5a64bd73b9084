"""The alliance file as it stands now: read again when it has changed, so that a roster needs no restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from teleread.alliance import Alliance
from teleread.errors import Misconfigured

log = logging.getLogger(__name__)

CHECK_EVERY_S = 1.5


class AllianceFile:
    """The newest good contents of an alliance file, for any number of threads.

    A change holds once the file has stayed as it is from one look to the next. A file that has become wrong changes
    nothing: the rules before it hold, and :attr:`problem` says what is wrong until it is mended.

    Args:
        first: what was read at the start.
        read: reads and checks the file.
        monotonic: seconds; the file is looked at once in ``CHECK_EVERY_S`` at most.
    """

    def __init__(
        self,
        path: Path,
        first: Alliance,
        read: Callable[[], Alliance],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._read = read
        self._monotonic = monotonic
        self._current = first
        self._problem: Misconfigured | None = None
        self._read_stamp: tuple[int, ...] | None = None  # what was written before the first look is read once more
        self._seen: tuple[int, ...] | None = None
        self._next_look = monotonic() + CHECK_EVERY_S
        self._lock = threading.Lock()

    def __call__(self) -> Alliance:
        """What holds now. Never fails, and waits for nobody."""
        if self._monotonic() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._look()
                self._next_look = self._monotonic() + CHECK_EVERY_S
            finally:
                self._lock.release()
        return self._current

    @property
    def problem(self) -> Misconfigured | None:
        """What is wrong with the file as it lies there; None when what holds is what it says."""
        return self._problem

    def _look(self) -> None:
        stamp, before = self._stamp(), self._seen
        self._seen = stamp
        if stamp == self._read_stamp or stamp != before:
            # as before, or being written just now: half a file may be a whole one in which nobody is on duty
            return
        try:
            self._current, self._problem = self._read(), None
        except Misconfigured as error:
            # not the sentence: it may hold what somebody typed, a telephone number perhaps
            log.error(
                "the alliance file has changed and is wrong (%s); the rules before hold on; "
                "`teleread coverage` says what is wrong",
                error.code,
            )
            self._problem = error
        # of before it was read: what was written meanwhile differs from it
        self._read_stamp = stamp

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

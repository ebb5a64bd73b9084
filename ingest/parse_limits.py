"""Limits of CPU time and memory around one parse, inside a bounded worker, far below those of the whole job."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from teleread.errors import InputRejected

CPU_S = 2.0
MEMORY_BYTES = 256 << 20
FREE_BYTES = 16 << 20
"""A file up to this size has these limits; a larger one, a day's Holter, has more in proportion."""

_AGAIN_S = 0.05


@contextmanager
def parse_limits(size_bytes: int) -> Iterator[None]:
    """Stop what goes on inside when it takes more than a file of this size may.

    Outside the main thread (signals need it) only the job's own limits hold.

    Raises:
        InputRejected: ``analysis_timeout``, ``too_much_memory``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    share = max(1.0, size_bytes / FREE_BYTES)
    address_space = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGPROF, _stop)
    try:
        _lower(address_space, int(MEMORY_BYTES * share))
        # again and again, because a library may catch the first
        signal.setitimer(signal.ITIMER_PROF, CPU_S * share, _AGAIN_S)
        yield
    except MemoryError:
        raise InputRejected("too_much_memory", "Reading the file asked for more memory than is allowed.") from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, address_space)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise InputRejected("analysis_timeout", "Reading the file took too long and was stopped.")


def _lower(limits: tuple[int, int], more: int) -> None:
    """Let the process take ``more`` bytes of address space than it has now, unless less is allowed already."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            now = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    soft, hard = limits
    wanted = now + more
    if soft == resource.RLIM_INFINITY or wanted < soft:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))

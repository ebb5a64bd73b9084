"""Was everything on the disk when the receipt was given? Read from the order of the system calls.

SIGKILL cannot tell, because the kernel keeps what a dead process has written; a power cut does not. So at each receipt
no object and no write-ahead log may hold bytes that were written and not synced, and no folder an entry that was made
and not synced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

_BYTES = ("write", "pwrite64", "writev", "ftruncate", "fsync", "fdatasync")
_NAMES = ("link", "linkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "unlink", "unlinkat")
CALLS = _BYTES + _NAMES
# what need not outlive anything: SQLite's shared memory, temporary files, our own trace
_PASSING = re.compile(r"-shm$|\.lock$|/\.incoming(/|$)|^/trace$")
RECEIPT = r"{\"ack\""  # as strace quotes it
_LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
_HANDLE = re.compile(r"^\d+<([^>]*)>")
_PATH = re.compile(r'"([^"]*)"')


def unsynced(trace: Iterable[str]) -> list[str]:
    """For each receipt of the trace, what was not durable when it came out."""
    dirty: set[str] = set()  # files with bytes that are not synced
    entries: set[str] = set()  # paths whose name is not synced in its folder
    found = []
    for line in trace:
        match = _LINE.match(line)
        if match is None or match[3].startswith("-"):
            continue
        call, arguments = match[1], match[2]
        if call == "writev":
            if RECEIPT in arguments:
                late = sorted(path for path in dirty | entries if not _PASSING.search(path))
                found += [f"{path} before {arguments[-60:]}" for path in late]
            continue
        _follow(call, arguments, dirty, entries)
    return found


def _follow(call: str, arguments: str, dirty: set[str], entries: set[str]) -> None:
    handle = _HANDLE.match(arguments)
    named = _PATH.findall(arguments)
    if call in ("fsync", "fdatasync") and handle:
        dirty.discard(handle[1])
        entries -= {path for path in entries if str(PurePosixPath(path).parent) == (handle[1] or "/")}
    elif call in ("write", "pwrite64", "ftruncate") and handle:
        if handle[1].startswith("/"):
            dirty.add(handle[1])
    elif call in ("mkdir", "mkdirat") and named:
        entries.add(named[-1])
    elif call in ("link", "linkat", "rename", "renameat", "renameat2") and len(named) == 2:
        entries.add(named[1])
        if named[0] in dirty:
            dirty.add(named[1])
    elif call in ("unlink", "unlinkat") and named:
        dirty.discard(named[-1])
        entries.discard(named[-1])

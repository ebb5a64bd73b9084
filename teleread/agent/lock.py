"""A lock on a file, as the system knows how; it ends with the process that holds it, however that ends."""

from __future__ import annotations

import sys


def try_lock(handle: int) -> bool:
    """Lock the open file; False while somebody else does."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

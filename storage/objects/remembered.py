"""What stores were found to enforce, remembered for a day, so that short-lived processes need not probe again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

VALID = timedelta(hours=24)
_VERSION = 1


class Remembered:
    """A small file of mode 0600; without a path nothing is remembered.

    It only saves work: one that is lost, damaged or open to others counts as empty, and failing to write it is no
    failure. Processes that write it at once lose each other's findings at worst.

    Args:
        path: the file, made when needed in a folder that exists.
        clock: aware.
    """

    def __init__(self, path: Path | None, *, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock

    def recall(self, store: str) -> frozenset[str] | None:
        """What was found at this store within the last 24 hours.

        Args:
            store: names it, without its secret; only a hash of it is written.
        """
        found = self._read().get(_name(store))
        return None if found is None else found[1]

    def keep(self, store: str, enforced: frozenset[str]) -> None:
        """Remember what was found just now."""
        if self._path is None:
            return
        known = {**self._read(), _name(store): (self._clock(), enforced)}
        text = json.dumps(
            {
                "version": _VERSION,
                "stores": {
                    name: {"at": at.isoformat(), "enforced": sorted(enforced)} for name, (at, enforced) in known.items()
                },
            }
        )
        fresh = self._path.with_name(f".{self._path.name}-{secrets.token_hex(8)}")
        try:
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text)
            os.replace(fresh, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)

    def _read(self) -> dict[str, tuple[datetime, frozenset[str]]]:
        """What is still valid."""
        if self._path is None:
            return {}
        try:
            with open(self._path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
                held = os.fstat(file.fileno())
                # whoever could write it could make a weak server pass for a strong one
                if stat.S_IMODE(held.st_mode) & 0o077 or held.st_uid != os.geteuid():
                    return {}
                document = json.load(file)
            if document["version"] != _VERSION:
                return {}
            now = self._clock()
            entries = {
                str(name): (datetime.fromisoformat(entry["at"]), frozenset(map(str, entry["enforced"])))
                for name, entry in document["stores"].items()
            }
            return {name: entry for name, entry in entries.items() if now - VALID < entry[0] <= now}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def _name(store: str) -> str:
    return hashlib.sha256(store.encode()).hexdigest()

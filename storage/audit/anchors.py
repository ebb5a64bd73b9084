"""Anchors: how far a chain was on a day, kept where the database's owner cannot reach.

Whoever owns a database can set it back to an older state, check included; an anchor that lies elsewhere shows it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from teleread.errors import InputRejected, StorageError
from teleread.storage.audit import encoding
from teleread.storage.audit.sealing import Trail, read_head

_FORMAT = 1
_NAME = "*-*-*-*.json"
_KNOWN = re.compile(r"([a-z]{1,32}):([0-9]{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Anchor:
    """The end of a chain at some time.

    Args:
        database: the trail's name.
        seq: number of the last link.
        hash: of that link, lower-case hexadecimal.
        sealed_at, anchored_at: UTC times as text.
        version: of teleread.
        mac: keyed check, hexadecimal; empty when a person copied number and hash from paper.
    """

    database: str
    seq: int
    hash: str
    sealed_at: str = ""
    anchored_at: str = ""
    version: str = ""
    mac: str = ""

    def is_ours(self, key: bytes) -> bool:
        """Whether the check fits; what a person gives without one is taken as it is."""
        return not self.mac or encoding.same(bytes.fromhex(self.mac), self._check(key))

    def _check(self, key: bytes) -> bytes:
        fields = (self.database, str(self.seq), self.hash, self.sealed_at, self.anchored_at, self.version)
        return encoding.anchor_mac(key, *fields)


def write_anchor(trail: Trail, key: bytes, folder: Path, now: datetime, version: str) -> Path | None:
    """Write the day's anchor as ``<date>-<database>.json``; the day's first one stays as it is.

    Args:
        key: of the chain's end.
        folder: made when absent, mode 0700.
        now: aware time; the date is UTC's.
        version: of teleread.

    Returns:
        the file, also when it was there already; None when nothing is chained yet.

    Raises:
        StorageError: ``audit_broken``; ``anchor_unwritable``; and what ``Database`` raises.
    """
    with trail.database.snapshot() as conn:
        head = read_head(conn, trail.tables, key, trail.database.is_sqlite)
    if head is None:
        return None
    at = now.astimezone(UTC)
    bare = Anchor(trail.name, head.seq, head.hash.hex(), head.sealed_at, at.isoformat(), version)
    content = {"format": _FORMAT, **asdict(bare), "mac": bare._check(key).hex()}
    path = folder / f"{at:%Y-%m-%d}-{trail.name}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path, json.dumps(content, indent=1).encode() + b"\n")
    except OSError as error:
        raise StorageError("anchor_unwritable", f"{path} cannot be written: {error.strerror}") from None
    return path


def read_anchors(folder: Path) -> Iterator[Anchor]:
    """All anchors in a folder; none when there is no such folder.

    Raises:
        InputRejected: ``bad_anchor``, naming the file.
    """
    for path in sorted(folder.glob(_NAME)):
        yield read_anchor(path)


def read_anchor(path: Path) -> Anchor:
    """The anchor in a file; whether it is ours, :func:`verify` asks.

    Raises:
        InputRejected: ``bad_anchor``, naming the file.
    """
    try:
        content = json.loads(path.read_bytes())
        if content.pop("format") != _FORMAT:
            raise ValueError("another format")
        anchor = Anchor(**content)
        sizes = {len(bytes.fromhex(text)) for text in (anchor.hash, anchor.mac)}
        if type(anchor.seq) is not int or sizes != {encoding.HASH_BYTES}:
            raise ValueError("not as written")
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
        raise InputRejected("bad_anchor", f"{path.name} is no anchor, or cannot be read") from error
    return anchor


def parse_anchor(words: str) -> Anchor:
    """An anchor from paper: ``catalogue:<number>:<hash>``.

    Raises:
        InputRejected: ``bad_anchor``.
    """
    found = _KNOWN.fullmatch(words.strip().lower())
    if found is None:
        raise InputRejected("bad_anchor", "an anchor on paper is <database>:<number>:<64 hexadecimal digits>")
    return Anchor(found[1], int(found[2]), found[3])


def _create(path: Path, content: bytes) -> None:
    """Whole, durable, and never over another file."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        except OSError:
            # a memory stick's file system knows no links; nobody else writes there at the same time
            os.rename(draft, path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

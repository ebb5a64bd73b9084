"""Uploads on their way: bytes on the disk of the web service, only ever appended, until they are landed.

``<folder>/<site>/<upload id>/upload.json`` says what is coming, ``bytes`` holds what has come. Nothing here is an
acknowledgement: that is the receipt, which follows from landing. Both are readable by us alone, may name a patient
(a file's name often does), and are gone once landed; a settled upload keeps only its receipts, until it expires.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from teleread.alliance import PRIORITIES, Priority
from teleread.errors import Conflict, InputRejected, StorageError

KEEP = timedelta(days=7)
"""How long an upload to which nothing comes is kept."""
KEEP_SETTLED = timedelta(hours=1)
"""How long the receipt of a settled upload is kept here; the catalogue knows it for ever."""
KEEP_SEVERAL = timedelta(days=1)
"""As :data:`KEEP_SETTLED`, where the catalogue cannot tell the receipts from the hash of the bytes that were sent: of
an archive, or of files that are one recording together."""

_ID = re.compile(r"[0-9a-f]{32}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_FREE_BYTES = 64 << 20  # what an upload leaves of the disk: landing, catalogue and log need some
_READ_BYTES = 1 << 20
LANDING_WAIT_S = 10.0
_LOCK_PAUSE_S = 0.05
_TRIES = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """One file on its way.

    Args:
        id: 32 lower-case hexadecimal digits; the same for the same announced bytes of one site and group.
        length: of the file in bytes.
        sha256: as the sender announced it, None when it did not.
        name: the plain file name; needed where files of one recording name each other.
        group: what the files of one recording share; None for a recording of one file.
        group_size: how many files the group has.
        receipts: of what it became; empty until it has landed.
        failure: the code of why it cannot be landed; None while it can.
        waited_s: how long it had waited at the clinic when it was announced, in seconds; None where nobody said.
    """

    id: str
    site_id: str
    actor: str
    length: int
    sha256: str | None
    name: str
    priority: Priority
    group: str | None
    group_size: int
    created_at: datetime
    receipts: tuple[str, ...] = ()
    failure: str | None = None
    waited_s: int | None = None

    @property
    def place(self) -> str:
        """Its folder, relative to the spool's."""
        return f"{self.site_id}/{self.id}"

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be done."""
        return bool(self.receipts) or self.failure is not None


def upload_id(site_id: str, sha256: str, length: int, group: str | None, name: str = "") -> str:
    """The id of announced bytes: two tabs, or page and agent, that send the same file meet in one upload.

    Args:
        name: tells files of a group apart that hold the same bytes.
    """
    within = f"{group}\n{name}" if group else ""
    return hashlib.sha256(f"{site_id}\n{sha256}\n{length}\n{within}".encode()).hexdigest()[:32]


class Spool:
    """The folder of uploads on their way; safe for several threads and processes of one machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, upload: Upload) -> Upload:
        """Begin an upload; one of the same id that is there already goes on, with the higher of both priorities.

        Raises:
            StorageError: ``disk_full``, ``store_io``.
            InputRejected: ``upload_invalid``: the id or the hash is none.
        """
        if not _ID.match(upload.id) or (upload.sha256 is not None and not _HASH.match(upload.sha256)):
            raise InputRejected("upload_invalid", "The upload announces no proper identifier or hash.")
        for attempt in range(_TRIES):
            try:
                return self._create(upload)
            except Conflict:
                # somebody gave up the one of the same bytes at this moment
                if attempt + 1 == _TRIES:
                    raise
        raise AssertionError("every try returned or raised")

    def _create(self, upload: Upload) -> Upload:
        with _disk():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not upload.settled and shutil.disk_usage(self.folder).free < upload.length + _FREE_BYTES:
                raise StorageError("disk_full", "The disk has no room for this upload.")
            place = self.folder / upload.place
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            known = self.find(upload.site_id, upload.id)
            if known is not None:
                is_higher = PRIORITIES.index(upload.priority) < PRIORITIES.index(known.priority)
                return self.raise_priority(known, upload.priority) if is_higher and not known.settled else known
            if not upload.settled:
                # who begins it at the same time writes the same file, with a priority of its own
                if upload.priority != PRIORITIES[-1]:
                    self._mark(upload, upload.priority)
                with open(place / "bytes", "ab", opener=_private):
                    pass
            self._write(upload)
        return self._raised(upload)

    def find(self, site_id: str, identifier: str) -> Upload | None:
        """The site's upload of that id; None when there is none."""
        if not _ID.match(identifier):
            return None
        try:
            found = _parse(json.loads((self.folder / site_id / identifier / "upload.json").read_bytes()))
            return self._raised(found)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, KeyError):
            # the disk has damaged it: its sender announces it anew, and the bytes that came are still checked
            log.error("upload %s cannot be read back", identifier)
            return None
        except OSError as error:
            raise StorageError("store_io", "An upload on its way cannot be read back.") from error

    def offset(self, upload: Upload) -> int:
        """How many bytes have come."""
        if upload.settled:
            return upload.length
        try:
            return (self.folder / upload.place / "bytes").stat().st_size
        except FileNotFoundError:
            return 0

    def is_whole(self, upload: Upload) -> bool:
        """Whether every byte has come."""
        return self.offset(upload) == upload.length

    @contextmanager
    def append(self, upload: Upload, offset: int) -> Iterator[Appender]:
        """Add bytes at ``offset``, which is where the others end; they are durable when the block is left.

        Raises:
            Conflict: ``upload_locked``: another request is adding; ``upload_offset``: the others end elsewhere.
            StorageError: ``disk_full``, ``store_io``.
        """
        with _disk():
            # where the disk lost them they begin anew, and their sender learns it from the offset
            handle = os.open(self.folder / upload.place / "bytes", os.O_RDWR | os.O_CREAT, 0o600)
            file = os.fdopen(handle, "r+b")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict("upload_locked", "Another request is sending this file.") from None
            if file.seek(0, os.SEEK_END) != offset:
                raise Conflict("upload_offset", "The bytes that have come end elsewhere.")
            appender = Appender(file, offset, upload.length)
            try:
                yield appender
            finally:
                with _disk():
                    file.flush()
                    os.fsync(file.fileno())

    @contextmanager
    def landing(self, upload: Upload, patience_s: float = LANDING_WAIT_S) -> Iterator[bool]:
        """Be the one that lands an upload; False when somebody else still does after ``patience_s``."""
        try:
            handle = os.open(self.folder / upload.place, os.O_RDONLY)
        except FileNotFoundError:
            yield False
            return
        try:
            yield _lock(handle, patience_s)
        finally:
            os.close(handle)

    def open(self, upload: Upload) -> BinaryIO:
        """What has come, to be read."""
        with _disk():
            return (self.folder / upload.place / "bytes").open("rb")

    def sha256(self, upload: Upload) -> str:
        """The hash of what has come, read in constant memory."""
        digest = hashlib.sha256()
        with self.open(upload) as file:
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def restart(self, upload: Upload) -> None:
        """Forget the bytes: they are not what was announced."""
        with _disk(), open(self.folder / upload.place / "bytes", "wb"):
            pass

    def raise_priority(self, upload: Upload, priority: Priority) -> Upload:
        """Write down that it has that priority at the least, whatever others write of it at the same time.

        Returns:
            The upload as it stands then; a settled one was landed before this was seen.
        """
        with _disk():
            self._mark(upload, priority)
            sync_folder(self.folder / upload.place)
        found = self.find(upload.site_id, upload.id)
        if found is None:
            raise Conflict("upload_offset", "The upload was given up meanwhile.")
        return found

    def _mark(self, upload: Upload, priority: Priority) -> None:
        with open(self.folder / upload.place / f"raised.{priority}", "ab", opener=_private):
            pass

    def _raised(self, upload: Upload) -> Upload:
        """With the highest priority that anybody has given it."""
        for priority in PRIORITIES[: PRIORITIES.index(upload.priority)]:
            if (self.folder / upload.place / f"raised.{priority}").exists():
                return replace(upload, priority=priority)
        return upload

    def settle(
        self,
        upload: Upload,
        *,
        receipts: tuple[str, ...] = (),
        failure: str | None = None,
        then: Callable[[], None] | None = None,
    ) -> Upload:
        """Write down what became of the upload, then let its bytes go.

        Args:
            then: what is to be done between both; cut short there, it is done when the bytes that are left are found.
        """
        settled = replace(upload, receipts=receipts, failure=failure, name="")
        with suppress(Conflict):  # given up meanwhile: what has landed stays, and its receipts are told
            self._write(settled)
        if then is not None:
            then()
        with _disk():
            (self.folder / upload.place / "bytes").unlink(missing_ok=True)
        return settled

    def remove(self, upload: Upload) -> None:
        """Forget the upload and its bytes."""
        self._remove(self.folder / upload.place)

    def count(self, site_id: str) -> int:
        """How many uploads of a site are here, those that were settled lately as well."""
        return len(_names(self.folder / site_id))

    def uploads(self, site_id: str | None = None, *, unsettled: bool = False) -> Iterator[Upload]:
        """All uploads, or those of one site, in no order; only those on their way when ``unsettled``."""
        sites = _names(self.folder) if site_id is None else [site_id]
        for site, name in [(one, name) for one in sites for name in _names(self.folder / one)]:
            # settled ones are many, and known by their missing bytes without being read
            if unsettled and not (self.folder / site / name / "bytes").exists():
                continue
            try:
                found = self.find(site, name)
            except StorageError:
                log.error("upload %s cannot be read back", name)
                continue
            if found is not None:
                yield found

    def expire(self, now: datetime) -> int:
        """Forget uploads to which nothing has come for long, and those settled a while ago; returns how many."""
        count = 0
        known = set()
        for upload in self.uploads():
            known.add(upload.place)
            try:
                touched = (self.folder / upload.place / ("upload.json" if upload.settled else "bytes")).stat().st_mtime
            except FileNotFoundError:
                continue
            if touched < (now - _keep(upload)).timestamp():
                self.remove(upload)
                count += 1
        for place in self.folder.glob("*/*"):
            # begun when the process died, or damaged: nobody was told that anything of it is here
            if f"{place.parent.name}/{place.name}" not in known and _touched(place) < (now - KEEP).timestamp():
                self._remove(place)
                count += 1
        return count

    def _remove(self, place: Path) -> None:
        for attempt in range(_TRIES):
            try:
                shutil.rmtree(place)
                return
            except FileNotFoundError:
                if not place.exists():
                    return
            except OSError as error:
                # a request that came at the same time has just put something into it
                if attempt + 1 == _TRIES:
                    raise StorageError("store_io", "An upload on its way cannot be removed.") from error

    def _write(self, upload: Upload) -> Upload:
        place = self.folder / upload.place
        row = asdict(upload) | {"created_at": upload.created_at.isoformat()}
        with _disk():
            draft = place / f"upload.json.{os.getpid()}.{os.urandom(4).hex()}"
            with open(draft, "wb", opener=_private) as file:
                file.write(json.dumps(row).encode())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(place / "upload.json")
            for folder in (place, place.parent, self.folder):
                sync_folder(folder)
        return upload


class Appender:
    """Adds bytes to one upload, never more than it announced."""

    def __init__(self, file: BinaryIO, offset: int, length: int) -> None:
        self._file = file
        self._begun = offset
        self._length = length
        self.offset = offset

    def write(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            InputRejected: ``upload_too_long``: more comes than was announced.
            StorageError: ``disk_full``, ``store_io``.
        """
        if self.offset + len(piece) > self._length:
            raise InputRejected("upload_too_long", "More bytes come than were announced.")
        with _disk():
            self._file.write(piece)
        self.offset += len(piece)

    def take_back(self) -> None:
        """Forget what this appender has added."""
        with _disk():
            self._file.flush()
            self._file.truncate(self._begun)
            self._file.seek(self._begun)
        self.offset = self._begun


def expiry(upload: Upload) -> datetime:
    """When an upload to which nothing comes is forgotten, at the earliest."""
    return upload.created_at + _keep(upload)


def _keep(upload: Upload) -> timedelta:
    if not upload.settled:
        return KEEP
    return KEEP_SEVERAL if upload.group is not None or len(upload.receipts) > 1 else KEEP_SETTLED


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _touched(place: Path) -> float:
    try:
        return max([place.stat().st_mtime, *(one.stat().st_mtime for one in place.iterdir())])
    except (FileNotFoundError, NotADirectoryError):
        return float("inf")


def _lock(handle: int, patience_s: float) -> bool:
    ends = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= ends:
                return False
            time.sleep(_LOCK_PAUSE_S)


def _parse(row: dict[str, Any]) -> Upload:
    row["created_at"] = datetime.fromisoformat(row["created_at"])
    row["receipts"] = tuple(row["receipts"])
    return Upload(**row)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        # its folder is gone: the sender learns from the next answer that it begins anew
        raise Conflict("upload_offset", "The upload was given up meanwhile.") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError("disk_full", "The disk is full.") from error
        raise StorageError("store_io", "An upload on its way cannot be written or read.") from error

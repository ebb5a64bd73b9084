"""Blobs as plain files, durable when published.

How an object is made, so that a crash at any point leaves it whole or absent: write a temporary file, sync it, link it
to its final name (which fails if that exists), sync the folder, remove the temporary name. Only then is the object
acknowledged.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import stat as modes
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from teleread.errors import StorageError
from teleread.storage.objects.protocol import ObjectInfo, check_key, check_prefix, check_range, missing
from teleread.storage.objects.streams import os_failure

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_INCOMING = ".incoming"  # no key starts a segment with a dot, so no key reaches the temporary files
_DURABLE_FOLDERS = 100_000


class FileBlobs:
    """Blobs below one folder, each a file of mode 0600 named by its key. See :class:`Blobs`.

    Args:
        root: the folder; made (mode 0700) when absent. One file system, with hard links.
        step: called with the name of each step of a draft after it was done; crash tests end the process there.

    Raises:
        StorageError: ``store_io`` when the folder cannot be made.
    """

    def __init__(self, root: Path, *, step: Callable[[str], None] = lambda _name: None) -> None:
        self.root = Path(os.path.abspath(root))
        self._top = str(self.root)
        self._step = step
        # folders whose own entry is known to be durable; nobody removes folders
        self._durable: set[str] = {self._top}
        try:
            for folder in reversed((self.root, *self.root.parents)):
                if not folder.exists():
                    folder.mkdir(mode=0o700, exist_ok=True)
                    _sync_folder(str(folder.parent))
            (self.root / _INCOMING).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise os_failure(error) from error

    def draft(self, size_hint: int | None = None) -> FileDraft:
        """See :meth:`Blobs.draft`; the hint is not needed here."""
        return FileDraft(self, self._step)

    def get(self, key: str) -> bytes:
        """See :meth:`Blobs.get`."""
        with _os_errors():
            handle = self._opened(key)
            try:
                # one more than there is, so that the end is seen without growing a buffer
                wanted = os.fstat(handle).st_size + 1
                data = os.read(handle, wanted)
                if len(data) in (0, wanted - 1):
                    return data
                parts = [data]  # a read ends early at a signal, and never gives more than 2 GB
                while piece := os.read(handle, wanted):
                    parts.append(piece)
                return b"".join(parts)
            finally:
                os.close(handle)

    def open(self, key: str) -> BinaryIO:
        """See :meth:`Blobs.open`; the stream is seekable."""
        with _os_errors():
            return io.BufferedReader(_File(self._opened(key), "rb"))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See :meth:`Blobs.get_range`."""
        check_range(start, length)
        with _os_errors():
            handle = self._opened(key)
            try:
                # a huge length must not make read() allocate that much
                left = min(length, os.fstat(handle).st_size - start)
                parts = []
                while left > 0 and (piece := os.pread(handle, left, start)):
                    parts.append(piece)
                    left -= len(piece)
                    start += len(piece)
                return b"".join(parts)
            finally:
                os.close(handle)

    def stat(self, key: str) -> ObjectInfo | None:
        """See :meth:`Blobs.stat`; the age is the file's."""
        with _os_errors():
            try:
                found = os.stat(self._path(key), follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _info(key, found) if modes.S_ISREG(found.st_mode) else None

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """See :meth:`Blobs.list`; files that are no objects are left out, folders before ``after`` are not read."""
        folder, _, _ = check_prefix(prefix).rpartition("/")
        with _os_errors():
            yield from self._walk(folder + "/" if folder else "", prefix, after)

    def delete(self, key: str) -> None:
        """See :meth:`Blobs.delete`; durable when this returns."""
        path = self._path(key)
        with _os_errors():
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            _sync_folder(os.path.dirname(path))

    def close(self) -> None:
        """See :meth:`Blobs.close`; there is nothing to give back."""

    def sweep_temporaries(self, older_than: datetime) -> int:
        """Remove what crashed writers left behind and return how many files that was.

        Args:
            older_than: aware; files written to since are left, because their writer may be alive. One hour ago is
                a good choice: a live writer touches its file with every piece.
        """
        if older_than.tzinfo is None:
            raise ValueError("naive datetime for the sweep")
        swept = 0
        with _os_errors(), os.scandir(self.root / _INCOMING) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime < older_than.timestamp():
                        os.unlink(entry.path)
                        swept += 1
        return swept

    def _path(self, key: str) -> str:
        return f"{self._top}/{check_key(key)}"

    def _opened(self, key: str) -> int:
        """The handle of the object's file, which is the caller's to close."""
        try:
            handle = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise missing(key) from error
        if not modes.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise missing(key)
        return handle

    def temporary(self) -> str:
        """A new name for bytes on their way."""
        return f"{self._top}/{_INCOMING}/{secrets.token_hex(16)}"

    def publish(self, handle: int, temporary: str, key: str) -> bool:
        """Sync the temporary file and link it to the key's name; see :meth:`Draft.publish`."""
        final = self._path(key)
        folder = os.path.dirname(final)
        fresh = self._make_folders(folder)
        new = not _is_taken(final)
        if new:
            os.fsync(handle)
            self._step("temporary_synced")
            try:
                os.link(temporary, final, follow_symlinks=False)
            except FileExistsError:
                new = False
            self._step("linked")
        # Also when another writer made the link: it may not have synced the folder yet, and may crash before it does.
        _sync_folder(folder)
        self._step("folder_synced")
        # Last, because the sync above has mostly done their work already: half the cost of syncing each when made.
        for one in fresh:
            _sync_folder(os.path.dirname(one))
            self._step("parent_synced")
        if len(self._durable) >= _DURABLE_FOLDERS:
            self._durable = {self._top}
        self._durable.update(fresh)
        return new

    def _make_folders(self, folder: str) -> Sequence[str]:
        """Make the folder. Returns those on the way whose entries may not be durable, whoever made them."""
        fresh: list[str] = []
        while folder not in self._durable:
            fresh.append(folder)
            folder = os.path.dirname(folder)
        for one in reversed(fresh):
            try:
                os.mkdir(one, 0o700)
                self._step("folder_made")
            except FileExistsError:
                if not os.path.isdir(one):
                    raise StorageError("bad_key", "a part of the key is an object") from None
        return fresh

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        try:
            with os.scandir(self.root / folder) as found:
                # a folder sorts as its keys do: with the slash behind its name
                entries = sorted(
                    (folder + entry.name + ("/" if entry.is_dir(follow_symlinks=False) else ""), entry)
                    for entry in found
                    if not entry.name.startswith(".")
                )
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, entry in entries:
            if name.endswith("/"):
                lies_before = name <= after and not after.startswith(name)
                if not lies_before and (name.startswith(prefix) or prefix.startswith(name)):
                    yield from self._walk(name, prefix, after)
            elif name > after and name.startswith(prefix) and _is_key(name):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if modes.S_ISREG(status.st_mode):
                        yield _info(name, status)


class FileDraft:
    """A temporary file that becomes an object. See :class:`Draft`."""

    def __init__(self, blobs: FileBlobs, step: Callable[[str], None]) -> None:
        self._blobs = blobs
        self._step = step
        self._name = blobs.temporary()
        self._handle = -1

    def __enter__(self) -> FileDraft:
        with _os_errors():
            self._handle = os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._step("temporary_made")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)
        # a leftover is swept later; the object itself is already whole or absent
        with contextlib.suppress(OSError):
            os.unlink(self._name)
        self._step("temporary_removed")

    def write(self, piece: bytes) -> None:
        """See :meth:`Draft.write`."""
        with _os_errors():
            written = os.write(self._handle, piece)
            if written < len(piece):
                left = memoryview(piece)[written:]
                while left:
                    left = left[os.write(self._handle, left) :]
        self._step("piece_written")

    def rewrite_start(self, piece: bytes) -> None:
        """See :meth:`Draft.rewrite_start`."""
        with _os_errors():
            done = 0
            while done < len(piece):
                done += os.pwrite(self._handle, piece[done:], done)
        self._step("start_rewritten")

    def publish(self, key: str) -> bool:
        """See :meth:`Draft.publish`."""
        with _os_errors():
            return self._blobs.publish(self._handle, self._name, key)


class _File(io.FileIO):
    """A file that fails with our errors."""

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        try:  # half the cost of the context manager, and every read of every object passes here
            return super().readinto(buffer)
        except OSError as error:
            raise os_failure(error) from error

    def readall(self) -> bytes:
        with _os_errors():
            return super().readall()


def _is_taken(final: str) -> bool:
    try:
        found = os.stat(final, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if modes.S_ISDIR(found.st_mode):
        raise StorageError("bad_key", "the key is a folder of other keys")
    return True


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _is_key(name: str) -> bool:
    try:
        check_key(name)
    except StorageError:
        return False
    return True


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise os_failure(error) from error


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

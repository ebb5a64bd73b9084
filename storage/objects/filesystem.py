"""Objects as plain files, durable when ``put`` returns.

The protocol of ``put``, so that a crash at any point leaves an object whole or absent: write a temporary file, sync
it, link it to its final name (which fails if that exists), sync the folder, remove the temporary name. Only then is
the object acknowledged.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import stat as modes
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from teleread.errors import StorageError
from teleread.storage.objects.protocol import (
    ObjectInfo,
    StoredObject,
    check_key,
    check_prefix,
    check_range,
    missing,
    other_bytes,
)
from teleread.storage.objects.streams import measure, os_failure, pieces

_INCOMING = ".incoming"  # no key starts a segment with a dot, so no key reaches the temporary files
_DURABLE_FOLDERS = 100_000


def _no_step(_: str) -> None:
    return None


class FileSystemStore:
    """Objects below one folder, each a file of mode 0600 named by its key.

    Args:
        root: the folder; made (mode 0700) when absent. One file system, with hard links.
        step: called with the name of each step of ``put`` after it was done; crash tests end the process there.

    Raises:
        StorageError: ``store_io`` when the folder cannot be made.
    """

    def __init__(self, root: Path, *, step: Callable[[str], None] = _no_step) -> None:
        self.root = Path(os.path.abspath(root))
        self._step = step
        # folders whose own entry is known to be durable; nobody removes folders
        self._durable: set[Path] = set()
        try:
            for folder in reversed((self.root, *self.root.parents)):
                if not folder.exists():
                    folder.mkdir(mode=0o700, exist_ok=True)
                    _sync_folder(folder.parent)
            (self.root / _INCOMING).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise os_failure(error) from error

    def put(self, key: str, data: bytes | BinaryIO, *, size_hint: int | None = None) -> StoredObject:
        """See :meth:`ObjectStore.put`; the size hint is not needed here."""
        final = self._path(key)
        temporary = self.root / _INCOMING / secrets.token_hex(16)
        source: BinaryIO = io.BytesIO(data) if isinstance(data, bytes) else data
        with _os_errors():
            out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._step("temporary_made")
            stored = self._write(out, key, source)
            with _os_errors():
                self._publish(out, temporary, final, stored)
        finally:
            os.close(out)
            # a leftover is swept later; the object itself is already whole or absent
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        self._step("temporary_removed")
        return stored

    def get(self, key: str) -> bytes:
        """See :meth:`ObjectStore.get`."""
        with self._opened(key) as file, _os_errors():
            return file.read()

    def open(self, key: str) -> BinaryIO:
        """See :meth:`ObjectStore.open`; the stream can also be rewound."""
        return self._opened(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See :meth:`ObjectStore.get_range`."""
        check_range(start, length)
        with self._opened(key) as file, _os_errors():
            # a huge length must not make read() allocate that much
            length = min(length, os.fstat(file.fileno()).st_size - start)
            if length <= 0:
                return b""
            file.seek(start)
            return file.read(length)

    def stat(self, key: str) -> ObjectInfo | None:
        """See :meth:`ObjectStore.stat`."""
        with _os_errors():
            try:
                found = os.stat(self._path(key), follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return ObjectInfo(key, found.st_size) if modes.S_ISREG(found.st_mode) else None

    def exists(self, key: str) -> bool:
        """See :meth:`ObjectStore.exists`."""
        return self.stat(key) is not None

    def list(self, prefix: str = "") -> Iterator[str]:
        """See :meth:`ObjectStore.list`; files that are no objects are left out."""
        folder, _, _ = check_prefix(prefix).rpartition("/")
        with _os_errors():
            yield from self._walk(folder + "/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        """See :meth:`ObjectStore.delete`."""
        path = self._path(key)
        with _os_errors():
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            _sync_folder(path.parent)

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

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _opened(self, key: str) -> io.BufferedReader:
        path = self._path(key)
        try:
            return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise missing(key) from error
        except OSError as error:
            raise os_failure(error) from error

    def _write(self, out: int, key: str, source: BinaryIO) -> StoredObject:
        digest, size = hashlib.sha256(), 0
        # errors of the source are the caller's own and pass unchanged
        for piece in pieces(source):
            digest.update(piece)
            size += len(piece)
            with _os_errors():
                left = memoryview(piece)
                while left:
                    left = left[os.write(out, left) :]
            self._step("piece_written")
        return StoredObject(key, digest.hexdigest(), size)

    def _publish(self, out: int, temporary: Path, final: Path, stored: StoredObject) -> None:
        fresh = self._make_folders(final.parent)
        if not self._holds(final, stored):
            os.fsync(out)
            self._step("temporary_synced")
            try:
                os.link(temporary, final, follow_symlinks=False)
            except FileExistsError:
                if not self._holds(final, stored):
                    raise os_failure(OSError("the object was removed while it was being written")) from None
            self._step("linked")
        # Also when another writer made the link: it may not have synced the folder yet, and may crash before it does.
        _sync_folder(final.parent)
        self._step("folder_synced")
        # Last, because the sync above has mostly done their work already: half the cost of syncing each when made.
        for folder in fresh:
            _sync_folder(folder.parent)
            self._step("parent_synced")
        if len(self._durable) >= _DURABLE_FOLDERS:
            self._durable.clear()
        self._durable.update(fresh)

    def _holds(self, final: Path, stored: StoredObject) -> bool:
        """Whether the final name already has these bytes; raises when it has others."""
        try:
            with final.open("rb") as file:
                same_size = os.fstat(file.fileno()).st_size == stored.size_bytes
                if same_size and measure(file) == (stored.sha256, stored.size_bytes):
                    return True
        except FileNotFoundError:
            return False
        except IsADirectoryError as error:
            raise StorageError("bad_key", "the key is a folder of other keys") from error
        raise other_bytes(stored.key)

    def _make_folders(self, folder: Path) -> Sequence[Path]:
        """Make the folder. Returns those on the way whose entries may not be durable, whoever made them."""
        fresh: list[Path] = []
        while folder != self.root and folder not in self._durable:
            fresh.append(folder)
            folder = folder.parent
        for folder in reversed(fresh):
            try:
                os.mkdir(folder, 0o700)
                self._step("folder_made")
            except FileExistsError:
                if not folder.is_dir():
                    raise StorageError("bad_key", "a part of the key is an object") from None
        return fresh

    def _walk(self, folder: str, prefix: str) -> Iterator[str]:
        try:
            with os.scandir(self.root / folder) as found:
                # a folder sorts as its keys do: with the slash behind its name
                entries = sorted(
                    folder + entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
                    for entry in found
                    if not entry.name.startswith(".")
                )
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in entries:
            if name.endswith("/"):
                if name.startswith(prefix) or prefix.startswith(name):
                    yield from self._walk(name, prefix)
            elif name.startswith(prefix) and _is_key(name):
                yield name


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


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

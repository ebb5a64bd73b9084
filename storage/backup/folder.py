"""The folder that backups lie in: whose it is, who uses it, what is finished, what is left over.

``objects`` holds the copies of the store's objects, each folder beside it one backup. A backup is finished when it has
a manifest; one that was killed has none, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from teleread.errors import Conflict, Misconfigured, StorageError
from teleread.storage.backup.dump import Progress, silent
from teleread.storage.backup.manifest import NAME, Copied, Manifest, check_file, proven, read_list, sync_folder
from teleread.storage.backup.sealing import hash_file
from teleread.storage.objects.filesystem import FileBlobs
from teleread.storage.objects.streams import os_failure
from teleread.storage.vault.keyring import KeyRing

OBJECTS = "objects"
_OWNER = "teleread-backup.json"
_LOCK = ".lock"
_PAGE = 500
_BACKUP = re.compile(
    r"\.?[0-9]{8}t[0-9]{6}z-[0-9a-f]{1,32}"
)  # what a backup's folder is called, also one being removed


def system_of(ring: KeyRing) -> str:
    """Says which system a backup is of: the same for all of one key ring, and nothing about its secrets."""
    return hmac.new(manifest_key(ring), b"system", "sha256").hexdigest()[:16]


def manifest_key(ring: KeyRing) -> bytes:
    """What keys the manifests of this system."""
    return ring.derive("backup")


def finished(folder: Path) -> list[str]:
    """Ids of the finished backups in the folder, oldest first."""
    try:
        return sorted(path.parent.name for path in folder.glob(f"*/{NAME}") if not path.parent.name.startswith("."))
    except OSError as error:
        raise os_failure(error) from error


def proven_backups(folder: Path, key: bytes) -> list[Manifest]:
    """Manifests of the finished backups that this system made, oldest first.

    A folder whose manifest is damaged, or was written by somebody else or by a newer version, is left out and left
    alone.

    Args:
        folder: that holds the backups.
        key: see :func:`manifest_key`.

    Raises:
        StorageError: ``store_io``: the folder cannot be read.
    """
    found = []
    for name in finished(folder):
        try:
            found.append(proven(folder / name, key))
        except (StorageError, Misconfigured) as error:
            if error.code not in {"backup_corrupt", "backup_newer"}:
                raise
    return found


def verify_backup(
    folder: Path,
    manifest: Manifest,
    progress: Progress = silent,
    renew: Callable[[Copied], bool] | None = None,
) -> tuple[str, ...]:
    """Read every file and every copy that the backup needs, and compare hash and size with those of their making.

    Args:
        folder: that holds the backups.
        manifest: of the backup.
        progress: called now and then.
        renew: asked to bring a copy anew that differs, and says whether it did.

    Returns:
        keys of the objects whose copies differ and could not be brought anew; none without ``renew``.

    Raises:
        StorageError: ``backup_corrupt``, naming the first file that differs; without ``renew`` also the first copy.
    """
    broken = []
    for written in manifest.files:
        check_file(folder / manifest.id, written)
    for number, copied in enumerate(read_list(folder / manifest.id, manifest.objects)):
        if not is_whole(folder, copied) and (renew is None or not renew(copied)):
            if renew is None:
                raise StorageError("backup_corrupt", f"The copy {copied.name} is not what was written.")
            broken.append(copied.key)
        if number % _PAGE == 0:
            progress("verified", number)
    return tuple(broken)


def is_whole(folder: Path, copied: Copied) -> bool:
    """Whether a copy has the bytes that it was made with."""
    try:
        return hash_file(folder / OBJECTS / copied.name) == (copied.sha256, copied.size_bytes)
    except StorageError:
        return False


def thin_out(folder: Path, keep: int, key: bytes) -> tuple[str, ...]:
    """Remove all but the newest of the backups that this system made, and return the ids of those removed.

    Copies of objects stay: the newest backup needs them, or the one that finds them deleted removes them.
    """
    if keep < 1:
        raise Misconfigured("usage", "At least one backup is kept.")
    old = [manifest.id for manifest in proven_backups(folder, key)][:-keep]
    with os_errors():
        for identifier in old:
            # no backup any more from here on, whatever happens to the rest
            os.rename(folder / identifier, folder / f".{identifier}")
            sync_folder(folder)
            shutil.rmtree(folder / f".{identifier}")
    return tuple(old)


@contextmanager
def opened_folder(folder: Path, system: str) -> Iterator[None]:
    """Hold the folder alone, and make it this system's when it is nobody's."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured("backup_folder_unusable", f"The folder cannot be used: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("backup_running", "Another backup or restore is using the folder.") from None
        _own(folder, system)
        yield
    finally:
        os.close(handle)


def _own(folder: Path, system: str) -> None:
    mine = folder / _OWNER
    try:
        owner = json.loads(mine.read_text())["system"]
    except FileNotFoundError:
        with os_errors():
            if any(path.name != _LOCK for path in folder.iterdir()):
                raise Misconfigured(
                    "backup_folder_not_empty",
                    "The folder holds other things and no backup; give an empty one, or one that does not exist yet.",
                ) from None
            draft = folder / f".{_OWNER}"
            write_private(draft, json.dumps({"system": system}).encode() + b"\n")
            os.replace(draft, mine)
            sync_folder(folder)
        return
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Misconfigured("backup_folder_unusable", "The folder's own file cannot be read.") from error
    if owner != system:
        raise Misconfigured("backup_folder_foreign", "The folder holds another system's backups; choose another.")


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner reads. Raises ``OSError``."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def clean_up(folder: Path, key: bytes) -> None:
    """Remove what killed backups left: folders without a manifest, half-written copies, copies not yet removed.

    Args:
        folder: that holds the backups, held alone.
        key: see :func:`manifest_key`; only a list that this system wrote says what is removed.
    """
    with os_errors():
        for path in folder.iterdir():
            unfinished = not (path / NAME).exists() or path.name.startswith(".")
            # what is not called like a backup is not ours, whoever put it here
            if unfinished and _BACKUP.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
    if (folder / OBJECTS).is_dir():
        # nobody else writes here: we hold the lock
        FileBlobs(folder / OBJECTS).sweep_temporaries(datetime.max.replace(tzinfo=UTC))
    made = proven_backups(folder, key)
    if made:
        try:
            remove_copies(folder, made[-1])
        except StorageError as error:
            if error.code != "backup_corrupt":  # a damaged list removes nothing
                raise


def remove_copies(folder: Path, manifest: Manifest) -> int:
    """Remove the copies that a backup no longer needs, and return how many that are.

    Raises:
        StorageError: ``backup_corrupt``: the list is not what was written; nothing is removed.
    """
    target = FileBlobs(folder / OBJECTS)
    count = 0
    for copied in read_list(folder / manifest.id, manifest.removed):
        target.delete(copied.name)
        count += 1
    return count


@contextlib.contextmanager
def os_errors() -> Iterator[None]:
    """Turn what the operating system says of the folder into ``StorageError``."""
    try:
        yield
    except OSError as error:
        raise os_failure(error) from error

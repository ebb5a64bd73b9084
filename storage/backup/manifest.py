"""What a backup says of itself: written last, so that a folder without it is no backup.

``manifest.json`` names every other file of the backup with its hash and is itself keyed with a secret of the key
ring, so that only a system that had the ring can have written it. No identity and no key stands in it.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from teleread.errors import Misconfigured, StorageError
from teleread.storage.backup.dump import Part
from teleread.storage.backup.sealing import Written, corrupt, hash_file
from teleread.storage.objects.streams import os_failure

NAME = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Where a database's audit chain ended when it was dumped."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One finished backup.

    Args:
        id: time of its begin and a random end; ids sort by time.
        system: says which system's backup it is; the same for all of one key ring.
        begun_at, made_at: aware.
        versions: of teleread and of the two schemas (``catalogue``, ``vault``).
        parts: the tables' files, in the order in which they are loaded.
        objects: the list of the objects' copies; how many, and the bytes of all.
        object_count, object_bytes: of the list.
        lost: objects that the catalogue names and neither the store nor this folder has.
        removed: the list of copies that this backup took out of the folder, because the store deleted them on
            purpose.
        ring, ring_generation: the sealed key ring.
        swept_mark: number of the last deletion that the backup knew of.
        audit: where each chain ended; None for one that had not begun.
    """

    id: str
    system: str
    begun_at: datetime
    made_at: datetime
    versions: Mapping[str, str]
    parts: tuple[Part, ...]
    objects: Written
    object_count: int
    object_bytes: int
    lost: tuple[str, ...]
    removed: Written
    ring: Written
    ring_generation: int
    swept_mark: int
    audit: Mapping[str, AuditHead | None]

    @property
    def files(self) -> tuple[Written, ...]:
        """All files of the backup beside the manifest."""
        return (*(part.file for part in self.parts), self.objects, self.removed, self.ring)


@dataclass(frozen=True, slots=True)
class Copied:
    """An object's copy in the folder.

    Args:
        key: of the object.
        size_bytes, sha256: of its sealed bytes.
        name: of the copy; the key again behind a first folder that tells apart what one key held in turn.
    """

    key: str
    size_bytes: int
    sha256: str
    name: str

    @property
    def line(self) -> bytes:
        """As it stands in a list."""
        return f"{self.key}\t{self.size_bytes}\t{self.sha256}\t{self.name}\n".encode()


class ListFile:
    """A compressed list of copies being written, ascending by key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0
        self.size_bytes = 0
        try:
            self._raw = open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
        except OSError as error:
            raise os_failure(error) from error
        self._file = gzip.GzipFile("", "wb", fileobj=self._raw, mtime=0)

    def __enter__(self) -> ListFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def add(self, copied: Copied) -> None:
        """Add one at the end."""
        self.count += 1
        self.size_bytes += copied.size_bytes
        try:
            self._file.write(copied.line)
        except OSError as error:
            raise os_failure(error) from error

    def close(self) -> Written:
        """Make the list durable."""
        try:
            self._file.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            self._raw.close()
            with self._path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                return Written(self._path.name, digest, file.tell())
        except OSError as error:
            raise os_failure(error) from error


def read_list(folder: Path, written: Written) -> Iterator[Copied]:
    """A list's copies, in its order; nothing is given of a list that is not what was written.

    Args:
        folder: of the backup.
        written: what its manifest says of the list.

    Raises:
        StorageError: ``backup_corrupt``, before the first.
    """
    path = folder / written.name
    check_file(folder, written)
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                key, size, sha256, name = line.rstrip("\n").split("\t")
                yield Copied(key, int(size), sha256, name)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise corrupt(path) from error


def check_file(folder: Path, written: Written) -> None:
    """Raise ``StorageError("backup_corrupt")`` unless a file of a backup is what its manifest says."""
    if hash_file(folder / written.name) != (written.sha256, written.size_bytes):
        raise corrupt(folder / written.name)


def write_manifest(folder: Path, manifest: Manifest, key: bytes) -> str:
    """Make the backup one: the manifest appears whole and durable, or not at all.

    Args:
        folder: of this backup.
        manifest: what it says.
        key: of the system's manifests.

    Returns:
        the file's SHA-256, hexadecimal.
    """
    body = _body(manifest)
    text = json.dumps({"manifest": body, "mac": _mac(key, body)}, indent=1, sort_keys=True).encode() + b"\n"
    draft = folder / f".{NAME}"
    try:
        with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        sync_folder(folder)  # the parts' names first
        os.replace(draft, folder / NAME)
        sync_folder(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise os_failure(error) from error
    return hashlib.sha256(text).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """A finished backup's manifest, not checked against the key ring; only good for showing. See :func:`proven`.

    Raises:
        StorageError: ``backup_corrupt``; ``backup_unfinished`` when there is none.
        Misconfigured: ``backup_newer``.
    """
    return _read(folder)[0]


def proven(folder: Path, key: bytes) -> Manifest:
    """A finished backup's manifest, written by the system whose key this is, for this very folder.

    Raises:
        StorageError, Misconfigured: as :func:`read_manifest`; ``backup_corrupt`` also when somebody else wrote it.
    """
    manifest, document = _read(folder)
    said = str(document.get("mac")).encode(errors="replace")
    if manifest.id != folder.name or not hmac.compare_digest(_mac(key, document["manifest"]).encode(), said):
        raise corrupt(folder / NAME)
    return manifest


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises ``OSError``."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(folder: Path) -> tuple[Manifest, dict[str, Any]]:
    path = folder / NAME
    try:
        document = json.loads(path.read_bytes())
        body = document["manifest"]
        if body["format"] != _FORMAT:
            raise Misconfigured("backup_newer", "The backup was made by another version of teleread.")
        return _manifest(body), document
    except FileNotFoundError as error:
        raise StorageError("backup_unfinished", "There is no finished backup of this name in the folder.") from error
    except OSError as error:
        raise os_failure(error) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise corrupt(path) from error


def _mac(key: bytes, body: Mapping[str, Any]) -> str:
    return hmac.new(key, json.dumps(body, sort_keys=True).encode(), "sha256").hexdigest()


def _body(manifest: Manifest) -> dict[str, Any]:
    body = asdict(manifest)
    body["format"] = _FORMAT
    body["begun_at"], body["made_at"] = manifest.begun_at.isoformat(), manifest.made_at.isoformat()
    return json.loads(json.dumps(body))  # type: ignore[no-any-return]


def _manifest(body: Mapping[str, Any]) -> Manifest:
    def head(value: Mapping[str, Any] | None) -> AuditHead | None:
        return None if value is None else AuditHead(int(value["seq"]), str(value["hash"]))

    return Manifest(
        id=body["id"],
        system=body["system"],
        begun_at=datetime.fromisoformat(body["begun_at"]),
        made_at=datetime.fromisoformat(body["made_at"]),
        versions=dict(body["versions"]),
        parts=tuple(
            Part(part["database"], part["table"], part["rows"], _written(part["file"])) for part in body["parts"]
        ),
        objects=_written(body["objects"]),
        object_count=body["object_count"],
        object_bytes=body["object_bytes"],
        lost=tuple(body["lost"]),
        removed=_written(body["removed"]),
        ring=_written(body["ring"]),
        ring_generation=body["ring_generation"],
        swept_mark=body["swept_mark"],
        audit={name: head(value) for name, value in body["audit"].items()},
    )


def _written(value: Mapping[str, Any]) -> Written:
    name = str(value["name"])
    if "/" in name or name.startswith("."):
        raise ValueError("a name leads elsewhere")
    return Written(name, str(value["sha256"]), int(value["size_bytes"]))

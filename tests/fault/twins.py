"""Broken twins: what a hurried programmer might have written. Each must be caught by the harness."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import insert, select

from teleread.errors import StorageError
from teleread.ingest.formats import bundle, kind_of, safe_names
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.identifiers import arrival_id, receipt_of
from teleread.pipeline.land import Landed, land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import arrivals, objects, work_items
from teleread.storage.objects.protocol import ObjectInfo, StoredObject
from teleread.storage.objects.raw import put_raw, raw_key
from tests.fault.world import Step, World, no_step

_PIECE = 1 << 15


class InPlaceStore:
    """Writes to the final name, piece by piece, and believes whatever it finds there."""

    def __init__(self, root: Path, step: Step = no_step) -> None:
        self._root, self._step = root, step

    def put(self, key: str, data: bytes | BinaryIO, **_: object) -> StoredObject:
        whole = data if isinstance(data, bytes) else data.read()
        path = self._root / key
        stored = StoredObject(key, hashlib.sha256(whole).hexdigest(), len(whole))
        if path.exists():
            return stored
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(whole), _PIECE):
                file.write(whole[start : start + _PIECE])
                self._step("piece written")
        return stored

    def put_raw(self, data: bytes | BinaryIO) -> StoredObject:
        whole = data if isinstance(data, bytes) else data.read()
        return self.put(raw_key(hashlib.sha256(whole).hexdigest()), whole)

    def get(self, key: str) -> bytes:
        try:
            return (self._root / key).read_bytes()
        except FileNotFoundError:
            raise StorageError("object_missing", f"there is no object {key}") from None

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.get(key))

    def exists(self, key: str) -> bool:
        return (self._root / key).is_file()

    def stat(self, key: str) -> ObjectInfo | None:
        return ObjectInfo(key, (self._root / key).stat().st_size) if self.exists(key) else None

    def list(self, prefix: str = "") -> Iterator[str]:
        keys = (str(path.relative_to(self._root)) for path in self._root.rglob("*") if path.is_file())
        yield from sorted(key for key in keys if key.startswith(prefix) and not key.startswith("."))

    def delete(self, key: str) -> None:
        (self._root / key).unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is held."""


def services(twin: str, real: Services, world: World, step: Step) -> Services:
    """The real services, or those with a broken store."""
    if twin == "in-place store":
        broken: Any = InPlaceStore(Path(world.home) / "objects", step)
        return replace(real, store=broken)
    if twin == "no sync":  # which no SIGKILL can show: what the kernel has outlives the process
        os.fsync = lambda fd: None
    return real


def land_row_first(
    services: Services,
    *,
    site_id: str,
    source: str,
    files: Mapping[str, bytes],
    clinic_priority: str,
    actor: str,
) -> Landed:
    """Writes what it is going to hold, and then holds it."""
    data = next(iter(files.values())) if len(files) == 1 else bundle(safe_names(files))
    digest = hashlib.sha256(data).hexdigest()
    now, key = services.clock(), raw_key(digest)
    row = {
        "id": arrival_id(site_id, digest),
        "receipt": receipt_of(arrival_id(site_id, digest)),
        "site_id": site_id,
        "sha256": digest,
        "size_bytes": len(data),
        "object_key": key,
        "source": source,
        "kind": kind_of(data),
        "clinic_priority": clinic_priority,
        "state": "landed",
        "arrived_at": now,
    }
    held = {"key": key, "sha256": digest, "size_bytes": len(data), "created_at": now}
    with services.catalogue.write() as conn:
        insert_missing(conn, objects, [held], ["key"])
        insert_missing(conn, arrivals, [row], ["id"])
    put_raw(services.store, data)
    return Landed(str(row["id"]), str(row["receipt"]), digest, True)


def land_without_storing(services: Services, **what: Any) -> Landed:
    """Answers from memory and leaves the work for later, which a crash takes away."""
    files: Mapping[str, bytes] = what["files"]
    data = next(iter(files.values())) if len(files) == 1 else bundle(safe_names(files))
    digest = hashlib.sha256(data).hexdigest()
    identifier = arrival_id(what["site_id"], digest)
    _LATER.append(lambda: land(services, **what))
    return Landed(identifier, receipt_of(identifier), digest, True)


_LATER: list[Callable[[], object]] = []


def prepare_late(services: Services, arrival: str) -> str:
    """Of the twin that answers from memory: first does what was left for later."""
    while _LATER:
        _LATER.pop(0)()
    return prepare(services, arrival)


def enqueue_anew(services: Services, arrival: str) -> str:
    """Makes a work item each time it is asked to."""
    case_id = enqueue(services, arrival)
    with services.catalogue.write() as conn:
        query = select(work_items).where(work_items.c.case_id == case_id).order_by(work_items.c.seq.desc()).limit(1)
        known = conn.execute(query).one()
        if known.arrival_id == arrival and known.seq > 1:
            row = {**known._mapping, "id": secrets.token_hex(16), "seq": known.seq + 1}
            conn.execute(insert(work_items), [row])
        elif known.seq == 1:
            conn.execute(work_items.update().where(work_items.c.id == known.id).values(seq=2))
    return case_id


LANDING: dict[str, Callable[..., Landed]] = {
    "row first": land_row_first,
    "receipt first": land_without_storing,
}
PREPARING: dict[str, Callable[[Services, str], str]] = {"receipt first": prepare_late}
ENQUEUEING: dict[str, Callable[[Services, str], str]] = {
    "a work item each time": enqueue_anew,
}

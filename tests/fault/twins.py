"""Broken twins: what a hurried programmer might have written. Each must be caught by the harness."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from teleread.ingest.formats import bundle, kind_of, safe_names
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.identifiers import arrival_id, receipt_of
from teleread.pipeline.land import Landed, land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import arrivals, objects, work_items
from teleread.storage.objects.filesystem import FileBlobs
from teleread.storage.objects.raw import put_raw, raw_key
from teleread.storage.objects.sealed import SealedStore
from tests.fault.world import Step, World, no_step

_PIECE = 1 << 15


class InPlaceBlobs(FileBlobs):
    """Writes to the final name, piece by piece, and believes whatever it finds there."""

    def __init__(self, root: Path, step: Step = no_step) -> None:
        super().__init__(root)
        self._tell = step

    def draft(self, size_hint: int | None = None) -> Any:
        return _InPlaceDraft(self.root, self._tell)


class _InPlaceDraft:
    def __init__(self, root: Path, step: Step) -> None:
        self._root, self._step, self._whole = Path(root), step, bytearray()

    def __enter__(self) -> _InPlaceDraft:
        return self

    def __exit__(self, *reason: object) -> None:
        """Nothing is held."""

    def write(self, piece: bytes) -> None:
        self._whole += piece

    def rewrite_start(self, piece: bytes) -> None:
        self._whole[: len(piece)] = piece

    def publish(self, key: str) -> bool:
        path = self._root / key
        if path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(self._whole), _PIECE):
                file.write(self._whole[start : start + _PIECE])
                self._step("piece written")
        return True


def services(twin: str, real: Services, world: World, step: Step) -> Services:
    """The real services, or those with a broken store."""
    if twin == "in-place store":
        return replace(real, store=SealedStore(InPlaceBlobs(Path(world.home) / "objects", step), real.vault.keys))
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


def enqueue_bare(services: Services, arrival: str) -> str:
    """Translates nothing."""
    Path("/nowhere/at/all").read_bytes()
    return enqueue(services, arrival)


LANDING: dict[str, Callable[..., Landed]] = {
    "row first": land_row_first,
    "receipt first": land_without_storing,
}
PREPARING: dict[str, Callable[[Services, str], str]] = {"receipt first": prepare_late}
ENQUEUEING: dict[str, Callable[[Services, str], str]] = {
    "a work item each time": enqueue_anew,
    "bare errors": enqueue_bare,
}

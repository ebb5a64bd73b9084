"""Step 1, land: bytes become durable, then known, then acknowledged. Nothing is parsed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, select, update

from teleread.alliance import PRIORITIES, Priority
from teleread.errors import InputRejected
from teleread.ingest.formats import bundle, kind_of, safe_names
from teleread.pipeline.identifiers import arrival_id, receipt_of
from teleread.pipeline.services import Services
from teleread.reading import queue
from teleread.storage import audit
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import arrivals, objects
from teleread.storage.objects.raw import put_raw


@dataclass(frozen=True, slots=True)
class Landed:
    """The acknowledgement: these bytes are durable and known under this receipt."""

    arrival_id: str
    receipt: str
    sha256: str
    new: bool


def land(
    services: Services,
    *,
    site_id: str,
    source: Literal["dicom", "folder", "web", "cli"],
    files: Mapping[str, bytes],
    clinic_priority: Priority,
    actor: str,
) -> Landed:
    """Store what arrived and write its arrival row; the same bytes of one site again give the same receipt.

    Several files that belong together (a WFDB header and its samples) become one deterministic ZIP bundle. Bytes
    sent again with a higher clinic priority raise it; a lower one changes nothing.

    Args:
        files: file name to bytes, one or several. A single file is stored as it is and its name is forgotten;
            names of several that cannot stand in a ZIP are replaced, because no name is a reason to refuse.

    Raises:
        InputRejected: ``empty_upload``.
        StorageError: nothing was acknowledged; the caller may send again.
    """
    if not any(files.values()):
        raise InputRejected("empty_upload", "Nothing was sent: the file is empty.")
    data = next(iter(files.values())) if len(files) == 1 else bundle(safe_names(files))
    stored = put_raw(services.store, data)
    now = services.clock()
    identifier = arrival_id(site_id, stored.sha256)
    receipt = receipt_of(identifier)
    row = {
        "id": identifier,
        "receipt": receipt,
        "site_id": site_id,
        "sha256": stored.sha256,
        "size_bytes": stored.size_bytes,
        "object_key": stored.key,
        "source": source,
        "kind": kind_of(data),
        "clinic_priority": clinic_priority,
        "state": "landed",
        "arrived_at": now,
    }
    held = {"key": stored.key, "sha256": stored.sha256, "size_bytes": stored.size_bytes, "created_at": now}
    with services.catalogue.write() as conn:
        insert_missing(conn, objects, [held], ["key"])
        new = insert_missing(conn, arrivals, [row], ["id"]) == 1
        if new:
            audit.record(conn, at=now, actor=actor, action="land", object_type="arrival", object_id=identifier)
        else:
            _raise(conn, identifier, clinic_priority, actor, now)
    return Landed(identifier, receipt, stored.sha256, new)


def _raise(conn: Connection, identifier: str, priority: Priority, actor: str, now: datetime) -> None:
    """What was sent again with a higher priority rises, also when it is queued already."""
    this = arrivals.c.id == identifier
    known = conn.execute(select(arrivals.c.clinic_priority, arrivals.c.case_id).where(this).with_for_update()).one()
    if PRIORITIES.index(priority) >= PRIORITIES.index(known.clinic_priority):
        return
    conn.execute(update(arrivals).where(this).values(clinic_priority=priority))
    if known.case_id is not None:
        queue.raise_priority(conn, known.case_id, priority, "clinic")
    audit.record(
        conn,
        at=now,
        actor=actor,
        action="raise",
        object_type="arrival",
        object_id=identifier,
        detail={"priority": priority},
    )

"""Making the catalogue's rows again from the store: arrivals from their notes, objects from their headers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, select, update

from teleread.alliance import PRIORITIES, Priority
from teleread.errors import StorageError
from teleread.pipeline.identifiers import receipt_of
from teleread.pipeline.notes import Note, read_note
from teleread.pipeline.services import Services
from teleread.reading import queue
from teleread.storage import audit
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import arrivals, objects
from teleread.storage.objects.protocol import StoredObject
from teleread.storage.objects.raw import raw_key


def arrival_row(note: Note) -> dict[str, Any]:
    """The row of an arrival that has just landed."""
    return {
        "id": note.arrival_id,
        "receipt": receipt_of(note.arrival_id),
        "site_id": note.site_id,
        "sha256": note.sha256,
        "size_bytes": note.size_bytes,
        "object_key": raw_key(note.sha256),
        "source": note.source,
        "kind": note.kind,
        "clinic_priority": note.clinic_priority,
        "state": "landed",
        "arrived_at": note.arrived_at,
    }


def object_row(stored: StoredObject, at: datetime) -> dict[str, Any]:
    """The row of a stored object."""
    return {
        "key": stored.key,
        "sha256": stored.sha256,
        "size_bytes": stored.size_bytes,
        "created_at": at,
        "root_sha256": stored.root_sha256,
        "intake_key": stored.intake_key,
    }


def adopt(services: Services, keys: Sequence[str], *, actor: str) -> str | None:
    """Make the row of an arrival that was acknowledged and that the catalogue does not know, from its notes.

    It is the same row: id, receipt, site, bytes, the earliest time and the highest priority that a note says.
    Preparing and queueing follow as for everything that has landed.

    Args:
        keys: of all its notes; at least one.

    Returns:
        The arrival's id; None when its row was there already.

    Raises:
        StorageError: ``object_missing`` or ``object_size`` for raw bytes that are not there or not of the note's
            size, ``object_swept`` when they were just removed; otherwise as :func:`read_note`.
    """
    notes, refused = _readable(services, keys)
    if not notes:
        assert refused is not None
        raise refused
    highest = min(notes, key=lambda note: PRIORITIES.index(note.clinic_priority))
    with services.catalogue.read() as conn:
        mark = sweeping.mark(conn)
    stored = _raw_as_stored(services, highest)
    now = services.clock()
    row = {**arrival_row(highest), "arrived_at": min(note.arrived_at for note in notes)}
    with services.catalogue.write() as conn:
        sweeping.check(conn, [stored.key, *keys], mark)
        insert_missing(conn, objects, [object_row(stored, now)], ["key"])
        if not insert_missing(conn, arrivals, [row], ["id"]):
            return None
        audit.record(
            conn,
            at=now,
            actor=actor,
            action="adopt",
            object_type="arrival",
            object_id=row["id"],
            detail={"from": "note"},
        )
    return highest.arrival_id


def _readable(services: Services, keys: Collection[str]) -> tuple[list[Note], StorageError | None]:
    """What can be read of an arrival's notes: one that has rotted does not stand against the others."""
    notes: list[Note] = []
    refused: StorageError | None = None
    for key in keys:
        try:
            notes.append(read_note(services.store, key))
        except StorageError as error:
            refused = error
    return notes, refused


def _raw_as_stored(services: Services, note: Note) -> StoredObject:
    key = raw_key(note.sha256)
    info = services.store.stat(key)
    if info is None:
        raise StorageError("object_missing", f"there is no object {key}")
    if info.size_bytes != note.size_bytes:
        raise StorageError("object_size", f"object {key} has another size than its note says")
    header = services.store.header(key)
    return StoredObject(key, note.sha256, note.size_bytes, header.root_sha256, header.intake_id.hex())


def note_of(row: Any) -> Note:
    """The note that an arrival's row asks for."""
    return Note(
        site_id=row.site_id,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        source=row.source,
        kind=row.kind,
        clinic_priority=cast(Priority, row.clinic_priority),
        arrived_at=row.arrived_at,
    )


def raise_arrival(
    conn: Connection,
    identifier: str,
    priority: Priority,
    actor: str,
    now: datetime,
    placing: queue.Placing = queue.by_default,
) -> bool:
    """Lift an arrival that was sent with a higher priority, and its work item; a lower one changes nothing."""
    this = arrivals.c.id == identifier
    known = conn.execute(select(arrivals.c.clinic_priority, arrivals.c.case_id).where(this).with_for_update()).one()
    if PRIORITIES.index(priority) >= PRIORITIES.index(known.clinic_priority):
        return False
    conn.execute(update(arrivals).where(this).values(clinic_priority=priority))
    if known.case_id is not None:
        queue.raise_priority(conn, known.case_id, priority, "clinic", now, who=actor, placing=placing)
    audit.record(
        conn,
        at=now,
        actor=actor,
        action="raise",
        object_type="arrival",
        object_id=identifier,
        detail={"priority": priority},
    )
    return True

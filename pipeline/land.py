"""Step 1, land: bytes become durable, then known, then acknowledged. Nothing is parsed here."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal

from sqlalchemy import select

from teleread.alliance import PRIORITIES, Priority
from teleread.errors import InputRejected, StorageError
from teleread.ingest.formats import bundle, kind_of, safe_names
from teleread.pipeline.adopt import arrival_row, object_row, raise_arrival
from teleread.pipeline.identifiers import arrival_id, receipt_of
from teleread.pipeline.notes import Note, note_key, write_note
from teleread.pipeline.rotten import LOST, replace_rotten
from teleread.pipeline.route import placing
from teleread.pipeline.services import Services
from teleread.storage import audit
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import arrivals, objects, quarantine
from teleread.storage.objects.protocol import StoredObject
from teleread.storage.objects.raw import put_raw, raw_key, rewound

log = logging.getLogger(__name__)

_TRIES = 5
_PAUSE_S = 0.2
# waiting for the catalogue takes half a minute already
_BUSY_TRIES = 2
_PIECE_BYTES = 1 << 20
_HEAD_BYTES = 64 << 10  # more than any format needs to show what it is

Channel = Literal["dicom", "folder", "web", "cli"]
"""The way by which something arrives."""
Payload = bytes | BinaryIO


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
    source: Channel,
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
    return _land(services, data, kind_of(data), site_id, source, clinic_priority, actor)


def land_file(
    services: Services, *, site_id: str, source: Channel, file: BinaryIO, clinic_priority: Priority, actor: str
) -> Landed:
    """As :func:`land`, for one file that is too large to be held in memory: it is read in pieces.

    Args:
        file: seekable; read from its beginning, more than once.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if not head:
        raise InputRejected("empty_upload", "Nothing was sent: the file is empty.")
    return _land(services, file, kind_of(head), site_id, source, clinic_priority, actor)


def land_again(
    services: Services, *, site_id: str, sha256: str, clinic_priority: Priority, actor: str
) -> Landed | None:
    """What landing bytes that have landed before would answer, from their hash alone: they need not be sent again.

    Returns:
        The acknowledgement that was given, its priority raised where this one is higher. None where the site sent no
        such bytes, or where those that we hold are no good: then they must come.
    """
    identifier = arrival_id(site_id, sha256)
    with services.catalogue.read() as conn:
        row = conn.execute(select(arrivals).where(arrivals.c.id == identifier)).one_or_none()
        lost = select(quarantine.c.code).where(
            quarantine.c.arrival_id == identifier, quarantine.c.code.in_(LOST), quarantine.c.resolved_at.is_(None)
        )
        if row is None or conn.execute(lost).first() is not None:
            return None
    if PRIORITIES.index(clinic_priority) < PRIORITIES.index(row.clinic_priority):
        note = Note(site_id, sha256, row.size_bytes, row.source, row.kind, clinic_priority, row.arrived_at)
        _keep_note(services, note)
        now = services.clock()
        with services.catalogue.write() as conn:
            raise_arrival(conn, identifier, clinic_priority, actor, now, placing(services.room, now))
    return Landed(identifier, row.receipt, sha256, new=False)


def _land(
    services: Services, data: Payload, kind: str, site_id: str, source: Channel, clinic_priority: Priority, actor: str
) -> Landed:
    busy = 0
    for attempt in range(_TRIES):
        try:
            return _land_once(services, data, kind, site_id, source, clinic_priority, actor)
        except StorageError as error:
            # the sweeper took away, between our put and our row, what had lain there unnamed
            swept = error.code in {"object_swept", "object_missing"}
            busy += error.code == "catalogue_busy"
            again = swept or (error.code == "catalogue_busy" and busy < _BUSY_TRIES)
            if not again or attempt + 1 == _TRIES:
                raise
        time.sleep(_PAUSE_S * (attempt + 1))
        if swept and attempt > 0:
            # nobody came to the end of it meanwhile: who condemned it died, or has much else to do
            _finish_removal(services, site_id, _hash(data))
    raise AssertionError("every try returned or raised")


def _hash(data: Payload) -> str:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    digest = hashlib.sha256()
    data.seek(0)
    while piece := data.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def _finish_removal(services: Services, site_id: str, sha256: str) -> None:
    identifier = arrival_id(site_id, sha256)
    keys = [raw_key(sha256), *(note_key(identifier, priority) for priority in PRIORITIES)]
    with sweeping.sole_remover(services.catalogue) as alone:
        if alone:
            sweeping.finish(services.catalogue, services.store, keys)


def _land_once(
    services: Services, data: Payload, kind: str, site_id: str, source: str, clinic_priority: Priority, actor: str
) -> Landed:
    with services.catalogue.read() as conn:
        mark = sweeping.mark(conn)
    stored = _put_raw(services, data, actor)
    note = Note(site_id, stored.sha256, stored.size_bytes, source, kind, clinic_priority, services.clock())
    note = _keep_note(services, note)
    identifier, now = note.arrival_id, services.clock()
    with services.catalogue.write() as conn:
        sweeping.check(conn, [stored.key, note.key], mark)
        insert_missing(conn, objects, [object_row(stored, now)], ["key"])
        new = insert_missing(conn, arrivals, [arrival_row(note)], ["id"]) == 1
        if new:
            audit.record(conn, at=now, actor=actor, action="land", object_type="arrival", object_id=identifier)
        else:
            raise_arrival(conn, identifier, clinic_priority, actor, now, placing(services.room, now))
    return Landed(identifier, receipt_of(identifier), stored.sha256, new)


def _put_raw(services: Services, data: Payload, actor: str) -> StoredObject:
    try:
        return put_raw(services.store, rewound(data))
    except StorageError as error:
        if error.code != "object_corrupt":
            raise
        # the copy that we hold has rotted, and here are the bytes: nothing stands in an urgent ECG's way
        return replace_rotten(services, data, _hash(data), actor=actor)


def _keep_note(services: Services, note: Note) -> Note:
    try:
        # bytes whose landing was cut short before count from when they first came
        return write_note(services.store, note)
    except StorageError as error:
        if not error.code.startswith("note_"):
            raise
        # an older note that cannot be read holds nothing up: the row is written, and `storage reconcile` mends
        log.error("note of arrival %s: %s", note.arrival_id, error.code)
        return note

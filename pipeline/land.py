"""Step 1, land: bytes become durable, then known, then acknowledged. Nothing is parsed here."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from teleread.alliance import PRIORITIES, Priority
from teleread.errors import InputRejected, StorageError
from teleread.ingest.formats import bundle, kind_of, safe_names
from teleread.pipeline.adopt import arrival_row, object_row, raise_arrival
from teleread.pipeline.identifiers import arrival_id, receipt_of
from teleread.pipeline.notes import Note, note_key, write_note
from teleread.pipeline.rotten import replace_rotten
from teleread.pipeline.services import Services
from teleread.storage import audit
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import arrivals, objects
from teleread.storage.objects.protocol import StoredObject
from teleread.storage.objects.raw import put_raw, raw_key

log = logging.getLogger(__name__)

_TRIES = 5
_PAUSE_S = 0.2
# waiting for the catalogue takes half a minute already
_BUSY_TRIES = 2


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
    kind = kind_of(data)
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
            _finish_removal(services, site_id, data)
    raise AssertionError("every try returned or raised")


def _finish_removal(services: Services, site_id: str, data: bytes) -> None:
    sha256 = hashlib.sha256(data).hexdigest()
    identifier = arrival_id(site_id, sha256)
    keys = [raw_key(sha256), *(note_key(identifier, priority) for priority in PRIORITIES)]
    with sweeping.sole_remover(services.catalogue) as alone:
        if alone:
            sweeping.finish(services.catalogue, services.store, keys)


def _land_once(
    services: Services, data: bytes, kind: str, site_id: str, source: str, clinic_priority: Priority, actor: str
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
            raise_arrival(conn, identifier, clinic_priority, actor, now)
    return Landed(identifier, receipt_of(identifier), stored.sha256, new)


def _put_raw(services: Services, data: bytes, actor: str) -> StoredObject:
    try:
        return put_raw(services.store, data)
    except StorageError as error:
        if error.code != "object_corrupt":
            raise
        # the copy that we hold has rotted, and here are the bytes: nothing stands in an urgent ECG's way
        return replace_rotten(services, data, actor=actor)


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

"""Raw objects that are gone or not what was stored: who waits for them is told, and good bytes take their place."""

from __future__ import annotations

import time
from datetime import datetime
from typing import BinaryIO

from sqlalchemy import Connection, insert, select, update

from teleread.errors import StorageError
from teleread.pipeline import records
from teleread.pipeline.services import Services
from teleread.storage import audit
from teleread.storage.catalogue.schema import arrivals, objects, quarantine, swept_objects
from teleread.storage.catalogue.sweeping import sole_remover
from teleread.storage.objects.protocol import StoredObject
from teleread.storage.objects.raw import put_raw, raw_key, raw_root, rewound

LOST = ("object_missing", "object_corrupt", "object_size")
_PATIENCE_S = 10.0
_SENTENCES = {
    "object_missing": "The bytes as received are not in the object store.",
    "object_corrupt": "The bytes as received have rotted in the object store.",
    "object_size": "The bytes as received have another length in the object store.",
}


def set_aside(conn: Connection, key: str, code: str, now: datetime) -> list[str]:
    """Quarantine the arrivals of a raw object that cannot be read; what was prepared from it stays in view.

    Returns:
        Ids of the arrivals that were not in quarantine for this before.
    """
    told = select(quarantine.c.arrival_id).where(quarantine.c.code == code, quarantine.c.resolved_at.is_(None))
    waiting = select(arrivals.c.id).where(arrivals.c.object_key == key, arrivals.c.id.not_in(told))
    found = list(conn.scalars(waiting.with_for_update()))
    for identifier in found:
        records.quarantine_arrival(conn, identifier, code, _SENTENCES[code], now, arrivals.c.state == "landed")
    return found


def release(conn: Connection, key: str, now: datetime) -> list[str]:
    """The raw object is there again: its arrivals leave the quarantine that was for that, and are prepared."""
    told = select(quarantine.c.arrival_id).where(quarantine.c.code.in_(LOST), quarantine.c.resolved_at.is_(None))
    waiting = select(arrivals.c.id).where(arrivals.c.object_key == key, arrivals.c.id.in_(told))
    found = list(conn.scalars(waiting.with_for_update()))
    for identifier in found:
        conn.execute(
            update(quarantine)
            .where(quarantine.c.arrival_id == identifier, quarantine.c.code.in_(LOST))
            .values(resolved_at=now)
        )
        conn.execute(
            update(arrivals)
            .where(arrivals.c.id == identifier, arrivals.c.state == "quarantined")
            .values(state="landed")
        )
        audit.record(conn, at=now, actor="teleread", action="object_back", object_type="arrival", object_id=identifier)
    return found


def replace_rotten(services: Services, data: bytes | BinaryIO, sha256: str, *, actor: str) -> StoredObject:
    """Put the bytes in the place of a raw object that has rotted.

    Only one process at a time removes anything, so a good copy that another has put there meanwhile is seen and
    left. A process that dies between removing and putting leaves an object missing that was no good before.

    Raises:
        StorageError: ``catalogue_busy`` when another remover was at work for too long, so try again; otherwise as
            :func:`put_raw`.
    """
    key = raw_key(sha256)
    ends = time.monotonic() + _PATIENCE_S
    while True:
        with sole_remover(services.catalogue) as sole:
            if sole:
                return _replace(services, key, data, actor)
        if time.monotonic() > ends:
            raise StorageError("catalogue_busy", "another process removed objects for too long; send again")
        time.sleep(0.05)


def _replace(services: Services, key: str, data: bytes | BinaryIO, actor: str) -> StoredObject:
    if _is_rotten(services, key):
        with services.catalogue.write() as conn:
            # whoever dies on the way leaves a row that says nothing, not one that says what was
            _say(conn, key, None, services.clock())
        services.store.delete(key)
        stored = put_raw(services.store, rewound(data))
        now = services.clock()
        with services.catalogue.write() as conn:
            _say(conn, key, stored.intake_key, now)  # it was sealed anew
            release(conn, key, now)
            audit.record(
                conn,
                at=now,
                actor=actor,
                action="replace_rotten",
                object_type="object",
                object_id=stored.sha256,
            )
        return stored
    return put_raw(services.store, rewound(data))


def _say(conn: Connection, key: str, intake_key: str | None, now: datetime) -> None:
    """Under which key it stands; and that it is another object now, for writers that saw the one before and backups."""
    conn.execute(update(objects).where(objects.c.key == key).values(intake_key=intake_key))
    conn.execute(insert(swept_objects).values(key=key, condemned_at=now, gone=True))


def _is_rotten(services: Services, key: str) -> bool:
    try:
        sha256, _size = services.store.measure(key)
    except StorageError as error:
        if error.code != "object_corrupt":
            raise
        return True
    return not key.endswith(sha256)


def audit_id(key: str) -> str:
    """What stands for an object in the audit, whose identifiers are shorter than keys."""
    return raw_root(key) or key.rpartition("/")[2][:64]

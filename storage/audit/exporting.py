"""Reading events out, oldest number first, in transactions of some hundred events each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from teleread.storage.audit.sealing import Trail
from teleread.storage.catalogue.schema import arrivals, studies

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded act.

    Args:
        database: the trail's name.
        id: number of the event, one of its database's.
        at: aware UTC time.
        actor, action, object_type, object_id: see :func:`record`.
        detail: JSON values.
        seq: number of its link; None until it is chained.
        hash: of that link, hexadecimal.
        patients: reading pseudonyms of those it concerns, as far as they are known.
    """

    database: str
    id: int
    at: datetime
    actor: str
    action: str
    object_type: str
    object_id: str
    detail: Mapping[str, Any]
    seq: int | None
    hash: str | None
    patients: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"at": self.at.isoformat(), "patients": list(self.patients)}


def read_events(trail: Trail, since: datetime | None = None, until: datetime | None = None) -> Iterator[Event]:
    """Events with ``since <= at < until``; constant memory.

    Raises:
        StorageError: what ``Database`` raises.
    """
    events, chain = trail.tables.events, trail.tables.chain
    wanted = select(events, chain.c.seq, chain.c.hash).outerjoin(chain, chain.c.event_id == events.c.id)
    if since is not None:
        wanted = wanted.where(events.c.at >= since)
    if until is not None:
        wanted = wanted.where(events.c.at < until)
    last = 0
    while True:
        with trail.database.read() as conn:
            rows = conn.execute(wanted.where(events.c.id > last).order_by(events.c.id).limit(_CHUNK)).all()
            patients = _patients(conn, trail, rows)
        for row in rows:
            yield Event(
                trail.name,
                row.id,
                row.at,
                row.actor,
                row.action,
                row.object_type,
                row.object_id,
                row.detail,
                row.seq,
                None if row.hash is None else bytes(row.hash).hex(),
                tuple(sorted(patients.get(row.id, ()))),
            )
        if len(rows) < _CHUNK:
            return
        last = rows[-1].id


def _patients(conn: Connection, trail: Trail, rows: Sequence[Any]) -> dict[int, set[str]]:
    """Whom the events concern: named by them, opened in the vault by them, or of the case or arrival they name."""
    found: dict[int, set[str]] = {row.id: {row.object_id} for row in rows if row.object_type == "patient"}
    metadata = trail.tables.events.metadata
    joined = metadata.tables.get("joined")
    if joined is not None:
        opened = select(joined.c.event_id, joined.c.pseudonym).where(
            joined.c.event_id.in_([row.id for row in rows if row.action == "join"])
        )
        for event_id, pseudonym in conn.execute(opened):
            found.setdefault(event_id, set()).add(pseudonym)
    if metadata is not studies.metadata:
        return found
    for kind, column in (("arrival", arrivals.c.id), ("case", arrivals.c.case_id), ("study", arrivals.c.study_id)):
        named = {row.object_id for row in rows if row.object_type == kind}
        known: dict[str, set[str]] = {}
        behind = select(column, studies.c.patient_pseudonym).join(studies, studies.c.id == arrivals.c.study_id)
        if named:
            for object_id, pseudonym in conn.execute(behind.where(column.in_(named)).distinct()):
                known.setdefault(object_id, set()).add(pseudonym)
        for row in rows:
            if row.object_type == kind and row.object_id in known:
                found.setdefault(row.id, set()).update(known[row.object_id])
    return found

"""Copies for export that must go, and those that are missing.

A refusal takes them away (``reading/consent.py``), and so does a correction, because they carry a wrong pseudonym. They
are made again once the refusal is taken back, and under the right pseudonym.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, func, or_, select

from teleread.errors import InputRejected, StorageError
from teleread.pipeline import products, records
from teleread.pipeline.prepare import derived_key
from teleread.pipeline.products import EXPORT_PROJECT, Lineage
from teleread.pipeline.services import Services
from teleread.reading import consent
from teleread.storage import audit
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.schema import arrivals, derived, identity_corrections, objects, studies
from teleread.storage.objects.raw import get_raw

log = logging.getLogger(__name__)

_AT_ONCE = 16
_WITHDRAWN_AT_ONCE = 256
_IS_COPY = derived.c.name.startswith("pseudonymised.")


def withdraw_copies(conn: Connection, whose: ColumnElement[bool], actor: str, at: datetime) -> int:
    """Take the export copies of arrivals away: their rows go, and their objects are condemned for the sweeper.

    Call it before the transaction changes rows; nobody writes a row that names an object until it ends.

    Args:
        conn: of :meth:`Database.write`.
        whose: a condition on arrivals.

    Returns:
        How many copies that were.
    """
    sweeping.exclude_writers(conn)
    found: dict[str, dict[str, str]] = {}
    query = select(derived.c.arrival_id, derived.c.name, derived.c.object_key)
    for row in conn.execute(query.join(arrivals, arrivals.c.id == derived.c.arrival_id).where(_IS_COPY, whose)):
        found.setdefault(row.arrival_id, {})[row.object_key] = row.name
    for arrival_id, copies in sorted(found.items()):
        conn.execute(delete(derived).where(derived.c.arrival_id == arrival_id, derived.c.object_key.in_(copies)))
        conn.execute(delete(objects).where(objects.c.key.in_(copies)))
        sweeping.condemn(conn, list(copies), at)
        audit.record(
            conn,
            at=at,
            actor=actor,
            action="withdraw_copy",
            object_type="arrival",
            object_id=arrival_id,
            detail={"copies": sorted(set(copies.values())), "because": "consent_refused"},
        )
    return sum(map(len, found.values()))


def withdraw_refused(services: Services) -> int:
    """Take away the copies of what came under a refusal by another way than its form: it was joined to such a case.

    Returns:
        How many copies were taken away.
    """
    refused = select(derived.c.arrival_id).where(_IS_COPY, derived.c.arrival_id.in_(consent.refused_arrivals()))
    with services.catalogue.read() as conn:
        found = list(conn.scalars(refused.distinct().limit(_WITHDRAWN_AT_ONCE)))
    if not found:
        return 0
    with services.catalogue.write() as conn:
        still = [one for one in found if consent.refuses(conn, one)]
        return withdraw_copies(conn, arrivals.c.id.in_(still), "teleread", services.clock())


def remake_copies(services: Services) -> int:
    """Make the export copies that closed corrections and refusals took away, a few at a time; returns how many.

    The few are drawn by lot, so that those whose copies cannot be made keep nobody waiting.

    Raises:
        StorageError: something cannot be read; where that is an object, the others were made first.
        PeerError: the store does not answer.
    """
    with services.catalogue.read() as conn:
        waiting = conn.execute(_without_copy().order_by(func.random()).limit(_AT_ONCE)).all()
    made = 0
    failure: StorageError | None = None
    for row in waiting:
        try:
            made += _remake(services, row)
        except StorageError as error:
            if error.code == "object_swept":
                continue  # what was withdrawn is being deleted at this moment: the next round makes it
            if not error.code.startswith("object_"):
                raise  # it would be the same with all of them
            log.error("arrival %s has no copy for export: %s", row.id, error.code)
            failure = error
    if failure is not None:
        raise failure
    return made


def _without_copy() -> Any:
    copy = (derived.c.arrival_id == arrivals.c.id) & _IS_COPY
    corrected = identity_corrections.c.case_id.in_((arrivals.c.id, arrivals.c.case_id, arrivals.c.study_id))
    return (
        select(arrivals.c.id, arrivals.c.sha256, arrivals.c.site_id, arrivals.c.study_id, studies.c.patient_pseudonym)
        .join(studies, studies.c.id == arrivals.c.study_id)
        .where(
            arrivals.c.state == "prepared",
            ~exists().where(copy),
            or_(
                exists().where(corrected, identity_corrections.c.outcome == "corrected"),
                consent.is_answered(),
            ),
            arrivals.c.id.not_in(consent.refused_arrivals()),
        )
    )


def _remake(services: Services, row: Row[Any]) -> int:
    lineage = Lineage(row.site_id, services.alliance.utc_offset_minutes, EXPORT_PROJECT)
    with services.catalogue.read() as conn:
        mark = sweeping.mark(conn)
    try:
        copies = products.pseudonymise(services, get_raw(services.store, row.sha256), lineage, row.patient_pseudonym)
    except InputRejected as error:
        log.warning("arrival %s has no copy for export: %s", row.id, error.code)
        return 0
    stored = {
        name: services.store.put(derived_key(row.id, name, blob), blob, root=row.sha256)
        for name, blob in copies.items()
    }
    now = services.clock()
    with services.catalogue.write() as conn:
        sweeping.check(conn, [item.key for item in stored.values()], mark)
        whose = select(studies.c.patient_pseudonym).where(studies.c.id == row.study_id)
        if conn.scalar(whose) != row.patient_pseudonym:
            return 0  # corrected again meanwhile: what was made is an orphan, and the next round makes the right one
        if consent.refuses(conn, row.id):
            return 0
        for name, item in stored.items():
            records.put_derived(conn, row, name, item, lineage, now)
        audit.record(
            conn,
            at=now,
            actor="teleread",
            action="remake_copy",
            object_type="arrival",
            object_id=row.id,
            detail={"copies": sorted(stored)},
        )
    return len(stored)

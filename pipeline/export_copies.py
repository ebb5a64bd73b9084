"""Copies for export that are missing: a correction takes them away, because they carry a wrong pseudonym."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Row, exists, func, select

from teleread.errors import InputRejected, StorageError
from teleread.pipeline import products, records
from teleread.pipeline.prepare import derived_key
from teleread.pipeline.products import EXPORT_PROJECT, Lineage
from teleread.pipeline.services import Services
from teleread.storage import audit
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.schema import arrivals, derived, identity_corrections, studies
from teleread.storage.objects.raw import get_raw

log = logging.getLogger(__name__)

_AT_ONCE = 16


def remake_copies(services: Services) -> int:
    """Make the export copies that closed corrections took away, a few at a time; returns how many were made.

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
            if not error.code.startswith("object_"):
                raise  # it would be the same with all of them
            log.error("arrival %s has no copy for export: %s", row.id, error.code)
            failure = error
    if failure is not None:
        raise failure
    return made


def _without_copy() -> Any:
    copy = (derived.c.arrival_id == arrivals.c.id) & derived.c.name.startswith("pseudonymised.")
    corrected = identity_corrections.c.case_id.in_((arrivals.c.id, arrivals.c.case_id, arrivals.c.study_id))
    return (
        select(arrivals.c.id, arrivals.c.sha256, arrivals.c.site_id, arrivals.c.study_id, studies.c.patient_pseudonym)
        .join(studies, studies.c.id == arrivals.c.study_id)
        .where(
            arrivals.c.state == "prepared",
            exists().where(corrected, identity_corrections.c.outcome == "corrected"),
            ~exists().where(copy),
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

"""The clinic's later word on what it has sent: more urgent after all, or what the patient suffers from.

It follows landing at any time and only ever raises. As in landing, the note is written before the row: what a clinic
called urgent stays so where the catalogue is restored from an older backup.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, select

from teleread.alliance import PRIORITIES, Priority
from teleread.errors import InputRejected, StorageError
from teleread.pipeline.adopt import note_of, raise_arrival
from teleread.pipeline.notes import write_note
from teleread.pipeline.route import note_question, placing
from teleread.pipeline.services import Services
from teleread.reading import clinic
from teleread.reading.symptoms import Form, raises_to
from teleread.storage.catalogue.schema import arrivals

log = logging.getLogger(__name__)


def raise_sent(services: Services, *, receipt: str, site_id: str, priority: Priority, actor: str) -> Priority:
    """Lift what a site has sent to at least ``priority``.

    Returns:
        The clinic's priority that stands then.

    Raises:
        InputRejected: ``no_such_arrival``: this site has sent nothing under that receipt.
    """
    return _raise(services, receipt, site_id, priority, actor)


def save_form(services: Services, *, receipt: str, site_id: str, form: Form, actor: str) -> Priority:
    """Keep the clinic's form and raise the case where its answers ask for it.

    Raises:
        InputRejected: ``no_such_arrival``.

    Returns:
        The clinic's priority that stands then.
    """
    asked = raises_to(form)
    # raised first: a form that could not be kept must not hold up the patient
    standing = _raise(services, receipt, site_id, asked or "routine", actor)
    with services.catalogue.write() as conn:
        identifier = conn.scalar(_of(receipt, site_id).with_only_columns(arrivals.c.id))
        assert identifier is not None
        clinic.save_form(conn, identifier, form, actor, services.clock())
        note_question(conn, services.room, identifier, form, services.clock())
    return standing


def _raise(services: Services, receipt: str, site_id: str, priority: Priority, actor: str) -> Priority:
    with services.catalogue.read() as conn:
        row = conn.execute(_of(receipt, site_id)).one_or_none()
    if row is None:
        raise InputRejected("no_such_arrival", "There is nothing under this receipt.")
    if PRIORITIES.index(priority) >= PRIORITIES.index(row.clinic_priority):
        standing: Priority = row.clinic_priority
        return standing
    note = note_of(row)
    try:
        write_note(services.store, replace(note, clinic_priority=priority))
    except StorageError as error:
        # nothing holds up an urgent case: the row is raised, and `storage reconcile` mends the note
        log.error("note of arrival %s: %s", row.id, error.code)
    now = services.clock()
    with services.catalogue.write() as conn:
        raise_arrival(conn, row.id, priority, actor, now, placing(services.room, now))
    return priority


def _of(receipt: str, site_id: str) -> Select[Any]:
    return select(arrivals).where(arrivals.c.receipt == receipt.upper(), arrivals.c.site_id == site_id)

"""Reading from the catalogue with its audit event in one transaction, and what happens when that cannot be written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from teleread.errors import StorageError
from teleread.reading import access, blind
from teleread.reading.eligibility import READING_ROLES
from teleread.web.security import Seat

log = logging.getLogger(__name__)

_T = TypeVar("_T")

# a disk that takes no more writes still reads, and an urgent case must not wait for the engineer
_UNWRITABLE = ("_full", "_readonly", "_io")


@dataclass(frozen=True, slots=True)
class Viewed(Generic[_T]):
    """What was read, and whether the access is in the audit trail; else the page says so and the log has it."""

    value: _T
    recorded: bool


def view(
    seat: Seat,
    read: Callable[[Connection], _T],
    object_type: str,
    object_id: str,
    detail: Callable[[_T], Mapping[str, Any]] | None = None,
    *,
    of_patient: bool = True,
) -> Viewed[_T]:
    """Read and record the route's audit event in one transaction; for views by a reader, never for acts.

    Whether the reader may see the case, or the case of the arrival, is asked here, so that no route forgets it.

    Where the catalogue takes no more writes, the view goes on unrecorded and the event is logged at ERROR without
    any identity, to be recorded afterwards.

    Args:
        read: reads only; called a second time where the first was in vain.
        detail: of the audit event, from what was read.
        of_patient: false where nothing of a patient is shown, so that no licence is asked for.

    Raises:
        NotLicensed: ``case_not_licensed``.
        Blind: ``blind_until_signed``.
        StorageError: the catalogue cannot be read either, or is only busy or away.
    """
    services = seat.services
    try:
        with services.catalogue.write() as conn:
            if of_patient:
                check_access(conn, seat, object_type, object_id)
            value = read(conn)
            seat.record(conn, object_type, object_id, dict(detail(value)) if detail else None)
        return Viewed(value, True)
    except StorageError as error:
        if not error.code.endswith(_UNWRITABLE):
            raise
        code = error.code
    with services.catalogue.read() as conn:
        if of_patient:
            check_access(conn, seat, object_type, object_id)
        value = read(conn)
    log.error(
        "audit event not recorded (%s): at=%s actor=%s action=%s object=%s/%s",
        code,
        services.clock().isoformat(timespec="seconds"),
        seat.name,
        seat.audit_action,
        object_type,
        object_id,
    )
    return Viewed(value, False)


def check_access(conn: Connection, seat: Seat, object_type: str, object_id: str) -> None:
    """Go on only with what this reader may see.

    Raises:
        NotLicensed: ``case_not_licensed``.
        Blind: ``blind_until_signed``: the first report of a case that this reader reads a second time.
    """
    if seat.role not in READING_ROLES:
        return
    services = seat.services
    whose = services.room, seat.name, seat.role, object_id, services.clock()
    if object_type == "case":
        access.check(conn, *whose)
        blind.check(conn, object_id, seat.name)
    elif object_type == "arrival":
        access.check_arrival(conn, *whose)

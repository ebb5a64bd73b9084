"""What a reader's page shows of the clinic's part in a case, and the note that the case has been opened."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from teleread.errors import StorageError
from teleread.reading import clinic
from teleread.reading.clinic import Acknowledgement, SavedForm
from teleread.reading.reports import Report
from teleread.web.security import Seat

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CaseClinic:
    """What the clinic has said of a case, and which of its reports it has read."""

    forms: tuple[SavedForm, ...]
    acknowledged: Mapping[str, Acknowledgement]  # by the report's id


def read(conn: Connection, case_id: str, reports: Sequence[Report]) -> CaseClinic:
    """Read it for a reader's page."""
    return CaseClinic(
        tuple(clinic.forms_of_case(conn, case_id)), clinic.acknowledged(conn, [report.id for report in reports])
    )


def opened(seat: Seat, case_id: str) -> None:
    """The clinic is told that this reader has the case before them. Nothing of it holds the reader up."""
    try:
        with seat.services.catalogue.write() as conn:
            clinic.note_opening(conn, case_id, seat.name, seat.services.clock())
    except StorageError as error:
        log.warning("opening of case %s is not noted: %s", case_id, error.code)

"""What a clinic says after sending: answers on the patient, urgent after all, and "I have read this"."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse

from teleread.errors import AccessDenied
from teleread.pipeline import clinic_word
from teleread.pipeline.verdict import Verdict, verdict
from teleread.reading import clinic
from teleread.reading.symptoms import parse
from teleread.storage import agents
from teleread.web.errors import NotFound
from teleread.web.limits import small_form
from teleread.web.security import Seat, allow

router = APIRouter()

Fields = Annotated[dict[str, str], Depends(small_form)]


@router.post("/api/receipts/{receipt}/form")
def form(seat: Annotated[Seat, allow("uploader", audit="form")], receipt: str, fields: Fields) -> JSONResponse:
    """Keep the form, whole, in the place of the one before; answers that ask for it raise the case."""
    return JSONResponse({"priority": save(seat, receipt, fields)})


@router.post("/api/receipts/{receipt}/patient")
def patient(seat: Annotated[Seat, allow("uploader", audit="form")], receipt: str) -> JSONResponse:
    """The name that was read back is the patient's."""
    confirm(seat, receipt)
    return JSONResponse({"confirmed_by": seat.name})


@router.post("/api/receipts/{receipt}/urgent")
def urgent(seat: Annotated[Seat, allow("uploader", audit="raise")], receipt: str) -> JSONResponse:
    """It is urgent after all."""
    return JSONResponse({"priority": make_urgent(seat, receipt)})


@router.post("/api/receipts/{receipt}/read")
def read(seat: Annotated[Seat, allow("uploader", audit="acknowledge")], receipt: str, fields: Fields) -> JSONResponse:
    """A critical report has been read, by this account and now. ``report``: its id, so that no newer one is meant."""
    acknowledge(seat, receipt, fields.get("report", ""))
    return JSONResponse({"read_by": seat.name})


def save(seat: Seat, receipt: str, fields: dict[str, str]) -> str:
    """Keep a form; returns the clinic's priority that stands then."""
    services = seat.services
    return clinic_word.save_form(services, receipt=receipt, site_id=seat.site_id, form=parse(fields), actor=seat.name)


def confirm(seat: Seat, receipt: str) -> None:
    """Keep that the clinic has confirmed whose recording it is."""
    found = own(seat, receipt)
    with seat.services.catalogue.write() as conn:
        clinic.confirm_patient(conn, found.arrival_id, seat.name, seat.services.clock())


def make_urgent(seat: Seat, receipt: str) -> str:
    """Raise what was sent; returns the clinic's priority that stands then."""
    return clinic_word.raise_sent(
        seat.services, receipt=receipt, site_id=seat.site_id, priority="urgent", actor=seat.name
    )


def acknowledge(seat: Seat, receipt: str, report_id: str) -> None:
    """Keep who has read the critical report of a receipt: a person, and never a program.

    Raises:
        AccessDenied: ``not_a_person``.
    """
    found = own(seat, receipt)
    if seat.account is not None and agents.is_agent(seat.account):
        raise AccessDenied("not_a_person", "Only a person of the clinic can say that they have read it.")
    if report_id not in {one.id for one in (found.report, *found.addenda, *found.consultations) if one is not None}:
        raise NotFound()
    with seat.services.catalogue.write() as conn:
        clinic.acknowledge(conn, report_id, found.site_id, seat.name, seat.services.clock())


def own(seat: Seat, receipt: str) -> Verdict:
    """The verdict on what the seat's own site has sent."""
    found = verdict(seat.services, receipt=receipt.upper(), site_id=seat.site_id)
    if found is None:
        raise NotFound()
    return found

"""Critical values: raised on a case, acknowledged at the clinic, telephoned and owned here; contacts, their tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.errors import InputRejected
from teleread.pipeline import tell
from teleread.reading import contact_tests, critical_rows, criticals
from teleread.reading.critical_people import contacts_of
from teleread.reading.critical_state import BY_HAND, Critical
from teleread.web import critical_view
from teleread.web.errors import NotFound
from teleread.web.limits import small_form
from teleread.web.render import page
from teleread.web.security import Seat, allow

router = APIRouter()

Fields = Annotated[dict[str, str], Depends(small_form)]
HISTORY = timedelta(hours=72)
_CODE = "code_"


@router.post("/cases/{case_id}/critical")
def raise_one(seat: Annotated[Seat, allow("reader", audit="raise_critical")], case_id: str, fields: Fields) -> Response:
    """The reader who has claimed the case finds something critical, before any report: the clinic is told at once."""
    codes = [name.removeprefix(_CODE) for name, value in fields.items() if name.startswith(_CODE) and value == "1"]
    services = seat.services
    with services.catalogue.write() as conn:
        criticals.raise_critical(conn, case_id, codes, seat.name, services.clock(), ladders=services.ladders)
    return RedirectResponse(f"/cases/{case_id}#main", 303)


@router.post("/criticals/{critical_id}/take-back")
def take_back(seat: Annotated[Seat, allow("reader", audit="raise_critical")], critical_id: str) -> Response:
    """It was raised by mistake: the clinic hears that too, and says that it has."""
    services = seat.services
    _known(seat, critical_id)
    with services.catalogue.write() as conn:
        known = criticals.take_back(conn, critical_id, seat.name, services.clock(), ladders=services.ladders)
    return RedirectResponse(f"/cases/{known.case_id}#main", 303)


@router.post("/criticals/{critical_id}/acknowledge")
def acknowledge(
    seat: Annotated[Seat, allow("uploader", audit="acknowledge")], critical_id: str, fields: Fields
) -> Response:
    """A person of the clinic has read it."""
    acknowledged(seat, critical_id)
    back = fields.get("back", "")
    return RedirectResponse(back if back.startswith("/receipts/") else "/upload", 303)


def acknowledged(seat: Seat, critical_id: str) -> Critical:
    """Keep who has read it; another site's is not found."""
    services = seat.services
    with services.catalogue.write() as conn:
        known = critical_rows.get(conn, critical_id)
        if known is None or known.site_id != seat.site_id:
            raise NotFound()
        return criticals.acknowledge(conn, critical_id, seat.site_id, seat.name, services.clock())


@router.get("/criticals")
def show(
    request: Request, seat: Annotated[Seat, allow("reader", "coordinator", "administrator", audit=None)]
) -> Response:
    """What is open, with whom to telephone; and what was settled of late. No identities."""
    services = seat.services
    with services.catalogue.read() as conn:
        shown = critical_view.listed(conn, seat)
        settled = critical_view.settled(conn, seat, HISTORY)
        tested = contact_tests.overview(conn, services.room, services.clock())
    return page(
        request,
        seat,
        "criticals.html",
        shown=shown,
        settled=settled,
        amber=contact_tests.amber_sites(tested),
        by_hand=BY_HAND,
    )


@router.post("/criticals/{critical_id}/call")
def call(
    seat: Annotated[Seat, allow("reader", "coordinator", "administrator", audit="read_back")],
    critical_id: str,
    fields: Fields,
) -> Response:
    """A telephone call is written down: whom, and whether it was said back."""
    _known(seat, critical_id)
    services = seat.services
    told_to = fields.get("name", "").strip() or fields.get("contact", "")
    with services.catalogue.write() as conn:
        criticals.record_call(conn, critical_id, told_to, fields.get("outcome", ""), seat.name, services.clock())
    return RedirectResponse(f"/criticals#c-{critical_id}", 303)


@router.post("/criticals/{critical_id}/own")
def own(
    seat: Annotated[Seat, allow("reader", "coordinator", "administrator", audit="own_critical")], critical_id: str
) -> Response:
    """Somebody here makes it theirs; the ladder goes on."""
    _known(seat, critical_id)
    with seat.services.catalogue.write() as conn:
        criticals.take_ownership(conn, critical_id, seat.name, seat.services.clock())
    return RedirectResponse(f"/criticals#c-{critical_id}", 303)


@router.get("/contacts")
def contacts(
    request: Request, seat: Annotated[Seat, allow("coordinator", "administrator", "engineer", audit=None)]
) -> Response:
    """Every contact with its last test, those first that reach nobody."""
    services = seat.services
    with services.catalogue.read() as conn:
        tested = contact_tests.overview(conn, services.room, services.clock())
    return page(request, seat, "contacts.html", tested=tested, amber=contact_tests.amber_sites(tested))


@router.post("/contacts/{contact_id}/test")
def test(
    seat: Annotated[Seat, allow("coordinator", "administrator", audit="contact_test")],
    contact_id: str,
    fields: Fields,
) -> Response:
    """A test is sent, or the outcome of a call is written down."""
    services, act = seat.services, fields.get("act", "")
    contact = next((one for one in contacts_of(services.room, services.clock()) if one.id == contact_id), None)
    if contact is None:
        raise NotFound()
    if act in {"webhook", "email"}:
        now = services.clock()
        message = tell.Message("test", f"test.{contact.id}.{int(now.timestamp())}", "", (), now, "")
        key = tell.webhook_key(services.ring, contact.id)
        outcome = tell.send(contact, act, message, services.telling, key, now)
        act = "delivered" if outcome == tell.DELIVERED else "failed"
    elif act not in {"reached", "failed"}:
        raise InputRejected("answer_unknown", "The form names no answer.")
    with services.catalogue.write() as conn:
        contact_tests.record_test(conn, services.room, contact_id, act, seat.name, services.clock())
    return RedirectResponse(f"/contacts#k-{contact_id}", 303)


def _known(seat: Seat, critical_id: str) -> None:
    with seat.services.catalogue.read() as conn:
        if critical_rows.get(conn, critical_id) is None:
            raise NotFound()

"""Signing a report, its versions for whoever may see the case, and the PIN that signing asks for."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.errors import AccessDenied, Conflict, InputRejected, StorageError, TelereadError
from teleread.reading import reports
from teleread.reading.documents import as_file
from teleread.storage import accounts, signing_keys
from teleread.web import signing
from teleread.web.errors import NotFound, answer
from teleread.web.limits import small_form
from teleread.web.pages.signin import inside
from teleread.web.render import page
from teleread.web.security import Seat, allow
from teleread.web.signing import asked
from teleread.web.viewing import check_access

router = APIRouter()

Fields = Annotated[dict[str, str], Depends(small_form)]


@router.post("/cases/{case_id}/report")
def sign(
    request: Request, seat: Annotated[Seat, allow("reader", audit="sign")], case_id: str, fields: Fields
) -> Response:
    """Sign a version of a report; its audit event is written with it. Images cannot be signed from here.

    Where it cannot be signed, the answer gives the typed text back, and keeps it as a draft where that is possible.
    """
    wanted = asked(fields)
    try:
        signing.sign(request, seat, case_id, wanted)
    except NotFound:
        raise
    except (Conflict, InputRejected, StorageError, AccessDenied) as error:
        if isinstance(error, Conflict) and signing.signed_already(seat, case_id, wanted):
            return RedirectResponse(signing.then(request, seat, case_id, wanted.kind), 303)  # Sign was pressed twice
        signed, kept = _after_failure(seat, case_id, wanted, error)
        values = {"case_id": case_id, "text": wanted.said.text, "critical": wanted.said.critical, "signed": signed}
        return answer(request, error, "not_signed.html", seat, kept=kept, **values)
    return RedirectResponse(signing.then(request, seat, case_id, wanted.kind), 303)


def _after_failure(
    seat: Seat, case_id: str, wanted: signing.Asked, error: TelereadError
) -> tuple[list[reports.Report], bool]:
    """The versions that others have signed, and whether what was typed is kept as a draft."""
    if not isinstance(error, Conflict):
        return [], False
    with seat.services.catalogue.read() as conn:
        versions = reports.reports_of(conn, case_id)
    return versions, error.code == "claim_lost" and signing.keep_typed(seat, case_id, wanted)


@router.get("/cases/{case_id}/report.json")
def export(seat: Annotated[Seat, allow("reader", "coordinator", audit="download")], case_id: str) -> Response:
    """All versions with their signatures, as ``teleread report verify`` reads them. No identity stands in them."""
    with seat.services.catalogue.write() as conn:
        found = [one for _report, one in reports.bundles_of(conn, case_id) if one is not None]
        if not found:
            raise NotFound()
        check_access(conn, seat, "case", case_id)
        seat.record(conn, "case", case_id, {"versions": len(found)})
    headers = {"content-disposition": f'attachment; filename="report-{case_id[:12]}.json"'}
    return Response(as_file(found), media_type="application/json", headers=headers)


@router.get("/account/pin")
def pin_page(request: Request, seat: Annotated[Seat, allow("reader", audit=None)], next: str = "") -> Response:
    """Set a PIN, or another one."""
    return _pin_page(request, seat, next)


@router.post("/account/pin")
def set_pin(
    request: Request, seat: Annotated[Seat, allow("reader", audit="make_signing_key")], fields: Fields
) -> Response:
    """Make the key that signs this reader's reports. With the old PIN the key stays and only its PIN changes."""
    services, now, wanted = seat.services, seat.services.clock(), fields.get("next", "")
    pin, old = fields.get("pin", ""), fields.get("old", "")
    try:
        if pin != fields.get("again", ""):
            raise InputRejected("pins_differ", "The two PINs differ.")
        signing_keys.check_pin(pin)
        if old:
            signing_keys.change_pin(services.catalogue, services.ring, seat.name, old, pin, now)
        else:
            if accounts.sign_in(services.catalogue, seat.name, fields.get("password", ""), now) is None:
                raise AccessDenied("password_wrong", "The password is wrong.")
            signing_keys.set_pin(services.catalogue, services.ring, seat.name, pin, now)
    except (AccessDenied, InputRejected) as error:
        return _pin_page(request, seat, wanted, failure=error)
    return RedirectResponse(inside(wanted) or "/account/pin?next=/worklist", 303)


def _pin_page(request: Request, seat: Seat, wanted: str, failure: TelereadError | None = None) -> Response:
    with seat.services.catalogue.read() as conn:
        key = signing_keys.active(conn, seat.name)
    values: dict[str, Any] = {"next": inside(wanted), "key": key, "failure": failure.code if failure else ""}
    status = 200 if failure is None else 429 if failure.code == "too_many_attempts" else 422
    return page(request, seat, "pin.html", status=status, **values)

"""What a reader says of the program's flags."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi import Path as InPath
from starlette.responses import JSONResponse

from teleread.errors import Conflict
from teleread.reading import claims, flag_verdicts, worklist
from teleread.storage.catalogue.lookups import derived_key
from teleread.web.errors import NotFound
from teleread.web.limits import small_form
from teleread.web.security import Seat, allow
from teleread.web.viewing import check_access

router = APIRouter()

_FENCE_DIGITS = 12


@router.post("/api/cases/{case_id}/flags/{flag}")
def verdict(
    seat: Annotated[Seat, allow("reader", audit="flag_verdict")],
    case_id: str,
    flag: Annotated[str, InPath(pattern=r"^[a-z0-9_]{1,64}$")],
    fields: Annotated[dict[str, str], Depends(small_form)],
) -> JSONResponse:
    """Reject or confirm what is flagged under one code, or take that back; by whoever has the case.

    Form fields: ``verdict`` (rejected, confirmed, open), ``reason`` (a code or nothing), ``item_id`` and ``fence`` of
    the claim. Answers with the verdict and the codes that are still not rejected.
    """
    services, now = seat.services, seat.services.clock()
    with services.catalogue.read() as conn:
        case = worklist.get_case(conn, case_id)
        check_access(conn, seat, "case", case_id)
        key = derived_key(conn, case.item.arrival_id, "analysis.json") if case else None
    if key is None:
        raise NotFound()
    flags = json.loads(services.store.get(key))["flags"]
    about = [one for one in flags if one["code"] == flag]
    if not about:
        raise NotFound()
    with services.catalogue.write() as conn:
        item = claims.check(conn, fields.get("item_id", ""), seat.name, _fence(fields), now)
        if item.case_id != case_id:
            raise Conflict("claim_lost", "This claim is of another case.")
        flag_verdicts.say(
            conn,
            case_id,
            about,
            verdict=fields.get("verdict", ""),
            reason=fields.get("reason") or None,
            who=seat.name,
            at=now,
        )
        said = flag_verdicts.of_case(conn, case_id)
    return JSONResponse({"flag": flag, "verdict": fields["verdict"], "open": flag_verdicts.unrejected(flags, said)})


def _fence(fields: dict[str, str]) -> int:
    text = fields.get("fence", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _FENCE_DIGITS else -1

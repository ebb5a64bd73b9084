"""The worklist: what waits for a reader, most urgent first."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from teleread.errors import InputRejected
from teleread.reading import clinic, notices, worklist
from teleread.web import identity
from teleread.web.format import EPOCH
from teleread.web.render import page
from teleread.web.security import Seat, allow
from teleread.web.viewing import view

router = APIRouter()

ROWS = 50
CRITICAL_SHOWN_FOR = timedelta(hours=24)


@router.get("/worklist")
def show(
    request: Request,
    seat: Annotated[Seat, allow("reader", audit="list")],
    modality: str = "",
    site: str = "",
    after: str = "",
) -> Response:
    """One page of the worklist; the filters and the place stand in the address."""
    place = parse_cursor(after) if after else None

    since = seat.services.clock() - CRITICAL_SHOWN_FOR

    def read(
        conn: Connection,
    ) -> tuple[list[worklist.WorkItem], dict[str, int], dict[str, list[str]], int, list[clinic.Critical]]:
        rows = worklist.list_items(
            conn, site_ids=[site] if site else None, modality=modality or None, after=place, limit=ROWS + 1
        )
        told = notices.count_unseen(conn, seat.name), clinic.critical_since(conn, since)
        return rows, worklist.counts(conn), worklist.facets(conn), *told

    viewed = view(
        seat,
        read,
        "worklist",
        "all",
        lambda found: {"modality": modality[:16], "site": site[:32], "rows": len(found[0][:ROWS])},
    )
    rows, counts, facets, n_notices, critical = viewed.value
    items = rows[:ROWS]
    people = identity.join(seat, [wanted(item) for item in items], "worklist")
    filters = {key: value for key, value in (("modality", modality), ("site", site)) if value}
    further = urlencode(filters | {"after": write_cursor(worklist.cursor(items[-1]))}) if len(rows) > ROWS else ""
    return page(
        request,
        seat,
        "worklist.html",
        unrecorded=not viewed.recorded,
        items=items,
        n_notices=n_notices,
        critical=critical,
        people=people,
        counts=counts,
        facets=facets | {"modalities": sorted({*facets["modalities"], *filter(None, [modality])})},
        modality=modality,
        site=site,
        first=urlencode(filters),
        at_first=not after,
        further=further,
    )


def wanted(item: worklist.WorkItem) -> identity.Wanted:
    """What a work item knows of its patient."""
    return identity.Wanted(item.case_id, item.patient_pseudonym, item.patient_sex, item.patient_age_years)


def write_cursor(key: worklist.Cursor) -> str:
    """The key of a row for the address: band, microseconds since 1970, id."""
    band, order_at, item_id = key
    return f"{band}.{(order_at - EPOCH) // timedelta(microseconds=1)}.{item_id}"


def parse_cursor(text: str) -> worklist.Cursor:
    """The key out of the address.

    Raises:
        InputRejected: ``request_invalid``.
    """
    band, _, rest = text.partition(".")
    micros, _, item_id = rest.partition(".")
    if not (band in {"0", "1"} and micros.isascii() and micros.isdigit() and len(micros) <= 17 and item_id):
        raise InputRejected("request_invalid", "This page of the list does not exist.")
    return int(band), EPOCH + timedelta(microseconds=int(micros)), item_id[:32]

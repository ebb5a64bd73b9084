"""What a clinic's page shows of one thing that it has sent, beyond the verdict: who has it, and what is due."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from teleread.pipeline.verdict import Verdict
from teleread.reading import clinic
from teleread.storage.catalogue.schema import arrivals
from teleread.web.security import Seat
from teleread.web.sending import light

OPENED_WITHIN = timedelta(seconds=60)
"""An urgent case that no reader has opened by then: the clinic is given the telephone number, large."""


def state(seat: Seat, found: Verdict) -> dict[str, Any]:
    """The values of ``_receipt_status.html``."""
    case_id = found.case_id or found.arrival_id
    with seat.services.catalogue.read() as conn:
        opening = clinic.last_opening(conn, case_id)
        read = clinic.acknowledged(conn, [one.id for one in (*found.reports, *found.consultations)])
        arrived_at: datetime = conn.execute(
            select(arrivals.c.arrived_at).where(arrivals.c.id == found.arrival_id)
        ).scalar_one()
    open_urgent = found.priority == "urgent" and found.report is None
    return {
        "verdict": found,
        "light": light(found),
        "opening": opening,
        "acknowledged": read,
        "unread": any(
            one.critical and one.id not in read for one in (found.report, *found.addenda, *found.consultations) if one
        ),
        "call_after": arrived_at + OPENED_WITHIN if open_urgent and opening is None else None,
    }


def fingerprint(html: str) -> str:
    """What a page names the state by that it shows, so that an unchanged one is not sent again."""
    return hashlib.sha256(html.encode()).hexdigest()[:16]

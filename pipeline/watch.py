"""The watch over cases that wait or are being read: due steps, claims whose reader is gone, shifts that have ended.

Every web process runs it, and they share the work by row; what one leaves half done the next one does.
"""

from __future__ import annotations

import time
from datetime import datetime

from teleread.pipeline.services import Services
from teleread.reading import claims, eligibility, escalation, rules
from teleread.reading_room import ReadingRoom

ROUND_S = 2.0
"""A round ends after so long even when more is due: the next one begins at once."""


def watch(services: Services) -> int:
    """One round; returns how many things were done. It looks first, and writes only where there is something to do.

    Raises:
        StorageError: the catalogue did not answer. What was done before stays done.
    """
    ends = time.monotonic() + ROUND_S
    # what has a reader nobody hears of comes back first, so that its ladder begins
    done = _expire(services) + _steps(services, ends)
    return done + _hand_over(services)


def _expire(services: Services) -> int:
    now = services.clock()
    with services.catalogue.read() as conn:
        if not claims.any_stopped(conn, now):
            return 0
    with services.catalogue.write() as conn:
        return len(claims.expire(conn, now))


def _steps(services: Services, ends: float) -> int:
    done = 0
    while time.monotonic() < ends:
        now = services.clock()
        with services.catalogue.read() as conn:
            if not escalation.any_due(conn, now):
                break
        with services.catalogue.write() as conn:
            n = escalation.run_due(conn, now, _terms_of(services.room))
        if not n:
            break
        done += n
    return done


def _hand_over(services: Services) -> int:
    now = services.clock()
    with services.catalogue.read() as conn:
        gone = claims.off_duty(conn, _on_duty(services.room), now)
    if not gone:
        return 0
    with services.catalogue.write() as conn:
        return len(claims.hand_over(conn, gone, now))


def _terms_of(room: ReadingRoom) -> escalation.TermsOf:
    def terms(pool: str | None, at: datetime) -> escalation.Terms:
        return escalation.Terms(rules.lead_of(room, pool, at) or "", rules.overflow_of(room, pool, at) or "")

    return terms


def _on_duty(room: ReadingRoom) -> claims.OnDuty:
    def on_duty(who: str, pool: str, at: datetime) -> bool:
        return eligibility.is_on_duty(room, who, pool, at, grace=True)

    return on_duty

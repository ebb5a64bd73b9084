"""The watch over cases that wait or are being read: due steps, claims whose reader is gone, cases without a place.

Every web process runs it, and they share the work by row; what one leaves half done the next one does.
"""

from __future__ import annotations

import time

from teleread.pipeline import placing
from teleread.pipeline.services import Services
from teleread.reading import claims, escalation, queue

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
    return done + _hand_over(services) + _place(services, ends)


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
            n = escalation.run_due(conn, now, placing.terms_of(services))
        if not n:
            break
        done += n
    return done


def _hand_over(services: Services) -> int:
    now = services.clock()
    with services.catalogue.read() as conn:
        gone = claims.off_duty(conn, placing.on_duty(services), now)
    if not gone:
        return 0
    with services.catalogue.write() as conn:
        return len(claims.hand_over(conn, gone, now))


def _place(services: Services, ends: float) -> int:
    done = 0
    while time.monotonic() < ends:
        with services.catalogue.read() as conn:
            if not queue.any_unplaced(conn):
                break
        now = services.clock()
        with services.catalogue.write() as conn:
            done += queue.place_unplaced(conn, placing.placing(services, now), now)
    return done

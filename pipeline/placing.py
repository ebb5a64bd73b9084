"""What the rules of the reading room say of cases, pools and readers, as the queue asks for it."""

from __future__ import annotations

from datetime import datetime

from teleread.pipeline.services import Services
from teleread.reading import claims, escalation, queue


def placing(_services: Services, _at: datetime) -> queue.Placing:
    """Where a case waits, and until when it should be read."""
    return queue.by_default


def terms_of(_services: Services) -> escalation.TermsOf:
    """Who leads a pool, and which one opens as well when it is late."""
    return escalation.no_terms


def on_duty(_services: Services) -> claims.OnDuty:
    """Who reads for a pool at a time."""
    return lambda _who, _pool, _at: True

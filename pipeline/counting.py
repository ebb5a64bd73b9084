"""Keeping the running values of the indicators: every event is counted once, soon after it happened."""

from __future__ import annotations

from datetime import timedelta, timezone

from sqlalchemy import select

from teleread.pipeline.services import Services
from teleread.reading import indicators
from teleread.storage.catalogue.schema import indicator_events, item_events


def zone_of(services: Services) -> timezone:
    """The alliance's clock, by which days and shifts are told."""
    return timezone(timedelta(minutes=services.alliance.utc_offset_minutes))


def count_events(services: Services) -> int:
    """Count what is not counted yet; returns how many events."""
    counted = 0
    while _any_left(services):
        with services.catalogue.write() as conn:
            found = indicators.fold(conn, zone_of(services))
        if not found:
            break  # somebody else is counting them
        counted += found
    return counted


def _any_left(services: Services) -> bool:
    """Asked without a writer's lock, because most of the time there is nothing."""
    with services.catalogue.read() as conn:
        return any(
            conn.execute(select(table.c.id).where(~table.c.folded).limit(1)).first() is not None
            for table in (item_events, indicator_events)
        )

"""The rules of the reading room as pages need them: what the person behind a request may read, and names."""

from __future__ import annotations

from teleread.reading import eligibility
from teleread.reading.order import Reach
from teleread.reading.rules import rules_at
from teleread.reading_room import ALL, ReadingRoom
from teleread.web.i18n import N_
from teleread.web.security import Seat

EVERYTHING = N_("All readers")
"""The name of the pool of what no route sends elsewhere."""


def reach_of(seat: Seat) -> Reach:
    """What the reader of this seat may claim now."""
    services = seat.services
    return eligibility.reach(rules_at(services), seat.name, seat.role or "", services.clock())


def pool_names(room: ReadingRoom, language: str) -> dict[str, str]:
    """The name of each pool that the rules know, also of one that has ended; not of the pool of all."""
    return {pool.id: pool.name(language) for pool in room.pools if pool.id != ALL}

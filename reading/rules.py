"""The rules of the reading room in force at a moment. Pure; what no rule says has a default."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from teleread.alliance_entries import Lead, holds
from teleread.reading_room import ALL, Agreement, Licence, Pool, ReadingRoom, Route

_SPECIALTIES = {"ECG": "ecg", "SM": "pathology"}


class HasRoom(Protocol):
    """Whatever knows the rules as they stand now."""

    @property
    def room(self) -> ReadingRoom: ...


def rules_at(services: HasRoom) -> ReadingRoom:
    """The rules as they stand now; ask once for each act, so that it goes by one state of them."""
    return services.room


def pools(room: ReadingRoom, at: datetime) -> tuple[Pool, ...]:
    """The pools in force, in the order of the file."""
    day = room.day(at)
    return tuple(pool for pool in room.pools if holds(pool, day))


def pool(room: ReadingRoom, pool_id: str | None, at: datetime) -> Pool | None:
    """A pool in force, or none."""
    return next((one for one in pools(room, at) if one.id == pool_id), None)


def overflow_of(room: ReadingRoom, pool_id: str | None, at: datetime) -> str | None:
    """The pool that is opened as well when something in this one runs late; None where none is agreed."""
    found = pool(room, pool_id, at)
    return found.overflow or None if found else None


def lead_of(room: ReadingRoom, pool_id: str | None, at: datetime) -> str | None:
    """The account that is told when something in a pool runs late."""
    found = pool(room, pool_id, at)
    return found.lead or None if found else None


def routes(room: ReadingRoom, at: datetime) -> tuple[Route, ...]:
    """The routes in force, in the order in which they are tried."""
    day = room.day(at)
    return tuple(route for route in room.routes if holds(route, day))


def has_catch_all(room: ReadingRoom, at: datetime) -> bool:
    """Whether some route takes whatever no other one takes: then nothing goes to the pool of all."""
    return any(not any(conditions(route)) for route in routes(room, at))


def conditions(route: Route) -> tuple[object, ...]:
    """What a route asks for; each is empty or None where it asks for nothing."""
    ages = (None if route.age_from_years is None else (route.age_from_years,), route.age_below_years)
    return route.modality, route.body_part, route.site, route.lead, route.question, route.kind, route.priority, *ages


def used_pools(room: ReadingRoom, at: datetime) -> tuple[str, ...]:
    """Ids of the pools that cases may go to now."""
    found = dict.fromkeys(route.pool for route in routes(room, at))
    return tuple(found) if found and has_catch_all(room, at) else (*found, ALL)


def licences(room: ReadingRoom, account: str, at: datetime) -> tuple[Licence, ...]:
    """An account's licences in force."""
    day = room.day(at)
    return tuple(one for one in room.licences if one.account == account and holds(one, day))


def agreement(room: ReadingRoom, site_id: str, at: datetime) -> Agreement:
    """What a site was promised: its own agreement, else that for all, else the limits of the program."""
    day = room.day(at)
    in_force = {one.site: one for one in room.agreements if holds(one, day)}
    return in_force.get(site_id) or in_force.get("*") or Agreement(site_id, day)


def specialty(modality: str, kind: str = "reading") -> str:
    """The specialty that a case belongs to, as ``[[lead]]`` names it.

    Args:
        kind: of the work item.
    """
    return "consultation" if kind == "consultation" else _SPECIALTIES.get(modality, "imaging")


def lead_site(room: ReadingRoom, modality: str, at: datetime, kind: str = "reading") -> str | None:
    """The site that leads a case's specialty, or none."""
    day, wanted = room.day(at), specialty(modality, kind)
    return next((one.site_id for one in room.leads if one.specialty == wanted and holds(one, day)), None)


def in_force(room: ReadingRoom, at: datetime) -> tuple[object, ...]:
    """All rules that routing goes by at a moment: as long as they are equal, no case belongs elsewhere."""
    day = room.day(at)
    kept: list[tuple[Pool | Route | Agreement | Lead, ...]] = [room.pools, room.routes, room.agreements, room.leads]
    return tuple(tuple(one for one in entries if holds(one, day)) for entries in kept)

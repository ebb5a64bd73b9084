"""Who may read what, and when: licences, shifts, and whom a site has named. Pure; the moment is a parameter.

A reader is licensed for a pool when her licences together cover all that its routes bring, and all that overflows into
it. Without any licence in the file every reader is licensed; without any reader's shift everybody is always on duty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Literal

from teleread.alliance_entries import holds
from teleread.reading import rules
from teleread.reading.claims import Reach
from teleread.reading_room import ALL, UNREADABLE, Contact, Licence, ReadingRoom, Route, Shift

READING_ROLES = frozenset({"reader", "senior_reader"})

Role = Literal["reader", "coordinator"]
Why = Literal["role", "pool_ended", "not_licensed", "not_on_duty"]
"""Why somebody may not read a pool: its account's role; the pool is no more; no licence; no shift."""

_CONTACT_ROLES = ("clinic", "coordinator", "duty_officer")


def reach(room: ReadingRoom, account: str, role: str, at: datetime) -> Reach:
    """What an account may claim at a moment: the pools that it is licensed and on duty for, also within the grace
    after a shift's end, so that what lies in its hands is finished.
    """
    return Reach(account, tuple(pool for pool in _pool_ids(room, at) if not why_not(room, account, role, pool, at)))


def why_not(room: ReadingRoom, account: str, role: str, pool: str, at: datetime) -> tuple[Why, ...]:
    """All that keeps an account from reading a pool at a moment; empty when it may."""
    if role not in READING_ROLES:
        return ("role",)
    found: list[Why] = []
    if pool not in _pool_ids(room, at):
        found.append("pool_ended")
    if not is_licensed(room, account, pool, at):
        found.append("not_licensed")
    if not is_on_duty(room, account, pool, at, grace=True):
        found.append("not_on_duty")
    return tuple(found)


def is_licensed(room: ReadingRoom, account: str, pool: str, at: datetime) -> bool:
    """Whether an account's licences cover all that may come into a pool.

    What no route fits (the pool of all) and what nobody could read yet must reach a person, so any licence does.
    """
    if not room.licences:
        return True
    held = [one for one in rules.licences(room, account, at) if not one.pool or pool in one.pool or pool == ALL]
    if pool == ALL:
        return bool(held)
    return bool(held) and all(_covered(route, held) for route in _brought(room, pool, at))


def is_on_duty(
    room: ReadingRoom, account: str, pool: str, at: datetime, *, role: Role = "reader", grace: bool = False
) -> bool:
    """Whether an account has a shift for a pool now.

    Args:
        grace: count the time after a shift's end in which its work is finished.
    """
    if not _has_shifts(room, role):
        return True
    mine = (shift for shift in room.shifts if shift.account == account and _is_for(shift, pool, role))
    return any(
        begins <= at < ends + timedelta(minutes=shift.grace_min if grace else 0.0)
        for shift in mine
        for begins, ends in spans(room, shift, at)
    )


def duty_ends(room: ReadingRoom, account: str, pool: str, at: datetime) -> datetime | None:
    """When a claim in a pool must be handed over: the end of the shift and of what adjoins it, with the grace.

    Returns:
        None where no shifts are kept, and so nothing ends; ``at`` for somebody who is not on duty.
    """
    if not _has_shifts(room, "reader"):
        return None
    mine = [shift for shift in room.shifts if shift.account == account and _is_for(shift, pool, "reader")]
    around = sorted(
        (begins, ends, timedelta(minutes=shift.grace_min))
        for shift in mine
        for begins, ends in spans(room, shift, at, days_after=7)
    )
    until = at
    for begins, ends, grace in around:
        if begins <= until:
            until = max(until, ends + grace)
    return until


def who_is_on_duty(
    room: ReadingRoom, pool: str, at: datetime, readers: Iterable[str] | None = None, *, role: Role = "reader"
) -> tuple[str, ...]:
    """The accounts whose shift for a pool it is now, and who are licensed for it; the grace does not count.

    Args:
        readers: the accounts that can sign in and have the role; None: all that the file names, of which some may
            not exist. Where the file keeps no shifts all of them are on duty.
        role: "coordinator" for those who look after the pool.
    """
    if readers is None:
        named = [shift.account for shift in room.shifts if _is_for(shift, pool, role)]
        readers = dict.fromkeys([*named, *(licence.account for licence in room.licences if role == "reader")])
    return tuple(
        account
        for account in readers
        if is_on_duty(room, account, pool, at, role=role)
        and (role == "coordinator" or is_licensed(room, account, pool, at))
    )


def contacts(room: ReadingRoom, site: str, at: datetime) -> tuple[Contact, ...]:
    """Whom to tell of a site's critical values: the clinic's contacts in their order, then the coordinators, then
    the duty officers; those named for the site before those of the whole alliance.
    """
    day = room.day(at)
    found = [one for one in room.contacts if one.site in {site, "*"} and holds(one, day)]
    return tuple(sorted(found, key=lambda one: (_CONTACT_ROLES.index(one.role), one.site == "*", one.order)))


def spans(
    room: ReadingRoom, shift: Shift, at: datetime, *, days_before: int = 2, days_after: int = 0
) -> Iterator[tuple[datetime, datetime]]:
    """Begin and end, in UTC, of each time a shift is worked that begins within days of a moment.

    A shift holds by the day on which it begins: one over midnight ends though its period has ended.
    """
    zone = timezone(timedelta(minutes=room.utc_offset_minutes))
    today = room.day(at)
    for distance in range(-days_before, days_after + 1):
        day = today + timedelta(days=distance)
        if day.isoweekday() in shift.days and holds(shift, day):
            begins = datetime.combine(day, time(shift.begins.hour, shift.begins.minute), zone).astimezone(UTC)
            yield begins, begins + shift.length


def _pool_ids(room: ReadingRoom, at: datetime) -> tuple[str, ...]:
    return (*(pool.id for pool in rules.pools(room, at)), ALL)


def _has_shifts(room: ReadingRoom, role: Role) -> bool:
    return any(shift.role == role for shift in room.shifts)


def _is_for(shift: Shift, pool: str, role: Role) -> bool:
    # what no route fits is any reader's, and a coordinator without a pool looks after all
    return shift.role == role and (pool in {shift.pool, ALL} or (role == "coordinator" and not shift.pool))


def _brought(room: ReadingRoom, pool: str, at: datetime) -> list[Route]:
    """The routes whose cases may come into a pool, by themselves or because another pool overflows."""
    sources = {pool, *(one.id for one in rules.pools(room, at) if one.overflow == pool)}
    return [route for route in rules.routes(room, at) if route.pool in sources]


def _covered(route: Route, held: list[Licence]) -> bool:
    fitting = [
        licence
        for licence in held
        if licence.age_from_years is None
        or (route.age_from_years is not None and route.age_from_years >= licence.age_from_years)
    ]
    if any(not licence.modality for licence in fitting):
        return True
    wanted = set(route.modality) - {UNREADABLE}
    return bool(route.modality) and bool(fitting) and wanted <= {one for lic in fitting for one in lic.modality}

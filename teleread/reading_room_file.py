"""The reading room's tables of the alliance file. Pure: what a file says in, checked rules out.

[[pool]]
id = "ecg"               name_zh = "心电"         name_en = "ECG"          valid_from = 2026-01-01
lead = "chen"            overflow = "partner"     # account that is told at 80 % of a limit, pool that is opened

[[route]]                # the first one that fits, in the order of the file
id = "chest-pain"        pool = "ecg"             valid_from = 2026-01-01
modality = ["ECG"]       question = ["chest_pain"]

[[licence]]
account = "chen"         valid_from = 2026-01-01  modality = ["ECG"]       age_from_years = 14

[[shift]]                # not after ``begins``: ends on the next day
id = "night"             account = "chen"         pool = "ecg"             valid_from = 2026-01-01
days = [1, 2, 3, 4, 5]   begins = "20:00"         ends = "08:00"

[[agreement]]            # site "*" holds for all that have none of their own
site = "*"               valid_from = 2026-01-01  urgent_min = 5           routine_min = 60

[[contact]]
id = "county-desk"       site = "county"          name = "…"               valid_from = 2026-01-01
order = 1                telephone = "…"
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from teleread.alliance_entries import Dated, Lead, check_periods, entry, holds, invalid, tables
from teleread.reading_room import ALL, Agreement, Contact, Licence, Pool, ReadingRoom, Route, Shift

ROOM_TABLES = ("pool", "route", "licence", "shift", "agreement", "contact")

_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_MODALITY = re.compile(r"[A-Z][A-Z0-9_]{1,15}")
_BODY_PART = re.compile(r"[A-Z0-9 _]{1,16}")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,31}")


def parse_room(document: Mapping[str, Any], sites: Collection[str], leads: Sequence[Lead], offset: int) -> ReadingRoom:
    """Read and check the rules of the reading room.

    Args:
        document: the parsed alliance file.
        sites: ids of the alliance's sites.
        offset: of the alliance's clock, in minutes.

    Raises:
        Misconfigured: ``alliance_invalid``, with the entry and what is wrong with it.
    """
    room = ReadingRoom(
        pools=tuple(entry(Pool, raw, where) for where, raw in _numbered(document, "pool")),
        routes=tuple(entry(Route, raw, where) for where, raw in _numbered(document, "route")),
        licences=tuple(entry(Licence, raw, where) for where, raw in _numbered(document, "licence")),
        shifts=tuple(entry(Shift, raw, where) for where, raw in _numbered(document, "shift")),
        agreements=tuple(entry(Agreement, raw, where) for where, raw in _numbered(document, "agreement")),
        contacts=tuple(entry(Contact, raw, where) for where, raw in _numbered(document, "contact")),
        leads=tuple(leads),
        utc_offset_minutes=offset,
    )
    _check_pools(room)
    for route in room.routes:
        _check_route(route, room, sites)
    for number, licence in enumerate(room.licences, 1):
        _check_licence(licence, f"licence {number}", room)
    for shift in room.shifts:
        _check_shift(shift, room)
    for agreement in room.agreements:
        _check_agreement(agreement, sites)
    for contact in room.contacts:
        _check_contact(contact, sites)
    check_periods(((route.id, route) for route in room.routes), "route")
    check_periods(((_what(licence), licence) for licence in room.licences), "licence")
    check_periods(((shift.id, shift) for shift in room.shifts), "shift")
    check_periods(((agreement.site, agreement) for agreement in room.agreements), "agreement")
    check_periods(((contact.id, contact) for contact in room.contacts), "contact")
    check_periods(((f"{one.site} {one.role} {one.order}", one) for one in room.contacts), "contact")
    return room


def _numbered(document: Mapping[str, Any], name: str) -> Iterable[tuple[str, dict[str, Any]]]:
    return ((f"{name} {number}", raw) for number, raw in enumerate(tables(document, name), 1))


def _what(licence: Licence) -> str:
    parts = (licence.account, "/".join(sorted(licence.modality)), "/".join(sorted(licence.pool)))
    return " ".join(part for part in parts if part)


def _check_pools(room: ReadingRoom) -> None:
    for pool in room.pools:
        where = f"pool {pool.id!r}"
        _matches(_ID, [pool.id], where, "id must be lower-case letters, digits and hyphens, 32 at most")
        if pool.id == ALL:
            raise invalid(where, "is the pool of what no route fits, and stands by itself")
        if not pool.name_zh or not pool.name_en:
            raise invalid(where, "needs both names")
        if pool.lead:
            _matches(_ACCOUNT, [pool.lead], where, "lead must name an account")
        if pool.overflow == pool.id:
            raise invalid(where, "cannot overflow into itself")
    check_periods(((pool.id, pool) for pool in room.pools), "pool")
    for pool in room.pools:
        if pool.overflow:
            _check_pool(pool.overflow, pool, f"pool {pool.id!r}", room)


def _check_route(route: Route, room: ReadingRoom, sites: Collection[str]) -> None:
    where = f"route {route.id!r}"
    _matches(_ID, [route.id], where, "id must be lower-case letters, digits and hyphens, 32 at most")
    _check_pool(route.pool, route, where, room)
    _check_known([*route.site, *route.lead], sites, where)
    _matches(_MODALITY, route.modality, where, 'a modality is written as "ECG" or "CT"')
    _matches(_BODY_PART, route.body_part, where, 'a body part is written as "CHEST"')
    _matches(_CODE, [*route.question, *route.kind], where, 'a question or kind is written as "chest_pain"')
    _check_age(where, route.age_from_years, route.age_below_years)


def _check_licence(licence: Licence, where: str, room: ReadingRoom) -> None:
    _matches(_ACCOUNT, [licence.account], where, "account must name an account")
    _matches(_MODALITY, licence.modality, where, 'a modality is written as "ECG" or "CT"')
    _check_known(licence.pool, {pool.id for pool in room.pools}, where, "pool")
    _check_age(where, licence.age_from_years, None)


def _check_shift(shift: Shift, room: ReadingRoom) -> None:
    where = f"shift {shift.id!r}"
    _matches(_ID, [shift.id], where, "id must be lower-case letters, digits and hyphens, 32 at most")
    _matches(_ACCOUNT, [shift.account], where, "account must name an account")
    if shift.pool:
        _check_known([shift.pool], {pool.id for pool in room.pools}, where, "pool")
    elif shift.role == "reader" and room.pools:
        raise invalid(where, "pool is missing")
    if not shift.days or len(set(shift.days)) != len(shift.days) or not set(shift.days) <= set(range(1, 8)):
        raise invalid(where, "days are numbers from 1 (Monday) to 7, each once")
    if not 0 <= shift.grace_min <= 240:
        raise invalid(where, "grace_min must lie between 0 and 240")


def _check_agreement(agreement: Agreement, sites: Collection[str]) -> None:
    where = f"agreement of {agreement.site!r}"
    _check_known([agreement.site], {*sites, "*"}, where)
    if not 0 < agreement.urgent_min <= agreement.high_min <= agreement.routine_min:
        raise invalid(where, "limits must be above zero, and none above that of a lower priority")
    if agreement.routine_min > 1e6 or not 0 <= agreement.rises_after_min <= 1e6:
        raise invalid(where, "no time may be negative or above a million minutes")


def _check_contact(contact: Contact, sites: Collection[str]) -> None:
    where = f"contact {contact.id!r}"
    _matches(_ID, [contact.id], where, "id must be lower-case letters, digits and hyphens, 32 at most")
    # the clinic's own stand by its site; those of the alliance may stand for one site or for all
    _check_known([contact.site], sites if contact.role == "clinic" else {*sites, "*"}, where)
    if not contact.name:
        raise invalid(where, "name is missing")
    if contact.order < 1:
        raise invalid(where, "order begins at 1")
    if not (contact.telephone or contact.email or contact.webhook or contact.account):
        raise invalid(where, "needs a telephone, email, webhook or account")
    if contact.webhook and not contact.webhook.startswith(("https://", "http://")):
        raise invalid(where, "a webhook begins with https://")


def _check_pool(name: str, by: Dated, where: str, room: ReadingRoom) -> None:
    """The pool that an entry sends cases to holds as long as the entry does."""
    periods = sorted((pool for pool in room.pools if pool.id == name), key=lambda pool: pool.valid_from)
    if not periods:
        raise invalid(where, f"names the unknown pool {name!r}")
    day: date | None = by.valid_from
    while day is not None and (by.valid_to is None or day < by.valid_to):
        on = day
        period = next((pool for pool in periods if holds(pool, on)), None)
        if period is None:
            raise invalid(where, f"the pool {name!r} does not hold on {day}")
        day = period.valid_to


def _check_known(named: Iterable[str], known: Collection[str], where: str, what: str = "site") -> None:
    for name in named:
        if name not in known:
            raise invalid(where, f"names the unknown {what} {name!r}")


def _check_age(where: str, least: float | None, below: float | None) -> None:
    if any(limit is not None and not 0 <= limit <= 150 for limit in (least, below)):
        raise invalid(where, "ages are years from 0 to 150")
    if least is not None and below is not None and below <= least:
        raise invalid(where, "age_below_years is not above age_from_years")


def _matches(pattern: re.Pattern[str], values: Iterable[str], where: str, why: str) -> None:
    if not all(pattern.fullmatch(value) for value in values):
        raise invalid(where, why)

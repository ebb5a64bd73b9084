"""Who can be told of a critical value, and whose it becomes when nobody answers: out of the rules and the accounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, select

from teleread.alliance import Site
from teleread.alliance_entries import holds
from teleread.reading import eligibility
from teleread.reading_room import ALL, Contact, ReadingRoom
from teleread.storage.catalogue.schema import accounts

OF_SITE = "site:"
"""Before a site's id: the contact that stands for a site's own telephone, where its rules name nobody."""
_MAY_COORDINATE = frozenset({"coordinator", "senior_reader", "administrator"})


@dataclass(frozen=True, slots=True)
class People:
    """Whom a site's critical value can be brought to, at one moment; accounts are those that may sign in.

    Args:
        clinic: the site's contacts, the first one first.
        coordinators: accounts of coordinators: those on duty, or all when the roster names none of them.
        on_duty: whether those are on duty.
        coordinator_contacts: how coordinators can be written to.
        duty_officers: the alliance's.
        administrators: accounts.
    """

    clinic: tuple[Contact, ...] = ()
    coordinators: tuple[str, ...] = ()
    on_duty: bool = False
    coordinator_contacts: tuple[Contact, ...] = ()
    duty_officers: tuple[Contact, ...] = ()
    administrators: tuple[str, ...] = ()

    def caller(self, found_by: str) -> str:
        """Who telephones: a coordinator, else an administrator, else the reader who found it."""
        return next(iter((*self.coordinators, *self.administrators)), found_by)

    def owner(self, found_by: str) -> str:
        """Whose a critical value becomes that nobody has acknowledged: always somebody with a name.

        The duty officer of the roster, else a coordinator (on duty first), else an administrator, else the reader who
        found it.
        """
        officers = (one.account or one.id for one in self.duty_officers)
        return next(officers, self.caller(found_by))


def people_for(conn: Connection, room: ReadingRoom, sites: Mapping[str, Site], site_id: str, at: datetime) -> People:
    """Who can be told of a critical value of a site."""
    names = _able(conn)
    coordinators = tuple(name for name, role in names.items() if role == "coordinator")
    rostered = [one.account for one in room.shifts if one.role == "coordinator"]
    working = eligibility.who_is_on_duty(room, ALL, at, dict.fromkeys(rostered), role="coordinator")
    on_duty = tuple(name for name in working if names.get(name) in _MAY_COORDINATE)
    usable = [one for one in contacts_of(room, at) if not one.account or one.account in names]
    duty = on_duty or coordinators
    return People(
        clinic=clinic_contacts(room, sites, site_id, at),
        coordinators=duty,
        on_duty=bool(on_duty),
        coordinator_contacts=tuple(
            one for one in usable if one.role == "coordinator" and (not one.account or one.account in duty)
        ),
        duty_officers=tuple(one for one in usable if one.role == "duty_officer"),
        administrators=tuple(name for name, role in names.items() if role == "administrator"),
    )


def contacts_of(room: ReadingRoom, at: datetime) -> tuple[Contact, ...]:
    """All contacts that hold at a moment, in the order in which they are called."""
    day = room.day(at)
    return tuple(sorted((one for one in room.contacts if holds(one, day)), key=lambda one: one.order))


def clinic_contacts(room: ReadingRoom, sites: Mapping[str, Site], site_id: str, at: datetime) -> tuple[Contact, ...]:
    """A site's own contacts; its telephone alone where the rules name nobody; none where it has no telephone either."""
    named = tuple(one for one in contacts_of(room, at) if one.role == "clinic" and one.site == site_id)
    site = sites.get(site_id)
    if named or site is None or not site.telephone:
        return named
    return (Contact(OF_SITE + site_id, site_id, site.name_en, date.min, telephone=site.telephone),)


def _able(conn: Connection) -> dict[str, str]:
    query = select(accounts.c.name, accounts.c.role).where(accounts.c.disabled_at.is_(None)).order_by(accounts.c.name)
    return {row.name: row.role for row in conn.execute(query)}

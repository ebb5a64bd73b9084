"""Who can be told of a critical value, and whose it becomes when nobody answers: out of the rules and the accounts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, select

from teleread.alliance import Alliance
from teleread.reading_room import Contact, ReadingRoom, Shift
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


def people_for(conn: Connection, alliance: Alliance, site_id: str, at: datetime) -> People:
    """Who can be told of a critical value of a site."""
    room = room_of(alliance)
    names = _able(conn)
    coordinators = tuple(name for name, role in names.items() if role == "coordinator")
    on_duty = tuple(name for name in _rostered(room, alliance, at) if names.get(name) in _MAY_COORDINATE)
    held = contacts_of(alliance, at)
    usable = [one for one in held if not one.account or one.account in names]
    duty = on_duty or coordinators
    return People(
        clinic=clinic_contacts(alliance, site_id, at),
        coordinators=duty,
        on_duty=bool(on_duty),
        coordinator_contacts=tuple(
            one for one in usable if one.role == "coordinator" and (not one.account or one.account in duty)
        ),
        duty_officers=tuple(one for one in usable if one.role == "duty_officer"),
        administrators=tuple(name for name, role in names.items() if role == "administrator"),
    )


def room_of(alliance: Alliance) -> ReadingRoom:
    """The rules of the reading room; the defaults where the alliance's file says nothing of them."""
    room = getattr(alliance, "room", None)
    return room if isinstance(room, ReadingRoom) else ReadingRoom()


def contacts_of(alliance: Alliance, at: datetime) -> tuple[Contact, ...]:
    """All contacts that hold at a moment, in the order in which they are called."""
    on = local_time(alliance, at).date()
    found = [one for one in room_of(alliance).contacts if _holds(one, on)]
    return tuple(sorted(found, key=lambda one: one.order))


def clinic_contacts(alliance: Alliance, site_id: str, at: datetime) -> tuple[Contact, ...]:
    """A site's own contacts; its telephone alone where the rules name nobody; none where it has no telephone either."""
    named = tuple(one for one in contacts_of(alliance, at) if one.role == "clinic" and one.site == site_id)
    site = alliance.sites.get(site_id)
    if named or site is None or not site.telephone:
        return named
    return (Contact(OF_SITE + site_id, site_id, site.name_en, date.min, telephone=site.telephone),)


def local_time(alliance: Alliance, at: datetime) -> datetime:
    """A moment on the alliance's clock, naive."""
    return at.replace(tzinfo=None) + timedelta(minutes=alliance.utc_offset_minutes)


def _able(conn: Connection) -> dict[str, str]:
    query = select(accounts.c.name, accounts.c.role).where(accounts.c.disabled_at.is_(None)).order_by(accounts.c.name)
    return {row.name: row.role for row in conn.execute(query)}


def _rostered(room: ReadingRoom, alliance: Alliance, at: datetime) -> list[str]:
    here = local_time(alliance, at)
    return [one.account for one in room.shifts if one.role == "coordinator" and _on_duty(one, here)]


def _on_duty(shift: Shift, here: datetime) -> bool:
    """Whether a shift runs; one that ends not after it begins ends on the next day."""
    for began_on in (here.date(), here.date() - timedelta(days=1)):
        if not _holds(shift, began_on) or began_on.isoweekday() not in shift.days:
            continue
        begins = datetime.combine(began_on, shift.begins)
        ends_on = began_on if shift.ends > shift.begins else began_on + timedelta(days=1)
        if begins <= here < datetime.combine(ends_on, shift.ends):
            return True
    return False


def _holds(entry: Contact | Shift, on: date) -> bool:
    return entry.valid_from <= on and (entry.valid_to is None or on < entry.valid_to)

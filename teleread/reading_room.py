"""The rules of the reading room: pools, routes, licences, shifts, agreements, contacts. Effective-dated, out of the
alliance file; pure. What a file does not say has a default under which every reader may read everything, always.

A day is one of the alliance's clock, which has a fixed offset from UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Literal

from teleread.alliance_entries import Lead, Priority

ALL = "all"
"""The pool of what no route sends elsewhere: any reader on duty reads it."""

UNREADABLE = "OT"
"""The modality of what nobody could read yet."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A queue that some readers read from.

    Args:
        lead: account that is told when something in the pool runs late.
        overflow: pool that is opened as well at 80 % of a limit, as agreed.
    """

    id: str
    name_zh: str
    name_en: str
    valid_from: date
    valid_to: date | None = None
    lead: str = ""
    overflow: str = ""

    def name(self, language: str) -> str:
        return self.name_zh if language.startswith("zh") else self.name_en


@dataclass(frozen=True, slots=True)
class Route:
    """Where a case goes whose facts fit: the first fitting route in the order of the file wins; empty fits all.

    Args:
        lead: sites; fits while one of them leads the case's specialty.
        kind: of the work item: reading, second_reading, second_opinion, consultation, review.
        age_from_years, age_below_years: of the patient; an unknown age fits neither.
    """

    id: str
    pool: str
    valid_from: date
    valid_to: date | None = None
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    site: tuple[str, ...] = ()
    lead: tuple[str, ...] = ()
    question: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    priority: tuple[Priority, ...] = ()
    age_from_years: float | None = None
    age_below_years: float | None = None


@dataclass(frozen=True, slots=True)
class Licence:
    """What an account may read, and since when."""

    account: str
    valid_from: date
    valid_to: date | None = None
    modality: tuple[str, ...] = ()  # empty: all
    pool: tuple[str, ...] = ()
    age_from_years: float | None = None  # of patients; without: no lower limit


@dataclass(frozen=True, slots=True)
class Shift:
    """When an account reads for a pool: on these days of the week, between these times of the alliance's clock.

    Args:
        pool: not needed for a coordinator, who then looks after all.
        days: on which it begins; 1 is Monday.
        ends: not after ``begins``: on the next day.
        grace_min: so long after its end the reader may finish what waits in her hands.
    """

    id: str
    account: str
    valid_from: date
    valid_to: date | None = None
    pool: str = ""
    days: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    begins: time = time(0)
    ends: time = time(0)
    grace_min: float = 30.0
    role: Literal["reader", "coordinator"] = "reader"

    @property
    def length(self) -> timedelta:
        """From its begin to its end; above zero, a day at most."""
        minutes = (self.ends.hour - self.begins.hour) * 60 + self.ends.minute - self.begins.minute
        return timedelta(minutes=minutes if minutes > 0 else minutes + 1440)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a site was promised: limits from stored to signed, in minutes."""

    site: str  # "*" for all that have none of their own
    valid_from: date
    valid_to: date | None = None
    urgent_min: float = 5.0
    high_min: float = 15.0
    routine_min: float = 60.0
    rises_after_min: float = 240.0  # a routine case goes before a high one that came so much later

    def limit(self, priority: str) -> timedelta:
        """How long a case of a priority may take; of an unknown one as long as an urgent one."""
        minutes = {"high": self.high_min, "routine": self.routine_min}.get(priority, self.urgent_min)
        return timedelta(minutes=minutes)


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom a site has named for critical values.

    Args:
        order: 1 is called first; the site's second contact at 10 min is 2.
        role: "clinic" (of the site), "coordinator", "duty_officer" (of the alliance, site "*").
    """

    id: str
    site: str
    name: str
    valid_from: date
    valid_to: date | None = None
    role: Literal["clinic", "coordinator", "duty_officer"] = "clinic"
    order: int = 1
    telephone: str = ""
    email: str = ""
    webhook: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class ReadingRoom:
    """All rules of the reading room, in the order of the file.

    Args:
        leads: which site leads a specialty: what routes may ask for.
        utc_offset_minutes: of the alliance's clock, which days and shifts go by.
    """

    pools: tuple[Pool, ...] = ()
    routes: tuple[Route, ...] = ()
    licences: tuple[Licence, ...] = ()
    shifts: tuple[Shift, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    contacts: tuple[Contact, ...] = ()
    leads: tuple[Lead, ...] = ()
    utc_offset_minutes: int = 480

    def local(self, at: datetime) -> datetime:
        """A moment on the alliance's clock."""
        return at.astimezone(timezone(timedelta(minutes=self.utc_offset_minutes)))

    def day(self, at: datetime) -> date:
        """The day that a moment falls on by the alliance's clock."""
        return self.local(at).date()

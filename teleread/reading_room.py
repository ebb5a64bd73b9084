"""The rules of the reading room: pools, routes, licences, shifts, agreements, contacts. Effective-dated, out of the
alliance file; pure. What a file does not say has a default under which every reader may read everything, always.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time

from teleread.alliance import Priority


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
    """Where a case goes whose facts fit: the first fitting route in the order of the file wins; empty fits all."""

    id: str
    pool: str
    valid_from: date
    valid_to: date | None = None
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    site: tuple[str, ...] = ()
    question: tuple[str, ...] = ()
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
    """When an account reads for a pool: on these days of the week, between these times of the alliance's clock."""

    id: str
    account: str
    pool: str
    valid_from: date
    valid_to: date | None = None
    days: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)  # 1 is Monday
    begins: time = time(0)
    ends: time = time(0)  # not after ``begins``: on the next day
    role: str = "reader"  # or "coordinator"


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
    role: str = "clinic"
    order: int = 1
    telephone: str = ""
    email: str = ""
    webhook: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class ReadingRoom:
    """All rules of the reading room, in the order of the file."""

    pools: tuple[Pool, ...] = ()
    routes: tuple[Route, ...] = ()
    licences: tuple[Licence, ...] = ()
    shifts: tuple[Shift, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    contacts: tuple[Contact, ...] = ()

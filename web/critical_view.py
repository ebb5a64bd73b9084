"""What pages show of critical values: the red banner of everybody on duty, a case's own, the coordinator's list."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, update

from teleread.errors import StorageError
from teleread.pipeline.services import Services
from teleread.reading import blind, critical_rows
from teleread.reading.contact_tests import Tested, amber_sites, overview
from teleread.reading.critical_ladder import Step, ladder_at
from teleread.reading.critical_people import OF_SITE, clinic_contacts, contacts_of
from teleread.reading.critical_state import Critical, Told, next_step
from teleread.reading.criticals import blocks_closing
from teleread.reading.eligibility import READING_ROLES
from teleread.reading_room import Contact
from teleread.storage.catalogue.schema import critical_steps
from teleread.web.security import Seat

log = logging.getLogger(__name__)

ON_DUTY = frozenset({"uploader", "reader", "senior_reader", "coordinator", "administrator"})
"""Roles whose every page shows open critical values; an uploader's those of the own site."""
CALLERS = frozenset({"reader", "senior_reader", "coordinator", "administrator"})
"""Roles that may look at the list of critical values."""
SHOWN_AFTER = timedelta(minutes=2)
"""A clinic's page goes on showing who has read it for so long."""
BANNER_ROWS = 200


@dataclass(frozen=True, slots=True)
class Shown:
    """A critical value as a page shows it.

    Args:
        told: how people were told, in the order of the ladder.
        reached: number of the last step that was taken, from 1; 0 for none yet.
        steps: how many the ladder has.
        acts: what the last step did, as pairs "act:whom".
        next_at, next_acts: of the step that comes next; None and empty at the ladder's end.
        contacts: the clinic's, to be telephoned.
        names: people by what stands in the rows: contacts' names by their id.
    """

    critical: Critical
    told: tuple[Told, ...]
    reached: int
    steps: int
    acts: tuple[str, ...]
    next_at: datetime | None
    next_acts: tuple[str, ...]
    contacts: tuple[Contact, ...]
    names: dict[str, str]

    def name(self, key: str | None) -> str:
        """A contact's name, an account's as it is."""
        return self.names.get(key or "", key or "")


class Banner:
    """The open critical values that a seat must see, read when a template asks for them and at no other time."""

    def __init__(self, seat: Seat | None) -> None:
        self._seat = seat

    def wanted(self) -> bool:
        """Whether this seat's pages show the banner at all."""
        if self._seat is None or self._seat.account is None or self._seat.account.factor_owed:
            return False
        return self._seat.role in ON_DUTY

    def shown(self) -> list[Shown]:
        """The oldest first; nothing where the catalogue does not answer, because no page fails for its banner."""
        if self._seat is None or not self.wanted():
            return []
        try:
            with self._seat.services.catalogue.read() as conn:
                return banner_rows(conn, self._seat)
        except StorageError as error:
            log.error("open critical values cannot be read: %s", error.code)
            return []

    def of_case(self, case_id: str) -> list[Shown]:
        """A case's own, the newest first."""
        if self._seat is None:
            return []
        with self._seat.services.catalogue.read() as conn:
            return _shown(conn, self._seat.services, critical_rows.of_case(conn, case_id))

    def amber(self) -> dict[str, list[Tested]]:
        """Sites whose contacts nobody has reached lately."""
        if self._seat is None:
            return {}
        services = self._seat.services
        with services.catalogue.read() as conn:
            return amber_sites(overview(conn, services.room, services.clock()))

    def blocks(self, case_id: str) -> bool:
        """Whether a case cannot be closed, because something critical has not been heard."""
        if self._seat is None:
            return False
        with self._seat.services.catalogue.read() as conn:
            return blocks_closing(conn, case_id)


def banner_rows(conn: Connection, seat: Seat) -> list[Shown]:
    """What stands in a seat's banner now."""
    site = seat.site_id if seat.role == "uploader" else None
    found = critical_rows.open_criticals(conn, site_id=site, limit=BANNER_ROWS)
    if site is not None:
        since = seat.services.clock() - SHOWN_AFTER
        found += critical_rows.acknowledged_since(conn, since, site_id=site)
    return _blinded(conn, seat, _shown(conn, seat.services, found))


def listed(conn: Connection, seat: Seat) -> list[Shown]:
    """All that are open, the oldest first."""
    return _blinded(conn, seat, _shown(conn, seat.services, critical_rows.open_criticals(conn)))


def settled(conn: Connection, seat: Seat, within: timedelta) -> list[Shown]:
    """Those of late that have ended, the newest first."""
    ended = critical_rows.ended_since(conn, seat.services.clock() - within)
    return _blinded(conn, seat, _shown(conn, seat.services, ended))


def _blinded(conn: Connection, seat: Seat, shown: list[Shown]) -> list[Shown]:
    """For a reader who reads such a case a second time: that something is critical and whom to telephone, since that
    must be heard, but not what was found, nor by whom.
    """
    if seat.role not in READING_ROLES or not shown:
        return shown
    hidden = blind.hidden_cases(conn, seat.name)
    return [_without_finding(one, seat.name) if one.critical.case_id in hidden else one for one in shown]


def _without_finding(one: Shown, who: str) -> Shown:
    known = one.critical
    owner = known.owner if known.owner == who else None
    critical = replace(known, codes=(), found_by="", told_to=None, recorded_by=None, owner=owner)
    return replace(one, critical=critical, told=())


def mark(seat: Seat, shown: Sequence[Shown]) -> str:
    """What a page names the banner by that it shows: the same as long as nothing but the clock has gone on."""
    parts = [seat.language, seat.name]
    for one in shown:
        known = one.critical
        parts += [known.id, known.state, ",".join(known.codes), known.owner or "", str(one.reached)]
        parts += [f"{told.step}{told.channel}{told.outcome}" for told in one.told]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def note_shown(seat: Seat, shown: Sequence[Shown]) -> None:
    """A person of the clinic has a page before them that shows these: the first time is kept."""
    waiting = [
        one.critical.id
        for one in shown
        if one.critical.ended_at is None and any(told.channel == "screen" and told.done_at is None for told in one.told)
    ]
    if not waiting or seat.role != "uploader":
        return
    try:
        with seat.services.catalogue.write() as conn:
            conn.execute(
                update(critical_steps)
                .where(
                    critical_steps.c.critical_id.in_(waiting),
                    critical_steps.c.channel == "screen",
                    critical_steps.c.done_at.is_(None),
                )
                .values(done_at=seat.services.clock(), outcome="shown")
            )
    except StorageError as error:
        log.warning("that critical values were shown is not noted: %s", error.code)


def _shown(conn: Connection, services: Services, found: Sequence[Critical]) -> list[Shown]:
    if not found:
        return []
    now, room = services.clock(), services.room
    told = critical_rows.told(conn, [one.id for one in found])
    names = {one.id: one.name for one in contacts_of(room, now)}
    shown = []
    for one in found:
        ladder = ladder_at(services.ladders, one.found_at.date())
        coming = next_step(one, now, ladder)
        taken = {row.step for row in told[one.id] if row.step < len(ladder.steps)}
        reached = max(taken) + 1 if taken else 0
        clinic = clinic_contacts(room, services.alliance.sites, one.site_id, now)
        shown.append(
            Shown(
                critical=one,
                told=tuple(told[one.id]),
                reached=reached,
                steps=len(ladder.steps),
                acts=_done(ladder.steps[reached - 1], told[one.id], reached - 1) if reached else (),
                next_at=coming[1] if coming else None,
                next_acts=tuple(":".join(pair) for pair in ladder.steps[coming[0]].acts) if coming else (),
                contacts=tuple(contact for contact in clinic if contact.telephone),
                names=names | {contact.id: contact.name for contact in clinic if contact.id.startswith(OF_SITE)},
            )
        )
    return shown


def _done(step: Step, told: Sequence[Told], number: int) -> tuple[str, ...]:
    """The acts of a step that was taken, as pairs "act:whom"; without messages where there was nobody to write to."""
    written = any(row.step == number and row.channel in ("webhook", "email") for row in told)
    return tuple(f"{act}:{whom}" for act, whom in step.acts if act != "message" or written)

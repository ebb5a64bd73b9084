"""Contacts are tested each month, so that a number which has died is found by day and not by a critical value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, select

from teleread.errors import InputRejected
from teleread.reading import alarms, timers
from teleread.reading.critical_people import contacts_of
from teleread.reading_room import Contact, ReadingRoom
from teleread.storage import audit
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import contact_tests

GOOD_FOR = timedelta(days=31)
DUE_BEFORE = timedelta(days=7)
STALE_ALARM = "contact_stale"
OUTCOMES = ("reached", "delivered", "failed")
_GOOD = frozenset({"reached", "delivered"})
_LOOK_TIMER = "contacts_look"


@dataclass(frozen=True, slots=True)
class Tested:
    """A contact and what is known of it.

    Args:
        state: ``good``; ``due``: to be tested within a week; ``stale``: not reached for over a month, or never;
            ``failed``: the last test did not reach it.
    """

    contact: Contact
    state: str
    tested_at: datetime | None
    tested_by: str | None
    outcome: str | None
    due_at: datetime | None  # when the next test is due; None: now


def judge(outcome: str | None, tested_at: datetime | None, at: datetime) -> str:
    """The state of a contact by its last test. Pure.

    One that was never tested is stale: nobody knows whether it reaches anybody.
    """
    if outcome is None or tested_at is None:
        return "stale"
    if outcome not in _GOOD:
        return "failed"
    age = at - tested_at
    if age >= GOOD_FOR:
        return "stale"
    return "due" if age >= GOOD_FOR - DUE_BEFORE else "good"


def overview(conn: Connection, room: ReadingRoom, at: datetime) -> list[Tested]:
    """Every contact with its state: the worst first, then by site and order."""
    last = select(func.max(contact_tests.c.id)).group_by(contact_tests.c.contact)
    rows = {row.contact: row for row in conn.execute(select(contact_tests).where(contact_tests.c.id.in_(last)))}
    found = []
    for contact in contacts_of(room, at):
        row = rows.get(contact.id)
        outcome, tested_at = (None, None) if row is None else (row.outcome, row.tested_at)
        state = judge(outcome, tested_at, at)
        due_at = tested_at + GOOD_FOR - DUE_BEFORE if state == "good" and tested_at is not None else None
        found.append(Tested(contact, state, tested_at, None if row is None else row.tested_by, outcome, due_at))
    rank = ("failed", "stale", "due", "good")
    return sorted(found, key=lambda one: (rank.index(one.state), one.contact.site, one.contact.order, one.contact.id))


def amber_sites(found: Sequence[Tested]) -> dict[str, list[Tested]]:
    """Sites with contacts that are stale or failed; ``*`` for the alliance's own."""
    sites: dict[str, list[Tested]] = {}
    for one in found:
        if one.state in {"stale", "failed"}:
            sites.setdefault(one.contact.site, []).append(one)
    return sites


def record_test(conn: Connection, room: ReadingRoom, contact_id: str, outcome: str, who: str, at: datetime) -> None:
    """Keep what a test found; a failed one raises the alarm at once, a good one ends it.

    Raises:
        InputRejected: ``contact_unknown``, ``answer_unknown``.
    """
    contact = next((one for one in contacts_of(room, at) if one.id == contact_id), None)
    if contact is None:
        raise InputRejected("contact_unknown", "No contact of today's rules has this name.")
    if outcome not in OUTCOMES:
        raise InputRejected("answer_unknown", "The form names no answer.")
    values = {"site_id": contact.site, "tested_at": at, "outcome": outcome, "tested_by": who}
    conn.execute(insert(contact_tests).values(contact=contact.id, **values))
    if outcome in _GOOD:
        alarms.clear(conn, [STALE_ALARM], contact.id, who, at)
    else:
        _alarm(conn, contact, "failed", at)
    detail = {"outcome": outcome}
    audit.record(
        conn, at=at, actor=who, action="contact_test", object_type="contact", object_id=contact.id, detail=detail
    )


def look(catalogue: Database, room: ReadingRoom, at: datetime) -> bool:
    """Once a day, whoever is first: stale contacts raise their alarm, and contacts that are gone end theirs."""
    subject = room.day(at).isoformat()
    with catalogue.read() as conn:
        if timers.is_done(conn, _LOOK_TIMER, subject):
            return False
    with catalogue.write() as conn:
        timers.set_timer(conn, _LOOK_TIMER, subject, at)
        taken = timers.take_due(conn, at, kinds=[_LOOK_TIMER])
        for timer in taken:
            timers.finish(conn, timer, "looked", at)
        if not taken:
            return False
        found = overview(conn, room, at)
        for one in found:
            if one.state in {"stale", "failed"}:
                _alarm(conn, one.contact, one.state, at)
        known = {one.contact.id for one in found}
        for alarm in alarms.open_alarms(conn, kinds=[STALE_ALARM], limit=1000):
            if alarm.subject not in known:
                alarms.clear(conn, [STALE_ALARM], alarm.subject, "teleread", at)
    return True


def _alarm(conn: Connection, contact: Contact, state: str, at: datetime) -> None:
    site = None if contact.site == "*" else contact.site
    alarms.raise_alarm(conn, STALE_ALARM, contact.id, at, site_id=site, detail={"state": state})

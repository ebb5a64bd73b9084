"""Why a case is where it is: facts, rules, who may read it now and who not, and all that happened. No identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Connection, Row, select

from teleread.errors import Misconfigured
from teleread.reading import eligibility, flag_verdicts, routing, rules
from teleread.reading.routing import RoutingFacts, Step, facts_of, steps_of
from teleread.reading_room import ReadingRoom
from teleread.signal.ecg.flag_profile import load_profile
from teleread.storage.catalogue.schema import accounts, alarms, arrivals, item_events, timers, work_items

_KEPT = 200  # of the newest events, timers and alarms
_SOON = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Standing:
    """The case's newest work item as it stands."""

    item_id: str
    seq: int
    kind: str
    state: str
    priority: str
    reasons: tuple[str, ...]
    pool: str | None
    overflow_pool: str | None
    arrived_at: datetime
    due_at: datetime | None
    order_at: datetime
    claimed_by: str | None
    lease_until: datetime | None


@dataclass(frozen=True, slots=True)
class Reader:
    """Whether somebody may read the case now.

    Args:
        why: codes of what stands against it; empty when nothing does.
        until: when their time in the pool ends; None where it does not within days, or they may not.
    """

    account: str
    role: str  # empty: there is no such account, though the rules name it
    why: tuple[str, ...]
    until: datetime | None

    @property
    def may(self) -> bool:
        return not self.why


@dataclass(frozen=True, slots=True)
class Happened:
    """One event in the history of the case's work items; or what a reader says of a flag as it stands, under
    ``flag_rejected`` and ``flag_confirmed``, with the flag's code and the reason, if one was given."""

    at: datetime
    item_id: str
    event: str
    who: str
    from_state: str | None
    to_state: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Timer:
    """What had to happen, or has to, at a time."""

    kind: str
    due_at: datetime
    done_at: datetime | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Alarm:
    """What people were told of the case, or of its pool."""

    kind: str
    raised_at: datetime
    cleared_at: datetime | None
    cleared_by: str | None
    owner: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that ``teleread explain`` says.

    Args:
        facts: what routes were asked about, as it stands; the age in whole years.
        routed_at: when ``steps`` were taken; None where no rule was ever asked, and ``steps`` is empty.
        now_pool, now_steps: what the rules of this moment would say.
    """

    case_id: str
    receipt: str
    site_id: str
    at: datetime
    standing: Standing
    facts: RoutingFacts
    routed_at: datetime | None
    steps: tuple[Step, ...]
    now_pool: str
    now_steps: tuple[Step, ...]
    readers: tuple[Reader, ...]
    history: tuple[Happened, ...]
    timers: tuple[Timer, ...]
    alarms: tuple[Alarm, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values; times in ISO 8601."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


def explain(conn: Connection, room: ReadingRoom, case_or_receipt: str, at: datetime) -> Explanation | None:
    """Explain a case by its id, or the receipt of something in it; None when there is none."""
    item = _item(conn, case_or_receipt)
    if item is None:
        return None
    facts = facts_of(item, item.priority)
    now = routing.route(room, facts, at)
    of_case = select(work_items.c.id).where(work_items.c.case_id == item.case_id)
    subjects = [*conn.scalars(of_case), item.case_id]
    history = _history(conn, item)
    routed = next((one for one in reversed(history) if one.event == "routed" and "steps" in one.detail), None)
    return Explanation(
        case_id=item.case_id,
        receipt=conn.scalar(select(arrivals.c.receipt).where(arrivals.c.id == item.arrival_id)) or "",
        site_id=item.site_id,
        at=at,
        standing=_standing(item),
        facts=replace(facts, age_years=None if facts.age_years is None else float(int(facts.age_years))),
        routed_at=None if routed is None else routed.at,
        steps=() if routed is None else steps_of(routed.detail),
        now_pool=now.pool,
        now_steps=now.steps,
        readers=who_may_read(conn, room, item, at),
        history=history,
        timers=_timers(conn, subjects),
        alarms=_alarms(conn, subjects, item.pool),
    )


def who_may_read(conn: Connection, room: ReadingRoom, item: Row[Any], at: datetime) -> tuple[Reader, ...]:
    """Every reader, and everybody whom the rules name as one: those who may read a work item now come first."""
    columns = accounts.c.name, accounts.c.role, accounts.c.disabled_at
    known: dict[str, Row[Any]] = {
        row.name: cast(Row[Any], row) for row in conn.execute(select(*columns).order_by(accounts.c.name))
    }
    reading = [name for name, row in known.items() if row.role in eligibility.READING_ROLES]
    named = [shift.account for shift in room.shifts if shift.role == "reader"]
    named += [licence.account for licence in room.licences]
    found = [_reader(room, name, known.get(name), item, at) for name in dict.fromkeys([*reading, *sorted(named)])]
    return tuple(sorted(found, key=lambda reader: not reader.may))


def _reader(room: ReadingRoom, name: str, account: Row[Any] | None, item: Row[Any], at: datetime) -> Reader:
    if account is None:
        return Reader(name, "", ("no_account",), None)
    against = ["shut_out"] if account.disabled_at is not None else []
    if item.not_for == name:
        against.append("read_before")
    pools = [pool for pool in (item.pool, item.overflow_pool) if pool is not None]
    barred = {pool: eligibility.why_not(room, name, account.role, pool, at) for pool in pools}
    open_pools = [pool for pool, why in barred.items() if not why]
    if pools and not open_pools:
        against += barred[pools[0]]
    elif account.role not in eligibility.READING_ROLES:
        against.append("role")
    if against or not open_pools:
        return Reader(name, account.role, tuple(against), None)
    ends = [eligibility.duty_ends(room, name, pool, at) for pool in open_pools]
    last = None if None in ends else max(end for end in ends if end is not None)
    # shifts that adjoin each other for days have no end that matters now
    return Reader(name, account.role, (), None if last is None or last > at + _SOON else last)


def in_words(facts: RoutingFacts) -> dict[str, str]:
    """The facts that routes ask about, by the names that checks have for them; empty: not known."""
    return {
        "modality": facts.modality,
        "body_part": facts.body_part or "",
        "age": "" if facts.age_years is None else str(int(facts.age_years)),
        "site": facts.site_id,
        "question": facts.question or "",
        "priority": facts.priority,
        "kind": facts.kind,
    }


def pool_name(room: ReadingRoom, pool_id: str | None, language: str, at: datetime) -> str:
    """A pool's name in a language; its id where it has none."""
    found = rules.pool(room, pool_id, at)
    return found.name(language) if found else pool_id or ""


def _item(conn: Connection, case_or_receipt: str) -> Row[Any] | None:
    newest = select(work_items).order_by(work_items.c.seq.desc()).limit(1)
    found = conn.execute(newest.where(work_items.c.case_id == case_or_receipt)).one_or_none()
    if found is not None:
        return found
    case_id = conn.scalar(select(arrivals.c.case_id).where(arrivals.c.receipt == case_or_receipt.upper()))
    return None if case_id is None else conn.execute(newest.where(work_items.c.case_id == case_id)).one_or_none()


def _standing(item: Row[Any]) -> Standing:
    values = {name: getattr(item, name) for name in Standing.__dataclass_fields__ if name not in {"item_id", "reasons"}}
    return Standing(item_id=item.id, reasons=tuple(item.reasons), **values)


def _history(conn: Connection, item: Row[Any]) -> tuple[Happened, ...]:
    query = (
        select(item_events).where(item_events.c.case_id == item.case_id).order_by(item_events.c.id.desc()).limit(_KEPT)
    )
    names = Happened.__dataclass_fields__
    rows = conn.execute(query).all()
    events = [Happened(**{name: getattr(row, name) for name in names}) for row in reversed(rows)]
    return tuple(sorted([*events, *_said_of_flags(conn, item)], key=lambda one: one.at))


def _said_of_flags(conn: Connection, item: Row[Any]) -> list[Happened]:
    """One event for each thing that was flagged, however many rules say it."""
    found: dict[tuple[str, datetime], Happened] = {}
    for one in flag_verdicts.of_case(conn, item.case_id).values():
        code = _flagged(one.flag.partition(":")[0])
        detail = {"flag": code} | ({"reason": one.reason} if one.reason else {})
        event = f"flag_{one.verdict}"
        found[code, one.said_at] = Happened(one.said_at, item.id, event, one.said_by, item.state, item.state, detail)
    return [found[place] for place in sorted(found)]


@lru_cache(maxsize=256)
def _flagged(rule_id: str) -> str:
    """What a rule flags, by its code; the rule itself where nobody knows it any more."""
    try:
        rules_of = load_profile(rule_id.partition(".")[0]).rules
    except Misconfigured:
        return rule_id
    return next((rule.code for rule in rules_of if rule.rule_id == rule_id), rule_id)


def _timers(conn: Connection, subjects: list[str]) -> tuple[Timer, ...]:
    query = select(timers).where(timers.c.subject.in_(subjects)).order_by(timers.c.due_at, timers.c.id).limit(_KEPT)
    return tuple(Timer(row.kind, row.due_at, row.done_at, row.outcome) for row in conn.execute(query))


def _alarms(conn: Connection, subjects: list[str], pool: str | None) -> tuple[Alarm, ...]:
    its_pool = (alarms.c.kind == "no_reader") & (alarms.c.subject == pool) & alarms.c.cleared_at.is_(None)
    query = select(alarms).where(alarms.c.subject.in_(subjects) | its_pool).order_by(alarms.c.raised_at, alarms.c.id)
    return tuple(
        Alarm(row.kind, row.raised_at, row.cleared_at, row.cleared_by, row.owner)
        for row in conn.execute(query.limit(_KEPT))
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value

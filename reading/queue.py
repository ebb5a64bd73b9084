"""Work items: the rows of the reading queue, written inside the caller's transaction.

States are those of the Unified Procedure Step (:mod:`teleread.reading.ups`). A case owns successive work items,
numbered by ``seq``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, func, select, update

from teleread.alliance import PRIORITIES, Priority
from teleread.reading import escalation, history, ups
from teleread.reading.order import WAITING, past
from teleread.reading.priority import Decision, higher
from teleread.reading_room import Agreement
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import work_items

URGENT_LEASE = timedelta(minutes=2)
"""How long the claim of an urgent case holds without a heartbeat."""

AWAITS_OPINION = "awaits_opinion"
"""Why a case is set aside: a second opinion on it is being read."""

MOST_COUNTED = 1_000
"""A place further behind is told as this one: nobody waits for it by the number."""


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What the queue shows of a case. ``arrived_at`` is when its first bytes landed."""

    case_id: str
    site_id: str
    modality: str
    arrival_id: str
    study_id: str | None
    patient_pseudonym: str | None
    patient_sex: str | None
    patient_age_years: float | None
    analysed: bool
    quality_acceptable: bool | None
    heart_rate_bpm: float | None
    arrived_at: datetime
    body_part: str | None = None
    question: str | None = None
    kind: str = "reading"
    parent_id: str | None = None
    not_for: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case waits, and until when it should be read.

    Args:
        order_at: its time in the order of the list, within its band.
        due_at: its limit, counted from its arrival.
        pool: None: the rules were not asked; a new item is anybody's then, and another one stays where it is.
        detail: why, for the item's history.
    """

    order_at: datetime
    due_at: datetime
    pool: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


Placing = Callable[[Any, Priority], Place]
"""The rules: from what is known of a case (:class:`CaseFacts`, or the row of a work item) and its priority."""


AGREED = Agreement("*", date.min)
"""What holds where nothing was agreed."""


def by_default(facts: Any, priority: Priority) -> Place:
    """The place without any rules: no pool, and the limits of an agreement that says nothing else."""
    waits = timedelta(minutes=AGREED.rises_after_min) if priority == "routine" else timedelta(0)
    return Place(facts.arrived_at + waits, facts.arrived_at + AGREED.limit(priority))


def put_item(
    conn: Connection,
    facts: CaseFacts,
    decision: Decision,
    at: datetime,
    *,
    joined: bool,
    placing: Placing = by_default,
) -> bool:
    """Make the case's work item, or bring the one that it has up to date; never lowers its priority.

    Args:
        joined: the arrival is new to the case. When the case is closed already, what came late is not in any
            report, so it gets a work item of its own and a person sees it.

    Returns:
        True when a work item is new.
    """
    known = lock_latest(conn, facts.case_id)
    if known is None or (joined and known.state in {"COMPLETED", "CANCELED"}):
        seq, fence = (1, 0) if known is None else (known.seq + 1, known.fence)
        return _insert(conn, facts, decision, at, seq, fence, placing(facts, decision.priority))
    _bring_up_to_date(conn, known, facts, decision, at, placing)
    return False


def add_item(conn: Connection, facts: CaseFacts, decision: Decision, at: datetime, place: Place) -> bool:
    """Make the first work item of a new case; False when there is one."""
    return _insert(conn, facts, decision, at, 1, 0, place)


def _insert(
    conn: Connection, facts: CaseFacts, decision: Decision, at: datetime, seq: int, fence: int, place: Place
) -> bool:
    item_id = history.item_id_of(facts.case_id, seq)
    row = {
        **asdict(facts),
        "id": item_id,
        "seq": seq,
        "state": "SCHEDULED",
        "priority": decision.priority,
        "rank": PRIORITIES.index(decision.priority),
        "band": band_of(decision.priority),
        "order_at": place.order_at,
        "due_at": place.due_at,
        "pool": place.pool,
        "reasons": list(decision.reasons),
        "created_at": at,
        "fence": fence,
    }
    if insert_missing(conn, work_items, [row], ["id"]) != 1:
        return False
    detail = {"priority": decision.priority, "reasons": list(decision.reasons), "pool": place.pool}
    history.note_created(conn, facts.case_id, item_id, "teleread", at, fence=fence, detail=detail)
    if place.pool is not None:
        history.note(conn, facts.case_id, item_id, "routed", "SCHEDULED", "teleread", at, fence, place.detail)
    _begin_waiting(conn, item_id, row["band"] == 0, facts.arrived_at, place.due_at)
    return True


def _begin_waiting(conn: Connection, item_id: str, urgent: bool, since: datetime, due_at: datetime) -> None:
    late_at = escalation.late_from(since, due_at)
    escalation.begin_waiting(conn, item_id, urgent=urgent, since=since, late_at=late_at)


def band_of(priority: Priority) -> int:
    """The first part of the order: urgent before all else."""
    return 0 if priority == "urgent" else 1


def _bring_up_to_date(
    conn: Connection, known: Row[Any], facts: CaseFacts, decision: Decision, at: datetime, placing: Placing
) -> None:
    changed = {
        "modality": facts.modality,
        "study_id": facts.study_id,
        "patient_pseudonym": facts.patient_pseudonym,
        "patient_sex": facts.patient_sex,
        "patient_age_years": facts.patient_age_years,
        "analysed": facts.analysed,
        "quality_acceptable": facts.quality_acceptable,
        "heart_rate_bpm": facts.heart_rate_bpm,
        "body_part": facts.body_part if facts.body_part is not None else known.body_part,
        "question": facts.question if facts.question is not None else known.question,
    }
    changed = {name: value for name, value in changed.items() if getattr(known, name) != value}
    if known.state not in ups.OPEN:
        if changed:
            conn.execute(update(work_items).where(work_items.c.id == known.id).values(**changed))
        if is_set_aside(known) and PRIORITIES.index(decision.priority) < known.rank:
            reasons = _merged(known.reasons, decision.reasons, analysed=facts.analysed)
            _raise_set_aside(conn, known, decision.priority, reasons, at, "teleread", placing)
        return
    priority = higher(cast(Priority, known.priority), decision.priority)
    reasons = _merged(known.reasons, decision.reasons, analysed=facts.analysed)
    place = placing(facts, priority) if changed or priority != known.priority else None
    _change(conn, known, priority, reasons, place, at, "teleread", changed)


def raise_priority(
    conn: Connection,
    case_id: str,
    priority: Priority,
    reason: str,
    at: datetime,
    *,
    who: str = "teleread",
    placing: Placing = by_default,
) -> None:
    """Lift the case's open work item to at least ``priority`` and say why."""
    known = lock_latest(conn, case_id)
    if known is None or PRIORITIES.index(priority) >= known.rank:
        return
    reasons = _merged(known.reasons, (reason,), analysed=known.analysed)
    if is_set_aside(known):
        _raise_set_aside(conn, known, priority, reasons, at, who, placing)
    if known.state not in ups.OPEN:
        return
    _change(conn, known, priority, reasons, placing(known, priority), at, who, {})


def is_set_aside(item: Row[Any]) -> bool:
    """Whether a case waits for an opinion on it, and is queued again when that is there."""
    return bool(item.state == "CANCELED" and item.end_reason == AWAITS_OPINION)


def shown_state(item: Row[Any]) -> str:
    """The state that a clinic sees: a case on which readers ask each other is being read."""
    return "IN PROGRESS" if is_set_aside(item) else str(item.state)


def _raise_set_aside(
    conn: Connection,
    known: Row[Any],
    priority: Priority,
    reasons: list[str],
    at: datetime,
    who: str,
    placing: Placing,
) -> None:
    """What it waits for is raised now, and it comes back raised."""
    values = {"priority": priority, "rank": PRIORITIES.index(priority), "band": band_of(priority), "reasons": reasons}
    place = placing(known, priority)
    values |= _moved(known, place, at, raised=True)
    conn.execute(update(work_items).where(work_items.c.id == known.id).values(**values))
    for child in conn.scalars(select(work_items.c.case_id).where(work_items.c.parent_id == known.id).distinct()).all():
        raise_priority(conn, child, priority, reasons[-1], at, who=who, placing=placing)


def _change(
    conn: Connection,
    known: Row[Any],
    priority: Priority,
    reasons: list[str],
    place: Place | None,
    at: datetime,
    who: str,
    changed: dict[str, Any],
) -> None:
    """Write an open work item's new facts, priority and place, with an event for each that is news."""
    raised = priority != known.priority
    changed |= {} if reasons == known.reasons else {"reasons": reasons}
    if raised:
        changed |= {"priority": priority, "rank": PRIORITIES.index(priority), "band": band_of(priority)}
        detail = {"from": known.priority, "priority": priority, "reasons": reasons}
        history.note_event(conn, known, "raised", who, at, detail)
        if priority == "urgent" and known.lease_until is not None:
            changed["lease_until"] = min(known.lease_until, at + URGENT_LEASE)
    if place is not None:
        changed |= _moved(known, place, at, raised=raised)
        # who reads it now goes on; it is not taken to another pool under their hands
        moves = place.pool is not None and place.pool != known.pool
        if known.state == "SCHEDULED" and (moves or (raised and place.detail)):
            # the rules were asked again: what they said now stands in its history, also where the pool stays
            changed |= {"pool": place.pool} if moves else {}
            due_at = changed.get("due_at", known.due_at)
            detail = {**place.detail, "from": known.pool, "pool": place.pool, "due_at": due_at.isoformat()}
            history.note_event(conn, known, "routed", who, at, detail)
    if changed:
        conn.execute(update(work_items).where(work_items.c.id == known.id).values(**changed))
    if raised and place is not None:
        _begin_again(conn, known, priority, changed.get("due_at", known.due_at), at)


def _begin_again(conn: Connection, known: Row[Any], priority: Priority, due_at: datetime, at: datetime) -> None:
    """A raised case gets the steps of its new priority from now on."""
    late_at, urgent = escalation.late_from(at, due_at), priority == "urgent"
    waits = known.state == "SCHEDULED"
    escalation.begin_waiting(conn, known.id, urgent=urgent and waits, since=at, late_at=late_at)
    if not waits:
        escalation.begin_reading(conn, known.id, urgent=urgent, since=at)


def _moved(known: Row[Any], place: Place, at: datetime, *, raised: bool) -> dict[str, Any]:
    due_at = place.due_at if known.due_at is None else known.due_at
    if raised:
        # its new limit begins when it is raised; the one that it had stands where that is sooner
        due_at = min(due_at, at + (place.due_at - known.arrived_at))
    moved = {"order_at": place.order_at, "due_at": due_at}
    return {name: value for name, value in moved.items() if getattr(known, name) != value}


def cancel_item(
    conn: Connection, case_id: str, at: datetime, *, who: str = "teleread", reason: str = "joined_another"
) -> None:
    """Cancel a case's waiting work item: because the case is read under another one, or for another reason."""
    waiting = select(work_items).where(work_items.c.case_id == case_id, WAITING).with_for_update()
    for item in conn.execute(waiting).all():
        state = history.note_event(conn, item, "withdrawn", who, at, {"reason": reason})
        conn.execute(
            update(work_items).where(work_items.c.id == item.id).values(state=state, ended_at=at, end_reason=reason)
        )
        escalation.hush(conn, item.id, who, at)


def note_limit(conn: Connection, item: Row[Any], due_at: datetime) -> None:
    """A waiting work item got its limit, or a sooner one; one that had no place yet begins to wait by the ladder."""
    urgent = item.pool is None and item.priority == "urgent"
    _begin_waiting(conn, item.id, urgent, item.arrived_at, due_at)


def latest_item(conn: Connection, case_id: str) -> Row[Any] | None:
    """The case's newest work item."""
    return conn.execute(_latest(case_id)).one_or_none()


def lock_latest(conn: Connection, case_id: str) -> Row[Any] | None:
    """The case's newest work item, locked: whoever changes a case takes turns with all others who do."""
    while True:
        row = conn.execute(_latest(case_id).with_for_update()).one_or_none()
        if row is None or row.state in ups.OPEN:
            return row
        # whom we waited for may have ended this one and made the next, which our statement began too early to see
        if conn.scalar(select(func.max(work_items.c.seq)).where(work_items.c.case_id == case_id)) == row.seq:
            return row


def position(conn: Connection, case_id: str) -> int | None:
    """The case's place among those that wait in its pool, 1 is next; None when it does not wait.

    At most :data:`MOST_COUNTED`.
    """
    item = latest_item(conn, case_id)
    if item is None or item.state != "SCHEDULED":
        return None
    same = work_items.c.pool.is_(None) if item.pool is None else work_items.c.pool == item.pool
    before = past((item.band, item.order_at, item.id), backwards=True)
    ahead = select(work_items.c.id).where(WAITING, same, before).limit(MOST_COUNTED - 1).subquery()
    return int(conn.execute(select(func.count()).select_from(ahead)).scalar_one()) + 1


def _latest(case_id: str) -> Select[Any]:
    return select(work_items).where(work_items.c.case_id == case_id).order_by(work_items.c.seq.desc()).limit(1)


def _merged(known: list[str], new: tuple[str, ...], *, analysed: bool) -> list[str]:
    # "not analysed" is a reason only as long as it is true; the priority that it gave stays all the same
    kept = [reason for reason in known if not (analysed and reason == "not_analysed")]
    return kept + [reason for reason in new if reason not in kept]

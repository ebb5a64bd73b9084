"""What happens when nobody takes a case, or nobody signs it: the steps, what each asks for, and their doing.

Each step is a timer of its work item, set in the transaction that queues, raises, returns or claims it. When one is
due, :func:`decide` says from the present state what is to be done, if anything still is; :func:`run_due` does it in
the transaction that ends the timer. A process that dies on the way leaves the timer due, for the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.exc import DataError, IntegrityError

from teleread.errors import TelereadError
from teleread.reading import alarms, history, timers, ups
from teleread.reading.timers import Timer
from teleread.storage.catalogue.schema import work_items

log = logging.getLogger(__name__)

LADDER: Mapping[str, timedelta] = MappingProxyType(
    {
        "unclaimed": timedelta(seconds=60),  # every reader who may take it hears it
        "unclaimed_coordinator": timedelta(seconds=120),  # the coordinator as well
        "overflow": timedelta(seconds=180),  # the agreed second pool may take it
    }
)
"""Steps of an urgent case that nobody takes, from when it was stored, raised to urgent or given back."""

UNSIGNED_AFTER = timedelta(minutes=5)
"""An urgent case that is claimed and not signed."""

LATE_SHARE = 0.8
"""Part of its limit after which an unread case is late."""

URGENT_STEPS = (*LADDER, "unsigned")
STEPS = (*URGENT_STEPS, "late")

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed for a pool: who is told, and which pool opens as well; empty: nobody, none."""

    lead: str = ""
    overflow: str = ""


TermsOf = Callable[[str | None, datetime], Terms]
"""The terms of a pool at a time."""


def no_terms(_pool: str | None, _at: datetime) -> Terms:
    """Where nothing is agreed."""
    return Terms()


@dataclass(frozen=True, slots=True)
class Act:
    """What a due step asks for: an alarm, told in ``pool``, and a second pool that opens."""

    alarm: str
    pool: str | None
    owner: str | None = None
    opens: str | None = None


def decide(
    kind: str, *, state: str, band: int, pool: str | None, overflow_pool: str | None, terms: Terms
) -> Act | None:
    """What a step asks for now; None when it came too late to matter. Pure.

    Args:
        kind: of :data:`STEPS`.
        state, band, pool, overflow_pool: of the work item as it stands.
    """
    waits, is_read, urgent = state == "SCHEDULED", state == "IN PROGRESS", band == 0
    opens = terms.overflow if waits and overflow_pool is None and terms.overflow not in ("", pool) else None
    if kind == "late":
        # also while it is read: whoever has it may have left it
        return Act("late", pool, terms.lead or None, opens) if waits or is_read else None
    if kind == "unsigned":
        return Act("unsigned", pool) if is_read and urgent else None
    if not (waits and urgent):
        return None
    if kind == "overflow":
        return Act("overflow", opens or overflow_pool or pool, terms.lead or None, opens)
    return Act(kind, pool)


def begin_waiting(conn: Connection, item_id: str, *, urgent: bool, since: datetime, late_at: datetime | None) -> None:
    """Set the timers of a work item that waits from a moment on; those that stand already stay, or come sooner."""
    rows = [(kind, since + after) for kind, after in LADDER.items()] if urgent else []
    rows += [("late", late_at)] if late_at is not None else []
    if timers.set_timers(conn, item_id, rows) < len(rows) and late_at is not None:
        timers.bring_forward(conn, "late", item_id, late_at)


def late_from(since: datetime, due_at: datetime) -> datetime:
    """When a case with a limit is late."""
    return since + LATE_SHARE * (due_at - since)


def begin_reading(conn: Connection, item_id: str, *, urgent: bool, since: datetime) -> None:
    """Set the timer of a work item that is claimed from a moment on."""
    if urgent:
        timers.set_timer(conn, "unsigned", item_id, since + UNSIGNED_AFTER)


def follow(conn: Connection, before: str, item_id: str, *, urgent: bool, at: datetime) -> None:
    """A case waits again as its next work item: the ladder begins anew, the limit goes on."""
    late_at = timers.due_at(conn, "late", before)
    begin_waiting(conn, item_id, urgent=urgent, since=at, late_at=late_at)


def may_have_alarms(band: int, since: datetime, due_at: datetime | None, at: datetime) -> bool:
    """Whether an alarm of a work item may be open, from its row alone: most have none, and need no look."""
    return band == 0 or due_at is None or at >= late_from(since, due_at)


def hush(conn: Connection, item_id: str, who: str, at: datetime) -> None:
    """What a work item's alarms asked for has happened."""
    alarms.clear(conn, STEPS, item_id, who, at)


def any_due(conn: Connection, at: datetime) -> bool:
    """Whether a step is due; writes nothing, and so waits for nobody."""
    return timers.any_due(conn, at, STEPS)


def run_due(conn: Connection, at: datetime, terms_of: TermsOf = no_terms) -> int:
    """Do what is due, the urgent steps first, one batch in the caller's transaction; returns how many were ended.

    One that fails is left to be tried again, and the others are done.
    """
    due = timers.take_due(conn, at, kinds=URGENT_STEPS, limit=_BATCH) or timers.take_due(
        conn, at, kinds=["late"], limit=_BATCH
    )
    done = 0
    for timer in due:
        try:
            with conn.begin_nested():
                outcome = _apply(conn, timer, at, terms_of)
                timers.finish(conn, timer, outcome, at)
            done += 1
        except (TelereadError, IntegrityError, DataError) as error:
            reason = error.code if isinstance(error, TelereadError) else type(error).__name__
            log.error("step %s of %s failed: %s", timer.kind, timer.subject, reason)
    return done


def _apply(conn: Connection, timer: Timer, at: datetime, terms_of: TermsOf) -> str:
    item = conn.execute(select(work_items).where(work_items.c.id == timer.subject).with_for_update()).one_or_none()
    if item is None or item.state not in ups.OPEN:
        return "over"
    act = decide(
        timer.kind,
        state=item.state,
        band=item.band,
        pool=item.pool,
        overflow_pool=item.overflow_pool,
        terms=terms_of(item.pool, at),
    )
    if act is None:
        return "nothing_to_do"
    _do(conn, item, act, at)
    return act.alarm


def _do(conn: Connection, item: Row[Any], act: Act, at: datetime) -> None:
    if act.opens is not None:
        history.note_event(conn, item, "overflowed", "teleread", at, {"pool": act.opens, "from": item.pool})
        conn.execute(update(work_items).where(work_items.c.id == item.id).values(overflow_pool=act.opens))
    detail = {"case_id": item.case_id, "priority": item.priority, "state": item.state, "reader": item.claimed_by}
    if act.opens is not None:
        detail["opened"] = act.opens
    new = alarms.raise_alarm(
        conn, act.alarm, item.id, at, pool=act.pool, site_id=item.site_id, owner=act.owner, detail=detail
    )
    if new:
        history.note_event(conn, item, "escalated", "teleread", at, {"step": act.alarm, "told": act.owner})

"""Where a case goes, in the transaction that queues it; and the rounds that keep waiting cases where the rules want
them when a day or a file changes the rules.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Row, func, select, update

from teleread.alliance import Priority
from teleread.pipeline.services import Services
from teleread.reading import history, queue, routing
from teleread.reading.order import IN_PROGRESS, KEY, WAITING, WHOLE, Cursor, past
from teleread.reading.routing import Routed, facts_of
from teleread.reading.rules import in_force
from teleread.reading.symptoms import Form
from teleread.reading_room import ReadingRoom
from teleread.storage.catalogue.schema import clinic_forms, item_events, studies, work_items

log = logging.getLogger(__name__)

_PAGE = 256
_ROUND_S = 1.0
_AT_LEISURE = frozenset({"second_reading", "review"})  # no clinic waits for them: their limit is their own
AGAIN_AFTER = timedelta(seconds=30)  # another process may have gone by the rules before for some seconds
EVERY = timedelta(hours=1)


def placing(room: ReadingRoom, at: datetime) -> queue.Placing:
    """The rules as the queue asks them."""

    def place(known: Any, priority: Priority) -> queue.Place:
        facts = facts_of(known, priority)
        routed = routing.route(room, facts, at)
        return queue.Place(routed.order_at, routed.due_at, routed.pool, routing.as_detail(routed, facts))

    return place


def question_of(chest_pain: str | None, pressure: str | None) -> str | None:
    """What a clinic's form asks of the reader, as routes name it; the gravest where there are several."""
    if chest_pain in {"now", "gone"}:
        return "chest_pain"
    return {"le90": "low_pressure", "ge220": "high_pressure"}.get(pressure or "")


def note_question(conn: Connection, room: ReadingRoom, arrival_id: str, form: Form, at: datetime) -> None:
    """A form was saved: a case that waits goes where its question belongs."""
    question = question_of(form.chest_pain, form.pressure)
    waiting = select(work_items).where(work_items.c.arrival_id == arrival_id, WAITING).with_for_update()
    for item in conn.execute(waiting).all():
        if question is not None and item.question != question:
            conn.execute(update(work_items).where(work_items.c.id == item.id).values(question=question))
            reroute(conn, room, conn.execute(select(work_items).where(work_items.c.id == item.id)).one(), at)


def reroute(conn: Connection, room: ReadingRoom, item: Row[Any], at: datetime) -> bool:
    """Route a waiting work item by the rules of now; returns whether anything changed.

    It is never due later than before, and never stands behind its place; a limit that came with a raised priority
    counts from the raising. A pool that was opened as well stays open.
    """
    facts = facts_of(item, item.priority)
    routed = routing.route(room, facts, at)
    changed = _changes(conn, item, routed)
    if not changed:
        return False
    detail = {**routing.as_detail(routed, facts), "from": item.pool}
    detail |= {name: changed[name].isoformat() for name in ("due_at", "order_at") if name in changed}
    history.note_event(conn, item, "routed", "teleread", at, detail)
    conn.execute(update(work_items).where(work_items.c.id == item.id).values(**changed))
    if "due_at" in changed:
        queue.note_limit(conn, item, changed["due_at"])
    return True


def _changes(conn: Connection, item: Row[Any], routed: Routed) -> dict[str, Any]:
    if item.pool is None:
        # what another version of the code wrote stands on top of the list until now
        first: dict[str, Any] = {"pool": routed.pool}
        if item.kind in _AT_LEISURE:
            return first
        first["order_at"] = routed.order_at
        first["band"] = queue.band_of(cast(Priority, item.priority))
        return first | {"due_at": routed.due_at if item.due_at is None else min(item.due_at, routed.due_at)}
    found: dict[str, Any] = {}
    if routed.pool != item.pool:
        found["pool"] = routed.pool
    if item.kind in _AT_LEISURE:
        return found
    if routed.order_at < item.order_at:
        found["order_at"] = routed.order_at
    if item.due_at is None or routed.due_at < item.due_at:
        limit = routed.due_at - item.arrived_at
        due_at = max(item.arrived_at, _raised_at(conn, item.case_id) or item.arrived_at) + limit
        if item.due_at is None or due_at < item.due_at:
            found["due_at"] = due_at
    return found


def _raised_at(conn: Connection, case_id: str) -> datetime | None:
    raised = select(func.max(item_events.c.at)).where(item_events.c.case_id == case_id, item_events.c.event == "raised")
    return cast(datetime | None, conn.execute(raised).scalar_one())


class Rerouting:
    """The rounds of one process. Several may go them side by side: what one has done the other finds done."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._rules: tuple[object, ...] | None = None  # those that the last whole walk went by
        self._cursor: Cursor | None = None
        self._walking = False
        self._next_walk: datetime | None = None
        self._held: set[str] = set()  # cases that were claimed when a walk passed

    def __call__(self) -> int:
        """One round of some seconds at most: what has no pool, what was claimed when the rules changed, and a
        stretch of the walk over all that waits. Returns how many work items went elsewhere.
        """
        now, room = self._services.clock(), self._services.room
        moved = self._unrouted(room, now) + self._given_back(room, now)
        rules = in_force(room, now)
        if rules != self._rules:
            self._rules, self._cursor, self._walking = rules, None, True
            self._next_walk = now + AGAIN_AFTER
        elif not self._walking and self._next_walk is not None and now >= self._next_walk:
            self._cursor, self._walking = None, True
            self._next_walk = now + EVERY
        return moved + (self._walk(room, now) if self._walking else 0)

    def _unrouted(self, room: ReadingRoom, now: datetime) -> int:
        wanted = select(work_items.c.id).where(WAITING, work_items.c.pool.is_(None)).limit(_PAGE)
        with self._services.catalogue.read() as conn:
            ids = list(conn.scalars(wanted))
        if not ids:
            return 0
        with self._services.catalogue.write() as conn:
            _complete_facts(conn, ids)
            return _reroute_all(conn, room, ids, now)

    def _given_back(self, room: ReadingRoom, now: datetime) -> int:
        if not self._held:
            return 0
        with self._services.catalogue.read() as conn:
            claimed = set(conn.scalars(select(work_items.c.case_id).where(IN_PROGRESS)))
            ended = sorted(self._held - claimed)[:_PAGE]
            waiting = list(conn.scalars(select(work_items.c.id).where(WAITING, work_items.c.case_id.in_(ended))))
        moved = self._apply(room, waiting, now)
        self._held -= set(ended)
        return moved

    def _walk(self, room: ReadingRoom, now: datetime) -> int:
        """Go on with the walk where the last round stopped; rows only ever move towards the part that is done."""
        ends, moved = time.monotonic() + _ROUND_S, 0
        while time.monotonic() < ends:
            page = select(work_items).where(WAITING, WHOLE).order_by(*KEY).limit(_PAGE)
            if self._cursor is not None:
                page = page.where(past(self._cursor))
            with self._services.catalogue.read() as conn:
                rows = conn.execute(page).all()
                other = [row.id for row in rows if _changes(conn, row, _routed(room, row, now))]
            moved += self._apply(room, other, now)
            if len(rows) < _PAGE:
                self._walking = False
                with self._services.catalogue.read() as conn:
                    self._held |= set(conn.scalars(select(work_items.c.case_id).where(IN_PROGRESS)))
                break
            self._cursor = (rows[-1].band, rows[-1].order_at, rows[-1].id)
        if moved:
            log.info("the rules have changed: %d waiting cases were routed anew", moved)
        return moved

    def _apply(self, room: ReadingRoom, ids: Sequence[str], now: datetime) -> int:
        if not ids:
            return 0
        with self._services.catalogue.write() as conn:
            return _reroute_all(conn, room, ids, now)


def _routed(room: ReadingRoom, row: Row[Any], now: datetime) -> Routed:
    return routing.route(room, facts_of(row, row.priority), now)


def _reroute_all(conn: Connection, room: ReadingRoom, ids: Sequence[str], now: datetime) -> int:
    # claimed or read meanwhile: theirs, and what somebody claims just now is skipped
    still = select(work_items).where(work_items.c.id.in_(list(ids)), WAITING).with_for_update(skip_locked=True)
    return sum(reroute(conn, room, item, now) for item in conn.execute(still).all())


def _complete_facts(conn: Connection, ids: Sequence[str]) -> None:
    """Fill in what code that knows no routes did not write down."""
    rows = conn.execute(
        select(work_items.c.id, studies.c.body_part, clinic_forms.c.chest_pain, clinic_forms.c.pressure)
        .outerjoin(studies, studies.c.id == work_items.c.study_id)
        .outerjoin(clinic_forms, clinic_forms.c.arrival_id == work_items.c.arrival_id)
        .where(work_items.c.id.in_(list(ids)), work_items.c.body_part.is_(None), work_items.c.question.is_(None))
    ).all()
    for row in rows:
        question = question_of(row.chest_pain, row.pressure)
        if row.body_part is not None or question is not None:
            values = {"body_part": row.body_part, "question": question}
            conn.execute(update(work_items).where(work_items.c.id == row.id, WAITING).values(**values))

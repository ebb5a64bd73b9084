"""Readings beside the first one: second readings, opinions, consultations, and what comes of them.

Each is a case of its own, on the same recording: its drafts, verdicts and reports are apart from the first reader's, so
that a second reading is blind by construction. Its work item names the one that asked for it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, insert, select, update

from teleread.alliance import Priority
from teleread.errors import AccessDenied, Conflict, InputRejected
from teleread.reading import blind, claims, indicators, queue, ups
from teleread.reading.priority import Decision
from teleread.reading.reports import Report, of_row
from teleread.storage import audit
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import asked_readings, discrepancies, reports, work_items

Kind = Literal["second_reading", "second_opinion", "consultation", "review"]
Grade = Literal[0, 1, 2, 3]

SHARE = 0.02
"""Of the signed readings; criticals are read again all."""

WITHIN = timedelta(hours=24)
"""Until when a second reading should be done."""

NOTE_LIMIT = 2_000
QUESTION_LIMIT = 2_000

ASKED = ("second_opinion", "consultation")
"""Kinds that a person asks for, with a question; the others nobody asks for."""

_FACTS = (
    *("site_id", "modality", "arrival_id", "study_id", "patient_pseudonym", "patient_sex", "patient_age_years"),
    *("analysed", "quality_acceptable", "heart_rate_bpm", "body_part", "question"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to know of a colleague about a case, in free words, and who asked.

    Args:
        of_case: the case that it is about.
    """

    case_id: str
    of_case: str
    kind: str
    question: str
    asked_by: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a second reader found in somebody's report: 0 agrees, 1 small, 2 matters, 3 would have changed treatment."""

    item_id: str
    case_id: str
    report_id: str
    grade: int
    note: str | None
    graded_at: datetime


@dataclass(frozen=True, slots=True)
class Compared:
    """A second reading that was signed, beside the report that it is a second reading of.

    Args:
        reading: its work item.
        grade: None until the second reader has said it.
    """

    reading: Row[Any]
    first: Report
    second: Report
    grade: Feedback | None
    seen_at: datetime | None


def is_given_back(kind: str) -> bool:
    """Whether a report on such a work item goes to the clinic; the others stay among readers."""
    return kind in {"reading", "consultation"}


def is_drawn(key: bytes, case_id: str, share: float = SHARE) -> bool:
    """Whether a case is in the sample: the same for everybody who holds the key, and foreseen by nobody else.

    Args:
        key: derived for this alone.
        share: from 0 to 1.
    """
    drawn = hmac.digest(key, b"second reading\0" + case_id.encode(), "sha256")
    return int.from_bytes(drawn[:8], "big") < share * 2.0**64


def after_signing(
    conn: Connection,
    item: Row[Any],
    *,
    critical: bool,
    key: bytes,
    at: datetime,
    placing: queue.Placing = queue.by_default,
) -> str | None:
    """A reading has been signed: queue a blind second reading of it where one is due.

    Args:
        item: as :func:`teleread.reading.claims.complete` gave it.
        key: of the sample.

    Returns:
        The second reading's case, None where there is none.
    """
    if item.kind != "reading" or not (critical or is_drawn(key, item.case_id)):
        return None
    reason = "critical_review" if critical else "sample"
    return _queue(conn, item, "second_reading", "routine", (reason,), "teleread", at, placing)


def ask_opinion(
    conn: Connection,
    item_id: str,
    who: str,
    fence: int,
    at: datetime,
    *,
    waits: bool,
    question: str = "",
    placing: queue.Placing = queue.by_default,
) -> str:
    """The reader who has a case asks for a second opinion; returns its case.

    Args:
        waits: the case leaves the reader's hands and is queued again when the opinion is there, with the draft;
            else it stays, and may be signed as preliminary.

    Raises:
        Conflict: ``claim_lost``; ``opinion_asked``: one is open already; ``urgent_waits``: an urgent case stays in
            its reader's hands.
        InputRejected: ``question_too_long``.
    """
    item = claims.check(conn, item_id, who, fence, at)
    if open_children(conn, item.case_id, ["second_opinion"]):
        raise Conflict("opinion_asked", "A second opinion on this case has been asked for already.")
    if waits and item.priority == "urgent":
        raise Conflict("urgent_waits", "An urgent case waits for no opinion.")
    reasons = ("second_opinion",)
    case_id = _queue(conn, item, "second_opinion", item.priority, reasons, who, at, placing, question)
    if waits:
        claims.set_aside(conn, item, who, at, queue.AWAITS_OPINION)
    return case_id


def withdraw(conn: Connection, case_id: str, who: str, at: datetime, *, by_role: bool = True) -> None:
    """An opinion or consultation that nobody has begun is not needed any more; what waits for it is queued again.

    Args:
        by_role: somebody may withdraw what another one has asked; who has its case in hand may in any case.

    Raises:
        Conflict: ``case_not_open``: it has been begun, or is none.
        AccessDenied: ``not_yours_to_withdraw``.
    """
    parent = select(work_items.c.parent_id).where(work_items.c.case_id == case_id).limit(1).scalar_subquery()
    conn.execute(select(work_items.c.id).where(work_items.c.id == parent).with_for_update())
    item = queue.lock_latest(conn, case_id)
    if item is None or item.state != "SCHEDULED" or item.parent_id is None or item.kind not in ASKED:
        raise Conflict("case_not_open", "This case is not waiting for a reader.")
    asked = asked_of(conn, case_id)
    if not (by_role or (asked is not None and _may_withdraw(conn, asked, who, at))):
        raise AccessDenied("not_yours_to_withdraw", "Only who has asked for it withdraws it.")
    queue.cancel_item(conn, case_id, at, who=who, reason="not_needed")
    claims.resume(conn, item.parent_id, "withdrawn", at)
    detail = {"kind": item.kind}
    audit.record(
        conn, at=at, actor=who, action="withdraw_request", object_type="case", object_id=case_id, detail=detail
    )


def consult(
    conn: Connection,
    case_id: str,
    who: str,
    at: datetime,
    *,
    priority: Priority = "routine",
    question: str = "",
    placing: queue.Placing = queue.by_default,
) -> str:
    """Ask specialists about a case, whatever its own state; returns the consultation's case. The same question of the
    same person is asked once as long as it is open.

    Raises:
        Conflict: ``no_such_case``.
        InputRejected: ``question_too_long``.
    """
    item = queue.lock_latest(conn, case_id)
    if item is None:
        raise Conflict("no_such_case", "There is no such case.")
    for known in open_children(conn, case_id, ["consultation"]):
        asked = asked_of(conn, known.case_id)
        if asked is not None and (asked.asked_by, asked.question) == (who, question.strip()):
            return asked.case_id  # the form was sent twice
    return _queue(conn, item, "consultation", priority, ("consultation",), who, at, placing, question)


def open_children(conn: Connection, case_id: str, kinds: Sequence[str]) -> list[Row[Any]]:
    """The newest work items of the cases of these kinds that a case has asked for and that are not read yet; one that
    waits for an opinion itself is not.
    """
    parents = select(work_items.c.id).where(work_items.c.case_id == case_id)
    query = select(work_items).where(work_items.c.parent_id.in_(parents), work_items.c.kind.in_(list(kinds)))
    newest = {row.case_id: row for row in conn.execute(query.order_by(work_items.c.seq))}
    still = [row for row in newest.values() if row.state in ups.OPEN or queue.is_set_aside(row)]
    return sorted(still, key=lambda row: (row.created_at, row.id))


def children(conn: Connection, case_id: str) -> list[Row[Any]]:
    """The newest work items of the opinions and consultations that a case has asked for, read or not, oldest first;
    those that were withdrawn are left out.
    """
    parents = select(work_items.c.id).where(work_items.c.case_id == case_id)
    query = select(work_items).where(work_items.c.parent_id.in_(parents), work_items.c.kind.in_(ASKED))
    newest = {row.case_id: row for row in conn.execute(query.order_by(work_items.c.seq))}
    kept = [row for row in newest.values() if row.state != "CANCELED" or queue.is_set_aside(row)]
    return sorted(kept, key=lambda row: (row.created_at, row.id))


def asked_of(conn: Connection, case_id: str) -> Asked | None:
    """What was asked with an opinion or a consultation; None for any other case."""
    query = (
        select(asked_readings, work_items.c.kind, work_items.c.parent_id)
        .join(work_items, work_items.c.case_id == asked_readings.c.case_id)
        .where(asked_readings.c.case_id == case_id)
    )
    row = conn.execute(query.limit(1)).one_or_none()
    if row is None:
        return None
    of_case = conn.scalar(select(work_items.c.case_id).where(work_items.c.id == row.parent_id))
    return Asked(case_id, str(of_case), row.kind, row.question, row.asked_by, row.asked_at)


def is_blind_to(conn: Connection, case_id: str, who: str) -> bool:
    """Whether somebody is reading a case a second time and so must not see its first report yet."""
    return case_id in blind.hidden_cases(conn, who)


def grade(conn: Connection, item_id: str, grade: int, who: str, at: datetime, *, note: str = "") -> None:
    """The second reader, having signed, sees the first report and says how far the two differ; said once.

    Raises:
        InputRejected: ``bad_grade``; ``note_too_long``.
        Conflict: ``not_yours_to_grade``: it is not a second reading that this reader has signed;
            ``no_such_report``; ``already_graded``.
    """
    if grade not in (0, 1, 2, 3):
        raise InputRejected("bad_grade", "A grade is 0, 1, 2 or 3.")
    if len(note) > NOTE_LIMIT:
        raise InputRejected("note_too_long", f"A note has at most {NOTE_LIMIT} characters.")
    item = conn.execute(select(work_items).where(work_items.c.id == item_id).with_for_update()).one_or_none()
    if item is None or item.kind not in _GRADED or item.state != "COMPLETED" or item.claimed_by != who:
        raise Conflict("not_yours_to_grade", "Only who has signed the second reading grades it.")
    first = _report_of(conn, item.parent_id)
    row = {"item_id": item_id, "case_id": first.case_id, "report_id": first.id, "grade": grade, "note": note or None}
    if insert_missing(conn, discrepancies, [row | {"graded_by": who, "graded_at": at}], ["item_id"]) != 1:
        raise Conflict("already_graded", "This second reading has been graded.")
    pool = item.pool or ""
    indicators.note(conn, "discrepancy", at, site_id=item.site_id, pool=pool, label=str(grade), case_id=first.case_id)
    audit.record(
        conn,
        at=at,
        actor=who,
        action="grade",
        object_type="case",
        object_id=first.case_id,
        detail={"grade": grade, "item": item_id, "report": first.id},
    )


def ungraded(conn: Connection, who: str) -> list[Row[Any]]:
    """The second readings that somebody has signed and not graded, the oldest first."""
    known = select(discrepancies.c.item_id)
    query = select(work_items).where(
        blind.BESIDE,
        work_items.c.claimed_by == who,
        work_items.c.state == "COMPLETED",
        work_items.c.kind.in_(_GRADED),
        work_items.c.id.not_in(known),
    )
    return list(conn.execute(query.order_by(work_items.c.ended_at, work_items.c.id)).all())


def compared(conn: Connection, item_id: str, who: str) -> Compared | None:
    """A signed second reading beside the first report: for the second reader, and once it is graded for the first
    one. None for everybody else, and where there is none.
    """
    item = conn.execute(select(work_items).where(work_items.c.id == item_id)).one_or_none()
    if item is None or item.kind not in _GRADED or item.state != "COMPLETED":
        return None
    said = conn.execute(select(discrepancies).where(discrepancies.c.item_id == item_id)).one_or_none()
    known = said is not None
    row = _row_of(conn, said.report_id) if said is not None else _report_of(conn, item.parent_id)
    if who != item.claimed_by and not (known and who == row.signed_by):
        return None
    graded = None if said is None else Feedback(**{name: getattr(said, name) for name in Feedback.__dataclass_fields__})
    seen_at = None if said is None else said.seen_at
    return Compared(item, of_row(row), of_row(_report_of(conn, item_id)), graded, seen_at)


def feedback(conn: Connection, who: str, *, limit: int = 50) -> list[Feedback]:
    """What second readers found in somebody's reports and that reader has not seen yet, the oldest first."""
    query = (
        select(*(discrepancies.c[name] for name in Feedback.__dataclass_fields__))
        .join(reports, reports.c.id == discrepancies.c.report_id)
        .where(reports.c.signed_by == who, discrepancies.c.seen_at.is_(None))
        .order_by(discrepancies.c.graded_at, discrepancies.c.item_id)
    )
    return [Feedback(**row._mapping) for row in conn.execute(query.limit(limit))]


def mark_seen(conn: Connection, item_id: str, who: str, at: datetime) -> bool:
    """The first reader has seen a grade; False when it is not theirs, or seen."""
    theirs = select(reports.c.id).where(reports.c.signed_by == who)
    this = discrepancies.c.item_id == item_id, discrepancies.c.seen_at.is_(None)
    done = conn.execute(update(discrepancies).where(*this, discrepancies.c.report_id.in_(theirs)).values(seen_at=at))
    return done.rowcount == 1


_GRADED = ("second_reading", "review")


def _queue(
    conn: Connection,
    item: Row[Any],
    kind: Kind,
    priority: Priority,
    reasons: tuple[str, ...],
    who: str,
    at: datetime,
    placing: queue.Placing,
    question: str = "",
) -> str:
    """Queue a reading of ``item``'s recording as a case of its own, for anybody but who has read it.

    It has a pool at once: that of the rules, else that of the case which asks. Without one it would be everybody's.
    """
    question = question.strip()
    if len(question) > QUESTION_LIMIT:
        raise InputRejected("question_too_long", f"A question has at most {QUESTION_LIMIT} characters.")
    n = conn.scalar(select(func.count()).where(work_items.c.parent_id == item.id)) or 0
    case_id = hashlib.sha256(f"child\0{item.id}\0{kind}\0{n}".encode()).hexdigest()[:32]
    facts = queue.CaseFacts(
        **{name: getattr(item, name) for name in _FACTS},
        case_id=case_id,
        arrived_at=at,
        kind=kind,
        parent_id=item.id,
        not_for=item.claimed_by if item.claimed_by is not None else who,
    )
    place = placing(facts, priority)
    if place.pool is None:
        place = replace(place, pool=item.pool)
    if kind in _GRADED:
        # no clinic waits for it: it comes after what was promised today
        place = replace(place, due_at=at + WITHIN, order_at=at + WITHIN)
    queue.add_item(conn, facts, Decision(priority, reasons), at, place)
    if kind in ASKED:
        row = {"case_id": case_id, "question": question, "asked_by": who, "asked_at": at}
        conn.execute(insert(asked_readings).values(**row))
    audit.record(
        conn,
        at=at,
        actor=who,
        action="enqueue",
        object_type="case",
        object_id=case_id,
        detail={"kind": kind, "of": item.case_id, "priority": priority},
    )
    return case_id


def _may_withdraw(conn: Connection, asked: Asked, who: str, at: datetime) -> bool:
    return who == asked.asked_by or claims.current(conn, asked.of_case, who, at) is not None


def _row_of(conn: Connection, report_id: str) -> Row[Any]:
    return conn.execute(select(reports).where(reports.c.id == report_id)).one()


def _report_of(conn: Connection, item_id: str) -> Row[Any]:
    """The report that a work item was completed with; where none names it, the case's last."""
    case_id = conn.scalar(select(work_items.c.case_id).where(work_items.c.id == item_id))
    own = (reports.c.item_id == item_id).desc()
    of_case = select(reports).where(reports.c.case_id == case_id, reports.c.kind.in_(["preliminary", "final"]))
    row = conn.execute(of_case.order_by(own, reports.c.version.desc()).limit(1)).one_or_none()
    if row is None:
        raise Conflict("no_such_report", "There is no report to compare with.")
    return row

"""What pages show of readings beside the first one: what was asked, what came of it, two reports compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from teleread.reading import blind, reports, second
from teleread.reading.claims import Claim
from teleread.reading.reports import Report
from teleread.reading.second import Asked
from teleread.reading.worklist import WorkItem
from teleread.web.case_report import display_name
from teleread.web.i18n import N_
from teleread.web.security import Seat

GRADES = {
    "0": N_("I agree"),
    "1": N_("A small difference"),
    "2": N_("A difference that matters"),
    "3": N_("It would have changed the treatment"),
}
"""How far two reports differ; each has a key, its number."""

MAY_WITHDRAW = frozenset({"senior_reader", "coordinator"})
"""Roles that may withdraw what another one has asked."""


@dataclass(frozen=True, slots=True)
class Child:
    """An opinion or a consultation that was asked about the case on the page.

    Args:
        asked_by: as people read it; empty where it must not be named.
        reader: who reads it now; empty while it waits.
        report: what holds of it, once it is signed.
    """

    case_id: str
    kind: str
    question: str
    asked_by: str
    asked_at: datetime
    reader: str
    report: Report | None
    may_withdraw: bool


@dataclass(frozen=True, slots=True)
class Beside:
    """For the template of a case's page.

    Args:
        asked: the question that the case itself answers, where it is an opinion or a consultation.
        asker: who asked it; empty where it must not be named.
        may_opine: whether the viewer may ask a second opinion now; ``may_wait``: and set the case aside for it.
        preliminary: an opinion is open, so that what is signed now is preliminary unless the reader says otherwise.
        to_grade: the work item of a second reading that the viewer has signed.
    """

    children: tuple[Child, ...]
    asked: Asked | None
    asker: str
    is_blind: bool
    may_opine: bool
    may_wait: bool
    may_consult: bool
    preliminary: bool
    to_grade: str


def read(conn: Connection, seat: Seat, item: WorkItem, claim: Claim | None, signed: Sequence[Report]) -> Beside:
    """Read it for a reader's page; her claim on the case, and its reports, are known."""
    graded = item.kind in {"second_reading", "review"}
    children = tuple(_child(conn, seat, row, claim) for row in second.children(conn, item.case_id))
    asked = second.asked_of(conn, item.case_id)
    unnamed = asked is None or blind.hidden_by(conn, item.case_id, seat.name) is not None
    opinion = any(one.kind == "second_opinion" and one.report is None for one in children)
    mine = item.claimed_by == seat.name
    return Beside(
        children=children,
        asked=asked,
        asker="" if asked is None or unnamed else display_name(conn, asked.asked_by),
        is_blind=graded and item.state != "COMPLETED",
        may_opine=claim is not None and not opinion,
        may_wait=item.priority != "urgent",
        may_consult=claim is not None or may_ask(seat, item.claimed_by, signed),
        preliminary=opinion,
        to_grade=item.id if graded and item.state == "COMPLETED" and mine else "",
    )


def may_ask(seat: Seat, claimed_by: str | None, signed: Sequence[Report]) -> bool:
    """Whether somebody may ask specialists about a case: who reads or has read it, and those who look after it."""
    if seat.role in {"senior_reader", "coordinator"}:
        return True
    return claimed_by == seat.name or any(one.signed_by == seat.name for one in signed)


def only_here(one: Report, other: Report, language: str) -> list[str]:
    """The statements of a report that the other one does not make, in words."""
    content = one.content
    said = [] if content is None else content["content"]["statements"]
    there = set(other.statements)
    return [str(each["zh" if language == "zh" else "en"]) for each in said if each["code"] not in there]


@dataclass(frozen=True, slots=True)
class Listed:
    """A second reading in the list of those to grade, or a grade that its first reader has not seen."""

    item_id: str
    receipt: str
    at: datetime
    grade: int | None = None


def _child(conn: Connection, seat: Seat, row: Row[Any], claim: Claim | None) -> Child:
    asked = second.asked_of(conn, row.case_id)
    who = "" if asked is None else asked.asked_by
    holding, _addenda = reports.in_force(reports.reports_of(conn, row.case_id))
    return Child(
        case_id=row.case_id,
        kind=row.kind,
        question="" if asked is None else asked.question,
        asked_by=display_name(conn, who) if who else "",
        asked_at=row.created_at if asked is None else asked.asked_at,
        reader=display_name(conn, row.claimed_by) if row.state == "IN PROGRESS" else "",
        report=holding if row.state == "COMPLETED" else None,
        may_withdraw=row.state == "SCHEDULED" and (seat.role in MAY_WITHDRAW or who == seat.name or claim is not None),
    )

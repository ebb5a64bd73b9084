"""What only a person can decide about who somebody is: asked once, shown until answered. It blocks nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from teleread.reading.paging import Place, Seen, behind
from teleread.reading.persons import person_of
from teleread.storage import audit
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import arrivals, identity_questions, studies

ANSWERS = ("same", "noted", "different")  # noted: the same patient, and what was known of them is right
# what a site may decide about its own patients; the others concern two sites' patients, or the name that all see
OF_ONE_SITE = ("same_id_soon", "other_birth_date", "other_sex", "other_patient_in_study")
_WHETHER_ONE = ("possible_prior", "same_recording")  # answered as soon as the two are linked
CODES = (*OF_ONE_SITE, *_WHETHER_ONE, "other_name")


@dataclass(frozen=True, slots=True)
class Question:
    """One question, without identities. ``case_id`` is the newer arrival's, the one that is in doubt."""

    id: str
    code: str
    site_id: str
    pseudonym: str
    other_pseudonym: str | None
    arrival_id: str | None
    other_arrival_id: str | None
    asked_at: datetime
    answered_at: datetime | None
    answer: str | None
    receipt: str | None
    case_id: str | None
    acquired_at: datetime | None
    other_receipt: str | None
    other_case_id: str | None
    other_acquired_at: datetime | None


def question_id(code: str, *between: str) -> str:
    """The question between these; their order does not matter."""
    return hashlib.sha256("\0".join(("question", code, *sorted(between))).encode()).hexdigest()[:32]


def ask(
    conn: Connection,
    code: str,
    between: Sequence[str],
    *,
    site_id: str,
    pseudonym: str,
    at: datetime,
    other_pseudonym: str | None = None,
    arrival_id: str | None = None,
    other_arrival_id: str | None = None,
) -> bool:
    """Ask unless it was asked before, answered or not.

    Args:
        between: what makes the question this one: two patients, two studies, or one.

    Returns:
        True when it is new.
    """
    key = question_id(code, *between)
    row = {
        "id": key,
        "code": code,
        "site_id": site_id,
        "pseudonym": pseudonym,
        "other_pseudonym": other_pseudonym,
        "arrival_id": arrival_id,
        "other_arrival_id": other_arrival_id,
        "asked_at": at,
    }
    if not insert_missing(conn, identity_questions, [row], ["id"]):
        return False
    audit.record(
        conn,
        at=at,
        actor="teleread",
        action="identity_question",
        object_type="question",
        object_id=key,
        detail={"code": code},
    )
    return True


_OTHER = arrivals.alias("other_arrivals")


def open_questions(
    conn: Connection,
    *,
    site_id: str | None = None,
    seen: Seen | None = None,
    after: Place | None = None,
    limit: int = 50,
) -> list[Question]:
    """Unanswered questions, the oldest first.

    Args:
        site_id: only what this site may decide by itself: about patients and recordings of its own.
        seen: only about cases of which one may be seen, or about none.
        after: the last one of the page before.
    """
    query = _questions().where(identity_questions.c.answered_at.is_(None))
    if site_id is not None:
        query = query.where(_own(site_id))
    if seen is not None:
        one, other = arrivals.c.case_id, _OTHER.c.case_id
        about = [and_(case.is_not(None), seen(case)) for case in (one, other)]
        query = query.where(or_(and_(one.is_(None), other.is_(None)), *about))
    if after is not None:
        query = query.where(behind(identity_questions.c.asked_at, identity_questions.c.id, after))
    query = query.order_by(identity_questions.c.asked_at, identity_questions.c.id).limit(limit)
    return [Question(**row._mapping) for row in conn.execute(query)]


def get_question(conn: Connection, key: str, *, site_id: str | None = None, lock: bool = False) -> Question | None:
    """A question by its id; None when there is none, or when it is not this site's to decide."""
    query = _questions().where(identity_questions.c.id == key)
    if site_id is not None:
        query = query.where(_own(site_id))
    if lock:
        query = query.with_for_update(of=identity_questions)
    row = conn.execute(query).one_or_none()
    return None if row is None else Question(**row._mapping)


def questions_of_case(conn: Connection, case_id: str, *, site_id: str | None = None) -> list[Question]:
    """Unanswered questions about a case's arrivals, whichever side they stand on."""
    ours = select(arrivals.c.id).where(or_(arrivals.c.case_id == case_id, arrivals.c.id == case_id))
    query = _questions().where(
        identity_questions.c.answered_at.is_(None),
        or_(identity_questions.c.arrival_id.in_(ours), identity_questions.c.other_arrival_id.in_(ours)),
    )
    if site_id is not None:
        query = query.where(_own(site_id))
    return [Question(**row._mapping) for row in conn.execute(query.order_by(identity_questions.c.asked_at))]


def close_question(conn: Connection, key: str, *, answer: str, who: str, reason: str | None, at: datetime) -> bool:
    """Write the answer down; False when somebody was first."""
    closed = conn.execute(
        update(identity_questions)
        .where(identity_questions.c.id == key, identity_questions.c.answered_at.is_(None))
        .values(answered_at=at, answered_by=who, answer=answer, reason=reason)
    ).rowcount
    if closed:
        audit.record(
            conn,
            at=at,
            actor=who,
            action="identity_answer",
            object_type="question",
            object_id=key,
            detail={"answer": answer},
        )
    return bool(closed)


def settle_linked(conn: Connection, pseudonym: str, *, who: str, at: datetime) -> None:
    """Close the questions whether two are one person that a link has answered."""
    person = person_of(conn, pseudonym)
    query = select(identity_questions.c.id).where(
        identity_questions.c.code.in_(_WHETHER_ONE),
        identity_questions.c.answered_at.is_(None),
        identity_questions.c.pseudonym.in_(person),
        identity_questions.c.other_pseudonym.in_(person),
    )
    for key in conn.scalars(query).all():
        close_question(conn, key, answer="noted", who=who, reason=None, at=at)


def settle_case(conn: Connection, case_id: str, *, who: str, at: datetime, left: str | None = None) -> None:
    """Close what was asked about a case's own identity, because somebody has now said whose it is.

    Args:
        left: the patient whose the case is no more; whether two recordings of theirs are one patient's is then no
            question either, where this case was the earlier of the two.
    """
    ours = select(arrivals.c.id).where(or_(arrivals.c.case_id == case_id, arrivals.c.id == case_id))
    stale = and_(
        identity_questions.c.code == "same_id_soon",
        identity_questions.c.pseudonym == (left or ""),
        identity_questions.c.other_arrival_id.in_(ours),
    )
    query = select(identity_questions.c.id).where(
        identity_questions.c.code.in_((*OF_ONE_SITE, "same_recording")),
        identity_questions.c.answered_at.is_(None),
        or_(identity_questions.c.arrival_id.in_(ours), stale),
    )
    for key in conn.scalars(query).all():
        close_question(conn, key, answer="noted", who=who, reason=None, at=at)


def open_counts(conn: Connection) -> dict[str, int]:
    """How many questions of each code are unanswered."""
    query = (
        select(identity_questions.c.code, func.count())
        .where(identity_questions.c.answered_at.is_(None))
        .group_by(identity_questions.c.code)
    )
    return dict.fromkeys(CODES, 0) | {str(code): int(n) for code, n in conn.execute(query)}


def _own(site_id: str) -> ColumnElement[bool]:
    return and_(identity_questions.c.site_id == site_id, identity_questions.c.code.in_(OF_ONE_SITE))


def _questions() -> Any:
    other = _OTHER
    study, other_study = studies, studies.alias("other_studies")
    named = {"receipt", "case_id", "acquired_at", "other_receipt", "other_case_id", "other_acquired_at"}
    columns = [identity_questions.c[name] for name in Question.__dataclass_fields__ if name not in named]
    return (
        select(
            *columns,
            arrivals.c.receipt,
            arrivals.c.case_id,
            study.c.acquired_at,
            other.c.receipt.label("other_receipt"),
            other.c.case_id.label("other_case_id"),
            other_study.c.acquired_at.label("other_acquired_at"),
        )
        .outerjoin(arrivals, arrivals.c.id == identity_questions.c.arrival_id)
        .outerjoin(other, other.c.id == identity_questions.c.other_arrival_id)
        .outerjoin(study, study.c.id == arrivals.c.study_id)
        .outerjoin(other_study, other_study.c.id == other.c.study_id)
    )

"""Persons: patients of several issuers who are one and the same, as far as somebody has said so.

A patient is (issuer, id) and stands here by its pseudonym. Two patients are one person when a standing link joins
them, directly or over others: a named person made it, or one valid national id in both. A link can be taken back,
and what a person took back no program makes again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, or_, select, text, update

from teleread.errors import Conflict, InputRejected
from teleread.reading.paging import Place, Seen, behind
from teleread.storage import audit
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import (
    arrivals,
    deletions,
    identity_corrections,
    identity_questions,
    patient_links,
    patients,
    studies,
    work_items,
)

# an id that so many share is a placeholder, not a person; it also bounds every walk over links
LARGEST_PERSON = 64
REASON_LIMIT = 500
NAME_LIMIT = 64
_LOCK_CLASS = 0x7E1E5EB
_MOST_PRIORS = 50
_RECEIPT = re.compile(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}")


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier study of a person, or one that may be."""

    study_id: str
    pseudonym: str
    site_id: str
    modality: str
    acquired_at: datetime
    case_id: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """Two patients that are one person."""

    pseudonym: str
    other_pseudonym: str
    ground: str
    reason: str
    linked_by: str
    linked_at: datetime
    id: int


def person_of(conn: Connection, pseudonym: str) -> frozenset[str]:
    """All patients who are this one's person, itself included.

    Raises:
        Conflict: ``person_too_large``: links join more than anybody can be.
    """
    found, fresh = {pseudonym}, {pseudonym}
    while fresh:
        query = select(patient_links.c.pseudonym, patient_links.c.other_pseudonym).where(
            patient_links.c.unlinked_at.is_(None),
            or_(patient_links.c.pseudonym.in_(fresh), patient_links.c.other_pseudonym.in_(fresh)),
        )
        fresh = {name for row in conn.execute(query) for name in row} - found
        found |= fresh
        if len(found) > 2 * LARGEST_PERSON:
            raise Conflict("person_too_large", "More patients are linked than one person can be.")
    return frozenset(found)


def find_patient(conn: Connection, words: str) -> str:
    """The pseudonym of the patient whom somebody names by it, or by the receipt number of one of its recordings.

    Raises:
        Conflict: ``no_such_patient``; ``no_such_arrival`` for an unknown receipt number; ``arrival_without_patient``
            for one of a recording that says nothing of a patient, or that is not prepared yet.
    """
    receipt = words.strip().upper()
    if _RECEIPT.fullmatch(receipt) is None:
        known = select(patients.c.pseudonym).where(patients.c.pseudonym == words)
        # a version before wrote down no patients beside their studies
        if (
            conn.execute(
                known.union(select(studies.c.patient_pseudonym).where(studies.c.patient_pseudonym == words))
            ).first()
            is None
        ):
            raise Conflict("no_such_patient", "The catalogue has no patient of this pseudonym.")
        return words
    query = select(studies.c.patient_pseudonym).select_from(arrivals).outerjoin(studies)
    found = conn.execute(query.where(arrivals.c.receipt == receipt)).one_or_none()
    if found is None:
        raise Conflict("no_such_arrival", "No arrival has this receipt number.")
    if found.patient_pseudonym is None:
        raise Conflict("arrival_without_patient", "What this receipt number is for names no patient, or not yet.")
    return str(found.patient_pseudonym)


def lock_patients(conn: Connection, pseudonyms: Iterable[str]) -> None:
    """Whoever adds to these patients and whoever decides their deletion take turns; on SQLite all writers do."""
    if conn.dialect.name == "postgresql":
        for name in sorted(pseudonyms):
            conn.execute(
                text("SELECT pg_advisory_xact_lock(:kind, hashtext(:name))"), {"kind": _LOCK_CLASS, "name": name}
            )


def lock_person(conn: Connection, *pseudonyms: str) -> None:
    """:func:`lock_patients` for all who are these patients' persons, before what counts for the whole person is added.

    Raises:
        Conflict: ``being_deleted``: the deletion of one of them has begun; ``person_too_large``.
    """
    locked: set[str] = set()
    while fresh := {name for one in pseudonyms for name in person_of(conn, one)} - locked:
        lock_patients(conn, fresh)
        locked |= fresh
    if conn.execute(select(deletions.c.id).where(deletions.c.pseudonym.in_(locked)).limit(1)).first() is not None:
        raise Conflict("being_deleted", "The deletion of this patient's records has begun.")


def link(conn: Connection, one: str, other: str, *, reason: str, who: str, at: datetime) -> bool:
    """Say that two patients are one person; False when a link already says so directly.

    Raises:
        InputRejected: ``reason_missing`` or ``reason_too_long``.
        Conflict: ``no_such_patient``, ``same_patient``, ``being_deleted`` or ``person_too_large``.
    """
    reason = checked_reason(reason)
    lock_person(conn, one, other)
    _lock(conn, one, other)
    return _link(conn, one, other, "person", reason, who, at)


def link_by_national_id(conn: Connection, one: str, other: str, *, at: datetime) -> bool:
    """Link two patients who have one valid national id.

    Returns:
        False when it is for a person to decide: somebody took a link between the two persons back or said that
        they are different, or they would be more than one person can be. True when they are one person now.

    Raises:
        Conflict: ``no_such_patient`` or ``same_patient``.
    """
    if other in person_of(conn, one):
        return True  # as at nearly every study of theirs: nobody needs to wait
    _lock(conn, one, other)
    ours, theirs = person_of(conn, one), person_of(conn, other)
    if len(ours) + len(theirs) > LARGEST_PERSON or _said_different(conn, ours, theirs):
        return False
    if other not in ours:
        _link(conn, one, other, "national_id", "one valid national id", "teleread", at)
    return True


def unlink(conn: Connection, one: str, other: str, *, reason: str, who: str, at: datetime) -> None:
    """Take the direct link between two patients back.

    Raises:
        InputRejected: ``reason_missing`` or ``reason_too_long``.
        Conflict: ``no_such_link`` or ``no_such_patient``.
    """
    reason = checked_reason(reason)
    _lock(conn, one, other)
    less, greater = sorted((one, other))
    undone = conn.execute(
        update(patient_links)
        .where(_pair(less, greater), patient_links.c.unlinked_at.is_(None))
        .values(unlinked_by=who, unlinked_at=at, unlinked_reason=reason)
    ).rowcount
    if not undone:
        raise Conflict("no_such_link", "These two are not linked directly.")
    _record(conn, at, who, "unlink", less, greater, {})


def standing_links(
    conn: Connection,
    pseudonyms: Iterable[str] | None = None,
    limit: int = 50,
    *,
    seen: Seen | None = None,
    after: Place | None = None,
) -> list[Link]:
    """Links that stand, the newest first; of the given patients, or of all.

    Args:
        seen: only of patients of whose cases one may be seen, or who have none.
        after: the last one of the page before.
    """
    query = select(*(patient_links.c[name] for name in Link.__dataclass_fields__))
    query = query.where(patient_links.c.unlinked_at.is_(None))
    if pseudonyms is not None:
        these = list(pseudonyms)
        query = query.where(or_(patient_links.c.pseudonym.in_(these), patient_links.c.other_pseudonym.in_(these)))
    if seen is not None:
        theirs = work_items.alias("of_two")
        both = theirs.c.patient_pseudonym.in_([patient_links.c.pseudonym, patient_links.c.other_pseudonym])
        cases = select(theirs.c.id).where(both).correlate(patient_links)
        query = query.where(or_(~cases.exists(), cases.where(seen(theirs.c.case_id)).exists()))
    if after is not None:
        query = query.where(behind(patient_links.c.linked_at, patient_links.c.id, after, newest_first=True))
    query = query.order_by(patient_links.c.linked_at.desc(), patient_links.c.id.desc()).limit(limit)
    return [Link(**row._mapping) for row in conn.execute(query)]


def priors(conn: Connection, pseudonym: str, before: datetime) -> list[Prior]:
    """The person's earlier studies, the newest first: what a comparison may use.

    A study without a time of its own is in no order, and one whose identity is under correction is nobody's: both
    are left out.

    Args:
        before: aware; earlier than this.
    """
    return _studies(conn, person_of(conn, pseudonym), before)


def possible_priors(conn: Connection, pseudonym: str, before: datetime) -> list[Prior]:
    """Earlier studies of patients with the same name and birth date, about whom nobody has decided.

    They are listed apart and labelled; no comparison may use them.
    """
    person = person_of(conn, pseudonym)
    query = select(identity_questions.c.pseudonym, identity_questions.c.other_pseudonym).where(
        identity_questions.c.code == "possible_prior",
        identity_questions.c.answered_at.is_(None),
        or_(identity_questions.c.pseudonym.in_(person), identity_questions.c.other_pseudonym.in_(person)),
    )
    others: set[str] = set()
    for name in {str(name) for row in conn.execute(query) for name in row} - person:
        others |= person_of(conn, name)
    return _studies(conn, others - person, before)


def checked_reason(reason: str) -> str:
    """The reason that somebody gives for an act.

    Raises:
        InputRejected: ``reason_missing`` or ``reason_too_long``.
    """
    text = " ".join(reason.replace("\0", " ").split())
    if not text:
        raise InputRejected("reason_missing", "Say why.")
    if len(text) > REASON_LIMIT:
        raise InputRejected("reason_too_long", f"A reason has at most {REASON_LIMIT} characters.")
    return text


def checked_name(who: str) -> str:
    """The name of the person who decides.

    Raises:
        InputRejected: ``name_missing`` or ``name_too_long``.
    """
    name = who.strip()
    if not name:
        raise InputRejected("name_missing", "A named person decides.")
    if len(name) > NAME_LIMIT:
        raise InputRejected("name_too_long", f"A name has at most {NAME_LIMIT} characters.")
    return name


def _studies(conn: Connection, pseudonyms: Iterable[str], before: datetime) -> list[Prior]:
    names = list(pseudonyms)
    if not names:
        return []
    case_id = (
        select(arrivals.c.case_id)
        .where(arrivals.c.study_id == studies.c.id, arrivals.c.case_id.is_not(None))
        .order_by(arrivals.c.arrived_at)
        .limit(1)
        .correlate(studies)
        .scalar_subquery()
    )
    disputed = (
        select(arrivals.c.id)
        .join(
            identity_corrections,
            and_(
                identity_corrections.c.case_id.in_([arrivals.c.case_id, arrivals.c.id]),
                identity_corrections.c.closed_at.is_(None),
            ),
        )
        .where(arrivals.c.study_id == studies.c.id)
        .correlate(studies)
        .exists()
    )
    query = (
        select(
            studies.c.id.label("study_id"),
            studies.c.patient_pseudonym.label("pseudonym"),
            studies.c.site_id,
            studies.c.modality,
            studies.c.acquired_at,
            case_id.label("case_id"),
        )
        .where(studies.c.patient_pseudonym.in_(names), studies.c.acquired_at < before, ~disputed)
        .order_by(studies.c.acquired_at.desc(), studies.c.id)
        .limit(_MOST_PRIORS)
    )
    return [Prior(**row._mapping) for row in conn.execute(query)]


def _lock(conn: Connection, one: str, other: str) -> None:
    """Who decides about one of the two now goes before us or after us."""
    if one == other:
        raise Conflict("same_patient", "These are one patient already.")
    query = select(patients.c.pseudonym).where(patients.c.pseudonym.in_([one, other]))
    if len(conn.execute(query.order_by(patients.c.pseudonym).with_for_update()).all()) != 2:
        raise Conflict("no_such_patient", "No patient has this pseudonym.")


def _link(conn: Connection, one: str, other: str, ground: str, reason: str, who: str, at: datetime) -> bool:
    ours, theirs = person_of(conn, one), person_of(conn, other)
    if other not in ours and len(ours) + len(theirs) > LARGEST_PERSON:
        raise Conflict("person_too_large", "More patients would be linked than one person can be.")
    less, greater = sorted((one, other))
    row = {
        "pseudonym": less,
        "other_pseudonym": greater,
        "ground": ground,
        "reason": reason,
        "linked_by": who,
        "linked_at": at,
    }
    if _standing(conn, less, greater) is not None:
        return False
    conn.execute(insert(patient_links).values(**row))
    _record(conn, at, who, "link", less, greater, {"ground": ground})
    return True


def _standing(conn: Connection, less: str, greater: str) -> Row[Any] | None:
    query = select(patient_links.c.id).where(_pair(less, greater), patient_links.c.unlinked_at.is_(None))
    return conn.execute(query).one_or_none()


def _said_different(conn: Connection, ours: frozenset[str], theirs: frozenset[str]) -> bool:
    """Whether a person once parted any two across the two groups, by a link taken back or by an answer."""
    taken_back = select(patient_links.c.id).where(
        patient_links.c.unlinked_at.is_not(None), _across(patient_links.c, ours, theirs)
    )
    answered = select(identity_questions.c.id).where(
        identity_questions.c.code == "possible_prior",
        identity_questions.c.answer == "different",
        _across(identity_questions.c, ours, theirs),
    )
    return any(conn.execute(query.limit(1)).first() is not None for query in (taken_back, answered))


def _across(columns: Any, ours: frozenset[str], theirs: frozenset[str]) -> ColumnElement[bool]:
    one, other = columns.pseudonym, columns.other_pseudonym
    return or_(and_(one.in_(ours), other.in_(theirs)), and_(one.in_(theirs), other.in_(ours)))


def _pair(less: str, greater: str) -> ColumnElement[bool]:
    return and_(patient_links.c.pseudonym == less, patient_links.c.other_pseudonym == greater)


def _record(
    conn: Connection, at: datetime, who: str, action: str, less: str, greater: str, detail: dict[str, str]
) -> None:
    audit.record(
        conn,
        at=at,
        actor=who,
        action=action,
        object_type="patient",
        object_id=less,
        detail={"other": greater, **detail},
    )


def know_patients(conn: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Add patients that are not known yet: ``pseudonym``, ``site_id``, ``first_seen_at``, ``identified``."""
    # in one order everywhere, so that two who add the same wait for each other instead of blocking each other
    insert_missing(conn, patients, sorted(rows, key=lambda row: str(row["pseudonym"])), ["pseudonym"])

"""Answering a question about who somebody is, and linking and unlinking: by a named person, with a reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from teleread.errors import AccessDenied, Conflict, InputRejected
from teleread.pipeline.identity_corrections import begin_correction
from teleread.pipeline.services import Services
from teleread.reading import notices, persons, questions
from teleread.reading.corrections import family
from teleread.reading.questions import ANSWERS, Question

_FIELDS = {"other_birth_date": "birth_date", "other_sex": "sex", "other_name": "name"}


def answer(
    services: Services, question_id: str, *, answer: str, reason: str, who: str, site_id: str | None = None
) -> str | None:
    """Answer a question once.

    "Same" links two patients, or accepts the stated name, birth date or sex as the patient's; "noted" keeps the known
    one; "different" leaves two patients apart, or puts the newer case's identity under correction.

    Args:
        answer: one of :data:`~teleread.reading.questions.ANSWERS`.
        site_id: of a clinic's account, which answers for its own patients alone.

    Returns:
        The case that is under correction now, if any.

    Raises:
        InputRejected: ``answer_unknown``, ``reason_missing`` or ``reason_too_long``.
        AccessDenied: ``not_found``.
        Conflict: ``question_answered``; those of ``persons.link``.
        StorageError: the catalogue or the vault did not take it; the question stays open.
    """
    if answer not in ANSWERS:
        raise InputRejected("answer_unknown", "A question is answered with same, noted or different.")
    reason = persons.checked_reason(reason)
    with services.catalogue.read() as conn:
        question = _unanswered(questions.get_question(conn, question_id, site_id=site_id))
        before = notices.viewers(conn, family(conn, question.case_id)) if question.case_id else None
    if question.code in _FIELDS and answer != "different":
        _settle_field(services, question, answer, who)
    elif question.code not in _FIELDS and answer == "noted":
        raise InputRejected("answer_unknown", "This question is answered with same or different.")
    now = services.clock()
    with services.catalogue.write() as conn:
        question = _unanswered(questions.get_question(conn, question_id, site_id=site_id, lock=True))
        questions.close_question(conn, question_id, answer=answer, who=who, reason=reason, at=now)
        if question.other_pseudonym is not None and answer == "same":
            persons.link(conn, question.pseudonym, question.other_pseudonym, reason=reason, who=who, at=now)
            questions.settle_linked(conn, question.pseudonym, who=who, at=now)
        elif question.code != "possible_prior" and answer == "different" and question.case_id is not None:
            begin_correction(conn, question.case_id, reason=reason, who=who, from_site=site_id, at=now, before=before)
            return question.case_id
    return None


def link(services: Services, one: str, other: str, *, reason: str, who: str) -> bool:
    """Say that two patients are one person, and close the questions that this answers; see ``persons.link``."""
    now = services.clock()
    with services.catalogue.write() as conn:
        made = persons.link(conn, one, other, reason=reason, who=who, at=now)
        questions.settle_linked(conn, one, who=who, at=now)
    return made


def unlink(services: Services, one: str, other: str, *, reason: str, who: str) -> None:
    """Take a link back; see ``persons.unlink``."""
    with services.catalogue.write() as conn:
        persons.unlink(conn, one, other, reason=reason, who=who, at=services.clock())


def _settle_field(services: Services, question: Question, answer: str, who: str) -> None:
    """Tell the vault before the answer stands: what is settled twice is settled, an answer alone would be lost."""
    field, at = _FIELDS[question.code], services.clock()
    cases = [question.case_id] if question.case_id else []
    joined = services.vault.join([question.pseudonym], who=who, why="identity_answer", case_ids=cases, at=at)
    identity = joined.get(question.pseudonym)
    if identity is None:
        raise Conflict("no_such_patient", "No patient has this pseudonym.")
    stated = [one for one in identity.stated if one.field == field and question.arrival_id in one.arrivals]
    if not stated:
        return  # it holds already, or nothing else was stated after all
    what = stated[-1]
    if answer == "noted":
        known = getattr(identity, field)
        what = replace(what, value=known.isoformat() if isinstance(known, date) else known)
    services.vault.accept(question.pseudonym, what, who=who, why="identity_answer", at=at)


def _unanswered(question: Question | None) -> Question:
    if question is None:
        raise AccessDenied("not_found", "There is nothing here.")
    if question.answered_at is not None:
        raise Conflict("question_answered", "Somebody has answered this question.")
    return question

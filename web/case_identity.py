"""What a page says about whose a case is, beyond the name: corrections, questions, contradictions, other studies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from teleread.errors import Conflict
from teleread.reading import conflicts, corrections, persons, questions
from teleread.reading.conflicts import ConflictRow
from teleread.reading.corrections import Corrected, Correction
from teleread.reading.persons import Prior
from teleread.reading.questions import Question
from teleread.reading.reports import given_back
from teleread.reading.same import SameRow, same_of_case
from teleread.reading.worklist import WorkItem


@dataclass(frozen=True, slots=True)
class CaseIdentity:
    """What the catalogue knows about a case's identity, without the identity."""

    correction: Correction | None
    corrected: Corrected | None  # it names another patient than it did when it came
    given_back: bool  # a report of the case has left already
    questions: tuple[Question, ...]
    conflicts: tuple[ConflictRow, ...]
    same: tuple[SameRow, ...]  # arrivals of the same recording
    priors: tuple[Prior, ...]
    possible_priors: tuple[Prior, ...]


def read(conn: Connection, item: WorkItem, acquired_at: datetime | None, now: datetime) -> CaseIdentity:
    """Read it for a reader's page."""
    earlier: tuple[Prior, ...] = ()
    possible: tuple[Prior, ...] = ()
    correction = corrections.open_correction(conn, item.case_id)
    # of a case under correction nobody knows whose earlier studies would be
    if item.patient_pseudonym is not None and correction is None:
        before = acquired_at or now
        try:
            earlier = tuple(persons.priors(conn, item.patient_pseudonym, before))
            possible = tuple(persons.possible_priors(conn, item.patient_pseudonym, before))
        except Conflict:
            pass  # linked beyond measure: no study is called theirs
    return CaseIdentity(
        correction=correction,
        corrected=corrections.last_corrected(conn, item.case_id),
        given_back=given_back(conn, item.case_id),
        questions=tuple(questions.questions_of_case(conn, item.case_id)),
        conflicts=tuple(conflicts.conflicts_of_case(conn, item.case_id)),
        same=tuple(same_of_case(conn, item.case_id)),
        priors=tuple(one for one in earlier if one.study_id != item.study_id),
        possible_priors=possible,
    )

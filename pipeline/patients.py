"""What prepare notes about the patient of an arrival: links that follow from a national id, and questions to people.

Nothing here stops an arrival: a contradiction is written down, shown and left to a person.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from teleread.errors import Conflict
from teleread.reading import persons, questions
from teleread.reading.corrections import was_corrected
from teleread.storage.catalogue.schema import arrivals, patients, studies
from teleread.storage.vault import Enrolled

SOON = timedelta(minutes=10)
# names such as "unknown" with a placeholder birth date match everybody; the rest is asked when they come again
_MOST_POSSIBLE = 16


def note_patient(
    conn: Connection,
    *,
    enrolled: Enrolled,
    identified: bool,
    arrival_id: str,
    site_id: str,
    study_id: str,
    acquired_at: datetime | None,
    at: datetime,
    once: bool = False,
) -> None:
    """Note whose an arrival is, in the transaction that writes its study; the same arrival again changes nothing.

    Args:
        enrolled: the vault's answer for this arrival.
        identified: the study stated an identifier.
        study_id: written already; what belongs to one study is never asked about among itself.
        acquired_at: aware, as far as the study says.
        once: it is an earlier recording of the patient's once more, so that nobody wonders why they are so near.
    """
    own = enrolled.pseudonym
    others = sorted({*enrolled.same_national_id, *enrolled.same_name_and_birth, *enrolled.doubtful_national_id} - {own})
    _know(conn, own, others, site_id, identified, at)
    about: dict[str, Any] = {"site_id": site_id, "pseudonym": own, "arrival_id": arrival_id, "at": at}
    asked = _link_or_ask(conn, own, sorted(set(enrolled.same_national_id) - {own}), about)
    # one number for two people: a newborn under its mother's, perhaps; only a person can tell
    asked |= _ask_possible(conn, own, sorted(enrolled.doubtful_national_id), about)
    same_name = [name for name in others if name in set(enrolled.same_name_and_birth)]
    _ask_possible(conn, own, [name for name in same_name if name not in asked], about)
    standing = conn.scalar(select(studies.c.patient_pseudonym).where(studies.c.id == study_id))
    if standing is not None and standing != own:
        if not was_corrected(conn, study_id, own, standing):
            questions.ask(conn, "other_patient_in_study", [study_id, own, standing], other_pseudonym=standing, **about)
        return  # what this arrival says of itself does not count for the study
    for field in ("name", "birth_date", "sex"):
        if field in enrolled.changed:
            questions.ask(conn, f"other_{field}", [study_id], **about)
    if not once:
        _ask_if_soon(conn, study_id, acquired_at, about)


def _know(conn: Connection, own: str, others: list[str], site_id: str, identified: bool, at: datetime) -> None:
    """The patients' rows. Another's may be missing while its own first study is still being written."""
    rows = [{"pseudonym": own, "site_id": site_id, "first_seen_at": at, "identified": identified}]
    rows += [{"pseudonym": name, "site_id": "", "first_seen_at": at, "identified": True} for name in others]
    persons.know_patients(conn, rows)
    conn.execute(
        update(patients)
        .where(patients.c.pseudonym == own, patients.c.site_id == "")
        .values(site_id=site_id, first_seen_at=at, identified=identified)
    )


def _link_or_ask(conn: Connection, own: str, others: list[str], about: dict[str, Any]) -> set[str]:
    asked = set()
    for other in others:
        try:
            if persons.link_by_national_id(conn, own, other, at=about["at"]):
                questions.settle_linked(conn, own, who="teleread", at=about["at"])
                continue
        except Conflict:
            pass  # too many for one person: a placeholder for an id, perhaps; a person decides
        questions.ask(conn, "possible_prior", [own, other], other_pseudonym=other, **about)
        asked.add(other)
    return asked


def _ask_possible(conn: Connection, own: str, others: list[str], about: dict[str, Any]) -> set[str]:
    try:
        person = persons.person_of(conn, own)
    except Conflict:
        person = frozenset({own})
    asked = [name for name in others if name not in person][:_MOST_POSSIBLE]
    for other in asked:
        questions.ask(conn, "possible_prior", [own, other], other_pseudonym=other, **about)
    return set(asked)


def _ask_if_soon(conn: Connection, study_id: str, acquired_at: datetime | None, about: dict[str, Any]) -> None:
    """Ask about the nearest other study of the patient at the site, when it is within ten minutes.

    Recording times are compared where both studies have one, for an archive that is fetched arrives all at once;
    else the times of arrival.
    """
    arrived_at = conn.scalar(select(arrivals.c.arrived_at).where(arrivals.c.id == about["arrival_id"]))
    if arrived_at is None:
        return
    landed = arrivals.c.arrived_at.between(arrived_at - SOON, arrived_at + SOON)
    near: ColumnElement[bool] = landed
    if acquired_at is not None:
        recorded = studies.c.acquired_at.between(acquired_at - SOON, acquired_at + SOON)
        near = or_(recorded, and_(studies.c.acquired_at.is_(None), landed))
    query = (
        select(studies.c.id, func.min(arrivals.c.id).label("arrival_id"))
        .join(arrivals, arrivals.c.study_id == studies.c.id)
        .where(
            studies.c.patient_pseudonym == about["pseudonym"],
            studies.c.site_id == about["site_id"],
            studies.c.id != study_id,
            near,
        )
        .group_by(studies.c.id, studies.c.created_at)
        .order_by(studies.c.created_at.desc(), studies.c.id)
        .limit(1)
    )
    other = conn.execute(query).one_or_none()
    if other is not None:
        questions.ask(conn, "same_id_soon", [study_id, other.id], other_arrival_id=other.arrival_id, **about)

"""Whose patient has refused: what is known of consent, and what it keeps from leaving for research.

A refusal holds for all that is read with the arrival of which it was said: its case, its study, and the same recording
where it came once more. It stands until the form that said it says otherwise, whatever other forms say. It never
touches reading: who refuses is read like everybody else.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Connection, exists, or_, select, union

from teleread.storage.catalogue.schema import arrivals, clinic_forms, same_recordings

REFUSED = "no"


def refuses(conn: Connection, arrival_id: str, *, study_id: str | None = None, same_as: Collection[str] = ()) -> bool:
    """Whether a form of what is read with an arrival says no.

    Args:
        study_id: the arrival's, where its row does not say it yet.
        same_as: arrivals of the same recording that no row links yet.
    """
    linked = [(same_recordings.c.arrival_id, same_recordings.c.other_arrival_id)]
    linked += [(there, here) for here, there in linked]
    seeds = {arrival_id, *same_as}
    for here, there in linked:
        seeds.update(conn.scalars(select(there).where(here == arrival_id)))
    said = select(clinic_forms.c.arrival_id).join(arrivals, arrivals.c.id == clinic_forms.c.arrival_id)
    said = said.where(clinic_forms.c.consent == REFUSED, _read_with(conn, seeds, study_id))
    return conn.execute(said.limit(1)).first() is not None


def covered(conn: Connection, arrival_id: str) -> ColumnElement[bool]:
    """A condition on arrivals: those for which a form of this arrival speaks."""
    ours = select(arrivals.c.id).where(_read_with(conn, {arrival_id}, None))
    there = select(same_recordings.c.other_arrival_id).where(same_recordings.c.arrival_id.in_(ours))
    here = select(same_recordings.c.arrival_id).where(same_recordings.c.other_arrival_id.in_(ours))
    return or_(arrivals.c.id.in_(ours), arrivals.c.id.in_(there), arrivals.c.id.in_(here))


def refused_arrivals() -> CompoundSelect[Any]:
    """The ids of all arrivals that are under a refusal."""
    said, one = arrivals.alias("said"), arrivals.alias("one")
    ways = (
        one.c.id == said.c.id,
        one.c.case_id == said.c.case_id,
        one.c.id == said.c.case_id,
        one.c.case_id == said.c.id,
        one.c.study_id == said.c.study_id,
    )
    forms = clinic_forms.join(said, said.c.id == clinic_forms.c.arrival_id)
    no = clinic_forms.c.consent == REFUSED
    ours = union(*(select(one.c.id).select_from(forms.join(one, way)).where(no) for way in ways)).subquery()
    same = same_recordings
    return union(
        select(ours.c.id),
        select(same.c.other_arrival_id).join(ours, ours.c.id == same.c.arrival_id),
        select(same.c.arrival_id).join(ours, ours.c.id == same.c.other_arrival_id),
    )


def is_answered() -> ColumnElement[bool]:
    """A condition on arrivals: a form of what is read with it answers the question, one way or another."""
    said = arrivals.alias("answered")
    here = said.c.id.in_((arrivals.c.id, arrivals.c.case_id))
    beside = or_(
        said.c.case_id.in_((arrivals.c.id, arrivals.c.case_id)),
        said.c.study_id == arrivals.c.study_id,
    )
    form = clinic_forms.join(said, said.c.id == clinic_forms.c.arrival_id)
    return exists().select_from(form).where(clinic_forms.c.consent.is_not(None), or_(here, beside))


def _read_with(conn: Connection, ids: Collection[str], study_id: str | None) -> ColumnElement[bool]:
    rows = conn.execute(select(arrivals.c.case_id, arrivals.c.study_id).where(arrivals.c.id.in_(list(ids)))).all()
    cases = {*ids, *(row.case_id for row in rows if row.case_id is not None)}
    of = {one for one in (study_id, *(row.study_id for row in rows)) if one is not None}
    return or_(arrivals.c.id.in_(cases), arrivals.c.case_id.in_(cases), arrivals.c.study_id.in_(of))

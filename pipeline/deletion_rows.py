"""Which rows are a patient's, and in which order they go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, func, or_, select

from teleread.storage.catalogue.schema import (
    acknowledgements,
    alarms,
    arrivals,
    asked_readings,
    break_glass,
    case_openings,
    clinic_forms,
    conflicts,
    critical_steps,
    criticals,
    deliveries,
    derived,
    discrepancies,
    drafts,
    encounters,
    fingerprints,
    flag_verdicts,
    identity_corrections,
    identity_questions,
    indicator_events,
    instances,
    item_events,
    legal_holds,
    notices,
    patient_links,
    patients,
    pull_ledger,
    quarantine,
    recordings,
    reports,
    same_recordings,
    series,
    studies,
    timers,
    work_items,
)


@dataclass(frozen=True, slots=True)
class Study:
    """A study with the ids of its arrivals and of the cases that it was read as."""

    id: str
    arrivals: tuple[str, ...]
    cases: tuple[str, ...]


def studies_of(conn: Connection, pseudonym: str) -> Iterator[Study]:
    """A patient's studies."""
    for study_id in conn.scalars(
        select(studies.c.id).where(studies.c.patient_pseudonym == pseudonym).order_by(studies.c.id)
    ):
        rows = conn.execute(
            select(arrivals.c.id, arrivals.c.case_id).where(arrivals.c.study_id == study_id).order_by(arrivals.c.id)
        ).all()
        ids = tuple(row.id for row in rows)
        items = select(work_items.c.case_id).where(
            or_(work_items.c.study_id == study_id, work_items.c.arrival_id.in_(ids))
        )
        cases = {study_id, *ids, *(row.case_id for row in rows if row.case_id), *conn.scalars(items)}
        yield Study(study_id, ids, tuple(sorted(cases)))


def delete_study(conn: Connection, study: Study) -> dict[str, int]:
    """Remove a study's rows, those that refer to others first; returns how many of each table.

    The rows of objects stay; the caller knows which are shared.
    """
    ours = study.arrivals
    cases = study.cases
    in_reports = list(conn.scalars(select(reports.c.id).where(reports.c.case_id.in_(cases))))
    in_series = list(conn.scalars(select(series.c.id).where(series.c.study_id == study.id)))
    order: tuple[tuple[Table, ColumnElement[bool]], ...] = (
        *_reading_room(conn, cases),
        (deliveries, deliveries.c.report_id.in_(in_reports)),
        (acknowledgements, acknowledgements.c.report_id.in_(in_reports)),
        (discrepancies, discrepancies.c.report_id.in_(in_reports)),
        (reports, reports.c.id.in_(in_reports)),
        (notices, notices.c.case_id.in_(cases)),
        (identity_corrections, identity_corrections.c.case_id.in_(cases)),
        (
            identity_questions,
            or_(identity_questions.c.arrival_id.in_(ours), identity_questions.c.other_arrival_id.in_(ours)),
        ),
        (case_openings, case_openings.c.case_id.in_(cases)),
        (clinic_forms, clinic_forms.c.arrival_id.in_(ours)),
        (work_items, or_(work_items.c.case_id.in_(cases), work_items.c.arrival_id.in_(ours))),
        (conflicts, or_(conflicts.c.arrival_id.in_(ours), conflicts.c.other_arrival_id.in_(ours))),
        (quarantine, quarantine.c.arrival_id.in_(ours)),
        (instances, instances.c.arrival_id.in_(ours)),
        (series, series.c.id.in_(in_series)),
        (recordings, recordings.c.arrival_id.in_(ours)),
        (same_recordings, or_(same_recordings.c.arrival_id.in_(ours), same_recordings.c.other_arrival_id.in_(ours))),
        (fingerprints, fingerprints.c.arrival_id.in_(ours)),
        (derived, derived.c.arrival_id.in_(ours)),
        # also what stands for reports that a PACS listed back
        (pull_ledger, pull_ledger.c.arrival_id.in_([*ours, *in_reports])),
        (arrivals, arrivals.c.id.in_(ours)),
        (studies, studies.c.id == study.id),
    )
    return _deleted(conn, order)


def _reading_room(conn: Connection, cases: tuple[str, ...]) -> tuple[tuple[Table, ColumnElement[bool]], ...]:
    """What was said and done about the cases while they were read, and about readings of them beside the first."""
    items = list(conn.scalars(select(work_items.c.id).where(work_items.c.case_id.in_(cases))))
    found = list(conn.scalars(select(criticals.c.id).where(criticals.c.case_id.in_(cases))))
    subjects = [*items, *found, *cases]

    def about(table: Table) -> ColumnElement[bool]:
        # some add a part of their own to the id of what they are about
        return func.substr(table.c.subject, 1, _ID_LENGTH).in_(subjects)

    return (
        (critical_steps, critical_steps.c.critical_id.in_(found)),
        (criticals, criticals.c.id.in_(found)),
        (timers, about(timers)),
        (alarms, about(alarms)),
        (item_events, item_events.c.case_id.in_(cases)),
        (indicator_events, indicator_events.c.case_id.in_(cases)),
        (drafts, drafts.c.case_id.in_(cases)),
        (asked_readings, asked_readings.c.case_id.in_(cases)),
        (flag_verdicts, flag_verdicts.c.case_id.in_(cases)),
        (discrepancies, discrepancies.c.item_id.in_(items)),
        (break_glass, break_glass.c.case_id.in_(cases)),
    )


_ID_LENGTH = 32


def delete_patient(conn: Connection, pseudonym: str) -> dict[str, int]:
    """Remove what is left of a patient when the studies are gone."""

    def either(table: Table) -> ColumnElement[bool]:
        return or_(table.c.pseudonym == pseudonym, table.c.other_pseudonym == pseudonym)

    order: tuple[tuple[Table, ColumnElement[bool]], ...] = (
        (identity_questions, either(identity_questions)),
        (
            identity_corrections,
            or_(identity_corrections.c.pseudonym == pseudonym, identity_corrections.c.new_pseudonym == pseudonym),
        ),
        (patient_links, either(patient_links)),
        (encounters, encounters.c.pseudonym == pseudonym),
        (legal_holds, legal_holds.c.pseudonym == pseudonym),
        (patients, patients.c.pseudonym == pseudonym),
    )
    return _deleted(conn, order)


def _deleted(conn: Connection, order: tuple[tuple[Table, ColumnElement[bool]], ...]) -> dict[str, int]:
    counts: dict[str, Any] = {}
    for table, condition in order:
        counts[table.name] = counts.get(table.name, 0) + conn.execute(delete(table).where(condition)).rowcount
    return counts

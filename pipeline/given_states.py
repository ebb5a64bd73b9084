"""What a site has been given back, as one word for each receipt: it changes whenever the files would say another thing.

A clinic's agent asks for many receipts at once and fetches only what has another word than before, so a version that
is signed after weeks, a withdrawal or a corrected identity costs the line a few bytes until it is there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select

from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals, deliveries, identity_corrections, reports, studies, work_items

AT_ONCE = 64
"""Receipts in one question."""


@dataclass(frozen=True, slots=True)
class GivenState:
    """What was given back under one receipt: the word, and whether a newest version is critical."""

    word: str
    critical: bool


def given_states(services: Services, site_id: str, receipts: Sequence[str]) -> dict[str, GivenState]:
    """The state of each of these receipts of the site under which a report was given back; the others are left out.

    The word follows from the versions given back, those of consultations with them, whether whose recording it is is
    being corrected, how often that was, and whose it is now.
    """
    query = (
        select(arrivals.c.receipt, arrivals.c.id, arrivals.c.case_id, studies.c.patient_pseudonym)
        .outerjoin(studies, studies.c.id == arrivals.c.study_id)
        .where(arrivals.c.site_id == site_id, arrivals.c.receipt.in_(list(receipts)[:AT_ONCE]))
    )
    with services.catalogue.read() as conn:
        rows = conn.execute(query).all()
        cases = list({one for row in rows for one in (row.case_id, row.id) if one is not None})
        beside = _consultations(conn, cases)
        given = _given(conn, [*cases, *(one for many in beside.values() for one in many)])
        corrections = _corrections(conn, cases)
    found = {}
    for row in rows:
        versions = given.get(row.case_id or "") or given.get(row.id)
        if versions:
            asked = [given[one] for one in beside.get(row.case_id, ()) if one in given]
            ids = [one for many in (versions, *asked) for one, _ in many]
            settled = [str(corrections.get(one, (0, 0))) for one in (row.case_id, row.id) if one is not None]
            word = hashlib.sha256("\0".join([*ids, *settled, row.patient_pseudonym or ""]).encode()).hexdigest()[:32]
            found[row.receipt] = GivenState(word, any(many[-1][1] for many in (versions, *asked)))
    return found


def _given(conn: Connection, cases: list[str]) -> dict[str, list[tuple[str, bool]]]:
    """By case, the versions that were given back and whether they are critical, oldest first."""
    query = (
        select(reports.c.case_id, reports.c.id, reports.c.critical)
        .join(deliveries, deliveries.c.report_id == reports.c.id)
        .where(reports.c.case_id.in_(cases), deliveries.c.delivered_at.is_not(None))
        .order_by(reports.c.version)
    )
    found: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for row in conn.execute(query):
        found[row.case_id].append((row.id, bool(row.critical)))
    return found


def _consultations(conn: Connection, cases: list[str]) -> dict[str, list[str]]:
    """By case, the cases of the consultations that were asked for."""
    asker = work_items.alias()
    query = (
        select(asker.c.case_id, work_items.c.case_id)
        .join(asker, asker.c.id == work_items.c.parent_id)
        .where(asker.c.case_id.in_(cases), work_items.c.kind == "consultation")
        .distinct()
        .order_by(work_items.c.case_id)
    )
    found: dict[str, list[str]] = defaultdict(list)
    for row in conn.execute(query):
        found[row[0]].append(row[1])
    return found


def _corrections(conn: Connection, cases: list[str]) -> dict[str, tuple[int, int]]:
    """By case, how many corrections of its identity are open and how many gave it another one."""
    table = identity_corrections.c
    is_open = func.sum(case((table.closed_at.is_(None), 1), else_=0))
    corrected = func.sum(case((table.outcome == "corrected", 1), else_=0))
    query = select(table.case_id, is_open, corrected).where(table.case_id.in_(cases)).group_by(table.case_id)
    return {row[0]: (int(row[1]), int(row[2])) for row in conn.execute(query)}

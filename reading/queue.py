"""Work items: the rows of the reading queue, written inside the caller's transaction.

States are those of the Unified Procedure Step (PS3.4 CC.1.1): SCHEDULED, IN PROGRESS, COMPLETED, CANCELED. A case
owns successive work items, numbered by ``seq``.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, func, select, update

from teleread.alliance import PRIORITIES, Priority
from teleread.reading.priority import Decision, higher
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import work_items


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What the queue shows of a case. ``arrived_at`` is when its first bytes landed."""

    case_id: str
    site_id: str
    modality: str
    arrival_id: str
    study_id: str | None
    patient_pseudonym: str | None
    patient_sex: str | None
    patient_age_years: float | None
    analysed: bool
    quality_acceptable: bool | None
    heart_rate_bpm: float | None
    arrived_at: datetime


def put_item(conn: Connection, facts: CaseFacts, decision: Decision, at: datetime, *, joined: bool) -> bool:
    """Make the case's work item, or bring the one that it has up to date; never lowers its priority.

    Args:
        joined: the arrival is new to the case. When the case is closed already, what came late is not in any
            report, so it gets a work item of its own and a person sees it.

    Returns:
        True when a work item is new.
    """
    known = conn.execute(_latest(facts.case_id).with_for_update()).one_or_none()
    if known is None or (joined and known.state in {"COMPLETED", "CANCELED"}):
        return _insert(conn, facts, decision, at, 1 if known is None else known.seq + 1)
    _bring_up_to_date(conn, known, facts, decision)
    return False


def _insert(conn: Connection, facts: CaseFacts, decision: Decision, at: datetime, seq: int) -> bool:
    row = {
        **asdict(facts),
        "id": hashlib.sha256(f"workitem\0{facts.case_id}\0{seq}".encode()).hexdigest()[:32],
        "seq": seq,
        "state": "SCHEDULED",
        "priority": decision.priority,
        "rank": PRIORITIES.index(decision.priority),
        "band": _band(decision.priority),
        "order_at": facts.arrived_at,
        "reasons": list(decision.reasons),
        "created_at": at,
    }
    return insert_missing(conn, work_items, [row], ["id"]) == 1


def _band(priority: Priority) -> int:
    return 0 if priority == "urgent" else 1


def _bring_up_to_date(conn: Connection, known: Row[Any], facts: CaseFacts, decision: Decision) -> None:
    changed = {
        "priority": higher(cast(Priority, known.priority), decision.priority),
        "reasons": _merged(known.reasons, decision.reasons, analysed=facts.analysed),
        "modality": facts.modality,
        "study_id": facts.study_id,
        "patient_pseudonym": facts.patient_pseudonym,
        "patient_sex": facts.patient_sex,
        "patient_age_years": facts.patient_age_years,
        "analysed": facts.analysed,
        "quality_acceptable": facts.quality_acceptable,
        "heart_rate_bpm": facts.heart_rate_bpm,
    }
    changed["rank"] = PRIORITIES.index(cast(Priority, changed["priority"]))
    changed["band"] = _band(cast(Priority, changed["priority"]))
    if any(getattr(known, name) != value for name, value in changed.items()):
        conn.execute(update(work_items).where(work_items.c.id == known.id).values(**changed))


def raise_priority(conn: Connection, case_id: str, priority: Priority, reason: str) -> None:
    """Lift the case's open work item to at least ``priority`` and say why."""
    known = conn.execute(_latest(case_id).with_for_update()).one_or_none()
    if known is None or PRIORITIES.index(priority) >= known.rank:
        return
    conn.execute(
        update(work_items)
        .where(work_items.c.id == known.id)
        .values(
            priority=priority,
            rank=PRIORITIES.index(priority),
            band=_band(priority),
            reasons=_merged(known.reasons, (reason,), analysed=known.analysed),
        )
    )


def cancel_item(conn: Connection, case_id: str) -> None:
    """Cancel a case's waiting work item, because the case is read under another one."""
    conn.execute(
        update(work_items)
        .where(work_items.c.case_id == case_id, work_items.c.state == "SCHEDULED")
        .values(state="CANCELED")
    )


def latest_item(conn: Connection, case_id: str) -> Row[Any] | None:
    """The case's newest work item."""
    return conn.execute(_latest(case_id)).one_or_none()


def position(conn: Connection, case_id: str) -> int | None:
    """The case's place among those that wait, 1 is next; None when it does not wait."""
    item = latest_item(conn, case_id)
    if item is None or item.state != "SCHEDULED":
        return None
    before = select(func.count()).where(
        work_items.c.state == "SCHEDULED",
        (work_items.c.rank < item.rank)
        | ((work_items.c.rank == item.rank) & (work_items.c.arrived_at < item.arrived_at)),
    )
    return int(conn.execute(before).scalar_one()) + 1


def _latest(case_id: str) -> Select[Any]:
    return select(work_items).where(work_items.c.case_id == case_id).order_by(work_items.c.seq.desc()).limit(1)


def _merged(known: list[str], new: tuple[str, ...], *, analysed: bool) -> list[str]:
    # "not analysed" is a reason only as long as it is true; the priority that it gave stays all the same
    kept = [reason for reason in known if not (analysed and reason == "not_analysed")]
    return kept + [reason for reason in new if reason not in kept]

"""What a reader says of the program's flags. The precision of each rule is counted from these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from teleread.errors import InputRejected
from teleread.storage import audit
from teleread.storage.catalogue.schema import flag_verdicts

VERDICTS = ("rejected", "confirmed", "open")
"""``open`` takes a verdict back."""

REASONS = ("artefact", "misread", "known", "not_for_patient", "other")
"""Why a flag is rejected; none need be given."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reader said of one flag.

    Args:
        flag: ``rule_id:lead``, see :func:`flag_key`.
        verdict: ``rejected`` or ``confirmed``.
        reason: one of :data:`REASONS`, or None.
    """

    flag: str
    rule_version: str
    verdict: str
    reason: str | None
    said_by: str
    said_at: datetime


def flag_key(flag: Mapping[str, Any]) -> str:
    """The name of one flag of an analysis within its case."""
    return f"{flag['rule_id']}:{flag['lead']}"[:96]


def say(
    conn: Connection,
    case_id: str,
    flags: Sequence[Mapping[str, Any]],
    *,
    verdict: str,
    reason: str | None,
    who: str,
    at: datetime,
) -> None:
    """Say one thing of flags that stand for one finding; the caller has checked the claim. A later word replaces it.

    Args:
        flags: of the stored analysis, each with ``rule_id``, ``version``, ``lead`` and ``code``.

    Raises:
        InputRejected: ``flag_verdict_unknown``: no such verdict or reason.
    """
    if verdict not in VERDICTS or (reason is not None and reason not in REASONS):
        raise InputRejected(
            "flag_verdict_unknown", "A flag is rejected or confirmed, with a reason of the list or none."
        )
    keys = {flag_key(flag): str(flag["version"]) for flag in flags}
    conn.execute(delete(flag_verdicts).where(flag_verdicts.c.case_id == case_id, flag_verdicts.c.flag.in_(list(keys))))
    if verdict != "open":
        said = {"case_id": case_id, "verdict": verdict, "reason": reason, "said_by": who, "said_at": at}
        rows = [{"flag": key, "rule_version": version[:32], **said} for key, version in keys.items()]
        if rows:
            conn.execute(insert(flag_verdicts), rows)
    detail = {"verdict": verdict, "reason": reason, "flags": sorted(keys)}
    audit.record(conn, at=at, actor=who, action="flag_verdict", object_type="case", object_id=case_id, detail=detail)


def of_case(conn: Connection, case_id: str) -> dict[str, Verdict]:
    """The verdicts on a case's flags, by :func:`flag_key`."""
    columns = [flag_verdicts.c[name] for name in Verdict.__dataclass_fields__]
    rows = conn.execute(select(*columns).where(flag_verdicts.c.case_id == case_id))
    return {row.flag: Verdict(**row._mapping) for row in rows}


def by_code(flags: Iterable[Mapping[str, Any]], verdicts: Mapping[str, Verdict]) -> dict[str, Verdict | None]:
    """For each thing that was flagged what was said of it: None as long as one of its rules has no verdict."""
    found: dict[str, Verdict | None] = {}
    for flag in flags:
        own, code = verdicts.get(flag_key(flag)), str(flag["code"])
        found[code] = own if code not in found or found[code] is not None else None
    return found


def unrejected(flags: Iterable[Mapping[str, Any]], verdicts: Mapping[str, Verdict]) -> tuple[str, ...]:
    """Codes of what is flagged and not rejected: a report that says "normal" is refused while there is any."""
    said = by_code(flags, verdicts)
    return tuple(code for code, one in said.items() if one is None or one.verdict != "rejected")

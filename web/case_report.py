"""What a case's page shows for its report: the draft, the versions, what the program suggests, and why not yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from teleread.alliance import EcgRules
from teleread.reading import claims, drafts, flag_verdicts, reports, signing
from teleread.reading.claims import Claim
from teleread.reading.documents import Kind, Measurement, fixed
from teleread.reading.drafts import Draft
from teleread.reading.reports import LIFE, Report, Stage
from teleread.reading.statements import Statement, lexicon
from teleread.storage import signing_keys
from teleread.storage.catalogue.schema import accounts
from teleread.web import case_tracing, readings
from teleread.web.i18n import N_
from teleread.web.security import Seat

MEASURED = ("heart_rate_bpm", "pr_ms", "qrs_duration_ms", "qt_ms", "qtc_ms", "qrs_axis_deg")
"""What a report says of the program's measurements where its page names no other."""
FORMULAS = {"qtc_ms": "Fridericia"}

KINDS = {
    "preliminary": N_("Preliminary report"),
    "final": N_("Final report"),
    "addendum": N_("Addendum"),
    "corrected": N_("Corrected report"),
    "withdrawn": N_("Withdrawn"),
}

WHY_NOT_NORMAL = {
    "flags": N_("A flag of the program is neither rejected nor answered."),
    "urgent": N_("The case is urgent: read it statement by statement."),
    "not_analysed": N_("The recording was not analysed."),
}


@dataclass(frozen=True, slots=True)
class ReportView:
    """What the report's part of a page shows.

    Args:
        claim: the viewer's; None where they have none.
        reader: who has the case, where it is somebody else.
        kinds: which versions the viewer may sign now.
        open_until: until when the viewer signs without a PIN.
        suggested: statements that the program suggests; they confirm nothing.
    """

    claim: Claim | None
    reader: str | None
    waits: bool
    draft: Draft | None
    versions: tuple[Report, ...]
    holding: Report | None
    addenda: tuple[Report, ...]
    stage: Stage | None
    kinds: tuple[Kind, ...]
    has_pin: bool
    open_until: datetime | None
    signer: str
    suggested: tuple[Statement, ...]
    lexicon_version: str

    @property
    def newest_id(self) -> str:
        """The id of the newest version, empty where there is none."""
        return self.versions[-1].id if self.versions else ""


def read(
    conn: Connection,
    seat: Seat,
    token: str | None,
    item: Any,
    versions: Sequence[Report],
    analysis: Any,
    rules: EcgRules,
) -> ReportView:
    """Read it for the viewer's page.

    Args:
        item: the case's newest work item as the worklist has it.
        analysis: as stored; None where there is none.
    """
    now, case_id, words = seat.services.clock(), item.case_id, lexicon()
    claim = claims.current(conn, case_id, seat.name, now)
    holding, addenda = reports.in_force(versions)
    stage = reports.stage_of(versions)
    flags = raised(analysis, rules)
    judged = [flag for flag in flags if not readings.st_unjudged(flag)]
    open_flags = flag_verdicts.unrejected(judged, flag_verdicts.of_case(conn, case_id))
    rhythms = [] if analysis is None else [one["code"] for one in analysis.get("rhythm", ())]
    rhythms += [] if analysis is None else [one["code"] for one in analysis.get("rhythm_findings", ())]
    return ReportView(
        claim=claim,
        reader=_other_reader(conn, case_id, seat.name, now),
        waits=item.state == "SCHEDULED",
        draft=drafts.draft_of(conn, case_id),
        versions=tuple(versions),
        holding=holding,
        addenda=addenda,
        stage=stage,
        kinds=_kinds(seat, claim, stage, holding),
        has_pin=signing_keys.active(conn, seat.name) is not None,
        open_until=None if token is None else signing_keys.open_until(conn, token, now),
        signer=display_name(conn, seat.name),
        suggested=tuple(words.statements[code] for code in words.suggested(open_flags, rhythms)),
        lexicon_version=words.version,
    )


def raised(analysis: Mapping[str, Any] | None, rules: EcgRules) -> tuple[Mapping[str, Any], ...]:
    """The flags of a stored analysis that a page may show."""
    if analysis is None:
        return ()
    return tuple(flag for flag in analysis["flags"] if "code" in flag and rules.takes(flag.get("kind", "")))


def measured(analysis: Mapping[str, Any] | None, rules: EcgRules) -> tuple[Measurement, ...]:
    """The program's measurements as a report says them."""
    if analysis is None or not rules.measurement:
        return ()
    known = analysis["measurements"]
    return tuple(
        Measurement(name, fixed(known[name]["value"], 0), known[name]["unit"], "program", FORMULAS.get(name, ""))
        for name in MEASURED
        if name in known and known[name]["lead"] == "global"
    )


def qtc_by_formula(analysis: Mapping[str, Any] | None, rules: EcgRules) -> tuple[Measurement, ...]:
    """The program's QTc by each formula that a page may show it by."""
    known = analysis["measurements"] if analysis is not None and rules.measurement else {}
    return tuple(
        Measurement("qtc_ms", fixed(known[f"qtc_{code}_ms"]["value"], 0), "ms", "program", name)
        for code, name in case_tracing.FORMULAS.items()
        if f"qtc_{code}_ms" in known
    )


def display_name(conn: Connection, account: str) -> str:
    """An account as a clinic reads it."""
    return conn.scalar(select(accounts.c.display_name).where(accounts.c.name == account)) or account


def _other_reader(conn: Connection, case_id: str, who: str, now: datetime) -> str | None:
    reader = signing.reader_of(conn, case_id, now)
    return None if reader is None or reader == who else display_name(conn, reader)


def _kinds(seat: Seat, claim: object, stage: Stage | None, holding: Report | None) -> tuple[Kind, ...]:
    if seat.role not in {"reader", "senior_reader"}:
        return ()
    may_correct = holding is not None and (seat.role == "senior_reader" or holding.signed_by == seat.name)
    return tuple(
        kind
        for kind in ("final", "preliminary", "addendum", "corrected", "withdrawn")
        if (stage, kind) in LIFE
        and (claim is not None or kind not in reports.NEEDS_CLAIM)
        and (may_correct or kind not in reports.NEEDS_REASON)
    )

"""Signing a report: what is said is checked, written as a document, signed and kept, all in one transaction.

A preliminary or final report needs the claim of the case; a final one completes its work item. An addendum may be
signed by any reader, a correction or a withdrawal by who signed what it replaces or by a senior reader, with a reason.
After a withdrawal the case waits for a reader again: nothing that came to be read lies unread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from teleread import __version__
from teleread.errors import AccessDenied, Conflict, InputRejected
from teleread.reading import claims, criticals, documents, drafts, flag_verdicts, indicators, queue, reports, second
from teleread.reading.critical_ladder import Ladder
from teleread.reading.documents import Kind, Measurement
from teleread.reading.queue import latest_item
from teleread.reading.report_text import render
from teleread.reading.reports import NEEDS_CLAIM, NEEDS_REASON, TEXT_LIMIT, Report
from teleread.reading.statements import Lexicon, Statement, lexicon
from teleread.storage import audit, signing_keys
from teleread.storage.catalogue.lookups import derived_key
from teleread.storage.catalogue.schema import arrivals, deliveries, derived, objects, work_items
from teleread.storage.catalogue.schema import reports as reports_table
from teleread.storage.signing_keys import Pen

SHORT_LIMIT = 2_000
MEASUREMENTS_LIMIT = 60


@dataclass(frozen=True, slots=True)
class Said:
    """What a reader says of a case.

    Args:
        statements: codes of ``statements.toml``, in the reader's order.
        critical: marked by the reader; a critical statement marks it in any case.
        by_template: it is the normal that two keys make.
    """

    statements: tuple[str, ...] = ()
    text: str = ""
    comparison: str = ""
    technical: str = ""
    critical: bool = False
    measurements: tuple[Measurement, ...] = ()
    by_template: bool = False


@dataclass(frozen=True, slots=True)
class Author:
    """Who signs.

    Args:
        name: as a clinic is to read it.
        language: ``zh`` or ``en``: of the plain rendering.
    """

    account: str
    name: str
    role: str
    language: str


@dataclass(frozen=True, slots=True)
class Act:
    """Which version is signed, and on what ground.

    Args:
        claim: work item and token; for kinds of :data:`~teleread.reading.reports.NEEDS_CLAIM` a must.
        replaces: the id of the newest version that the signer saw, None where there was none.
        reason: for a correction or a withdrawal, in the signer's words.
        channel: over which the site gets it.
    """

    kind: Kind = "final"
    claim: tuple[str, int] | None = None
    replaces: str | None = None
    reason: str = ""
    channel: str = "web"


@dataclass(frozen=True, slots=True)
class Room:
    """What follows from a signature in the reading room.

    Args:
        ladders: by which the clinic is told of what is critical; None for the usual one.
        sample_key: by which the second readings are drawn; None draws none, and criticals are read again all the same.
        placing: where a second reading goes.
    """

    ladders: Sequence[Ladder] | None = None
    sample_key: bytes | None = None
    placing: queue.Placing = queue.by_default


def reader_of(conn: Connection, case_id: str, at: datetime) -> str | None:
    """Who has a case now."""
    return conn.scalar(
        select(work_items.c.claimed_by).where(
            work_items.c.case_id == case_id, work_items.c.state == "IN PROGRESS", work_items.c.lease_until > at
        )
    )


def sign_report(
    conn: Connection,
    case_id: str,
    said: Said,
    act: Act,
    author: Author,
    pen: Pen,
    *,
    at: datetime,
    flags: Sequence[Mapping[str, Any]] = (),
    words: Lexicon | None = None,
    room: Room | None = None,
) -> Report:
    """Sign one version of a case's report; it waits then to be given back to its site.

    Args:
        pen: the signer's opened key.
        flags: of the stored analysis, those that the signer's page shows.
        room: what follows from it.

    Raises:
        InputRejected: ``report_empty``, ``report_too_long``, ``report_reason_missing``, ``statement_unknown``,
            ``statements_contradict``, ``statements_too_many``, ``flags_unanswered``, ``normal_urgent``.
        Conflict: ``claim_needed``, ``claim_lost``, ``case_not_open``, ``report_changed``, ``report_already_final``,
            ``report_not_final``.
        AccessDenied: ``not_your_report``.
    """
    words = words or lexicon()
    statements = _checked(said, act, words)
    item = _item(conn, case_id, act, author, at)
    versions = reports.reports_of(conn, case_id)
    replaced = _replaced(versions, act, author)
    reports.after(reports.stage_of(versions), act.kind)
    if act.kind == "final":
        _settle_flags(conn, item, said, flags, words, author, at)
        if said.by_template and item.priority == "urgent":
            raise InputRejected("normal_urgent", "An urgent case is not read by a template.")
    version = (versions[-1].version if versions else 0) + 1
    document = _document(conn, item, said, statements, act, author, pen, version, replaced, flags, words, at)
    report = _keep(conn, item, document, act, author, pen, at)
    _follow_up(conn, item, report, act, author, room or Room(), at)
    return report


def _follow_up(
    conn: Connection, item: Row[Any], report: Report, act: Act, author: Author, room: Room, at: datetime
) -> None:
    """The claim, the draft, the clinic's critical loop and the second reading after a signature."""
    if act.claim is not None and act.kind != "preliminary":
        done = claims.complete(conn, item.id, author.account, act.claim[1], at)
        drafts.drop(conn, item.case_id)
        critical = report.critical
        if act.kind == "final" and (critical or room.sample_key is not None):
            second.after_signing(conn, done, critical=critical, key=room.sample_key or b"", at=at, placing=room.placing)
    if act.kind == "withdrawn":
        # the case is unread again: a new work item, in the place of the one that was read
        claims.wait_again(conn, item.case_id, author.account, at, "report_withdrawn")
    if second.is_given_back(item.kind):
        criticals.reported(
            conn,
            item.case_id,
            report_id=report.id,
            critical=report.critical and act.kind != "withdrawn",
            codes=report.critical_codes,
            who=author.account,
            at=at,
            kind=act.kind,
            ladders=room.ladders,
        )


def _checked(said: Said, act: Act, words: Lexicon) -> tuple[Statement, ...]:
    statements = words.checked(said.statements)
    if not (statements or said.text.strip() or act.kind == "withdrawn"):
        raise InputRejected("report_empty", "A report needs a statement or a text.")
    short = (said.comparison, said.technical, act.reason)
    if len(said.text) > TEXT_LIMIT or any(len(one) > SHORT_LIMIT for one in short):
        raise InputRejected("report_too_long", f"A report has at most {TEXT_LIMIT} characters.")
    if len(said.measurements) > MEASUREMENTS_LIMIT:
        raise InputRejected("report_too_long", f"A report has at most {MEASUREMENTS_LIMIT} measurements.")
    if act.kind in NEEDS_REASON and not act.reason.strip():
        raise InputRejected("report_reason_missing", "A correction or a withdrawal needs a reason.")
    return statements


def _item(conn: Connection, case_id: str, act: Act, author: Author, at: datetime) -> Row[Any]:
    """The work item, locked, under which the version is signed."""
    newest = latest_item(conn, case_id)
    if newest is None:
        raise Conflict("case_not_open", "There is no such case.")
    if act.claim is None:
        if act.kind not in NEEDS_CLAIM:
            # who signs another version of this case now goes before us or after us
            return conn.execute(select(work_items).where(work_items.c.id == newest.id).with_for_update()).one()
        if newest.state in {"COMPLETED", "CANCELED"}:
            raise Conflict("case_not_open", "This case is not waiting for a report.")
        raise Conflict("claim_needed", "Claim the case before you sign.")
    item = claims.check(conn, act.claim[0], author.account, act.claim[1], at)
    if item.case_id != case_id:
        raise Conflict("claim_lost", "You no longer have this case. What you typed is kept as a draft.")
    return item


def _replaced(versions: Sequence[Report], act: Act, author: Author) -> Report | None:
    """The version that this one follows: the newest; for a correction that which holds."""
    newest = versions[-1] if versions else None
    if act.kind in NEEDS_CLAIM and newest is None:
        return None
    if (act.replaces or None) != (None if newest is None else newest.id):
        raise Conflict("report_changed", "Another version was signed meanwhile; look at it first.")
    holding, _addenda = reports.in_force(versions)
    owner = None if holding is None else holding.signed_by
    if act.kind in NEEDS_REASON and author.role != "senior_reader" and author.account != owner:
        raise AccessDenied("not_your_report", "Only its signer or a senior reader corrects or withdraws a report.")
    return holding


def _settle_flags(
    conn: Connection,
    item: Row[Any],
    said: Said,
    flags: Sequence[Mapping[str, Any]],
    words: Lexicon,
    author: Author,
    at: datetime,
) -> None:
    case_id = item.case_id
    verdicts = flag_verdicts.of_case(conn, case_id)
    known = flag_verdicts.by_code(flags, verdicts)
    open_codes = flag_verdicts.unrejected(flags, verdicts)
    unanswered = {code for code in open_codes if not words.answers(code, said.statements)}
    # a critical report is never kept waiting for what a program thinks: its flags stay open
    if unanswered and not said.critical and words.critical_on(at.date()).isdisjoint(said.statements):
        raise InputRejected("flags_unanswered", "A flag is neither rejected nor answered by a statement.")
    for code in open_codes:
        if known[code] is None and code not in unanswered:
            about = [flag for flag in flags if flag["code"] == code]
            flag_verdicts.say(conn, case_id, about, verdict="confirmed", reason=None, who=author.account, at=at)
    for one in flag_verdicts.of_case(conn, case_id).values():
        rule = one.flag.partition(":")[0]
        indicators.note(conn, "flag", at, site_id=item.site_id, label=f"{rule} {one.verdict}", case_id=case_id)


def _document(
    conn: Connection,
    item: Row[Any],
    said: Said,
    statements: Sequence[Statement],
    act: Act,
    author: Author,
    pen: Pen,
    version: int,
    replaced: Report | None,
    flags: Sequence[Mapping[str, Any]],
    words: Lexicon,
    at: datetime,
) -> dict[str, Any]:
    critical = words.critical_on(at.date())
    verdicts = flag_verdicts.of_case(conn, item.case_id)
    return {
        "format": documents.FORMAT,
        "format_version": documents.FORMAT_VERSION,
        "report": {
            "id": reports.report_id(item.case_id, version),
            "kind": act.kind,
            "version": version,
            "replaces": None
            if replaced is None
            else {"id": replaced.id, "version": replaced.version, "sha256": replaced.sha256 or ""},
            "reason": act.reason.strip(),
        },
        **_case(conn, item),
        "content": {
            "statements": [_statement(one, critical) for one in statements],
            "statements_version": words.version,
            "text": said.text.strip(),
            "comparison": said.comparison.strip(),
            "technical": said.technical.strip(),
            "critical": said.critical or any(one.code in critical for one in statements),
            "by_template": said.by_template,
        },
        "measurements": [one.plain() for one in said.measurements],
        "flags": [_flag(one, verdicts) for one in flags],
        "signer": {"account": author.account, "name": author.name, "role": author.role},
        "key": {"id": pen.key_id, "algorithm": pen.algorithm},
        "times": {"arrived": documents.moment(item.arrived_at), "signed": documents.moment(at)},
        "software": {"name": "teleread", "version": __version__},
        "language": author.language,
        "notice": documents.NOTICE,
    }


def _case(conn: Connection, item: Row[Any]) -> dict[str, Any]:
    arrival = conn.execute(select(arrivals.c.receipt, arrivals.c.sha256).where(arrivals.c.id == item.arrival_id)).one()
    analysis = conn.execute(
        select(derived.c.code_version, objects.c.sha256)
        .join(objects, objects.c.key == derived.c.object_key)
        .where(derived.c.object_key == derived_key(conn, item.arrival_id, "analysis.json"))
    ).first()
    return {
        "case": {
            "id": item.case_id,
            "receipt": arrival.receipt,
            "site": item.site_id,
            "modality": item.modality,
            "pseudonym": item.patient_pseudonym or "",
            "work_item": item.id,
        },
        "recording": {
            "sha256": arrival.sha256,
            "analysis": None if analysis is None else {"version": analysis[0], "sha256": analysis[1]},
        },
    }


def _statement(one: Statement, critical: frozenset[str]) -> dict[str, Any]:
    return {
        "code": one.code,
        "aha": list(one.aha),
        "snomed": one.snomed or "",
        "zh": one.zh,
        "en": one.en,
        "critical": one.code in critical,
    }


def _flag(one: Mapping[str, Any], verdicts: Mapping[str, flag_verdicts.Verdict]) -> dict[str, Any]:
    """What a rule of the program flagged and what the signer says of it."""
    said = verdicts.get(flag_verdicts.flag_key(one))
    return {
        "code": one["code"],
        "rule": one["rule_id"],
        "rule_version": str(one["version"]),
        "lead": one["lead"] or "",
        "verdict": "" if said is None else said.verdict,
        "reason": "" if said is None or said.reason is None else said.reason,
    }


def _keep(
    conn: Connection, item: Row[Any], content: dict[str, Any], act: Act, author: Author, pen: Pen, at: datetime
) -> Report:
    document = documents.canonical(content)
    digest = hashlib.sha256(document).hexdigest()
    report = Report(
        id=content["report"]["id"],
        case_id=item.case_id,
        version=content["report"]["version"],
        text=render(content),
        critical=content["content"]["critical"],
        signed_by=author.account,
        signed_at=at,
        kind=act.kind,
        item_id=item.id,
        replaces=None if content["report"]["replaces"] is None else content["report"]["replaces"]["id"],
        document=document.decode("utf-8"),
        sha256=digest,
        signature=signing_keys.encoded(pen.sign(document)),
        key_id=pen.key_id,
    )
    row = {name: getattr(report, name) for name in Report.__dataclass_fields__}
    conn.execute(insert(reports_table).values(**row))
    if second.is_given_back(item.kind):  # what is read a second time stays among readers
        conn.execute(insert(deliveries).values(report_id=report.id, site_id=item.site_id, channel=act.channel))
    detail = {"kind": act.kind, "version": report.version, "sha256": digest, "key": pen.key_id}
    audit.record(
        conn, at=at, actor=author.account, action="sign", object_type="case", object_id=item.case_id, detail=detail
    )
    return report

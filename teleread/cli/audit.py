"""``teleread audit``: check the chains, seal, anchor, export."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from teleread import __version__
from teleread.cli.terminal import actor, say
from teleread.errors import Conflict, Misconfigured, StorageError
from teleread.reading.persons import checked_name, checked_reason
from teleread.services import running_services
from teleread.settings import load_settings
from teleread.storage import audit
from teleread.storage.audit import Anchor, Trail
from teleread.storage.audit.anchors import parse_anchor, read_anchor
from teleread.storage.audit.exporting import read_events
from teleread.storage.audit.fhir import audit_events

MISMATCH = 3


def add_commands(commands: Any) -> None:
    """Add ``audit`` and what belongs to it."""
    parser = commands.add_parser("audit", help="who did what: check that nothing was changed, anchor, export")
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    verify = actions.add_parser(
        "verify",
        help="walk both chains; names the first broken link",
        description="Walks the catalogue's and the vault's chain from the first event to the last and compares them "
        "with every anchor. Exit code 0 when all is sound, 3 when something is not.",
    )
    verify.add_argument(
        "--anchors", type=Path, action="append", metavar="FOLDER", help="anchors to compare with, beside the home's own"
    )
    verify.add_argument(
        "--paper", action="append", default=[], metavar="DATABASE:NUMBER:HASH", help="an anchor written down by hand"
    )
    verify.add_argument("--json", action="store_true")
    verify.set_defaults(run=run_verify)

    section = actions.add_parser(
        "new-section",
        help="after a break that was looked into: put it on record and let sealing go on behind it",
        description="Begins a new section of each chain that `verify` calls broken. Who decides and why stands in an "
        "audit event with the break; nothing is removed, the old part is pinned as it is, and `verify` names the break "
        "ever after. Keep a copy of the database before: it is the evidence. Refused (exit code 3) where nothing is "
        "broken.",
    )
    section.add_argument("--who", required=True, metavar="NAME", help="the person who decides")
    section.add_argument("--why", required=True, metavar="TEXT", help="what was found out, without anybody's name")
    section.add_argument(
        "--anchors", type=Path, action="append", metavar="FOLDER", help="anchors to compare with, beside the home's own"
    )
    section.add_argument("--json", action="store_true")
    section.set_defaults(run=run_new_section)

    seal = actions.add_parser("seal", help="chain what is not chained yet; the running service does it by itself")
    seal.add_argument("--json", action="store_true")
    seal.set_defaults(run=run_seal)

    anchor = actions.add_parser(
        "anchor",
        help="write down how far the chains are, to be kept elsewhere",
        description="Writes today's anchor of each chain, unless there is one. An anchor helps only where whoever can "
        "change the databases cannot reach it: name a folder on another machine, or copy number and hash onto paper.",
    )
    anchor.add_argument("--to", type=Path, metavar="FOLDER", help="instead of the home's anchors")
    anchor.add_argument("--json", action="store_true")
    anchor.set_defaults(run=run_anchor)

    export = actions.add_parser("export", help="all events as lines of JSON; patients by pseudonym")
    export.add_argument("--since", type=_time, metavar="TIME", help="from this day or time on (UTC unless it says so)")
    export.add_argument("--until", type=_time, metavar="TIME", help="before this day or time")
    export.add_argument(
        "--format", choices=("fhir", "jsonl"), default="fhir", help="FHIR R4 AuditEvent as NDJSON, or plain (jsonl)"
    )
    export.add_argument("--json", action="store_true", help="errors as JSON too; the events are in any case")
    export.set_defaults(run=run_export)


def run_verify(options: argparse.Namespace) -> int:
    """``teleread audit verify``."""
    given = [*(parse_anchor(words) for words in options.paper), *_anchors(options.anchors or ())]
    with running_services() as services:
        key = services.audit_key
        # what was recorded a moment ago, by the last command of a stopped service too, is no fault of the chain
        trails = services.trails
        for trail in trails:
            _drain(trail, key, services.clock)
        verdicts = [_verify(trail, key, services.clock(), given) for trail in trails]
    unknown = {anchor.database for anchor in given} - {trail.name for trail in trails}
    for trail, verdict in zip(trails, verdicts, strict=True):
        _print_verdict(trail.name, verdict, options.json)
    for name in sorted(unknown):
        print(f"teleread: an anchor names a database that is not here: {name}", file=sys.stderr)
    return MISMATCH if unknown or any(verdict.broken for verdict in verdicts) else 0


def run_new_section(options: argparse.Namespace) -> int:
    """``teleread audit new-section``. Exit code 3 when nothing is broken."""
    who, why = checked_name(options.who), checked_reason(options.why)
    given = _anchors(options.anchors or ())
    begun: list[tuple[str, audit.Section]] = []
    with running_services() as services:
        for trail in services.trails:
            _drain(trail, services.audit_key, services.clock)
            anchors = [anchor for anchor in given if anchor.database == trail.name]
            try:
                section = audit.begin_section(
                    trail, services.audit_key, services.clock(), who=who, reason=why, anchors=anchors
                )
            except Conflict as error:
                if error.code != "audit_not_broken":
                    raise
                continue
            begun.append((trail.name, section))
            _drain(trail, services.audit_key, services.clock)
    if not begun:
        raise Conflict("audit_not_broken", "No audit chain is broken: nothing was begun.")
    for name, section in begun:
        words = f"{name}: a new section begins with link {section.seq}; on record: [{section.kind}] {section.message}"
        say(options, {"database": name, **asdict(section)}, words)
    return 0


def run_seal(options: argparse.Namespace) -> int:
    """``teleread audit seal``."""
    with running_services() as services:
        sealed = audit.Sealer(services.trails, services.audit_key, services.clock).seal_all()
    print(json.dumps({"sealed": sealed}) if options.json else f"{sealed} events chained")
    return 0


def run_anchor(options: argparse.Namespace) -> int:
    """``teleread audit anchor``."""
    folder = options.to or load_settings().home / "anchors"
    with running_services() as services:
        key = services.audit_key
        audit.Sealer(services.trails, key, services.clock).seal_all()
        paths = [audit.write_anchor(trail, key, folder, services.clock(), __version__) for trail in services.trails]
    for path in paths:
        if path is None:
            continue
        anchor = read_anchor(path)
        if options.json:
            print(json.dumps({"file": str(path), **asdict(anchor)}))
        else:
            print(f"{path}\n  {anchor.database}:{anchor.seq}:{anchor.hash}")
    return 0


def run_export(options: argparse.Namespace) -> int:
    """``teleread audit export``."""
    with running_services() as services:
        with services.catalogue.write() as conn:
            audit.record(
                conn,
                at=services.clock(),
                actor=actor(),
                action="export_audit",
                object_type="audit",
                object_id="all",
                detail={
                    "format": options.format,
                    "since": options.since.isoformat() if options.since else None,
                    "until": options.until.isoformat() if options.until else None,
                },
            )
        observer = services.alliance.name_en
        for trail in services.trails:
            for event in read_events(trail, options.since, options.until):
                resources: Iterable[Any] = (
                    audit_events(event, observer) if options.format == "fhir" else [event.plain()]
                )
                for resource in resources:
                    print(json.dumps(resource, ensure_ascii=False))
    return 0


def _anchors(more: Iterable[Path]) -> list[Anchor]:
    """The home's own anchors, and those of further folders."""
    given = list(audit.read_anchors(load_settings().home / "anchors"))
    for folder in more:
        found = list(audit.read_anchors(folder))
        if not found:
            # a stick that is not mounted must not pass for one whose anchors fit
            raise Misconfigured("no_anchors", f"There is no anchor in {folder}; is the disk mounted?")
        given += found
    return given


def _drain(trail: Trail, key: bytes, clock: Callable[[], datetime]) -> None:
    """Seal, unless the chain's end is broken, which the walk tells better."""
    try:
        audit.Sealer([trail], key, clock).seal_all()
    except StorageError as error:
        if error.code != "audit_broken":
            raise


def _verify(trail: Trail, key: bytes, now: datetime, given: Iterable[Anchor]) -> audit.Verdict:
    tty = sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        if tty:
            print(f"\r{trail.name}: {done} of {total} links", end="", file=sys.stderr, flush=True)

    anchors = [anchor for anchor in given if anchor.database == trail.name]
    verdict = audit.verify(trail.database, trail.tables, key, now, anchors, progress)
    if tty:
        print(file=sys.stderr)
    return verdict


def _print_verdict(name: str, verdict: audit.Verdict, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"database": name, "sound": verdict.broken is None, **asdict(verdict)}))
    elif verdict.broken is None:
        anchored = f", the first {verdict.anchored} also by anchors" if verdict.anchored else ", no anchor compared"
        print(f"{name}: sound, {verdict.links} links{anchored}")
    else:
        print(f"{name}: BROKEN [{verdict.broken.kind}] {verdict.broken.message}; {verdict.links} links before it fit")
    if not as_json:
        for one in verdict.sections:
            print(
                f"{name}: an older break [{one.kind}] {one.message}; {one.links} links before it fit. On record since "
                f"{one.begun_at[:16]} UTC by {one.begun_by}: {one.reason}. A new section begins with link {one.seq}"
            )


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day or time like 2026-01-31 or 2026-01-31T08:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)

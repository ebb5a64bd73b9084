"""``teleread report``: check signed reports offline, and export them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from teleread.cli.terminal import actor, say
from teleread.errors import InputRejected, Misconfigured
from teleread.pipeline.services import Services
from teleread.reading import reports
from teleread.reading.documents import Bundle, Checked, as_file, check_all, read_file
from teleread.services import running_services
from teleread.storage import audit
from teleread.storage.catalogue.schema import arrivals, audit_events

MISMATCH = 3
_FILE_LIMIT = 64 << 20


def add_commands(commands: Any) -> None:
    """Add ``report`` and what belongs to it."""
    parser = commands.add_parser("report", help="signed reports: check that nothing was changed, export")
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    verify = actions.add_parser(
        "verify",
        help="check hash, signature and chain of a report's versions",
        description="Checks an exported file without any service or network, or a case of this installation, there "
        "also against what the audit recorded at signing. It shows that a document was signed with the key that stands "
        "beside it; whose key that is, the alliance says: name it with --key. Not a qualified electronic signature. "
        "Exit code 0 when all is sound, 3 when something is not.",
    )
    _what(verify, file=True)
    verify.add_argument("--key", action="append", default=[], metavar="ID", help="the key that must have signed")
    verify.set_defaults(run=run_verify)

    export = actions.add_parser(
        "export",
        help="write a report's versions with signatures and keys to a file that `verify` reads",
        description="The documents hold the receipt and a pseudonym, no name. The export is an audit event.",
    )
    _what(export, file=False)
    export.add_argument("--to", type=Path, metavar="FILE", help="instead of standard output")
    export.set_defaults(run=run_export)


def _what(parser: argparse.ArgumentParser, *, file: bool) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    if file:
        which.add_argument("file", nargs="?", type=Path, metavar="FILE", help="an exported report")
    which.add_argument("--case", metavar="ID", help="a case of this installation")
    which.add_argument("--receipt", metavar="NUMBER", help="what was sent under this receipt")
    parser.add_argument("--json", action="store_true")


def run_verify(options: argparse.Namespace) -> int:
    """``teleread report verify``."""
    if options.file is not None:
        bundles, unsigned, recorded = _from_file(options.file), 0, None
    else:
        with running_services() as services, services.catalogue.read() as conn:
            case_id = _case(conn, options)
            found = reports.bundles_of(conn, case_id)
            recorded = _recorded(conn, case_id)
        bundles = [bundle for _report, bundle in found if bundle is not None]
        unsigned = len(found) - len(bundles)
        if not found:
            raise InputRejected("no_such_report", "There is no report on this case.")
    checked = check_all(bundles)
    faults = [_more_faults(one, options.key, recorded) for one in checked]
    for one, more in zip(checked, faults, strict=True):
        _print(one, more, options.json)
    if unsigned:
        words = f"{unsigned} version(s) from before there were signatures cannot be checked"
        say(options, {"unsigned": unsigned}, words)
    return MISMATCH if any(faults) or not checked else 0


def run_export(options: argparse.Namespace) -> int:
    """``teleread report export``."""
    with running_services() as services:
        data = _export(services, options)
    if options.to is None:
        sys.stdout.buffer.write(data)
        return 0
    try:
        options.to.write_bytes(data)
    except OSError as error:
        raise Misconfigured("file_unwritable", f"{options.to} cannot be written: {error.strerror}") from error
    say(options, {"file": str(options.to), "bytes": len(data)}, f"{options.to}: {len(data)} bytes")
    return 0


def _export(services: Services, options: argparse.Namespace) -> bytes:
    with services.catalogue.write() as conn:
        case_id = _case(conn, options)
        bundles = [bundle for _report, bundle in reports.bundles_of(conn, case_id) if bundle is not None]
        if not bundles:
            raise InputRejected("no_such_report", "There is no signed report on this case.")
        audit.record(
            conn,
            at=services.clock(),
            actor=actor(),
            action="export_report",
            object_type="case",
            object_id=case_id,
            detail={"versions": len(bundles)},
        )
    return as_file(bundles)


def _from_file(path: Path) -> list[Bundle]:
    try:
        with path.open("rb") as source:
            return read_file(source.read(_FILE_LIMIT + 1))
    except OSError as error:
        raise InputRejected("file_unreadable", f"{path} cannot be read: {error.strerror}") from error


def _case(conn: Connection, options: argparse.Namespace) -> str:
    if options.case is not None:
        return str(options.case)
    query = select(arrivals.c.case_id, arrivals.c.id).where(arrivals.c.receipt == options.receipt.upper())
    row = conn.execute(query).one_or_none()
    if row is None:
        raise InputRejected("no_such_arrival", "There is nothing under this receipt.")
    return str(row.case_id or row.id)


def _recorded(conn: Connection, case_id: str) -> frozenset[str]:
    """The hashes that the audit recorded when the case's reports were signed."""
    query = select(audit_events.c.detail).where(
        audit_events.c.action == "sign", audit_events.c.object_type == "case", audit_events.c.object_id == case_id
    )
    return frozenset(str(detail["sha256"]) for detail in conn.scalars(query) if "sha256" in detail)


def _more_faults(one: Checked, keys: Sequence[str], recorded: frozenset[str] | None) -> tuple[str, ...]:
    faults: list[str] = list(one.faults)
    if keys and one.key_id not in keys:
        faults.append("key_not_named")
    if recorded is not None and one.sha256 not in recorded:
        faults.append("not_in_audit")
    return tuple(faults)


def _print(one: Checked, faults: Sequence[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({**asdict(one), "faults": list(faults), "sound": not faults}, ensure_ascii=False))
        return
    name = f"version {one.version or '?'} ({one.kind or '?'})"
    if faults:
        print(f"{name}: NOT SOUND: {', '.join(faults)}")
        return
    print(f"{name}: sound, receipt {one.receipt}, signed {one.signed_at} by {one.signer} with key {one.key_id}")
    print(f"  SHA-256 {one.sha256}; not a qualified electronic signature")

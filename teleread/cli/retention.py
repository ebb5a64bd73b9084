"""Whose records may be deleted, what stands against it, and the deletion by a named person."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from teleread.errors import Conflict, Misconfigured
from teleread.pipeline.services import Services
from teleread.services import running_services
from teleread.settings import load_settings


def add_commands(commands: Any) -> None:
    """Add ``retention``."""
    retention = commands.add_parser(
        "retention",
        help="whose records may be deleted, and deleting them by a named person's decision",
        description="Nothing is ever deleted by itself. The law's periods ship with teleread; an alliance adds longer "
        "ones in retention.toml beside its alliance file (docs/retention.md).",
    )
    actions = retention.add_subparsers(metavar="ACTION", required=True)

    due = actions.add_parser("due", help="the persons whose records may be deleted now")
    due.add_argument("--plan", type=Path, metavar="FILE", help="also write the plan that `delete` asks for")
    due.add_argument("--patient", metavar="PSEUDONYM", help="this person alone, due or not, with the reasons")
    due.add_argument("--json", action="store_true", help="one JSON object a line")
    due.set_defaults(run=run_due)

    hold = actions.add_parser("hold", help="keep a person's records whatever their age (dispute, inquiry)")
    hold.add_argument("patient", metavar="PSEUDONYM")
    _signed(hold)
    hold.set_defaults(run=run_hold)

    lift = actions.add_parser("lift", help="lift a hold by its number")
    lift.add_argument("number", type=int, metavar="NUMBER")
    lift.add_argument("--who", required=True, metavar="NAME")
    lift.add_argument("--json", action="store_true")
    lift.set_defaults(run=run_lift)

    encounter = actions.add_parser("encounter", help="record a visit or a stay, or the end of a stay")
    encounter.add_argument("patient", metavar="PSEUDONYM", help="or the number of a stay with --ended")
    encounter.add_argument("--kind", choices=["outpatient", "inpatient"])
    encounter.add_argument("--ended", type=_day, metavar="YYYY-MM-DD", help="visit or discharge; absent: it lasts")
    encounter.add_argument("--who", required=True, metavar="NAME")
    encounter.add_argument("--json", action="store_true")
    encounter.set_defaults(run=run_encounter)

    delete = actions.add_parser(
        "delete",
        help="delete the records of everybody in a plan, for good",
        description="Deletes the persons of a plan written by `retention due --plan FILE`: rows, objects and the "
        "identity. --confirm is the plan's hash, which `due` prints: whoever decides has looked at this very plan. "
        "Who is no longer due is left alone, and the exit code is 3. Without a plan, deletions that were interrupted "
        "are taken to their end. The reason stands in the certificate: no name in it.",
    )
    delete.add_argument("--plan", type=Path, metavar="FILE")
    delete.add_argument("--confirm", metavar="HASH")
    delete.add_argument("--who", metavar="NAME")
    delete.add_argument("--reason", metavar="TEXT")
    delete.add_argument("--json", action="store_true")
    delete.set_defaults(run=run_delete)

    certificates = actions.add_parser("certificates", help="deletions and what keeps them from being final")
    certificates.add_argument("--save", type=Path, metavar="FOLDER", help="also write the certificates there")
    certificates.add_argument("--json", action="store_true")
    certificates.set_defaults(run=run_certificates)


def run_due(options: argparse.Namespace) -> int:
    """``teleread retention due``."""
    from teleread.pipeline.deletion import digest
    from teleread.pipeline.retention import decide, due, facts_of

    with _opened() as (services, policy):
        now = services.clock()
        with services.catalogue.read() as conn:
            found = (
                [decide(facts_of(conn, options.patient), policy, now)]
                if options.patient
                else list(due(conn, policy, now))
            )
    for decision in found:
        facts = {
            "pseudonyms": list(decision.pseudonyms),
            "due": decision.due,
            "due_at": decision.due_at and decision.due_at.isoformat(),
            "basis": decision.basis,
            "reasons": list(decision.reasons),
        }
        if options.json:
            print(json.dumps(facts))
        else:
            when = f"{decision.due_at:%Y-%m-%d}" if decision.due_at else "never"
            print(f"{' '.join(decision.pseudonyms)}  {when}  {decision.basis or '-'}  {', '.join(decision.reasons)}")
    if options.plan:
        plan = {"pseudonyms": [list(decision.pseudonyms) for decision in found if decision.due]}
        confirm = digest([decision for decision in found if decision.due])
        _write(options.plan, json.dumps({**plan, "policy": policy.version, "confirm": confirm}, indent=1) + "\n")
        print(json.dumps({"confirm": confirm}) if options.json else f"confirm with {confirm}")
    return 0


def run_hold(options: argparse.Namespace) -> int:
    """``teleread retention hold``."""
    from teleread.pipeline.retention import place_hold

    with _opened() as (services, _), services.catalogue.write() as conn:
        number = place_hold(conn, options.patient, who=options.who, reason=options.reason, at=services.clock())
    print(json.dumps({"hold": number}) if options.json else f"hold {number} stands")
    return 0


def run_lift(options: argparse.Namespace) -> int:
    """``teleread retention lift``."""
    from teleread.pipeline.retention import lift_hold

    with _opened() as (services, _), services.catalogue.write() as conn:
        pseudonym = lift_hold(conn, options.number, who=options.who, at=services.clock())
    print(json.dumps({"lifted": options.number, "patient": pseudonym}) if options.json else f"lifted for {pseudonym}")
    return 0


def run_encounter(options: argparse.Namespace) -> int:
    """``teleread retention encounter``."""
    from teleread.pipeline.retention import end_encounter, record_encounter

    with _opened() as (services, _), services.catalogue.write() as conn:
        now = services.clock()
        if options.patient.isdecimal():
            if options.ended is None or options.kind is not None:
                raise Misconfigured("usage", "The end of a stay is said as `encounter NUMBER --ended DAY`.")
            number = int(options.patient)
            end_encounter(conn, number, options.ended, who=options.who, at=now)
        elif options.kind is None:
            raise Misconfigured("usage", "Say --kind outpatient or inpatient.")
        else:
            number = record_encounter(conn, options.patient, options.kind, options.ended, who=options.who, at=now)
    print(json.dumps({"encounter": number}) if options.json else f"encounter {number} recorded")
    return 0


def run_delete(options: argparse.Namespace) -> int:
    """``teleread retention delete``. Exit code 3 when somebody of the plan is no longer due."""
    from teleread.pipeline.deletion import begin, resume

    refused: list[dict[str, str]] = []
    with _opened() as (services, policy):
        if options.plan is not None:
            if not (options.confirm and options.who and options.reason):
                raise Misconfigured("usage", "A plan is carried out with --confirm HASH --who NAME --reason TEXT.")
            for pseudonym in _planned(options.plan, options.confirm, services, policy):
                try:
                    begin(services, pseudonym, policy, who=options.who, reason=options.reason)
                except Conflict as error:
                    refused.append({"patient": pseudonym, "code": error.code, "message": error.safe_message})
        states = resume(services, step=_progress if sys.stderr.isatty() else lambda _name: None)
    for identifier, state in states.items():
        print(json.dumps({"deletion": identifier, "state": state}) if options.json else f"{identifier}  {state}")
    for one in refused:
        print(json.dumps(one) if options.json else f"{one['patient']}  left alone: {one['message']}")
    return 3 if refused else 0


def run_certificates(options: argparse.Namespace) -> int:
    """``teleread retention certificates``."""
    from teleread.pipeline.deletion import remaining
    from teleread.storage.catalogue.schema import deletions

    with _opened() as (services, _):
        with services.catalogue.read() as conn:
            rows = conn.execute(select(deletions).order_by(deletions.c.decided_at, deletions.c.id)).all()
        for row in rows:
            waits = remaining(services, row) if row.state == "forgotten" else []
            facts = {
                "deletion": row.id,
                "patient": row.pseudonym,
                "state": row.state,
                "decided_by": row.decided_by,
                "decided_at": row.decided_at.isoformat(),
                "final_waits_for": waits,
            }
            print(json.dumps(facts) if options.json else f"{row.id}  {row.pseudonym}  {row.state}  {'; '.join(waits)}")
            if options.save and row.certificate_key:
                data = services.store.blobs.get(row.certificate_key)
                _write(options.save / f"{row.id}-{row.state}.json", data.decode())
    return 0


def _planned(path: Path, confirm: str, services: Services, policy: Any) -> list[str]:
    """First pseudonym of each person of the plan, when it is the one that was confirmed and still holds."""
    from teleread.pipeline.deletion import digest
    from teleread.pipeline.retention import decide, facts_of

    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        persons = [[str(name) for name in names] for names in plan["pseudonyms"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise Misconfigured("plan_unreadable", f"{path} is no plan of `teleread retention due --plan`.") from None
    now = services.clock()
    with services.catalogue.read() as conn:
        decisions = [decide(facts_of(conn, names[0]), policy, now) for names in persons if names]
    if plan.get("confirm") != confirm or digest(decisions) != confirm:
        raise Conflict("plan_changed", "This is not the plan that was confirmed, or the facts have changed; plan anew.")
    return [decision.pseudonyms[0] for decision in decisions]


@contextmanager
def _opened() -> Iterator[tuple[Services, Any]]:
    from teleread.pipeline.retention import law, parse_policy

    settings = load_settings()
    policy = law()
    own = settings.alliance_file.parent / "retention.toml"
    if own.exists():
        try:
            policy = parse_policy(own.read_text(encoding="utf-8"), policy)
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured("retention_unreadable", f"{own} cannot be read: {error}.") from error
    with running_services(settings) as services:
        yield services, policy


def _signed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--who", required=True, metavar="NAME", help="the person who decides")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="without anybody's name")
    parser.add_argument("--json", action="store_true")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Misconfigured("file_unwritable", f"{path} cannot be written: {error.strerror}.") from None


def _progress(name: str) -> None:
    print(f"\r{name:<24}", end="", file=sys.stderr, flush=True)


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day like 2026-01-31") from None

"""Whose records may be deleted, what stands against it, and the deletion by a named person."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from teleread.cli.terminal import plain, say
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
        "ones in retention.toml beside its alliance file (docs/retention.md). A PATIENT is named by pseudonym, or by "
        "the receipt number of one of its recordings.",
    )
    actions = retention.add_subparsers(metavar="ACTION", required=True)

    due = actions.add_parser("due", help="the persons whose records may be deleted now")
    due.add_argument("--plan", type=Path, metavar="FILE", help="also write the plan that `delete` asks for")
    due.add_argument("--patient", metavar="PATIENT", help="this person alone, due or not, with the reasons")
    due.add_argument("--json", action="store_true", help="one JSON object a line")
    due.set_defaults(run=run_due)
    _add_holds(actions)
    _add_encounters(actions)

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


def _add_holds(actions: Any) -> None:
    hold = actions.add_parser("hold", help="keep a person's records whatever their age (dispute, inquiry)")
    hold.add_argument("patient", metavar="PATIENT", help="pseudonym or receipt number")
    hold.add_argument("--who", required=True, metavar="NAME", help="the person who decides")
    hold.add_argument("--reason", required=True, metavar="TEXT", help="without anybody's name")
    hold.add_argument("--json", action="store_true")
    hold.set_defaults(run=run_hold)

    holds = actions.add_parser("holds", help="the legal holds that stand, with their numbers")
    holds.add_argument("--patient", metavar="PATIENT", help="on this person alone")
    holds.add_argument("--all", action="store_true", help="also those that were lifted")
    holds.add_argument("--json", action="store_true", help="one JSON object a line")
    holds.set_defaults(run=run_holds)

    lift = actions.add_parser("lift", help="lift a hold by its number")
    lift.add_argument("number", type=int, metavar="NUMBER")
    _signed(lift)
    lift.set_defaults(run=run_lift)


def _add_encounters(actions: Any) -> None:
    encounter = actions.add_parser("encounter", help="record a visit or a stay, or the end of a stay")
    encounter.add_argument("patient", metavar="PATIENT", help="pseudonym, receipt number, or a stay's number to end it")
    encounter.add_argument("--kind", choices=["outpatient", "inpatient"])
    encounter.add_argument("--ended", type=_day, metavar="YYYY-MM-DD", help="visit or discharge; absent: it lasts")
    _signed(encounter)
    encounter.set_defaults(run=run_encounter)

    listed = actions.add_parser("encounters", help="a person's visits and stays, with their numbers")
    listed.add_argument("patient", metavar="PATIENT", help="pseudonym or receipt number")
    listed.add_argument("--json", action="store_true", help="one JSON object a line")
    listed.set_defaults(run=run_encounters)

    amend = actions.add_parser("amend", help="correct a visit or a stay that was recorded wrongly")
    amend.add_argument("number", type=int, metavar="NUMBER")
    amend.add_argument("--kind", choices=["outpatient", "inpatient"])
    ended = amend.add_mutually_exclusive_group()
    ended.add_argument("--ended", type=_day, metavar="YYYY-MM-DD", help="the right day")
    ended.add_argument("--lasts", action="store_true", help="the stay has not ended")
    _signed(amend)
    amend.set_defaults(run=run_amend)

    withdraw = actions.add_parser("withdraw", help="take back a visit or a stay that there never was")
    withdraw.add_argument("number", type=int, metavar="NUMBER")
    _signed(withdraw)
    withdraw.set_defaults(run=run_withdraw)


def run_due(options: argparse.Namespace) -> int:
    """``teleread retention due``."""
    from teleread.pipeline.deletion import digest
    from teleread.pipeline.retention import decide, due, facts_of
    from teleread.reading.persons import find_patient

    with _opened() as (services, policy):
        now = services.clock()
        with services.catalogue.read() as conn:
            found = (
                [decide(facts_of(conn, find_patient(conn, options.patient)), policy, now)]
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
    from teleread.pipeline.keeping import place_hold
    from teleread.reading.persons import find_patient

    with _opened() as (services, _), services.catalogue.write() as conn:
        patient = find_patient(conn, options.patient)
        number = place_hold(conn, patient, who=options.who, reason=options.reason, at=services.clock())
    say(options, {"hold": number, "patient": patient}, f"hold {number} stands on {patient}")
    return 0


def run_holds(options: argparse.Namespace) -> int:
    """``teleread retention holds``."""
    from teleread.pipeline.keeping import holds
    from teleread.reading.persons import find_patient

    with _opened() as (services, _), services.catalogue.read() as conn:
        patient = find_patient(conn, options.patient) if options.patient else None
        found = holds(conn, patient, lifted=options.all)
    for one in found:
        lifted = f"  lifted {one.lifted_at:%Y-%m-%d} by {one.lifted_by}" if one.lifted_at else ""
        line = f"{one.id}  {one.pseudonym}  {one.placed_at:%Y-%m-%d}  {one.placed_by}  {one.reason}{lifted}"
        say(options, _facts(one), line)
    if not found and not options.json:
        print("no legal hold stands" if not options.all else "there never was a legal hold")
    return 0


def run_lift(options: argparse.Namespace) -> int:
    """``teleread retention lift``."""
    from teleread.pipeline.keeping import lift_hold

    with _opened() as (services, _), services.catalogue.write() as conn:
        pseudonym = lift_hold(conn, options.number, who=options.who, at=services.clock())
    say(options, {"lifted": options.number, "patient": pseudonym}, f"lifted for {pseudonym}")
    return 0


def run_encounter(options: argparse.Namespace) -> int:
    """``teleread retention encounter``."""
    from teleread.pipeline.keeping import end_encounter, record_encounter
    from teleread.reading.persons import find_patient

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
            patient = find_patient(conn, options.patient)
            number = record_encounter(conn, patient, options.kind, options.ended, who=options.who, at=now)
    say(options, {"encounter": number}, f"encounter {number} recorded")
    return 0


def run_encounters(options: argparse.Namespace) -> int:
    """``teleread retention encounters``."""
    from teleread.pipeline.keeping import encounters_of
    from teleread.reading.persons import find_patient

    with _opened() as (services, _), services.catalogue.read() as conn:
        found = encounters_of(conn, find_patient(conn, options.patient))
    for one in found:
        say(options, _facts(one), f"{one.id}  {one.pseudonym}  {_stay(one.kind, one.ended_at)}  {one.recorded_by}")
    if not found and not options.json:
        print("no visit or stay is recorded")
    return 0


def run_amend(options: argparse.Namespace) -> int:
    """``teleread retention amend``."""
    from teleread.pipeline.keeping import amend_encounter, encounter

    if options.kind is None and options.ended is None and not options.lasts:
        raise Misconfigured("usage", "Say what is right: --kind, --ended DAY or --lasts.")
    with _opened() as (services, _), services.catalogue.write() as conn:
        was = encounter(conn, options.number)
        kind = options.kind or was.kind
        ended_at = None if options.lasts else options.ended or was.ended_at
        amend_encounter(conn, was.id, kind=kind, ended_at=ended_at, who=options.who, at=services.clock())
    facts = {"encounter": was.id, "patient": was.pseudonym, "kind": kind, "ended_at": plain(ended_at)}
    words = f"encounter {was.id}: {_stay(kind, ended_at)}; it was {_stay(was.kind, was.ended_at)}"
    say(options, facts, words)
    return 0


def run_withdraw(options: argparse.Namespace) -> int:
    """``teleread retention withdraw``."""
    from teleread.pipeline.keeping import withdraw_encounter

    with _opened() as (services, _), services.catalogue.write() as conn:
        pseudonym = withdraw_encounter(conn, options.number, who=options.who, at=services.clock())
    facts = {"withdrawn": options.number, "patient": pseudonym}
    say(options, facts, f"encounter {options.number} of {pseudonym} is taken back")
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
    parser.add_argument("--who", required=True, metavar="NAME", help="the person who says so")
    parser.add_argument("--json", action="store_true")


def _facts(one: Any) -> dict[str, Any]:
    return {name: plain(value) for name, value in asdict(one).items()}


def _stay(kind: str, ended_at: datetime | None) -> str:
    return f"{kind}, {f'ended {ended_at:%Y-%m-%d}' if ended_at else 'lasts'}"


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

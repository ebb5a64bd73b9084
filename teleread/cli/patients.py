"""Commands on who is who: questions, links, corrections. Pseudonyms and receipt numbers; no identity is printed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from teleread.cli.terminal import actor, plain, say
from teleread.errors import Conflict, InputRejected
from teleread.services import running_services

_ACTS = ("open", "confirm", "name")


def add_commands(commands: Any) -> None:
    """Add ``teleread patients``."""
    patients = commands.add_parser("patients", help="who is who: questions, links, corrections (no identities)")
    actions = patients.add_subparsers(metavar="ACTION", required=True)

    questions = actions.add_parser("questions", help="what only a person can decide, the oldest first")
    questions.add_argument("--site", metavar="SITE", help="only what this site may decide by itself")
    questions.add_argument("--limit", type=int, default=50, help="at most so many (default: 50)")
    questions.add_argument("--json", action="store_true")
    questions.set_defaults(run=run_questions)

    answer = actions.add_parser("answer", help="answer a question, with a reason")
    answer.add_argument("question", metavar="QUESTION")
    answer.add_argument(
        "answer",
        choices=("same", "noted", "different"),
        help="same: one patient, and what the recording says holds; noted: one patient, and what was known holds; "
        "different: two patients, so that the newer case's identity is put under correction",
    )
    _with_reason(answer)
    answer.set_defaults(run=run_answer)

    person = actions.add_parser("person", help="all patients who are one person with this one, and the links")
    person.add_argument("pseudonym", metavar="PSEUDONYM")
    person.add_argument("--json", action="store_true")
    person.set_defaults(run=run_person)

    for name, words in (("link", "say that two patients are one person"), ("unlink", "take a link back")):
        action = actions.add_parser(name, help=words)
        action.add_argument("one", metavar="PSEUDONYM")
        action.add_argument("other", metavar="PSEUDONYM")
        _with_reason(action)
        action.set_defaults(run=run_link if name == "link" else run_unlink)

    listed = actions.add_parser("corrections", help="the cases whose identity is under correction")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(run=run_corrections)

    correct = actions.add_parser(
        "correct",
        help="correct whose a case is",
        description="open: its report is held until the identity is settled. confirm: it was right. name: the right "
        "patient, read as JSON from standard input (issuer, patient_id, name, birth_date, sex; the issuer is a site's "
        "id or one of the alliance file's issuers), because a command line is kept by the shell and seen by others.",
    )
    correct.add_argument("receipt", metavar="RECEIPT")
    correct.add_argument("act", choices=_ACTS)
    correct.add_argument("--reason", default="", help="why; needed to open")
    correct.add_argument("--json", action="store_true")
    correct.set_defaults(run=run_correct)


def run_questions(options: argparse.Namespace) -> int:
    """``teleread patients questions``."""
    from teleread.reading.questions import open_questions

    with running_services() as services, services.catalogue.read() as conn:
        rows = open_questions(conn, site_id=options.site, limit=options.limit)
    for one in rows:
        if options.json:
            print(json.dumps({name: plain(getattr(one, name)) for name in one.__slots__}))
        else:
            sides = " / ".join(part for part in (one.receipt, one.other_receipt) if part)
            print(f"{one.id}  {one.code:<22} {one.site_id:<16} {one.asked_at:%Y-%m-%d %H:%M} UTC  {sides}")
    if not rows and not options.json:
        print("no question is open")
    return 0


def run_answer(options: argparse.Namespace) -> int:
    """``teleread patients answer QUESTION same|noted|different``."""
    from teleread.pipeline.identity_questions import answer

    with running_services() as services:
        case_id = answer(services, options.question, answer=options.answer, reason=options.reason, who=actor())
    opened = f", case {case_id} is under correction" if case_id else ""
    say(
        options,
        {"question": options.question, "answer": options.answer, "under_correction": case_id},
        f"{options.question}  {options.answer}{opened}",
    )
    return 0


def run_person(options: argparse.Namespace) -> int:
    """``teleread patients person PSEUDONYM``."""
    from teleread.reading.persons import person_of, standing_links
    from teleread.storage.catalogue.schema import patients

    with running_services() as services, services.catalogue.read() as conn:
        known = conn.execute(select(patients).where(patients.c.pseudonym == options.pseudonym)).one_or_none()
        if known is None:
            raise Conflict("no_such_patient", "No patient has this pseudonym.")
        person = sorted(person_of(conn, options.pseudonym))
        links = standing_links(conn, person, limit=1000)
    facts = {
        "person": person,
        "links": [{name: plain(getattr(one, name)) for name in one.__slots__} for one in links],
    }
    lines = [f"{one.pseudonym} = {one.other_pseudonym}  {one.ground}  {one.linked_by}" for one in links]
    say(options, facts, "\n".join(lines) or f"{options.pseudonym} is linked with nobody")
    return 0


def run_link(options: argparse.Namespace) -> int:
    """``teleread patients link``."""
    from teleread.pipeline.identity_questions import link

    with running_services() as services:
        made = link(services, options.one, options.other, reason=options.reason, who=actor())
    say(options, {"linked": made}, "linked" if made else "they were linked already")
    return 0


def run_unlink(options: argparse.Namespace) -> int:
    """``teleread patients unlink``."""
    from teleread.pipeline.identity_questions import unlink

    with running_services() as services:
        unlink(services, options.one, options.other, reason=options.reason, who=actor())
    say(options, {"unlinked": True}, "unlinked")
    return 0


def run_corrections(options: argparse.Namespace) -> int:
    """``teleread patients corrections``."""
    from teleread.reading.corrections import open_corrections

    with running_services() as services, services.catalogue.read() as conn:
        rows = open_corrections(conn, limit=1000)
    for one in rows:
        facts = {name: plain(getattr(one, name)) for name in one.__slots__ if name != "reason"}
        line = f"{one.receipt}  {one.site_id:<16} {one.priority:<8} {one.opened_at:%Y-%m-%d %H:%M} UTC  {one.opened_by}"
        say(options, facts, line)
    if not rows and not options.json:
        print("no case's identity is under correction")
    return 0


def run_correct(options: argparse.Namespace) -> int:
    """``teleread patients correct RECEIPT open|confirm|name``."""
    from teleread.pipeline import identity_corrections
    from teleread.pipeline.named_identity import identity_from
    from teleread.storage.catalogue.schema import arrivals

    with running_services() as services:
        with services.catalogue.read() as conn:
            query = select(arrivals.c.id, arrivals.c.case_id).where(arrivals.c.receipt == options.receipt.upper())
            row = conn.execute(query).one_or_none()
        if row is None:
            raise Conflict("no_such_arrival", "No arrival has this receipt number.")
        case_id, who = row.case_id or row.id, actor()
        facts: dict[str, Any] = {"receipt": options.receipt.upper(), "case_id": case_id, "act": options.act}
        if options.act == "open":
            facts["correction"] = identity_corrections.open_correction(
                services, case_id, reason=options.reason, who=who
            )
        elif options.act == "confirm":
            identity_corrections.confirm(services, case_id, who=who)
        else:
            named = identity_from(_from_standard_input(), services.clock().date())
            facts["pseudonym"] = identity_corrections.correct(services, case_id, identity=named, who=who)
    say(options, facts, f"{facts['receipt']}  {options.act}")
    return 0


def _with_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", required=True, help="why, in a few words and without names; it is kept")
    parser.add_argument("--json", action="store_true")


def _from_standard_input() -> Mapping[str, str]:
    if sys.stdin.isatty():
        print("the patient as JSON, then Ctrl-D:", file=sys.stderr)
    try:
        found = json.loads(sys.stdin.read(64 * 1024))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InputRejected("identity_invalid", "Standard input holds no JSON object of texts.")
    return found

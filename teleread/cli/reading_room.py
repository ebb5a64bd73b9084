"""Commands on the reading room: why a case is where it is, and when nobody reads."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from teleread.errors import InputRejected
from teleread.services import running_services

if TYPE_CHECKING:  # loaded when a command runs, so that no other one waits for it
    from teleread.reading.coverage import Gap
    from teleread.reading.explain import Explanation
    from teleread.reading.routing import Step
    from teleread.web.explain_words import Words

GAPS_FOUND = 3


def add_commands(commands: Any) -> None:
    """Add ``explain`` and ``coverage``."""
    explain = commands.add_parser(
        "explain",
        help="why a case is where it is, who may read it now, and all that happened (no identities)",
        description="Facts, the rules in their order with why each fits or not, pool and limit, who may read the case "
        "now and who not and why, its history, timers and alarms. Holds no identity.",
    )
    explain.add_argument("case", metavar="CASE|RECEIPT", help="a case's id, or the receipt of what was sent")
    explain.add_argument("--json", action="store_true", help="one JSON object, with stable codes")
    _add_language(explain)
    explain.set_defaults(run=run_explain)

    coverage = commands.add_parser(
        "coverage",
        help="hours to come in which nobody on duty may read a pool",
        description="Gaps from shifts, licences and routes of the alliance file as it stands. Exit code 3 where there "
        "is one.",
    )
    coverage.add_argument("--hours", type=_hours, default=72.0, help="how far to look ahead (default: 72)")
    coverage.add_argument("--json", action="store_true", help="one JSON object for each gap")
    _add_language(coverage)
    coverage.set_defaults(run=run_coverage)


def run_explain(options: argparse.Namespace) -> int:
    """``teleread explain CASE|RECEIPT``."""
    from teleread.reading.explain import explain
    from teleread.reading.rules import rules_at
    from teleread.web.explain_words import Words

    with running_services() as services:
        room, now = rules_at(services), services.clock()
        with services.catalogue.read() as conn:
            found = explain(conn, room, options.case, now)
    if found is None:
        raise InputRejected("no_such_case", "There is no case with this id or receipt.")
    if options.json:
        print(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        _, language = _translator(options)
        print("\n".join(_explained(found, Words(_, language, room, services.alliance.sites, now), _)))
    return 0


def run_coverage(options: argparse.Namespace) -> int:
    """``teleread coverage``."""
    from teleread.reading.coverage import accounts_that_read, gaps
    from teleread.reading.rules import rules_at
    from teleread.web.explain_words import Words

    with running_services() as services:
        room, now = rules_at(services), services.clock()
        with services.catalogue.read() as conn:
            readers = accounts_that_read(conn)
    found = gaps(room, now, readers, timedelta(hours=options.hours))
    if options.json:
        for gap in found:
            print(json.dumps({"pool": gap.pool, "begins": gap.begins.isoformat(), "ends": gap.ends.isoformat()}))
    else:
        _, language = _translator(options)
        print("\n".join(_covered(found, Words(_, language, room, services.alliance.sites, now), _, options.hours)))
    return GAPS_FOUND if found else 0


def _explained(found: Explanation, words: Words, _: Any) -> Iterator[str]:
    item = found.standing
    yield f"{found.receipt}  {found.case_id}"
    yield f"{words.priority(item.priority, item.reasons)} · {words.state(item.state)} · {words.kind(item.kind)}"
    pools = " + ".join(words.pool(pool) for pool in dict.fromkeys([item.pool, item.overflow_pool or item.pool]))
    yield f"{pools} · {_('due {time}').format(time=words.moment(item.due_at))}"
    if item.state == "IN PROGRESS" and item.claimed_by:
        yield _("claimed by {who}, until {time} without a heartbeat").format(
            who=item.claimed_by, time=words.moment(item.lease_until)
        )
    yield from ["", _("Facts")]
    for name, value in words.facts(found):
        yield f"  {name}: {value}"
    yield from ["", f"{_('The rules that sent it there')}  {words.moment(found.routed_at)}"]
    yield from _rules(found.steps, words, _)
    if found.now_pool != item.pool and item.state in {"SCHEDULED", "IN PROGRESS"}:
        yield from ["", _("By the rules of now it would go to: {pool}.").format(pool=words.pool(found.now_pool))]
        yield from _rules(found.now_steps, words, _)
    yield from ["", _("Who may read it now")]
    for one in found.readers:
        until = f"{_('until')} {words.moment(one.until)}" if one.until else _("no end")
        said = f"{_('yes')}, {until}" if one.may else f"{_('no')}: {_('; ').join(words.why_not(one))}"
        yield f"  {one.account}: {said}"
    yield from ["", _("What has happened")]
    for event in found.history:
        yield f"  {words.moment(event.at)}  {words.event(event)}  {words.detail(event)}  {event.who}".rstrip()
    yield from ["", _("Timers and alarms")]
    for alarm in found.alarms:
        over = _("over since {time}").format(time=words.moment(alarm.cleared_at))
        yield f"  {words.moment(alarm.raised_at)}  {words.step(alarm.kind)}: " + (
            over if alarm.cleared_at else _("alarm is open")
        )
    for timer in found.timers:
        ended = _("timer ended {time}").format(time=words.moment(timer.done_at))
        state = ended if timer.done_at else _("timer is set")
        yield f"  {words.moment(timer.due_at)}  {words.step(timer.kind)}: {state}"


def _rules(steps: Sequence[Step], words: Words, _: Any) -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        fits = f"{_('fits')} → {words.says(step)}" if step.fits else _("does not fit")
        yield f"  {number}. {words.rule(step)}: {fits}"
        for line in words.because(step):
            yield f"       {line}"


def _covered(found: Sequence[Gap], words: Words, _: Any, hours: float) -> Iterator[str]:
    if not found:
        yield _("Every pool has a reader in the next {n} h.").format(n=f"{hours:g}")
    for gap in found:
        yield f"{words.moment(gap.begins)} – {words.moment(gap.ends)}  {words.pool(gap.pool)}: {_('nobody reads')}"


def _add_language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", choices=("zh", "en"), help="of the words (default: that of the terminal)")


def _translator(options: argparse.Namespace) -> tuple[Any, str]:
    from teleread.web.i18n import load_translations

    of_terminal = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    language = options.language or ("zh" if of_terminal.startswith("zh") else "en")
    return load_translations()[language].gettext, language


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours <= 24 * 31:
        raise argparse.ArgumentTypeError("must be hours, up to a month")
    return hours

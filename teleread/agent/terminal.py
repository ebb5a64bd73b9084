"""What the agent says in a terminal: facts as words or as JSON, failures in a sentence with their code."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

from teleread.agent import carried, home
from teleread.agent.disk import read_json
from teleread.agent.lock import runs
from teleread.agent.reports import Reports, newest
from teleread.agent.spool import Spool

_REPORTS_SHOWN = 50
_LINES_SHOWN = 10
_NEW_INVITATION = (
    "What is saved stays here and is not lost; ask its engineer for a new invitation, and --enrol with it."
)
WORDS = {
    "line_broken": "The lead hospital cannot be reached just now. Nothing is lost; try again when the line is back.",
    "server_not_trusted": "Somebody else answers at the lead hospital's address, or its certificate has changed. "
    f"Nothing was told or sent. {_NEW_INVITATION}",
    "invitation_unknown": "This invitation is wrong, was used before, or is too old. Nothing is lost: check every "
    "letter, or ask the lead hospital's engineer for a new one.",
    "too_many_attempts": "Too many invitations were tried. Nothing is lost; wait a minute and try again.",
    "agent_shut_out": f"The lead hospital has shut this PC out. {_NEW_INVITATION}",
    "agent_expired": f"The time for which this PC may send is over. {_NEW_INVITATION}",
    "sign_in_needed": f"The lead hospital does not know this PC. {_NEW_INVITATION}",
    "urgent_saved": "Saved on this PC: the lead hospital is told by itself once the line is back and the agent runs. "
    "It does not know yet: telephone now.",
    "urgent_not_told": "The lead hospital does not know this recording any more: telephone now and tell the receipt.",
    carried.NOT_CARRIED: "this file was built for other systems or Pythons. Everything is sent all the same, and the "
    "verdicts come from the lead hospital; for verdicts without a line ask its engineer for a file built for this PC.",
    carried.UNUSABLE: "what this file carries cannot be unpacked or used here (is the disk full?). Everything is sent "
    "all the same, and the verdicts come from the lead hospital. It is tried again by itself.",
}


def say(options: argparse.Namespace, facts: Any, words: str) -> None:
    """Print facts as they are asked for."""
    print(json.dumps(facts, indent=1) if options.json else words)


def fail(options: argparse.Namespace, code: str, words: str, exit_code: int) -> int:
    """Print a failure; returns its exit code."""
    if options.json:
        print(json.dumps({"error": {"code": code, "message": words}}))
    print(f"teleread: {words} [{code}]", file=sys.stderr)
    return exit_code


def in_both_languages(code: str) -> str:
    """As the page says it: whoever sets a PC up reads the terminal."""
    return _both(f"code.{code}")


def report_rows(reports: Reports) -> list[dict[str, Any]]:
    """The newest reports, critical ones first."""
    return newest(reports.all(), _REPORTS_SHOWN)


def report_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each report, in both languages; the word about a critical one stands first."""
    lines = []
    for row in rows:
        said = [_both("critical")] if row["critical"] else []
        said += [_both(f"report_{row['kind']}")] if row["kind"] != "final" else []
        said += [_both("report_held")] if row["identity_under_correction"] else []
        said += [] if row["state"] == "here" else [_both(f"report_{row['state']}")]
        said += [_both("report_open")] if row["open_elsewhere"] else []
        at = datetime.fromtimestamp(row["changed_at"]).astimezone().isoformat(" ", "minutes")
        said += [f"{row['receipt']} v{row['version']}", at]
        said += [f"[{row['failure']}]"] if row["failure"] else []
        lines.append("  ".join([*said, row["files"].get("pdf", "")]).rstrip())
    return lines


def _both(key: str) -> str:
    known = json.loads(resources.files("teleread.agent").joinpath("words.json").read_bytes())
    return " ".join(known[language][key] for language in ("en", "zh"))


def say_anything() -> None:
    """No name of a file may end the agent because the console's code page lacks a letter of it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def status(options: argparse.Namespace) -> int:
    """Print what waits, what was sent, and how the line is."""
    identity = home.load(options.home)
    spool_items = Spool(options.home, owner=False).items()
    reports = report_rows(Reports(options.home, options.home, owner=False))
    facts: dict[str, Any] = {
        "url": None if identity is None else identity.url,
        "site": None if identity is None else identity.site,
        "waiting": sum(one.state == "queued" for one in spool_items),
        "waiting_urgent": sum(one.state == "queued" and one.urgent for one in spool_items),
        "waiting_bytes": sum(one.size for one in spool_items if one.state == "queued"),
        "sent": sum(one.state == "sent" for one in spool_items),
        "refused": sum(one.state == "refused" for one in spool_items),
        "expires_at": None if identity is None else identity.expires_at,
        "reports": reports,
        "line": read_json(options.home / "status.json"),
        "runs": runs(options.home),
    }
    line = facts["line"] or {}
    if not facts["runs"]:
        how = "the agent does not run: nothing is taken or sent until it is started with --watch"
    else:
        how = line.get("failure") or ("in order" if line.get("heard_at") else "not heard of yet")
    lines = report_lines(reports)
    first = [line for line, row in zip(lines, reports, strict=True) if row["critical"]]
    words = [
        *first[:_LINES_SHOWN],
        f"lead hospital  {facts['url'] or 'not enrolled'}",
        f"waiting        {facts['waiting']} ({facts['waiting_urgent']} urgent, {facts['waiting_bytes']} bytes)",
        f"acknowledged   {facts['sent']}",
        f"refused        {facts['refused']}",
        f"line           {how}" + (f": {WORDS[how]}" if how in WORDS else ""),
        f"may send until {facts['expires_at'] or '–'}",
    ]
    if facts["runs"] and line.get("trouble"):
        words.append(f"trouble        {line['trouble']}")
    if facts["runs"] and line.get("not_judged"):
        words.append(f"verdicts       not on this PC ({carried.key()}): {WORDS[line['not_judged']]}")
    if abs(line.get("skew_s") or 0) > 60:
        words.append(f"clock          this PC differs from the lead hospital by {line['skew_s']:.0f} s")
    words += [line for line in lines if line not in first][:_LINES_SHOWN]
    say(options, facts, "\n".join(words))
    return 0

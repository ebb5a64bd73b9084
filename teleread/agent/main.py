"""The agent's command line: ``teleread send`` and ``teleread-agent.pyz``."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from teleread.agent import after_all, home
from teleread.agent.crew import Crew, at_work
from teleread.agent.disk import FULL, private_folder, write_json
from teleread.agent.fetch import Fetcher
from teleread.agent.follow import Assessor, Follower
from teleread.agent.judge import Judge
from teleread.agent.lead import LineBroken, Pace, Refused
from teleread.agent.lock import Owned, sole_owner
from teleread.agent.page import PORT, Desk, serving
from teleread.agent.reports import Reports
from teleread.agent.reports_lead import ReportsLead
from teleread.agent.sender import Sender
from teleread.agent.spool import Item, Spool
from teleread.agent.standing import NOT_OURS, Standing
from teleread.agent.terminal import (
    WORDS,
    fail,
    in_both_languages,
    report_lines,
    report_rows,
    say,
    say_anything,
    status,
)
from teleread.agent.watch import Watcher

LOOK_EVERY_S = 1.0
KEEP_SENT_S = 30 * 86400.0
KEEP_UNREAD_S = 366 * 86400.0
"""What was sent and has no report yet is asked for so long."""
_STATUS_EVERY_S = 2.0
_TOLD_WITHIN_S = 20.0
_OK, _USAGE, _REJECTED, _PEER, _INTERNAL, _STOPPED = 0, 2, 3, 4, 5, 130
_LOW_BYTES = 64 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options, for whichever command they stand behind."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="recordings to send now, each by itself")
    parser.add_argument("--to", metavar="URL", help="the lead hospital; needed only to check that it is the right one")
    parser.add_argument("--watch", type=Path, metavar="FOLDER", help="send what appears in this folder, until Ctrl-C")
    parser.add_argument("--urgent", action="store_true", help="the files named here are urgent")
    parser.add_argument(
        "--urgent-after-all", metavar="RECEIPT|FILE", help="what was taken or sent from this PC before is urgent"
    )
    parser.add_argument("--enrol", metavar="INVITATION", help="use the invitation that the lead hospital gave, once")
    parser.add_argument(
        "--send-queue-there",
        action="store_true",
        help="with --enrol at another lead hospital or for another site: what waits here goes there as well",
    )
    parser.add_argument("--status", action="store_true", help="what waits, what was sent, and how the line is")
    parser.add_argument(
        "--home", type=Path, default=default_home(), help="the agent's own folder (default: %(default)s)"
    )
    parser.add_argument(
        "--page", type=int, default=PORT, metavar="PORT", help="of the agent's page (default: %(default)s)"
    )
    parser.add_argument("--no-page", action="store_true", help="no page: several people sign in to this PC")
    parser.add_argument("--cap", type=float, metavar="KBIT", help="use no more of the line than so many kbit/s")
    parser.add_argument(
        "--reports",
        type=Path,
        metavar="FOLDER",
        help="where the signed reports go, as PDF and JSON; by itself: fetch what there is now, and end "
        "(default: 'reports' in the agent's own folder)",
    )
    parser.add_argument(
        "--reports-language", choices=("zh", "en"), default="zh", help="of the sheets (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="say it as JSON")


def default_home() -> Path:
    """The agent's folder: what ``TELEREAD_AGENT_HOME`` names, else one of the person who runs it."""
    named = os.environ.get("TELEREAD_AGENT_HOME")
    return Path(named) if named else Path.home() / ".teleread-agent"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent by itself."""
    parser = argparse.ArgumentParser(
        prog="teleread-agent",
        description="Brings recordings to the lead hospital over any line. Nothing leaves this PC's disk before the "
        "lead hospital has acknowledged it.",
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Do what the options say; exit codes 0 ok, 2 usage, 3 refused, 4 the line or the lead hospital."""
    say_anything()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        if options.enrol:
            return _enrol(options)
        if options.urgent_after_all:
            return _urgent_after_all(options)
        if options.status:
            return status(options)
        return _send(options)
    except ValueError as error:
        return fail(options, "usage", str(error), _USAGE)
    except LineBroken as error:
        return fail(options, error.code, WORDS.get(error.code, WORDS["line_broken"]), _PEER)
    except Refused as error:
        return fail(options, error.code, WORDS.get(error.code, "The lead hospital refuses this."), _REJECTED)
    except OSError as error:
        words = f"A file or folder of this PC cannot be used: {error.strerror or type(error).__name__}."
        return fail(options, "disk_failed", f"{words} What was saved before is safe.", _INTERNAL)
    except KeyboardInterrupt:
        print("teleread: stopped; what waits is on the disk and is sent at the next start", file=sys.stderr)
        return _STOPPED


def _enrol(options: argparse.Namespace) -> int:
    spool = Spool(options.home, owner=False)
    empty = not spool.queued() and not spool.to_tell()
    invitation = home.Invitation.parse(options.enrol)
    try:
        identity = home.enrol(options.home, invitation, queue_goes_along=empty or options.send_queue_there)
    except home.QueueElsewhere:
        return fail(options, "queue_elsewhere", in_both_languages("queue_elsewhere"), _REJECTED)
    facts = {"agent": identity.agent, "site": identity.site, "url": identity.url, "expires_at": identity.expires_at}
    say(options, facts, f"enrolled as agent {identity.agent} of site {identity.site} at {identity.url}")
    return _OK


def _urgent_after_all(options: argparse.Namespace) -> int:
    """Say of a recording that is here or was sent that it is urgent: durable first, then told."""
    identity = _identity(options)
    item = after_all.find(Spool(options.home, owner=False), options.urgent_after_all)
    if item is None:
        raise ValueError(
            "No recording of this receipt or file was taken on this PC. A file that was not sent yet: send it with "
            "--urgent. What was sent from elsewhere: telephone the lead hospital."
        )
    after_all.say(options.home, item, time.time())
    ends = time.monotonic() + _TOLD_WITHIN_S
    try:
        with sole_owner(options.home):
            spool = Spool(options.home)
            after_all.take_over(options.home, spool)
            with _at_work(options, identity, spool):
                while _still_to_tell(spool.find(item.id)) and time.monotonic() < ends:
                    with spool.changed:
                        spool.changed.wait(0.5)
            found = spool.find(item.id)
    except Owned:
        # the agent that runs here takes it over within a second
        while _still_to_tell(found := Spool(options.home, owner=False).find(item.id)) and time.monotonic() < ends:
            time.sleep(LOOK_EVERY_S / 2)
    if found is None or _still_to_tell(found):
        raise LineBroken("urgent_saved")
    if found.failure == "urgent_not_told":
        raise Refused("urgent_not_told", 404)
    words = "the lead hospital knows that it is urgent" if found.state == "sent" else "goes first"
    say(options, {"item": asdict(found)}, f"{', '.join(found.receipts) or found.files[0].name}  {words}")
    return _OK


def _still_to_tell(item: Item | None) -> bool:
    return item is not None and (not item.urgent or item.raising_since > 0) and item.state != "refused"


def _identity(options: argparse.Namespace) -> home.Identity:
    identity = home.load(options.home)
    if identity is None:
        raise ValueError("This PC is not enrolled: ask the lead hospital for an invitation, then --enrol INVITATION.")
    return identity


def _send(options: argparse.Namespace) -> int:
    identity = _identity(options)
    if options.to and options.to.rstrip("/") not in {identity.url, identity.page_url}:
        raise ValueError(f"This PC is enrolled at {identity.url}; another lead hospital needs another --home.")
    _check_folders(options)
    if not options.files and options.watch is None:
        if options.reports is None:
            raise ValueError("Name files to send, a folder with --watch, or one for reports alone with --reports.")
        return _fetch(options, identity)
    if options.watch is not None and not options.watch.is_dir():
        # after a restart the share may be slower than we are: the page works, and it is looked at again
        logging.warning("the folder to watch is not there (yet); it is looked for again by itself")
    with sole_owner(options.home):
        private_folder(options.home / "items")
        spool = Spool(options.home)
        after_all.take_over(options.home, spool)
        now = time.time()
        items = [spool.add_paths({path.name: path}, urgent=options.urgent, seen_at=now).id for path in _there(options)]
        while options.watch is not None:
            with _at_work(options, identity, spool) as crew:
                identity = _watch(options, identity, spool, crew)
        while True:
            try:
                with _at_work(options, identity, spool) as crew:
                    _wait_for(options, spool, crew, items)
                break
            except Refused as error:
                known = Standing(options.home, identity, _lead(options, identity))
                if error.code != "sign_in_needed" or not known.ask():
                    raise
                identity = known.identity  # agents have another port there now
        failed = [item for item in map(spool.find, items) if item is not None and item.state != "sent"]
        sent = [asdict(item) for item in map(spool.find, items) if item is not None]
        say(options, {"items": sent}, "\n".join(_line(one) for one in sent))
        return _REJECTED if failed else _OK


def _check_folders(options: argparse.Namespace) -> None:
    if options.watch is None:
        return
    watched, reports = options.watch.resolve(), _reports_folder(options).resolve()
    if watched == reports or watched in reports.parents:
        raise ValueError("The folder for reports lies in the watched one: they would be sent as recordings.")


def _reports_folder(options: argparse.Namespace) -> Path:
    return Path(options.reports or options.home / "reports").absolute()


def _fetch(options: argparse.Namespace, identity: home.Identity) -> int:
    """Fetch the reports that there are now."""
    with sole_owner(options.home):
        private_folder(options.home / "items")
        reports = Reports(options.home, _reports_folder(options))
        lead = _lead(options, identity, _pace(options))
        try:
            Fetcher(Spool(options.home), reports, lead, language=options.reports_language).everything()
        finally:
            lead.close()
    rows = report_rows(reports)
    say(options, {"reports": rows}, "\n".join(report_lines(rows)) or "no report has been given back yet")
    return _PEER if any(row["failure"] for row in rows) else _OK


@contextmanager
def _at_work(options: argparse.Namespace, identity: home.Identity, spool: Spool) -> Iterator[Crew]:
    """Sender, judge, follower and page, each on its thread, until the block ends."""
    pace = _pace(options)
    lead = _lead(options, identity, pace)
    sender = Sender(spool, lead)
    with ExitStack() as stack:
        crew = stack.enter_context(at_work(sender, lead))
        if options.watch is not None:
            judge = Judge(home=options.home)
            crew.judge_failure = lambda: judge.failure
            crew.add(Assessor(spool, judge))
            crew.add(Follower(spool, _lead(options, identity, pace)))
            reports = Reports(options.home, _reports_folder(options))
            reports_lead = _lead(options, identity, pace)
            crew.add(Fetcher(spool, reports, reports_lead, language=options.reports_language))
            standing = Standing(options.home, identity, _lead(options, identity, pace))
            crew.add(standing)
            desk = Desk(
                spool,
                sender,
                identity,
                str(options.watch),
                lambda: lead.skew_s,
                standing,
                lambda: crew.trouble,
                crew.judge_failure,
                reports=reports,
            )
            if not options.no_page:
                _open_page(options, desk, stack)
        yield crew


def _open_page(options: argparse.Namespace, desk: Desk, stack: ExitStack) -> None:
    try:
        port = stack.enter_context(serving(desk, options.page))
        print(f"teleread: http://127.0.0.1:{port} shows how it goes", file=sys.stderr)
    except OSError:
        # the recordings matter more than the page
        logging.warning("the page's port %d is taken: no page; name another with --page", options.page)


def _pace(options: argparse.Namespace) -> Pace | None:
    """The part of the line that all of this agent share."""
    return Pace(options.cap * 1000 / 8) if options.cap else None


def _lead(options: argparse.Namespace, identity: home.Identity, pace: Pace | None = None) -> ReportsLead:
    token = identity.token if identity.is_local else None
    return ReportsLead(identity.url, context=identity.context(), token=token, pace=pace)


def _there(options: argparse.Namespace) -> list[Path]:
    for path in options.files:
        if not path.is_file():
            raise ValueError(f"There is no file {path}.")
    return list(options.files)


def _watch(options: argparse.Namespace, identity: home.Identity, spool: Spool, crew: Crew) -> home.Identity:
    """Look until the agent is another than at the start: enrolled anew, or renewed. Returns what it is now."""
    watcher = Watcher(options.watch, spool, options.home / "taken.json")
    noted_at = 0.0
    while True:
        trouble = ""
        try:
            after_all.take_over(options.home, spool)
            watcher.look()
        except OSError as error:
            trouble = "agent_disk_full" if error.errno in FULL else "folder_gone"
        trouble = trouble or ("agent_disk_full" if _is_low(options.home) else "")
        if trouble != crew.trouble:
            logging.warning("the watched folder or this PC's disk: %s", trouble or "in order again")
            crew.trouble = trouble
        crew.mend()
        if time.monotonic() - noted_at > _STATUS_EVERY_S:
            _note(options.home, crew)
            spool.forget_sent(time.time() - KEEP_SENT_S, lambda one: _is_awaited(one, crew))
            now = home.load(options.home)
            if now is not None and now != identity:
                return now
            noted_at = time.monotonic()
        time.sleep(LOOK_EVERY_S)


def _is_awaited(item: Item, crew: Crew) -> bool:
    """Whether a report to something that was sent may come, and no record of its own follows it."""
    reports = next((one.reports for one in crew.workers if isinstance(one, Fetcher)), None)
    if reports is None or time.time() - item.sent_at > KEEP_UNREAD_S:
        return False
    return any(reports.find(receipt) is None for receipt in item.receipts)


def _is_low(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _LOW_BYTES
    except OSError:
        return True


def _wait_for(options: argparse.Namespace, spool: Spool, crew: Crew, items: list[str]) -> None:
    shown = ""
    while any(item is not None and item.state == "queued" for item in map(spool.find, items)):
        crew.mend()
        _note(options.home, crew)
        progress = crew.sender.progress
        if progress.failure in NOT_OURS:
            raise Refused(progress.failure, 403)  # no waiting mends that, and a person stands here
        text = f"{progress.sent} of {progress.size} bytes" + (f", {progress.failure}" if progress.failure else "")
        if sys.stderr is not None and sys.stderr.isatty() and text != shown:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            shown = text
        with spool.changed:
            spool.changed.wait(0.5)
    if shown:
        print("\r\033[K", end="", file=sys.stderr)
    _note(options.home, crew)


def _note(folder: Path, crew: Crew) -> None:
    """Write down how it goes, for ``--status``, which is another process."""
    facts = {
        **asdict(crew.sender.progress),
        "skew_s": crew.lead.skew_s,
        "trouble": crew.trouble,
        "not_judged": crew.judge_failure(),
        "noted_at": time.time(),
    }
    for one in crew.workers:
        if isinstance(one, Standing):
            facts["failure"] = facts["failure"] or one.failure
            facts["heard_at"] = max(filter(None, (facts["heard_at"], one.heard_at)), default=None)
    with suppress(OSError):
        write_json(folder / "status.json", facts)


def _line(item: dict[str, Any]) -> str:
    return f"{', '.join(item['receipts']) or item['failure'] or item['state']}  {item['files'][0]['name']}"

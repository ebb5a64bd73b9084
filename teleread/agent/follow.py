"""Judges what the spool holds, and asks what has become of what was sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from teleread.agent.judge import Judge
from teleread.agent.lead import Lead, LineBroken, Refused
from teleread.agent.spool import Item, Spool

ASK_URGENT_S, ASK_S = 3.0, 30.0
_AT_ONCE = 2
_HELD_S = 4.0  # less than a lead hospital keeps a line open on which nothing is asked
FOLLOW_FOR_S = 24 * 3600.0
"""How long each recording is asked for by itself; a report that comes later, or changes, is found by
:class:`teleread.agent.fetch.Fetcher`, which asks for many at once."""


class Assessor:
    """Gives each recording its verdict on this PC, urgent ones first, on a thread beside the sending."""

    def __init__(self, spool: Spool, judge: Judge) -> None:
        self._spool = spool
        self._judge = judge
        self._stopped = threading.Event()

    def run(self) -> None:
        """Judge until stopped."""
        self._judge.warm_up()
        while not self._stopped.is_set():
            waiting = [one for one in self._spool.queued() if not one.verdict]
            if not waiting:
                with self._spool.changed:
                    self._spool.changed.wait(1.0)
                continue
            self.assess(waiting[0])
        self._judge.close()

    def assess(self, item: Item) -> None:
        """Judge one recording and write it down."""
        try:
            verdict = self._judge.judge({one.name: self._spool.path(item, n) for n, one in enumerate(item.files)})
        except OSError:
            verdict = {"light": "none"}  # sent and gone meanwhile: the lead hospital judges it
        known = self._spool.find(item.id)
        if known is not None and not known.verdict and not self._stopped.is_set():
            self._spool.update(item.id, verdict=verdict)

    def stop(self) -> None:
        """End, and what is being judged or unpacked with it."""
        self._stopped.set()
        self._judge.stop()


class Follower:
    """Asks for verdict, state and report of what has arrived, over a connection of its own."""

    def __init__(self, spool: Spool, lead: Lead, now: Callable[[], float] = time.time) -> None:
        self._spool = spool
        self._lead = lead
        self._now = now
        self._asked: dict[str, float] = {}
        self._used_at = 0.0
        self._stopped = threading.Event()

    def run(self) -> None:
        """Ask until stopped."""
        while not self._stopped.is_set():
            if time.monotonic() - self._used_at > _HELD_S:
                self._lead.close()  # a line that is held open unused breaks without a word
            try:
                self.ask_due()
            except (LineBroken, Refused):
                self._stopped.wait(ASK_S)
            self._stopped.wait(1.0)
        self._lead.close()

    def ask_due(self) -> None:
        """Ask for all that is due.

        Raises:
            LineBroken, Refused.
        """
        now = self._now()
        items = self._spool.items()
        sending = any(one.state == "queued" for one in items)
        due = [one for one in items if self._is_due(one, now) and (one.urgent or not sending)]
        # those that were never asked for first; few at a time, since the answers use the line that the sending needs
        due.sort(key=lambda one: (not one.urgent, self._asked.get(one.id, 0.0)))
        for item in due[:_AT_ONCE]:
            self._asked[item.id] = now
            self._used_at = time.monotonic()
            verdict = kept(self._lead.verdict(item.receipts[0]), item)
            if verdict != item.verdict:
                self._spool.update(item.id, verdict=verdict)

    def _is_due(self, item: Item, now: float) -> bool:
        if item.state != "sent" or not item.receipts or item.verdict.get("report"):
            return False
        if now - item.sent_at > FOLLOW_FOR_S:
            return False
        asked = self._asked.get(item.id)
        # its verdict is a matter of seconds, and the nurse waits for it beside the patient
        fresh = item.verdict.get("light", "none") == "none" and now - item.sent_at < ASK_S
        # a clock that was set back must not put the question off until it has caught up
        return asked is None or not 0 <= now - asked < (ASK_URGENT_S if item.urgent or fresh else ASK_S)

    def stop(self) -> None:
        """End after the question that is on its way."""
        self._stopped.set()


def kept(found: Mapping[str, Any], item: Item) -> dict[str, Any]:
    """What the page shows of the lead hospital's answer; our own light stays until there is another."""
    kept = {name: found.get(name) for name in ("light", "findings", "case_state", "position")}
    if kept["light"] in (None, "none"):
        kept["light"], kept["findings"] = item.verdict.get("light", "none"), item.verdict.get("findings", [])
    report = found.get("report")
    # its words stay in the signed files; here only that it is there
    said = (
        {"critical": bool(report.get("critical")), "state": report.get("state")} if isinstance(report, dict) else None
    )
    return {**kept, "report": said}

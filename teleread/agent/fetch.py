"""Fetches the reports of what was sent, for as long as the lead hospital may change one; beside the sending, behind
whatever is urgent.

Two ways lead to a report: the answer about one recording (:class:`teleread.agent.follow.Follower`), within seconds; and
a question about many receipts at once, which finds what was signed after days, corrected or withdrawn after months, or
came while this PC was off.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from teleread.agent.follow import kept
from teleread.agent.lead import LineBroken, Refused
from teleread.agent.reports import Report, Reports, is_receipt
from teleread.agent.reports_lead import AT_ONCE, GaveWay, ReportsLead
from teleread.agent.sound import JSON_BYTES, PDF_BYTES, NotSound, check_json, check_pdf, news_of
from teleread.agent.spool import Item, Spool

log = logging.getLogger(__name__)

DAY_S = 86400.0
ASK_FRESH_S, ASK_WEEK_S, ASK_OLD_S = 60.0, 600.0, 6 * 3600.0
"""How often many are asked for at once: within a day after they were sent or their report changed, a week, later."""
ROUTINE_WAITS_S = 600.0
"""So long a report that is neither urgent nor critical leaves the line to recordings that wait to be sent."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 3600.0
_LINE_PAUSE_S = 30.0
_IDLE_S = 1.0
_LIMITED_S = 60.0
_LOOK_EVERY_S = 15.0
_SIZES = {"json": JSON_BYTES, "pdf": PDF_BYTES}


@dataclass(frozen=True, slots=True)
class _Followed:
    """A receipt whose report may come or change."""

    receipt: str
    since: float
    item: Item | None
    report: Report | None

    @property
    def urgent(self) -> bool:
        known = self.report is not None and (self.report.urgent or self.report.news.critical)
        told = self.item is not None and (self.item.verdict.get("report") or {}).get("critical") is True
        return known or told or (self.item is not None and self.item.urgent)


class Fetcher:
    """Fetches until stopped, on a thread and over a connection of its own.

    Args:
        now: seconds since 1970 by this PC.
        clock: seconds that only go on.
        language: of the sheets, ``zh`` or ``en``.
    """

    def __init__(
        self,
        spool: Spool,
        reports: Reports,
        lead: ReportsLead,
        *,
        language: str = "zh",
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._spool, self.reports, self._lead = spool, reports, lead
        self._language = language
        self._now, self._clock = now, clock
        self._chance = chance or random.Random()
        self._stopped = threading.Event()
        self._asked: dict[str, float] = {}
        self._states: dict[str, str] = {}
        self._critical: set[str] = set()
        self._known_at: dict[str, float] = {}
        self._later: dict[str, tuple[float, int, str]] = {}
        """Receipts whose files could not be had: until when, how often, in which state."""

    def run(self) -> None:
        """Fetch until stopped."""
        looked_at = -_LOOK_EVERY_S
        while not self._stopped.is_set():
            if self._clock() - looked_at >= _LOOK_EVERY_S:
                self.put_aside()
                looked_at = self._clock()
            try:
                pause = 0.0 if self.step() else _IDLE_S
                if pause:
                    self._lead.close()  # a line that is held open unused breaks without a word
            except (LineBroken, Refused) as error:
                pause = _LIMITED_S if error.code == "too_many_downloads" else self._chance.uniform(5.0, _LINE_PAUSE_S)
            self._stopped.wait(pause)
        self._lead.close()

    def stop(self) -> None:
        """End now; what is on its way is fetched anew at the next start."""
        self._stopped.set()
        self._lead.abort()

    def step(self) -> bool:
        """Fetch the report that goes first, or ask for what is due; False where there was nothing to do.

        Raises:
            LineBroken, Refused.
        """
        if self._gives_way():
            return False
        followed = self._followed()
        wanted = [one for one in followed if self._is_wanted(one)]
        if wanted:
            wanted.sort(key=lambda one: (not self._goes_first(one), one.since))
            self._try(wanted[0])
            return True
        due = [one for one in followed if self._is_due(one)]
        if due:
            self._ask(due[:AT_ONCE])
        return bool(due)

    def put_aside(self) -> None:
        """Try again with what another program held open."""
        for one in self.reports.known():
            if one.aside:
                try:
                    self.reports.put_aside(one)
                except OSError as error:
                    log.error("an old file of %s cannot be put aside: %s", one.receipt, type(error).__name__)

    def everything(self) -> None:
        """Ask for all that is followed and fetch what there is, once.

        Raises:
            LineBroken, Refused.
        """
        self.put_aside()
        try:
            while not self._stopped.is_set() and self.step():
                pass
        finally:
            self._lead.close()

    def _gives_way(self) -> bool:
        """Whether something urgent waits to be sent or told, or it is to end."""
        return self._stopped.is_set() or bool(self._spool.to_tell()) or any(one.urgent for one in self._spool.queued())

    def _followed(self) -> list[_Followed]:
        reports = {one.receipt: one for one in self.reports.known()}
        found = {}
        for item in self._spool.items():
            for receipt in item.receipts if item.state == "sent" else ():
                if is_receipt(receipt):
                    report = reports.get(receipt)
                    since = max(item.sent_at, report.changed_at if report else 0.0)
                    found[receipt] = _Followed(receipt, since, item, report)
        for receipt, report in reports.items():
            found.setdefault(receipt, _Followed(receipt, report.changed_at, None, report))
        return list(found.values())

    def _is_due(self, one: _Followed) -> bool:
        asked = self._asked.get(one.receipt)
        if asked is None:
            return True
        # a clock that was set back or ahead by years only makes it asked more or less often, and never not at all
        age = self._now() - one.since
        every = ASK_FRESH_S if age < DAY_S else ASK_WEEK_S if age < 7 * DAY_S else ASK_OLD_S
        return self._clock() - asked >= every

    def _ask(self, due: list[_Followed]) -> None:
        found = self._lead.states([one.receipt for one in due])
        for one in due:
            self._asked[one.receipt] = self._clock()
            if one.receipt in found:
                self._note(one.receipt, *found[one.receipt])

    def _note(self, receipt: str, state: str, critical: bool) -> None:
        if critical:
            self._critical.add(receipt)
        if self._states.get(receipt) != state:
            self._states[receipt] = state
            self._known_at[receipt] = self._clock()

    def _is_wanted(self, one: _Followed) -> bool:
        told = (one.item.verdict.get("report") or {}).get("state") if one.item else None
        is_first = one.item is not None and one.receipt == one.item.receipts[0]
        if is_first and one.receipt not in self._states and isinstance(told, str) and told:
            self._note(one.receipt, told, one.urgent)
        report = one.report
        state = self._states.get(one.receipt, report.news.state if report else "")
        if not state or (report is not None and report.is_here and report.state == state):
            return False
        until, _, failed = self._later.get(one.receipt, (0.0, 0, ""))
        if failed == state and self._clock() < until:
            return False
        waited = self._clock() - self._known_at.setdefault(one.receipt, self._clock())
        return self._goes_first(one) or not self._spool.queued() or waited >= ROUTINE_WAITS_S

    def _goes_first(self, one: _Followed) -> bool:
        return one.urgent or one.receipt in self._critical

    def _try(self, one: _Followed) -> None:
        try:
            self._fetch(one)
        except GaveWay:
            return
        except NotSound as error:
            self._put_off(one.receipt, error.code)
        except OSError as error:
            log.error("the report %s cannot be kept: %s", one.receipt, type(error).__name__)
            is_open = isinstance(error, PermissionError)
            self._put_off(one.receipt, "report_open" if is_open else "report_not_saved")
        except LineBroken as error:
            if error.code == "too_many_downloads" or not error.answered:
                raise
            self._put_off(one.receipt, error.code)
        except Refused as error:
            if error.of_sender:
                raise
            self._put_off(one.receipt, error.code)
        else:
            self._later.pop(one.receipt, None)

    def _fetch(self, one: _Followed) -> None:
        """Say what there is, which ends what was here; then fetch it."""
        receipt, item = one.receipt, one.item
        verdict = self._lead.verdict(receipt)
        news = news_of(verdict)
        if item is not None and receipt == item.receipts[0]:
            self._spool.update(item.id, verdict=kept(verdict, item))
        if news is None:
            # a deletion took it, or another lead hospital never had it: what the clinic has stays the clinic's
            self._put_off(receipt, "report_gone")
            return
        self._states[receipt] = news.state
        identity = {"item": item.id, "name": item.files[0].name} if item is not None else {}
        report = self.reports.learn(receipt, news, self._now(), urgent=one.urgent, **identity)
        if report.is_here:
            return
        data = {}
        for ending, largest in _SIZES.items():
            data[ending], state = self._lead.file(receipt, ending, self._language, largest, self._gives_way)
            if state != news.state:
                raise LineBroken("report_changes", answered=True)  # signed in between: asked for anew
        signature = check_json(data["json"], news)
        check_pdf(data["pdf"])
        self.reports.keep(receipt, news, data, signature)

    def _put_off(self, receipt: str, code: str) -> None:
        log.warning("the report %s is fetched again later: %s", receipt, code)
        state = self._states.get(receipt, "")
        _, times, before = self._later.get(receipt, (0.0, 0, ""))
        times = times + 1 if before == state else 1
        pause = min(FIRST_PAUSE_S * 2.0 ** min(times - 1, 16), LONGEST_PAUSE_S)
        self._later[receipt] = (self._clock() + self._chance.uniform(0.5 * pause, pause), times, state)
        try:
            self.reports.failed(receipt, code)
        except OSError as error:
            log.error("that a report is not here cannot be noted: %s", type(error).__name__)

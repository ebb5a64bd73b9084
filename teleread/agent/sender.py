"""Brings what is in the spool to the lead hospital: urgent first, resuming within a part, for as long as it takes."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from teleread.agent.lead import Lead, LineBroken, Refused
from teleread.agent.spool import Item, Spool

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
LONGEST_URGENT_PAUSE_S = 10.0
_IDLE_S = 5.0


@dataclass(slots=True)
class Progress:
    """How the sending goes, for the page and ``--status``."""

    item: str = ""
    sent: int = 0
    size: int = 0
    failure: str = ""
    failing_since: float | None = None
    heard_at: float | None = None


class Sender:
    """Sends until it is told to stop.

    Args:
        now: seconds since 1970 by this PC.
        clock: seconds that only go on.
        chance: of the pauses, so that clinics that lost their line together do not come back together.
    """

    def __init__(
        self,
        spool: Spool,
        lead: Lead,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        self._spool = spool
        self._lead = lead
        self._now = now
        self._chance = chance or random.Random()
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._stopped = threading.Event()
        self._clock = clock
        self._begun: set[str] = set()
        self._later: dict[str, tuple[float, int, bool]] = {}
        """Items that failed while the line was in order: until when, how often, whether urgent then."""
        self.progress = Progress()

    def stop(self) -> None:
        """End after the part that is on its way."""
        self._stopped.set()
        with self._spool.changed:
            self._spool.changed.notify_all()

    def run(self) -> None:
        """Send until stopped."""
        failures = 0
        while not self._stopped.is_set():
            known = self._urgent()
            item = self._first()
            if item is None:
                self._wait(self._until_next(), known if self._later else None)
                continue
            try:
                if item.state == "sent":
                    self.tell(item)
                else:
                    self.send(item)
                failures = 0
                self._later.pop(item.id, None)
            except LineBroken as error:
                self._note_failure(error.code)
                if error.answered:
                    # the line is in order and this one is in the way of none: others are sent meanwhile
                    self._put_off(item)
                    failures = 0
                else:
                    self._wait(self._pause(failures), known)
                    failures += 1
            except Refused as error:
                self._note_failure(error.code)
                if error.for_ever or (error.code == "upload_hash_mismatch" and not self._spool.is_sound(item)):
                    self._give_up(item, error.code if error.for_ever else "spool_damaged")
                elif error.of_sender:
                    # who sends is not known there now; the recording waits and is not at fault
                    self._wait(self._longest_pause_s, known)
                elif item.state == "sent" and error.code == "no_such_arrival":
                    self._spool.told(item, self._now(), "urgent_not_told")
                else:
                    self._put_off(item)
            except OSError as error:
                # the disk of this PC, for this one recording
                log.error("item %s cannot be read or written: %s", item.id, type(error).__name__)
                self._note_failure("store_io")
                if item.state == "sent" or self._spool.has_bytes(item):
                    self._put_off(item)
                else:
                    self._give_up(item, "spool_damaged")
        self._lead.close()

    def _first(self) -> Item | None:
        """What is to be sent now: the first in order that is not put off."""
        moment = self._clock()
        todo = self._todo()
        self._later = {one.id: self._later[one.id] for one in todo if one.id in self._later}
        return next((one for one in todo if self._put_off_until(one) <= moment), None)

    def _todo(self) -> list[Item]:
        """What the lead hospital must be told of things it has, which is a few bytes, then what it has not."""
        return [*self._spool.to_tell(), *self._spool.queued()]

    def _put_off_until(self, item: Item) -> float:
        until, _, was_urgent = self._later.get(item.id, (0.0, 0, True))
        return until if was_urgent or not item.urgent else 0.0

    def _until_next(self) -> float:
        return min([_IDLE_S, *(max(until - self._clock(), 0.01) for until, _, _ in self._later.values())])

    def _put_off(self, item: Item) -> None:
        _, times, _ = self._later.get(item.id, (0.0, 0, False))
        self._later[item.id] = (self._clock() + self._pause(times), times + 1, item.urgent)

    def _urgent(self) -> set[str]:
        return {one.id for one in self._todo() if one.urgent}

    def _give_up(self, item: Item, code: str) -> None:
        log.error("item %s is refused: %s", item.id, code)
        self._spool.update(item.id, state="refused", failure=code)

    def send(self, item: Item) -> bool:
        """Send one item, or as much of it as there is before a more urgent one; True when it was acknowledged.

        Raises:
            LineBroken: the same item goes on where it was.
            Refused: it is not taken.
        """
        self.progress.item, self.progress.size = item.id, item.size
        done = 0
        receipts: tuple[str, ...] = ()
        for n, part in enumerate(item.files):
            waited_s = max(self._now() - item.seen_at, 0)
            said = {"filename": part.name, "sha256": part.sha256, "waited_s": f"{waited_s:.0f}"}
            if item.urgent:
                said["urgent"] = "1"
            if len(item.files) > 1:
                said |= {"group": item.id, "group_size": str(len(item.files))}
            with self._spool.path(item, n).open("rb") as file:
                fresh = part.sha256 not in self._begun
                first = file.read(min(self._lead.part_bytes, part.size)) if fresh else b""
                self._begun.add(part.sha256)
                where = self._lead.announce(part.size, said, first)
                self._heard(done + where.offset)
                while where.offset < part.size:
                    if self._stopped.is_set() or self._must_give_way(item):
                        return False
                    where = self._lead.add(where, file, part.size)
                    self._heard(done + where.offset)
            done += part.size
            receipts = where.receipts or receipts
        if not receipts:
            # whole there and not landed yet: it is asked again, and nothing of it is sent again
            raise LineBroken("not_landed_yet", answered=True)
        self._spool.acknowledged(item, receipts, self._now())
        self._begun.difference_update(one.sha256 for one in item.files)
        self.progress = Progress(heard_at=self._now())
        return True

    def tell(self, item: Item) -> None:
        """Tell the lead hospital that what it has is urgent after all.

        Raises:
            LineBroken: it is told again, however much of it was heard.
            Refused: it does not know the receipt.
        """
        for receipt in item.receipts:
            self._lead.make_urgent(receipt)
        self._spool.told(item, self._now())
        self.progress.heard_at = self._now()
        self.progress.failure, self.progress.failing_since = "", None

    def _must_give_way(self, item: Item) -> bool:
        first = self._first() or item
        return first.state == "sent" or (first.urgent and not item.urgent)

    def _heard(self, sent: int) -> None:
        self.progress.sent = sent
        self.progress.heard_at = self._now()
        self.progress.failure, self.progress.failing_since = "", None

    def _note_failure(self, code: str) -> None:
        log.warning("the lead hospital is not reached: %s", code)
        self.progress.failure = code
        if self.progress.failing_since is None:
            self.progress.failing_since = self._now()

    def _pause(self, failures: int) -> float:
        limit = min(self._longest_pause_s, LONGEST_URGENT_PAUSE_S) if self._urgent() else self._longest_pause_s
        longest = min(limit, self._first_pause_s * 2.0 ** min(failures, 16))
        return self._chance.uniform(0.1 * longest, longest)

    def _wait(self, seconds: float, known: set[str] | None = None) -> None:
        """Wait, but not when something is put into the spool; only something urgent that is not ``known`` counts when
        those are given.
        """
        ends = time.monotonic() + seconds
        with self._spool.changed:
            while not self._stopped.is_set() and (left := ends - time.monotonic()) > 0:
                if self._todo() if known is None else self._urgent() - known:
                    return
                self._spool.changed.wait(left)


@contextlib.contextmanager
def running(sender: Sender) -> Iterator[Sender]:
    """The sender on a thread of its own; stopped when the block ends."""
    thread = threading.Thread(target=sender.run, name="sender", daemon=True)
    thread.start()
    try:
        yield sender
    finally:
        sender.stop()
        thread.join()

"""The critical loop's clock: every due step of every ladder is taken, and messages leave outside of any transaction.

Runs in every web process. Planning a step is one short transaction that takes the timer, writes what is to be done
and finishes the timer: a process that dies in it has done nothing, and another one does it at once. Sending takes its
timer by lease and runs on a thread of its own; its outcome is written with the next round.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, select, update

from teleread.errors import StorageError, TelereadError
from teleread.pipeline import tell
from teleread.pipeline.services import Services
from teleread.reading import contact_tests, criticals, timers
from teleread.reading.critical_ladder import ladder_at
from teleread.reading.critical_people import contacts_of, people_for
from teleread.reading.critical_rows import lock, some, told
from teleread.reading.critical_state import Act, Critical, Told, decide
from teleread.reading.timers import Timer
from teleread.storage import audit
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import critical_steps

log = logging.getLogger(__name__)

SEND_TIMER = "critical_send"
SENDS_AT_ONCE = 256
"""Messages on their way at one time, each on a thread that mostly waits: contacts that hang hold one for three seconds,
so that 85 of them a second delay nobody else. (48 were too few for 500 critical values in two minutes.)
"""
SEND_LEASE = timedelta(seconds=1.5)
"""A message whose process died is sent again after this: with the pause between two rounds, well within 5 s of its
time. A process that lives holds on to what it is sending.
"""
_HOLD_WITHIN = timedelta(seconds=0.9)
PAUSES_S = (5.0, 20.0)
"""After the first and the second failure; the third is final, and the ladder goes on anyway."""
_PLANS = _SENDS = 64  # in one transaction
_SENT = ("webhook", "email")

Send = Callable[..., str]


def run_due(services: Services) -> int:
    """Take every step that is due and send what it asks for, to the end. For a command or a test; a web process keeps
    a :class:`CriticalLoop`. Returns how many steps and messages that were.
    """
    loop = CriticalLoop(services)
    try:
        done = loop.run_due()
        while more := loop.settle() and loop.run_due():
            done += more
        return done
    finally:
        loop.close()


@dataclass(frozen=True, slots=True)
class _Sending:
    timer: Timer
    critical: Critical
    step: Told


@dataclass(frozen=True, slots=True)
class _Ended:
    one: _Sending
    outcome: str
    began: datetime
    ended: datetime


class CriticalLoop:
    """Takes due timers and sends messages on a bounded number of threads.

    Args:
        send: :func:`teleread.pipeline.tell.send`, or what an exercise puts in its place.
    """

    def __init__(self, services: Services, *, send: Send = tell.send, at_once: int = SENDS_AT_ONCE) -> None:
        self._services = services
        self._send = send
        self._at_once = at_once
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="tell")
        self._running: set[Future[None]] = set()
        self._held: dict[int, _Sending] = {}  # messages on their way
        self._begun: dict[int, datetime] = {}
        self._ended: list[_Ended] = []  # messages whose outcome is not written yet
        self._lock = threading.Lock()

    def run_due(self) -> int:
        """One round: returns how many steps were taken and messages begun. It waits for no message.

        All of it is one short transaction, so that however many messages end at once, each process writes once.
        """
        services, now = self._services, self._services.clock()
        contact_tests.look(services.catalogue, services.room, now)
        if not self._wanted(now):
            return 0
        with self._lock:
            ended, self._ended = self._ended, []
            free = self._at_once - len(self._held)
        try:
            with services.catalogue.write() as conn:
                _write_down(conn, ended)
                kept = self._hold(conn, now)
                planned = self._plan(conn, now)
                found = self._take(conn, now, min(free, _SENDS))
        except StorageError:
            with self._lock:  # in the next round, then; what cannot be written by the end of its lease is sent again
                self._ended = ended + self._ended
            raise
        with self._lock:
            self._held |= {one.timer.id: one for one in kept if one.timer.id in self._held}
            for one in found:
                self._held[one.timer.id] = one
                self._running.add(self._threads.submit(self._tell, one))
        return planned + len(found)

    def settle(self, seconds: float | None = None) -> bool:
        """Wait for the messages that are on their way, and write down what became of them; always true, for use in a
        condition.
        """
        with self._lock:
            running = set(self._running)
        wait(running, seconds)
        self._flush()
        return True

    def close(self) -> None:
        """Begin nothing any more; what is on its way is left to its end, and may be sent again by somebody else."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        try:
            self._flush()
        except StorageError as error:
            log.warning("outcomes of messages are not written: %s", error.code)

    def _wanted(self, now: datetime) -> bool:
        """Whether there is anything to write; a look that waits for no writer."""
        with self._lock:
            self._running = {one for one in self._running if not one.done()}
            if self._ended or any(_is_ending(one.timer, now) for one in self._held.values()):
                return True
        with self._services.catalogue.read() as conn:
            return timers.any_due(conn, now, [criticals.LADDER_TIMER, SEND_TIMER])

    def _flush(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, []
        if ended:
            with self._services.catalogue.write() as conn:
                _write_down(conn, ended)

    def _hold(self, conn: Connection, now: datetime) -> list[_Sending]:
        """Keep the leases of the messages that are on their way; one that was lost is somebody else's by now.

        That they have begun is written down, so that it is known also when this process dies before they end.
        """
        with self._lock:
            ending = [(one, self._begun.get(key)) for key, one in self._held.items() if _is_ending(one.timer, now)]
        until, kept = now + SEND_LEASE, []
        for one, began in ending:
            if not timers.put_off(conn, one.timer, until):
                continue
            kept.append(replace(one, timer=replace(one.timer, lease_until=until)))
            if began is not None:
                first = _row_of(one.step), critical_steps.c.tried_at.is_(None)
                conn.execute(update(critical_steps).where(*first).values(tried_at=began))
        return kept

    def _plan(self, conn: Connection, now: datetime) -> int:
        due = timers.take_due(conn, now, kinds=[criticals.LADDER_TIMER], limit=_PLANS, in_turn=True)
        for timer in due:
            try:
                with conn.begin_nested():
                    outcome = _take_step(conn, self._services, _critical_of(timer), now)
                    timers.finish(conn, timer, outcome, now)
            except Exception as error:  # noqa: BLE001 -- one that cannot be handled must not silence the others
                log.error("step %s of the ladder failed: %s", timer.subject, _reason(error))
        return len(due)

    def _take(self, conn: Connection, now: datetime, limit: int) -> list[_Sending]:
        if limit <= 0:
            return []
        due = timers.take_due(conn, now, kinds=[SEND_TIMER], limit=limit, lease=SEND_LEASE, in_turn=True)
        if not due:
            return []
        ids = list(dict.fromkeys(_critical_of(timer) for timer in due))
        known, rows = some(conn, ids), told(conn, ids)
        found = [_sending(conn, timer, known, rows, now) for timer in due]
        return [one for one in found if one is not None]

    def _tell(self, one: _Sending) -> None:
        began = self._services.clock()
        with self._lock:
            self._begun[one.timer.id] = began
        outcome = self._outcome(one, began)
        ended = self._services.clock()
        with self._lock:
            self._begun.pop(one.timer.id, None)
            held = self._held.pop(one.timer.id, one)
            self._ended.append(_Ended(held, outcome, began, ended))

    def _outcome(self, one: _Sending, at: datetime) -> str:
        services = self._services
        contact = next((c for c in contacts_of(services.room, at) if c.id == one.step.contact), None)
        if contact is None:
            return "contact_gone"
        message = tell.Message(
            kind="critical",
            id=f"{one.critical.id}.{one.step.step}",
            receipt=one.critical.receipt,
            codes=one.critical.codes,
            found_at=one.critical.found_at,
            telephone=services.alliance.telephone,
        )
        try:
            key = tell.webhook_key(services.ring, contact.id)
            return self._send(contact, one.step.channel, message, services.telling, key, at)
        except Exception as error:  # noqa: BLE001 -- a fault of ours is an outcome too: it is tried again, and written
            log.error("a message for critical %s failed: %s", one.critical.id, _reason(error))
            return "internal_error"


def _take_step(conn: Connection, services: Services, critical_id: str, now: datetime) -> str:
    """Write down what every due step of a critical value asks for; what is not sent is done with it."""
    known = lock(conn, critical_id)
    if known is None or known.ended_at is not None:
        return "ended"
    ladder = ladder_at(services.ladders, known.found_at.date())
    people = people_for(conn, services.room, services.alliance.sites, known.site_id, now)
    for act in decide(known, told(conn, [known.id])[known.id], now, people, ladder):
        _note(conn, known, act, now)
        if act.channel == "owner":
            known = criticals.escalate(conn, known, act.contact, now)
    return "taken"


def _note(conn: Connection, known: Critical, act: Act, now: datetime) -> None:
    sent = act.channel in _SENT
    row = {
        "critical_id": known.id,
        "step": act.step,
        "channel": act.channel,
        "contact": act.contact,
        "due_at": act.due_at,
        "tried_at": None if sent else now,
        "done_at": now if act.channel == "owner" else None,
        "outcome": act.outcome,
    }
    if insert_missing(conn, critical_steps, [row], ["critical_id", "step", "channel", "contact"]) and sent:
        timers.set_timer(conn, SEND_TIMER, send_subject(known.id, act.step, act.channel, act.contact), now)


def send_subject(critical_id: str, step: int, channel: str, contact: str) -> str:
    """The subject of a message's timer: the critical value's id, and a hash of which message it is."""
    which = "\0".join((str(step), channel, contact))
    return f"{critical_id}.{hashlib.sha256(which.encode()).hexdigest()[:24]}"


def _critical_of(timer: Timer) -> str:
    return timer.subject.partition(".")[0]


def _sending(
    conn: Connection, timer: Timer, found: Mapping[str, Critical], rows: Mapping[str, Sequence[Told]], now: datetime
) -> _Sending | None:
    """What a taken timer is to send; None when nothing is to be sent any more, and the timer is finished."""
    critical_id = _critical_of(timer)
    known = found.get(critical_id)
    named = ((send_subject(critical_id, one.step, one.channel, one.contact), one) for one in rows[critical_id])
    step = next((one for name, one in named if name == timer.subject), None)
    if known is None or step is None or step.done_at is not None:
        timers.finish(conn, timer, "nothing_to_send", now)
        return None
    if known.ended_at is not None:
        # acknowledged between its step and its sending
        _close(conn, step, "settled", now)
        timers.finish(conn, timer, "settled", now)
        return None
    return _Sending(timer, known, step)


def _is_ending(timer: Timer, now: datetime) -> bool:
    return timer.lease_until - now < _HOLD_WITHIN


def _write_down(conn: Connection, ended: list[_Ended]) -> None:
    for one in ended:
        _written(conn, one.one, one.outcome, one.began, one.ended)


def _written(conn: Connection, one: _Sending, outcome: str, began: datetime, ended: datetime) -> None:
    """Keep what became of a message; one that failed is tried again while there are tries.

    Also of one whose lease was lost meanwhile: each try counts, so that what hangs comes to its end.
    """
    known = conn.execute(select(critical_steps).where(_row_of(one.step)).with_for_update()).one()
    tries = known.tries + 1
    final = outcome == tell.DELIVERED or tries > len(PAUSES_S)
    if final:
        timers.finish(conn, one.timer, outcome, ended)
    else:
        timers.put_off(conn, one.timer, ended + timedelta(seconds=PAUSES_S[tries - 1]))
    if known.done_at is not None and outcome != tell.DELIVERED:
        return  # it was delivered, or given up, by somebody else
    first = began if known.tried_at is None else min(began, known.tried_at)
    values = {"outcome": outcome, "tries": tries, "tried_at": first, "done_at": ended if final else None}
    conn.execute(update(critical_steps).where(_row_of(one.step)).values(**values))
    if final:
        audit.record(
            conn,
            at=ended,
            actor="teleread",
            action="tell",
            object_type="critical",
            object_id=one.critical.id,
            detail={"step": one.step.step, "channel": one.step.channel, "outcome": outcome},
        )


def _reason(error: Exception) -> str:
    return error.code if isinstance(error, TelereadError) else type(error).__name__


def _close(conn: Connection, step: Told, outcome: str, at: datetime) -> None:
    conn.execute(update(critical_steps).where(_row_of(step)).values(outcome=outcome, done_at=at))


def _row_of(step: Told) -> ColumnElement[bool]:
    c = critical_steps.c
    return and_(
        c.critical_id == step.critical_id, c.step == step.step, c.channel == step.channel, c.contact == step.contact
    )

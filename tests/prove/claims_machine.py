"""The queue against a model of it, step by step: what Hypothesis makes of arrivals, claims, tokens, time and raises.

The model knows the promises, not the code: who owns what until when, which limit was promised, which step is due.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, select

from teleread.errors import Conflict
from teleread.reading import claims, escalation, queue, second, worklist
from teleread.reading.claims import Reach
from teleread.reading.escalation import Terms
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from tests.prove.claims_history import event_of, faults
from tests.queueing import AT, in_pool, put

LIMIT_MIN = {"urgent": 5, "high": 15, "routine": 60}
ORDER = {"urgent": 0, "high": 1, "routine": 1}
LEASE_S = {"urgent": 120, "high": 900, "routine": 900}
LADDER_S = {"unclaimed": 60, "unclaimed_coordinator": 120, "overflow": 180}
SOON_S = 5
POOLS = ("all", "night")
READERS = {"ann": ("all",), "ben": ("night",), "eve": ("all", "night")}
STEPS_EACH = 50
STEPS = 5_000


@dataclass
class Token:
    """What a reader was given, and whether it still counts."""

    item_id: str
    case_id: str
    who: str
    fence: int


@dataclass
class Waiting:
    """What the model knows of a case."""

    pool: str
    priority: str
    arrived: float
    late_at: float
    state: str = "SCHEDULED"
    since: float = 0.0  # waits, or is read, since
    token: Token | None = None
    until: float = 0.0
    overflow: bool = False
    fence: int = 0
    item: int = 1
    not_for: str | None = None
    aside: str | None = None  # the case whose reading it waits for
    opinion_of: str | None = None
    late_due: float = 0.0  # when this work item must be told late: at 80 %, or at once where it began later
    late_told: bool = False
    steps: dict[str, float] = field(default_factory=dict)  # of this work item, with their times


class QueueMachine(RuleBasedStateMachine):
    """Each step is an act on a real catalogue inside one transaction, which is taken back at the end."""

    database: ClassVar[Database]  # one for all stories: what it has learned of the statements is kept
    done: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        self.conn: Connection = self._open.enter_context(self._rolled_back())
        self.now = 0.0
        self.cases: dict[str, Waiting] = {}
        self.old: list[Token] = []
        self.told: dict[tuple[str, str], float] = {}  # which alarms there must be, and since when; from the model alone
        self.n = 0
        self.begun = False

    @contextmanager
    def _rolled_back(self) -> Iterator[Connection]:
        with ExitStack() as stack:
            conn = stack.enter_context(self.database._engine.connect())
            conn.execution_options(teleread_writes=True)
            transaction = conn.begin()
            try:
                yield conn
            finally:
                transaction.rollback()

    def teardown(self) -> None:
        self._open.close()

    # what happens

    @initialize(priorities=st.lists(st.sampled_from(sorted(LIMIT_MIN)), min_size=1, max_size=4))
    def begin(self, priorities: list[str]) -> None:
        for priority in priorities:
            self.arrive(priority, "all")

    @rule(priority=st.sampled_from(sorted(LIMIT_MIN)), pool=st.sampled_from(POOLS))
    def arrive(self, priority: str, pool: str) -> None:
        if len(self.cases) >= 8:
            return
        self.n += 1
        key = put(self.conn, f"case {self.n}", priority, self.at, pool=pool)  # type: ignore[arg-type]
        late_at = self.now + 0.8 * 60 * LIMIT_MIN[priority]
        self.cases[key] = Waiting(pool, priority, self.now, late_at, late_due=late_at)
        self._waits(self.cases[key])

    @rule(who=st.sampled_from(sorted(READERS)))
    def claim_next(self, who: str) -> None:
        got = claims.claim_next(self.conn, Reach(who, READERS[who]), self.at)
        eligible = [case for case in self.cases.values() if self._may(case, who)]
        assert (got is not None) == bool(eligible)
        if got is None:
            return
        case = self.cases[got.case_id]
        assert case in eligible
        # no routine, nor any other, before an unclaimed urgent one
        assert case.priority == "urgent" or all(one.priority != "urgent" for one in eligible)
        self._claimed(case, got, who)

    @precondition(lambda self: self.cases)
    @rule(data=st.data(), who=st.sampled_from(sorted(READERS)))
    def claim_case(self, data: st.DataObject, who: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.cases)))
        case = self.cases[key]
        mine = case.state == "IN PROGRESS" and case.token is not None and case.token.who == who
        try:
            with self.conn.begin_nested():
                got = claims.claim_case(self.conn, key, Reach(who, READERS[who]), self.at)
        except Conflict:
            assert not self._may(case, who)
            assert not (mine and case.until > self.now)
            return
        if mine and case.until > self.now:
            assert case.token is not None
            assert got.fence == case.token.fence
            return
        if case.state == "IN PROGRESS":
            assert case.until <= self.now, "taken from a reader whose claim held"
            self._returned(case)
        assert self._may(case, who)
        self._claimed(case, got, who)

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.old))
        valid = self._valid(token)
        try:
            with self.conn.begin_nested():
                claims.heartbeat(self.conn, token.item_id, token.who, token.fence, self.at)
        except Conflict:
            assert not valid
            return
        assert valid, "a stale token was not refused"
        case = self.cases[token.case_id]
        case.until = self.now + LEASE_S[case.priority]

    @precondition(lambda self: self.old)
    @rule(data=st.data(), confused=st.booleans())
    def sign(self, data: st.DataObject, confused: bool) -> None:
        token = data.draw(st.sampled_from(self.old))
        item_id = token.item_id
        if confused and token.case_id in self.cases:
            newest = claims.newest(self.conn, [token.case_id])[token.case_id]
            item_id = newest.id
        valid = self._valid(token) and item_id == token.item_id
        try:
            with self.conn.begin_nested():
                claims.complete(self.conn, item_id, token.who, token.fence, self.at)
        except Conflict:
            assert not valid
            return
        assert valid, "a stale token was not refused"
        self._read(token.case_id)

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.old))
        case = self.cases.get(token.case_id)
        holds = case is not None and case.state == "IN PROGRESS" and case.token is token
        try:
            with self.conn.begin_nested():
                claims.give_back(self.conn, token.case_id, "released", token.who, "other", self.at, fence=token.fence)
        except Conflict:
            assert not holds
            return
        assert holds
        assert case is not None
        self._returned(case)

    @precondition(lambda self: self.cases)
    @rule(data=st.data())
    def take_from_reader(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.cases)))
        try:
            with self.conn.begin_nested():
                claims.give_back(self.conn, key, "broken", "coordinator", "other", self.at)
        except Conflict:
            assert self.cases[key].state != "IN PROGRESS"
            return
        assert self.cases[key].state == "IN PROGRESS"
        self._returned(self.cases[key])

    @rule(who=st.sampled_from(sorted(READERS)))
    def shift_ends(self, who: str) -> None:
        gone = claims.off_duty(self.conn, lambda one, _pool, _at: one != who, self.at)
        claims.hand_over(self.conn, gone, self.at)
        for case in self.cases.values():
            if case.state == "IN PROGRESS" and case.token is not None and case.token.who == who:
                self._returned(case)

    @precondition(lambda self: self.old)
    @rule(data=st.data(), waits=st.booleans())
    def ask(self, data: st.DataObject, waits: bool) -> None:
        token = data.draw(st.sampled_from(self.old))
        valid = self._valid(token)
        asked = [one for one in self.cases.values() if one.opinion_of == token.case_id]
        try:
            with self.conn.begin_nested():
                key = second.ask_opinion(
                    self.conn, token.item_id, token.who, token.fence, self.at, waits=waits, placing=in_pool("all")
                )
        except Conflict:
            assert not valid or asked
            return
        assert valid
        assert not asked
        parent = self.cases[token.case_id]
        late_at = self.now + 0.8 * 60 * LIMIT_MIN[parent.priority]
        child = Waiting(
            "all", parent.priority, self.now, late_at, late_due=late_at, not_for=token.who, opinion_of=token.case_id
        )
        self.cases[key] = child
        self._waits(child)
        if waits:
            parent.state, parent.aside, parent.token = "CANCELED", key, None
            parent.steps.clear()

    @precondition(lambda self: self.cases)
    @rule(data=st.data(), priority=st.sampled_from(["urgent", "high"]))
    def lift(self, data: st.DataObject, priority: Any) -> None:
        key = data.draw(st.sampled_from(sorted(self.cases)))
        queue.raise_priority(self.conn, key, priority, "clinic", self.at, placing=self._rules)
        self._lifted(self.cases[key], priority)

    @rule(seconds=st.sampled_from([1, 7, 31, 61, 125, 301, 950, 3000]))
    def time_passes(self, seconds: int) -> None:
        """Whoever watches looks at the latest when something is due, some seconds late."""
        ends = self.now + seconds
        while (due := self._next_due()) is not None and due < ends:
            self.now = max(self.now, due + 1)
            self._watch()
        self.now = max(self.now, ends)
        self._watch()

    @invariant()
    def is_counted(self) -> None:
        """Once after its beginning, and once after each step."""
        self.done["steps" if self.begun else "stories"] += 1
        self.begun = True

    # what must hold

    @invariant()
    def the_list_is_in_order(self) -> None:
        for reach in (None, *(Reach(who, pools) for who, pools in READERS.items())):
            rows = worklist.list_items(self.conn, reach=reach, limit=20)
            bands = [ORDER[row.priority] for row in rows]
            assert bands == sorted(bands), "something stands before an urgent case"
            waits = {key for key, case in self.cases.items() if case.state == "SCHEDULED"}
            if reach is not None:
                waits = {key for key in waits if self._may(self.cases[key], reach.who)}
            assert {row.case_id for row in rows} == waits

    @invariant()
    def owners_are_those_of_the_model(self) -> None:
        rows = {row.case_id: row for row in worklist.list_in_progress(self.conn)}
        held = {key: case for key, case in self.cases.items() if case.state == "IN PROGRESS"}
        assert rows.keys() == held.keys()
        for key, case in held.items():
            assert case.token is not None
            assert rows[key].claimed_by == case.token.who

    @invariant()
    def every_step_is_done_in_time(self) -> None:
        raised = self._raised()
        for key, case in self.cases.items():
            item_id = self._item_id(key, case)
            for kind, due in case.steps.items():
                assert self.now < due + SOON_S or (item_id, kind) in raised, f"{kind} was due at {due}"
            told = case.aside is not None or self.now < case.late_due + SOON_S
            assert told or (item_id, "late") in raised, "80 % was missed"

    @invariant()
    def alarms_are_those_that_must_be_each_from_its_time_on(self) -> None:
        """None is missing, none came late, and none was raised that nobody asked for."""
        table = schema.alarms.c
        rows = self.conn.execute(select(table.subject, table.kind, table.raised_at))
        raised = {(row.subject, row.kind): (row.raised_at - AT).total_seconds() for row in rows}
        for what, since in self.told.items():
            assert what in raised, f"{what} was due by {since} and was never told"
            assert raised[what] == since, f"{what} was told at {raised[what]} instead of {since}"
        assert raised.keys() == self.told.keys(), "an alarm that nothing asked for"

    @invariant()
    def no_transition_is_illegal(self) -> None:
        rows = self.conn.execute(select(schema.item_events).order_by(schema.item_events.c.id))
        assert faults([event_of(row) for row in rows], []) == []

    # the model

    @property
    def at(self) -> datetime:
        return AT + timedelta(seconds=self.now)

    def _rules(self, facts: Any, priority: Any) -> queue.Place:
        """By the case: an opinion that is raised with its case stays in the pool of opinions."""
        return in_pool(self.cases[facts.case_id].pool)(facts, priority)

    def _watch(self) -> None:
        claims.expire(self.conn, self.at)
        for case in self.cases.values():
            if case.state == "IN PROGRESS" and case.until <= self.now:
                self._returned(case)
        while escalation.run_due(self.conn, self.at, _terms):
            pass
        for case in self.cases.values():
            opens = case.state == "SCHEDULED" and case.pool == "all"
            late = case.late_at <= self.now and case.state == "SCHEDULED"
            over = case.steps.get("overflow", self.now + 1) <= self.now and case.priority == "urgent"
            case.overflow |= opens and (late or over)
        for key, case in self.cases.items():
            item_id = self._item_id(key, case)
            for kind, due in case.steps.items():
                if due <= self.now:
                    self.told.setdefault((item_id, kind), self.now)
            if self._waits_for_late(case) and case.late_due <= self.now:
                case.late_told = True
                self.told[item_id, "late"] = self.now

    def _waits_for_late(self, case: Waiting) -> bool:
        return not case.late_told and case.state in {"SCHEDULED", "IN PROGRESS"}

    def _next_due(self) -> float | None:
        due = [time for case in self.cases.values() for time in case.steps.values() if time > self.now]
        due += [case.late_due for case in self.cases.values() if self._waits_for_late(case)]
        due += [case.until for case in self.cases.values() if case.state == "IN PROGRESS" and case.until > self.now]
        return min(due, default=None)

    def _raised(self) -> set[tuple[str, str]]:
        table = schema.alarms.c
        return {(row.subject, row.kind) for row in self.conn.execute(select(table.subject, table.kind))}

    def _item_id(self, key: str, case: Waiting) -> str:
        return claims.item_id_of(key, case.item)

    def _may(self, case: Waiting, who: str) -> bool:
        reached = case.pool in READERS[who] or (case.overflow and "night" in READERS[who])
        gone = case.state == "IN PROGRESS" and case.until <= self.now
        return reached and case.not_for != who and case.state == "SCHEDULED" and not gone

    def _valid(self, token: Token) -> bool:
        case = self.cases.get(token.case_id)
        return case is not None and case.state == "IN PROGRESS" and case.token is token and case.until > self.now

    def _waits(self, case: Waiting) -> None:
        case.state, case.token, case.since = "SCHEDULED", None, self.now
        case.steps.clear()
        if case.priority == "urgent":
            case.steps = {kind: self.now + seconds for kind, seconds in LADDER_S.items()}

    def _claimed(self, case: Waiting, got: claims.Claim, who: str) -> None:
        assert got.fence > case.fence
        token = Token(got.item_id, got.case_id, who, got.fence)
        self.old.append(token)
        case.state, case.token, case.fence = "IN PROGRESS", token, got.fence
        case.until = self.now + LEASE_S[case.priority]
        case.steps = {"unsigned": self.now + 300} if case.priority == "urgent" else {}

    def _returned(self, case: Waiting) -> None:
        case.item += 1
        case.late_due, case.late_told = max(case.late_at, self.now), False
        self._waits(case)

    def _read(self, key: str) -> None:
        del self.cases[key]
        for case in self.cases.values():
            if case.aside == key:
                case.aside = None
                self._returned(case)

    def _lifted(self, case: Waiting, priority: str) -> None:
        if sorted(LIMIT_MIN).index(case.priority) == sorted(LIMIT_MIN).index(priority):
            return
        if case.priority == "urgent" or (case.priority == "high" and priority == "high"):
            return
        case.priority = priority
        case.late_at = min(case.late_at, self.now + 0.8 * 60 * LIMIT_MIN[priority])
        case.late_due = min(case.late_due, case.late_at)
        if case.aside is not None:
            self._lifted(self.cases[case.aside], priority)
        elif priority == "urgent" and case.state == "SCHEDULED":
            self._waits(case)
        elif priority == "urgent":
            case.until = min(case.until, self.now + LEASE_S["urgent"])
            case.steps = {"unsigned": self.now + 300}


def _terms(pool: str | None, _at: datetime) -> Terms:
    return Terms("lead", "night") if pool == "all" else Terms()


def run(url: str, examples: int, seed: int, *, shortest: bool = True) -> Counter[str]:
    """So many stories of at most :data:`STEPS_EACH` steps; says how many stories and steps there were.

    Args:
        shortest: look for the shortest story that breaks a promise, which takes long.

    Raises:
        AssertionError: a promise was broken.
    """
    from hypothesis import seed as seeded

    database = Database(url)
    database.migrate()
    machine = type("Machine", (QueueMachine,), {"database": database, "done": Counter()})
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS_EACH,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shortest else [Phase.generate],
        report_multiple_bugs=False,
    )
    try:
        run_state_machine_as_test(seeded(seed)(machine), settings=chosen)
    finally:
        database.close()
    return machine.done


@contextmanager
def random_steps() -> Iterator[Callable[[int], None]]:
    """5,000 steps a number, in stories of at most 50."""
    with tempfile.TemporaryDirectory() as folder:

        def prove(number: int) -> None:
            done: Counter[str] = Counter()
            while done["steps"] < STEPS:
                missing = -(-(STEPS - done["steps"]) // STEPS_EACH)
                done += run(f"sqlite:///{Path(folder)}/catalogue.sqlite", missing, number + 1000 * done["steps"])
            print(json.dumps(done), flush=True)

        yield prove

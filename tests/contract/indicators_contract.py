"""Promises of the indicators, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from teleread.reading import claims, indicator_tables, indicators, queue
from teleread.reading.claims import Reach
from teleread.reading.indicators import Cell, Key
from teleread.reading.priority import Decision
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import (
    arrivals,
    indicator_cells,
    indicator_events,
    item_events,
    objects,
    work_items,
)
from tests.contract.catalogue_contract import AT, DatabaseFixtures

CHINA = timezone(timedelta(hours=8))
SITES = ("village", "county")
WHO = Reach("reader", ())


def add_case(conn: Connection, n: int, at: datetime, priority: str) -> str:
    """A case that has just come."""
    case_id = f"{n:032x}"
    site = SITES[n % 2]
    conn.execute(insert(objects).values(key=case_id, sha256=case_id, size_bytes=1, created_at=at))
    conn.execute(
        insert(arrivals).values(
            id=case_id,
            receipt=f"R{n}",
            site_id=site,
            sha256=case_id,
            size_bytes=1,
            object_key=case_id,
            source="web",
            kind="ecg",
            clinic_priority=priority,
            state="prepared",
            arrived_at=at,
        )
    )
    facts = queue.CaseFacts(case_id, site, "ECG", case_id, None, None, None, None, True, True, None, at)
    queue.put_item(conn, facts, Decision(priority, ()), at, joined=True)  # type: ignore[arg-type]
    return case_id


class History:
    """A reading room in which anything may happen, and what it adds up to, counted by hand."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database = database
        self.random = random.Random(seed)
        self.now = AT
        self.cases: list[str] = []
        self.held: dict[str, tuple[str, int]] = {}
        self.signed: dict[str, tuple[str, str, int]] = {}  # case: site, priority, milliseconds
        self.arrived: dict[str, datetime] = {}
        self.priority: dict[str, str] = {}

    def step(self) -> None:
        self.now += timedelta(seconds=self.random.randrange(1, 90))
        act = self.random.choice((self.come, self.come, self.claim, self.claim, self.sign, self.lose, self.rise))
        with self.database.write() as conn:
            act(conn)

    def come(self, conn: Connection) -> None:
        priority = self.random.choice(("routine", "high", "urgent"))
        case = add_case(conn, len(self.arrived) + 1, self.now, priority)
        self.cases.append(case)
        self.arrived[case], self.priority[case] = self.now, priority

    def claim(self, conn: Connection) -> None:
        claim = claims.claim_next(conn, WHO, self.now)
        if claim is not None:
            self.held[claim.case_id] = claim.item_id, claim.fence
            self.keep(conn)

    def sign(self, conn: Connection) -> None:
        if not self.held:
            return
        case = self.random.choice(sorted(self.held))
        item_id, fence = self.held.pop(case)
        claims.complete(conn, item_id, WHO.who, fence, self.now)
        waited = (self.now - self.arrived[case]) // timedelta(milliseconds=1)
        self.signed[case] = SITES[int(case, 16) % 2], self.priority[case], waited

    def lose(self, conn: Connection) -> None:
        if self.held:
            case = self.random.choice(sorted(self.held))
            del self.held[case]
            claims.give_back(conn, case, "broken", "coordinator", "test", self.now)

    def rise(self, conn: Connection) -> None:
        waiting = [case for case in self.cases if case not in self.signed]
        if waiting:
            case = self.random.choice(waiting)
            queue.raise_priority(conn, case, "urgent", "clinic", at=self.now)
            self.priority[case] = "urgent"
            self.keep(conn)

    def keep(self, conn: Connection) -> None:
        """No claim runs out by itself here."""
        held = work_items.c.state == "IN PROGRESS"
        conn.execute(update(work_items).where(held).values(lease_until=self.now + timedelta(days=9)))

    def fold(self) -> None:
        with self.database.write() as conn:
            indicators.fold(conn, CHINA, self.random.randrange(1, 20))


def running(database: Database) -> dict[Key, Cell]:
    with database.read() as conn:
        return indicators.cells(conn)


def anew(database: Database) -> dict[Key, Cell]:
    with database.read() as conn:
        return indicators.recompute(conn, CHINA)


class IndicatorsContract(DatabaseFixtures):
    """Running values are those that the events give."""

    @pytest.mark.parametrize("seed", range(4))
    def test_running_values_are_those_computed_anew_and_those_counted_by_hand(
        self, database: Database, seed: int
    ) -> None:
        history = History(database, seed)
        for _ in range(120):
            history.step()
            if history.random.random() < 0.3:
                history.fold()
                assert running(database) == anew(database)
        while self.fold_all(database):
            pass
        found = running(database)
        assert found == anew(database)
        by_hand: dict[tuple[str, str], list[int]] = {}
        for site, priority, ms in history.signed.values():
            by_hand.setdefault((site, priority), []).append(ms)
        counted = indicator_tables.summed(found, "turnaround", by="site_id")
        assert {key: (cell.n, cell.total_ms) for key, cell in counted.items()} == {
            key: (len(values), sum(values)) for key, values in by_hand.items()
        }

    def fold_all(self, database: Database) -> int:
        with database.write() as conn:
            return indicators.fold(conn, CHINA)

    def test_a_forgotten_patient_leaves_the_values_as_if_never_there(self, database: Database) -> None:
        history = History(database, 7)
        for _ in range(150):
            history.step()
        while self.fold_all(database):
            pass
        gone = history.cases[::3]
        with database.write() as conn:
            indicators.note(conn, "upload", AT, site_id="village", label="ECG 1", case_id=gone[0])
        self.fold_all(database)
        with database.write() as conn:
            indicators.uncount(conn, gone, CHINA)
            for table in (item_events, indicator_events):
                conn.execute(delete(table).where(table.c.case_id.in_(gone)))
        assert running(database) == anew(database)
        assert not any(key.name == "upload" for key in running(database))
        with database.read() as conn:
            left = set(conn.scalars(select(item_events.c.case_id)))
        assert left
        assert not left & set(gone)

    def test_the_backlog_is_what_the_events_leave(self, database: Database) -> None:
        history = History(database, 3)
        for _ in range(150):
            history.step()
        with database.read() as conn:
            waiting = sum(one.n for one in indicator_tables.waiting(conn))
            events = conn.execute(select(item_events.c.from_state, item_events.c.to_state)).all()
        came = sum(to == "SCHEDULED" and before is None for before, to in events)
        left = sum(before == "SCHEDULED" and to != "SCHEDULED" for before, to in events)
        assert waiting == came - left

    def test_counting_twice_is_caught(self, database: Database) -> None:
        """The broken twin: a count that forgets what it has counted."""
        history = History(database, 5)
        for _ in range(60):
            history.step()
        while self.fold_all(database):
            pass
        with database.write() as conn:
            conn.execute(update(item_events).values(folded=False))
            indicators.fold(conn, CHINA, 1000)
        assert running(database) != anew(database)

    def test_the_order_of_counting_changes_nothing(self, database: Database) -> None:
        values = [1, 10**12, 3, 7, 10**9 + 1]
        with database.write() as conn:
            for value in values:
                since = AT - timedelta(milliseconds=value)
                indicators.note(conn, "critical_told", AT, site_id="village", since=since)
            while indicators.fold(conn, CHINA, 1):
                pass
            conn.execute(update(indicator_events).values(folded=False))
            first = indicators.cells(conn)
            conn.execute(indicator_cells.delete())
            indicators.fold(conn, CHINA, 100)
            assert indicators.cells(conn) == first
        assert next(iter(first.values())).total_ms == sum(values)

"""What the reading queue must do on every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from teleread.errors import Conflict, InputRejected
from teleread.reading import alarms, claims, escalation, queue, second, worklist
from teleread.reading.claims import Reach
from teleread.reading.escalation import Terms
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from tests.contract.catalogue_contract import DatabaseFixtures, at_once
from tests.queueing import ANY, AT, case_id, events_of, in_pool, minutes, names_of, put

S = timedelta(seconds=1)


def fill(database: Database, *cases: tuple[str, Any, float, str]) -> None:
    """Cases by name, priority, minutes after the beginning, pool."""
    with database.write() as conn:
        for name, priority, minute, pool in cases:
            put(conn, name, priority, AT + minutes(minute), pool=pool)


def run_until(database: Database, seconds: float, terms: escalation.TermsOf = escalation.no_terms) -> int:
    """One look of the watch at a time."""
    with database.write() as conn:
        return escalation.run_due(conn, AT + seconds * S, terms)


def open_kinds(database: Database) -> list[tuple[str, str | None]]:
    with database.read() as conn:
        return [(alarm.kind, alarm.pool) for alarm in alarms.open_alarms(conn)]


class ListContract(DatabaseFixtures):
    """Order, pages and counts."""

    NAMES = ("routine old", "high", "urgent new", "urgent", "routine", "other pool")

    @pytest.fixture
    def filled(self, database: Database) -> Database:
        fill(
            database,
            ("routine old", "routine", -300, "all"),
            ("high", "high", 0, "all"),
            ("urgent new", "urgent", 2, "all"),
            ("urgent", "urgent", 1, "night"),
            ("routine", "routine", 0, "all"),
            ("other pool", "routine", 1, "ct"),
        )
        return database

    def test_urgent_first_then_by_age_where_a_routine_case_counts_as_four_hours_younger(self, filled: Database) -> None:
        with filled.read() as conn:
            found = worklist.list_items(conn)
        assert names_of(found, self.NAMES) == ["urgent", "urgent new", "routine old", "high", "routine", "other pool"]

    def test_a_reader_sees_the_pools_within_reach_and_what_overflows_into_them(self, filled: Database) -> None:
        with filled.write() as conn:
            this = schema.work_items.c.case_id == case_id("urgent")
            conn.execute(update(schema.work_items).where(this).values(overflow_pool="all"))
            conn.execute(
                update(schema.work_items).where(schema.work_items.c.case_id == case_id("high")).values(not_for="reader")
            )
        with filled.read() as conn:
            found = worklist.list_items(conn, reach=ANY)
            assert names_of(found, self.NAMES) == ["urgent", "urgent new", "routine old", "routine"]
            both = worklist.list_items(conn, reach=Reach("other", ("all", "night")))
            assert names_of(both, self.NAMES) == ["urgent", "urgent new", "routine old", "high", "routine"]
            assert worklist.counts(conn, reach=ANY) == {"urgent": 2, "high": 0, "routine": 2}
            assert worklist.counts(conn) == {"urgent": 2, "high": 1, "routine": 3}

    def test_what_is_not_routed_yet_is_anybodys(self, filled: Database) -> None:
        with filled.write() as conn:
            conn.execute(update(schema.work_items).values(pool=None))
        with filled.read() as conn:
            assert len(worklist.list_items(conn, reach=Reach("anybody", ()))) == len(self.NAMES)

    @pytest.mark.parametrize("reach", [None, Reach("reader", ("all", "night", "ct"))], ids=["all", "reach"])
    def test_pages_by_key_show_each_row_once_forwards_and_backwards(self, database: Database, reach: Any) -> None:
        kinds = ("urgent", "high", "routine")
        fill(database, *((f"{i}", kinds[i % 3], i // 7, ("all", "night")[i % 2]) for i in range(60)))
        with database.read() as conn:
            whole = [item.id for item in worklist.list_items(conn, reach=reach, limit=100)]
            forwards: list[str] = []
            page = worklist.list_items(conn, reach=reach, limit=7)
            while page:
                forwards += [item.id for item in page]
                last = page
                page = worklist.list_items(conn, reach=reach, limit=7, after=worklist.cursor(page[-1]))
            backwards = [item.id for item in last]
            page = worklist.list_items(conn, reach=reach, limit=7, before=worklist.cursor(last[0]))
            while page:
                backwards = [item.id for item in page] + backwards
                page = worklist.list_items(conn, reach=reach, limit=7, before=worklist.cursor(page[0]))
        assert len(whole) == 60
        assert forwards == whole
        assert backwards == whole

    def test_filters_and_facets(self, database: Database) -> None:
        with database.write() as conn:
            put(conn, "a", modality="ECG", site="village")
            put(conn, "b", modality="CT", site="county", at=AT + S)
            put(conn, "c", modality="CT", site="village", at=AT + 2 * S)
            put(conn, "d", modality="US", site="county", at=AT + 3 * S, pool="us")
        with database.read() as conn:

            def listed(**wanted: Any) -> list[str]:
                return names_of(worklist.list_items(conn, **wanted), "abcd")

            assert listed(modality="CT") == ["b", "c"]
            assert listed(site_ids=["village"]) == ["a", "c"]
            assert listed(site_ids=["village", "county"], modality="CT") == ["b", "c"]
            assert listed(site_ids=["county"], reach=ANY) == ["b"]
            assert listed(site_ids=[]) == []
            assert worklist.facets(conn) == {"sites": ["county", "village"], "modalities": ["CT", "ECG", "US"]}

    def test_the_place_of_a_case_is_counted_in_its_pool(self, filled: Database) -> None:
        with filled.read() as conn:
            places = [queue.position(conn, case_id(name)) for name in self.NAMES]
        assert places == [2, 3, 1, 1, 4, 1]

    def test_what_is_being_read_is_listed_with_its_owner(self, filled: Database) -> None:
        with filled.write() as conn:
            claims.claim_case(conn, case_id("urgent new"), ANY, AT + minutes(3))
        with filled.read() as conn:
            (item,) = worklist.list_in_progress(conn)
            assert (item.claimed_by, item.claimed_at, item.pool) == ("reader", AT + minutes(3), "all")
            assert item.lease_until == AT + minutes(5)
            assert case_id("urgent new") not in [one.case_id for one in worklist.list_items(conn)]


class ClaimsContract(DatabaseFixtures):
    """One reader a case."""

    def test_two_who_claim_together_get_two_cases(self, database: Database) -> None:
        fill(database, *((f"{i}", "urgent", i, "all") for i in range(8)))

        def claim(i: int) -> claims.Claim | None:
            with database.write() as conn:
                return claims.claim_next(conn, Reach(f"r{i}", ("all",)), AT + minutes(10))

        got = at_once(8, claim)
        assert {one.case_id for one in got} == {case_id(f"{i}") for i in range(8)}

    def test_two_who_claim_the_same_case_one_wins_and_the_other_is_told(self, database: Database) -> None:
        fill(database, ("a", "routine", 0, "all"))

        def claim(i: int) -> str:
            try:
                with database.write() as conn:
                    return claims.claim_case(conn, case_id("a"), Reach(f"r{i}", ("all",)), AT).item_id
            except Conflict as refused:
                return refused.code

        got = at_once(6, claim)
        assert sorted(got)[1:] == ["case_claimed"] * 5

    def test_the_most_urgent_comes_first_and_then_none(self, database: Database) -> None:
        fill(database, ("a", "routine", 0, "all"), ("b", "urgent", 5, "all"), ("c", "urgent", 0, "ct"))
        with database.write() as conn:
            order = [claims.claim_next(conn, ANY, AT + minutes(10)) for _ in range(3)]
        assert [one and one.case_id for one in order] == [case_id("b"), case_id("a"), None]

    def test_a_claim_holds_while_heartbeats_come_and_its_token_is_refused_afterwards(self, database: Database) -> None:
        fill(database, ("a", "urgent", 0, "all"))
        with database.write() as conn:
            mine = claims.claim_next(conn, ANY, AT)
            assert mine is not None
            assert claims.heartbeat(conn, mine.item_id, "reader", mine.fence, AT + 100 * S) == AT + 220 * S
            assert claims.expire(conn, AT + 219 * S) == []
            assert claims.current(conn, case_id("a"), "reader", AT + 219 * S) is not None
            assert len(claims.expire(conn, AT + 220 * S)) == 1
            assert claims.current(conn, case_id("a"), "reader", AT + 220 * S) is None
            theirs = claims.claim_next(conn, Reach("other", ("all",)), AT + 221 * S)
            assert theirs is not None
            assert theirs.fence > mine.fence
        for token in (mine, claims.Claim(theirs.item_id, theirs.case_id, mine.fence, theirs.lease_until)):
            with pytest.raises(Conflict) as refused, database.write() as conn:
                claims.complete(conn, token.item_id, "reader", token.fence, AT + 222 * S)
            assert refused.value.code == "claim_lost"
        with database.write() as conn:
            claims.complete(conn, theirs.item_id, "other", theirs.fence, AT + 223 * S)
            told = [(event, who) for event, _, _, who, _ in events_of(conn, case_id("a"))]
        assert told == [
            ("created", "teleread"),
            ("routed", "teleread"),
            ("claimed", "reader"),
            ("expired", "teleread"),
            ("created", "teleread"),
            ("claimed", "other"),
            ("completed", "other"),
        ]

    def test_a_case_raised_to_urgent_in_a_readers_hands_holds_no_longer_than_an_urgent_one(
        self, database: Database
    ) -> None:
        fill(database, ("a", "routine", 0, "all"))
        with database.write() as conn:
            claims.claim_next(conn, ANY, AT)
            queue.raise_priority(conn, case_id("a"), "urgent", "clinic", AT + 60 * S, placing=in_pool("all"))
            assert len(claims.expire(conn, AT + 180 * S)) == 1

    def test_a_raise_is_not_lost_when_the_case_is_given_back_meanwhile(self, database: Database) -> None:
        fill(database, ("a", "routine", 0, "all"))
        with database.write() as conn:
            claims.claim_next(conn, ANY, AT)
        with ThreadPoolExecutor(1) as threads:

            def lift() -> None:
                with database.write() as conn:
                    queue.raise_priority(conn, case_id("a"), "urgent", "clinic", AT + S, placing=in_pool("all"))

            with database.write() as conn:
                claims.give_back(conn, case_id("a"), "released", "reader", "interrupted", AT + S)
                lifted = threads.submit(lift)
                with pytest.raises(TimeoutError):
                    lifted.result(0.2)  # it waits for us
            lifted.result(30)
        with database.read() as conn:
            (item,) = worklist.list_items(conn)
        assert item.priority == "urgent"

    def test_a_shift_that_ends_hands_its_cases_over(self, database: Database) -> None:
        fill(database, ("a", "routine", 0, "all"), ("b", "routine", 1, "all"))
        with database.write() as conn:
            claims.claim_next(conn, ANY, AT)
            claims.claim_next(conn, Reach("other", ("all",)), AT)
            gone = claims.off_duty(conn, lambda who, _pool, _at: who == "other", AT + S)
            assert len(claims.hand_over(conn, gone, AT + S)) == 1
            (item,) = worklist.list_in_progress(conn)
            assert item.claimed_by == "other"
            assert ("handed_over", "IN PROGRESS", "CANCELED", "teleread", 1) in events_of(conn, case_id("a"))


class EscalationContract(DatabaseFixtures):
    """What happens when nobody acts."""

    def test_the_ladder_of_an_urgent_case_goes_by_its_times_and_ends_with_its_claim(self, database: Database) -> None:
        def terms(pool: str | None, _at: Any) -> Terms:
            return Terms("lead", "night") if pool == "all" else Terms()

        fill(database, ("a", "urgent", 0, "all"))
        assert run_until(database, 59) == 0
        run_until(database, 60, terms)
        assert open_kinds(database) == [("unclaimed", "all")]
        run_until(database, 120, terms)
        assert open_kinds(database) == [("unclaimed", "all"), ("unclaimed_coordinator", "all")]
        run_until(database, 180, terms)
        assert open_kinds(database)[2:] == [("overflow", "night")]
        with database.read() as conn:
            (item,) = worklist.list_items(conn, reach=Reach("r", ("night",)))
        run_until(database, 240, terms)
        with database.read() as conn:
            late = alarms.open_alarms(conn, kinds=["late"])
        assert [(one.subject, one.owner) for one in late] == [(item.id, "lead")]
        with database.write() as conn:
            claims.claim_next(conn, Reach("r", ("night",)), AT + 250 * S)
        assert open_kinds(database) == []
        run_until(database, 549, terms)
        assert open_kinds(database) == []
        run_until(database, 550, terms)
        assert open_kinds(database) == [("unsigned", "all")]

    def test_every_case_is_late_at_eighty_per_cent_of_its_limit(self, database: Database) -> None:
        fill(database, ("a", "routine", 0, "all"), ("b", "high", 0, "all"))
        assert run_until(database, 12 * 60 - 1) == 0
        assert run_until(database, 12 * 60) == 1
        assert run_until(database, 48 * 60 - 1) == 0
        assert run_until(database, 48 * 60) == 1
        assert [kind for kind, _ in open_kinds(database)] == ["late", "late"]

    def test_a_case_raised_later_has_its_steps_from_that_moment(self, database: Database) -> None:
        fill(database, ("a", "routine", 0, "all"))
        with database.write() as conn:
            queue.raise_priority(conn, case_id("a"), "urgent", "clinic", AT + 600 * S, placing=in_pool("all"))
        assert run_until(database, 659) == 0
        run_until(database, 660)
        assert [kind for kind, _ in open_kinds(database)] == ["unclaimed"]
        run_until(database, 720)
        run_until(database, 780)
        assert run_until(database, 839) == 0
        assert run_until(database, 840) == 1  # 80 % of five minutes

    def test_a_case_that_comes_back_has_the_ladder_anew_and_its_old_limit(self, database: Database) -> None:
        fill(database, ("a", "urgent", 0, "all"))
        with database.write() as conn:
            claims.claim_next(conn, ANY, AT + 30 * S)
            claims.give_back(conn, case_id("a"), "broken", "coordinator", "reader_absent", AT + 100 * S)
        for seconds in (60, 120, 159):
            run_until(database, seconds)
        assert open_kinds(database) == []
        run_until(database, 160)
        assert [kind for kind, _ in open_kinds(database)] == ["unclaimed"]
        run_until(database, 220)
        run_until(database, 240)
        assert [kind for kind, _ in open_kinds(database)] == ["unclaimed", "unclaimed_coordinator", "late"]

    def test_a_process_that_dies_with_a_step_in_its_hands_leaves_it_to_the_next(self, database: Database) -> None:
        fill(database, ("a", "urgent", 0, "all"))

        class Killed(BaseException):
            pass

        def die() -> None:
            with database.write() as conn:
                assert escalation.run_due(conn, AT + 60 * S) == 1
                raise Killed

        with pytest.raises(Killed):
            die()
        assert open_kinds(database) == []
        assert run_until(database, 61) == 1
        assert [kind for kind, _ in open_kinds(database)] == ["unclaimed"]

    def test_many_who_watch_do_each_step_once(self, database: Database) -> None:
        fill(database, *((f"{i}", "urgent", 0, "all") for i in range(20)))
        done = at_once(4, lambda _i: run_until(database, 60))
        while more := run_until(database, 60):
            done.append(more)
        assert sum(done) == 20
        assert len(open_kinds(database)) == 20


class SecondContract(DatabaseFixtures):
    """Readings beside the first."""

    def read(self, database: Database, name: str, who: str = "reader", *, critical: bool = False) -> str | None:
        """Claim and sign; the case of the second reading, if one is queued."""
        with database.write() as conn:
            mine = claims.claim_case(conn, name, Reach(who, ("all",)), AT)
            item = claims.complete(conn, mine.item_id, who, mine.fence, AT)
            row = {"id": f"report of {name}"[:32], "case_id": name, "version": 1, "text": "x", "critical": critical}
            conn.execute(insert(schema.reports).values(**row, signed_by=who, signed_at=AT, item_id=item.id))
            return second.after_signing(conn, item, critical=critical, key=b"k", at=AT, placing=in_pool("all"))

    def test_a_critical_one_is_read_again_by_somebody_else_and_graded_for_the_first_reader(
        self, database: Database
    ) -> None:
        fill(database, ("a", "urgent", 0, "all"))
        again = self.read(database, case_id("a"), critical=True)
        assert again is not None
        with database.write() as conn:
            assert claims.claim_next(conn, ANY, AT) is None  # who read it first
            assert worklist.get_case(conn, again).origin_id == case_id("a")  # type: ignore[union-attr]
            mine = claims.claim_next(conn, Reach("other", ("all",)), AT)
            assert mine is not None
            assert mine.case_id == again
            assert second.is_blind_to(conn, case_id("a"), "other")
            with pytest.raises(Conflict):
                second.grade(conn, mine.item_id, 1, "other", AT)
            item = claims.complete(conn, mine.item_id, "other", mine.fence, AT)
            assert second.after_signing(conn, item, critical=True, key=b"k", at=AT) is None
            assert not second.is_blind_to(conn, case_id("a"), "other")
            assert [one.id for one in second.ungraded(conn, "other")] == [item.id]
            with pytest.raises(InputRejected):
                second.grade(conn, item.id, 4, "other", AT)
            second.grade(conn, item.id, 2, "other", AT, note="ST in II")
            (told,) = second.feedback(conn, "reader")
            assert (told.grade, told.case_id) == (2, case_id("a"))
            assert second.feedback(conn, "other") == []
            assert not second.mark_seen(conn, item.id, "other", AT)
            assert second.mark_seen(conn, item.id, "reader", AT)
            assert second.feedback(conn, "reader") == []
        with pytest.raises(Conflict), database.write() as conn:
            second.grade(conn, item.id, 0, "other", AT)

    def test_a_sample_is_drawn_the_same_again_and_is_of_its_size(self) -> None:
        cases = [case_id(f"{i}") for i in range(20_000)]
        drawn = [one for one in cases if second.is_drawn(b"key", one)]
        assert drawn == [one for one in cases if second.is_drawn(b"key", one)]
        assert 320 <= len(drawn) <= 480  # 400 within four standard deviations
        other = {one for one in cases if second.is_drawn(b"other key", one)}
        assert len(other & set(drawn)) < 40

    def test_a_case_that_waits_for_an_opinion_is_in_nobodys_list_and_comes_back_with_it(
        self, database: Database
    ) -> None:
        fill(database, ("a", "high", 0, "all"))
        with database.write() as conn:
            mine = claims.claim_next(conn, ANY, AT)
            assert mine is not None
            asked = second.ask_opinion(conn, mine.item_id, "reader", mine.fence, AT, waits=True, placing=in_pool("all"))
            assert [one.case_id for one in worklist.list_items(conn)] == [asked]
            assert claims.claim_next(conn, ANY, AT) is None
            queue.raise_priority(conn, case_id("a"), "urgent", "clinic", AT + S, placing=in_pool("all"))
            theirs = claims.claim_next(conn, Reach("other", ("all",)), AT + 2 * S)
            assert theirs is not None
            assert theirs.lease_until == AT + 122 * S  # urgent as well
            claims.complete(conn, theirs.item_id, "other", theirs.fence, AT + 3 * S)
            (item,) = worklist.list_items(conn)
        assert (item.case_id, item.priority) == (case_id("a"), "urgent")

    def test_an_opinion_that_is_not_needed_any_more_lets_the_case_go_on(self, database: Database) -> None:
        fill(database, ("a", "high", 0, "all"))
        with database.write() as conn:
            mine = claims.claim_next(conn, ANY, AT)
            assert mine is not None
            asked = second.ask_opinion(conn, mine.item_id, "reader", mine.fence, AT, waits=True)
            second.withdraw(conn, asked, "reader", AT + S)
            assert [one.case_id for one in worklist.list_items(conn)] == [case_id("a")]
            with pytest.raises(Conflict):
                second.withdraw(conn, asked, "reader", AT + S)

    def test_an_opinion_beside_a_case_that_goes_on_and_a_consultation_of_a_read_one(self, database: Database) -> None:
        fill(database, ("a", "high", 0, "all"))
        with database.write() as conn:
            mine = claims.claim_next(conn, ANY, AT)
            assert mine is not None
            second.ask_opinion(conn, mine.item_id, "reader", mine.fence, AT, waits=False)
            with pytest.raises(Conflict):
                second.ask_opinion(conn, mine.item_id, "reader", mine.fence, AT, waits=False)
            claims.complete(conn, mine.item_id, "reader", mine.fence, AT + S)
            second.consult(conn, case_id("a"), "nurse", AT + 2 * S, priority="urgent", placing=in_pool("cardiac"))
            found = worklist.list_items(conn)
        assert [(one.kind, one.pool) for one in found] == [("consultation", "cardiac"), ("second_opinion", "all")]


class QueueContract(ListContract, ClaimsContract, EscalationContract, SecondContract):
    """All of it."""

    def test_states_never_change_without_an_event(self, database: Database) -> None:
        fill(database, ("a", "urgent", 0, "all"), ("b", "routine", 0, "all"))
        with database.write() as conn:
            claims.claim_next(conn, ANY, AT)
            claims.expire(conn, AT + minutes(60))
            queue.cancel_item(conn, case_id("b"), AT)
            newest = select(func.max(schema.item_events.c.id)).group_by(schema.item_events.c.item_id)
            last = select(schema.item_events.c.item_id, schema.item_events.c.to_state)
            said = {row[0]: row[1] for row in conn.execute(last.where(schema.item_events.c.id.in_(newest)))}
            stands = {row.id: row.state for row in conn.execute(select(schema.work_items))}
        assert said == stands

"""What the critical loop must do on every database: a class that test modules inherit with a fixture ``new_url``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from teleread.errors import AccessDenied, Conflict, InputRejected
from teleread.pipeline.critical_loop import SEND_LEASE, SEND_TIMER, CriticalLoop
from teleread.pipeline.services import Services
from teleread.reading import alarms, clinic, criticals, timers
from teleread.reading.critical_rows import of_case, open_criticals
from teleread.reading.critical_state import UNNAMED, WITHDRAWN, Critical
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from teleread.storage.vault import KeyRing
from tests.conftest import Clock
from tests.criticals import CONTACTS, Room, add_case, add_people, room

LADDER_S = (0, 60, 300, 600, 900)
STEMI = "st_elevation_inferior"


class CriticalsContract:
    """On top of ``new_url``."""

    @pytest.fixture
    def base(self, new_url: Callable[[], str], tmp_path: Path, clock: Clock) -> Iterator[Services]:
        catalogue = Database(new_url())
        catalogue.migrate()
        unused = None
        opened = Services(
            alliance=None,  # type: ignore[arg-type]
            catalogue=catalogue,
            store=unused,  # type: ignore[arg-type]
            ring=KeyRing.open(tmp_path / "keys.json", clock=clock),
            vault=unused,  # type: ignore[arg-type]
            make_pool=lambda: None,  # type: ignore[arg-type,return-value]
            clock=clock,
        )
        with catalogue.write() as conn:
            add_people(conn)
        yield opened
        catalogue.close()

    @pytest.fixture
    def ground(self, base: Services, clock: Clock) -> Iterator[Room]:
        made = room(base, clock)
        yield made
        made.loop.close()

    def raised(self, ground: Room, number: int = 1, *codes: str, **more: str) -> Critical:
        with ground.catalogue.write() as conn:
            case = add_case(conn, number, at=ground.clock.now, **more)
            return criticals.raise_critical(conn, case, codes or (STEMI,), "reader", ground.clock.now)

    def sign(self, ground: Room, case_id: str, *, critical: bool = True, kind: str = "final", **more: object) -> str:
        """A report, given back."""
        with ground.catalogue.write() as conn:
            version = len(conn.execute(select(schema.reports).where(schema.reports.c.case_id == case_id)).all()) + 1
            report_id = f"{case_id[-8:]}{version}"
            row = {"case_id": case_id, "version": version, "text": "t", "critical": critical, "signed_by": "reader"}
            conn.execute(insert(schema.reports).values(id=report_id, signed_at=ground.clock.now, kind=kind, **row))
            given = {"site_id": "village", "channel": "web", "delivered_at": ground.clock.now}
            conn.execute(insert(schema.deliveries).values(report_id=report_id, **given))
            said = {"codes": (), "critical": critical, "kind": kind} | more
            criticals.reported(conn, case_id, report_id=report_id, who="reader", at=ground.clock.now, **said)  # type: ignore[arg-type]
        return report_id

    # raising

    def test_only_the_reader_who_has_claimed_the_case_raises(self, ground: Room) -> None:
        with ground.catalogue.write() as conn:
            mine, waiting = add_case(conn, 1), add_case(conn, 2, reader=None)
        for case, who in ((mine, "colleague"), (waiting, "reader"), ("f" * 32, "reader")):
            with pytest.raises(Conflict) as refused, ground.catalogue.write() as conn:
                criticals.raise_critical(conn, case, [STEMI], who, ground.clock.now)
            assert refused.value.code == "claim_needed"
        with ground.catalogue.write() as conn:
            conn.execute(update(schema.work_items).values(lease_until=ground.clock.now))
        with pytest.raises(Conflict), ground.catalogue.write() as conn:
            criticals.raise_critical(conn, mine, [STEMI], "reader", ground.clock.now)

    def test_raised_before_any_report_and_pressed_twice_is_one(self, ground: Room) -> None:
        first = self.raised(ground)
        with ground.catalogue.write() as conn:
            again = criticals.raise_critical(conn, first.case_id, [STEMI], "reader", ground.clock.now)
            more = criticals.raise_critical(conn, first.case_id, ["qtc_long"], "reader", ground.clock.now)
        assert (first.id, first.report_id, first.state, first.codes) == (again.id, None, "open", (STEMI,))
        assert (more.id, more.codes) == (first.id, (STEMI, "qtc_long"))
        with ground.catalogue.read() as conn:
            assert len(open_criticals(conn)) == 1

    def test_without_a_code_it_is_another_finding(self, ground: Room) -> None:
        with ground.catalogue.write() as conn:
            case = add_case(conn, 1)
            assert criticals.raise_critical(conn, case, [], "reader", ground.clock.now).codes == (UNNAMED,)
            with pytest.raises(InputRejected):
                criticals.raise_critical(conn, case, ["王小东"], "reader", ground.clock.now)

    def test_of_many_that_raise_at_once_one_is_raised(self, ground: Room) -> None:
        with ground.catalogue.write() as conn:
            case = add_case(conn, 1)
        together = threading.Barrier(6)

        def one(_: int) -> str:
            together.wait(30)
            with ground.catalogue.write() as conn:
                return criticals.raise_critical(conn, case, [STEMI], "reader", ground.clock.now).id

        with ThreadPoolExecutor(6) as threads:
            assert len(set(threads.map(one, range(6)))) == 1

    # the ladder

    def test_nobody_answers_and_each_step_comes_in_its_time_up_to_a_named_owner(self, ground: Room) -> None:
        found = self.raised(ground)
        ground.go(905)
        first: dict[int, float] = {}
        for one in ground.told(found.id):
            assert one.tried_at is not None
            assert timedelta(0) <= one.tried_at - one.due_at <= timedelta(seconds=1)
            first.setdefault(one.step, (one.due_at - found.found_at).total_seconds())
        assert first == dict(enumerate(LADDER_S))
        ended = ground.critical(found.id)
        assert (ended.state, ended.owner, ended.ended_at) == ("owned", "officer", None)
        with ground.catalogue.read() as conn:
            alarm = alarms.open_alarms(conn, kinds=["critical_owner"])[0]
            assert (alarm.owner, alarm.subject) == ("officer", found.id)
            assert not criticals.blocks_closing(conn, found.case_id)
        assert ("teleread", "escalate_critical") in ground.actions()

    def test_the_second_channel_is_told_at_once(self, ground: Room) -> None:
        found = self.raised(ground)
        ground.round()
        assert ground.sent.messages == [("v1", "webhook", f"{found.id}.0")]
        screen, hook = sorted(ground.told(found.id), key=lambda one: one.channel)
        assert (screen.channel, screen.contact, screen.done_at) == ("screen", "village", None)
        assert (hook.outcome, hook.tries) == ("delivered", 1)

    def test_a_contact_that_fails_is_tried_again_and_at_one_minute_the_next_one_is_told(self, ground: Room) -> None:
        ground.sent.answers["v1"] = "refused"
        found = self.raised(ground)
        ground.go(59)
        assert (ground.sent.to("v1"), ground.sent.to("v2")) == (3, 0)
        ground.go(2)
        assert (ground.sent.to("v1"), ground.sent.to("v2")) == (3, 1)
        hook = next(one for one in ground.told(found.id) if one.channel == "webhook")
        assert (hook.outcome, hook.tries) == ("refused", 3)

    def test_a_contact_that_was_reached_is_told_again_at_one_minute(self, ground: Room) -> None:
        self.raised(ground)
        ground.go(61)
        assert (ground.sent.to("v1"), ground.sent.to("v2")) == (2, 0)

    @pytest.mark.parametrize("telephone", ["0571-3", ""])
    def test_a_clinic_without_contacts_is_telephoned_at_once_and_ends_with_an_owner(
        self, base: Services, clock: Clock, telephone: str
    ) -> None:
        ground = room(base, clock, (), telephone=telephone)
        found = self.raised(ground)
        ground.round()
        call = next(one for one in ground.told(found.id) if one.channel == "telephone")
        assert (call.step, call.contact, call.outcome) == (0, "coordinator", "no_channel")
        ground.go(901)
        assert ground.critical(found.id).owner == "coordinator"

    @pytest.mark.parametrize(
        ("gone", "owner"),
        [
            ({"officer"}, "coordinator"),
            ({"officer", "coordinator"}, "administrator"),
            ({"officer", "coordinator", "administrator"}, "reader"),
        ],
    )
    def test_whoever_is_missing_there_is_a_named_owner(self, ground: Room, gone: set[str], owner: str) -> None:
        with ground.catalogue.write() as conn:
            names = schema.accounts.c.name.in_(gone)
            conn.execute(update(schema.accounts).where(names).values(disabled_at=ground.clock.now))
        found = self.raised(ground)
        ground.go(901)
        assert ground.critical(found.id).owner == owner

    def test_after_hours_without_any_process_every_step_is_taken_up(self, ground: Room) -> None:
        found = self.raised(ground)
        ground.jump(7200)
        assert {one.step for one in ground.told(found.id)} == {0, 1, 2, 3, 4}
        assert ground.critical(found.id).owner == "officer"

    def test_two_processes_take_each_step_once(self, ground: Room) -> None:
        found = [self.raised(ground, number) for number in range(8)]
        other = CriticalLoop(ground.services, send=ground.sent)
        ground.clock.advance(0.1)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda loop: loop.run_due(), (ground.loop, other)))
        ground.loop.settle(30)
        other.settle(30)
        other.close()
        assert sorted(ground.sent.messages) == sorted(("v1", "webhook", f"{one.id}.0") for one in found)

    @pytest.mark.parametrize("in_turn", [True, pytest.param(False, id="oldest first, as a broken twin")])
    def test_what_failed_before_does_not_stand_before_what_is_due_now(self, ground: Room, in_turn: bool) -> None:
        kind, now = [SEND_TIMER], ground.clock.now
        with ground.catalogue.write() as conn:
            timers.set_timer(conn, SEND_TIMER, "failed", now)
            (failed,) = timers.take_due(conn, now, kinds=kind)
            timers.put_off(conn, failed, now + timedelta(seconds=20))
            timers.set_timer(conn, SEND_TIMER, "new", now + timedelta(seconds=10))
            (first,) = timers.take_due(conn, now + timedelta(seconds=21), kinds=kind, limit=1, in_turn=in_turn)
        assert first.subject == ("new" if in_turn else "failed")

    def test_a_process_that_dies_while_it_sends_is_followed_by_another(self, ground: Room) -> None:
        self.raised(ground)
        with ground.catalogue.write() as conn:  # taken, and never finished
            ground.loop._plan(conn, ground.clock.now)
            assert timers.take_due(conn, ground.clock.now, kinds=[SEND_TIMER], lease=SEND_LEASE)
        ground.go(1)
        assert ground.sent.to("v1") == 0
        ground.go(1)
        assert ground.sent.to("v1") == 1

    def test_a_process_that_lives_holds_what_it_sends_however_long_that_takes(self, ground: Room) -> None:
        began, may_end = threading.Event(), threading.Event()

        def hang() -> str:
            began.set()
            may_end.wait(30)
            return "timeout"

        ground.sent.answers["v1"] = hang
        found = self.raised(ground)
        other = CriticalLoop(ground.services, send=ground.sent)
        ground.loop.run_due()
        assert began.wait(30)
        for _ in range(20):
            ground.clock.advance(0.5)
            for loop in (ground.loop, other):
                loop.run_due()
        assert ground.sent.to("v1") == 1
        may_end.set()
        ground.loop.settle(30)
        other.close()
        hook = next(one for one in ground.told(found.id) if one.channel == "webhook")
        assert (hook.outcome, hook.tries, hook.tried_at) == ("timeout", 1, found.found_at)

    def test_one_that_cannot_be_handled_does_not_silence_the_others(self, ground: Room) -> None:
        bad, good = self.raised(ground, 1), self.raised(ground, 2)
        with ground.catalogue.write() as conn:  # as another version might have left it
            row = {"critical_id": bad.id, "step": 7, "channel": "x", "contact": "x", "due_at": ground.clock.now}
            conn.execute(insert(schema.critical_steps).values(**row))
            conn.execute(update(schema.criticals).where(schema.criticals.c.id == bad.id).values(state="strange"))
        ground.go(905)
        assert ground.critical(good.id).state == "owned"

    def test_a_fault_of_ours_in_sending_is_an_outcome(self, ground: Room) -> None:
        def broken() -> str:
            raise ZeroDivisionError

        ground.sent.answers["v1"] = broken
        found = self.raised(ground)
        ground.go(30)
        hook = next(one for one in ground.told(found.id) if one.channel == "webhook")
        assert (hook.outcome, hook.tries) == ("internal_error", 3)

    # acknowledging

    def test_a_person_of_the_clinic_acknowledges_and_the_ladder_ends(self, ground: Room) -> None:
        found = self.raised(ground)
        ground.go(30)
        with ground.catalogue.write() as conn:
            assert criticals.blocks_closing(conn, found.case_id)
            done = criticals.acknowledge(conn, found.id, "village", "nurse", ground.clock.now)
        facts = (done.codes, done.found_by, done.told_to, done.told_how, done.told_at, done.ended_at)
        assert facts == ((STEMI,), "reader", "nurse", "page", ground.clock.now, ground.clock.now)
        before = len(ground.told(found.id))
        ground.go(900)
        assert len(ground.told(found.id)) == before
        assert (ground.critical(found.id).state, ground.critical(found.id).owner) == ("acknowledged", None)
        assert ("nurse", "acknowledge") in ground.actions()
        with ground.catalogue.read() as conn:
            assert not criticals.blocks_closing(conn, found.case_id)

    def test_the_first_name_stays(self, ground: Room) -> None:
        found = self.raised(ground)
        for name in ("nurse", "second-nurse"):
            with ground.catalogue.write() as conn:
                done = criticals.acknowledge(conn, found.id, "village", name, ground.clock.now)
        assert done.told_to == "nurse"

    def test_nobody_but_a_person_of_the_site_acknowledges(self, ground: Room) -> None:
        found = self.raised(ground)
        with ground.catalogue.write() as conn:
            add_people(conn, {"agent:village": ("uploader", "village")})
        for who in ("agent:village", "reader", "coordinator", "stranger", "nobody"):
            with pytest.raises(AccessDenied) as refused, ground.catalogue.write() as conn:
                criticals.acknowledge(conn, found.id, "village", who, ground.clock.now)
            assert refused.value.code == "not_a_person", who
        with pytest.raises(Conflict) as unknown, ground.catalogue.write() as conn:
            criticals.acknowledge(conn, found.id, "other", "stranger", ground.clock.now)
        assert unknown.value.code == "no_such_critical"

    def test_one_press_below_the_report_acknowledges_the_critical_value(self, ground: Room) -> None:
        found = self.raised(ground)
        report = self.sign(ground, found.case_id, codes=(STEMI,))
        with ground.catalogue.write() as conn:
            clinic.acknowledge(conn, report, "village", "nurse", ground.clock.now)
        done = ground.critical(found.id)
        assert (done.state, done.told_to, done.report_id) == ("acknowledged", "nurse", report)

    def test_one_press_on_the_banner_acknowledges_the_report_too(self, ground: Room) -> None:
        found = self.raised(ground)
        report = self.sign(ground, found.case_id, codes=(STEMI,))
        with ground.catalogue.write() as conn:
            criticals.acknowledge(conn, found.id, "village", "nurse", ground.clock.now)
            assert clinic.acknowledged(conn, [report])[report].read_by == "nurse"

    # the telephone

    def test_a_read_back_by_telephone_ends_it_with_the_name_of_who_heard(self, ground: Room) -> None:
        found = self.raised(ground)
        ground.go(301)
        with ground.catalogue.write() as conn:
            done = criticals.record_call(conn, found.id, "Dr Li", "read_back", "coordinator", ground.clock.now)
        facts = (done.state, done.told_to, done.told_how, done.read_back, done.recorded_by)
        assert facts == ("acknowledged", "Dr Li", "telephone", True, "coordinator")
        calls = [one for one in ground.told(found.id) if one.channel == "telephone"]
        assert [(one.step, one.outcome) for one in calls] == [(2, "called"), (100, "read_back")]
        assert "Dr Li" not in str(ground.actions())

    @pytest.mark.parametrize("outcome", ["not_read_back", "no_answer"])
    def test_told_but_not_read_back_goes_on_up_the_ladder(self, ground: Room, outcome: str) -> None:
        found = self.raised(ground)
        with ground.catalogue.write() as conn:
            criticals.record_call(conn, found.id, "v1", outcome, "coordinator", ground.clock.now)
        ground.go(905)
        assert ground.critical(found.id).state == "owned"
        assert {one.step for one in ground.told(found.id)} == {0, 1, 2, 3, 4, 100}

    def test_calls_are_written_down_by_who_may(self, ground: Room) -> None:
        found = self.raised(ground)
        for who in ("colleague", "nurse", "nobody"):
            with pytest.raises(AccessDenied), ground.catalogue.write() as conn:
                criticals.record_call(conn, found.id, "Dr Li", "read_back", who, ground.clock.now)
        for name in ("", "  ", "x" * 65):
            with pytest.raises(InputRejected), ground.catalogue.write() as conn:
                criticals.record_call(conn, found.id, name, "read_back", "senior", ground.clock.now)
        with ground.catalogue.write() as conn:
            criticals.record_call(conn, found.id, "Dr Li", "read_back", "reader", ground.clock.now)
        with pytest.raises(Conflict), ground.catalogue.write() as conn:
            criticals.record_call(conn, found.id, "Dr Li", "no_answer", "senior", ground.clock.now)

    def test_who_takes_it_owns_it_and_the_ladder_goes_on(self, ground: Room) -> None:
        found = self.raised(ground)
        with ground.catalogue.write() as conn:
            taken = criticals.take_ownership(conn, found.id, "coordinator", ground.clock.now)
        assert (taken.state, taken.owner) == ("owned", "coordinator")
        ground.go(905)
        assert ground.critical(found.id).owner == "coordinator"
        assert ground.sent.to("v2") == 1
        with ground.catalogue.write() as conn:
            criticals.acknowledge(conn, found.id, "village", "nurse", ground.clock.now)
            assert alarms.open_alarms(conn, kinds=["critical_owner"]) == []

    # reports

    def test_the_report_joins_what_was_raised(self, ground: Room) -> None:
        found = self.raised(ground)
        report = self.sign(ground, found.case_id, codes=(STEMI, "qtc_long"))
        joined = ground.critical(found.id)
        assert (joined.report_id, joined.codes) == (report, (STEMI, "qtc_long"))

    def test_a_critical_report_alone_raises(self, ground: Room) -> None:
        with ground.catalogue.write() as conn:
            case = add_case(conn, 1)
        self.sign(ground, case)
        with ground.catalogue.read() as conn:
            assert [one.codes for one in open_criticals(conn)] == [(UNNAMED,)]

    @pytest.mark.parametrize(("codes", "asks"), [((STEMI,), False), ((), False), (("qtc_long",), True)])
    def test_what_the_clinic_knows_already_is_not_asked_twice(
        self, ground: Room, codes: tuple[str, ...], asks: bool
    ) -> None:
        found = self.raised(ground)
        with ground.catalogue.write() as conn:
            criticals.acknowledge(conn, found.id, "village", "nurse", ground.clock.now)
        self.sign(ground, found.case_id, codes=codes)
        with ground.catalogue.read() as conn:
            assert bool(open_criticals(conn)) is asks

    @pytest.mark.parametrize(
        ("kind", "critical", "codes", "said"),
        [
            ("corrected", True, ("qtc_long",), ("qtc_long",)),
            ("corrected", False, (), (WITHDRAWN,)),
            ("withdrawn", True, (STEMI,), (WITHDRAWN,)),
        ],
    )
    @pytest.mark.parametrize("acknowledged", [True, False])
    def test_a_correction_of_a_critical_statement_asks_again(
        self,
        ground: Room,
        kind: str,
        critical: bool,
        codes: tuple[str, ...],
        said: tuple[str, ...],
        acknowledged: bool,
    ) -> None:
        found = self.raised(ground)
        self.sign(ground, found.case_id, codes=(STEMI,))
        if acknowledged:
            with ground.catalogue.write() as conn:
                criticals.acknowledge(conn, found.id, "village", "nurse", ground.clock.now)
        self.sign(ground, found.case_id, critical=critical, kind=kind, codes=codes)
        with ground.catalogue.read() as conn:
            (asked,) = open_criticals(conn)
        assert (asked.codes, asked.supersedes) == (said, found.id)
        assert ground.critical(found.id).state == ("acknowledged" if acknowledged else "withdrawn")
        ground.go(901)
        assert ground.critical(asked.id).state == "owned"

    def test_who_raised_it_by_mistake_takes_it_back_and_the_clinic_hears_that_too(self, ground: Room) -> None:
        found = self.raised(ground)
        with pytest.raises(AccessDenied), ground.catalogue.write() as conn:
            criticals.take_back(conn, found.id, "colleague", ground.clock.now)
        with ground.catalogue.write() as conn:
            asked = criticals.take_back(conn, found.id, "reader", ground.clock.now)
        assert (asked.codes, asked.state, asked.supersedes) == ((WITHDRAWN,), "open", found.id)
        with ground.catalogue.write() as conn:
            again = criticals.raise_critical(conn, found.case_id, [STEMI], "reader", ground.clock.now)
            states = {one.codes: one.state for one in of_case(conn, found.case_id)}
        assert (again.codes, again.state) == ((STEMI,), "open")
        assert states[(WITHDRAWN,)] == "withdrawn"

    def test_a_normal_report_raises_nothing(self, ground: Room) -> None:
        with ground.catalogue.write() as conn:
            case = add_case(conn, 1)
        self.sign(ground, case, critical=False)
        with ground.catalogue.read() as conn:
            assert of_case(conn, case) == []

    # the twin

    def test_timers_that_are_set_after_the_commit_would_leave_it_silent(self, ground: Room) -> None:
        """The twin: a process that dies between its two transactions raises something that nobody ever hears of."""
        kept = self.raised(ground, 1)
        lost = self.raised(ground, 2)
        with ground.catalogue.write() as conn:  # it died before it set them
            conn.execute(schema.timers.delete().where(schema.timers.c.subject.startswith(lost.id)))
        ground.go(905)
        assert silent(ground) == [lost.id]
        assert ground.critical(kept.id).state == "owned"

    def test_contacts_of_the_rules_are_those_of_the_day(self, base: Services, clock: Clock) -> None:
        tomorrow = clock.now.date() + timedelta(days=1)
        ended = replace(CONTACTS[0], valid_to=clock.now.date())
        later = replace(CONTACTS[1], id="v3", order=1, valid_from=tomorrow)
        ground = room(base, clock, (ended, later, *CONTACTS[1:]))
        self.raised(ground)
        ground.round()
        assert [one[0] for one in ground.sent.messages] == ["v2"]


def silent(ground: Room) -> list[str]:
    """Critical values whose ladder is over and that nobody has heard of, nor owns."""
    late = ground.clock.now - timedelta(seconds=LADDER_S[-1] + 5)
    with ground.catalogue.read() as conn:
        return [one.id for one in open_criticals(conn) if one.found_at <= late and one.state == "open"]

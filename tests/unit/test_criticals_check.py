"""The checker of the proof on critical values, and twins of the loop that it must catch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from teleread.errors import Misconfigured
from teleread.pipeline import critical_loop
from teleread.pipeline.critical_loop import SEND_TIMER, CriticalLoop
from teleread.pipeline.services import Services
from teleread.reading import criticals, timers
from teleread.reading.critical_ladder import ladder_at, parse_ladders, standard_ladders
from teleread.reading.critical_state import STATES, TRANSITIONS
from teleread.reading_room import Contact
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import timers as timer_rows
from teleread.storage.vault import KeyRing
from tests.conftest import Clock
from tests.criticals import PEOPLE, SINCE, Room, add_case, add_people, room
from tests.prove.criticals_check import faults

CONTACTS = tuple(
    Contact(f"{site}{order}", site, "Nurse", SINCE, order=order, email=f"{site}{order}@x.invalid")
    for site in ("village", "other")
    for order in (1, 2)
)
HANGING = "village1"
COUNT = 12


@pytest.fixture
def ground(tmp_path: Path, clock: Clock) -> Iterator[Room]:
    catalogue = Database(f"sqlite:///{tmp_path / 'criticals.db'}")
    catalogue.migrate()
    nothing: Any = None
    ring = KeyRing.open(tmp_path / "keys.json", clock=clock)
    services = Services(nothing, catalogue, nothing, ring, nothing, nothing, clock)
    with catalogue.write() as conn:
        add_people(conn)
    made = room(services, clock, CONTACTS)
    yield made
    made.loop.close()
    catalogue.close()


def raise_some(ground: Room) -> list[str]:
    """Of two sites in turn, all at once."""
    with ground.catalogue.write() as conn:
        cases = [add_case(conn, n + 1, site=("village", "other")[n % 2], at=ground.clock.now) for n in range(COUNT)]
        return [criticals.raise_critical(conn, one, (), "reader", ground.clock.now).id for one in cases]


def found(ground: Room, raised: list[str]) -> list[str]:
    """What the checker says."""
    people = {*PEOPLE, *(one.id for one in CONTACTS)}
    ladder = ladder_at(ground.services.ladders, ground.clock.now.date())
    sites = {"village": {"nurse", "second-nurse"}, "other": {"stranger"}}
    return [
        fault
        for one in raised
        for fault in faults(ground.critical(one), ground.told(one), ladder, ground.clock.now, people, sites)
    ]


def test_the_loop_itself_has_no_fault(ground: Room) -> None:
    ground.sent.answers[HANGING] = "timeout"
    raised = raise_some(ground)
    ground.go(400)
    with ground.catalogue.write() as conn:
        criticals.acknowledge(conn, raised[0], "village", "nurse", ground.clock.now)
        criticals.record_call(conn, raised[1], "Dr Li", "read_back", "coordinator", ground.clock.now)
    ground.go(520)
    assert found(ground, raised) == []
    assert {ground.critical(one).state for one in raised} == {"acknowledged", "owned"}


def test_twin_timers_set_after_the_commit(ground: Room) -> None:
    """It dies between raising and setting the timers: nobody is ever told."""
    raised = raise_some(ground)
    with ground.catalogue.write() as conn:
        conn.execute(timer_rows.delete().where(timer_rows.c.subject.startswith(raised[3])))
    ground.go(910)
    wrong = found(ground, raised)
    assert any(one.startswith(f"{raised[3]}: SILENT") for one in wrong)
    assert all(one.startswith(raised[3]) for one in wrong)


@pytest.mark.parametrize(("lease", "caught"), [(critical_loop.SEND_LEASE, False), (timedelta(days=1), True)])
def test_twin_lease_that_never_expires(ground: Room, lease: timedelta, caught: bool) -> None:
    """A process takes every message and dies: with a lease that ends, another one sends them."""
    raised = raise_some(ground)
    with ground.catalogue.write() as conn:
        ground.loop._plan(conn, ground.clock.now)
        assert len(timers.take_due(conn, ground.clock.now, kinds=[SEND_TIMER], lease=lease)) == COUNT
    ground.go(910)
    assert any("never tried" in one for one in found(ground, raised)) is caught


class InsideTheTransaction(CriticalLoop):
    """The twin: what it takes it sends before it commits, one after the other."""

    def _take(self, conn: Any, now: Any, limit: int) -> list[Any]:
        for one in super()._take(conn, now, limit):
            began = self._services.clock()
            outcome = self._outcome(one, began)
            critical_loop._written(conn, one, outcome, began, self._services.clock())
        return []


def test_twin_sender_inside_the_transaction(ground: Room) -> None:
    """A contact that hangs for three seconds then holds everybody else up."""

    def hang() -> str:
        ground.clock.advance(3)
        return "timeout"

    ground.sent.answers[HANGING] = hang
    twin = replace(ground, loop=InsideTheTransaction(ground.services, send=ground.sent))
    raised = raise_some(ground)
    twin.go(910)
    assert any("after its time" in one for one in found(ground, raised))
    twin.loop.close()


def test_who_owns_or_hears_must_be_somebody(ground: Room) -> None:
    (one, *_) = raise_some(ground)
    ground.go(910)
    known, told = ground.critical(one), ground.told(one)
    ladder = standard_ladders()[0]
    nobody = replace(known, owner="nobody")
    stranger = replace(known, state="acknowledged", told_to="stranger", told_how="page", recorded_by="stranger")
    for wrong in (nobody, stranger, replace(known, owned_at=None), replace(known, state="open")):
        assert faults(wrong, told, ladder, ground.clock.now, set(PEOPLE), {"village": {"nurse"}}), wrong


# the table and the ladder as data


def test_every_state_and_event_of_the_table_is_one() -> None:
    assert set(TRANSITIONS.values()) == set(STATES)
    assert {before for before, _ in TRANSITIONS} == {None, *STATES} - {"withdrawn"}


LADDER = """
[[ladder]]
name = "x"
version = "1"
valid_from = 2026-01-01
source = "s"
step = [{after_s = 0, acts = ["screen:clinic"]}, {after_s = 9, acts = ["owner:duty-officer"]}]
"""


def test_the_ladder_of_the_day_holds_and_no_day_is_without_one() -> None:
    later = LADDER.replace('"1"', '"2"').replace("2026-01-01", "2026-06-01")
    ladders = parse_ladders(LADDER + later)
    assert [ladder_at(ladders, date(2026, month, 1)).version for month in (1, 5, 6)] == ["1", "1", "2"]
    assert ladder_at(ladders, date(2020, 1, 1)).version == "1"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ('"screen:clinic"', '"message:clinic-1"'),
        ('"owner:duty-officer"', '"call:coordinator"'),
        ('"owner:duty-officer"', '"owner:nobody"'),
        ("after_s = 9", "after_s = 0"),
        ("after_s = 0", "after_s = 1"),
        ('source = "s"', 'source = ""'),
        ("valid_from = 2026-01-01", 'valid_from = "x"'),
        ("[[ladder]]", "[[step]]"),
        ('name = "x"', ""),
        ("step =", "step"),
    ],
)
def test_a_ladder_that_could_be_silent_is_refused(wrong: str, right: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        parse_ladders(LADDER.replace(wrong, right, 1))
    assert refused.value.code == "ladder_invalid"

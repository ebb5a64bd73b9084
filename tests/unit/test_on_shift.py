"""The coordinator's view by shift: who is on, what waits and is read, and what was signed since the shift began."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta

import pytest
from sqlalchemy import update

from teleread.pipeline.services import Services
from teleread.reading import claims
from teleread.reading.claims import Reach
from teleread.reading.on_shift import ShiftState, shift_states, spans_now, worth_showing
from teleread.reading_room import ALL, Licence, Pool, ReadingRoom, Shift
from teleread.storage.catalogue.schema import work_items
from tests.conftest import Clock
from tests.queueing import AT, case_id, put
from tests.signing import sign_report
from tests.ui.live import Web, running

SINCE = date(2026, 1, 1)
WHO = ("ann", "ben", "eve")


def at(hour: int, minute: int = 0) -> datetime:
    """A time of the alliance's clock, which is UTC here, on the day of ``AT``."""
    return AT.replace(hour=hour, minute=minute)


ROOM = ReadingRoom(
    utc_offset_minutes=0,
    pools=(Pool("ecg", "心电", "ECG", SINCE), Pool("ct", "影像", "CT", SINCE)),
    shifts=(
        Shift("day", "ann", SINCE, pool="ecg", begins=time(8), ends=time(20), grace_min=30),
        Shift("day-too", "ben", SINCE, pool="ecg", begins=time(8), ends=time(20), grace_min=30),
        Shift("night", "eve", SINCE, pool="ecg", begins=time(20), ends=time(8)),
        Shift("stranger", "gone", SINCE, pool="ecg", begins=time(8), ends=time(20)),
        Shift("desk", "coordinator", SINCE, begins=time(8), ends=time(20), role="coordinator"),
    ),
)


def test_those_who_begin_and_end_together_are_one_shift_and_one_that_ended_may_still_finish() -> None:
    (day, nobody) = spans_now(ROOM, ["ecg", "ct"], at(9), WHO)
    assert (day.begins, day.ends, day.readers, day.over) == (at(8), at(20), ("ann", "ben"), False)
    assert (nobody.pool, nobody.begins, nobody.readers) == ("ct", None, ())
    over, night = spans_now(ROOM, ["ecg"], at(20, 10), WHO)
    assert (over.readers, over.over) == (("ann", "ben"), True)
    assert (night.begins, night.ends, night.readers) == (at(20), at(8) + timedelta(days=1), ("eve",))
    (night,) = spans_now(ROOM, ["ecg"], at(20, 30), WHO)
    assert night.readers == ("eve",)
    (night, day) = spans_now(ROOM, ["ecg"], at(8), WHO)  # the night's grace, and the day at its very begin
    assert (night.over, night.begins, day.readers) == (True, at(20) - timedelta(days=1), ("ann", "ben"))


def test_whoever_has_no_licence_is_on_no_shift_and_without_a_roster_everybody_reads() -> None:
    licensed = replace(ROOM, licences=(Licence("ben", SINCE),))
    (day,) = spans_now(licensed, ["ecg"], at(9), WHO)
    assert day.readers == ("ben",)
    (all_,) = spans_now(ReadingRoom(), [ALL], at(9), WHO)
    assert (all_.begins, all_.readers) == (None, WHO)


def states(services: Services, when: datetime) -> dict[tuple[str, bool], ShiftState]:
    with services.catalogue.read() as conn:
        found = shift_states(conn, spans_now(ROOM, ["ecg", "ct", ALL], when, WHO), when)
    return {(one.span.pool, one.span.over): one for one in found}


def test_what_waits_is_the_pools_and_what_is_read_and_signed_is_its_readers_own(services: Services) -> None:
    with services.catalogue.write() as conn:
        for n in range(4):
            put(conn, f"ecg {n}", "high", at(8, 10 + n), pool="ecg")
        put(conn, "ct", at=at(8, 2), pool="ct")
        put(conn, "lent", at=at(8, 1), pool="ct")
        conn.execute(update(work_items).where(work_items.c.case_id == case_id("lent")).values(overflow_pool="ecg"))
        put(conn, "before", at=at(7), pool="ecg")
        sign_report(conn, case_id("before"), signed_by="ann", at=at(7, 50))  # before her shift
        sign_report(conn, case_id("ecg 0"), signed_by="ann", at=at(8, 20))
        sign_report(conn, case_id("ecg 1"), signed_by="eve", at=at(8, 21))  # of the night, in its grace
        claims.claim_case(conn, case_id("ecg 2"), Reach("ben", ("ecg",)), at(8, 22))
    found = states(services, at(8, 25))
    day, night, ct = found["ecg", False], found["ecg", True], found["ct", False]
    assert (day.waiting.n, day.late.n, day.read, day.signed) == (2, 0, 1, 1)
    assert (day.oldest, day.span.readers) == (at(8, 1), ("ann", "ben"))
    assert (night.read, night.signed) == (0, 1)
    assert (ct.waiting.n, ct.signed, ct.span.readers) == (2, None, ())
    assert not worth_showing(found[ALL, False])
    late = states(services, at(8, 29))["ecg", False]  # the high one's 15 min are over, the oldest one's hour is not
    assert (late.late.n, late.oldest_due) == (1, at(9, 1))


@pytest.fixture
def web(services: Services, clock: Clock) -> Iterator[Web]:
    today = clock().date() - timedelta(days=2)
    shifts = tuple(Shift(f"s{n}", who, today, pool="ecg") for n, who in enumerate(("reader", "senior")))
    room = ReadingRoom(pools=(Pool("ecg", "心电", "ECG pool", today),), shifts=shifts)
    with running(replace(services, alliance=replace(services.alliance, room=room))) as started:
        yield started


def test_the_board_shows_each_shift_with_its_people_and_numbers(web: Web, clock: Clock) -> None:
    with web.services.catalogue.write() as conn:
        for n in range(3):
            put(conn, f"case {n}", at=clock.now, pool="ecg")
        claims.claim_case(conn, case_id("case 0"), Reach("senior", ("ecg",)), clock.now)
        sign_report(conn, case_id("case 1"), signed_by="reader", at=clock.now)
    clock.advance(90)
    with web.signed_in("coordinator") as coordinator:
        page = coordinator.get("/coordinator").text
    (table,) = re.findall(r'<table id="shifts">.*?</table>', page, re.S)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", table))
    assert "ECG pool 00:00–00:00 reader, senior 1 1 1 min 30 s of 1 h 0 min 1" in words

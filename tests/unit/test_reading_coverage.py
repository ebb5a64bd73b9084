"""Gaps without a reader: exact against a count minute by minute, told before and cleared when mended."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teleread.pipeline.services import Services
from teleread.reading import alarms, coverage, eligibility
from teleread.reading.coverage import Gap, gaps
from teleread.reading_room import ALL, Licence, Pool, ReadingRoom, Route, Shift
from teleread.storage import accounts
from tests.conftest import Clock

SINCE = date(2026, 1, 1)
NEW_YEARS_EVE = date(2026, 12, 31)
AT = datetime(2026, 12, 31, 4, 30, tzinfo=UTC)  # half past noon in China
HOURS = 40
MINUTE = timedelta(minutes=1)
POOLS = tuple(Pool(name, name, name, SINCE) for name in ("ecg", "imaging"))
BOTH = (Route("e", "ecg", SINCE, modality=("ECG",)), Route("rest", "imaging", SINCE))

SOME = st.sampled_from
DAYS = SOME([SINCE, date(2026, 12, 31), date(2027, 1, 1)])
ENDS = SOME([None, None, date(2027, 1, 1), date(2027, 1, 2)])
TIMES = SOME([time(0), time(0, 1), time(8), time(12, 30), time(20), time(23, 59)])
ACCOUNTS = SOME(["li", "chen", "gone"])
SHIFTS = st.builds(
    Shift,
    id=st.just("s"),
    account=ACCOUNTS,
    valid_from=DAYS,
    valid_to=ENDS,
    pool=SOME(["ecg", "imaging"]),
    days=SOME([(1, 2, 3, 4, 5, 6, 7), (4,), (5,), (1, 2, 3)]),
    begins=TIMES,
    ends=TIMES,
    grace_min=SOME([0.0, 30.0]),
    role=SOME(["reader", "reader", "reader", "coordinator"]),
)
LICENCES = st.builds(
    Licence,
    account=ACCOUNTS,
    valid_from=DAYS,
    valid_to=ENDS,
    modality=SOME([(), (), ("ECG",), ("CT",)]),
    pool=SOME([(), (), ("ecg",)]),
    age_from_years=SOME([None, None, 14.0]),
)
ROUTES = st.builds(
    Route,
    id=st.just("r"),
    pool=SOME(["ecg", "imaging"]),
    valid_from=DAYS,
    valid_to=ENDS,
    modality=SOME([("ECG", "OT"), ("ECG",), ("CT", "ECG"), ()]),
    age_from_years=SOME([None, 14.0, 18.0]),
)
ROOMS = st.builds(
    ReadingRoom,
    pools=SOME([POOLS, (replace(POOLS[0], overflow="imaging"), POOLS[1])]),
    routes=st.lists(ROUTES, max_size=3).map(tuple),
    licences=st.lists(LICENCES, max_size=4).map(tuple),
    shifts=st.lists(SHIFTS, max_size=5).map(tuple),
    utc_offset_minutes=SOME([480, 345, 0, -210]),
)


def is_read(room: ReadingRoom, pool: str, at: datetime, readers: Collection[str]) -> bool:
    """Whether somebody reads a pool in a minute: the rules said once more, for that minute alone."""
    local = at.replace(tzinfo=None) + timedelta(minutes=room.utc_offset_minutes)

    def valid(entry: Any, day: date) -> bool:
        return bool(entry.valid_from <= day and (entry.valid_to is None or entry.valid_to > day))

    def works(account: str) -> bool:
        if not any(shift.role == "reader" for shift in room.shifts):
            return True
        for shift in room.shifts:
            if shift.role != "reader" or shift.account != account or (pool not in (shift.pool, ALL)):
                continue
            for back in (0, 1):
                day = local.date() - timedelta(days=back)
                begins = datetime.combine(day, shift.begins)
                ends = datetime.combine(day + timedelta(days=shift.ends <= shift.begins), shift.ends)
                if valid(shift, day) and day.isoweekday() in shift.days and begins <= local < ends:
                    return True
        return False

    def may(account: str) -> bool:
        if not room.licences:
            return True
        mine = [one for one in room.licences if one.account == account and valid(one, local.date())]
        if pool == ALL:
            return bool(mine)
        mine = [one for one in mine if not one.pool or pool in one.pool]
        feeding = {pool} | {one.id for one in room.pools if one.overflow == pool}
        for one in room.routes:
            if one.pool not in feeding or not valid(one, local.date()):
                continue
            adult = one.age_from_years or 0.0
            for modality in [name for name in one.modality if name != "OT"] or ["anything" if not one.modality else ""]:
                if not any(
                    (not lic.modality or modality in lic.modality or modality == "")
                    and adult >= (lic.age_from_years or 0.0)
                    for lic in mine
                ):
                    return False
        return bool(mine)

    return any(works(account) and may(account) for account in readers)


def used(room: ReadingRoom, at: datetime) -> set[str]:
    day = (at + timedelta(minutes=room.utc_offset_minutes)).date()
    routes = [one for one in room.routes if one.valid_from <= day and (one.valid_to is None or one.valid_to > day)]
    takes_all = any(not one.modality and one.age_from_years is None for one in routes)
    return {one.pool for one in routes} | (set() if takes_all else {ALL})


def minute_by_minute(room: ReadingRoom, at: datetime, readers: Collection[str], n: int) -> set[tuple[str, datetime]]:
    return {
        (pool, minute)
        for minute in (at + k * MINUTE for k in range(n))
        for pool in used(room, minute)
        if not is_read(room, pool, minute, readers)
    }


def minutes(found: Collection[Gap]) -> Iterator[tuple[str, datetime]]:
    for gap in found:
        for k in range((gap.ends - gap.begins) // MINUTE):
            yield gap.pool, gap.begins + k * MINUTE


@settings(max_examples=60, deadline=None)
@given(ROOMS)
def test_gaps_are_those_of_a_count_minute_by_minute(room: ReadingRoom) -> None:
    readers = ("chen", "li")
    found = gaps(room, AT, readers, timedelta(hours=HOURS))
    told = list(minutes(found))
    assert len(told) == len(set(told))
    assert set(told) == minute_by_minute(room, AT, readers, HOURS * 60)
    assert all(gap.begins < gap.ends for gap in found)


@settings(max_examples=100, deadline=None)
@given(ROOMS, st.integers(0, HOURS * 60))
def test_never_is_a_moment_with_a_reader_on_duty_a_gap(room: ReadingRoom, minute: int) -> None:
    at = AT + minute * MINUTE
    found = [gap for gap in gaps(room, AT, ("chen", "li"), timedelta(hours=HOURS)) if gap.begins <= at < gap.ends]
    for gap in found:
        assert eligibility.who_is_on_duty(room, gap.pool, at, ("chen", "li")) == ()


NIGHT = Shift("n", "chen", SINCE, pool="ecg", begins=time(20), ends=time(8))
DAY = Shift("d", "chen", SINCE, pool="ecg", begins=time(8), ends=time(20))
ECG_ALONE = ReadingRoom(pools=POOLS, routes=(Route("all", "ecg", SINCE),), shifts=(DAY, NIGHT))


def test_shifts_around_the_clock_leave_no_gap_over_midnight_and_the_end_of_the_year() -> None:
    assert gaps(ECG_ALONE, AT, ("chen",)) == ()


def test_a_shift_that_is_missing_is_one_gap_to_the_minute() -> None:
    room = replace(ECG_ALONE, shifts=(DAY, replace(NIGHT, days=(1, 2, 3, 5, 6, 7))))  # none on Thursday, the 31st
    begins = datetime(2026, 12, 31, 12, 0, tzinfo=UTC)
    assert gaps(room, AT, ("chen",)) == (Gap("ecg", begins, begins + timedelta(hours=12)),)


def test_a_reader_who_cannot_sign_in_reads_nothing() -> None:
    assert gaps(ECG_ALONE, AT, ()) == (Gap("ecg", AT, AT + timedelta(hours=72)),)


def only_of_today(*args: Any, **more: Any) -> Iterator[coverage.Span]:
    """Forgets the shift that began yesterday."""
    return eligibility.spans(*args, **{**more, "days_before": 0})


def with_grace(room: ReadingRoom, shift: Shift, at: datetime, **more: Any) -> Iterator[coverage.Span]:
    """Counts the time in which a reader only finishes her work."""
    for begins, ends in eligibility.spans(room, shift, at, **more):
        yield begins, ends + timedelta(minutes=shift.grace_min)


def anybody(*_: Any) -> bool:
    """Asks for no licence."""
    return True


TWINS = [
    ("spans", only_of_today, ECG_ALONE),
    ("spans", with_grace, replace(ECG_ALONE, shifts=(DAY,))),
    ("is_licensed", anybody, replace(ECG_ALONE, licences=(Licence("li", SINCE),))),
]


@pytest.mark.parametrize(("name", "twin", "room"), TWINS)
def test_the_count_minute_by_minute_catches_a_broken_twin(
    name: str, twin: Any, room: ReadingRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = minute_by_minute(room, AT, ("chen",), HOURS * 60)
    assert set(minutes(gaps(room, AT, ("chen",), timedelta(hours=HOURS)))) == expected
    monkeypatch.setattr(coverage, name, twin)
    assert set(minutes(gaps(room, AT, ("chen",), timedelta(hours=HOURS)))) != expected


def watched(services: Services, room: ReadingRoom) -> list[alarms.Alarm]:
    with services.catalogue.write() as conn:
        coverage.watch(conn, room, services.clock())
        return alarms.open_alarms(conn, kinds=["no_reader"])


def test_a_gap_raises_one_alarm_beforehand_that_follows_the_roster_and_is_cleared_when_mended(
    services: Services, clock: Clock
) -> None:
    with services.catalogue.write() as conn:
        accounts.create_account(conn, "chen", "correct horse", "reader", None, clock.now)
    clock.now = AT
    no_thursday = replace(ECG_ALONE, shifts=(DAY, replace(NIGHT, days=(1, 2, 3, 5, 6, 7))))
    (alarm,) = watched(services, no_thursday)
    assert (alarm.pool, alarm.subject, alarm.raised_at) == ("ecg", "ecg", AT)
    assert alarm.detail == {"gaps": [["2026-12-31T12:00:00+00:00", "2027-01-01T00:00:00+00:00"]], "more": 0}
    no_friday = replace(ECG_ALONE, shifts=(DAY, replace(NIGHT, days=(1, 2, 3, 4, 6, 7))))
    (later,) = watched(services, no_friday)
    assert later.id == alarm.id
    assert later.detail["gaps"][0][0] == "2027-01-01T12:00:00+00:00"
    assert watched(services, ECG_ALONE) == []
    with services.catalogue.write() as conn:
        accounts.create_account(conn, "wang", "correct horse", "coordinator", None, clock.now)
    assert watched(services, replace(ECG_ALONE, shifts=(replace(DAY, account="wang"),)))

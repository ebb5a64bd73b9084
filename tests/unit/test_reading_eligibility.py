"""Who may read what, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleread.reading import eligibility
from teleread.reading.claims import Reach
from teleread.reading.eligibility import contacts, duty_ends, reach, who_is_on_duty, why_not
from teleread.reading_room import ALL, Contact, Licence, Pool, ReadingRoom, Route, Shift

SINCE = date(2026, 1, 1)
POOLS = tuple(Pool(name, name, name, SINCE) for name in ("ecg", "imaging"))
NIGHT = Shift("n", "chen", SINCE, pool="ecg", begins=time(20), ends=time(8), grace_min=30.0)


def china(day: int, hour: int, minute: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC) - timedelta(hours=8)


def room(**more: object) -> ReadingRoom:
    return replace(ReadingRoom(pools=POOLS), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["reader", "senior_reader"])
def test_without_rules_every_reader_reads_the_pool_of_all_always(role: str) -> None:
    assert reach(ReadingRoom(), "chen", role, china(1, 3)) == Reach("chen", (ALL,))
    assert duty_ends(ReadingRoom(), "chen", ALL, china(1, 3)) is None
    assert who_is_on_duty(ReadingRoom(), ALL, china(1, 3), ["chen", "li"]) == ("chen", "li")


@pytest.mark.parametrize("role", ["uploader", "coordinator", "engineer", "auditor", "administrator"])
def test_nobody_else_reads_anything(role: str) -> None:
    assert reach(ReadingRoom(), "x", role, china(1, 3)).pools == ()
    assert why_not(ReadingRoom(), "x", role, ALL, china(1, 3)) == ("role",)


@pytest.mark.parametrize(
    ("at", "pools"),
    [
        (china(5, 19, 59), ()),
        (china(5, 20), ("ecg", ALL)),
        (china(6, 0), ("ecg", ALL)),
        (china(6, 7, 59), ("ecg", ALL)),
        (china(6, 8, 29), ("ecg", ALL)),  # the grace
        (china(6, 8, 30), ()),
        (china(31, 23, month=12), ("ecg", ALL)),
        (china(31, 23, month=12) + timedelta(hours=2), ("ecg", ALL)),
    ],
)
def test_a_night_shift_goes_over_midnight_and_the_end_of_the_year_and_has_its_grace(
    at: datetime, pools: tuple[str, ...]
) -> None:
    assert reach(room(shifts=(NIGHT,)), "chen", "reader", at).pools == pools


def test_a_shift_belongs_to_the_day_on_which_it_begins() -> None:
    thursdays = replace(NIGHT, days=(4,), valid_to=date(2026, 11, 6))  # the 5th of November is the last
    rooms = room(shifts=(thursdays,))
    on_duty = [bool(who_is_on_duty(rooms, "ecg", at)) for at in (china(5, 7), china(6, 7), china(6, 21), china(12, 21))]
    assert on_duty == [False, True, False, False]


def test_the_grace_is_for_finishing_and_does_not_count_as_duty() -> None:
    assert who_is_on_duty(room(shifts=(NIGHT,)), "ecg", china(6, 8)) == ()
    assert who_is_on_duty(room(shifts=(NIGHT,)), "ecg", china(6, 7, 59)) == ("chen",)


def test_a_claim_ends_with_the_shift_its_grace_and_what_adjoins_it() -> None:
    rooms = room(shifts=(NIGHT,))
    assert duty_ends(rooms, "chen", "ecg", china(5, 22)) == china(6, 8, 30)
    assert duty_ends(rooms, "chen", "ecg", china(6, 8, 10)) == china(6, 8, 30)
    assert duty_ends(rooms, "chen", "ecg", china(6, 9)) == china(6, 9)
    morning = replace(NIGHT, id="m", begins=time(8), ends=time(12))
    assert duty_ends(room(shifts=(NIGHT, morning)), "chen", "ecg", china(5, 22)) == china(6, 12, 30)


def test_licences_together_must_cover_all_that_a_pool_is_brought() -> None:
    routes = (Route("e", "ecg", SINCE, modality=("ECG", "OT")), Route("i", "imaging", SINCE, modality=("CT", "MR")))
    licences = (
        Licence("chen", SINCE, modality=("ECG",)),
        Licence("li", SINCE, modality=("CT",)),
        Licence("wang", SINCE, modality=("CT",)),
        Licence("wang", SINCE, modality=("MR",), valid_to=date(2026, 11, 5)),
        Licence("zhao", SINCE, pool=("imaging",)),
        Licence("sun", SINCE),
    )
    rooms = room(routes=routes, licences=licences)

    def may(name: str, at: datetime) -> tuple[str, ...]:
        return reach(rooms, name, "reader", at).pools

    at = china(4, 12)
    assert [may(name, at) for name in ("chen", "li", "wang", "zhao", "sun", "nobody")] == [
        ("ecg", ALL),
        (ALL,),
        ("imaging", ALL),
        ("imaging", ALL),
        ("ecg", "imaging", ALL),
        (),
    ]
    assert may("wang", china(5, 12)) == (ALL,)
    assert why_not(rooms, "li", "reader", "imaging", at) == ("not_licensed",)
    assert why_not(rooms, "li", "reader", "gone", at) == ("pool_ended",)


def test_what_overflows_into_a_pool_needs_a_licence_too() -> None:
    routes = (Route("e", "ecg", SINCE, modality=("ECG",)), Route("i", "imaging", SINCE, modality=("CT",)))
    overflowing = (replace(POOLS[0], overflow="imaging"), POOLS[1])
    licences = (Licence("li", SINCE, modality=("CT",)),)
    assert reach(room(routes=routes, licences=licences), "li", "reader", china(4, 12)).pools == ("imaging", ALL)
    strict = room(pools=overflowing, routes=routes, licences=licences)
    assert reach(strict, "li", "reader", china(4, 12)).pools == (ALL,)


def test_who_reads_adults_alone_reads_no_pool_that_may_bring_a_child() -> None:
    licences = (Licence("li", SINCE, age_from_years=14.0),)
    grown = Route("a", "ecg", SINCE, age_from_years=18.0)
    children = Route("c", "ecg", SINCE)
    at = china(4, 12)
    assert "ecg" in reach(room(routes=(grown,), licences=licences), "li", "reader", at).pools
    assert "ecg" not in reach(room(routes=(grown, children), licences=licences), "li", "reader", at).pools


def test_a_coordinators_shift_is_no_readers_and_without_a_pool_looks_after_all() -> None:
    shifts = (NIGHT, replace(NIGHT, id="k", account="wang", pool="", role="coordinator"))
    rooms = room(shifts=shifts)
    assert who_is_on_duty(rooms, "imaging", china(5, 21), role="coordinator") == ("wang",)
    assert who_is_on_duty(rooms, "ecg", china(5, 21)) == ("chen",)
    assert reach(rooms, "wang", "reader", china(5, 21)).pools == ()


def test_contacts_stand_in_the_order_in_which_they_are_called() -> None:
    def contact(name: str, site: str, role: str, order: int = 1, since: date = SINCE) -> Contact:
        return Contact(name, site, "n", since, role=role, order=order, telephone="1")  # type: ignore[arg-type]

    listed = (
        contact("officer", "*", "duty_officer"),
        contact("anywhere", "*", "coordinator"),
        contact("near", "village", "coordinator"),
        contact("second", "village", "clinic", 2),
        contact("first", "village", "clinic"),
        contact("other", "other", "clinic"),
        contact("later", "village", "clinic", 3, date(2026, 12, 1)),
    )
    found = contacts(ReadingRoom(contacts=listed), "village", china(5, 12))
    assert [one.id for one in found] == ["first", "second", "near", "anywhere", "officer"]


TIMES = st.times().map(lambda at: at.replace(second=0, microsecond=0))


@given(TIMES, TIMES, st.integers(0, 7 * 1440), st.sets(st.integers(1, 7), min_size=1), st.integers(-840, 840))
def test_a_shift_is_worked_in_exactly_its_minutes(
    begins: time, ends: time, minute: int, days: set[int], offset: int
) -> None:
    shift = Shift("s", "chen", SINCE, pool="ecg", days=tuple(days), begins=begins, ends=ends)
    rooms = room(shifts=(shift,), utc_offset_minutes=offset)
    local = datetime(2026, 12, 29) + timedelta(minutes=minute)  # over the end of the year
    of_day = (local.hour * 60 + local.minute) - (begins.hour * 60 + begins.minute)
    length = (ends.hour * 60 + ends.minute - begins.hour * 60 - begins.minute) % 1440 or 1440
    today, yesterday = local.isoweekday(), (local - timedelta(days=1)).isoweekday()
    expected = (today in days and 0 <= of_day < length) or (yesterday in days and 0 <= of_day + 1440 < length)
    at = (local - timedelta(minutes=offset)).replace(tzinfo=UTC)
    assert eligibility.is_on_duty(rooms, "chen", "ecg", at) == expected

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleread.alliance import parse_alliance
from teleread.alliance_entries import holds
from teleread.errors import Misconfigured
from teleread.reading_room import Agreement, Licence, Pool, ReadingRoom, Route, Shift
from tests.unit.test_alliance import HEAD, SITES

SINCE = "valid_from = 2026-01-01\n"


def pool(name: str = "ecg", rest: str = SINCE) -> str:
    return f'[[pool]]\nid = "{name}"\nname_zh = "心电"\nname_en = "ECG"\n{rest}'


def route(rest: str, name: str = "r", to: str = "ecg") -> str:
    return f'[[route]]\nid = "{name}"\npool = "{to}"\n{SINCE}{rest}\n'


def licence(rest: str) -> str:
    return f'[[licence]]\naccount = "chen"\n{SINCE}{rest}\n'


def shift(rest: str, name: str = "s", to: str = 'pool = "ecg"\n') -> str:
    return f'[[shift]]\nid = "{name}"\naccount = "chen"\n{to}{SINCE}{rest}\n'


def agreement(rest: str, site: str = "*") -> str:
    return f'[[agreement]]\nsite = "{site}"\n{SINCE}{rest}\n'


def contact(rest: str, name: str = "c", site: str = "member", how: str = 'telephone = "1"') -> str:
    return f'[[contact]]\nid = "{name}"\nsite = "{site}"\nname = "n"\n{SINCE}{how}\n{rest}\n'


def room(text: str) -> ReadingRoom:
    return parse_alliance(HEAD + SITES + text).room


def test_every_table_is_read_as_it_stands() -> None:
    found = room(
        pool(rest=SINCE + 'lead = "chen"\noverflow = "partner"\n')
        + pool("partner")
        + route('modality = ["ECG", "OT"]\npriority = ["urgent"]\nage_below_years = 14\nlead = ["lead"]')
        + licence('modality = ["ECG"]\nage_from_years = 14')
        + shift('days = [6, 7]\nbegins = "20:00"\nends = 08:00:00\ngrace_min = 15')
        + agreement("urgent_min = 3\nhigh_min = 10.5", "member")
        + contact('order = 2\nemail = "a@b"')
    )
    since = date(2026, 1, 1)
    assert found.pools[0] == Pool("ecg", "心电", "ECG", since, lead="chen", overflow="partner")
    assert found.routes == (
        Route(
            "r",
            "ecg",
            since,
            modality=("ECG", "OT"),
            priority=("urgent",),
            age_below_years=14.0,
            lead=("lead",),
        ),
    )
    assert found.licences == (Licence("chen", since, modality=("ECG",), age_from_years=14.0),)
    assert found.shifts == (
        Shift("s", "chen", since, pool="ecg", days=(6, 7), begins=time(20), ends=time(8), grace_min=15.0),
    )
    assert found.shifts[0].length == timedelta(hours=12)
    assert found.agreements == (Agreement("member", since, urgent_min=3.0, high_min=10.5),)
    assert found.contacts[0].order == 2
    assert found.utc_offset_minutes == 480


def test_a_file_without_rules_has_an_empty_room_with_the_clock_and_leads_of_the_alliance() -> None:
    text = HEAD + "utc_offset_minutes = 345\n" + SITES + '[[lead]]\nspecialty = "ecg"\nsite = "lead"\n' + SINCE
    found = parse_alliance(text)
    assert found.room == ReadingRoom(leads=found.leads, utc_offset_minutes=345)
    assert found.room.day(datetime(2026, 12, 31, 18, 14, tzinfo=UTC)) == date(2026, 12, 31)
    assert found.room.day(datetime(2026, 12, 31, 18, 15, tzinfo=UTC)) == date(2027, 1, 1)


def test_a_shift_that_ends_when_it_begins_lasts_a_day() -> None:
    assert room(pool() + shift('begins = "08:00"\nends = "08:00"')).shifts[0].length == timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[pool]\n", r"must be written as \[\[pool\]\]"),
        (pool("ECG"), "lower-case"),
        (pool("all"), "stands by itself"),
        (pool(rest=""), "pool 1: valid_from is missing"),
        (pool().replace('"心电"', '""'), "both names"),
        (pool() + pool(), "pool of 'ecg': two entries hold on 2026-01-01"),
        (pool(rest=SINCE + "valid_to = 2026-01-01\n"), "valid_to is not after"),
        (pool(rest=SINCE + 'overflow = "ecg"\n'), "into itself"),
        (pool(rest=SINCE + 'overflow = "x"\n'), "pool 'ecg': names the unknown pool 'x'"),
        (pool(rest=SINCE + 'lead = "a b"\n'), "lead must name an account"),
        (pool() + pool("p", SINCE + "colour = 1\n"), "pool 2: unknown key 'colour'"),
        (route(""), "route 'r': names the unknown pool 'ecg'"),
        (pool(rest=SINCE + "valid_to = 2026-06-01\n") + route(""), "'ecg' does not hold on 2026-06-01"),
        (pool(rest="valid_from = 2026-01-02\n") + route(""), "'ecg' does not hold on 2026-01-01"),
        (pool() + route('site = ["nowhere"]'), "route 'r': names the unknown site 'nowhere'"),
        (pool() + route('lead = ["nowhere"]'), "unknown site 'nowhere'"),
        (pool() + route('modality = ["ecg"]'), "a modality is written"),
        (pool() + route('modality = "ECG"'), "modality does not take 'ECG'"),
        (pool() + route('body_part = ["chest"]'), "a body part is written"),
        (pool() + route('question = ["Chest pain"]'), "a question or kind is written"),
        (pool() + route('priority = ["soon"]'), "priority does not take"),
        (pool() + route("age_from_years = 14\nage_below_years = 14"), "not above age_from_years"),
        (pool() + route("age_from_years = nan"), "from 0 to 150"),
        (pool() + route("") + route(""), "route of 'r': two entries hold"),
        (licence('pool = ["x"]'), "licence 1: names the unknown pool 'x'"),
        (licence('modality = ["ecg"]'), "a modality is written"),
        (licence("age_from_years = 200"), "from 0 to 150"),
        (licence("") + licence(""), "licence of 'chen': two entries hold"),
        (shift("", to='pool = "x"\n'), "shift 's': names the unknown pool 'x'"),
        (pool() + shift("", to=""), "shift 's': pool is missing"),
        (pool() + shift("days = []"), "from 1"),
        (pool() + shift("days = [0]"), "from 1"),
        (pool() + shift("days = [1, 1]"), "from 1"),
        (pool() + shift("days = [true]"), "days does not take"),
        (pool() + shift('begins = "8:00"'), "begins does not take '8:00'"),
        (pool() + shift('begins = "24:00"'), "begins does not take"),
        (pool() + shift("begins = 08:00:30"), "begins does not take"),
        (pool() + shift('role = "boss"'), "role does not take 'boss'"),
        (pool() + shift("grace_min = 241"), "grace_min must lie"),
        (pool() + shift("") + shift(""), "shift of 's': two entries hold"),
        (agreement("", "nowhere"), "agreement of 'nowhere': names the unknown site"),
        (agreement("urgent_min = 0"), "above zero"),
        (agreement("urgent_min = 20"), "none above that of a lower priority"),
        (agreement("rises_after_min = -1"), "negative"),
        (agreement("rises_after_min = nan"), "negative"),
        (agreement("") + agreement(""), "two entries hold"),
        (contact("", site="nowhere"), "contact 'c': names the unknown site"),
        (contact("", site="*"), "unknown site"),
        (contact('role = "boss"'), "role does not take"),
        (contact("", how=""), "needs a telephone"),
        (contact("", how='webhook = "ftp://x"'), "https"),
        (contact("order = 0"), "order begins at 1"),
        (contact("") + contact("", "other"), "contact of 'member clinic 1': two entries hold"),
        (contact("").replace('name = "n"', 'name = ""'), "name is missing"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_entry_and_the_reason(text: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says) as caught:
        room(text)
    assert caught.value.code == "alliance_invalid"


def test_periods_that_meet_without_a_day_in_common_are_taken() -> None:
    ended = "valid_from = 2026-01-01\nvalid_to = 2026-06-01\n"
    later = "valid_from = 2026-06-01\n"
    found = room(pool(rest=ended) + pool(rest=later) + route("") + contact("role = 'duty_officer'", site="*"))
    assert [one.valid_from for one in found.pools] == [date(2026, 1, 1), date(2026, 6, 1)]


JANUARY = [date(2026, 1, 1) + timedelta(days=k) for k in range(12)]
PERIODS = st.lists(
    st.tuples(st.integers(0, 9), st.none() | st.integers(0, 11)), min_size=1, max_size=4
)  # first day, day after the last


def shares_a_day(periods: list[tuple[int, int | None]], *, through: bool = False) -> bool:
    """Whether two periods hold on one day, or one on none: counted day by day.

    Args:
        through: a broken twin in which the last day is held too.
    """
    held = [[day for day in range(first, 40) if until is None or day < until + through] for first, until in periods]
    days = [day for one in held for day in one]
    return len(days) != len(set(days)) or not all(held)


def is_taken(periods: list[tuple[int, int | None]]) -> bool:
    text = ""
    for first, until in periods:
        ends = "" if until is None else f"valid_to = {JANUARY[until]}\n"
        text += pool("ecg", f"valid_from = {JANUARY[first]}\n{ends}")
    try:
        found = room(text)
    except Misconfigured:
        return False
    for number in range(12):
        holding = [one for one in found.pools if holds(one, JANUARY[number])]
        assert len(holding) <= 1
    return True


@given(PERIODS)
def test_a_file_is_taken_if_and_only_if_no_day_has_two_answers(periods: list[tuple[int, int | None]]) -> None:
    assert is_taken(periods) == (not shares_a_day(periods))


def test_the_property_above_catches_a_period_that_holds_through_its_last_day() -> None:
    meeting = [(0, 5), (5, None)]
    assert is_taken(meeting)
    assert shares_a_day(meeting, through=True)

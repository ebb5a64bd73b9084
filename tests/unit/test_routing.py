from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleread.alliance import PRIORITIES, Lead
from teleread.reading import routing, rules
from teleread.reading.routing import Routed, RoutingFacts
from teleread.reading_room import ALL, Agreement, Pool, ReadingRoom, Route

SINCE = date(2026, 1, 1)
AT = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
FACTS = RoutingFacts("ECG", "village", "routine", AT)
POOLS = tuple(Pool(name, name, name, SINCE) for name in ("ecg", "imaging", "children", "cardiac"))


def room(*routes: Route, **more: object) -> ReadingRoom:
    return replace(ReadingRoom(pools=POOLS, routes=routes), **more)  # type: ignore[arg-type]


def test_without_any_rules_a_case_goes_to_the_pool_of_all_with_the_limits_of_the_program() -> None:
    found = routing.route(ReadingRoom(), FACTS, AT)
    assert (found.pool, found.due_at, found.order_at) == (ALL, AT + timedelta(hours=1), AT + timedelta(hours=4))
    assert [step.rule for step in found.steps] == ["default", "default"]


def test_what_no_route_fits_goes_to_the_pool_of_all() -> None:
    found = routing.route(room(Route("ct", "imaging", SINCE, modality=("CT",))), FACTS, AT)
    assert found.pool == ALL
    assert [(step.rule, step.id, step.fits) for step in found.steps][:2] == [
        ("route", "ct", False),
        ("default", "", True),
    ]


@pytest.mark.parametrize(
    ("condition", "fact"),
    [
        ({"modality": ("ECG",)}, {"modality": "CT"}),
        ({"body_part": ("CHEST",)}, {"body_part": "HEAD"}),
        ({"body_part": ("CHEST",)}, {"body_part": None}),
        ({"site": ("village",)}, {"site_id": "township"}),
        ({"question": ("chest_pain",)}, {"question": None}),
        ({"kind": ("reading",)}, {"kind": "second_reading"}),
        ({"priority": ("urgent",)}, {"priority": "high"}),
        ({"age_from_years": 14.0}, {"age_years": 13.99}),
        ({"age_below_years": 14.0}, {"age_years": 14.0}),
        ({"age_from_years": 0.0}, {"age_years": None}),
    ],
)
def test_a_route_fits_only_where_each_of_its_conditions_does(
    condition: dict[str, object], fact: dict[str, object]
) -> None:
    fitting = RoutingFacts("ECG", "village", "urgent", AT, "CHEST", 13.0 if "age_below_years" in condition else 14.0)
    fitting = replace(fitting, question="chest_pain")
    one = room(replace(Route("r", "cardiac", SINCE), **condition))  # type: ignore[arg-type]
    assert routing.route(one, fitting, AT).pool == "cardiac"
    other = routing.route(one, replace(fitting, **fact), AT)  # type: ignore[arg-type]
    assert other.pool == ALL
    (check,) = other.steps[0].checks
    assert not check.fits


def test_what_nobody_could_read_yet_goes_where_an_ecg_goes() -> None:
    rooms = room(Route("e", "ecg", SINCE, modality=("ECG",)))
    assert routing.route(rooms, replace(FACTS, modality="OT", analysed=False), AT).pool == "ecg"
    assert routing.route(rooms, replace(FACTS, modality="OT"), AT).pool == ALL


def test_a_route_and_an_agreement_hold_by_the_day_of_the_alliances_clock() -> None:
    first = Route("r", "ecg", SINCE, date(2026, 11, 2))
    rooms = room(first, replace(first, pool="cardiac", valid_from=date(2026, 11, 2), valid_to=None))
    rooms = replace(
        rooms,
        agreements=(
            Agreement("*", SINCE, routine_min=90),
            Agreement("village", date(2026, 11, 2), routine_min=30),
        ),
    )
    midnight = datetime(2026, 11, 1, 16, 0, tzinfo=UTC)  # in China
    before = routing.route(rooms, FACTS, midnight - timedelta(microseconds=1))
    after = routing.route(rooms, FACTS, midnight)
    assert [(one.pool, one.due_at - AT) for one in (before, after)] == [
        ("ecg", timedelta(minutes=90)),
        ("cardiac", timedelta(minutes=30)),
    ]


def test_a_route_may_follow_who_leads_the_specialty() -> None:
    leads = (Lead("ecg", "county", SINCE, date(2026, 11, 2)), Lead("ecg", "lead", date(2026, 11, 2)))
    rooms = room(
        Route("county", "cardiac", SINCE, modality=("ECG",), lead=("county",)), Route("rest", "ecg", SINCE), leads=leads
    )
    assert [routing.route(rooms, FACTS, at).pool for at in (AT, AT + timedelta(days=1))] == ["cardiac", "ecg"]


def test_pathology_images_and_consultations_go_the_same_way() -> None:
    leads = tuple(Lead(name, "lead", SINCE) for name in ("imaging", "pathology", "consultation"))
    rooms = room(
        Route("c", "cardiac", SINCE, kind=("consultation",), lead=("lead",)),
        Route("p", "children", SINCE, modality=("SM",), lead=("lead",)),
        Route("i", "imaging", SINCE, modality=("CT", "MR", "US"), lead=("lead",)),
        leads=leads,
    )
    cases = [replace(FACTS, modality=name) for name in ("CT", "MR", "US", "SM", "ECG")]
    found = [routing.route(rooms, facts, AT).pool for facts in (*cases, replace(FACTS, kind="consultation"))]
    assert found == ["imaging", "imaging", "imaging", "children", ALL, "cardiac"]


def test_the_age_in_the_history_is_no_birth_date() -> None:
    rooms = room(Route("r", "children", SINCE, age_below_years=14.0))
    facts = replace(FACTS, age_years=9.87654)
    kept = str(routing.as_detail(routing.route(rooms, facts, AT), facts))
    assert "9.8" not in kept
    assert "'9'" in kept


def test_the_history_gives_the_steps_back() -> None:
    rooms = room(Route("ct", "imaging", SINCE, modality=("CT",), age_from_years=14.0), Route("rest", "ecg", SINCE))
    found = routing.route(rooms, FACTS, AT)
    assert routing.steps_of(routing.as_detail(found, FACTS)) == found.steps
    assert routing.steps_of({}) == ()


SOME = st.sampled_from
ROUTES = st.builds(
    Route,
    id=SOME(["a", "b", "c"]),
    pool=SOME([pool.id for pool in POOLS]),
    valid_from=SOME([date(2026, 1, 1), date(2026, 11, 1), date(2026, 11, 2)]),
    valid_to=SOME([None, None, date(2026, 11, 3)]),
    modality=SOME([(), ("ECG",), ("CT", "MR")]),
    body_part=SOME([(), (), ("CHEST",)]),
    site=SOME([(), (), ("village",)]),
    question=SOME([(), (), ("chest_pain",)]),
    priority=SOME([(), (), ("urgent", "high")]),
    age_from_years=SOME([None, None, 14.0]),
    age_below_years=SOME([None, None, 65.0]),
)
ALL_FACTS = st.builds(
    RoutingFacts,
    modality=SOME(["ECG", "CT", "OT"]),
    site_id=SOME(["village", "township"]),
    priority=SOME(PRIORITIES),
    arrived_at=st.just(AT),
    body_part=SOME([None, "CHEST", "HEAD"]),
    age_years=SOME([None, 13.9, 14.0, 64.9, 65.0]),
    question=SOME([None, "chest_pain"]),
    analysed=st.booleans(),
)


def oracle(routes: list[Route], facts: RoutingFacts, on: date) -> str:
    """First fitting route, said once more in another way."""
    modality = {facts.modality} | ({"ECG"} if facts.modality == "OT" and not facts.analysed else set())
    for one in routes:
        if on < one.valid_from or (one.valid_to and on >= one.valid_to):
            continue
        if one.modality and not modality & set(one.modality):
            continue
        if (one.age_from_years or one.age_below_years) and facts.age_years is None:
            continue
        age = facts.age_years or 0.0
        outside = age < (one.age_from_years or 0.0) or age >= (one.age_below_years or 999.0)
        if outside and (one.age_from_years or one.age_below_years):
            continue
        pairs = (
            (one.body_part, facts.body_part),
            (one.site, facts.site_id),
            (one.question, facts.question),
            (one.priority, facts.priority),
        )
        if all(not wanted or found in wanted for wanted, found in pairs):
            return one.pool
    return ALL


def broken(routed: Routed, routes: list[Route], facts: RoutingFacts, on: date) -> str:
    """The pool of the last fitting route: what the property below must not take."""
    return oracle(list(reversed(routes)), facts, on)


@given(st.lists(ROUTES, max_size=6), ALL_FACTS, SOME([AT, AT + timedelta(days=1), AT + timedelta(days=2)]))
def test_the_first_fitting_route_wins_and_every_step_says_why(
    routes: list[Route], facts: RoutingFacts, at: datetime
) -> None:
    rooms = room(*routes)
    found = routing.route(rooms, facts, at)
    assert found.pool == oracle(routes, facts, rooms.day(at))
    *asked, agreed = found.steps
    assert [step.fits for step in asked] == [False] * (len(asked) - 1) + [True]
    assert all(step.fits == all(check.fits for check in step.checks) for step in asked)
    assert agreed.rule == "default"
    if not rules.has_catch_all(rooms, at):
        assert ALL in rules.used_pools(rooms, at)
    assert found.pool in rules.used_pools(rooms, at)


def test_the_property_above_tells_first_from_last() -> None:
    routes = [Route("a", "ecg", SINCE), Route("b", "imaging", SINCE)]
    found = routing.route(room(*routes), FACTS, AT)
    assert found.pool != broken(found, routes, FACTS, date(2026, 11, 1))


@given(ALL_FACTS, st.integers(0, 600), st.integers(0, 400))
def test_ageing_never_lifts_a_routine_case_above_a_high_one_that_came_less_than_the_agreed_time_later(
    facts: RoutingFacts, later_min: int, rises_min: int
) -> None:
    rooms = ReadingRoom(agreements=(Agreement("*", SINCE, rises_after_min=float(rises_min)),))
    routine = routing.route(rooms, replace(facts, priority="routine"), AT)
    high = replace(facts, priority="high", arrived_at=AT + timedelta(minutes=later_min))
    before = routine.order_at < routing.route(rooms, high, AT).order_at
    assert before == (later_min > rises_min)

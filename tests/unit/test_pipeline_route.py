"""Routing where it is wired: new cases, raised ones, rules that change by date, what older code has queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID
from sqlalchemy import Row, select, update

from teleread.pipeline.clinic_word import raise_sent, save_form
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.route import AGAIN_AFTER, EVERY, Rerouting, placing, question_of
from teleread.pipeline.services import Services
from teleread.reading import claims, second
from teleread.reading.routing import steps_of
from teleread.reading.symptoms import Form
from teleread.reading_room import ALL, Agreement, Pool, ReadingRoom, Route
from teleread.storage.catalogue.schema import item_events, work_items
from tests.conftest import Clock
from tests.unit.test_pipeline_steps import arrive, sample

SINCE = date(2026, 1, 1)
TOMORROW = date(2026, 11, 2)
POOLS = tuple(Pool(name, name, name, SINCE) for name in ("ecg", "cardiac", "night"))
REACH = claims.Reach("reader", ("ecg", "cardiac", "night", ALL))


def with_rules(services: Services, *routes: Route, agreements: Sequence[Agreement] = ()) -> Services:
    """The same services under other rules."""
    room = ReadingRoom(pools=POOLS, routes=routes, agreements=tuple(agreements))
    return replace(services, alliance=replace(services.alliance, room=room))


def send(services: Services, seed: int = 0, priority: str = "routine") -> tuple[str, str]:
    """An upload that nobody has prepared: the case and the receipt."""
    data = {"a": f"{seed}".encode()}
    landed = land(
        services,
        site_id="village",
        source="web",
        files=data,
        clinic_priority=priority,  # type: ignore[arg-type]
        actor="test",
    )
    return enqueue(services, landed.arrival_id), landed.receipt


def item(services: Services, case_id: str) -> Row[Any]:
    with services.catalogue.read() as conn:
        return claims.newest(conn, [case_id])[case_id]


def routed(services: Services, case_id: str) -> list[dict[str, Any]]:
    query = select(item_events.c.detail).where(item_events.c.case_id == case_id, item_events.c.event == "routed")
    with services.catalogue.read() as conn:
        return list(conn.scalars(query.order_by(item_events.c.id)))


def claim(services: Services, case_id: str) -> claims.Claim:
    with services.catalogue.write() as conn:
        return claims.claim_case(conn, case_id, REACH, services.clock())


EVERYTHING = Route("all", "ecg", SINCE)
LIMITS = Agreement("*", SINCE, urgent_min=4, high_min=20, routine_min=90, rises_after_min=60)


def test_a_new_case_has_its_pool_limit_and_place_and_the_steps_that_led_there(services: Services, clock: Clock) -> None:
    ruled = with_rules(
        services, Route("pain", "cardiac", SINCE, question=("chest_pain",)), EVERYTHING, agreements=[LIMITS]
    )
    case_id, _ = send(ruled, priority="high")
    found = item(services, case_id)
    assert (found.pool, found.due_at, found.order_at) == ("ecg", clock.now + timedelta(minutes=20), clock.now)
    (detail,) = routed(services, case_id)
    steps = steps_of(detail)
    assert [(step.rule, step.id, step.fits) for step in steps] == [
        ("route", "pain", False),
        ("route", "all", True),
        ("agreement", "*", True),
    ]


def test_without_rules_a_case_goes_to_the_pool_of_all(services: Services) -> None:
    case_id, _ = send(services)
    assert item(services, case_id).pool == ALL


def test_an_image_goes_by_its_body_part(services: Services) -> None:
    ruled = with_rules(
        services, Route("chest", "night", SINCE, modality=("CT",), body_part=("CHEST", "THORAX")), EVERYTHING
    )
    found: dict[str, Row[Any]] = {}
    for part in ("CHEST", "HEAD"):
        dataset = pydicom.dcmread(BytesIO(sample("CT_small.dcm")))
        dataset.BodyPartExamined = part
        dataset.StudyInstanceUID += f".{len(found)}"
        dataset.SOPInstanceUID = UID(f"{dataset.SOPInstanceUID}.{len(found)}")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        buffer = BytesIO()
        dataset.save_as(buffer)
        landed = arrive(ruled, {"a": buffer.getvalue()})
        prepare(ruled, landed.arrival_id)
        found[part] = item(services, enqueue(ruled, landed.arrival_id))
    assert {part: (one.modality, one.body_part, one.pool) for part, one in found.items()} == {
        "CHEST": ("CT", "CHEST", "night"),
        "HEAD": ("CT", "HEAD", "ecg"),
    }


def test_the_clinics_question_takes_a_waiting_case_along(services: Services) -> None:
    ruled = with_rules(services, Route("pain", "cardiac", SINCE, question=("chest_pain",)), EVERYTHING)
    case_id, receipt = send(ruled)
    save_form(ruled, receipt=receipt, site_id="village", form=Form(chest_pain="gone", onset="longer"), actor="nurse")
    found = item(services, case_id)
    assert (found.question, found.pool) == ("chest_pain", "cardiac")
    assert [one["pool"] for one in routed(services, case_id)] == ["ecg", "cardiac"]
    assert enqueue(ruled, found.arrival_id) == case_id
    assert item(services, case_id).pool == "cardiac"


def test_a_raised_case_is_due_sooner_and_goes_where_its_priority_belongs(services: Services, clock: Clock) -> None:
    ruled = with_rules(services, Route("u", "cardiac", SINCE, priority=("urgent",)), EVERYTHING, agreements=[LIMITS])
    case_id, receipt = send(ruled)
    assert item(services, case_id).pool == "ecg"
    clock.advance(600)
    raise_sent(ruled, receipt=receipt, site_id="village", priority="urgent", actor="nurse")
    found = item(services, case_id)
    assert (found.pool, found.due_at) == ("cardiac", clock.now + timedelta(minutes=4))
    assert Rerouting(ruled)() == 0
    assert item(services, case_id).due_at == found.due_at


@pytest.mark.parametrize(("high_min", "due_min"), [(10.0, 10.0), (60.0, 20.0)])
def test_rules_that_change_by_date_move_what_waits_and_never_make_it_due_later(
    services: Services, clock: Clock, high_min: float, due_min: float
) -> None:
    ruled = with_rules(
        services,
        replace(EVERYTHING, valid_to=TOMORROW),
        Route("next", "night", TOMORROW),
        agreements=[
            replace(LIMITS, valid_to=TOMORROW),
            replace(LIMITS, valid_from=TOMORROW, high_min=high_min, rises_after_min=500),
        ],
    )
    clock.now = datetime(2026, 11, 1, 15, 59, tzinfo=UTC)  # a minute before midnight in China
    case_id, _ = send(ruled)
    rounds = Rerouting(ruled)
    assert rounds() == 0
    clock.advance(60)
    before = item(services, case_id)
    assert rounds() == 1
    found = item(services, case_id)
    assert (found.pool, found.due_at) == ("night", found.arrived_at + timedelta(minutes=due_min))
    assert found.order_at == before.order_at
    assert rounds() == 0


def test_a_rule_change_touches_no_claimed_case_and_finds_it_when_it_is_given_back(
    services: Services, clock: Clock
) -> None:
    case_id, _ = send(with_rules(services, EVERYTHING))
    held = claim(services, case_id)
    ruled = with_rules(services, Route("other", "night", SINCE))
    rounds = Rerouting(ruled)
    assert rounds() == 0
    assert item(services, case_id).pool == "ecg"
    assert rounds() == 0
    with services.catalogue.write() as conn:
        claims.give_back(conn, case_id, "released", "reader", "other", clock.now, fence=held.fence)
    assert item(services, case_id).pool == "ecg"
    assert rounds() == 1
    assert item(services, case_id).pool == "night"


def test_a_case_that_is_claimed_between_look_and_act_stays_with_its_reader(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id, _ = send(with_rules(services, EVERYTHING))
    rounds = Rerouting(with_rules(services, Route("other", "night", SINCE)))
    apply = rounds._apply

    def claimed_first(room: ReadingRoom, ids: Sequence[str], now: datetime) -> int:
        if ids:
            claim(services, case_id)
        return apply(room, ids, now)

    monkeypatch.setattr(rounds, "_apply", claimed_first)
    assert rounds() == 0
    found = item(services, case_id)
    assert (found.state, found.pool) == ("IN PROGRESS", "ecg")


def test_a_second_reading_moves_to_another_pool_and_keeps_its_own_limit(services: Services, clock: Clock) -> None:
    before, after = with_rules(services, EVERYTHING), with_rules(services, Route("other", "night", SINCE))
    case_id, _ = send(before)
    held = claim(services, case_id)
    with services.catalogue.write() as conn:
        item_row = claims.complete(conn, held.item_id, "reader", held.fence, clock.now)
        child = second.after_signing(
            conn, item_row, critical=True, key=b"k", at=clock.now, placing=placing(before.room, clock.now)
        )
    assert child is not None
    assert Rerouting(after)() == 1
    found = item(services, child)
    assert (found.pool, found.kind, found.due_at) == ("night", "second_reading", clock.now + second.WITHIN)
    assert found.order_at == found.due_at


def test_what_code_that_knows_no_pools_has_queued_is_routed_and_leaves_the_top_of_the_list(
    services: Services, clock: Clock
) -> None:
    ruled = with_rules(services, EVERYTHING, agreements=[LIMITS])
    case_id, _ = send(ruled, priority="high")
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    with services.catalogue.write() as conn:
        old = {"pool": None, "due_at": None, "order_at": epoch, "band": 0}
        conn.execute(update(work_items).where(work_items.c.case_id == case_id).values(**old))
    assert Rerouting(ruled)() == 1
    found = item(services, case_id)
    assert (found.pool, found.band, found.order_at) == ("ecg", 1, clock.now)
    assert found.due_at == clock.now + timedelta(minutes=20)


def test_the_walk_goes_through_more_than_one_page(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = with_rules(services, EVERYTHING), with_rules(services, Route("other", "night", SINCE))
    cases = [send(before, seed)[0] for seed in range(5)]
    monkeypatch.setattr("teleread.pipeline.route._PAGE", 2)
    assert Rerouting(after)() == 5
    assert {item(services, case_id).pool for case_id in cases} == {"night"}


def test_all_that_waits_is_looked_at_once_more_because_another_process_may_have_gone_by_older_rules(
    services: Services, clock: Clock
) -> None:
    before, after = with_rules(services, EVERYTHING), with_rules(services, Route("other", "night", SINCE))
    rounds = Rerouting(after)
    rounds()
    late, _ = send(before)
    assert rounds() == 0
    clock.advance(AGAIN_AFTER.total_seconds())
    assert rounds() == 1
    assert item(services, late).pool == "night"
    later, _ = send(before, 1)
    clock.advance(EVERY.total_seconds())
    assert rounds() == 1
    assert item(services, later).pool == "night"


def test_a_forms_question() -> None:
    assert [question_of(*answers) for answers in (("now", "le90"), ("gone", None), ("no", None), (None, None))] == [
        "chest_pain",
        "chest_pain",
        None,
        None,
    ]
    assert [question_of(None, pressure) for pressure in ("le90", "ge220", "to139")] == [
        "low_pressure",
        "high_pressure",
        None,
    ]

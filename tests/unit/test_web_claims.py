"""Claims over HTTP: who gets a case, what becomes of who comes second, and what ends a claim."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import date

import httpx
import pytest
from sqlalchemy import select

from teleread.pipeline.services import Services
from teleread.reading import claims, desk
from teleread.reading.order import Reach
from teleread.reading_room import Licence, Pool, ReadingRoom, Route
from teleread.storage.catalogue.schema import audit_events, work_items
from teleread.web import next_case
from tests.conftest import Clock
from tests.signing import post_report
from tests.ui.live import Web, named_ecg, running, upload
from tests.unit.test_web_access import NOBODYS_ID
from tests.unit.test_web_worklist import listed, queue


@pytest.fixture
def senior(web: Web) -> Iterator[httpx.Client]:
    with web.signed_in("senior") as client:
        yield client


@pytest.fixture
def coordinator(web: Web) -> Iterator[httpx.Client]:
    with web.signed_in("coordinator") as client:
        yield client


def led_to(answer: httpx.Response) -> str:
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def owner(web: Web, case_id: str) -> tuple[str, str | None]:
    with web.services.catalogue.read() as conn:
        return desk.standing(conn, [case_id])[case_id]


def test_a_claim_leads_to_the_case_and_looking_at_it_claims_nothing(
    web: Web, reader: httpx.Client, clock: Clock
) -> None:
    (case,) = queue(web, clock, 1)
    assert "Nobody has it: take it" in reader.get(f"/cases/{case}").text
    assert owner(web, case) == ("SCHEDULED", None)
    assert led_to(reader.post(f"/cases/{case}/claim")) == f"/cases/{case}"
    assert owner(web, case) == ("IN PROGRESS", "reader")
    page = reader.get(f"/cases/{case}").text
    assert "yours until" in page
    assert re.search(r'id="case" data-case="\w+" data-item="\w+" data-fence="1"', page)


def test_who_comes_second_gets_the_next_case_and_a_sentence(
    web: Web, reader: httpx.Client, senior: httpx.Client, clock: Clock
) -> None:
    first, second = queue(web, clock, 2)
    reader.post(f"/cases/{first}/claim")
    assert led_to(senior.post(f"/cases/{first}/claim")) == f"/cases/{second}?told=taken"
    assert owner(web, second) == ("IN PROGRESS", "senior")
    assert "Somebody else was a moment faster" in senior.get(f"/cases/{second}?told=taken").text
    with web.services.catalogue.read() as conn:
        assert claims.current(conn, first, "reader", clock.now) is not None


def test_without_the_way_on_the_second_would_stand_before_an_error(
    web: Web, reader: httpx.Client, senior: httpx.Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: a claim that is only tried."""
    first, second = queue(web, clock, 2)
    monkeypatch.setattr(next_case, "take_or_next", lambda seat, case: f"/cases/{next_case.take(seat, case).case_id}")
    reader.post(f"/cases/{first}/claim")
    assert senior.post(f"/cases/{first}/claim").status_code == 409
    assert owner(web, second) == ("SCHEDULED", None)


def test_many_who_claim_one_case_together_get_one_each(
    web: Web, reader: httpx.Client, senior: httpx.Client, clock: Clock
) -> None:
    cases = queue(web, clock, 6)
    together = threading.Barrier(6)

    def claim(n: int) -> str:
        together.wait(30)
        return led_to((reader, senior)[n % 2].post(f"/cases/{cases[0]}/claim"))

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(claim, range(6)))
    by_reader = {path.partition("?")[0] for path in found[0::2]}
    by_senior = {path.partition("?")[0] for path in found[1::2]}
    assert not by_reader & by_senior
    assert {f"/cases/{cases[0]}", f"/cases/{cases[1]}"} == by_reader | by_senior


def test_the_last_case_gone_leads_to_the_list(
    web: Web, reader: httpx.Client, senior: httpx.Client, clock: Clock
) -> None:
    (case,) = queue(web, clock, 1)
    reader.post("/claims/next")
    assert led_to(senior.post(f"/cases/{case}/claim")) == "/worklist?told=taken_last"
    assert led_to(senior.post("/claims/next")) == "/worklist?told=nothing_waits"
    assert "Nothing waits for you just now." in senior.get("/worklist?told=nothing_waits").text


def test_next_is_the_most_urgent_and_before_it_what_lies_in_ones_hands(
    web: Web, reader: httpx.Client, clock: Clock
) -> None:
    routine, _other = queue(web, clock, 2)
    assert led_to(reader.post("/claims/next")) == f"/cases/{routine}"
    assert led_to(reader.post("/claims/next")) == f"/cases/{routine}?told=still_yours"
    (urgent,) = queue(web, clock, 1, "urgent")
    assert led_to(reader.post("/claims/next")) == f"/cases/{urgent}"  # an urgent one does not wait for a routine one


def test_heartbeats_hold_a_claim_and_a_stale_token_is_refused(web: Web, reader: httpx.Client, clock: Clock) -> None:
    (case,) = queue(web, clock, 1, "urgent")
    mine = reader.post(f"/api/cases/{case}/claim").json()
    address = f"/api/claims/{mine['item_id']}/heartbeat"
    clock.advance(100)
    assert reader.post(address, json={"fence": mine["fence"]}).status_code == 200
    clock.advance(100)
    assert reader.post(address, json={"fence": mine["fence"]}).status_code == 200
    stale = reader.post(address, json={"fence": mine["fence"] - 1})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "claim_lost")
    clock.advance(121)
    assert reader.post(address, json={"fence": mine["fence"]}).status_code == 409
    with web.signed_in("senior") as senior:
        assert senior.post(address, json={"fence": mine["fence"]}).status_code == 409


@pytest.mark.parametrize("body", [{}, {"fence": -1}, {"fence": "x"}, {"fence": 2**40}, []])
def test_a_heartbeat_of_nonsense_is_refused_in_words(reader: httpx.Client, body: object) -> None:
    assert reader.post(f"/api/claims/{NOBODYS_ID}/heartbeat", json=body).status_code == 400


def test_given_back_with_a_reason_it_waits_in_its_place(web: Web, reader: httpx.Client, clock: Clock) -> None:
    first, second = queue(web, clock, 2)
    mine = reader.post(f"/api/cases/{first}/claim").json()
    form = {"fence": mine["fence"], "reason": "other_reader"}
    assert reader.post(f"/cases/{first}/release", data=form | {"reason": "bored"}).status_code == 422
    assert reader.post(f"/cases/{first}/release", data={"reason": "other_reader"}).status_code == 400
    assert led_to(reader.post(f"/cases/{first}/release", data=form)) == "/worklist?told=released"
    assert listed(reader.get("/worklist").text) == [first, second]
    assert reader.post(f"/cases/{first}/release", data=form).status_code == 409
    with web.services.catalogue.read() as conn:
        ended = conn.execute(select(work_items).where(work_items.c.id == mine["item_id"])).one()
        said = conn.execute(select(audit_events).where(audit_events.c.action == "end_claim")).one()
    assert (ended.state, ended.end_reason) == ("CANCELED", "other_reader")
    assert said.actor == "reader"


def test_an_old_form_does_not_end_a_later_claim(web: Web, reader: httpx.Client, clock: Clock) -> None:
    (case,) = queue(web, clock, 1)
    old = reader.post(f"/api/cases/{case}/claim").json()["fence"]
    reader.post(f"/cases/{case}/release", data={"fence": old, "reason": "interrupted"})
    reader.post(f"/cases/{case}/claim")
    assert reader.post(f"/cases/{case}/release", data={"fence": old, "reason": "interrupted"}).status_code == 409
    assert owner(web, case) == ("IN PROGRESS", "reader")


def test_handed_over_at_the_end_of_a_shift(web: Web, reader: httpx.Client, clock: Clock) -> None:
    for address in ("hand-over", "release"):
        (case,) = queue(web, clock, 1)
        fence = reader.post(f"/api/cases/{case}/claim").json()["fence"]
        form = {"fence": fence, "reason": "shift_end"}
        assert led_to(reader.post(f"/cases/{case}/{address}", data=form)) == "/worklist?told=handed_over"
        with web.services.catalogue.read() as conn:
            newest = claims.newest(conn, [case])[case]
        assert (newest.state, newest.seq) == ("SCHEDULED", 2)


def test_a_coordinator_takes_a_case_from_its_reader_with_a_reason(
    web: Web, reader: httpx.Client, coordinator: httpx.Client, clock: Clock
) -> None:
    (case,) = queue(web, clock, 1)
    mine = reader.post(f"/api/cases/{case}/claim").json()
    assert coordinator.post(f"/cases/{case}/break", data={}).status_code == 422
    answer = coordinator.post(f"/cases/{case}/break", data={"reason": "no_answer"})
    assert led_to(answer) == "/coordinator?told=broken"
    assert owner(web, case) == ("SCHEDULED", None)
    beat = reader.post(f"/api/claims/{mine['item_id']}/heartbeat", json={"fence": mine["fence"]})
    assert beat.json()["error"]["code"] == "claim_lost"
    assert reader.post(f"/cases/{case}/break", data={"reason": "no_answer"}).status_code == 403


@pytest.mark.parametrize("act", ["claim", "release", "hand-over"])
def test_an_act_on_a_case_that_is_none_finds_nothing(reader: httpx.Client, act: str) -> None:
    answer = reader.post(f"/cases/{NOBODYS_ID}/{act}", data={"fence": "1", "reason": "interrupted"})
    assert answer.status_code == 404


def test_breaking_what_is_no_case_finds_nothing(coordinator: httpx.Client) -> None:
    assert coordinator.post(f"/cases/{NOBODYS_ID}/break", data={"reason": "no_answer"}).status_code == 404


def test_signing_leads_to_the_next_case_unless_the_reader_rests(web: Web, reader: httpx.Client, clock: Clock) -> None:
    first, second, third = queue(web, clock, 3)
    reader.post(f"/cases/{first}/claim")
    assert led_to(post_report(reader, f"/cases/{first}", {"text": "Read."})) == f"/cases/{second}?told=signed"
    assert owner(web, second) == ("IN PROGRESS", "reader")
    assert reader.post("/api/claims/pause", json={"on": True}).status_code == 204
    assert led_to(post_report(reader, f"/cases/{second}", {"text": "Read."})) == f"/cases/{second}?told=paused"
    assert owner(web, third) == ("SCHEDULED", None)
    assert "You rest" in reader.get("/worklist").text
    reader.post("/api/claims/pause", json={"on": False})
    reader.post(f"/cases/{third}/claim")
    assert led_to(post_report(reader, f"/cases/{third}", {"text": "Read."})) == f"/cases/{third}?told=signed_last"


def test_the_sentence_is_one_of_ours(web: Web, reader: httpx.Client) -> None:
    assert 'id="told"' not in reader.get("/worklist?told=<b>x").text
    assert 'id="told"' not in reader.get("/worklist?told=nonsense").text


SINCE = date(2026, 1, 1)


@pytest.fixture
def pooled(services: Services) -> Services:
    """Two pools: the village's ECGs are read in one, all else in the other; only seniors are licensed for the first."""
    room = ReadingRoom(
        pools=(Pool("near", "近", "Near", SINCE), Pool("far", "远", "Far", SINCE)),
        routes=(Route("a", "near", SINCE, site=("village",)), Route("b", "far", SINCE)),
        licences=(_licence("senior", "near"), _licence("senior", "far"), _licence("reader", "far")),
    )
    return replace(services, alliance=replace(services.alliance, room=room))


def _licence(account: str, pool: str) -> Licence:
    return Licence(account, SINCE, pool=(pool,))


def test_a_reader_sees_counts_and_claims_only_what_her_pools_hold(pooled: Services, clock: Clock) -> None:
    with running(pooled) as web, web.signed_in("reader") as reader, web.signed_in("senior") as senior:
        (near,) = queue(web, clock, 1)
        (far,) = queue(web, clock, 1, site="other")
        assert listed(reader.get("/worklist").text) == [far]
        assert listed(senior.get("/worklist").text) == [near, far]
        assert listed(senior.get("/worklist?pool=near").text) == [near]
        assert listed(reader.get("/worklist?pool=near").text) == []
        assert reader.get("/api/worklist/changes").json()["counts"]["high"] == "1"
        assert led_to(reader.post(f"/cases/{near}/claim")) == "/worklist?told=case_not_yours"
        assert led_to(reader.post("/claims/next")) == f"/cases/{far}"
        assert reader.post("/api/cases/" + near + "/claim").json()["error"]["code"] in {
            "case_not_yours",
            "case_not_licensed",
        }


def test_a_coordinator_opens_cases_to_another_pool_and_takes_them_from_nobody(pooled: Services, clock: Clock) -> None:
    with running(pooled) as web, web.signed_in("reader") as reader, web.signed_in("coordinator") as coordinator:
        first, second, third = queue(web, clock, 3)
        form = {"to": "far", "reason": "balance", "pool": "near", "priority": "high", "n": "1"}
        assert coordinator.post("/coordinator/assign", data=form | {"to": "none"}).status_code == 422
        assert coordinator.post("/coordinator/assign", data=form | {"reason": ""}).status_code == 422
        assert coordinator.post("/coordinator/assign", data=form | {"n": "0"}).status_code == 400
        assert led_to(coordinator.post("/coordinator/assign", data=form)) == "/coordinator?told=assigned"
        assert listed(reader.get("/worklist").text) == [first]
        ticked = form | {"case": [third, NOBODYS_ID]}
        assert led_to(coordinator.post("/coordinator/assign", data=ticked)) == "/coordinator?told=assigned_some"
        assert listed(reader.get("/worklist").text) == [first, third]
        with web.signed_in("senior") as senior:
            assert listed(senior.get("/worklist").text) == [first, second, third]
        with web.services.catalogue.read() as conn:
            said = list(conn.scalars(select(audit_events.c.object_id).where(audit_events.c.action == "assign")))
        assert said == [first, third]


def test_a_coordinator_sees_no_identity(web: Web, coordinator: httpx.Client, reader: httpx.Client) -> None:
    with web.signed_in("nurse") as nurse:
        receipt = upload(nurse, {"a": named_ecg("Wang^XiaoDong=王^小东", "ID110101")}, urgent=True).json()["receipt"]
    reader.post("/claims/next")
    pages = coordinator.get("/coordinator").text + coordinator.get("/coordinator?pool=all").text
    assert receipt in pages
    assert "Wang" not in pages
    assert "王" not in pages
    assert "ID110101" not in pages
    assert "male" in pages
    assert coordinator.get("/worklist").status_code == 403


def test_the_board_tells_what_is_late_and_who_reads(
    web: Web, coordinator: httpx.Client, reader: httpx.Client, clock: Clock
) -> None:
    queue(web, clock, 3, "urgent")
    reader.post("/claims/next")
    clock.advance(400)
    text = coordinator.get("/coordinator").text
    assert "late: 2" in text
    assert "Being read: 1" in text


def test_a_page_at_any_place_is_the_same_forwards_and_backwards(web: Web, clock: Clock) -> None:
    ids = queue(web, clock, 25, "high")
    reach = Reach("reader", ("all",))
    with web.services.catalogue.read() as conn:
        first = desk.page(conn, desk.View(), reach, limit=10)
        second = desk.page(conn, desk.View(), reach, after=first.rows[-1].cursor, limit=10)
        third = desk.page(conn, desk.View(), reach, after=second.rows[-1].cursor, limit=10)
        back = desk.page(conn, desk.View(), reach, before=third.rows[0].cursor, limit=10)
    assert [row.case_id for one in (first, second, third) for row in one.rows] == ids
    assert (first.before, first.after, third.before, third.after) == (False, True, True, False)
    assert back.rows == second.rows


def test_filters_find_by_receipt_sex_age_and_modality(web: Web, reader: httpx.Client) -> None:
    with web.signed_in("nurse") as nurse:
        receipt = upload(nurse, {"a": named_ecg("A", sex="M", seed=1)}).json()["receipt"]
        other = upload(nurse, {"a": named_ecg("B", "2", sex="F", seed=2)}).json()["receipt"]

    def found(words: str) -> set[str]:
        return set(
            re.findall(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}\b", reader.get("/worklist", params={"find": words}).text)
        )

    assert found(receipt) == {receipt}
    assert found(receipt[:6].lower()) == {receipt}
    assert found("f") == {other}
    assert found("m ecg") == {receipt}
    assert found("CT") == set()
    assert found("nonsense!") == set()


def test_counts_end_where_nobody_counts_any_more(web: Web, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    queue(web, clock, 5, "high")
    queue(web, clock, 2, "urgent")
    monkeypatch.setattr(desk, "COUNTED", 3)
    with web.services.catalogue.read() as conn:
        tally = desk.tally(conn, desk.View(), Reach("reader", ("all",)))
    assert (tally.urgent, tally.high) == (desk.Count(2), desk.Count(3, True))


def test_a_sixth_stream_is_refused_and_asking_still_works(web: Web, reader: httpx.Client) -> None:
    with ExitStack() as stack:
        open_ones = [stack.enter_context(reader.stream("GET", "/api/worklist/live")) for _ in range(5)]
        assert {one.headers["content-type"] for one in open_ones} == {"text/event-stream; charset=utf-8"}
        sixth = reader.get("/api/worklist/live")
        assert (sixth.status_code, sixth.json()["error"]["code"]) == (429, "too_many_streams")
        assert reader.get("/api/worklist/changes").status_code == 200


def test_the_stream_tells_that_something_happened_and_nothing_of_it(
    web: Web, reader: httpx.Client, clock: Clock
) -> None:
    with reader.stream("GET", "/api/worklist/live") as stream:
        lines = (line for line in stream.iter_lines() if line.startswith("data:"))
        before = int(next(lines).split()[1])
        queue(web, clock, 1)
        assert int(next(lines).split()[1]) > before

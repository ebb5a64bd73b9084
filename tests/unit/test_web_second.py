"""Opinions, consultations and blind second readings over HTTP: asked, read, compared, graded, given back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from sqlalchemy import Connection, create_engine, event, select, update
from starlette.responses import JSONResponse

from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_web
from teleread.reading import blind, claims, critical_rows, criticals, second, worklist
from teleread.reading.claims import Reach
from teleread.reading.reports import reports_of
from teleread.reading_room import Pool, ReadingRoom, Route
from teleread.storage import accounts
from teleread.storage.catalogue.schema import accounts as accounts_table
from teleread.storage.catalogue.schema import arrivals, metadata, work_items
from teleread.web.security import Seat, allow, guards
from tests.conftest import Clock
from tests.signing import claim, give_pin, post_report, ready, sign_report
from tests.two_tenants import Side, ask, routes_of, values
from tests.ui.live import PASSWORD, Page, Web, named_ecg, running, upload

FIRST, FIRST_NAME = "prim-lector", "Primula Lectrix"
WORDS = "Prime words of the first report."
STATEMENT = "av_block_3"


@pytest.fixture
def web(services: Services, clock: Clock) -> Iterator[Web]:
    since = clock().date() - timedelta(days=30)
    room = ReadingRoom(
        pools=(Pool("ecg", "心电", "ECG", since), Pool("cardiac", "心内", "Cardiac", since)),
        routes=(
            Route("specialists", "cardiac", since, kind=("consultation",)),
            Route("ecgs", "ecg", since, modality=("ECG",)),
        ),
    )
    with running(replace(services, alliance=replace(services.alliance, room=room))) as started:
        with started.services.catalogue.write() as conn:
            accounts.create_account(conn, FIRST, PASSWORD, "reader", None, clock())
            named = update(accounts_table).where(accounts_table.c.name == FIRST)
            conn.execute(named.values(display_name=FIRST_NAME))
        yield started


@pytest.fixture
def case(web: Web) -> str:
    """A routine ECG's case."""
    return send(web)


def send(web: Web, seed: int = 0, *, urgent: bool = False) -> str:
    with web.signed_in("nurse") as nurse:
        receipt = upload(nurse, {"a.dcm": named_ecg("A", seed=seed)}, urgent=urgent).json()["receipt"]
    with web.services.catalogue.read() as conn:
        return str(conn.scalar(select(arrivals.c.case_id).where(arrivals.c.receipt == receipt)))


def receipt_of(web: Web, case_id: str) -> str:
    with web.services.catalogue.read() as conn:
        return str(conn.scalar(select(arrivals.c.receipt).where(arrivals.c.case_id == case_id)))


def asked(web: Web, kind: str) -> str:
    """The case of the only open reading of a kind."""
    with web.services.catalogue.read() as conn:
        (found,) = conn.scalars(select(work_items.c.case_id).where(work_items.c.kind == kind).distinct())
    return str(found)


def item_of(web: Web, case_id: str) -> worklist.WorkItem:
    with web.services.catalogue.read() as conn:
        found = worklist.get_case(conn, case_id)
    assert found is not None
    return found.item


def ask_as(reader: httpx.Client, case_id: str, how: str, **fields: str) -> httpx.Response:
    held = reader.post(f"/api/cases/{case_id}/claim").json() if how != "consultation" else {}
    named = {"how": how, "question": "Is this Mobitz II?", "fence": str(held.get("fence", ""))}
    return reader.post(f"/cases/{case_id}/ask", data=named | fields)


def test_an_opinion_is_asked_read_and_stands_beside_the_first_readers_draft(web: Web, case: str) -> None:
    with web.signed_in("reader") as reader, web.signed_in("senior") as senior:
        assert ask_as(reader, case, "go_on").headers["location"] == f"/cases/{case}?told=asked"
        page = reader.get(f"/cases/{case}").text
        assert "nobody reads it yet" in page
        assert "An opinion is open" in page
        assert re.search(r'value="preliminary" selected', page)
        again = ask_as(reader, case, "go_on")
        assert again.status_code == 409
        opinion = asked(web, "second_opinion")
        assert item_of(web, opinion).pool == "ecg"
        assert senior.post(f"/cases/{opinion}/claim").headers["location"] == f"/cases/{opinion}"
        theirs = senior.get(f"/cases/{opinion}").text
        assert "Is this Mobitz II?" in theirs
        assert f'href="/cases/{case}"' in theirs
        assert "being read by senior" in reader.get(f"/cases/{case}").text
        assert reader.post(f"/cases/{opinion}/not-needed").status_code == 409  # it has been begun
        assert post_report(senior, f"/cases/{opinion}", {"text": "It is Wenckebach."}).status_code == 303
        page = reader.get(f"/cases/{case}").text
        assert "It is Wenckebach." in page
        assert 'id="report"' in page  # the form with her draft is there beside it
    with web.signed_in("nurse") as nurse:
        assert "Wenckebach" not in nurse.get(f"/receipts/{receipt_of(web, case)}").text


def test_who_waits_for_an_opinion_gets_the_case_back_with_it_or_withdraws_it(web: Web, case: str) -> None:
    with web.signed_in("reader") as reader:
        assert ask_as(reader, case, "wait").headers["location"] == "/worklist?told=asked_waits"
        assert item_of(web, case).state == "CANCELED"
        opinion = asked(web, "second_opinion")
        assert "not needed any more" in reader.get(f"/cases/{case}").text
        assert reader.post(f"/cases/{opinion}/not-needed").headers["location"] == f"/cases/{case}?told=not_needed"
        assert item_of(web, case).state == "SCHEDULED"
        assert "nobody reads it yet" not in reader.get(f"/cases/{case}").text


def test_nobody_else_withdraws_what_was_asked_but_a_senior_reader_or_who_has_the_case(web: Web, case: str) -> None:
    give_pin(web.services, FIRST)
    with web.client() as first, web.signed_in("reader") as reader, web.signed_in("senior") as senior:
        first.post("/sign-in", data={"name": FIRST, "password": PASSWORD})
        ask_as(first, case, "go_on")
        opinion = asked(web, "second_opinion")
        assert reader.post(f"/cases/{opinion}/not-needed").status_code == 403
        assert "not needed any more" not in reader.get(f"/cases/{case}").text
        assert senior.post(f"/cases/{opinion}/not-needed").status_code == 303


def test_an_urgent_case_waits_for_no_opinion_and_no_pool(web: Web) -> None:
    case = send(web, urgent=True)
    with web.signed_in("reader") as reader:
        assert ask_as(reader, case, "wait").status_code == 409
        assert item_of(web, case).state == "IN PROGRESS"
        assert 'value="wait"' not in reader.get(f"/cases/{case}").text
        assert ask_as(reader, case, "go_on").status_code == 303
    opinion = item_of(web, asked(web, "second_opinion"))
    assert (opinion.priority, opinion.band) == ("urgent", 0)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"question": " "}, 422), ({"question": "x" * 2001}, 422), ({"priority": "soon"}, 400), ({"fence": "7"}, 409)],
)
def test_a_form_that_asks_nothing_queues_nothing(web: Web, case: str, fields: dict[str, str], status: int) -> None:
    with web.signed_in("reader") as reader:
        assert ask_as(reader, case, "go_on", **fields).status_code == status
    with web.services.catalogue.read() as conn:
        assert second.children(conn, case) == []


def test_a_consultation_goes_to_the_specialists_and_back_as_a_report_of_its_own(web: Web, case: str) -> None:
    with web.signed_in("reader") as reader, web.signed_in("senior") as senior, web.signed_in("nurse") as nurse:
        post_report(reader, f"/cases/{case}", {"text": "First words."})
        with web.signed_in("coordinator") as coordinator:
            assert "Ask specialists" in coordinator.get(f"/cases/{case}/explain").text
            sent = ask_as(coordinator, case, "consultation", priority="high")
            assert sent.headers["location"] == f"/cases/{case}/explain?told=asked"
            assert ask_as(coordinator, case, "consultation", priority="high").status_code == 303  # sent twice: one
        consultation = asked(web, "consultation")
        assert (item_of(web, consultation).pool, item_of(web, consultation).priority) == ("cardiac", "high")
        before = nurse.get(f"/api/receipts/{receipt_of(web, case)}/report.json").headers["teleread-report"]
        post_report(senior, f"/cases/{consultation}", {"text": "Words of specialists.", "critical": "1"})
        assert nurse.get(f"/api/receipts/{receipt_of(web, case)}/report.json").headers["teleread-report"] != before
        page = nurse.get(f"/receipts/{receipt_of(web, case)}").text
        assert page.index("First words.") < page.index("Consultation of specialists") < page.index("Words of spec")
        document = nurse.get(f"/api/receipts/{receipt_of(web, case)}/report.json").json()
        assert len(document["versions"]) == len(document["consultations"]) == 1
        (report,) = re.findall(r'name="report" value="(\w+)"', page)
        assert nurse.post(f"/receipts/{receipt_of(web, case)}/read", data={"report": report}).status_code == 303
        assert "Read at the clinic by nurse" in nurse.get(f"/receipts/{receipt_of(web, case)}").text
        assert "Words of specialists." in reader.get(f"/cases/{case}").text


def test_a_consultation_is_held_as_long_as_the_identity_of_its_case_is_corrected(web: Web, case: str) -> None:
    with web.signed_in("reader") as reader, web.signed_in("senior") as senior, web.signed_in("nurse") as nurse:
        claim(web.services, case)
        ask_as(reader, case, "consultation")
        reader.post(f"/cases/{case}/identity", data={"act": "open", "reason": "wrong label"})
        post_report(senior, f"/cases/{asked(web, 'consultation')}", {"text": "Words of specialists."})
        page = f"/receipts/{receipt_of(web, case)}"
        assert "Words of specialists." not in nurse.get(page).text
        reader.post(f"/cases/{case}/identity", data={"act": "confirm"})
        sweep_web(web.services)
        assert "Words of specialists." in nurse.get(page).text


def test_a_reader_who_has_nothing_to_do_with_a_case_asks_no_specialists(web: Web, case: str) -> None:
    with web.signed_in("reader") as reader:
        assert ask_as(reader, case, "consultation").status_code == 403
        assert 'id="ask-open"' not in reader.get(f"/cases/{case}").text
        claim(web.services, case)
        assert ask_as(reader, case, "consultation").status_code == 303


# at once


def everybodys(conn: Connection) -> list[str]:
    """Kinds of what waits without a pool."""
    return list(conn.scalars(select(work_items.c.kind).where(work_items.c.pool.is_(None))))


def every_kind(web: Web, case: str) -> list[str]:
    """Queue one of each kind beside a case, by code that asks no rules; those that are everybody's."""
    now = web.services.clock()
    held = claim(web.services, case)
    with web.services.catalogue.write() as conn:
        second.ask_opinion(conn, held.item_id, "reader", held.fence, now, waits=False)
        second.consult(conn, case, "reader", now)
        sign_report(conn, case, critical=True, at=now)
        return everybodys(conn)


def test_what_is_queued_beside_a_case_has_a_pool_in_that_transaction(web: Web, case: str) -> None:
    assert every_kind(web, case) == []


def test_without_the_parents_pool_it_would_be_everybodys(web: Web, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second, "replace", lambda place, **_changes: place)
    assert sorted(every_kind(web, case)) == ["consultation", "second_opinion", "second_reading"]


# blind


@dataclass(frozen=True)
class Twice:
    """A case that was read as critical, with all that a first reader leaves behind, and its second reading."""

    web: Web
    case: str
    reading: str
    side: Side
    secrets: tuple[str, ...]


@pytest.fixture
def twice(web: Web, case: str) -> Twice:
    services, now = web.services, web.services.clock()
    reach = Reach(FIRST, ("ecg",))
    with services.catalogue.write() as conn:
        held = claims.claim_case(conn, case, reach, now)
        asked_for = second.ask_opinion(conn, held.item_id, FIRST, held.fence, now, waits=False, question="Block?")
        open_one = second.consult(conn, case, FIRST, now, question="Pacemaker?")
        sign_report(conn, asked_for, text="Words of the opinion.", signed_by="reader", at=now)
        criticals.raise_critical(conn, case, [STATEMENT], FIRST, now)
        more = {"statements": (STATEMENT,), "name": FIRST_NAME}
        report = sign_report(conn, case, text=WORDS, critical=True, signed_by=FIRST, at=now, **more)
        (reading,) = second.open_children(conn, case, ["second_reading"])
        items = list(conn.scalars(select(work_items.c.id)))
        found = [one.id for one in critical_rows.of_case(conn, case)]
    with web.client() as first:
        first.post("/sign-in", data={"name": FIRST, "password": PASSWORD})
        first.post(f"/cases/{case}/identity", data={"act": "open", "reason": "wrong label"})
        first.post(f"/cases/{case}/identity", data={"act": "confirm"})
    side = Side("a")
    side.ids |= {"case_id": [case, reading.case_id, asked_for, open_one], "arrival_id": [reading.arrival_id]}
    side.ids |= {"item_id": items, "critical_id": found, "frame": ["0"], "notice": ["1"], "receipt": []}
    side.ids |= {"contact_id": [], "account": [], "question_id": [], "number": [], "identifier": []}
    side.fields |= {"case": case}
    name = report.content["content"]["statements"][0] if report.content else {}
    secrets = (FIRST, FIRST_NAME, WORDS, report.id, str(report.sha256)[:16], name["zh"], name["en"], STATEMENT)
    return Twice(web, case, reading.case_id, side, (*secrets, "Words of the opinion."))


OF_EVERYBODY = {"/api/statements"}
"""The lexicon: every statement that there is."""


def told(twice: Twice, who: str, routes: list[APIRoute] | None = None) -> list[str]:
    """What every page, API and file tells somebody of the first report."""
    found = []
    with twice.web.signed_in(who) as client:
        for route in routes or routes_of(twice.web.app):
            allowed = guards(route)[0].roles
            if "GET" not in route.methods or route.path in OF_EVERYBODY:
                continue
            if allowed and ("senior_reader" if who == "senior" else "reader") not in allowed:
                continue
            for chosen in values(route, twice.side):
                path = route.path.format(**chosen)
                _status, said = ask(client, route, "GET", path, twice.side)
                found += [f"{path} tells {one}" for one in twice.secrets if one in said]
        for query in ("show=all", "show=mine"):
            said = client.get(f"/worklist?{query}").text
            found += [f"/worklist?{query} tells {one}" for one in twice.secrets if one in said]
    return found


def take(twice: Twice, who: str = "senior") -> claims.Claim:
    return claim(twice.web.services, twice.reading, who)


@pytest.mark.parametrize("who", ["senior", "reader"])
def test_who_reads_a_case_a_second_time_learns_nothing_of_the_first_report(twice: Twice, who: str) -> None:
    before = told(twice, who)
    assert any(one.startswith(f"/cases/{twice.case} tells") for one in before)  # else nothing is shown by hiding it
    take(twice, who)
    assert told(twice, who) == []
    with twice.web.signed_in(who) as client:
        led = client.get(f"/cases/{twice.case}")
        assert led.headers["location"] == f"/cases/{twice.reading}?told=blind"
        for path in ("report.json", "raw"):
            assert client.get(f"/cases/{twice.case}/{path}").status_code == 403
        assert client.post(f"/cases/{twice.case}/report", data={"kind": "addendum", "text": "x"}).status_code == 403


def test_who_gives_it_back_stays_blind_until_it_is_signed(twice: Twice) -> None:
    held = take(twice)
    now = twice.web.services.clock()
    with twice.web.services.catalogue.write() as conn:
        claims.give_back(conn, twice.reading, "released", "senior", "interrupted", now, fence=held.fence)
        assert second.is_blind_to(conn, twice.case, "senior")
        assert not second.is_blind_to(conn, twice.case, "reader")
    assert told(twice, "senior") == []


Break = Callable[[pytest.MonkeyPatch], None]


def _no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleread.web.viewing.blind.check", lambda *_all: None)


def _no_hiding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "hidden_cases", lambda *_all: {})


@pytest.mark.parametrize(("broken", "where"), [(_no_check, "/report.json"), (_no_hiding, "/api/criticals/live")])
def test_without_it_the_first_report_is_told(
    twice: Twice, monkeypatch: pytest.MonkeyPatch, broken: Break, where: str
) -> None:
    take(twice)
    broken(monkeypatch)
    assert any(where in one for one in told(twice, "senior"))


careless = APIRouter()


@careless.get("/api/careless/cases/{case_id}")
def forgets_who_is_blind(seat: Annotated[Seat, allow("reader", audit=None)], case_id: str) -> JSONResponse:
    with seat.services.catalogue.read() as conn:
        return JSONResponse([one.signed_by for one in reports_of(conn, case_id)])


def test_a_route_that_forgets_who_is_blind_is_caught(twice: Twice) -> None:
    twice.web.app.include_router(careless)
    take(twice)
    routes = [one for one in routes_of(twice.web.app) if "careless" in one.path]
    assert told(twice, "senior", routes) == [f"/api/careless/cases/{twice.case} tells {FIRST}"]


def test_what_waits_for_a_reader_is_hidden_from_nobody(twice: Twice) -> None:
    """A withdrawn report lies unread: whoever may read the case reads it, also the one who reads it a second time."""
    take(twice)
    with twice.web.services.catalogue.write() as conn:
        claims.wait_again(conn, twice.case, FIRST, twice.web.services.clock(), "report_withdrawn")
        assert not second.is_blind_to(conn, twice.case, "senior")
    with twice.web.signed_in("senior") as senior:
        assert senior.post(f"/cases/{twice.case}/claim").headers["location"] == f"/cases/{twice.case}"
        assert senior.get(f"/cases/{twice.case}").status_code == 200


# what comes of it


def sign_second(twice: Twice, senior: Page) -> str:
    """The second reading is signed; returns the way to the comparison."""
    fields = ready(senior, f"/cases/{twice.reading}")
    signed = senior.post(f"/cases/{twice.reading}/report", data=fields | {"text": "Second words."})
    return str(signed.headers["location"])


def test_after_signing_both_reports_stand_side_by_side_and_the_grade_reaches_the_first_reader(twice: Twice) -> None:
    web = twice.web
    with web.signed_in("senior") as senior, web.client() as first, web.signed_in("reader") as other:
        first.post("/sign-in", data={"name": FIRST, "password": PASSWORD})
        way = sign_second(twice, senior)
        path, _, said = way.partition("?")
        assert (path.rpartition("/")[0], said) == ("/second-readings", "told=signed_grade")
        page = senior.get(path).text
        assert WORDS in page
        assert "Second words." in page
        assert FIRST_NAME in page
        assert "Second readings to grade: 1" in senior.get("/worklist").text
        assert path in senior.get("/second-readings").text
        assert (first.get(path).status_code, other.get(path).status_code) == (404, 404)  # nothing is said yet
        assert other.post(f"{path}/grade", data={"grade": "0"}).status_code == 404
        assert senior.post(f"{path}/grade", data={"grade": "5"}).status_code == 422
        graded = senior.post(f"{path}/grade", data={"grade": "2", "note": "The P waves march."})
        assert graded.headers["location"] == "/worklist?told=graded"
        assert senior.post(f"{path}/grade", data={"grade": "0"}).status_code == 409
        assert "Second readings to grade" not in senior.get("/worklist").text
        assert "Feedback on your reports: 1" in first.get("/worklist").text
        assert path in first.get("/second-readings").text
        page = first.get(path).text
        assert "The P waves march." in page
        assert "Second words." in page
        assert other.post(f"{path}/seen").status_code == 404
        assert first.post(f"{path}/seen").headers["location"] == "/worklist"
        assert "Feedback on your reports" not in first.get("/worklist").text
        assert first.get(path).status_code == 200  # what was seen can be looked at again
        assert f"/cases/{twice.case}" in senior.get(f"/cases/{twice.case}").text


def test_a_second_reading_never_reaches_the_clinic(twice: Twice) -> None:
    with twice.web.signed_in("senior") as senior, twice.web.signed_in("nurse") as nurse:
        sign_second(twice, senior)
        receipt = receipt_of(twice.web, twice.case)
        assert "Second words." not in nurse.get(f"/receipts/{receipt}").text
        assert "Second words." not in nurse.get(f"/api/receipts/{receipt}").text


def test_what_every_page_asks_of_them_is_found_by_their_own_index() -> None:
    """Not among all that a reader has ever read: the list is asked for every few seconds."""
    asked_for: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        asked_for.append(statement)

    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.connect() as conn:
        event.listen(conn, "before_cursor_execute", note)
        blind.hidden_cases(conn, "reader")
        second.ungraded(conn, "reader")
        event.remove(conn, "before_cursor_execute", note)
        assert len(asked_for) == 2
        for statement in asked_for:
            values = tuple("x" for _ in range(statement.count("?")))
            plan = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            assert any("ix_work_items_beside" in str(row) for row in plan), plan
    engine.dispose()

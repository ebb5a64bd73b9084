"""Critical values over HTTP: the clinic's banner, the press that answers it, the telephone, tests of contacts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select

from teleread.pipeline.critical_loop import CriticalLoop
from teleread.pipeline.services import Services
from teleread.reading import alarms, claims
from teleread.reading.claims import Reach
from teleread.reading.critical_rows import of_case, open_criticals
from teleread.reading_room import ALL, ReadingRoom
from teleread.storage import agents
from teleread.storage.catalogue.schema import critical_steps, work_items
from tests.conftest import Clock
from tests.criticals import CONTACTS, Sent
from tests.outside import webhook
from tests.signing import sign_report
from tests.ui.live import Web, named_ecg, running, upload

NAME = "王小东"


@pytest.fixture
def web(services: Services) -> Iterator[Web]:
    own = replace(services, alliance=replace(services.alliance, room=ReadingRoom(contacts=CONTACTS)))
    with running(own) as started:
        yield started


@pytest.fixture
def case(web: Web, nurse: httpx.Client) -> str:
    """A village's urgent ECG, claimed by the reader."""
    upload(nurse, {"a.dcm": named_ecg("Wang^XiaoDong=王^小东")}, urgent=True)
    with web.services.catalogue.write() as conn:
        case_id = str(conn.scalar(select(work_items.c.case_id)))
        claims.claim_case(conn, case_id, Reach("reader", (ALL,)), web.services.clock())
    return case_id


@pytest.fixture
def raised(web: Web, reader: httpx.Client, case: str) -> str:
    """Raised with one key; returns its id."""
    answer = reader.post(f"/cases/{case}/critical", data={"code_st_elevation_inferior": "1"})
    assert answer.status_code == 303
    with web.services.catalogue.read() as conn:
        return of_case(conn, case)[0].id


def go(web: Web, clock: Clock, seconds: float) -> None:
    """Let time pass, then a round of the loop, whose messages all arrive."""
    clock.advance(seconds)
    loop = CriticalLoop(web.services, send=Sent({}, []))
    loop.run_due()
    loop.settle(30)
    loop.close()


def test_one_key_raises_it_before_any_report_and_the_clinic_sees_it_on_every_page(
    web: Web, nurse: httpx.Client, reader: httpx.Client, raised: str, case: str
) -> None:
    receipt = re.findall(r'href="(/receipts/[\w-]+)"', nurse.get("/upload").text)[0]
    for path in ("/upload", receipt, "/identity", "/api/criticals/live"):
        text = nurse.get(path).text
        assert "CRITICAL RESULT" in text, path
        assert "ST elevation, inferior" in text
        assert "Found by reader" in text
        assert "0571-0" in text
        assert f'action="/criticals/{raised}/acknowledge"' in text
    for path in ("/worklist", f"/cases/{case}", "/identity"):
        text = reader.get(path).text
        assert "Not acknowledged by the clinic" in text, path
        assert "Village Clinic" in text
    with web.signed_in("coordinator") as coordinator:
        page = coordinator.get("/criticals").text
    assert f'action="/criticals/{raised}/call"' in page
    assert "First Nurse" in page
    assert NAME not in page


def test_nobody_raises_without_the_claim(web: Web, nurse: httpx.Client, case: str) -> None:
    with web.signed_in("senior") as senior:
        answer = senior.post(f"/cases/{case}/critical", data={})
    assert answer.status_code == 409
    assert "claim_needed" in answer.text
    with web.services.catalogue.read() as conn:
        assert open_criticals(conn) == []


def test_the_banner_holds_no_identity_and_is_sent_once(nurse: httpx.Client, raised: str) -> None:
    first = nurse.get("/api/criticals/live")
    assert NAME not in first.text
    mark = first.headers["teleread-state"]
    # the first time that it is shown is written down, which its list says from then on
    again = nurse.get(f"/api/criticals/live?seen={mark}")
    assert again.status_code in {200, 204}
    mark = again.headers.get("teleread-state", mark)
    assert nurse.get(f"/api/criticals/live?seen={mark}").status_code == 204


def test_another_site_neither_sees_nor_answers_it(web: Web, raised: str) -> None:
    with web.signed_in("stranger") as stranger:
        assert raised not in stranger.get("/upload").text
        assert raised not in stranger.get("/api/criticals/live").text
        for path in (f"/criticals/{raised}/acknowledge", f"/api/criticals/{raised}/acknowledge"):
            assert stranger.post(path).status_code == 404
        assert stranger.post(f"/api/criticals/{'0' * 32}/acknowledge").status_code == 404
    with web.services.catalogue.read() as conn:
        assert open_criticals(conn)[0].state == "open"


def test_one_press_with_name_and_time_shown_to_both(
    web: Web, nurse: httpx.Client, reader: httpx.Client, raised: str, case: str, clock: Clock
) -> None:
    clock.advance(41)
    answer = nurse.post(f"/api/criticals/{raised}/acknowledge")
    assert answer.json() == {"read_by": "nurse", "read_at": clock().isoformat()}
    assert "Read by nurse, 10:00:41" in nurse.get("/upload").text
    text = reader.get(f"/cases/{case}").text
    assert "Acknowledged by nurse, 10:00:41" in text
    assert "Not acknowledged by the clinic" not in text
    clock.advance(121)
    assert "Read by nurse" not in nurse.get("/api/criticals/live").text


def test_a_browser_without_scripts_presses_as_well(nurse: httpx.Client, raised: str, web: Web) -> None:
    for back, led_to in (("//evil.example", "/upload"), ("/receipts/X", "/receipts/X")):
        answer = nurse.post(f"/criticals/{raised}/acknowledge", data={"back": back})
        assert (answer.status_code, answer.headers["location"]) == (303, led_to)
    with web.services.catalogue.read() as conn:
        assert open_criticals(conn) == []


def test_an_agents_certificate_acknowledges_nothing(web: Web, raised: str) -> None:
    with web.services.catalogue.write() as conn:
        code = agents.invite(conn, "village", "PC", web.services.clock(), actor="engineer")
        ends = web.services.clock() + timedelta(days=1)
        _agent, token = agents.enrol(conn, code, "a" * 32, "c" * 64, ends, web.services.clock())
    with httpx.Client(base_url=web.address, headers={"authorization": f"Bearer {token}"}) as agent:
        for path in (f"/criticals/{raised}/acknowledge", f"/api/criticals/{raised}/acknowledge"):
            assert agent.post(path).status_code == 403
        assert agent.get("/api/criticals/live").status_code == 403


def test_that_it_was_shown_at_the_clinic_is_written_down(
    web: Web, nurse: httpx.Client, raised: str, clock: Clock
) -> None:
    go(web, clock, 0.4)
    clock.advance(2)
    nurse.get("/api/criticals/live")
    with web.services.catalogue.read() as conn:
        row = conn.execute(select(critical_steps).where(critical_steps.c.channel == "screen")).one()
    assert (row.outcome, row.done_at) == ("shown", clock())


def test_the_coordinator_writes_down_a_read_back(web: Web, raised: str, clock: Clock, reader: httpx.Client) -> None:
    go(web, clock, 301)
    with web.signed_in("coordinator") as coordinator:
        assert "the coordinator telephones the clinic" in coordinator.get("/api/criticals/live").text
        path = f"/criticals/{raised}/call"
        assert coordinator.post(path, data={"outcome": "read_back"}).status_code == 422
        assert coordinator.post(path, data={"contact": "v1", "outcome": "no_answer"}).status_code == 303
        assert coordinator.post(f"/criticals/{raised}/own").status_code == 303
        assert "owner: coordinator" in reader.get("/worklist").text
        assert coordinator.post(path, data={"contact": "v2", "outcome": "read_back"}).status_code == 303
        page = coordinator.get("/criticals").text
        assert coordinator.post(path, data={"contact": "v2", "outcome": "no_answer"}).status_code == 409
        assert coordinator.post(f"/criticals/{'0' * 32}/call", data={}).status_code == 404
        assert coordinator.post(f"/criticals/{'0' * 32}/own").status_code == 404
    assert "Nothing critical is open." in page
    assert "Second Nurse" in page
    assert "read back" in page


def test_a_signed_report_does_not_close_the_case(
    web: Web, nurse: httpx.Client, reader: httpx.Client, raised: str, case: str
) -> None:
    with web.services.catalogue.write() as conn:
        sign_report(conn, case, text="Inferior STEMI.", critical=True, at=web.services.clock())
    assert "This case is not closed." in reader.get(f"/cases/{case}").text
    nurse.post(f"/api/criticals/{raised}/acknowledge")
    assert "This case is not closed." not in reader.get(f"/cases/{case}").text


def test_a_mistake_is_taken_back_and_the_clinic_hears_it(
    web: Web, nurse: httpx.Client, reader: httpx.Client, raised: str, case: str
) -> None:
    assert f"/criticals/{raised}/take-back" in reader.get(f"/cases/{case}").text
    with web.signed_in("senior") as senior:
        assert senior.post(f"/criticals/{raised}/take-back").status_code == 403
    assert reader.post(f"/criticals/{raised}/take-back").status_code == 303
    text = nurse.get("/upload").text
    assert "Critical result withdrawn" in text
    assert "Do not act on it" in text


def test_pages_go_on_where_the_banner_cannot_be_read(
    web: Web, nurse: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from teleread.errors import StorageError

    def busy(*_args: object) -> None:
        raise StorageError("catalogue_busy", "Busy.")

    monkeypatch.setattr("teleread.web.critical_view.banner_rows", busy)
    assert nurse.get("/upload").status_code == 200


# contacts


def test_contacts_that_nobody_has_reached_turn_their_site_amber(web: Web, clock: Clock) -> None:
    go(web, clock, 1)
    with web.services.catalogue.read() as conn:
        stale = {alarm.subject for alarm in alarms.open_alarms(conn, kinds=["contact_stale"])}
    assert stale == {one.id for one in CONTACTS}
    with web.signed_in("engineer") as engineer:
        assert "AMBER" in engineer.get("/engineer").text
        page = engineer.get("/contacts").text
        assert "never tested" in page
        assert "/test" not in page
        assert engineer.post("/contacts/v1/test", data={"act": "reached"}).status_code == 403
    with web.signed_in("coordinator") as coordinator:
        assert "AMBER" in coordinator.get("/criticals").text
        for one in CONTACTS:
            assert coordinator.post(f"/contacts/{one.id}/test", data={"act": "reached"}).status_code == 303
        assert "AMBER" not in coordinator.get("/contacts").text
        with web.services.catalogue.read() as conn:
            assert alarms.open_alarms(conn, kinds=["contact_stale"]) == []
        clock.advance(25 * 86400)
    with web.signed_in("coordinator") as coordinator:
        page = coordinator.get("/contacts").text
        assert page.count("to be tested this week") == len(CONTACTS)
        assert "AMBER" not in page
        assert coordinator.post("/contacts/v2/test", data={"act": "failed"}).status_code == 303
        assert "the last test did not reach it" in coordinator.get("/contacts").text
        assert coordinator.post("/contacts/nobody/test", data={"act": "failed"}).status_code == 404
        assert coordinator.post("/contacts/v2/test", data={"act": "perhaps"}).status_code == 422
    with web.services.catalogue.read() as conn:
        assert [alarm.subject for alarm in alarms.open_alarms(conn, kinds=["contact_stale"])] == ["v2"]
    go(web, clock, 7 * 86400)
    with web.services.catalogue.read() as conn:
        assert len(alarms.open_alarms(conn, kinds=["contact_stale"])) == len(CONTACTS)


@pytest.mark.parametrize(("kind", "state"), [("ok", "reached"), ("fails", "the last test did not reach it")])
def test_a_test_is_sent_and_its_outcome_kept(services: Services, kind: str, state: str) -> None:
    with webhook(kind) as peer:
        contact = replace(CONTACTS[0], webhook=peer.url)
        rules = replace(services.alliance, room=ReadingRoom(contacts=(contact,)))
        telling = replace(services.telling, loopback=True)
        with running(replace(services, alliance=rules, telling=telling)) as web, web.signed_in("coordinator") as client:
            assert client.post("/contacts/v1/test", data={"act": "webhook"}).status_code == 303
            assert state in client.get("/contacts").text
        assert b'"event": "test"' in peer.taken[0][1]
        assert b'"receipt": ""' in peer.taken[0][1]


def test_without_contacts_the_page_says_what_follows(services: Services) -> None:
    with running(services) as web, web.signed_in("coordinator") as client:
        assert "The alliance&#39;s file names no contacts." in client.get("/contacts").text


def test_a_role_that_is_not_on_duty_asks_for_no_banner(web: Web, raised: str) -> None:
    for name in ("engineer", "auditor"):
        with web.signed_in(name) as client:
            assert client.get("/api/criticals/live").status_code == 403
    with web.signed_in("engineer") as client:
        assert 'id="criticals"' not in client.get("/engineer").text

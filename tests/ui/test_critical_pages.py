"""Critical values in Chromium: the clinic's banner, one key on the case, the coordinator's list, contacts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import select

from teleread.pipeline.critical_loop import CriticalLoop
from teleread.pipeline.services import Services
from teleread.reading import claims, criticals
from teleread.reading.claims import Reach
from teleread.reading_room import ALL, ReadingRoom
from teleread.storage.catalogue.schema import work_items
from tests.conftest import Clock
from tests.criticals import CONTACTS, Sent
from tests.ui.axe import violations
from tests.ui.chromium import LANGUAGES, Watched, check, opened, picture, watched
from tests.ui.live import Web, running, upload, wfdb

pytestmark = pytest.mark.peers


@pytest.fixture
def web(services: Services) -> Iterator[Web]:
    own = replace(services, alliance=replace(services.alliance, room=ReadingRoom(contacts=CONTACTS)))
    with running(own) as started:
        yield started


def claimed(web: Web) -> str:
    """An ECG of the village that the reader has claimed; returns the case's id."""
    with web.signed_in("nurse") as nurse:
        upload(nurse, wfdb("inferior_stemi"), urgent=True)
    with web.services.catalogue.write() as conn:
        case_id = str(conn.scalar(select(work_items.c.case_id)))
        claims.claim_case(conn, case_id, Reach("reader", (ALL,)), web.services.clock())
    return case_id


def round_of(web: Web) -> None:
    loop = CriticalLoop(web.services, send=Sent({"v1": "refused"}, []))
    loop.run_due()
    loop.settle(30)
    loop.close()


def test_one_key_at_the_reader_one_press_at_the_clinic(chromium: Browser, web: Web, clock: Clock) -> None:
    case_id = claimed(web)
    with watched(chromium, web, "en") as clinic, watched(chromium, web, "en") as reading:
        clinic.sign_in("nurse")
        reading.sign_in("reader")
        reading.page.goto(f"{web.address}/cases/{case_id}")
        opened(reading.page, "canvas[data-drawn]")
        reading.page.locator("#text").press("!")  # typed into the report it is a letter
        expect(reading.page.locator("#text")).to_have_value("!")
        reading.page.locator("#main").focus()
        reading.page.keyboard.press("!")
        expect(reading.page.locator(".criticals .critical-row")).to_be_visible()
        button = clinic.page.locator("button.critical-read")
        expect(button).to_be_visible()
        assert violations(clinic.page) == []
        button.focus()
        clock.advance(9)
        round_of(web)
        clinic.page.wait_for_timeout(3000)
        expect(button).to_be_focused()  # what changes under it does not take the focus
        clinic.page.keyboard.press("Enter")
        expect(clinic.page.locator(".critical-row.is-read")).to_contain_text("Read by nurse, 10:00:09")
        expect(reading.page.locator(".criticals .critical-row")).to_have_count(0)
        reading.page.reload()
        expect(reading.page.locator(".critical-case")).to_contain_text("Acknowledged by nurse, 10:00:09")


@pytest.mark.parametrize("language", list(LANGUAGES))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_of_critical_values_is_fit_for_everybody(
    chromium: Browser, web: Web, clock: Clock, language: str, scheme: str
) -> None:
    case_id = claimed(web)
    with web.services.catalogue.write() as conn:
        criticals.raise_critical(conn, case_id, ["st_elevation_inferior"], "reader", clock())
    for seconds in (0.4, 60, 240):
        clock.advance(seconds)
        round_of(web)
    pages = (
        ("nurse", "/upload"),
        ("reader", f"/cases/{case_id}"),
        ("reader", "/worklist"),
        ("coordinator", "/criticals"),
        ("coordinator", "/contacts"),
        ("engineer", "/engineer"),
        ("engineer", "/contacts"),
    )
    for name, path in pages:
        with watched(chromium, web, language, scheme=scheme) as seen:
            look(seen, name, path, scheme)


def look(seen: Watched, name: str, path: str, scheme: str) -> None:
    with seen.web.signed_in(name) as client:
        token = client.cookies["teleread_session"]
    seen.context.add_cookies([{"name": "teleread_session", "value": token, "url": seen.web.address}])
    seen.page.goto(f"{seen.web.address}{path}")
    if path.startswith("/cases/"):
        opened(seen.page, "canvas[data-drawn]")
    check(seen.page)
    assert violations(seen.page) == [], path
    picture(seen.page, f"critical-{name}-{path.strip('/').split('/')[0]}-{scheme}")

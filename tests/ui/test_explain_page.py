"""Why a case is where it is, as a coordinator reads it in Chromium."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time

import pytest
from playwright.sync_api import expect

from teleread.alliance import Alliance
from teleread.reading_room import Licence, Pool, ReadingRoom, Route, Shift
from tests.ui.axe import violations
from tests.ui.chromium import Watched, check
from tests.ui.live import PASSWORD
from tests.unit.test_pipeline_route import send

pytestmark = pytest.mark.peers

SINCE = date(2026, 1, 1)


@pytest.fixture
def alliance(alliance: Alliance) -> Alliance:
    """The same sites with a reading room."""
    room = ReadingRoom(
        pools=(Pool("ecg", "心电", "ECG", SINCE), Pool("night", "夜间", "Night", SINCE)),
        routes=(
            Route("children", "night", SINCE, age_below_years=14.0),
            Route("ct", "night", SINCE, modality=("CT", "MR"), site=("township", "other"), question=("chest_pain",)),
            Route("rest", "ecg", SINCE),
        ),
        licences=(Licence("reader", SINCE), Licence("night-reader", SINCE)),
        shifts=(Shift("d", "reader", SINCE, pool="ecg", begins=time(8), ends=time(20)),),
    )
    return replace(alliance, room=room)


def test_the_page_is_sound_in_both_languages_and_says_who_may_read(seen: Watched) -> None:
    case_id, receipt = send(seen.web.services, priority="urgent")
    page = seen.page
    page.goto(f"{seen.web.address}/sign-in?next=/cases/{case_id}/explain")
    page.locator("#name").fill("senior")
    page.locator("#password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(receipt)
    check(page)
    assert violations(page) == []
    expect(page.locator("table").nth(1).locator("tbody tr").first).to_contain_text("reader")
    expect(page.locator("table").nth(0).locator("tbody tr")).to_have_count(4)
    page.locator("h1 a").click()
    page.wait_for_url(f"**/cases/{case_id}/break-glass")  # she may know why, and has no licence to read it

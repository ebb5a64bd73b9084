"""The coordinator's board in Chromium: what it shows, what it does, and that it renews itself under nobody's hand."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.conftest import Clock
from tests.ui import axe
from tests.ui.chromium import Watched, check, picture
from tests.ui.live import named_ecg, upload
from tests.ui.test_worklist import arrive

pytestmark = pytest.mark.peers


def test_the_board_in_both_languages(seen: Watched, clock: Clock) -> None:
    page = seen.page
    with seen.web.signed_in("nurse") as nurse:
        upload(nurse, {"a": named_ecg("Wang^XiaoDong=王^小东", seed=1)}, urgent=True)
        upload(nurse, {"a": named_ecg("Li^Si=李^四", "2", seed=2)})
    with seen.web.signed_in("reader") as reader:
        reader.post("/claims/next")
    clock.advance(400)
    seen.sign_in("coordinator")
    check(page)
    picture(page, "coordinator")
    assert axe.violations(page) == []
    page.goto(f"{seen.web.address}/coordinator?pool=all")
    check(page)
    assert axe.violations(page) == []
    expect(page.locator("main")).not_to_contain_text("王")


def test_a_case_is_taken_from_a_reader_by_keyboard(english: Watched, clock: Clock) -> None:
    page = english.page
    (case,) = arrive(english.web, clock)
    with english.web.signed_in("reader") as reader:
        reader.post(f"/cases/{case}/claim")
    english.sign_in("coordinator")
    row = page.locator(f"#reading tr[data-case='{case}']")
    expect(row).to_contain_text("reader")
    row.locator("select").focus()
    page.keyboard.type("The reader does")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_contain_text("The case waits again.")
    expect(page.locator("#reading")).to_contain_text("Nobody is reading.")


def test_the_board_follows_the_queue_and_waits_for_a_form(english: Watched, clock: Clock) -> None:
    page = english.page
    english.sign_in("coordinator")
    expect(page.locator("#pools")).to_contain_text("All readers")
    arrive(english.web, clock, "urgent")
    expect(page.locator("#pools tbody td.num").first).to_have_text("1")
    page.locator("#assign-why").focus()
    arrive(english.web, clock, "urgent")
    expect(page.locator("#fresh")).to_contain_text("Something changed.")
    expect(page.locator("#pools tbody td.num").first).to_have_text("1")
    page.keyboard.press("Escape")
    expect(page.locator("#pools tbody td.num").first).to_have_text("2")


def test_two_minutes_unclaimed_are_heard_by_the_coordinator(english: Watched, clock: Clock) -> None:
    page = english.page
    arrive(english.web, clock, "urgent")
    clock.advance(90)
    english.sign_in("coordinator")
    expect(page.locator("#board")).to_be_visible()
    expect(page.locator("#alarm")).to_be_hidden()
    clock.advance(31)
    expect(page.locator("#alarm")).to_be_visible()
    expect(page.locator("#alarm-take")).to_have_count(0)

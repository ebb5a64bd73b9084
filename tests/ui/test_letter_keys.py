"""Keys of one letter can be switched off, for the account, on every page that has them (WCAG 2.1.4)."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from teleread.reading import worklist
from teleread.storage import accounts
from tests.signing import claim
from tests.ui.axe import violations
from tests.ui.chromium import Watched, check, opened
from tests.ui.live import upload, wfdb

pytestmark = pytest.mark.peers


def two_cases(seen: Watched) -> list[str]:
    """Ids of two ECGs with flags, as the list has them."""
    with seen.web.signed_in("nurse") as nurse:
        for seed in (3, 4):
            upload(nurse, wfdb("inferior_stemi", seed))
    with seen.web.services.catalogue.read() as conn:
        return [one.case_id for one in worklist.list_items(conn)]


def off(seen: Watched, name: str = "reader") -> None:
    with seen.web.services.catalogue.write() as conn:
        accounts.set_letter_keys(conn, name, on=False)


def everything_pressed(page: Page, but: str = "") -> None:
    page.evaluate("document.activeElement.blur()")
    for key in "abcdefghijklmnopqrstuvwxyz!?/.,12345":
        if key not in but:
            page.keyboard.press(key)


def test_they_are_switched_off_and_on_again_on_the_accounts_page(seen: Watched) -> None:
    page = seen.page
    seen.sign_in("reader")
    page.goto(f"{seen.web.address}/account")
    for value, said in (("off", "keys_off"), ("on", "keys_on")):
        page.locator(f"button[name=letters][value={value}]").click()
        expect(page).to_have_url(re.compile(f"done={said}$"))
        expect(page.locator("[role=status]").first).to_be_visible()
        check(page)
        assert violations(page) == []
    page.locator("button[name=letters]").click()
    expect(page).to_have_url(re.compile("done=keys_off$"))
    page.goto("about:blank")  # whose page asks for nothing any more
    page.context.clear_cookies()
    seen.sign_in("reader")  # of the account, so in the next browser as well
    expect(page.locator("body[data-letter-keys=off]")).to_have_count(1)


def test_the_list_hears_none_of_them_and_the_others_as_before(english: Watched) -> None:
    page, web = english.page, english.web
    two_cases(english)
    english.sign_in("reader")
    links = page.locator("a.open")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(links.nth(1)).to_be_focused()
    off(english)
    page.goto(f"{web.address}/worklist")
    opened(page, "a.open")
    expect(links.nth(0)).to_be_focused()
    for key in "jncp?/":
        page.keyboard.press(key)
    page.keyboard.press("ArrowDown")
    expect(links.nth(1)).to_be_focused()  # one step, and by the arrow
    for hidden in ("#help", "#paused"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("tr.is-mine")).to_have_count(0)
    expect(page.locator("#next kbd")).to_be_hidden()
    page.locator("#help-open").click()
    expect(page.locator("#help")).to_contain_text("switched off for you")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.locator("#find").fill("n")  # typing is typing
    expect(page.locator("#find")).to_have_value("n")


def test_a_case_hears_none_of_them(english: Watched) -> None:
    page, web = english.page, english.web
    first, second = two_cases(english)
    claim(web.services, first)
    off(english)
    english.sign_in("reader")
    page.goto(f"{web.address}/cases/{first}")
    opened(page, "#trace[data-drawn]")
    everything_pressed(page)
    for hidden in ("#help", "#macros", "#paused", "#overlay"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#trace")).to_have_attribute("data-view", "diagnostic")
    expect(page.locator("li.is-rejected")).to_have_count(0)
    expect(page.locator("#criticals")).not_to_contain_text("ST elevation")
    assert page.evaluate("document.activeElement === document.body")
    assert page.url.endswith(first)
    page.keyboard.press("Escape")  # and those of more than one letter as before
    expect(page.locator("#release")).to_be_visible()
    page.keyboard.press("2")
    expect(page.locator("#release input[name=reason]").first).to_be_checked()
    page.keyboard.press("Escape")
    page.locator("#help-open").click()
    expect(page.locator("#help")).to_contain_text("switched off for you")
    page.goto(f"{web.address}/cases/{second}")
    opened(page, "#trace[data-drawn]")
    everything_pressed(page)
    page.wait_for_load_state("networkidle")
    with web.services.catalogue.read() as conn:
        assert [one.case_id for one in worklist.list_in_progress(conn)] == [first], "C took nothing"
        assert conn.exec_driver_sql("SELECT count(*) FROM criticals").scalar() == 0


def test_a_case_hears_them_all_where_nobody_switched_them_off(english: Watched) -> None:
    page, web = english.page, english.web
    first, _second = two_cases(english)
    english.sign_in("reader")
    page.goto(f"{web.address}/cases/{first}")
    opened(page, "#trace[data-drawn]")
    everything_pressed(page, but="?dr!")
    page.wait_for_url(re.compile(r"/cases/\w+"))
    opened(page, "#claim")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_contain_text("can be switched off")

"""Colleagues asked and second readings compared, in Chromium and by keyboard, in both languages."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from teleread.reading import claims, second
from tests.signing import claim, give_pin, sign_report
from tests.ui.axe import violations
from tests.ui.chromium import Watched, check, opened, picture
from tests.ui.live import named_ecg, upload

pytestmark = pytest.mark.peers


def a_case(seen: Watched) -> str:
    """A case that a clinic has sent."""
    with seen.web.signed_in("nurse") as nurse:
        upload(nurse, {"a.dcm": named_ecg("Wang^XiaoDong=王^小东")})
    with seen.web.signed_in("reader") as reader:
        return re.findall(r'class="open" href="/cases/(\w+)"', reader.get("/worklist").text)[0]


def fit(seen: Watched, name: str) -> None:
    """What holds on every page; its picture is kept."""
    check(seen.page)  # waits for the styles, without which colours are too faint
    picture(seen.page, name)
    assert violations(seen.page) == []


def test_an_opinion_is_asked_by_keyboard_and_its_answer_stands_beside_the_draft(seen: Watched) -> None:
    page, web = seen.page, seen.web
    case = a_case(seen)
    give_pin(web.services)
    seen.sign_in("reader")
    claim(web.services, case)
    page.goto(f"{web.address}/cases/{case}")
    opened(page, "canvas[data-drawn]")
    page.locator("#text").fill("Mobitz II?")
    page.locator("#draft-state").filter(has_text=re.compile(r"\d")).wait_for()
    page.locator("#main").focus()
    page.keyboard.press("q")
    expect(page.locator("#ask input[value=go_on]")).to_be_focused()
    page.keyboard.press("3")
    expect(page.locator("#ask-priority")).to_be_visible()
    page.keyboard.press("1")
    expect(page.locator("#ask-priority")).to_be_hidden()
    page.locator("#question").focus()
    page.keyboard.type("Is it 3:1 block?")  # a digit in a question chooses nothing
    fit(seen, "second-ask")
    page.keyboard.press("Control+Enter")
    opened(page, ".beside")
    expect(page.locator("#pin-dialog")).not_to_be_visible()  # it asked, and signed nothing
    expect(page.locator("#kind")).to_have_value("preliminary")
    fit(seen, "second-asked")
    with web.services.catalogue.write() as conn:
        (opinion,) = second.open_children(conn, case, ["second_opinion"])
        sign_report(conn, opinion.case_id, text="It is Wenckebach.", signed_by="senior", at=web.services.clock())
    page.goto(f"{web.address}/cases/{case}")
    opened(page, "canvas[data-drawn]")
    expect(page.locator(".beside .report-text")).to_contain_text("It is Wenckebach.")
    expect(page.locator("#text")).to_have_value("Mobitz II?")
    fit(seen, "second-answered")
    page.goto(f"{web.address}/cases/{opinion.case_id}")
    opened(page, "canvas[data-drawn]")
    expect(page.locator(".asked .report-text")).to_have_text("Is it 3:1 block?")
    fit(seen, "second-opinion")


def test_who_closes_the_question_has_asked_nothing_and_keeps_the_case(english: Watched) -> None:
    page, web = english.page, english.web
    case = a_case(english)
    english.sign_in("reader")
    claim(web.services, case)
    page.goto(f"{web.address}/cases/{case}")
    opened(page, "canvas[data-drawn]")
    page.keyboard.press("q")
    expect(page.locator("#ask")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#ask")).to_be_hidden()
    expect(page.locator("#release")).to_be_hidden()
    with web.services.catalogue.read() as conn:
        assert second.children(conn, case) == []


def test_a_second_reading_is_compared_graded_and_told_by_keyboard(seen: Watched) -> None:
    page, web = seen.page, seen.web
    case = a_case(seen)
    now = web.services.clock()
    with web.services.catalogue.write() as conn:
        said = {"statements": ("sinus_rhythm", "av_block_3"), "text": "First words."}
        sign_report(conn, case, critical=True, at=now, **said)
        (reading,) = second.open_children(conn, case, ["second_reading"])
    seen.sign_in("senior")
    claim(web.services, reading.case_id, "senior")
    page.goto(f"{web.address}/cases/{case}")  # the first report is hidden: she is led to her own reading
    opened(page, "canvas[data-drawn]")
    assert page.url.endswith(f"/cases/{reading.case_id}?told=blind")
    fit(seen, "second-blind")
    page.goto(f"{web.address}/criticals")
    fit(seen, "second-criticals")
    with web.services.catalogue.write() as conn:
        said = {"statements": ("sinus_rhythm", "av_block_2_mobitz_1"), "text": "Second words."}
        held = claims.current(conn, reading.case_id, "senior", now)
        assert held is not None
        sign_report(conn, reading.case_id, signed_by="senior", at=now, **said)
    page.goto(f"{web.address}/worklist")
    fit(seen, "second-worklist")
    page.locator(".quiet-line a").click()
    fit(seen, "second-list")
    page.locator(".plain-list a").click()
    opened(page, "#grading")
    page.keyboard.press("2")
    expect(page.locator("input[name=grade][value='2']")).to_be_checked()
    page.locator("#note").fill("The P waves march: 3:1.")
    fit(seen, "second-grade")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#told")).to_be_visible()
    page.locator('form[action="/sign-out"] button').click()
    page.locator("#name").wait_for()
    seen.sign_in("reader")
    page.locator(".quiet-line a").click()
    page.locator("#feedback a").click()
    opened(page, "#seen")
    expect(page.locator(".only")).to_have_count(2)
    fit(seen, "second-feedback")
    page.keyboard.press("Enter")
    expect(page.locator("nav a[aria-current=page]")).to_be_visible()
    expect(page.locator(".quiet-line")).to_have_count(0)

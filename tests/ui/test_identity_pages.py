"""Correcting whose a case is, in Chromium, by keyboard, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from teleread.pipeline.sweep import sweep_web
from tests.conftest import Clock
from tests.ecgs import ecg
from tests.signing import PIN, give_pin
from tests.ui.chromium import Watched, check, opened, picture
from tests.ui.live import upload

pytestmark = pytest.mark.peers

CORRECTED = {"zh-CN": "由 nurse 更正", "en": "Identity corrected on"}
MARK = {"zh-CN": "身份更正中", "en": "Identity under correction"}


def press(page: Page, selector: str) -> None:
    """Reach a control by focus and use it by key, as without a mouse."""
    page.locator(selector).focus()
    page.keyboard.press("Enter")


def leave(seen: Watched) -> None:
    """Sign out; a page that asks for its state every few seconds is left first."""
    seen.page.goto("about:blank")
    seen.context.clear_cookies()


def word(page: Page, words: dict[str, str]) -> str:
    """In the page's language."""
    return words[str(page.locator("html").get_attribute("lang"))]


def doubts_whose_it_is(seen: Watched, receipt: str) -> None:
    page, web = seen.page, seen.web
    seen.sign_in("nurse")
    page.goto(f"{web.address}/receipts/{receipt}")
    check(page)
    page.locator(".correct summary").focus()
    page.keyboard.press("Enter")
    page.locator("#correct-reason").focus()
    page.keyboard.type("贴错标签")
    page.keyboard.press("Enter")
    expect(page.locator("#status .notice").first).to_contain_text(word(page, MARK))
    check(page)
    picture(page, "receipt")


def reads_and_signs_meanwhile(seen: Watched, receipt: str) -> None:
    page, web = seen.page, seen.web
    seen.sign_in("reader")
    row = page.locator("tr.is-urgent")
    expect(row).to_contain_text(word(page, MARK))
    expect(row).to_contain_text(receipt)
    assert page.locator("#worklist tbody tr").first.get_attribute("class") == "is-urgent"
    check(page)
    picture(page, "worklist")
    give_pin(web.services)
    page.goto(f"{web.address}{row.locator('a.open').get_attribute('href')}")
    press(page, "#take button")
    opened(page, "canvas[data-drawn]")
    expect(page.locator(".who-strip .correcting")).to_contain_text(word(page, MARK))
    expect(page.locator(".sign .correcting")).to_contain_text(word(page, MARK))
    check(page)
    picture(page, "case")
    box = page.locator("#paper").bounding_box()
    assert box is not None
    assert box["y"] < 768  # the tracing is still in view
    page.locator("#text").focus()
    page.keyboard.type("ST elevation in II, III, aVF.")
    press(page, "#sign")
    page.locator("#pin").fill(PIN)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("told=signed"))
    sweep_web(web.services)


def answers_a_question(seen: Watched, receipt: str) -> None:
    page, web = seen.page, seen.web
    page.goto(f"{web.address}/identity")
    expect(page.locator("#corrections")).to_contain_text(receipt)
    expect(page.locator(".question")).to_have_count(2)
    check(page)
    picture(page, "identity")
    question = page.locator(".question").first
    question.locator("input[name=reason]").focus()
    page.keyboard.type("两张床")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".question")).to_have_count(1)


def names_the_right_patient(seen: Watched, receipt: str) -> None:
    page, web = seen.page, seen.web
    seen.sign_in("nurse")
    page.goto(f"{web.address}/receipts/{receipt}")
    expect(page.locator("#status")).not_to_contain_text("ST elevation")
    for field, text in (("#correct-id", "2002"), ("#correct-name", "赵敏")):
        page.locator(field).focus()
        page.keyboard.type(text)
    page.locator("#correct-born").fill("1990-05-06")
    page.locator("#correct-sex").select_option("F")
    picture(page, "receipt-naming")
    press(page, ".correct button[value=correct]")
    expect(page.locator(".couch .name")).to_contain_text("赵敏")
    expect(page.locator(".couch .state")).to_contain_text(word(page, CORRECTED))
    check(page)
    picture(page, "receipt-corrected")
    sweep_web(web.services)
    expect(page.locator("#status")).to_contain_text("ST elevation")
    expect(page.locator("main")).not_to_contain_text(word(page, MARK))


def is_told(seen: Watched, receipt: str) -> None:
    page, web = seen.page, seen.web
    seen.sign_in("reader")
    page.goto(f"{web.address}/identity")
    notice = page.locator("#notices .told").first
    expect(notice).to_contain_text(receipt)
    picture(page, "notices")
    case = str(notice.locator("a").get_attribute("href"))
    notice.locator("button").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#notices$"))
    page.goto(f"{web.address}{case}")
    expect(page.locator("main")).to_contain_text(word(page, CORRECTED))
    check(page)
    picture(page, "case-corrected")


def test_a_correction_by_keyboard_from_the_clinic_to_the_end(seen: Watched, clock: Clock) -> None:
    web = seen.web
    with web.signed_in("nurse") as nurse:
        receipt = str(upload(nurse, {"a.dcm": ecg(patient_id="1001")}, urgent=True).json()["receipt"])
        clock.advance(20)
        upload(nurse, {"b.dcm": ecg(patient_id="1001", seed=1, at="20261101100400", born="19620403")})
    doubts_whose_it_is(seen, receipt)
    leave(seen)
    reads_and_signs_meanwhile(seen, receipt)
    answers_a_question(seen, receipt)
    leave(seen)
    names_the_right_patient(seen, receipt)
    leave(seen)
    is_told(seen, receipt)


def test_the_engineers_page_counts_and_shows_conflicts(seen: Watched) -> None:
    from pydicom.data import get_testdata_file

    page, web = seen.page, seen.web
    with web.signed_in("nurse") as nurse:
        for name in ("MR_small.dcm", "MR_small_RLE.dcm"):
            path = get_testdata_file(name)
            assert isinstance(path, str)
            upload(nurse, {"a": Path(path).read_bytes()})
    seen.sign_in("engineer")
    expect(page.locator("#conflicts tbody tr td.mono")).to_have_count(2)
    check(page)
    # no backup was ever made, and no recovery key
    expect(page.locator("#safekeeping .state.bad")).to_have_count(2)
    expect(page.locator("#safekeeping tbody tr")).to_have_count(5)
    picture(page, "engineer")
    leave(seen)
    seen.sign_in("reader")
    page.locator("a.open").first.click()
    expect(page.locator("#case > .notice:not([hidden])").first).to_be_visible()
    check(page)
    picture(page, "conflict")

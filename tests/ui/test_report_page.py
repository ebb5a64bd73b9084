"""The report in Chromium: a normal ECG by keyboard from the list to the signature, and nothing of it goes on."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from teleread.ingest.formats.writers import write_ecg
from teleread.signal.ecg import simulate
from teleread.signal.ecg.record import Filters
from tests.signing import PIN, claim, give_pin
from tests.ui.axe import violations
from tests.ui.chromium import Watched, check, opened
from tests.ui.live import named_ecg, upload, wfdb

pytestmark = pytest.mark.peers
MOST_KEYS = 12


class Keys:
    """Counts what is pressed; the PIN is typed apart."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.n = 0

    def press(self, chord: str) -> None:
        self.n += len(chord.split("+"))
        self.page.keyboard.press(chord)


def to_first_case(seen: Watched, *, files: dict[str, bytes], urgent: bool = False) -> str:
    """Send, claim, open; returns the case's path."""
    with seen.web.signed_in("nurse") as nurse:
        upload(nurse, files, urgent=urgent)
    give_pin(seen.web.services)
    seen.sign_in("reader")
    with seen.web.signed_in("reader") as reader:
        (path,) = re.findall(r'href="(/cases/\w+)"', reader.get("/worklist").text)[:1]
    claim(seen.web.services, path.rpartition("/")[2])
    seen.page.goto(f"{seen.web.address}{path}")
    opened(seen.page, "canvas[data-drawn]")
    return path


def test_a_normal_ecg_takes_at_most_twelve_keys_from_the_list_to_the_signature(english: Watched) -> None:
    page = english.page
    with english.web.signed_in("nurse") as nurse:
        receipt = upload(nurse, wfdb()).json()["receipt"]
    give_pin(english.web.services)
    english.sign_in("reader")
    expect(page.locator("a.open").first).to_be_focused()
    keys = Keys(page)
    keys.press("c")
    expect(page.locator("tr.is-mine")).to_be_visible()
    keys.press("Enter")
    opened(page, "#report")
    expect(page.locator("#macros li").first).to_be_attached()
    keys.press("d")
    expect(page.locator("#macros")).to_be_visible()
    keys.press("n")
    expect(page.locator("#chosen li")).to_have_count(2)
    check(page)
    keys.press("Control+Enter")
    expect(page.locator("#pin")).to_be_focused()
    check(page)
    page.keyboard.type(PIN)
    keys.press("Enter")
    expect(page.locator(".version .report-text")).to_contain_text("Normal ECG")
    assert keys.n <= MOST_KEYS
    with english.web.signed_in("nurse") as nurse:
        assert "Normal ECG" in nurse.get(f"/receipts/{receipt}").text


def test_the_draft_survives_the_page_and_nothing_of_it_the_case(english: Watched) -> None:
    page = english.page
    path = to_first_case(english, files=wfdb())
    page.locator("#find").fill("xfcd")
    expect(page.locator("#found li").first).to_contain_text("Atrial fibrillation")
    page.locator("#find").press("Enter")
    page.locator("#text").fill("Irregular.")
    expect(page.locator("#draft-state")).to_contain_text("Draft saved")
    page.reload()
    expect(page.locator("#chosen li")).to_have_text(re.compile("Atrial fibrillation"))
    expect(page.locator("#text")).to_have_value("Irregular.")
    check(page)
    with english.web.signed_in("nurse") as nurse:
        upload(nurse, {"b.dcm": named_ecg("Li^Hong", seed=7)})
    page.keyboard.press("Control+Enter")
    page.locator("#pin").fill(PIN)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(rf"/cases/(?!{path.rpartition('/')[2]})"))
    opened(page, "#report")
    expect(page.locator("#text")).to_have_value("")
    expect(page.locator("#chosen li")).to_have_count(0)
    expect(page.locator("#critical")).not_to_be_checked()


def test_a_normal_is_refused_while_a_flag_stands_and_says_why(english: Watched) -> None:
    page = english.page
    record = replace(
        simulate("inferior_stemi", 1)[0], filters=Filters(0.05, 150.0)
    )  # of an unknown band: no suggestion
    to_first_case(english, files=dict(write_ecg(record, "dicom", "ecg")))
    page.locator("#macros li").first.wait_for(state="attached")
    page.locator("#normal").click()
    expect(page.locator("#report-problem")).to_contain_text("neither rejected nor answered")
    expect(page.locator("#chosen li")).to_have_count(0)
    expect(page.locator(".suggest").first).to_contain_text("Inferior myocardial infarction")
    page.locator(".suggest").first.click()
    expect(page.locator("#critical")).to_be_checked()
    check(page)


def test_a_wrong_pin_keeps_everything_on_the_page(english: Watched) -> None:
    page = english.page
    to_first_case(english, files=wfdb())
    page.locator("#text").fill("Sinus rhythm.")
    page.locator("#sign").click()
    page.locator("#pin").fill("000001")
    page.locator("#pin-go").click()
    expect(page.locator("#pin-problem")).to_contain_text("The PIN is wrong.")
    assert all("403" in one for one in english.complaints)
    english.complaints.clear()
    expect(page.locator("#text")).to_have_value("Sinus rhythm.")
    page.locator("#pin").fill(PIN)
    page.locator("#pin-go").click()
    expect(page.locator(".version .report-text")).to_contain_text("Sinus rhythm.")


def test_axe_finds_nothing_on_the_report_its_dialogs_and_the_pin(seen: Watched) -> None:
    page = seen.page
    to_first_case(seen, files=wfdb("inferior_stemi"))
    page.locator("#macros li").first.wait_for(state="attached")
    page.keyboard.press("r")
    page.keyboard.type("104")
    expect(page.locator("#found li").first).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.locator("#sign").click()
    expect(page.locator("#pin")).to_be_focused()
    assert violations(page) == []
    page.goto(f"{seen.web.address}/account/pin")
    check(page)
    assert violations(page) == []

"""The pages in Chromium, by keyboard, in both languages."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from pydicom.data import get_testdata_file

from teleread.ingest.formats import write_wfdb
from teleread.pipeline.sweep import sweep_web
from teleread.reading.worklist import list_items
from teleread.signal.ecg import simulate
from tests.conftest import Clock
from tests.signing import PIN, give_pin, post_report
from tests.ui.chromium import Watched, check, opened, watched
from tests.ui.live import BROKEN_DICOM, Web, named_ecg, upload, wfdb

pytestmark = pytest.mark.peers

INK = """() => { const c = document.getElementById('trace'); const d = c.getContext('2d')
  .getImageData(0, 0, c.width, c.height).data; let dark = 0, pink = 0;
  for (let i = 0; i < d.length; i += 4) { const s = d[i] + d[i + 1] + d[i + 2];
    if (s < 200) dark++; else if (s < 720) pink++; } return {dark, pink, width: c.width, height: c.height}; }"""


ROWS = "rows => rows.map(r => [r.dataset.case, r.getBoundingClientRect().y])"
DARK_INK = """() => { const c = document.getElementById('trace'); const d = c.getContext('2d')
  .getImageData(0, 0, c.width, c.height).data; let paper = 0, bright = 0;
  for (let i = 0; i < d.length; i += 4) { const s = d[i] + d[i + 1] + d[i + 2];
    if (s > 600) bright++; else if (s < 120) paper++; } return [paper, bright]; }"""


def open_first(page: Page) -> None:
    """Open the most urgent case: it has the focus when the list is there."""
    expect(page.locator("a.open").first).to_be_focused()
    page.keyboard.press("Enter")


def give_back(page: Page) -> None:
    """Back from a case to the list: asked once, answered by Enter."""
    page.keyboard.press("Escape")
    page.locator("#release").wait_for()
    page.keyboard.press("Enter")


def test_from_the_clinic_to_the_reader_by_keyboard(seen: Watched, tmp_path: Path) -> None:
    page = seen.page
    page.goto(f"{seen.web.address}/sign-in")
    check(page)
    seen.sign_in("nurse")
    check(page)
    path = tmp_path / "ecg.dcm"
    path.write_bytes(named_ecg("Wang^XiaoDong=王^小东"))
    page.locator("#plain").wait_for(state="hidden")  # its scripts run
    with page.expect_file_chooser() as chooser:
        page.locator(".zone.urgent button").press("Enter")
    chooser.value.set_files(path)
    page.locator(".card .receipt-no").wait_for()
    check(page)
    receipt = page.locator(".card .receipt-no").inner_text()
    expect(page.locator(".couch .name")).to_contain_text("王小东")
    expect(page.locator(".verdict .light")).to_be_visible()

    seen.context.clear_cookies()
    seen.sign_in("reader")
    check(page)
    row = page.locator("tr.is-urgent")
    expect(row).to_contain_text(receipt)
    expect(row.locator("a.open")).to_be_focused()
    page.keyboard.press("Enter")
    opened(page, "canvas[data-drawn]")
    check(page)
    expect(page.locator(".who-strip")).to_contain_text("王小东")
    give_back(page)
    opened(page, "#worklist")
    expect(page.locator("tr.is-urgent a.open")).to_be_focused()


def test_the_paper_is_true_to_scale_and_not_blank(english: Watched) -> None:
    page = english.page
    with english.web.signed_in("nurse") as nurse:
        upload(nurse, wfdb("inferior_stemi"))
    english.sign_in("reader")
    open_first(page)
    opened(page, "canvas[data-drawn]")
    ink = page.evaluate(INK)
    assert ink["dark"] > 3000
    assert ink["pink"] > 20_000
    assert ink["width"] > 260 * 96 / 25.4 - 10
    wide = page.locator("canvas#trace").bounding_box()
    assert wide is not None
    assert wide["width"] <= 1366 - 304
    page.locator("input[name=speed][value='50']").check(force=True)
    expect(page.locator("#scale")).to_contain_text("50 mm/s · 10 mm/mV")
    assert page.evaluate(INK)["width"] > 500 * 96 / 25.4
    page.locator("input[name=layout][value='12x1']").check(force=True)
    page.locator("input[name=gain][value='20']").check(force=True)
    expect(page.locator("#scale")).to_contain_text("20 mm/mV")


@pytest.mark.parametrize("raised", ["one lead", "all leads"])
def test_an_offset_of_the_device_leaves_the_curve_on_the_paper(english: Watched, raised: str) -> None:
    page = english.page
    record, _truth = simulate("normal", 1, noise=0.0)
    with english.web.signed_in("nurse") as nurse:
        upload(nurse, write_wfdb(record, "plain"))
        english.sign_in("reader")
        open_first(page)
        opened(page, "canvas[data-drawn]")
        page.keyboard.press("f")  # as recorded: a filter takes the offset away
        expect(page.locator("#trace")).to_have_attribute("data-view", "raw")
        plain = page.evaluate(INK)["dark"]
        expect(page.locator("#shift")).to_be_hidden()
        signals = np.array(record.signals_mv)
        signals[1 if raised == "one lead" else slice(None)] += 15.0
        upload(nurse, write_wfdb(replace(record, signals_mv=signals), "offset"), urgent=True)
    give_back(page)
    open_first(page)
    opened(page, "canvas[data-drawn]")
    page.keyboard.press("f")
    expect(page.locator("#trace")).to_have_attribute("data-view", "raw")
    assert page.evaluate(INK)["dark"] > 0.95 * plain
    expect(page.locator("#shift")).to_contain_text("baseline shifted: " + ("II" if raised == "one lead" else "I, II"))


def test_a_curve_that_leaves_the_paper_says_so(english: Watched) -> None:
    page = english.page
    record, _truth = simulate("normal", 1, noise=0.0)
    signals = np.array(record.signals_mv)
    signals[6, 400:600] += 30.0
    with english.web.signed_in("nurse") as nurse:
        upload(nurse, write_wfdb(replace(record, signals_mv=signals), "wild"))
    english.sign_in("reader")
    open_first(page)
    opened(page, "canvas[data-drawn]")
    page.locator("input[name=layout][value='12x1']").check(force=True)
    expect(page.locator("#trace")).to_have_attribute("data-off-leads", "V1")


@pytest.mark.parametrize("condition", ["vt", "inferior_stemi", "lbbb"])
def test_a_report_is_written_and_signed_without_scrolling(seen: Watched, condition: str) -> None:
    page = seen.page
    with seen.web.signed_in("nurse") as nurse:
        upload(nurse, wfdb(condition, 3))
    seen.sign_in("reader")
    open_first(page)
    opened(page, "canvas[data-drawn]")
    check(page)
    for part in ("#text", "#sign"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 768, part


def test_a_limit_that_a_bundle_branch_block_kept_from_being_judged_is_in_sight(english: Watched) -> None:
    page = english.page
    with english.web.signed_in("nurse") as nurse:
        upload(nurse, wfdb("lbbb", 1))
    english.sign_in("reader")
    open_first(page)
    words = "ST elevation, anterior: limit reached, not judged because: left bundle branch block"
    expect(page.locator(".reached")).to_contain_text(words)
    expect(page.locator(".reached")).to_be_in_viewport()
    page.locator(".not-judged summary").press("Enter")
    expect(page.locator(".not-judged")).to_contain_text("left bundle branch block: long QTc; ST elevation, inferior")


def test_keys_move_find_and_help(english: Watched) -> None:
    page = english.page
    with english.web.signed_in("nurse") as nurse:
        for n, name in enumerate(("First^A", "Second^B", "Third^C")):
            upload(nurse, {"a": named_ecg(name, patient_id=str(n), seed=n)})
            english.web.services.clock.advance(1)  # type: ignore[attr-defined]
    english.sign_in("reader")
    links = page.locator("a.open")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(links.nth(2)).to_be_focused()
    page.keyboard.press("k")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("third")
    expect(page.locator("tr[data-case]:visible")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(links.nth(2)).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()


def test_newcomers_are_told_and_no_row_moves(english: Watched, clock: Clock) -> None:
    page = english.page
    with english.web.signed_in("nurse") as nurse:
        upload(nurse, {"a": named_ecg("First^A", seed=1)})
        english.sign_in("reader")
        page.wait_for_load_state("load")  # rows stand where they stay once the styles are there
        before = page.locator("tr[data-case]").evaluate_all(ROWS)
        clock.advance(2)
        upload(nurse, {"a": named_ecg("Second^B", "2", seed=2)}, urgent=True)
    expect(page.locator("#new")).to_have_text("1 new, 1 urgent – show", timeout=15_000)
    assert page.locator("tr[data-case]").evaluate_all(ROWS) == before
    expect(page.locator("#count-urgent")).to_have_text("1")
    clock.advance(61)
    expect(page.locator("#alarm")).to_be_visible(timeout=15_000)
    expect(page.locator("#alarm-text")).to_contain_text("Village Clinic")
    expect(page.locator("#alarm [role=alert]")).to_contain_text("Village Clinic")
    assert page.locator("tr[data-case]").evaluate_all(ROWS) == before
    page.keyboard.press("r")
    expect(page.locator("tr[data-case]")).to_have_count(2)
    page.locator("#alarm-open").click()
    expect(page.locator(".who-strip")).to_contain_text("Second B")
    expect(page.locator("#alarm")).to_be_hidden()  # it is this case that is open


def test_the_receipt_follows_the_report(english: Watched, clock: Clock) -> None:
    page = english.page
    with english.web.signed_in("nurse") as nurse, english.web.signed_in("reader") as reader:
        receipt = upload(nurse, {"a": named_ecg("A")}).json()["receipt"]
        english.sign_in("nurse")
        page.goto(f"{english.web.address}/receipts/{receipt}")
        expect(page.locator(".state-now")).to_have_text("in the queue, position 1")
        with english.web.services.catalogue.read() as conn:
            (item,) = list_items(conn)
        post_report(reader, f"/cases/{item.case_id}", {"text": "Sinus rhythm."})
        expect(page.locator(".state-now")).to_have_text("report received", timeout=25_000)

        clock.advance(5)
        sweep_web(english.web.services)
        expect(page.locator(".report-text")).to_contain_text("Sinus rhythm.", timeout=25_000)


def test_long_recordings_are_turned_page_by_page(english: Watched) -> None:
    page = english.page
    record, _truth = simulate("normal", 7, duration_s=25)
    with english.web.signed_in("nurse") as nurse:
        upload(nurse, write_wfdb(record, "long"))
    english.sign_in("reader")
    open_first(page)
    opened(page, "canvas[data-drawn]")
    expect(page.locator("#span")).to_have_text("0–10 s / 25 s")
    page.locator("#later").press("Enter")
    expect(page.locator("#span")).to_have_text("10–20 s / 25 s")
    page.locator("#later").press("Enter")
    expect(page.locator("#span")).to_have_text("15–25 s / 25 s")
    assert page.evaluate(INK)["dark"] > 3000


def test_the_trace_stands_out_on_dark_paper(chromium: Browser, web: Web) -> None:
    with web.signed_in("nurse") as nurse:
        upload(nurse, wfdb())
    with watched(chromium, web, "en", scheme="dark") as dark:
        dark.sign_in("reader")
        open_first(dark.page)
        opened(dark.page, "canvas[data-drawn]")
        paper, bright = dark.page.evaluate(DARK_INK)
        assert paper > 100_000
        assert bright > 3000


def test_an_unreadable_case_is_closed_by_a_report(english: Watched) -> None:
    page = english.page
    with english.web.signed_in("nurse") as nurse:
        upload(nurse, {"a": BROKEN_DICOM})
    give_pin(english.web.services)
    english.sign_in("reader")
    open_first(page)
    page.locator("#text").fill("Unreadable; the clinic was called and records again.")
    page.wait_for_load_state("load")  # before, a press signs without the dialog, and is told that the PIN is missing
    page.locator("#sign").press("Enter")
    page.locator("#pin").fill(PIN)
    page.keyboard.press("Enter")
    expect(page.locator(".report-text")).to_contain_text("Unreadable")
    page.locator("nav a").first.press("Enter")
    expect(page.locator(".empty")).to_be_visible()


def test_images_are_leafed_through_by_keyboard(seen: Watched) -> None:
    page = seen.page
    source = get_testdata_file("CT_small.dcm")
    assert isinstance(source, str)
    with seen.web.signed_in("nurse") as nurse:
        assert upload(nurse, {"a": Path(source).read_bytes()}).status_code == 201
    seen.sign_in("reader")
    open_first(page)
    opened(page, "#stage img")
    check(page)
    assert page.locator("#stage img").evaluate("i => i.decode().then(() => i.naturalWidth)") > 0
    expect(page.locator("form[action$=report]")).to_have_count(0)
    page.locator("#window").select_option("lung")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#stage img")).to_have_attribute("src", re.compile("window=lung"))


def test_what_could_not_be_read_and_the_engineers_page(seen: Watched) -> None:
    page = seen.page
    with seen.web.signed_in("nurse") as nurse:
        receipt = upload(nurse, {"a": BROKEN_DICOM}).json()["receipt"]
    seen.sign_in("nurse")
    page.goto(f"{seen.web.address}/receipts/{receipt}")
    check(page)
    seen.context.clear_cookies()
    seen.sign_in("reader")
    open_first(page)
    opened(page, ".not-analysed")
    check(page)
    with page.expect_download() as download:
        page.locator("a[download]").click()
    assert Path(download.value.path()).read_bytes() == BROKEN_DICOM
    seen.context.clear_cookies()
    seen.sign_in("engineer")
    check(page)
    page.locator("#quarantine button").press("Enter")
    expect(page.locator("#quarantine tbody tr")).to_have_count(1)


def test_language_switch_changes_the_page_and_stays(english: Watched) -> None:
    page = english.page
    english.sign_in("reader")
    expect(page.locator("h1")).to_have_text("Worklist")
    page.locator("button[name=language]").click()
    expect(page.locator("h1")).to_have_text("待阅列表")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.reload()
    expect(page.locator("h1")).to_have_text("待阅列表")


def test_the_caption_says_which_seconds_are_in_view(english: Watched) -> None:
    page = english.page
    with english.web.signed_in("nurse") as nurse:
        upload(nurse, wfdb())
    english.sign_in("reader")
    open_first(page)
    opened(page, "canvas[data-drawn]")
    expect(page.locator("#scale")).to_have_text("25 mm/s · 10 mm/mV · 0–10 s")
    page.locator("input[name=speed][value='50']").check(force=True)
    caption = re.compile(r"seconds (\d+\.\d)–(\d+\.\d) of 0–10 s in view")
    expect(page.locator("#scale")).to_contain_text(caption)
    first = caption.search(page.locator("#scale").inner_text())
    assert first is not None
    assert float(first[1]) == 0.0
    assert 4.0 < float(first[2]) < 6.0
    page.locator("#paper").evaluate("p => { p.scrollLeft = p.scrollWidth }")
    expect(page.locator("#scale")).to_contain_text("–10.0 of 0–10 s in view")
    last = caption.search(page.locator("#scale").inner_text())
    assert last is not None
    assert 4.0 < float(last[1]) < 6.0


COVERED = """(selector) => { const part = document.querySelector(selector); part.scrollIntoView({block: 'end'});
  return part.getBoundingClientRect().bottom > document.getElementById('alarm').getBoundingClientRect().top; }"""


@pytest.mark.parametrize("kind", ["ecg", "image"])
def test_the_red_banner_hides_neither_sign_nor_image(seen: Watched, clock: Clock, kind: str) -> None:
    page = seen.page
    source = get_testdata_file("CT_small.dcm")
    assert isinstance(source, str)
    with seen.web.signed_in("nurse") as nurse:
        upload(nurse, {"a": named_ecg("First^A") if kind == "ecg" else Path(source).read_bytes()})
        seen.sign_in("reader")
        open_first(page)
        page.locator(".who-strip").wait_for()
        upload(nurse, {"a": named_ecg("Second^B", "2", seed=2)}, urgent=True)
    clock.advance(61)
    expect(page.locator("#alarm")).to_be_visible(timeout=15_000)
    for part in ("#sign",) if kind == "ecg" else ("#slide", "#stage"):
        assert not page.evaluate(COVERED, part), part
    if kind == "image":  # without any scrolling
        page.evaluate("scrollTo(0, 0)")
        slide, alarm = page.locator("#slide").bounding_box(), page.locator("#alarm").bounding_box()
        assert slide is not None
        assert alarm is not None
        assert slide["y"] + slide["height"] <= alarm["y"]

"""The ECG page in Chromium: true to scale, by keyboard, and nothing of one case in the next."""

from __future__ import annotations

import io
import json
import re
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from teleread.ingest.formats import write_wfdb
from teleread.reading import claims, flag_verdicts, worklist
from teleread.reading.tracing import Tracings
from teleread.reading_room import ALL
from teleread.signal.ecg import simulate
from teleread.signal.ecg.axes import axes
from teleread.signal.ecg.intervals import QTC
from teleread.signal.ecg.sheet_layout import ORDERS
from teleread.storage.catalogue.schema import audit_events
from teleread.web.api.tracing import keys_of
from tests.ecgs import ecg
from tests.ui import axe
from tests.ui.chromium import LANGUAGES, Watched, check, opened, picture, watched
from tests.ui.live import Web, upload, wfdb

pytestmark = pytest.mark.peers

HALF_A_PIXEL = 0.5
ROUNDING = 0.06  # of finding a line's middle in pixels of 256 shades


def send(web: Web, files: dict[str, bytes], *, urgent: bool = False) -> str:
    """The case of what is sent."""
    with web.signed_in("nurse") as nurse:
        receipt = upload(nurse, files, urgent=urgent).json()["receipt"]
    with web.services.catalogue.read() as conn:
        return next(one.case_id for one in worklist.list_items(conn) if one.receipt == receipt)


def calibration() -> dict[str, bytes]:
    """Twelve leads with a step of 1 mV for 1 s in each 2.5 s, and microvolts of noise, so that no level is a fault."""
    record, _truth = simulate("normal", 1, noise=0.0)
    t = np.arange(record.signals_mv.shape[1]) / record.fs_hz
    x = np.where((t % 2.5 >= 1.0) & (t % 2.5 < 2.0), 1.0, 0.0)
    x = x + 0.002 * np.random.default_rng(1).normal(size=(len(record.leads), x.size))
    return write_wfdb(replace(record, signals_mv=x), "step")


def show(page: Page, web: Web, case_id: str) -> None:
    page.goto(f"{web.address}/cases/{case_id}")
    opened(page, "#trace[data-drawn]")


def open_case(seen: Watched, case_id: str) -> Page:
    seen.sign_in("reader")
    show(seen.page, seen.web, case_id)
    return seen.page


def handle(page: Page, name: str) -> Any:
    return page.get_by_role("slider", name=name, exact=True)


def measured(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.locator("#measurements").get_attribute("data-json") or "{}")
    return found


# --- true to scale

PIXELS = """() => { const c = document.getElementById('trace'); return c.toDataURL('image/png').slice(22); }"""


def pixels(page: Page) -> np.ndarray:
    """The canvas's own device pixels, (height, width, 3)."""
    import base64

    data = base64.b64decode(page.evaluate(PIXELS))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.float64)


def middles(profile: np.ndarray, least: float) -> np.ndarray:
    """The middles of the dark runs of a brightness profile, weighted by their darkness, in pixels."""
    depth = np.clip(profile.max() - profile, 0.0, None)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (depth > least).astype(int), [0]))))
    runs = zip(edges[::2], edges[1::2], strict=True)
    return np.array([np.average(np.arange(a, b) + 0.5, weights=depth[a:b]) for a, b in runs])


@pytest.mark.parametrize("dpr", [1.0, 1.25, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("px_per_mm", [None, 4.37])
def test_a_millivolt_is_ten_millimetres_and_a_second_twenty_five(
    chromium: Browser, web: Web, dpr: float, px_per_mm: float | None
) -> None:
    case = send(web, calibration())
    with web.signed_in("reader") as client:
        cookies = [{"name": name, "value": value, "url": web.address} for name, value in client.cookies.items()]
    context = chromium.new_context(viewport={"width": 1500, "height": 900}, device_scale_factor=dpr, locale="en-GB")
    try:
        context.add_cookies(cookies)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{web.address}/worklist")
        if px_per_mm is not None:
            kept = "JSON.stringify({physical: px * devicePixelRatio, screen: `${Math.round(screen.width * "
            kept += "devicePixelRatio)}x${Math.round(screen.height * devicePixelRatio)}`})"
            page.evaluate(f"px => localStorage.setItem('teleread.screen', {kept})", px_per_mm)
        show(page, web, case)
        page.keyboard.press("f")
        expect(page.locator("#trace")).to_have_attribute("data-view", "raw")
        image, mm = pixels(page), (px_per_mm or 96 / 25.4) * dpr
        on_screen = page.locator("#trace").bounding_box()
        assert on_screen is not None
        assert on_screen["width"] * dpr == pytest.approx(image.shape[1], abs=0.05)  # one pixel is one pixel
        check_grid(image, mm)
        check_step(image, mm)
    finally:
        context.close()


def check_grid(image: np.ndarray, mm: float) -> None:
    """Every strong line stands within half a pixel of a multiple of 5 mm."""
    green = image[:, :, 1]
    # a column and a row without any ink: before the first pulse, and above the first trace
    before = green[:, round(0.3 * mm) : round(0.7 * mm)].max(axis=1)
    above = green[round(1.3 * mm) : round(1.7 * mm), :].max(axis=0)
    for profile in (before, above):
        strong = np.percentile(profile, 2)
        found = middles(np.maximum(profile, strong), least=(profile.max() - strong) * 0.55)
        found = found[(found > 2 * mm) & (found < profile.size - 2 * mm)]  # at the edge half a line is cut off
        nearest = np.round(found / (5 * mm)) * 5 * mm
        assert found.size >= profile.size / (5 * mm) - 2
        assert np.abs(found - nearest).max() <= HALF_A_PIXEL + ROUNDING


def check_step(image: np.ndarray, mm: float) -> None:
    """The rhythm strip's steps: 10 mm high, 25 mm long, and each where its time says."""
    base = 5.0 + 3.55 * 25.0  # of the rhythm strip, in mm from the top
    levels = []
    for seconds in (4.0, 6.5):  # in the middle of a step, and behind it; the lead's name is farther to the left
        for at, wanted in ((seconds, base - 10.0), (seconds + 1.25, base)):
            first, column = round((wanted - 3.0) * mm), round((10.0 + at * 25.0) * mm)
            band = image[first : round((wanted + 3.0) * mm), column - 30 : column + 30, 0].mean(axis=1)
            (level,) = middles(np.minimum(band, 225.0), least=30.0)  # the grid is redder than that
            levels.append(level + first - wanted * mm)
    assert np.abs(levels).max() <= HALF_A_PIXEL + ROUNDING
    row = slice(round((base - 4.0) * mm), round((base - 2.0) * mm))
    red = image[row, round(30.0 * mm) : round(256.0 * mm), 0].mean(axis=0)
    runs = middles(np.minimum(red, 225.0), least=30.0)
    edges = runs / mm + round(30.0 * mm) / mm
    # a flank lies between the last low and the first high sample
    flanks = np.array(
        [10.0 + 25.0 * (at - 0.5 / 500.0) for start in (0.0, 2.5, 5.0, 7.5) for at in (start + 1, start + 2)]
    )
    assert edges.size == flanks.size
    assert np.abs(edges - flanks).max() * mm <= HALF_A_PIXEL + ROUNDING


def test_the_measure_of_scale_sees_a_pixel_too_much() -> None:
    """The broken twin: a grid whose millimetre is a two-hundredth too long."""
    image = np.full((400, 1100, 3), 250.0)
    for n in range(0, 1100, 1):
        if abs(n / (3.78 * 1.005) / 5 - round(n / (3.78 * 1.005) / 5)) * 5 * 3.78 < 0.5:
            image[:, n] = 160.0
            if n < 400:
                image[n, :] = 160.0
    with pytest.raises(AssertionError):
        check_grid(image, 3.78)


def test_the_browser_prints_true_millimetres(english: Watched) -> None:
    page = open_case(english, send(english.web, calibration()))
    width = print_width_mm(page.pdf(prefer_css_page_size=True, print_background=True))
    assert width == pytest.approx([260.0], abs=0.1)
    page.keyboard.press("s")
    expect(page.locator("#scale")).to_contain_text("50 mm/s")
    # two pages, each a window on one long strip
    assert print_width_mm(page.pdf(prefer_css_page_size=True)) == pytest.approx([510.0, 510.0], abs=0.1)


def print_width_mm(data: bytes) -> list[float]:
    """Widths of the large pictures of a PDF, in mm, from its content streams."""
    found = []
    for raw in re.findall(rb"stream\r?\n(.*?)endstream", data, re.S):
        try:
            text = zlib.decompress(raw).decode("latin-1")
        except zlib.error:
            continue
        stack, matrix, numbers = [], np.eye(3), []
        for token in text.split():
            try:
                numbers.append(float(token))
                continue
            except ValueError:
                pass
            if token == "cm" and len(numbers) >= 6:
                a, b, c, d, e, f = numbers[-6:]
                matrix = np.array([[a, b, 0], [c, d, 0], [e, f, 1]]) @ matrix
            elif token == "q":
                stack.append(matrix)
            elif token == "Q" and stack:
                matrix = stack.pop()
            elif token == "Do" and abs(matrix[0, 0]) * 25.4 / 72 > 100:
                found.append(abs(matrix[0, 0]) * 25.4 / 72)
            numbers = []
    return found


# --- keys


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_everything_is_done_by_keyboard_and_breaks_no_rule(chromium: Browser, web: Web, language: str) -> None:
    send(web, {"a": ecg(patient_id="7", at="20251101100000", seed=1)})
    case = send(web, {"b": ecg(patient_id="7", at="20261101100000", seed=2)}, urgent=True)
    with watched(chromium, web, language) as seen:
        page = open_case(seen, case)
        trace, keyboard = page.locator("#trace"), page.keyboard
        expect(trace).to_have_attribute("data-view", "diagnostic")
        expect(page.locator("#screen-words")).to_be_visible()
        look_at(page, "ecg")
        for view, key in (("raw", "f"), ("diagnostic", "f"), ("monitor", "b")):
            keyboard.press(key)
            expect(trace).to_have_attribute("data-view", view)
        expect(page.locator("#st-words")).to_be_visible()
        keyboard.press("f")
        keyboard.press("f")
        expect(trace).to_have_attribute("data-view", "monitor")  # the filter that was left
        keyboard.press("k")
        expect(handle(page, "时间1" if language == "zh" else "time 1")).to_be_focused()
        look_at(page, "ecg-calipers")
        keyboard.press("Escape")
        expect(page.get_by_role("slider")).to_have_count(0)
        keyboard.press("m")
        expect(page.locator("#beat")).to_be_visible()
        look_at(page, "ecg-beat")
        keyboard.press("Escape")
        expect(trace).to_be_visible()
        expect(page.locator("#earlier-panel li").first).not_to_be_empty()
        keyboard.press("h")
        expect(page.locator("#trace-earlier")).to_be_visible()
        look_at(page, "ecg-earlier")
        keyboard.press("h")
        expect(page.locator("#beat-earlier")).to_contain_text("2025-11-01")
        look_at(page, "ecg-over")
        keyboard.press("h")
        keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        look_at(page, "ecg-keys")
        keyboard.press("Escape")
        expect(page.locator("#help")).to_be_hidden()
        page.locator("#screen-open").press("Enter")
        look_at(page, "ecg-screen")


def look_at(page: Page, name: str) -> None:
    picture(page, name)
    check(page)
    assert axe.violations(page) == []


def test_calipers_measure_step_by_step_and_march_out(english: Watched) -> None:
    page = open_case(english, send(english.web, wfdb("normal", 2)))
    values = page.locator("#caliper-values")
    page.keyboard.press("k")
    first, second = handle(page, "time 1"), handle(page, "time 2")
    assert values.get_attribute("aria-live") == "polite"
    at = [int(one.get_attribute("aria-valuenow") or 0) for one in (first, second)]
    assert f"{(at[1] - at[0]) * 2} ms" in values.inner_text()  # from R to R at 500 Hz
    page.keyboard.press("ArrowLeft")
    expect(values).to_contain_text(f"{(at[1] - at[0] + 1) * 2} ms")
    page.keyboard.press("Shift+ArrowRight")
    expect(values).to_contain_text(f"{(at[1] - at[0] - 9) * 2} ms")
    page.keyboard.press("Tab")
    expect(second).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(handle(page, "height 2")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(values).to_contain_text("1.01 mV")
    page.keyboard.press("e")
    expect(values).to_contain_text("marched out")
    box = page.locator("#sheet").bounding_box()
    assert box is not None
    mm = 96 / 25.4
    page.mouse.click(box["x"] + 35.0 * mm, box["y"] + 40.0 * mm)
    page.mouse.click(box["x"] + 60.0 * mm, box["y"] + 45.0 * mm)
    found = re.search(r"(\d+) ms marched out · \d+/min · (-\d\.\d\d) mV", values.inner_text())
    assert found is not None
    assert float(found[1]) == pytest.approx(1000.0, abs=12.0)  # a mouse points to a pixel
    assert float(found[2]) == pytest.approx(-0.5, abs=0.03)
    page.keyboard.press("Escape")
    expect(values).to_be_hidden()
    assert page.url.endswith(page.locator("#case").get_attribute("data-case") or "-")  # still here


def test_moved_marks_change_the_intervals_and_the_report_hears_of_it(english: Watched) -> None:
    case = send(english.web, wfdb("normal", 2))
    page = open_case(english, case)
    expect(page.locator("#beat")).to_have_attribute("data-beats", re.compile(r"\d+"))
    before = measured(page)
    assert {one["by"] for one in before.values()} == {"program"}
    page.evaluate("addEventListener('measurements-changed', e => { window.heard = e.detail.qt_ms; })")
    page.keyboard.press("m")
    t_off = handle(page, "T off")
    t_off.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    later = measured(page)
    assert later["qt_ms"]["by"] == later["qtc_ms"]["by"] == "reader"
    assert later["pr_ms"] == before["pr_ms"]
    moved = later["qt_ms"]["value"] - from_marks(english.web, case)["qt_ms"]
    assert moved == pytest.approx(10.0, abs=0.11)
    assert page.evaluate("window.heard") == later["qt_ms"]
    cell = page.locator(".measured [data-measure=qt_ms]")
    expect(cell).to_have_text(re.compile(rf"{round(later['qt_ms']['value'])} ms · by reader"))
    expect(page.locator(".shown [data-measure=qt_ms]")).to_contain_text("by reader")  # the table in words
    page.keyboard.press("Escape")
    page.locator("#formula").select_option("hodges")
    rr = before["rr_mean_ms"]["value"]
    hodges = measured(page)["qtc_ms"]
    assert hodges["method"] == "hodges"
    assert hodges["value"] == pytest.approx(QTC["qtc_hodges_ms"](later["qt_ms"]["value"], rr), abs=0.06)
    expect(page.locator("[data-formula]")).to_have_text("(Hodges)")
    page.keyboard.press("m")
    handle(page, "P on").press("Delete")
    assert "pr_ms" not in measured(page)
    expect(page.locator(".measured [data-measure=pr_ms]")).to_have_text("–")
    page.locator("#beat-reset").press("Enter")
    after = measured(page)
    assert {name: one for name, one in after.items() if name != "qtc_ms"} == {
        name: one for name, one in before.items() if name != "qtc_ms"
    }


def from_marks(web: Web, case: str) -> dict[str, float]:
    with web.services.catalogue.read() as conn:
        beat = Tracings(web.services.store).beat(keys_of(conn, case), 0)
    assert beat is not None
    marks, ms = beat["marks"], 1000.0 / beat["fs_hz"]
    return {"qt_ms": (marks["t_off"] - marks["qrs_on"]) * ms, "pr_ms": (marks["qrs_on"] - marks["p_on"]) * ms}


MEASURE = """async ([beat, marks, rr]) => (await import('/static/js/ecg-intervals.js')).measure(beat, marks, rr)"""
ARRANGE = """async (order) => { const m = await import('/static/js/ecg-layout.js');
  const set = {name: '3x4', order, rhythm: 'V1', speed: 25, gain: 10};
  return m.arrange(set, m.TWELVE, 0, 10).cells.map(c => [c.lead, c.sign, c.label, c.from, c.to, c.x]); }"""


@pytest.mark.parametrize("condition", ["normal", "lbbb", "left_axis", "inferior_stemi", "av_block_1", "af"])
def test_formulas_on_the_page_are_those_of_the_core(english: Watched, condition: str) -> None:
    case = send(english.web, wfdb(condition, 4))
    page = open_case(english, case)
    tracings = Tracings(english.web.services.store)
    with english.web.services.catalogue.read() as conn:
        keys = keys_of(conn, case)
    beat = tracings.beat(keys, 0)
    found = page.evaluate(MEASURE, [beat, beat["marks"] if beat else {}, 871.0])
    for name, correct in QTC.items():
        assert found[name] == pytest.approx(correct(found["qt_ms"], 871.0), abs=0.06)
    usual = tracings.median(keys, (0, 5000))
    assert usual is not None
    assert found["qrs_axis_deg"] == pytest.approx(axes(usual)["qrs_axis_deg"].value, abs=0.5)
    assert ("pr_ms" in found) == (condition != "af")


def test_cabrera_turns_avr_round_here_and_in_print(english: Watched) -> None:
    page = open_case(english, send(english.web, wfdb()))
    page.keyboard.press("o")
    expect(page.locator("#pdf")).to_have_attribute("href", re.compile("order=cabrera"))
    cells = page.evaluate(ARRANGE, "cabrera")
    assert [(lead, sign) for lead, sign, *_rest in cells[:12]] == list(ORDERS["cabrera"])
    assert [label for _l, _s, label, *_rest in cells[:3]] == ["aVL", "I", "−aVR"]
    assert cells[12][:2] == ["V1", 1]
    assert [cell[3:] for cell in cells[:12]] == [
        [2.5 * (n // 3), 2.5 * (n // 3 + 1), 10 + 62.5 * (n // 3)] for n in range(12)
    ]
    assert [(lead, sign) for lead, sign, *_rest in page.evaluate(ARRANGE, "standard")[:12]] == list(ORDERS["standard"])


# --- flags, faults, and what stays


def test_one_key_rejects_a_flag_and_takes_that_back(english: Watched) -> None:
    web, case = english.web, send(english.web, wfdb("inferior_stemi", 3))
    page = open_case(english, case)
    page.keyboard.press("x")
    expect(page.locator("#flag-said")).to_contain_text("Take the case first")
    claim = claimed(web, case)
    page.evaluate("c => Object.assign(document.getElementById('case').dataset, c)", vars_of(claim))
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("x")
    first = page.locator("li[data-flag]").first
    expect(first).to_have_class(re.compile("is-rejected"))
    expect(page.locator("#flag-said")).to_contain_text("Rejected")
    with web.services.catalogue.read() as conn:
        assert {one.verdict for one in flag_verdicts.of_case(conn, case).values()} == {"rejected"}
    page.keyboard.press("x")
    expect(first).not_to_have_class(re.compile("is-rejected"))
    page.locator(".flags summary").press("Enter")
    evidence = page.locator(".evidence")
    expect(evidence).to_contain_text("II 0.2, aVF 0.28, III 0.37 mV")
    expect(evidence).to_contain_text("Fourth Universal Definition of Myocardial Infarction (2018), doi:10.1161")


def test_a_further_key_says_why_a_flag_is_rejected_and_none_is_needed(english: Watched) -> None:
    web, case = english.web, send(english.web, wfdb("inferior_stemi", 3))
    claim = claimed(web, case)
    page = open_case(english, case)
    page.evaluate("c => Object.assign(document.getElementById('case').dataset, c)", vars_of(claim))
    page.keyboard.press("1")  # of nothing
    page.keyboard.press("x")
    first, why = page.locator("li[data-flag]").first, page.locator("#flag-why")
    expect(first).to_have_class(re.compile("is-rejected"))
    expect(why).to_be_visible()
    with web.services.catalogue.read() as conn:
        assert {one.reason for one in flag_verdicts.of_case(conn, case).values()} == {None}
    page.keyboard.press("x")
    expect(why).to_be_hidden()
    page.keyboard.type("x2")  # as fast as that
    expect(first.locator(".verdict")).to_have_text("rejected · measured wrongly")
    expect(why).to_be_hidden()
    with web.services.catalogue.read() as conn:
        assert {one.reason for one in flag_verdicts.of_case(conn, case).values()} == {"misread"}
        told = conn.scalars(select(audit_events.c.detail).where(audit_events.c.action == "flag_verdict")).all()
    assert "misread" in str(told[-1])
    show(page, web, case)
    expect(first.locator(".verdict")).to_have_text("rejected · measured wrongly")


def claimed(web: Web, case: str) -> claims.Claim:
    with web.services.catalogue.write() as conn:
        return claims.claim_case(conn, case, claims.Reach("reader", (ALL,)), web.services.clock())


def vars_of(claim: claims.Claim) -> dict[str, str]:
    return {"item": claim.item_id, "fence": str(claim.fence)}


def test_a_noisy_lead_is_grey_and_says_why(english: Watched) -> None:
    record, _truth = simulate("normal", 5)
    signals = np.array(record.signals_mv)
    signals[7] = 0.0
    page = open_case(english, send(english.web, write_wfdb(replace(record, signals_mv=signals), "dead")))
    assert json.loads(page.locator("#trace").get_attribute("data-doubtful") or "{}") == {"V2": "no signal (flat line)"}
    expect(page.locator(".shown")).to_contain_text("V2: no signal (flat line)")


def test_nothing_of_one_case_survives_into_the_next(english: Watched) -> None:
    web = english.web
    one, other = send(web, wfdb("inferior_stemi", 3)), send(web, wfdb("normal", 4))
    page = open_case(english, one)
    page.keyboard.press("m")
    handle(page, "T off").press("Shift+ArrowRight")
    for key in ("Escape", "k", "e", "l", "o", "f", "s", "g"):
        page.keyboard.press(key)
    kept = page.evaluate("() => Object.fromEntries(Object.entries(localStorage))")
    assert set(kept) == {"teleread.ecg"}
    assert set(json.loads(kept["teleread.ecg"])) == {"layout", "order", "rhythm", "formula"}
    show(page, web, other)
    expect(page.locator("#trace")).to_have_attribute("data-view", "diagnostic")
    expect(page.locator("#scale")).to_have_text("25 mm/s · 10 mm/mV · 0–10 s")
    expect(page.locator("input[name=layout][value='6x2']")).to_be_checked()  # taste stays
    expect(page.locator("#caliper-values")).to_be_hidden()
    assert {value["by"] for value in measured(page).values()} == {"program"}
    with web.signed_in("reader") as client:
        receipt = client.get(f"/cases/{one}").text.partition("ECG ")[2][:14]
    assert receipt not in page.content()


def test_the_screen_is_calibrated_with_a_card_and_keys(english: Watched) -> None:
    page = open_case(english, send(english.web, calibration()))
    expect(page.locator("#screen-words")).to_have_text("screen not calibrated")
    page.locator("#screen-open").press("Enter")
    expect(page.locator("#ruler")).to_be_focused()
    page.keyboard.type("4.00")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#ruler")).to_have_value("4.11")
    card = page.locator("#card").bounding_box()
    assert card is not None
    assert (card["width"], card["height"]) == pytest.approx((85.60 * 4.11, 53.98 * 4.11), abs=0.1)
    page.keyboard.press("Enter")
    expect(page.locator("#screen-words")).to_be_hidden()
    page.reload()
    opened(page, "#trace[data-drawn]")
    assert float(page.locator("#trace").get_attribute("data-px-per-mm") or 0) == pytest.approx(4.11)
    page.locator("#screen-open").press("Enter")
    page.locator("#screen-forget").press("Enter")
    expect(page.locator("#screen-words")).to_be_visible()


def test_a_day_is_turned_page_by_page_and_never_loaded_whole(english: Watched) -> None:
    record, _truth = simulate("normal", 7, duration_s=400.0, fs_hz=125.0)
    case = send(english.web, write_wfdb(record, "long"))
    taken: list[int] = []
    english.page.on("response", lambda one: taken.append(len(one.body())) if "/window" in one.url else None)
    page = open_case(english, case)
    page.keyboard.press(".")
    expect(page.locator("#span")).to_have_text("10–20 s / 400 s")
    page.keyboard.press(".")
    expect(page.locator("#scale")).to_contain_text("20–30 s")
    page.keyboard.press(",")
    expect(page.locator("#scale")).to_contain_text("10–20 s")
    assert max(taken) < 12 * 125 * 11 * 2 + 4000

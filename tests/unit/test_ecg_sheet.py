"""The printed sheet is true to a tenth of a millimetre in every format, and says what a reader must know."""

from __future__ import annotations

import io
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from teleread.reading.sheet_files import DPI, pdf_files, png_files, svg_files
from teleread.signal.ecg import STANDARD_LEADS, analyse, simulate
from teleread.signal.ecg.sheet import Scale, draw_sheet
from teleread.signal.ecg.sheet_layout import GRID, LAYOUTS, PAPER_MM
from teleread.signal.ecg.sheet_page import Polyline
from teleread.signal.ecg.sheet_text import sheet_content
from teleread.signal.ecg.sheet_words import word
from tests.unit.sheets import FS, lines, pdf_page, square, texts

TENTH = 0.1


# --- true to scale


def test_a_millivolt_is_ten_millimetres_and_a_second_twenty_five() -> None:
    (page,) = draw_sheet(square())
    (pulse, *_) = lines(page, "pulse")
    assert np.ptp(pulse[:, 1]) == pytest.approx(10.0, abs=1e-9)
    high = pulse[pulse[:, 1] == pulse[:, 1].min()]
    assert np.ptp(high[:, 0]) == pytest.approx(5.0, abs=1e-9)
    rhythm = lines(page, "trace:II")[-1]
    assert np.ptp(rhythm[:, 1]) == pytest.approx(10.0, abs=1e-9)
    rises = rhythm[1:, 0][np.diff(rhythm[:, 1]) < -5]
    assert np.diff(rises) == pytest.approx(2.5 * 25.0, abs=1e-6)


@pytest.mark.parametrize("fs", [100.0, 250.0, 500.0, 977.0, 2000.0])
def test_the_scale_does_not_depend_on_the_sampling_rate(fs: float) -> None:
    (page,) = draw_sheet(square(fs=fs))
    rhythm = lines(page, "trace:II")[-1]
    assert np.ptp(rhythm[:, 0]) == pytest.approx(250.0, abs=25.0 / fs + 1e-6)


def test_another_gain_and_speed_are_drawn_and_printed() -> None:
    (page,) = draw_sheet(square(), scale=Scale(speed=25.0, gain=5.0))
    assert np.ptp(lines(page, "pulse")[0][:, 1]) == pytest.approx(5.0)
    assert any("5 mm/mV" in text for text in texts(page))


def test_an_svg_is_true_to_a_tenth_of_a_millimetre() -> None:
    (data,) = svg_files(draw_sheet(square()))
    root = ElementTree.fromstring(data)
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("297mm", "210mm", "0 0 297 210")
    found = [e for e in root.iter() if e.get("data-name") == "pulse"]
    points = np.array([[float(v) for v in p.split(",")] for p in str(found[0].get("points")).split()])
    assert np.ptp(points[:, 1]) == pytest.approx(10.0, abs=TENTH)
    trace = [e for e in root.iter() if e.get("data-name") == "trace:II"][-1]
    points = np.array([[float(v) for v in p.split(",")] for p in str(trace.get("points")).split()])
    assert np.diff(points[1:, 0][np.diff(points[:, 1]) < -5]) == pytest.approx(62.5, abs=TENTH)


def test_a_pdf_is_true_to_a_tenth_of_a_millimetre_and_holds_no_time() -> None:
    pages = draw_sheet(square())
    (data,) = pdf_files(pages)
    assert data == pdf_files(pages)[0]
    box, found = pdf_page(data)
    assert box == pytest.approx((0.0, 0.0, *PAPER_MM), abs=TENTH)
    pulses = [p for p in found if len(p) == 6]
    assert len(pulses) == 4
    for pulse in pulses:
        assert np.ptp(pulse[:, 1]) == pytest.approx(10.0, abs=TENTH)
    (rhythm,) = [p for p in found if np.ptp(p[:, 0]) > 200 and len(p) > 100]
    assert np.diff(rhythm[1:, 0][np.diff(rhythm[:, 1]) > 5]) == pytest.approx(62.5, abs=TENTH)
    assert rhythm[0] == pytest.approx([GRID[0] + 10.0, PAPER_MM[1] - (GRID[1] + 131.0)], abs=TENTH)


def test_a_png_is_true_to_a_tenth_of_a_millimetre_at_300_dpi() -> None:
    (data,) = png_files(draw_sheet(square()))
    image = Image.open(io.BytesIO(data))
    assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    mm = 25.4 / DPI
    assert np.array(image.size) * mm == pytest.approx(PAPER_MM, abs=TENTH)
    dark = np.asarray(image.convert("L")) < 90
    base, top = GRID[1] + 131.0, GRID[1] + 121.0
    # within the calibration pulse of the last row: the upper edge of its line at 10 mm above the baseline
    column = dark[:, round((GRID[0] + 4.5) / mm)]
    rows = np.flatnonzero(column) * mm
    assert np.min(np.abs(rows - top)) < TENTH
    # the steps of the rhythm strip, half way up: middle of each upright line
    first = round((GRID[0] + 10.0) / mm)
    row = np.diff(dark[round((base + top) / 2 / mm), first:].astype(int))
    edges = (first + 1 + (np.flatnonzero(row == 1) + np.flatnonzero(row == -1)) / 2) * mm
    wanted = [GRID[0] + 10.0 + 25.0 * (2.5 * k + at) for k in range(4) for at in (1.0, 1.4)]
    assert len(edges) == len(wanted)
    assert edges == pytest.approx(wanted, abs=TENTH)


def test_the_grid_has_a_line_each_millimetre_and_a_strong_one_each_five() -> None:
    (page,) = draw_sheet(square())
    thin, strong = page.items[0], page.items[1]
    for lines_, step in ((thin, 1.0), (strong, 5.0)):
        ends = lines_.ends  # type: ignore[union-attr]
        xs = np.unique(ends[ends[:, 0] == ends[:, 2]][:, 0])
        ys = np.unique(ends[ends[:, 1] == ends[:, 3]][:, 1])
        assert np.diff(xs) == pytest.approx(step)
        assert np.diff(ys) == pytest.approx(step)
    left = (lines(page, "trace:II")[-1][0, 0] - GRID[0]) % 5.0
    assert left == pytest.approx(0.0, abs=1e-9)  # traces begin on a strong line


# --- layouts


@pytest.mark.parametrize(
    ("layout", "traces"), [("3x4", 13), ("auto", 13), ("3x4+3", 15), ("6x2", 13), ("12x1", 12)], ids=str
)
def test_layouts_of_twelve_leads(layout: str, traces: int) -> None:
    (page,) = draw_sheet(square(), layout)
    drawn = [i for i in page.items if isinstance(i, Polyline) and i.name.startswith("trace")]
    assert len(drawn) == traces
    assert set(STANDARD_LEADS) <= set(texts(page))
    for item in drawn:
        assert item.points[:, 0].min() >= GRID[0]
        assert item.points[:, 0].max() <= GRID[0] + GRID[2]


def test_columns_show_successive_moments_of_one_recording() -> None:
    ramp = np.tile(np.arange(5000) / 5000.0, (12, 1))
    content = replace(square(), signals_mv=ramp)
    (page,) = draw_sheet(content)
    for k, lead in enumerate(STANDARD_LEADS):
        trace = lines(page, f"trace:{lead}")[0]
        assert len(trace) == 1250
        assert trace[0, 0] == pytest.approx(GRID[0] + 10.0 + 62.5 * (k // 3))


@pytest.mark.parametrize(
    ("leads", "seconds", "pages", "traces"),
    [(1, 30.0, 1, 3), (1, 120.0, 3, 12), (2, 10.0, 1, 2), (3, 60.0, 3, 18), (3, 86400.0 / 40, 12, 72), (5, 10.0, 1, 5)],
)
def test_few_leads_become_strips_to_the_end_of_the_paper(leads: int, seconds: float, pages: int, traces: int) -> None:
    names = ("II", "V1", "V5", "III", "I")[:leads]
    drawn = draw_sheet(square(names, seconds, fs=100.0))
    assert len(drawn) == pages
    assert sum(isinstance(i, Polyline) and i.name != "pulse" for page in drawn for i in page.items) == traces


def test_leads_beyond_twelve_get_a_page_of_their_own() -> None:
    first, second = draw_sheet(square((*STANDARD_LEADS, "V7", "V8", "V9", "V4R")))
    assert "V7" not in texts(first)
    assert [text for text in texts(second) if text in ("V7", "V8", "V9", "V4R")] == ["V7", "V8", "V9", "V4R"]
    assert any("2" in text and "page" in text for text in texts(second))


def test_seven_or_more_odd_leads_share_the_page() -> None:
    pages = draw_sheet(square(tuple(f"E{k}" for k in range(8))))
    assert len(pages) == 2


def test_a_layout_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="twelve"):
        draw_sheet(square(("II",)), "3x4")
    with pytest.raises(ValueError, match="layout"):
        draw_sheet(square(), "4x3")
    assert "auto" in LAYOUTS


def test_a_later_part_of_a_long_recording_is_drawn_and_said() -> None:
    (page,) = draw_sheet(square(seconds=60.0), start_s=20.0)
    assert any("20–30 s of 60.0 s" in text for text in texts(page))
    assert len(lines(page, "trace:II")[-1]) == 5000


# --- what must not be drawn, and what must be said


def test_a_gap_is_not_drawn_over() -> None:
    content = square()
    content.signals_mv[1, 2000:3000] = np.nan
    (page,) = draw_sheet(content)
    first, second, third = lines(page, "trace:II")  # up to the end of its column, then the strip in two pieces
    assert len(first) == 1250
    assert second[-1, 0] == pytest.approx(GRID[0] + 10.0 + 1999 / FS * 25)
    assert third[0, 0] == pytest.approx(GRID[0] + 10.0 + 3000 / FS * 25)


def test_a_lead_without_samples_leaves_its_place_empty() -> None:
    content = square()
    content.signals_mv[6] = np.nan
    (page,) = draw_sheet(content)
    assert lines(page, "trace:V1") == []
    assert "V1" in texts(page)


def test_an_offset_is_taken_off_and_what_lies_off_the_paper_is_said() -> None:
    content = replace(square(), signals_mv=square().signals_mv + 250.0)
    (page,) = draw_sheet(content)
    assert not any("off scale" in text for text in texts(page))
    wild = square()
    wild.signals_mv[8, 2600:2700] = 40.0
    (page,) = draw_sheet(wild)
    assert "off scale" in texts(page)
    assert lines(page, "trace:V3")[0][:, 1].min() == GRID[1]


def test_unconfirmed_scale_filter_and_gain_are_printed() -> None:
    record, _ = simulate("normal", 1)
    for language in ("en", "zh"):
        content = sheet_content(record, analyse(record).to_json(), language=language)
        (page,) = draw_sheet(content)
        said = " ".join(texts(page))
        for wanted in ("25 mm/s", "10 mm/mV", "0.05–150 Hz", "500 Hz", "UNCONFIRMED", word("print", language)):
            assert wanted in said
    assert "未经医师确认" in said

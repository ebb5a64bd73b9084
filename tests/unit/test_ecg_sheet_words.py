"""What the printed sheet says beside the trace: flags, quality, change, and what was not judged."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from teleread.reading.sheet_files import chinese_font, pdf_files, png_files, svg_files
from teleread.signal.ecg import FAULTS, STANDARD_LEADS, EcgRecord, Filters, Patient, analyse, simulate
from teleread.signal.ecg.flag_types import ST_REASONS, Flag, NotJudged
from teleread.signal.ecg.flags import load_profile, profile_names
from teleread.signal.ecg.rhythm import FINDING_CODES, SPAN_CODES
from teleread.signal.ecg.serial import Change
from teleread.signal.ecg.sheet import draw_sheet, wrapped
from teleread.signal.ecg.sheet_layout import SheetContent, Statement
from teleread.signal.ecg.sheet_page import Page, Polyline, Text
from teleread.signal.ecg.sheet_text import change_line, facts, filter_text, flag_line, main_changes, sheet_content
from teleread.signal.ecg.sheet_words import WORDS, word
from tests.unit.sheets import lines, square, texts


def of(record: EcgRecord, **changes: Any) -> SheetContent:
    return sheet_content(record, analyse(record).to_json() | changes)


def test_a_name_is_printed_only_when_asked_for() -> None:
    record, _ = simulate("normal", 1)
    patient = Patient("4711", None, "张示例", None, "M")
    record = replace(record, patient=patient, age_years=58.0, acquired_at=datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC))
    said = " ".join(texts(draw_sheet(of(record))[0]))
    assert "4711" not in said
    assert "张示例" not in said
    assert "male" in said
    assert "58 years" in said
    assert "2026-11-22 03:04:05 UTC" in said
    shown = sheet_content(record, analyse(record).to_json(), identity=True)
    assert {"Name 张示例", "ID 4711"} <= set(shown.person)


NARROW = ({"reason": "filter_narrow"},)


@pytest.mark.parametrize(
    ("band", "skipped", "text", "chinese"),
    [
        (Filters(0.05, 150.0), (), "device filter 0.05–150 Hz", "设备滤波 0.05–150 Hz"),
        (Filters(0.05, 150.0, 50.0), (), "device filter 0.05–150 Hz, 50 Hz", "设备滤波 0.05–150 Hz, 50 Hz"),
        (Filters(0.5, 40.0), NARROW, "device filter 0.5–40 Hz · ST not judged", "设备滤波 0.5–40 Hz · 未判断 ST 段"),
        (
            Filters(0.5, 40.0),
            (),
            "device filter 0.5–40 Hz · ST not judged",
            "设备滤波 0.5–40 Hz · 未判断 ST 段",
        ),
        (
            Filters(0.05, None),
            (),
            "device filter 0.05–? Hz · recorded band unknown: ST not judged",
            "设备滤波 0.05–? Hz · 记录频带不详：未判断 ST 段",
        ),
        (Filters(), (), "recorded band unknown: ST not judged", "记录频带不详：未判断 ST 段"),
        (Filters(), NARROW, "device filter unknown · ST not judged", "设备滤波不详 · 未判断 ST 段"),
    ],
)
def test_st_is_not_judged_where_the_band_is_narrow_or_unknown(
    band: Filters, skipped: Sequence[Any], text: str, chinese: str
) -> None:
    assert filter_text(band, "en", skipped) == text
    assert filter_text(band, "zh", skipped) == chinese


def test_a_critical_st_flag_of_an_unknown_band_says_that_a_limit_was_reached_and_no_more() -> None:
    record = replace(simulate("inferior_stemi", 3)[0], filters=Filters())
    said = [s.text for s in of(record).statements] + texts(draw_sheet(of(record))[0])
    assert any(text.startswith("CRITICAL · ST elevation, inferior") for text in said)
    assert "ST not judged (band)" in "; ".join(said)
    assert any(text.startswith("25 mm/s") and "recorded band unknown: ST not judged" in text for text in said)


def test_a_poor_lead_is_grey_and_says_why() -> None:
    record, _ = simulate("lead_off", 2, lead="V3")
    (page,) = draw_sheet(of(record))
    assert "V3 · flat" in texts(page)
    pens = {i.name: i.pen for i in page.items if isinstance(i, Polyline)}
    assert pens["trace:V3"] == "doubtful"
    assert pens["trace:V2"] == "trace"


def test_one_bad_limb_electrode_greys_every_limb_lead() -> None:
    record, _ = simulate("normal", 2)
    quality = {"acceptable": False, "score": 0.4, "findings": [
        {"lead": "I", "fault": "flat", "remedy": "reattach_electrode", "electrode": "LA"},
        {"lead": "I", "fault": "limb_reversal", "remedy": "check_limb_electrodes", "electrode": "RA-LA"},
    ]}  # fmt: skip
    content = of(record, quality=quality)
    assert set(content.doubtful) == set(STANDARD_LEADS[:6])
    assert content.doubtful["aVF"] == "LA flat"
    assert Statement("limb electrodes swapped? (RA-LA)") in content.statements


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change("st_j_mv", "III", 0.02, 0.31, 0.29, "mV", True), "ST at J III 0.02 → 0.31 mV (+0.29)"),
        (Change("qrs_duration_ms", "global", 92.0, 122.0, 30.0, "ms", True), "QRS 92 → 122 ms (+30)"),
        (Change("rhythm", "global", None, "atrial_fibrillation", None, "", True), "rhythm: atrial fibrillation new"),
        (
            Change("rhythm", "global", "atrial_fibrillation", "sinus_rhythm", None, "", True),
            "rhythm: atrial fibrillation → sinus rhythm",
        ),
        (Change("finding", "global", "lbbb", None, None, "", True), "left bundle branch block gone"),
        (Change("t_inversion", "V2", -0.3, 0.35, 0.65, "mV", True), "T wave V2 -0.30 → 0.35 mV (+0.65)"),
        (Change("q_wave", "V2", None, -0.4, None, "mV", True), "Q wave of infarction V2 new"),
        (Change("q_wave", "V2", -0.4, None, None, "mV", True), "Q wave of infarction V2 gone"),
    ],
)
def test_a_change_is_one_line(change: Change, text: str) -> None:
    assert change_line(change, "en") == text


def test_the_sheet_names_new_findings_first_and_then_the_largest_st_change() -> None:
    changes = [
        Change("qrs_duration_ms", "global", 92.0, 122.0, 30.0, "ms", True),
        Change("st_j_mv", "II", 0.0, 0.1, 0.1, "mV", True),
        Change("st_j_mv", "III", 0.0, -0.3, -0.3, "mV", True),
        Change("pr_ms", "global", 150.0, 152.0, 2.0, "ms", False),
        Change("finding", "global", None, "lbbb", None, "", True),
    ]
    assert main_changes(changes, "en") == [
        "left bundle branch block new",
        "ST at J III -0.30 mV",
        "ST at J II +0.10 mV",
        "QRS +30 ms",
    ]


FLAG = Flag(
    "udmi-2018.inferior", "1", "III", 0.24, 0.1, "order", "st_elevation_inferior", "critical", "mV", 0.9,
    (("II", 0.21), ("III", 0.24)), ("age",), ("filter_unknown",),
)  # fmt: skip


def test_flags_stand_first_with_value_limit_and_what_was_assumed() -> None:
    assert flag_line(FLAG.to_json(), "en") == (
        "ST elevation, inferior: II +0.21, III +0.24 mV (limit 0.10); "
        "unknown: age, most sensitive limit used; ST not judged (band)"
    )
    assert flag_line(FLAG.to_json(), "en", doubts=False).endswith("(limit 0.10)")
    low = replace(FLAG, code="st_depression_posterior", evidence=(("V2", 0.07), ("V2", 0.2)), assumed=(), notes=())
    assert flag_line(low.to_json(), "en") == "ST depression V1–V3, posterior?: V2 0.07 mV (limit 0.10)"
    slow = replace(
        FLAG, code="bradycardia_extreme", unit="bpm", value=31.0, limit=35.0, evidence=(), assumed=(), notes=()
    )
    assert flag_line(replace(slow, lead="global").to_json(), "zh") == "严重心动过缓: 31 /min (界值 35)"
    block = replace(FLAG, code="av_block_3", unit="findings", evidence=(), assumed=(), notes=())
    assert flag_line(block.to_json(), "en") == "Complete AV block"


def test_one_thing_flagged_by_two_rules_is_said_once_and_no_flag_is_not_normal() -> None:
    record, _ = simulate("normal", 1)
    twice = of(record, flags=[FLAG.to_json(), replace(FLAG, rule_id="x.y").to_json()])
    assert sum("inferior" in s.text for s in twice.statements) == 1
    assert twice.statements[0].alert
    assert twice.statements[1].text == "unknown: age, most sensitive limit used; ST not judged (band)"
    assert of(record, flags=[]).statements[0] == Statement("No flag. That does not mean normal.")


def test_critical_and_urgent_are_told_apart_and_a_note_is_not_an_alert() -> None:
    record, _ = simulate("normal", 1)
    flags = [
        replace(FLAG, code=c, severity=s).to_json() for c, s in (("a", "critical"), ("b", "urgent"), ("c", "note"))
    ]
    first, second, third, *_ = of(record, flags=flags).statements
    assert (first.alert, first.strong, first.text.split(" · ")[0]) == (True, True, "CRITICAL")
    assert (second.alert, second.strong, second.text.split(" · ")[0]) == (True, False, "Urgent")
    assert not third.alert
    weights = {
        i.text.split(" · ")[0]: i.bold for i in draw_sheet(of(record, flags=flags))[0].items if isinstance(i, Text)
    }
    assert weights["CRITICAL"]
    assert not weights["Urgent"]


def test_a_rule_that_asks_only_whether_it_is_there_prints_no_limit() -> None:
    there = replace(
        FLAG, code="ventricular_fibrillation", unit="s", value=4.0, limit=0.0, evidence=(), assumed=(), notes=()
    )
    assert flag_line(there.to_json(), "en") == "ventricular fibrillation: 4 s"


@pytest.mark.parametrize("layout", ["3x4", "3x4+3", "6x2", "12x1"])
def test_off_scale_and_the_name_stand_in_their_own_row_and_with_a_halo(layout: str) -> None:
    wild = square()
    wild.signals_mv[8, :] += np.where(np.arange(5000) % 500 < 50, 40.0, 0.0)
    (page,) = draw_sheet(wild, layout)
    written = [item for item in page.items if isinstance(item, Text)]
    bases = sorted({float(i.points[0, 1]) for i in page.items if isinstance(i, Polyline) and i.name == "pulse"})
    (name,) = (item for item in written if item.text == "V3")
    (word_,) = (item for item in written if item.text == "off scale")
    row = min(bases, key=lambda base: abs(base - word_.y))
    (trace,) = lines(page, "trace:V3")
    assert row == min(bases, key=lambda base: abs(base - float(np.median(trace[:, 1]))))
    assert word_.y == name.y
    assert word_.x >= name.x + 4.0
    assert name.halo
    assert word_.halo


def test_a_halo_is_paper_around_the_letters_in_every_format() -> None:
    def ink(halo: bool) -> tuple[int, bytes, bytes]:
        line = Polyline(np.array([[2.0, 9.0], [28.0, 9.0]]), "trace")
        page = Page(30.0, 15.0, (line, Text(5.0, 10.0, "V3", 3.6, bold=True, halo=halo)))
        image = Image.open(io.BytesIO(png_files([page])[0])).convert("L")
        return int((np.asarray(image) < 100).sum()), svg_files([page])[0], pdf_files([page])[0]

    plain, haloed = ink(False), ink(True)
    assert haloed[0] < plain[0]
    outlined, written = re.findall(rb"<text[^>]*>V3</text>", haloed[1])
    assert b'fill="none"' in outlined
    assert b'aria-hidden="true"' in outlined
    assert re.findall(rb"<text[^>]*>V3</text>", plain[1]) == [written]
    assert b"stroke" not in written
    # half of the programs that draw SVG do not know it, and the outline would hide the letters
    assert b"paint-order" not in haloed[1]
    assert haloed[2] != plain[2]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_value_never_runs_into_its_label(language: str) -> None:
    values = {n: {"value": -175.0} for n in ("p_axis_deg", "qrs_axis_deg", "t_axis_deg")}
    values |= {"rr_min_ms": {"value": 1632.0}, "rr_max_ms": {"value": 10662.0}}
    known = tuple(facts(values, language))
    (page,) = draw_sheet(replace(square(), facts=known, language=language))
    written = [item for item in page.items if isinstance(item, Text)]
    for label, value in known:
        (left,) = (item for item in written if item.text == label)
        (right,) = (item for item in written if item.text == value and item.y == left.y and 0 < item.x - left.x < 46)
        ems = sum(1.0 if c >= "\u2e80" else 0.56 for c in label), 0.5 * len(value)
        assert left.x + left.size_mm * ems[0] < right.x - right.size_mm * ems[1]
        assert right.size_mm > 2.2


def test_what_was_not_judged_is_printed() -> None:
    record, _ = simulate("normal", 1)
    skipped = [
        NotJudged("u.inferior", "1", "st_elevation_inferior", "lbbb", None, True),
        NotJudged("u.anterior", "1", "st_elevation_anterior", "lbbb"),
        NotJudged("u.lateral", "1", "st_elevation_lateral", "lead_quality", "V5"),
        NotJudged("u.posterior", "1", "st_elevation_posterior", "lead_missing"),
        NotJudged("u.block", "1", "av_block_3", "uncertain", None, True),
        NotJudged("u.high", "1", "av_block_high_grade", "uncertain"),
    ]
    said = [s.text for s in of(record, not_judged=[item.to_json() for item in skipped]).statements]
    assert "ST not judged: left bundle branch block; limits reached: ST elevation, inferior" in said
    assert "Not judged: V5" in said
    assert "Not judged: not certain enough; limits reached: Complete AV block" in said
    assert not any("High-grade" in text for text in said)
    assert not any("posterior" in text for text in said)


def test_a_dead_recording_says_look_at_the_patient_first() -> None:
    record = EcgRecord(np.zeros((12, 5000)), STANDARD_LEADS, 500.0)
    content = of(record)
    assert content.statements[0] == Statement("LOOK AT THE PATIENT", alert=True)
    assert svg_files(draw_sheet(content))


def test_more_statements_than_fit_are_counted() -> None:
    content = replace(square(), statements=tuple(Statement(f"line {k}") for k in range(9)))
    said = texts(draw_sheet(content)[0])
    assert "line 6" in said
    assert "line 7" not in said
    assert "and 2 more" in said


def test_long_statements_are_wrapped_within_the_paper() -> None:
    english = "ST elevation, inferior: II +0.21, III +0.24 mV (0.10); unknown: age, sex, most sensitive limit used"
    for text, language in ((english, "en"), ("下壁ST段抬高" * 12, "zh")):
        lines_ = wrapped(text, 30.0)
        assert len(lines_) > 1
        assert "".join(lines_).replace(" ", "") == text.replace(" ", "")
        (page,) = draw_sheet(replace(square(), statements=(Statement(text),), language=language))
        assert set(wrapped(text, 107.0 / 3.1)) <= set(texts(page))
    many = draw_sheet(replace(square(), statements=tuple(Statement(english * 2) for _ in range(4))))[0]
    assert any(text.startswith("and ") and text.endswith(" more") for text in texts(many))


def test_what_changed_since_an_earlier_recording_is_printed() -> None:
    record, _ = simulate("normal", 1)
    content = sheet_content(record, analyse(record).to_json(), changes=("QRS +30 ms",))
    assert content.statements[-1].text == "Since the earlier recording: QRS +30 ms"


def test_measurements_that_are_missing_are_a_dash() -> None:
    assert dict(facts({}, "en"))["QRS"] == "–"
    shown = dict(facts({n: {"value": v} for n, v in (("qrs_duration_ms", 92.4), ("qrs_axis_deg", 41.0))}, "en"))
    assert shown["QRS"] == "92 ms"
    assert shown["Axis P/QRS/T"] == "– / 41 / –°"


# --- texts, fonts, safety of the file


def test_every_text_exists_in_both_languages() -> None:
    assert all(english and chinese for english, chinese in WORDS.values())
    codes = {rule.code for name in profile_names() for rule in load_profile(name).rules}
    assert codes | set(FAULTS) | set(SPAN_CODES) | set(FINDING_CODES) | set(ST_REASONS) <= set(WORDS)
    assert word("something_new", "zh") == "something new"


@pytest.mark.parametrize("title", ["1", "12", "n"])
def test_titles_tell_the_leads(title: str) -> None:
    leads = {"1": ("II",), "12": STANDARD_LEADS, "n": ("II", "V1")}[title]
    record = EcgRecord(np.zeros((len(leads), 1000)), leads, 100.0)
    assert of(record).title == word(f"title_{title}", "en", n=len(leads))


def test_text_cannot_break_out_of_the_svg() -> None:
    content = replace(square(), person=('</text><script>alert("1")</script>\x00\x1b',))
    (data,) = svg_files(draw_sheet(content))
    root = ElementTree.fromstring(data)
    assert not [e for e in root.iter() if e.tag.endswith("script")]


def test_chinese_is_set_in_pdf_and_png() -> None:
    content = replace(square(), title="十二导联心电图 ECG ≥ 0.1", language="zh")
    pages = draw_sheet(content)
    assert b"STSong-Light" in pdf_files(pages)[0]
    if chinese_font() is None:
        pytest.skip("no Chinese font on this machine")
    assert png_files(pages) == png_files(pages)


def test_a_png_can_be_drawn_without_any_font_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleread.reading.sheet_files._CHINESE_FONTS", (("there-is-none.ttf", "none.ttf"),))
    chinese_font.cache_clear()
    assert chinese_font() is None
    assert len(png_files(draw_sheet(square(("II",))))) == 1
    chinese_font.cache_clear()

"""``teleread ecg``: a table for people, JSON for programs, and a sheet true to scale."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from teleread.cli import main
from teleread.cli.ecg import _LAYOUTS
from teleread.cli.ecg_report import _rhythm, finding_text
from teleread.cli.ecg_summary import WIDTH, summary
from teleread.ingest.formats import write_wfdb
from teleread.signal.ecg import REMEDIES, EcgRecord, Patient, simulate
from teleread.signal.ecg.sheet_layout import LAYOUTS
from teleread.signal.ecg.sheet_words import WORDS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = int(str(stopped.code))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def stored(folder: Path, name: str, condition: str = "inferior_stemi", seed: int = 3, **changes: Any) -> Path:
    record, _ = simulate(condition, seed, **changes)
    return written(folder, name, record)


def written(folder: Path, name: str, record: EcgRecord) -> Path:
    for file, data in write_wfdb(record, name).items():
        (folder / file).write_bytes(data)
    return folder / f"{name}.hea"


def texts(svg: Path) -> Sequence[str]:
    found = [e for e in ElementTree.parse(svg).iter() if e.tag.endswith("text")]
    return [str(e.text) for e in found if e.get("aria-hidden") is None]


def test_the_table_tells_quality_rhythm_numbers_flags_and_that_nobody_confirmed_it(run: Run, tmp_path: Path) -> None:
    code, text, _ = run("ecg", stored(tmp_path, "rec"))
    assert code == 0
    for wanted in ("quality   acceptable", "rhythm    ", "sinus rhythm", "heart_rate_bpm", "qrs_duration_ms", "ST J"):
        assert wanted in text
    assert "flags     critical  ST elevation, inferior" in text
    assert "udmi-2018.inferior 1" in text
    assert "unconfirmed aid; a licensed reader decides" in text


@pytest.mark.parametrize(
    ("condition", "first", "second", "third"),
    [
        (
            "inferior_stemi",
            "CRITICAL  ST elevation, inferior, III ",
            "rhythm    sinus rhythm · ",
            "recording acceptable",
        ),
        ("normal", "flags     No flag. That does not mean normal.", "rhythm    sinus rhythm · ", "12 leads, 10 s"),
        ("vf", "CRITICAL  LOOK AT THE PATIENT · ", "ventricular fibrillation · nothing measured", "NOT ACCEPTABLE"),
        ("wellens", "urgent    Deep T inversion", "/min · PR ", "unconfirmed aid"),
        ("lbbb", "limits reached, not judged (left bundle branch block): ST", "QRS ", "acceptable"),
        ("ra_la_swap", "flags     No flag", "sinus", "RA-LA limb electrodes swapped? · 12 leads"),
        ("lead_off", "flags     No flag", "sinus", "V3 flat: reattach the electrode"),
    ],
)
def test_the_first_three_lines_say_it_all(
    condition: str, first: str, second: str, third: str, run: Run, tmp_path: Path
) -> None:
    lines = run("ecg", stored(tmp_path, "rec", condition, 4))[1].splitlines()
    for line, wanted in zip(lines, (first, second, third), strict=False):
        assert wanted in line
        assert len(line) <= WIDTH
    assert lines[3] == ""


def test_what_does_not_fit_in_three_lines_is_counted_and_an_unsure_number_is_asked() -> None:
    flags = [
        {"rule_id": "a", "code": f"an_unknown_thing_with_a_long_name_{n}", "severity": severity, "lead": "global"}
        | {"value": 1.0, "limit": 0.0, "unit": "s"}
        for n, severity in enumerate(("critical", "urgent", "urgent", "note"))
    ]
    analysis: dict[str, Any] = {
        "flags": flags,
        "quality": {"acceptable": True, "findings": []},
        "rhythm": [],
        "measurements": {"heart_rate_bpm": {"value": 71.6, "unit": "bpm", "lead": "global", "confidence": 0.3}},
        "recording": {"leads": ["II"], "duration_s": 9.98},
    }
    first, second, third = summary(analysis)
    assert first.startswith("CRITICAL  ")
    assert first.endswith(" · 2 more below")
    assert second == "rhythm    rhythm undetermined · 72?/min"
    assert third == "recording acceptable · 1 lead, 10 s · unconfirmed aid"
    one = {**analysis, "flags": [flags[0] | {"code": "x" * 200}]}
    assert len(next(iter(summary(one)))) == WIDTH


def test_a_quiet_recording_says_that_no_flag_is_not_normal(run: Run, tmp_path: Path) -> None:
    _, text, _ = run("ecg", stored(tmp_path, "rec", "normal"))
    assert "No flag. That does not mean normal." in text


def test_a_rule_that_was_not_judged_is_in_the_table(run: Run, tmp_path: Path) -> None:
    _, text, _ = run("ecg", stored(tmp_path, "rec", "paced", 5))
    assert "udmi-2018.inferior: paced" in text.split("\nnot judged")[1]


def test_rules_that_need_leads_nobody_recorded_are_counted(run: Run, tmp_path: Path) -> None:
    file = stored(tmp_path, "rec", "paced", 5)
    skipped = json.loads(run("ecg", file, "--json")[1])["not_judged"]
    missing = {item["rule_id"] for item in skipped if item["reason"] == "lead_missing"}
    text = run("ecg", file)[1]
    assert missing
    assert f" {len(missing)} rules need leads that were not recorded" in text
    assert "\nnot judged cn-consensus-2017.qtc: paced" in text


def test_a_long_recording_has_one_line_for_each_kind_of_rhythm_and_finding() -> None:
    def span(start: float, end: float, code: str) -> dict[str, Any]:
        return {"start_s": start, "end_s": end, "code": code}

    def finding(start: float, code: str, value: float | None, unit: str = "") -> dict[str, Any]:
        return {**span(start, start + 1.0, code), "value": value, "unit": unit, "confidence": 1.0}

    analysis = {
        "rhythm": [
            span(0, 60, "sinus_rhythm"),
            span(60, 90.5, "atrial_fibrillation"),
            span(90.5, 100, "sinus_rhythm"),
            span(100, 110, "undetermined"),
        ],
        "rhythm_findings": [
            finding(70.0, "pause", 2.1, "s"),
            finding(12.0, "pause", 3.5, "s"),
            finding(3.0, "lbbb", None),
            finding(4.0, "couplet", 2.0),
        ],
    }
    assert list(_rhythm(analysis)) == [
        "rhythm    69.5 s in 2 spans, first at 0.0 s  sinus rhythm",
        "            60.0 to   90.5 s  atrial fibrillation",
        "           100.0 to  110.0 s  rhythm undetermined",
        "          left bundle branch block",
        "          couplets 2",
        "          pause 2.1 to 3.5 s, 2 times, first at 12.0 s",
    ]


def test_a_finding_names_the_electrode_and_says_what_to_do_in_words(run: Run, tmp_path: Path) -> None:
    bad = {"lead": "I", "fault": "mains", "remedy": "move_away_from_mains", "electrode": "LA"}
    assert finding_text(bad) == ("LA", "mains: move away from mains cables")
    assert finding_text(bad | {"electrode": None})[0] == "I"
    assert set(REMEDIES) <= set(WORDS)
    file = stored(tmp_path, "rec", "lead_off", 2, lead="V3")
    for command in ("ecg", "check"):
        text = run(command, file)[1]
        assert "V3" in text
        assert "flat: reattach the electrode" in text
        assert "reattach_electrode" not in text
    (found,) = json.loads(run("check", file, "--json")[1])["findings"]
    assert found == {"lead": "V3", "fault": "flat", "remedy": "reattach_electrode", "electrode": None}


@pytest.mark.parametrize("command", ["ecg", "check"])
def test_a_folder_is_said_to_be_one(run: Run, tmp_path: Path, command: str) -> None:
    code, out, problem = run(command, tmp_path)
    assert (code, "is a folder" in out + problem) == (3, True)


def test_another_profile_flags_by_its_own_limits(run: Run, tmp_path: Path) -> None:
    file = stored(tmp_path, "rec")
    found = json.loads(run("ecg", file, "--json", "--profile", "cn-shanxi-2017")[1])
    assert found["profile"]["name"] == "cn-shanxi-2017"
    assert {f["rule_id"].split(".")[0] for f in found["flags"]} == {"cn-shanxi-2017"}
    code, _, problem = run("ecg", file, "--profile", "atlantis")
    assert code == 2
    assert "atlantis is no flag profile" in problem
    assert "flag_profile_unknown" in problem


def test_the_sheet_is_drawn_in_the_language_and_layout_asked_for(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "sheet.svg"
    code, text, _ = run(
        "ecg", stored(tmp_path, "rec"), "--plot", out, "--language", "zh", "--layout", "3x4+3", "--identity"
    )
    assert code == 0
    assert f"drawn     {out}" in text
    said = texts(out)
    assert "十二导联心电图" in said
    assert said.count("V5") == 2
    assert any(text.startswith("姓名") for text in said)


@pytest.mark.parametrize(("ending", "magic"), [(".svg", b"<svg"), (".pdf", b"%PDF"), (".png", b"\x89PNG")])
def test_the_ending_chooses_the_format(run: Run, tmp_path: Path, ending: str, magic: bytes) -> None:
    out = tmp_path / f"sheet{ending}"
    assert run("ecg", stored(tmp_path, "rec", "normal"), "--plot", out)[0] == 0
    assert out.read_bytes().startswith(magic)


def test_the_command_line_knows_every_layout_without_waiting_for_numpy() -> None:
    assert _LAYOUTS == LAYOUTS
    seen = "import sys, teleread.cli as c; c.build_parser(); print({'numpy', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_further_pages_are_further_files(run: Run, tmp_path: Path) -> None:
    file = stored(tmp_path, "rec", "normal", extra_leads=("V7", "V8", "V9"))
    assert run("ecg", file, "--plot", tmp_path / "sheet.svg", "--json")[0] == 0
    assert "V9" in texts(tmp_path / "sheet-2.svg")
    assert not (tmp_path / "sheet-3.svg").exists()


def test_leads_that_follow_from_others_are_drawn(run: Run, tmp_path: Path) -> None:
    record, _ = simulate("normal", 1)
    rows = [record.leads.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
    eight = EcgRecord(record.signals_mv[rows], tuple(record.leads[k] for k in rows), record.fs_hz)
    assert run("ecg", written(tmp_path, "rec", eight), "--plot", tmp_path / "sheet.svg")[0] == 0
    assert {"III", "aVR", "aVL", "aVF"} <= set(texts(tmp_path / "sheet.svg"))


def test_a_layout_that_does_not_fit_and_an_unknown_ending_are_refused(run: Run, tmp_path: Path) -> None:
    record, _ = simulate("normal", 1)
    one = written(tmp_path, "rec", EcgRecord(record.signals_mv[:1], ("I",), record.fs_hz))
    code, _, problem = run("ecg", one, "--plot", tmp_path / "x.svg", "--layout", "3x4")
    assert code == 3
    assert "layout_unfit" in problem
    assert not (tmp_path / "x.svg").exists()
    assert run("ecg", tmp_path / "none.hea")[0] == 3
    code, _, problem = run("ecg", one, "--plot", tmp_path / "x.bmp")
    assert code == 2
    assert ".svg" in problem


def test_a_chinese_png_without_a_chinese_font_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teleread.reading.sheet_files.chinese_font", lambda: None)
    code, _, problem = run("ecg", stored(tmp_path, "rec", "normal"), "--plot", tmp_path / "x.png", "--language", "zh")
    assert code == 3
    assert "font_missing" in problem


def test_a_sheet_that_cannot_be_written_is_refused_before_the_analysis(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = stored(tmp_path, "rec", "normal")
    (tmp_path / "taken.svg").mkdir()
    code, _, problem = run("ecg", file, "--plot", tmp_path / "taken.svg")
    assert (code, "sheet_not_written" in problem) == (3, True)

    def never(*_: object) -> None:
        raise AssertionError("analysed in vain")

    monkeypatch.setattr("teleread.cli.ecg._analyse", never)
    code, _, problem = run("ecg", file, "--plot", tmp_path / "nope" / "x.png")
    assert (code, "folder_missing" in problem) == (3, True)


@pytest.mark.parametrize("start", ["-1", "10", "1e9", "nan", "inf"])
def test_a_start_outside_the_recording_is_refused(run: Run, tmp_path: Path, start: str) -> None:
    file = stored(tmp_path, "rec", "normal")
    code, _, problem = run("ecg", file, "--plot", tmp_path / "x.svg", f"--start={start}")
    assert (code, "start_outside" in problem, "10.0" in problem) == (3, True, True)
    assert not (tmp_path / "x.svg").exists()
    assert run("ecg", file, "--plot", tmp_path / "x.svg", "--start=9.9")[0] == 0


def test_a_sheet_that_ends_before_the_recording_says_where_it_goes_on(run: Run, tmp_path: Path) -> None:
    record, _ = simulate("normal", 1, duration_s=400.0, fs_hz=100.0)
    three = EcgRecord(record.signals_mv[:3], record.leads[:3], record.fs_hz)
    file = written(tmp_path, "rec", three)
    text = run("ecg", file, "--plot", tmp_path / "x.svg")[1]
    assert "drawn     0–240 s of 400.0 s; --start 240 goes on" in text
    assert "ends at 240 s; the recording goes on to 400.0 s" in texts(tmp_path / "x-12.svg")
    assert not any("goes on" in line for line in texts(tmp_path / "x-11.svg"))
    text = run("ecg", file, "--plot", tmp_path / "y.svg", "--start", "240")[1]
    assert "goes on" not in text
    assert not any("goes on" in line for line in texts(tmp_path / "y-8.svg"))
    assert "12 pages" in " ".join(run("ecg", "--help")[1].split())


def test_a_dead_recording_is_printed_all_the_same(run: Run, tmp_path: Path) -> None:
    record, _ = simulate("normal", 1)
    dead = EcgRecord(np.zeros_like(record.signals_mv), record.leads, record.fs_hz)
    code, text, _ = run("ecg", written(tmp_path, "rec", dead))
    assert code == 0
    assert "all leads  LOOK AT THE PATIENT" in text
    assert "look_at_patient" not in text


def test_an_earlier_recording_is_compared_in_the_table_the_json_and_the_sheet(run: Run, tmp_path: Path) -> None:
    earlier, now = stored(tmp_path, "old", "normal"), stored(tmp_path, "new")
    code, text, _ = run("ecg", now, "--compare", earlier, "--plot", tmp_path / "sheet.svg")
    assert code == 0
    assert "changes   " in text
    assert "ST at J III" in text
    assert any("Since the earlier recording" in line for line in texts(tmp_path / "sheet.svg"))
    found = json.loads(run("ecg", now, "--compare", earlier, "--json")[1])["comparison"]
    assert {c["lead"] for c in found if c["name"] == "st_j_mv" and c["significant"]} >= {"III", "aVF"}
    assert "none beyond chance" in run("ecg", now, "--compare", now)[1]


def test_a_comparison_with_a_doubtful_recording_says_so_and_nothing_more(run: Run, tmp_path: Path) -> None:
    earlier = stored(tmp_path, "old", "normal", duration_s=3.0)
    text = run("ecg", stored(tmp_path, "new"), "--compare", earlier)[1].split("changes   ")[1]
    assert "not judged: doubtful quality" in text
    assert "→" not in text


def test_recordings_of_two_people_are_never_compared(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, _ = simulate("normal", 1)
    one = replace(record, patient=Patient("1"), acquired_at=datetime(2026, 1, 2, tzinfo=UTC))
    people = {
        "a": one,
        "b": replace(one, patient=Patient("2")),
        "c": replace(one, acquired_at=datetime(2026, 1, 3, tzinfo=UTC)),
    }
    for name in people:
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr("teleread.ingest.formats.read_ecg", lambda path, **_: people[path.name])
    code, _, problem = run("ecg", tmp_path / "a", "--compare", tmp_path / "b")
    assert (code, "other_patient" in problem) == (3, True)
    code, _, problem = run("ecg", tmp_path / "a", "--compare", tmp_path / "c")
    assert (code, "not_earlier" in problem) == (3, True)

"""Promises of analyse and of its JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from teleread.signal.ecg import CALIBRATION_PULSE, Annotation, EcgRecord, Patient, analyse, simulate

SAMPLES = ("normal", "af", "inferior_stemi", "complete_block", "lead_off", "ra_la_swap")


@pytest.mark.parametrize("condition", SAMPLES)
@pytest.mark.parametrize("seed", range(4))
def test_the_heart_rate_is_that_of_the_heart(condition: str, seed: int) -> None:
    record, truth = simulate(condition, seed)
    rate = analyse(record).measurements["heart_rate_bpm"]
    # a beat at the very edge may be missed and then changes the mean of an irregular rhythm a little
    assert rate.value == pytest.approx(truth.heart_rate_bpm, rel=0.04 if condition == "af" else 0.01)
    assert rate.unit == "bpm"
    assert rate.lead == "global"
    assert 0 < rate.confidence <= 1


def test_irregular_and_regular_rhythms_are_told_apart() -> None:
    for seed in range(8):
        assert [s[2] for s in analyse(simulate("af", seed)[0]).rhythm] == ["atrial_fibrillation"]
        assert {s[2] for s in analyse(simulate("normal", seed)[0]).rhythm} <= {"sinus_rhythm", "sinus_arrhythmia"}


@pytest.mark.parametrize("kind", ["flat", "missing", "noise"])
def test_without_beats_there_is_no_heart_rate_at_all(kind: str) -> None:
    signals = {
        "flat": np.zeros((12, 5000)),
        "missing": np.full((12, 5000), np.nan),
        "noise": np.random.default_rng(3).standard_normal((12, 5000)),
    }[kind]
    record, _ = simulate("normal", 1)
    result = analyse(replace(record, signals_mv=signals))
    assert dict(result.measurements) == {}
    assert result.r_peaks.size == 0
    assert {code for _, _, code in result.rhythm} <= {"undetermined", "asystole", "ventricular_fibrillation"}
    assert result.delineation.r_peaks.size == len(result.beats) == 0
    assert result.to_json()["measurements"] == {}


def with_pulse(annotated: bool) -> tuple[EcgRecord, int, int]:
    record, _ = simulate("normal", 2)
    signals = record.signals_mv.copy()
    start, stop = 4000, 4600
    signals[:, start:stop] = 0.0
    signals[:, start + 100 : start + 200] = 1.0
    signals[:, start + 350 : start + 450] = 1.0
    marks = (Annotation(CALIBRATION_PULSE, start, stop),) if annotated else ()
    return replace(record, signals_mv=signals, annotations=marks), start, stop


def beats_in_pulse(annotated: bool) -> int:
    record, start, stop = with_pulse(annotated)
    peaks = analyse(record).r_peaks
    return int(np.sum((peaks >= start) & (peaks < stop)))


def test_a_calibration_pulse_is_no_heartbeat() -> None:
    assert beats_in_pulse(annotated=True) == 0
    assert beats_in_pulse(annotated=False) > 0  # the broken twin: the mark is ignored
    record, _, _ = with_pulse(annotated=True)
    usual = analyse(simulate("normal", 2)[0])
    result = analyse(record)
    assert result.quality.acceptable
    assert result.measurements["rr_max_ms"].value <= usual.measurements["rr_max_ms"].value + 1


def test_the_same_record_gives_the_same_bytes() -> None:
    texts = {json.dumps(analyse(simulate("af", 9)[0]).to_json(), allow_nan=False) for _ in range(3)}
    assert len(texts) == 1


@pytest.mark.parametrize("condition", SAMPLES)
def test_the_json_has_one_shape_and_says_that_nobody_confirmed_it(condition: str) -> None:
    shown = analyse(simulate(condition, 1)[0]).to_json()
    assert list(shown) == [
        "shape",
        "analysis_version",
        "unconfirmed",
        "recording",
        "filters_applied",
        "quality",
        "measurements",
        "r_peaks",
        "beats",
        "delineation",
        "rhythm",
        "rhythm_findings",
        "profile",
        "flags",
        "not_judged",
    ]
    assert shown["unconfirmed"] is True
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


def test_the_json_holds_nothing_of_the_patient() -> None:
    record, _ = simulate("normal", 1)
    named = replace(record, patient=Patient(id="SECRET-7", name="SECRET-NAME"), device_statements=("SECRET-TEXT",))
    assert "SECRET" not in json.dumps(analyse(named).to_json())


@pytest.mark.parametrize("n", [0, 1, 10, 300])
def test_a_scrap_of_a_recording_gets_an_answer(n: int) -> None:
    record, _ = simulate("normal", 1)
    result = analyse(replace(record, signals_mv=record.signals_mv[:, :n]))
    assert not result.quality.acceptable
    assert "heart_rate_bpm" not in result.measurements

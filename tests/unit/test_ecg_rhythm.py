"""Rhythm analysis: every code on simulated recordings, the boundaries, and what it must never say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from teleread.signal.ecg.beats import BEAT_KINDS
from teleread.signal.ecg.flutter import Spectra, flutter_strength
from teleread.signal.ecg.rhythm import FINDING_CODES, SPAN_CODES, classify_rhythm
from teleread.signal.ecg.simulate import simulate
from tests.unit.rhythms import FS, codes, judged, main_code


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("normal", "sinus_rhythm"),
        ("sinus_bradycardia", "sinus_bradycardia"),
        ("sinus_tachycardia", "sinus_tachycardia"),
        ("sinus_arrhythmia", "sinus_arrhythmia"),
        ("af", "atrial_fibrillation"),
        ("atrial_flutter", "atrial_flutter"),
        ("svt", "supraventricular_tachycardia"),
        ("vt", "ventricular_tachycardia"),
        ("vf", "ventricular_fibrillation"),
        ("asystole", "asystole"),
        ("junctional", "junctional_rhythm"),
        ("idioventricular", "idioventricular_rhythm"),
        ("accelerated_idioventricular", "accelerated_idioventricular_rhythm"),
        ("paced", "paced_rhythm"),
    ],
)
def test_each_rhythm_is_named(condition: str, code: str) -> None:
    named = [main_code(judged(condition, seed)) for seed in range(2000, 2005)]
    assert Counter(named)[code] >= 4, named


@pytest.mark.parametrize(
    "condition",
    ["av_block_2_mobitz_1", "av_block_2_mobitz_2", "av_block_2_1", "complete_block", "lbbb", "rbbb", "ivcd", "pause"],
)
def test_each_block_is_found(condition: str) -> None:
    code = {"complete_block": "av_block_3"}.get(condition, condition)
    found = [codes(judged(condition, seed)) for seed in range(2000, 2005)]
    assert sum(code in f for f in found) >= 4, found


@pytest.mark.parametrize("condition", ["premature_ventricular", "premature_supraventricular"])
def test_early_beats_are_found_and_told_apart(condition: str) -> None:
    kind = condition.removeprefix("premature_")
    right = 0
    for seed in range(2000, 2005):
        _, truth = simulate(condition, seed)
        rhythm = judged(condition, seed)
        assert len(rhythm.beats) == truth.r_peaks.size
        right += rhythm.beats == tuple(kind if b == kind else "normal" for b in truth.beats)
        assert condition in codes(rhythm)
    assert right >= 4


def test_flutter_is_told_by_its_line_between_the_beats() -> None:
    fs, n = 250.0, 2500
    t = np.arange(n) / fs
    beats = np.arange(100, n - 50, 200)
    x = 0.2 * np.sin(2 * np.pi * 5.0 * t)
    for r in beats:
        x += np.exp(-0.5 * ((t - r / fs) / 0.012) ** 2)
    rhythm = classify_rhythm(np.vstack([x, 0.8 * x]), fs, ("II", "V1"), beats, None, None)
    assert main_code(rhythm) == "atrial_flutter"
    strength, rate = flutter_strength(Spectra(np.vstack([x, x]), fs, ("II", "V1"), beats))
    assert strength > 0.4
    assert rate == pytest.approx(300.0, abs=6.0)


@pytest.mark.parametrize(
    "leads", [("II",), ("II", "V1"), ("I", "II", "V1"), ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
)
def test_few_leads_are_enough_for_what_they_show(leads: tuple[str, ...]) -> None:
    assert main_code(judged("af", 2100, leads=leads)) == "atrial_fibrillation"
    assert main_code(judged("vf", 2100, leads=leads)) == "ventricular_fibrillation"
    assert main_code(judged("vt", 2100, leads=leads)) == "ventricular_tachycardia"
    assert main_code(judged("normal", 2100, leads=leads)) in ("sinus_rhythm", "undetermined")


@pytest.mark.parametrize("gain", [1e-1, -1.0, 10.0])
def test_gain_and_polarity_do_not_matter(gain: float) -> None:
    for condition in ("normal", "af", "premature_ventricular"):
        record, truth = simulate(condition, 2200)
        plain = classify_rhythm(record.signals_mv, FS, record.leads, truth.r_peaks, None, None)
        other = classify_rhythm(gain * record.signals_mv, FS, record.leads, truth.r_peaks, None, None)
        if gain == -1.0:
            assert plain.spans == other.spans
        assert plain.beats == other.beats
        assert main_code(plain) == main_code(other)


@pytest.mark.parametrize("fs_hz", [125.0, 250.0, 360.0, 1000.0, 2000.0])
def test_the_sampling_rate_does_not_matter(fs_hz: float) -> None:
    for condition, code in (
        ("normal", "sinus_rhythm"),
        ("af", "atrial_fibrillation"),
        ("vf", "ventricular_fibrillation"),
    ):
        assert main_code(judged(condition, 2300, fs_hz=fs_hz)) == code


def test_the_same_input_gives_the_same_result() -> None:
    assert judged("af", 1) == judged("af", 1)


def test_noise_is_undetermined_and_never_sinus() -> None:
    rng = np.random.default_rng(0)
    noise = 0.3 * rng.standard_normal((2, 5000))
    peaks = np.sort(rng.choice(np.arange(50, 4950), 12, replace=False))
    rhythm = classify_rhythm(noise, FS, ("I", "II"), peaks, None, None)
    assert not any(code.startswith("sinus") for *_, code in rhythm.spans)


@pytest.mark.parametrize(
    "signal", [np.zeros((3, 5000)), np.full((3, 5000), np.nan), np.zeros((3, 100)), np.zeros((0, 0))]
)
def test_an_empty_recording_is_never_normal(signal: np.ndarray) -> None:
    names = ("I", "II", "V1")[: signal.shape[0]]
    rhythm = classify_rhythm(signal, FS, names, np.empty(0, dtype=np.int64), None, None)
    assert all(code in ("asystole", "undetermined") for *_, code in rhythm.spans)
    assert rhythm.beats == ()


def test_flat_lines_are_asystole_with_little_confidence() -> None:
    rhythm = classify_rhythm(np.zeros((2, 5000)), FS, ("I", "II"), np.empty(0, dtype=np.int64), None, None)
    (finding,) = [f for f in rhythm.findings if f.code == "asystole"]
    assert finding.confidence <= 0.3
    assert finding.value == pytest.approx(10.0)


def test_standstill_between_beats_is_found_where_it_is() -> None:
    record, truth = simulate("normal", 5, duration_s=30.0)
    x = record.signals_mv.copy()
    x[:, 5000:10000] = 0.0
    peaks = truth.r_peaks[(truth.r_peaks < 4900) | (truth.r_peaks > 10100)]
    rhythm = classify_rhythm(x, FS, record.leads, peaks, None, None)
    ((start, end, _),) = [s for s in rhythm.spans if s[2] == "asystole"]
    assert start == pytest.approx(10.0, abs=1.5)
    assert end == pytest.approx(20.0, abs=1.5)


def test_a_gap_in_all_leads_is_no_pause() -> None:
    record, truth = simulate("normal", 6, duration_s=20.0)
    x = record.signals_mv.copy()
    x[:, 4000:6000] = np.nan
    peaks = truth.r_peaks[(truth.r_peaks < 4000) | (truth.r_peaks >= 6000)]
    assert "pause" not in codes(classify_rhythm(x, FS, record.leads, peaks, None, None))


@pytest.mark.parametrize(("rr_s", "found"), [(1.95, False), (2.05, True)])
def test_a_pause_begins_at_two_seconds(rr_s: float, found: bool) -> None:
    record, truth = simulate("sinus_bradycardia", 7, duration_s=20.0)
    beats = truth.r_peaks
    cut = int(beats[8]) + 200
    missing = round(rr_s * FS) - int(beats[9] - beats[8])
    x = np.insert(record.signals_mv, [cut] * missing, record.signals_mv[:, cut : cut + 1], axis=1)
    peaks = np.where(beats > cut, beats + missing, beats)
    pauses = [f for f in classify_rhythm(x, FS, record.leads, peaks, None, None).findings if f.code == "pause"]
    assert bool(pauses) is found
    if found:
        assert pauses[0].value == pytest.approx(rr_s, abs=0.01)


@pytest.mark.parametrize(
    ("rate", "code"),
    [(58.0, "sinus_bradycardia"), (62.0, "sinus_rhythm"), (98.0, "sinus_rhythm"), (103.0, "sinus_tachycardia")],
)
def test_limits_of_the_rate(rate: float, code: str) -> None:
    record, truth = simulate("normal", 8, duration_s=20.0)
    x, peaks = even_beats(record.signals_mv, truth.r_peaks, 60.0 / rate, 24)
    assert main_code(classify_rhythm(x, FS, record.leads, peaks, None, None)) == code


def even_beats(x: np.ndarray, r: np.ndarray, rr_s: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """One beat over and over at one distance, joined at its ends' levels."""
    k = r[2]
    before, after = 125, min(round(rr_s * FS), 260) - 125
    beat = x[:, k - before : k + after]
    level = np.linspace(0.0, 1.0, beat.shape[1]) * (beat[:, -1:] - beat[:, :1]) + beat[:, :1]
    beat = beat - level
    period = round(rr_s * FS)
    out = np.zeros((x.shape[0], period * count))
    peaks = before + period * np.arange(count)
    for p in peaks:
        out[:, p - before : p + after] += beat
    return out + 0.002 * np.random.default_rng(1).standard_normal(out.shape), peaks


def test_spans_cover_the_recording_without_overlap() -> None:
    for condition in ("normal", "af", "vt", "vf", "pause", "premature_ventricular"):
        rhythm = judged(condition, 2400)
        assert rhythm.spans[0][0] == 0.0
        assert rhythm.spans[-1][1] == pytest.approx(10.0)
        for (_, end, before), (start, _, after) in zip(rhythm.spans, rhythm.spans[1:], strict=False):
            assert start == pytest.approx(end, abs=0.01)
            assert before != after
        assert all(code in SPAN_CODES for *_, code in rhythm.spans)
        assert all(f.code in FINDING_CODES and 0.0 <= f.confidence <= 1.0 for f in rhythm.findings)
        assert all(kind in BEAT_KINDS for kind in rhythm.beats)

"""Broad beats: tachycardia, pre-excitation, bundle branch block, pacing and fibrillation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from teleread.signal.ecg import rhythm_spans
from teleread.signal.ecg.conduction import UsualBeat, averaged, bundle_branch, from_median, pre_excited, slurred
from teleread.signal.ecg.delineation import Delineation
from teleread.signal.ecg.pacing import find_pacing
from teleread.signal.ecg.rhythm import SPAN_CODES, classify_rhythm
from teleread.signal.ecg.simulate import simulate
from tests.unit.rhythms import FS, codes, flat_table, judged, main_code


def test_a_run_of_ventricular_beats_is_a_tachycardia_from_three_beats_and_100_per_minute() -> None:
    kinds = np.zeros(12, dtype=np.int64)
    kinds[4:7] = 2
    for rr_s, code in (
        (0.59, "ventricular_tachycardia"),
        (0.7, "accelerated_idioventricular_rhythm"),
        (1.3, "idioventricular_rhythm"),
    ):
        rr = np.where(kinds == 2, rr_s, 0.9)
        table = replace(flat_table(12), rr_s=rr)
        out = rhythm_spans.overlaid(np.zeros(12, dtype=np.int64), table, kinds)
        assert {SPAN_CODES[k] for k in out[4:7]} == {code}
        assert not out[:4].any()
    kinds[4] = 0
    assert not rhythm_spans.overlaid(np.zeros(12, dtype=np.int64), flat_table(12), kinds).any()


def test_a_run_of_early_supraventricular_beats_is_a_tachycardia() -> None:
    kinds = np.array([0, 0, 1, 1, 1, 0])
    table = replace(flat_table(6), rr_s=np.full(6, 0.4))
    assert rhythm_spans.overlaid(np.zeros(6, dtype=np.int64), table, kinds)[3] == rhythm_spans.SVT
    slow = replace(table, rr_s=np.full(6, 0.9))
    assert not rhythm_spans.overlaid(np.zeros(6, dtype=np.int64), slow, kinds).any()


def test_a_wide_regular_tachycardia_without_p_is_ventricular_with_less_confidence() -> None:
    found = [f for f in judged("vt", 2500).findings if f.code == "ventricular_tachycardia"]
    assert found
    assert all(f.confidence <= 0.9 for f in found)
    assert found[0].value is not None
    assert found[0].value > 100


def test_pre_excited_fibrillation_tells_its_shortest_interval() -> None:
    hits = 0
    for seed in range(2600, 2605):
        _, truth = simulate("pre_excited_af", seed)
        for f in judged("pre_excited_af", seed).findings:
            if f.code == "pre_excited_af":
                hits += 1
                assert f.value == pytest.approx(1000.0 * np.diff(truth.r_peaks).min() / FS, abs=2.0)
    assert hits >= 4


def test_pre_excitation_needs_a_short_pr_and_a_slurred_wide_qrs() -> None:
    record, truth = simulate("pre_excitation", 3)
    usual = averaged(record.signals_mv, FS, record.leads, truth.r_peaks, np.ones(truth.r_peaks.size, dtype=bool))
    assert usual is not None
    assert slurred(usual) > 0.15
    assert not pre_excited(usual, None)
    assert not pre_excited(usual, 0.16)
    narrow, true_narrow = simulate("normal", 3)
    plain = averaged(
        narrow.signals_mv, FS, narrow.leads, true_narrow.r_peaks, np.ones(true_narrow.r_peaks.size, dtype=bool)
    )
    assert plain is not None
    assert not pre_excited(plain, 0.10)


@dataclass
class Median:
    signals_mv: np.ndarray
    leads: tuple[str, ...]
    fs_hz: float
    p_on: int
    qrs_on: int
    qrs_off: int


def square(v1: list[float], lateral: list[float], width_s: float) -> UsualBeat:
    """A beat of straight pieces in V1 and I, V6."""
    n = round(width_s * FS)
    x = np.zeros((3, 400))
    for row, shape in zip(x, (v1, lateral, lateral), strict=True):
        row[100 : 100 + n + 1] = np.interp(np.linspace(0, 1, n + 1), np.linspace(0, 1, len(shape)), shape)
    return UsualBeat(x, ("V1", "I", "V6"), FS, -1, 100, 100 + n)


RIGHT = ([0.0, 0.2, -0.6, 0.3, 0.9, 0.5, 0.0], [0.0, -0.1, 1.0, 0.2, -0.4, -0.2, 0.0])
LEFT = ([0.0, 0.05, -0.6, -1.2, -1.0, -0.4, 0.0], [0.0, 0.2, 0.8, 0.9, 0.8, 0.3, 0.0])


def test_bundle_branch_block_begins_at_120_ms() -> None:
    assert bundle_branch(square(*RIGHT, 0.130)) == "rbbb"
    assert bundle_branch(square(*LEFT, 0.140)) == "lbbb"
    assert bundle_branch(square(LEFT[0], [0.0, -0.3, 0.6, 0.9, 0.8, 0.3, 0.0], 0.130)) == "ivcd"
    assert bundle_branch(square(*RIGHT, 0.116)) is None
    assert bundle_branch(square(*LEFT, 0.116)) is None
    one = square(*RIGHT, 0.130)
    assert bundle_branch(UsualBeat(one.signals_mv[1:], ("I", "V6"), FS, -1, 100, 165)) is None


def test_a_median_beat_without_bounds_is_not_used() -> None:
    record, truth = simulate("lbbb", 4)
    beat = Median(record.signals_mv[:, :400], record.leads, FS, -1, -1, -1)
    assert from_median(beat) is None
    rhythm = classify_rhythm(record.signals_mv, FS, record.leads, truth.r_peaks, None, beat)
    assert "lbbb" in codes(rhythm)


def test_the_measured_median_beat_decides_on_the_width() -> None:
    record, truth = simulate("lbbb", 4)
    r = int(truth.r_peaks[3])
    x = record.signals_mv[:, r - 200 : r + 300]
    narrow = Median(x, record.leads, FS, 100, 180, 180 + 50)
    assert not codes(classify_rhythm(record.signals_mv, FS, record.leads, truth.r_peaks, None, narrow)) & {
        "lbbb",
        "ivcd",
    }
    wide = Median(x, record.leads, FS, 60, 200 - 30, 200 + 50)
    assert codes(classify_rhythm(record.signals_mv, FS, record.leads, truth.r_peaks, None, wide)) & {"lbbb", "ivcd"}


def delineated(r: np.ndarray, pr_s: float) -> Delineation:
    on = r - round(0.04 * FS)
    p_on = on - round(pr_s * FS)
    return Delineation(r, p_on, p_on + 20, p_on + 40, on, r + 25, r + 60, r + 120, r + 170)


@pytest.mark.parametrize(("pr_s", "found"), [(0.19, False), (0.23, True)])
def test_first_degree_block_begins_above_200_ms(pr_s: float, found: bool) -> None:
    record, truth = simulate("normal", 9)
    rhythm = classify_rhythm(record.signals_mv, FS, record.leads, truth.r_peaks, delineated(truth.r_peaks, pr_s), None)
    assert ("av_block_1" in codes(rhythm)) is found


def test_a_delineated_p_that_may_be_the_t_wave_makes_no_fast_rhythm_sinus() -> None:
    for condition, code in (("svt", "supraventricular_tachycardia"), ("vt", "ventricular_tachycardia")):
        record, truth = simulate(condition, 2000)
        claimed = delineated(truth.r_peaks, 0.12)
        rhythm = classify_rhythm(record.signals_mv, FS, record.leads, truth.r_peaks, claimed, None)
        assert main_code(rhythm) == code


def test_pacing_spikes_are_sought_in_the_raw_signal() -> None:
    record, truth = simulate("paced", 10)
    without = find_pacing(np.zeros_like(record.signals_mv), FS, truth.r_peaks)
    assert not without.paced.any()
    rhythm = classify_rhythm(record.signals_mv, FS, record.leads, truth.r_peaks, None, None, raw_mv=record.signals_mv)
    assert "paced" in codes(rhythm)
    assert Counter(rhythm.beats)["paced"] >= truth.r_peaks.size - 2


def test_lone_spikes_pace_nothing() -> None:
    record, truth = simulate("normal", 11)
    raw = record.signals_mv.copy()
    rng = np.random.default_rng(2)
    at = rng.integers(100, 4900, 6)
    raw[:, at] += 1.5
    found = find_pacing(raw, FS, truth.r_peaks)
    assert found.spikes.size >= 3
    assert not found.paced.any()


def test_atrial_spikes_leave_the_beat_normal_and_are_told() -> None:
    record, truth = simulate("normal", 12)
    raw = record.signals_mv.copy()
    raw[:, truth.r_peaks - round(0.2 * FS)] += 1.0
    rhythm = classify_rhythm(record.signals_mv, FS, record.leads, truth.r_peaks, None, None, raw_mv=raw)
    assert "paced" in codes(rhythm)
    assert "paced" not in rhythm.beats


def test_ventricular_fibrillation_is_found_whatever_the_beats() -> None:
    record, _ = simulate("vf", 13)
    for peaks in (np.empty(0, dtype=np.int64), np.arange(200, 4900, 170)):
        rhythm = classify_rhythm(record.signals_mv, FS, record.leads, peaks, None, None)
        assert main_code(rhythm) == "ventricular_fibrillation"
        assert set(rhythm.beats) <= {"unknown"}


def test_a_fast_broad_tachycardia_is_no_fibrillation_even_without_beats() -> None:
    record, _ = simulate("vt", 2003)
    rhythm = classify_rhythm(record.signals_mv, FS, record.leads, np.empty(0, dtype=np.int64), None, None)
    assert "ventricular_fibrillation" not in {code for *_, code in rhythm.spans}

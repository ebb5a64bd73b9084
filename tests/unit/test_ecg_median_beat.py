"""Promises of the median beat and of the global boundaries, against simulated beats whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.signal.ecg import detect_qrs, simulate
from teleread.signal.ecg.beat_cuts import cut_beats, usual_beat, working_rate
from teleread.signal.ecg.boundaries import Boundaries, find_boundaries
from teleread.signal.ecg.delineate_global import BLOCK_BEATS, delineate_global
from teleread.signal.ecg.delineation import ABSENT
from teleread.signal.ecg.filters import diagnostic_band
from teleread.signal.ecg.median_beat import MedianBeat, delineate_and_median, median_beat
from teleread.signal.ecg.simulation.truth import Truth
from teleread.signal.ecg.templates import sort_beats

Samples = NDArray[np.float64]
WAVES = ("p_on", "p_off", "qrs_on", "qrs_off", "t_off")


def recording(condition: str, seed: int, fs_hz: float = 500.0, noise: float = 0.3) -> tuple[Samples, Truth]:
    record, truth = simulate(condition, seed, fs_hz=fs_hz, noise=noise)
    return diagnostic_band(record.signals_mv, fs_hz), truth


def beat_of(x: Samples, fs_hz: float, peaks: NDArray[np.int64]) -> MedianBeat:
    leads = [str(k) for k in range(x.shape[0])]
    beat = median_beat(x, fs_hz, leads, peaks)
    assert beat is not None
    return beat


def errors_ms(x: Samples, fs_hz: float, truth: Truth) -> dict[str, Samples]:
    """By wave, found minus true, over the beats that have it."""
    found = delineate_global(x, fs_hz, truth.r_peaks)
    errors = {}
    for wave in WAVES:
        ours, real = getattr(found, wave), getattr(truth, wave)
        both = (ours != ABSENT) & (real != ABSENT)
        errors[wave] = (ours[both] - real[both]) * 1000.0 / fs_hz
    return errors


@pytest.mark.parametrize("condition", ["normal", "lbbb", "rbbb", "lvh", "inferior_stemi"])
@pytest.mark.parametrize("fs_hz", [250.0, 500.0, 1000.0])
def test_boundaries_of_each_beat_are_where_the_waves_begin_and_end(condition: str, fs_hz: float) -> None:
    x, truth = recording(condition, 3, fs_hz)
    errors = errors_ms(x, fs_hz, truth)
    for wave, limit in (("p_on", 8.0), ("p_off", 8.0), ("qrs_on", 7.0), ("qrs_off", 7.0), ("t_off", 12.0)):
        assert errors[wave].size >= 6
        assert abs(float(np.median(errors[wave]))) <= limit, wave
        assert float(np.std(errors[wave])) <= 6.0, wave


def test_waves_are_in_their_order_in_every_beat() -> None:
    for condition in ("normal", "premature_ventricular", "paced", "svt", "vt"):
        x, truth = recording(condition, 2)
        found = delineate_global(x, 500.0, truth.r_peaks)
        order = ("p_on", "p_peak", "p_off", "qrs_on", "qrs_off", "t_on", "t_peak", "t_off")
        marks = np.array([getattr(found, name) for name in order])
        for column in marks.T:
            there = column[column != ABSENT]
            assert (np.diff(there) >= 0).all(), (condition, column)
        assert ((marks >= 0) | (marks == ABSENT)).all()
        assert (marks < x.shape[1]).all()


@pytest.mark.parametrize("condition", ["af", "complete_block", "idioventricular"])
def test_p_waves_that_lead_to_no_beat_are_absent(condition: str) -> None:
    for seed in range(4):
        x, truth = recording(condition, seed)
        found = delineate_global(x, 500.0, truth.r_peaks)
        assert (found.p_on == ABSENT).mean() >= 0.9, seed
        assert beat_of(x, 500.0, truth.r_peaks).p_on == ABSENT


def test_sinus_beats_have_their_p_wave() -> None:
    for seed in range(4):
        x, truth = recording("normal", seed)
        found = delineate_global(x, 500.0, truth.r_peaks)
        inside = truth.p_on > 100
        assert (found.p_on[inside] != ABSENT).all()


def test_ventricular_beats_do_not_enter_the_median_beat_and_have_no_p_wave() -> None:
    x, truth = recording("premature_ventricular", 1)
    ventricular = np.array([kind == "ventricular" for kind in truth.beats])
    assert ventricular.any()
    _, templates = sort_beats(x, 500.0, truth.r_peaks)
    assert not ventricular[templates[0].made_of].any()
    assert (delineate_global(x, 500.0, truth.r_peaks).p_on[ventricular] == ABSENT).all()


def test_in_bigeminy_the_median_beat_is_the_one_that_comes_in_time() -> None:
    record, truth = simulate("premature_ventricular", 4, noise=0.3, pattern="bigeminy")
    x = diagnostic_band(record.signals_mv, 500.0)
    ventricular = np.array([kind == "ventricular" for kind in truth.beats])
    _, templates = sort_beats(x, 500.0, truth.r_peaks)
    assert not ventricular[templates[0].made_of].any()


def test_only_beats_in_use_make_the_median_beat() -> None:
    x, truth = recording("normal", 5)
    use = np.zeros(truth.r_peaks.size, dtype=np.bool_)
    use[2:5] = True
    beat = median_beat(x, 500.0, [str(k) for k in range(12)], truth.r_peaks, use=use)
    assert beat is not None
    assert beat.beats == 3
    assert median_beat(x, 500.0, [str(k) for k in range(12)], truth.r_peaks, use=np.zeros_like(use)) is None


def test_noise_of_single_beats_averages_out() -> None:
    clean, truth = recording("normal", 6, noise=0.0)
    noisy = clean + 0.03 * np.random.default_rng(1).standard_normal(clean.shape)
    quiet, loud = beat_of(clean, 500.0, truth.r_peaks), beat_of(noisy, 500.0, truth.r_peaks)
    away = float(np.std(loud.signals_mv - quiet.signals_mv))
    assert away < 0.6 * 0.03
    assert (loud.noise_mv > 2 * quiet.noise_mv).all()


def test_a_single_spoiled_beat_changes_nothing_much() -> None:
    x, truth = recording("normal", 7, noise=0.0)
    spoiled = x.copy()
    r = int(truth.r_peaks[4])
    spoiled[:, r - 200 : r + 200] += 1.5 * np.random.default_rng(2).standard_normal((12, 400))
    away = np.abs(beat_of(spoiled, 500.0, truth.r_peaks).signals_mv - beat_of(x, 500.0, truth.r_peaks).signals_mv)
    # leaving out one beat of a heart that beats a little differently each time moves R by tens of microvolts
    assert float(away.max()) < 0.08


def test_boundaries_do_not_depend_on_gain_or_polarity() -> None:
    x, truth = recording("normal", 8)
    usual = delineate_global(x, 500.0, truth.r_peaks)
    for factor in (-1.0, 1e-3, 50.0):
        other = delineate_global(factor * x, 500.0, truth.r_peaks)
        for wave in WAVES:
            # the least height of a P wave is in millivolts, so a thousandth of the gain may lose it
            if wave.startswith("p_") and factor == 1e-3:
                continue
            assert np.array_equal(getattr(usual, wave), getattr(other, wave)), (factor, wave)


def test_the_same_input_gives_the_same_bits() -> None:
    x, truth = recording("normal", 9)
    first, second = (delineate_and_median(x, 500.0, [str(k) for k in range(12)], truth.r_peaks) for _ in range(2))
    assert first[1] is not None
    assert second[1] is not None
    assert np.array_equal(first[1].signals_mv, second[1].signals_mv)
    assert np.array_equal(first[0].t_off, second[0].t_off)


def test_both_at_once_are_the_same_as_one_after_the_other() -> None:
    x, truth = recording("lbbb", 2)
    leads = [str(k) for k in range(12)]
    together, beat = delineate_and_median(x, 500.0, leads, truth.r_peaks)
    alone = delineate_global(x, 500.0, truth.r_peaks)
    other = median_beat(x, 500.0, leads, truth.r_peaks, alone)
    assert beat is not None
    assert other is not None
    assert np.array_equal(together.qrs_on, alone.qrs_on)
    # a beat at the very edge without a QRS of its own is left out by the second way
    for one, two in ((beat.p_on, other.p_on), (beat.qrs_on, other.qrs_on), (beat.t_off, other.t_off)):
        assert abs(one - two) <= 1


def test_a_missing_lead_is_nan_and_the_others_go_on() -> None:
    x, truth = recording("normal", 10)
    x[3] = np.nan
    x[5, 2000:2300] = np.nan
    beat = beat_of(x, 500.0, truth.r_peaks)
    assert np.isnan(beat.signals_mv[3]).all()
    assert np.isfinite(beat.signals_mv[5]).all()
    assert beat.row("3") is None
    assert beat.row("5") is not None
    assert beat.row("V9") is None
    assert beat.qrs_off > beat.qrs_on


def test_what_holds_no_beat_has_no_median_beat() -> None:
    nothing = np.empty(0, dtype=np.int64)
    assert median_beat(np.zeros((12, 5000)), 500.0, ["I"] * 12, nothing) is None
    assert median_beat(np.zeros((0, 5000)), 500.0, [], np.array([100, 600])) is None
    empty = delineate_global(np.zeros((12, 5000)), 500.0, nothing)
    assert empty.r_peaks.size == 0
    found = delineate_global(np.zeros((0, 5000)), 500.0, np.array([100, 600]))
    assert (found.qrs_on == ABSENT).all()
    with pytest.raises(ValueError, match="nothing to cut"):
        cut_beats(np.zeros((1, 100)), 500.0, nothing, 0.3, 0.4)


def test_flat_and_missing_recordings_have_no_boundaries() -> None:
    peaks = np.array([600, 1100, 1600])
    for x in (np.zeros((2, 2500)), np.full((2, 2500), np.nan)):
        found = delineate_global(x, 500.0, peaks)
        assert (found.qrs_on == ABSENT).all()
        assert (found.p_on == ABSENT).all()
        assert median_beat(x, 500.0, ["I", "II"], peaks) is None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_beats_are_enough(count: int) -> None:
    x, truth = recording("normal", 11)
    peaks = truth.r_peaks[3 : 3 + count]
    beat = beat_of(x, 500.0, peaks)
    assert beat.beats == count
    real = (truth.qrs_off[3] - truth.qrs_on[3]) * 2.0
    assert abs((beat.qrs_off - beat.qrs_on) * 2.0 - real) <= 12.0


def test_one_lead_and_fifteen_leads_are_delineated() -> None:
    x, truth = recording("normal", 12)
    for rows in (x[1:2], np.vstack((x, x[6:9]))):
        found = delineate_global(rows, 500.0, truth.r_peaks)
        assert (found.qrs_on != ABSENT).all()


def test_a_long_recording_is_taken_in_blocks_without_a_seam() -> None:
    record, truth = simulate("normal", 13, fs_hz=250.0, duration_s=400.0, noise=0.3)
    x = diagnostic_band(record.signals_mv[:2], 250.0)
    assert truth.r_peaks.size > BLOCK_BEATS * 1.25
    found, beat = delineate_and_median(x, 250.0, ("I", "II"), truth.r_peaks)
    assert (found.qrs_on[1:-1] != ABSENT).all()
    assert float(np.std((found.qrs_on - truth.r_peaks)[1:-1])) < 2.0
    assert beat is not None
    assert beat.beats <= BLOCK_BEATS


def test_a_few_beats_after_the_last_block_join_it() -> None:
    record, truth = simulate("normal", 13, fs_hz=250.0, duration_s=300.0, noise=0.3)
    x = diagnostic_band(record.signals_mv[:2], 250.0)
    peaks = truth.r_peaks[: BLOCK_BEATS + 10]
    found = delineate_global(x, 250.0, peaks)
    assert found.r_peaks.size == BLOCK_BEATS + 10
    assert (found.qrs_on[1:] != ABSENT).all()


def test_a_steep_t_at_a_high_rate_is_not_part_of_qrs() -> None:
    for seed in range(3):
        record, truth = simulate("lbbb", seed, noise=0.3, rate_bpm=140.0)
        x = diagnostic_band(record.signals_mv, 500.0)
        beat = beat_of(x, 500.0, truth.r_peaks)
        assert abs((beat.qrs_off - beat.qrs_on) * 2.0 - truth.intervals_ms["qrs_duration_ms"]) <= 14.0


def test_in_ventricular_tachycardia_qrs_is_told_from_t() -> None:
    errors = []
    for seed in range(4):
        x, truth = recording("vt", seed)
        beat = beat_of(x, 500.0, truth.r_peaks)
        errors.append((beat.qrs_off - beat.qrs_on) * 2.0 - truth.intervals_ms["qrs_duration_ms"])
    assert float(np.median(np.abs(errors))) <= 16.0


@pytest.mark.parametrize(
    ("fs_hz", "least", "most"), [(100, 400, 500), (250, 400, 500), (500, 500, 500), (2000, 1000, 1000)]
)
def test_the_working_rate_is_fine_enough_and_not_too_fine(fs_hz: float, least: float, most: float) -> None:
    up, down = working_rate(fs_hz)
    assert least <= fs_hz * up / down <= most


def test_rates_above_1000_hz_are_thinned_without_a_shift() -> None:
    x, truth = recording("normal", 14, 2000.0)
    errors = errors_ms(x, 2000.0, truth)
    assert abs(float(np.median(errors["qrs_on"]))) <= 7.0
    assert abs(float(np.median(errors["qrs_off"]))) <= 7.0


def test_the_usual_beat_is_deaf_to_outliers() -> None:
    beats = np.ones((9, 1, 5))
    beats[0] = 100.0
    assert np.array_equal(usual_beat(beats), np.ones((1, 5)))
    assert np.array_equal(usual_beat(beats[1:3]), np.ones((1, 5)))
    assert np.array_equal(usual_beat(np.array([[[1.0]], [[2.0]], [[9.0]]])), np.array([[2.0]]))


def test_a_beat_without_room_for_t_has_no_t() -> None:
    x, truth = recording("normal", 15, noise=0.0)
    beat = beat_of(x, 500.0, truth.r_peaks)
    short = beat.signals_mv[:, : beat.qrs_off + 10]
    found = find_boundaries(short, 500.0, beat.r_index, 0.9, 0.9)
    assert found.t_off == ABSENT
    assert found.qrs_on == beat.qrs_on
    assert find_boundaries(np.zeros((2, 300)), 500.0, 150, 0.9, 0.9) == Boundaries()


def test_a_pacing_spike_is_not_the_onset_of_qrs() -> None:
    late = []
    for seed in (0, 2, 3):
        record, truth = simulate("paced", seed, noise=0.0, pacing="ventricular")
        x = diagnostic_band(record.signals_mv, 500.0)
        found = delineate_global(x, 500.0, truth.r_peaks)
        both = (found.qrs_on != ABSENT) & (truth.qrs_on != ABSENT)
        late.append(float(np.median(found.qrs_on[both] - truth.qrs_on[both])) * 2.0)
    assert np.median(np.abs(late)) <= 12.0


def test_detected_beats_serve_as_well_as_true_ones() -> None:
    x, truth = recording("rbbb", 16)
    beat = beat_of(x, 500.0, detect_qrs(x, 500.0))
    assert abs((beat.qrs_off - beat.qrs_on) * 2.0 - truth.intervals_ms["qrs_duration_ms"]) <= 12.0


def test_a_very_noisy_lead_costs_nothing() -> None:
    for seed in range(4):
        x, truth = recording("normal", seed)
        rng = np.random.default_rng(seed)
        x[6 + seed] += 0.6 * rng.standard_normal(x.shape[1])
        x[8 + seed % 4] += 0.2 * rng.standard_normal(x.shape[1])
        beat = beat_of(x, 500.0, truth.r_peaks)
        spans = {"p": (beat.p_on, beat.p_off), "qrs": (beat.qrs_on, beat.qrs_off), "qt": (beat.qrs_on, beat.t_off)}
        names = {"p": "p_duration_ms", "qrs": "qrs_duration_ms", "qt": "qt_ms"}
        for wave, (first, last) in spans.items():
            assert first != ABSENT, (seed, wave)
            assert abs((last - first) * 2.0 - truth.intervals_ms[names[wave]]) <= 16.0, (seed, wave)

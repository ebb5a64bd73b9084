"""Promises of detect_qrs, each checked on simulated hearts whose beats are known."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.ingest.formats import read_ecg
from teleread.signal.ecg import CONDITIONS, detect_qrs, simulate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peer's own deprecations
    import wfdb

Detector = Callable[[NDArray[np.float64], float], NDArray[np.int64]]


def agree(found: NDArray[np.int64], truth: NDArray[np.int64], n: int, fs: float, tolerance_s: float = 0.04) -> bool:
    """Every true beat found once and nothing else, beats within 0.1 s of an end left out."""
    edge, tolerance = 0.1 * fs, tolerance_s * fs
    inner = truth[(truth > edge) & (truth < n - edge)]
    extra = [f for f in found if edge < f < n - edge and np.abs(truth - f).min() > tolerance]
    return not extra and all(np.sum(np.abs(found - t) <= tolerance) == 1 for t in inner)


@pytest.mark.parametrize("condition", ["normal", "af", "inferior_stemi", "complete_block", "lead_off", "ra_la_swap"])
@pytest.mark.parametrize("seed", range(6))
def test_every_beat_of_every_condition_is_found_and_nothing_else(condition: str, seed: int) -> None:
    record, truth = simulate(condition, seed)
    found = detect_qrs(record.signals_mv, record.fs_hz)
    assert agree(found, truth.r_peaks, record.signals_mv.shape[1], record.fs_hz)


@pytest.mark.parametrize("condition", sorted(set(CONDITIONS) - {"vf"}))
def test_twelve_leads_together_hide_no_beat_of_any_rhythm(condition: str) -> None:
    """Truth has no beats in ventricular fibrillation, so that is left out."""
    record, truth = simulate(condition, 77)
    n, fs = record.signals_mv.shape[1], record.fs_hz
    assert agree(detect_qrs(record.signals_mv, fs), truth.r_peaks, n, fs, tolerance_s=0.09)


@pytest.mark.parametrize("fs_hz", [100.0, 128.0, 200.0, 250.0, 257.0, 360.0, 500.0, 1000.0, 2000.0])
@pytest.mark.parametrize("condition", ["normal", "af", "complete_block"])
def test_the_sampling_rate_does_not_matter(fs_hz: float, condition: str) -> None:
    record, truth = simulate(condition, 4, fs_hz=fs_hz, duration_s=12)
    lead = record.lead("V2")
    assert lead is not None
    assert agree(detect_qrs(lead, fs_hz), truth.r_peaks, lead.size, fs_hz, tolerance_s=0.06)
    assert agree(detect_qrs(record.signals_mv, fs_hz), truth.r_peaks, lead.size, fs_hz)


def gain_matters(detect: Detector) -> bool:
    record, _ = simulate("af", 2)
    lead = record.signals_mv[1]
    usual = detect(lead, record.fs_hz)
    return any(not np.array_equal(detect(lead * 10.0**k, record.fs_hz), usual) for k in range(-4, 5))


def test_gain_over_eight_decades_does_not_matter() -> None:
    def absolute_threshold(ecg_mv: NDArray[np.float64], fs_hz: float) -> NDArray[np.int64]:
        return detect_qrs(np.where(np.abs(ecg_mv) > 0.3, ecg_mv, 0.0), fs_hz)

    assert not gain_matters(detect_qrs)
    assert gain_matters(absolute_threshold)  # the broken twin


def polarity_matters(detect: Detector) -> bool:
    record, _ = simulate("normal", 7)
    return any(not np.array_equal(detect(lead, 500.0), detect(-lead, 500.0)) for lead in record.signals_mv)


def test_an_inverted_lead_gives_the_same_beats() -> None:
    def upward_only(ecg_mv: NDArray[np.float64], fs_hz: float) -> NDArray[np.int64]:
        return detect_qrs(np.maximum(ecg_mv, 0.0), fs_hz)

    assert not polarity_matters(detect_qrs)
    assert polarity_matters(upward_only)  # the broken twin


def test_an_offset_does_not_matter() -> None:
    record, _ = simulate("normal", 1)
    lead = record.signals_mv[1]
    assert np.array_equal(detect_qrs(lead + 80.0, 500.0), detect_qrs(lead, 500.0))


@pytest.mark.parametrize("stretch", [0.0, 3.0, float("nan")])
@pytest.mark.parametrize("where", ["start", "middle"])
def test_beats_around_a_dead_stretch_are_found_and_none_in_it(stretch: float, where: str) -> None:
    record, truth = simulate("normal", 3, duration_s=30)
    lead = record.signals_mv[1].copy()
    start, stop = (0, 5000) if where == "start" else (5000, 10000)
    lead[start:stop] = stretch
    found = detect_qrs(lead, 500.0)
    outside = truth.r_peaks[(truth.r_peaks < start - 200) | (truth.r_peaks > stop + 200)]
    outside = outside[outside < lead.size - 50]
    assert all(np.abs(found - beat).min() <= 20 for beat in outside)
    assert not np.any((found > start + 100) & (found < stop - 100))


def test_one_huge_artefact_does_not_hide_the_beats() -> None:
    record, truth = simulate("normal", 5)
    signals = record.signals_mv.copy()
    signals[:, 4600:4620] += 80.0
    found = detect_qrs(signals, 500.0)
    early = truth.r_peaks[(truth.r_peaks > 50) & (truth.r_peaks < 4300)]
    assert all(np.abs(found - beat).min() <= 20 for beat in early)


@pytest.mark.parametrize("fault", ["flat", "nan", "noise", "mains"])
def test_one_bad_lead_does_not_ruin_the_others(fault: str) -> None:
    record, truth = simulate("normal", 9)
    signals = record.signals_mv.copy()
    t = np.arange(signals.shape[1]) / 500.0
    signals[2] = {
        "flat": 0.0 * t,
        "nan": np.nan * t,
        "noise": 5.0 * np.random.default_rng(0).standard_normal(t.size),
        "mains": 4.0 * np.sin(2 * np.pi * 50 * t),
    }[fault]
    assert agree(detect_qrs(signals, 500.0), truth.r_peaks, t.size, 500.0)


def test_clipped_tops_are_still_beats() -> None:
    record, truth = simulate("normal", 11)
    lead = np.clip(record.signals_mv[1], -0.3, 0.45)
    assert agree(detect_qrs(lead, 500.0), truth.r_peaks, lead.size, 500.0)


@pytest.mark.parametrize(
    "ecg_mv",
    [
        np.empty(0),
        np.zeros(20),
        np.empty((0, 5000)),
        np.empty((3, 0)),
        np.zeros(5000),
        np.full(5000, 7.3),
        np.full((12, 5000), np.nan),
        np.eye(1, 5000, 2500)[0],
        np.concatenate((np.full(4998, np.nan), [1.0, 2.0])),
        np.where(np.arange(5000) == 7, 1.0, np.nan),
        (np.arange(5000) > 2000) * 1.0,
        np.arange(5000.0),
    ],
)
def test_nothing_to_find_gives_an_empty_answer(ecg_mv: NDArray[np.float64]) -> None:
    found = detect_qrs(ecg_mv, 500.0)
    assert found.shape == (0,)
    assert found.dtype == np.int64


def test_beats_are_ascending_and_a_refractory_time_apart() -> None:
    found = detect_qrs(np.random.default_rng(1).standard_normal(60_000), 500.0)
    assert np.all(np.diff(found) > 0.15 * 500)


def long_lead(minutes: int, fs_hz: float = 250.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A lead of many recordings one after the other, ends faded so that no step looks like a beat."""
    signals, beats, n = [], [], 0
    for k in range(minutes):
        record, truth = simulate(("normal", "af", "lbbb")[k % 3], k, fs_hz=fs_hz, duration_s=60)
        lead = record.signals_mv[1] - np.median(record.signals_mv[1])
        fade = np.minimum(1.0, np.minimum(np.arange(lead.size), np.arange(lead.size)[::-1]) / (0.2 * fs_hz))
        whole = truth.r_peaks[(truth.r_peaks > 0.5 * fs_hz) & (truth.r_peaks < lead.size - 0.7 * fs_hz)]
        signals.append(lead * fade)
        beats.append(whole + n)
        n += lead.size
    return np.concatenate(signals), np.concatenate(beats)


def test_recordings_joined_have_the_beats_they_had_alone() -> None:
    lead, truth = long_lead(40)  # more than two blocks
    found = detect_qrs(lead, 250.0)
    assert np.all(np.diff(found) > 0)
    nearest = np.abs(found[np.clip(np.searchsorted(found, truth), 0, found.size - 1)] - truth)
    nearest = np.minimum(nearest, np.abs(found[np.clip(np.searchsorted(found, truth) - 1, 0, None)] - truth))
    assert np.mean(nearest <= 25) > 0.99
    # at most the beats that were left out of the truth at the joints
    assert found.size <= truth.size + 4 * 40


@pytest.mark.parametrize("shift", [1, 2, 3, 50, 333])
def test_a_recording_that_starts_later_has_the_same_beats(shift: int) -> None:
    record, _ = simulate("af", 6, duration_s=30)
    lead = record.signals_mv[1]
    early, late = detect_qrs(lead, 500.0), detect_qrs(lead[shift:], 500.0) + shift
    early, late = early[early > 1000], late[late > 1000]
    assert early.size == late.size
    assert np.abs(early - late).max() <= 3


def test_the_same_samples_give_the_same_beats_again() -> None:
    lead, _ = long_lead(3)
    once = detect_qrs(lead, 250.0)
    assert all(np.array_equal(detect_qrs(lead.copy(), 250.0), once) for _ in range(3))


def extra_memory(detect: Detector, minutes: int) -> int:
    """Bytes at the peak beyond the input, for a lead of so many minutes."""
    lead = np.tile(long_lead(2)[0], minutes // 2)
    tracemalloc.start()
    try:
        detect(lead, 250.0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_recording() -> None:
    def all_at_once(ecg_mv: NDArray[np.float64], fs_hz: float) -> NDArray[np.int64]:
        return detect_qrs(ecg_mv - np.median(ecg_mv), fs_hz)

    def growth(detect: Detector) -> float:
        detect_qrs(np.zeros(1000), 250.0)
        return (extra_memory(detect, 120) - extra_memory(detect, 40)) * 22 / (80 / 60)

    assert growth(detect_qrs) < 60e6  # what 24 h would add to two hours
    assert extra_memory(detect_qrs, 120) < 60e6
    assert growth(all_at_once) > 100e6  # the broken twin


def test_asystole_has_no_beats() -> None:
    rng = np.random.default_rng(4)
    t = np.arange(30 * 500) / 500.0
    line = 0.05 * np.sin(2 * np.pi * 0.3 * t) + 0.004 * rng.standard_normal(t.size)
    assert detect_qrs(line, 500.0).size == 0
    assert detect_qrs(np.stack([line, 0.5 * line + 0.004 * rng.standard_normal(t.size)]), 500.0).size == 0


@pytest.mark.parametrize("kind", ["white", "mains", "wander"])
def test_noise_alone_has_next_to_no_beats(kind: str) -> None:
    rng = np.random.default_rng(3)
    t = np.arange(60 * 360) / 360.0
    noise = {
        "white": rng.standard_normal(t.size),
        "mains": np.sin(2 * np.pi * 50 * t) + 0.1 * rng.standard_normal(t.size),
        "wander": np.cumsum(rng.standard_normal(t.size)) * 0.02,
    }[kind]
    assert detect_qrs(noise, 360.0).size <= 30  # half a beat a second would be a heart


@pytest.mark.parametrize("fs_hz", [200.0, 250.0, 360.0, 500.0, 1000.0, 2000.0])
@pytest.mark.parametrize("spike_mv", [0.6, 4.0, -12.0])
def test_pacing_spikes_are_no_beats_and_paced_beats_are(fs_hz: float, spike_mv: float) -> None:
    record, truth = simulate("complete_block", 3, fs_hz=fs_hz, duration_s=20)
    lead = record.signals_mv[7].copy()
    width = max(1, round(0.0015 * fs_hz))
    atrial = np.concatenate((truth.r_peaks - round(0.18 * fs_hz), truth.r_peaks + round(0.62 * fs_hz)))
    for at in np.concatenate((truth.r_peaks - round(0.06 * fs_hz), atrial)):
        if 0 < at < lead.size - width:
            lead[at : at + width] += spike_mv
    found = detect_qrs(lead, fs_hz)
    assert agree(found, truth.r_peaks, lead.size, fs_hz, tolerance_s=0.06)


def test_a_saturated_stretch_has_no_beats_and_hides_none_beside_it() -> None:
    record, truth = simulate("normal", 8, duration_s=30)
    signals = record.signals_mv.copy()
    signals[:, 6000:8500] = 5.0
    found = detect_qrs(signals, 500.0)
    outside = truth.r_peaks[(truth.r_peaks < 5800) | (truth.r_peaks > 8700)]
    outside = outside[(outside > 50) & (outside < 14950)]
    assert all(np.abs(found - beat).min() <= 20 for beat in outside)
    assert not np.any((found > 6100) & (found < 8400))


def test_the_input_is_left_as_it_was() -> None:
    record, _ = simulate("normal", 1)
    before = record.signals_mv.copy()
    detect_qrs(record.signals_mv, 500.0)
    assert np.array_equal(before, record.signals_mv)


@pytest.mark.parametrize("fs_hz", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_a_callers_error(fs_hz: float) -> None:
    with pytest.raises(ValueError, match="fs_hz"):
        detect_qrs(np.zeros(1000), fs_hz)


@pytest.mark.filterwarnings("ignore")
def test_real_recordings_are_as_good_as_promised(data_dir: Path) -> None:
    missed = extra = total = 0
    for name in ("101", "106", "119", "201", "209", "223"):
        stem = data_dir / "ecg" / "mitdb" / name
        record = read_ecg(stem.with_suffix(".hea"))
        marks = wfdb.rdann(str(stem), "atr")
        truth = np.array([s for s, c in zip(marks.sample, marks.symbol, strict=True) if c in "NLRBAaJSVrFejnE/fQ?"])
        found = detect_qrs(record.signals_mv[0], record.fs_hz)
        tolerance = 0.15 * record.fs_hz
        missed += sum(np.abs(found - t).min() > tolerance for t in truth)
        extra += sum(np.abs(truth - f).min() > tolerance for f in found)
        total += truth.size
    assert (missed + extra) / total < 0.003


@pytest.mark.parametrize("gain", [1e-300, 1e-160, 1e-100, 1e-40, 1e100, 1e300])
def test_units_however_odd_change_no_beat_and_raise_no_warning(gain: float) -> None:
    record, _ = simulate("normal", 0)
    usual = detect_qrs(record.signals_mv, record.fs_hz)
    np.testing.assert_array_equal(detect_qrs(record.signals_mv * gain, record.fs_hz), usual)


def test_spikes_alone_and_a_long_missing_start_hold_no_beat() -> None:
    spikes = np.zeros((12, 5000))
    spikes[:, 200::430] = 2.0
    assert detect_qrs(spikes, 500.0).size == 0
    assert detect_qrs(spikes[0], 500.0).size == 0
    late = np.full((12, 5000), np.nan)
    late[:, 4700:] = 0.0
    assert detect_qrs(late, 500.0).size == 0


@pytest.mark.parametrize("noise", [0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_p_waves_of_a_heart_without_qrs_are_no_beats(seed: int, noise: float) -> None:
    record, _ = simulate("asystole", seed, p_waves=True, noise=noise)
    for gain in (1e-4, 1.0, 1e4):
        assert detect_qrs(record.signals_mv * gain, record.fs_hz).size == 0


@pytest.mark.parametrize("rate_bpm", [12.0, 15.0, 18.0, 21.0, 24.0, 30.0])
@pytest.mark.parametrize("seed", range(4))
def test_in_slow_complete_block_the_escape_beats_are_found_and_not_the_p_waves(seed: int, rate_bpm: float) -> None:
    record, truth = simulate("complete_block", seed, rate_bpm=rate_bpm)
    found = detect_qrs(record.signals_mv, record.fs_hz)
    assert agree(found, truth.r_peaks, record.signals_mv.shape[1], record.fs_hz)


@pytest.mark.parametrize("condition", ["paced", "lbbb", "idioventricular", "hyperkalaemia", "pre_excitation", "vt"])
def test_wide_and_smooth_beats_are_no_p_waves_even_when_small(condition: str) -> None:
    record, truth = simulate(condition, 3, scale=0.3, noise=1.0)
    n, fs = record.signals_mv.shape[1], record.fs_hz
    assert agree(detect_qrs(record.signals_mv, fs), truth.r_peaks, n, fs, tolerance_s=0.09)


def test_slow_wide_beats_beside_larger_jolts_are_no_p_waves() -> None:
    record, truth = simulate("idioventricular", 4)
    x, rng = record.signals_mv.copy(), np.random.default_rng(4)
    for at in rng.integers(300, 4700, 3):
        x[:, at : at + 40] += rng.normal(size=(12, 1)) * 4 * np.hanning(40)
    found = detect_qrs(x, record.fs_hz)
    assert sum(np.abs(found - r).min(initial=9999) < 45 for r in truth.r_peaks) >= 4

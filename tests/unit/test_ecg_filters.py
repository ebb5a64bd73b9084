"""Promises of the ECG filters, each on waveforms whose ST level is known exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.signal.ecg.filters import AppliedFilters, band_pass, diagnostic, find_mains, monitoring
from teleread.signal.ecg.mains import mains_of, without_mains
from teleread.signal.ecg.wander import wander

Samples = NDArray[np.float64]

FS = 500.0
RATES_BPM = (40, 50, 60, 75, 90, 110, 130, 150)


def heart(
    rate_bpm: float, st_mv: float = 0.0, t_mv: float = 0.3, fs_hz: float = FS, seconds: float = 10.0
) -> tuple[Samples, Samples]:
    """One lead with an isoelectric line at zero, a level ST of known height, and where its R peaks are, in seconds."""
    t = np.arange(int(fs_hz * seconds)) / fs_hz
    rr = 60.0 / rate_bpm
    beats = np.arange(0.35 * rr, seconds, rr)
    slow = min(1.0, np.sqrt(rr))
    x = np.zeros(t.size)
    for beat in beats:
        u = t - beat

        def bell(centre: float, width: float, u: Samples = u) -> Samples:
            return np.asarray(np.exp(-0.5 * ((u - centre) / width) ** 2))

        x += 0.12 * bell(-0.16 * slow**0.5, 0.018)
        x += 1.2 * bell(0.0, 0.01) - 0.1 * bell(-0.025, 0.007) - 0.35 * bell(0.026, 0.009)
        x += st_mv * 0.5 * (np.tanh((u - 0.042) / 0.006) - np.tanh((u - 0.30 * slow) / 0.04))
        x += t_mv * bell(0.28 * slow, 0.045 * slow)
    return x, beats


def st_level(x: Samples, beats: Samples, fs_hz: float = FS) -> Samples:
    """Each beat's level 60 ms behind the J point relative to the PR segment."""
    levels = []
    for beat in beats:
        before, behind = round((beat - 0.055) * fs_hz), round((beat + 0.11) * fs_hz)
        reach = round(0.008 * fs_hz)
        if before >= 2 * reach and behind + reach < x.size:
            levels.append(x[behind - reach : behind + reach + 1].mean() - x[before - reach : before + reach + 1].mean())
    return np.asarray(levels)


def with_disturbance(x: Samples, wander_mv: float, wander_hz: float, mains_mv: float, fs_hz: float = FS) -> Samples:
    t = np.arange(x.size) / fs_hz
    return np.asarray(
        x + wander_mv * np.sin(2 * np.pi * wander_hz * t + 0.5) + mains_mv * np.sin(2 * np.pi * 50.1 * t) + 0.8
    )


def high_pass_of_old(x: Samples, fs_hz: float) -> Samples:
    """The broken twin: what a plain 0.5 Hz high-pass, that runs one way, makes of ST."""
    from scipy.signal import butter, sosfilt

    return np.asarray(sosfilt(butter(1, 0.5, "highpass", fs=fs_hz, output="sos"), x - x[0]))


@pytest.mark.parametrize("rate_bpm", RATES_BPM)
@pytest.mark.parametrize("st_mv", [-0.2, 0.0, 0.3])
@pytest.mark.parametrize(
    ("wander_mv", "wander_hz", "mains_mv"), [(0, 0.2, 0), (0, 0.2, 0.2), (0.3, 0.15, 0), (0.3, 0.25, 0.2)]
)
def test_st_level_moves_by_less_than_25_microvolts(
    rate_bpm: int, st_mv: float, wander_mv: float, wander_hz: float, mains_mv: float
) -> None:
    for t_mv in (0.15, 0.5, -0.3):
        x, beats = heart(rate_bpm, st_mv, t_mv)
        y = diagnostic(with_disturbance(x, wander_mv, wander_hz, mains_mv), FS).signals_mv
        moved = st_level(y, beats) - st_level(x, beats)
        assert abs(np.median(moved)) < 0.025
        if wander_mv == 0:  # then each single beat keeps it, also the first and the last of the strip
            assert np.abs(moved).max() < 0.025


def test_the_st_test_catches_a_high_pass_that_moves_st() -> None:
    x, beats = heart(60, 0.3, 0.5)
    assert abs(np.median(st_level(high_pass_of_old(x, FS), beats) - st_level(x, beats))) > 0.025


@pytest.mark.parametrize("fs_hz", [250.0, 257.0, 1000.0, 2000.0])
def test_st_level_is_kept_at_other_rates(fs_hz: float) -> None:
    x, beats = heart(70, 0.2, 0.3, fs_hz)
    y = diagnostic(with_disturbance(x, 0.0, 0.2, 0.1, fs_hz), fs_hz).signals_mv
    assert np.abs(st_level(y, beats, fs_hz) - st_level(x, beats, fs_hz)).max() < 0.025


@pytest.mark.parametrize("height_mv", [0.3, 3.0])
def test_an_impulse_leaves_neither_displacement_nor_slope_behind(height_mv: float) -> None:
    x = np.zeros(5000)
    x[2500:2550] = height_mv
    y = diagnostic(x, FS).signals_mv
    y = y - y[2400]
    assert np.abs(y[2560:]).max() < 0.1
    assert np.abs(np.diff(y[2575:]) * FS).max() < 0.3


def test_filters_shift_nothing() -> None:
    x, beats = heart(75)
    for filtered in (diagnostic(x, FS), monitoring(x, FS)):
        y = filtered.signals_mv
        for beat in beats:
            k = round(beat * FS)
            assert abs(int(np.argmax(y[k - 20 : k + 21])) - 20) <= 1


def test_what_was_applied_is_said() -> None:
    x, _ = heart(75)
    t = np.arange(x.size) / FS
    assert diagnostic(x, FS).applied == AppliedFilters(0.05, 150.0, None, baseline_removed=True)
    assert diagnostic(x + 0.1 * np.sin(2 * np.pi * 60 * t), FS).applied.notch_hz == 60.0
    assert diagnostic(x, FS, mains_hz=50.0).applied.notch_hz == 50.0
    assert diagnostic(x, FS, child=True).applied.low_pass_hz is None  # 500 Hz has no room for 250 Hz
    assert diagnostic(np.repeat(x, 2), 2 * FS, child=True).applied.low_pass_hz == 250.0
    assert diagnostic(x[::4], FS / 4, mains_hz=60.0).applied == AppliedFilters(0.05, None, None, baseline_removed=True)
    assert monitoring(x, FS).applied == AppliedFilters(0.5, 40.0, None, baseline_removed=False)


@pytest.mark.parametrize("hz", [49.7, 50.0, 50.2, 59.8, 60.0])
@pytest.mark.parametrize("size_mv", [0.01, 0.1, 0.5])
def test_mains_is_found_and_leaves_no_ringing(hz: float, size_mv: float) -> None:
    x, _ = heart(75)
    t = np.arange(x.size) / FS
    size = size_mv * (1 + 0.2 * np.sin(2 * np.pi * 0.1 * t))
    y = np.stack((x + size * np.sin(2 * np.pi * hz * t + 1.0), 0.5 * x))
    found = find_mains(y, FS)
    assert found == round(hz, -1)
    clean = without_mains(y, FS, found)
    assert np.abs(clean[0] - x)[100:-100].max() < 0.004 + 0.05 * size_mv
    assert np.abs(clean[1] - 0.5 * x).max() < 0.004  # the lead without mains stays as it was, QRS and all


def test_harmonics_of_mains_go_with_it() -> None:
    x, _ = heart(75)
    t = np.arange(x.size) / FS
    hum = 0.1 * np.sin(2 * np.pi * 50 * t) + 0.03 * np.sin(2 * np.pi * 150 * t + 0.3)
    assert np.abs(without_mains((x + hum)[None], FS, 50.0)[0] - x)[50:-50].max() < 0.006


def test_no_mains_is_seen_where_there_is_none() -> None:
    x, _ = heart(75)
    noise = np.random.default_rng(1).standard_normal(x.size)
    for clean in (x, x + 0.03 * noise, noise, np.zeros(5000)):
        assert find_mains(clean, FS) is None
    assert find_mains(np.empty((0, 5000)), FS) is None
    assert find_mains(np.empty(0), FS) is None
    assert find_mains(x[:100], FS) is None
    assert mains_of(x[None, ::5], 100.0) is None


def test_gaps_come_back_as_gaps_and_leads_keep_their_shape() -> None:
    x, _ = heart(75)
    holed = np.stack((x, x, np.full(x.size, np.nan)))
    holed[0, 1000:1400] = np.nan
    for work in (diagnostic, monitoring):
        filtered = work(holed, FS)  # type: ignore[operator]
        assert np.array_equal(np.isnan(filtered.signals_mv), np.isnan(holed))
        assert work(x, FS).signals_mv.shape == x.shape  # type: ignore[operator]


@pytest.mark.parametrize("n", [0, 1, 2, 10, 100, 400, 600])
def test_records_too_short_to_filter_come_back(n: int) -> None:
    x, _ = heart(75)
    for work in (diagnostic, monitoring):
        assert np.isfinite(work(x[None, :n], FS).signals_mv).all()  # type: ignore[operator]


def test_a_long_recording_is_filtered_in_parts_without_seams() -> None:
    x, beats = heart(66, 0.2, 0.3, 250.0, 200.0)
    y = diagnostic(with_disturbance(x, 0.3, 0.1, 0.1, 250.0), 250.0).signals_mv
    moved = st_level(y, beats, 250.0) - st_level(x, beats, 250.0)
    assert np.abs(moved[1:-1]).max() < 0.025
    inner = slice(500, -500)
    assert np.abs(y[inner] - x[inner]).max() < 0.1


def test_gain_and_polarity_and_offset_pass_through() -> None:
    x, _ = heart(80, 0.1)
    once = diagnostic(x, FS).signals_mv
    np.testing.assert_allclose(diagnostic(-2.0 * x + 5.0, FS).signals_mv, -2.0 * once, atol=1e-9)


@pytest.mark.parametrize("level_mv", [0.015259021896667946, 0.0152590218966679, -0.1, 300.0])
@pytest.mark.parametrize("seconds", [10.0, 180.0])
def test_a_lead_of_one_value_leaves_no_rounding_behind(level_mv: float, seconds: float) -> None:
    beating = with_disturbance(heart(75, seconds=seconds)[0], 0.3, 0.3, 0.05)
    both = np.stack((beating, np.full(beating.size, level_mv)))
    both[1, 40:60] = np.nan
    for filtered in (diagnostic(both, FS), monitoring(both, FS)):
        assert np.nanmax(np.abs(filtered.signals_mv[1])) == 0.0
        assert np.isnan(filtered.signals_mv[1]).sum() == 20
    # what the baseline leaves of such a lead by itself is not nothing, and counts as steep where it is the steepest
    assert np.abs(both[1:, 60:] - wander(both[1:, 60:], FS)).max() > 0.0 or level_mv == 300.0


def test_wander_goes_and_the_baseline_between_beats_lies_at_zero() -> None:
    x, beats = heart(75)
    y = diagnostic(with_disturbance(x, 0.5, 0.2, 0.0), FS).signals_mv
    before = [np.round((b - 0.055) * FS).astype(int) for b in beats[1:]]
    assert np.abs(y[before]).max() < 0.03


def test_beats_may_be_given_to_the_baseline() -> None:
    x, beats = heart(75)
    drifting = with_disturbance(x, 0.5, 0.2, 0.0)[None]
    found, given = wander(drifting, FS), wander(drifting, FS, np.rint(beats * FS).astype(np.int64))
    assert np.abs(found - given).max() < 0.05
    assert np.isfinite(wander(drifting, FS, np.empty(0, dtype=np.int64))).all()
    assert np.isfinite(wander(drifting, FS, np.array([2500]))).all()


def test_helpers_shared_by_every_stage_keep_their_shape_and_level() -> None:
    from teleread.signal.ecg.filters import diagnostic_band, moving_mean, run_lengths

    x, _ = heart(75)
    assert diagnostic_band(x, FS).shape == x.shape
    np.testing.assert_allclose(moving_mean(np.ones(9), 4), 1.0)
    starts, stops = run_lengths(np.array([True, False, True, True]))
    assert (starts.tolist(), stops.tolist()) == ([0, 2], [1, 4])


def test_mains_of_a_strip_too_short_to_know_it_stays() -> None:
    x, _ = heart(75)
    np.testing.assert_array_equal(without_mains(x[None, :100], FS, 50.0), x[None, :100])


def test_band_pass_leaves_out_what_the_rate_has_no_room_for() -> None:
    x, _ = heart(75)
    same: Callable[[Samples], Samples] = lambda v: band_pass(v, FS, 300.0, 400.0)  # noqa: E731
    np.testing.assert_array_equal(same(x), x)

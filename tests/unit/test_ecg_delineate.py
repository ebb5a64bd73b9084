"""Promises of the delineation of one lead, on simulated hearts and, where they are at hand, on marked recordings."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.signal.ecg import detect_qrs, simulate
from teleread.signal.ecg.delineate import delineate
from teleread.signal.ecg.delineate_lead import _steadied, delineate_lead, from_probabilities, p_waves, waves
from teleread.signal.ecg.delineate_net import CHANNELS, FRAME_HZ, forward, resampled, trained, wave_probabilities
from teleread.signal.ecg.delineation import ABSENT, Delineation

Samples = NDArray[np.float64]

NAMES = ("p_on", "p_peak", "p_off", "qrs_on", "qrs_off", "t_on", "t_peak", "t_off")
LEAD_II = 1


def lead(
    condition: str, seed: int = 1, fs_hz: float = 500.0, seconds: float = 10.0
) -> tuple[Samples, NDArray[np.int64]]:
    record, truth = simulate(condition, seed, fs_hz=fs_hz, duration_s=seconds)
    return record.signals_mv[LEAD_II], truth.r_peaks


def inner(found: Delineation) -> slice:
    """Beats whose waves lie within the recording."""
    return slice(1, found.r_peaks.size - 1)


def part_there(marks: NDArray[np.int64]) -> float:
    return float(np.mean(marks >= 0))


def differences(one: Delineation, other: Delineation, scale: float = 1.0) -> NDArray[np.float64]:
    """Samples between the marks that both have, all waves of the inner beats together."""
    gaps = []
    for name in NAMES:
        a, b = getattr(one, name)[inner(one)], getattr(other, name)[inner(one)]
        both = (a >= 0) & (b >= 0)
        gaps.append(a[both] * scale - b[both])
    return np.concatenate(gaps)


@pytest.mark.parametrize("seed", range(4))
def test_waves_of_a_normal_heart_lie_where_they_were_put(seed: int) -> None:
    record, truth = simulate("normal", seed)
    found = delineate(record.signals_mv[LEAD_II], record.fs_hz, truth.r_peaks)
    keep = inner(found)
    for name, limit_ms in (("p_on", 25), ("p_off", 25), ("qrs_on", 16), ("qrs_off", 16), ("t_off", 50)):
        there, true = getattr(found, name)[keep], getattr(truth, name)[keep]
        assert (there >= 0).all(), name
        assert abs(np.median(there - true)) * 1000 / record.fs_hz < limit_ms, name


def test_waves_come_in_physiological_order() -> None:
    for condition in ("normal", "af", "complete_block"):
        x, r = lead(condition)
        found = delineate(x, 500.0, r)
        for i in range(r.size):
            marks = [int(getattr(found, name)[i]) for name in NAMES]
            told = [m for m in marks if m != ABSENT]
            assert told == sorted(told)
            assert (found.p_on[i] == ABSENT) == (found.p_off[i] == ABSENT) == (found.p_peak[i] == ABSENT)
            if i and found.p_on[i] >= 0 and found.t_off[i - 1] >= 0:
                assert found.p_on[i] >= found.t_off[i - 1] - 10


@pytest.mark.parametrize("seed", range(3))
def test_fibrillating_atria_have_no_p_waves(seed: int) -> None:
    x, r = lead("af", seed)
    found = delineate(x, 500.0, r)
    assert part_there(found.p_on) < 0.25
    assert part_there(found.qrs_on[inner(found)]) == 1.0


def test_blocked_p_waves_are_found_though_no_beat_follows() -> None:
    record, truth = simulate("av_block_2_1", 1)
    on, off = p_waves(record.signals_mv[LEAD_II], record.fs_hz)
    assert on.size > 1.5 * truth.r_peaks.size
    assert (off > on).all()
    found = sum(bool(((on <= p) & (p <= off)).any()) for p in truth.p_waves)
    assert found > 0.9 * truth.p_waves.size


@pytest.mark.parametrize("gain", [1e-4, 0.1, 30.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_gain_and_offset_change_nothing(gain: float, offset: float) -> None:
    x, r = lead("normal")
    once, again = delineate(x, 500.0, r), delineate(gain * (x + offset), 500.0, r)
    assert np.abs(differences(once, again)).max() <= 1


def test_polarity_changes_little() -> None:
    x, r = lead("normal")
    once, turned = delineate(x, 500.0, r), delineate(-x, 500.0, r)
    assert part_there(turned.qrs_on[inner(turned)]) == 1.0
    assert np.median(np.abs(differences(once, turned))) * 2 <= 8


@pytest.mark.parametrize("fs_hz", [100.0, 128.0, 250.0, 360.0, 1000.0, 2000.0])
def test_the_sampling_rate_changes_little(fs_hz: float) -> None:
    x, r = lead("normal")
    t = np.arange(int(10 * fs_hz)) / fs_hz
    y = np.interp(t, np.arange(x.size) / 500.0, x)
    once, again = delineate(x, 500.0, r), delineate(y, fs_hz, np.rint(r * fs_hz / 500.0).astype(np.int64))
    gaps_ms = differences(again, once, 500.0 / fs_hz) * 2
    assert np.median(np.abs(gaps_ms)) <= 4 + 500 / fs_hz
    assert np.percentile(np.abs(gaps_ms), 95) <= 20 + 1000 / fs_hz


@pytest.mark.parametrize("shift", [1, 7, 50, 333])
def test_a_shift_in_time_shifts_the_marks(shift: int) -> None:
    x, r = lead("normal")
    r = r[r >= shift]
    once, later = delineate(x, 500.0, r), delineate(x[shift:], 500.0, r - shift)
    assert np.percentile(np.abs(differences(once, later) - shift), 95) <= 4


def test_the_same_input_gives_the_same_bytes() -> None:
    x, r = lead("normal")
    once, again = delineate(x, 500.0, r), delineate(x.copy(), 500.0, r.copy())
    assert all(np.array_equal(getattr(once, name), getattr(again, name)) for name in NAMES)


def test_nothing_is_marked_where_nothing_is() -> None:
    rng = np.random.default_rng(3)
    for x in (np.zeros(5000), np.full(5000, 1.3), np.full(5000, np.nan)):
        found = delineate(x, 500.0, np.arange(250, 5000, 500))
        assert all((getattr(found, name) == ABSENT).all() for name in NAMES)
        assert delineate(x, 500.0).r_peaks.size == 0
    noisy = delineate(0.02 * rng.standard_normal(5000), 500.0, np.arange(250, 5000, 500))
    assert part_there(noisy.p_on) < 0.5
    assert part_there(noisy.qrs_on) < 0.5
    for n in (0, 1, 3, 60):
        assert delineate(np.zeros(n), 500.0, np.arange(min(n, 1))).qrs_on.size == min(n, 1)
        assert p_waves(np.zeros(n), 500.0)[0].size == 0


def test_waves_in_a_gap_are_absent_and_the_others_stay() -> None:
    x, r = lead("normal", seconds=12.0)
    whole = delineate(x, 500.0, r)
    holed = x.copy()
    start, stop = int(r[4]) - 20, int(r[6]) + 20
    holed[start:stop] = np.nan
    found = delineate(holed, 500.0, r)
    for name in NAMES:
        marks = getattr(found, name)
        assert not ((marks >= start) & (marks < stop)).any()
    assert found.qrs_on[5] == found.t_off[5] == ABSENT
    far = [1, 2, r.size - 2]
    assert np.abs(found.qrs_on[far] - whole.qrs_on[far]).max() <= 4


def test_no_beats_no_marks() -> None:
    x, _ = lead("normal")
    assert delineate(x, 500.0, np.empty(0, dtype=np.int64)).p_on.size == 0


def test_a_beat_that_is_not_there_has_no_qrs_and_a_doubled_one_has_it_once() -> None:
    x, r = lead("normal")
    false = int((r[3] + r[4]) // 2) + 60
    found = delineate(x, 500.0, np.sort(np.append(r, [false, r[5] + 15])))
    assert found.qrs_on[np.searchsorted(found.r_peaks, false)] == ABSENT
    pair = found.qrs_on[np.isin(found.r_peaks, [r[5], r[5] + 15])]
    assert (pair >= 0).sum() == 1


def test_a_long_recording_in_windows_is_as_one_in_parts() -> None:
    x, r = lead("normal", seconds=60.0)
    whole = delineate(x, 500.0, r)
    start = 10_000
    there = (r > start + 1000) & (r < start + 4000)
    part = delineate_lead(x[start : start + 5000], 500.0, r[there] - start)
    gaps = np.concatenate([getattr(whole, n)[there] - getattr(part, n) - start for n in ("qrs_on", "qrs_off", "p_on")])
    assert np.percentile(np.abs(gaps), 90) <= 5
    assert part_there(whole.p_on[inner(whole)]) > 0.95
    assert part_there(whole.t_off[inner(whole)]) > 0.95


def test_a_very_long_recording_is_told_part_by_part_without_seams() -> None:
    x, r = lead("normal", fs_hz=125.0, seconds=60.0)
    times, n = 17, x.size
    peaks = np.concatenate([r + k * n for k in range(times)])
    found = delineate_lead(np.tile(x, times), 125.0, peaks)
    assert np.array_equal(found.r_peaks, peaks)
    assert part_there(found.qrs_on) > 0.98
    assert part_there(found.p_on) > 0.95
    on, _ = p_waves(np.tile(x, times), 125.0)
    assert (np.diff(on) > 0).all()
    assert abs(on.size - peaks.size) < 0.05 * peaks.size


def test_many_leads_go_to_the_global_door() -> None:
    record, truth = simulate("normal", 1)
    found = delineate(record.signals_mv, record.fs_hz)
    assert abs(found.r_peaks.size - truth.r_peaks.size) <= 1
    assert part_there(found.qrs_on) > 0.7
    assert delineate(np.empty((0, 5000)), 500.0).r_peaks.size == 0


def test_the_door_refuses_what_is_no_recording() -> None:
    with pytest.raises(ValueError, match="n_leads"):
        delineate(np.zeros((2, 2, 2)), 500.0)
    with pytest.raises(ValueError, match="fs_hz"):
        delineate(np.zeros(5000), 0.0)


def test_probabilities_are_probabilities_and_the_weights_tell_their_origin() -> None:
    x, _ = lead("normal")
    planes = wave_probabilities(x, 500.0)
    assert planes.shape == (4, 1250)
    np.testing.assert_allclose(planes.sum(axis=0), 1.0, atol=1e-5)
    net = trained()
    assert net["enter.w"].shape == (CHANNELS[0], 2, 10)
    assert sum(w.size for w in net.values()) < 100_000


def test_a_convolution_as_matrix_product_is_a_convolution() -> None:
    net = {name: w.copy() for name, w in trained().items()}
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 320)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (4, 4)))
    w, b = net["enter.w"], net["enter.b"]
    slow = np.array(
        [[np.sum(w[c] * padded[:, 2 * k : 2 * k + 10]) + b[c] for k in range(160)] for c in range(w.shape[0])]
    )
    from teleread.signal.ecg.delineate_net import _convolved

    np.testing.assert_allclose(_convolved(x, w, b, 2), slow, atol=1e-4)
    assert forward(x, net).shape == (4, 160)


def test_resampling_keeps_time_and_level() -> None:
    for fs_hz in (100.0, 250.0, 333.0, 1000.0):
        t = np.arange(int(4 * fs_hz)) / fs_hz
        y = resampled(np.sin(2 * np.pi * 2 * t), fs_hz, 100, 500)
        np.testing.assert_allclose(y, np.sin(2 * np.pi * 2 * np.arange(100, 600) / 250), atol=0.01)
    assert resampled(np.ones(3), 500.0, 0, 2).tolist() == [1.0, 1.0]


def test_runs_end_where_the_mark_is_to_be_expected() -> None:
    p = np.zeros(50)
    p[10:20] = 0.9
    p[9], p[20] = 0.4, 0.4
    p[30:33] = 0.45  # never reaches one half
    p[:3] = 0.9  # cut by the beginning
    found = waves(p)
    assert found.on.size == 1
    assert found.on[0] == pytest.approx((10.1 - 0.25) / FRAME_HZ)
    assert found.off[0] == pytest.approx((19.9 - 0.25) / FRAME_HZ)
    assert waves(np.zeros(0)).on.size == 0


def test_one_stray_mark_among_like_beats_is_drawn_half_way_to_them() -> None:
    off = np.full(12, -0.05)
    on = np.full(12, -0.15)
    on[4] = -0.09
    on[7] = off[7] = np.nan
    off[9], on[9] = -0.2, -0.3  # another P wave, as of a premature beat
    steady = _steadied(on, off)
    assert steady[4] == pytest.approx(-0.12)
    assert steady[9] == -0.3
    assert np.isnan(steady[7])
    assert np.delete(steady, [4, 7, 9]) == pytest.approx(-0.15)


def test_without_any_wave_each_beat_is_absent() -> None:
    planes = np.zeros((4, 100), dtype=np.float32)
    planes[0] = 1.0
    found = from_probabilities(planes, np.zeros(400), 500.0, np.array([100, 300]))
    assert all((getattr(found, name) == ABSENT).all() for name in NAMES)


@pytest.mark.parametrize("name", ["12", "50", "102"])
def test_marks_of_cardiologists_are_met(data_dir: Path, name: str) -> None:
    """Coarse: the exact figures are benchmarks/ecg_delineation.py's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb = pytest.importorskip("wfdb")
    folder = data_dir / "ecg" / "ludb"
    if not (folder / f"{name}.hea").exists():
        pytest.skip("not among our recordings")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reader's own deprecations
        record, note = wfdb.rdrecord(str(folder / name)), wfdb.rdann(str(folder / name), "ii")
    x = record.p_signal[:, LEAD_II]
    found = delineate(x, float(record.fs), detect_qrs(x, float(record.fs)))
    onsets = [s for s, a, b in zip(note.sample, note.symbol, note.symbol[1:], strict=False) if a == "(" and b == "N"]
    errors_ms = [np.abs(found.qrs_on[found.qrs_on >= 0] - on).min() * 2 for on in onsets]
    assert np.median(errors_ms) < 20


@pytest.mark.parametrize("condition", ["normal", "lbbb", "af"])
def test_a_beat_that_was_overlooked_is_found_where_its_qrs_is(condition: str) -> None:
    x, beats = lead(condition, seed=3)
    without = np.delete(beats, 4)
    found = delineate_lead(x, 500.0, without, overlooked=True)
    assert found.r_peaks.size == beats.size
    assert np.abs(found.r_peaks - beats).max() <= 40
    assert found.qrs_on[4] < found.r_peaks[4] < found.qrs_off[4]
    assert delineate_lead(x, 500.0, without).r_peaks.tolist() == without.tolist()


def test_where_no_beats_are_known_none_is_made_up() -> None:
    x = 0.1 * np.random.default_rng(1).standard_normal(5000)
    assert delineate_lead(x, 500.0, np.empty(0, np.int64), overlooked=True).r_peaks.size == 0
    assert delineate(x, 500.0).r_peaks.size == 0

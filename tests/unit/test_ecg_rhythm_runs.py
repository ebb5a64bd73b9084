"""Where one rhythm ends and another begins: runs within fibrillation, two-faced runs, long pauses, P waves and T
waves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from teleread.signal.ecg import rhythm_spans, ventricular
from teleread.signal.ecg.atrial import fibrillating
from teleread.signal.ecg.av_block import av_block
from teleread.signal.ecg.beat_table import BeatTable, beat_table
from teleread.signal.ecg.beats import NORMAL, PACED, VENTRICULAR, two_faced_runs
from teleread.signal.ecg.rhythm import classify_rhythm
from teleread.signal.ecg.rhythm_standstill import standstills, windows
from teleread.signal.ecg.simulate import simulate

FS = 500.0


def table_of(rr_s: np.ndarray) -> BeatTable:
    """Beats of no interest but for their intervals."""
    n = rr_s.size
    r = np.rint(FS * np.cumsum(rr_s)).astype(np.int64)
    table = beat_table(np.zeros((1, int(r[-1]) + 500)), FS, ("II",), r)
    return replace(table, rr_s=np.concatenate(([np.nan], rr_s[1:])), p=np.zeros((n, 8)), match=np.ones(n))


def irregular(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.4, 1.0, n)


# --- fibrillation


def test_an_episode_reaches_as_far_as_it_is_likely() -> None:
    rr = irregular(200)
    share = np.full(200, 0.05)
    share[80:120] = 0.3
    r_s = np.cumsum(rr)
    assert not fibrillating(share, r_s, rr).any()  # nowhere sure
    share[95:100] = 0.9
    assert np.flatnonzero(fibrillating(share, r_s, rr)).tolist() == list(range(80, 120))


def test_a_short_recording_has_one_limit() -> None:
    rr = irregular(12)
    assert fibrillating(np.full(12, 0.4), np.cumsum(rr), rr).all()
    assert not fibrillating(np.full(12, 0.3), np.cumsum(rr), rr).any()


def test_steady_beats_are_no_fibrillation_however_sure_it_seems() -> None:
    rr = np.full(30, 0.8) + 0.005 * np.sin(np.arange(30))
    assert not fibrillating(np.ones(30), np.cumsum(rr), rr).any()
    assert fibrillating(np.ones(30), np.cumsum(irregular(30)), irregular(30)).all()


@pytest.mark.parametrize(
    ("rr_s", "code"),
    [
        ((0.8, 0.42, 0.40, 0.41), rhythm_spans.VT),  # four that keep time
        ((0.8, 0.43, 0.60, 0.38), rhythm_spans.AF),  # four that do not
        ((0.8, 0.30, 0.42, 0.36, 0.30, 0.45, 0.39), rhythm_spans.VT),  # quick and long
        ((0.8, 0.45, 0.70, 0.95, 0.60, 0.82, 0.50), rhythm_spans.AF),  # long, but as irregular as the rest
        ((0.8, 0.50, 0.51, 0.49, 0.98), rhythm_spans.VT),  # the last one comes late
    ],
)
def test_a_run_in_fibrillation_keeps_a_rhythm_of_its_own(rr_s: tuple[float, ...], code: int) -> None:
    rr = np.concatenate((irregular(6), rr_s, irregular(6)))
    kinds = np.full(rr.size, NORMAL)
    kinds[6 : 6 + len(rr_s)] = VENTRICULAR
    found = rhythm_spans.overlaid(np.full(rr.size, rhythm_spans.AF), table_of(rr), kinds)
    assert set(found[6 : 6 + len(rr_s)].tolist()) == {code}


@pytest.mark.parametrize(
    ("rr", "p", "goes_on"), [(irregular(10), 0.2, True), (np.full(10, 0.8), 0.2, False), (irregular(10), 2.0, False)]
)
def test_fibrillation_goes_on_where_only_its_intervals_are_hidden(rr: np.ndarray, p: float, *, goes_on: bool) -> None:
    table = table_of(np.concatenate((irregular(20), rr, irregular(20, 1))))
    code = np.full(50, rhythm_spans.AF)
    code[20:30] = rhythm_spans.UNDETERMINED
    e = replace(rhythm_spans.evidence(table, None, None, np.zeros(50)), p=np.full(50, p))
    assert (rhythm_spans.continued(code, e, table)[20:30] == rhythm_spans.AF).all() == goes_on
    code[40:] = rhythm_spans.UNDETERMINED  # nothing follows
    assert (rhythm_spans.continued(code, e, table)[40:] == rhythm_spans.UNDETERMINED).all()


# --- ventricles


@pytest.mark.parametrize(
    ("first", "second", "is_run"),
    [(0.50, 0.58, True), (0.42, 0.78, False), (0.70, 0.74, False)],  # bigeminy pauses; the last is slow
)
def test_two_faces_without_a_pause_are_a_tachycardia(first: float, second: float, *, is_run: bool) -> None:
    rr = np.array([first, second] * 6)
    kinds = np.array([NORMAL, VENTRICULAR] * 6)
    assert two_faced_runs(table_of(rr), kinds)[1:].all() == is_run
    kinds[::2] = PACED
    assert not two_faced_runs(table_of(rr), kinds).any()


def test_beats_full_of_holes_are_no_order() -> None:
    r_s = np.concatenate((np.arange(0.0, 3.0, 0.27), np.arange(5.5, 9.8, 0.27)))
    kept, orderly = ventricular.disordered([(0.0, 10.0)], r_s, np.full(r_s.size, 0.9))
    assert kept == [(0.0, 10.0)]
    assert not orderly.any()
    whole = np.arange(0.0, 9.8, 0.27)
    kept, orderly = ventricular.disordered([(0.0, 10.0)], whole, np.full(whole.size, 0.9))
    assert kept == []
    assert orderly.all()


# --- standstill


@pytest.mark.parametrize(("pause_s", "found"), [(2.9, False), (3.1, True), (3.6, True), (4.8, True)])
def test_three_seconds_without_a_beat_are_a_standstill(pause_s: float, *, found: bool) -> None:
    record, truth = simulate("pause", 3, pause_s=pause_s)
    rhythm = classify_rhythm(record.signals_mv, FS, record.leads, truth.r_peaks, None, None)
    still = [(start, end) for start, end, code in rhythm.spans if code == "asystole"]
    assert bool(still) is found
    r_s = truth.r_peaks / FS
    for start, end in still:
        assert end - start == pytest.approx(pause_s, abs=0.05)
        # the beat before it does not lie in it, so that it stays a beat
        assert not ((r_s >= start) & (r_s < end)).any()


def test_a_missed_beat_is_no_standstill() -> None:
    record, truth = simulate("sinus_bradycardia", 3, rate_bpm=35.0)
    r = np.delete(truth.r_peaks, 2)
    rhythm = classify_rhythm(record.signals_mv, FS, record.leads, r, None, None)
    assert "asystole" not in {code for *_, code in rhythm.spans}


def test_nothing_stands_still_in_too_few_samples() -> None:
    assert standstills(np.zeros((1, 20)), FS, [0], np.empty(0), [], []) == []


def test_windows_fill_what_is_there() -> None:
    assert windows(30.0, [(12.0, 13.0)]) == [(0.0, 12.0), (13.0, 23.0), (23.0, 30.0)]
    assert windows(0.0, []) == []


# --- AV block


def block_of(condition: str, seed: int, **options: float) -> str | None:
    record, truth = simulate(condition, seed, **options)
    plain = np.ones(truth.r_peaks.size, dtype=np.bool_)
    found = av_block(record.signals_mv, FS, record.leads, truth.r_peaks, plain)
    return None if found is None else found.code


def test_a_late_t_wave_is_no_p_wave() -> None:
    assert [block_of("long_qt", seed, noise=0.15) for seed in (1004, 1022, 1023, 1029, 1032, 1054)] == [None] * 6
    assert [block_of("av_block_2_1", seed) for seed in range(1000, 1006)] == ["av_block_2_1"] * 6


def test_p_waves_that_walk_past_the_beats_are_complete_block() -> None:
    assert [block_of("complete_block", seed) for seed in (2001, 2003, 2007, 1027)] == ["av_block_3"] * 4

"""The parts that judge a rhythm, each by itself, and what a whole recording makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from teleread.signal.ecg import rhythm_spans, ventricular
from teleread.signal.ecg.atrial import steady
from teleread.signal.ecg.av_block import av_block, p_train
from teleread.signal.ecg.beat_shapes import BLOCK_BEATS, blocks, chosen_leads
from teleread.signal.ecg.beat_table import beat_table, local_mean, local_median
from teleread.signal.ecg.beats import beat_kinds
from teleread.signal.ecg.fibrillation import repetition
from teleread.signal.ecg.flutter import Spectra, flutter_strength
from teleread.signal.ecg.record import STANDARD_LEADS
from teleread.signal.ecg.rhythm import classify_rhythm
from teleread.signal.ecg.simulate import simulate
from tests.unit.rhythms import FS, codes, flat_table, judged, main_code


def test_repetition_tells_order_from_chaos() -> None:
    fs, t = 125.0, np.arange(1000) / 125.0
    wave = np.sin(2 * np.pi * 3.0 * t)[None]
    repeats, period = repetition(wave, fs)
    assert repeats > 0.95
    assert period == pytest.approx(1 / 3.0, abs=0.02)
    chaos = np.cumsum(np.random.default_rng(3).standard_normal((1, 1000)), axis=1)
    assert repetition(chaos, fs)[0] < 0.7
    assert repetition(np.zeros((1, 1000)), fs) == (0.0, 0.0)
    assert repetition(np.arange(1000.0)[None], fs)[0] < 0.9


def test_dissociated_p_waves_are_found_but_a_lone_train_needs_contrast() -> None:
    rng = np.random.default_rng(4)
    assert (
        av_block(
            0.02 * rng.standard_normal((2, 5000)), FS, ("II", "V1"), np.arange(300, 5000, 800), np.ones(6, dtype=bool)
        )
        is None
    )
    assert p_train(np.full(1250, np.nan), 125.0) is None
    assert p_train(np.zeros(1250), 125.0) is None
    few = np.array([True, True, False, False, False, False])
    assert av_block(np.zeros((2, 5000)), FS, ("II", "V1"), np.arange(300, 5000, 800), few) is None
    apart = np.array([True, False, True, False, True, True, False, True, False, True])
    assert av_block(np.zeros((1, 5000)), FS, ("X",), np.arange(300, 4900, 470), apart) is None


def test_a_sinus_pause_and_ectopy_are_no_block() -> None:
    for condition in ("pause", "premature_ventricular", "premature_supraventricular", "sinus_bradycardia", "athlete"):
        for seed in range(2700, 2703):
            assert not {c for c in codes(judged(condition, seed)) if c.startswith(("av_block_2", "av_block_3"))}


def test_long_recordings_are_judged_in_blocks_and_episodes_found() -> None:
    normal, t_normal = simulate("normal", 14, duration_s=300.0, fs_hz=250.0)
    af, t_af = simulate("af", 14, duration_s=300.0, fs_hz=250.0)
    n = normal.signals_mv.shape[1]
    x = np.concatenate([normal.signals_mv, af.signals_mv, normal.signals_mv], axis=1)[[1, 6]]
    peaks = np.concatenate([t_normal.r_peaks, t_af.r_peaks + n, t_normal.r_peaks + 2 * n])
    rhythm = classify_rhythm(x, 250.0, ("II", "V1"), peaks, None, None)
    episodes = [(a, b) for a, b, code in rhythm.spans if code == "atrial_fibrillation"]
    assert len(episodes) == 1
    assert episodes[0][0] == pytest.approx(300.0, abs=15.0)
    assert episodes[0][1] == pytest.approx(600.0, abs=15.0)
    parts = list(blocks(x, 250.0, [0, 1], peaks))
    assert max(p.r.size for p in parts) <= BLOCK_BEATS
    assert sum(p.r.size for p in parts) == peaks.size


def test_bigeminy_and_couplets_are_named() -> None:
    record, truth = simulate("normal", 15, duration_s=10.0)
    wide, t_wide = simulate("accelerated_idioventricular", 15)
    pvc = wide.signals_mv[:, t_wide.r_peaks[3] - 60 : t_wide.r_peaks[3] + 200]
    r = truth.r_peaks
    x, peaks = np.zeros((12, 11000)), []
    for k in range(12):
        at = 300 + 850 * k
        x[:, at - 120 : at + 180] += record.signals_mv[:, r[3] - 120 : r[3] + 180]
        x[:, at + 250 - 60 : at + 250 + 200] += 1.3 * pvc
        peaks += [at, at + 250]
    rhythm = classify_rhythm(x, FS, record.leads, np.array(peaks), None, None)
    assert {"bigeminy", "premature_ventricular"} <= codes(rhythm)


def test_couplets_are_named() -> None:
    from teleread.signal.ecg.rhythm_findings import _early

    kinds = np.array([0, 0, 2, 2, 0, 0, 0, 0])

    class Seen:
        table = flat_table(8)
        codes = np.zeros(8, dtype=np.int64)

    Seen.kinds = kinds  # type: ignore[attr-defined]
    assert {f.code for f in _early(Seen)} == {"couplet", "premature_ventricular"}  # type: ignore[arg-type]


def test_short_islands_do_not_flicker() -> None:
    flags = np.zeros(60, dtype=bool)
    flags[10:30] = True
    flags[18:20] = False
    flags[45] = True
    assert steady(flags, 5)[10:30].all()
    assert not steady(flags, 5)[45]
    code = np.zeros(60, dtype=np.int64)
    code[30:33] = rhythm_spans.SINUS_BRADY
    assert not rhythm_spans.settled(code, np.full(60, 0.9)).any()
    code[30:33] = rhythm_spans.VT
    assert rhythm_spans.settled(code, np.full(60, 0.5))[31] == rhythm_spans.VT
    assert rhythm_spans.joined([(0.0, 1.0, "a"), (1.0, 2.0, "a"), (2.0, 3.0, "b")]) == [
        (0.0, 2.0, "a"),
        (2.0, 3.0, "b"),
    ]


def test_spans_laid_over_others_cut_them() -> None:
    spans = [(0.0, 10.0, "sinus_rhythm")]
    out = rhythm_spans.laid_over(spans, [(3.0, 5.0)], "asystole")
    assert out == [(0.0, 3.0, "sinus_rhythm"), (3.0, 5.0, "asystole"), (5.0, 10.0, "sinus_rhythm")]
    assert rhythm_spans.laid_over(spans, [(0.0, 10.0)], "asystole") == [(0.0, 10.0, "asystole")]


def test_local_values_near_the_ends() -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0])
    assert local_median(values, 1, otherwise=0.0)[1] in (1.0, 3.0)
    assert local_median(np.array([np.nan]), 2, otherwise=0.8)[0] == 0.8
    assert local_mean(np.ones(3), np.ones(3), 1) == pytest.approx(np.ones(3), abs=1e-4)
    assert local_median(np.empty(0), 2, otherwise=0.8).size == 0
    assert local_mean(np.empty(0), np.empty(0), 2).size == 0


def test_leads_are_chosen_by_name_or_by_order() -> None:
    record, _ = simulate("normal", 1)
    assert len(chosen_leads(record.leads, record.signals_mv)) == 8
    assert chosen_leads(("X", "Y", "Z"), np.zeros((3, 10))) == [0, 1, 2]
    assert chosen_leads(("A",) * 15, np.zeros((15, 10))) == list(range(8))


def test_no_beats_no_kinds() -> None:
    empty = np.empty(0, dtype=np.int64)
    table = beat_table(np.zeros((1, 5000)), FS, ("II",), empty)
    kinds, sure = beat_kinds(table, np.zeros(0, dtype=bool), np.zeros(0, dtype=bool))
    assert kinds.size == sure.size == 0


def test_nearly_two_to_one_that_drifts_is_complete_block() -> None:
    for seed in (2001, 2003, 2007):
        found = codes(judged("complete_block", seed))
        assert "av_block_3" in found
        assert "av_block_2_1" not in found


def test_p_waves_behind_dropped_beats_outweigh_irregular_intervals() -> None:
    named = [main_code(judged("av_block_2_mobitz_1", seed)) for seed in range(2800, 2805)]
    assert sum(code.startswith("sinus") for code in named) >= 4, named


def test_a_run_of_three_in_fibrillation_is_not_yet_a_tachycardia() -> None:
    kinds = np.array([0, 0, 2, 2, 2, 0, 0, 0])
    table = replace(flat_table(8), rr_s=np.full(8, 0.45))
    fib = np.full(8, rhythm_spans.AF)
    assert (rhythm_spans.overlaid(fib, table, kinds) == rhythm_spans.AF).all()
    kinds[5] = 2
    assert (rhythm_spans.overlaid(fib, table, kinds)[2:6] == rhythm_spans.VT).all()


def test_too_short_a_stretch_does_not_flutter() -> None:
    spectra = Spectra(np.zeros((1, 400)), FS, ("II",), np.array([100, 300]))
    assert flutter_strength(spectra) == (0.0, 0.0)


def test_runs_without_known_intervals_are_left_out() -> None:
    flags = np.array([True, True, True])
    assert ventricular.ventricular_runs(flags, np.full(3, np.nan)) == []


@pytest.mark.parametrize("condition", ["hyperkalaemia", "lbbb", "ivcd", "pre_excited_af"])
@pytest.mark.parametrize("lead", ["I", "V6", "V1"])
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_dead_lead_does_not_stop_the_naming_of_a_wide_qrs(condition: str, lead: str, value: float) -> None:
    record, truth = simulate(condition, 0)
    x = record.signals_mv.copy()
    x[record.leads.index(lead)] = value
    rhythm = classify_rhythm(x, record.fs_hz, record.leads, truth.r_peaks, None, None)
    assert len(rhythm.beats) == truth.r_peaks.size
    if condition == "lbbb" and lead != "V1":
        assert "lbbb" in codes(rhythm)  # told by the lateral leads that are left


def test_beats_without_any_shape_are_grouped_without_complaint() -> None:
    x = np.zeros((12, 5000))
    x[:, 200] = 1.0
    rhythm = classify_rhythm(x, FS, STANDARD_LEADS, np.arange(1500, 4500, 400), None, None)
    assert len(rhythm.beats) == 8


@pytest.mark.parametrize("noise", [0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_p_waves_without_any_qrs_are_asystole(seed: int, noise: float) -> None:
    record, truth = simulate("asystole", seed, p_waves=True, noise=noise)
    rhythm = classify_rhythm(record.signals_mv, record.fs_hz, record.leads, truth.r_peaks, None, None)
    assert codes(rhythm) >= {"asystole"}


@pytest.mark.parametrize("condition", ["low_voltage", "idioventricular", "vf", "paced"])
def test_small_beats_that_nobody_found_are_no_asystole(condition: str) -> None:
    record, _ = simulate(condition, 2, **({} if condition == "vf" else {"scale": 0.6}))
    nothing = np.empty(0, dtype=np.int64)
    rhythm = classify_rhythm(record.signals_mv, record.fs_hz, record.leads, nothing, None, None)
    assert "asystole" not in codes(rhythm)

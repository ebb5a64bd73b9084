"""Rhythm analysis: every code on simulated recordings, the boundaries, and what it must never say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from teleread.signal.ecg import rhythm_spans, ventricular
from teleread.signal.ecg.atrial import steady
from teleread.signal.ecg.av_block import av_block, p_train
from teleread.signal.ecg.beat_shapes import BLOCK_BEATS, blocks, chosen_leads
from teleread.signal.ecg.beat_table import beat_table, local_mean, local_median
from teleread.signal.ecg.beats import BEAT_KINDS, beat_kinds
from teleread.signal.ecg.conduction import UsualBeat, averaged, bundle_branch, from_median, pre_excited, slurred
from teleread.signal.ecg.delineation import Delineation
from teleread.signal.ecg.fibrillation import repetition
from teleread.signal.ecg.flutter import Spectra, flutter_strength
from teleread.signal.ecg.pacing import find_pacing
from teleread.signal.ecg.record import STANDARD_LEADS
from teleread.signal.ecg.rhythm import FINDING_CODES, SPAN_CODES, Rhythm, classify_rhythm
from teleread.signal.ecg.simulate import simulate

FS = 500.0


def judged(condition: str, seed: int, *, leads: tuple[str, ...] | None = None, **options: float) -> Rhythm:
    """The rhythm of a simulated recording with its true beats, in all or some leads."""
    record, truth = simulate(condition, seed, **options)
    rows = [record.leads.index(lead) for lead in leads or record.leads]
    names = tuple(record.leads[i] for i in rows)
    return classify_rhythm(record.signals_mv[rows], record.fs_hz, names, truth.r_peaks, None, None)


def main_code(rhythm: Rhythm) -> str:
    """The code that lasts longest."""
    total: Counter[str] = Counter()
    for start, end, code in rhythm.spans:
        total[code] += end - start  # type: ignore[assignment]
    return total.most_common(1)[0][0]


def codes(rhythm: Rhythm) -> set[str]:
    return {f.code for f in rhythm.findings}


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


def flat_table(n: int):  # type: ignore[no-untyped-def]
    record, _ = simulate("normal", 0)
    r = np.arange(1, n + 1) * 300
    return beat_table(record.signals_mv, FS, record.leads, r)


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

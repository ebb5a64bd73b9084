"""Promises of the simulator: its truth is true to the sample, its settings exact, its conditions what they say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.signal.ecg import EcgRecord, Truth
from teleread.signal.ecg.simulate import CONDITIONS, EXTRA_LEADS, NORMAL_VARIANTS, simulate

BEATLESS = {"vf", "asystole"}
SPANS = {
    "sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia", "atrial_fibrillation",
    "atrial_flutter", "supraventricular_tachycardia", "ventricular_tachycardia", "ventricular_fibrillation",
    "asystole", "junctional_rhythm", "idioventricular_rhythm", "accelerated_idioventricular_rhythm", "paced_rhythm",
    "undetermined",
}  # fmt: skip
FINDINGS = {
    "pause", "bradycardia", "tachycardia", "premature_ventricular", "premature_supraventricular", "bigeminy",
    "couplet", "av_block_1", "av_block_2_mobitz_1", "av_block_2_mobitz_2", "av_block_2_1", "av_block_3", "lbbb",
    "rbbb", "ivcd", "pre_excitation", "pre_excited_af", "paced",
}  # fmt: skip
KINDS = {"normal", "supraventricular", "ventricular", "paced", "junctional"}


def row(record: EcgRecord, name: str) -> NDArray[np.float64]:
    samples = record.lead(name)
    assert samples is not None
    return samples


def st_at_j(record: EcgRecord, truth: Truth, lead: str) -> float:
    """Usual level at J above that before QRS."""
    samples = row(record, lead)
    inner = [k for k in range(1, truth.r_peaks.size - 1) if truth.qrs_on[k] > 0 and truth.qrs_off[k] > 0]
    return float(np.median([samples[truth.qrs_off[k]] - samples[truth.qrs_on[k] - 1] for k in inner]))


def ordered(truth: Truth) -> bool:
    """Marks of each beat in the order of the waves, those outside the recording or absent left out."""
    rows = np.array([truth.p_on, truth.p_peak, truth.p_off, truth.qrs_on, truth.r_peaks, truth.qrs_off, truth.t_peak,
                     truth.t_off])  # fmt: skip
    return all((np.diff(marks[marks >= 0]) >= 0).all() and marks[4] >= 0 for marks in rows.T)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_einthoven_and_goldberger_hold(condition: str) -> None:
    record, _ = simulate(condition, 2, noise=1.0)
    one, two = row(record, "I"), row(record, "II")
    for name, expected in {
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }.items():
        np.testing.assert_allclose(row(record, name), expected, atol=1e-12)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(condition: str) -> None:
    first, truth = simulate(condition, 5)
    second, again = simulate(condition, 5)
    other, _ = simulate(condition, 6)
    assert first.signals_mv.tobytes() == second.signals_mv.tobytes()
    assert all(
        getattr(truth, name).tobytes() == getattr(again, name).tobytes()
        for name in ("r_peaks", "p_on", "p_off", "qrs_on", "qrs_off", "t_peak", "t_off", "p_waves")
    )
    assert first.signals_mv.tobytes() != other.signals_mv.tobytes()


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("seed", range(3))
def test_the_truth_is_ordered_whole_and_speaks_the_common_words(condition: str, seed: int) -> None:
    record, truth = simulate(condition, seed)
    n = record.signals_mv.shape[1]
    assert ordered(truth)
    for marks in (truth.p_on, truth.p_peak, truth.p_off, truth.qrs_on, truth.qrs_off, truth.t_peak, truth.t_off):
        assert marks.dtype == np.int64
        assert marks.shape == truth.r_peaks.shape
        assert ((marks >= -1) & (marks < n)).all()
    assert len(truth.beats) == truth.r_peaks.size
    assert set(truth.beats) <= KINDS
    assert set(truth.findings) <= FINDINGS
    assert {code for _, _, code in truth.rhythm} <= SPANS
    assert truth.rhythm[0][0] == 0
    assert truth.rhythm[-1][1] == pytest.approx(record.duration_s)
    assert (np.diff(truth.p_waves) > 0).all()
    assert np.isnan(truth.heart_rate_bpm) == (truth.r_peaks.size < 2)
    known = truth.p_peak[truth.p_peak >= 0]
    assert np.isin(known, truth.p_waves).all()


def test_the_check_of_the_order_can_fail() -> None:
    _, truth = simulate("normal", 1)
    truth.t_off[2] = truth.qrs_on[2]
    assert not ordered(truth)  # the broken twin


@pytest.mark.parametrize("condition", sorted(set(CONDITIONS) - BEATLESS))
def test_intervals_are_the_distances_of_the_marks(condition: str) -> None:
    record, truth = simulate(condition, 4)
    step = 1000.0 / record.fs_hz
    kinds, counts = np.unique(truth.beats, return_counts=True)
    usual = np.array(truth.beats) == kinds[np.argmax(counts)]
    for name, start, end in [
        ("p_duration_ms", truth.p_on, truth.p_off),
        ("pr_ms", truth.p_on, truth.qrs_on),
        ("qrs_duration_ms", truth.qrs_on, truth.qrs_off),
        ("qt_ms", truth.qrs_on, truth.t_off),
    ]:
        both = usual & (start >= 0) & (end >= 0)
        if name in truth.intervals_ms:
            assert abs(np.median((end - start)[both]) * step - truth.intervals_ms[name]) <= 1.01 * step
        else:
            assert (start[usual] < 0).all()


@pytest.mark.parametrize("condition", [c for c in CONDITIONS if c != "paced"])
def test_another_sampling_rate_shows_the_same_heart(condition: str) -> None:
    slow, truth = simulate(condition, 3, fs_hz=500, noise=0, duration_s=6)
    fast, finer = simulate(condition, 3, fs_hz=1000, noise=0, duration_s=6)
    if not truth.faults:
        np.testing.assert_allclose(fast.signals_mv[:, ::2], slow.signals_mv, atol=1e-9)
    inner = (truth.qrs_on > 2) & (truth.t_off > 2)
    assert np.abs(finer.qrs_on[: inner.size][inner] - 2 * truth.qrs_on[inner]).max(initial=0) <= 1


def test_another_sampling_rate_hears_the_same_noise() -> None:
    slow, _ = simulate("normal", 3, fs_hz=500, noise=1)
    fast, _ = simulate("normal", 3, fs_hz=1000, noise=1)
    assert np.abs(fast.signals_mv[:, ::2] - slow.signals_mv).max() < 0.01


@pytest.mark.parametrize("condition", ["normal", "lbbb", "rbbb", "pre_excitation", "inferior_stemi", "hyperkalaemia"])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_moves_outside_the_waves_and_their_ends_can_be_seen(condition: str, seed: int) -> None:
    record, truth = simulate(condition, seed, noise=0, fs_hz=1000, rate_bpm=64, severity=0.2)
    x = record.signals_mv
    for k in range(1, truth.r_peaks.size - 1):
        between = x[:, truth.t_off[k] + 1 : truth.p_on[k + 1] - 1]
        assert np.abs(between).max() == 0
        assert np.abs(x[:, truth.p_off[k] + 1 : truth.qrs_on[k] - 1]).max(initial=0) == 0

        def seen(sample: int) -> bool:
            return bool(np.abs(x[:, sample]).max() > 0.008)

        assert seen(truth.p_on[k] + 5)
        assert seen(truth.p_off[k] - 5)
        assert seen(truth.qrs_on[k] + 3)
        assert seen(truth.t_off[k] - 5)
        # QRS ends where the trace stops turning quickly
        speed = np.abs(np.diff(x, axis=1)).max(axis=0)
        end = truth.qrs_off[k]
        assert speed[end - 6 : end].max() > 2 * speed[end + 1 : end + 6].max()


@pytest.mark.parametrize(("name", "setting", "values"), [
    ("pr_ms", "pr_ms", [90.0, 119.9, 120.1, 200.5, 340.0]),
    ("p_duration_ms", "p_ms", [61.0, 99.5, 119.0]),
    ("qrs_duration_ms", "qrs_ms", [70.0, 119.5, 120.5, 160.0]),
    ("qt_ms", "qt_ms", [290.0, 401.3, 560.0]),
])  # fmt: skip
def test_intervals_can_be_set_exactly(name: str, setting: str, values: list[float]) -> None:
    for value in values:
        more = {"pr_ms": 180.0} if setting == "p_ms" else {}
        _, truth = simulate("normal", 1, rate_bpm=55, fs_hz=1000, **{setting: value}, **more)  # type: ignore[arg-type]
        assert truth.intervals_ms[name] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("condition", ["vt", "complete_block", "paced", "lbbb", "idioventricular", "hyperkalaemia"])
def test_the_set_qrs_is_that_of_the_prevailing_beats(condition: str) -> None:
    assert simulate(condition, 1, qrs_ms=151.5)[1].intervals_ms["qrs_duration_ms"] == pytest.approx(151.5)


@pytest.mark.parametrize(
    "condition", ["normal", "svt", "vt", "af", "junctional", "paced", "complete_block", "av_block_2_1"]
)
@pytest.mark.parametrize("rate", [34.9, 35.1, 149.5, 150.5])
def test_the_rate_can_be_set(condition: str, rate: float) -> None:
    _, truth = simulate(condition, 3, rate_bpm=rate, duration_s=30)
    assert truth.heart_rate_bpm == pytest.approx(rate, rel=0.02 if condition == "af" else 0.004)
    _, still = simulate(condition, 3, rate_bpm=rate, duration_s=30, regular=True)
    if condition != "af":
        assert still.heart_rate_bpm == pytest.approx(rate, rel=0.001)


def test_qtc_can_be_set() -> None:
    for wanted in (549.0, 551.0):
        for rate in (60.0, 105.0):
            _, truth = simulate("normal", 2, qtc_ms=wanted, rate_bpm=rate, regular=True)
            assert truth.intervals_ms["qt_ms"] == pytest.approx(wanted * np.cbrt(60 / rate), abs=0.01)


@pytest.mark.parametrize("value", [-0.2, 0.099, 0.101, 0.25, 0.4])
@pytest.mark.parametrize(("condition", "lead"), [
    ("inferior_stemi", "II"), ("anterior_stemi", "V2"), ("lateral_stemi", "aVL"), ("right_ventricular_stemi", "V1"),
    ("normal", "V3"), ("lbbb", "V2"),
])  # fmt: skip
def test_st_can_be_set_exactly(condition: str, lead: str, value: float) -> None:
    record, truth = simulate(condition, 1, noise=0, st_mv=value, st_lead=lead, fs_hz=2000, regular=True)
    assert st_at_j(record, truth, lead) == pytest.approx(value, abs=0.002)


def test_st_can_be_set_lead_by_lead() -> None:
    wanted = {"II": 0.12, "III": 0.2, "V2": -0.1, "V5": 0.07, "V8": 0.06}
    record, truth = simulate("normal", 1, noise=0, st_mv=wanted, fs_hz=2000, regular=True, extra_leads=["V8"])
    for lead, value in wanted.items():
        assert st_at_j(record, truth, lead) == pytest.approx(value, abs=0.002)
    assert st_at_j(record, truth, "I") == pytest.approx(0.12 - 0.2, abs=0.002)


@pytest.mark.parametrize("length", [2.98, 3.02, 5.0])
def test_a_pause_is_exactly_as_long_as_set(length: float) -> None:
    for seed in range(5):
        for condition in ("pause", "af"):
            record, truth = simulate(condition, seed, pause_s=length)
            assert np.diff(truth.r_peaks).max() / record.fs_hz == pytest.approx(length, abs=0.0021)
            assert "pause" in truth.findings


@pytest.mark.parametrize("shortest", [240.0, 260.0])
def test_the_shortest_distance_of_pre_excited_fibrillation_is_exact(shortest: float) -> None:
    for seed in range(5):
        record, truth = simulate("pre_excited_af", seed, shortest_rr_ms=shortest)
        rr = np.diff(truth.r_peaks) / record.fs_hz * 1000
        assert rr.min() == pytest.approx(shortest, abs=2.1)
        assert rr.std() / rr.mean() > 0.08
        assert "pre_excited_af" in truth.findings


def test_fibrillation_is_irregular_has_no_p_and_quivers() -> None:
    for rate in (50.0, 90.0, 185.0):
        record, truth = simulate("af", 1, duration_s=30, noise=0, rate_bpm=rate)
        rr = np.diff(truth.r_peaks)
        assert rr.std() / rr.mean() > 0.1
        assert truth.p_waves.size == 0
        assert (truth.p_on == -1).all()
    calm = row(record, "V1")[truth.qrs_on[3] - 15 : truth.qrs_on[3]]
    assert np.ptp(calm) > 0.005


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_flutter_has_its_waves_and_conducts_every_second_to_fourth(ratio: int) -> None:
    record, truth = simulate("atrial_flutter", 2, ratio=ratio, duration_s=20, noise=0)
    assert 240 < ratio * truth.heart_rate_bpm < 340
    spectrum = np.abs(np.fft.rfft(row(record, "III") * np.hanning(record.signals_mv.shape[1])))
    wave = ratio * truth.heart_rate_bpm / 60 * 20
    near = spectrum[round(wave) - 2 : round(wave) + 3].max()
    assert near > 0.3 * spectrum[20:].max()


def test_flutter_may_conduct_in_turn() -> None:
    _, truth = simulate("atrial_flutter", 3, ratio=0, duration_s=20, noise=0)
    rr = np.diff(truth.r_peaks)
    assert len({round(float(d) / 10) for d in rr.tolist()}) > 1


@pytest.mark.parametrize(("condition", "low", "high"), [
    ("sinus_bradycardia", 35, 60), ("sinus_tachycardia", 100, 145), ("svt", 150, 220), ("vt", 120, 210),
    ("junctional", 40, 60), ("idioventricular", 20, 40), ("accelerated_idioventricular", 50, 110),
    ("complete_block", 35, 41), ("av_block_2_1", 35, 48), ("child", 90, 140), ("athlete", 38, 56),
])  # fmt: skip
def test_rates_are_those_of_the_condition(condition: str, low: float, high: float) -> None:
    for seed in range(6):
        assert low < simulate(condition, seed)[1].heart_rate_bpm < high


def test_ventricular_fibrillation_has_no_beats_and_its_own_rate() -> None:
    for size, seed in ((0.12, 1), (0.8, 2)):
        record, truth = simulate("vf", seed, amplitude_mv=size, noise=0)
        assert truth.r_peaks.size == 0
        two = row(record, "V3")
        spectrum = np.abs(np.fft.rfft(two * np.hanning(two.size)))
        assert 3 < np.argmax(spectrum) / record.duration_s < 9
        assert 0.1 * size < record.signals_mv.std(axis=1).max() < 4 * size


def test_asystole_is_flat_but_for_its_p_waves() -> None:
    flat, truth = simulate("asystole", 1, noise=0)
    assert np.ptp(flat.signals_mv) == 0
    assert truth.p_waves.size == 0
    with_p, truth = simulate("asystole", 1, noise=0, p_waves=True)
    assert truth.p_waves.size > 8
    assert truth.r_peaks.size == 0
    assert np.ptp(with_p.signals_mv) > 0.05


def test_the_blocks_drop_what_they_must() -> None:
    _, first = simulate("av_block_1", 1)
    assert first.intervals_ms["pr_ms"] > 200
    for condition in ("av_block_2_mobitz_1", "av_block_2_mobitz_2", "av_block_2_1", "complete_block"):
        for seed in range(4):
            _, truth = simulate(condition, seed, duration_s=20)
            assert truth.p_waves.size > truth.r_peaks.size
            pr = (truth.qrs_on - truth.p_on)[(truth.p_on >= 0) & (truth.qrs_on >= 0)]
            if condition == "complete_block":
                assert pr.size == 0
                continue
            rr = np.diff(truth.r_peaks)
            steps = np.diff(pr)
            if condition == "av_block_2_mobitz_1":
                assert (steps != 0).all()
                assert (steps < -10).any()  # PR is short again after the dropped beat
                assert (steps > 0).sum() >= (steps < 0).sum()
            else:
                assert np.abs(steps).max() <= 1
            if condition == "av_block_2_1":
                assert abs(truth.p_waves.size - 2 * truth.r_peaks.size) <= 2
            else:
                assert rr.max() > 1.3 * rr.min()


def test_complete_block_may_escape_from_the_junction() -> None:
    _, broad = simulate("complete_block", 1)
    _, narrow = simulate("complete_block", 1, escape="junctional")
    assert broad.intervals_ms["qrs_duration_ms"] > 130 > 110 > narrow.intervals_ms["qrs_duration_ms"]
    assert set(narrow.beats) == {"junctional"}


@pytest.mark.parametrize("pattern", ["isolated", "bigeminy", "couplet"])
def test_premature_beats_come_early_and_are_named(pattern: str) -> None:
    for condition, kind in (
        ("premature_ventricular", "ventricular"),
        ("premature_supraventricular", "supraventricular"),
    ):
        for seed in range(4):
            _, truth = simulate(condition, seed, pattern=pattern, duration_s=12)
            beats = np.array(truth.beats)
            early = np.flatnonzero(beats == kind)
            early = early[early > 0]
            rr = np.diff(truth.r_peaks)
            assert early.size >= 1
            assert condition in truth.findings
            assert (pattern == "isolated") or pattern in truth.findings
            first = early[beats[early - 1] == "normal"]
            assert (rr[first - 1] < 0.85 * np.median(rr[rr > 0.75 * rr.max()])).all()


def test_a_premature_ventricular_beat_is_followed_by_a_full_pause_and_a_broad_one() -> None:
    _, truth = simulate("premature_ventricular", 1, regular=True, rate_bpm=60.0)
    k = truth.beats.index("ventricular", 1)
    assert truth.r_peaks[k + 1] - truth.r_peaks[k - 1] == pytest.approx(1000, abs=2)
    assert truth.qrs_off[k] - truth.qrs_on[k] > 60


def test_bundle_branch_blocks_look_like_themselves() -> None:
    for seed in range(4):
        left, truth = simulate("lbbb", seed, noise=0)
        k = truth.r_peaks.size // 2
        span = slice(int(truth.qrs_on[k]), int(truth.qrs_off[k]))
        assert row(left, "V1")[span].sum() < 0 < row(left, "V6")[span].sum()
        assert row(left, "V6")[span][:30].min() >= 0  # no Q
        assert row(left, "V6")[truth.t_peak[k]] < 0  # T against QRS
        right, truth = simulate("rbbb", seed, noise=0)
        late = slice(int((truth.qrs_on[k] + truth.qrs_off[k]) / 2) + 5, int(truth.qrs_off[k]))
        assert row(right, "V1")[late].max() > 0.2
        assert row(right, "I")[late].min() < -0.05
        for t in (simulate("lbbb", seed)[1], truth):
            assert t.intervals_ms["qrs_duration_ms"] >= 120


def test_pre_excitation_starts_early_and_slowly() -> None:
    for seed in range(4):
        record, truth = simulate("pre_excitation", seed, noise=0)
        assert truth.intervals_ms["pr_ms"] < 120
        assert truth.intervals_ms["qrs_duration_ms"] > 110
        k = 3
        start = record.signals_mv[:, truth.qrs_on[k] : truth.qrs_on[k] + 16]
        whole = record.signals_mv[:, truth.qrs_on[k] : truth.qrs_off[k]]
        assert np.abs(np.diff(start)).max() < 0.6 * np.abs(np.diff(whole)).max()


@pytest.mark.parametrize(("pacing", "per_beat"), [("atrial", 1), ("ventricular", 1), ("dual", 2)])
@pytest.mark.parametrize("fs", [250.0, 500.0, 2000.0])
def test_paced_beats_have_their_spikes(pacing: str, per_beat: int, fs: float) -> None:
    record, truth = simulate("paced", 1, pacing=pacing, noise=0, spike_mv=3.0, fs_hz=fs)
    assert abs(truth.spikes.size - per_beat * truth.r_peaks.size) <= 2
    assert set(truth.beats) == {"paced"}
    for spike in truth.spikes[1:-1]:
        near = np.abs(np.diff(row(record, "II")[spike - 2 : spike + 4])).max()
        assert near > 0.3
    assert ("pr_ms" in truth.intervals_ms) == (pacing != "ventricular")


@pytest.mark.parametrize(("condition", "up", "down"), [
    ("inferior_stemi", ["II", "III", "aVF"], ["aVL", "I"]),
    ("anterior_stemi", ["V2", "V3", "V4"], ["III"]),
    ("lateral_stemi", ["I", "aVL", "V5", "V6"], ["III", "V1"]),
    ("posterior_stemi", ["V7", "V8", "V9"], ["V1", "V2", "V3"]),
    ("right_ventricular_stemi", ["V4R", "V1", "III"], ["I", "aVL"]),
    ("st_depression", ["aVR"], ["V4", "V5", "II"]),
    ("de_winter", [], ["V2", "V3", "V4"]),
])  # fmt: skip
def test_an_infarct_lifts_its_leads_and_sinks_the_opposite(condition: str, up: list[str], down: list[str]) -> None:
    for seed in range(4):
        record, truth = simulate(condition, seed, noise=0, extra_leads=EXTRA_LEADS)
        assert all(st_at_j(record, truth, lead) > 0.04 for lead in up)
        assert all(st_at_j(record, truth, lead) < -0.03 for lead in down)


def test_t_waves_of_potassium_wellens_and_the_young() -> None:
    def t_height(condition: str, lead: str, **options: float) -> float:
        record, truth = simulate(condition, 2, noise=0, **options)  # type: ignore[arg-type]
        return float(row(record, lead)[truth.t_peak[2]])

    assert t_height("hyperkalaemia", "V3") > 1.6 * t_height("normal", "V3")
    assert t_height("wellens", "V3") < -0.1
    assert t_height("juvenile_t", "V2") < 0 < t_height("juvenile_t", "V5")
    assert t_height("lvh", "V5") < 0
    assert t_height("lvh", "V5") < t_height("normal", "V5")


def test_potassium_broadens_qrs_and_takes_p_away() -> None:
    _, mild = simulate("hyperkalaemia", 1, severity=0.1)
    _, grave = simulate("hyperkalaemia", 1, severity=1.0)
    assert mild.intervals_ms["qrs_duration_ms"] < 120 < grave.intervals_ms["qrs_duration_ms"]
    assert "pr_ms" in mild.intervals_ms
    assert grave.p_waves.size == 0
    assert grave.rhythm[0][2] == "undetermined"


def test_qt_is_long_and_short() -> None:
    for seed in range(5):
        for condition, low, high in (("long_qt", 550, 700), ("short_qt", 270, 325), ("normal", 370, 450)):
            _, truth = simulate(condition, seed)
            qtc = truth.intervals_ms["qt_ms"] / np.cbrt(60 / truth.heart_rate_bpm)
            assert low < qtc < high


def test_voltage_is_low_and_high() -> None:
    def height(condition: str, leads: list[str]) -> float:
        record, _ = simulate(condition, 3, noise=0)
        return max(float(np.ptp(row(record, lead))) for lead in leads)

    limbs = ["I", "II", "III", "aVR", "aVL", "aVF"]
    assert height("low_voltage", limbs) < 0.5 < height("normal", limbs)
    lvh, _ = simulate("lvh", 3, noise=0)
    assert -row(lvh, "V1").min() + row(lvh, "V5").max() > 3.5  # Sokolow and Lyon


@pytest.mark.parametrize("condition", NORMAL_VARIANTS)
def test_normal_variants_keep_normal_intervals_and_reach_no_infarct_limit(condition: str) -> None:
    for seed in range(4):
        record, truth = simulate(condition, seed, noise=0)
        assert truth.intervals_ms["pr_ms"] <= 200
        assert truth.intervals_ms["qrs_duration_ms"] < 110
        assert set(truth.findings) <= {"bradycardia", "tachycardia"}
        assert all(st_at_j(record, truth, lead) < 0.2 for lead in ("V2", "V3"))
        assert all(
            st_at_j(record, truth, lead) < 0.1 for lead in ("I", "II", "III", "aVL", "aVF", "V1", "V4", "V5", "V6")
        )


def test_the_axis_can_be_turned() -> None:
    def axis(**options: float) -> float:
        record, truth = simulate("normal", 1, noise=0, **options)  # type: ignore[arg-type]
        span = slice(int(truth.qrs_on[2]), int(truth.qrs_off[2]))
        one, foot = row(record, "I")[span].sum(), row(record, "aVF")[span].sum()
        return float(np.degrees(np.arctan2(foot * 2 / np.sqrt(3), one)))

    assert axis(axis_deg=-80) < axis() - 45 < axis() + 20 < axis(axis_deg=60)
    assert axis(axis_deg=-90) < -30


def test_r_grows_from_v1_to_v4_and_p_in_v1_goes_up_and_down() -> None:
    for seed in range(6):
        record, truth = simulate("normal", seed, noise=0)
        k = 3
        span = slice(int(truth.qrs_on[k]), int(truth.qrs_off[k]))
        r = [row(record, f"V{i}")[span].max() for i in (1, 2, 3, 4)]
        assert r == sorted(r)
        p_wave = row(record, "V1")[truth.p_on[k] : truth.p_off[k]]
        assert p_wave.max() > 0.003
        assert p_wave.min() < -0.01
        assert row(record, "II")[truth.p_peak[k]] > 0.05
        assert row(record, "II")[truth.t_peak[k]] > 0.1


def test_conditions_combine() -> None:
    _, truth = simulate("af+lbbb", 1)
    assert truth.rhythm[0][2] == "atrial_fibrillation"
    assert "lbbb" in truth.findings
    assert truth.intervals_ms["qrs_duration_ms"] > 120
    _, truth = simulate("lvh+premature_ventricular", 1)
    assert "ventricular" in truth.beats
    _, truth = simulate("rbbb+inferior_stemi+av_block_1", 1)
    assert {"rbbb", "av_block_1"} <= set(truth.findings)


@pytest.mark.parametrize("condition", ["vt", "af", "vf", "asystole", "svt", "premature_ventricular"])
def test_an_episode_lies_in_sinus_rhythm(condition: str) -> None:
    record, truth = simulate(condition, 2, episode_s=(8.0, 14.0), duration_s=24)
    assert [span[2] for span in truth.rhythm][::2] == ["sinus_rhythm", "sinus_rhythm"]
    assert truth.rhythm[1][:2] == (8.0, 14.0)
    assert (np.diff(truth.r_peaks) > 0.15 * record.fs_hz).all()
    outside = (truth.r_peaks < 7.9 * record.fs_hz) | (truth.r_peaks > 14.5 * record.fs_hz)
    assert set(np.array(truth.beats)[outside]) == {"normal"}
    assert (truth.p_on[outside][1:-1] >= 0).all()


def test_extra_leads_follow_the_twelve() -> None:
    record, _ = simulate("normal", 1, extra_leads=["V4R", "V8"], noise=0.5)
    plain, _ = simulate("normal", 1, noise=0)
    assert record.leads[12:] == ("V4R", "V8")
    assert record.signals_mv.shape == (14, 5000)
    assert plain.signals_mv.shape == (12, 5000)


def test_noise_grows_with_its_level_and_leaves_the_heart_alone() -> None:
    clean, truth = simulate("normal", 1, noise=0)
    levels = []
    for level in (0.3, 1.0, 2.0):
        noisy, same = simulate("normal", 1, noise=level)
        levels.append(float((noisy.signals_mv - clean.signals_mv).std()))
        assert same.qrs_on.tobytes() == truth.qrs_on.tobytes()
    assert 0 < levels[0] < levels[1] < levels[2]


def test_a_setting_changes_nothing_else() -> None:
    plain, truth = simulate("normal", 1, noise=0, rate_bpm=60.0)
    changed, other = simulate("normal", 1, noise=0, rate_bpm=60.0, pr_ms=truth.intervals_ms["pr_ms"])
    np.testing.assert_allclose(plain.signals_mv, changed.signals_mv, atol=1e-12)
    assert truth.qrs_on.tobytes() == other.qrs_on.tobytes()


@pytest.mark.parametrize("options", [
    {"rate_bpm": 5.0}, {"rate_bpm": float("nan")}, {"pause_s": 9.0},
    {"pause_s": 9.0, "condition": "af"},
    {"pattern": "trigeminy"},
    {"pacing": "left"}, {"escape": "none"}, {"ratio": 9}, {"episode_s": (5.0, 4.0)}, {"extra_leads": ["V10"]},
    {"st_mv": {"I": 0.1, "II": 0.1, "III": 0.1}}, {"st_mv": 0.2, "st_lead": "II", "condition": "posterior_stemi"},
        {"st_mv": 0.2, "st_lead": "V10"}, {"st_mv": {"V10": 0.1}},
    {"faults": ["broken"]}, {"fs_hz": 90.0}, {"duration_s": 2.0, "condition": "premature_ventricular"},
    {"noise": -1.0},
])  # fmt: skip
def test_what_no_heart_has_is_refused(options: dict[str, object]) -> None:
    usual = {"pause_s": "pause", "pattern": "premature_ventricular", "pacing": "paced", "escape": "complete_block"}
    asked = dict(options)
    condition = str(asked.pop("condition", usual.get(next(iter(asked)), "normal")))
    with pytest.raises(ValueError):
        simulate(condition, 1, **asked)  # type: ignore[arg-type]

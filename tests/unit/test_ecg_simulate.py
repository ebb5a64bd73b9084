"""Promises of the simulator: its truth is true to the sample, its settings exact, its conditions what they say."""

from __future__ import annotations

import numpy as np
import pytest

from teleread.signal.ecg import Truth
from teleread.signal.ecg.simulate import CONDITIONS, simulate
from tests.unit.simulated import row, st_at_j

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

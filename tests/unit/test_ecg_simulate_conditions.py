"""Each condition that the simulator knows looks like itself."""

from __future__ import annotations

import numpy as np
import pytest

from teleread.signal.ecg.simulate import EXTRA_LEADS, NORMAL_VARIANTS, simulate
from tests.unit.simulated import row, st_at_j


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

"""Promises of the measurements: formulas, axes of known vectors, simulator truth, absent things absent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.signal.ecg import simulate
from teleread.signal.ecg.axes import axes, axis_deg
from teleread.signal.ecg.delineation import ABSENT
from teleread.signal.ecg.filters import diagnostic_band
from teleread.signal.ecg.intervals import QTC, qtc_bazett, qtc_framingham, qtc_fridericia, qtc_hodges, rates
from teleread.signal.ecg.measure import Measured, MedianBeat, delineate_and_median, measure
from teleread.signal.ecg.simulation.truth import Truth

INTERVALS = ("p_duration_ms", "pr_ms", "qrs_duration_ms", "qt_ms")


def measured(
    condition: str, seed: int, fs_hz: float = 500.0, noise: float = 0.3, factor: float = 1.0, **settings: float
) -> tuple[dict[str, Measured], Truth]:
    record, truth = simulate(condition, seed, fs_hz=fs_hz, noise=noise, **settings)  # type: ignore[arg-type]
    x = diagnostic_band(factor * record.signals_mv, fs_hz)
    delineation, beat = delineate_and_median(x, fs_hz, record.leads, truth.r_peaks)
    rr_ms = np.diff(truth.r_peaks) * 1000.0 / fs_hz
    return measure(beat, rr_ms, delineation=delineation, fs_hz=fs_hz), truth


def flat_beat(leads: tuple[str, ...], fs_hz: float = 500.0) -> MedianBeat:
    """A beat of nothing: P at 50 to 100, QRS at 150 to 200, T up to 350."""
    return MedianBeat(
        signals_mv=np.zeros((len(leads), 400)),
        leads=leads,
        fs_hz=fs_hz,
        r_index=175,
        beats=10,
        p_on=50,
        p_off=100,
        qrs_on=150,
        qrs_off=200,
        t_peak=300,
        t_off=350,
        p_peak=75,
        t_on=250,
        noise_mv=np.full(len(leads), 0.002),
        p_steadiness=1.0,
    )


def hump(count: int, height: float) -> NDArray[np.float64]:
    wave: NDArray[np.float64] = height * np.sin(np.linspace(0.0, np.pi, count))
    return wave


@pytest.mark.parametrize("condition", ["normal", "lbbb", "rbbb", "lvh", "inferior_stemi", "long_qt", "av_block_1"])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_intervals_are_those_of_the_heart(condition: str, noise: float) -> None:
    errors: dict[str, list[float]] = {name: [] for name in INTERVALS}
    for seed in range(4):
        found, truth = measured(condition, seed, noise=noise)
        for name in INTERVALS:
            errors[name].append(found[name].value - truth.intervals_ms[name])
    for name, limit in zip(INTERVALS, (10.0, 10.0, 10.0, 15.0), strict=True):
        assert abs(float(np.mean(errors[name]))) <= limit, (name, errors[name])


@pytest.mark.parametrize("rate", [40.0, 60.0, 100.0])
def test_intervals_hold_at_any_rate(rate: float) -> None:
    found, truth = measured("normal", 1, noise=0.0, rate_bpm=rate, pr_ms=140.0, p_ms=90.0)
    assert found["heart_rate_bpm"].value == pytest.approx(rate, abs=1.0)
    for name, limit in zip(INTERVALS, (8.0, 8.0, 8.0, 14.0), strict=True):
        assert abs(found[name].value - truth.intervals_ms[name]) <= limit, name


@pytest.mark.parametrize("fs_hz", [250.0, 1000.0])
def test_the_sampling_rate_hardly_matters(fs_hz: float) -> None:
    usual, _ = measured("normal", 2, noise=0.0)
    other, _ = measured("normal", 2, fs_hz, noise=0.0)
    for name in INTERVALS:
        assert other[name].value == pytest.approx(usual[name].value, abs=6.0), name
    for lead in ("I", "V2", "V5"):
        for name in ("r_amplitude_mv", "t_amplitude_mv"):
            key = f"{name}.{lead}"
            assert other[key].value == pytest.approx(usual[key].value, abs=0.04), key


@pytest.mark.parametrize(
    ("condition", "seed", "rate"),
    [("lvh", 1516, 120.0), ("lvh", 1010, 120.0), ("rbbb", 1017, 140.0), ("rbbb", 1505, 140.0), ("lbbb", 1005, 140.0),
     ("inferior_stemi", 1011, 140.0)],
)  # fmt: skip
def test_p_that_begins_on_t_is_as_long_as_it_is(condition: str, seed: int, rate: float) -> None:
    found, truth = measured(condition, seed, noise=1.0, rate_bpm=rate)
    assert abs(found["p_duration_ms"].value - truth.intervals_ms["p_duration_ms"]) <= 25.0


def test_gain_scales_amplitudes_and_leaves_intervals() -> None:
    usual, _ = measured("normal", 3)
    double, _ = measured("normal", 3, factor=2.0)
    for name in INTERVALS:
        assert double[name].value == usual[name].value
    assert double["r_amplitude_mv.V5"].value == pytest.approx(2 * usual["r_amplitude_mv.V5"].value, abs=0.001)
    assert double["qrs_axis_deg"].value == pytest.approx(usual["qrs_axis_deg"].value, abs=0.2)


def test_turned_round_leads_turn_amplitudes_and_axes_round_and_leave_intervals() -> None:
    usual, _ = measured("normal", 4)
    turned, _ = measured("normal", 4, factor=-1.0)
    for name in INTERVALS:
        assert turned[name].value == usual[name].value
    assert turned["t_amplitude_mv.V5"].value == pytest.approx(-usual["t_amplitude_mv.V5"].value, abs=0.001)
    turn = (turned["qrs_axis_deg"].value - usual["qrs_axis_deg"].value) % 360.0
    assert turn == pytest.approx(180.0, abs=0.3)


def test_every_number_is_finite_has_its_unit_and_its_lead() -> None:
    units = {"bpm", "ms", "mV", "deg"}
    for condition in ("normal", "af", "paced", "vt", "low_voltage"):
        found, _ = measured(condition, 2)
        assert "heart_rate_bpm" in found
        for name, one in found.items():
            assert np.isfinite(one.value), name
            assert one.unit in units
            assert 0 < one.confidence <= 1
            assert one.lead == (name.split(".")[1] if "." in name else "global")


def test_fibrillation_has_no_p_and_no_pr() -> None:
    found, _ = measured("af", 1)
    assert not {"p_duration_ms", "pr_ms", "p_axis_deg"} & set(found)
    assert not [name for name in found if name.startswith("p_amplitude_mv")]
    assert "qt_ms" in found


def test_a_rhythm_without_p_waves_has_no_pr_whatever_lies_before_qrs() -> None:
    beat = flat_beat(("I", "II"))
    beat.signals_mv[:, 50:101] = hump(51, 0.1)
    beat.signals_mv[:, 150:201] = hump(51, 1.0)
    flutter = measure(beat, np.full(8, 400.0), rhythm=("atrial_flutter",))
    assert not [name for name in flutter if name.startswith(("p_", "p2_", "pr_"))]
    assert "qrs_duration_ms" in flutter
    for rhythm in ((), ("sinus_rhythm",), ("sinus_rhythm", "atrial_flutter")):
        assert "pr_ms" in measure(beat, np.full(8, 400.0), rhythm=rhythm)


def test_qt_of_an_irregular_rhythm_is_the_mean_over_its_beats() -> None:
    errors = []
    for seed in range(5):
        found, truth = measured("af", seed)
        errors.append(found["qt_ms"].value - truth.intervals_ms["qt_ms"])
    assert abs(float(np.mean(errors))) <= 20.0


@pytest.mark.parametrize(
    ("correct", "at_800", "at_500"),
    [
        (qtc_bazett, 447.2136, 565.6854),
        (qtc_fridericia, 430.8869, 503.9684),
        (qtc_framingham, 430.8, 477.0),
        (qtc_hodges, 426.25, 505.0),
    ],
)
def test_corrected_qt_follows_its_formula(correct: object, at_800: float, at_500: float) -> None:
    assert callable(correct)
    assert correct(400.0, 800.0) == pytest.approx(at_800, abs=1e-3)
    assert correct(400.0, 500.0) == pytest.approx(at_500, abs=1e-3)
    assert correct(400.0, 1000.0) == pytest.approx(400.0)


def test_qtc_is_fridericia_unless_told_otherwise() -> None:
    found, _ = measured("normal", 5)
    assert set(QTC) <= set(found)
    assert found["qtc_ms"] == found["qtc_fridericia_ms"]


def test_rr_statistics_of_known_intervals() -> None:
    found = rates(np.array([1000.0, 900.0, 1100.0, 1000.0]))
    values = {name: one.value for name, one in found.items()}
    assert values == {
        "heart_rate_bpm": 60.0,
        "rr_mean_ms": 1000.0,
        "rr_sd_ms": 70.7,
        "rr_min_ms": 900.0,
        "rr_max_ms": 1100.0,
        "rmssd_ms": 141.4,
    }
    assert rates(np.array([1000.0])) == {}
    assert rates(np.full(9, 1000.0))["rr_sd_ms"].value == 0.0
    assert (
        rates(np.full(9, 800.0), quality=0.2)["rr_sd_ms"].confidence < rates(np.full(9, 800.0))["rr_sd_ms"].confidence
    )


@pytest.mark.parametrize(
    ("degrees"), [0.0, 30.0, 59.0, 90.0, 120.0, 179.0, -30.0, -90.0, -120.0, -179.0]
)  # fmt: skip
def test_the_axis_of_a_known_vector(degrees: float) -> None:
    """Lead I sees cos(a), aVF sees sin(a) weakened by the square root of 3 over 2."""
    a = np.radians(degrees)
    one, foot = float(np.cos(a)), float(np.sin(a) * np.sqrt(3.0) / 2.0)
    assert axis_deg(one, foot) == pytest.approx(degrees, abs=1e-9)
    leads = ("I", "II")  # aVF is made of them when it is not there
    beat = flat_beat(leads)
    beat.signals_mv[:, 150:201] = np.array([one, foot + 0.5 * one])[:, None] * hump(51, 1.0)
    assert axes(beat)["qrs_axis_deg"].value == pytest.approx(degrees, abs=0.1)


def test_straight_to_the_right_is_plus_180() -> None:
    assert axis_deg(-1.0, 0.0) == 180.0
    assert axis_deg(-1.0, -0.0) == 180.0


def test_no_axis_without_frontal_leads_or_without_direction() -> None:
    assert axes(flat_beat(("V1", "V2"))) == {}
    assert axes(flat_beat(("I", "V2"))) == {}
    assert axes(flat_beat(("I", "II"))) == {}


def one_lead(wave: NDArray[np.float64], start: int, lead: str = "V1") -> dict[str, Measured]:
    beat = flat_beat((lead,))
    beat.signals_mv[0, start : start + wave.size] += wave
    return measure(beat, np.full(8, 800.0))


def test_waves_of_qrs_are_named_in_their_order() -> None:
    parts = [hump(10, -0.1), hump(14, 0.9), hump(12, -0.4), hump(14, 0.3)]
    found = one_lead(np.concatenate(parts), 150)
    assert found["q_amplitude_mv.V1"].value == pytest.approx(-0.1, abs=0.01)
    assert found["q_duration_ms.V1"].value == pytest.approx(20.0, abs=4.0)
    assert found["r_amplitude_mv.V1"].value == pytest.approx(0.9, abs=0.01)
    assert found["s_amplitude_mv.V1"].value == pytest.approx(-0.4, abs=0.01)
    assert found["r2_amplitude_mv.V1"].value == pytest.approx(0.3, abs=0.01)
    assert "s2_amplitude_mv.V1" not in found


def test_one_negative_wave_is_a_q() -> None:
    found = one_lead(hump(50, -1.2), 150)
    assert found["q_amplitude_mv.V1"].value == pytest.approx(-1.2, abs=0.01)
    assert found["q_duration_ms.V1"].value >= 90.0
    assert not {"r_amplitude_mv.V1", "s_amplitude_mv.V1"} & set(found)


def test_too_small_and_too_short_waves_are_absent() -> None:
    found = one_lead(np.concatenate([hump(10, -0.02), hump(30, 0.8)]), 150)
    assert "q_amplitude_mv.V1" not in found
    found = one_lead(np.concatenate([hump(4, -0.2), hump(30, 0.8)]), 150)
    assert "q_amplitude_mv.V1" not in found


def test_biphasic_p_and_t_have_two_parts() -> None:
    found = one_lead(np.concatenate([hump(25, 0.08), hump(25, -0.06)]), 51)
    assert found["p_amplitude_mv.V1"].value == pytest.approx(0.08, abs=0.01)
    assert found["p2_amplitude_mv.V1"].value == pytest.approx(-0.06, abs=0.01)
    found = one_lead(np.concatenate([hump(50, 0.2), hump(50, -0.3)]), 250)
    assert found["t_amplitude_mv.V1"].value == pytest.approx(-0.3, abs=0.02)
    assert found["t2_amplitude_mv.V1"].value == pytest.approx(0.2, abs=0.02)
    assert "t2_amplitude_mv.V1" not in one_lead(hump(100, 0.3), 250)


def test_st_is_measured_against_the_level_before_qrs() -> None:
    beat = flat_beat(("V2",))
    beat.signals_mv[0] += 0.5  # an offset of the amplifier is not ST
    beat.signals_mv[0, 200:] += 0.2
    found = measure(beat, np.full(8, 800.0))
    for name in ("st_j_mv", "st_j60_mv", "st_j80_mv"):
        assert found[f"{name}.V2"].value == pytest.approx(0.2, abs=1e-4)


@pytest.mark.parametrize("level", [-0.2, 0.1, 0.3])
def test_st_of_the_simulator_is_found_in_its_lead(level: float) -> None:
    rising = "inferior_stemi" if level > 0 else "st_depression"
    lead = "III" if level > 0 else "V5"
    found, _ = measured(rising, 3, noise=0.0, st_mv=level)
    assert found[f"st_j_mv.{lead}"].value == pytest.approx(level, abs=0.05)


def test_a_beat_without_p_and_t_has_only_qrs() -> None:
    beat = flat_beat(("I", "II"))
    beat.signals_mv[:, 150:201] = hump(51, 1.0)
    bare = replace(beat, p_on=ABSENT, p_off=ABSENT, p_peak=ABSENT, t_on=ABSENT, t_peak=ABSENT, t_off=ABSENT)
    found = measure(bare, np.full(8, 800.0))
    assert not [name for name in found if name.startswith(("p_", "pr_", "qt", "t_"))]
    assert "qrs_duration_ms" in found
    assert "st_j_mv.I" in found


def test_without_a_beat_there_is_at_most_a_rate() -> None:
    assert set(measure(None, np.full(5, 800.0))) == set(rates(np.full(5, 800.0)))
    assert measure(None, np.empty(0)) == {}


def test_a_lead_without_samples_has_no_measurements() -> None:
    beat = flat_beat(("I", "V1"))
    beat.signals_mv[0, 150:201] = hump(51, 1.0)
    beat.signals_mv[1] = np.nan
    found = measure(beat, np.full(8, 800.0))
    assert "r_amplitude_mv.I" in found
    assert not [name for name in found if name.endswith(".V1")]


def test_one_interval_gives_qt_but_no_correction() -> None:
    beat = flat_beat(("I",))
    beat.signals_mv[0, 150:201] = hump(51, 1.0)
    found = measure(beat, np.array([800.0]))
    assert "qt_ms" in found
    assert "qtc_ms" not in found


def test_noise_and_few_beats_make_it_less_sure() -> None:
    sure, _ = measured("normal", 6, noise=0.0)
    noisy, _ = measured("normal", 6, noise=1.5)
    assert noisy["p_duration_ms"].confidence < sure["p_duration_ms"].confidence
    beat = flat_beat(("I", "II"))
    beat.signals_mv[:, 150:201] = hump(51, 1.0)
    alone = measure(replace(beat, beats=1), np.full(8, 800.0))
    assert alone["qrs_duration_ms"].confidence < 0.3
    assert measure(replace(beat, noise_mv=np.empty(0)), np.full(8, 800.0))["qrs_duration_ms"].confidence > 0.9

"""What must never be said of a recording, or left unsaid: arrest, gaps, impossible ages, too few samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from teleread.signal.ecg import Filters, Finding, Quality, analyse, simulate
from teleread.signal.ecg.analysis import Analysis
from teleread.signal.ecg.arrest import arrested, judged_by_rhythm
from teleread.signal.ecg.few_beats import few_beats, slow_heart
from teleread.signal.ecg.flags import flag, load_profile
from teleread.signal.ecg.gaps import between, possible
from teleread.signal.ecg.intervals import rates
from teleread.signal.ecg.record import CALIBRATION_PULSE, Annotation, EcgRecord
from teleread.signal.ecg.rhythm_types import Rhythm, RhythmFinding
from teleread.signal.ecg.rr import outside_fibrillation, rr_intervals
from teleread.signal.ecg.stretches import Stretch, _joined, _prevailing, look
from tests.unit.flag_cases import F, R, inputs, st

LOOK = Finding(None, "all_leads_bad", "look_at_patient")
EXCHANGED = Finding(None, "limb_reversal", "check_limb_electrodes", "RA-LA")


def codes(analysis: Analysis) -> set[str]:
    return {one.code for one in analysis.flags}


def joined(*records: EcgRecord) -> EcgRecord:
    return replace(records[0], signals_mv=np.concatenate([one.signals_mv for one in records], axis=1))


def reasons(given: Any) -> set[str]:
    return {one.reason for one in flag(given, load_profile()).not_judged}


# --- fibrillation and standstill


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_fibrillation_sends_to_the_patient_and_measures_nothing(seed: int) -> None:
    found = analyse(simulate("vf", seed)[0])
    assert not found.quality.acceptable
    assert found.quality.findings[0] == LOOK
    assert dict(found.measurements) == {}
    assert found.r_peaks.size == 0
    assert codes(found) == {"ventricular_fibrillation"}
    assert {one.code for one in found.rhythm_findings} == {"ventricular_fibrillation"}


def test_fibrillation_at_the_end_sends_to_the_patient_and_keeps_the_beats_before_it() -> None:
    record = joined(simulate("normal", 2, duration_s=20.0)[0], simulate("vf", 3, duration_s=8.0)[0])
    found = analyse(record)
    assert found.rhythm[-1][2] == "ventricular_fibrillation"
    assert found.quality.findings[0] == LOOK
    assert not found.quality.acceptable
    assert dict(found.measurements) == {}
    assert 15 < found.r_peaks.size < 40
    assert found.r_peaks[-1] / found.fs_hz <= found.rhythm[-1][0]
    assert len(found.beats) == found.r_peaks.size == found.delineation.qrs_on.size


@pytest.mark.parametrize(
    ("spans", "duration_s", "expected"),
    [
        (((0.0, 5.0, "ventricular_fibrillation"), (5.0, 10.0, "sinus_rhythm")), 10.0, True),
        (((0.0, 4.9, "ventricular_fibrillation"), (4.9, 10.0, "sinus_rhythm")), 10.0, False),
        (((0.0, 7.0, "sinus_rhythm"), (7.0, 10.0, "asystole")), 10.0, True),
        (((0.0, 7.2, "sinus_rhythm"), (7.2, 10.0, "asystole")), 10.0, False),
        (((0.0, 7.0, "sinus_rhythm"), (7.0, 8.0, "asystole"), (8.0, 10.0, "ventricular_fibrillation")), 10.0, True),
        (((0.0, 590.0, "sinus_rhythm"), (590.0, 600.0, "asystole")), 600.0, False),
        ((), 0.0, False),
    ],
)
def test_half_of_the_recording_or_the_end_of_a_short_one_is_an_arrest(
    spans: tuple[tuple[float, float, str], ...], duration_s: float, expected: bool
) -> None:
    assert arrested(spans, duration_s) is expected


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_two_beats_in_ten_seconds_are_a_pause_and_no_rate(seed: int) -> None:
    found = analyse(simulate("complete_block", seed, noise=0.5, rate_bpm=12.0)[0])
    assert found.quality.findings[0] == LOOK
    assert found.r_peaks.size == 2
    assert codes(found) & {"long_rr", "asystole"}
    assert set(found.measurements) == {"rr_max_ms"}
    assert found.measurements["rr_max_ms"].value == pytest.approx(5000.0, abs=60.0)


@pytest.mark.parametrize("condition", ["complete_block", "idioventricular", "sinus_bradycardia"])
@pytest.mark.parametrize(("rate_bpm", "duration_s"), [(15.0, 10.0), (18.0, 10.0), (12.0, 30.0), (18.0, 30.0)])
def test_a_heart_of_three_second_intervals_is_measured_and_sends_to_the_patient(
    condition: str, rate_bpm: float, duration_s: float
) -> None:
    record, truth = simulate(condition, 2, noise=0.5, rate_bpm=rate_bpm, duration_s=duration_s)
    found = analyse(record)
    assert found.quality.findings[0] == LOOK
    assert "long_rr" in codes(found)
    assert found.r_peaks.size == found.delineation.qrs_on.size == len(found.beats) == len(truth.beats)
    assert found.measurements["rr_max_ms"].value == pytest.approx(60_000.0 / rate_bpm, rel=0.05)
    assert found.measurements["heart_rate_bpm"].value == pytest.approx(rate_bpm, rel=0.03)
    assert {"qrs_duration_ms", "qt_ms"} <= set(found.measurements)


def test_beats_that_are_not_clear_do_not_make_a_slow_heart() -> None:
    record, _ = simulate("complete_block", 2, noise=0.5, rate_bpm=15.0)
    signals, fs, peaks = record.signals_mv, record.fs_hz, analyse(record).r_peaks
    assert slow_heart(signals, fs, peaks)
    assert not slow_heart(signals, fs, peaks[:2])
    assert not slow_heart(signals, fs, peaks + np.array([0, 600, 0]))  # the second one is none
    ordinary = simulate("normal", 2, noise=0.5)[0]
    assert not slow_heart(ordinary.signals_mv, ordinary.fs_hz, analyse(ordinary).r_peaks)


def test_a_heart_that_stops_is_not_measured() -> None:
    running, stopped = simulate("normal", 2)[0], simulate("asystole", 2)[0]
    found = analyse(joined(running, stopped))
    assert found.quality.findings[0] == LOOK
    assert dict(found.measurements) == {}


@pytest.mark.parametrize("samples", [80, 800])
def test_two_beats_on_both_sides_of_a_gap_are_no_pause(samples: int) -> None:
    record, _ = simulate("complete_block", 2, noise=0.5, rate_bpm=12.0)
    signals = record.signals_mv.copy()
    signals[:, 1500 : 1500 + samples] = np.nan
    found = analyse(replace(record, signals_mv=signals))
    assert "long_rr" not in codes(found)
    assert "rr_max_ms" not in found.measurements


def test_few_complexes_are_beats_only_when_they_are_alike_and_nothing_lies_between() -> None:
    record, _ = simulate("complete_block", 2, noise=0.5, rate_bpm=12.0)
    signals, fs, peaks = record.signals_mv, record.fs_hz, analyse(record).r_peaks
    assert few_beats(signals, fs, peaks)
    assert not few_beats(signals[:2], fs, peaks)  # two leads prove nothing
    assert not few_beats(signals, fs, peaks[:1])
    assert not few_beats(signals, fs, np.array([1, 4999]))  # no whole complex
    assert not few_beats(signals, fs, peaks + np.array([0, 800]))  # the second one is none
    noisy = signals + np.random.default_rng(1).normal(0.0, 0.5, signals.shape)
    assert not few_beats(noisy, fs, peaks)


def test_intervals_in_fibrillation_are_no_pause() -> None:
    r_s = np.array([1.0, 2.0, 3.0, 8.0, 9.0])
    rr = 1000.0 * np.diff(r_s)
    kept = outside_fibrillation(rr, r_s, [(3.5, 7.5, "ventricular_fibrillation")])
    assert np.nanmax(kept) == 1000.0
    assert np.nanmax(outside_fibrillation(rr, r_s, [(3.5, 7.5, "asystole")])) == 5000.0


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("ventricular_tachycardia", False),
        ("idioventricular_rhythm", False),
        ("paced_rhythm", False),
        ("ventricular_fibrillation", False),
        ("sinus_rhythm", True),
    ],
)
def test_no_electrode_is_moved_while_the_ventricles_beat_by_themselves(code: str, kept: bool) -> None:
    quality = Quality(True, 0.9, (EXCHANGED, Finding(None, "precordial_swap", "check_chest_electrodes")))
    found = judged_by_rhythm(quality, ((0.0, 10.0, code),), 10.0)
    assert (EXCHANGED in found.findings) is kept
    assert any(one.fault == "precordial_swap" for one in found.findings) is kept


# --- ages


@pytest.mark.parametrize("age", [-1.0, 200.0, 1e9, float("nan"), float("inf"), float("-inf")])
def test_an_impossible_age_is_unknown_and_silences_no_rule(age: float) -> None:
    record = simulate("vf", 3)[0]
    found = analyse(replace(record, age_years=age))
    assert codes(found) >= {"ventricular_fibrillation"}
    assert not any(one.reason == "age_outside" for one in found.not_judged)
    every = flag(inputs(age_years=age, rhythm=R(((0.0, 9.0, "ventricular_fibrillation"),))), load_profile())
    assert "ventricular_fibrillation" in {one.code for one in every.flags}


# --- missing samples


@pytest.mark.parametrize("marked", [False, True])
def test_missing_samples_are_no_standstill_and_no_pause(marked: bool) -> None:
    record = simulate("normal", 4, duration_s=30.0)[0]
    start, end = round(10 * record.fs_hz), round(18 * record.fs_hz)
    if marked:
        record = replace(record, annotations=(Annotation(CALIBRATION_PULSE, start, end),))
    else:
        signals = record.signals_mv.copy()
        signals[:, start:end] = np.nan
        record = replace(record, signals_mv=signals)
    found = analyse(record)
    assert [code for _, _, code in found.rhythm] == ["sinus_rhythm", "undetermined", "sinus_rhythm"]
    assert found.rhythm[1][:2] == (10.0, 18.0)
    assert found.flags == ()
    assert not {one.code for one in found.rhythm_findings} & {"pause", "asystole", "av_block_2_mobitz_2", "av_block_3"}
    assert found.quality.acceptable
    # a calibration pulse is no fault of the recording
    assert (Finding(None, "off", "reattach_electrode") in found.quality.findings) is not marked


def test_a_standstill_beside_missing_samples_is_found() -> None:
    record = joined(simulate("normal", 4)[0], simulate("asystole", 4)[0], simulate("normal", 4)[0])
    signals = record.signals_mv.copy()
    signals[:, round(8 * record.fs_hz) : round(12 * record.fs_hz)] = np.nan
    found = analyse(replace(record, signals_mv=signals))
    still = [(start, end) for start, end, code in found.rhythm if code == "asystole"]
    assert len(still) == 1
    assert 11.9 <= still[0][0] <= 13.0
    assert "asystole" in codes(found)


def test_what_is_missing_is_cut_out_of_a_span() -> None:
    assert between(0.0, 10.0, [(2.0, 3.0), (9.0, 12.0)]) == [(0.0, 2.0), (3.0, 9.0)]
    assert between(0.0, 10.0, [(0.0, 10.0)]) == []
    assert between(0.0, 10.0, [(-5.0, 4.0)]) == [(4.0, 10.0)]


# --- intervals


def test_a_long_standstill_is_an_interval_and_a_gap_is_none() -> None:
    peaks = np.array([0, 100, 2100, 2200])
    there = np.ones(2300, dtype=np.bool_)
    assert rr_intervals(there, peaks, 100.0).tolist() == [1000.0, 20000.0, 1000.0]
    there[150] = False
    assert np.isnan(rr_intervals(there, peaks, 100.0)).tolist() == [False, True, False]


def test_successive_differences_are_not_taken_across_what_was_removed() -> None:
    found = rates(np.array([800.0, 800.0, np.nan, 1200.0, 1200.0]))
    assert found["rmssd_ms"].value == 0.0
    assert found["rr_mean_ms"].value == 1000.0
    assert "rmssd_ms" not in rates(np.array([800.0, np.nan, 1200.0]))


def test_the_intervals_of_a_piece_are_between_its_own_beats_and_cross_no_gap() -> None:
    record = simulate("normal", 4, fs_hz=125.0, duration_s=700.0)[0]
    signals = record.signals_mv[[1, 6]].copy()
    signals[:, round(100 * 125.0) : round(104 * 125.0)] = np.nan
    there = np.isfinite(signals).any(axis=0)
    found = analyse(replace(record, signals_mv=signals, leads=("II", "V1")))
    rr = rr_intervals(there, found.r_peaks, 125.0)
    pieces = list(look(signals, 125.0, ("II", "V1"), found.r_peaks, rr, child=False))
    assert [one.rr_ms.size + 1 for one in pieces] == [one.delineation.qrs_on.size for one in pieces]
    assert int(np.isnan(pieces[0].rr_ms).sum()) == 1
    assert np.nanmax(np.concatenate([one.rr_ms for one in pieces])) < 1500.0
    assert found.measurements["rr_max_ms"].value < 1500.0


def test_findings_of_one_code_are_one_only_across_the_border_of_two_pieces() -> None:
    def piece(start: float, *found: RhythmFinding) -> Stretch:
        rhythm = Rhythm(((start, start + 300.0, "sinus_rhythm"),), (), found)
        return Stretch(start, start + 300.0, None, None, rhythm, None, np.empty(0), 250.0)  # type: ignore[arg-type]

    def slow(start: float, end: float, value: float, code: str = "bradycardia") -> RhythmFinding:
        return RhythmFinding(code, start, end, value, "bpm", 0.9)

    inside = _joined([piece(0.0, slow(10.0, 20.0, 50.0), slow(30.0, 40.0, 45.0)), piece(300.0)])
    assert len(inside.findings) == 2
    across = _joined([piece(0.0, slow(200.0, 308.0, 50.0)), piece(300.0, slow(291.0, 400.0, 45.0))])
    assert across.findings == (slow(200.0, 400.0, 45.0),)
    apart = _joined([piece(0.0, slow(200.0, 280.0, 50.0)), piece(300.0, slow(291.0, 400.0, 45.0))])
    assert len(apart.findings) == 2
    pauses = [slow(296.0, 299.0, 3.0, "pause"), slow(302.0, 305.0, 3.0, "pause")]
    assert len(_joined([piece(0.0, pauses[0]), piece(300.0, pauses[1])]).findings) == 2


# --- P waves and names


@pytest.mark.parametrize("code", ["ventricular_tachycardia", "atrial_fibrillation"])
def test_without_sinus_p_waves_nothing_of_p_is_measured_though_a_part_has_another_name(code: str) -> None:
    rhythm = Rhythm(((0.0, 6.0, code), (6.0, 10.0, "undetermined")), (), ())
    assert _prevailing(rhythm) == (code,)
    assert "undetermined" in _prevailing(Rhythm(((0.0, 4.0, code), (4.0, 10.0, "undetermined")), (), ()))


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("vt", "tachycardia"),
        ("svt", "tachycardia"),
        ("sinus_tachycardia", "tachycardia"),
        ("sinus_bradycardia", "bradycardia"),
    ],
)
def test_a_rate_that_the_rhythm_names_is_not_said_again(condition: str, said: str) -> None:
    found = analyse(simulate(condition, 2)[0])
    assert any(said in code for _, _, code in found.rhythm)
    assert said not in {one.code for one in found.rhythm_findings}


# --- the band


@pytest.mark.parametrize(("fs_hz", "judged"), [(128.0, False), (200.0, False), (250.0, True), (500.0, True)])
def test_st_is_not_judged_where_the_sampling_rate_cuts_the_band(fs_hz: float, judged: bool) -> None:
    open_above = Filters(high_pass_hz=0.05, low_pass_hz=None)
    given = inputs(measurements=st(), applied=open_above, fs_hz=fs_hz)
    assert ("filter_narrow" not in reasons(given)) is judged
    found = analyse(simulate("inferior_stemi", 3, fs_hz=fs_hz)[0])
    assert ("st_elevation_inferior" in codes(found)) is judged


def test_below_fifty_samples_a_second_nothing_is_said() -> None:
    x = np.random.default_rng(0).normal(size=(2, 400))
    for fs_hz in (0.01, 0.3, 1.0, 5.0, 20.0, 49.9):
        found = analyse(EcgRecord(x, ("I", "II"), fs_hz))
        assert {code for _, _, code in found.rhythm} == {"undetermined"}
        assert (dict(found.measurements), found.flags, found.quality.acceptable) == ({}, (), False)
        assert found.quality.findings == (Finding(None, "undersampled", "check_device_settings"),)
        found.to_json()


def test_impossible_samples_are_missing_and_the_record_is_left_as_it_is() -> None:
    clean = simulate("normal", 4)[0]
    assert possible(clean.signals_mv) is clean.signals_mv
    signals = clean.signals_mv.copy()
    signals[0, 1000:1010] = [1e300, -1e300, np.inf, -np.inf, 2e5, np.nan, 1e6, 1e7, -2e5, 1e9]
    before = signals.copy()
    found = analyse(replace(clean, signals_mv=signals))
    assert np.array_equal(signals, before, equal_nan=True)
    assert np.isnan(possible(signals)[0, 1000:1010]).all()
    assert [code for _, _, code in found.rhythm] == ["sinus_rhythm"]
    usual = analyse(clean).measurements["qrs_duration_ms"].value
    assert found.measurements["qrs_duration_ms"].value == pytest.approx(usual, abs=8.0)


# --- presence


def test_an_unsure_block_is_no_critical_flag_and_is_said() -> None:
    unsure = inputs(rhythm=R(findings=(F("av_block_3", 80.0, "bpm", confidence=0.49),)))
    result = flag(unsure, load_profile())
    assert result.flags == ()
    assert {(one.code, one.met) for one in result.not_judged if one.reason == "uncertain"} == {("av_block_3", True)}
    sure = flag(inputs(rhythm=R(findings=(F("av_block_3", 80.0, "bpm", confidence=0.5),))), load_profile())
    assert [one.code for one in sure.flags] == ["av_block_3"]


def test_a_rule_of_presence_shows_how_long_and_no_limit() -> None:
    found = flag(inputs(rhythm=R(findings=(F("av_block_3", 80.0, "bpm", 2.0, 9.0),))), load_profile()).flags
    assert [(one.value, one.limit, one.unit) for one in found] == [(7.0, 0.0, "s")]
    spans = R(((0.0, 4.0, "ventricular_fibrillation"),))
    found = flag(inputs(rhythm=spans), load_profile()).flags
    assert [(one.value, one.limit, one.unit) for one in found] == [(4.0, 0.0, "s")]

"""Promises of the quality gate, each with the clean recording as its counterpart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.signal.ecg import FAULTS, REMEDIES, STANDARD_LEADS, EcgRecord, assess_quality, detect_qrs, simulate
from teleread.signal.ecg import electrode_features as look
from teleread.signal.ecg.beat_measures import measure_beats
from teleread.signal.ecg.electrodes import limb_leads_disagree, misplaced_electrodes
from teleread.signal.ecg.lead_measures import views
from teleread.signal.ecg.quality import judge_recording
from teleread.signal.ecg.quality_types import ELECTRODES, EXCHANGES, LIMITS, Quality
from teleread.signal.ecg.simulation.faults import apply_fault
from training.ecg_electrode_maps import chest_maps, limb_maps

FS = 500.0
T = np.arange(5000) / FS
ROW = {lead: row for row, lead in enumerate(STANDARD_LEADS)}

Signals = NDArray[np.float64]


def record(seed: int = 1, condition: str = "normal") -> EcgRecord:
    return simulate(condition, seed)[0]


def clean(seed: int = 1) -> Signals:
    return record(seed).signals_mv.copy()


def judged(signals: Signals, fs_hz: float = FS) -> Quality:
    return assess_quality(signals, fs_hz, STANDARD_LEADS)


def faults(signals: Signals, fs_hz: float = FS) -> set[tuple[str | None, str]]:
    return {(f.lead, f.fault) for f in judged(signals, fs_hz).findings}


@pytest.mark.parametrize("condition", ["normal", "af", "inferior_stemi"])
@pytest.mark.parametrize("seed", range(5))
def test_a_clean_recording_of_a_sick_heart_is_acceptable(condition: str, seed: int) -> None:
    quality = judged(record(seed, condition).signals_mv)
    assert quality.acceptable
    assert quality.findings == ()
    assert quality.score > 0.75


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_wide_escape_rhythm_is_acceptable(seed: int) -> None:
    assert judged(record(seed, "complete_block").signals_mv).acceptable


NOISES = ("flat", "off", "saturated", "mains", "drift", "burst", "muscle")


def spoil(fault: str, row: int = 8, seed: int = 1) -> Signals:
    rng = np.random.default_rng(17)
    signals = clean(seed)
    lead = signals[row]
    if fault == "flat":
        lead[:] = 0.0
    elif fault == "off":
        lead[1000:4500] = np.nan
    elif fault == "saturated":
        lead[:] = np.clip(6.0 * lead, -0.9, 0.9)
    elif fault == "mains":
        lead += 0.4 * np.sin(2 * np.pi * 50.0 * T)
    elif fault == "drift":
        lead += 3.0 * np.sin(2 * np.pi * 0.3 * T)
    elif fault == "muscle":
        lead += 0.4 * rng.standard_normal(T.size)
    elif fault == "burst":
        lead[1500:3200] += 0.9 * rng.standard_normal(1700)
    return signals


@pytest.mark.parametrize("fault", NOISES)
def test_a_spoilt_lead_is_named(fault: str) -> None:
    found = faults(spoil(fault))
    assert ("V3", fault) in found
    assert {lead for lead, _ in found} == {"V3"}
    assert judged(spoil(fault)).score < judged(clean()).score
    assert ("V3", fault) not in faults(clean())  # the counterpart


@pytest.mark.parametrize("fault", ["flat", "off", "saturated", "muscle"])
def test_a_lead_without_anything_to_read_makes_the_recording_unacceptable(fault: str) -> None:
    assert not judged(spoil(fault)).acceptable
    assert judged(clean()).acceptable


@pytest.mark.parametrize("fault", NOISES)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_not_acceptable_always_names_a_lead_and_a_remedy(fault: str, seed: int) -> None:
    quality = judged(spoil(fault, row=seed, seed=seed))
    assert quality.findings
    assert all(finding.remedy in REMEDIES for finding in quality.findings)
    assert any(finding.lead for finding in quality.findings)


def test_a_lead_at_rest_far_from_zero_is_off_and_at_the_end_of_its_range_saturated() -> None:
    signals = clean()
    signals[7], signals[8] = 95.0, -5.0
    assert {("V2", "off"), ("V3", "saturated")} <= faults(signals)


def test_a_lead_with_noise_but_without_a_heart_is_off() -> None:
    signals = clean()
    signals[9] = 0.004 * np.random.default_rng(3).standard_normal(T.size)
    assert ("V4", "off") in faults(signals)


@pytest.mark.parametrize("line", [50.0, 60.0])
@pytest.mark.parametrize("fs_hz", [250.0, 500.0, 1000.0])
def test_mains_of_either_frequency_is_mains_at_every_rate(line: float, fs_hz: float) -> None:
    signals = simulate("normal", 2, fs_hz=fs_hz)[0].signals_mv.copy()
    signals[6] += 0.3 * np.sin(2 * np.pi * line * np.arange(signals.shape[1]) / fs_hz)
    assert ("V1", "mains") in faults(signals, fs_hz)
    assert ("V1", "muscle") not in faults(signals, fs_hz)  # a hum is no tremor


def test_small_beats_are_a_finding_but_no_refusal() -> None:
    signals = clean()
    signals[11] *= 0.04
    quality = judged(signals)
    assert ("V6", "low_amplitude") in {(f.lead, f.fault) for f in quality.findings}
    assert quality.acceptable


def test_one_small_limb_lead_is_a_matter_of_the_axis_two_are_not() -> None:
    one, two = np.array([[0.0], [1.0], [1.0]]), np.array([[0.03], [0.05], [0.02]])
    shape, other = clean()[1], 0.06 * clean()[7]
    names = ("I", "II", "III")
    across = one * shape + np.array([[1.0], [0.0], [-1.0]]) * other
    assert np.ptp(across[0]) < 0.2
    assert assess_quality(across, FS, names).findings == ()
    assert {f.fault for f in assess_quality(two * shape, FS, names).findings} == {"low_amplitude"}


def test_a_short_recording_asks_for_a_longer_one() -> None:
    quality = judged(clean()[:, :1500])
    assert not quality.acceptable
    assert any(f.fault == "too_short" and f.remedy == "repeat_longer" for f in quality.findings)


def test_a_low_rate_is_said_and_a_very_low_one_refused() -> None:
    for fs_hz, accepted in ((200.0, True), (100.0, True), (80.0, False), (10.0, False)):
        signals = simulate("normal", 1, fs_hz=max(fs_hz, 100.0))[0].signals_mv
        quality = judged(signals, fs_hz)
        assert quality.acceptable is accepted
        assert any(f.fault == "undersampled" for f in quality.findings)
    assert (None, "undersampled") not in faults(clean())


def test_a_monitor_filter_is_said() -> None:
    filtered = apply_fault(record(), "band_limited", 3)[0].signals_mv
    assert (None, "band_limited") in faults(filtered)
    assert (None, "band_limited") not in faults(clean())


@pytest.mark.parametrize("style", ["turned", "late"])
def test_a_limb_lead_that_contradicts_the_others_is_named(style: str) -> None:
    signals = clean()
    signals[2] = -signals[2] if style == "turned" else np.roll(signals[2], 130)
    assert ("III", "einthoven") in faults(signals)
    assert all(fault != "einthoven" for _, fault in faults(clean()))


def test_three_limb_leads_that_contradict_each_other_cannot_say_which_is_wrong() -> None:
    def odd(signals: Signals, names: tuple[str, ...]) -> tuple[str, ...]:
        beats = measure_beats(views(signals, FS), detect_qrs(signals, FS))
        assert beats is not None
        return limb_leads_disagree(beats, names, LIMITS.einthoven_lead_mv, LIMITS.einthoven_mv)

    signals = clean()[:3]
    assert odd(signals, ("I", "II", "III")) == ()
    signals[2] -= 6.0 * signals[1]
    assert odd(signals, ("I", "II", "III")) == ("I", "II", "III")
    assert odd(signals[:2], ("I", "II")) == ()
    found = {(f.lead, f.fault) for f in assess_quality(signals, FS, ("I", "II", "III")).findings}
    assert (None, "einthoven") in found


@pytest.mark.parametrize("electrode", ["RA", "LA", "LL"])
@pytest.mark.parametrize("fault", ["mains", "muscle", "drift"])
def test_a_limb_electrode_behind_several_leads_is_named_once(electrode: str, fault: str) -> None:
    size = {"mains": 0.4, "muscle": 0.3, "drift": 3.5}[fault]
    quality = judged(apply_fault(record(3), fault, 5, where=electrode, size=size)[0].signals_mv)
    named = [f for f in quality.findings if f.fault == fault]
    assert [f.electrode for f in named] == [electrode]
    assert named[0].lead in ("I", "II")


def test_noise_in_all_leads_blames_no_single_electrode() -> None:
    signals = clean() + 0.3 * np.sin(2 * np.pi * 50.0 * T)
    found = [f for f in judged(signals).findings if f.fault == "mains"]
    assert {f.lead for f in found} == set(STANDARD_LEADS)
    assert all(f.electrode is None for f in found)


def test_a_loose_limb_electrode_is_named_when_its_leads_are_dead() -> None:
    signals = clean()
    signals[[0, 1, 3]] = 0.0
    assert [(f.electrode, f.lead) for f in judged(signals).findings if f.fault == "flat"] == [("RA", "I")]


@pytest.mark.parametrize(
    ("swap", "exchanged", "lead"), [("ra_la", "RA-LA", "I"), ("ra_ll", "RA-LL", "II"), ("ra_rl", "RA-RL", "II")]
)
def test_exchanged_limb_electrodes_are_named_and_do_not_stop_the_recording(
    swap: str, exchanged: str, lead: str
) -> None:
    named = 0
    for seed in range(10):
        quality = judged(apply_fault(record(seed), swap, seed)[0].signals_mv)
        assert quality.acceptable
        named += (lead, "limb_reversal", exchanged) in {(f.lead, f.fault, f.electrode) for f in quality.findings}
        assert all(f.fault != "limb_reversal" for f in judged(clean(seed)).findings)
    assert named >= 9


def test_arms_on_the_legs_leave_lead_one_empty() -> None:
    signals = clean()
    signals[0] *= 0.03
    one, two = signals[0], signals[1]
    signals[2:6] = [two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    assert ("I", "limb_reversal", "arms-legs") in {(f.lead, f.fault, f.electrode) for f in judged(signals).findings}


def test_exchanged_chest_electrodes_are_to_be_checked() -> None:
    found = 0
    for seed in range(10):
        signals = clean(seed)
        signals[[6, 9]] = signals[[9, 6]]
        found += {("V1", "precordial_swap"), ("V4", "precordial_swap")} <= faults(signals)
    assert found >= 8


def test_a_mirrored_heart_is_not_called_an_arm_swap() -> None:
    signals = apply_fault(record(3), "ra_la", 3)[0].signals_mv.copy()
    signals[6:] *= -0.4  # chest leads turn with the heart
    assert ("I", "limb_reversal") not in faults(signals)


@pytest.mark.parametrize("condition", ["idioventricular", "complete_block", "vt"])
def test_a_heart_that_beats_from_a_ventricle_is_not_told_to_check_its_electrodes(condition: str) -> None:
    for seed in range(4):
        assert all(
            fault not in ("limb_reversal", "precordial_swap") for _, fault in faults(record(seed, condition).signals_mv)
        )


def test_without_a_beat_nothing_is_said_about_electrodes() -> None:
    seen = views(np.zeros((12, 5000)), FS)
    beats = measure_beats(seen, np.arange(500, 4600, 400))
    assert beats is not None
    assert misplaced_electrodes(beats, STANDARD_LEADS, np.zeros(12, dtype=np.bool_)) == []


def chaos(kind: str) -> Signals:
    rng = np.random.default_rng(5)
    if kind == "asystole":
        return 0.02 * np.sin(2 * np.pi * 0.2 * T) * np.ones((12, 1)) + 0.003 * rng.standard_normal((12, T.size))
    if kind == "flat":
        return np.zeros((12, T.size))
    if kind == "noise":
        return rng.standard_normal((12, T.size))
    return np.asarray(rng.normal(0.0, 0.4, (12, 3)) @ np.vstack([fibrillation(rng) for _ in range(3)]))


def fibrillation(rng: np.random.Generator) -> Signals:
    """One component of ventricular fibrillation: 3 to 9 Hz, waxing and waning."""
    spectrum = np.fft.rfft(rng.standard_normal(T.size))
    freqs = np.fft.rfftfreq(T.size, 1 / FS)
    wave: Signals = np.fft.irfft(np.where((freqs > 3) & (freqs < 9), spectrum, 0.0), T.size)
    wave /= wave.std()
    return wave


@pytest.mark.parametrize("kind", ["asystole", "flat", "noise", "fibrillation"])
def test_a_heart_that_may_have_stopped_says_look_at_the_patient_first(kind: str) -> None:
    quality = judged(chaos(kind))
    assert not quality.acceptable
    assert quality.score <= 0.2
    assert (quality.findings[0].fault, quality.findings[0].remedy) == ("all_leads_bad", "look_at_patient")


@pytest.mark.parametrize("seed", range(6))
def test_asystole_says_look_at_the_patient_first(seed: int) -> None:
    assert judged(record(700 + seed, "asystole").signals_mv).findings[0].remedy == "look_at_patient"


def test_a_rate_that_no_heart_has_says_look_at_the_patient_first() -> None:
    quality = assess_quality(clean(), FS, STANDARD_LEADS, r_peaks=np.array([500, 4600]))
    assert quality.findings[0].fault == "all_leads_bad"


def test_one_dead_lead_alone_does_not_alarm() -> None:
    assert all(f.remedy != "look_at_patient" for f in judged(spoil("flat")).findings)


@pytest.mark.parametrize(
    "signals", [np.empty((12, 0)), np.zeros((12, 10)), np.full((12, 5000), np.nan), np.full((12, 5000), np.inf)]
)
def test_hopeless_input_gets_a_verdict_not_an_error(signals: Signals) -> None:
    quality = judged(signals)
    assert not quality.acceptable
    assert quality.findings


def test_every_code_is_a_stable_one() -> None:
    made = (
        *(spoil(f) for f in NOISES),
        chaos("flat"),
        clean()[:, :1500],
        apply_fault(record(), "ra_la", 1)[0].signals_mv,
    )
    for signals in made:
        for finding in judged(signals).findings:
            assert finding.fault in FAULTS
            assert finding.remedy in REMEDIES
            assert finding.electrode in (None, *ELECTRODES, *EXCHANGES)


def test_one_name_per_row_is_required() -> None:
    with pytest.raises(ValueError, match="lead name"):
        judged(clean()[:5])
    with pytest.raises(ValueError, match="fs_hz"):
        judged(clean(), 0.0)


@pytest.mark.parametrize("count", [1, 3, 8, 15])
def test_any_number_of_leads_is_judged(count: int) -> None:
    whole = simulate("normal", 4, extra_leads=("V3R", "V4R", "V7"))[0]
    rows = {1: ["II"], 3: ["I", "II", "III"], 8: ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"], 15: list(whole.leads)}
    names = rows[count]
    signals = whole.signals_mv[[whole.leads.index(lead) for lead in names]].copy()
    quality = assess_quality(signals, FS, names)
    assert quality.acceptable
    assert quality.findings == ()
    signals[-1] = 0.0
    spoilt = assess_quality(signals, FS, names)
    assert not spoilt.acceptable
    assert (names[-1], "flat") in {(f.lead, f.fault) for f in spoilt.findings} or count == 1
    assert spoilt.findings[0].fault == ("all_leads_bad" if count == 1 else "flat")


def test_a_single_row_may_come_flat() -> None:
    assert assess_quality(clean()[1], FS, ("II",)).acceptable


def test_the_order_of_leads_and_known_beats_change_nothing() -> None:
    signals = spoil("muscle")
    order = np.random.default_rng(0).permutation(12)
    turned = assess_quality(signals[order], FS, [STANDARD_LEADS[i] for i in order])
    assert set(turned.findings) == set(judged(signals).findings)
    assert turned.acceptable == judged(signals).acceptable
    known = assess_quality(signals, FS, STANDARD_LEADS, r_peaks=detect_qrs(signals, FS))
    assert known.findings == judged(signals).findings


def test_the_same_recording_gives_the_same_verdict_and_stays_as_it_is() -> None:
    signals = spoil("burst")
    before = signals.copy()
    assert judged(signals) == judged(signals)
    assert np.array_equal(signals, before)


@pytest.mark.parametrize("fs_hz", [250.0, 360.0, 500.0, 1000.0, 2000.0])
def test_the_rate_does_not_matter(fs_hz: float) -> None:
    signals = simulate("normal", 6, fs_hz=fs_hz)[0].signals_mv.copy()
    assert judged(signals, fs_hz).findings == ()
    signals[9] = 0.0
    assert faults(signals, fs_hz) == {("V4", "flat")}


def refusing(*_: object) -> bool:
    return True


def test_experts_are_asked_about_faults_in_twelve_leads_only() -> None:
    three = spoil("muscle", row=1)[:3]
    assert not assess_quality(three, FS, ("I", "II", "V1")).acceptable  # by the limits alone
    # nothing to mend, nobody asked
    assert judge_recording(clean(), FS, STANDARD_LEADS, LIMITS, None, refusing).acceptable


def test_what_experts_refuse_for_small_beats_names_what_is_nearest_to_its_limit() -> None:
    signals = clean()
    signals[11] *= 0.04
    signals[3] += 0.04 * np.sin(2 * np.pi * 50.0 * T)
    quality = judge_recording(signals, FS, STANDARD_LEADS, LIMITS, None, refusing)
    assert not quality.acceptable
    assert len(quality.findings) == 2
    assert {f.fault for f in quality.findings} > {"low_amplitude"} or quality.findings[0].lead == "V6"


def test_leads_foretell_each_other_once_maps_are_fitted() -> None:
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(8, 3))
    shapes = np.einsum("ij,mjk->mik", mixing, rng.normal(size=(50, 3, 19)))
    for wave, limb, chest in zip(look.WAVES, limb_maps(shapes), chest_maps(shapes), strict=True):
        part = shapes[:, :, wave]
        told = np.einsum("ji,mjt->mit", limb, part[:, 2:])
        assert np.abs(told - part[:, :2]).mean() < 0.25 * np.abs(part[:, :2]).mean()
        told = np.einsum("ji,mjt->mit", chest, part)
        assert np.abs(told - part[:, 2:]).mean() < 0.25 * np.abs(part[:, 2:]).mean()
        assert not chest[np.arange(2, 8), np.arange(6)].any()  # no lead foretells itself


def test_an_exchange_made_and_taken_back_is_the_beat_as_it_was() -> None:
    shapes = np.random.default_rng(1).normal(size=(4, 8, 19))
    once = look.limb_versions(shapes)[:, 1]
    assert np.allclose(look.limb_versions(once)[:, 1], shapes)
    once = look.chest_versions(shapes)[:, 7]
    assert np.allclose(look.chest_versions(once)[:, 7], shapes)


LONG = 70


def day(spoilt_share: float) -> Signals:
    part = clean()[:3]
    bad = part.copy()
    bad[1] = 0.0
    return np.concatenate([bad if k < spoilt_share * LONG / 10 else part for k in range(LONG // 10)], axis=1)


def test_a_long_recording_is_judged_by_most_of_it() -> None:
    names = ("I", "V1", "V2")
    assert assess_quality(day(0.0), FS, names).findings == ()
    few = assess_quality(day(0.2), FS, names)
    assert few.acceptable
    assert ("V1", "flat") in {(f.lead, f.fault) for f in few.findings}
    assert not assess_quality(day(0.6), FS, names).acceptable
    known = detect_qrs(day(0.0), FS)
    assert assess_quality(day(0.0), FS, names, r_peaks=known).acceptable


def test_a_long_recording_with_another_fault_every_time_still_names_one() -> None:
    signals = np.concatenate([clean()[:3]] * 15, axis=1)
    for k in range(0, 15, 3):
        signals[k % 2, k * 5000 : (k + 1) * 5000] = 0.0
    quality = assess_quality(signals, FS, ("I", "V1", "V2"))
    assert not quality.acceptable
    assert quality.findings


def test_a_recorder_that_was_taken_off_is_no_emergency() -> None:
    names = ("I", "V1", "V2")
    worn = np.concatenate([clean()[:3]] * 5 + [np.zeros((3, 10000))], axis=1)
    assert all(f.fault != "all_leads_bad" for f in assess_quality(worn, FS, names).findings)
    never = assess_quality(np.zeros((3, 35000)), FS, names)
    assert never.findings[0].fault == "all_leads_bad"


def test_real_recordings_are_judged_as_experts_did(data_dir: Path) -> None:
    held = np.load(data_dir / "ecg" / "cinc2011" / "set_a.npz")
    decided = np.flatnonzero(held["acceptable"] >= 0)[::6]
    ecgs = held["ecg_int16"]
    right = sum(judged(ecgs[i] / 200.0, float(held["fs"])).acceptable == bool(held["acceptable"][i]) for i in decided)
    assert right / decided.size >= 0.9


@pytest.mark.parametrize("p_waves", [False, True])
def test_a_stopped_heart_brings_one_message_and_no_list_of_electrodes(p_waves: bool) -> None:
    stopped, _ = simulate("asystole", 1, p_waves=p_waves)
    for signals in (stopped.signals_mv, np.zeros((12, 5000))):
        found = judged(signals)
        assert (found.findings[0].fault, found.findings[0].remedy) == ("all_leads_bad", "look_at_patient")
        assert not {"off", "flat", "low_amplitude"} & {one.fault for one in found.findings}
        assert not found.acceptable

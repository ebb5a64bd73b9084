"""Promises of the quality gate, each with the clean recording as its counterpart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.signal.ecg import FAULTS, REMEDIES, STANDARD_LEADS, assess_quality, simulate

FS = 500.0
RNG = np.random.default_rng(17)
T = np.arange(5000) / FS


def clean(seed: int = 1) -> NDArray[np.float64]:
    return simulate("normal", seed)[0].signals_mv.copy()


def faults(signals: NDArray[np.float64], fs_hz: float = FS) -> set[tuple[str | None, str]]:
    return {(f.lead, f.fault) for f in assess_quality(signals, fs_hz, STANDARD_LEADS).findings}


@pytest.mark.parametrize("condition", ["normal", "af", "inferior_stemi"])
@pytest.mark.parametrize("seed", range(5))
def test_a_clean_recording_of_a_sick_heart_is_acceptable(condition: str, seed: int) -> None:
    quality = assess_quality(simulate(condition, seed)[0].signals_mv, FS, STANDARD_LEADS)
    assert quality.acceptable
    assert quality.findings == ()
    assert quality.score > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_wide_escape_rhythm_is_acceptable(seed: int) -> None:
    assert assess_quality(simulate("complete_block", seed)[0].signals_mv, FS, STANDARD_LEADS).acceptable


def spoil(fault: str) -> NDArray[np.float64]:
    signals = clean()
    lead = signals[8]
    if fault == "flat":
        lead[:] = 0.0
    elif fault == "off":
        lead[1000:2500] = np.nan
    elif fault == "saturated":
        lead[:] = np.clip(6.0 * lead, -0.9, 0.9)
    elif fault == "mains":
        lead += 0.4 * np.sin(2 * np.pi * 50.0 * T)
    elif fault == "drift":
        lead += 3.0 * np.sin(2 * np.pi * 0.3 * T)
    elif fault == "burst":
        lead += 0.4 * RNG.standard_normal(T.size)
    return signals


@pytest.mark.parametrize("fault", ["flat", "off", "saturated", "mains", "drift", "burst"])
def test_a_spoilt_lead_is_named_and_makes_the_recording_unacceptable(fault: str) -> None:
    quality = assess_quality(spoil(fault), FS, STANDARD_LEADS)
    found = {(f.lead, f.fault) for f in quality.findings}
    assert ("V3", fault) in found
    assert {lead for lead, _ in found} == {"V3"}
    assert not quality.acceptable
    assert quality.score < 1.0
    assert ("V3", fault) not in faults(clean())  # the counterpart


def test_a_lead_at_rest_far_from_zero_is_off() -> None:
    signals = clean()
    signals[7] = 95.0
    assert ("V2", "off") in faults(signals)


def test_sixty_hertz_is_mains_too() -> None:
    signals = clean()
    signals[6] += 0.3 * np.sin(2 * np.pi * 60.0 * T)
    assert ("V1", "mains") in faults(signals)


def test_small_beats_are_a_finding_but_no_refusal() -> None:
    signals = clean()
    signals[11] *= 0.03
    quality = assess_quality(signals, FS, STANDARD_LEADS)
    assert ("V6", "low_amplitude") in {(f.lead, f.fault) for f in quality.findings}
    assert quality.acceptable


def test_a_short_recording_asks_for_a_longer_one() -> None:
    quality = assess_quality(clean()[:, :1500], FS, STANDARD_LEADS)
    assert not quality.acceptable
    assert any(f.fault == "too_short" and f.remedy == "repeat_longer" for f in quality.findings)


def test_a_low_rate_is_said_and_a_very_low_one_refused() -> None:
    for fs_hz, accepted in ((200.0, True), (100.0, True)):
        quality = assess_quality(simulate("normal", 1, fs_hz=fs_hz)[0].signals_mv, fs_hz, STANDARD_LEADS)
        assert quality.acceptable is accepted
        assert any(f.fault == "undersampled" for f in quality.findings)
    assert not assess_quality(clean()[:, ::8], 62.5, STANDARD_LEADS).acceptable
    assert (None, "undersampled") not in faults(clean())


@pytest.mark.parametrize("seed", range(10))
def test_exchanged_arms_are_said_and_do_not_stop_the_recording(seed: int) -> None:
    swapped = assess_quality(simulate("ra_la_swap", seed)[0].signals_mv, FS, STANDARD_LEADS)
    assert [(f.lead, f.fault, f.remedy) for f in swapped.findings] == [("I", "limb_reversal", "check_limb_electrodes")]
    assert swapped.acceptable
    assert (None, "limb_reversal") not in faults(clean(seed))
    assert ("I", "limb_reversal") not in faults(clean(seed))


def test_a_mirrored_heart_is_not_called_an_arm_swap() -> None:
    signals = simulate("ra_la_swap", 3)[0].signals_mv.copy()
    signals[6:] *= -0.4  # chest leads turn with the heart
    assert ("I", "limb_reversal") not in faults(signals)


def chaos(kind: str) -> NDArray[np.float64]:
    rng = np.random.default_rng(5)
    if kind == "asystole":
        return 0.02 * np.sin(2 * np.pi * 0.2 * T) * np.ones((12, 1)) + 0.003 * rng.standard_normal((12, T.size))
    if kind == "flat":
        return np.zeros((12, T.size))
    if kind == "noise":
        return rng.standard_normal((12, T.size))
    return rng.normal(0.0, 0.4, (12, 3)) @ np.vstack([fibrillation(rng) for _ in range(3)])


def fibrillation(rng: np.random.Generator) -> NDArray[np.float64]:
    """One component of ventricular fibrillation: 3 to 9 Hz, waxing and waning."""
    spectrum = np.fft.rfft(rng.standard_normal(T.size))
    freqs = np.fft.rfftfreq(T.size, 1 / FS)
    wave: NDArray[np.float64] = np.fft.irfft(np.where((freqs > 3) & (freqs < 9), spectrum, 0.0), T.size)
    wave /= wave.std()
    return wave


@pytest.mark.parametrize("kind", ["asystole", "flat", "noise", "fibrillation"])
def test_a_heart_that_may_have_stopped_says_look_at_the_patient_first(kind: str) -> None:
    quality = assess_quality(chaos(kind), FS, STANDARD_LEADS)
    assert not quality.acceptable
    assert quality.score <= 0.2
    assert (quality.findings[0].fault, quality.findings[0].remedy) == ("all_leads_bad", "look_at_patient")


def test_one_dead_lead_alone_does_not_alarm() -> None:
    assert all(f.remedy != "look_at_patient" for f in assess_quality(spoil("flat"), FS, STANDARD_LEADS).findings)


@pytest.mark.parametrize(
    "signals", [np.empty((12, 0)), np.zeros((12, 10)), np.full((12, 5000), np.nan), np.full((12, 5000), np.inf)]
)
def test_hopeless_input_gets_a_verdict_not_an_error(signals: NDArray[np.float64]) -> None:
    quality = assess_quality(signals, FS, STANDARD_LEADS)
    assert not quality.acceptable
    assert quality.findings


def test_every_code_is_a_stable_one() -> None:
    for signals in (*(spoil(f) for f in FAULTS), chaos("flat"), clean()[:, :1500]):
        for finding in assess_quality(signals, FS, STANDARD_LEADS).findings:
            assert finding.fault in FAULTS
            assert finding.remedy in REMEDIES


def test_one_name_per_row_is_required() -> None:
    with pytest.raises(ValueError, match="lead name"):
        assess_quality(clean(), FS, STANDARD_LEADS[:5])


def test_real_recordings_are_judged_as_experts_did(data_dir: Path) -> None:
    held = np.load(data_dir / "ecg" / "cinc2011" / "set_a.npz")
    decided = np.flatnonzero(held["acceptable"] >= 0)[::6]
    right = sum(
        assess_quality(held["ecg_int16"][i] / 200.0, float(held["fs"]), STANDARD_LEADS).acceptable
        == bool(held["acceptable"][i])
        for i in decided
    )
    assert right / decided.size >= 0.88

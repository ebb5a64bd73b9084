"""Is this recording good enough to be read, and if not, what should the person beside the patient do?

Every lead is cut into half-second windows and judged by simple, explainable measures: how much is missing, flat or
railed, how strong mains hum, muscle and baseline wander are, whether the lead carries beats. Rules with fixed
limits in physical units decide; nothing is learned. Where *all* leads are bad the advice is to look at the patient
first: a stopped or fibrillating heart looks like loose electrodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.electrodes import arms_look_exchanged
from teleread.signal.ecg.filters import Samples, bridge_gaps
from teleread.signal.ecg.lead_measures import WINDOW_S, LeadMeasures, beat_likeness, measure_leads
from teleread.signal.ecg.qrs import detect_qrs

FAULTS = (
    "flat",
    "off",
    "saturated",
    "mains",
    "drift",
    "burst",
    "low_amplitude",
    "too_short",
    "undersampled",
    "limb_reversal",
    "all_leads_bad",
)
"""Every fault code that a finding may carry."""

REMEDIES = (
    "reattach_electrode",
    "check_limb_electrodes",
    "move_away_from_mains",
    "ask_to_lie_still",
    "repeat_longer",
    "check_device_settings",
    "look_at_patient",
)
"""Every remedy code that a finding may carry."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. ``lead`` is None when it concerns the whole recording."""

    lead: str | None
    fault: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Quality:
    """The verdict: may it be read, how good is it (0 unusable … 1 clean), and what is wrong.

    Findings stand in order of urgency, then of leads. A finding alone does not make a recording unacceptable.
    """

    acceptable: bool
    score: float
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in physical units. ``severe`` ones make a recording unacceptable, the others only a finding."""

    min_duration_s: float = 5.0
    min_fs_hz: float = 100.0
    good_fs_hz: float = 250.0
    flat_mv: float = 0.006
    flat_share: float = 0.06
    missing_share: float = 0.05
    rail_share: float = 0.01
    off_level_mv: float = 50.0
    low_qrs_mv: float = 0.08
    no_heart_mv: float = 0.025
    mains_mv: float = 0.05
    mains_severe_mv: float = 0.20
    drift_mv: float = 1.0
    drift_severe_mv: float = 3.0
    noise_mv: float = 0.05
    noise_share: float = 0.25
    noise_severe_mv: float = 0.15
    jump_mv: float = 6.0
    jump_share: float = 0.2
    beat_likeness: float = 0.6
    min_rate_bpm: float = 20.0
    max_rate_bpm: float = 280.0


LIMITS = Limits()

_DERIVED = frozenset({"III", "aVR", "aVL", "aVF"})
_DEAD = frozenset({"flat", "off", "saturated"})


def assess_quality(
    ecg_mv: NDArray[np.floating], fs_hz: float, leads: Sequence[str], limits: Limits = LIMITS
) -> Quality:
    """Judges a recording before anybody reads it.

    Args:
        ecg_mv: shape (n,) or (n_leads, n), millivolts, NaN where missing.
        fs_hz: sampling rate in Hz.
        leads: one name per row; the standard spelling lets limb leads be checked against each other.
        limits: the limits to judge by.

    Returns:
        A verdict; it never fails for a bad recording, however bad.

    Raises:
        ValueError: names and rows differ in number, or ``fs_hz`` is not a positive number.
    """
    x = np.atleast_2d(np.asarray(ecg_mv, dtype=np.float64))
    if x.ndim != 2 or x.shape[0] != len(leads):
        raise ValueError("one lead name per row of samples")
    if not (np.isfinite(fs_hz) and fs_hz > 0):
        raise ValueError("fs_hz must be a positive number")
    x = np.where(np.isfinite(x), x, np.nan)
    if x.shape[0] == 0 or x.shape[1] < 2 * WINDOW_S * fs_hz or fs_hz < 20:
        fault = Finding(None, "too_short", "repeat_longer")
        if fs_hz < 20:
            fault = Finding(None, "undersampled", "check_device_settings")
        return Quality(False, 0.0, (fault,))
    measures = measure_leads(x, fs_hz, limits.flat_mv, limits.noise_mv, limits.jump_mv)
    per_lead = [_judge(m, lead, limits) for m, lead in zip(measures, leads, strict=True)]
    whole, whole_is_bad = _judge_whole(x, fs_hz, leads, per_lead, limits)
    findings = [
        *whole,
        *(Finding(lead, f, _REMEDY[f]) for lead, (fs, _) in zip(leads, per_lead, strict=True) for f in fs),
    ]
    severe = whole_is_bad or any(bad for _, bad in per_lead)
    score = float(
        np.mean([_lead_score(m, faults, bad, limits) for m, (faults, bad) in zip(measures, per_lead, strict=True)])
    )
    if whole_is_bad:
        score = min(score, 0.2)
    return Quality(not severe, round(score, 3), tuple(findings))


_REMEDY = {
    "flat": "reattach_electrode",
    "off": "reattach_electrode",
    "saturated": "reattach_electrode",
    "low_amplitude": "reattach_electrode",
    "mains": "move_away_from_mains",
    "drift": "ask_to_lie_still",
    "burst": "ask_to_lie_still",
}


def _judge(m: LeadMeasures, lead: str, limits: Limits) -> tuple[tuple[str, ...], bool]:
    """(faults of one lead, whether one of them alone spoils the recording)."""
    # a derived limb lead may lie across the heart's axis and be empty in health; the electrode shows elsewhere
    silent = m.qrs_mv < limits.no_heart_mv and lead not in _DERIVED
    if m.missing > 0.5 or (m.flat > 0.5 and m.level_mv > limits.off_level_mv):
        return ("off",), True
    faults, severe = [], False
    if m.missing > limits.missing_share:
        faults, severe = ["off"], True
    if m.flat > limits.flat_share:
        faults, severe = [*faults, "flat"], True
    if m.railed > limits.rail_share:
        faults, severe = [*faults, "saturated"], True
    if (m.level_mv > limits.off_level_mv or silent) and not severe:
        faults, severe = ["off"], True
    if m.mains_mv > limits.mains_mv:
        faults, severe = [*faults, "mains"], severe or m.mains_mv > limits.mains_severe_mv
    if m.drift_mv > limits.drift_mv:
        faults, severe = [*faults, "drift"], severe or m.drift_mv > limits.drift_severe_mv
    if m.noisy > limits.noise_share or m.jumps > 0:
        bad = m.noise_mv > limits.noise_severe_mv or m.jumps > limits.jump_share
        faults, severe = [*faults, "burst"], severe or bad
    if m.qrs_mv < limits.low_qrs_mv and not faults:
        faults = ["low_amplitude"]
    return tuple(faults), severe


def _lead_score(m: LeadMeasures, faults: tuple[str, ...], severe: bool, limits: Limits) -> float:
    if severe and _DEAD.intersection(faults):
        return 0.0
    worst = max(
        m.mains_mv / limits.mains_severe_mv,
        m.drift_mv / limits.drift_severe_mv,
        m.noise_mv / limits.noise_severe_mv,
        m.jumps / limits.jump_share,
    )
    return float(np.clip(1.0 - 0.6 * min(worst, 1.0) - (0.3 if severe else 0.0), 0.0, 1.0))


def _judge_whole(
    x: Samples, fs_hz: float, leads: Sequence[str], per_lead: list[tuple[tuple[str, ...], bool]], limits: Limits
) -> tuple[list[Finding], bool]:
    """(findings about the whole recording, whether one of them spoils it)."""
    findings: list[Finding] = []
    bad = False
    live = [i for i, (faults, _) in enumerate(per_lead) if not _DEAD.intersection(faults)]
    peaks = detect_qrs(x[live], fs_hz) if live else np.empty(0, dtype=np.int64)
    if not live or _chaotic(x[live], fs_hz, peaks, limits):
        findings.append(Finding(None, "all_leads_bad", "look_at_patient"))
        bad = True
    elif arms_look_exchanged(bridge_gaps(x), fs_hz, leads, peaks):
        findings.append(Finding("I", "limb_reversal", "check_limb_electrodes"))
    if x.shape[1] < limits.min_duration_s * fs_hz:
        findings.append(Finding(None, "too_short", "repeat_longer"))
        bad = True
    if fs_hz < limits.good_fs_hz:
        findings.append(Finding(None, "undersampled", "check_device_settings"))
        bad = bad or fs_hz < limits.min_fs_hz
    return findings, bad


def _chaotic(x: Samples, fs_hz: float, peaks: NDArray[np.int64], limits: Limits) -> bool:
    """No beats, or what was taken for beats is too rare, too fast or of no common shape (as in fibrillation)."""
    if x.shape[1] < 3 * fs_hz:
        return False
    if peaks.size < 2:
        return True
    rate_bpm = 60.0 * fs_hz / float(np.median(np.diff(peaks)))
    if not limits.min_rate_bpm <= rate_bpm <= limits.max_rate_bpm:
        return True
    return beat_likeness(x, fs_hz, peaks) < limits.beat_likeness

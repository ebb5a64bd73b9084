"""The words of the quality gate: verdict, findings, their codes and the limits to judge by."""

from __future__ import annotations

from dataclasses import dataclass

FAULTS = (
    "flat",
    "off",
    "saturated",
    "mains",
    "drift",
    "burst",
    "muscle",
    "low_amplitude",
    "too_short",
    "undersampled",
    "band_limited",
    "einthoven",
    "limb_reversal",
    "precordial_swap",
    "all_leads_bad",
)
"""Every fault code that a finding may carry."""

REMEDIES = (
    "reattach_electrode",
    "check_limb_electrodes",
    "check_chest_electrodes",
    "move_away_from_mains",
    "ask_to_lie_still",
    "repeat_longer",
    "check_device_settings",
    "look_at_patient",
)
"""Every remedy code that a finding may carry."""

ELECTRODES = ("RA", "LA", "LL", "RL")
"""Limb electrodes that a finding may name (AHA letters: right arm, left arm, left leg, right leg)."""

EXCHANGES = ("RA-LA", "LA-LL", "RA-LL", "RA-LA-LL", "RA-RL", "LA-RL", "arms-legs")
"""Limb electrodes that a finding may name as exchanged. Three: moved on in a ring. The last: arms with legs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. ``lead`` is None when it concerns the whole recording.

    Where one limb electrode explains the fault in several leads, there is one finding: ``lead`` is the first of them
    and ``electrode`` the culprit (of ``ELECTRODES``). A limb reversal names what was exchanged (of ``EXCHANGES``).
    ``electrode`` is None where the lead says it all.
    """

    lead: str | None
    fault: str
    remedy: str
    electrode: str | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """The verdict: may it be read, how good is it (0 unusable … 1 clean), and what is wrong.

    Findings stand in order of urgency, then of leads. A finding alone does not make a recording unacceptable; one
    that is not acceptable has at least one finding.
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
    dead_share: float = 0.5
    lost_share: float = 0.25
    lost_rail_share: float = 0.05
    lost_times: float = 1.5
    off_level_mv: float = 50.0
    low_qrs_mv: float = 0.08
    no_heart_mv: float = 0.025
    held_mv: float = 1.0
    mains_mv: float = 0.05
    mains_severe_mv: float = 0.20
    drift_mv: float = 0.75
    drift_severe_mv: float = 3.0
    swing_mv: float = 2.0
    noise_mv: float = 0.05
    noise_share: float = 0.25
    noise_severe_mv: float = 0.15
    burst_mv: float = 0.15
    jump_mv: float = 6.0
    jump_share: float = 0.2
    beat_likeness: float = 0.6
    lead_likeness: float = 0.7
    min_rate_bpm: float = 20.0
    max_rate_bpm: float = 280.0
    einthoven_lead_mv: float = 0.01
    einthoven_mv: float = 0.1
    silent_band_mv: float = 0.0002
    silent_band_share: float = 0.002


LIMITS = Limits()

REMEDY_OF = {
    "flat": "reattach_electrode",
    "off": "reattach_electrode",
    "saturated": "reattach_electrode",
    "low_amplitude": "reattach_electrode",
    "mains": "move_away_from_mains",
    "drift": "ask_to_lie_still",
    "burst": "ask_to_lie_still",
    "muscle": "ask_to_lie_still",
    "too_short": "repeat_longer",
    "undersampled": "check_device_settings",
    "band_limited": "check_device_settings",
    "einthoven": "check_device_settings",
    "precordial_swap": "check_chest_electrodes",
    "all_leads_bad": "look_at_patient",
}


def finding(lead: str | None, fault: str, electrode: str | None = None) -> Finding:
    """A finding with the remedy that belongs to its fault."""
    return Finding(lead, fault, REMEDY_OF.get(fault, "check_limb_electrodes"), electrode)

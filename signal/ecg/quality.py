"""Is this recording good enough to be read, and if not, what should the person beside the patient do?

Every lead is cut into half-second windows and judged by simple, explainable measures: how much is missing, flat or
railed, how strong mains hum, muscle and baseline wander are, whether the lead carries beats. Fixed limits in physical
units name the faults. Whether a short twelve-lead recording with faults is still acceptable was learned from experts
(quality_judge); everything else is decided by the limits alone. Where *all* leads are bad the advice is to look at
the patient first: a stopped or fibrillating heart looks like loose electrodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.beat_measures import BeatMeasures, measure_beats
from teleread.signal.ecg.electrodes import empty_lead, limb_leads_disagree, misplaced_electrodes
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.lead_faults import (
    LIMB_LEADS,
    LeadFaults,
    find_faults,
    judge_beats,
    lead_scores,
    name_findings,
    worst_finding,
)
from teleread.signal.ecg.lead_measures import (
    WINDOW_S,
    MeasureLimits,
    Views,
    measure_leads,
    silent_above,
    views,
)
from teleread.signal.ecg.qrs import detect_qrs
from teleread.signal.ecg.quality_judge import unacceptable_to_experts
from teleread.signal.ecg.quality_long import LONG_S, judge_in_stretches
from teleread.signal.ecg.quality_types import (
    ELECTRODES,
    EXCHANGES,
    FAULTS,
    LIMITS,
    REMEDIES,
    Finding,
    Limits,
    Quality,
    finding,
)

__all__ = ["ELECTRODES", "EXCHANGES", "FAULTS", "LIMITS", "REMEDIES", "Finding", "Limits", "Quality", "assess_quality"]

_MIN_FS_HZ = 20.0
_SILENT = frozenset({"off", "flat", "low_amplitude"})
"""Faults of leads that a stopped heart shows as a loose electrode does."""

Experts = Callable[[Samples, float, Sequence[str]], bool | None]


def assess_quality(
    ecg_mv: NDArray[np.floating],
    fs_hz: float,
    leads: Sequence[str],
    limits: Limits = LIMITS,
    r_peaks: NDArray[np.integer] | None = None,
) -> Quality:
    """Judges a recording before anybody reads it.

    Args:
        ecg_mv: shape (n,) or (n_leads, n), millivolts, NaN where missing. Any number of leads.
        fs_hz: sampling rate in Hz.
        leads: one name per row; the standard spelling lets leads be checked against each other.
        limits: the limits to judge by.
        r_peaks: sample indices of beats where they are known already, as from ``detect_qrs``; found here otherwise.

    Returns:
        A verdict; it never fails for a bad recording, however bad. Over a minute, the recording is judged in
        stretches of ten seconds and the verdict is about most of it.

    Raises:
        ValueError: names and rows differ in number, or ``fs_hz`` is not a positive number.
    """
    x = np.atleast_2d(np.asarray(ecg_mv, dtype=np.float64))
    if x.ndim != 2 or x.shape[0] != len(leads):
        raise ValueError("one lead name per row of samples")
    if not (np.isfinite(fs_hz) and fs_hz > 0):
        raise ValueError("fs_hz must be a positive number")
    if fs_hz < _MIN_FS_HZ:
        return Quality(False, 0.0, (finding(None, "undersampled"),))
    if x.shape[0] == 0 or x.shape[1] < 2 * WINDOW_S * fs_hz:
        return Quality(False, 0.0, (finding(None, "too_short"),))
    if x.shape[1] > LONG_S * fs_hz:
        return judge_in_stretches(
            x, fs_hz, r_peaks, lambda part, peaks: judge_recording(part, fs_hz, leads, limits, peaks)
        )
    return judge_recording(x, fs_hz, leads, limits, r_peaks)


def judge_recording(
    ecg_mv: Samples,
    fs_hz: float,
    leads: Sequence[str],
    limits: Limits,
    r_peaks: NDArray[np.integer] | None,
    experts: Experts = unacceptable_to_experts,
) -> Quality:
    """Judges one stretch as a whole, with ``experts`` to say whether its faults spoil it (None: the limits decide)."""
    seen = views(ecg_mv, fs_hz)
    measures = measure_leads(seen, MeasureLimits(limits.flat_mv, limits.noise_mv, limits.jump_mv))
    faults = find_faults(measures, leads, limits)
    peaks = _beats(seen.whole, fs_hz, np.flatnonzero(~faults.dead()), r_peaks)
    beats = measure_beats(seen, peaks)
    empty = empty_lead(beats, leads, faults.present["off"] | faults.present["saturated"])
    faults = judge_beats(faults, measures, beats, leads, limits, excused=None if empty is None else empty.lead)
    duration_s = ecg_mv.shape[1] / fs_hz
    hopeless = bool(faults.dead().all()) or _chaotic(duration_s, fs_hz, peaks, beats, limits)
    findings = _about_all(seen, leads, faults, beats, hopeless, empty, limits)
    about_leads = name_findings(faults, measures, leads)
    refused = hopeless or duration_s < limits.min_duration_s or fs_hz < limits.min_fs_hz
    spoilt = bool(faults.lost.any())
    if about_leads and not refused and not spoilt:
        # where no limit is passed at all there is nothing that a nurse could mend, whatever experts might have said
        verdict = experts(seen.work, seen.work_fs_hz, leads)
        spoilt = bool(faults.severe.any()) if verdict is None else verdict
    if spoilt and not refused and all(one.fault == "low_amplitude" for one in about_leads):
        worst = worst_finding(measures, leads, limits)
        about_leads += [] if worst in about_leads else [worst]
    acceptable = not (refused or spoilt)
    if hopeless:
        # one message: whoever mends twelve electrodes first loses the time in which the patient could be helped
        about_leads = [one for one in about_leads if one.fault not in _SILENT]
    findings += about_leads
    score = float(lead_scores(faults).mean())
    if hopeless:
        score = min(score, 0.2)
    return Quality(acceptable, round(score, 3), tuple(findings))


def _beats(
    whole_mv: Samples, fs_hz: float, live: NDArray[np.intp], r_peaks: NDArray[np.integer] | None
) -> NDArray[np.int64]:
    """The beats, sought in leads that are not dead only: a loose lead has plenty of its own."""
    if live.size == 0:
        return np.empty(0, dtype=np.int64)
    if r_peaks is None:
        found: NDArray[np.int64] = detect_qrs(whole_mv[live], fs_hz)
        return found
    known = np.asarray(r_peaks, dtype=np.int64)
    inside: NDArray[np.int64] = known[(known >= 0) & (known < whole_mv.shape[1])]
    return inside


def _about_all(
    seen: Views,
    leads: Sequence[str],
    faults: LeadFaults,
    beats: BeatMeasures | None,
    hopeless: bool,
    empty: Finding | None,
    limits: Limits,
) -> list[Finding]:
    """Findings about the recording as a whole, the most urgent first."""
    findings: list[Finding] = []
    if hopeless:
        findings.append(finding(None, "all_leads_bad"))
    if seen.whole.shape[1] < limits.min_duration_s * seen.fs_hz:
        findings.append(finding(None, "too_short"))
    if seen.fs_hz < limits.good_fs_hz:
        findings.append(finding(None, "undersampled"))
    if hopeless:
        return findings
    if beats is not None:
        findings += _about_electrodes(leads, faults, beats, empty, limits)
    silent_mv, silent_share = silent_above(seen.work, seen.work_fs_hz, faults.dead())
    if silent_mv < limits.silent_band_mv and silent_share < limits.silent_band_share:
        findings.append(finding(None, "band_limited"))
    return findings


def _about_electrodes(
    leads: Sequence[str], faults: LeadFaults, beats: BeatMeasures, empty: Finding | None, limits: Limits
) -> list[Finding]:
    """Leads against each other: limb leads that contradict each other, electrodes that seem exchanged."""
    odd = limb_leads_disagree(beats, leads, limits.einthoven_lead_mv, limits.einthoven_mv)
    spoilt = faults.any_fault()
    if odd and not any(spoilt[i] for i, lead in enumerate(leads) if lead in LIMB_LEADS):
        return [finding(odd[0] if len(odd) == 1 else None, "einthoven")]
    if empty is not None:
        return [empty]
    return [] if odd else misplaced_electrodes(beats, leads, faults.dead())


def _chaotic(
    duration_s: float, fs_hz: float, peaks: NDArray[np.int64], beats: BeatMeasures | None, limits: Limits
) -> bool:
    """No beats, or what was taken for beats is too rare, too fast or of no common shape (as in fibrillation)."""
    if duration_s < 3:
        return False
    if peaks.size < max(2.0, limits.min_rate_bpm * duration_s / 60.0 - 1.0):
        return True
    rate_bpm = 60.0 * fs_hz / float(np.median(np.diff(peaks)))
    if not limits.min_rate_bpm <= rate_bpm <= limits.max_rate_bpm:
        return True
    return beats is not None and beats.likeness < limits.beat_likeness

"""From measures to named faults, lead by lead, by fixed limits; then the electrode that several leads share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.beat_measures import BeatMeasures
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.lead_measures import LeadMeasures
from teleread.signal.ecg.quality_types import Finding, Limits, finding

DEAD = ("off", "flat", "saturated")
NOISE = ("mains", "drift", "muscle", "burst")
_ROUNDING_MV = 1e-6
FAULT_ORDER = (*DEAD, *NOISE, "low_amplitude")

LIMB_LEADS = frozenset({"I", "II", "III", "aVR", "aVL", "aVF"})
_DERIVED = frozenset({"III", "aVR", "aVL", "aVF"})
_BIPOLAR = frozenset({"I", "II", "III"})
_SHARED = {frozenset({"I", "II"}): "RA", frozenset({"I", "III"}): "LA", frozenset({"II", "III"}): "LL"}


@dataclass(frozen=True, slots=True, eq=False)
class LeadFaults:
    """Which lead has which fault, and how badly."""

    present: dict[str, NDArray[np.bool_]]
    """For each fault code of a lead, which leads have it."""
    severe: NDArray[np.bool_]
    """Leads that one of their faults alone spoils."""
    lost: NDArray[np.bool_]
    """Leads of which so much is gone or buried that nobody could read them."""
    badness: Samples
    """The same, also for what passes, 0 to 1 at the limit and beyond; it makes the score."""
    worst: Samples
    """How far the worst measure of each lead is on its way to its severe limit; 1 is at the limit."""

    def any_fault(self) -> NDArray[np.bool_]:
        """Leads with any fault but small beats."""
        some: NDArray[np.bool_] = np.logical_or.reduce([self.present[fault] for fault in (*DEAD, *NOISE)])
        return some

    def dead(self) -> NDArray[np.bool_]:
        """Leads that are off, flat or railed for longer than allowed."""
        return self.present["off"] | self.present["flat"] | self.present["saturated"]


def find_faults(m: LeadMeasures, leads: Sequence[str], limits: Limits) -> LeadFaults:
    """Judges every lead. Several faults may meet in one lead, but one that is cut off or gone does not also wander."""
    still = m.flat > limits.dead_share
    far = m.level_mv > limits.off_level_mv
    gone = (m.missing > limits.dead_share) | (still & far)
    # a device that lost an electrode may hold the end of its range all the time
    held = still & ~far & (m.level_mv > limits.held_mv)
    railed = (held | (m.railed > limits.rail_share)) & ~gone
    flat = (m.flat > limits.flat_share) & ~gone & ~railed
    off = gone | (m.missing > limits.missing_share) | (far & ~flat & ~railed)
    alive = ~(off | flat | railed)
    muscle = (m.noise_low_mv > limits.noise_mv) & alive
    jolted = (m.jumps > 0) | (m.swing_mv > np.maximum(limits.swing_mv, 2.5 * m.drift_mv))
    shaken = (m.noise_high_mv > limits.burst_mv) | (m.noisy > limits.noise_share)
    present = {
        "off": off,
        "flat": flat,
        "saturated": railed,
        "mains": (m.mains_mv > limits.mains_mv) & ~(gone | held),
        "drift": (m.drift_mv > limits.drift_mv) & alive,
        "muscle": muscle,
        "burst": (jolted | shaken) & ~muscle & ~off,
    }
    worst = np.maximum.reduce(
        [
            m.mains_mv / limits.mains_severe_mv,
            m.drift_mv / limits.drift_severe_mv,
            m.noise_mv / limits.noise_severe_mv,
            m.jumps / limits.jump_share,
        ]
    )
    present["low_amplitude"] = np.zeros(len(leads), dtype=np.bool_)
    passing = np.maximum(m.noise_high_mv / (2.0 * limits.noise_severe_mv), m.swing_mv / (2.0 * limits.swing_mv))
    gone_for_long = np.maximum(m.flat, m.missing) > limits.lost_share
    lost = gone_for_long | (m.railed > limits.lost_rail_share) | (worst > limits.lost_times)
    return LeadFaults(present, ~alive | (worst > 1.0), lost, np.maximum(worst, 0.9 * np.minimum(passing, 1.0)), worst)


def judge_beats(
    faults: LeadFaults,
    m: LeadMeasures,
    beats: BeatMeasures | None,
    leads: Sequence[str],
    limits: Limits,
    excused: str | None = None,
) -> LeadFaults:
    """Adds leads whose beats are small (low amplitude) or not there at all (off), once beats are known.

    ``excused`` is a lead that has another reason to be empty.
    """
    likeness = np.zeros(len(leads)) if beats is None else beats.lead_likeness
    # what a constant leaves behind the filters is rounding, and may look like anything
    beating = (likeness > limits.lead_likeness) & (m.qrs_mv > _ROUNDING_MV)
    other = np.array([lead == excused for lead in leads])
    # between very small beats a lead is as flat as one without electrode
    flat = faults.present["flat"] & ~other & ~(beating & (m.qrs_mv < limits.low_qrs_mv))
    derived = np.array([lead in _DERIVED for lead in leads])
    dead = faults.present["off"] | faults.present["saturated"] | flat
    # a derived limb lead may lie across the heart's axis and be empty in health; the electrode shows elsewhere
    silent = (m.qrs_mv < limits.no_heart_mv) & ~beating & ~derived & ~dead & ~other
    noisy = np.logical_or.reduce([faults.present[fault] for fault in NOISE])
    low = (m.qrs_mv < limits.low_qrs_mv) & ~(noisy | silent | dead | other)
    present = faults.present | {"flat": flat, "off": faults.present["off"] | silent}
    present["low_amplitude"] = low & _low_counts(low, leads)
    # what was flat alone and is excused, or small only, is not lost
    lost = (faults.lost & ~(faults.present["flat"] & ~flat)) | silent
    return LeadFaults(present, dead | silent | (faults.worst > 1.0), lost, faults.badness, faults.worst)


def _low_counts(low: NDArray[np.bool_], leads: Sequence[str]) -> NDArray[np.bool_]:
    """Where small beats mean something: one limb lead across the heart's axis is small in health, two are not."""
    limb = np.array([lead in LIMB_LEADS for lead in leads])
    few = int(limb.sum()) <= 1
    bipolar = np.array([lead in _BIPOLAR for lead in leads])
    several = int((low & bipolar).sum()) >= 2
    return ~limb | few | several


def lead_scores(faults: LeadFaults) -> Samples:
    """0 (unusable) to 1 (clean) for each lead."""
    graded = np.clip(1.0 - 0.6 * np.minimum(faults.badness, 1.0) - 0.3 * faults.severe, 0.0, 1.0)
    scores: Samples = np.where(faults.dead(), 0.0, graded)
    return scores


def name_findings(faults: LeadFaults, m: LeadMeasures, leads: Sequence[str]) -> list[Finding]:
    """Findings in the order of leads; what one limb electrode explains is said once, naming the electrode."""
    found: list[tuple[int, int, Finding]] = []
    for rank, fault in enumerate(FAULT_ORDER):
        rows = np.flatnonzero(faults.present[fault])
        electrode, explained = _culprit(fault, rows, m, leads)
        first = True
        for row in map(int, rows):
            if row not in explained:
                found.append((row, rank, finding(leads[row], fault)))
            elif first:
                found.append((row, rank, finding(leads[row], fault, electrode)))
                first = False
    return [one for _, _, one in sorted(found, key=lambda entry: entry[:2])]


def _culprit(
    fault: str, rows: NDArray[np.intp], m: LeadMeasures, leads: Sequence[str]
) -> tuple[str | None, frozenset[int]]:
    """(the limb electrode behind a fault, the leads it explains).

    An electrode's noise stands whole in the two bipolar leads that use it and not at all in the third; it reaches
    the augmented leads at half or whole strength and the chest leads at a third, through Wilson's terminal. Where it
    is not so, the fault is in more than one place.
    """
    names = {leads[row]: row for row in map(int, rows)}
    electrode = _SHARED.get(frozenset(_BIPOLAR & set(names)))
    if electrode is None or not set(leads) >= _BIPOLAR:
        return None, frozenset()
    size = _size(fault, m)
    if size is not None:
        whole = min(size[names[lead]] for lead in _BIPOLAR & set(names))
        spared = size[list(leads).index(next(iter(_BIPOLAR - set(names))))]
        elsewhere = [row for lead, row in names.items() if lead not in LIMB_LEADS and size[row] > 0.6 * whole]
        if spared > 0.4 * whole or elsewhere:
            return None, frozenset()
        return electrode, frozenset(names.values())
    if any(lead not in LIMB_LEADS for lead in names):
        return None, frozenset()
    return electrode, frozenset(names.values())


def _size(fault: str, m: LeadMeasures) -> Samples | None:
    """The measure in which a fault's strength can be compared between leads."""
    sizes = {"mains": m.mains_mv, "drift": m.drift_mv, "muscle": m.noise_mv, "burst": m.noise_high_mv}
    return sizes.get(fault)


def worst_finding(m: LeadMeasures, leads: Sequence[str], limits: Limits) -> Finding:
    """The lead and the fault that come nearest to their limit, for a recording that is bad without passing any."""
    candidates = {
        "mains": m.mains_mv / limits.mains_mv,
        "drift": m.drift_mv / limits.drift_mv,
        "muscle": m.noise_mv / limits.noise_mv,
        "burst": np.maximum(m.noise_high_mv / limits.burst_mv, m.swing_mv / limits.swing_mv),
        "low_amplitude": limits.low_qrs_mv / np.maximum(m.qrs_mv, 1e-6),
    }
    fault = max(candidates, key=lambda code: float(candidates[code].max()))
    return finding(leads[int(np.argmax(candidates[fault]))], fault)

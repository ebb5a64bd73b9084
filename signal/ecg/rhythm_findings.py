"""Findings beside the spans: pauses, rates, early beats, blocks, each with its place, value and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from teleread.signal.ecg import rhythm_spans as rs
from teleread.signal.ecg.av_block import Block
from teleread.signal.ecg.beat_shapes import Indices
from teleread.signal.ecg.beat_table import BeatTable
from teleread.signal.ecg.beats import NORMAL, PACED, SUPRAVENTRICULAR, VENTRICULAR, Kinds
from teleread.signal.ecg.conduction import UsualBeat, bundle_branch, pre_excited
from teleread.signal.ecg.delineation import Delineation
from teleread.signal.ecg.filters import Samples, run_lengths
from teleread.signal.ecg.pacing import Pacing
from teleread.signal.ecg.rhythm_types import RhythmFinding
from teleread.signal.ecg.ventricular import beats_within

PAUSE_S = 2.0
_SLOW_BPM, _FAST_BPM = 60.0, 100.0
_LONG_PR_S = 0.2
_PRE_EXCITED_RR_S = 0.30
_PRE_EXCITED_QRS_S = 0.11


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """All that was gathered about one recording."""

    table: BeatTable
    kinds: Kinds
    sure: Samples
    codes: Indices
    evidence: rs.Evidence
    pacing: Pacing
    usual: UsualBeat | None
    delineation: Delineation | None
    fs_hz: float
    duration_s: float
    chaos: tuple[tuple[float, float], ...]
    standstill: tuple[tuple[float, float, float], ...]
    turning: tuple[tuple[float, float, float], ...]
    blocks: tuple[tuple[float, float, Block], ...]
    gaps: tuple[tuple[float, float], ...] = ()


def findings_of(seen: Seen, spans: tuple[tuple[float, float, str], ...]) -> tuple[RhythmFinding, ...]:
    """All findings, in order of time."""
    found = [*_of_spans(seen, spans), *_standstills(seen), *_blocked(seen)]
    if seen.kinds.size >= 3:
        found += [*_pauses(seen), *_unnamed(_rates(seen), spans), *_early(seen)]
        # what is taken for beats in fibrillation has no shape
        found += _shape(seen) if sum(b - a for a, b in seen.chaos) < 0.5 * seen.duration_s else []
    return tuple(sorted(found, key=lambda f: (f.start_s, f.code, f.end_s)))


def _finding(code: str, start: float, end: float, value: float | None, unit: str, confidence: float) -> RhythmFinding:
    return RhythmFinding(
        code,
        round(start, 3),
        round(end, 3),
        None if value is None else round(value, 2),
        unit,
        round(float(confidence), 2),
    )


def _of_spans(seen: Seen, spans: tuple[tuple[float, float, str], ...]) -> list[RhythmFinding]:
    """The dangerous spans once more, with rate and confidence."""
    named = ("ventricular_tachycardia", "supraventricular_tachycardia", "atrial_fibrillation", "atrial_flutter")
    found = []
    for start, end, code in spans:
        if code == "ventricular_fibrillation":
            found.append(_finding(code, start, end, None, "", 0.8))
        if code in named:
            inside = (seen.table.r_s >= start) & (seen.table.r_s < end)
            rr = seen.table.rr_s[inside][1:] if inside.sum() > 1 else seen.table.rr_s[inside]
            rr = rr[np.isfinite(rr)]
            rate = 60.0 / float(rr.mean()) if rr.size else None
            rate = next((t[2] for t in seen.turning if t[0] <= start + 1.0 and t[1] >= end - 1.0), rate)
            found.append(_finding(code, start, end, rate, "bpm", _sure(seen, code, inside)))
    return found


def _sure(seen: Seen, code: str, inside: np.ndarray) -> float:
    if code == "atrial_fibrillation" and inside.any():
        return float(seen.evidence.fibrillation[inside].mean())
    if code == "ventricular_tachycardia" and not inside.any():
        return 0.6
    if code == "ventricular_tachycardia":
        # a run of other beats is surer than a wide rhythm without anything to compare it with
        return 0.9 if (seen.sure[inside] > 0.5).mean() > 0.5 else 0.6
    return 0.7


def _standstills(seen: Seen) -> list[RhythmFinding]:
    """A standstill with something left of the signal is surer than flat lines, which could be the electrodes."""
    return [
        _finding("asystole", start, end, end - start, "s", 0.6 if height > 0.02 else 0.3)
        for start, end, height in seen.standstill
    ]


def _blocked(seen: Seen) -> list[RhythmFinding]:
    """AV blocks, neighbouring stretches of one code together; the value is the rate of the P waves."""
    found: list[RhythmFinding] = []
    for start, end, block in seen.blocks:
        if found and found[-1].code == block.code and start - found[-1].end_s < 0.1:
            last = found.pop()
            start = last.start_s
        found.append(_finding(block.code, start, end, 60.0 / block.period_s, "bpm", block.confidence))
    return found


def _pauses(seen: Seen) -> list[RhythmFinding]:
    rr = seen.table.rr_s
    found = []
    for k in np.flatnonzero(np.nan_to_num(rr) >= PAUSE_S):
        start, end = float(seen.table.r_s[k - 1]), float(seen.table.r_s[k])
        if not any(a < end and b > start for a, b in (*seen.chaos, *seen.gaps)):
            found.append(_finding("pause", start, end, float(rr[k]), "s", 0.8 if seen.evidence.clear[k] > 0.8 else 0.5))
    return found


def _rates(seen: Seen) -> list[RhythmFinding]:
    rate = np.where(beats_within(seen.table.r_s, list(seen.chaos)), np.nan, seen.evidence.rate_bpm)
    found = []
    for code, flags in (("bradycardia", (rate < _SLOW_BPM) & (rate > 0)), ("tachycardia", rate > _FAST_BPM)):
        starts, stops = run_lengths(flags)
        for a, b in zip(starts, stops, strict=True):
            if b - a >= 3:
                value = float(rate[a:b].min() if code == "bradycardia" else rate[a:b].max())
                found.append(_finding(code, float(seen.table.r_s[a]), float(seen.table.r_s[b - 1]), value, "bpm", 0.9))
    return found


_SAYS_SO = {
    "bradycardia": ("sinus_bradycardia", "idioventricular_rhythm"),
    "tachycardia": ("sinus_tachycardia", "supraventricular_tachycardia", "ventricular_tachycardia"),
}


def _unnamed(
    found: list[RhythmFinding], spans: tuple[tuple[float, float, str], ...], nearly: float = 0.8
) -> list[RhythmFinding]:
    """The rates that the names of the spans do not tell already."""

    def named(one: RhythmFinding) -> float:
        own = [(max(a, one.start_s), min(b, one.end_s)) for a, b, code in spans if code in _SAYS_SO[one.code]]
        return sum(b - a for a, b in own if b > a)

    return [one for one in found if named(one) < nearly * (one.end_s - one.start_s)]


def _early(seen: Seen) -> list[RhythmFinding]:
    """Early beats, over the whole recording as a share of all, couplets and bigeminy where they are."""
    t, kinds = seen.table.r_s, seen.kinds
    found = []
    for code, kind in (("premature_ventricular", VENTRICULAR), ("premature_supraventricular", SUPRAVENTRICULAR)):
        at = np.flatnonzero((kinds == kind) & ~np.isin(seen.codes, _OWN_RHYTHM[code]))
        if at.size:
            found.append(_finding(code, float(t[at[0]]), float(t[at[-1]]), 100.0 * at.size / kinds.size, "%", 0.8))
    starts, stops = run_lengths(kinds == VENTRICULAR)
    for a, b in zip(starts, stops, strict=True):
        if b - a == 2:
            found.append(_finding("couplet", float(t[a]), float(t[b - 1]), None, "", 0.8))
    if kinds.size >= 6:
        alternate = (kinds[1:] == VENTRICULAR) & (kinds[:-1] == NORMAL) | (kinds[:-1] == VENTRICULAR) & (
            kinds[1:] == NORMAL
        )
        starts, stops = run_lengths(alternate)
        for a, b in zip(starts, stops, strict=True):
            if b - a >= 5:
                found.append(_finding("bigeminy", float(t[a]), float(t[b]), None, "", 0.8))
    return found


_OWN_RHYTHM = {
    "premature_ventricular": (rs.VT, rs.ACCELERATED, rs.IDIOVENTRICULAR),
    "premature_supraventricular": (rs.SVT,),
}


def _shape(seen: Seen) -> list[RhythmFinding]:
    """What the usual beat shows: pacing, bundle-branch block, pre-excitation, a long PR."""
    whole = (0.0, seen.duration_s)
    found = []
    paced = float(((seen.kinds == PACED) | seen.pacing.atrial).mean())
    if paced > 0.1:
        found.append(_finding("paced", *whole, 100.0 * paced, "%", min(1.0, 0.5 + paced / 2)))
    own = np.isin(seen.codes, (rs.VT, rs.IDIOVENTRICULAR, rs.ACCELERATED, rs.PACED_RHYTHM))
    if seen.usual is None or own.mean() > 0.5:
        return found
    pr = pr_interval_s(seen)
    fibrillating = float(np.isin(seen.codes, (rs.AF, rs.FLUTTER)).mean()) > 0.5
    shortest = _shortest_rr(seen.table.rr_s)
    fast = shortest is not None and shortest <= _PRE_EXCITED_RR_S
    if fibrillating and fast and seen.usual.qrs_s >= _PRE_EXCITED_QRS_S:
        # fibrillation this fast with wide beats must be taken for conduction past the AV node
        found.append(_finding("pre_excited_af", *whole, 1000.0 * (shortest or 0.0), "ms", 0.6))
        found.append(_finding("pre_excitation", *whole, None, "", 0.5))
    elif pre_excited(seen.usual, pr) and not fibrillating:
        found.append(_finding("pre_excitation", *whole, 1000.0 * (pr or 0.0), "ms", 0.7))
    elif (block := bundle_branch(seen.usual)) is not None:
        found.append(_finding(block, *whole, 1000.0 * seen.usual.qrs_s, "ms", 0.8))
    if not fibrillating and pr is not None and pr > _LONG_PR_S and float(np.median(seen.evidence.p)) > 0.8:
        found.append(_finding("av_block_1", *whole, 1000.0 * pr, "ms", 0.7))
    return found


def pr_interval_s(seen: Seen) -> float | None:
    """From the median beat, else the median of the delineation, else from the place of the P hump (coarser)."""
    if seen.usual is not None and seen.usual.p_on >= 0:
        return (seen.usual.qrs_on - seen.usual.p_on) / seen.usual.fs_hz
    d = seen.delineation
    if d is not None and d.p_on.size:
        both = (d.p_on >= 0) & (d.qrs_on >= 0)
        if both.mean() > 0.5:
            return float(np.median(d.qrs_on[both] - d.p_on[both])) / seen.fs_hz
    at = seen.table.p[:, 7][(seen.evidence.p > 1.0) & seen.table.alike]
    return float(np.nanmedian(at)) + 0.02 if np.isfinite(at).sum() >= 3 else None


def _shortest_rr(rr_s: Samples) -> float | None:
    known = rr_s[np.isfinite(rr_s)]
    return float(known.min()) if known.size else None

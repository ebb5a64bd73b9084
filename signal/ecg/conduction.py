"""Bundle-branch block, other wide QRS, and pre-excitation, from the shape of the usual beat in many leads.

Criteria of AHA/ACCF/HRS 2009 (doi:10.1161/CIRCULATIONAHA.108.191095) in numbers: a QRS of 120 ms; right: the last part
positive in V1 or V2 and negative in I or V6; left: V1 negative nearly all along, I and V6 positive and late without q.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from teleread.signal.ecg.beat_shapes import Indices, Mask, cut, decimated, quiet_around
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.rhythm_types import BeatLike

BLOCK_S = 0.120
_SHORT_PR_S = 0.120
_DELTA_QRS_S = 0.105
_TERMINAL_S = 0.04
_LATE_S = 0.066
_MOST_BEATS = 60
_BEFORE_S, _AFTER_S = 0.36, 0.44


@dataclass(frozen=True, slots=True, eq=False)
class UsualBeat:
    """The mean of the usual beats: (n_leads, m) mV less the level before the QRS, boundaries in samples, -1 absent."""

    signals_mv: Samples
    leads: tuple[str, ...]
    fs_hz: float
    p_on: int
    qrs_on: int
    qrs_off: int

    @property
    def qrs_s(self) -> float:
        return (self.qrs_off - self.qrs_on) / self.fs_hz


def from_median(beat: BeatLike) -> UsualBeat | None:
    """From a measured median beat; None when its QRS has no bounds."""
    if beat.qrs_on < 0 or beat.qrs_off <= beat.qrs_on:
        return None
    return UsualBeat(
        _levelled(beat.signals_mv, beat.qrs_on, beat.fs_hz),
        beat.leads,
        beat.fs_hz,
        beat.p_on,
        beat.qrs_on,
        beat.qrs_off,
    )


def averaged(
    signals_mv: Samples, fs_hz: float, leads: tuple[str, ...], r_peaks: Indices, use: Mask
) -> UsualBeat | None:
    """The mean of up to 60 usual beats at 250 Hz with bounds by the speed of all leads together; P is not sought."""
    chosen = r_peaks[use]
    if chosen.size < 3 or signals_mv.shape[1] < fs_hz:
        return None
    chosen = chosen[:: max(1, chosen.size // _MOST_BEATS)][:_MOST_BEATS]
    step = max(1, round(fs_hz / 250.0))
    fs = fs_hz / step
    offsets = np.arange(-round(_BEFORE_S * fs_hz), round(_AFTER_S * fs_hz))
    mean = decimated(np.nan_to_num(cut(signals_mv, chosen, offsets)).mean(axis=0), step)
    slope = np.diff(mean, axis=1)
    speed = np.sqrt((slope * slope).sum(axis=0))
    speed = np.convolve(speed, np.ones(3) / 3.0, mode="same")
    middle = round(_BEFORE_S * fs)
    lo, hi = middle - round(0.11 * fs), middle + round(0.15 * fs)
    top = float(speed[lo:hi].max())
    quiet = float(np.median(np.sort(speed)[: speed.size // 3]))
    if top <= 0:
        return None
    on, off = quiet_around(speed[lo:hi], max(0.09 * top, 2.5 * quiet), round(0.016 * fs))
    on, off = on + lo, off + lo
    return UsualBeat(_levelled(mean, on, fs), leads, fs, -1, on, off)


def _levelled(signals_mv: Samples, qrs_on: int, fs_hz: float) -> Samples:
    start = max(0, qrs_on - round(0.02 * fs_hz))
    level: Samples = signals_mv - signals_mv[:, start : max(qrs_on, start + 1)].mean(axis=1, keepdims=True)
    return np.nan_to_num(level)


def bundle_branch(beat: UsualBeat) -> str | None:
    """``"lbbb"``, ``"rbbb"``, ``"ivcd"`` (wide, neither) or None; never without V1 and one of I, V5, V6, and
    leads that are flat or missing count as not recorded."""
    left = [lead for lead in ("I", "V6", "V5") if _shown(beat, lead)]
    right = [lead for lead in ("V1", "V2") if _shown(beat, lead)]
    if beat.qrs_s < BLOCK_S or not left or "V1" not in right:
        return None
    first = _qrs(beat, "V1")
    lateral = [_qrs(beat, lead) for lead in left[:2]]
    tail = max(2, round(_TERMINAL_S * beat.fs_hz))
    late_right = max(_part(_qrs(beat, lead), tail) for lead in right)
    late_left = min(_part(lead, tail) for lead in lateral)
    if late_right > 0.10 and late_left < -0.03 and first[first.size // 3 :].max() > 0.0:
        return "rbbb"
    negative = first.min() < 0 and first.max() < 0.4 * -first.min() and first.mean() < 0
    positive = all(lead.mean() > 0 and -lead[: tail + 1].min() < 0.08 * np.ptp(lead) for lead in lateral)
    late = float(np.mean([_middle(lead) for lead in lateral])) / beat.fs_hz
    if negative and positive and late > _LATE_S:
        return "lbbb"
    return "ivcd"


def _shown(beat: UsualBeat, lead: str) -> bool:
    """Whether the lead is there and its QRS is more than a flat line; a lead whose electrode is off says nothing."""
    return lead in beat.leads and float(np.ptp(_qrs(beat, lead))) > 0.0


def _qrs(beat: UsualBeat, lead: str) -> Samples:
    part: Samples = beat.signals_mv[beat.leads.index(lead), beat.qrs_on : beat.qrs_off + 1]
    return part


def _part(qrs: Samples, tail: int) -> float:
    """The mean of the last part of the QRS beside its largest deflection."""
    top = float(np.abs(qrs).max())
    return float(qrs[-tail:].mean()) / top if top > 0 else 0.0


def _middle(qrs: Samples) -> float:
    """The middle of the time in which the R wave exceeds half its height, in samples."""
    high = np.flatnonzero(qrs > 0.5 * qrs.max()) if qrs.max() > 0 else np.array([int(np.argmax(qrs))])
    return 0.5 * float(high[0] + high[-1])


def slurred(beat: UsualBeat) -> float:
    """Share of the QRS that passes before its speed first reaches half of its top: a delta wave makes it a third."""
    qrs = beat.signals_mv[:, beat.qrs_on : beat.qrs_off + 1]
    slope = np.diff(qrs, axis=1)
    speed = np.sqrt((slope * slope).sum(axis=0))
    if speed.size < 4 or speed.max() <= 0:
        return 0.0
    return int(np.argmax(speed > 0.5 * speed.max())) / int(speed.size)


def pre_excited(beat: UsualBeat, pr_s: float | None) -> bool:
    """Short PR, slurred beginning, widened QRS; a PR that is not known is not short."""
    return pr_s is not None and pr_s < _SHORT_PR_S and beat.qrs_s >= _DELTA_QRS_S and slurred(beat) > 0.22

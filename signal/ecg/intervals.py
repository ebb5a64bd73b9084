"""Rate, RR statistics, intervals and rate-corrected QT.

Corrections: Bazett (Heart 1920; reprint doi:10.1111/j.1542-474X.1997.tb00325.x), Fridericia (1920; reprint
doi:10.1046/j.1542-474X.2003.08413.x), Framingham (Sagie et al., doi:10.1016/0002-9149(92)90562-D), Hodges (Luo et al.,
doi:10.1016/j.jelectrocard.2004.08.030). Intervals are global (IEC 60601-2-25): earliest onset to latest end.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from teleread.signal.ecg.delineation import ABSENT, Delineation
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.measured import Measured
from teleread.signal.ecg.median_beat import MedianBeat

_FEWEST_RR = 2  # one interval is as easily an artefact as a rhythm
_IRREGULAR = 0.10  # standard deviation of RR as a part of its mean, from which QT is averaged over beats
_SAME_QRS_MS = 20.0
_SURE_BEATS = 5.0


def qtc_bazett(qt_ms: float, rr_ms: float) -> float:
    """QT divided by the square root of RR in seconds."""
    return float(qt_ms / np.sqrt(rr_ms / 1000.0))


def qtc_fridericia(qt_ms: float, rr_ms: float) -> float:
    """QT divided by the cube root of RR in seconds."""
    return float(qt_ms / np.cbrt(rr_ms / 1000.0))


def qtc_framingham(qt_ms: float, rr_ms: float) -> float:
    """QT + 154 ms times (1 - RR in seconds)."""
    return float(qt_ms + 154.0 * (1.0 - rr_ms / 1000.0))


def qtc_hodges(qt_ms: float, rr_ms: float) -> float:
    """QT + 1.75 ms for each beat a minute above 60."""
    return float(qt_ms + 1.75 * (60000.0 / rr_ms - 60.0))


QTC: MappingProxyType[str, Callable[[float, float], float]] = MappingProxyType(
    {
        "qtc_bazett_ms": qtc_bazett,
        "qtc_fridericia_ms": qtc_fridericia,
        "qtc_framingham_ms": qtc_framingham,
        "qtc_hodges_ms": qtc_hodges,
    }
)
"""Corrections by the name of the measurement, each (qt_ms, rr_ms) -> ms."""

QTC_DEFAULT = "qtc_fridericia_ms"


def rates(rr_ms: Samples, quality: float = 1.0) -> dict[str, Measured]:
    """Rate and RR statistics of RR intervals in order, NaN in place of one that is none; empty with fewer than two.

    ``rr_sd_ms`` is over all intervals, ``rmssd_ms`` over the differences of successive ones, absent without any.
    """
    steps = np.diff(rr_ms)
    steps = steps[np.isfinite(steps)]
    rr_ms = rr_ms[np.isfinite(rr_ms)]
    if rr_ms.size < _FEWEST_RR:
        return {}
    # few beats and a poor trace both make a rate less sure
    sure = _sure(max(0.05, quality) * min(1.0, rr_ms.size / _SURE_BEATS))
    found = {
        "heart_rate_bpm": (60000.0 / rr_ms.mean(), "bpm"),
        "rr_mean_ms": (rr_ms.mean(), "ms"),
        "rr_sd_ms": (rr_ms.std(), "ms"),
        "rr_min_ms": (rr_ms.min(), "ms"),
        "rr_max_ms": (rr_ms.max(), "ms"),
    }
    if steps.size:
        found["rmssd_ms"] = (np.sqrt(np.mean(steps**2)), "ms")
    return {name: Measured(round(float(value), 1), unit, "global", sure) for name, (value, unit) in found.items()}


def intervals(
    beat: MedianBeat, rr_ms: Samples, quality: float = 1.0, delineation: Delineation | None = None, fs_hz: float = 0.0
) -> dict[str, Measured]:
    """P, PR, QRS, QT and QTc in ms, those whose waves are there.

    When RR is irregular and ``delineation`` (at ``fs_hz``) is given, QT is the mean over the beats, and QTc that of the
    mean QT at the mean RR (AHA/ACCF/HRS 2009, doi:10.1161/CIRCULATIONAHA.108.191096).
    """
    sure = quality * min(1.0, beat.beats / _SURE_BEATS)
    clear = {wave: sure * _clearness(beat, *span) for wave, span in _spans(beat).items()}
    found: dict[str, Measured] = {}

    def add(name: str, ms: float, how_sure: float) -> None:
        found[name] = Measured(round(ms, 1), "ms", "global", _sure(how_sure))

    per_sample = 1000.0 / beat.fs_hz
    if beat.p_on != ABSENT:
        steady = float(np.sqrt(max(beat.p_steadiness, 0.0))) if beat.beats > 2 else 0.5
        add("p_duration_ms", (beat.p_off - beat.p_on) * per_sample, clear["p"] * steady)
        add("pr_ms", (beat.qrs_on - beat.p_on) * per_sample, clear["p"] * steady)
    add("qrs_duration_ms", (beat.qrs_off - beat.qrs_on) * per_sample, clear["qrs"])
    if beat.t_off == ABSENT:
        return found
    qt = (beat.t_off - beat.qrs_on) * per_sample
    averaged = _mean_qt(rr_ms, delineation, fs_hz)
    add("qt_ms", averaged or qt, clear["t"])
    if rr_ms.size >= _FEWEST_RR:
        rr = float(rr_ms.mean())
        # corrections are of no use far from the rates they were found at
        trust = clear["t"] * float(np.clip(1.0 - abs(np.log2(1000.0 / rr)) / 2.0, 0.2, 1.0))
        for name, correct in QTC.items():
            add(name, correct(averaged or qt, rr), trust)
        found["qtc_ms"] = found[QTC_DEFAULT]
    return found


def _mean_qt(rr_ms: Samples, delineation: Delineation | None, fs_hz: float) -> float | None:
    """Mean QT over the beats of an irregular rhythm, None where the median beat will do."""
    if delineation is None or fs_hz <= 0 or rr_ms.size < 4 or rr_ms.std() < _IRREGULAR * rr_ms.mean():
        return None
    there = (delineation.qrs_on != ABSENT) & (delineation.t_off != ABSENT)
    qrs = (delineation.qrs_off - delineation.qrs_on) * (1000.0 / fs_hz)
    if there.any():
        # an ectopic beat has another QRS and another QT
        there &= np.abs(qrs - np.median(qrs[there])) <= _SAME_QRS_MS
    qt = (delineation.t_off[there] - delineation.qrs_on[there]) * (1000.0 / fs_hz)
    if qt.size < 4:
        return None
    usual = qt[np.abs(qt - np.median(qt)) <= 0.2 * np.median(qt)]
    return float(usual.mean()) if usual.size >= 4 else None


def _spans(beat: MedianBeat) -> dict[str, tuple[int, int]]:
    return {"p": (beat.p_on, beat.p_off), "qrs": (beat.qrs_on, beat.qrs_off), "t": (beat.qrs_off, beat.t_off)}


def _clearness(beat: MedianBeat, first: int, last: int) -> float:
    """0 (the wave drowns in noise) to 1: from its height over the noise, in the leads that show it best."""
    if first == ABSENT or last <= first:
        return 0.0
    height = np.nan_to_num(np.ptp(beat.signals_mv[:, first : last + 1], axis=1))
    noise = np.nan_to_num(beat.noise_mv) if beat.noise_mv.size else np.zeros(height.size)
    ratio = height / np.maximum(noise, 0.001)
    # the third best lead: one lead alone may be an artefact
    best = float(np.sort(ratio)[-min(3, ratio.size)])
    return float(best / (best + 5.0))


def _sure(value: float) -> float:
    return round(float(np.clip(value, 0.01, 1.0)), 3)

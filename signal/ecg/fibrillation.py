"""Ventricular flutter and fibrillation, sought in the signal itself, whatever the beat detector made of it.

Three measures per lead and window of four seconds, all free of gain: how well the signal equals minus itself half a
period earlier (leakage of the VF filter, Kuo and Dillman, Computers in Cardiology 1978), how much of the time it is
away from its base line (time-delay and threshold-crossing counts say the same: Arafat et al.,
doi:10.1007/s11760-009-0136-1), and how much steeper its steepest parts are than the rest. A ventricle that beats in
an ordered way rests between narrow steep complexes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from teleread.signal.ecg.filters import Samples

WINDOW_S = 4.0
HOP_S = 1.0
WORK_FS_HZ = 125.0


@dataclass(frozen=True, slots=True, eq=False)
class ChaosMeasures:
    """Each (windows, leads). ``height_mv`` is peak to peak without the extremes, ``rate_hz`` that of the strongest
    rhythm."""

    leakage: Samples
    away: Samples
    steep: Samples
    height_mv: Samples
    rate_hz: Samples
    narrow: Samples


def measures(work_mv: Samples, fs_hz: float) -> ChaosMeasures:
    """Of each window of ``WINDOW_S`` every ``HOP_S``; ``work_mv`` (leads, n) without gaps at about ``WORK_FS_HZ``."""
    width, hop = round(WINDOW_S * fs_hz), round(HOP_S * fs_hz)
    windows = sliding_window_view(work_mv, width, axis=1)[:, ::hop].transpose(1, 0, 2)
    y = _without_trend(windows, fs_hz)
    magnitude = np.abs(y)
    ordered = np.sort(magnitude, axis=2)
    top = ordered[:, :, round(0.97 * width)]
    safe = np.where(top > 0, top, 1.0)
    away = (magnitude > 0.25 * safe[:, :, None]).mean(axis=2)
    slope = np.diff(y, axis=2)
    size = np.abs(slope)
    steepest = np.sort(size, axis=2)
    steep = steepest[:, :, round(0.98 * (width - 1))] / np.maximum(steepest[:, :, (width - 1) // 2], 1e-9)
    total, change = magnitude.sum(axis=2), size.sum(axis=2)
    half = np.clip(np.rint(np.pi * total / np.maximum(change, 1e-12)).astype(np.int64), 2, width // 3)
    leak = _leakage(y, half)
    rate, narrow = _spectrum(y, fs_hz)
    return ChaosMeasures(leak, away, steep, 2.0 * top, rate, narrow)


def repetition(window_mv: Samples, fs_hz: float) -> tuple[float, float]:
    """How well a stretch (leads, n) repeats itself after some 0.24 to 0.62 s, all leads together, and that time in
    seconds.

    Near 1 the ventricles go round in one way (tachycardia, flutter), near 0 in none (fibrillation).
    """
    y = _without_trend(window_mv[None], fs_hz)[0]
    n = y.shape[1]
    scale = y.std(axis=1, keepdims=True)
    y = np.where(scale > 0.2 * scale.max(initial=0.0), y / np.where(scale > 0, scale, 1.0), 0.0)
    power = (np.abs(np.fft.rfft(y, n=2 * n, axis=1)) ** 2).sum(axis=0)
    again = np.fft.irfft(power)[:n] / np.arange(n, 0, -1)
    lo, hi = round(0.24 * fs_hz), min(round(0.62 * fs_hz), n - 2)
    if again[0] <= 0 or hi - lo < 3:
        return 0.0, 0.0
    part = again[lo : hi + 1] / again[0]
    inner = np.flatnonzero((part[1:-1] >= part[:-2]) & (part[1:-1] > part[2:])) + 1
    if inner.size == 0 or part[inner].max() <= 0:
        return 0.0, 0.0
    # the first summit that is nearly the highest: twice the period is no period
    first = inner[np.flatnonzero(part[inner] > 0.9 * part[inner].max())[0]]
    return float(part[first]), float((lo + first) / fs_hz)


def _without_trend(windows: Samples, fs_hz: float) -> Samples:
    """Less the mean over one second around each sample: nothing of interest is slower."""
    width = round(1.0 * fs_hz) | 1
    n = windows.shape[2]
    total = np.zeros((*windows.shape[:2], n + 1))
    np.cumsum(windows, axis=2, out=total[:, :, 1:])
    lo = np.clip(np.arange(n) - width // 2, 0, n)
    hi = np.clip(np.arange(n) + width // 2 + 1, 0, n)
    level: Samples = windows - (total[:, :, hi] - total[:, :, lo]) / (hi - lo)
    return level


def _leakage(y: Samples, half: np.ndarray) -> Samples:
    n = y.shape[2]
    where = np.arange(n)[None, None, :] - half[:, :, None]
    late = np.take_along_axis(y, np.maximum(where, 0), axis=2)
    valid = where >= 0
    top = (np.abs(y + late) * valid).sum(axis=2)
    bottom = ((np.abs(y) + np.abs(late)) * valid).sum(axis=2)
    return np.asarray(top / np.maximum(bottom, 1e-12))


def _spectrum(y: Samples, fs_hz: float) -> tuple[Samples, Samples]:
    """The strongest frequency of 1.5 to 10 Hz, and the share of all power within 0.8 Hz of it."""
    n = y.shape[2]
    power = np.abs(np.fft.rfft(y * np.hanning(n), axis=2)) ** 2
    f = np.fft.rfftfreq(n, 1.0 / fs_hz)
    band = (f >= 1.5) & (f <= 10.0)
    top = f[band][np.argmax(power[:, :, band], axis=2)]
    near = np.abs(f[None, None, :] - top[:, :, None]) <= 0.8
    share = (power * near).sum(axis=2) / np.maximum(power[:, :, f >= 0.5].sum(axis=2), 1e-12)
    return top, share

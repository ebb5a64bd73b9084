"""Baseline wander: estimated where the heart is silent, so that taking it away leaves ST where it was.

A high-pass filter spreads the area of QRS and T over the ST segment. Here instead the slow course of the medians of
quarter seconds (which a QRS does not move) is taken off first, and then a curve through one point before each QRS, and
one between T and P where beats are far apart: the isoelectric points of Meyer and Keiser
(doi:10.1016/0010-4809(77)90021-0). What the first step bends, the second puts right, because it is as smooth.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import maximum_filter1d, median_filter
from scipy.signal import butter, find_peaks, sosfiltfilt

Samples = NDArray[np.float64]
Indices = NDArray[np.int64]

_WORK_HZ = 125.0
_BLOCK_S = 0.24
_SLOW_HZ = 0.5
_REFRACTORY_S = 0.25
_STANDS_OUT = 0.35
_LONG_RR_S = 0.9


def wander(x: Samples, fs_hz: float, r_peaks: Indices | None = None) -> Samples:
    """The baseline under each lead of (n_leads, n), without NaN; beats are found by their slope when not given."""
    leads, n = x.shape
    step = max(1, round(fs_hz / _WORK_HZ))
    fs = fs_hz / step
    whole = n // step
    if leads == 0 or whole < 4 * _BLOCK_S * fs:
        return np.repeat(np.median(x, axis=1, keepdims=True), n, axis=1) if n else np.zeros_like(x)
    work = x[:, : whole * step].reshape(leads, whole, step) @ np.full(step, 1.0 / step)
    slow = _slow(work, fs)
    rest = work - slow
    activity = _activity(rest, fs)
    beats = _beats(activity, fs) if r_peaks is None else np.clip(np.asarray(r_peaks) // step, 0, whole - 1)
    where = _silent(activity, beats, fs)
    if where.size:
        slow = slow + _through(rest, where, fs)
    return _spread(slow, step, n)


def _slow(work: Samples, fs: float) -> Samples:
    """The course of the medians of quarter seconds, and of five of these, below half a hertz."""
    leads, n = work.shape
    width = round(_BLOCK_S * fs)
    blocks = n // width
    parts = work[:, : blocks * width].reshape(leads, blocks, width)
    middle = ((width - 1) // 2, width // 2)
    medians = np.partition(parts, middle, axis=2)[:, :, list(middle)].mean(axis=2)
    # a T wave fills one or two of five blocks; at the ends a strip that stops within ST must not be carried on
    medians = median_filter(medians, size=(1, 5), mode="nearest")
    smooth = medians @ _smoothing(blocks, fs / width)
    # between block centres a cubic through four neighbours, beyond the first and the last centre held
    held = np.concatenate((np.repeat(smooth[:, :1], 2, axis=1), smooth, np.repeat(smooth[:, -1:], 3, axis=1)), axis=1)
    four = np.stack([held[:, k : k + blocks + 2] for k in range(4)], axis=2)
    course: Samples = (four @ _cubic(width)).reshape(leads, -1)[:, width - width // 2 :]
    return course[:, :n]


@lru_cache(maxsize=16)
def _smoothing(blocks: int, fs: float) -> Samples:
    """A second-order Butterworth low-pass forward and backward, as a matrix that rows are multiplied by."""
    sos = butter(2, _SLOW_HZ, "lowpass", fs=fs, output="sos")
    matrix: Samples = sosfiltfilt(sos, np.eye(blocks), axis=1, padtype="even", padlen=min(blocks - 1, 12))
    return matrix


@lru_cache(maxsize=16)
def _cubic(width: int) -> Samples:
    """(4, width): Catmull and Rom's cubic from the second to the third of four equidistant points."""
    t = np.arange(width) / width
    return 0.5 * np.stack((-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3))


def _activity(rest: Samples, fs: float) -> Samples:
    """Slope over 16 ms, each lead in units of its own steep parts, summed over leads."""
    slope = np.abs(rest[:, 2:] - rest[:, :-2])
    size = np.partition(slope, int(0.98 * (slope.shape[1] - 1)), axis=1)[:, int(0.98 * (slope.shape[1] - 1))]
    total = np.zeros(rest.shape[1])
    total[1:-1] = (slope / np.where(size > 0, size, np.inf)[:, None]).sum(axis=0)
    return total


def _beats(activity: Samples, fs: float) -> Indices:
    """Where the slope stands out: near each QRS, good enough to look for the silence before it."""
    around = maximum_filter1d(activity, round(2.0 * fs))
    peaks, _ = find_peaks(activity, height=_STANDS_OUT * around, distance=max(1, round(_REFRACTORY_S * fs)))
    return np.asarray(peaks, dtype=np.int64)


def _silent(activity: Samples, beats: Indices, fs: float) -> Indices:
    """The stillest 40 ms shortly before each beat, and half way between T and P where there is room."""
    width = round(0.04 * fs)
    total = np.concatenate(([0.0], np.cumsum(activity)))
    still = np.full(activity.size, np.inf)
    half = width // 2
    still[half : half + activity.size - width + 1] = total[width:] - total[:-width]
    # with a bundle branch block R and the steepest slope lie up to 0.12 s behind the onset of QRS
    spans = [(b - round(0.22 * fs), b - round(0.04 * fs)) for b in beats]
    for a, b in pairwise(beats):
        if b - a > _LONG_RR_S * fs:
            middle = b - round(0.3 * fs) - (b - a - round(0.75 * fs)) // 2
            spans.append((middle - round(0.04 * fs), middle + round(0.05 * fs)))
    found = [a + int(np.argmin(still[a:b])) for a, b in spans if a >= half and b < activity.size - half]
    return np.unique(np.asarray(found, dtype=np.int64))


def _through(rest: Samples, where: Indices, fs: float) -> Samples:
    """A smooth curve through the level of each lead at the silent points, held before the first and after the last."""
    width = max(1, round(0.032 * fs))
    around = np.clip(where[:, None] + np.arange(width) - width // 2, 0, rest.shape[1] - 1)
    level = rest[:, around].mean(axis=2)
    if where.size == 1:
        return np.repeat(level, rest.shape[1], axis=1)
    at = np.clip(np.arange(rest.shape[1]), where[0], where[-1])
    curve: Samples = PchipInterpolator(where, level, axis=1)(at)
    return curve


def _spread(course: Samples, step: int, n: int) -> Samples:
    """From the working rate, where each sample stands for the middle of its ``step``, back to n samples; linearly."""
    leads, whole = course.shape
    ramp = (np.arange(step) - (step - 1) / 2) / step
    both = np.empty((leads, whole, 2))
    both[:, :, 0] = course
    both[:, 1:-1, 1] = 0.5 * (course[:, 2:] - course[:, :-2])
    both[:, 0, 1], both[:, -1, 1] = both[:, 1, 1], both[:, -2, 1]
    filled: Samples = (both @ np.stack((np.ones(step), ramp))).reshape(leads, whole * step)
    if filled.shape[1] == n:
        return filled
    return np.concatenate((filled, np.repeat(filled[:, -1:], n - filled.shape[1], axis=1)), axis=1)

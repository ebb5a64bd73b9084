"""Zero-phase filters and helpers that every ECG stage shares. Pure functions over (…, n) arrays, time last.

All of them accept NaN: a gap is bridged by a straight line before filtering, so that it rings as little as possible,
and what lies in the gap must not be measured (see ``missing``).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.signal import butter, sosfiltfilt

Samples = NDArray[np.float64]

DIAGNOSTIC_BAND_HZ = (0.05, 150.0)
"""Pass band for measurements (AHA/ACC/HRS 2007, doi:10.1161/CIRCULATIONAHA.106.180200)."""


def bridge_gaps(ecg_mv: Samples) -> Samples:
    """A copy without NaN or infinity: gaps are bridged linearly, ends held, a lead without any sample is zero."""
    x = np.array(ecg_mv, dtype=np.float64, copy=True)
    bad = ~np.isfinite(x)
    if not bad.any():
        return x
    for row, gap in zip(x.reshape(-1, x.shape[-1]), bad.reshape(-1, x.shape[-1]), strict=True):
        if gap.all():
            row[:] = 0.0
        elif gap.any():
            row[gap] = np.interp(np.flatnonzero(gap), np.flatnonzero(~gap), row[~gap])
    return x


def band_pass(ecg_mv: Samples, fs_hz: float, low_hz: float | None, high_hz: float | None, order: int = 2) -> Samples:
    """Butterworth band-pass, forward and backward, so that no wave is shifted. Order is that of one pass.

    A corner at or above 0.45 fs is left out, and None leaves a side open. Records too short to filter come back
    with their mean removed.
    """
    x = bridge_gaps(ecg_mv)
    if high_hz is not None and high_hz >= 0.45 * fs_hz:
        high_hz = None
    if low_hz is not None and low_hz >= 0.45 * fs_hz:
        low_hz = None
    n = x.shape[-1]
    if n == 0 or (low_hz is None and high_hz is None):
        return x
    # the mean goes first: a large offset would otherwise cost precision and ring at the ends
    x = x - x.mean(axis=-1, keepdims=True) if low_hz is not None else x
    sos = _design(float(fs_hz), low_hz, high_hz, order)
    pad = min(n - 1, int(3 * fs_hz / (low_hz or 5.0)), int(3 * fs_hz))
    if n < 12:
        return x
    filtered: Samples = sosfiltfilt(sos, x, axis=-1, padlen=pad)
    return filtered


@lru_cache(maxsize=64)
def _design(fs_hz: float, low_hz: float | None, high_hz: float | None, order: int) -> Samples:
    if low_hz is None:
        sos: Samples = butter(order, high_hz, "lowpass", fs=fs_hz, output="sos")
    elif high_hz is None:
        sos = butter(order, low_hz, "highpass", fs=fs_hz, output="sos")
    else:
        sos = butter(order, (low_hz, high_hz), "bandpass", fs=fs_hz, output="sos")
    return sos


def diagnostic_band(ecg_mv: Samples, fs_hz: float) -> Samples:
    """0.05 to 150 Hz, the band in which amplitudes and ST may be measured."""
    return band_pass(ecg_mv, fs_hz, *DIAGNOSTIC_BAND_HZ)


def qrs_band(ecg_mv: Samples, fs_hz: float) -> Samples:
    """5 to 30 Hz, where the QRS stands out most from P, T, baseline and muscle."""
    return band_pass(ecg_mv, fs_hz, 5.0, 30.0)


def moving_mean(x: Samples, width: int) -> Samples:
    """Centred moving mean over ``width`` samples; at the ends over what is there."""
    n = x.shape[-1]
    width = max(1, min(width, n))
    left = (width - 1) // 2
    total = np.zeros((*x.shape[:-1], n + 1))
    np.cumsum(x, axis=-1, out=total[..., 1:])
    start = np.clip(np.arange(n) - left, 0, n)
    stop = np.clip(np.arange(n) - left + width, 0, n)
    mean: Samples = (total[..., stop] - total[..., start]) / (stop - start)
    return mean


def baseline(ecg_mv: Samples, fs_hz: float) -> Samples:
    """The slow wander under each lead: the part below 0.67 Hz, zero-phase."""
    return band_pass(ecg_mv, fs_hz, None, 0.67)


def run_lengths(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and (exclusive) ends of the runs of True in a one-dimensional array."""
    edges = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    return np.flatnonzero(edges == 1).astype(np.int64), np.flatnonzero(edges == -1).astype(np.int64)


def running_median(x: Samples, width: int) -> Samples:
    """Centred running median of a one-dimensional array, ends held."""
    median: Samples = median_filter(x, size=max(1, width), mode="nearest")
    return median

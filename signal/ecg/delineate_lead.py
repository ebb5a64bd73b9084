"""Boundaries of P, QRS and T in one lead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.delineation import ABSENT, Delineation
from teleread.signal.ecg.filters import Samples, band_pass, moving_mean

Indices = NDArray[np.int64]


def delineate_lead(ecg_mv: NDArray[np.floating], fs_hz: float, r_peaks: NDArray[np.integer]) -> Delineation:
    """On- and offsets of one lead, (n,), for the beats at ``r_peaks``: slope thresholds around each beat."""
    x = band_pass(np.asarray(ecg_mv, dtype=np.float64), fs_hz, 0.5, 40.0)
    peaks = np.asarray(r_peaks, dtype=np.int64)
    slope = moving_mean(np.abs(np.gradient(x)) if x.size > 1 else np.zeros(x.size), max(1, round(0.02 * fs_hz)))
    found = {name: np.full(peaks.size, ABSENT, dtype=np.int64) for name in _NAMES}
    for i, r in enumerate(peaks):
        before = (r - peaks[i - 1]) / fs_hz if i else 1.0
        after = (peaks[i + 1] - r) / fs_hz if i + 1 < peaks.size else 1.0
        qrs = _extent(slope, r - round(0.08 * fs_hz), r + round(0.1 * fs_hz), 0.1)
        p = _extent(slope, r - round(min(0.28, 0.45 * before) * fs_hz), r - round(0.07 * fs_hz), 0.3)
        t = _extent(slope, r + round(0.12 * fs_hz), r + round(min(0.55, 0.65 * after) * fs_hz), 0.25)
        for wave, span in (("p", p), ("qrs", qrs), ("t", t)):
            if span is not None:
                found[f"{wave}_on"][i], found[f"{wave}_off"][i] = span
                if wave != "qrs":
                    found[f"{wave}_peak"][i] = span[0] + int(np.argmax(np.abs(_lifted(x[span[0] : span[1] + 1]))))
    return Delineation(r_peaks=peaks, **found)


_NAMES = ("p_on", "p_peak", "p_off", "qrs_on", "qrs_off", "t_on", "t_peak", "t_off")


def _extent(slope: Samples, start: int, stop: int, part: float) -> tuple[int, int] | None:
    """First and last sample in [start, stop) whose slope exceeds a part of the steepest one there."""
    start, stop = max(0, start), min(slope.size, stop)
    if stop - start < 3 or slope[start:stop].max() <= 0:
        return None
    above = np.flatnonzero(slope[start:stop] > part * slope[start:stop].max())
    return (start + int(above[0]), start + int(above[-1])) if above[-1] > above[0] else None


def _lifted(wave: Samples) -> Samples:
    """A wave above the line from its first to its last sample."""
    return np.asarray(wave - np.linspace(wave[0], wave[-1], wave.size), dtype=np.float64)

"""Pacing spikes, sought in the signal as recorded, because every filter for measurements blunts them.

A spike is a deflection of one to four milliseconds that stands alone: nothing as steep within 30 ms around it (AHA
2007, doi:10.1161/CIRCULATIONAHA.106.180200, asks for spikes of 0.5 ms to be kept; at 500 Hz they are one or two
samples). A spike counts only when several lie at one distance before the QRS: a narrow R wave or a static discharge
does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from teleread.signal.ecg.beat_shapes import Indices, Mask
from teleread.signal.ecg.filters import Samples, bridge_gaps

_NEAR_S = 0.004
_FAR_S = 0.03
_STANDS_OUT = 2.2
_LEAST_MV = 0.05
_ATRIAL_S = (0.36, 0.135)
_VENTRICULAR_S = (0.135, 0.012)
_JITTER_S = 0.012
_FEWEST = 3
_CHUNK_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Pacing:
    """Spikes in samples, and which beats follow a spike in the ventricle (``paced``) or in the atrium."""

    spikes: Indices
    paced: Mask
    atrial: Mask


def find_pacing(raw_mv: Samples, fs_hz: float, r_peaks: Indices, rows: list[int] | None = None) -> Pacing:
    """Spikes of the whole recording and the beats they belong to. ``raw_mv`` is (n_leads, n), unfiltered; of
    it only ``rows`` are looked at."""
    spikes, heights = _spikes(raw_mv, fs_hz, list(range(raw_mv.shape[0])) if rows is None else rows)
    none = np.zeros(r_peaks.size, dtype=np.bool_)
    if spikes.size < _FEWEST or r_peaks.size == 0:
        return Pacing(spikes, none, none)
    before = _consistent(r_peaks, spikes, heights, fs_hz, _VENTRICULAR_S)
    atrial = _consistent(r_peaks, spikes, heights, fs_hz, _ATRIAL_S)
    return Pacing(spikes, before, atrial)


def _spikes(raw_mv: Samples, fs_hz: float, rows: list[int]) -> tuple[Indices, Samples]:
    n = raw_mv.shape[1]
    size = round(_CHUNK_S * fs_hz)
    overlap = round(0.1 * fs_hz)
    found: list[Indices] = []
    heights: list[Samples] = []
    for start in range(0, n, size):
        lo, hi = max(0, start - overlap), min(n, start + size + overlap)
        at, height = _spikes_in(raw_mv[rows, lo:hi], fs_hz)
        mine = (at + lo >= start) & (at + lo < start + size)
        found.append(at[mine] + lo)
        heights.append(height[mine])
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64), np.concatenate(
        heights
    ) if heights else np.empty(0)


def _spikes_in(raw_mv: Samples, fs_hz: float) -> tuple[Indices, Samples]:
    x = bridge_gaps(raw_mv)
    if x.shape[1] < 8 or x.shape[0] == 0:
        return np.empty(0, dtype=np.int64), np.empty(0)
    bend = np.abs(x[:, 1:-1] - 0.5 * (x[:, :-2] + x[:, 2:])).max(axis=0)
    high = np.flatnonzero(bend > _LEAST_MV)
    if high.size == 0:
        return np.empty(0, dtype=np.int64), np.empty(0)
    near, far = max(1, round(_NEAR_S * fs_hz)), max(2, round(_FAR_S * fs_hz))
    high = high[bend[high] >= maximum_filter1d(bend, 2 * near + 3)[high]]
    width = far - near
    around = maximum_filter1d(bend, width)
    left = around[np.clip(high - near - 1 - width // 2, 0, bend.size - 1)]
    right = around[np.clip(high + near + 1 + width // 2, 0, bend.size - 1)]
    alone = bend[high] > _STANDS_OUT * np.maximum(left, right)
    return (high[alone] + 1).astype(np.int64), bend[high[alone]]


def _consistent(r_peaks: Indices, spikes: Indices, heights: Samples, fs_hz: float, span_s: tuple[float, float]) -> Mask:
    """Beats that follow a spike at the usual distance of spikes within the span, when enough do."""
    k = np.searchsorted(spikes, r_peaks - round(span_s[1] * fs_hz), side="right") - 1
    distance = r_peaks - spikes[np.maximum(k, 0)]
    inside = (k >= 0) & (distance <= span_s[0] * fs_hz)
    none = np.zeros(r_peaks.size, dtype=np.bool_)
    if inside.sum() < _FEWEST:
        return none
    usual = float(np.median(distance[inside]))
    height = float(np.median(heights[k[inside]]))
    steady = inside & (np.abs(distance - usual) <= _JITTER_S * fs_hz)
    steady &= (heights[np.maximum(k, 0)] > 0.2 * height) & (heights[np.maximum(k, 0)] < 5.0 * height)
    if steady.sum() < max(_FEWEST, 0.6 * inside.sum()):
        return none
    return np.asarray(steady, dtype=np.bool_)

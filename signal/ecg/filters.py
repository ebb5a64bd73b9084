"""Zero-phase filters and helpers that every ECG stage shares. Pure functions over (…, n) arrays, time last.

All of them accept NaN: a gap is bridged by a straight line before filtering, so that it rings as little as possible,
and what lies in the gap must not be measured (see ``missing``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.signal import butter, sosfiltfilt

from teleread.signal.ecg.mains import mains_of, without_mains
from teleread.signal.ecg.wander import wander

Samples = NDArray[np.float64]

DIAGNOSTIC_BAND_HZ = (0.05, 150.0)
"""Pass band for measurements (AHA/ACC/HRS 2007, doi:10.1161/CIRCULATIONAHA.106.180200)."""

CHILD_LOW_PASS_HZ = 250.0
MONITORING_BAND_HZ = (0.5, 40.0)

_BLOCK_S = 60.0
_MARGIN_S = 5.0
_LONG_S = 120.0
_MAINS_LOOK_S = 60.0
_NYQUIST_PART = 0.45


@dataclass(frozen=True, slots=True)
class AppliedFilters:
    """What was done to the samples. None: nothing was cut off on that side, or no mains was found and removed.

    Args:
        high_pass_hz: lower edge of the band. With ``baseline_removed`` the baseline was a curve through the silent
            points before the beats and not what a linear filter of this edge would take away.
        low_pass_hz: upper edge, 3 dB down forward and backward together; None also where the sampling rate has no room.
        notch_hz: the mains that was subtracted, with its harmonics; not a notch filter.
        baseline_removed: baseline wander was subtracted.
    """

    high_pass_hz: float | None
    low_pass_hz: float | None
    notch_hz: float | None
    baseline_removed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """Filtered samples, shaped as they came, NaN where they were missing, and what was done."""

    signals_mv: Samples
    applied: AppliedFilters


def diagnostic(
    ecg_mv: NDArray[np.floating],
    fs_hz: float,
    *,
    child: bool = False,
    mains_hz: float | None = None,
    r_peaks: NDArray[np.integer] | None = None,
) -> Filtered:
    """The band for measurements, 0.05 to 150 Hz (250 Hz for a child), without wander and mains, zero-phase.

    ST keeps its level relative to the point before the QRS within 25 µV (tests/unit/test_ecg_filters.py).
    Bands: AHA/ACC/HRS 2007, doi:10.1161/CIRCULATIONAHA.106.180200; IEC 60601-2-25.

    Args:
        ecg_mv: (n,) or (n_leads, n); NaN is bridged and given back as NaN.
        fs_hz: sampling rate.
        mains_hz: known mains frequency, 0 where there is known to be none; None looks for it.
        r_peaks: sample indices of the beats, ascending, between which the baseline is sought. None looks for them by
            their slope alone, which a tall and steep T deceives.
    """
    top_hz = CHILD_LOW_PASS_HZ if child else DIAGNOSTIC_BAND_HZ[1]
    low_pass = top_hz if top_hz < _NYQUIST_PART * fs_hz else None
    notch = _mains(ecg_mv, fs_hz, mains_hz)

    def work(x: Samples, at: int) -> Samples:
        x = x if notch is None else without_mains(x, fs_hz, notch)
        x -= wander(x, fs_hz, _within(r_peaks, at, x.shape[-1]))
        return x if low_pass is None else _low_passed(x, fs_hz, low_pass)

    applied = AppliedFilters(DIAGNOSTIC_BAND_HZ[0], low_pass, notch, baseline_removed=True)
    return Filtered(_in_blocks(ecg_mv, fs_hz, work), applied)


def monitoring(ecg_mv: NDArray[np.floating], fs_hz: float, *, mains_hz: float | None = None) -> Filtered:
    """The band for looking at rhythm, 0.5 to 40 Hz, zero-phase, mains removed when found. ST must not be read here.

    ``mains_hz`` as in :func:`diagnostic`.
    """
    low_hz, high_hz = MONITORING_BAND_HZ
    notch = _mains(ecg_mv, fs_hz, mains_hz)
    low_pass = high_hz if high_hz < _NYQUIST_PART * fs_hz else None

    def work(x: Samples, _at: int) -> Samples:
        return band_pass(x if notch is None else without_mains(x, fs_hz, notch), fs_hz, low_hz, high_hz)

    return Filtered(_in_blocks(ecg_mv, fs_hz, work), AppliedFilters(low_hz, low_pass, notch, baseline_removed=False))


def without_wander(
    ecg_mv: NDArray[np.floating], fs_hz: float, *, r_peaks: NDArray[np.integer] | None = None
) -> Filtered:
    """As recorded but for its baseline, which is taken off as in :func:`diagnostic`: no edge, no mains."""

    def work(x: Samples, at: int) -> Samples:
        return x - wander(x, fs_hz, _within(r_peaks, at, x.shape[-1]))

    applied = AppliedFilters(DIAGNOSTIC_BAND_HZ[0], None, None, baseline_removed=True)
    return Filtered(_in_blocks(ecg_mv, fs_hz, work), applied)


def find_mains(ecg_mv: NDArray[np.floating], fs_hz: float) -> float | None:
    """50.0 or 60.0 when interference of that frequency runs coherently through a lead, None otherwise.

    Of a long recording the minute in its middle is looked at.
    """
    x = np.atleast_2d(np.asarray(ecg_mv, dtype=np.float64))
    start, stop = mains_look(x.shape[-1], fs_hz)
    part = x[:, start:stop]
    return mains_of(bridge_gaps(part), fs_hz) if part.size else None


def mains_look(n: int, fs_hz: float) -> tuple[int, int]:
    """The samples of a recording of ``n`` in which mains is looked for."""
    length = int(_MAINS_LOOK_S * fs_hz)
    start = max(0, (n - length) // 2)
    return start, min(n, start + length)


def blocks(n: int, fs_hz: float) -> list[tuple[int, int, int, int]]:
    """How a recording of ``n`` samples is cut for filtering: (first, last, start, stop) of each part.

    A part is filtered from ``first`` to ``last``; what lies from ``start`` to ``stop`` is kept. Filtering one of them
    alone gives the same samples as filtering the whole.
    """
    if n <= _LONG_S * fs_hz:
        return [(0, n, 0, n)]
    block, margin = int(_BLOCK_S * fs_hz), int(_MARGIN_S * fs_hz)
    cuts = pairwise([*range(0, n - block // 2, block), n])
    return [(max(0, start - margin), min(n, stop + margin), start, stop) for start, stop in cuts]


def _within(r_peaks: NDArray[np.integer] | None, at: int, n: int) -> NDArray[np.int64] | None:
    if r_peaks is None:
        return None
    inside = np.asarray(r_peaks, dtype=np.int64) - at
    return inside[(inside >= 0) & (inside < n)]


def _mains(ecg_mv: NDArray[np.floating], fs_hz: float, known_hz: float | None) -> float | None:
    hz = find_mains(ecg_mv, fs_hz) if known_hz is None else known_hz
    return hz if hz and hz < _NYQUIST_PART * fs_hz else None


def _in_blocks(ecg_mv: NDArray[np.floating], fs_hz: float, work: Callable[[Samples, int], Samples]) -> Samples:
    """``work`` on a copy (n_leads, n) without NaN that it may change, minute by minute if long; then NaN put back.

    It is told at which sample its part begins.
    """
    given = np.asarray(ecg_mv, dtype=np.float64)
    x = np.atleast_2d(given)
    n = x.shape[-1]
    if x.size == 0:
        return given.copy()
    parts = blocks(n, fs_hz)
    out = np.empty_like(x) if len(parts) > 1 else x
    for first, last, start, stop in parts:
        filtered = work(_level_free(bridge_gaps(x[:, first:last])), first)
        if len(parts) == 1:
            out = filtered
        else:
            out[:, start:stop] = filtered[:, start - first : stop - first]
    present = np.isfinite(x)
    if not present.all():
        out[~present] = np.nan
    return out.reshape(given.shape)


def _level_free(x: Samples) -> Samples:
    """Leads of one value become zero, in place: of another level filters leave rounding that looks like a signal."""
    x[x.max(axis=1) == x.min(axis=1)] = 0.0
    return x


def _low_passed(x: Samples, fs_hz: float, edge_hz: float) -> Samples:
    """A short symmetric filter, in place, 3 dB down at the edge; beyond the ends the outermost sample is held."""
    taps = _low_pass_taps(float(fs_hz), float(edge_hz))
    reach = taps.size // 2
    for row in x:
        held = np.concatenate((np.repeat(row[:1], reach), row, np.repeat(row[-1:], reach)))
        row[:] = np.convolve(held, taps, "valid")
    return x


@lru_cache(maxsize=16)
def _low_pass_taps(fs_hz: float, edge_hz: float) -> Samples:
    """A Hamming-windowed sinc whose gain at the edge is the root of one half."""
    reach = max(3, round(1.5 * fs_hz / edge_hz))
    k = np.arange(-reach, reach + 1)
    at_edge = np.cos(2.0 * np.pi * edge_hz / fs_hz * k)

    def taps(corner: float) -> Samples:
        h = np.sinc(2.0 * corner * k) * np.hamming(k.size)
        return np.asarray(h / h.sum(), dtype=np.float64)

    corner = float(brentq(lambda c: float(taps(c) @ at_edge) - np.sqrt(0.5), 0.3 * edge_hz / fs_hz, 0.5))
    return taps(corner)


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


def run_lengths(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and (exclusive) ends of the runs of True in a one-dimensional array."""
    # a byte each: a plain 0 before and behind would make eight of it
    edges = np.diff(flags.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    return np.flatnonzero(edges == 1).astype(np.int64), np.flatnonzero(edges == -1).astype(np.int64)

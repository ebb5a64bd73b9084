"""Boundaries of P, QRS and T in one lead: a network's probabilities, read beat by beat.

The network (``delineate_net``) says for each 8 ms how likely P, QRS and T are there; it learned from LUDB (Kalyakulina
et al., doi:10.1109/ACCESS.2020.3029211), where cardiologists marked each lead by itself. Read from the middle of a wave
outwards, its probability says how likely the mark lies farther out; the area below it is the expected mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from teleread.signal.ecg.delineate_net import FRAME_HZ, Planes, Weights, wave_probabilities
from teleread.signal.ecg.delineation import ABSENT, Delineation
from teleread.signal.ecg.filters import Samples, bridge_gaps, moving_mean, run_lengths

Indices = NDArray[np.int64]

P, QRS, T = 1, 2, 3
"""Rows of the probabilities."""

_FLOOR = 0.3
_ENOUGH = 0.5
_TAIL = 0.1
_QRS_REACH_S = 0.08
_LONGEST_PR_S = 0.8
_LATEST_T_S = 0.8
_QRS_HALF_S = 0.05
_AROUND = 8
_ALIKE_S = 0.03
_FAR_S = 0.15
_NO_BEAT_S = 0.2
_SURE = 0.8
_LASTING_S = 0.03
_FEWEST = 3
_PART_S = 600.0
_MARGIN_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """Stretches that look like one kind of wave, ascending, in seconds; ``mass`` is probability times seconds."""

    on: Samples
    off: Samples
    mass: Samples
    top: Samples

    @property
    def middle(self) -> Samples:
        """Half way from on- to offset."""
        return np.asarray(0.5 * (self.on + self.off), dtype=np.float64)


def delineate_lead(
    ecg_mv: NDArray[np.floating],
    fs_hz: float,
    r_peaks: NDArray[np.integer],
    weights: Weights | None = None,
    overlooked: bool = False,
) -> Delineation:
    """On-, offset and peak of each beat's P, QRS and T in one lead.

    A wave that is not seen whole, because the recording ends or has a gap there, is absent. A P wave belongs to the
    beat that follows; of several between two beats the last is told.

    Args:
        ecg_mv: (n,), any unit, polarity and offset; NaN marks missing samples.
        fs_hz: sampling rate, 100 to 2000 Hz by design.
        r_peaks: sample indices of the beats, ascending; a beat without a QRS in this lead stays, all absent.
        weights: other weights than the package's own, for judging on recordings that they have not seen.
        overlooked: whether a QRS that is clear to the network and lies where there is no beat becomes one.
    """
    x = np.asarray(ecg_mv, dtype=np.float64)
    peaks = np.asarray(r_peaks, dtype=np.int64)
    if x.size < 2 or peaks.size == 0:
        nothing = np.full(peaks.size, ABSENT, dtype=np.int64)
        return Delineation(peaks, *([nothing] * 8))
    parts = [_shifted(_of_part(x, fs_hz, peaks, weights, overlooked, part), part[0]) for part in _parts(x.size, fs_hz)]
    return Delineation(*(np.concatenate(marks) for marks in zip(*parts, strict=True)))


def p_waves(ecg_mv: NDArray[np.floating], fs_hz: float) -> tuple[Indices, Indices]:
    """On- and offsets of every P wave of one lead (n,), also of those that no QRS follows."""
    x = np.asarray(ecg_mv, dtype=np.float64)
    on, off = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for first, start, stop, last in _parts(x.size, fs_hz) if x.size > 1 else ():
        part = x[first:last]
        found = waves(masked(wave_probabilities(bridge_gaps(part), fs_hz), part, fs_hz)[P])
        here = (found.middle * fs_hz + first >= start) & (found.middle * fs_hz + first < stop)
        on.append(_samples(found.on[here], fs_hz, part.size) + first)
        off.append(_samples(found.off[here], fs_hz, part.size) + first)
    return np.concatenate(on), np.concatenate(off)


def _parts(n: int, fs_hz: float) -> Iterator[tuple[int, int, int, int]]:
    """(first, start, stop, last): what to look at and what to tell of it, ten minutes at a time if there is much."""
    length, margin = int(_PART_S * fs_hz), int(_MARGIN_S * fs_hz)
    edges = [0, *range(length, n - length // 2, length), n]
    for start, stop in pairwise(edges):
        yield max(0, start - margin), start, stop, min(n, stop + margin)


def _of_part(
    x: Samples, fs_hz: float, peaks: Indices, weights: Weights | None, overlooked: bool, part: tuple[int, int, int, int]
) -> list[Indices]:
    first, start, stop, last = part
    x, peaks, start, stop = x[first:last], peaks - first, start - first, stop - first
    bridged = bridge_gaps(x)
    planes = masked(wave_probabilities(bridged, fs_hz, weights), x, fs_hz)
    if overlooked:
        peaks = np.union1d(peaks, _overlooked(planes, bridged, fs_hz, peaks))
    found = from_probabilities(planes, bridged, fs_hz, peaks[(peaks >= start) & (peaks < stop)])
    return [getattr(found, name) for name in Delineation.__slots__]


def _overlooked(planes: Planes, x: Samples, fs_hz: float, peaks: Indices) -> Indices:
    """Where the network is sure of a QRS that lasts, and no beat is near; none where hardly any beat is known."""
    qrs = waves(planes[QRS])
    if peaks.size < _FEWEST or qrs.on.size == 0:
        return np.empty(0, dtype=np.int64)
    near = np.abs(qrs.middle[:, None] - peaks / fs_hz).min(axis=1)
    new = (near > _NO_BEAT_S) & (qrs.top > _SURE) & (qrs.mass > _LASTING_S)
    on, off = _samples(qrs.on[new], fs_hz, x.size), _samples(qrs.off[new], fs_hz, x.size)
    return _tops(x, on, np.maximum(off, on + 1))


def _shifted(marks: list[Indices], first: int) -> list[Indices]:
    return [np.where(mark == ABSENT, ABSENT, mark + first) for mark in marks]


def masked(planes: Planes, x: Samples, fs_hz: float) -> Planes:
    """The probabilities with none of any wave where samples are missing."""
    missing = ~np.isfinite(x)
    if not missing.any():
        return planes
    at = np.clip(np.rint((np.arange(planes.shape[1]) + 0.25) / FRAME_HZ * fs_hz), 0, x.size - 1).astype(np.int64)
    # a wave that a gap cuts gets NaN beside it, by which ``waves`` knows it
    return np.where(missing[at], np.float32(np.nan), planes)


def waves(probability: NDArray[np.floating]) -> Waves:
    """Runs above a floor that reach one half, with their ends where the mark is to be expected."""
    p = np.concatenate(([np.nan], np.asarray(probability, dtype=np.float64), [np.nan]))
    filled = np.nan_to_num(p)
    starts, stops = run_lengths(filled > _FLOOR)
    whole = np.isfinite(p[starts - 1]) & np.isfinite(p[np.minimum(stops, p.size - 1)])
    starts, stops = starts[whole], stops[whole]
    if starts.size == 0:
        return Waves(*([np.empty(0)] * 4))
    top = np.maximum.reduceat(filled, np.ravel(np.column_stack((starts, stops))))[::2]
    starts, stops, top = starts[top >= _ENOUGH], stops[top >= _ENOUGH], top[top >= _ENOUGH]
    total = np.concatenate(([0.0], np.cumsum(filled)))
    above = np.flatnonzero(filled >= _ENOUGH)
    first, last = above[np.searchsorted(above, starts)], above[np.searchsorted(above, stops) - 1]
    middle = (first + last + 1) // 2
    # the tails reach down to where hardly anything is left
    low, high = run_lengths(filled > _TAIL)
    run = np.searchsorted(low, middle, side="right") - 1
    on = middle - (total[middle] - total[low[run]])
    off = middle + (total[high[run]] - total[middle])
    # frame k begins at (k - 0.25) / 125 s, and one was put before the first
    return Waves((on - 1.25) / FRAME_HZ, (off - 1.25) / FRAME_HZ, (total[stops] - total[starts]) / FRAME_HZ, top)


def from_probabilities(planes: Planes, x: Samples, fs_hz: float, peaks: Indices) -> Delineation:
    """Each beat's waves, in physiological order: its P before the QRS, its T behind it and before the next P."""
    r = peaks / fs_hz
    qrs, p, t = waves(planes[QRS]), waves(planes[P]), waves(planes[T])
    of_qrs = _nearest(qrs, r)
    begin = np.where(of_qrs >= 0, _at(qrs.on, of_qrs), r - _QRS_HALF_S)
    end = np.where(of_qrs >= 0, _at(qrs.off, of_qrs), r + _QRS_HALF_S)
    of_t = _first_rank(t, np.searchsorted(r, t.middle) - 1, begin, end)
    t_end = np.where(of_t >= 0, _at(t.off, of_t), end)
    beat = np.searchsorted(r, p.middle)
    inside = np.minimum(beat, r.size - 1)
    after = np.where(beat > 0, t_end[np.maximum(beat - 1, 0)], -np.inf)
    fits = (beat < r.size) & (p.middle < begin[inside]) & (p.middle > after) & (begin[inside] - p.on < _LONGEST_PR_S)
    of_p = np.full(r.size, -1)
    of_p[beat[fits]] = np.flatnonzero(fits)  # the last one stays

    def ends(wave: Waves, which: NDArray[np.intp], steady: bool) -> tuple[Indices, Indices]:
        there = which >= 0
        on, off = np.where(there, _at(wave.on, which), np.nan), np.where(there, _at(wave.off, which), np.nan)
        if steady:
            on, off = begin + _steadied(on - begin, off - begin), begin + _steadied(off - begin, on - begin)
        on, off = (_samples(np.where(there, mark, 0.0), fs_hz, x.size) for mark in (on, off))
        return np.where(there, on, ABSENT), np.where(there, off, ABSENT)

    (p_on, p_off), (qrs_on, qrs_off), (t_on, t_off) = ends(p, of_p, True), ends(qrs, of_qrs, False), ends(t, of_t, True)
    p_off = np.where((p_off >= 0) & (qrs_on >= 0), np.minimum(p_off, qrs_on), p_off)
    t_on = np.where((t_on >= 0) & (qrs_off >= 0), np.maximum(t_on, qrs_off), t_on)
    smooth = moving_mean(x, max(1, round(0.02 * fs_hz)))
    p_peak, t_peak = _tops(smooth, p_on, p_off), _tops(smooth, t_on, t_off)
    return Delineation(peaks, p_on, p_peak, p_off, qrs_on, qrs_off, t_on, t_peak, t_off)


def _nearest(qrs: Waves, r: Samples) -> NDArray[np.intp]:
    """For each beat the run of QRS that it lies in or next to, -1 for none; a run serves one beat only."""
    chosen = np.full(r.size, -1)
    if qrs.on.size == 0:
        return chosen
    k = np.searchsorted(qrs.middle, r)
    sides = np.stack((np.clip(k - 1, 0, qrs.on.size - 1), np.clip(k, 0, qrs.on.size - 1)))
    distance = np.maximum(qrs.on[sides] - r, r - qrs.off[sides])
    side = np.argmin(distance, axis=0)
    run, near = sides[side, np.arange(r.size)], distance.min(axis=0)
    taken: dict[int, int] = {}
    for i in np.flatnonzero(near < _QRS_REACH_S):
        other = taken.get(int(run[i]))
        if other is None or near[i] < near[other]:
            if other is not None:
                chosen[other] = -1
            taken[int(run[i])], chosen[i] = int(i), run[i]
    return chosen


def _first_rank(t: Waves, beat: NDArray[np.intp], begin: Samples, end: Samples) -> NDArray[np.intp]:
    """For each beat the weightiest run of T between its QRS and the next, -1 for none."""
    chosen = np.full(begin.size, -1)
    if t.on.size == 0:
        return chosen
    inside = np.maximum(beat, 0)
    following = np.append(begin[1:], np.inf)[inside]
    fits = (beat >= 0) & (t.middle > end[inside]) & (t.on < begin[inside] + _LATEST_T_S) & (t.middle < following)
    order = np.argsort(t.mass, kind="stable")
    order = order[fits[order]]
    chosen[beat[order]] = order  # ascending, so the weightiest stays
    return chosen


def _steadied(mark: Samples, partner: Samples) -> Samples:
    """Half way to the median mark of the beats around whose other end lies alike; NaN where there is none.

    Cardiologists mark the like beats of a lead alike.
    """
    around = np.stack([np.pad(v, _AROUND, constant_values=np.nan) for v in (mark, partner)])
    mine, theirs = sliding_window_view(around, 2 * _AROUND + 1, axis=1)
    like = np.where(np.abs(theirs - partner[:, None]) <= _ALIKE_S, mine, np.nan)
    rank = np.sort(like, axis=1)  # NaN goes last
    count = np.isfinite(rank).sum(axis=1)
    row, low, high = np.arange(mark.size), np.maximum(count - 1, 0) // 2, count // 2
    median = 0.5 * (rank[row, low] + rank[row, np.minimum(high, rank.shape[1] - 1)])
    usual = (count >= 3) & (np.abs(median - mark) <= _FAR_S)
    return np.where(usual, 0.5 * (mark + median), mark)


def _at(values: Samples, which: NDArray[np.intp]) -> Samples:
    """Values by index, 0 where the index is -1 (and not to be used)."""
    return np.append(values, 0.0)[which]


def _samples(seconds: Samples, fs_hz: float, n: int) -> Indices:
    return np.clip(np.rint(seconds * fs_hz), 0, n - 1).astype(np.int64)


def _tops(smooth: Samples, on: Indices, off: Indices) -> Indices:
    """Where each wave is farthest from the line between its ends."""
    peak = np.full(on.size, ABSENT, dtype=np.int64)
    for i in np.flatnonzero((on >= 0) & (off > on)):
        wave = smooth[on[i] : off[i] + 1]
        line = np.linspace(wave[0], wave[-1], wave.size)
        peak[i] = on[i] + int(np.argmax(np.abs(wave - line)))
    return peak

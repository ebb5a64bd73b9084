"""QRS detection: one pure function, samples in, R-peak indices out.

Candidates are bumps of slope at 120 Hz (slope and moving window as in Pan and Tompkins,
doi:10.1109/TBME.1985.325532, but any bump counts, however small); two small networks judge them. The first looks at
each candidate alone, the second beside the beats that the first found around it, so that rhythm and likeness decide
what shape leaves open. Deviations from the usual threshold detectors, all because the whole record is at hand:

- nothing is adaptive in time: each stretch is judged with 15 s of context on both sides, so a recording may be cut,
  joined or 24 h long and its beats stay;
- all that is looked at is a ratio and free of sign: neither gain nor polarity matters;
- several leads are weighted by how far their beats stand out; each is judged alone and the logits are averaged;
- in several leads, what was found is looked at again: P waves that no QRS follows are no beats (``qrs_sceptic``);
- pacing spikes are sought in the samples as they are, before anything smooths them, and taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg import qrs_judge as judge
from teleread.signal.ecg.filters import Samples, bridge_gaps
from teleread.signal.ecg.qrs_front import (
    PAD,
    Floats,
    Front,
    Indices,
    alive,
    candidates,
    level_around,
    prepare,
    strongest,
    to_work_rate,
    without_spikes,
)
from teleread.signal.ecg.qrs_sceptic import outdone, ventricular

Networks = tuple[judge.Network, judge.Network]

MIN_FS_HZ = 50.0
"""Below this the QRS is not in the samples; nothing is detected."""

_MIN_S = 0.5
_BLOCK_S = 900.0
_MARGIN_S = 15.0
_LOCATE = 10
_EXACT_S = 0.006
_EDGE_S = 0.025
_SMALLEST = 1e-15


def detect_qrs(ecg_mv: NDArray[np.floating], fs_hz: float) -> Indices:
    """R-peak sample indices, ascending, of a single lead or of several leads together.

    Args:
        ecg_mv: shape (n,) or (n_leads, n); any gain, either polarity. NaN marks missing samples.
        fs_hz: sampling rate, 100 to 2000 Hz by design (50 Hz at least).

    Returns:
        int64 indices at least 0.2 s apart. Empty when the record is shorter than half a second, flat, or holds
        nothing that stands out as a beat.

    Raises:
        ValueError: ``ecg_mv`` has more than two dimensions, or ``fs_hz`` is not a positive number.
    """
    return detect_with(ecg_mv, fs_hz, judge.networks())


def detect_with(ecg_mv: NDArray[np.floating], fs_hz: float, networks: Networks) -> Indices:
    """``detect_qrs`` with networks other than those shipped, such as some that did not see this recording."""
    x = np.asarray(ecg_mv, dtype=np.float64)
    if x.ndim not in (1, 2):
        raise ValueError("ecg_mv must be (n,) or (n_leads, n)")
    if not (np.isfinite(fs_hz) and fs_hz > 0):
        raise ValueError("fs_hz must be a positive number")
    x = _in_range(np.atleast_2d(x))
    nothing = np.empty(0, dtype=np.int64)
    if x.shape[0] == 0 or x.shape[1] < _MIN_S * fs_hz or fs_hz < MIN_FS_HZ:
        return nothing
    found = [
        _beats(x[:, low:high], fs_hz, start - low, stop - low, networks) + low
        for low, start, stop, high in _blocks(x, fs_hz)
    ]
    beats = np.concatenate(found)
    if beats.size > 1:
        # the same beat can be placed differently by the two blocks that share a border
        beats = beats[np.concatenate(([True], np.diff(beats) >= 0.15 * fs_hz))]
    return beats


def _in_range(x: Samples) -> Samples:
    """The samples; leads in units so odd that squares or single precision would not hold them are brought near 1, by
    powers of two, which changes no digit. What is infinite is missing."""
    top = np.fmax(np.fmax.reduce(x, axis=1, initial=0.0), -np.fmin.reduce(x, axis=1, initial=0.0))
    if not np.isfinite(top).all():
        x = np.where(np.isfinite(x), x, np.nan)
        top = np.fmax.reduce(np.abs(x), axis=1, initial=0.0)
    odd = (top > 0) & ((top < _SMALLEST) | (top > 1.0 / _SMALLEST))
    if not odd.any():
        return x
    power = np.where(odd, -np.frexp(top)[1], 0)
    return np.asarray(np.ldexp(x, power[:, None]), dtype=np.float64)


def _blocks(x: Samples, fs_hz: float) -> Iterator[tuple[int, int, int, int]]:
    """(low, start, stop, high): decide for [start, stop), look at [low, high)."""
    n, length, margin = x.shape[1], round(_BLOCK_S * fs_hz), round(_MARGIN_S * fs_hz)
    count = max(1, round(n / length))
    if count == 1:
        yield 0, 0, n, n
        return
    edges = np.linspace(0, n, count + 1).astype(int)
    for start, stop in pairwise(edges.tolist()):
        yield max(0, start - margin), start, stop, min(n, stop + margin)


@dataclass(frozen=True, slots=True)
class _Leads:
    """Living leads: their samples, these at the working rate, front end, how much the word of each weighs (sums
    to 1), and its usual slope."""

    samples: Samples
    work: Samples
    front: Front
    weight: Floats
    usual: Floats
    ratio: float


def _beats(x: Samples, fs_hz: float, start: int, stop: int, networks: Networks) -> Indices:
    """R peaks of one block that lie in [start, stop)."""
    leads = _leads(x, fs_hz)
    if leads is None:
        return np.empty(0, dtype=np.int64)
    slope, level = _together(leads)
    at = candidates(slope, level)
    if at.size == 0:
        return at
    logits = _judged(leads, slope, at, networks)
    likely = (logits > 0.0).nonzero()[0]
    kept = likely[strongest(at[likely], logits[likely], judge.REFRACTORY)]
    peaks = _locate(leads, at[kept], fs_hz)
    found = np.rint((peaks + 0.5) / leads.ratio - 0.5).astype(np.int64)
    true = ventricular(leads.work, found)
    if not true.all():
        missed = outdone(leads.work, at, slope[at], found[~true], found[true])
        peaks = np.sort(np.concatenate((peaks[true], _locate(leads, missed, fs_hz))))
    # a largest deflection at the very end is the flank of something that lies beyond
    edge = round(_EDGE_S * fs_hz)
    inside: Indices = peaks[(peaks >= max(start, edge)) & (peaks < min(stop, x.shape[1] - edge))]
    return inside


def _leads(x: Samples, fs_hz: float) -> _Leads | None:
    """The leads that are not flat throughout, made ready."""
    usable = None
    if not np.isfinite(x.sum()):
        present = np.isfinite(x)
        x, present = x[present.any(axis=1)], present[present.any(axis=1)]
        usable = to_work_rate(present.astype(np.float64), fs_hz)[0] > 0.999
        x = bridge_gaps(x)
    work, ratio = to_work_rate(x, fs_hz)
    work = without_spikes(work, x, fs_hz, ratio)
    living = alive(work)
    if not living.any():
        return None
    if not living.all():
        x, work, usable = x[living], work[living], None if usable is None else usable[living]
    front = prepare(work, usable)
    if len(work) == 1:
        one = np.ones(1, np.float32)
        return _Leads(x, work, front, one, one, ratio) if front.level[0, 0] > 0 else None
    usual = np.median(front.level[:, ::8], axis=1)
    rest = np.median(front.slope[:, ::4], axis=1)
    stands_out = np.minimum(usual / np.maximum(rest, 0.05 * usual + 1e-12), 20.0)
    weight = np.asarray(np.maximum(stands_out - 1.0, 0.05) ** 2 * (usual > 0), dtype=np.float32)
    if not weight.any():
        return None
    return _Leads(x, work, front, weight / weight.sum(), np.where(usual > 0, usual, 1), ratio)


def _together(leads: _Leads) -> tuple[Floats, Floats]:
    """Slope of all leads, each in units of its usual beat, and the level of that."""
    if leads.weight.size == 1:
        return leads.front.slope[0], leads.front.level[0]
    slope = np.asarray((leads.weight / leads.usual) @ leads.front.slope, dtype=np.float32)
    return slope, level_around(slope)


def _judged(leads: _Leads, slope: Floats, at: Indices, networks: Networks) -> Floats:
    """Logit of each candidate after both networks."""
    first, second = networks
    count, n = leads.weight.size, at.size
    windows = judge.windows(leads.front, at)
    seen = windows.reshape(count * n, -1), judge.first_scale(leads.front, at).ravel()
    logits = leads.weight @ first(*seen, judge.bumps(leads.front, at).reshape(count * n, -1)).reshape(count, n)
    kept = (logits > judge.HOPELESS).nonzero()[0]
    final = np.full(n, judge.HOPELESS, np.float32)
    if kept.size == 0:
        return final
    shapes = windows[:, kept]
    near = shapes[:, :, judge.REACH - judge.LIKE_REACH : judge.REACH + judge.LIKE_REACH + 1]
    if count > 1:
        near = np.asarray(near * (np.sqrt(leads.weight) / leads.usual)[:, None, None], dtype=np.float32)
    inner = np.ascontiguousarray(near.transpose(1, 0, 2)).reshape(kept.size, -1)
    around = judge.context(at[kept], logits[kept], slope[at[kept]], inner, count)
    scale = judge.second_scale(around.usual, slope[at[kept]]) / leads.usual[:, None]
    others = around.others if count == 1 else np.tile(around.others, (count, 1))
    judged = second(shapes.reshape(count * kept.size, -1), scale.ravel(), others).reshape(count, -1)
    final[kept] = leads.weight @ judged + around.lean
    return final


def _locate(leads: _Leads, beats: Indices, fs_hz: float) -> Indices:
    """The largest deflection near each candidate: at 120 Hz, then between samples, then in all samples."""
    if beats.size == 0:
        return beats
    around = beats[:, None] + np.arange(PAD - _LOCATE - 1, PAD + _LOCATE)
    share = np.sqrt(leads.weight) / leads.usual
    magnitude = np.zeros(around.shape, np.float32)
    for k in range(share.size):
        magnitude += np.square(leads.front.wave[k][around] * share[k])
    top = np.minimum(np.maximum(magnitude.argmax(axis=1), 1), 2 * _LOCATE - 1)
    row = np.arange(beats.size)
    root = np.sqrt(magnitude.astype(np.float64))
    left, middle, right = root[row, top - 1], root[row, top], root[row, top + 1]
    bend = left - 2.0 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
    peak = around[row, top]
    # a working sample is the mean of `ratio` samples; the smoothing leans by half a working sample
    exact = np.rint((peak - PAD + np.minimum(np.maximum(shift, -0.5), 0.5)) * leads.ratio - 0.5).astype(np.int64)
    reach = round(_EXACT_S * fs_hz)
    n = leads.samples.shape[1]
    near = np.minimum(np.maximum(exact[:, None] + np.arange(-reach, reach + 1), 0), n - 1)
    deflection = np.zeros(near.shape)
    for k in range(share.size):
        close = leads.samples[k][near]
        # leads may differ in gain: each counts by what it does here
        size = float(np.median(np.ptp(close, axis=1))) if share.size > 1 else 1.0
        if size > 0:
            deflection += (
                close * (np.sign(leads.front.wave[k][peak]) * (float(np.sqrt(leads.weight[k])) / size))[:, None]
            )
    peaks = np.sort(near[row, deflection.argmax(axis=1)])
    return peaks[np.diff(peaks, prepend=-1) > 0]

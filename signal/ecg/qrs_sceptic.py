"""A second, sceptical look at beats found in several leads: P waves that no QRS follows are no beats.

In ventricular standstill and in slow complete block the detector, which knows no gain, sees P waves stand out of an
empty line as beats do. Nothing about their size tells them apart, but two things about their shape do: they are as
broad and smooth as only a wide QRS is, and no repolarisation follows, which after a wide QRS is large without
exception. Both are looked at in the usual shape of a group of beats, of all leads together, so that noise is less
and no single lead with a flat T wave decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.qrs_front import WORK_HZ, Floats, Indices, Samples, strongest

LEAST_LEADS = 3
"""With fewer, a wide QRS may happen to show no T wave."""

_BEFORE, _AFTER = 14, 58
_HALF = 7
_CLEAR = 14
_LEAST_APART = 60
_FEWEST = 4
_STEP = 2
_MOST_BEATS = 200
_SMOOTH = 36.0
_NOTHING_FOLLOWS = 0.065
_LITTLE_FOLLOWS = 0.15
_GAP = 1.6
_SMALLER = 3.0
_ALONE = 60
_AFAR = 10_000


@dataclass(frozen=True, slots=True)
class Shape:
    """The usual shape of some beats: ``size`` in units of the leads (root of the sum of squares over leads, peak to
    peak), ``steep`` its largest slope over its size in 1/s, ``follows`` the deflection after it over its own;
    infinite where beats come so fast that nothing can be told, NaN where there is nothing at all."""

    size: float
    steep: float
    follows: float


def ventricular(work: Samples, at: Indices) -> NDArray[np.bool_]:
    """Which of the beats at ``at``, positions in ``work`` (n_leads, n) at the working rate, are no lone P waves.

    None is, where all are smooth and nothing follows them; where some are at least three times smaller and less steep
    than the others, smooth, and little follows them, those are none.
    """
    keep = np.ones(at.size, dtype=np.bool_)
    if work.shape[0] < LEAST_LEADS or at.size == 0:
        return keep
    windows = _windows_of(work, at)
    apart = np.diff(at, append=at[-1] + _AFTER + _CLEAR).astype(np.float64)
    size = _sizes(windows)
    ranked = np.sort(size)
    for k in np.flatnonzero(ranked[1:] > _GAP * ranked[:-1]):
        small = size <= ranked[k]
        clear = small & _clear_of(at, at[~small])
        chosen = clear if clear.sum() >= 2 else small
        less, more = _shape_of(windows[chosen], apart[chosen]), _shape_of(windows[~small], apart[~small])
        if less.size <= 0:
            continue
        smaller = more.size > _SMALLER * less.size and more.size * more.steep > _SMALLER * less.size * less.steep
        if smaller and less.steep < _SMOOTH and not less.follows > _LITTLE_FOLLOWS:
            keep &= ~small
    if keep.sum() < _FEWEST:
        return keep
    usual = _shape_of(windows[keep], apart[keep])
    if usual.steep < _SMOOTH and usual.follows < _NOTHING_FOLLOWS:
        keep[:] = False
    return keep


def outdone(work: Samples, at: Indices, strength: Floats, waves: Indices, beats: Indices) -> Indices:
    """Candidates at ``at`` that the P waves at ``waves`` outdid by their number: far larger and steeper than these.

    The strongest within half a second is taken, and none so near to one of ``beats``.
    """
    own, them = _windows_of(work, at), _windows_of(work, waves)
    large = _sizes(own) > _SMALLER * np.median(_sizes(them))
    large &= _slopes(own) > _SMALLER * np.median(_slopes(them))
    if beats.size:
        large &= np.abs(at[:, None] - beats).min(axis=1) >= _ALONE
    left = np.flatnonzero(large)
    return at[left[strongest(at[left], strength[left], _ALONE)]]


def _windows_of(work: Samples, at: Indices) -> Samples:
    """(beats, leads, samples) around ``at`` at the working rate, the ends held."""
    around = np.clip(at[:, None] + np.arange(-_BEFORE, _AFTER), 0, work.shape[1] - 1)
    return np.asarray(work[:, around].transpose(1, 0, 2))


def _sizes(windows: Samples) -> Samples:
    near = windows[:, :, _BEFORE - _HALF : _BEFORE + _HALF + 1]
    return np.asarray(np.sqrt(np.square(np.ptp(near, axis=2)).sum(axis=1)))


def _clear_of(at: Indices, large: Indices) -> NDArray[np.bool_]:
    """Which have no large beat so near that its QRS or T wave could be taken for what follows them."""
    place = np.searchsorted(large, at)
    since = at - np.concatenate(([-_AFAR], large))[place]
    until = np.concatenate((large, [at[-1] + _AFAR]))[place] - at
    return np.asarray((since >= _AFTER) & (until >= _AFTER + _CLEAR))


def _slopes(windows: Samples) -> Samples:
    near = windows[:, :, _BEFORE - _HALF : _BEFORE + _HALF + 1]
    slope = np.abs(near[:, :, _STEP:] - near[:, :, :-_STEP]).max(axis=2)
    return np.asarray(np.sqrt(np.square(slope).sum(axis=1)))


def _shape_of(windows: Samples, distances: Samples) -> Shape:
    """Of beats with these distances to the next, in working samples."""
    apart = float(np.median(distances))
    if len(windows) > _MOST_BEATS:
        windows = windows[:: len(windows) // _MOST_BEATS]
    level = windows[:, :, :4].mean(axis=2, keepdims=True)
    usual = np.median(windows - level, axis=0)
    near = usual[:, _BEFORE - _HALF : _BEFORE + _HALF + 1]
    size = float(np.sqrt(np.square(np.ptp(near, axis=1)).sum()))
    if size <= 0:
        return Shape(0.0, 0.0, float("nan"))
    slope = np.abs(near[:, _STEP:] - near[:, :-_STEP]).max(axis=1) * (WORK_HZ / _STEP)
    steep = float(np.sqrt(np.square(slope).sum())) / size
    return Shape(size, steep, _follows(windows, apart))


def _follows(windows: Samples, apart: float) -> float:
    """Noise differs between beats: what counts is only what one half of the beats shares with the other."""
    start, end = _BEFORE + _CLEAR, min(windows.shape[2], round(_BEFORE + apart - _CLEAR))
    if apart < _LEAST_APART:
        return float("inf")
    # of few beats the noise stays in, which speaks for beats
    halves = (windows[::2], windows[1::2]) if len(windows) >= _FEWEST else (windows, windows)
    one, other = (np.median(half, axis=0) for half in halves)
    later, there = _shared(one[:, start:end], other[:, start:end]), _shared(one[:, :start], other[:, :start])
    return float(np.sqrt(max(later, 0.0) / there)) if there > 0 else float("nan")


def _shared(one: Samples, other: Samples) -> float:
    """Covariance over time, summed over leads, less what a straight line explains."""
    t = np.linspace(-1.0, 1.0, one.shape[1])
    t /= np.sqrt((t * t).sum())
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (one, other))
    a, b = (x - (x @ t)[:, None] * t for x in (a, b))
    return float((a * b).sum() / one.shape[1])

"""Beats cut out of a recording, levelled, aligned and sorted into classes by shape: what a median beat is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from teleread.signal.ecg.filters import Samples, bridge_gaps

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

SAME_SHAPE = 0.90
"""Least correlation of two beats' QRS, all leads together, that makes them one class."""

_MUCH_LIKE = 0.75
_FINEST_FS_HZ = 1000.0
_COARSEST_FS_HZ = 400.0
_QRS_S = (0.07, 0.10)  # before and after R: the stretch by which shapes are compared
_SLACK_S = 0.060  # how far a detected R may lie from where the shape says
_COARSE_SHIFT_S = 0.008
_LEVEL_S = (0.11, 0.05)  # before R: the stretch that tells a beat's level
_NEIGHBOURS_S = 2.5  # beats farther apart say nothing about each other's wander
_PREMATURE = 0.85  # of the usual RR
_BEFORE_A_PAUSE = 0.70


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """Beats side by side at one working rate.

    Args:
        beats: (n_beats, n_leads, m) in mV, each on its own baseline: zero shortly before the QRS, without wander.
        fs_hz: working rate, the recording's own or up to five times it (or a part of it above 1000 Hz).
        r_index: the sample of R in every cut.
        r_at: the aligned R of each beat in samples of the recording, a float.
        whole: (n_beats,) the cut lies inside the recording.
        missing: (n_beats, n_leads) share of samples that were missing.
    """

    beats: Samples
    fs_hz: float
    r_index: int
    r_at: Samples
    whole: Mask
    missing: Samples


def working_rate(fs_hz: float) -> tuple[int, int]:
    """(up, down): boundaries need a grid of 2.5 ms or finer, and gain nothing below 1 ms."""
    if fs_hz < _COARSEST_FS_HZ:
        return max(1, int(np.ceil(_COARSEST_FS_HZ / fs_hz))), 1
    return 1, max(1, int(fs_hz // _FINEST_FS_HZ))


def cut_beats(ecg_mv: Samples, fs_hz: float, r_peaks: Indices, before_s: float, after_s: float) -> Cuts:
    """Cuts [R - before_s, R + after_s] around every beat of (n_leads, n), levelled and aligned with the usual shape.

    Raises:
        ValueError: no beat, no lead or no sample.
    """
    if r_peaks.size == 0 or ecg_mv.size == 0:
        raise ValueError("nothing to cut")
    up, down = working_rate(fs_hz)
    fs = fs_hz * up / down
    # whole working samples on both sides of R, so that R falls on the grid
    slack = round(_SLACK_S * fs)
    before, after = round(before_s * fs), round(after_s * fs)
    left, right = -(-(before + slack) * down // up), -(-(after + slack) * down // up)
    take = r_peaks[:, None] + np.arange(-left, right + down)[None, :]
    inside = np.clip(take, 0, ecg_mv.shape[1] - 1)
    cuts = np.ascontiguousarray(ecg_mv[:, inside].transpose(1, 0, 2))
    gaps = ~np.isfinite(cuts)
    missing: Samples = gaps.mean(axis=2)
    if gaps.any():
        cuts = bridge_gaps(cuts)
    cuts = _at_working_rate(cuts, up, down)
    r_index = left * up // down
    first = r_index - before - slack
    cuts = cuts[:, :, first : first + before + after + 2 * slack + 1]
    edge = round(fs_hz * _SLACK_S)
    whole = np.asarray((take[:, 0] >= -edge) & (take[:, -1] < ecg_mv.shape[1] + edge))
    shift = best_shifts(cuts, fs, before + slack, slack)
    r_at = np.asarray(r_peaks + shift * (down / up), dtype=np.float64)
    aligned = _levelled(shifted(cuts, shift, slack), r_at * (up / down), fs, before)
    return Cuts(aligned, fs, before, r_at, whole, missing)


def _at_working_rate(cuts: Samples, up: int, down: int) -> Samples:
    if down > 1:
        m = cuts.shape[2] // down * down
        coarse: Samples = cuts[:, :, :m].reshape(*cuts.shape[:2], -1, down).mean(axis=3)
        return coarse
    if up > 1:
        fine: Samples = resample_poly(cuts, up, 1, axis=-1, padtype="line")
        return fine
    return cuts


def _levelled(cuts: Samples, r: Samples, fs: float, r_index: int) -> Samples:
    """Each beat minus the straight lines from its level to that of the beats before and after.

    The level just before the QRS is the same point of every cycle, so what it does from beat to beat is wander.
    """
    first, last = max(0, r_index - round(_LEVEL_S[0] * fs)), max(1, r_index - round(_LEVEL_S[1] * fs))
    level = cuts[:, :, first:last].mean(axis=2)
    before, after = np.zeros_like(level), np.zeros_like(level)
    if r.size > 1:
        apart = np.diff(r)
        slope = np.diff(level, axis=0) / np.maximum(apart, 1.0)[:, None]
        slope[apart > _NEIGHBOURS_S * fs] = 0.0
        before[1:], after[:-1] = slope, slope
    middle = (first + last) // 2
    t = np.arange(cuts.shape[2]) - middle
    cuts[:, :, :middle] -= level[:, :, None] + before[:, :, None] * t[:middle]
    cuts[:, :, middle:] -= level[:, :, None] + after[:, :, None] * t[middle:]
    return cuts


def best_shifts(cuts: Samples, fs: float, r_index: int, slack: int) -> Indices:
    """By how many samples, at most ``slack``, each beat of (n_beats, n_leads, m) lies late against the usual one.

    Slopes are compared, so that no level matters: coarsely, once more when beats moved, then to the sample.
    """
    step = max(1, round(_COARSE_SHIFT_S * fs))
    first, last = max(slack, r_index - round(_QRS_S[0] * fs)), r_index + round(_QRS_S[1] * fs)
    last = min(last, cuts.shape[2] - slack)
    most, length = slack // step, (last - first) // step
    thin = np.diff(cuts[:, :, first - most * step : last + most * step : step], axis=2)
    late = np.zeros(cuts.shape[0], dtype=np.int64)
    for _ in range(2):
        before = late
        there = _windows(thin, most + late, length - 1)
        usual = median_over_beats(there)
        usual *= _steadiness(there, usual)
        fits = [_fit(thin[:, :, k : k + length - 1], usual) for k in range(2 * most + 1)]
        late = np.argmax(fits, axis=0).astype(np.int64) - most
        if np.abs(late - before).max() <= 1:
            break
    reach = min(step - 1, slack)
    late = np.clip(late * step, reach - slack, slack - reach)
    near = _windows(cuts, first - reach + late, last - first + 2 * reach)
    near = near[:, :, 2:] - near[:, :, :-2]
    width = near.shape[2] - 2 * reach
    there = near[:, :, reach : reach + width]
    usual = median_over_beats(there)
    usual *= _steadiness(there, usual)
    fits = [_fit(near[:, :, k : k + width], usual) for k in range(2 * reach + 1)]
    return np.asarray(late + np.argmax(fits, axis=0) - reach, dtype=np.int64)


def _windows(cuts: Samples, start: Indices, length: int) -> Samples:
    """From each beat of (n_beats, n_leads, m) the ``length`` samples from its own start on."""
    cut: Samples = np.take_along_axis(cuts, (start[:, None] + np.arange(length)[None, :])[:, None, :], axis=2)
    return cut


def _fit(parts: Samples, wanted: Samples) -> Samples:
    """Correlation of each (n_leads, k) of parts with the wanted one, all leads together, but for its norm."""
    norm = np.sqrt(np.einsum("blk,blk->b", parts, parts))
    matched: Samples = np.einsum("blk,lk->b", parts, wanted) / np.where(norm > 0, norm, 1.0)
    return matched


def shifted(cuts: Samples, shift: Indices, slack: int) -> Samples:
    """The cuts moved by their shifts and shortened by ``slack`` on both sides."""
    return _windows(cuts, slack + shift, cuts.shape[2] - 2 * slack)


def median_over_beats(beats: Samples) -> Samples:
    """The median along the first axis: for the few beats of a recording sorting is far faster than selecting."""
    ranked = np.sort(beats, axis=0)
    middle: Samples = 0.5 * (ranked[(beats.shape[0] - 1) // 2] + ranked[beats.shape[0] // 2])
    return middle


def usual_beat(beats: Samples) -> Samples:
    """The mean of the middle half at each sample: as deaf to outliers as the median, with a third less noise.

    With one or two beats the mean, with three the median.
    """
    count = beats.shape[0]
    if count <= 2:
        few: Samples = beats.mean(axis=0)
        return few
    leave = max(1, count // 4)
    ranked = np.sort(beats, axis=0)
    middle: Samples = ranked[leave : count - leave].mean(axis=0)
    return middle


def shape_classes(cuts: Cuts, usable: Mask, premature: Mask, most: int = 6) -> Indices:
    """The class of each beat by the shape of its QRS: 0 the dominant one, then by size; -1 is like no other.

    The dominant class is the largest one, where premature beats count half: in bigeminy it is the one that comes
    in time. Noisy leads have less say.
    """
    features = _features(cuts)
    like = features @ features.T > SAME_SHAPE
    classes = np.full(usable.size, -1, dtype=np.int64)
    free = usable.copy()
    weight = np.where(premature, 0.5, 1.0)
    for number in range(most):
        votes = (like & free[None, :]) @ weight * free
        if votes.max(initial=0.0) <= 0:
            break
        members = like[int(np.argmax(votes))] & free
        if members.sum() > 2:
            centre = features[members].mean(axis=0)
            centre /= np.linalg.norm(centre)
            members |= (features @ centre > SAME_SHAPE) & free
        if number and members.sum() < 2:
            break
        classes[members] = number
        free &= ~members
    return classes


def nearest_class(cuts: Cuts, classes: Indices) -> Indices:
    """``classes`` with beats of no class given to the class they are most like, when they are much like it."""
    strays, count = np.flatnonzero(classes < 0), int(classes.max(initial=-1)) + 1
    if strays.size == 0 or count == 0:
        return classes
    features = _features(cuts)
    centres = np.array([features[classes == number].mean(axis=0) for number in range(count)])
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    fits = features[strays] @ centres.T
    given = classes.copy()
    given[strays] = np.where(fits.max(axis=1) > _MUCH_LIKE, np.argmax(fits, axis=1), -1)
    return given


def premature_beats(rr: Samples) -> Mask:
    """Beats that come at less than 0.85 of the usual distance, or at less than 0.7 of the distance that follows.

    Args:
        rr: (n_beats, 2), the distance of the beat before and of the one after; NaN where not known.
    """
    before, after = rr[:, 0], rr[:, 1]
    known = before[np.isfinite(before)]
    if known.size < 2:
        return np.zeros(before.size, dtype=np.bool_)
    known_before = np.nan_to_num(before, nan=np.inf)
    early: Mask = known_before < _PREMATURE * np.median(known)
    # in bigeminy the usual distance is no guide, but a pause follows each premature beat
    early |= known_before < _BEFORE_A_PAUSE * np.nan_to_num(after, nan=0.0)
    return early


def _steadiness(beats: Samples, usual: Samples) -> Samples:
    """(n_leads, 1): 1 where the beats are alike, towards 0 where they differ by more than a third of their size."""
    size = np.sqrt(np.mean(usual * usual, axis=1))
    spread = median_over_beats(np.abs(beats - usual).mean(axis=2))
    steady: Samples = 1.0 / (1.0 + (3.0 * spread / np.maximum(size, 1e-9)) ** 2)
    return steady[:, None]


def _features(cuts: Cuts) -> Samples:
    """Unit vectors (n_beats, k): the QRS in all leads, each lead weighted by how steadily it shows its beats."""
    first = max(0, cuts.r_index - round(_QRS_S[0] * cuts.fs_hz))
    last = cuts.r_index + round(_QRS_S[1] * cuts.fs_hz)
    step = max(1, round(cuts.fs_hz / 250.0))
    qrs = cuts.beats[:, :, first:last:step]
    usual = median_over_beats(qrs)
    flat = (qrs * _steadiness(qrs, usual)).reshape(qrs.shape[0], -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: Samples = flat / np.where(norm > 0, norm, 1.0)
    return unit

"""Evidence of P waves: what stands in the same place before each QRS, and what moves there without being tied to it.

The window before the QRS onset is compared with the mean of its neighbours: a P wave repeats itself from beat to
beat, fibrillatory waves do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from teleread.signal.ecg.beat_shapes import PR_REACH_S, Block, Mask, Shapes, cut
from teleread.signal.ecg.filters import Samples

NEIGHBOURS = 8
_FLOOR = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class PEvidence:
    """One entry per beat, all dimensionless.

    ``match``: correlation with the mean of the neighbours. ``shared``: part of the energy that repeats, from 0
    (nothing) to 1. ``shared_best``: the same in the best lead. ``height``: size of what repeats beside the QRS.
    ``residue``: size of what does not repeat beside the QRS. ``slow``: part of that residue below some 12 Hz (f
    waves rather than muscle).
    ``bump``: height beside the QRS of the hump nearest to a P wave in the mean of the neighbours, ``bump_at_s``: how
    long before the QRS onset it peaks (NaN: no hump stands alone there).
    """

    match: Samples
    shared: Samples
    shared_best: Samples
    height: Samples
    residue: Samples
    slow: Samples
    bump: Samples
    bump_at_s: Samples


def p_evidence(block: Block, shapes: Shapes, usable: Mask) -> PEvidence:
    """Looks before each beat; neighbours that are not ``usable`` (ventricular, paced) are left out of the means."""
    fs = block.fs_hz
    end = shapes.onset - round(0.012 * fs)
    start = -round(PR_REACH_S * fs)
    end = max(end, start + 8)
    part = cut(block.signals_mv, shapes.centre, np.arange(start, end))
    part = _smoothed(_level(part))
    qrs = cut(block.signals_mv, shapes.centre, np.arange(shapes.onset, max(shapes.offset, shapes.onset + 4) + 1))
    tall = np.maximum(np.median(np.ptp(qrs, axis=2), axis=0), _FLOOR)
    tall = np.where(tall > 0.05 * tall.max(), tall, np.inf)
    part = part / tall[None, :, None]
    leads = max(1, int(np.isfinite(tall).sum()))
    weight = usable.astype(np.float64)
    total, count = _neighbour_sum(part, weight)
    mean = total / np.maximum(count, 1.0)[:, None, None]
    dot = np.einsum("blm,blm->bl", part, mean)
    own = np.einsum("blm,blm->bl", part, part)
    other = np.einsum("blm,blm->bl", mean, mean)
    match = dot.sum(axis=1) / np.sqrt(np.maximum(own.sum(axis=1) * other.sum(axis=1), _FLOOR**2))
    # energy that repeats: the product with an independent mean is free of noise on average
    dot_sum, n = _neighbour_sum(dot[:, :, None], weight, itself=True)
    own_sum, _ = _neighbour_sum(own[:, :, None], weight, itself=True)
    shared_lead = np.clip(dot_sum[:, :, 0] / np.maximum(own_sum[:, :, 0], _FLOOR), -1.0, 1.0)
    shared = np.clip(dot_sum.sum(axis=(1, 2)) / np.maximum(own_sum.sum(axis=(1, 2)), _FLOOR), -1.0, 1.0)
    everyone = (total + part * weight[:, None, None]) / np.maximum(count + weight, 1.0)[:, None, None]
    bump, bump_at = _hump(everyone, fs, leads)
    residual = part - mean
    fast = np.diff(residual, axis=2)
    fast_energy = np.einsum("blm,blm->b", fast, fast) / max(residual.shape[2] - 1, 1)
    res_energy = np.einsum("blm,blm->b", residual, residual) / residual.shape[2]
    return PEvidence(
        match=np.where(count > 0, match, 0.0),
        shared=np.where(n > 1, shared, 0.0),
        shared_best=np.where(n > 1, shared_lead.max(axis=1), 0.0),
        height=np.sqrt(np.maximum(dot.sum(axis=1), 0.0) / (leads * part.shape[2])),
        residue=np.sqrt(res_energy / leads),
        slow=1.0 - np.clip(fast_energy * (fs / 75.0) ** 2 / np.maximum(res_energy, _FLOOR**2), 0.0, 1.0),
        bump=bump,
        bump_at_s=bump_at,
    )


def _hump(mean: Samples, fs: float, leads: int) -> tuple[Samples, Samples]:
    """The highest hump of some 80 ms, as root mean square over the leads, that is a summit of its own.

    The mean over 56 ms less the mean of the stretches beside it; a slope, such as the end of a T wave, gives nothing.
    """
    core, side = max(1, round(0.028 * fs)), max(2, round(0.044 * fs))
    m = mean.shape[2]
    reach = core + side
    if m < 2 * reach + 3:
        return np.zeros(mean.shape[0]), np.full(mean.shape[0], np.nan)
    # a P wave may end where the QRS begins: the last level is taken to go on
    mean = np.concatenate((mean, np.repeat(mean[:, :, -1:], side, axis=2)), axis=2)
    total = np.concatenate((np.zeros((*mean.shape[:2], 1)), np.cumsum(mean, axis=2)), axis=2)
    at = np.arange(reach, m + side - reach)
    inner = (total[:, :, at + core + 1] - total[:, :, at - core]) / (2 * core + 1)
    outer = total[:, :, at + reach + 1] - total[:, :, at + core + 1] + total[:, :, at - core] - total[:, :, at - reach]
    height = inner - outer / (2 * side)
    size = np.sqrt(np.einsum("blm,blm->bm", height, height) / leads)
    summit = np.zeros(size.shape, dtype=np.bool_)
    summit[:, 1:-1] = (size[:, 1:-1] >= size[:, :-2]) & (size[:, 1:-1] > size[:, 2:])
    best = np.where(summit, size, 0.0)
    top = best.argmax(axis=1)
    found = best[np.arange(top.size), top]
    return found, np.where(found > 0, (m - at[top] + 0.012 * fs) / fs, np.nan)


def _level(part: Samples) -> Samples:
    """Without the straight line through each window's ends' thirds: wander and the tail of the T wave."""
    m = part.shape[2]
    k = max(2, m // 6)
    left, right = part[:, :, :k].mean(axis=2), part[:, :, -k:].mean(axis=2)
    ramp = (np.arange(m) - (k - 1) / 2) / max(m - k, 1)
    flat: Samples = part - left[:, :, None] - (right - left)[:, :, None] * ramp
    flat -= flat.mean(axis=2, keepdims=True)
    return flat


def _smoothed(part: Samples) -> Samples:
    out = part.copy()
    out[:, :, 2:-2] = (part[:, :, :-4] + part[:, :, 1:-3] + part[:, :, 2:-2] + part[:, :, 3:-1] + part[:, :, 4:]) / 5.0
    return out


def _neighbour_sum(values: Samples, weight: Samples, *, itself: bool = False) -> tuple[Samples, Samples]:
    """Weighted sums over the beats within ``NEIGHBOURS`` (without the beat itself), and the weights' sums."""
    n = values.shape[0]
    weighted = values * weight.reshape(-1, *([1] * (values.ndim - 1)))
    total = np.concatenate((np.zeros((1, *values.shape[1:])), np.cumsum(weighted, axis=0)))
    number = np.concatenate(([0.0], np.cumsum(weight)))
    lo, hi = np.clip(np.arange(n) - NEIGHBOURS, 0, n), np.clip(np.arange(n) + NEIGHBOURS + 1, 0, n)
    sums, counts = total[hi] - total[lo], number[hi] - number[lo]
    if itself:
        return sums, counts
    return sums - weighted, counts - weight

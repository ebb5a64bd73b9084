"""What the atria do: fibrillation by a small network, flutter by its spectrum between the QRS, P waves by their
hump."""

from __future__ import annotations

import numpy as np

from teleread.signal.ecg.beat_shapes import Mask
from teleread.signal.ecg.beat_table import BeatTable, fibrillation_features, local_mean, local_median
from teleread.signal.ecg.filters import Samples, run_lengths
from teleread.signal.ecg.small_networks import network

_SMOOTH_BEATS = 6
_LEAST_BEATS = 5
_P_HEIGHT = 0.018
_AF_BEATS = 5
_AF_SHARE = 0.35
_AF_SURE, _AF_GOES_ON = 0.5, 0.2
_LONG_S = 60.0
_STEADY, _STEADY_REACH = 0.03, 8


def fibrillation_share(table: BeatTable) -> Samples:
    """How sure it is that each beat belongs to atrial fibrillation, 0 to 1, smoothed over neighbours."""
    if table.r_s.size < _LEAST_BEATS:
        return np.zeros(table.r_s.size)
    logit = network("fibrillation").logits(fibrillation_features(table))[:, 0]
    smooth = local_mean(np.clip(logit, -6.0, 6.0), np.ones(logit.size), _SMOOTH_BEATS)
    share: Samples = 1.0 / (1.0 + np.exp(-smooth))
    return share


def fibrillating(share: Samples, r_s: Samples, rr_s: Samples) -> Mask:
    """Beats in atrial fibrillation by their smoothed share, unless their intervals are too steady for it.

    In more than a minute an episode must be sure somewhere and then reaches as far as it is likely: its first and last
    beats have neighbours of another rhythm. A short recording shows no such neighbours: there one limit holds.
    """
    steps = np.abs(np.diff(rr_s, prepend=np.nan)) / local_median(rr_s, _STEADY_REACH, otherwise=0.8)
    share = np.where(local_median(steps, _STEADY_REACH, otherwise=1.0) < _STEADY, 0.0, share)
    if r_s.size == 0 or float(r_s[-1] - r_s[0]) < _LONG_S:
        return steady(share > _AF_SHARE, _AF_BEATS)
    out = steady(share > _AF_GOES_ON, _AF_BEATS)
    for a, b in zip(*run_lengths(out), strict=True):
        out[a:b] = float(share[a:b].max()) > _AF_SURE
    return out


def p_seen(table: BeatTable) -> Samples:
    """Evidence of a P wave before each beat and its neighbours: above 1 there is one, below 0.4 there is none.

    A hump of its own that repeats itself, at a place where a P wave can be: not within the T wave of the beat before.
    """
    bump, at = table.p[:, 6], table.p[:, 7]
    rr = table.usual_rr_s
    furthest = np.minimum(0.26, rr - 0.09 - 0.27 * np.sqrt(rr))
    placed = np.isfinite(at) & (at < np.maximum(furthest, 0.05)) & (at > 0.025)
    noise = table.p[:, 4] / np.sqrt(8.0)
    height = np.where(placed, bump, 0.0) / np.maximum(_P_HEIGHT, 1.2 * noise)
    repeats = np.clip(local_mean(table.p[:, 2], np.ones(bump.size), 6) / 0.35, 0.0, 1.5)
    return local_mean(np.minimum(height, 3.0) * repeats, table.alike.astype(np.float64), 5)


def steady(flags: Mask, least: int) -> Mask:
    """Flags with runs shorter than ``least`` beats undone, first the holes, then the islands."""
    out = flags.copy()
    for value in (False, True):
        starts, stops = run_lengths(out == value)
        for a, b in zip(starts, stops, strict=True):
            if b - a < least and (a > 0 or b < out.size):
                out[a:b] = not value
    return out

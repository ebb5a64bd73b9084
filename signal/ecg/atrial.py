"""What the atria do: fibrillation by a small network, flutter by its spectrum between the QRS, P waves by their
hump."""

from __future__ import annotations

import numpy as np

from teleread.signal.ecg.beat_shapes import Indices, Mask, decimated
from teleread.signal.ecg.beat_table import BeatTable, fibrillation_features, local_mean
from teleread.signal.ecg.filters import Samples, bridge_gaps, run_lengths
from teleread.signal.ecg.small_networks import network

_SMOOTH_BEATS = 6
_LEAST_BEATS = 5
_P_HEIGHT = 0.018
_FLUTTER_HZ = (3.5, 5.9)
_FLUTTER_FS_HZ = 125.0
_FLUTTER_LEADS = ("II", "III", "aVF", "V1")


def fibrillation_share(table: BeatTable) -> Samples:
    """How sure it is that each beat belongs to atrial fibrillation, 0 to 1, smoothed over neighbours."""
    if table.r_s.size < _LEAST_BEATS:
        return np.zeros(table.r_s.size)
    logit = network("fibrillation").logits(fibrillation_features(table))[:, 0]
    smooth = local_mean(np.clip(logit, -6.0, 6.0), np.ones(logit.size), _SMOOTH_BEATS)
    share: Samples = 1.0 / (1.0 + np.exp(-smooth))
    return share


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


def flutter_strength(
    signals_mv: Samples, fs_hz: float, leads: tuple[str, ...], r_peaks: Indices
) -> tuple[float, float]:
    """How strong a single rhythm of 204 to 354/min is between the QRS, and its rate in 1/min, of one stretch.

    The QRS are bridged by straight lines; the share of power in the narrow line and its double over that of all other
    lines is taken, in the two leads that show it best.
    """
    rows = [i for i, lead in enumerate(leads) if lead in _FLUTTER_LEADS] or list(range(min(3, len(leads))))
    step = max(1, round(fs_hz / _FLUTTER_FS_HZ))
    x = decimated(signals_mv[rows], step)
    fs = fs_hz / step
    n = x.shape[1]
    if n < 4 * fs:
        return 0.0, 0.0
    x = _without_qrs(x, r_peaks // step, fs)
    x = x - x.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(x * np.hanning(n), n=4 * n, axis=1)) ** 2
    f = np.fft.rfftfreq(4 * n, 1.0 / fs)
    wide = 2.0 * fs / n
    band = (f >= _FLUTTER_HZ[0]) & (f <= _FLUTTER_HZ[1])
    whole = power[:, (f >= 1.0) & (f <= 15.0)].sum(axis=1)
    found: list[tuple[float, float]] = []
    for row, total in zip(power, whole, strict=True):
        top = float(f[band][int(np.argmax(row[band]))])
        line = row[np.abs(f - top) <= wide].sum() + row[np.abs(f - 2 * top) <= wide].sum()
        below = row[np.abs(f - 0.5 * top) <= wide].sum()
        strength = float((line - 0.5 * below) / total) if total > 0 else 0.0
        found.append((strength, 60.0 * top))
    found.sort(reverse=True)
    if len(found) == 1:
        return found[0]
    # one lead alone may be disturbed
    return 0.6 * found[0][0] + 0.4 * found[1][0], found[0][1]


def _without_qrs(x: Samples, r: Indices, fs: float) -> Samples:
    mask = np.zeros(x.shape[1], dtype=np.bool_)
    for offset in range(-round(0.07 * fs), round(0.08 * fs) + 1):
        mask[np.clip(r + offset, 0, mask.size - 1)] = True
    y = x.copy()
    y[:, mask] = np.nan
    return bridge_gaps(y)


def steady(flags: Mask, least: int) -> Mask:
    """Flags with runs shorter than ``least`` beats undone, first the holes, then the islands."""
    out = flags.copy()
    for value in (False, True):
        starts, stops = run_lengths(out == value)
        for a, b in zip(starts, stops, strict=True):
            if b - a < least and (a > 0 or b < out.size):
                out[a:b] = not value
    return out

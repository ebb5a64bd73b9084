"""How irregular the beats follow each other around each beat, robust against single early beats and breathing.

Measures of Lake and Moorman (sample entropy, doi:10.1152/ajpheart.00561.2010), of Dash et al. (turning points,
doi:10.1007/s10439-009-9740-z) and plain quantiles of successive differences, all over windows of beats and relative
to the local interval. Differences that touch a beat of another shape are left out: an ectopic beat is no irregular
conduction.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from teleread.signal.ecg.beat_shapes import Mask
from teleread.signal.ecg.filters import Samples

HALF_WINDOWS = (6, 15)
FEATURES = 10
_CHUNK = 4096
_SHORT = 64


def rr_features(rr_s: Samples, alike: Mask) -> Samples:
    """Features per beat, (beats, ``len(HALF_WINDOWS) * FEATURES``), finite.

    Args:
        rr_s: the interval before each beat in seconds, NaN where it is unknown.
        alike: beats of the usual shape.
    """
    n = rr_s.size
    rr = rr_s
    before = np.concatenate(([False], alike[:-1]))
    plain = np.where(alike & before, rr, np.nan)
    columns = [_around(rr, plain, half) for half in HALF_WINDOWS]
    return np.concatenate(columns, axis=1) if n else np.empty((0, len(HALF_WINDOWS) * FEATURES))


def _around(rr: Samples, plain: Samples, half: int) -> Samples:
    """Features from the windows of ``2 half + 1`` beats, in chunks."""
    n = rr.size
    all_windows = windows_around(rr, half)
    plain_windows = windows_around(plain, half)
    if n > _CHUNK:
        parts = [
            _window_features(all_windows[k : k + _CHUNK], plain_windows[k : k + _CHUNK]) for k in range(0, n, _CHUNK)
        ]
        return np.concatenate(parts)
    return _window_features(all_windows, plain_windows)


def windows_around(values: Samples, half: int) -> Samples:
    """Windows of ``2 half + 1`` entries around each entry, NaN beyond the ends: a view, or a copy when short."""
    padded = np.full(values.size + 2 * half, np.nan)
    padded[half : half + values.size] = values
    if values.size <= _SHORT:
        return np.asarray(padded[_places(values.size, half)], dtype=np.float64)
    return sliding_window_view(padded, 2 * half + 1)


@lru_cache(maxsize=64)
def _places(n: int, half: int) -> NDArray[np.int64]:
    return np.arange(n)[:, None] + np.arange(2 * half + 1)[None, :]


def _window_features(rr: Samples, plain: Samples) -> Samples:
    usual = quantiles(rr, (0.5,))[:, 0]
    usual = np.where(usual > 0, usual, 0.8)
    scaled = plain / usual[:, None]
    step = np.abs(np.diff(scaled, axis=1))
    seen = np.isfinite(step)
    count = seen.sum(axis=1)
    steps = quantiles(step, (0.25, 0.5, 0.75))
    some = np.maximum(count, 1)
    mean_step = np.where(seen, np.minimum(step, 0.5), 0.0).sum(axis=1) / some
    known = np.isfinite(scaled)
    number = np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, scaled, 0.0).sum(axis=1) / number
    spread = np.sqrt(np.where(known, (scaled - mean[:, None]) ** 2, 0.0).sum(axis=1) / number)
    near, entropy = _entropy(scaled, known)
    turns = np.diff(np.sign(np.diff(scaled, axis=1)), axis=1)
    turnable = np.isfinite(turns)
    turning = np.where(turnable, turns != 0, False).sum(axis=1) / np.maximum(turnable.sum(axis=1), 1)
    every = rr / usual[:, None]
    pattern = _pattern(every)
    return np.stack(
        [
            np.log(steps[:, 1] + 0.005),
            np.log(steps[:, 0] + 0.005),
            np.log(steps[:, 2] + 0.005),
            np.log(mean_step + 0.005),
            np.log(spread + 0.005),
            near,
            entropy,
            turning,
            pattern,
            np.log(count + 1.0),
        ],
        axis=1,
    )


def quantiles(values: Samples, levels: tuple[float, ...]) -> Samples:
    """Quantiles of each row without its NaN, zero for an empty row (lower of the two nearest)."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.isfinite(values).sum(axis=1)
    rows = np.arange(values.shape[0])
    last = np.maximum(count - 1, 0)
    picked = [ordered[rows, np.minimum((count * level).astype(np.int64), last)] for level in levels]
    found: Samples = np.where(count[:, None] > 0, np.stack(picked, axis=1), 0.0)
    return found


def _entropy(scaled: Samples, known: Mask) -> tuple[Samples, Samples]:
    """Share of pairs of intervals within 5 % of each other, and the sample entropy (m = 1) at that tolerance."""
    filled = np.where(known, scaled, np.inf)
    with np.errstate(invalid="ignore"):
        close = np.abs(filled[:, :, None] - filled[:, None, :]) < 0.05
    pairs = known[:, :, None] & known[:, None, :]
    m = scaled.shape[1]
    upper = np.triu(np.ones((m, m), dtype=bool), 1)
    close &= pairs & upper
    single = close.sum(axis=(1, 2))
    near = single / np.maximum((pairs & upper).sum(axis=(1, 2)), 1)
    follow = pairs[:, 1:, 1:] & pairs[:, :-1, :-1] & upper[:-1, :-1]
    first = (close[:, :-1, :-1] & follow).sum(axis=(1, 2))
    both = (close[:, :-1, :-1] & close[:, 1:, 1:]).sum(axis=(1, 2))
    entropy = np.log((first + 1.0) / (both + 0.5))
    return near, entropy


def _pattern(every: Samples) -> Samples:
    """Highest autocorrelation at two to four beats: bigeminy, trigeminy and fixed blocks repeat, fibrillation does
    not."""
    known = np.isfinite(every)
    centred = np.where(known, every - quantiles(every, (0.5,)), 0.0)
    centred = np.clip(centred, -0.6, 0.6)
    energy = np.maximum((centred * centred).sum(axis=1), 1e-4)
    best = np.zeros(every.shape[0])
    for lag in (2, 3, 4):
        best = np.maximum(best, (centred[:, lag:] * centred[:, :-lag]).sum(axis=1) / energy)
    return best

"""The front end of QRS detection: one lead at 120 Hz, and where in it a beat could be.

Everything is float32 and made of sums of shifted copies, which numpy does at memory speed; positions are samples of
the working rate. Nothing here decides: a candidate is any bump of slope that stands out of its surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

WORK_HZ = 120.0
PAD = 160
"""Zeros around ``wave`` and ``bumps``, so that a window around a candidate at the very end is whole."""

_LEVEL_WINDOW = 168
_LEVEL_REACH = 4
_FLOOR = 0.06
_NEAR = 9
_SPIKE_REACH = 2


@dataclass(frozen=True, slots=True)
class Front:
    """One lead made ready; ``wave`` and ``bumps`` carry ``PAD`` zeros at both ends, the others do not.

    ``wave``: the lead without baseline, about 1 to 30 Hz. ``bumps``: mean slope over 0.1 s, as logarithm of its ratio
    to ``level``. ``slope``: the same before that. ``level``: what beats around here usually reach. ``usable``: false
    where samples are missing or the lead is flat.
    """

    wave: Floats
    bumps: Floats
    slope: Floats
    level: Floats
    usable: NDArray[np.bool_]


def to_work_rate(ecg: NDArray[np.float64], fs_hz: float) -> tuple[NDArray[np.float64], float]:
    """(samples at about 120 Hz, original samples per working sample), each the mean of what it stands for."""
    step = round(fs_hz / WORK_HZ)
    if step >= 1 and abs(fs_hz / step / WORK_HZ - 1.0) < 0.07:
        if step == 1:
            return ecg, 1.0
        n = ecg.size // step
        total = ecg[0 : n * step : step] + ecg[1 : n * step : step]
        for k in range(2, step):
            total += ecg[k : n * step : step]
        total *= 1.0 / step
        return total, float(step)
    ratio = fs_hz / WORK_HZ
    n = int(ecg.size / ratio)
    sums = np.concatenate(([0.0], np.cumsum(ecg - ecg[0])))
    at = np.interp(np.arange(n + 1) * ratio, np.arange(sums.size), sums)
    return np.diff(at) / ratio, ratio


def box(x: Floats, width: int) -> Floats:
    """Centred sum over ``width`` samples by doubling, ends held; even widths lean to the left by half a sample."""
    padded = np.concatenate(
        (np.full(width // 2, x[0], x.dtype), x, np.full(width - 1 - width // 2, x[-1], x.dtype))
    )
    total: Floats | None = None
    power, length, taken = padded, 1, 0
    n = x.size
    while True:
        if width & length:
            piece = power[taken : taken + n]
            total = piece if total is None else total + piece
            taken += length
        if 2 * length > width:
            break
        power = power[:-length] + power[length:]
        length *= 2
    assert total is not None
    return total


def level_around(slope: Floats) -> Floats:
    """What a beat near each sample usually reaches: running median over the maxima of windows of 1.4 s."""
    whole = max(1, slope.size // _LEVEL_WINDOW)
    width = min(_LEVEL_WINDOW, slope.size)
    maxima = slope[: whole * width].reshape(whole, width).max(axis=1)
    maxima[-1] = max(maxima[-1], slope[whole * width :].max(initial=0.0))
    alive = maxima > 0
    if not alive.any():
        return np.zeros_like(slope)
    # flat stretches hold no beat and one huge artefact must not make the rest look flat, hence not the maximum
    filled = np.flatnonzero(maxima > 0.05 * np.percentile(maxima[alive], 75))
    strong = maxima[filled]
    padded = np.concatenate((np.full(_LEVEL_REACH, np.nan), strong, np.full(_LEVEL_REACH, np.nan)))
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * _LEVEL_REACH + 1)
    medians = _row_medians(around)
    nearest = np.clip(np.searchsorted(filled, np.arange(whole)), 0, filled.size - 1)
    levels = np.repeat(medians[nearest].astype(np.float32), width)
    return np.concatenate((levels, np.full(slope.size - levels.size, levels[-1], np.float32)))


def _row_medians(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians of rows whose NaN do not count (they sort to the end)."""
    ranked = np.sort(rows, axis=1)
    count = np.isfinite(ranked).sum(axis=1)
    at = np.arange(rows.shape[0])
    middle: NDArray[np.float64] = 0.5 * (ranked[at, (count - 1) // 2] + ranked[at, count // 2])
    return middle


def without_spikes(
    work: NDArray[np.float64], ecg: NDArray[np.float64], fs_hz: float, ratio: float
) -> NDArray[np.float64]:
    """The working samples without pacing spikes: deflections that are back within 4 ms in the samples as they are.

    No QRS is: its narrowest wave takes ten times as long to come and go.
    """
    spread = work[_SPIKE_REACH:-_SPIKE_REACH] * 2.0
    spread -= work[: -2 * _SPIKE_REACH]
    spread -= work[2 * _SPIKE_REACH :]
    np.abs(spread, out=spread)
    whole = spread.size // _LEVEL_WINDOW
    if whole == 0:
        return work
    usual = np.median(spread[: whole * _LEVEL_WINDOW].reshape(whole, -1).max(axis=1))
    bent = np.flatnonzero(spread > 0.5 * usual) + _SPIKE_REACH
    bent = bent[spread[bent - _SPIKE_REACH] >= np.maximum(*_beside(spread, bent - _SPIKE_REACH))]
    k = max(1, int(np.ceil(0.004 * fs_hz)))
    low, wide = (bent * ratio - ratio).astype(np.int64), int(np.ceil(3 * ratio))
    inside = (low >= 3 * k) & (low + wide + 3 * k < ecg.size)
    bent, low = bent[inside], low[inside]
    if bent.size == 0:
        return work
    span = ecg[low[:, None] + np.arange(wide)]
    top = low + np.argmax(np.abs(span - 0.5 * (span[:, :1] + span[:, -1:])), axis=1)
    rise, fall = ecg[top] - ecg[top - k], ecg[top] - ecg[top + k]
    height = np.where(rise * fall > 0, np.minimum(np.abs(rise), np.abs(fall)), 0.0)
    narrow = height > 0.4 * spread[bent - _SPIKE_REACH]
    top, height = top[narrow], height[narrow]
    before, after = ecg[top[:, None] + np.arange(-3 * k, -k + 1)], ecg[top[:, None] + np.arange(k, 3 * k + 1)]
    spikes = top[height > 2.0 * np.maximum(np.ptp(before, axis=1), np.ptp(after, axis=1))]
    if spikes.size == 0:
        return work
    mended = work.copy()
    first = np.maximum(((spikes - k + 0.5) // ratio).astype(np.int64), 1)
    last = np.minimum(((spikes + k + 0.5) // ratio).astype(np.int64), work.size - 2)
    for a, b in zip(first, last, strict=True):
        mended[a : b + 1] = np.linspace(mended[a - 1], mended[b + 1], b - a + 3)[1:-1]
    return mended


def _beside(x: NDArray[np.float64], at: Indices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return x[np.maximum(at - 1, 0)], x[np.minimum(at + 1, x.size - 1)]


def prepare(work: NDArray[np.float64], usable: NDArray[np.bool_] | None) -> Front | None:
    """The front end of one lead at the working rate; None when it is flat throughout."""
    x = (work - work.mean()).astype(np.float32)
    largest = max(x.max(), -x.min())
    # a constant with rounding noise on top is flat, whatever its offset
    if not largest > 1e-9 * np.abs(work[:: max(1, work.size // 64)]).max():
        return None
    x *= np.float32(1.0) / largest
    smooth = box(box(x, 3), 2) * np.float32(1 / 6)
    wave = smooth - box(smooth, 60) * np.float32(1 / 60)
    steep = np.empty_like(x)
    np.abs(smooth[2:] - smooth[:-2], out=steep[1:-1])
    steep[0], steep[-1] = 0.0, 0.0
    slope = box(box(steep, 10), 3) * np.float32(1 / 30)
    if usable is not None:
        slope[~usable] = 0.0
    level = level_around(slope)
    bumps = np.zeros(slope.size + 2 * PAD, np.float32)
    floor = np.float32(0.05)
    inner = bumps[PAD:-PAD]
    np.divide(slope, np.maximum(level, np.float32(1e-12)), out=inner)
    inner += floor
    np.log(inner, out=inner)
    inner -= np.log(floor)
    padded = np.zeros_like(bumps)
    padded[PAD:-PAD] = wave
    return Front(padded, bumps, slope, level, usable if usable is not None else np.ones(x.size, bool))


def candidates(slope: Floats, level: Floats) -> Indices:
    """Every bump of slope that is the largest within 75 ms and reaches a twelfth of a usual beat."""
    rising = slope[1:-1] > slope[:-2]
    rising &= slope[1:-1] >= slope[2:]
    rising &= slope[1:-1] > np.float32(_FLOOR) * level[1:-1]
    at = np.flatnonzero(rising) + 1
    if at.size < 2:
        return at
    height = slope[at]
    while True:
        close = np.flatnonzero(np.diff(at) < _NEAR)
        if close.size == 0:
            return at
        weaker = np.where(height[close] < height[close + 1], close, close + 1)
        keep = np.ones(at.size, bool)
        keep[weaker] = False
        at, height = at[keep], height[keep]

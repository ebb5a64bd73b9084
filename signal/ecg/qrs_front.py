"""The front end of QRS detection: leads at 120 Hz, and where in them a beat could be.

Everything is float32 and made of sums of shifted copies, which numpy does at memory speed; arrays are (n_leads, n) and
positions are samples of the working rate. Nothing here decides: a candidate is any bump of slope that stands out of
its surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Samples = NDArray[np.float64]
Indices = NDArray[np.int64]

WORK_HZ = 120.0
PAD = 160
"""Zeros around ``wave`` (and half as many around ``bumps``), so that a window around a candidate at the very end is
whole."""

_LEVEL_WINDOW = 168
_LEVEL_REACH = 4
_FLOOR = np.float32(0.06)
_NEAR = 9
_END = 4
_SPIKE_REACH = 2
_QUIET = np.float32(0.05)


@dataclass(frozen=True, slots=True)
class Front:
    """Leads made ready; ``wave`` and ``bumps`` carry zeros at both ends, the others do not.

    ``wave``: the leads without baseline, about 1 to 30 Hz. ``slope``: their mean slope over 0.1 s. ``level``: what
    beats around here usually reach in slope. ``bumps``: logarithm of slope over level, each second sample.
    """

    wave: Floats
    bumps: Floats
    slope: Floats
    level: Floats


def to_work_rate(ecg: Samples, fs_hz: float) -> tuple[Samples, float]:
    """(samples at about 120 Hz, original samples per working sample), each the mean of what it stands for."""
    step = round(fs_hz / WORK_HZ)
    if step >= 1 and abs(fs_hz / step / WORK_HZ - 1.0) < 0.07:
        if step == 1:
            return ecg, 1.0
        n = ecg.shape[-1] // step * step
        total = ecg[..., 0:n:step] + ecg[..., 1:n:step]
        for k in range(2, step):
            total += ecg[..., k:n:step]
        total *= 1.0 / step
        return total, float(step)
    ratio = fs_hz / WORK_HZ
    n = int(ecg.shape[-1] / ratio)
    edges = np.minimum(np.arange(n + 1) * ratio, ecg.shape[-1])
    whole = edges.astype(np.int64)
    sums = np.zeros((*ecg.shape[:-1], ecg.shape[-1] + 2))
    np.cumsum(ecg - ecg[..., :1], axis=-1, out=sums[..., 1:-1])
    sums[..., -1] = sums[..., -2]
    at = sums[..., whole] + (sums[..., whole + 1] - sums[..., whole]) * (edges - whole)
    return np.diff(at, axis=-1) / ratio + ecg[..., :1], ratio


def box(x: Floats, width: int) -> Floats:
    """Centred sum over ``width`` samples by doubling, ends held; even widths lean to the left by half a sample."""
    n, before, after = x.shape[-1], width // 2, width - 1 - width // 2
    power = np.empty((*x.shape[:-1], n + width - 1), x.dtype)
    power[..., before : before + n] = x
    power[..., :before] = x[..., :1]
    power[..., n + width - 1 - after :] = x[..., -1:]
    total: Floats | None = None
    length, taken = 1, 0
    while True:
        if width & length:
            piece = power[..., taken : taken + n]
            total = piece if total is None else total + piece
            taken += length
        if 2 * length > width:
            break
        power = power[..., :-length] + power[..., length:]
        length *= 2
    assert total is not None
    return total


def rolling(x: Floats, width: int) -> Floats:
    """All windows of ``width`` samples along the last axis, a view."""
    shape = (*x.shape[:-1], x.shape[-1] - width + 1, width)
    view: Floats = np.lib.stride_tricks.as_strided(x, shape, (*x.strides, x.strides[-1]), writeable=False)
    return view


def level_around(slope: Floats) -> Floats:
    """What a beat near each sample of one lead usually reaches: running median over the maxima of 1.4 s windows."""
    width = min(_LEVEL_WINDOW, slope.size)
    whole = slope.size // width
    maxima = slope[: whole * width].reshape(whole, width).max(axis=1)
    maxima[-1] = max(maxima[-1], slope[whole * width :].max(initial=0.0))
    ranked = np.sort(maxima[maxima > 0])
    if ranked.size == 0:
        return np.zeros_like(slope)
    # flat stretches hold no beat and one huge artefact must not make the rest look flat, hence not the maximum
    filled = np.flatnonzero(maxima > 0.05 * ranked[(3 * ranked.size) // 4])
    padded = np.full(filled.size + 2 * _LEVEL_REACH, np.inf, np.float32)
    padded[_LEVEL_REACH:-_LEVEL_REACH] = maxima[filled]
    around = np.sort(rolling(padded, 2 * _LEVEL_REACH + 1), axis=1)
    count = (around < np.inf).sum(axis=1)
    at = np.arange(filled.size)
    medians = 0.5 * (around[at, (count - 1) // 2] + around[at, count // 2])
    nearest = np.minimum(np.searchsorted(filled, np.arange(whole)), filled.size - 1)
    levels = np.empty(slope.size, np.float32)
    levels[: whole * width].reshape(whole, width)[:] = medians[nearest][:, None]
    levels[whole * width :] = medians[nearest[-1]]
    return levels


def without_spikes(work: Samples, ecg: Samples, fs_hz: float, ratio: float) -> Samples:
    """The working samples without pacing spikes: deflections that are back within 4 ms in the samples as they are.

    No QRS is: its narrowest wave takes ten times as long to come and go.
    """
    m, n = work.shape[1], ecg.shape[1]
    if m < 4 * _SPIKE_REACH:
        return work
    bend = work[:, _SPIKE_REACH:-_SPIKE_REACH] * 2.0
    bend -= work[:, : -2 * _SPIKE_REACH]
    bend -= work[:, 2 * _SPIKE_REACH :]
    np.abs(bend, out=bend)
    width = min(_LEVEL_WINDOW, bend.shape[1])
    whole = bend.shape[1] // width
    usual = _median(bend[:, : whole * width].reshape(len(bend), whole, width).max(axis=2))
    row, bent = np.divmod((bend > 0.5 * usual[:, None]).ravel().nonzero()[0], bend.shape[1])
    sharp = bend[row, bent]
    top_of_bend = sharp >= bend[row, np.maximum(bent - 1, 0)]
    top_of_bend &= sharp >= bend[row, np.minimum(bent + 1, bend.shape[1] - 1)]
    k = max(1, int(np.ceil(0.004 * fs_hz)))
    low, wide = ((bent + _SPIKE_REACH - 1) * ratio).astype(np.int64), int(np.ceil(3 * ratio))
    use = np.flatnonzero(top_of_bend & (low >= 3 * k) & (low + wide + 3 * k < n))
    row, low, sharp = row[use], low[use], sharp[use]
    if row.size == 0:
        return work
    span = ecg[row[:, None], low[:, None] + np.arange(wide)]
    top = low + np.argmax(np.abs(span - 0.5 * (span[:, :1] + span[:, -1:])), axis=1)
    rise, fall = ecg[row, top] - ecg[row, top - k], ecg[row, top] - ecg[row, top + k]
    height = np.where(rise * fall > 0, np.minimum(np.abs(rise), np.abs(fall)), 0.0)
    narrow = np.flatnonzero(height > 0.4 * sharp)
    row, top, height = row[narrow], top[narrow], height[narrow]
    around = top[:, None] + np.arange(k, 3 * k + 1)
    calm = np.ptp(ecg[row[:, None], around], axis=1)
    calm = np.maximum(calm, np.ptp(ecg[row[:, None], 2 * top[:, None] - around], axis=1))
    spikes = np.flatnonzero(height > 2.0 * calm)
    if spikes.size == 0:
        return work
    return _mended(work, row[spikes], (top[spikes] - k + 0.5) / ratio, (top[spikes] + k + 0.5) / ratio)


def _median(values: Samples) -> Samples:
    """Median of each row, without what np.median does besides, which shows on short strips."""
    ranked, half = np.sort(values, axis=1), values.shape[1] // 2
    middle: Samples = (ranked[:, (values.shape[1] - 1) // 2] + ranked[:, half]) / 2.0
    return middle


def _mended(work: Samples, rows: Indices, first: Samples, last: Samples) -> Samples:
    mended = work.copy()
    start = np.maximum(first.astype(np.int64), 1)
    stop = np.minimum(last.astype(np.int64), work.shape[1] - 2)
    for row, a, b in zip(rows, start, stop, strict=True):
        mended[row, a : b + 1] = np.linspace(mended[row, a - 1], mended[row, b + 1], b - a + 3)[1:-1]
    return mended


def alive(work: Samples) -> NDArray[np.bool_]:
    """Which leads (n_leads, n) are not flat; a constant with rounding noise on top is flat, whatever its offset."""
    living: NDArray[np.bool_] = np.ptp(work, axis=1) > 2e-9 * np.abs(work[:, :: max(1, work.shape[1] // 64)]).max(
        axis=1
    )
    return living


def prepare(work: Samples, usable: NDArray[np.bool_] | None = None) -> Front:
    """The front end of living leads (n_leads, n) at the working rate; ``usable`` is false where samples are missing."""
    # one factor for each lead brings any gain into the range of float32
    centred = work - work.mean(axis=1, keepdims=True)
    x: Floats = np.empty_like(work, dtype=np.float32)
    np.multiply(centred, 1.0 / np.ptp(work, axis=1)[:, None], out=x, casting="same_kind")
    smooth = box(box(x, 3), 2)
    wave = np.zeros((x.shape[0], x.shape[1] + 2 * PAD), np.float32)
    inner = wave[:, PAD:-PAD]
    np.multiply(box(smooth, 64), np.float32(-1 / 64), out=inner)
    inner += smooth
    steep = np.zeros_like(x)
    np.subtract(smooth[:, 2:], smooth[:, :-2], out=steep[:, 1:-1])
    np.abs(steep, out=steep)
    slope = box(box(steep, 10), 3)
    slope *= np.float32(1 / 30)
    if usable is not None:
        slope[~usable] = 0.0
    level = np.stack([level_around(row) for row in slope]) if len(slope) > 1 else level_around(slope[0])[None]
    bumps = np.zeros((x.shape[0], (x.shape[1] + 1) // 2 + PAD), np.float32)
    half = bumps[:, PAD // 2 : -PAD // 2]
    np.divide(slope[:, ::2], np.maximum(level[:, ::2], np.float32(1e-12)), out=half)
    half *= 1 / _QUIET
    np.log1p(half, out=half)
    return Front(wave, bumps, slope, level)


def candidates(slope: Floats, level: Floats) -> Indices:
    """Every bump of slope that is the largest within 75 ms and reaches a twelfth of a usual beat."""
    rising = slope[1:-1] > slope[:-2]
    rising &= slope[1:-1] >= slope[2:]
    rising &= slope[1:-1] > _FLOOR * level[1:-1]
    # what is cut by an end is not judged
    at = rising[_END:-_END].nonzero()[0] + (1 + _END)
    return at[strongest(at, slope[at], _NEAR)]


def strongest(at: Indices, strength: Floats, apart: int) -> Indices:
    """Positions in ``at`` that are left when, of any two closer than ``apart``, the weaker goes."""
    left = np.arange(at.size)
    while True:
        here = at[left]
        close = (here[1:] - here[:-1] < apart).nonzero()[0]
        if close.size == 0:
            return left
        # a weaker one falls only to a neighbour that no stronger neighbour fells, or a chain would fall together
        power = strength[left]
        before, after = np.full(left.size, -np.inf, np.float32), np.full(left.size, -np.inf, np.float32)
        after[close], before[close + 1] = power[close + 1], power[close]
        wins = (power >= after) & (power > before)
        fallen = np.zeros(left.size, bool)
        fallen[close + 1] = wins[close]
        fallen[close] |= wins[close + 1]
        left = left[~fallen]

"""QRS detection: one pure function, samples in, R-peak indices out.

Candidates are bumps of slope at 120 Hz (slope and moving window as in Pan and Tompkins,
doi:10.1109/TBME.1985.325532, but any bump counts, however small); two small networks judge them. The first looks at
each candidate alone, the second beside the beats that the first found around it, so that rhythm and likeness decide
what shape leaves open. Deviations from the usual threshold detectors, all because the whole record is at hand:

- nothing is adaptive in time: each stretch is judged with 15 s of context on both sides, so a recording may be cut,
  joined or 24 h long and its beats stay;
- all that is looked at is a ratio and free of sign: neither gain nor polarity matters;
- several leads are weighted by how far their beats stand out; each is judged alone and the logits are averaged;
- pacing spikes are sought in the samples as they are, before anything smooths them, and taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg import qrs_judge as judge
from teleread.signal.ecg.filters import Samples, bridge_gaps
from teleread.signal.ecg.qrs_front import (
    PAD,
    WORK_HZ,
    Floats,
    Front,
    Indices,
    candidates,
    level_around,
    prepare,
    to_work_rate,
    without_spikes,
)

MIN_FS_HZ = 50.0
"""Below this the QRS is not in the samples; nothing is detected."""

_MIN_S = 0.5
_BLOCK_S = 900.0
_MARGIN_S = 15.0
_INNER = 14
_LOCATE = 10


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
    x = np.asarray(ecg_mv, dtype=np.float64)
    if x.ndim not in (1, 2):
        raise ValueError("ecg_mv must be (n,) or (n_leads, n)")
    if not (np.isfinite(fs_hz) and fs_hz > 0):
        raise ValueError("fs_hz must be a positive number")
    x = np.atleast_2d(x)
    nothing = np.empty(0, dtype=np.int64)
    if x.shape[0] == 0 or x.shape[1] < _MIN_S * fs_hz or fs_hz < MIN_FS_HZ:
        return nothing
    found = [_beats(x[:, low:high], fs_hz, start - low, stop - low) + low for low, start, stop, high in _blocks(x, fs_hz)]
    beats = np.concatenate(found)
    if beats.size > 1:
        # the same beat can be placed differently by the two blocks that share a border
        beats = beats[np.concatenate(([True], np.diff(beats) >= 0.15 * fs_hz))]
    return beats


def _blocks(x: Samples, fs_hz: float) -> Iterator[tuple[int, int, int, int]]:
    """(low, start, stop, high): decide for [start, stop), look at [low, high)."""
    n, length, margin = x.shape[1], round(_BLOCK_S * fs_hz), round(_MARGIN_S * fs_hz)
    count = max(1, round(n / length))
    edges = np.linspace(0, n, count + 1).astype(int)
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        yield max(0, start - margin), start, stop, min(n, stop + margin)


@dataclass(frozen=True, slots=True)
class _Lead:
    """A lead that is alive: its front end, its row, how much its word weighs, and its usual slope."""

    front: Front
    row: int
    weight: np.float32
    usual: np.float32


def _beats(x: Samples, fs_hz: float, start: int, stop: int) -> Indices:
    """R peaks of one block that lie in [start, stop)."""
    leads, ratio = _leads(x, fs_hz)
    if not leads:
        return np.empty(0, dtype=np.int64)
    slope, level = _together(leads)
    at = candidates(slope, level)
    logits = _judged(leads, slope, at)
    likely = np.flatnonzero(logits > 0.0)
    kept = likely[judge.strongest(at[likely], logits[likely], judge.REFRACTORY)]
    peaks = _locate(x, leads, at[kept], ratio, fs_hz)
    return peaks[(peaks >= start) & (peaks < stop)]


def _leads(x: Samples, fs_hz: float) -> tuple[list[_Lead], float]:
    """The leads that are not flat throughout, and original samples per working sample."""
    fronts, ratio = [], 1.0
    for row, lead in enumerate(x):
        usable = None
        if not np.isfinite(lead.sum()):
            present = np.isfinite(lead)
            if not present.any():
                continue
            gaps, _ = to_work_rate(present.astype(np.float64), fs_hz)
            usable, lead = gaps > 0.999, bridge_gaps(lead)
        work, ratio = to_work_rate(lead, fs_hz)
        front = prepare(without_spikes(work, lead, fs_hz, ratio), usable)
        if front is not None and front.level[0] > 0:
            fronts.append((row, front))
    if len(fronts) == 1:
        row, front = fronts[0]
        return [_Lead(front, row, np.float32(1), np.float32(1))], ratio
    usual = [np.float32(np.median(front.level[::8])) for _, front in fronts]
    rest = [np.float32(np.median(front.slope[::4])) for _, front in fronts]
    stands_out = np.array([min(u / max(r, u * 0.05), 20.0) for u, r in zip(usual, rest, strict=True)])
    weight = np.maximum(stands_out - 1.0, 0.05) ** 2
    weight = (weight / weight.sum()).astype(np.float32) if weight.size else weight
    return [_Lead(f, row, w, u) for (row, f), w, u in zip(fronts, weight, usual, strict=True)], ratio


def _together(leads: list[_Lead]) -> tuple[Floats, Floats]:
    """Slope of all leads, each in units of its usual beat, and the level of that."""
    if len(leads) == 1:
        return leads[0].front.slope, leads[0].front.level
    slope = np.zeros_like(leads[0].front.slope)
    for lead in leads:
        slope += lead.front.slope * (lead.weight / lead.usual)
    return slope, level_around(slope)


def _judged(leads: list[_Lead], slope: Floats, at: Indices) -> Floats:
    """Logit of each candidate after both networks."""
    first, second = judge.networks()
    n = at.size
    weights = np.array([lead.weight for lead in leads], np.float32)
    windows = _stacked([judge.windows(lead.front, at) for lead in leads])
    scale = _stacked([judge.first_scale(lead.front, at) for lead in leads])
    bumps = _stacked([judge.bumps(lead.front, at) for lead in leads])
    logits = weights @ first(windows, scale, bumps).reshape(len(leads), n)
    kept = np.flatnonzero(logits > judge.HOPELESS)
    final = np.full(n, judge.HOPELESS, np.float32)
    if kept.size == 0:
        return final
    shapes = windows.reshape(len(leads), n, -1)[:, kept]
    near = shapes[:, :, judge.REACH - _INNER : judge.REACH + _INNER + 1]
    if len(leads) == 1:
        inner = np.ascontiguousarray(near[0])
    else:
        share = np.array([np.sqrt(lead.weight) / lead.usual for lead in leads], np.float32)
        inner = np.concatenate(list(near * share[:, None, None]), axis=1)
    around = judge.context(at[kept], logits[kept], slope[at[kept]], inner)
    scale = judge.second_scale(around.usual, slope[at[kept]])
    own = np.array([1 / lead.usual for lead in leads], np.float32)[:, None] * scale
    others = _stacked([around.others] * len(leads))
    judged = second(shapes.reshape(len(leads) * kept.size, -1), own.ravel(), others)
    final[kept] = weights @ judged.reshape(len(leads), -1)
    return final


def _stacked(parts: list[Floats]) -> Floats:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _locate(x: Samples, leads: list[_Lead], beats: Indices, ratio: float, fs_hz: float) -> Indices:
    """The largest deflection near each candidate, at the working rate and then in the samples themselves."""
    if beats.size == 0:
        return beats
    around = beats[:, None] + np.arange(PAD - _LOCATE - 1, PAD + _LOCATE)
    magnitude = np.zeros(around.shape, np.float32)
    for lead in leads:
        magnitude += lead.weight * np.square(lead.front.wave[around] / lead.usual)
    peak = around[np.arange(beats.size), np.argmax(magnitude, axis=1)]
    heights = np.zeros((beats.size, 3), np.float32)
    for lead in leads:
        heights += lead.weight * np.square(lead.front.wave[peak[:, None] + np.arange(-1, 2)] / lead.usual)
    left, middle, right = np.sqrt(heights).T.astype(np.float64)
    bend = left - 2.0 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
    # a working sample is the mean of `ratio` samples; the smoothing leans by half a working sample
    exact = (peak - PAD + np.clip(shift, -0.5, 0.5)) * ratio - 0.5
    return np.unique(np.clip(np.rint(exact), 0, x.shape[1] - 1).astype(np.int64))

"""The shape of each beat: cut out, aligned, grouped, and compared with the patient's usual beat.

Everything is done in blocks of some hundred beats at about 250 Hz, so that a day needs no more memory than minutes.
A shape is compared over all leads together; leads far smaller than the others have no vote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples, bridge_gaps

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

WORK_FS_HZ = 250.0
BLOCK_BEATS = 400
BLOCK_S = 600.0

QRS_REACH_S = (0.12, 0.16)
PR_REACH_S = 0.31
T_REACH_S = 0.42
_MARGIN_S = 0.6
_SHIFTS = 2
_SEEDS = 48
_ALIKE = 0.88
_MOST_GROUPS = 6
_QUIET = 4
_PREFERRED = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A stretch of the recording at the working rate.

    Args:
        signals_mv: (n_leads, n), gaps bridged.
        fs_hz: the working rate.
        r: beats of this block, in working samples of ``signals_mv``.
        first: index of the block's first beat among all beats.
    """

    signals_mv: Samples
    fs_hz: float
    r: Indices
    first: int


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """What was seen of the beats of one block; arrays have one entry per beat.

    ``group`` numbers groups of like beats, 0 the usual one, -1 alike to none. ``onset`` and ``offset`` bound the usual
    QRS in working samples from its centre. ``match`` is the correlation with the usual beat.
    """

    centre: Indices
    group: Indices
    match: Samples
    width_s: Samples
    spread_s: Samples
    size: Samples
    t_match: Samples
    onset: int
    offset: int
    usual: Samples
    weights: Samples


def chosen_leads(leads: tuple[str, ...], signals_mv: Samples) -> list[int]:
    """Rows worth looking at: the independent ones of the twelve leads when they are there, else up to eight others."""
    wanted = [i for i, lead in enumerate(leads) if lead in _PREFERRED]
    rows = wanted if len(wanted) >= 2 else list(range(len(leads)))[:8]
    return [i for i in rows if i < signals_mv.shape[0]]


def blocks(signals_mv: Samples, fs_hz: float, rows: list[int], r_peaks: Indices) -> Iterator[Block]:
    """The recording in blocks of at most ``BLOCK_BEATS`` beats and ``BLOCK_S`` seconds."""
    step = max(1, round(fs_hz / WORK_FS_HZ))
    margin = int(_MARGIN_S * fs_hz)
    start = 0
    while start < r_peaks.size:
        stop = min(start + BLOCK_BEATS, r_peaks.size)
        stop = max(start + 1, int(np.searchsorted(r_peaks[:stop], r_peaks[start] + BLOCK_S * fs_hz)))
        lo = max(0, int(r_peaks[start]) - margin) // step * step
        hi = min(signals_mv.shape[1], int(r_peaks[stop - 1]) + margin)
        yield Block(
            decimated(signals_mv[rows, lo:hi] if len(rows) < signals_mv.shape[0] else signals_mv[:, lo:hi], step),
            fs_hz / step,
            (r_peaks[start:stop] - lo) // step,
            start,
        )
        start = stop


def decimated(signals_mv: Samples, step: int) -> Samples:
    """Means of ``step`` samples, gaps bridged; the last few samples that fill no step are left out."""
    whole = bridge_gaps(signals_mv)
    if step == 1 or whole.shape[1] < step:
        return whole
    n = whole.shape[1] // step * step
    mean: Samples = whole[:, :n:step].copy()
    for k in range(1, step):
        mean += whole[:, k:n:step]
    mean /= step
    return mean


def cut(signals_mv: Samples, centres: Indices, offsets: Indices) -> Samples:
    """Windows (beats, leads, len(offsets)) around the centres; beyond the ends the last sample is repeated."""
    where = np.minimum(np.maximum(centres[:, None] + offsets[None, :], 0), signals_mv.shape[1] - 1)
    windows: Samples = signals_mv[:, where].transpose(1, 0, 2)
    return windows


def describe(block: Block) -> Shapes:
    """Aligns, groups and measures the beats of a block."""
    fs = block.fs_hz
    lo, hi = round(QRS_REACH_S[0] * fs), round(QRS_REACH_S[1] * fs)
    reach = np.arange(-lo, hi + 1)
    centre = _centred(block.signals_mv, block.r, reach, fs)
    wide = cut(block.signals_mv, centre, np.arange(-lo - _SHIFTS, hi + _SHIFTS + 1))
    height = np.median(np.ptp(wide, axis=2), axis=0)
    weights = _lead_weights(height)
    wide = wide * weights[None, :, None]
    middle = wide[:, :, _SHIFTS : wide.shape[2] - _SHIFTS]
    flat = _unit(middle.reshape(middle.shape[0], -1), middle.shape[1])
    speed = _speed(middle)
    spread = _spread(speed) / fs
    width = _extent(speed, fs)
    group, usual, match = _grouped(flat, wide, spread, block.r)
    usual_speed = _speed(usual.reshape(1, middle.shape[1], -1))
    on, off = _bounds(usual_speed[0])
    t_lo = min(hi + 1, off - lo + round(0.03 * fs))
    t_part = cut(block.signals_mv, centre, np.arange(t_lo, round(T_REACH_S * fs))) * weights[None, :, None]
    t_part = _unit(t_part.reshape(t_part.shape[0], -1), t_part.shape[1])
    t_usual = t_part[group == 0].mean(axis=0) if (group == 0).any() else t_part.mean(axis=0)
    norm = float(np.linalg.norm(t_usual))
    size = np.sqrt((middle - middle.mean(axis=2, keepdims=True)).reshape(middle.shape[0], -1).var(axis=1))
    own = float(np.median(size[group == 0])) if (group == 0).any() else float(np.median(size))
    return Shapes(
        centre=centre,
        group=group,
        match=match,
        width_s=width,
        spread_s=spread,
        size=size / own if own > 0 else np.ones_like(size),
        t_match=t_part @ t_usual / norm if norm > 0 else np.zeros(size.shape),
        onset=on - lo,
        offset=off - lo,
        usual=usual,
        weights=weights,
    )


def _lead_weights(height: Samples) -> Samples:
    """Leads count by the root of their size; one twenty times smaller than the largest is dead."""
    top = float(height.max(initial=0.0))
    if top <= 0:
        return np.ones_like(height)
    return np.where(height > 0.05 * top, 1.0 / np.sqrt(np.maximum(height, 1e-12) * top), 0.0)


def _centred(x: Samples, r: Indices, reach: Indices, fs: float) -> Indices:
    """The centre of the QRS slope energy, which does not hang on which deflection was called the R peak."""
    slope = np.diff(cut(x, r, np.append(reach, reach[-1] + 1)), axis=2)
    scale = np.median(np.ptp(slope, axis=2), axis=0)
    scale = np.where(scale > 0.05 * max(float(scale.max(initial=0.0)), 1e-12), scale, np.inf)
    energy = ((slope / scale[None, :, None]) ** 2).sum(axis=1)
    # far from the peak only a T wave or a spike could pull
    energy = energy * np.exp(-0.5 * (reach / (0.06 * fs)) ** 2)[None, :]
    total = energy.sum(axis=1)
    shift = np.where(total > 0, (energy * reach).sum(axis=1) / np.where(total > 0, total, 1.0), 0.0)
    return np.clip(r + np.rint(shift).astype(np.int64), 0, x.shape[1] - 1)


def _unit(flat: Samples, n_leads: int) -> Samples:
    """Rows without each lead's mean, of length one (zero rows stay zero)."""
    shaped = flat.reshape(flat.shape[0], n_leads, -1)
    shaped = shaped - shaped.mean(axis=2, keepdims=True)
    rows = shaped.reshape(flat.shape[0], -1)
    norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    unit: Samples = rows / np.where(norm > 0, norm, 1.0)[:, None]
    return unit


def _speed(windows: Samples) -> Samples:
    """Length of the step between samples over all leads, smoothed over three: (beats, m - 1)."""
    slope = np.diff(windows, axis=2)
    speed = np.sqrt(np.einsum("blm,blm->bm", slope, slope))
    smooth: Samples = speed.copy()
    smooth[:, 1:-1] = (speed[:, :-2] + speed[:, 1:-1] + speed[:, 2:]) / 3.0
    return smooth


def _spread(speed: Samples) -> Samples:
    """Standard deviation in time of the squared speed, in samples: width without any threshold."""
    energy = speed * speed
    t = np.arange(speed.shape[1])
    total = np.maximum(energy.sum(axis=1), 1e-30)
    mean = (energy @ t) / total
    spread: Samples = np.sqrt(np.maximum((energy @ (t * t)) / total - mean * mean, 0.0))
    return spread


def _extent(speed: Samples, fs: float) -> Samples:
    """Time during which the speed exceeds a seventh of its top, from first to last, in seconds."""
    over = speed > speed.max(axis=1, keepdims=True) / 7.0
    first = over.argmax(axis=1)
    last = over.shape[1] - 1 - over[:, ::-1].argmax(axis=1)
    return np.asarray((last - first + 1) / fs, dtype=np.float64)


def _bounds(speed: Samples) -> tuple[int, int]:
    """First and last sample of the QRS by speed, in samples of the window."""
    if speed.max(initial=0.0) <= 0:
        return 0, speed.size
    return quiet_around(speed, speed.max() / 10.0, _QUIET)


def quiet_around(speed: Samples, limit: float, quiet: int) -> tuple[int, int]:
    """From the top of the speed outwards to where it stays below the limit for ``quiet`` samples: a T wave beyond is
    not reached. First sample, and one after the last."""
    top = int(np.argmax(speed))
    # how many of the last samples are over the limit; before the window there is nothing
    over = np.convolve(speed > limit, np.ones(quiet))[: speed.size]
    calm = over == 0
    after = np.flatnonzero(calm[top:])
    before = np.flatnonzero(calm[:top])
    off = top + int(after[0]) - quiet + 1 if after.size else speed.size
    on = int(before[-1]) + 1 if before.size else 0
    return on, max(off, on + 1)


def _best_match(wide: Samples, template: Samples) -> Samples:
    """Highest correlation of each window with the template over a few shifts."""
    m = wide.shape[2] - 2 * _SHIFTS
    best = np.full(wide.shape[0], -1.0)
    for k in range(2 * _SHIFTS + 1):
        part = wide[:, :, k : k + m]
        best = np.maximum(best, _unit(part.reshape(part.shape[0], -1), part.shape[1]) @ template)
    return best


def _grouped(flat: Samples, wide: Samples, spread: Samples, r: Indices) -> tuple[Indices, Samples, Samples]:
    """Groups of like beats around seeds; the unit mean of group 0, the patient's usual beat, and the match with it.

    The usual beat is frequent; of two frequent ones (bigeminy) it is the narrower and the less premature.
    """
    n = flat.shape[0]
    seeds = np.arange(n) if n <= _SEEDS else np.linspace(0, n - 1, _SEEDS).astype(np.int64)
    alike = flat[seeds] @ flat[seeds].T > _ALIKE
    left = np.ones(seeds.size, dtype=bool)
    means: list[Samples] = []
    while left.any() and len(means) < _MOST_GROUPS:
        counts = (alike & left[None, :]).sum(axis=1) * left
        best = int(np.argmax(counts))
        members = alike[best] & left
        # a beat without any shape is not even like itself
        members[best] = True
        mean = flat[seeds[members]].mean(axis=0)
        means.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
        left &= ~members
    scores = np.stack([_best_match(wide, mean) for mean in means], axis=1)
    group = np.where(scores.max(axis=1) > _ALIKE - 0.08, scores.argmax(axis=1), -1).astype(np.int64)
    order = _order(group, len(means), spread, r)
    renamed = np.full(len(means) + 1, -1, dtype=np.int64)
    renamed[order] = np.arange(len(means))
    return renamed[group], means[order[0]], scores[:, order[0]]


def _order(group: Indices, count: int, spread: Samples, r: Indices) -> list[int]:
    rr = np.diff(r, prepend=r[:1]).astype(np.float64)
    usual_rr = float(np.median(rr[1:])) if r.size > 1 else 1.0
    score = []
    for k in range(count):
        members = group == k
        share = float(members.mean())
        if share == 0:
            score.append(-1.0)
            continue
        early = float(np.median(rr[members][-max(1, int(members.sum())) :])) < 0.85 * usual_rr
        score.append(share * (0.5 if early else 1.0) * (0.02 / max(float(np.median(spread[members])), 0.012)))
    return [int(i) for i in np.argsort(-np.asarray(score), kind="stable")]

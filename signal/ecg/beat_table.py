"""All that is known of each beat, one row per beat, gathered block by block in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from teleread.signal.ecg.beat_shapes import Indices, Mask, Shapes, blocks, chosen_leads, describe
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.irregularity import quantiles, rr_features, windows_around
from teleread.signal.ecg.p_evidence import PEvidence, p_evidence

_ALIKE = 0.8
_LONGEST_RR_S = 10.0
_RATE_REACH = 10
_P_REACHES = (4, 12)


@dataclass(frozen=True, slots=True, eq=False)
class BeatTable:
    """Arrays with one entry per beat. ``rr_s`` is the interval before, NaN where it is unknown; ``usual_*`` is the
    usual beat of the block the beat lies in; ``p`` holds the columns of ``PEvidence``."""

    r_s: Samples
    rr_s: Samples
    group: Indices
    match: Samples
    width_s: Samples
    spread_s: Samples
    size: Samples
    t_match: Samples
    share: Samples
    usual_width_s: Samples
    usual_spread_s: Samples
    p: Samples

    @property
    def alike(self) -> Mask:
        """Beats of the usual shape, or near it."""
        return np.asarray((self.group == 0) | (self.match > _ALIKE), dtype=np.bool_)

    @property
    def usual_rr_s(self) -> Samples:
        """Median interval around each beat, 0.8 s where nothing is known."""
        return local_median(self.rr_s, _RATE_REACH, otherwise=0.8)


def beat_table(signals_mv: Samples, fs_hz: float, leads: tuple[str, ...], r_peaks: Indices) -> BeatTable:
    """Measures every beat. Intervals across a gap in all leads, or over 10 s, are unknown."""
    rows = chosen_leads(leads, signals_mv)
    shape_rows: list[Samples] = []
    p_rows: list[Samples] = []
    for block in blocks(signals_mv, fs_hz, rows, r_peaks):
        shapes = describe(block)
        shape_rows.append(_shape_columns(shapes, block.fs_hz))
        p_rows.append(_p_columns(p_evidence(block, shapes, shapes.group == 0)))
    table = np.concatenate(shape_rows) if shape_rows else np.empty((0, 9))
    rr = np.diff(r_peaks, prepend=r_peaks[:1]) / fs_hz
    rr = np.where(_broken(signals_mv, rows, r_peaks, fs_hz) | (rr > _LONGEST_RR_S) | (rr <= 0), np.nan, rr)
    return BeatTable(
        r_peaks / fs_hz,
        rr,
        table[:, 0].astype(np.int64),
        table[:, 1],
        table[:, 2],
        table[:, 3],
        table[:, 4],
        table[:, 5],
        table[:, 6],
        table[:, 7],
        table[:, 8],
        np.concatenate(p_rows) if p_rows else np.empty((0, 8)),
    )


def _shape_columns(shapes: Shapes, fs_hz: float) -> Samples:
    n = shapes.group.size
    counts = np.bincount(shapes.group + 1, minlength=2)
    usual = shapes.group == 0
    spread = float(np.median(shapes.spread_s[usual])) if usual.any() else float(np.median(shapes.spread_s))
    return np.stack(
        [
            shapes.group.astype(np.float64),
            shapes.match,
            shapes.width_s,
            shapes.spread_s,
            shapes.size,
            shapes.t_match,
            counts[shapes.group + 1] / n,
            np.full(n, (shapes.offset - shapes.onset) / fs_hz),
            np.full(n, spread),
        ],
        axis=1,
    )


def _p_columns(p: PEvidence) -> Samples:
    return np.stack([p.match, p.shared, p.shared_best, p.height, p.residue, p.slow, p.bump, p.bump_at_s], axis=1)


def _broken(signals_mv: Samples, rows: list[int], r_peaks: Indices, fs_hz: float) -> Mask:
    """Whether some 0.1 s before a beat, since the one before, have no sample in any lead."""
    broken = np.zeros(r_peaks.size, dtype=np.bool_)
    if r_peaks.size == 0:
        return broken
    broken[0] = True
    # one sample in some 20 ms is looked at: a gap that matters is longer
    step = max(1, round(0.02 * fs_hz))
    missing = ~np.isfinite(signals_mv[rows, ::step]).any(axis=0)
    if missing.any():
        total = np.concatenate(([0], np.cumsum(missing)))
        at = np.minimum(r_peaks // step, missing.size)
        broken[1:] = np.diff(total[at]) * step > 0.1 * fs_hz
    return broken


def local_median(values: Samples, reach: int, *, otherwise: float) -> Samples:
    """Median of the known values within ``reach`` entries."""
    if values.size == 0:
        return values
    median = quantiles(windows_around(values, reach), (0.5,))[:, 0]
    return np.where(median > 0, median, otherwise)


@lru_cache(maxsize=32)
def _limits(n: int, reach: int) -> tuple[Indices, Indices]:
    at = np.arange(n)
    return np.maximum(at - reach, 0), np.minimum(at + reach + 1, n)


def local_mean(values: Samples, weight: Samples, reach: int) -> Samples:
    """Weighted mean of rows within ``reach`` entries; values (n,) or (n, k)."""
    n = values.shape[0]
    if n == 0:
        return values
    shaped = values.reshape(n, -1) * weight[:, None]
    total = np.concatenate((np.zeros((1, shaped.shape[1])), np.cumsum(shaped, axis=0)))
    number = np.concatenate(([0.0], np.cumsum(weight)))
    lo, hi = _limits(n, reach)
    mean = (total[hi] - total[lo]) / (number[hi] - number[lo] + 1e-6)[:, None]
    return np.asarray(mean.reshape(values.shape), dtype=np.float64)


def beat_features(table: BeatTable) -> Samples:
    """What tells a normal beat from an early and a ventricular one, (beats, 16)."""
    usual = table.usual_rr_s
    before = np.where(np.isfinite(table.rr_s), np.clip(table.rr_s / usual, 0.2, 2.5), 1.0)
    after_s = np.append(table.rr_s[1:], np.nan)[: table.rr_s.size]
    after = np.where(np.isfinite(after_s), np.clip(after_s / usual, 0.2, 2.5), 1.0)
    tiny = 1e-3
    return np.stack(
        [
            table.match,
            np.log(table.width_s + tiny),
            np.log(table.spread_s + tiny),
            np.log((table.spread_s + tiny) / (table.usual_spread_s + tiny)),
            np.log(np.clip(table.size, 0.05, 20.0)),
            table.t_match,
            before,
            after,
            before / after,
            table.p[:, 0],
            table.p[:, 1],
            table.p[:, 2],
            table.share,
            table.usual_width_s,
            (table.group == 0).astype(np.float64),
            np.log(usual),
        ],
        axis=1,
    )


def fibrillation_features(table: BeatTable) -> Samples:
    """What tells atrial fibrillation from the rest: irregularity, then P evidence around each beat, (beats, 33)."""
    alike = table.alike
    use = alike.astype(np.float64)
    p = table.p[:, :6].copy()
    p[:, 3] = np.log(p[:, 3] + 0.003)
    p[:, 4] = np.log(p[:, 4] + 0.003)
    around = [local_mean(p, use, reach) for reach in _P_REACHES]
    return np.concatenate([rr_features(table.rr_s, alike), *around, np.log(table.usual_rr_s)[:, None]], axis=1)

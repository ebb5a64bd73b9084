"""Where samples are missing, and where they cannot be meant: nothing is measured or named there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples, run_lengths

IMPOSSIBLE_MV = 1e5
"""No amplifier gives as much: such samples are a damaged file and count as missing."""

LEAST_GAP_S = 0.5
"""Shorter dropouts hide no beat's whole course and break no span."""


def possible(signals_mv: Samples) -> Samples:
    """The samples with impossible ones as NaN; the same array when there are none."""
    wild = [i for i, row in enumerate(signals_mv) if _wild(row)]
    if not wild:
        return signals_mv
    signals = signals_mv.copy()
    for i in wild:
        row = signals[i]
        row[~((row >= -IMPOSSIBLE_MV) & (row <= IMPOSSIBLE_MV))] = np.nan
    return signals


def _wild(row: Samples) -> bool:
    # reductions that pass over NaN and need no memory of the row's size
    lowest, highest = np.fmin.reduce(row, initial=0.0), np.fmax.reduce(row, initial=0.0)
    return bool(lowest < -IMPOSSIBLE_MV or highest > IMPOSSIBLE_MV)


def present(signals_mv: Samples) -> NDArray[np.bool_]:
    """Where at least one lead has a sample; row by row, because a long recording fills the memory by itself."""
    found = np.zeros(signals_mv.shape[1], dtype=np.bool_)
    for row in signals_mv:
        found |= np.isfinite(row)
    return found


def missing_spans(signals_mv: Samples, fs_hz: float, rows: Sequence[int]) -> list[tuple[float, float]]:
    """Stretches in s, of at least ``LEAST_GAP_S``, in which none of the rows has a sample."""
    there = present(signals_mv[list(rows)])
    if there.all():
        return []
    starts, stops = run_lengths(~there)
    return [
        (float(a / fs_hz), float(b / fs_hz)) for a, b in zip(starts, stops, strict=True) if b - a >= LEAST_GAP_S * fs_hz
    ]


def between(start: float, end: float, gaps: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of a span when the gaps are cut out of it."""
    left: list[tuple[float, float]] = []
    for a, b in sorted(gaps):
        if b <= start or a >= end:
            continue
        if a > start:
            left.append((start, a))
        start = b
    return [*left, (start, end)] if end > start else left

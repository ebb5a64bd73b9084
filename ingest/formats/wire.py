"""Numbers as writers put them into text: plain decimals, and the step in which samples are whole numbers."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

_FINEST_MV = 1e-6
_EXACT = 1e-3
_ORIGIN_PLACES = 10
_COMMON_MV = (0.005, 0.0025, 0.00125, 0.001, 0.00488, 0.00244, 0.0005, 0.00025, 0.0001, 0.00005, 0.00001)


def plain(value: float) -> str:
    """The shortest decimal that reads back as the same float, without an exponent."""
    text = format(Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def step_of(samples_mv: NDArray[np.float64]) -> tuple[float, float]:
    """(origin, step) in millivolts so that ``origin + step * n`` with whole ``n`` gives the samples.

    The step is the coarsest in which the samples are whole numbers; a nanovolt where there is none.
    """
    levels = np.unique(samples_mv[np.isfinite(samples_mv)])
    if not levels.size:
        return 0.0, _COMMON_MV[0]
    apart = np.diff(levels)
    smallest = float(apart[apart > _FINEST_MV / 10].min(initial=np.inf))
    for step in (*(_tidy(smallest / k) for k in (1, 2, 3, 4)), *_COMMON_MV):
        if not _FINEST_MV <= step < 1e3:
            continue
        for origin in (0.0, round(float(levels[0]), _ORIGIN_PLACES)):
            if _whole((levels - origin) / step):
                return origin, step
    return 0.0, _FINEST_MV


def _tidy(step: float) -> float:
    """A step found as a difference of floats, without their rounding."""
    return float(f"{step:.9g}") if np.isfinite(step) else 0.0


def _whole(counts: NDArray[np.float64]) -> bool:
    return bool(np.abs(counts).max() < 2**31 and np.abs(counts - np.rint(counts)).max() < _EXACT)

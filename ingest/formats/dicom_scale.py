"""In what steps a lead is stored: those it came in where they can be told, so that nothing is rounded twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LOOK = 20_000
_COMMON_UV = 1.0
_LEAST = 1e-9  # of the values' own unit
_LEVELS = {16: (1 << 15) - 2, 32: (1 << 31) - 2}

Samples = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Steps:
    """Value = ``stored * step + baseline`` in the unit of the values."""

    step: float
    baseline: float
    bits: int

    def stored(self, values: Samples) -> NDArray[np.int64]:
        """Whole steps; the lowest number of ``bits`` bits where there is no sample."""
        whole = np.rint((np.nan_to_num(values) - self.baseline) / self.step)
        return np.where(np.isfinite(values), whole, -float(1 << (self.bits - 1))).astype(np.int64)


def steps_of(values: Samples, common: float = _COMMON_UV) -> Steps:
    """The steps of ``values``, else of ``common`` size; 32 bits where 16 cannot hold them.

    Args:
        values: in a unit in which ``common`` is fine enough (µV).
    """
    there = values[np.isfinite(values)]
    if there.size == 0:
        return Steps(common, 0.0, 16)
    own = _own_steps(there)
    for step, baseline in [own, (common, 0.0)] if own else [(common, 0.0)]:
        largest = float(np.abs(there - baseline).max()) / step
        for bits in (16, 32):
            if largest < _LEVELS[bits] and (bits == 16 or step >= common or own):
                return Steps(step, baseline, bits)
    step = _plain(float(np.abs(there).max()) / _LEVELS[32] * 1.01)
    return Steps(step, 0.0, 32)


def _own_steps(there: Samples) -> tuple[float, float] | None:
    """(step, baseline) when all values lie on a grid that sixteen characters can state, None when they do not."""
    levels = np.unique(there[:_LOOK])
    if levels.size == 1 and float(levels[0]) == float(there.min()) == float(there.max()):
        return _COMMON_UV, _plain(float(levels[0]))  # a flat lead is where it is
    if levels.size < 3:
        return None
    gaps = np.diff(levels)
    gaps = gaps[gaps > _LEAST]
    if gaps.size == 0:
        return None
    step = float(gaps.min())
    # the smallest gap carries the rounding of two values; the whole span tells the step far better
    span = float(levels[-1] - levels[0])
    step = _plain(span / round(span / step))
    baseline = float(there[0] - round(float(there[0]) / step) * step)
    baseline = 0.0 if abs(baseline) < 1e-6 * step else _plain(baseline)
    off = (there - baseline) / step
    return (step, baseline) if float(np.abs(off - np.rint(off)).max()) < 0.01 else None


def _plain(value: float) -> float:
    """The nearest number that a decimal string of sixteen characters holds."""
    return float(decimal_string(value))


def decimal_string(value: float) -> str:
    """At most sixteen characters (PS3.5 6.2, DS), as exact as they allow."""
    for digits in range(16, 4, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.5g}"[:16]

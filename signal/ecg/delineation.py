"""Where the waves of each beat begin, peak and end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

ABSENT = -1
"""In place of a sample index: there is no such wave, or it cannot be told."""


@dataclass(frozen=True, slots=True, eq=False)
class Delineation:
    """Sample indices, int64, one entry per beat in each array; ``ABSENT`` (-1) where a wave is absent.

    For one lead they are that lead's; for several they are global: the earliest onset and the latest end in any lead.
    ``t_off`` is the end of T proper: a U wave is not part of it.
    """

    r_peaks: Indices
    p_on: Indices
    p_peak: Indices
    p_off: Indices
    qrs_on: Indices
    qrs_off: Indices
    t_on: Indices
    t_peak: Indices
    t_off: Indices

    def __post_init__(self) -> None:
        names = ("p_on", "p_peak", "p_off", "qrs_on", "qrs_off", "t_on", "t_peak", "t_off")
        if any(getattr(self, name).shape != self.r_peaks.shape for name in names):
            raise ValueError("one entry per beat in each array")

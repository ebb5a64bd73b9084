"""What a page may show of a recording: as stored, or through one of our filters. Pure.

A day is looked at in parts (``filters.blocks``): a part filtered by itself is sample for sample what filtering the
whole gives, so that a page shows what was measured.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import (
    DIAGNOSTIC_BAND_HZ,
    AppliedFilters,
    Filtered,
    diagnostic,
    monitoring,
    without_wander,
)

View = Literal["diagnostic", "monitor", "baseline", "raw"]
VIEWS: tuple[View, ...] = get_args(View)
"""``diagnostic``: the band for measurements; ``monitor``: 0.5 to 40 Hz, for rhythm; ``baseline``: only wander is taken
off; ``raw``: as stored."""


def look(
    ecg_mv: NDArray[np.floating],
    fs_hz: float,
    view: View,
    *,
    child: bool = False,
    mains_hz: float | None = None,
    r_peaks: NDArray[np.integer] | None = None,
) -> Filtered:
    """The samples (n_leads, n) in one view, NaN where they were missing; arguments as ``filters.diagnostic`` has them.

    Raises:
        ValueError: an unknown view.
    """
    if view == "diagnostic":
        return diagnostic(ecg_mv, fs_hz, child=child, mains_hz=mains_hz, r_peaks=r_peaks)
    if view == "monitor":
        return monitoring(ecg_mv, fs_hz, mains_hz=mains_hz)
    if view == "baseline":
        return without_wander(ecg_mv, fs_hz, r_peaks=r_peaks)
    if view == "raw":
        return Filtered(np.asarray(ecg_mv, dtype=np.float64), AppliedFilters(None, None, None, baseline_removed=False))
    raise ValueError(f"view must be one of {', '.join(VIEWS)}")


def st_may_be_read(applied: AppliedFilters) -> bool:
    """Whether a display filter leaves ST readable: not one that is narrower than 0.05 to 150 Hz.

    AHA/ACC/HRS 2007, doi:10.1161/CIRCULATIONAHA.106.180200. What the device did before is another question.
    """
    low_hz, high_hz = DIAGNOSTIC_BAND_HZ
    slow = applied.high_pass_hz is None or applied.high_pass_hz <= low_hz
    return slow and (applied.low_pass_hz is None or applied.low_pass_hz >= high_hz)

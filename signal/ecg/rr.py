"""RR intervals: which distances between beats are intervals of a rhythm."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples

Spans = Iterable[tuple[float, float, str]]

_NO_BEATS = "ventricular_fibrillation"


def rr_intervals(present: NDArray[np.bool_], peaks: NDArray[np.int64], fs_hz: float) -> Samples:
    """RR intervals in ms, one fewer than beats, NaN for one that crosses a sample that no lead has.

    However long an interval is, it counts: a standstill is one.
    """
    if peaks.size < 2:
        return np.empty(0)
    rr: Samples = 1000.0 * np.diff(peaks) / fs_hz
    if not present.all():
        missing = np.concatenate(([0], np.cumsum(~present, dtype=np.int32)))
        rr[missing[peaks[1:]] != missing[peaks[:-1]]] = np.nan
    return rr


def outside_fibrillation(rr_ms: Samples, r_s: Samples, spans: Spans) -> Samples:
    """The intervals with NaN for each that touches ventricular fibrillation, where what looks like a beat is none."""
    chaos = [(start, end) for start, end, code in spans if code == _NO_BEATS]
    if not chaos or rr_ms.size == 0:
        return rr_ms
    out = rr_ms.copy()
    for start, end in chaos:
        out[(r_s[:-1] < end) & (r_s[1:] > start)] = np.nan
    return out

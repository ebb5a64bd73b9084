"""All measurements of one recording, on its median beat and its RR intervals.

Names are stable: global ones such as ``pr_ms``, those of a lead as ``<quantity>.<lead>``. A quantity that cannot be
measured is absent, never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.amplitudes import amplitudes
from teleread.signal.ecg.axes import axes
from teleread.signal.ecg.delineation import ABSENT, Delineation
from teleread.signal.ecg.intervals import intervals, rates
from teleread.signal.ecg.measured import Measured
from teleread.signal.ecg.median_beat import MedianBeat, delineate_and_median, median_beat

WITHOUT_P = frozenset(
    {
        "atrial_fibrillation",
        "atrial_flutter",
        "ventricular_tachycardia",
        "ventricular_fibrillation",
        "asystole",
        "idioventricular_rhythm",
        "accelerated_idioventricular_rhythm",
    }
)
"""Rhythms in which no P wave leads to a beat."""

__all__ = ["WITHOUT_P", "Measured", "MedianBeat", "delineate_and_median", "measure", "median_beat"]


def measure(
    beat: MedianBeat | None,
    rr_ms: NDArray[np.floating],
    *,
    quality: float = 1.0,
    delineation: Delineation | None = None,
    fs_hz: float = 0.0,
    rhythm: Sequence[str] = (),
) -> dict[str, Measured]:
    """Rate, RR statistics, intervals, axes, amplitudes and ST.

    Args:
        beat: None when there is no usable beat: then there is at most a rate.
        rr_ms: RR intervals in order, NaN in place of one that is none, as across a gap.
        quality: 0 to 1, what the quality gate thinks of the recording; lowers every confidence.
        delineation: of the single beats at ``fs_hz``, for QT in an irregular rhythm.
        rhythm: codes of the rhythm spans; when none of them has P waves that lead to beats, nothing of P is measured,
            whatever lies before QRS (flutter waves, for one, may lie there at the same place each time).
    """
    rr = np.asarray(rr_ms, dtype=np.float64)
    found = rates(rr, quality)
    if beat is not None:
        if rhythm and set(rhythm) <= WITHOUT_P:
            beat = replace(beat, p_on=ABSENT, p_peak=ABSENT, p_off=ABSENT)
        found |= intervals(beat, rr[np.isfinite(rr)], quality, delineation, fs_hz)
        found |= axes(beat, quality)
        found |= amplitudes(beat, quality)
    return found

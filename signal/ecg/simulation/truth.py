"""What is really in a simulated recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def _none() -> Indices:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is really in a simulated recording; never measured, always from the model.

    Marks are sample indices, int64, one entry per beat, -1 where the beat has no such wave or it lies outside the
    recording. They are global: where the first lead leaves and the last one returns to its level. ``p_on`` to
    ``p_off`` belong to the P wave that the beat follows; ``p_waves`` holds the peaks of all P waves, also of those
    that are blocked, dissociated or retrograde, in order of time (not the waves of flutter and fibrillation).

    Args:
        condition: as asked for.
        r_peaks: the main ventricular deflection of each beat.
        heart_rate_bpm: from the mean distance of ``r_peaks``; NaN with fewer than two beats.
        faults: pairs (lead, or "" for the whole recording, fault code of ``teleread.signal.ecg.quality``).
        beats: the kind of each beat: normal, supraventricular, ventricular, paced, junctional.
        intervals_ms: p_duration_ms, pr_ms, qrs_duration_ms, qt_ms of the prevailing beats, not rounded to samples;
            one that the beats do not have is left out. The median where beats differ.
        rhythm: spans (start_s, end_s, code). With complete block the code is that of the ventricles.
        findings: codes of what else there is, in alphabetical order.
        spikes: the samples of pacing spikes.
    """

    condition: str
    r_peaks: Indices
    heart_rate_bpm: float
    faults: tuple[tuple[str, str], ...] = ()
    beats: tuple[str, ...] = ()
    p_on: Indices = field(default_factory=_none)
    p_peak: Indices = field(default_factory=_none)
    p_off: Indices = field(default_factory=_none)
    qrs_on: Indices = field(default_factory=_none)
    qrs_off: Indices = field(default_factory=_none)
    t_peak: Indices = field(default_factory=_none)
    t_off: Indices = field(default_factory=_none)
    p_waves: Indices = field(default_factory=_none)
    intervals_ms: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    rhythm: tuple[tuple[float, float, str], ...] = ()
    findings: tuple[str, ...] = ()
    spikes: Indices = field(default_factory=_none)

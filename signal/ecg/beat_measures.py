"""What the beats of a recording have in common, lead by lead: the median beat, and how well each lead keeps to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.lead_measures import Views

BEFORE_S, AFTER_S = 0.28, 0.44
"""The stretch around R that is taken for a beat: from before P to the end of most T waves."""

_HALF_QRS_S, _SLACK_S = 0.06, 0.016
_MOST_BEATS = 60
_FEWEST_BEATS = 3


@dataclass(frozen=True, slots=True, eq=False)
class BeatMeasures:
    """Beats of all leads, at the working rate."""

    beat_mv: Samples
    """The usual beat, (n_leads, m), each lead's own median taken off."""
    r_index: int
    """Where R stands in it."""
    fs_hz: float
    count: int
    """Beats that were whole and looked at."""
    likeness: float
    """How much the beats resemble their median, all leads together: median correlation; 1 with too few beats."""
    lead_likeness: Samples
    """The same lead by lead, without shifting; 0 for a lead without any signal."""


def measure_beats(seen: Views, r_peaks: NDArray[np.int64]) -> BeatMeasures | None:
    """Looks at the beats, ``r_peaks`` in samples of the recording; None with fewer than three whole ones.

    The median over beats drops what does not recur: noise, ectopic beats and P waves that are dissociated.
    """
    work, fs_hz, band = seen.work, seen.work_fs_hz, seen.band
    peaks = np.rint(r_peaks * (fs_hz / seen.fs_hz)).astype(np.int64)
    before, after = round(BEFORE_S * fs_hz), round(AFTER_S * fs_hz)
    whole = peaks[(peaks >= before) & (peaks + after < work.shape[1])]
    if whole.size < _FEWEST_BEATS:
        return None
    if whole.size > _MOST_BEATS:
        whole = whole[np.linspace(0, whole.size - 1, _MOST_BEATS).astype(np.int64)]
    beats = work[:, whole[:, None] + np.arange(-before, after)[None, :]]
    beats = beats - np.median(beats[:, :, ::2], axis=2, keepdims=True)
    usual = np.median(beats, axis=1)
    likeness, lead_likeness = _likeness(band, fs_hz, whole)
    return BeatMeasures(
        beat_mv=usual,
        r_index=before,
        fs_hz=fs_hz,
        count=int(whole.size),
        likeness=likeness,
        lead_likeness=lead_likeness,
    )


def _likeness(band: Samples, fs_hz: float, peaks: NDArray[np.int64]) -> tuple[float, Samples]:
    """(median correlation of the beats with their median over all leads, the same for each lead by itself).

    Over all leads each beat may shift by 16 ms to fit best, since the peak of a small biphasic QRS is not found to
    the sample.
    """
    half, slack = max(1, round(_HALF_QRS_S * fs_hz)), round(_SLACK_S * fs_hz)
    cuts = np.lib.stride_tricks.sliding_window_view(band, 2 * half + 1, axis=1)
    centred = cuts[:, peaks - half]
    usual = np.median(centred, axis=1)
    power = (usual * usual).sum(axis=1)
    best = np.full(peaks.size, -1.0)
    for shift in range(-slack, slack + 1, max(1, slack // 2)):
        beats = cuts[:, peaks - half + shift]
        norms = np.sqrt(np.einsum("lbk,lbk->b", beats, beats) * power.sum())
        best = np.maximum(best, np.einsum("lbk,lk->b", beats, usual) / np.where(norms > 0, norms, 1.0))
    norms = np.sqrt(np.einsum("lbk,lbk->lb", centred, centred) * power[:, None])
    each = np.einsum("lbk,lk->lb", centred, usual) / np.where(norms > 0, norms, 1.0)
    return float(np.median(best)), np.median(each, axis=1)

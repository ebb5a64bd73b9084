"""The one beat that stands for a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.delineate_global import BLOCK_BEATS, delineate_blocks
from teleread.signal.ecg.delineation import ABSENT, Delineation
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.templates import Template, sort_beats


@dataclass(frozen=True, slots=True, eq=False)
class MedianBeat:
    """The usual beat of the dominant class: premature, ventricular and noisy beats are left out.

    Args:
        signals_mv: (n_leads, m), each lead zero shortly before QRS; a lead with too few samples is NaN.
        leads: one name per row.
        fs_hz: the rate of these samples; a recording below 400 Hz is brought to 400 Hz or more for it.
        r_index: the sample of R.
        beats: how many beats it was made of.
        p_on, p_off, qrs_on, qrs_off, t_peak, t_off, p_peak, t_on: samples of the beat, -1 absent.
        noise_mv: (n_leads,) standard error of a sample, from how the beats differ.
        p_steadiness: 0 (what is before QRS differs from beat to beat) to 1.
    """

    signals_mv: Samples
    leads: tuple[str, ...]
    fs_hz: float
    r_index: int
    beats: int
    p_on: int
    p_off: int
    qrs_on: int
    qrs_off: int
    t_peak: int
    t_off: int
    p_peak: int = ABSENT
    t_on: int = ABSENT
    noise_mv: Samples = field(default_factory=lambda: np.empty(0))
    p_steadiness: float = 0.0

    def row(self, lead: str) -> Samples | None:
        """The samples of one lead, None when there is no such lead or it has too few samples."""
        if lead not in self.leads:
            return None
        samples: Samples = self.signals_mv[self.leads.index(lead)]
        return samples if np.isfinite(samples[0]) else None


def median_beat(
    filtered_mv: NDArray[np.floating],
    fs_hz: float,
    leads: Sequence[str],
    r_peaks: NDArray[np.integer],
    delineation: Delineation | None = None,
    use: NDArray[np.bool_] | None = None,
) -> MedianBeat | None:
    """The median beat of a recording with its global boundaries, or None when there is no usable beat.

    Args:
        filtered_mv: (n_leads, n), diagnostic band; NaN marks missing samples.
        leads: one name per row.
        r_peaks: sample indices, ascending.
        delineation: beats of which it knows no QRS are not used, and where most beats have no P wave there is none.
        use: one bool per beat, the beats that may be used; all by default.

    At most ``BLOCK_BEATS`` beats are used, spread over the recording.
    """
    x = np.asarray(filtered_mv, dtype=np.float64)
    peaks = np.asarray(r_peaks, dtype=np.int64)
    good = np.ones(peaks.size, dtype=np.bool_) if use is None else np.asarray(use, dtype=np.bool_)
    if delineation is not None:
        good = good & (delineation.qrs_on != ABSENT)
    pick = np.flatnonzero(good)
    if pick.size == 0 or x.size == 0:
        return None
    if pick.size > BLOCK_BEATS:
        pick = pick[np.linspace(0, pick.size - 1, BLOCK_BEATS).astype(np.int64)]
    _, templates = sort_beats(x, fs_hz, peaks, pick)
    if not templates:
        return None
    beat = from_template(templates[0], leads)
    if delineation is None or beat is None:
        return beat
    without_p = (delineation.p_on[pick[templates[0].made_of]] == ABSENT).mean() > 0.5
    return from_template(templates[0], leads, without_p=bool(without_p))


def delineate_and_median(
    filtered_mv: NDArray[np.floating], fs_hz: float, leads: Sequence[str], r_peaks: NDArray[np.integer]
) -> tuple[Delineation, MedianBeat | None]:
    """``delineate_global`` and ``median_beat`` of one recording at the price of one.

    A recording of several blocks of beats gets its median beat from all of them.
    """
    delineation, dominant = delineate_blocks(filtered_mv, fs_hz, r_peaks)
    if len(dominant) == 1:
        return delineation, from_template(dominant[0], leads)
    return delineation, median_beat(filtered_mv, fs_hz, leads, r_peaks, delineation)


def from_template(template: Template, leads: Sequence[str], without_p: bool = False) -> MedianBeat | None:
    """A template as a median beat; None when it has no QRS."""
    marks = template.marks
    if marks.qrs_on == ABSENT:
        return None
    count = template.made_of.size
    p_on, p_peak, p_off = (ABSENT, ABSENT, ABSENT) if without_p else (marks.p_on, marks.p_peak, marks.p_off)
    return MedianBeat(
        signals_mv=template.beat,
        leads=tuple(leads),
        fs_hz=template.fs_hz,
        r_index=template.r_index,
        beats=count,
        p_on=p_on,
        p_off=p_off,
        qrs_on=marks.qrs_on,
        qrs_off=marks.qrs_off,
        t_peak=marks.t_peak,
        t_off=marks.t_off,
        p_peak=p_peak,
        t_on=marks.t_on,
        noise_mv=template.spread_mv / np.sqrt(max(count, 1)),
        p_steadiness=template.p_steadiness,
    )

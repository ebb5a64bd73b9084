"""Boundaries of P, QRS and T over all leads together, beat by beat.

Beats are sorted into classes by shape; each class's usual beat is delineated once, with all leads, and what was found
is laid onto every member: QRS where the shape says, P and T moved to where they fit best. A beat that is like no other
is delineated by itself. So the boundaries of single beats are nearly as steady as those of the usual beat, and noise in
one lead moves nothing. Long recordings are taken in blocks of beats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.beat_cuts import Cuts, Indices, Mask, premature_beats
from teleread.signal.ecg.boundaries import Boundaries, find_boundaries, template_marks
from teleread.signal.ecg.delineation import ABSENT, Delineation
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.templates import Template, rr_around, sort_beats

BLOCK_BEATS = 256
"""Beats that are cut out, compared and delineated together: bounds memory, and a class may change over hours."""

_P, _QRS, _T = slice(0, 3), slice(3, 5), slice(5, 8)  # columns in the order of ``template_marks``
_P_MOVES_S = 0.032
_T_MOVES_S = 0.048
_LIKE_P = 0.35  # least part of the usual P wave, by projection, that makes a P wave
_WIDE_QRS_S = 0.110
_LONE_RR_S = 0.9


def delineate_global(ecg_mv: NDArray[np.floating], fs_hz: float, r_peaks: NDArray[np.integer]) -> Delineation:
    """Global boundaries of every beat: the earliest onset and the latest end in any lead.

    Args:
        ecg_mv: (n_leads, n) in mV, diagnostic band; NaN marks missing samples.
        fs_hz: sampling rate.
        r_peaks: sample indices, ascending.

    Returns:
        One entry per beat, ``ABSENT`` where a wave is absent or lies outside the recording. A P wave is one that
        belongs to its beat: in atrial fibrillation, with dissociated atria and before ventricular beats there is none.
    """
    return delineate_blocks(ecg_mv, fs_hz, r_peaks)[0]


def delineate_blocks(
    ecg_mv: NDArray[np.floating], fs_hz: float, r_peaks: NDArray[np.integer]
) -> tuple[Delineation, list[Template]]:
    """As ``delineate_global``, and the dominant template of each block of ``BLOCK_BEATS`` beats."""
    x = np.asarray(ecg_mv, dtype=np.float64)
    peaks = np.asarray(r_peaks, dtype=np.int64)
    marks = np.full((peaks.size, 8), ABSENT, dtype=np.int64)
    dominant = []
    if x.size:
        for start in range(0, peaks.size, BLOCK_BEATS):
            stop = min(start + BLOCK_BEATS, peaks.size)
            if 0 < peaks.size - stop < BLOCK_BEATS // 4:
                stop = peaks.size
            if start and stop - start < BLOCK_BEATS // 4:
                break
            cuts, templates = sort_beats(x, fs_hz, peaks[start:stop])
            marks[start:stop] = _block(cuts, templates, peaks[start:stop], fs_hz)
            dominant += templates[:1]
    return _delineation(peaks, _inside(marks, x.shape[1] if x.ndim == 2 else 0)), dominant


def _block(cuts: Cuts, templates: list[Template], peaks: Indices, fs_hz: float) -> Indices:
    """Marks (n_beats, 8) in samples of the recording."""
    found = np.full((peaks.size, 8), ABSENT, dtype=np.float64)
    early = premature_beats(rr_around(peaks, fs_hz))
    lone = np.ones(peaks.size, dtype=np.bool_)
    for number, template in enumerate(templates):
        lone[template.members] = False
        found[template.members] = _lay_on(cuts, template, early[template.members], ventricular=bool(number))
    for beat in np.flatnonzero(lone):
        before, after = _neighbours(peaks, int(beat), fs_hz)
        own = find_boundaries(cuts.beats[beat], cuts.fs_hz, cuts.r_index, before, after)
        found[beat] = _own_p(own, cuts.beats[beat], templates, bool(early[beat]), cuts.fs_hz)
    per_sample = fs_hz / cuts.fs_hz
    at = np.rint(cuts.r_at[:, None] + (found - cuts.r_index) * per_sample)
    return np.where(found < 0, ABSENT, at).astype(np.int64)


def _lay_on(cuts: Cuts, template: Template, early: Mask, ventricular: bool) -> Samples:
    """The template's marks on each member, P and T moved to where they fit best, P only where there is one."""
    marks = template.marks
    laid = np.repeat(template_marks(marks).astype(np.float64)[None, :], template.members.size, axis=0)
    if marks.qrs_on == ABSENT:
        return laid
    if ventricular and (marks.qrs_off - marks.qrs_on) > _WIDE_QRS_S * cuts.fs_hz and early.mean() > 0.5:
        laid[:, _P] = ABSENT
    beats, usual = cuts.beats[template.members], np.nan_to_num(template.beat) * template.say**2
    if marks.t_off != ABSENT:
        first, last = marks.qrs_off + round(0.04 * cuts.fs_hz), marks.t_off + round(0.04 * cuts.fs_hz)
        moves, _ = _best_moves(beats, usual, first, last, cuts.fs_hz, _T_MOVES_S)
        laid[:, _T] = np.maximum(laid[:, _T] + moves[:, None], marks.qrs_off)
    if laid[0, 0] != ABSENT:
        last = min(marks.p_off + round(0.016 * cuts.fs_hz), marks.qrs_on - round(0.004 * cuts.fs_hz))
        first = max(0, marks.p_on - round(0.016 * cuts.fs_hz))
        moves, share = _best_moves(beats, usual, first, last, cuts.fs_hz, _P_MOVES_S)
        laid[:, _P] = np.clip(laid[:, _P] + moves[:, None], 0, marks.qrs_on)
        laid[share < _LIKE_P, _P] = ABSENT
    return laid


def _best_moves(
    beats: Samples, usual: Samples, first: int, last: int, fs: float, reach_s: float
) -> tuple[Samples, Samples]:
    """By how many samples the stretch [first, last) of each beat lies late against the usual one, and how much of it
    is there (projection, 1 when it is all there). Slopes are compared, so that wander has no say; a move has to pay.
    """
    step = max(1, round(fs / 125.0))
    grid = np.arange(max(step, first), max(step, min(last, usual.shape[1] - step)), step)
    if grid.size < 4:
        return np.zeros(beats.shape[0]), np.ones(beats.shape[0])
    want = usual[:, grid] - usual[:, grid - step]
    power = max(float(np.sum(want * want)), 1e-12)
    most = int(reach_s * fs) // step
    shifts = np.arange(-most, most + 1)
    around = np.arange(grid[0] - (most + 1) * step, grid[-1] + most * step + 1, step)
    slopes = np.diff(beats[:, :, np.clip(around, 0, beats.shape[2] - 1)], axis=2)
    fits = np.array([np.einsum("blk,lk->b", slopes[:, :, k : k + grid.size], want) for k in range(shifts.size)]) / power
    paid = fits * (1.0 - 0.25 * (shifts / max(most, 1)) ** 2)[:, None]
    best = np.argmax(paid, axis=0)
    beat = np.arange(beats.shape[0])
    inner = np.clip(best, 1, max(shifts.size - 2, 1)) if shifts.size > 2 else best
    moved = shifts[best].astype(np.float64)
    if shifts.size > 2:
        left, mid, right = paid[inner - 1, beat], paid[inner, beat], paid[inner + 1, beat]
        bend = left - 2 * mid + right
        part = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
        moved += np.where(inner == best, np.clip(part, -0.5, 0.5), 0.0)
    return moved * step, fits[best, beat]


def _own_p(own: Boundaries, beat: Samples, templates: list[Template], early: bool, fs: float) -> Samples:
    """Marks of a beat that is like no other; a P wave is believed only in a narrow beat and when it stands out."""
    marks = template_marks(own).astype(np.float64)
    usual = templates[0] if templates else None
    has_p = usual is not None and usual.marks.p_on != ABSENT
    wide = own.qrs_off - own.qrs_on > _WIDE_QRS_S * fs
    if own.p_on == ABSENT or not has_p or usual is None or (wide and early):
        marks[_P] = ABSENT
        return marks
    height = np.ptp(beat[:, own.p_on : own.p_off + 1], axis=1)
    there = np.nan_to_num(np.ptp(usual.beat[:, usual.marks.p_on : usual.marks.p_off + 1], axis=1))
    if float(np.linalg.norm(height)) < 0.4 * float(np.linalg.norm(there)):
        marks[_P] = ABSENT
    return marks


def _neighbours(peaks: Indices, beat: int, fs_hz: float) -> tuple[float, float]:
    before = float(peaks[beat] - peaks[beat - 1]) / fs_hz if beat else _LONE_RR_S
    after = float(peaks[beat + 1] - peaks[beat]) / fs_hz if beat + 1 < peaks.size else _LONE_RR_S
    return min(before, 2.0), min(after, 2.0)


def _inside(marks: Indices, n: int) -> Indices:
    """Waves of which a boundary lies outside the recording become absent."""
    for wave in (_P, _QRS, _T):
        columns = marks[:, wave]
        outside = ((columns < 0) | (columns >= n)).any(axis=1)
        marks[outside, wave] = ABSENT
    return marks


def _delineation(peaks: Indices, marks: Indices) -> Delineation:
    columns = (marks[:, k] for k in range(8))
    return Delineation(peaks, *(np.ascontiguousarray(c) for c in columns))

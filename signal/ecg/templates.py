"""The classes of beats in a stretch of recording, each with its usual beat, its boundaries and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from teleread.signal.ecg.beat_cuts import (
    Cuts,
    Indices,
    Mask,
    cut_beats,
    median_over_beats,
    nearest_class,
    premature_beats,
    shape_classes,
    usual_beat,
)
from teleread.signal.ecg.boundaries import Boundaries, find_boundaries
from teleread.signal.ecg.delineation import ABSENT
from teleread.signal.ecg.filters import Samples

_LONE_RR_S = 0.9  # what is assumed around a beat that has no neighbour
_NOISY = 2.5  # times the usual distance from the usual beat
_MISSING = 0.02  # share of a cut
_FAIR_SPREAD = 3.0  # times the median of the leads; a lead that spreads more has less say
_IRREGULAR = 0.06
_STEADY_P = (0.70, 0.85)  # in a regular and in an irregular rhythm, here and below
_P_SIGNIFICANCE = (2.5, 10.0)
_LEAST_P_MV = 0.015


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """One class of beats.

    Args:
        beat: (n_leads, m) in mV, level zero before QRS; a lead with too few samples is NaN.
        members: beats of the block that are of this class; ``made_of`` those that the usual beat was made of.
        marks: its boundaries; P only when it is there in most members at the same place.
        spread_mv: (n_leads,) usual distance of a member from the usual beat, outside QRS.
        say: (n_leads, 1) weight of each lead, 1 but for leads that are much noisier than the others.
        p_steadiness: 0 (what lies before QRS differs from beat to beat) to 1 (the same each time).
    """

    beat: Samples
    fs_hz: float
    r_index: int
    members: Indices
    made_of: Indices
    marks: Boundaries
    spread_mv: Samples
    say: Samples
    p_steadiness: float


def sort_beats(
    ecg_mv: Samples, fs_hz: float, r_peaks: Indices, pick: Indices | None = None, use: Mask | None = None
) -> tuple[Cuts, list[Template]]:
    """Cuts and the templates of one block of beats, the dominant class first; empty when nothing is usable.

    Args:
        ecg_mv: (n_leads, n), at least one lead and one sample.
        r_peaks: all beats, ascending; those that are not picked tell how far apart the others are.
        pick: the beats to cut, at least one; all by default.
        use: which of all beats may make classes; all by default.
    """
    pick = np.arange(r_peaks.size) if pick is None else pick
    rr = rr_around(r_peaks, fs_hz)[pick]
    before_s, after_s = _window(rr)
    cuts = cut_beats(ecg_mv, fs_hz, r_peaks[pick], before_s, after_s)
    usable = np.asarray(cuts.missing.min(axis=1) < 0.5)
    usable = usable & use[pick] if use is not None else usable
    premature = premature_beats(rr)
    fit = usable & cuts.whole
    classes = shape_classes(cuts, fit if fit.any() else usable, premature)
    wider = nearest_class(cuts, classes)
    found = []
    for number in range(int(classes.max(initial=-1)) + 1):
        made = _template(cuts, np.flatnonzero(classes == number), premature, rr)
        found.append(replace(made, members=np.flatnonzero(wider == number)))
    return cuts, found


def rr_around(r_peaks: Indices, fs_hz: float) -> Samples:
    """(n_beats, 2): seconds to the beat before and to the one after, NaN where there is none."""
    apart = np.diff(r_peaks) / fs_hz
    around: Samples = np.column_stack((np.concatenate(([np.nan], apart)), np.concatenate((apart, [np.nan]))))
    return around


def _window(rr: Samples) -> tuple[float, float]:
    """How much before and after R is cut: up to the T wave before and the P wave of the next beat."""
    before, after = rr[rr[:, 0] < 3.0, 0], rr[rr[:, 1] < 3.0, 1]
    usual = float(np.median(before)) if before.size else _LONE_RR_S
    short = float(np.percentile(after, 25)) if after.size else _LONE_RR_S
    return float(np.clip(0.70 * usual, 0.20, 0.55)), float(np.clip(short - 0.10, 0.30, 0.75))


def _template(cuts: Cuts, members: Indices, premature: Mask, rr: Samples) -> Template:
    chosen = _clean_members(cuts, members, premature)
    beats = cuts.beats[chosen]
    beat = usual_beat(beats)
    gone = np.median(cuts.missing[chosen], axis=0) > 0.05
    rr_before, rr_after = (_usual_rr(column) for column in rr[chosen].T)
    # T and the next P are where they are in most beats, even if a few beats come late
    rr_after = min(rr_after, (beat.shape[1] - cuts.r_index) / cuts.fs_hz + 0.1)
    shown = np.where(gone[:, None], 0.0, beat) if gone.any() else beat
    spread = _spread(beats, shown, cuts.fs_hz)
    say = np.ones((spread.size, 1))
    if not gone.all():
        fair = _FAIR_SPREAD * float(np.median(spread[~gone]))
        say = np.where(spread > fair, (fair / np.maximum(spread, 1e-12)) ** 2, 1.0)[:, None]
    marks = find_boundaries(shown * say, cuts.fs_hz, cuts.r_index, rr_before, rr_after)
    marks, steadiness = _without_false_p(marks, beats, say, cuts.fs_hz, _irregular(rr[chosen, 0]))
    if gone.any():
        beat = np.where(gone[:, None], np.nan, beat)
    return Template(beat, cuts.fs_hz, cuts.r_index, members, chosen, marks, spread, say, steadiness)


def _irregular(rr_before: Samples) -> bool:
    """Whether the distances spread as they do in fibrillation; a few pauses or early beats do not make it so."""
    known = rr_before[np.isfinite(rr_before)]
    if known.size < 4:
        return False
    usual = float(np.median(known))
    return float(np.median(np.abs(known - usual))) > _IRREGULAR * usual


def _usual_rr(rr: Samples) -> float:
    known = rr[np.isfinite(rr)]
    return float(np.median(known)) if known.size else _LONE_RR_S


def _spread(beats: Samples, beat: Samples, fs: float) -> Samples:
    step = max(1, round(fs / 125.0))
    away: Samples = 1.2533 * np.abs(beats[:, :, ::step] - beat[None, :, ::step]).mean(axis=(0, 2))
    return away


def _clean_members(cuts: Cuts, members: Indices, premature: Mask) -> Indices:
    """The members without premature, cut-off, gappy and noisy ones, as long as three or half of them remain."""
    chosen = members
    tests = (cuts.whole, ~premature, cuts.missing.max(axis=1) < _MISSING)
    for good in tests:
        kept = chosen[good[chosen]]
        if kept.size >= min(3, chosen.size) or 2 * kept.size > chosen.size:
            chosen = kept
    if chosen.size < 4:
        return chosen
    step = max(1, round(cuts.fs_hz / 60.0))
    coarse = cuts.beats[chosen][:, :, ::step]
    away = np.abs(coarse - median_over_beats(coarse)).mean(axis=(1, 2))
    kept = chosen[away <= _NOISY * np.median(away)]
    return kept if kept.size >= 3 else chosen


def _without_false_p(
    marks: Boundaries, beats: Samples, say: Samples, fs: float, irregular: bool
) -> tuple[Boundaries, float]:
    """Takes P away when what is before QRS is not the same in most beats (fibrillation, dissociation, noise).

    The mean of some fibrillatory waves may look steady, so an irregular rhythm has to show more. ``say`` is the weight
    of each lead, (n_leads, 1).
    """
    if marks.p_on == ABSENT:
        return marks, 0.0
    margin = round(0.016 * fs)
    last = min(marks.p_off + margin, marks.qrs_on - round(0.006 * fs))
    steadiness, significance = p_steadiness(beats * say, max(0, marks.p_on - margin), last, fs)
    wave = usual_beat(beats[:, :, marks.p_on : marks.p_off + 1]) * say
    height = float(np.ptp(wave, axis=1).max(initial=0.0))
    real = height >= _LEAST_P_MV
    if beats.shape[0] >= 3:
        steady, sure = _STEADY_P[irregular], _P_SIGNIFICANCE[irregular]
        real = real and steadiness > steady and significance > sure
    if real:
        return marks, steadiness
    return replace(marks, p_on=ABSENT, p_peak=ABSENT, p_off=ABSENT), steadiness


def p_steadiness(beats: Samples, first: int, last: int, fs_hz: float) -> tuple[float, float]:
    """How much of the power before QRS is the same in every beat, and by how many standard errors that is not none.

    Each beat is compared with the mean of the others, so that noise does not agree with itself.
    """
    count = beats.shape[0]
    if count < 2:
        return 1.0, np.inf
    x = beats[:, :, first : last + 1 : max(1, round(fs_hz / 250))]
    x = x - x.mean(axis=2, keepdims=True)
    line = np.linspace(-1.0, 1.0, x.shape[2])
    x = (x - (x @ line / max(float(line @ line), 1e-9))[:, :, None] * line).reshape(count, -1)
    mean = x.mean(axis=0)
    power = float(mean @ mean)
    if power <= 0:
        return 0.0, 0.0
    own = np.einsum("bk,bk->b", x, x)
    agree = (count * (x @ mean) - own) / (count - 1)
    share = agree / np.maximum(power, 1e-12)
    error = float(share.std()) / np.sqrt(count) + 1e-9
    return float(np.clip(share.mean(), 0.0, 1.0)), float(share.mean()) / error

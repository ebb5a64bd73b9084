"""The kind of each beat: normal, supraventricular (early), ventricular, paced, unknown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.beat_shapes import Mask
from teleread.signal.ecg.beat_table import BeatTable, beat_features
from teleread.signal.ecg.filters import Samples, run_lengths
from teleread.signal.ecg.small_networks import network

BEAT_KINDS = ("normal", "supraventricular", "ventricular", "paced", "junctional", "fusion", "unknown")
NORMAL, SUPRAVENTRICULAR, VENTRICULAR, PACED, JUNCTIONAL, FUSION, UNKNOWN = range(7)

Kinds = NDArray[np.int64]

_EARLY = 0.9
_SURE_OF_EARLY = 0.6
_CLEARLY_OTHER = 0.5
_FOREIGN = 0.65
_LARGE = 1.7
_NO_P_MATCH = 0.3
_QUICK_RR_S = 0.62
_RUN_BEATS = 3
_TWO_FACED_BEATS = 7
_QUICK_MEAN_RR_S = 0.6
_NO_PAUSE = 0.72


def beat_kinds(table: BeatTable, paced: Mask, fibrillation: Mask) -> tuple[Kinds, Samples]:
    """Numbers into ``BEAT_KINDS``, one per beat, and how sure it is that each beat is ventricular (0 to 1).

    A small network judges shape, width, prematurity and the P wave before the beat; rules then correct what it cannot
    know: nothing is early in fibrillation, where a ventricular beat must differ clearly, and a paced beat is paced.
    """
    n = table.r_s.size
    if n == 0:
        return np.empty(0, dtype=np.int64), np.empty(0)
    logits = network("beats").logits(beat_features(table))
    kinds = logits.argmax(axis=1).astype(np.int64)
    share = _softmax(logits)
    usual = table.usual_rr_s
    early = np.isfinite(table.rr_s) & (table.rr_s < _EARLY * usual)
    kinds[(kinds == SUPRAVENTRICULAR) & (~early | fibrillation | (share[:, SUPRAVENTRICULAR] < _SURE_OF_EARLY))] = (
        NORMAL
    )
    kinds[(kinds == VENTRICULAR) & fibrillation & (table.match > _CLEARLY_OTHER)] = NORMAL
    kinds[paced] = PACED
    sure = np.where(paced, 0.0, share[:, VENTRICULAR])
    kinds[_foreign_runs(table, sure, fibrillation)] = VENTRICULAR
    kinds[two_faced_runs(table, kinds)] = VENTRICULAR
    return kinds, sure


def _foreign_runs(table: BeatTable, sure: Samples, fibrillation: Mask) -> Mask:
    """Beats of fast runs (three and more at 100/min) of shapes foreign to the usual one: together they are surer
    than each alone."""
    foreign = (table.match < _FOREIGN) | (sure > 0.5) | ((table.size > _LARGE) & (sure > 0.15))
    in_run = np.zeros(sure.size, dtype=np.bool_)
    quick = np.nan_to_num(table.rr_s, nan=9.0) <= _QUICK_RR_S
    # one beat between two foreign ones, quick and without a P wave, belongs to them (tachycardia of two shapes)
    between = np.zeros(sure.size, dtype=np.bool_)
    between[1:-1] = foreign[:-2] & foreign[2:] & quick[1:-1] & quick[2:] & (table.p[1:-1, 0] < _NO_P_MATCH)
    foreign = foreign | between
    starts, stops = run_lengths(foreign & quick)
    for first, last in zip(starts, stops, strict=True):
        # the beat before the first short interval may begin the run
        begin = first - 1 if first > 0 and foreign[first - 1] else first
        if last - begin < _RUN_BEATS + int(fibrillation[begin]):
            continue
        mean = float(sure[begin:last].mean())
        alike_each_other = float((table.group[begin:last] > 0).mean()) >= 0.6
        if mean >= 0.4 or (alike_each_other and mean >= 0.2):
            in_run[begin:last] = True
    return in_run


def two_faced_runs(table: BeatTable, kinds: Kinds) -> Mask:
    """Beats of fast runs in which every other beat is ventricular and comes hardly earlier than the beats between:
    bidirectional tachycardia. In bigeminy a pause follows the early beat."""
    in_run = np.zeros(kinds.size, dtype=np.bool_)
    alternate = (kinds[1:] == VENTRICULAR) != (kinds[:-1] == VENTRICULAR)
    starts, stops = run_lengths(alternate & ~(kinds[1:] == PACED) & ~(kinds[:-1] == PACED))
    for first, last in zip(starts, stops, strict=True):
        rr = table.rr_s[first + 1 : last + 1]
        if rr.size < _TWO_FACED_BEATS - 1 or not np.isfinite(rr).all() or float(rr.mean()) > _QUICK_MEAN_RR_S:
            continue
        odd, even = float(np.median(rr[::2])), float(np.median(rr[1::2]))
        if min(odd, even) > _NO_PAUSE * max(odd, even):
            in_run[first : last + 1] = True
    return in_run


def _softmax(logits: Samples) -> Samples:
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    share: Samples = power / power.sum(axis=1, keepdims=True)
    return share


def kind_names(kinds: Kinds) -> tuple[str, ...]:
    return tuple(BEAT_KINDS[k] for k in kinds)

"""The kind of each beat: normal, supraventricular (early), ventricular, paced, unknown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.beat_shapes import Mask
from teleread.signal.ecg.beat_table import BeatTable, beat_features
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.small_networks import network

BEAT_KINDS = ("normal", "supraventricular", "ventricular", "paced", "junctional", "fusion", "unknown")
NORMAL, SUPRAVENTRICULAR, VENTRICULAR, PACED, JUNCTIONAL, FUSION, UNKNOWN = range(7)

Kinds = NDArray[np.int64]

_EARLY = 0.9
_SURE_OF_EARLY = 0.6
_CLEARLY_OTHER = 0.6
_WIDER = 1.35


def beat_kinds(table: BeatTable, paced: Mask, fibrillation: Mask) -> Kinds:
    """Numbers into ``BEAT_KINDS``, one per beat.

    A small network judges shape, width, prematurity and the P wave before the beat; rules then correct what it cannot
    know: nothing is early in fibrillation, where a ventricular beat must differ clearly, and a paced beat is paced.
    """
    n = table.r_s.size
    if n == 0:
        return np.empty(0, dtype=np.int64)
    logits = network("beats").logits(beat_features(table))
    kinds = logits.argmax(axis=1).astype(np.int64)
    share = _softmax(logits)
    usual = table.usual_rr_s
    early = np.isfinite(table.rr_s) & (table.rr_s < _EARLY * usual)
    kinds[(kinds == SUPRAVENTRICULAR) & (~early | fibrillation | (share[:, SUPRAVENTRICULAR] < _SURE_OF_EARLY))] = (
        NORMAL
    )
    wider = table.spread_s > _WIDER * table.usual_spread_s
    other = (table.match < _CLEARLY_OTHER) & (wider | (table.group > 0))
    kinds[(kinds == VENTRICULAR) & fibrillation & ~other] = NORMAL
    kinds[paced] = PACED
    return kinds


def _softmax(logits: Samples) -> Samples:
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    share: Samples = power / power.sum(axis=1, keepdims=True)
    return share


def kind_names(kinds: Kinds) -> tuple[str, ...]:
    return tuple(BEAT_KINDS[k] for k in kinds)

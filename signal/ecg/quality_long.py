"""The quality gate over long recordings: stretches of ten seconds, a bounded number of them, one verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.quality_types import Finding, Quality

LONG_S = 60.0
"""Recordings that last longer are judged in stretches."""

_STRETCH_S = 10.0
_MOST_STRETCHES = 360
_BAD_SHARE = 0.3
_SAID_SHARE = 0.1
_ALARM_SHARE = 0.5

Judge = Callable[[Samples, NDArray[np.int64] | None], Quality]


def judge_in_stretches(x: Samples, fs_hz: float, r_peaks: NDArray[np.integer] | None, judge: Judge) -> Quality:
    """One verdict over many: unacceptable when three stretches in ten are; a fault is said when one in ten has it.

    A day is sampled evenly, one stretch in some minutes, so that the verdict costs no more than that over an hour.
    The advice to look at the patient is given only when half the stretches give it: a recorder that was taken off
    in the evening is no emergency.
    """
    width = round(_STRETCH_S * fs_hz)
    count = x.shape[1] // width
    starts = np.unique(np.linspace(0, count - 1, min(count, _MOST_STRETCHES)).round().astype(np.int64)) * width
    known = None if r_peaks is None else np.sort(np.asarray(r_peaks, dtype=np.int64))
    verdicts: list[Quality] = []
    for start in starts:
        peaks = None
        if known is not None:
            first, last = np.searchsorted(known, (start, start + width))
            peaks = known[first:last] - start
        verdicts.append(judge(x[:, start : start + width], peaks))
    times = Counter(one for verdict in verdicts for one in dict.fromkeys(verdict.findings))
    total = len(verdicts)
    said = [one for one, times_said in times.items() if times_said >= _share(one) * total]
    refused = [verdict for verdict in verdicts if not verdict.acceptable]
    acceptable = len(refused) < _BAD_SHARE * total
    if not acceptable and not said:
        said = [Counter(verdict.findings[0] for verdict in refused).most_common(1)[0][0]]
    order = {one: place for place, one in enumerate(_in_order(verdicts))}
    score = float(np.mean([verdict.score for verdict in verdicts]))
    return Quality(acceptable, round(score, 3), tuple(sorted(said, key=lambda one: order[one])))


def _share(one: Finding) -> float:
    return _ALARM_SHARE if one.fault == "all_leads_bad" else _SAID_SHARE


def _in_order(verdicts: Sequence[Quality]) -> list[Finding]:
    """Every finding once, whole-recording ones first, as the verdicts have them."""
    every = dict.fromkeys(one for verdict in verdicts for one in verdict.findings)
    return sorted(every, key=lambda one: one.lead is not None)

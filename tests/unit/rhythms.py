"""Rhythms that the simulator makes, and what is said of them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from teleread.signal.ecg.beat_table import beat_table
from teleread.signal.ecg.rhythm import Rhythm, classify_rhythm
from teleread.signal.ecg.simulate import simulate

FS = 500.0


def judged(condition: str, seed: int, *, leads: tuple[str, ...] | None = None, **options: float) -> Rhythm:
    """The rhythm of a simulated recording with its true beats, in all or some leads."""
    record, truth = simulate(condition, seed, **options)
    rows = [record.leads.index(lead) for lead in leads or record.leads]
    names = tuple(record.leads[i] for i in rows)
    return classify_rhythm(record.signals_mv[rows], record.fs_hz, names, truth.r_peaks, None, None)


def main_code(rhythm: Rhythm) -> str:
    """The code that lasts longest."""
    total: Counter[str] = Counter()
    for start, end, code in rhythm.spans:
        total[code] += end - start  # type: ignore[assignment]
    return total.most_common(1)[0][0]


def codes(rhythm: Rhythm) -> set[str]:
    return {f.code for f in rhythm.findings}


def flat_table(n: int):  # type: ignore[no-untyped-def]
    record, _ = simulate("normal", 0)
    r = np.arange(1, n + 1) * 300
    return beat_table(record.signals_mv, FS, record.leads, r)

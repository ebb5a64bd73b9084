"""Where the ventricles stand still: long intervals with nothing steep in them.

P waves may go on there. With three leads and more the beat detector itself tells them from beats; with one or two they
are among the beats and this is not told: small, smooth, steady waves with nothing between them are ordinary beats in
every twentieth single lead.
"""

from __future__ import annotations

import numpy as np

from teleread.signal.ecg.beat_shapes import decimated
from teleread.signal.ecg.fibrillation import WORK_FS_HZ
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.gaps import between
from teleread.signal.ecg.ventricular import FLAT_MV, QRS_MV_S, Span, slopes

Still = tuple[float, float, float]
"""From, to, and what is left of the signal in mV."""

STANDSTILL_S = 3.0
_WINDOWED_S = 4.0
_T_OVER_S, _QRS_BEGINS_S = 0.5, 0.1
_AFTER_BEAT_S = 0.01
_LONE_MV = 0.25


def standstills(
    signals_mv: Samples, fs_hz: float, rows: list[int], r_s: Samples, flat: list[Still], gaps: list[Span]
) -> list[Still]:
    """Stretches without a beat of at least three seconds, or nearly the whole of a shorter recording.

    Args:
        flat: stretches found flat in windows of four seconds, which may hold beats all the same.
        gaps: where no sample is.
    """
    duration = signals_mv.shape[1] / fs_hz
    edges = np.concatenate(([0.0], r_s, [duration]))
    found: list[Still] = []
    for k in np.flatnonzero(np.diff(edges) >= min(STANDSTILL_S, 0.9 * duration)):
        start, end = float(edges[k]), float(edges[k + 1])
        if between(start, end, gaps) != [(start, end)]:
            continue
        first, last = start + (_T_OVER_S if k > 0 else 0.0), end - (_QRS_BEGINS_S if k + 2 < edges.size else 0.0)
        height = _rest(signals_mv[rows, round(first * fs_hz) : round(last * fs_hz)], fs_hz)
        if height is not None:
            found.append((start + (_AFTER_BEAT_S if k > 0 else 0.0), end, height))
    # where the whole interval is not calm enough, or samples are missing, a part of it may be
    for one in flat:
        part = _longest_part(one, edges, duration)
        if part is not None and not any(a < part[1] and b > part[0] for a, b, _ in found):
            found.append(part)
    return sorted(found)


def _longest_part(one: Still, edges: Samples, duration: float) -> Still | None:
    start, end, height = one
    inside = edges[(edges > start) & (edges < end)]
    parts = np.concatenate(([start], inside, [end]))
    k = int(np.argmax(np.diff(parts)))
    a, b = float(parts[k]), float(parts[k + 1])
    if b - a < min(_WINDOWED_S, 0.9 * duration):
        return None
    # the beat before it is no part of it
    return (a + _AFTER_BEAT_S if k > 0 else a), b, height


def _rest(signals_mv: Samples, fs_hz: float) -> float | None:
    """Peak to peak of what is there in mV, None where it may be a QRS."""
    step = max(1, round(fs_hz / WORK_FS_HZ))
    work = decimated(signals_mv, step)
    if work.shape[1] < 8:
        return None
    height = float(np.ptp(np.quantile(work, (0.03, 0.97), axis=1), axis=0).max())
    calm = height < FLAT_MV or (height < _LONE_MV and float(slopes(work, fs_hz / step).max()) < QRS_MV_S)
    return height if calm else None


def windows(duration_s: float, gaps: list[Span], length_s: float = 10.0) -> list[Span]:
    """Ten seconds each within what is there, the last of a stretch up to fifteen."""
    found = []
    for start, end in between(0.0, duration_s, gaps):
        at = start
        while at < end:
            stop = end if at + 1.5 * length_s > end else at + length_s
            found.append((at, stop))
            at = stop
    return found

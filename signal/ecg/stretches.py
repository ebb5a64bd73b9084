"""A recording looked at stretch by stretch: a short one at once, a day in pieces of bounded memory.

A piece is filtered, delineated and named with a margin on both sides; what is said of the margin is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.arrest import share
from teleread.signal.ecg.delineation import Delineation
from teleread.signal.ecg.filters import AppliedFilters, Samples, diagnostic
from teleread.signal.ecg.intervals import rates
from teleread.signal.ecg.measure import WITHOUT_P, Measured, MedianBeat, delineate_and_median, measure
from teleread.signal.ecg.rhythm import Rhythm, RhythmFinding, classify_rhythm
from teleread.signal.ecg.rr import outside_fibrillation

Indices = NDArray[np.int64]

STRETCH_S = 300.0
"""Length of a piece. A recording of up to twice as long is one piece."""

_MARGIN_S = 10.0
_SHARE = "%"
_MOMENTS = frozenset({"pause", "couplet", "asystole"})
"""Findings that are two when they lie apart, however near."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """What was seen in one piece: sample indices and seconds of the whole recording.

    Args:
        start_s, end_s: without the margins.
        rr_ms: between its own beats, NaN for an interval that is none.
    """

    start_s: float
    end_s: float
    delineation: Delineation
    beat: MedianBeat | None
    rhythm: Rhythm
    applied: AppliedFilters
    rr_ms: Samples
    fs_hz: float


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What was seen in all of a recording."""

    delineation: Delineation
    beat: MedianBeat | None
    rhythm: Rhythm
    applied: AppliedFilters
    measurements: dict[str, Measured]


def look(
    signals_mv: Samples, fs_hz: float, leads: Sequence[str], r_peaks: Indices, rr_ms: Samples, *, child: bool
) -> Iterator[Stretch]:
    """The pieces in order of time.

    Args:
        signals_mv: (n_leads, n) as recorded, NaN where missing.
        r_peaks: sample indices, ascending.
        rr_ms: between them, NaN for an interval that is none (``rr.rr_intervals``).
        child: whether the band goes up to 250 Hz.
    """
    n = signals_mv.shape[1]
    for start, stop in _pieces(n, fs_hz):
        margin = int(_MARGIN_S * fs_hz)
        first, last = max(0, start - margin), min(n, stop + margin)
        raw = signals_mv[:, first:last]
        peaks = r_peaks[(r_peaks >= first) & (r_peaks < last)] - first
        filtered = diagnostic(raw, fs_hz, child=child, r_peaks=peaks)
        delineation, beat = delineate_and_median(filtered.signals_mv, fs_hz, leads, peaks)
        rhythm = classify_rhythm(filtered.signals_mv, fs_hz, leads, peaks, delineation, beat, raw_mv=raw)
        own = (peaks >= start - first) & (peaks < stop - first)
        clipped = _clipped(rhythm, own, first / fs_hz, start / fs_hz, stop / fs_hz)
        low, high = np.searchsorted(r_peaks, (start, stop))
        yield Stretch(
            start / fs_hz,
            stop / fs_hz,
            _moved(delineation, own, first),
            beat,
            clipped,
            filtered.applied,
            outside_fibrillation(rr_ms[low : max(low, high - 1)], r_peaks[low:high] / fs_hz, clipped.spans),
            fs_hz,
        )


def whole(stretches: Iterator[Stretch], r_peaks: Indices, rr_ms: Samples, quality: float) -> Seen:
    """All pieces together. Measurements of a long recording are the medians of its pieces'.

    Args:
        r_peaks: sample indices of the whole recording's beats, ascending.
        rr_ms: between them, NaN for an interval that is none.
        quality: 0 to 1, lowers every confidence.
    """
    parts = list(stretches)
    first = parts[0]
    if len(parts) == 1:
        measured = measure(
            first.beat,
            first.rr_ms,
            quality=quality,
            delineation=first.delineation,
            fs_hz=first.fs_hz,
            rhythm=_prevailing(first.rhythm),
        )
        return Seen(first.delineation, first.beat, first.rhythm, first.applied, measured)
    found = [measure(one.beat, one.rr_ms, quality=quality, rhythm=_prevailing(one.rhythm)) for one in parts]
    beats = [one.beat for one in parts if one.beat is not None]
    rhythm = _joined(parts)
    counted = outside_fibrillation(rr_ms, r_peaks / first.fs_hz, rhythm.spans)
    return Seen(
        Delineation(*(np.concatenate([getattr(one.delineation, name) for one in parts]) for name in _WAVES)),
        max(beats, key=lambda beat: beat.beats, default=None),
        rhythm,
        first.applied,
        _medians(found) | rates(counted, quality),
    )


def only(found: Delineation, kept: NDArray[np.bool_]) -> Delineation:
    """The delineation of these beats."""
    return Delineation(*(getattr(found, name)[kept] for name in _WAVES))


def _prevailing(rhythm: Rhythm) -> tuple[str, ...]:
    """Codes of the spans; of those without P waves alone where these last half of the time, as then does the usual
    beat."""
    codes = {code for _, _, code in rhythm.spans}
    return tuple(sorted(codes & WITHOUT_P if share(rhythm.spans, WITHOUT_P) >= 0.5 else codes))


_WAVES = tuple(field.name for field in fields(Delineation))


def _pieces(n: int, fs_hz: float) -> list[tuple[int, int]]:
    length = int(STRETCH_S * fs_hz)
    if n <= 2 * length:
        return [(0, n)]
    edges = [*range(0, n - length // 2, length), n]
    return list(pairwise(edges))


def _moved(found: Delineation, own: NDArray[np.bool_], by: int) -> Delineation:
    columns = [getattr(found, name)[own] for name in _WAVES]
    return Delineation(*(np.where(column >= 0, column + by, column) for column in columns))


def _clipped(found: Rhythm, own: NDArray[np.bool_], by_s: float, start_s: float, end_s: float) -> Rhythm:
    """Moved to the whole recording's time; what lies in the margin alone is left out."""
    spans = [(max(start_s, s + by_s), min(end_s, e + by_s), code) for s, e, code in found.spans]
    findings = [
        RhythmFinding(one.code, one.start_s + by_s, one.end_s + by_s, one.value, one.unit, one.confidence)
        for one in found.findings
    ]
    return Rhythm(
        tuple((round(s, 3), round(e, 3), code) for s, e, code in spans if e > s),
        tuple(kind for kind, kept in zip(found.beats, own, strict=True) if kept),
        # what begins in the margin behind is the next piece's; what ends in the one before was the last piece's
        tuple(one for one in findings if one.start_s < end_s and one.end_s > start_s),
    )


def _joined(parts: Sequence[Stretch]) -> Rhythm:
    """Spans of one code that touch are one; findings are where they cross from one piece into the next, with the
    worse value, or the mean share of beats."""
    spans: list[tuple[float, float, str]] = []
    for start, end, code in (span for part in parts for span in part.rhythm.spans):
        if spans and spans[-1][2] == code and start - spans[-1][1] < 0.01:
            spans[-1] = (spans[-1][0], end, code)
        else:
            spans.append((start, end, code))
    kept: list[RhythmFinding] = []
    for part in parts:
        border = part.start_s
        reaching = {one.code: one for one in kept if one.end_s >= border - _MARGIN_S}
        for one in part.rhythm.findings:
            before = reaching.get(one.code) if one.start_s <= border + _MARGIN_S else None
            if before is not None and (one.code not in _MOMENTS or one.start_s < before.end_s):
                del reaching[one.code]
                kept.remove(before)
                one = _together(before, one)
            kept.append(one)
    return Rhythm(
        tuple(spans),
        tuple(kind for part in parts for kind in part.rhythm.beats),
        tuple(sorted(kept, key=lambda one: (one.start_s, one.code))),
    )


def _together(one: RhythmFinding, other: RhythmFinding) -> RhythmFinding:
    value = one.value if other.value is None else other.value
    if one.value is not None and other.value is not None:
        lengths = one.end_s - one.start_s, other.end_s - other.start_s
        share = one.unit == _SHARE and sum(lengths) > 0
        worse = min if one.code == "bradycardia" else max
        mean = (one.value * lengths[0] + other.value * lengths[1]) / max(sum(lengths), 1e-9)
        value = mean if share else worse(one.value, other.value)
    return RhythmFinding(
        one.code,
        min(one.start_s, other.start_s),
        max(one.end_s, other.end_s),
        value,
        one.unit,
        max(one.confidence, other.confidence),
    )


def _medians(found: Sequence[dict[str, Measured]]) -> dict[str, Measured]:
    """Of what at least half of the pieces have: the rest is absent in most of the recording."""
    result: dict[str, Measured] = {}
    for name in sorted({name for one in found for name in one}):
        values = [one[name] for one in found if name in one]
        if 2 * len(values) < len(found):
            continue
        middle = values[0]
        confidence = float(np.median([one.confidence for one in values]))
        value = float(np.median([one.value for one in values]))
        result[name] = Measured(round(value, 4), middle.unit, middle.lead, round(confidence, 3))
    return result

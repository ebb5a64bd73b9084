"""From a record to everything that is said about it automatically. Nothing here is a diagnosis.

Same record, same result, to the last digit: no clock, no random numbers, no environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.analysis import ANALYSIS_VERSION, JSON_SHAPE, Analysis
from teleread.signal.ecg.arrest import ARREST, arrested, judged_by_rhythm
from teleread.signal.ecg.delineation import Delineation
from teleread.signal.ecg.few_beats import few_beats, slow_heart
from teleread.signal.ecg.filters import AppliedFilters, Samples, run_lengths
from teleread.signal.ecg.flags import Flag, FlagInputs, Profile, flag, load_profile
from teleread.signal.ecg.gaps import possible, present
from teleread.signal.ecg.measure import Measured
from teleread.signal.ecg.qrs import detect_qrs
from teleread.signal.ecg.quality import LIMITS, Quality, assess_quality
from teleread.signal.ecg.quality_types import finding
from teleread.signal.ecg.record import CALIBRATION_PULSE, EcgRecord
from teleread.signal.ecg.rhythm import Rhythm
from teleread.signal.ecg.rr import rr_intervals
from teleread.signal.ecg.stretches import Seen, look, only, whole

__all__ = ["ANALYSIS_VERSION", "JSON_SHAPE", "Analysis", "Flag", "Measured", "analyse"]

_CHILD_YEARS = 12.0
"""Below this the band goes up to 250 Hz (AHA/ACC/HRS 2007, doi:10.1161/CIRCULATIONAHA.106.180200)."""
_NO_HEARTBEAT = frozenset({"undetermined", "asystole", "ventricular_fibrillation"})
_YEAR_DAYS = 365.25
_OLDEST_YEARS = 130.0
_OF_FEW = 0.5
"""How sure an interval between two beats alone is."""
_LEAST_FS_HZ = 50.0
"""Below this no QRS is seen as one: nothing is filtered, sought or measured."""


def analyse(record: EcgRecord, profile: Profile | None = None) -> Analysis:
    """Judges, finds beats, measures, names the rhythm and flags. Never fails for a bad recording.

    Spans annotated as calibration pulse are skipped: no beat is sought there and no RR interval crosses one. Leads are
    measured in the diagnostic band whatever is displayed. What cannot be measured is left out. Where ventricular
    fibrillation or standstill covers half of the recording, or the last three seconds of a short one, the verdict sends
    whoever is there to the patient and nothing is measured, but for clear beats that go on at 20/min or slower. Below
    50 Hz all is undetermined.

    Args:
        profile: the rules that flag; by default the newest edition of the standard ones.
    """
    rules = load_profile() if profile is None else profile
    age = _age_years(record)
    stored = possible(record.signals_mv)
    if record.fs_hz < _LEAST_FS_HZ:
        return _too_slow(record, rules, age)
    signals = _without_calibration(stored, record)
    there = present(signals)
    peaks = detect_qrs(signals, record.fs_hz)
    quality = _quality(signals, there, peaks, record)
    quality = _with_missing(quality, there if signals is stored else present(stored))
    rr_ms = rr_intervals(there, peaks, record.fs_hz)
    child = age is not None and age < _CHILD_YEARS
    pieces = look(signals, record.fs_hz, record.leads, peaks, rr_ms, child=child)
    seen = whole(pieces, peaks, rr_ms, quality.score)
    spans = seen.rhythm.spans
    quality = judged_by_rhythm(quality, spans, record.duration_s)
    if not _beats(quality, seen.rhythm):
        if few_beats(signals, record.fs_hz, peaks):
            return _result(record, rules, age, quality, peaks, _longest(seen, rr_ms, quality.score), seen.rhythm)
        seen, peaks = _without_beats(seen, np.zeros(peaks.size, dtype=np.bool_)), peaks[:0]
    elif arrested(spans, record.duration_s) and not slow_heart(signals, record.fs_hz, peaks):
        beating = _beating(peaks / record.fs_hz, seen.rhythm)
        seen, peaks = _without_beats(seen, beating), peaks[beating]
    return _result(record, rules, age, quality, peaks, seen, seen.rhythm)


def _result(
    record: EcgRecord,
    rules: Profile,
    age: float | None,
    quality: Quality,
    peaks: NDArray[np.int64],
    seen: Seen,
    rhythm: Rhythm | None,
) -> Analysis:
    """What was seen, with its flags. ``rhythm`` is what the rules may look at."""
    measurements: Mapping[str, Measured] = MappingProxyType(seen.measurements)
    judged = flag(
        FlagInputs(
            measurements=measurements,
            rhythm=rhythm,
            beat=seen.beat,
            quality=quality,
            age_years=age,
            sex=record.patient.sex,
            filters=record.filters,
            leads=record.leads,
            applied=seen.applied,
            r_peaks_s=tuple((peaks / record.fs_hz).tolist()),
            fs_hz=record.fs_hz,
        ),
        rules,
    )
    return Analysis(
        quality=quality,
        r_peaks=peaks,
        measurements=measurements,
        rhythm=seen.rhythm.spans,
        flags=judged.flags,
        fs_hz=record.fs_hz,
        duration_s=record.duration_s,
        leads=record.leads,
        derived_leads=record.derived_leads,
        source_format=record.source_format,
        beats=seen.rhythm.beats,
        delineation=seen.delineation,
        rhythm_findings=seen.rhythm.findings,
        not_judged=judged.not_judged,
        filters_applied=seen.applied,
        profile=(rules.name, rules.version),
        beat=seen.beat,
    )


def _too_slow(record: EcgRecord, rules: Profile, age: float | None) -> Analysis:
    """Of a recording that is sampled too seldom to see anything in it."""
    duration = round(record.duration_s, 3)
    spans = ((0.0, duration, "undetermined"),) if duration > 0 else ()
    none = np.empty(0, dtype=np.int64)
    untouched = AppliedFilters(None, None, None, baseline_removed=False)
    seen = Seen(Delineation(*(none for _ in fields(Delineation))), None, Rhythm(spans, (), ()), untouched, {})
    return _result(record, rules, age, Quality(False, 0.0, (finding(None, "undersampled"),)), none, seen, None)


def _without_beats(seen: Seen, kept: NDArray[np.bool_]) -> Seen:
    """Nothing measured, and only these beats."""
    beats = tuple(kind for kind, keep in zip(seen.rhythm.beats, kept, strict=True) if keep)
    return replace(
        seen,
        delineation=only(seen.delineation, kept),
        beat=None,
        rhythm=replace(seen.rhythm, beats=beats),
        measurements={},
    )


def _longest(seen: Seen, rr_ms: Samples, quality: float) -> Seen:
    """Of few beats only how long the heart paused: a rate needs more."""
    between = rr_ms[np.isfinite(rr_ms)]
    if not between.size:
        return replace(seen, measurements={}, beat=None)
    found = Measured(round(float(between.max()), 1), "ms", "global", round(max(0.05, quality) * _OF_FEW, 3))
    return replace(seen, measurements={"rr_max_ms": found}, beat=None)


def _beating(r_s: Samples, rhythm: Rhythm) -> NDArray[np.bool_]:
    """Which beats lie outside fibrillation and standstill."""
    beating = np.ones(r_s.size, dtype=np.bool_)
    for start, end, code in rhythm.spans:
        if code in ARREST:
            beating &= (r_s < start) | (r_s >= end)
    return beating


def _age_years(record: EcgRecord) -> float | None:
    """As the file states it, or from birth and recording; None when unknown or impossible."""
    years, born, at = record.age_years, record.patient.birth_date, record.acquired_at
    if years is None and born is not None and at is not None:
        years = (at.date() - born).days / _YEAR_DAYS
    # an impossible age must not silence the rules of every age
    return years if years is not None and 0.0 <= years <= _OLDEST_YEARS else None


def _without_calibration(signals_mv: Samples, record: EcgRecord) -> Samples:
    """The samples with every calibration pulse replaced by NaN."""
    spans = [a for a in record.annotations if a.kind == CALIBRATION_PULSE]
    if not spans:
        return signals_mv
    signals = signals_mv.copy()
    for span in spans:
        rows = [i for i, lead in enumerate(record.leads) if span.lead in (None, lead)]
        signals[rows, max(0, span.start) : max(0, span.end)] = np.nan
    return signals


def _quality(signals: Samples, there: NDArray[np.bool_], peaks: NDArray[np.int64], record: EcgRecord) -> Quality:
    """Of the longest span in which at least one lead has samples; of the whole when there is none."""
    starts, stops = run_lengths(there)
    start, stop = 0, signals.shape[1]
    if starts.size:
        longest = int(np.argmax(stops - starts))
        start, stop = int(starts[longest]), int(stops[longest])
    inside = peaks[(peaks >= start) & (peaks < stop)] - start
    return assess_quality(signals[:, start:stop], record.fs_hz, record.leads, r_peaks=inside)


def _with_missing(quality: Quality, there: NDArray[np.bool_]) -> Quality:
    """Says that samples are missing, which a verdict about the longest stretch with samples cannot."""
    off = finding(None, "off")
    if not there.size or 1.0 - float(there.mean()) <= LIMITS.missing_share or off in quality.findings:
        return quality
    # behind the other findings about the whole recording
    return replace(quality, findings=tuple(sorted((*quality.findings, off), key=lambda one: one.lead is not None)))


def _beats(quality: Quality, rhythm: Rhythm) -> bool:
    """Whether what was taken for beats may be measured: not where no lead shows any and no rhythm was recognised."""
    if not any(finding.fault == "all_leads_bad" for finding in quality.findings):
        return True
    return any(code not in _NO_HEARTBEAT for _, _, code in rhythm.spans)

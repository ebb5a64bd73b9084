"""From a record to everything that is said about it automatically. Nothing here is a diagnosis.

Same record, same result, to the last digit: no clock, no random numbers, no environment.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.analysis import ANALYSIS_VERSION, JSON_SHAPE, Analysis
from teleread.signal.ecg.filters import Samples, run_lengths
from teleread.signal.ecg.flags import Flag, FlagInputs, Profile, flag, load_profile
from teleread.signal.ecg.measure import Measured
from teleread.signal.ecg.qrs import detect_qrs
from teleread.signal.ecg.quality import Quality, assess_quality
from teleread.signal.ecg.record import CALIBRATION_PULSE, EcgRecord
from teleread.signal.ecg.rhythm import Rhythm
from teleread.signal.ecg.stretches import look, none_of, whole

__all__ = ["ANALYSIS_VERSION", "JSON_SHAPE", "Analysis", "Flag", "Measured", "analyse"]

_LONGEST_RR_S = 10.0
_CHILD_YEARS = 12.0
"""Below this the band goes up to 250 Hz (AHA/ACC/HRS 2007, doi:10.1161/CIRCULATIONAHA.106.180200)."""
_NO_HEARTBEAT = frozenset({"undetermined", "asystole", "ventricular_fibrillation"})
_YEAR_DAYS = 365.25


def analyse(record: EcgRecord, profile: Profile | None = None) -> Analysis:
    """Judges, finds beats, measures, names the rhythm and flags. Never fails for a bad recording.

    Spans annotated as calibration pulse are skipped: no beat is sought there and no RR interval crosses one. Leads are
    measured in the diagnostic band whatever is displayed. What cannot be measured is left out.

    Args:
        profile: the rules that flag; by default the newest edition of the standard ones.
    """
    rules = load_profile() if profile is None else profile
    age = _age_years(record)
    signals = _without_calibration(record)
    present = _present(signals)
    peaks = detect_qrs(signals, record.fs_hz)
    quality = _quality(signals, present, peaks, record)
    seen = whole(
        look(signals, record.fs_hz, record.leads, peaks, child=age is not None and age < _CHILD_YEARS),
        _rr_intervals(present, peaks, record.fs_hz),
        quality.score,
    )
    measurements = seen.measurements
    if not _beats(quality, seen.rhythm):
        measurements, peaks = {}, peaks[:0]
        seen = replace(seen, delineation=none_of(seen.delineation), rhythm=replace(seen.rhythm, beats=()), beat=None)
    judged = flag(
        FlagInputs(
            measurements=measurements,
            rhythm=seen.rhythm,
            beat=seen.beat,
            quality=quality,
            age_years=age,
            sex=record.patient.sex,
            filters=record.filters,
            leads=record.leads,
            applied=seen.applied,
            r_peaks_s=tuple((peaks / record.fs_hz).tolist()),
        ),
        rules,
    )
    return Analysis(
        quality=quality,
        r_peaks=peaks,
        measurements=MappingProxyType(measurements),
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


def _age_years(record: EcgRecord) -> float | None:
    """As the file states it, or from birth and recording; None when unknown."""
    born, at = record.patient.birth_date, record.acquired_at
    if record.age_years is not None or born is None or at is None:
        return record.age_years
    days = (at.date() - born).days
    return days / _YEAR_DAYS if days >= 0 else None


def _without_calibration(record: EcgRecord) -> Samples:
    """The samples with every calibration pulse replaced by NaN."""
    spans = [a for a in record.annotations if a.kind == CALIBRATION_PULSE]
    if not spans:
        return record.signals_mv
    signals = record.signals_mv.copy()
    for span in spans:
        rows = [i for i, lead in enumerate(record.leads) if span.lead in (None, lead)]
        signals[rows, max(0, span.start) : max(0, span.end)] = np.nan
    return signals


def _present(signals: Samples) -> NDArray[np.bool_]:
    """Where at least one lead has a sample; row by row, because a long recording fills the memory by itself."""
    present = np.zeros(signals.shape[1], dtype=np.bool_)
    for row in signals:
        present |= np.isfinite(row)
    return present


def _quality(signals: Samples, present: NDArray[np.bool_], peaks: NDArray[np.int64], record: EcgRecord) -> Quality:
    """Of the longest span in which at least one lead has samples; of the whole when there is none."""
    starts, stops = run_lengths(present)
    start, stop = 0, signals.shape[1]
    if starts.size:
        longest = int(np.argmax(stops - starts))
        start, stop = int(starts[longest]), int(stops[longest])
    inside = peaks[(peaks >= start) & (peaks < stop)] - start
    return assess_quality(signals[:, start:stop], record.fs_hz, record.leads, r_peaks=inside)


def _rr_intervals(present: NDArray[np.bool_], peaks: NDArray[np.int64], fs_hz: float) -> Samples:
    """RR intervals in ms, without those that cross a stretch where no lead has samples, or that last over 10 s."""
    if peaks.size < 2:
        return np.empty(0)
    rr = np.diff(peaks)
    usable = rr < _LONGEST_RR_S * fs_hz
    if not present.all():
        missing = np.concatenate(([0], np.cumsum(~present, dtype=np.int32)))
        usable &= missing[peaks[1:]] == missing[peaks[:-1]]
    kept: Samples = 1000.0 * rr[usable] / fs_hz
    return kept


def _beats(quality: Quality, rhythm: Rhythm) -> bool:
    """Whether what was taken for beats may be measured: not where no lead shows any and no rhythm was recognised."""
    if not any(finding.fault == "all_leads_bad" for finding in quality.findings):
        return True
    return any(code not in _NO_HEARTBEAT for _, _, code in rhythm.spans)

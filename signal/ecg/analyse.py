"""From a record to everything that is said about it automatically. Nothing here is a diagnosis.

Same record, same result, to the last digit: no clock, no random numbers, no environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples, run_lengths
from teleread.signal.ecg.measure import Measured as Measured
from teleread.signal.ecg.qrs import detect_qrs
from teleread.signal.ecg.quality import Quality, assess_quality
from teleread.signal.ecg.record import CALIBRATION_PULSE, EcgRecord

ANALYSIS_VERSION = "1"
"""Rises whenever the same record may give another result."""

JSON_SHAPE = "teleread.ecg/1"
"""Names the shape of ``Analysis.to_json``. A field may be added under the same name, never changed or removed."""

_LONGEST_RR_S = 10.0
_FEWEST_RR = 2  # one interval is as easily an artefact as a rhythm


@dataclass(frozen=True, slots=True)
class Flag:
    """A rule that fired: which, in which version, where, and the value beside its limit."""

    rule_id: str
    version: str
    lead: str
    value: float
    limit: float


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """The automatic result, always unconfirmed.

    Args:
        quality: the verdict about the recording itself.
        r_peaks: sample indices into the record as stored.
        measurements: by name; a quantity that could not be measured is absent, never zero and never guessed.
        rhythm: spans (start_s, end_s, code); code is ``regular`` or ``irregular`` and says nothing about the cause.
        flags: rules that fired; none yet, and none never means normal.
    """

    quality: Quality
    r_peaks: NDArray[np.int64]
    measurements: Mapping[str, Measured]
    rhythm: tuple[tuple[float, float, str], ...]
    flags: tuple[Flag, ...]
    fs_hz: float
    duration_s: float
    leads: tuple[str, ...]
    derived_leads: tuple[str, ...]
    source_format: str

    def to_json(self) -> dict[str, Any]:
        """The shape of ``teleread ecg --json``, made of dict, list, str, int, float, bool and None only, no NaN.

        Keys, always all of them, in this order (docs/ecg-json.md explains each)::

            shape, analysis_version, unconfirmed,
            recording    {source_format, fs_hz, duration_s, leads, derived_leads}
            quality      {acceptable, score, findings: [{lead, fault, remedy}]}
            measurements {name: {value, unit, lead, confidence}}
            r_peaks      [sample index]
            rhythm       [{start_s, end_s, code}]
            flags        [{rule_id, version, lead, value, limit}]
        """
        return {
            "shape": JSON_SHAPE,
            "analysis_version": ANALYSIS_VERSION,
            "unconfirmed": True,
            "recording": {
                "source_format": self.source_format,
                "fs_hz": self.fs_hz,
                "duration_s": round(self.duration_s, 3),
                "leads": list(self.leads),
                "derived_leads": list(self.derived_leads),
            },
            "quality": {
                "acceptable": self.quality.acceptable,
                "score": self.quality.score,
                "findings": [{"lead": f.lead, "fault": f.fault, "remedy": f.remedy} for f in self.quality.findings],
            },
            "measurements": {
                name: {"value": m.value, "unit": m.unit, "lead": m.lead, "confidence": m.confidence}
                for name, m in sorted(self.measurements.items())
            },
            "r_peaks": [int(r) for r in self.r_peaks],
            "rhythm": [{"start_s": start, "end_s": end, "code": code} for start, end, code in self.rhythm],
            "flags": [
                {"rule_id": f.rule_id, "version": f.version, "lead": f.lead, "value": f.value, "limit": f.limit}
                for f in self.flags
            ],
        }


def analyse(record: EcgRecord) -> Analysis:
    """Judges, finds beats and measures. Never fails for a bad recording: what cannot be measured is left out.

    Spans annotated as calibration pulse are skipped: no beat is sought there and no RR interval crosses one.
    """
    signals = _without_calibration(record)
    start, stop = _longest_stretch(signals)
    quality = assess_quality(signals[:, start:stop], record.fs_hz, record.leads)
    peaks = detect_qrs(signals, record.fs_hz)
    if any(finding.fault == "all_leads_bad" for finding in quality.findings):
        peaks = peaks[:0]
    rr_ms = _rr_intervals(signals, peaks, record.fs_hz)
    return Analysis(
        quality=quality,
        r_peaks=peaks,
        measurements=MappingProxyType(_rates(rr_ms, quality)),
        rhythm=_rhythm(rr_ms, peaks, record.fs_hz),
        flags=(),
        fs_hz=record.fs_hz,
        duration_s=record.duration_s,
        leads=record.leads,
        derived_leads=record.derived_leads,
        source_format=record.source_format,
    )


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


def _longest_stretch(signals: Samples) -> tuple[int, int]:
    """The longest span in which at least one lead has samples; the whole when there is none."""
    starts, stops = run_lengths(_present(signals))
    if starts.size == 0:
        return 0, signals.shape[1]
    longest = int(np.argmax(stops - starts))
    return int(starts[longest]), int(stops[longest])


def _present(signals: Samples) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(signals).any(axis=0), dtype=np.bool_)


def _rr_intervals(signals: Samples, peaks: NDArray[np.int64], fs_hz: float) -> Samples:
    """RR intervals in ms, without those that cross a stretch where no lead has samples, or that last over 10 s."""
    if peaks.size < 2:
        return np.empty(0)
    gaps = np.concatenate(([0], np.cumsum(~_present(signals))))
    whole = gaps[peaks[1:]] == gaps[peaks[:-1]]
    rr = np.diff(peaks)
    kept: Samples = 1000.0 * rr[whole & (rr < _LONGEST_RR_S * fs_hz)] / fs_hz
    return kept


def _rates(rr_ms: Samples, quality: Quality) -> dict[str, Measured]:
    if rr_ms.size < _FEWEST_RR:
        return {}
    # few beats and a poor trace both make a rate less sure
    confidence = round(max(0.05, quality.score) * min(1.0, rr_ms.size / 5.0), 3)

    def of(value: float, unit: str) -> Measured:
        return Measured(round(float(value), 1), unit, "global", confidence)

    return {
        "heart_rate_bpm": of(60000.0 / rr_ms.mean(), "bpm"),
        "rr_mean_ms": of(rr_ms.mean(), "ms"),
        "rr_sd_ms": of(rr_ms.std(), "ms"),
        "rr_min_ms": of(rr_ms.min(), "ms"),
        "rr_max_ms": of(rr_ms.max(), "ms"),
    }


def _rhythm(rr_ms: Samples, peaks: NDArray[np.int64], fs_hz: float) -> tuple[tuple[float, float, str], ...]:
    if rr_ms.size < 4:
        return ()
    # breathing moves RR by a few per cent; three quarters of the intervals must lie within a tenth of the median
    spread = float(np.percentile(np.abs(rr_ms / np.median(rr_ms) - 1.0), 75))
    code = "regular" if spread < 0.10 else "irregular"
    return ((round(float(peaks[0]) / fs_hz, 3), round(float(peaks[-1]) / fs_hz, 3), code),)

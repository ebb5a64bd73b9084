"""What is said automatically about one recording, and its one shape as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.delineation import Delineation
from teleread.signal.ecg.filters import AppliedFilters
from teleread.signal.ecg.flag_types import Flag, NotJudged
from teleread.signal.ecg.measured import Measured
from teleread.signal.ecg.median_beat import MedianBeat
from teleread.signal.ecg.quality import Quality
from teleread.signal.ecg.rhythm_types import RhythmFinding

ANALYSIS_VERSION = "4"
"""Rises whenever the same record may give another result."""

JSON_SHAPE = "teleread.ecg/1"
"""Names the shape of ``Analysis.to_json``. A field may be added under the same name, never changed or removed."""

_WAVES = ("p_on", "p_peak", "p_off", "qrs_on", "qrs_off", "t_on", "t_peak", "t_off")


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """The automatic result, always unconfirmed.

    Args:
        quality: the verdict about the recording itself.
        r_peaks: sample indices into the record as stored.
        measurements: by name; a quantity that could not be measured is absent, never zero and never guessed.
        rhythm: spans (start_s, end_s, code); ``undetermined`` where it cannot be told.
        flags: rules that fired; none never means normal.
        beats: the kind of each beat.
        delineation: global boundaries of each beat, sample indices into the record as stored.
        rhythm_findings: what else there is to say of the rhythm.
        not_judged: rules, or leads of rules, that could not be judged, and why.
        filters_applied: to the samples that were measured.
        profile: name and version of the rules.
        beat: the usual beat, None when there is none; not part of the JSON.
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
    beats: tuple[str, ...]
    delineation: Delineation
    rhythm_findings: tuple[RhythmFinding, ...]
    not_judged: tuple[NotJudged, ...]
    filters_applied: AppliedFilters
    profile: tuple[str, str]
    beat: MedianBeat | None = None

    def to_json(self) -> dict[str, Any]:
        """The shape of ``teleread ecg --json``, made of dict, list, str, int, float, bool and None only, no NaN.

        Keys, always all of them, in this order (docs/ecg-json.md explains each)::

            shape, analysis_version, unconfirmed,
            recording       {source_format, fs_hz, duration_s, leads, derived_leads}
            filters_applied {high_pass_hz, low_pass_hz, notch_hz, baseline_removed}
            quality         {acceptable, score, findings: [{lead, fault, remedy, …}]}
            measurements    {name: {value, unit, lead, confidence}}
            r_peaks         [sample index]
            beats           [kind]
            delineation     {p_on …: [sample index, -1 absent]}
            rhythm          [{start_s, end_s, code}]
            rhythm_findings [{code, start_s, end_s, value, unit, confidence}]
            profile         {name, version}
            flags           [{rule_id, version, lead, value, limit, kind, code, severity, unit, …}]
            not_judged      [{rule_id, version, code, reason, lead, met, kind}]
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
            "filters_applied": asdict(self.filters_applied),
            "quality": {
                "acceptable": self.quality.acceptable,
                "score": self.quality.score,
                "findings": [asdict(finding) for finding in self.quality.findings],
            },
            "measurements": {name: asdict(one) for name, one in sorted(self.measurements.items())},
            "r_peaks": self.r_peaks.tolist(),
            "beats": list(self.beats),
            "delineation": {wave: getattr(self.delineation, wave).tolist() for wave in _WAVES},
            "rhythm": [{"start_s": start, "end_s": end, "code": code} for start, end, code in self.rhythm],
            "rhythm_findings": [asdict(finding) for finding in self.rhythm_findings],
            "profile": dict(zip(("name", "version"), self.profile, strict=True)),
            "flags": [flag.to_json() for flag in self.flags],
            "not_judged": [one.to_json() for one in self.not_judged],
        }

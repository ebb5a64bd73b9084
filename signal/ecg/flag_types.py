"""What the flag rules read and what they answer. Types only.

The rules read measurements, rhythm and quality by shape (protocols), so that a rule can be tested with two lines of
hand-made input and no module of measuring is needed to judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

KINDS = ("measurement", "order", "diagnosis_like")
"""``measurement``: a number beyond its limit, without meaning. ``order``: puts a case before others.
``diagnosis_like``: looks like a named disease. Each kind can be switched off by itself."""

SEVERITIES = ("critical", "urgent", "note")
"""``critical`` is a critical value of the source; ``urgent`` is read before routine; ``note`` is only shown."""


class MeasuredLike(Protocol):
    """One measured number (``teleread.signal.ecg.measure.Measured``)."""

    @property
    def value(self) -> float: ...
    @property
    def unit(self) -> str: ...
    @property
    def lead(self) -> str: ...
    @property
    def confidence(self) -> float: ...


class RhythmFindingLike(Protocol):
    """One rhythm finding (``teleread.signal.ecg.rhythm.RhythmFinding``)."""

    @property
    def code(self) -> str: ...
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...
    @property
    def value(self) -> float | None: ...
    @property
    def unit(self) -> str: ...
    @property
    def confidence(self) -> float: ...


class RhythmLike(Protocol):
    """Spans (start_s, end_s, code) and findings (``teleread.signal.ecg.rhythm.Rhythm``)."""

    @property
    def spans(self) -> Sequence[tuple[float, float, str]]: ...
    @property
    def findings(self) -> Sequence[RhythmFindingLike]: ...


class FindingLike(Protocol):
    """One fault of the recording (``teleread.signal.ecg.quality.Finding``)."""

    @property
    def lead(self) -> str | None: ...
    @property
    def fault(self) -> str: ...
    @property
    def electrode(self) -> str | None: ...


class QualityLike(Protocol):
    """The verdict about the recording (``teleread.signal.ecg.quality.Quality``)."""

    @property
    def findings(self) -> Sequence[FindingLike]: ...


class BandLike(Protocol):
    """Corner frequencies in Hz, None where unknown or open (``record.Filters``, ``filters.AppliedFilters``)."""

    @property
    def high_pass_hz(self) -> float | None: ...
    @property
    def low_pass_hz(self) -> float | None: ...


@dataclass(frozen=True, slots=True, eq=False)
class FlagInputs:
    """Everything that the rules may look at.

    Args:
        measurements: by name, ``st_j_mv.V2`` for one of a lead. What is absent could not be measured.
        rhythm: spans and findings, None when the rhythm was not judged.
        beat: the median beat; no rule needs its samples yet.
        quality: None when the recording was not judged.
        age_years: None when unknown, which is said and never guessed.
        sex: ``"M"``, ``"F"``; anything else is unknown.
        filters: what the device did before storing, None in a field that the file does not say.
        leads: of the recording.
        applied: what our own filter did, None when it is the diagnostic band.
        r_peaks_s: times of the beats in seconds, for rates within a span.
        fs_hz: sampling rate, None when the samples had room for the whole band.
    """

    measurements: Mapping[str, MeasuredLike]
    rhythm: RhythmLike | None
    beat: Any
    quality: QualityLike | None
    age_years: float | None
    sex: str | None
    filters: BandLike
    leads: tuple[str, ...]
    applied: BandLike | None = None
    r_peaks_s: tuple[float, ...] = ()
    fs_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """A rule that fired.

    Args:
        rule_id: ``profile.rule``.
        version: of the profile that holds the rule.
        lead: where the value was found, or ``"global"``.
        value: beside ``limit``, both in ``unit``.
        limit: 0 with the unit ``"s"`` means presence: the value is how long it lasts, and there is no limit to show.
        kind: one of ``KINDS``.
        code: what it is, stable, for texts and for telling two sources' rules about the same thing together.
        severity: one of ``SEVERITIES``.
        confidence: 0 to 1, of the least sure value that took part.
        evidence: every (lead, value) that took part.
        assumed: ``"age"``, ``"sex"``: unknown, so the most sensitive limit was used.
        notes: stable codes that weaken the flag, such as ``filter_unknown``.
    """

    rule_id: str
    version: str
    lead: str
    value: float
    limit: float
    kind: str = "measurement"
    code: str = ""
    severity: str = "note"
    unit: str = ""
    confidence: float = 1.0
    evidence: tuple[tuple[str, float], ...] = ()
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain types only, always all keys."""
        return {
            "rule_id": self.rule_id,
            "version": self.version,
            "lead": self.lead,
            "value": self.value,
            "limit": self.limit,
            "kind": self.kind,
            "code": self.code,
            "severity": self.severity,
            "unit": self.unit,
            "confidence": self.confidence,
            "evidence": [{"lead": lead, "value": value} for lead, value in self.evidence],
            "assumed": list(self.assumed),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class NotJudged:
    """A rule, or one lead of it, that was not judged, and why.

    Args:
        reason: ``paced``, ``lbbb``, ``lvh``, ``pre_excitation``, ``ventricular_rhythm``, ``filter_narrow``,
            ``lead_quality``, ``lead_missing``, ``not_measured``, ``rhythm_unknown``, ``uncertain``, ``age_outside``,
            ``switched_off``, ``atrial_flutter``.
        lead: None when the whole rule was left out.
        met: True when the limits were reached all the same. It is not a flag; a reader should still look.
        kind: of the rule, one of ``KINDS``.
    """

    rule_id: str
    version: str
    code: str
    reason: str
    lead: str | None = None
    met: bool = False
    kind: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain types only, always all keys."""
        return {
            "rule_id": self.rule_id,
            "version": self.version,
            "code": self.code,
            "reason": self.reason,
            "lead": self.lead,
            "met": self.met,
            "kind": self.kind,
        }


@dataclass(frozen=True, slots=True)
class Flags:
    """What fired and what was not judged. No flag never means normal."""

    flags: tuple[Flag, ...]
    not_judged: tuple[NotJudged, ...]

    @property
    def st_not_judged(self) -> tuple[str, ...]:
        """Why ST was not judged in the whole recording, in the order of the rules; empty when it was."""
        reasons = [n.reason for n in self.not_judged if n.lead is None and n.reason in ST_REASONS]
        return tuple(dict.fromkeys(reasons))


ST_REASONS = ("paced", "lbbb", "lvh", "pre_excitation", "rbbb", "ventricular_rhythm", "filter_narrow")
"""Reasons of ``NotJudged`` that concern the ST segment."""

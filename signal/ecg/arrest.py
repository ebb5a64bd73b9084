"""What the rhythm means for the verdict about the recording.

A fibrillating or stopped heart may look like a good recording; whoever stands beside the patient must look there
first. And where the ventricles beat by themselves, the axis tells nothing of the electrodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from teleread.signal.ecg.quality_types import Quality, finding

Span = tuple[float, float, str]

ARREST = frozenset({"ventricular_fibrillation", "asystole"})
"""Rhythms without a pulse and without beats."""

_VENTRICULAR = frozenset(
    {
        "ventricular_tachycardia",
        "ventricular_fibrillation",
        "idioventricular_rhythm",
        "accelerated_idioventricular_rhythm",
        "paced_rhythm",
    }
)
_EXCHANGED = frozenset({"limb_reversal", "precordial_swap"})
_AT_THE_END_S = 3.0
_ROUNDING_S = 0.05
_SHORT_S = 60.0


def share(spans: Sequence[Span], codes: frozenset[str]) -> float:
    """The part of the time, 0 to 1, that has one of these codes."""
    total = sum(end - start for start, end, _ in spans)
    return sum(end - start for start, end, code in spans if code in codes) / total if total > 0 else 0.0


def arrested(spans: Sequence[Span], duration_s: float) -> bool:
    """Whether fibrillation or standstill covers half of the recording, or the last three seconds of a short one.

    The end of a recording over a minute says nothing: there the recorder was taken off.
    """
    if share(spans, ARREST) >= 0.5:
        return True
    if duration_s > _SHORT_S:
        return False
    last = duration_s - _AT_THE_END_S
    covered = sum(end - max(start, last) for start, end, code in spans if code in ARREST and end > last)
    return covered >= _AT_THE_END_S - _ROUNDING_S


def judged_by_rhythm(quality: Quality, spans: Sequence[Span], duration_s: float) -> Quality:
    """The verdict once the rhythm is known: in an arrest not acceptable, the patient first."""
    findings = quality.findings
    if share(spans, _VENTRICULAR) >= 0.5:
        findings = tuple(one for one in findings if one.fault not in _EXCHANGED)
    if not arrested(spans, duration_s):
        return replace(quality, findings=findings)
    first = finding(None, "all_leads_bad")
    others = tuple(one for one in findings if one != first)
    return Quality(False, min(quality.score, 0.2), (first, *others))

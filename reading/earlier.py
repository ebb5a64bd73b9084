"""The same patient's earlier ECGs beside a new one: which they are, and what changed, in words.

Only what :func:`teleread.reading.persons.priors` gives enters: a recording of the same person by a standing link. One
that only bears the same name and birth date is never compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from teleread.reading.persons import Prior
from teleread.signal.ecg.measured import Measured
from teleread.signal.ecg.serial import Change, Compared, compare
from teleread.signal.ecg.sheet_text import change_line


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a comparison, in the reader's language."""

    text: str
    significant: bool


def comparable(priors: Sequence[Prior]) -> tuple[Prior, ...]:
    """The ECGs among earlier studies that have a case, whose id is their arrival's; the newest first."""
    return tuple(one for one in priors if one.modality == "ECG" and one.case_id is not None)


def changes(now: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[Change, ...]:
    """What changed from one stored analysis to the next."""
    return compare(_compared(now), _compared(before))


def lines(found: Sequence[Change], language: str) -> tuple[Line, ...]:
    """All changes in words, those beyond chance first."""
    ordered = sorted(found, key=lambda change: not change.significant)
    return tuple(Line(change_line(change, language), change.significant) for change in ordered)


def _compared(analysis: Mapping[str, Any]) -> Compared:
    measured = {name: Measured(**one) for name, one in analysis["measurements"].items()}
    rhythm = tuple(dict.fromkeys(span["code"] for span in analysis["rhythm"]))
    findings = tuple(dict.fromkeys(one["code"] for one in analysis.get("rhythm_findings", ())))
    return Compared(measured, rhythm, findings, bool(analysis["quality"]["acceptable"]))

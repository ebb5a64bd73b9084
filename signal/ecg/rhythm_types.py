"""What the rhythm analysis says: codes, spans, findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from teleread.signal.ecg.filters import Samples

SPAN_CODES = (
    "sinus_rhythm",
    "sinus_bradycardia",
    "sinus_tachycardia",
    "sinus_arrhythmia",
    "atrial_fibrillation",
    "atrial_flutter",
    "supraventricular_tachycardia",
    "ventricular_tachycardia",
    "ventricular_fibrillation",
    "asystole",
    "junctional_rhythm",
    "idioventricular_rhythm",
    "accelerated_idioventricular_rhythm",
    "paced_rhythm",
    "undetermined",
)
"""What a span may be called. ``undetermined``: it cannot be told; it never means normal."""

FINDING_CODES = (
    "pause",
    "bradycardia",
    "tachycardia",
    "premature_ventricular",
    "premature_supraventricular",
    "bigeminy",
    "couplet",
    "av_block_1",
    "av_block_2_mobitz_1",
    "av_block_2_mobitz_2",
    "av_block_2_1",
    "av_block_3",
    "lbbb",
    "rbbb",
    "ivcd",
    "pre_excitation",
    "pre_excited_af",
    "paced",
    "ventricular_tachycardia",
    "ventricular_fibrillation",
    "asystole",
    "supraventricular_tachycardia",
    "atrial_fibrillation",
    "atrial_flutter",
)
"""What a finding may be called. The last six repeat a span with its rate or length and how sure it is."""


@dataclass(frozen=True, slots=True)
class RhythmFinding:
    """One thing found, from ``start_s`` to ``end_s``.

    ``value`` with its ``unit``: a pause in ``"s"``, a rate in ``"bpm"``, a share of beats in ``"%"``, an interval in
    ``"ms"``, None where there is nothing to count. ``confidence`` runs from 0 to 1.
    """

    code: str
    start_s: float
    end_s: float
    value: float | None
    unit: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Spans (start_s, end_s, code) without overlap, in order; one kind per beat; findings in order of time."""

    spans: tuple[tuple[float, float, str], ...]
    beats: tuple[str, ...]
    findings: tuple[RhythmFinding, ...]


class BeatLike(Protocol):
    """What is needed of a median beat: (n_leads, m) signals, their leads and rate, boundaries in samples (-1
    absent)."""

    @property
    def signals_mv(self) -> Samples: ...
    @property
    def leads(self) -> tuple[str, ...]: ...
    @property
    def fs_hz(self) -> float: ...
    @property
    def p_on(self) -> int: ...
    @property
    def qrs_on(self) -> int: ...
    @property
    def qrs_off(self) -> int: ...


Spans = list[tuple[float, float, str]]

"""The type of a measurement; apart from what measures, so that every measuring module can use it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured number.

    Args:
        value: finite.
        unit: ``"bpm"``, ``"ms"``, ``"mV"``, ``"deg"``.
        lead: a lead's name or ``"global"``.
        confidence: 0 (worthless) to 1.
    """

    value: float
    unit: str
    lead: str
    confidence: float

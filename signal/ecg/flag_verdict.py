"""What a test of a flag rule answers. A type module."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a rule's limits are reached, and by what.

    Args:
        met: all limits are reached.
        reason: why the rule was not judged, empty when it was.
        left_out: (lead, reason) of leads that were not looked at.
        assumed: what was unknown, so that the most sensitive limit was used.
    """

    met: bool
    lead: str = "global"
    value: float = 0.0
    limit: float = 0.0
    unit: str = ""
    confidence: float = 1.0
    evidence: tuple[tuple[str, float], ...] = ()
    reason: str = ""
    left_out: tuple[tuple[str, str], ...] = ()
    assumed: tuple[str, ...] = ()


def not_judged(reason: str, *, met: bool = False) -> Verdict:
    """The verdict of a rule that could not be looked at, or not well enough to say that its limits are reached."""
    return Verdict(met=met, reason=reason)

"""How urgent a case is: the clinic's word, which findings and failures may raise and nothing may lower. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from teleread.alliance import PRIORITIES, Priority


@dataclass(frozen=True, slots=True)
class Decision:
    """A priority with the stable codes of what led to it."""

    priority: Priority
    reasons: tuple[str, ...]


def higher(one: Priority, other: Priority) -> Priority:
    """The more urgent of two priorities."""
    return min(one, other, key=PRIORITIES.index)


_BY_SEVERITY: Mapping[str, Priority] = {"critical": "urgent", "urgent": "high"}


def decide(
    clinic_priority: Priority, *, analysed: bool, acceptable: bool | None, severities: Iterable[str] = ()
) -> Decision:
    """The priority of a case.

    What could not be analysed, or was recorded too badly to be judged, keeps the clinic's priority and is at least
    ``high``: no verdict never means normal.

    Args:
        analysed: False when parsing or analysis failed or is not finished.
        acceptable: the quality verdict, None where no verdict is made (images).
        severities: of the flags that may raise it: ``critical`` makes it urgent, ``urgent`` high, others nothing.
    """
    priority: Priority = clinic_priority
    reasons = [] if clinic_priority == "routine" else ["clinic"]
    if not analysed:
        priority = higher(priority, "high")
        reasons.append("not_analysed")
    elif acceptable is False:
        priority = higher(priority, "high")
        reasons.append("poor_quality")
    if flagged := [_BY_SEVERITY[severity] for severity in severities if severity in _BY_SEVERITY]:
        priority = higher(priority, min(flagged, key=PRIORITIES.index))
        reasons.append("flagged")
    return Decision(priority, tuple(reasons))

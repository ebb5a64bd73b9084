"""The states of a work item as a table: those of the Unified Procedure Step (PS3.4 CC.1.1), and what leads on.

UPS knows no way back from IN PROGRESS. A case therefore owns successive work items: whatever ends a claim without a
report cancels one item with its reason and makes the next, in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from teleread.errors import Conflict

State = Literal["SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"]
Event = Literal[
    "created",  # a case is queued, or its next item after a lost claim
    "raised",  # its priority
    "routed",  # to a pool
    "overflowed",  # a second pool may read it as well
    "escalated",  # people are told that it waits, or lies claimed and unsigned
    "claimed",
    "completed",  # a report is signed
    "released",  # given back by its reader
    "broken",  # taken from its reader by a coordinator
    "expired",  # its reader's heartbeats stopped
    "handed_over",  # at the end of a shift
    "withdrawn",  # read under another case
]

STATES: tuple[State, ...] = ("SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED")

TRANSITIONS: Mapping[tuple[State | None, Event], State] = MappingProxyType(
    {
        (None, "created"): "SCHEDULED",
        ("SCHEDULED", "raised"): "SCHEDULED",
        ("SCHEDULED", "routed"): "SCHEDULED",
        ("SCHEDULED", "overflowed"): "SCHEDULED",
        ("SCHEDULED", "escalated"): "SCHEDULED",
        ("SCHEDULED", "claimed"): "IN PROGRESS",
        ("SCHEDULED", "withdrawn"): "CANCELED",
        ("IN PROGRESS", "raised"): "IN PROGRESS",
        ("IN PROGRESS", "escalated"): "IN PROGRESS",
        ("IN PROGRESS", "completed"): "COMPLETED",
        ("IN PROGRESS", "released"): "CANCELED",
        ("IN PROGRESS", "broken"): "CANCELED",
        ("IN PROGRESS", "expired"): "CANCELED",
        ("IN PROGRESS", "handed_over"): "CANCELED",
        ("IN PROGRESS", "withdrawn"): "CANCELED",
    }
)
"""From a state, by an event, to a state. What does not stand here does not happen."""

OPEN: frozenset[str] = frozenset({"SCHEDULED", "IN PROGRESS"})
"""States of a case that is not read yet."""

RETURNS = frozenset({"released", "broken", "expired", "handed_over"})
"""Events after which the case waits again, as a new work item."""


def after(state: State | None, event: Event) -> State:
    """The state that an event leads to.

    Raises:
        Conflict: ``illegal_transition``.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Conflict("illegal_transition", "This cannot happen to the case in its present state.") from None

"""Whether a history of claims is one that never had two owners: from the events, and from what each claimer believed.

Knows nothing of the code that it judges: the states are those of the standard (PS3.4, figure CC.1.1-1), the rules
those of leases with fencing tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

LEGAL = {
    (None, "SCHEDULED"),
    ("SCHEDULED", "SCHEDULED"),
    ("SCHEDULED", "IN PROGRESS"),
    ("SCHEDULED", "CANCELED"),
    ("IN PROGRESS", "IN PROGRESS"),
    ("IN PROGRESS", "COMPLETED"),
    ("IN PROGRESS", "CANCELED"),
}
CLOCK_S = 0.001  # a time that went through a database is one of microseconds
ENDED_BY_HAND = {"released", "broken", "handed_over", "completed", "withdrawn"}


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the items' history, in the order in which they were written."""

    case_id: str
    item_id: str
    event: str
    from_state: str | None
    to_state: str
    who: str
    fence: int


@dataclass(frozen=True, slots=True)
class Belief:
    """What a claimer knew: ``what`` is claimed, heartbeat, accepted or refused.

    Args:
        began: the time that it gave with its act.
        at: when the act was done, and not yet to be seen by others where it was a claim.
        until: until when its claim held, as it had been told.
        stale: it had lost the claim for certain, or never had it, when it acted.
    """

    what: str
    case_id: str
    item_id: str
    who: str
    fence: int
    began: float
    at: float
    until: float = 0.0
    stale: bool = False


def faults(events: Sequence[Event], beliefs: Iterable[Belief], *, cases: Iterable[str] = ()) -> list[str]:
    """All that is wrong; empty when the history is sound.

    Args:
        cases: that must have been read.
    """
    known = list(beliefs)
    found = [*_transitions(events), *_one_open(events), *_fences(events), *_acts(events, known)]
    found += [*_held(events, known), *_owners(events, known)]
    read = {one.case_id for one in events if one.event == "completed"}
    return found + [f"case {case} was never read" for case in cases if case not in read]


def _transitions(events: Iterable[Event]) -> Iterable[str]:
    state: dict[str, str | None] = {}
    for one in events:
        if state.get(one.item_id) != one.from_state:
            yield f"{one.item_id}: {one.event} from {one.from_state}, but it was {state.get(one.item_id)}"
        if (one.from_state, one.to_state) not in LEGAL:
            yield f"{one.item_id}: {one.from_state} to {one.to_state}"
        state[one.item_id] = one.to_state


def _one_open(events: Iterable[Event]) -> Iterable[str]:
    is_open: dict[str, set[str]] = defaultdict(set)
    for one in events:
        if one.to_state in {"SCHEDULED", "IN PROGRESS"}:
            is_open[one.case_id].add(one.item_id)
        else:
            is_open[one.case_id].discard(one.item_id)
        if len(is_open[one.case_id]) > 1:
            yield f"case {one.case_id} has two open work items after {one.event}"


def _fences(events: Iterable[Event]) -> Iterable[str]:
    last: dict[str, int] = defaultdict(int)
    for one in events:
        if one.event == "claimed":
            if one.fence <= last[one.case_id]:
                yield f"case {one.case_id}: token {one.fence} after {last[one.case_id]}"
            last[one.case_id] = one.fence
        elif one.fence > last[one.case_id]:
            yield f"case {one.case_id}: token {one.fence} of {one.event} was never given"


def _acts(events: Sequence[Event], beliefs: Iterable[Belief]) -> Iterable[str]:
    claimed = {(one.item_id, one.who, one.fence) for one in events if one.event == "claimed"}
    completed = {(one.item_id, one.who, one.fence) for one in events if one.event == "completed"}
    for item_id, who, fence in completed - claimed:
        yield f"{who} read {item_id} with {fence}, and had never been given it"
    for one in beliefs:
        token = one.item_id, one.who, one.fence
        if one.what == "claimed" and token not in claimed:
            yield f"{one.who} was given {one.item_id} with {one.fence}, and the history does not know it"
        if one.what == "accepted" and token not in completed:
            yield f"{one.who} read {one.item_id} with {one.fence}, and the history does not know it"
        if one.what in {"accepted", "heartbeat"} and one.stale:
            yield f"{one.who}: a stale token of {one.item_id} was not refused"


def _held(events: Iterable[Event], beliefs: Iterable[Belief]) -> Iterable[str]:
    """Nobody acts after the time that they were told, and nobody is refused before it."""
    by_hand = {(one.item_id, one.fence) for one in events if one.event in ENDED_BY_HAND}
    held: dict[tuple[str, str, int], float] = {}
    for one in beliefs:
        token = one.item_id, one.who, one.fence
        until = held.get(token)
        if one.what in {"accepted", "heartbeat"} and until is not None and one.began > until + CLOCK_S:
            yield f"{one.who}: {one.item_id} was held until {until}, and an act at {one.began} was not refused"
        kept = until is not None and one.at < until - CLOCK_S and (one.item_id, one.fence) not in by_hand
        if one.what == "refused" and kept:
            yield f"{one.who}: {one.item_id} was held until {until}, and an act at {one.at} was refused"
        if one.what in {"claimed", "heartbeat"}:
            held[token] = one.until


def _owners(events: Iterable[Event], beliefs: Iterable[Belief]) -> Iterable[str]:
    """Nobody is given a case while somebody else has been told that it is theirs."""
    by_hand = {(one.case_id, one.fence) for one in events if one.event in ENDED_BY_HAND}
    claims: dict[str, dict[int, list[Belief]]] = defaultdict(lambda: defaultdict(list))
    for one in beliefs:
        if one.what in {"claimed", "heartbeat"} and not one.stale:
            claims[one.case_id][one.fence].append(one)
    for case_id, by_fence in claims.items():
        order = sorted(by_fence)
        for fence, following in pairwise(order):
            until = max(one.until for one in by_fence[fence])
            given = min(one.at for one in by_fence[following])
            if (case_id, fence) not in by_hand and given < until - CLOCK_S:
                yield f"case {case_id}: token {following} given at {given}, token {fence} held until {until}"


def event_of(row: Any) -> Event:
    """From a row of ``item_events``."""
    return Event(**{name: getattr(row, name) for name in Event.__dataclass_fields__})

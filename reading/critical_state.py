"""What a critical value may go through, and what its ladder asks for at a moment. Pure.

Open until a named person of the clinic has it (*acknowledged*), until it has a named owner because nobody answered
(*owned*, and still to be acknowledged), or until a later statement stands in its place (*withdrawn*).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from teleread.errors import Conflict
from teleread.reading.critical_ladder import Ladder, Step
from teleread.reading.critical_people import People
from teleread.reading_room import Contact

State = Literal["open", "acknowledged", "owned", "withdrawn"]
Event = Literal[
    "raised",
    "joined",  # a report says it too, or more was found before anybody knew
    "acknowledged",  # by a person of the clinic on a page
    "read_back",  # by a person of the clinic on the telephone, who said it back
    "taken",  # somebody here makes it theirs
    "escalated",  # the ladder is at its end
    "corrected",  # another statement stands in its place and asks anew
]

STATES: tuple[State, ...] = ("open", "acknowledged", "owned", "withdrawn")

TRANSITIONS: Mapping[tuple[State | None, Event], State] = MappingProxyType(
    {
        (None, "raised"): "open",
        ("open", "joined"): "open",
        ("open", "acknowledged"): "acknowledged",
        ("open", "read_back"): "acknowledged",
        ("open", "taken"): "owned",
        ("open", "escalated"): "owned",
        ("open", "corrected"): "withdrawn",
        ("owned", "joined"): "owned",
        ("owned", "acknowledged"): "acknowledged",
        ("owned", "read_back"): "acknowledged",
        ("owned", "taken"): "owned",
        ("owned", "escalated"): "owned",
        ("owned", "corrected"): "withdrawn",
        ("acknowledged", "joined"): "acknowledged",
        ("acknowledged", "corrected"): "acknowledged",  # what was said and heard stays said and heard
    }
)
"""From a state, by an event, to a state. What does not stand here does not happen."""

ENDED: frozenset[State] = frozenset({"acknowledged", "withdrawn"})
BY_HAND = 100
"""Steps from here on are telephone calls that a person has written down."""
WITHDRAWN = "critical_withdrawn"
"""The code of a statement that says: what was called critical is not."""
UNNAMED = "critical_other"
"""The code of a finding that has no code of its own."""
NO_CHANNEL = "no_channel"


def after(state: State | None, event: Event) -> State:
    """The state that an event leads to.

    Raises:
        Conflict: ``critical_ended``: it has ended, and the event comes too late.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Conflict("critical_ended", "This critical value has been settled.") from None


@dataclass(frozen=True, slots=True)
class Critical:
    """A critical value and the six facts: what (``codes``), when found, by whom, told whom, when, how."""

    id: str
    case_id: str
    report_id: str | None
    site_id: str
    receipt: str
    codes: tuple[str, ...]
    state: State
    found_at: datetime
    found_by: str
    told_to: str | None
    told_at: datetime | None
    told_how: str | None
    read_back: bool | None
    recorded_by: str | None
    owner: str | None
    owned_at: datetime | None
    supersedes: str | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Told:
    """One way in which somebody was told: a row of ``critical_steps``."""

    critical_id: str
    step: int
    channel: str  # screen | webhook | email | telephone | owner
    contact: str
    due_at: datetime
    tried_at: datetime | None
    done_at: datetime | None
    outcome: str | None
    tries: int


@dataclass(frozen=True, slots=True)
class Act:
    """What is to be done now. ``contact`` is a contact's id, a site for ``screen``, an account for ``owner``.

    A ``telephone`` act names the account that is to call, or the contact that is to be called.
    """

    step: int
    channel: str
    contact: str
    due_at: datetime
    outcome: str | None = None


def decide(critical: Critical, steps: Iterable[Told], now: datetime, people: People, ladder: Ladder) -> tuple[Act, ...]:
    """The acts of every step of the ladder that is due and has not been taken; none once it has ended.

    Each step has at least one act, whoever is missing: in the end somebody here is asked to telephone.
    """
    if critical.ended_at is not None:
        return ()
    taken = list(steps)
    numbers = {one.step for one in taken}
    found: dict[tuple[int, str, str], Act] = {}
    for number, step in enumerate(ladder.steps):
        due_at = critical.found_at + step.after
        if due_at > now or number in numbers:
            continue
        for channel, contact, outcome in _of_step(critical, step, taken, people):
            found.setdefault((number, channel, contact), Act(number, channel, contact, due_at, outcome))
    return tuple(found.values())


def next_step(critical: Critical, now: datetime, ladder: Ladder) -> tuple[int, datetime] | None:
    """The step that comes next, with its time; None when the ladder is at its end."""
    due = ((number, critical.found_at + step.after) for number, step in enumerate(ladder.steps))
    return next(((number, at) for number, at in due if at > now), None)


_Wanted = tuple[str, str, str | None]


def _of_step(critical: Critical, step: Step, taken: Sequence[Told], people: People) -> list[_Wanted]:
    found: list[_Wanted] = []
    for act, whom in step.acts:
        if act == "screen":
            found.append(("screen", critical.site_id, None))
        elif act == "owner":
            found.append(("owner", people.owner(critical.found_by), "named"))
        elif act == "call":
            found.append(("telephone", _to_call(whom, critical, people), None))
        else:
            found += _messages(whom, critical, taken, people)
    return found


def _messages(whom: str, critical: Critical, taken: Sequence[Told], people: People) -> list[_Wanted]:
    contacts = _contacts(whom, taken, people)
    ways = [(channel, contact.id, None) for contact in contacts for channel in channels(contact)]
    if not ways and whom.startswith("clinic"):
        # nobody there can be written to: a person here telephones at once
        return [("telephone", people.caller(critical.found_by), NO_CHANNEL)]
    return list(ways)


def channels(contact: Contact) -> tuple[str, ...]:
    """The ways in which a contact can be written to."""
    return tuple(name for name, value in (("webhook", contact.webhook), ("email", contact.email)) if value)


def _contacts(whom: str, taken: Sequence[Told], people: People) -> tuple[Contact, ...]:
    if whom == "coordinator":
        return people.coordinator_contacts
    if whom == "duty-officer":
        return people.duty_officers
    clinic = people.clinic
    reachable = tuple(one for one in clinic if channels(one))
    if whom == "clinic-2":
        return clinic[1:2] or clinic[:1]
    if whom == "clinic-1" or not reachable:
        return reachable[:1]
    reached = {one.contact for one in taken if one.outcome == "delivered"}
    again = tuple(one for one in reachable if one.id in reached)
    return again[:1] or reachable[1:2] or reachable[:1]


def _to_call(whom: str, critical: Critical, people: People) -> str:
    if whom == "clinic-2" and people.clinic:
        return (people.clinic[1:2] or people.clinic[:1])[0].id
    return people.caller(critical.found_by)

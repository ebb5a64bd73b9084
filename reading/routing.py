"""Where a case goes, when it is due and where it stands in the list. Pure: facts and rules in, a decision with every
step that led to it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from teleread.reading import rules
from teleread.reading_room import ALL, UNREADABLE, ReadingRoom, Route


@dataclass(frozen=True, slots=True)
class RoutingFacts:
    """What routes ask about a case. No identity.

    Args:
        analysed: False as long as nobody could read it; then it may be an ECG, whatever its modality says.
        question: a code of what the clinic asks, such as ``chest_pain``.
        kind: of the work item: reading, second_reading, second_opinion, consultation, review.
        arrived_at: when its first bytes were stored; limits count from here.
    """

    modality: str
    site_id: str
    priority: str
    arrived_at: datetime
    body_part: str | None = None
    age_years: float | None = None
    question: str | None = None
    kind: str = "reading"
    analysed: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a rule beside the case's fact."""

    fact: str  # modality | body_part | site | lead | question | kind | priority | age
    wanted: str
    found: str  # empty: not known
    fits: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was looked at.

    Args:
        rule: "route", "agreement", or "default" where no rule of the file says it.
        id: of the rule; for an agreement its site.
        says: what follows from it where it fits: a pool, or minutes.
    """

    rule: str
    id: str
    fits: bool
    says: str
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Routed:
    """The decision: a pool, when the report is due, and the case's place within its band."""

    pool: str
    due_at: datetime
    order_at: datetime
    steps: tuple[Step, ...]


def facts_of(known: Any, priority: str) -> RoutingFacts:
    """What routes ask about a case.

    Args:
        known: what the queue knows of it, or the row of a work item.
    """
    return RoutingFacts(
        modality=known.modality,
        site_id=known.site_id,
        priority=priority,
        arrived_at=known.arrived_at,
        body_part=known.body_part,
        age_years=known.patient_age_years,
        question=known.question,
        kind=getattr(known, "kind", "reading"),
        analysed=bool(known.analysed),
    )


def route(room: ReadingRoom, facts: RoutingFacts, at: datetime) -> Routed:
    """Decide by the rules in force at ``at``: the first fitting route in the order of the file wins.

    What no route fits goes to the pool of all, so that it is never nobody's. A routine case stands as if it had come
    ``rises_after`` later than it did: with time it passes cases of high priority that come after that, and nothing
    has to move.
    """
    pool, steps = _pool(room, facts, at)
    agreement = rules.agreement(room, facts.site_id, at)
    limit = agreement.limit(facts.priority)
    rises_after = timedelta(minutes=agreement.rises_after_min) if facts.priority == "routine" else timedelta(0)
    own = agreement in room.agreements
    steps.append(
        Step("agreement" if own else "default", agreement.site if own else "", True, _minutes(limit), _promise(facts))
    )
    return Routed(pool, facts.arrived_at + limit, facts.arrived_at + rises_after, tuple(steps))


def as_detail(routed: Routed, facts: RoutingFacts) -> dict[str, Any]:
    """The decision for a work item's history: codes, rules and facts; no identity. :func:`steps_of` reads it back."""
    return {
        "pool": routed.pool,
        "due_at": routed.due_at.isoformat(),
        "order_at": routed.order_at.isoformat(),
        "priority": facts.priority,
        "steps": [
            {
                "rule": step.rule,
                "id": step.id,
                "fits": step.fits,
                "says": step.says,
                "checks": [[check.fact, check.wanted, check.found, check.fits] for check in step.checks],
            }
            for step in routed.steps
        ],
    }


def steps_of(detail: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps of a decision out of a work item's history; empty where none were kept."""
    return tuple(
        Step(one["rule"], one["id"], one["fits"], one["says"], tuple(Check(*check) for check in one["checks"]))
        for one in detail.get("steps", ())
    )


def _pool(room: ReadingRoom, facts: RoutingFacts, at: datetime) -> tuple[str, list[Step]]:
    lead = rules.lead_site(room, _modality(facts), at, facts.kind) or ""
    steps: list[Step] = []
    for one in rules.routes(room, at):
        checks = tuple(_checks(one, facts, lead))
        fits = all(check.fits for check in checks)
        steps.append(Step("route", one.id, fits, one.pool, checks))
        if fits:
            return one.pool, steps
    steps.append(Step("default", "", True, ALL))
    return ALL, steps


def _checks(one: Route, facts: RoutingFacts, lead: str) -> Iterable[Check]:
    if one.modality:
        maybe = _modality(facts)
        yield Check("modality", " ".join(one.modality), facts.modality, bool({facts.modality, maybe} & {*one.modality}))
    given = (
        ("body_part", one.body_part, (facts.body_part or "").upper()),
        ("site", one.site, facts.site_id),
        ("lead", one.lead, lead),
        ("question", one.question, facts.question or ""),
        ("kind", one.kind, facts.kind),
        ("priority", one.priority, facts.priority),
    )
    for name, wanted, found in given:
        if wanted:
            yield Check(name, " ".join(wanted), found, found in wanted)
    if one.age_from_years is not None or one.age_below_years is not None:
        yield _age(one, facts.age_years)


def _age(one: Route, age: float | None) -> Check:
    least, below = one.age_from_years, one.age_below_years
    # an unknown age is said, never guessed
    fits = age is not None and (least is None or age >= least) and (below is None or age < below)
    wanted = " ".join(
        part for part in ("" if least is None else f">={least:g}", "" if below is None else f"<{below:g}") if part
    )
    # whole years: with the day of the recording an exact age is a birth date
    return Check("age", wanted, "" if age is None else str(int(age)), fits)


def _modality(facts: RoutingFacts) -> str:
    """What a case is taken for: what nobody could read yet may be an ECG."""
    return "ECG" if facts.modality == UNREADABLE and not facts.analysed else facts.modality


def _promise(facts: RoutingFacts) -> tuple[Check, ...]:
    return (Check("site", facts.site_id, facts.site_id, True), Check("priority", facts.priority, facts.priority, True))


def _minutes(limit: timedelta) -> str:
    return f"{limit / timedelta(minutes=1):g}"

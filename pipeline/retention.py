"""How long a person's records must be kept, and whose may be deleted.

``decide`` is pure: facts and a policy in, an answer out. Nothing is deleted here or by itself; see ``deletion.py``.
What people say that counts here, holds and visits, is written down by ``keeping.py``.
A person is all patients linked to one another: the last visit of any of them counts for all.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from typing import Any, Literal, cast

from sqlalchemy import Connection, func, or_, select, union

from teleread.errors import Misconfigured
from teleread.reading.persons import person_of
from teleread.storage.catalogue.schema import (
    arrivals,
    criticals,
    deletions,
    deliveries,
    encounters,
    identity_corrections,
    identity_questions,
    legal_holds,
    patients,
    reports,
    studies,
    work_items,
)

Kind = Literal["outpatient", "inpatient"]
KINDS: tuple[Kind, ...] = ("outpatient", "inpatient")
# a recording within so much of the end of a visit was made at it; an inpatient's lies anywhere before the discharge
_VISIT = timedelta(days=1)
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Rule:
    """Records of a kind are kept at least so long.

    Args:
        kind: of the stay or visit.
        years: after its end.
        source: the law, or the alliance's own decision.
        valid_from, valid_to: the days on which the rule is applied, the last not included.
    """

    kind: Kind
    years: int
    source: str
    valid_from: date
    valid_to: date | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules. Of those that hold on a day the longest counts.

    Args:
        id, version: stand in each certificate of deletion.
    """

    id: str
    version: str
    rules: tuple[Rule, ...]

    def years(self, kind: Kind, on: date) -> int | None:
        """How long records of a kind are kept by the rules of a day; None when there is no rule: for ever."""
        holding = [
            rule.years
            for rule in self.rules
            if rule.kind == kind and rule.valid_from <= on and (rule.valid_to is None or on < rule.valid_to)
        ]
        return max(holding, default=None)


@dataclass(frozen=True, slots=True)
class Encounter:
    """A visit or a stay; ``ended_at`` is None while it lasts."""

    kind: Kind
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the catalogue says of a person.

    Args:
        pseudonyms: of all patients who are this person, sorted.
        studies: when each was recorded or arrived, whichever is later; aware.
        encounters: that somebody has recorded.
        held: whether a legal hold stands on any of the patients.
        blocks: stable codes of what must come to an end first.
    """

    pseudonyms: tuple[str, ...]
    studies: tuple[datetime, ...]
    encounters: tuple[Encounter, ...]
    held: bool
    blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a person's records may be deleted.

    Args:
        pseudonyms: as in the facts.
        due: they may, now.
        due_at: when they may at the earliest; None for never as things stand.
        basis: ``outpatient`` or ``inpatient``, by whose rule; ``unknown`` for studies of no recorded encounter.
        reasons: why not: ``legal_hold``, ``stay_not_ended``, ``no_rule``, ``not_yet`` and the facts' blocks.
    """

    pseudonyms: tuple[str, ...]
    due: bool
    due_at: datetime | None
    basis: str | None
    reasons: tuple[str, ...]


def law() -> Policy:
    """The policy that ships with teleread."""
    return parse_policy(resources.files("teleread.pipeline").joinpath("retention.toml").read_text(encoding="utf-8"))


def parse_policy(text: str, base: Policy | None = None) -> Policy:
    """Read and check a policy file; with a base, the file only adds to it.

    Raises:
        Misconfigured: ``retention_invalid``; ``retention_too_short`` for a rule that is shorter than the base's.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(f"it is not TOML: {error}") from error
    unknown = set(document) - {"id", "version", "rule"}
    if unknown:
        raise _invalid(f"unknown entry {sorted(unknown)[0]!r}")
    name, version, tables = document.get("id"), document.get("version"), document.get("rule", [])
    if not isinstance(name, str) or not isinstance(version, str) or not name or not version or not tables:
        raise _invalid("id, version and at least one [[rule]] are needed")
    if len(name) > 24 or len(version) > 12:
        raise _invalid("id has at most 24 characters, version 12")
    rules = tuple(_rule(raw, number) for number, raw in enumerate(cast("list[Any]", tables), 1))
    if base is None:
        return Policy(name, version, rules)
    for rule in rules:
        _not_shorter(rule, base)
    return Policy(f"{base.id}+{name}", f"{base.version}+{version}", (*base.rules, *rules))


def decide(facts: Facts, policy: Policy, now: datetime) -> Decision:
    """Whether a person's records may be deleted at a time. Pure.

    Each encounter is kept by the rule of its kind, and each study by that of the encounter it belongs to; where none
    is recorded for it, by the longer rule. The latest end counts for everything of the person.
    """
    never: list[str] = []
    if facts.held:
        never.append("legal_hold")
    if any(encounter.ended_at is None for encounter in facts.encounters):
        never.append("stay_not_ended")
    ends: list[tuple[datetime, str]] = []
    years = {kind: policy.years(kind, now.date()) for kind in KINDS}
    spans = [(encounter.kind, encounter.ended_at) for encounter in facts.encounters if encounter.ended_at is not None]
    unknown = [at for at in facts.studies if not _belongs(at, facts.encounters)]
    for basis, kinds, ended_at in (
        *((kind, (kind,), ended) for kind, ended in spans),
        *(("unknown", KINDS, at) for at in unknown),
    ):
        periods = [years[kind] for kind in kinds]
        known = [period for period in periods if period is not None]
        if len(known) < len(periods):
            never.append("no_rule")
        else:
            ends.append((_years_after(ended_at, max(known)), basis))
    due_at, basis_of = max(ends, default=(None, None), key=lambda end: end[0])
    if never:
        return Decision(facts.pseudonyms, False, None, basis_of, (*dict.fromkeys(never), *facts.blocks))
    if due_at is None:  # nothing is held of this person but the entry itself
        return Decision(facts.pseudonyms, False, None, None, ("nothing_dated", *facts.blocks))
    reasons = (*(("not_yet",) if now < due_at else ()), *facts.blocks)
    return Decision(facts.pseudonyms, not reasons, due_at, basis_of, reasons)


def facts_of(conn: Connection, pseudonym: str) -> Facts:
    """What the catalogue says of the person that a patient is."""
    names = sorted(person_of(conn, pseudonym))
    return Facts(
        pseudonyms=tuple(names),
        studies=tuple(_study_times(conn, names)),
        encounters=tuple(
            Encounter(cast(Kind, row.kind), row.ended_at)
            for row in conn.execute(
                select(encounters.c.kind, encounters.c.ended_at)
                .where(encounters.c.pseudonym.in_(names))
                .order_by(encounters.c.id)
            )
        ),
        held=conn.execute(
            select(legal_holds.c.id)
            .where(legal_holds.c.pseudonym.in_(names), legal_holds.c.lifted_at.is_(None))
            .limit(1)
        ).first()
        is not None,
        blocks=tuple(_blocks(conn, names)),
    )


def due(conn: Connection, policy: Policy, now: datetime) -> Iterator[Decision]:
    """The persons whose records may be deleted now, one by one; those being deleted are left out.

    Reads page by page, in constant memory. Persons with a study that is younger than every rule are not looked at.
    """
    seen_after = ""
    shortest = min((years for kind in KINDS if (years := policy.years(kind, now.date())) is not None), default=None)
    if shortest is None:
        return
    young = _years_before(now, shortest)
    names = union(select(studies.c.patient_pseudonym.label("name")), select(patients.c.pseudonym)).subquery()
    fresh = select(studies.c.id).where(studies.c.patient_pseudonym == names.c.name, studies.c.created_at > young)
    deleted = select(deletions.c.id).where(deletions.c.pseudonym == names.c.name)
    while True:
        page = list(
            conn.scalars(
                select(names.c.name)
                .where(names.c.name > seen_after, ~fresh.exists(), ~deleted.exists())
                .order_by(names.c.name)
                .limit(_PAGE)
            )
        )
        for name in page:
            decision = decide(facts_of(conn, name), policy, now)
            if decision.due and decision.pseudonyms[0] == name:
                yield decision
        if len(page) < _PAGE:
            return
        seen_after = page[-1]


def _study_times(conn: Connection, names: Collection[str]) -> Iterable[datetime]:
    rows = conn.execute(
        select(studies.c.acquired_at, studies.c.created_at, func.max(arrivals.c.arrived_at).label("arrived_at"))
        .outerjoin(arrivals, arrivals.c.study_id == studies.c.id)
        .where(studies.c.patient_pseudonym.in_(names))
        .group_by(studies.c.id, studies.c.acquired_at, studies.c.created_at)
        .order_by(studies.c.id)
    )
    for row in rows:
        arrived = row.arrived_at or row.created_at
        arrived = arrived.replace(tzinfo=UTC) if arrived.tzinfo is None else arrived
        # a cart's clock may be wrong; the later of the two is the safe one
        yield max(arrived, row.acquired_at or arrived)


def _blocks(conn: Connection, names: Collection[str]) -> Iterable[str]:
    cases = (
        select(work_items.c.case_id)
        .outerjoin(studies, studies.c.id == work_items.c.study_id)
        .where(or_(work_items.c.patient_pseudonym.in_(names), studies.c.patient_pseudonym.in_(names)))
    )
    questions = {
        "open_work_item": select(work_items.c.id).where(
            work_items.c.case_id.in_(cases), work_items.c.state.in_(["SCHEDULED", "IN PROGRESS"])
        ),
        "undelivered_report": select(deliveries.c.report_id)
        .join(reports, reports.c.id == deliveries.c.report_id)
        .where(reports.c.case_id.in_(cases), deliveries.c.delivered_at.is_(None)),
        "open_critical": select(criticals.c.id).where(criticals.c.case_id.in_(cases), criticals.c.ended_at.is_(None)),
        "open_correction": select(identity_corrections.c.id).where(
            identity_corrections.c.closed_at.is_(None),
            or_(
                identity_corrections.c.pseudonym.in_(names),
                identity_corrections.c.new_pseudonym.in_(names),
                identity_corrections.c.case_id.in_(cases),
            ),
        ),
        "open_question": select(identity_questions.c.id).where(
            identity_questions.c.answered_at.is_(None),
            or_(identity_questions.c.pseudonym.in_(names), identity_questions.c.other_pseudonym.in_(names)),
        ),
    }
    for code, query in questions.items():
        if conn.execute(query.limit(1)).first() is not None:
            yield code


def _belongs(at: datetime, known: Iterable[Encounter]) -> bool:
    """Whether a study was made at one of the encounters, which is then what it is kept by."""
    return any(
        encounter.ended_at is None
        or (at <= encounter.ended_at + _VISIT and (encounter.kind == "inpatient" or at >= encounter.ended_at - _VISIT))
        for encounter in known
    )


def _years_after(at: datetime, years: int) -> datetime:
    try:
        return at.replace(year=at.year + years)
    except ValueError:  # 29 February
        return at.replace(year=at.year + years, month=3, day=1)


def _years_before(at: datetime, years: int) -> datetime:
    try:
        return at.replace(year=at.year - years)
    except ValueError:
        return at.replace(year=at.year - years, month=3, day=1)


def _rule(raw: Any, number: int) -> Rule:
    where = f"rule {number}"
    if not isinstance(raw, dict) or set(raw) - {"kind", "years", "source", "valid_from", "valid_to"}:
        raise _invalid(f"{where} is not a table of kind, years, source, valid_from and valid_to")
    years, valid_from, valid_to = raw.get("years"), raw.get("valid_from"), raw.get("valid_to")
    if raw.get("kind") not in KINDS:
        raise _invalid(f"{where}: kind is outpatient or inpatient")
    if type(years) is not int or not 0 < years < 1000:
        raise _invalid(f"{where}: years is a whole number above zero")
    if not isinstance(raw.get("source"), str) or not raw["source"]:
        raise _invalid(f"{where}: source is missing")
    if type(valid_from) is not date or (
        valid_to is not None and (type(valid_to) is not date or valid_to <= valid_from)
    ):
        raise _invalid(f"{where}: valid_from is a day, and valid_to a later one or absent")
    return Rule(raw["kind"], years, raw["source"], valid_from, valid_to)


def _not_shorter(rule: Rule, base: Policy) -> None:
    longest = max((known.years for known in base.rules if known.kind == rule.kind), default=0)
    if rule.years < longest:
        raise Misconfigured(
            "retention_too_short", f"{rule.years} years for {rule.kind} records are fewer than the law's {longest}."
        )


def _invalid(why: str) -> Misconfigured:
    return Misconfigured("retention_invalid", f"Retention policy: {why}.")

"""Hand-made inputs for flag rules: for every limit of a rule, an input that just reaches it and one that just misses.

A test of a rule that is not known here fails, so that a new kind of rule cannot come without its boundary test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from teleread.signal.ecg import Filters, Finding, Quality
from teleread.signal.ecg.flag_leads import LEAD_QUANTITIES
from teleread.signal.ecg.flag_profile import Limit, Profile, Rule
from teleread.signal.ecg.flag_types import FlagInputs

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", *(f"V{k}" for k in range(1, 10)), "V3R", "V4R")
WIDE_BAND = Filters(high_pass_hz=0.05, low_pass_hz=150.0)
GOOD = Quality(True, 1.0, ())
STEP = {"mV": 0.001, "of QRS": 0.001, "of S": 0.001, "ms": 1.0, "bpm": 0.1, "s": 0.01, "leads": 1.0, "findings": 1.0}


@dataclass(frozen=True)
class M:
    """A measured number."""

    value: float
    unit: str = ""
    lead: str = "global"
    confidence: float = 0.9


@dataclass(frozen=True)
class F:
    """A rhythm finding."""

    code: str
    value: float | None = None
    unit: str = ""
    start_s: float = 0.0
    end_s: float = 10.0
    confidence: float = 0.9


@dataclass(frozen=True)
class R:
    """A rhythm."""

    spans: tuple[tuple[float, float, str], ...] = ()
    findings: tuple[F, ...] = ()


def inputs(**changes: Any) -> FlagInputs:
    """A quiet 50-year-old man's recording in the diagnostic band, with ``changes``."""
    basis: dict[str, Any] = {
        "measurements": {},
        "rhythm": R(((0.0, 10.0, "sinus_rhythm"),)),
        "beat": None,
        "quality": GOOD,
        "age_years": 50.0,
        "sex": "M",
        "filters": WIDE_BAND,
        "leads": LEADS,
    }
    return FlagInputs(**(basis | changes))


def faulty(*findings: tuple[str, str]) -> Quality:
    """A verdict with faults (lead, fault)."""
    return Quality(False, 0.5, tuple(Finding(lead, fault, "") for lead, fault in findings))


def st(**levels_mv: float) -> dict[str, M]:
    """ST at J of the named leads, the others at zero."""
    return {f"st_j_mv.{lead}": M(levels_mv.get(lead, 0.0), "mV", lead) for lead in LEADS}


@dataclass(frozen=True)
class Case:
    """One limit of one rule with the input that reaches it and the one that misses it by one step."""

    rule: Rule
    limit: Limit
    inside: FlagInputs = field(repr=False)
    outside: FlagInputs = field(repr=False)

    def __str__(self) -> str:
        who = f"{self.limit.sex or ''}{self.limit.age_years[0]:g}-{self.limit.age_years[1]:g}"
        return f"{self.rule.rule_id}:{self.limit.name}:{'/'.join(self.limit.leads)}:{who}"


def cases(profile: Profile) -> Iterator[Case]:
    """Every limit of every rule.

    Raises:
        KeyError: the rule's test is not known here.
    """
    for rule in profile.rules:
        for limit in rule.limits:
            inside, outside = BUILDERS[rule.test](rule, limit)
            yield Case(rule, limit, inside, outside)


def _sides(limit: Limit) -> tuple[float, float]:
    """The nearest value that reaches a limit and the nearest that misses it."""
    step = STEP[limit.unit]
    if limit.op == ">=":
        return limit.value, limit.value - step
    if limit.op == "<=":
        return limit.value, limit.value + step
    return (limit.value + step, limit.value) if limit.op == ">" else (limit.value - step, limit.value)


def _measured(rule: Rule, limit: Limit) -> tuple[FlagInputs, FlagInputs]:
    reached = {item.name: M(_sides(item)[0], item.unit) for item in rule.limits}
    missed = reached | {limit.name: M(_sides(limit)[1], limit.unit)}
    return inputs(measurements=reached), inputs(measurements=missed)


def _pause(rule: Rule, limit: Limit) -> tuple[FlagInputs, FlagInputs]:
    one, other = ({"rr_max_ms": M(value, "ms")} for value in _sides(limit))
    return inputs(measurements=one), inputs(measurements=other)


def _finding_value(rule: Rule, limit: Limit) -> tuple[FlagInputs, FlagInputs]:
    one, other = (inputs(rhythm=R(findings=(F(rule.params["codes"][0], v, "ms"),))) for v in _sides(limit))
    return one, other


def _finding_present(rule: Rule, limit: Limit) -> tuple[FlagInputs, FlagInputs]:
    one, other = (inputs(rhythm=R(findings=(F(rule.params["codes"][0]),) * int(v))) for v in _sides(limit))
    return one, other


def _rhythm_present(rule: Rule, limit: Limit) -> tuple[FlagInputs, FlagInputs]:
    one, other = (inputs(rhythm=R(((0.0, v, rule.params["codes"][0]),))) for v in _sides(limit))
    return one, other


def _rhythm_rate(rule: Rule, limit: Limit) -> tuple[FlagInputs, FlagInputs]:
    rhythm = R(((0.0, 10.0, rule.params["codes"][0]),))
    one, other = (
        inputs(rhythm=rhythm, r_peaks_s=tuple(0.1 + k * 60.0 / rate for k in range(20))) for rate in _sides(limit)
    )
    return one, other


def _lead_pattern(rule: Rule, limit: Limit) -> tuple[FlagInputs, FlagInputs]:
    needed = next((int(item.value) for item in rule.limits if item.name == "lead_count"), 0)
    chains = rule.params.get("chains")
    mine = [lead for lead in limit.leads if lead in (rule.params.get("leads") or LEADS)]
    if chains is not None:
        used = list(next((c for c in chains if not mine or set(mine) & set(c)), chains[0]))
    else:
        used = list(dict.fromkeys([*mine, *rule.params["leads"]]))[:needed]
    sex = limit.sex or "M"
    age = max(rule.age_years[0], limit.age_years[0])
    age = age if limit.age_years != (0.0, 200.0) else 50.0
    patient: dict[str, Any] = {"age_years": age, "sex": sex}
    if rule.params.get("requires"):
        patient["rhythm"] = R(findings=(F(rule.params["requires"][0]),))

    def build(changed: str | None, value: float, leads: list[str]) -> FlagInputs:
        target = next((lead for lead in leads if not mine or lead in mine), leads[0])
        found: dict[str, M] = {}
        for lead in LEADS:
            wanted = dict(_wanted(rule, lead, age, sex)) if lead in leads else {}
            if lead == target and changed in LEAD_QUANTITIES:
                wanted[str(changed)] = value
            found |= _lead_values(lead, wanted)
        for item in rule.limits:
            if item.name in LEAD_QUANTITIES or item.name == "lead_count":
                continue
            level = value if item.name == changed else _sides(item)[0]
            if not item.name.startswith("witness_"):
                found[item.name] = M(level, item.unit)
                continue
            quantity, sign = WITNESSED[item.name.removeprefix("witness_")]
            witness = next(lead for lead in rule.params["witness"] if lead not in leads)
            found[f"{quantity}.{witness}"] = M(sign * level, "mV", witness)
        if "lvh" in rule.params.get("requires", ()):
            found["r_amplitude_mv.aVL"] = M(3.0, "mV", "aVL")
        return inputs(measurements=found, **patient)

    inside = build(None, 0.0, used)
    if limit.name == "lead_count":
        return inside, build(None, 0.0, used[:-1]) if used[:-1] else inputs(**patient)
    return inside, build(limit.name, _sides(limit)[1], used)


def _wanted(rule: Rule, lead: str, age: float, sex: str) -> Iterator[tuple[str, float]]:
    for item in rule.limits:
        fits = item.sex in (None, sex) and item.age_years[0] <= age < item.age_years[1]
        if item.name in LEAD_QUANTITIES and fits and (not item.leads or lead in item.leads):
            yield item.name, _sides(item)[0]


def _lead_values(lead: str, wanted: dict[str, float]) -> dict[str, M]:
    """Measurements of one lead that have these quantities; quiet where nothing is wanted."""
    j = wanted.get("st_j_mv", -wanted.get("depression_mv", 0.0))
    late = wanted.get("st_80_mv", -wanted.get("depression_80_mv", -j - wanted.get("upslope_mv", 0.0)))
    t = wanted.get("t_mv", 0.05)
    values = {"st_j_mv": j, "st_j80_mv": late, "t_amplitude_mv": t}
    net = wanted.get("net_qrs_mv", 0.0)
    for level, share in ((j, "st_of_qrs"), (j, "st_of_s"), (t, "t_of_qrs")):
        if share in wanted:
            depth = level / wanted[share]
            return _named(
                lead, values | {"r_amplitude_mv": max(depth + net, 0.0) if net else 0.0, "s_amplitude_mv": -depth}
            )
    up = wanted.get("r_mv", max(net, 0.0))
    return _named(lead, values | {"r_amplitude_mv": up, "s_amplitude_mv": net - up})


def _named(lead: str, values: dict[str, float]) -> dict[str, M]:
    return {f"{name}.{lead}": M(value, "mV", lead) for name, value in values.items()}


WITNESSED = {
    "st_j_mv": ("st_j_mv", 1.0),
    "depression_mv": ("st_j_mv", -1.0),
    "depression_80_mv": ("st_j80_mv", -1.0),
    "t_mv": ("t_amplitude_mv", 1.0),
}
BUILDERS = {
    "measured": _measured,
    "pause": _pause,
    "finding_value": _finding_value,
    "finding_present": _finding_present,
    "rhythm_present": _rhythm_present,
    "rhythm_rate": _rhythm_rate,
    "lead_pattern": _lead_pattern,
}


def shifted(rule: Rule, index: int, by: float) -> Rule:
    """The rule with one limit moved: the broken twin that a boundary test must catch."""
    limits = list(rule.limits)
    limits[index] = replace(limits[index], value=limits[index].value + by)
    return replace(rule, limits=tuple(limits))

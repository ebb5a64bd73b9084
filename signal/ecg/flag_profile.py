"""Flag profiles: one versioned, cited, effective-dated TOML file per source, and the checks that such a file passes.

A profile holds rules; a rule holds limits. ``docs/ecg-flags.md`` explains every key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from teleread.errors import Misconfigured
from teleread.signal.ecg.flag_types import KINDS, SEVERITIES

OPS = (">=", ">", "<=", "<")
"""How a value is compared with its limit, as the source writes it."""

SUPPRESSORS = ("paced", "lbbb", "rbbb", "lvh", "pre_excitation", "ventricular_rhythm", "atrial_flutter")
"""What may keep a rule from being judged."""

DEFAULT_PROFILE = "standard"

_OPTIONAL_RULE_KEYS = frozenset({"suppressed_by", "needs_band", "deviation", "params"})
_RULE_KEYS = frozenset({"id", "code", "kind", "severity", "test", "age_years", "limits"}) | _OPTIONAL_RULE_KEYS
_LIMIT_KEYS = frozenset({"name", "op", "value", "unit", "leads", "sex", "age_years"})
_DATES = frozenset({"effective_from", "effective_to", "effective_basis"})
_PROFILE_KEYS = _DATES | {"name", "version", "source", "include", "rule", "lvh"}
_SOURCE_KEYS = frozenset({"title", "publisher", "published", "doi", "url", "seen", "unverified"})


@dataclass(frozen=True, slots=True)
class Limit:
    """One number of a rule. Without ``leads``, ``sex`` or an age range it holds for all that no other names.

    ``age_years`` is from (inclusive) to (exclusive).
    """

    name: str
    op: str
    value: float
    unit: str
    leads: tuple[str, ...] = ()
    sex: str | None = None
    age_years: tuple[float, float] = (0.0, 200.0)

    def reached(self, value: float) -> bool:
        """Whether ``value`` lies on the limit's side; a billionth of rounding never decides."""
        slack = 1e-9 * max(1.0, abs(self.value))
        if self.op == ">=":
            return value >= self.value - slack
        if self.op == "<=":
            return value <= self.value + slack
        return value > self.value + slack if self.op == ">" else value < self.value - slack


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a source.

    Args:
        rule_id: ``profile.id``.
        version: the profile's.
        test: the name of a test in ``flags.TESTS``.
        age_years: for whom the source states it, from (inclusive) to (exclusive).
        params: what else the test needs (leads, codes, counts).
        suppressed_by: out of ``SUPPRESSORS``.
        needs_band: not judged when the device's filter is known to be narrower than 0.05 to 150 Hz.
        deviation: where and why the rule differs from its source, empty when it does not.
    """

    rule_id: str
    version: str
    code: str
    kind: str
    severity: str
    test: str
    age_years: tuple[float, float]
    limits: tuple[Limit, ...]
    params: Mapping[str, Any]
    suppressed_by: tuple[str, ...]
    needs_band: bool
    deviation: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where the limits come from. ``unverified`` when the source's own text was not seen; ``seen`` says what was."""

    title: str
    publisher: str
    published: str
    doi: str
    url: str
    seen: str
    unverified: bool


@dataclass(frozen=True, slots=True)
class LvhLimits:
    """Voltage limits from which left ventricular hypertrophy is suspected, in mV."""

    sokolow_lyon_mv: float
    sokolow_from_age: float
    cornell_men_mv: float
    cornell_women_mv: float


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules of one source, or of several when it includes others. ``sources`` is keyed by profile name."""

    name: str
    version: str
    effective_from: date
    effective_to: date | None
    rules: tuple[Rule, ...]
    sources: Mapping[str, Source]
    lvh: LvhLimits
    kinds: frozenset[str] = frozenset(KINDS)

    def with_kinds(self, *kinds: str) -> Profile:
        """The same rules with only these kinds switched on.

        Raises:
            Misconfigured: ``flag_kind_unknown``.
        """
        if not set(kinds) <= set(KINDS):
            raise Misconfigured("flag_kind_unknown", f"Kinds of flags are {', '.join(KINDS)}.")
        return replace(self, kinds=frozenset(kinds))


def profile_names() -> tuple[str, ...]:
    """Every profile that ships with the package, sorted."""
    return tuple(sorted({str(table["name"]) for table in _tables().values()}))


@lru_cache(maxsize=64)
def load_profile(name: str = DEFAULT_PROFILE, on: date | None = None) -> Profile:
    """The newest version of a profile, or the one in effect on a day.

    Raises:
        Misconfigured: ``flag_profile_unknown``, ``flag_profile_not_in_effect``, ``flag_profile_invalid``.
    """
    versions = [table for table in _tables().values() if table.get("name") == name]
    if not versions:
        raise Misconfigured("flag_profile_unknown", f"Flag profiles are {', '.join(profile_names())}.")
    parsed = sorted((_profile(table, on) for table in versions), key=lambda profile: profile.effective_from)
    if on is None:
        return parsed[-1]
    valid = [p for p in parsed if p.effective_from <= on and (p.effective_to is None or on < p.effective_to)]
    if not valid:
        raise Misconfigured("flag_profile_not_in_effect", f"No version of the flag profile is in effect on {on}.")
    return valid[-1]


@lru_cache(maxsize=1)
def _tables() -> Mapping[str, Mapping[str, Any]]:
    folder = files("teleread.signal.ecg") / "profiles"
    found = sorted((item.name, item) for item in folder.iterdir() if item.name.endswith(".toml"))
    return MappingProxyType({name: tomllib.loads(item.read_text("utf-8")) for name, item in found})


def parse_profile(table: Mapping[str, Any]) -> Profile:
    """A profile from its parsed TOML. Included profiles are looked up among those that ship.

    Raises:
        Misconfigured: ``flag_profile_invalid`` names the rule and what is wrong with it.
    """
    return _profile(table, None)


def _profile(table: Mapping[str, Any], on: date | None) -> Profile:
    try:
        return _checked_profile(table, on)
    except (KeyError, TypeError, ValueError) as error:
        raise Misconfigured("flag_profile_invalid", f"The flag profile is not valid: {error}.") from error


def _checked_profile(table: Mapping[str, Any], on: date | None) -> Profile:
    _only(table, _PROFILE_KEYS, "profile")
    name, version = str(table["name"]), str(table["version"])
    start, end = table["effective_from"], table.get("effective_to")
    if not isinstance(start, date) or not (end is None or isinstance(end, date)):
        raise ValueError("effective_from and effective_to are dates")
    included = [load_profile(other, on) for other in table.get("include", ())]
    rules = tuple(_rule(item, name, version) for item in table.get("rule", ()))
    rules = (*(rule for other in included for rule in other.rules), *rules)
    if not rules or len({rule.rule_id for rule in rules}) != len(rules):
        raise ValueError("rules are missing or two have the same id")
    sources = {key: source for other in included for key, source in other.sources.items()}
    if "source" in table:
        sources[name] = _source(table["source"])
    elif table.get("rule"):
        raise ValueError("a profile with rules of its own cites its source")
    lvh = LvhLimits(**table["lvh"]) if "lvh" in table else (included[0].lvh if included else DEFAULT_LVH)
    return Profile(name, version, start, end, rules, MappingProxyType(sources), lvh)


DEFAULT_LVH = LvhLimits(sokolow_lyon_mv=3.5, sokolow_from_age=35.0, cornell_men_mv=2.8, cornell_women_mv=2.0)
"""SV1 + RV5 or RV6 and RaVL + SV3 (table 1 of PMC4750022). Young people reach Sokolow and Lyon's voltage in health."""


def _source(table: Mapping[str, Any]) -> Source:
    _only(table, _SOURCE_KEYS, "source")
    title, publisher, published, doi, url, seen = (
        str(table.get(key, "")) for key in ("title", "publisher", "published", "doi", "url", "seen")
    )
    if not title or not seen:
        raise ValueError("a source has a title and says what was seen of it")
    return Source(title, publisher, published, doi, url, seen, bool(table["unverified"]))


def _rule(table: Mapping[str, Any], profile: str, version: str) -> Rule:
    _only(table, _RULE_KEYS, str(table.get("id", "rule")))
    rule_id = f"{profile}.{table['id']}"
    limits = tuple(_limit(item, rule_id) for item in table["limits"])
    suppressed = tuple(table.get("suppressed_by", ()))
    if table["kind"] not in KINDS or table["severity"] not in SEVERITIES or not limits:
        raise ValueError(f"{rule_id}: kind, severity or limits")
    if not set(suppressed) <= set(SUPPRESSORS):
        raise ValueError(f"{rule_id}: suppressed_by")
    return Rule(
        rule_id=rule_id,
        version=version,
        code=str(table["code"]),
        kind=table["kind"],
        severity=table["severity"],
        test=str(table["test"]),
        age_years=_ages(table["age_years"]),
        limits=limits,
        params=MappingProxyType(dict(table.get("params", {}))),
        suppressed_by=suppressed,
        needs_band=bool(table.get("needs_band", False)),
        deviation=str(table.get("deviation", "")),
    )


def _limit(table: Mapping[str, Any], rule_id: str) -> Limit:
    _only(table, _LIMIT_KEYS, rule_id)
    sex = table.get("sex")
    if table["op"] not in OPS or sex not in (None, "M", "F"):
        raise ValueError(f"{rule_id}: op or sex")
    return Limit(
        name=str(table["name"]),
        op=table["op"],
        value=float(table["value"]),
        unit=str(table["unit"]),
        leads=tuple(table.get("leads", ())),
        sex=sex,
        age_years=_ages(table.get("age_years", (0, 200))),
    )


def _ages(pair: Any) -> tuple[float, float]:
    low, high = (float(value) for value in pair)
    if not 0 <= low < high:
        raise ValueError("age_years is from (inclusive) to (exclusive)")
    return low, high


def _only(table: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    unknown = set(table) - known
    if unknown:
        raise ValueError(f"{where}: unknown key {', '.join(sorted(unknown))}")

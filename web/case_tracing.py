"""What a reader's page needs to draw and measure a tracing, beyond the automatic reading itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from teleread.alliance import EcgRules
from teleread.errors import Misconfigured
from teleread.reading import earlier, flag_verdicts
from teleread.reading.flag_verdicts import Verdict
from teleread.reading.persons import Prior
from teleread.signal.ecg import STANDARD_LEADS, load_profile
from teleread.signal.ecg.flag_profile import Source
from teleread.web import findings
from teleread.web.case_identity import CaseIdentity
from teleread.web.security import Seat

_WHOLE = frozenset({"limb_reversal", "precordial_swap", "low_amplitude"})
"""Faults that spoil no lead's signal."""
_OF_RHYTHM = ("heart_rate_bpm", "rr_mean_ms")
_OF_BEAT = (
    *("p_duration_ms", "pr_ms", "qrs_duration_ms", "qt_ms"),
    *("p_axis_deg", "qrs_axis_deg", "t_axis_deg"),
)
FORMULAS = {"fridericia": "Fridericia", "bazett": "Bazett", "framingham": "Framingham", "hodges": "Hodges"}
"""How QT is corrected; the first is what ``qtc_ms`` stands for."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One rule that raised a flag: where it looked, what it found, its limit and its source."""

    rule_id: str
    version: str
    values: tuple[tuple[str, float], ...]
    unit: str
    limit: float | None
    source: str


@dataclass(frozen=True, slots=True)
class CaseTracing:
    """For the template.

    Args:
        doubtful: lead → what is wrong with its signal, in the reader's language.
        measurements: what the report takes until a reader measures: name → value, unit, by, method.
        evidence: by the flag's code.
        verdicts: by the flag's code, None where nobody has said anything yet.
        priors: ECGs of the same person, the newest first.
        formulas: how QT may be corrected.
    """

    doubtful: Mapping[str, str]
    measurements: Mapping[str, Mapping[str, Any]]
    evidence: Mapping[str, tuple[Evidence, ...]]
    verdicts: Mapping[str, Verdict | None]
    priors: tuple[Prior, ...]
    formulas: Mapping[str, str]


def read(
    seat: Seat, case_id: str, analysis: Mapping[str, Any], about: CaseIdentity, _: Callable[[str], str]
) -> CaseTracing:
    """Read it for a reader's page."""
    rules = seat.services.alliance.ecg_rules(seat.services.clock().date())
    flags = [flag for flag in analysis["flags"] if rules.takes(flag.get("kind", "")) and "code" in flag]
    with seat.services.catalogue.read() as conn:
        said = flag_verdicts.of_case(conn, case_id)
    evidence: dict[str, tuple[Evidence, ...]] = {}
    for flag in flags:
        evidence[flag["code"]] = (*evidence.get(flag["code"], ()), _evidence(flag))
    return CaseTracing(
        doubtful=doubtful(analysis, _),
        measurements=measurements(analysis, rules),
        evidence=evidence,
        verdicts=flag_verdicts.by_code(flags, said),
        priors=earlier.comparable(about.priors),
        formulas=FORMULAS,
    )


def doubtful(analysis: Mapping[str, Any], _: Callable[[str], str]) -> dict[str, str]:
    """Each lead whose signal is poor, with the reason in words."""
    found: dict[str, str] = {}
    for one in analysis["quality"]["findings"]:
        if one["lead"] is None or one["fault"] in _WHOLE:
            continue
        words = findings.FAULTS.get(one["fault"])
        reason = one["fault"] if words is None else _(words)
        # one bad limb electrode spoils every limb lead, though its finding names but one
        for lead in STANDARD_LEADS[:6] if one.get("electrode") else (one["lead"],):
            found.setdefault(lead, reason)
    return found


def measurements(analysis: Mapping[str, Any], rules: EcgRules) -> dict[str, dict[str, Any]]:
    """The program's values as a report takes them; none where the alliance keeps them from readers."""
    stored = analysis["measurements"] if rules.measurement else {}
    methods = dict.fromkeys(_OF_RHYTHM, "rr") | dict.fromkeys(_OF_BEAT, "median_beat")
    methods |= {"qtc_ms": next(iter(FORMULAS))} | {f"qtc_{name}_ms": name for name in FORMULAS}
    return {
        name: {"value": stored[name]["value"], "unit": stored[name]["unit"], "by": "program", "method": method}
        for name, method in methods.items()
        if name in stored
    }


def _evidence(flag: Mapping[str, Any]) -> Evidence:
    values = [(one["lead"], float(one["value"])) for one in flag.get("evidence", ())]
    unit, limit = flag.get("unit", ""), flag.get("limit")
    if unit == "findings":  # it is there or not, and nothing is measured
        values, unit, limit = [], "", None
    elif not values:
        values = [(flag["lead"], float(flag["value"]))]
    shown = tuple(("" if lead == "global" else lead, value) for lead, value in values)
    return Evidence(flag["rule_id"], flag["version"], shown, unit, limit or None, _source(flag["rule_id"]))


@lru_cache(maxsize=256)
def _source(rule_id: str) -> str:
    """Title, year and DOI of where a rule's limits come from; empty where the rule is not known any more."""
    name = rule_id.partition(".")[0]
    try:
        source: Source | None = load_profile(name).sources.get(name)
    except Misconfigured:
        return ""
    if source is None:
        return ""
    title = source.title if source.published in source.title else f"{source.title} ({source.published})"
    return f"{title}, doi:{source.doi}" if source.doi else title

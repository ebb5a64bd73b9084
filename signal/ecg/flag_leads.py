"""The test on single leads: how many leads, side by side where the rule says so, reach all its limits.

Limits of age and sex: the one that fits the patient. Where age or sex is unknown, the most sensitive of those that
may fit, and the verdict says what was assumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from teleread.signal.ecg.flag_profile import Limit, Rule
from teleread.signal.ecg.flag_types import FlagInputs
from teleread.signal.ecg.flag_verdict import Verdict, not_judged
from teleread.signal.ecg.record import STANDARD_LEADS

LEAD_QUANTITIES = (
    "st_j_mv",
    "st_80_mv",
    "depression_mv",
    "depression_80_mv",
    "upslope_mv",
    "t_mv",
    "net_qrs_mv",
    "r_mv",
    "st_of_qrs",
    "st_of_s",
    "t_of_qrs",
)
"""What a limit may ask of one lead: ST at J and 80 ms later, its depression there (positive downwards), the rise from
J to J + 80 ms, the T wave (negative when inverted), R minus the deeper of Q and S, R, and ST at J or T as a share of
QRS from the top of R to the bottom of Q or S, or of the deeper of Q and S alone (at most 10)."""

_WITNESS = "witness_"
"""Before a quantity: any of the leads in ``params.witness`` must reach it, beside those that are counted."""

_SHARES = {"st_of_qrs": ("st_j_mv", "size"), "st_of_s": ("st_j_mv", "depth"), "t_of_qrs": ("t_mv", "size")}
_DEAD_FAULTS = frozenset({"flat", "off", "saturated"})
_LIMB_LEADS = frozenset(STANDARD_LEADS[:6])
_LEAST_CONFIDENCE = 0.2  # below it a lead's values are guesses
_STILL_QRS_MV = 0.35
"""Within 60 ms of J no ST segment falls back by so much to less than half: what was taken for J lies within QRS."""
_MOST_SHARE = 10.0


@dataclass(frozen=True, slots=True)
class _Lead:
    """One lead that was judged. ``excess`` is by how much the rule's first limit is passed, in its unit."""

    name: str
    met: bool
    value: float
    limit: Limit
    excess: float
    confidence: float
    assumed: frozenset[str]


def lead_pattern(rule: Rule, inputs: FlagInputs) -> Verdict:
    """Leads that reach every limit of theirs, counted, with any limits of the whole recording beside.

    ``params.chains``: tuples of leads of which all must be met (contiguous leads); else ``params.leads`` and the
    number in the limit ``lead_count``, at least one. ``params.requires``: asked only where one of these suppressors
    is present.
    """
    names = _candidates(rule)
    present = [name for name in names if name in inputs.leads]
    needed = _needed(rule)
    if len(present) < needed:
        return not_judged("lead_missing")
    judged: dict[str, _Lead] = {}
    left_out: list[tuple[str, str]] = []
    for name in present:
        lead = "lead_quality" if _dead(name, inputs) else _judge(name, rule, inputs)
        if isinstance(lead, _Lead):
            judged[name] = lead
        else:
            left_out.append((name, lead))
    if len(judged) < needed:
        reasons = [reason for _, reason in left_out]
        return not_judged("lead_quality" if "lead_quality" in reasons else "not_measured")
    hits = _hits(rule, judged, needed)
    whole = _whole(rule, inputs)
    if whole is None:
        return not_judged("not_measured")
    best = max(hits or judged.values(), key=lambda lead: lead.excess)
    return Verdict(
        met=bool(hits) and whole.met,
        lead=best.name,
        value=best.value,
        limit=best.limit.value,
        unit=best.limit.unit,
        confidence=min([whole.confidence, *(lead.confidence for lead in hits)]),
        evidence=(*((lead.name, lead.value) for lead in hits), *whole.evidence),
        left_out=tuple(left_out),
        assumed=tuple(sorted({a for lead in hits for a in lead.assumed})),
    )


def _candidates(rule: Rule) -> tuple[str, ...]:
    chains = rule.params.get("chains")
    if chains:
        return tuple(dict.fromkeys(name for chain in chains for name in chain))
    return tuple(rule.params["leads"])


def _needed(rule: Rule) -> int:
    chains = rule.params.get("chains")
    if chains:
        return min(len(chain) for chain in chains)
    return max(1, int(next(limit.value for limit in rule.limits if limit.name == "lead_count")))


def _dead(name: str, inputs: FlagInputs) -> bool:
    findings = inputs.quality.findings if inputs.quality is not None else ()
    dead = [f for f in findings if f.fault in _DEAD_FAULTS]
    # one bad limb electrode spoils every limb lead, though its finding names but one
    return any(f.lead == name or (f.electrode is not None and name in _LIMB_LEADS) for f in dead)


def _hits(rule: Rule, judged: dict[str, _Lead], needed: int) -> list[_Lead]:
    """The leads that make the rule's number, in their order; empty when they do not."""
    chains = rule.params.get("chains")
    if not chains:
        met = [lead for lead in judged.values() if lead.met]
        return met if len(met) >= needed else []
    whole = [chain for chain in chains if all(name in judged and judged[name].met for name in chain)]
    return [lead for lead in judged.values() if any(lead.name in chain for chain in whole)]


def _judge(name: str, rule: Rule, inputs: FlagInputs) -> _Lead | str:
    """One lead against all limits of its own; a string says why it could not be judged."""
    quantities = [q for q in dict.fromkeys(limit.name for limit in rule.limits) if q in LEAD_QUANTITIES]
    assumed: set[str] = set()
    met, confidence = True, 1.0
    first: tuple[float, Limit] | None = None
    for quantity in quantities:
        limit, unknown = _fitting(rule, quantity, name, inputs)
        if limit is None:
            continue
        found = _quantity(quantity, name, inputs)
        if found is None or found[1] < _LEAST_CONFIDENCE:
            return "not_measured"
        met = met and limit.reached(found[0])
        assumed |= unknown
        confidence = min(confidence, found[1])
        first = first or (found[0], limit)
    if first is None:
        return "not_measured"
    value, limit = first
    excess = value - limit.value if limit.op in (">=", ">") else limit.value - value
    return _Lead(name, met, value, limit, excess, confidence, frozenset(assumed))


def _fitting(rule: Rule, quantity: str, lead: str, inputs: FlagInputs) -> tuple[Limit | None, set[str]]:
    """The limit for this lead and patient, and what had to be assumed: ``age``, ``sex``."""
    mine = [limit for limit in rule.limits if limit.name == quantity and (not limit.leads or lead in limit.leads)]
    named = [limit for limit in mine if limit.leads]
    age, sex = inputs.age_years, inputs.sex if inputs.sex in ("M", "F") else None
    fits = [
        limit
        for limit in named or mine
        if (limit.sex is None or sex is None or limit.sex == sex)
        and (age is None or limit.age_years[0] <= age < limit.age_years[1])
    ]
    if not fits:
        return None, set()
    chosen = (min if fits[0].op in (">=", ">") else max)(fits, key=lambda limit: limit.value)
    unknown = set()
    if len({limit.value for limit in fits}) > 1:
        # with a known age only the sexes differ and the other way round; with neither, both do
        unknown = {name for name, value in (("age", age), ("sex", sex)) if value is None}
    return chosen, unknown


def _quantity(quantity: str, lead: str, inputs: FlagInputs) -> tuple[float, float] | None:
    """(value in mV, confidence) of one lead, None when a part of it was not measured."""
    names: tuple[str, ...]
    if quantity in ("st_j_mv", "depression_mv"):
        sign, names = (1.0 if quantity == "st_j_mv" else -1.0), ("st_j_mv",)
    elif quantity in ("st_80_mv", "depression_80_mv"):
        sign, names = (1.0 if quantity == "st_80_mv" else -1.0), ("st_j80_mv",)
    elif quantity == "t_mv":
        sign, names = 1.0, ("t_amplitude_mv",)
    elif quantity == "upslope_mv":
        sign, names = 1.0, ("st_j80_mv", "st_j_mv")
    elif quantity in _SHARES:
        return _share(quantity, lead, inputs)
    else:
        return _of_qrs(quantity, lead, inputs)
    if "st_j_mv" in names and _still_qrs(lead, inputs):
        return None
    parts = [inputs.measurements.get(f"{name}.{lead}") for name in names]
    if any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    value = known[0].value - (known[1].value if len(known) > 1 else 0.0)
    return sign * value, min(part.confidence for part in known)


def _still_qrs(lead: str, inputs: FlagInputs) -> bool:
    """Whether what was measured at J is the end of QRS, as where one lead's R' outlasts the others."""
    at_j, later = (inputs.measurements.get(f"{name}.{lead}") for name in ("st_j_mv", "st_j60_mv"))
    if at_j is None or later is None:
        return False
    return abs(later.value - at_j.value) >= _STILL_QRS_MV and abs(later.value) < 0.5 * abs(at_j.value)


def _share(quantity: str, lead: str, inputs: FlagInputs) -> tuple[float, float] | None:
    """A level as a share of QRS or of its negative wave, so that ST and T of a large QRS may be large."""
    part, whole = _SHARES[quantity]
    level, size = _quantity(part, lead, inputs), _of_qrs(whole, lead, inputs)
    if level is None or size is None:
        return None
    share = level[0] / max(size[0], abs(level[0]) / _MOST_SHARE, 1e-9)
    return share, min(level[1], size[1])


def _of_qrs(quantity: str, lead: str, inputs: FlagInputs) -> tuple[float, float] | None:
    """R, R minus or plus the deeper of Q and S, or this depth. A wave that is not there counts as zero, but one of them
    must be."""
    waves = {name: inputs.measurements.get(f"{name}_amplitude_mv.{lead}") for name in ("r", "q", "s")}
    known = {name: wave for name, wave in waves.items() if wave is not None}
    if not known:
        return None
    down = max((abs(known[name].value) for name in ("q", "s") if name in known), default=0.0)
    up = abs(known["r"].value) if "r" in known else 0.0
    value = {"r_mv": up, "net_qrs_mv": up - down, "size": up + down, "depth": down}[quantity]
    return value, min(wave.confidence for wave in known.values())


def _whole(rule: Rule, inputs: FlagInputs) -> Verdict | None:
    """The limits that are not of single leads; None when one of them was not measured."""
    met, confidence = True, 1.0
    evidence: list[tuple[str, float]] = []
    for limit in rule.limits:
        if limit.name in LEAD_QUANTITIES or limit.name == "lead_count":
            continue
        if limit.name.startswith(_WITNESS):
            seen = list(_witnesses(limit.name.removeprefix(_WITNESS), rule.params["witness"], inputs))
            if not seen:
                return None
            name, value, sure = max(seen, key=lambda item: item[1])
        else:
            measured = inputs.measurements.get(limit.name)
            if measured is None:
                return None
            name, value, sure = measured.lead, measured.value, measured.confidence
        met = met and limit.reached(value)
        confidence = min(confidence, sure)
        evidence.append((name, value))
    return Verdict(met=met, confidence=confidence, evidence=tuple(evidence))


def _witnesses(quantity: str, leads: Iterable[str], inputs: FlagInputs) -> Iterable[tuple[str, float, float]]:
    for lead in leads:
        found = None if _dead(lead, inputs) else _quantity(quantity, lead, inputs)
        if found is not None:
            yield lead, found[0], found[1]

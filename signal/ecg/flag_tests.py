"""The tests that a rule may name: each looks at the inputs and says what it found. Pure functions.

A test answers with a ``Verdict``: whether the limits are reached, by what, and what could not be looked at. Whether
that becomes a flag is decided elsewhere (``flags``), so that a suppressed rule can still say that its limits are met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from teleread.signal.ecg.flag_leads import lead_pattern
from teleread.signal.ecg.flag_profile import Limit, Rule
from teleread.signal.ecg.flag_types import FlagInputs, RhythmFindingLike
from teleread.signal.ecg.flag_verdict import Verdict, not_judged

_LEAST_CONFIDENCE = 0.5
_FEWEST_BEATS = 3  # two intervals: with fewer a span has no rate


def measured(rule: Rule, inputs: FlagInputs) -> Verdict:
    """Every limit names a measurement of the whole recording, and all must be reached. The first one is reported."""
    values = [(limit, inputs.measurements.get(limit.name)) for limit in rule.limits]
    missing = [limit.name for limit, value in values if value is None]
    if missing:
        return not_judged("not_measured")
    found = [(limit, value) for limit, value in values if value is not None]
    first, value = found[0]
    return Verdict(
        met=all(limit.reached(v.value) for limit, v in found),
        lead=value.lead,
        value=value.value,
        limit=first.value,
        unit=first.unit,
        confidence=min(v.confidence for _, v in found),
        evidence=tuple((v.lead, v.value) for _, v in found) if len(found) > 1 else (),
    )


def pause(rule: Rule, inputs: FlagInputs) -> Verdict:
    """The longest RR interval: the measured one, or a pause that the rhythm found (also before or after all beats)."""
    candidates = [(_in_ms(f), f.confidence) for f in _findings(inputs, ("pause",))]
    longest = inputs.measurements.get("rr_max_ms")
    if longest is not None:
        candidates.append((longest.value, longest.confidence))
    return _extreme(rule.limits[0], [(v, c) for v, c in candidates if v is not None], "not_measured")


def finding_value(rule: Rule, inputs: FlagInputs) -> Verdict:
    """A rhythm finding with its interval in ms; where it carries none, the measurement ``params.fallback``."""
    if inputs.rhythm is None:
        return not_judged("rhythm_unknown")
    fallback = inputs.measurements.get(str(rule.params.get("fallback", "")))
    candidates: list[tuple[float, float]] = []
    for finding in _findings(inputs, rule.params["codes"]):
        value = _in_ms(finding)
        if value is None and fallback is not None:
            value = fallback.value
        if value is None:
            return not_judged("not_measured")
        candidates.append((value, finding.confidence))
    return _extreme(rule.limits[0], candidates, "")


def finding_present(rule: Rule, inputs: FlagInputs) -> Verdict:
    """Whether there are as many sure rhythm findings of these codes. The value is how long the longest lasts, in
    seconds, beside a limit of 0, which means presence; only unsure ones are no reason for a flag, and said."""
    if inputs.rhythm is None:
        return not_judged("rhythm_unknown")
    found = _findings(inputs, rule.params["codes"])
    sure = [f for f in found if f.confidence >= _LEAST_CONFIDENCE]
    if found and not sure:
        return not_judged("uncertain", met=True)
    return Verdict(
        met=rule.limits[0].reached(float(len(sure))),
        lead="global",
        value=max((f.end_s - f.start_s for f in sure), default=0.0),
        limit=0.0,
        unit="s",
        confidence=max((f.confidence for f in sure), default=1.0),
    )


def rhythm_present(rule: Rule, inputs: FlagInputs) -> Verdict:
    """How long the longest span of these rhythms lasts, in seconds. A limit of 0 means presence."""
    if inputs.rhythm is None:
        return not_judged("rhythm_unknown")
    codes = rule.params["codes"]
    lengths = [end - start for start, end, code in inputs.rhythm.spans if code in codes]
    return _extreme(rule.limits[0], [(length, 1.0) for length in lengths], "")


def rhythm_rate(rule: Rule, inputs: FlagInputs) -> Verdict:
    """The fastest mean rate of a span of these rhythms, in beats per minute.

    From the beats within the span; with fewer than three there, from the rhythm's own finding of the same code;
    where neither tells, from the rate of the whole recording.
    """
    if inputs.rhythm is None:
        return not_judged("rhythm_unknown")
    codes = rule.params["codes"]
    spans = [span for span in inputs.rhythm.spans if span[2] in codes]
    rates = [rate for span in spans if (rate := _span_rate(span, inputs)) is not None]
    own = _findings(inputs, codes)
    rates += [f.value for f in own if f.value is not None and f.unit == "bpm"]
    if (spans or own) and not rates:
        return not_judged("not_measured")
    return _extreme(rule.limits[0], [(rate, 1.0) for rate in rates], "")


def _span_rate(span: tuple[float, float, str], inputs: FlagInputs) -> float | None:
    start, end, _ = span
    beats = np.asarray(inputs.r_peaks_s, dtype=np.float64)
    beats = beats[(beats >= start - 0.05) & (beats <= end + 0.05)]
    if beats.size >= _FEWEST_BEATS:
        return float(60.0 * (beats.size - 1) / (beats[-1] - beats[0]))
    rate = inputs.measurements.get("heart_rate_bpm")
    return None if rate is None or inputs.r_peaks_s else rate.value


def _findings(inputs: FlagInputs, codes: Sequence[str]) -> list[RhythmFindingLike]:
    return [] if inputs.rhythm is None else [f for f in inputs.rhythm.findings if f.code in codes]


def _in_ms(finding: RhythmFindingLike) -> float | None:
    """A finding's interval in ms, whatever unit it was given in."""
    if finding.value is None:
        return None
    if finding.unit == "bpm":
        return 60000.0 / finding.value if finding.value > 0 else None
    return finding.value * 1000.0 if finding.unit == "s" else finding.value


def _extreme(limit: Limit, candidates: Sequence[tuple[float, float]], if_none: str) -> Verdict:
    """The (value, confidence) that goes furthest beyond the limit. ``if_none``: why nothing was judged, if so."""
    if not candidates:
        return not_judged(if_none) if if_none else Verdict(met=False)
    value, confidence = (max if limit.op in (">=", ">") else min)(candidates)
    return Verdict(limit.reached(value), "global", value, limit.value, limit.unit, confidence)


@dataclass(frozen=True, slots=True)
class Test:
    """A test and the names of limits that it understands (empty: any measurement's name)."""

    run: Callable[[Rule, FlagInputs], Verdict]
    limit_names: frozenset[str] = frozenset()


TESTS: Mapping[str, Test] = MappingProxyType(
    {
        "measured": Test(measured),
        "pause": Test(pause, frozenset({"rr_ms"})),
        "finding_value": Test(finding_value, frozenset({"rr_ms"})),
        "finding_present": Test(finding_present, frozenset({"count"})),
        "rhythm_present": Test(rhythm_present, frozenset({"duration_s"})),
        "rhythm_rate": Test(rhythm_rate, frozenset({"rate_bpm"})),
        "lead_pattern": Test(lead_pattern),
    }
)
"""Every test that a profile may name."""

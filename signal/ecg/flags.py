"""Critical values and infarction limits: which rules of a profile fire for one recording, and which were not judged.

Flags only ever raise a case's priority. **No flag never means normal**, so everything that kept a rule from being
judged is listed beside the flags: a paced or bundle-branch-blocked trace, suspected hypertrophy, a device filter
known to be narrower than 0.05 to 150 Hz, a dead lead, an age outside the rule's range, a kind that was switched off.
A suppressed rule whose limits were reached all the same says so (``NotJudged.met``).

Unknown is treated to the safe side and said: an unknown age or sex uses the most sensitive limit (``Flag.assumed``),
an unknown device filter still flags and carries the note ``filter_unknown``.
"""

from __future__ import annotations

from dataclasses import replace

from teleread.errors import Misconfigured
from teleread.signal.ecg.flag_profile import DEFAULT_PROFILE, LvhLimits, Profile, Rule, load_profile, profile_names
from teleread.signal.ecg.flag_tests import TESTS
from teleread.signal.ecg.flag_types import BandLike, Flag, FlagInputs, Flags, NotJudged, RhythmLike
from teleread.signal.ecg.flag_verdict import Verdict

__all__ = [
    "DEFAULT_PROFILE",
    "Flag",
    "FlagInputs",
    "Flags",
    "NotJudged",
    "Profile",
    "flag",
    "load_profile",
    "profile_names",
    "suppressors",
]

_HIGH_PASS_HZ = 0.05
_LOW_PASS_HZ = 150.0
_LEAST_EDGE_HZ = 125.0
"""Accepted deviation: 250 samples a second, which many recorders take, show up to 125 Hz and not 150; ST lies far
below, and J moves by less than a sample. At 200 a second and fewer ST is not judged."""
_EVERY_AGE = (0.0, 200.0)
_VENTRICULAR = frozenset(
    {
        "ventricular_tachycardia",
        "ventricular_fibrillation",
        "idioventricular_rhythm",
        "accelerated_idioventricular_rhythm",
    }
)
_LATER = {"st_j_mv": "st_80_mv", "depression_mv": "depression_80_mv"}
"""What is asked for 80 ms later as well where the atria flutter."""
_FLUTTER_MV = 0.05
"""How much of ST 80 ms after J the waves may make; they are 0.1 to 0.3 mV high."""
_ORDER = {"critical": 0, "urgent": 1, "note": 2}


def flag(inputs: FlagInputs, profile: Profile) -> Flags:
    """Every rule of the profile against one recording. Pure: the same inputs give the same answer.

    Returns:
        flags, most severe first and in the profile's order within, and everything that was not judged.

    Raises:
        Misconfigured: ``flag_profile_invalid``, the profile names a test that does not exist.
    """
    present = suppressors(inputs, profile.lvh)
    flags: list[Flag] = []
    skipped: list[NotJudged] = []
    for rule in profile.rules:
        fired, missed = _apply(rule, inputs, profile, present)
        flags += fired
        skipped += missed
    flags.sort(key=lambda item: _ORDER[item.severity])
    # the rule for hypertrophy has judged it
    raised = {item.code for item in flags}
    return Flags(tuple(flags), tuple(item for item in skipped if item.reason != "lvh" or item.code not in raised))


def suppressors(inputs: FlagInputs, limits: LvhLimits) -> frozenset[str]:
    """What is present of ``SUPPRESSORS``; ``lvh`` is suspected by voltage."""
    found: set[str] = set()
    if inputs.rhythm is not None:
        codes = {f.code for f in inputs.rhythm.findings}
        found = codes & {"paced", "lbbb", "rbbb", "pre_excitation"}
        found |= {"pre_excitation"} if "pre_excited_af" in codes else set()
        found |= {"paced"} if any(code == "paced_rhythm" for _, _, code in inputs.rhythm.spans) else set()
        found |= {"ventricular_rhythm"} if _mostly(inputs.rhythm, _VENTRICULAR) else set()
        found |= {"atrial_flutter"} if _flutters(inputs) else set()
    # the voltage of a wide QRS says nothing about the muscle's thickness
    if not found & {"paced", "lbbb", "pre_excitation", "ventricular_rhythm"} and _lvh_suspected(inputs, limits):
        found.add("lvh")
    return frozenset(found)


def _mostly(rhythm: RhythmLike, codes: frozenset[str]) -> bool:
    """Whether these rhythms last at least half of the time."""
    lengths = [(end - start, code) for start, end, code in rhythm.spans]
    total = sum(length for length, _ in lengths)
    return total > 0 and sum(length for length, code in lengths if code in codes) >= 0.5 * total


def _lvh_suspected(inputs: FlagInputs, limits: LvhLimits) -> bool:
    def size(wave: str, lead: str) -> float | None:
        found = inputs.measurements.get(f"{wave}_amplitude_mv.{lead}")
        return None if found is None else abs(found.value)

    s1, s3, left = size("s", "V1"), size("s", "V3"), size("r", "aVL")
    lateral = [r for r in (size("r", "V5"), size("r", "V6")) if r is not None]
    old_enough = inputs.age_years is not None and inputs.age_years >= limits.sokolow_from_age
    if old_enough and s1 is not None and lateral and s1 + max(lateral) >= limits.sokolow_lyon_mv:
        return True
    # suppressing is the unsafe side, so an unknown sex takes the higher limit
    cornell = limits.cornell_women_mv if inputs.sex == "F" else limits.cornell_men_mv
    return s3 is not None and left is not None and s3 + left >= cornell


def _apply(
    rule: Rule, inputs: FlagInputs, profile: Profile, present: frozenset[str]
) -> tuple[list[Flag], list[NotJudged]]:
    """The flag of one rule, if it fires, and what was not judged of it."""

    def skip(reason: str, met: bool = False, lead: str | None = None) -> NotJudged:
        return NotJudged(rule.rule_id, rule.version, rule.code, reason, lead, met, rule.kind)

    if rule.kind not in profile.kinds:
        return [], [skip("switched_off")]
    age = inputs.age_years
    if age is not None and rule.age_years != _EVERY_AGE and not rule.age_years[0] <= age < rule.age_years[1]:
        return [], [skip("age_outside")]
    requires = rule.params.get("requires")
    if requires is not None and not present & set(requires):
        return [], []
    if rule.test not in TESTS:
        raise Misconfigured("flag_profile_invalid", f"The flag rule {rule.rule_id} names an unknown test.")
    verdict = TESTS[rule.test].run(rule, inputs)
    if verdict.reason:
        return [], [skip(verdict.reason, met=verdict.met)]
    left_out = [skip(reason, lead=lead) for lead, reason in verdict.left_out]
    reason = _suppressed(rule, inputs, present)
    if reason:
        return [], [skip(reason, met=verdict.met), *left_out]
    if verdict.met and _by_flutter_waves(rule, inputs):
        return [], [skip("atrial_flutter", met=True), *left_out]
    return ([_flag_of(rule, verdict, inputs)] if verdict.met else []), left_out


def _suppressed(rule: Rule, inputs: FlagInputs, present: frozenset[str]) -> str:
    """Why a rule that could be looked at is not judged; empty when it is."""
    for name in rule.suppressed_by:
        if name in present:
            return name
    if rule.needs_band:
        applied = inputs.applied
        sampled = inputs.fs_hz is not None and 0.5 * inputs.fs_hz < _LEAST_EDGE_HZ
        # a band that our filter left open ends at half the sampling rate
        open_above = applied is None or applied.low_pass_hz is None
        if _narrow(inputs.filters) or (applied is not None and _narrow(applied)) or (open_above and sampled):
            return "filter_narrow"
    return ""


def _by_flutter_waves(rule: Rule, inputs: FlagInputs) -> bool:
    """Whether ST is not clearly beyond its limits 80 ms after J as well, where the atria flutter.

    Their waves lift J and have fallen by then, while the ST segment of an infarction keeps its level.
    """
    names = {limit.name for limit in rule.limits}
    if not names & set(_LATER) or not _flutters(inputs):
        return False
    later = tuple(
        replace(limit, name=_LATER[limit.name], value=limit.value + _FLUTTER_MV)
        for limit in rule.limits
        if limit.name in _LATER
    )
    verdict = TESTS[rule.test].run(replace(rule, limits=(*rule.limits, *later)), inputs)
    return not verdict.reason and not verdict.met


def _flutters(inputs: FlagInputs) -> bool:
    return inputs.rhythm is not None and _mostly(inputs.rhythm, frozenset({"atrial_flutter"}))


def _narrow(band: BandLike) -> bool:
    """Whether a band is known to be narrower than 0.05 to 150 Hz."""
    high, low = band.high_pass_hz, band.low_pass_hz
    return (high is not None and high > _HIGH_PASS_HZ * (1 + 1e-6)) or (
        low is not None and low < _LOW_PASS_HZ * (1 - 1e-6)
    )


def _flag_of(rule: Rule, verdict: Verdict, inputs: FlagInputs) -> Flag:
    notes = _notes(inputs) if rule.needs_band else ()
    whole_range = rule.age_years[0] <= 0
    assumed = set(verdict.assumed) | ({"age"} if inputs.age_years is None and not whole_range else set())
    return Flag(
        rule_id=rule.rule_id,
        version=rule.version,
        lead=verdict.lead,
        value=round(verdict.value, 4),
        limit=verdict.limit,
        kind=rule.kind,
        code=rule.code,
        severity=rule.severity,
        unit=verdict.unit,
        confidence=round(verdict.confidence, 3),
        evidence=tuple((lead, round(value, 4)) for lead, value in verdict.evidence),
        assumed=tuple(sorted(assumed)),
        notes=notes,
    )


def _notes(inputs: FlagInputs) -> tuple[str, ...]:
    """What weakens a flag on ST: an unknown band, flutter waves that look like ST, electrodes that may be exchanged."""
    band = inputs.filters
    notes = ["filter_unknown"] if band.high_pass_hz is None or band.low_pass_hz is None else []
    if _flutters(inputs):
        notes.append("atrial_flutter")
    faults = {finding.fault for finding in inputs.quality.findings} if inputs.quality is not None else set()
    return (*notes, *(fault for fault in ("limb_reversal", "precordial_swap") if fault in faults))

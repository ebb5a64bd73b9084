"""What a page shows of an ECG's automatic reading, from the analysis as stored. Pure.

An analysis of an older version has fewer keys; what it does not have is not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from teleread.alliance import EcgRules
from teleread.web.findings import MEASUREMENTS
from teleread.web.i18n import N_

SHOWN_BESIDE = ("pr_ms", "qrs_duration_ms", "qt_ms", "qtc_ms", "qrs_axis_deg")
"""The measurements that stand beside the trace; all the others stand below it."""

WIDE_HZ = (0.05, 150.0)
SPANS_SHOWN = 20
LONG_S = 30.0
"""A recording that is longer has its rhythms with their times."""

MANY_RULES = 5
"""More than what a usual recording lacks, which are the rules on leads beyond the twelve."""

_COUNTED = "findings"  # the unit of what is there or not
_LOWER_IS_WORSE = frozenset({"bradycardia", "av_block_3"})

LEAD_COLUMNS = {
    "p_amplitude_mv": "P",
    "q_amplitude_mv": "Q",
    "r_amplitude_mv": "R",
    "s_amplitude_mv": "S",
    "t_amplitude_mv": "T",
    "st_j_mv": "J",
    "st_j60_mv": "J+60",
    "st_j80_mv": "J+80",
}

RHYTHMS = {
    "sinus_rhythm": N_("sinus rhythm"),
    "sinus_bradycardia": N_("sinus bradycardia"),
    "sinus_tachycardia": N_("sinus tachycardia"),
    "sinus_arrhythmia": N_("sinus arrhythmia"),
    "atrial_fibrillation": N_("atrial fibrillation"),
    "atrial_flutter": N_("atrial flutter"),
    "supraventricular_tachycardia": N_("supraventricular tachycardia"),
    "ventricular_tachycardia": N_("ventricular tachycardia"),
    "ventricular_fibrillation": N_("ventricular fibrillation"),
    "asystole": N_("asystole"),
    "junctional_rhythm": N_("junctional rhythm"),
    "idioventricular_rhythm": N_("idioventricular rhythm"),
    "accelerated_idioventricular_rhythm": N_("accelerated idioventricular rhythm"),
    "paced_rhythm": N_("paced rhythm"),
    "undetermined": N_("rhythm undetermined"),
    # of analyses before version 3
    "regular": N_("regular"),
    "irregular": N_("irregular"),
}

RHYTHM_FINDINGS = {
    "pause": N_("pause"),
    "bradycardia": N_("slow rate"),
    "tachycardia": N_("fast rate"),
    "premature_ventricular": N_("premature ventricular beats"),
    "premature_supraventricular": N_("premature supraventricular beats"),
    "bigeminy": N_("bigeminy"),
    "couplet": N_("couplets"),
    "av_block_1": N_("AV block, first degree"),
    "av_block_2_mobitz_1": N_("AV block, second degree, Wenckebach"),
    "av_block_2_mobitz_2": N_("AV block, second degree, Mobitz II"),
    "av_block_2_1": N_("AV block, 2:1"),
    "av_block_3": N_("AV block, third degree"),
    "lbbb": N_("left bundle branch block"),
    "rbbb": N_("right bundle branch block"),
    "ivcd": N_("intraventricular conduction delay"),
    "pre_excitation": N_("pre-excitation"),
    "pre_excited_af": N_("pre-excited atrial fibrillation"),
    "paced": N_("pacing spikes"),
}

FLAGS = {
    "asystole": N_("asystole"),
    "atrial_fibrillation_fast": N_("atrial fibrillation, fast"),
    "av_block_3": N_("AV block, third degree"),
    "av_block_high_grade": N_("AV block, high grade"),
    "bradycardia_extreme": N_("extremely slow rate"),
    "de_winter_pattern": N_("de Winter pattern"),
    "hyperkalaemia_pattern": N_("hyperkalaemia pattern"),
    "long_rr": N_("long pause"),
    "pre_excited_af_fast": N_("pre-excited atrial fibrillation, fast"),
    "infarction_recent_anterior": N_("recent anterior infarction?"),
    "qtc_long": N_("long QTc"),
    "st_discordant_excessive": N_("excessive ST elevation against QRS"),
    "st_concordant": N_("ST change in the direction of QRS"),
    "st_depression_diffuse": N_("ST depression in many leads with elevation in aVR"),
    "st_depression_posterior": N_("ST depression V1 to V3: posterior infarction?"),
    "st_elevation_anterior": N_("ST elevation, anterior"),
    "st_elevation_inferior": N_("ST elevation, inferior"),
    "st_elevation_lateral": N_("ST elevation, lateral"),
    "st_elevation_posterior": N_("ST elevation, posterior"),
    "st_elevation_right_ventricular": N_("ST elevation, right ventricle"),
    "tachycardia_extreme": N_("extremely fast rate"),
    "ventricular_escape": N_("ventricular escape rhythm"),
    "supraventricular_tachycardia_fast": N_("supraventricular tachycardia, fast"),
    "ventricular_fibrillation": N_("ventricular fibrillation"),
    "ventricular_tachycardia": N_("ventricular tachycardia"),
    "ventricular_tachycardia_fast": N_("ventricular tachycardia, fast"),
    "wellens_pattern": N_("Wellens pattern"),
    "wide_tachycardia": N_("fast rate with wide QRS"),
}

FLAG_NOTES = {
    "filter_unknown": N_("the recorded band is unknown: ST not judged, limits reached all the same"),
    "limb_reversal": N_("limb electrodes may be exchanged"),
    "precordial_swap": N_("chest electrodes may be exchanged"),
    "atrial_flutter": N_("flutter waves may look like ST"),
    "age": N_("age unknown: the most sensitive limit"),
    "sex": N_("sex unknown: the most sensitive limit"),
}

NOT_JUDGED = {
    "paced": N_("paced"),
    "lbbb": N_("left bundle branch block"),
    "rbbb": N_("right bundle branch block"),
    "lvh": N_("left ventricular hypertrophy suspected"),
    "pre_excitation": N_("pre-excitation"),
    "ventricular_rhythm": N_("ventricular rhythm"),
    "filter_narrow": N_("the device's filter is too narrow"),
    "lead_quality": N_("the lead is too poor"),
    "lead_missing": N_("the lead is missing"),
    "not_measured": N_("could not be measured"),
    "rhythm_unknown": N_("rhythm undetermined"),
    "age_outside": N_("not for this age"),
    "uncertain": N_("found, but not surely enough"),
    "switched_off": N_("switched off"),
    "atrial_flutter": N_("flutter waves may look like ST"),
}


@dataclass(frozen=True, slots=True)
class Value:
    """A measurement by name."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Flagged:
    """One thing that was flagged, by however many rules.

    Args:
        lead: where the most severe rule found it, None for the whole recording.
        value: beside its unit; None where something is there or not, and nothing is measured.
        rules: each rule that says it, with its version, its limit (None where any value is beyond it) and unit.
    """

    code: str
    severity: str
    lead: str | None
    value: float | None
    unit: str
    rules: tuple[tuple[str, str, float | None, str], ...]


@dataclass(frozen=True, slots=True)
class Said:
    """A rhythm or another finding of the rhythm: the worst value of all its occurrences, and how many there are."""

    code: str
    value: float | None = None
    unit: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Unjudged:
    """What was not judged for one reason: the rules' codes, each with a lead where only one lead was left out."""

    reason: str
    what: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the program measured, saw and flagged; all of it unconfirmed.

    Args:
        measured: whether numbers may be shown at all.
        beside: the measurements that stand beside the trace, in their order.
        others: all other ones that hold for the whole recording.
        by_lead: for each lead its values in the order of ``LEAD_COLUMNS``, None where one could not be measured.
        rhythms: each rhythm once, in the order of its first span.
        findings: each other rhythm finding once.
        spans: code, start and end in seconds of each rhythm in a long recording, at most ``SPANS_SHOWN``.
        more_spans: how many there are beyond.
        flags: those that may be shown, each thing once, most severe first.
        flag_notes: codes of what weakens any of these flags, each once.
        hidden: how many flags are of a kind that is switched off.
        reached: what was not judged though its limits were reached: code, lead, reason. A reader must look.
        not_judged: everything else that was not judged, by reason.
        n_not_judged: how many whole rules should have been judged and could not be.
    """

    measured: bool
    beside: tuple[Value, ...]
    others: tuple[Value, ...]
    by_lead: tuple[tuple[str, tuple[float | None, ...]], ...]
    rhythms: tuple[Said, ...]
    findings: tuple[Said, ...]
    spans: tuple[tuple[str, float, float], ...]
    more_spans: int
    flags: tuple[Flagged, ...]
    flag_notes: tuple[str, ...]
    hidden: int
    reached: tuple[tuple[str, str | None, str], ...]
    not_judged: tuple[Unjudged, ...]
    n_not_judged: int

    @property
    def many_not_judged(self) -> bool:
        """Whether so much was not judged that "nothing is flagged" says little."""
        return self.n_not_judged >= MANY_RULES


def nothing(display: Mapping[str, Any]) -> dict[str, Any]:
    """An analysis that says nothing, where there is a tracing and its analysis failed."""
    return {
        "recording": {"leads": display["leads"]},
        "measurements": {},
        "r_peaks": [],
        "rhythm": [],
        "flags": [],
        "quality": {"findings": []},
    }


def reading(analysis: Mapping[str, Any], rules: EcgRules) -> Reading:
    """The part of an analysis that the alliance's rules let a page show."""
    measured: Mapping[str, Any] = analysis["measurements"] if rules.measurement else {}
    whole = {name: Value(name, one["value"], one["unit"]) for name, one in measured.items() if one["lead"] == "global"}
    beside = tuple(whole[name] for name in SHOWN_BESIDE if name in whole)
    leads = [
        (lead, tuple(measured.get(f"{name}.{lead}", {}).get("value") for name in LEAD_COLUMNS))
        for lead in analysis["recording"]["leads"]
    ]
    flags = [flag for flag in analysis["flags"] if rules.takes(flag.get("kind", ""))]
    said = _said(analysis.get("rhythm_findings", ()), with_rates=rules.measurement)
    rhythms = dict.fromkeys(span["code"] for span in analysis["rhythm"])
    spans = _spans(analysis)
    # before version 4 it was not said of what kind a rule is
    skipped = [one for one in analysis.get("not_judged", ()) if "kind" not in one or rules.takes(one["kind"])]
    return Reading(
        measured=rules.measurement,
        beside=beside,
        others=tuple(whole[name] for name in MEASUREMENTS if name in whole and name not in SHOWN_BESIDE),
        by_lead=tuple((lead, values) for lead, values in leads if any(value is not None for value in values)),
        rhythms=tuple(said.get(code, Said(code)) for code in rhythms),
        findings=tuple(one for code, one in said.items() if code not in RHYTHMS),
        spans=spans[:SPANS_SHOWN],
        more_spans=max(0, len(spans) - SPANS_SHOWN),
        flags=_flagged(flags),
        flag_notes=tuple(dict.fromkeys(note for flag in flags for note in _notes(flag))),
        hidden=len(analysis["flags"]) - len(flags),
        reached=tuple(
            dict.fromkeys((one["code"], one.get("lead"), one["reason"]) for one in skipped if one.get("met"))
        ),
        not_judged=_unjudged(one for one in skipped if not one.get("met")),
        n_not_judged=len({one["rule_id"] for one in skipped if _could_not(one)}),
    )


def _notes(flag: Mapping[str, Any]) -> list[str]:
    return [*(flag.get("notes") or ()), *(flag.get("assumed") or ())]


def _flagged(flags: Sequence[Mapping[str, Any]]) -> tuple[Flagged, ...]:
    """Each thing once, as its first rule has it: flags are stored most severe first."""
    by_code: dict[str, list[Mapping[str, Any]]] = {}
    for flag in flags:
        by_code.setdefault(flag["code"], []).append(flag)
    return tuple(
        Flagged(
            code=code,
            severity=rules[0]["severity"],
            lead=None if rules[0]["lead"] == "global" else rules[0]["lead"],
            value=None if rules[0]["unit"] == _COUNTED else rules[0]["value"],
            unit=rules[0]["unit"],
            rules=tuple((one["rule_id"], one["version"], _limit(one), one["unit"]) for one in rules),
        )
        for code, rules in by_code.items()
    )


def _limit(flag: Mapping[str, Any]) -> float | None:
    """A flag's limit; None for one that is raised by mere presence."""
    limit: float = flag["limit"]
    return None if flag["unit"] == _COUNTED or limit == 0 else limit


def _said(findings: Sequence[Mapping[str, Any]], *, with_rates: bool) -> dict[str, Said]:
    """Each finding's code once, with the worst of its values."""
    by_code: dict[str, list[Mapping[str, Any]]] = {}
    for one in findings:
        by_code.setdefault(one["code"], []).append(one)
    said = {}
    for code, found in by_code.items():
        shown = [one for one in found if one["value"] is not None and (with_rates or one["unit"] != "bpm")]
        worst = (min if code in _LOWER_IS_WORSE else max)(shown, key=lambda one: float(one["value"]), default=None)
        value, unit = (None, "") if worst is None else (worst["value"], worst["unit"])
        said[code] = Said(code, value, unit, len(found))
    return said


def _spans(analysis: Mapping[str, Any]) -> tuple[tuple[str, float, float], ...]:
    spans = tuple((one["code"], one["start_s"], one["end_s"]) for one in analysis["rhythm"])
    return spans if max((end for _, _, end in spans), default=0.0) > LONG_S else ()


def _could_not(one: Mapping[str, Any]) -> bool:
    """Whether a whole rule was left out that was meant for this patient and is switched on."""
    return one.get("lead") is None and one["reason"] not in {"age_outside", "switched_off"}


def _unjudged(skipped: Iterable[Mapping[str, Any]]) -> tuple[Unjudged, ...]:
    by_reason: dict[str, dict[tuple[str, str | None], None]] = {}
    for one in skipped:
        by_reason.setdefault(one["reason"], {})[(one["code"], one.get("lead"))] = None
    return tuple(Unjudged(reason, tuple(what)) for reason, what in by_reason.items())


def st_doubt(analysis: Mapping[str, Any], filters: Mapping[str, Any]) -> str:
    """What there is to say of ST beside the trace: ``filter_narrow``, ``filter_unknown`` or nothing.

    ``filter_narrow``: the recorded band, or what the program could see of it, is narrower than ST needs it, 0.05 to
    150 Hz (AHA/ACC/HRS 2007, doi:10.1161/CIRCULATIONAHA.106.180200). ``filter_unknown``: the file does not say it.
    Either way ST is not judged; a flag of an unknown band says only that a limit was reached.
    """
    high, low = filters.get("high_pass_hz"), filters.get("low_pass_hz")
    if any(one["reason"] == "filter_narrow" for one in analysis.get("not_judged", ())):
        return "filter_narrow"
    if high is None or low is None:
        return "filter_unknown"
    return "" if high <= WIDE_HZ[0] and low >= WIDE_HZ[1] else "filter_narrow"


def st_unjudged(flag: Mapping[str, Any]) -> bool:
    """Whether a flag is on ST of an unknown band: a limit was reached, and nothing is suggested of it."""
    return "filter_unknown" in flag.get("notes", ())

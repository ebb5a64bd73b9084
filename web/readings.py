"""What a page shows of an ECG's automatic reading, from the analysis as stored. Pure.

An analysis of an older version has fewer keys; what it does not have is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from teleread.alliance import EcgRules
from teleread.web.findings import MEASUREMENTS
from teleread.web.i18n import N_

SHOWN_BESIDE = ("pr_ms", "qrs_duration_ms", "qt_ms", "qtc_ms", "qrs_axis_deg")
"""The measurements that stand beside the trace; all the others stand below it."""

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
    "filter_unknown": N_("the recorded band is unknown: ST may be wrong"),
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
    "switched_off": N_("switched off"),
}


@dataclass(frozen=True, slots=True)
class Value:
    """A measurement by name."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What the program measured, saw and flagged; all of it unconfirmed.

    Args:
        beside: the measurements that stand beside the trace, in their order.
        others: all other ones that hold for the whole recording.
        by_lead: for each lead its values in the order of ``LEAD_COLUMNS``, None where one could not be measured.
        rhythms: each rhythm once, in the order of its first span: code, value and unit; value None where there is none.
        findings: each other rhythm finding once, likewise.
        flags: as stored, those that may be shown.
        not_judged: rules that could not be judged, with the reason: as stored.
    """

    beside: tuple[Value, ...]
    others: tuple[Value, ...]
    by_lead: tuple[tuple[str, tuple[float | None, ...]], ...]
    rhythms: tuple[tuple[str, float | None, str], ...]
    findings: tuple[tuple[str, float | None, str], ...]
    flags: tuple[Mapping[str, Any], ...]
    not_judged: tuple[Mapping[str, Any], ...]


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
    found = {one["code"]: (one["code"], one["value"], one["unit"]) for one in analysis.get("rhythm_findings", ())}
    rhythms = dict.fromkeys(span["code"] for span in analysis["rhythm"])
    return Reading(
        beside=beside,
        others=tuple(whole[name] for name in MEASUREMENTS if name in whole and name not in SHOWN_BESIDE),
        by_lead=tuple((lead, values) for lead, values in leads if any(value is not None for value in values)),
        rhythms=tuple(found.get(code, (code, None, "")) for code in rhythms),
        findings=tuple(one for code, one in found.items() if code not in RHYTHMS),
        flags=tuple(flags),
        not_judged=tuple(analysis.get("not_judged", ())),
    )


def st_judged(filters: Mapping[str, Any]) -> bool:
    """Whether the recorded band is known and as wide as ST needs it, 0.05 to 150 Hz.

    AHA/ACC/HRS 2007, doi:10.1161/CIRCULATIONAHA.106.180200.
    """
    low, high = filters.get("high_pass_hz"), filters.get("low_pass_hz")
    return low is not None and high is not None and low <= 0.05 and high >= 150.0

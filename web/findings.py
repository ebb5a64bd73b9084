"""Words for quality findings, measurements, windows and connections: English here, Chinese in the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from teleread.web.i18n import N_

FAULTS = {
    "flat": N_("no signal (flat line)"),
    "off": N_("electrode off, or signal missing"),
    "saturated": N_("signal cut off at the device's limit"),
    "mains": N_("mains hum"),
    "drift": N_("the baseline wanders"),
    "burst": N_("jolts or a short disturbance"),
    "muscle": N_("muscle tremor"),
    "low_amplitude": N_("very small beats"),
    "too_short": N_("the recording is too short"),
    "undersampled": N_("the sampling rate is too low"),
    "band_limited": N_("fine detail is missing: the device filters too strongly"),
    "einthoven": N_("the limb leads contradict each other"),
    "limb_reversal": N_("electrodes seem to be exchanged"),
    "precordial_swap": N_("these chest electrodes may be exchanged: check"),
    "all_leads_bad": N_("no lead shows a usable heartbeat"),
}

REMEDIES = {
    "reattach_electrode": N_("Clean the skin, attach the electrodes of these leads again, check clips and cable."),
    "check_limb_electrodes": N_(
        "Check the limb electrodes: red right arm, yellow left arm, green left leg, black right leg (IEC colours)."
    ),
    "check_chest_electrodes": N_("Check the order and place of the chest electrodes V1 to V6."),
    "move_away_from_mains": N_("Move patient and cables away from mains leads; switch off what is not needed."),
    "ask_to_lie_still": N_("Ask the patient to lie still, warm and relaxed, and not to talk."),
    "repeat_longer": N_("Record again for at least 10 seconds."),
    "check_device_settings": N_("Check the device's settings: filter, sampling rate and export."),
    "look_at_patient": N_("LOOK AT THE PATIENT FIRST: consciousness, breathing, pulse. Then check the electrodes."),
}

ELECTRODES = {
    "RA": N_("right arm electrode"),
    "LA": N_("left arm electrode"),
    "LL": N_("left leg electrode"),
    "RL": N_("right leg electrode"),
    "RA-LA": N_("right arm and left arm"),
    "LA-LL": N_("left arm and left leg"),
    "RA-LL": N_("right arm and left leg"),
    "RA-LA-LL": N_("both arms and left leg"),
    "RA-RL": N_("right arm and right leg"),
    "LA-RL": N_("left arm and right leg"),
    "arms-legs": N_("both arms and both legs"),
}
"""Limb electrodes that a finding may name, one that is loose or some that are exchanged."""

MEASUREMENTS = {
    "heart_rate_bpm": N_("Heart rate"),
    "rr_mean_ms": N_("RR interval, mean"),
    "rr_min_ms": N_("RR interval, shortest"),
    "rr_max_ms": N_("RR interval, longest"),
    "rr_sd_ms": N_("RR interval, standard deviation"),
    "rmssd_ms": N_("RMSSD"),
    "p_duration_ms": N_("P duration"),
    "pr_ms": N_("PR interval"),
    "qrs_duration_ms": N_("QRS duration"),
    "qt_ms": N_("QT interval"),
    "qtc_ms": N_("QTc interval"),
    "qtc_bazett_ms": N_("QTc, Bazett"),
    "qtc_fridericia_ms": N_("QTc, Fridericia"),
    "qtc_framingham_ms": N_("QTc, Framingham"),
    "qtc_hodges_ms": N_("QTc, Hodges"),
    "p_axis_deg": N_("P axis"),
    "qrs_axis_deg": N_("QRS axis"),
    "t_axis_deg": N_("T axis"),
}

UNITS = {"bpm": N_("per minute"), "deg": "°"}

WINDOWS = {
    "default": N_("as stored"),
    "full": N_("full range"),
    "lung": N_("lung"),
    "mediastinum": N_("mediastinum"),
    "bone": N_("bone"),
    "brain": N_("brain"),
    "abdomen": N_("abdomen"),
}

CONNECTIONS = {
    "dicom": N_("DICOM, fetched"),
    "folder": N_("folder, watched"),
    "web": N_("sends by page or agent"),
}

KINDS = {"ecg": N_("ECG"), "image": N_("image"), "unknown": N_("unknown")}


@dataclass(frozen=True, slots=True)
class Group:
    """Leads that share a fault and its remedy; no lead: the whole recording."""

    leads: tuple[str, ...]
    fault: str
    remedy: str
    electrode: str | None = None
    """The limb electrode that is behind it in all these leads."""


def grouped(findings: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Findings of one kind together, in the order in which each kind first stands."""
    leads: dict[tuple[str, str, str | None], list[str]] = {}
    for one in findings:
        electrode = str(one["electrode"]) if one.get("electrode") else None
        found = leads.setdefault((str(one["fault"]), str(one["remedy"]), electrode), [])
        if one.get("lead"):
            found.append(str(one["lead"]))
    return [Group(tuple(names), *kind) for kind, names in leads.items()]

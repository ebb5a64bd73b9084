"""What an HL7 annotated ECG says around its series: subject, time, device, filters."""

from __future__ import annotations

from datetime import datetime, tzinfo

from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.markup import Element
from teleread.signal.ecg.record import Device, Filters, Patient

NAME = "aecg"
AGE_CODES = frozenset(("21612-7", "30525-0", "29553-5"))
"""LOINC: age reported, age, age calculated."""

_SUBJECT = "componentof/timepointevent/componentof/subjectassignment/subject/trialsubject"
_FILTERS = {"FILTER_HIGH_PASS": "high_pass_hz", "FILTER_LOW_PASS": "low_pass_hz", "FILTER_NOTCH": "notch_hz"}
_FREQUENCIES = ("FILTER_CUTOFF_FREQ", "FILTER_NOTCH_FREQ")


def patient_of(root: Element) -> Patient:
    """The trial subject; Mindray writes its identifier as an element of its own."""
    subject = root.first(_SUBJECT) or root.anywhere("trialsubject")
    if subject is None:
        return Patient()
    found = subject.first("id")
    person = subject.first("subjectdemographicperson") or Element("", {})
    gender, birth = person.first("administrativegendercode"), person.first("birthtime")
    return Patient(
        id=(facts.identifier(found.get("extension")) if found else None) or facts.identifier(person.at("patientid")),
        issuer=facts.words(found.get("assigningauthorityname")) if found else None,
        name=_name(person.first("name")),
        birth_date=facts.day(birth.get("value")) if birth else None,
        # UN is "undifferentiated" in HL7, and what carts write when nobody asked
        sex=_sex(gender) if gender else None,
    )


def _sex(gender: Element) -> str | None:
    return facts.sex(gender.get("displayname") if gender.get("code").upper() == "UN" else gender.get("code"))


def _name(name: Element | None) -> str | None:
    if name is None:
        return None
    if name.children:
        return facts.person(name.at("family"), name.at("given"))
    return facts.words(name.text)


def age_of(root: Element) -> float | None:
    """The reported age among the control variables."""
    for one in root.all("controlvariable/relatedobservation"):
        code, value = one.first("code"), one.first("value")
        if code and value and code.get("code") in AGE_CODES:
            return facts.years(value.get("value"), value.get("unit") or "a")
    person = root.anywhere("subjectdemographicperson")
    return facts.years(person.at("age"), "a") if person else None


def acquired_of(root: Element, series: Element, zone: tzinfo) -> datetime | None:
    """When the series began, where its samples have no moment."""
    for element, part in ((series, "low"), (series, "center"), (root, "low"), (root, "center")):
        found = element.first(f"effectivetime/{part}")
        at = facts.timestamp(found.get("value"), zone) if found else None
        if at is not None:
            return at
    return None


def device_of(series: Element) -> Device:
    """The author of the series."""
    author = series.first("author/seriesauthor")
    if author is None:
        return Device()
    device = author.first("manufacturedseriesdevice") or Element("", {})
    found = device.first("id")
    return Device(
        manufacturer=facts.words(author.at("manufacturerorganization/name"), 128),
        model=facts.words(device.at("manufacturermodelname")),
        serial=facts.words(device.at("serialnumber")) or (facts.words(found.get("extension")) if found else None),
        software=facts.words(device.at("softwarename")),
    )


def filters_of(series: Element) -> Filters:
    """Control variables of the series and its sets: a filter with its frequency below it."""
    found: dict[str, float] = {}
    variables = series.all("controlvariable") + series.all("component/sequenceset/controlvariable")
    for outer in variables[: facts.MAX_TEXTS]:
        for variable in [outer, *outer.all("controlvariable")]:
            code = variable.first("code")
            kind = next((name for word, name in _FILTERS.items() if code and code.get("code").endswith(word)), None)
            frequency = _frequency(variable) if kind else None
            if kind and frequency is not None:
                found.setdefault(kind, frequency)
    return Filters(found.get("high_pass_hz"), found.get("low_pass_hz"), found.get("notch_hz"))


def _frequency(variable: Element) -> float | None:
    for one in [*variable.all("component/controlvariable"), variable]:
        code, value = one.first("code"), one.first("value")
        if value and value.get("unit").lower() in ("hz", "") and (one is variable or _names_frequency(code)):
            found = facts.number(value.get("value"))
            if found is not None and found >= 0:
                return found
    return None


def _names_frequency(code: Element | None) -> bool:
    return code is not None and code.get("code").endswith(_FREQUENCIES)

"""What a Philips Sierra XML file says around its samples: patient, time, device, filters, measurements, statements."""

from __future__ import annotations

from datetime import datetime, tzinfo

from teleread.ingest.formats import device_names as names
from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.markup import Element
from teleread.signal.ecg.record import Annotation, Device, DeviceMeasurement, Filters, Patient

NAME = "sierra"

_MEASURED = (
    (names.HEART_RATE, ("heartrate", "meanventrate")),
    (names.ATRIAL_RATE, ("atrialrate",)),
    (names.RR_INTERVAL, ("rrint",)),
    (names.PR_INTERVAL, ("print", "meanprint")),
    (names.QRS_DURATION, ("qrsdur", "meanqrsdur")),
    (names.QT_INTERVAL, ("qtint", "meanqtint")),
    (names.QTC_INTERVAL, ("meanqtc", "qtc")),
    (names.QTC_BAZETT, ("qtcb",)),
    (names.QTC_FRIDERICIA, ("qtcf",)),
    (names.P_AXIS, ("pfrontaxis",)),
    (names.QRS_AXIS, ("qrsfrontaxis",)),
    (names.T_AXIS, ("tfrontaxis",)),
)
# what the device printed stands first, then what it computed
_PLACES = (
    "interpretations/interpretation/globalmeasurements",
    "interpretations/interpretation/interpretationmeasurements",
    "internalmeasurements/crossleadmeasurements",
    "measurements/crossleadmeasurements",
    "measurements/globalmeasurements",
)


def patient_of(root: Element) -> Patient:
    """Name, identifier, birth date and sex."""
    found = root.first("patient/generalpatientdata")
    if found is None:
        return Patient()
    name = found.first("name") or found
    return Patient(
        id=facts.identifier(found.at("patientid")) or facts.identifier(found.at("mrn")),
        name=facts.person(name.at("lastname"), name.at("firstname"), name.at("middlename")),
        birth_date=facts.day(found.at("age/dateofbirth") or found.at("dateofbirth")),
        sex=facts.sex(found.at("sex")),
    )


def age_of(root: Element) -> float | None:
    """As stated; a default age that the device assumed is none."""
    found = root.first("patient/generalpatientdata/age")
    for tag, unit in (("years", "y"), ("months", "m"), ("weeks", "w"), ("days", "d")):
        age = facts.years(found.at(tag), unit) if found else None
        if age is not None:
            return age
    return None


def moment_of(root: Element, zone: tzinfo) -> datetime | None:
    """When it was recorded."""
    for place in ("dataacquisition", "reportinfo"):
        found = root.first(place)
        at = facts.moment(found.get("date"), found.get("time"), zone) if found else None
        if at is not None:
            return at
    return None


def device_of(root: Element) -> Device:
    """``detaildescription`` is maker:model:software where the device writes it so."""
    found = root.first("dataacquisition/machine")
    if found is None:
        return Device(manufacturer="Philips")
    detail = found.get("detaildescription").split(":")
    return Device(
        manufacturer=facts.words(detail[0]) if len(detail) == 3 else "Philips",
        model=facts.words(found.text) or (facts.words(detail[1]) if len(detail) == 3 else None),
        serial=facts.words(found.get("machineid")),
        software=facts.words(detail[2]) if len(detail) == 3 else None,
    )


def filters_of(root: Element, described: Element, waveform: Element) -> Filters:
    """Of the stored samples; the filters of the printed report are another matter."""
    band = described.at("signalbandwidth").split("-")
    high = facts.number(waveform.get("hipass") or described.at("hipass") or band[0])
    low = facts.number(waveform.get("lowpass") or described.at("lowpass") or (band[1] if len(band) == 2 else ""))
    notched = (waveform.get("notchfiltered") or described.at("notchfiltered")).lower() == "true"
    notch = facts.number(waveform.get("notchfilterfreqs") or described.at("notchfilterfreqs")) if notched else None
    return Filters(high_pass_hz=high or None, low_pass_hz=low or None, notch_hz=notch or None)


def measurements_of(root: Element) -> tuple[DeviceMeasurement, ...]:
    """Global ones only."""
    places = [found for path in _PLACES if (found := root.first(path)) is not None]
    return facts.several(
        names.measured(name, facts.number(place.at(tag)), f"PHILIPS:{tag}")
        for name, tags in _MEASURED
        for place in places
        for tag in tags
    )


def statements_of(root: Element) -> tuple[str, ...]:
    """Left and right part of each statement of the device, then the severity."""
    lines: list[str | None] = []
    for one in root.all("interpretations/interpretation")[:8]:
        for statement in one.all("statement")[: facts.MAX_TEXTS]:
            if statement.get("editedflag").lower() == "true":
                continue  # a physician's
            left, right = (" ".join(statement.at(tag).split()) for tag in ("leftstatement", "rightstatement"))
            lines.append(f"{left}: {right}" if left and right else left or right)
        lines.append(one.at("severity").strip("- "))
    return facts.sentences(lines)


def beats_and_paces(root: Element, fs_hz: float, length: int) -> tuple[Annotation, ...]:
    """Pacing pulses by their times in milliseconds, where the device lists any."""
    marks: list[Annotation] = []
    for path in ("internalmeasurements/crossleadmeasurements/pacepulses", "measurements/globalmeasurements/pacepulses"):
        for text in root.at(path).split()[:20_000]:
            at_ms = facts.number(text)
            at = round(at_ms * fs_hz / 1000.0) if at_ms is not None and 0 <= at_ms < 1e9 else -1
            if 0 <= at < length:
                marks.append(Annotation("pacing", at, at + 1))
    return tuple(marks)

"""GE CardioSoft XML (``CardiologyXML``): comma separated whole numbers per lead in ``StripData``.

Written from public descriptions of the format; no file of a device was at hand. ``FullDisclosure`` and the median
samples are left out.
"""

from __future__ import annotations

from datetime import date, datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats import device_names as names
from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.digits import Digits
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.markup import Element, parse
from teleread.ingest.formats.persons import age_on
from teleread.signal.ecg.record import Device, DeviceMeasurement, EcgRecord, Filters, Patient, with_derived_leads

NAME = "cardiosoft"

_PER_MV = {"uvperlsb": 1e-3, "mvperlsb": 1.0, "nvperlsb": 1e-6}
_MEASURED = {
    "ventricularrate": names.HEART_RATE, "atrialrate": names.ATRIAL_RATE, "rrinterval": names.RR_INTERVAL,
    "pduration": names.P_DURATION, "pqinterval": names.PR_INTERVAL, "printerval": names.PR_INTERVAL,
    "qrsduration": names.QRS_DURATION, "qtinterval": names.QT_INTERVAL, "qtcinterval": names.QTC_INTERVAL,
    "paxis": names.P_AXIS, "raxis": names.QRS_AXIS, "qrsaxis": names.QRS_AXIS, "taxis": names.T_AXIS,
}  # fmt: skip


def read(source: Source) -> EcgRecord:
    """The strip.

    Raises:
        InputRejected: the codes of :func:`~teleread.ingest.formats.markup.parse`, and ``cardiosoft_no_waveform``,
            ``cardiosoft_no_rate``, ``cardiosoft_no_scale``, ``cardiosoft_no_ecg_lead``, ``cardiosoft_broken``,
            ``cardiosoft_too_large``.
    """
    root = parse(source.data, NAME)
    strip = root.anywhere("stripdata")
    if strip is None:
        raise InputRejected("cardiosoft_no_waveform", "The file holds no strip of samples.")
    rate = strip.first("samplerate")
    if rate is None or rate.get("units").lower() not in ("", "hz", "samplespersec", "samplespersecond"):
        raise InputRejected("cardiosoft_no_rate", "The file states no sampling rate.")
    fs_hz = facts.usable_rate(facts.number(rate.text), NAME)
    resolution = strip.first("resolution")
    step = facts.number(resolution.text) if resolution else None
    per_mv = _PER_MV.get(resolution.get("units").lower()) if resolution else None
    if step is None or not facts.usable_scale(step) or per_mv is None:
        raise InputRejected("cardiosoft_no_scale", "The file states no resolution, or no unit.")
    signals, leads = facts.stack(_rows(strip, step * per_mv), NAME)
    patient = _patient(root)
    acquired_at = _acquired_at(root.first("observationdatetime"), source.zone)
    device = root.anywhere("deviceinfo") or Element("", {})
    record = EcgRecord(
        signals_mv=signals,
        leads=leads,
        fs_hz=fs_hz,
        source_format=NAME,
        filters=_filters(root.anywhere("filtersetting")),
        patient=patient,
        acquired_at=acquired_at,
        age_years=age_on(_age(root), patient.birth_date, acquired_at),
        device=Device("GE", facts.words(device.at("desc")), None, facts.words(device.at("softwarever"))),
        device_measurements=_measurements(root.anywhere("restingecgmeasurements")),
        device_statements=facts.sentences(
            one.text for found in root.all("interpretation")[:8] for one in found.iter("statement")
        ),
    )
    return with_derived_leads(record)


def _rows(strip: Element, step_mv: float) -> dict[str, NDArray[np.float64]]:
    digits, taken = Digits(NAME), set[str]()
    found = strip.all("waveformdata")
    if len(found) > facts.MAX_LEADS:
        raise InputRejected("cardiosoft_too_large", "The file holds more leads than can be read.")
    rows = {facts.lead_name(one.get("lead"), taken): digits.numbers(one.text, commas=True) * step_mv for one in found}
    if len({row.size for row in rows.values() if row.size}) > 1:
        raise InputRejected("cardiosoft_broken", "The leads of the strip differ in length.")
    return rows


def _patient(root: Element) -> Patient:
    found = root.anywhere("patientinfo")
    if found is None:
        return Patient()
    return Patient(
        id=facts.identifier(found.at("pid")),
        name=facts.person(found.at("name/familyname"), found.at("name/givenname")),
        birth_date=_date(found.first("birthdatetime")),
        sex=facts.sex(found.at("gender")),
    )


def _age(root: Element) -> float | None:
    found = root.anywhere("patientinfo")
    age = found.first("age") if found else None
    return facts.years(age.text, age.get("units")) if age else None


def _date(found: Element | None) -> date | None:
    return facts.day(_digits_of(found, (("year", 4), ("month", 2), ("day", 2)))) if found else None


def _acquired_at(found: Element | None, zone: tzinfo) -> datetime | None:
    if found is None:
        return None
    on = _digits_of(found, (("year", 4), ("month", 2), ("day", 2)))
    return facts.moment(on, _digits_of(found, (("hour", 2), ("minute", 2), ("second", 2))), zone)


def _digits_of(found: Element, parts: tuple[tuple[str, int], ...]) -> str:
    texts = [found.at(tag).zfill(width) if found.at(tag).isdecimal() else "" for tag, width in parts]
    return "".join(texts) if all(texts) else ""


def _filters(found: Element | None) -> Filters:
    if found is None:
        return Filters()
    notch = next((hz for hz in (50.0, 60.0) if found.at(f"filter{hz:.0f}hz").lower() in ("yes", "true", "on")), None)
    high, low = facts.number(found.at("highpass")), facts.number(found.at("lowpass"))
    return Filters(high or None, low or None, notch)


def _measurements(found: Element | None) -> tuple[DeviceMeasurement, ...]:
    if found is None:
        return ()
    return facts.several(
        names.measured(name, facts.number(found.at(tag)), f"CARDIOSOFT:{tag}") for tag, name in _MEASURED.items()
    )


def _recognises(head: Head) -> bool:
    return head.is_xml and head.root == "cardiologyxml"


FORMAT = Format(NAME, "GE CardioSoft XML", _recognises, read, seen_from_device=False, extensions=(".xml",))

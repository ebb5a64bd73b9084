"""Schiller SEMA XML (``SchillerEDI``): comma separated numbers per channel of a ``wavedata`` of type ECG_RHYTHMS.

Written from public descriptions of the format; no file of a device was at hand. What an exponent of the sampling rate
other than 1 means is not described; it is refused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats import device_names as names
from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.digits import Digits
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.markup import Element, parse
from teleread.ingest.formats.persons import age_on
from teleread.signal.ecg.record import Device, DeviceMeasurement, EcgRecord, Patient, with_derived_leads

NAME = "schiller"

_RHYTHMS = frozenset(("ECG_RHYTHMS", "ECG_RHYTHM"))
_MEASURED = {
    "HR": names.HEART_RATE, "RR": names.RR_INTERVAL, "P": names.P_DURATION, "PR": names.PR_INTERVAL,
    "PQ": names.PR_INTERVAL, "QRS": names.QRS_DURATION, "QT": names.QT_INTERVAL, "QTC": names.QTC_INTERVAL,
    "AXISP": names.P_AXIS, "AXISQRS": names.QRS_AXIS, "AXIST": names.T_AXIS,
}  # fmt: skip


def read(source: Source) -> EcgRecord:
    """The rhythm; averages are left out.

    Raises:
        InputRejected: the codes of :func:`~teleread.ingest.formats.markup.parse`, and ``schiller_no_waveform``,
            ``schiller_no_rate``, ``schiller_no_scale``, ``schiller_no_ecg_lead``, ``schiller_unsupported``,
            ``schiller_broken``, ``schiller_too_large``.
    """
    root = parse(source.data, NAME)
    found = [one for one in root.iter("wavedata") if one.at("type").upper() in _RHYTHMS]
    if not found:
        raise InputRejected("schiller_no_waveform", "The file holds no rhythm recording.")
    wave = found[0]
    rate, scale = wave.first("resolution/samplerate"), wave.first("resolution/yres")
    exponent = rate.at("exponent") if rate else ""
    if facts.number(exponent or "1") != 1:
        raise InputRejected("schiller_unsupported", "A sampling rate with this exponent is not supported.")
    fs_hz = facts.usable_rate(facts.number(rate.at("value") or rate.text) if rate else None, NAME)
    step = facts.number(scale.at("unitperbit") or scale.text) if scale else None
    per_mv = facts.millivolts_per(scale.at("units") or scale.get("units")) if scale else None
    if step is None or not facts.usable_scale(step) or per_mv is None:
        raise InputRejected("schiller_no_scale", "The file states no unit per bit.")
    signals, leads = facts.stack(_rows(wave, step * per_mv), NAME)
    patient = _patient(root.anywhere("patdata"))
    started = root.anywhere("startdatetime") or Element("", {})
    acquired_at = facts.moment(started.at("date"), started.at("time"), source.zone)
    record = EcgRecord(
        signals_mv=signals,
        leads=leads,
        fs_hz=fs_hz,
        source_format=NAME,
        patient=patient,
        acquired_at=acquired_at,
        age_years=age_on(None, patient.birth_date, acquired_at),
        device=_device(root.anywhere("aquiringdevice") or root.anywhere("acquiringdevice")),
        device_measurements=_measurements(root.anywhere("annotation_global")),
    )
    return with_derived_leads(record)


def _rows(wave: Element, step_mv: float) -> dict[str, NDArray[np.float64]]:
    digits, taken = Digits(NAME), set[str]()
    channels = wave.all("channel")
    if len(channels) > facts.MAX_LEADS:
        raise InputRejected("schiller_too_large", "The file holds more channels than can be read.")
    if any((one.at("datastype") or one.at("datatype")).upper() != "COMMASEPARATE" for one in channels):
        raise InputRejected("schiller_unsupported", "Samples of this kind are not supported.")
    rows = {
        facts.lead_name(one.at("name"), taken): digits.numbers(one.at("data"), commas=True) * step_mv
        for one in channels
    }
    if len({row.size for row in rows.values() if row.size}) > 1:
        raise InputRejected("schiller_broken", "The channels differ in length.")
    return rows


def _patient(found: Element | None) -> Patient:
    if found is None:
        return Patient()
    return Patient(
        id=facts.identifier(found.at("id")),
        name=facts.person(found.at("lastname"), found.at("firstname")),
        birth_date=facts.day(found.at("birthdate")),
        sex=facts.sex(found.at("gender")),
    )


def _device(found: Element | None) -> Device:
    if found is None:
        return Device()
    return Device(
        manufacturer=facts.words(found.at("hardware/vendor")),
        model=facts.words(found.at("hardware/model")),
        serial=facts.words(found.at("hardware/serialnumber")),
        software=facts.words(found.at("software/version")),
    )


def _measurements(found: Element | None) -> tuple[DeviceMeasurement, ...]:
    """Names and values stand in pairs; nothing is taken where their numbers differ."""
    if found is None:
        return ()
    keys, values = found.all("name"), found.all("value")
    if len(keys) != len(values):
        return ()
    by_key = {key.text.strip().upper(): value.text for key, value in zip(keys, values, strict=True)}
    return facts.several(
        names.measured(name, facts.number(by_key.get(key)), f"SCHILLER:{key}") for key, name in _MEASURED.items()
    )


def _recognises(head: Head) -> bool:
    return head.is_xml and head.root == "schilleredi"


FORMAT = Format(NAME, "Schiller SEMA XML", _recognises, read, seen_from_device=False, extensions=(".xml",))

"""Mortara (Welch Allyn, Hillrom) ELI XML (``ECG``): base64 of 16 bit little endian in an attribute per channel.

Written from public descriptions of the format; no file of a device was at hand. Millivolts are samples by
``UNITS_PER_MV``. What a channel's ``OFFSET`` other than 0 means, readers in use do not agree upon: it is refused.
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
from teleread.signal.ecg.record import (
    STANDARD_LEADS,
    Device,
    DeviceMeasurement,
    EcgRecord,
    Filters,
    OtherChannel,
    Patient,
    with_derived_leads,
)

NAME = "mortara"

_OF_ROOT = {"vent_rate": names.HEART_RATE, "average_rr": names.RR_INTERVAL}
_OF_CYCLE = {
    "p_duration": names.P_DURATION, "pr_duration": names.PR_INTERVAL, "qrs_duration": names.QRS_DURATION,
    "qt": names.QT_INTERVAL, "qtc": names.QTC_INTERVAL, "qtb": names.QTC_BAZETT, "qtf": names.QTC_FRIDERICIA,
    "p_axis": names.P_AXIS, "qrs_axis": names.QRS_AXIS, "t_axis": names.T_AXIS,
}  # fmt: skip
_SIGNS = (b"CHANNEL", b"TYPICAL_CYCLE", b"ACQUISITION_TIME", b"UNITS_PER_MV", b"SUBJECT", b"MORTARA", b"Mortara")


def read(source: Source) -> EcgRecord:
    """The rhythm channels; the typical cycle is left out.

    Raises:
        InputRejected: the codes of :func:`~teleread.ingest.formats.markup.parse`, and ``mortara_no_waveform``,
            ``mortara_no_rate``, ``mortara_no_scale``, ``mortara_no_ecg_lead``, ``mortara_unsupported`` (samples of
            another kind, an offset), ``mortara_truncated``, ``mortara_broken``, ``mortara_too_large``.
    """
    root = parse(source.data, NAME)
    channels = root.all("channel")
    if not channels:
        raise InputRejected("mortara_no_waveform", "The file holds no rhythm channel.")
    if len(channels) > facts.MAX_LEADS:
        raise InputRejected("mortara_too_large", "The file holds more channels than can be read.")
    digits, taken = Digits(NAME), set[str]()
    found = [_channel(one, digits, taken) for one in channels]
    groups = {(fs_hz, row.size) for _, fs_hz, row in found}
    main = max(groups, key=lambda g: (sum(n in STANDARD_LEADS for n, fs, row in found if (fs, row.size) == g), g[1]))
    signals, leads = facts.stack({name: row for name, fs, row in found if (fs, row.size) == main}, NAME)
    patient = _patient(root.first("subject"))
    acquired_at = facts.timestamp(root.get("acquisition_time_xml") or root.get("acquisition_time"), source.zone)
    device = root.first("source") or Element("", {})
    low = facts.number(device.get("low_pass_filter"))
    record = EcgRecord(
        signals_mv=signals,
        leads=leads,
        fs_hz=main[0],
        source_format=NAME,
        other_channels=tuple(OtherChannel(name, "mV", fs, row) for name, fs, row in found if (fs, row.size) != main),
        filters=Filters(low_pass_hz=low or None),
        patient=patient,
        acquired_at=acquired_at,
        age_years=age_on(facts.years(root.get("age"), root.get("age_units")), patient.birth_date, acquired_at),
        device=_device(device),
        device_measurements=_measurements(root),
        device_statements=facts.sentences(
            f"{one.get('text') or one.text.strip()}{': ' if one.get('reason') else ''}{one.get('reason')}"
            for one in root.all("automatic_interpretation/statement")
        ),
    )
    return with_derived_leads(record)


def _channel(channel: Element, digits: Digits, taken: set[str]) -> tuple[str, float, NDArray[np.float64]]:
    kind = tuple(channel.get(key).upper() for key in ("bits", "format", "encoding"))
    if kind != ("16", "SIGNED", "BASE64") or facts.number(channel.get("offset") or "0") != 0:
        raise InputRejected("mortara_unsupported", "Samples of this kind are not supported.")
    fs_hz = facts.usable_rate(facts.number(channel.get("sample_freq")), NAME)
    per_mv = facts.number(channel.get("units_per_mv"))
    if per_mv is None or per_mv <= 0 or not facts.usable_scale(1.0 / per_mv):
        raise InputRejected("mortara_no_scale", "A channel states no units per millivolt.")
    raw = digits.base64(channel.get("data"), 2)
    stated = facts.number(channel.get("duration"))
    if stated is not None and stated * 2 != len(raw):
        code = "truncated" if stated * 2 > len(raw) else "broken"
        raise InputRejected(f"mortara_{code}", "A channel holds another number of samples than it states.")
    row = np.frombuffer(raw, dtype="<i2").astype(np.float64) / per_mv
    return facts.lead_name(channel.get("name"), taken), fs_hz, row


def _patient(found: Element | None) -> Patient:
    if found is None:
        return Patient()
    return Patient(
        id=facts.identifier(found.get("id")) or facts.identifier(found.get("local_id")),
        name=facts.person(found.get("last_name"), found.get("first_name")),
        birth_date=facts.day(found.get("dob_xml")) or facts.day(found.get("dob")),
        sex=facts.sex(found.get("gender")),
    )


def _device(found: Element) -> Device:
    return Device(
        manufacturer=facts.words(found.get("manufacturer")),
        model=facts.words(found.get("model")) or facts.words(found.get("acquiring_device_extended_model_description")),
        serial=facts.words(found.get("acquiring_device_serial_number")),
        software=facts.words(found.get("acquiring_device_sw_version")),
    )


def _measurements(root: Element) -> tuple[DeviceMeasurement, ...]:
    cycle = root.first("typical_cycle") or Element("", {})
    places = ((root, _OF_ROOT), (cycle, _OF_CYCLE))
    return facts.several(
        names.measured(name, facts.number(place.get(key)), f"MORTARA:{key.upper()}")
        for place, keys in places
        for key, name in keys.items()
    )


def _recognises(head: Head) -> bool:
    return head.is_xml and head.root == "ecg" and any(sign in head.data for sign in _SIGNS)


FORMAT = Format(NAME, "Mortara ELI XML", _recognises, read, seen_from_device=False, extensions=(".xml",))

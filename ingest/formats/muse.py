"""GE MUSE XML (``RestingECG``): base64 of 16 bit little endian per lead, eight leads stored, four to be derived.

Source: the restecg DTD's element names as GE's MUSE 7 to 9 writes them. Filters: the high pass is in hundredths of a
hertz (16 is 0.16 Hz), the low pass and mains filter in hertz. ``LeadDataCRC32`` is CRC-32 of the decoded bytes. Times
of QRS complexes and pacing spikes are milliseconds from the start.
"""

from __future__ import annotations

import re
import zlib
from datetime import datetime, tzinfo

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
    Annotation,
    Device,
    DeviceMeasurement,
    EcgRecord,
    Filters,
    OtherChannel,
    Patient,
    with_derived_leads,
)

NAME = "muse"

_MEASURED = {
    "ventricularrate": names.HEART_RATE,
    "atrialrate": names.ATRIAL_RATE,
    "printerval": names.PR_INTERVAL,
    "qrsduration": names.QRS_DURATION,
    "qtinterval": names.QT_INTERVAL,
    "qtcorrected": names.QTC_INTERVAL,
    "qtcfrederica": names.QTC_FRIDERICIA,
    "paxis": names.P_AXIS,
    "raxis": names.QRS_AXIS,
    "taxis": names.T_AXIS,
}
_LONGEST_LIST = 20_000
_WHOLE = re.compile(r"-?\d{1,11}", re.ASCII)


def read(source: Source) -> EcgRecord:
    """The rhythm recording; the median beat is left out.

    Raises:
        InputRejected: the codes of :func:`~teleread.ingest.formats.markup.parse`, and ``muse_no_waveform`` (no
            rhythm), ``muse_no_rate``, ``muse_no_scale``, ``muse_no_ecg_lead``, ``muse_broken`` (samples that are not
            base64, or not as many as stated), ``muse_truncated`` (fewer), ``muse_checksum`` (some of the checksums
            are right, so the others mean damage), ``muse_unsupported`` (samples of another size, leads that start at
            different times), ``muse_too_large``.
    """
    root = parse(source.data, NAME)
    digits = Digits(NAME)
    waveforms = [one for one in root.all("waveform") if one.at("waveformtype").lower() != "median"]
    if not waveforms:
        raise InputRejected("muse_no_waveform", "The file holds no rhythm recording.")
    checks: list[bool] = []
    groups = [_waveform(one, digits, checks) for one in waveforms]
    if not all(checks) and (any(checks) or _median_is_right(root)):
        raise InputRejected("muse_checksum", "The samples of some leads are damaged.")
    main = max(groups, key=lambda g: (sum(lead in STANDARD_LEADS for lead in g[1]), max(r.size for r in g[1].values())))
    rows, others = _join(main, groups)
    signals, leads = facts.stack(rows, NAME)
    patient = _patient(root.first("patientdemographics"))
    acquired_at = _acquired_at(root, source.zone)
    record = EcgRecord(
        signals_mv=signals,
        leads=leads,
        fs_hz=main[0],
        source_format=NAME,
        other_channels=tuple(others),
        annotations=_annotations(root, main[0], signals.shape[1]),
        filters=_filters(main[2]),
        patient=patient,
        acquired_at=acquired_at,
        age_years=age_on(_age(root), patient.birth_date, acquired_at),
        device=_device(root),
        device_measurements=_measurements(root),
        device_statements=_statements(root.first("originaldiagnosis")) or _statements(root.first("diagnosis")),
        extra=_extra(root, checks),
    )
    return with_derived_leads(record)


_Group = tuple[float, dict[str, NDArray[np.float64]], Element]


def _waveform(waveform: Element, digits: Digits, checks: list[bool]) -> _Group:
    base, exponent = facts.number(waveform.at("samplebase")), facts.number(waveform.at("sampleexponent") or "0")
    if base is None or exponent is None or not -6 <= exponent <= 6:
        raise InputRejected("muse_no_rate", "The file states no sampling rate.")
    fs_hz = facts.usable_rate(base * 10.0**exponent, NAME)
    found = waveform.all("leaddata")
    if len(found) > facts.MAX_LEADS:
        raise InputRejected("muse_too_large", "The file holds more leads than can be read.")
    if len({facts.number(one.at("leadtimeoffset") or "0") for one in found}) > 1:
        raise InputRejected("muse_unsupported", "The leads of the file start at different times.")
    taken: set[str] = set()
    rows: dict[str, NDArray[np.float64]] = {}
    for one in found:
        row = _lead(one, digits, checks)
        rows[facts.lead_name(one.at("leadid"), taken)] = row
    if not rows:
        raise InputRejected("muse_no_ecg_lead", "The file holds no lead.")
    return fs_hz, rows, waveform


def _lead(lead: Element, digits: Digits, checks: list[bool]) -> NDArray[np.float64]:
    if (lead.at("leadsamplesize") or "2") != "2" or facts.number(lead.at("leadoffsetfirstsample") or "0") != 0:
        raise InputRejected(
            "muse_unsupported", "The samples are of a size, or begin at a place, that is not supported."
        )
    step, per_mv = (
        facts.number(lead.at("leadamplitudeunitsperbit")),
        facts.millivolts_per(lead.at("leadamplitudeunits")),
    )
    if step is None or not facts.usable_scale(step) or per_mv is None:
        raise InputRejected("muse_no_scale", "A lead states no amplitude per bit, or no unit.")
    raw = digits.base64(lead.at("waveformdata"), 2)
    right = _checksum_is_right(lead, raw)
    checks.extend(right)
    count, size = facts.number(lead.at("leadsamplecounttotal")), facts.number(lead.at("leadbytecounttotal"))
    stated = count * 2 if count is not None else size
    if stated is not None and stated > len(raw):
        raise InputRejected("muse_truncated", "A lead holds fewer samples than it states.")
    if stated is not None and stated < len(raw):
        if True not in right or stated < 2:
            raise InputRejected("muse_broken", "A lead holds more samples than it states.")
        raw = raw[: int(stated) // 2 * 2]  # whole by its checksum: what is behind the samples is the writer's
    return np.frombuffer(raw, dtype="<i2").astype(np.float64) * step * per_mv


def _checksum_is_right(lead: Element, raw: bytes) -> tuple[bool, ...]:
    """Empty where the lead states no checksum."""
    stated = lead.at("leaddatacrc32")
    return (int(stated) & 0xFFFFFFFF == zlib.crc32(raw),) if _WHOLE.fullmatch(stated) and int(stated) else ()


def _median_is_right(root: Element) -> bool:
    """Whether the writer counts checksums as we do, by the median beat that it wrote as well."""
    for lead in root.all("waveform/leaddata")[: 2 * facts.MAX_LEADS]:
        try:
            raw = Digits(NAME).base64(lead.at("waveformdata"))
        except InputRejected:
            continue
        if True in _checksum_is_right(lead, raw):
            return True
    return False


def _join(main: _Group, groups: list[_Group]) -> tuple[dict[str, NDArray[np.float64]], list[OtherChannel]]:
    """The rows of the main recording with those of equal ones, and what is of another rate or length."""
    fs_hz, rows, _ = main
    length = max(row.size for row in rows.values())
    joined, others = dict(rows), []
    for group in groups:
        for lead, row in group[1].items() if group is not main else ():
            if group[0] == fs_hz and row.size == length and lead not in joined:
                joined[lead] = row
            else:
                others.append(OtherChannel(lead, "mV", group[0], row))
    return joined, others


def _extra(root: Element, checks: list[bool]) -> dict[str, str]:
    """What is odd about the samples. Readers in use do not agree whether a baseline is to be added; it is not."""
    extra = {} if all(checks) else {"checksum": "wrong"}
    if any(facts.number(one.text) for one in root.all("waveform/leaddata/firstsamplebaseline")):
        extra["first_sample_baseline"] = "not added"
    return extra


def _filters(waveform: Element) -> Filters:
    high, low, mains = (facts.number(waveform.at(name)) for name in ("highpassfilter", "lowpassfilter", "acfilter"))
    # a whole number is in hundredths of a hertz; some exports write hertz with a point
    in_hertz = "." in waveform.at("highpassfilter")
    return Filters(
        high_pass_hz=None if not high else high if in_hertz else high / 100.0,
        low_pass_hz=low or None,
        notch_hz=mains or None,
    )


def _patient(found: Element | None) -> Patient:
    if found is None:
        return Patient()
    return Patient(
        id=facts.identifier(found.at("patientid")),
        name=facts.person(found.at("patientlastname"), found.at("patientfirstname")),
        birth_date=facts.day(found.at("dateofbirth"), american=True),
        sex=facts.sex(found.at("gender")),
    )


def _age(root: Element) -> float | None:
    found = root.first("patientdemographics")
    return facts.years(found.at("patientage"), found.at("ageunits")) if found else None


def _acquired_at(root: Element, zone: tzinfo) -> datetime | None:
    test = root.first("testdemographics")
    return facts.moment(test.at("acquisitiondate"), test.at("acquisitiontime"), zone, american=True) if test else None


def _device(root: Element) -> Device:
    test = root.first("testdemographics")
    return Device(
        manufacturer="GE",
        model=facts.words(test.at("acquisitiondevice")) if test else None,
        serial=facts.words(test.at("cartnumber")) if test else None,
        software=facts.words(test.at("acquisitionsoftwareversion")) if test else None,
    )


def _measurements(root: Element) -> tuple[DeviceMeasurement, ...]:
    """The cart's own first: those without "original" may be a physician's by now."""
    places = [root.first("originalrestingecgmeasurements"), root.first("restingecgmeasurements")]
    return facts.several(
        names.measured(name, facts.number(found.at(tag)), f"MUSE:{tag}")
        for found in places
        for tag, name in _MEASURED.items()
        if found is not None
    )


def _statements(diagnosis: Element | None) -> tuple[str, ...]:
    """Sentences: a statement ends its line where it carries the flag ``ENDSLINE``."""
    lines: list[str] = []
    open_line = False
    for statement in diagnosis.all("diagnosisstatement")[: facts.MAX_TEXTS] if diagnosis else ():
        text = " ".join(part.text for part in statement.all("stmttext"))
        if open_line and lines:
            lines[-1] = f"{lines[-1]} {text}"
        else:
            lines.append(text)
        open_line = not any("ENDSLINE" in flag.text.upper() for flag in statement.all("stmtflag"))
    return facts.sentences(lines)


def _annotations(root: Element, fs_hz: float, length: int) -> tuple[Annotation, ...]:
    marks: list[Annotation] = []
    for kind, path in (("device_beat", "qrstimestypes/qrs"), ("pacing", "pacespikes/spike")):
        for one in root.all(path)[:_LONGEST_LIST]:
            at_ms = facts.number(one.at("time"))
            at = round(at_ms * fs_hz / 1000.0) if at_ms is not None and 0 <= at_ms < 1e9 else -1
            if 0 <= at < length:
                text = facts.words(one.at("type")) or ""
                marks.append(Annotation(kind, at, at + 1, text=text if kind == "device_beat" else ""))
    return tuple(sorted(marks, key=lambda mark: mark.start))


def _recognises(head: Head) -> bool:
    return head.is_xml and head.root == "restingecg"


FORMAT = Format(NAME, "GE MUSE XML", _recognises, read, seen_from_device=True, extensions=(".xml",))

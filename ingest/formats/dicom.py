"""DICOM ECG waveforms: 12-lead, General, General 32-bit and Ambulatory ECG (PS3.3 A.34.3 to A.34.5)."""

from __future__ import annotations

import re
import struct
import warnings
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset

from teleread.errors import InputRejected
from teleread.ingest.formats import dicom_ledger
from teleread.ingest.formats.dicom_waveform import choose, common_filters, read_groups
from teleread.signal.ecg.record import Device, DeviceMeasurement, EcgRecord, Patient, with_derived_leads

MAX_ANNOTATIONS = 512

# What pydicom may raise on hostile bytes; all of it means that the file is at fault
PARSER_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    struct.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)

_DATE_TIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(?:(\d{2})(\d{2})?(\d{2})?(?:\.(\d{1,6}))?)?([+-]\d{4})?\Z", re.ASCII)


def parse(data: bytes) -> Dataset:
    """The data set of a DICOM file, after its lengths, depth and inflated size were held to account.

    Raises:
        InputRejected: ``dicom_truncated``, ``dicom_too_deep``, ``dicom_too_many_elements``,
            ``dicom_inflates_too_much``, ``dicom_malformed``.
    """
    problem = dicom_ledger.take_stock(data).problem
    if problem not in (None, "dicom_malformed"):
        raise InputRejected(problem or "", _PROBLEMS.get(problem or "", "The DICOM file cannot be read."))
    meta = dicom_ledger.read_meta(data)
    try:
        with warnings.catch_warnings():
            # pydicom warns of every odd value; values are judged where they are used
            warnings.simplefilter("ignore")
            if meta.transfer_syntax_uid == dicom_ledger.DEFLATED_LE:
                inflated = dicom_ledger.inflate(data, meta.dataset_start)
                dataset: Dataset = read_dataset(BytesIO(inflated), is_implicit_VR=False, is_little_endian=True)
            else:
                dataset = pydicom.dcmread(BytesIO(data), force=True)
    except PARSER_ERRORS as e:
        raise InputRejected("dicom_malformed", "The DICOM file is damaged.") from e
    return dataset


_PROBLEMS = {
    "dicom_truncated": "The DICOM file ends before its elements do.",
    "dicom_too_deep": "The DICOM file nests sequences too deeply.",
    "dicom_too_many_elements": "The DICOM file holds too many elements.",
    "dicom_inflates_too_much": "The deflated DICOM data set unpacks to far more than its size.",
}


def read_dicom(data: bytes, zone: tzinfo) -> EcgRecord:
    """The rhythm recording in a DICOM waveform object; median beats are left out.

    Args:
        data: the whole file.
        zone: what a time without offset is in.

    Raises:
        InputRejected: what ``parse`` and ``dicom_waveform.read_groups`` raise, and ``dicom_no_ecg_lead``.
    """
    dataset = parse(data)
    big_endian = dicom_ledger.read_meta(data).transfer_syntax_uid == dicom_ledger.EXPLICIT_BE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _record(dataset, big_endian, zone)
    except PARSER_ERRORS as e:
        raise InputRejected("dicom_malformed", "The DICOM file holds values that cannot be read.") from e


def _record(dataset: Dataset, big_endian: bool, zone: tzinfo) -> EcgRecord:
    main, channels, others = choose(read_groups(dataset, big_endian))
    if not channels:
        raise InputRejected("dicom_no_ecg_lead", "No channel of the waveform holds a voltage.")
    measurements, statements = _device_results(dataset)
    record = EcgRecord(
        signals_mv=np.vstack([c.samples for c in channels]),
        leads=tuple(c.name for c in channels),
        fs_hz=main.fs_hz,
        source_format="dicom",
        other_channels=tuple(others),
        filters=common_filters(channels),
        patient=read_patient(dataset),
        acquired_at=acquisition_time(dataset, zone),
        age_years=age_years(_text(dataset, "PatientAge")),
        device=Device(
            manufacturer=_text(dataset, "Manufacturer"),
            model=_text(dataset, "ManufacturerModelName"),
            serial=_text(dataset, "DeviceSerialNumber"),
            software=_text(dataset, "SoftwareVersions"),
        ),
        device_measurements=measurements,
        device_statements=statements,
    )
    return with_derived_leads(record)


def read_patient(dataset: Dataset) -> Patient:
    """The patient module, with what cannot be understood left out."""
    sex = (_text(dataset, "PatientSex") or "").upper()
    return Patient(
        id=_text(dataset, "PatientID"),
        issuer=_text(dataset, "IssuerOfPatientID"),
        name=_person_name(dataset),
        birth_date=parse_date(_text(dataset, "PatientBirthDate")),
        sex=sex if sex in ("M", "F", "O") else None,
    )


def _person_name(dataset: Dataset) -> str | None:
    """The name in characters, also where the file's declaration or pydicom's reading of it fails.

    ``\\ISO 2022 IR 58`` (Chinese) leaves its escape sequences in the text; a name in plain GB 18030 or UTF-8 without
    any declaration is common and comes out as Latin letters.
    """
    raw = getattr(dataset.get("PatientName"), "original_string", None)
    if not isinstance(raw, bytes) or raw.isascii():
        return _text(dataset, "PatientName")
    declared = str(dataset.get("SpecificCharacterSet") or "")
    if "IR 58" in declared:
        text = raw.replace(b"\x1b$)A", b"").decode("gb18030", "replace")
    elif declared in ("", "ISO_IR 6"):
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("gb18030", "replace")
    else:
        return _text(dataset, "PatientName")
    return text.replace("\x00", "").strip()[:256] or None


def acquisition_time(dataset: Dataset, zone: tzinfo) -> datetime | None:
    """When it was recorded, in UTC: Acquisition DateTime, else the content's, acquisition's or study's date and time.

    A time without offset is in Timezone Offset From UTC (0008,0201) if the file has it, else in ``zone``.
    """
    stated = _text(dataset, "TimezoneOffsetFromUTC")
    offset = _offset(stated) if stated else None
    local = offset if offset is not None else zone
    candidates = [_text(dataset, "AcquisitionDateTime")]
    for what in ("Content", "Acquisition", "Study"):
        day, time = _text(dataset, f"{what}Date"), _text(dataset, f"{what}Time")
        candidates.append(day + time.replace(":", "") if day and time else None)
    for candidate in candidates:
        found = parse_date_time(candidate, local)
        if found is not None:
            return found
    return None


def parse_date_time(text: str | None, zone: tzinfo) -> datetime | None:
    """A DICOM DT value with at least a day, in UTC; None when it is none."""
    parts = _DATE_TIME.match(text.strip()) if text else None
    if parts is None or parts[3] is None or parts[4] is None:
        return None
    offset = _offset(parts[8]) if parts[8] else None
    try:
        moment = datetime(
            int(parts[1]), int(parts[2]), int(parts[3]), int(parts[4]), int(parts[5] or 0),
            min(int(parts[6] or 0), 59), int((parts[7] or "0").ljust(6, "0")), offset or zone,
        )  # fmt: skip
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_date(text: str | None) -> date | None:
    """A DICOM DA value (also the old form with dots); None when it is none."""
    digits = text.replace(".", "").replace("-", "").strip() if text else ""
    if not re.fullmatch(r"\d{8}", digits, re.ASCII):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def age_years(text: str | None) -> float | None:
    """A DICOM AS value such as ``042Y`` in years; None when it is none."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", (text or "").strip().upper(), re.ASCII)
    if match is None:
        return None
    return round(int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[match[2]], 3)


def _offset(text: str) -> timezone | None:
    if not re.fullmatch(r"[+-]\d{4}", text, re.ASCII):
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes)) if minutes < 24 * 60 else None


def _text(dataset: Dataset, keyword: str) -> str | None:
    value = dataset.get(keyword)
    if value is None:
        return None
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        value = value[0] if len(value) else ""
    text = str(value).replace("\x00", "").strip()
    return text[:256] or None


def _device_results(dataset: Dataset) -> tuple[tuple[DeviceMeasurement, ...], tuple[str, ...]]:
    """Numbers about the whole recording and sentences that the device wrote beside the waveform (PS3.3 C.10.10)."""
    measurements: list[DeviceMeasurement] = []
    statements: list[str] = []
    for item in (dataset.get("WaveformAnnotationSequence") or [])[:MAX_ANNOTATIONS]:
        sentence = _text(item, "UnformattedTextValue")
        if sentence:
            statements.append(sentence)
        found = _device_measurement(item)
        if found:
            measurements.append(found)
    return tuple(measurements), tuple(statements)


def _device_measurement(item: Dataset) -> DeviceMeasurement | None:
    names, units, values = (
        item.get(k) for k in ("ConceptNameCodeSequence", "MeasurementUnitsCodeSequence", "NumericValue")
    )
    channels = item.get("ReferencedWaveformChannels")
    whole_group = channels is None or (len(channels) == 2 and int(channels[1]) == 0)
    if not names or not whole_group or values is None or isinstance(values, (list, pydicom.multival.MultiValue)):
        return None
    value = float(values)
    if not np.isfinite(value):
        return None
    return DeviceMeasurement(
        name=_text(names[0], "CodeMeaning") or "",
        value=value,
        unit=(_text(units[0], "CodeValue") or "") if units else "",
        code=f"{_text(names[0], 'CodingSchemeDesignator') or ''}:{_text(names[0], 'CodeValue') or ''}",
    )

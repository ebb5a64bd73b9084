"""A record as a DICOM ECG object: 12-lead, General, Ambulatory or General 32-bit ECG (PS3.3 A.34)."""

from __future__ import annotations

import hashlib
import hmac
import io
import struct
from dataclasses import dataclass
from datetime import tzinfo
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from teleread.ingest.dicom_values import ALLIANCE_ZONE, age_years, clean
from teleread.ingest.formats.dicom_channels import DERIVATIONS, DERIVED
from teleread.ingest.formats.dicom_scale import Steps, decimal_string, steps_of
from teleread.ingest.formats.dicom_write_results import annotation_items, code
from teleread.signal.ecg.record import INDEPENDENT_LEADS, STANDARD_LEADS, EcgRecord

TWELVE_LEAD, GENERAL, AMBULATORY, GENERAL_32 = (f"1.2.840.10008.5.1.4.1.1.9.1.{k}" for k in (1, 2, 3, 4))
UNDATED = "18000101"
"""In place of a date that the standard demands and the record does not have; no reader of ours takes it for one."""

_MDC = dict(zip(STANDARD_LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))
_MDC |= {"V7": 9, "V8": 66, "V9": 67, "V2R": 10, "V3R": 11, "V4R": 12, "V5R": 13, "V6R": 14, "V7R": 15}
_MDC |= {"X": 16, "Y": 17, "Z": 18}


@dataclass(frozen=True, slots=True)
class Uids:
    """Identifiers of the object and of what it belongs to."""

    study: str
    series: str
    instance: str


def derived_uids(record: EcgRecord, key: bytes) -> Uids:
    """The same UIDs for the same samples and the same key; nobody without the key can tell one from the other.

    UUID-derived UIDs (PS3.5 B.2) from HMAC-SHA256 over the samples, their names, rate and time.
    """
    when = record.acquired_at.isoformat() if record.acquired_at else ""
    content = hashlib.sha256(f"{record.leads}\0{record.fs_hz!r}\0{when}\0".encode())
    content.update(np.ascontiguousarray(record.signals_mv, dtype="<f8").tobytes())

    def uid(level: str) -> str:
        digest = hmac.new(key, level.encode() + b"\0" + content.digest(), hashlib.sha256).digest()
        value = int.from_bytes(digest[:16], "big")
        value = value & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62  # version 8, RFC 9562
        return f"2.25.{value}"

    return Uids(uid("study"), uid("series"), uid("instance"))


def write_dicom(
    record: EcgRecord,
    *,
    uids: Uids,
    zone: tzinfo = ALLIANCE_ZONE,
    charset: Literal["ISO_IR 192", "GB18030"] = "ISO_IR 192",
) -> bytes:
    """The record as a DICOM file in Explicit VR Little Endian; the same record gives the same bytes.

    12-Lead ECG where the leads, the rate (200 to 1000 Hz) and the length (16384 samples) allow, else Ambulatory (below
    200 Hz), else General ECG; General 32-bit ECG where 16 bits cannot hold the steps or no other class the rate.
    A missing sample is the padding value. Computed leads are stored and marked as derived. Channels beside the leads
    are left out.

    Args:
        uids: see :func:`derived_uids`.
        zone: in which dates and times are written; the offset is stated.

    Raises:
        ValueError: the record has no lead, no sample or more than 96 leads.
    """
    count, n = record.signals_mv.shape
    if not 1 <= count <= 96 or n < 1:
        raise ValueError("a waveform has 1 to 96 leads and at least one sample")
    microvolts = record.signals_mv * 1000.0
    steps = [steps_of(row) for row in microvolts]
    sop_class = _sop_class(record, max(one.bits for one in steps))
    bits = 32 if sop_class == GENERAL_32 else 16
    steps = [Steps(one.step, one.baseline, bits) for one in steps]
    dataset = _dataset(record, sop_class, uids, zone, charset)
    width = 13 if sop_class == TWELVE_LEAD else 12 if sop_class == AMBULATORY else 24
    groups = [_group(record, microvolts, steps, range(at, min(at + width, count))) for at in range(0, count, width)]
    dataset.WaveformSequence = Sequence(groups)
    items = annotation_items(record, width)
    if items:
        dataset.WaveformAnnotationSequence = Sequence(items)
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def _sop_class(record: EcgRecord, bits: int) -> str:
    count, n = record.signals_mv.shape
    if bits > 16 or not 50 <= record.fs_hz <= 1000:
        return GENERAL_32
    if record.fs_hz < 200:
        return AMBULATORY if count <= 12 else GENERAL_32
    twelve = set(record.leads) <= set(STANDARD_LEADS) and set(INDEPENDENT_LEADS) <= set(record.leads)
    return TWELVE_LEAD if twelve and n <= 16384 else GENERAL


def _dataset(record: EcgRecord, sop_class: str, uids: Uids, zone: tzinfo, charset: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), UID(uids.instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = charset
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uids.instance
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids.study, uids.series
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.StudyID = "ECG", 1, 1, ""
    ds.AccessionNumber = ds.ReferringPhysicianName = ""
    when = record.acquired_at.astimezone(zone) if record.acquired_at else None
    day, clock = (f"{when:%Y%m%d}", f"{when:%H%M%S.%f}") if when else (UNDATED, "000000")
    ds.StudyDate, ds.StudyTime = (day, clock) if when else ("", "")
    ds.ContentDate, ds.ContentTime, ds.AcquisitionDateTime = day, clock, day + clock
    if when:
        ds.TimezoneOffsetFromUTC = f"{when:%z}"[:5]
    patient, device = record.patient, record.device
    ds.PatientName = _text(patient.name)
    ds.PatientID = _text(patient.id)
    if patient.issuer:
        ds.IssuerOfPatientID = _text(patient.issuer)
    ds.PatientBirthDate = f"{patient.birth_date:%Y%m%d}" if patient.birth_date else ""
    ds.PatientSex = patient.sex or ""
    if record.age_years is not None and record.age_years != age_years(ds, patient.birth_date, record.acquired_at):
        ds.PatientAge = _age(record.age_years)
    ds.Manufacturer, ds.ManufacturerModelName = _text(device.manufacturer), _text(device.model)
    ds.DeviceSerialNumber, ds.SoftwareVersions = _text(device.serial), _text(device.software)
    ds.AcquisitionContextSequence = Sequence()
    return ds


def _group(record: EcgRecord, microvolts: NDArray[np.float64], steps: list[Steps], rows: range) -> Dataset:
    bits = steps[0].bits
    stored = np.stack([steps[k].stored(microvolts[k]) for k in rows], axis=1)
    item = Dataset()
    item.WaveformOriginality = "ORIGINAL"
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = len(rows), stored.shape[0]
    item.SamplingFrequency = decimal_string(record.fs_hz)
    item.MultiplexGroupLabel = "RHYTHM"
    item.ChannelDefinitionSequence = Sequence([_channel(record, record.leads[k], steps[k]) for k in rows])
    item.WaveformBitsAllocated, item.WaveformSampleInterpretation = bits, "SS" if bits == 16 else "SL"
    if not np.isfinite(microvolts[rows.start : rows.stop]).all():
        item.add_new(0x5400100A, "OW", struct.pack("<h" if bits == 16 else "<i", -(1 << (bits - 1))))
    item.add_new(0x54001010, "OW", stored.astype("<i2" if bits == 16 else "<i4").tobytes())
    return item


def _channel(record: EcgRecord, lead: str, steps: Steps) -> Dataset:
    item = Dataset()
    number = _MDC.get(lead)
    name = _text(lead)
    if number is not None:
        source = code("MDC", f"2:{number}", f"Lead {lead}")
    else:
        source = code("99TELEREAD", name[:16] or "channel", name or "channel")
    item.ChannelLabel = name[:16] if name.isascii() else name[:5]
    item.ChannelSourceSequence = Sequence([source])
    if lead in record.derived_leads:
        item.ChannelDerivationDescription = DERIVATIONS.get(lead, DERIVED)
    item.ChannelSensitivity = decimal_string(steps.step)
    item.ChannelSensitivityUnitsSequence = Sequence([code("UCUM", "uV", "microvolt")])
    item.ChannelSensitivityCorrectionFactor = "1"
    item.ChannelBaseline = decimal_string(steps.baseline)
    item.ChannelSampleSkew = "0"
    item.WaveformBitsStored = steps.bits
    for keyword, value in (
        ("FilterLowFrequency", record.filters.high_pass_hz),
        ("FilterHighFrequency", record.filters.low_pass_hz),
        ("NotchFilterFrequency", record.filters.notch_hz),
    ):
        if value is not None:
            setattr(item, keyword, decimal_string(value))
    return item


def _text(value: str | None) -> str:
    """One line that no delimiter of the standard cuts."""
    return clean("".join(" " if c in "\\^=" else c for c in value or ""), 64)


def _age(years: float) -> str:
    """In years when whole, else in the finest unit that three digits hold."""
    for unit, per_year in (("Y", 1.0), ("D", 365.25), ("W", 365.25 / 7), ("M", 12.0)):
        count = years * per_year
        if count <= 999 and (unit != "Y" or count == round(count)):
            return f"{round(count):03d}{unit}"
    return f"{min(999, round(years)):03d}Y"

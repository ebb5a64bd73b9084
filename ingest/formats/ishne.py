"""ISHNE 1.0 Holter files (Badilini, ISHNE Standard Output Format, 1998): a fixed header and interleaved samples."""

from __future__ import annotations

import binascii
import struct
from datetime import date, datetime, tzinfo

import numpy as np

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import clean, decode_bare
from teleread.ingest.formats.dicom_channels import MAX_FS_HZ
from teleread.ingest.formats.dicom_waveform import MAX_SAMPLES
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.names import unique_name
from teleread.ingest.formats.persons import age_on, full_name, utc
from teleread.ingest.formats.wholeness import ishne_is_whole
from teleread.signal.ecg.record import Device, EcgRecord, Patient, with_derived_leads

_SIGNAL, _ANNOTATIONS = b"ISHNE1.0", b"ANN  1.0"
_HEADER = 522
_CHECKED_FROM = 10
_MAX_LEADS = 12
_LEADS = {
    2: "X", 3: "Y", 4: "Z", 5: "I", 6: "II", 7: "III", 8: "aVR", 9: "aVL", 10: "aVF", 11: "V1", 12: "V2", 13: "V3",
    14: "V4", 15: "V5", 16: "V6", 17: "ES", 18: "AS", 19: "AI",
}  # fmt: skip
_FAULT = -32768
"""What the standard proposes for a sample of a faulty lead."""
_SEXES = {1: "M", 2: "F"}


def _recognises(head: Head) -> bool:
    return head.data.startswith((_SIGNAL, _ANNOTATIONS))


def read_ishne(source: Source) -> EcgRecord:
    """All leads of the recording.

    The number of samples in the header decides nothing: some writers count samples of a lead, some of all leads, some
    write a constant. Where it fits neither, both numbers are noted in ``extra``. A wrong checksum of the header
    refuses the file; 0 stands for "not computed".

    Raises:
        InputRejected: ``ishne_annotations`` (a file of beat annotations), ``ishne_truncated``, ``ishne_broken``,
            ``ishne_no_scale``, ``ishne_no_rate``, ``ishne_no_ecg_lead``, ``ishne_too_large``.
    """
    data = source.data
    if data.startswith(_ANNOTATIONS):
        raise InputRejected("ishne_annotations", "The file holds beat annotations of a Holter recording, no signal.")
    if len(data) < _HEADER:
        raise _truncated()
    start = _HEADER + struct.unpack_from("<i", data, 10)[0]
    if start < _HEADER:
        raise _broken("its header has no possible length")
    if start > len(data):
        raise _truncated()
    stored = data[8:10]
    computed = binascii.crc_hqx(memoryview(data)[_CHECKED_FROM:start], 0xFFFF)
    if any(stored) and stored not in (computed.to_bytes(2, "little"), computed.to_bytes(2, "big")):
        raise _broken("the checksum of its header does not fit")
    (count,) = struct.unpack_from("<h", data, 156)
    if not 1 <= count <= _MAX_LEADS:
        raise InputRejected("ishne_no_ecg_lead", "The ISHNE file declares no possible number of leads.")
    (fs,) = struct.unpack_from("<h", data, 272)
    if not 1 <= fs <= MAX_FS_HZ:
        raise InputRejected("ishne_no_rate", "The ISHNE file states no possible sampling rate.")
    frames, rest = divmod(len(data) - start, 2 * count)
    if frames == 0 or rest:
        raise _truncated()
    if frames * count > MAX_SAMPLES:
        raise InputRejected("ishne_too_large", "The ISHNE file holds more samples than can be read.")
    notes = {} if any(stored) else {"checksum": "absent"}
    (declared,) = struct.unpack_from("<i", data, 14)
    if declared not in (frames, frames * count):
        notes |= {"samples_declared": str(declared), "samples_stored": str(frames)}
    return _record(data, start, count, frames, float(fs), notes, source.zone)


def _record(
    data: bytes, start: int, count: int, frames: int, fs_hz: float, notes: dict[str, str], zone: tzinfo
) -> EcgRecord:
    specs = struct.unpack_from(f"<{count}h", data, 158)
    steps_nv = struct.unpack_from(f"<{count}h", data, 206)
    if any(step <= 0 for step in steps_nv):
        raise InputRejected("ishne_no_scale", "A lead of the ISHNE file states no resolution.")
    stored = np.frombuffer(data, "<i2", count=frames * count, offset=start).reshape(frames, count)
    signals = np.empty((count, frames))
    for row, column, step_nv in zip(signals, stored.T, steps_nv, strict=True):
        np.multiply(column, step_nv / 1000.0, out=row)
        row *= 1e-3
        row[column == _FAULT] = np.nan
    names: set[str] = set()
    patient, acquired_at = _patient(data), _moment(data, zone)
    record = EcgRecord(
        signals_mv=signals,
        leads=tuple(unique_name(_LEADS.get(spec, f"channel {k + 1}"), names) for k, spec in enumerate(specs)),
        fs_hz=fs_hz,
        source_format="ishne",
        patient=patient,
        acquired_at=acquired_at,
        age_years=age_on(None, patient.birth_date, acquired_at),
        device=Device(model=_text(data, 232, 40)),
        extra=notes,
    )
    return with_derived_leads(record)


def _text(data: bytes, at: int, size: int) -> str | None:
    return clean(decode_bare(data[at : at + size].split(b"\0")[0]), size) or None


def _patient(data: bytes) -> Patient:
    born = _date(data, 132)
    return Patient(
        id=_text(data, 108, 20),
        name=full_name([_text(data, 28, 40)], [_text(data, 68, 40)]),
        birth_date=born if born and born.year >= 1850 else None,
        sex=_SEXES.get(struct.unpack_from("<h", data, 128)[0]),
    )


def _date(data: bytes, at: int) -> date | None:
    day, month, year = struct.unpack_from("<3h", data, at)
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _moment(data: bytes, zone: tzinfo) -> datetime | None:
    day, month, year = struct.unpack_from("<3h", data, 138)
    return utc((year, month, day), struct.unpack_from("<3h", data, 150), zone)


def _truncated() -> InputRejected:
    return InputRejected("ishne_truncated", "The ISHNE file ends before the data that it declares.")


def _broken(what: str) -> InputRejected:
    return InputRejected("ishne_broken", f"The ISHNE file cannot be read: {what}.")


FORMAT = Format(
    name="ishne",
    title="ISHNE Holter",
    recognises=_recognises,
    read=read_ishne,
    seen_from_device=False,
    extensions=(".ecg",),
    is_whole=ishne_is_whole,
)

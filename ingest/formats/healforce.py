"""The ``.SCP`` files of Heal Force Prince 180 monitors: sections as in SCP-ECG, but samples and numbers of their own.

What differs from the standard: pointers count from 0 and only used sections are listed; checksums start at 0; the
record's length stands in the last two bytes of its field; dates are big endian; the sampling interval is a rate in
Hz; the leads are interleaved in one stream of 12 bits per sample, four samples in three words: 10 bits with 512 as
zero and two marks of the device's beat detector.
"""

from __future__ import annotations

import binascii
import struct
from datetime import datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import clean, decode_bare
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.persons import utc
from teleread.ingest.formats.wholeness import healforce_is_whole
from teleread.signal.ecg.record import Annotation, Device, EcgRecord, Patient

_RECORD_HEADER, _SECTION_HEADER = 6, 16
_POINTER, _RHYTHM = struct.Struct("<HII"), struct.Struct("<HHBBH")
_VERSION = b"\x0d\x0d"
_NEEDED = (1, 3, 6)
_MAX_SECTIONS, _MAX_TAGS = 12, 256
_LEADS = ("I", "II", "III")
"""In this order on the device's printouts."""
_RATES_HZ = range(50, 1001)
_BEAT, _IRREGULAR, _BITS = 0x8000, 0x4000, 0x03FF
_ZERO = 512


def _recognises(head: Head) -> bool:
    data = head.data
    if len(data) < _RECORD_HEADER + _SECTION_HEADER + _POINTER.size:
        return False
    number, length = struct.unpack_from("<HI", data, _RECORD_HEADER + 2)
    first = _POINTER.unpack_from(data, _RECORD_HEADER + _SECTION_HEADER)
    return data[14:16] == _VERSION and number == 0 and first == (0, length, _RECORD_HEADER) and length < 136


def read_healforce(source: Source) -> EcgRecord:
    """One file: about 30 s of one to three leads. Of a single lead the file does not say which it is.

    Raises:
        InputRejected: ``healforce_truncated``, ``healforce_broken`` (contradicts itself, a checksum does not fit),
            ``healforce_no_scale``, ``healforce_no_rate``, ``healforce_no_ecg_lead``.
    """
    sections = _sections(source.data)
    count = sections[3][0]
    if not 1 <= count <= len(_LEADS):
        raise InputRejected("healforce_no_ecg_lead", "The Heal Force file declares no possible number of leads.")
    rhythm = sections[6]
    if len(rhythm) < _RHYTHM.size:
        raise _truncated()
    step_nv, rate_hz, order, bimodal, length = _RHYTHM.unpack_from(rhythm)
    if step_nv == 0:
        raise InputRejected("healforce_no_scale", "The Heal Force file states no amplitude per step.")
    if rate_hz not in _RATES_HZ:
        raise InputRejected("healforce_no_rate", "The Heal Force file states no possible sampling rate.")
    if order or bimodal:
        raise _broken("it declares compressed samples")
    if _RHYTHM.size + length > len(rhythm):
        raise _truncated()
    words = _samples(rhythm[_RHYTHM.size : _RHYTHM.size + length], count)
    step_uv = step_nv / 1000.0
    return EcgRecord(
        signals_mv=(((words & _BITS) - _ZERO) * step_uv) * 1e-3,
        leads=_LEADS if count == len(_LEADS) else tuple(f"channel {k + 1}" for k in range(count)),
        fs_hz=float(rate_hz),
        source_format="healforce",
        annotations=_beats(words),
        patient=_patient(sections[1]),
        acquired_at=_moment(sections[1], source.zone),
        device=Device(manufacturer="Heal Force"),
    )


def _sections(data: bytes) -> dict[int, bytes]:
    """The data part of each section; those that are needed have their checksum right."""
    head = len(data) >= _RECORD_HEADER + _SECTION_HEADER
    length = int.from_bytes(data[10:14], "little")
    if not head or _RECORD_HEADER + length > len(data):
        raise _truncated()
    found: dict[int, bytes] = {}
    for k in range(min((length - _SECTION_HEADER) // _POINTER.size, _MAX_SECTIONS)):
        number, long, at = _POINTER.unpack_from(data, _RECORD_HEADER + _SECTION_HEADER + k * _POINTER.size)
        if at + long > len(data):
            raise _truncated()
        if long < _SECTION_HEADER or data[at + 2 : at + 4] != number.to_bytes(2, "little") or number in found:
            raise _broken("a pointer leads to no section")
        if number in (0, *_NEEDED) and data[at : at + 2] not in _checksums(data[at + 2 : at + long]):
            raise _broken("a checksum does not fit")
        found[number] = data[at + _SECTION_HEADER : at + long]
    if any(not found.get(number) for number in _NEEDED):
        raise _broken("it lacks a section")
    return found


def _checksums(data: bytes) -> tuple[bytes, bytes]:
    """In both byte orders: the device writes that of the rhythm the other way round than the rest."""
    value = binascii.crc_hqx(data, 0)
    return value.to_bytes(2, "little"), value.to_bytes(2, "big")


def _samples(data: bytes, count: int) -> NDArray[np.int64]:
    """Samples with their marks, shape (count, n); the fourth of each four is spread over bits 10 to 13 of three."""
    whole = np.frombuffer(data, "<u2", count=len(data) // 6 * 3).reshape(-1, 3).astype(np.int64)
    fourth = (whole[:, 0] & 0x3C00) >> 2 | (whole[:, 1] & 0x3C00) >> 6 | (whole[:, 2] & 0x3C00) >> 10
    # in the fourth sample the marks stand right above its ten bits
    fourth = (fourth & _BITS) | (fourth & 0x0C00) << 4
    flat = np.column_stack((whole & ~0x3C00, fourth)).reshape(-1)
    n = flat.size // count
    if n == 0:
        raise _truncated()
    return flat[: n * count].reshape(n, count).T


def _beats(words: NDArray[np.int64]) -> tuple[Annotation, ...]:
    marks: NDArray[np.int64] = np.bitwise_or.reduce(words, axis=0)
    return tuple(
        Annotation("device_beat", k, k + 1, text="irregular" if int(marks[k]) & _IRREGULAR else "")
        for k in np.flatnonzero(marks & _BEAT).tolist()
    )


def _tags(section: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    for _ in range(_MAX_TAGS):
        if at + 3 > len(section):
            break
        tag, length = section[at], int.from_bytes(section[at + 1 : at + 3], "little")
        if length == 0:
            break
        found.setdefault(tag, section[at + 3 : at + 3 + length])
        at += 3 + length
    return found


def _patient(section: bytes) -> Patient:
    """Devices fill the number with zeros when none was entered."""
    number = clean(decode_bare(_tags(section).get(2, b"").split(b"\0")[0]), 64)
    return Patient(id=number if number.strip("0") else None)


def _moment(section: bytes, zone: tzinfo) -> datetime | None:
    tags = _tags(section)
    day, clock = tags.get(25, b""), tags.get(26, b"")
    if len(day) != 4 or len(clock) != 3:
        return None
    return utc((int.from_bytes(day[:2], "big"), day[2], day[3]), clock, zone)


def _truncated() -> InputRejected:
    return InputRejected("healforce_truncated", "The Heal Force file ends before the data that it declares.")


def _broken(what: str) -> InputRejected:
    return InputRejected("healforce_broken", f"The Heal Force file cannot be read: {what}.")


FORMAT = Format(
    name="healforce",
    title="Heal Force Prince 180",
    recognises=_recognises,
    read=read_healforce,
    seen_from_device=True,
    extensions=(".scp",),
    is_whole=healforce_is_whole,
)

"""The frame of an SCP-ECG record (EN 1064:2005 5.2 and 5.3): checksum, length, pointers, sections."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from teleread.errors import InputRejected

RECORD_HEADER = 6
SECTION_HEADER = 16
_POINTER = struct.Struct("<HII")
_KNOWN = range(12)
_LONG_TERM = (12, 14)
"""Sections of version 3 that hold waveforms of their own."""
_SIGNALS_AND_PATIENT = range(7)
_MAX_POINTERS = 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """What a record holds.

    Attributes:
        sections: data part of each standard section that is there, by number.
        version: of the protocol, ten times as in 2.0.
        newer: a waveform section of version 3 is there.
        notes: what is odd about the frame, for ``EcgRecord.extra``.
    """

    sections: Mapping[int, bytes]
    version: int
    newer: bool
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Section:
    start: int
    end: int
    checksum_right: bool
    checksum_absent: bool


def looks_like_scp(data: bytes, size: int) -> bool:
    """The mark of section 0, or without it a section 0 whose first pointer is that of section 0 itself."""
    if len(data) < RECORD_HEADER + SECTION_HEADER + _POINTER.size:
        return False
    if data[16:22] == b"SCPECG":
        return True
    number, length = struct.unpack_from("<HI", data, 8)
    pointer = _POINTER.unpack_from(data, RECORD_HEADER + SECTION_HEADER)
    stated = int.from_bytes(data[2:6], "little")
    return number == 0 and 136 <= length <= 4096 and pointer == (0, length, 7) and length < stated <= size


def read_layout(data: bytes) -> Layout:
    """Finds the sections and checks lengths and checksums.

    A wrong checksum refuses the record when any of its checksums is right; a writer whose every checksum is wrong
    does not compute them, and the record is read with a note. Sections behind 6 are then left out one by one, for the
    signal does not need them.

    Raises:
        InputRejected: ``scp_truncated``, ``scp_broken``.
    """
    if len(data) < RECORD_HEADER + SECTION_HEADER + _POINTER.size:
        raise truncated()
    size, length = int.from_bytes(data[2:6], "little"), int.from_bytes(data[10:14], "little")
    if size > len(data) or RECORD_HEADER + length > len(data):
        raise truncated()
    count = (length - SECTION_HEADER) // _POINTER.size
    if not 1 <= count <= _MAX_POINTERS:
        raise broken("its table of sections has no possible length")
    found: dict[int, _Section] = {}
    newer, listed = False, 0
    for k in range(count):
        number, long, index = _POINTER.unpack_from(data, RECORD_HEADER + SECTION_HEADER + k * _POINTER.size)
        newer = newer or (number in _LONG_TERM and long > SECTION_HEADER)
        if number in _KNOWN and long > 0:
            if number in found:
                raise broken("a section is listed twice")
            listed += long
            if listed > len(data):
                raise truncated()
            found[number] = _locate(data, number, long, index)
    if sum(one.end - one.start for one in found.values()) > len(data):
        raise broken("its sections overlap")
    notes, left_out = _judge(data, size, found)
    sections = {
        number: data[one.start + SECTION_HEADER : one.end]
        for number, one in found.items()
        if number and number not in left_out and one.end - one.start > SECTION_HEADER
    }
    return Layout(sections, data[RECORD_HEADER + 9], newer, notes)


def _locate(data: bytes, number: int, length: int, index: int) -> _Section:
    """The section that a pointer names: by the standard its index counts from 1, in some files from 0."""
    if length < SECTION_HEADER:
        raise broken("a section is shorter than its own header")
    for start in (index - 1, index):
        if start >= RECORD_HEADER and data[start + 2 : start + 4] == number.to_bytes(2, "little"):
            return _checked(data, start, length)
    if index + length > len(data) + 1:
        raise truncated()
    raise broken("a pointer leads to no section")


def _checked(data: bytes, start: int, length: int) -> _Section:
    own = int.from_bytes(data[start + 4 : start + 8], "little")
    stored = int.from_bytes(data[start : start + 2], "little")
    view = memoryview(data)
    if start + length > len(data):
        raise truncated()
    for long in dict.fromkeys((length, own)):
        if SECTION_HEADER <= long <= len(data) - start and stored == checksum(view[start + 2 : start + long]):
            return _Section(start, start + long, True, False)
    return _Section(start, start + length, False, stored == 0)


def _judge(data: bytes, size: int, found: Mapping[int, _Section]) -> tuple[dict[str, str], set[int]]:
    """(notes, sections to leave out)."""
    stored = int.from_bytes(data[:2], "little")
    record_right = size > RECORD_HEADER and stored == checksum(memoryview(data)[2:size])
    wrong = {n for n, one in found.items() if not one.checksum_right and not one.checksum_absent}
    any_right = any(one.checksum_right for one in found.values())
    if record_right:
        return ({"checksum": "wrong in a section"} if wrong else {}), set()
    if wrong and any_right:
        if any(n in _SIGNALS_AND_PATIENT for n in wrong):
            raise broken("a checksum does not fit")
        left_out = ", ".join(str(n) for n in sorted(wrong))
        return {"checksum": "wrong", "sections_left_out": left_out}, wrong
    if any_right and stored:
        return {"checksum": "wrong"}, set()
    return ({} if any_right else {"checksum": "wrong" if wrong else "absent"}), set()


def checksum(data: bytes | memoryview) -> int:
    """CRC-CCITT with 0xFFFF before the first byte (5.2.7)."""
    return binascii.crc_hqx(data, 0xFFFF)


def truncated() -> InputRejected:
    """The record names bytes behind the end of the file."""
    return InputRejected("scp_truncated", "The SCP-ECG file ends before the data that it declares.")


def broken(what: str) -> InputRejected:
    """The record contradicts itself."""
    return InputRejected("scp_broken", f"The SCP-ECG file cannot be read: {what}.")

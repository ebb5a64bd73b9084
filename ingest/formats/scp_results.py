"""What the device found: sections 7, 8, 10 and 11 of an SCP-ECG record (EN 1064:2005 5.10 to 5.14).

Nothing here decides whether a record is read: a section that ends early gives what comes before its end.
"""

from __future__ import annotations

import struct

from teleread.ingest.formats import device_names
from teleread.ingest.formats.dicom_waveform import MAX_CHANNELS
from teleread.ingest.formats.lead_codes import LEAD_NAMES
from teleread.ingest.formats.scp_tags import text
from teleread.signal.ecg.record import DeviceMeasurement

MAX_STATEMENTS = 256
_NOT_MEASURED = range(19999, 30000)
"""19999 wave not there, 29998 lead rejected, 29999 not computed."""
_BLOCK = struct.Struct("<5H3h")
_STATEMENT = struct.Struct("<BH")
_FULL_TEXT = 2
_LEAD_VALUES = (
    (9, "q_amplitude"),
    (10, "r_amplitude"),
    (11, "s_amplitude"),
    (14, "j_amplitude"),
    (17, "t_amplitude"),
    (18, "t_negative_amplitude"),
)
"""Place among the numbers of a lead in section 10, and our name; in microvolts."""


def global_measurements(section: bytes) -> tuple[DeviceMeasurement, ...]:
    """Rate, intervals and axes of section 7: those of its first block, which is of the reference beat."""
    if len(section) < 6 + _BLOCK.size or section[0] == 0:
        return ()
    p_on, p_off, qrs_on, qrs_off, t_off, *axes = _BLOCK.unpack_from(section, 6)
    values: list[tuple[str, float | None]] = [
        (device_names.RR_INTERVAL, _number(int.from_bytes(section[2:4], "little"))),
        (device_names.P_DURATION, _between(p_on, p_off)),
        (device_names.PR_INTERVAL, _between(p_on, qrs_on)),
        (device_names.QRS_DURATION, _between(qrs_on, qrs_off)),
        (device_names.QT_INTERVAL, _between(qrs_on, t_off)),
    ]
    names = (device_names.P_AXIS, device_names.QRS_AXIS, device_names.T_AXIS)
    values += [(name, float(axis) if abs(axis) <= 360 else None) for name, axis in zip(names, axes, strict=True)]
    at = _behind_beats(section)
    if at is not None and at + 6 <= len(section):
        ventricles, atria, corrected = struct.unpack_from("<HHH", section, at)
        values += [
            (device_names.HEART_RATE, _number(ventricles)),
            (device_names.ATRIAL_RATE, _number(atria)),
            (device_names.QTC_INTERVAL, _number(corrected)),
        ]
    found = (device_names.measured(name, value, "SCPECG:7") for name, value in values)
    return tuple(one for one in found if one is not None)


def pacing_spikes_ms(section: bytes) -> tuple[int, ...]:
    """When section 7 saw a pacemaker's spike, in milliseconds from the beginning of the record."""
    if len(section) < 6:
        return ()
    at = 6 + section[0] * _BLOCK.size
    there = max(0, min(section[1], (len(section) - at) // 4))
    return tuple(int.from_bytes(section[at + 4 * k : at + 4 * k + 2], "little") for k in range(there))


def statements(section: bytes, language: int) -> tuple[str, ...]:
    """The sentences of section 8."""
    return tuple(line for raw in _numbered(section) if (line := text(raw, language, 256)))


def coded_statements(section: bytes, language: int) -> tuple[str, ...]:
    """The full texts of section 11; for statements in codes alone the codes."""
    lines = []
    for raw in _numbered(section):
        if raw[:1] == bytes([_FULL_TEXT]):
            lines.append(text(raw[1:], language, 256))
        elif raw:
            lines.append(text(raw[1:].rstrip(b"\0").replace(b"\0", b" "), language, 256))
    return tuple(line for line in lines if line)


def lead_measurements(section: bytes) -> tuple[DeviceMeasurement, ...]:
    """Amplitudes of section 10 by lead, named such as ``r_amplitude V5``."""
    if len(section) < 4:
        return ()
    found: list[DeviceMeasurement] = []
    at = 4
    for _ in range(min(int.from_bytes(section[:2], "little"), MAX_CHANNELS)):
        if at + 4 > len(section):
            break
        code, length = struct.unpack_from("<HH", section, at)
        values = section[at + 4 : at + 4 + length]
        at += 4 + length
        if code not in LEAD_NAMES:
            continue
        for place, name in _LEAD_VALUES:
            raw = values[2 * place : 2 * place + 2]
            value = int.from_bytes(raw, "little", signed=True)
            if len(raw) == 2 and value not in _NOT_MEASURED:
                found.append(DeviceMeasurement(f"{name} {LEAD_NAMES[code]}", float(value), "uV", "SCPECG:10"))
    return tuple(found)


def _numbered(section: bytes) -> list[bytes]:
    """The numbered entries behind status, date and time of sections 8 and 11."""
    if len(section) < 9:
        return []
    entries, at = [], 9
    for _ in range(min(section[8], MAX_STATEMENTS)):
        if at + _STATEMENT.size > len(section):
            break
        _, length = _STATEMENT.unpack_from(section, at)
        at += _STATEMENT.size
        entries.append(section[at : at + length])
        at += length
    return entries


def _behind_beats(section: bytes) -> int | None:
    """Where the values behind the list of spikes and of the beats' kinds begin."""
    at = 6 + section[0] * _BLOCK.size + section[1] * (4 + 6)
    if at + 2 > len(section):
        return None
    return at + 2 + int.from_bytes(section[at : at + 2], "little")


def _number(value: int) -> float | None:
    return None if value in _NOT_MEASURED or value == 0 else float(value)


def _between(start: int, end: int) -> float | None:
    if start in _NOT_MEASURED or end in _NOT_MEASURED or end <= start:
        return None
    return float(end - start)

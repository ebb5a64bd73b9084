"""Section 1 of an SCP-ECG record: patient, device, time and filters (EN 1064:2005 5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone, tzinfo

from teleread.ingest.dicom_values import clean, decode_bare
from teleread.ingest.formats.persons import full_name, utc
from teleread.ingest.formats.scp_layout import truncated
from teleread.signal.ecg.record import Device, Filters, Patient

_LAST_TAG = 255
_MAX_TAGS = 4096
_YEARS_PER = {1: 1.0, 2: 1 / 12, 3: 7 / 365.25, 4: 1 / 365.25, 5: 1 / 8766}
_SEXES = {1: "M", 2: "F"}
_MAKERS = {
    1: "Burdick", 2: "Cambridge", 3: "Compumed", 4: "Datamed", 5: "Fukuda", 6: "Hewlett-Packard", 7: "Marquette",
    8: "Mortara", 9: "Nihon Kohden", 10: "Okin", 11: "Quinton", 12: "Siemens", 13: "Spacelabs", 14: "Telemed",
    15: "Hellige", 16: "Esaote", 17: "Schiller", 18: "Picker-Schwarzer", 19: "Elettronica Trentina", 20: "Zwoenitz",
}  # fmt: skip
_CHARACTER_SETS = {
    0x03: "iso8859-2", 0x0B: "iso8859-4", 0x13: "iso8859-5", 0x1B: "iso8859-6", 0x23: "iso8859-7",
    0x2B: "iso8859-8", 0x33: "iso8859-9", 0x27: "gb18030", 0x2F: "euc_kr",
}  # fmt: skip
_UNICODE = 0x07
_JAPANESE = (0x0F, 0x17, 0x1F)
_NO_ZONE = 0x7FFF
_FIXED_SIZES = {4: 3, 5: 4, 6: 3, 7: 3, 8: 1, 9: 1, 11: 2, 12: 2, 24: 1, 25: 4, 26: 3, 27: 2, 28: 2, 29: 1}


@dataclass(frozen=True, slots=True)
class Header:
    """Section 1 in teleread's terms."""

    patient: Patient = field(default_factory=Patient)
    device: Device = field(default_factory=Device)
    filters: Filters = field(default_factory=Filters)
    acquired_at: datetime | None = None
    age_years: float | None = None
    language: int = 0
    """How texts of the other sections are encoded, see :func:`text`."""


def read_header(section: bytes, zone: tzinfo) -> Header:
    """What section 1 says; what cannot be understood is left out.

    Raises:
        InputRejected: ``scp_truncated`` when a tag goes beyond the section.
    """
    tags = _tags(section, {})
    if tags is None:
        # some writers store a wrong length for values whose size is fixed
        tags = _tags(section, _FIXED_SIZES)
    if tags is None:
        raise truncated()
    device_tag = tags.get(14, b"")
    language = device_tag[16] if len(device_tag) > 16 else 0
    last, first, second = (text(tags.get(k, b""), language) for k in (0, 1, 3))
    return Header(
        patient=Patient(
            id=text(tags.get(2, b""), language),
            name=full_name([first], [last, second]),
            birth_date=_date(tags.get(5, b"")),
            sex=_SEXES.get(tags[8][0]) if tags.get(8) else None,
        ),
        device=_device(device_tag, language),
        filters=_filters(tags),
        acquired_at=_moment(tags, zone),
        age_years=_age(tags.get(4, b"")),
        language=language,
    )


def _tags(section: bytes, sizes: Mapping[int, int]) -> dict[int, bytes] | None:
    """The first value of each tag, None when one goes beyond the section.

    Args:
        sizes: of tags whose own length is not trusted.
    """
    found: dict[int, bytes] = {}
    at = 0
    for _ in range(_MAX_TAGS):
        if at + 3 > len(section):
            break
        tag, length = section[at], int.from_bytes(section[at + 1 : at + 3], "little")
        length = sizes.get(tag, length)
        if tag == _LAST_TAG:
            break
        if at + 3 + length > len(section):
            return None
        found.setdefault(tag, section[at + 3 : at + 3 + length])
        at += 3 + length
    return found


def text(raw: bytes, language: int, limit: int = 64) -> str | None:
    """One line of text in the character set of the device's language code, None when empty.

    Writers leave the code at Latin-1 and write UTF-8 or GBK, so that one is not trusted.
    """
    raw = raw[: 16 * limit]
    if language == _UNICODE and (raw.endswith(b"\0\0") or any(raw[k] == 0 for k in range(1, len(raw) - 1, 2))):
        decoded = raw[: len(raw) & ~1].decode("utf-16-le", "replace").split("\0")[0]
    else:
        raw = raw.split(b"\0")[0]
        if language in _CHARACTER_SETS:
            decoded = raw.decode(_CHARACTER_SETS[language], "replace")
        elif language in _JAPANESE:
            decoded = raw.decode("shift_jis", "replace")
        else:
            decoded = decode_bare(raw)
    return clean(decoded, limit) or None


def _date(raw: bytes) -> date | None:
    if len(raw) < 4:
        return None
    try:
        found = date(int.from_bytes(raw[:2], "little"), raw[2], raw[3])
    except ValueError:
        return None
    return found if found.year >= 1850 else None


def _moment(tags: dict[int, bytes], zone: tzinfo) -> datetime | None:
    day, clock = _date(tags.get(25, b"")), tags.get(26, b"")
    if day is None:
        return None
    hour, minute, second = clock[:3] if len(clock) >= 3 else (0, 0, 0)
    shift = tags.get(34, b"")
    if len(shift) >= 2:
        minutes = int.from_bytes(shift[:2], "little", signed=True)
        if minutes != _NO_ZONE and abs(minutes) <= 14 * 60:
            zone = timezone(timedelta(minutes=minutes))
    return utc((day.year, day.month, day.day), (hour, minute, min(second, 59)), zone)


def _age(raw: bytes) -> float | None:
    if len(raw) < 3 or raw[2] not in _YEARS_PER:
        return None
    age = int.from_bytes(raw[:2], "little") * _YEARS_PER[raw[2]]
    return age if 0 < age <= 130 else None


def _filters(tags: dict[int, bytes]) -> Filters:
    """0 is written for "none" and for "not known" alike."""
    high_pass, low_pass = (int.from_bytes(tags.get(k, b"")[:2], "little") for k in (27, 28))
    bits = tags[29][0] if tags.get(29) else 0
    return Filters(
        high_pass_hz=high_pass / 100 if high_pass else None,
        low_pass_hz=float(low_pass) if low_pass else None,
        notch_hz=60.0 if bits & 1 else 50.0 if bits & 2 else None,
    )


def _device(raw: bytes, language: int) -> Device:
    """The machine that acquired (tag 14): numbers and a short model name, then five texts, each closed by NUL."""
    if len(raw) < 14:
        return Device()
    texts = [_stated(text(part, language)) for part in raw[36:].split(b"\0")[:5]]
    _, serial, software, _, maker = [*texts, *[None] * 5][:5]
    return Device(
        manufacturer=maker or _MAKERS.get(raw[7]),
        model=_stated(text(raw[8:14], language)),
        serial=serial,
        software=software,
    )


def _stated(found: str | None) -> str | None:
    return None if found is None or found.lower() in ("unknown", "n/a") else found

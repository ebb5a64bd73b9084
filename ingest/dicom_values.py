"""Decode header values of hostile or sloppy files: text in Chinese character sets, dates, times, ages, UIDs.

Images and ECGs take patient, age and time of acquisition from here, so both say the same of the same file.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from teleread.errors import InputRejected
from teleread.signal.ecg.record import Patient

ALLIANCE_ZONE = timezone(timedelta(hours=8))
"""Zone of times in files that do not state one: UTC+8."""

_CHARACTER_SET = 0x00080005
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_GB2312_TEXT = re.compile(rb"(?:[\x00-\x7f]|[\xb0-\xf7][\xa1-\xfe])+")
_GB2312_ESCAPES = re.compile(rb"\x1b(?:\$\)A|\(B)")
_IR_58 = frozenset(("ISO 2022 IR 58", "ISO 2022 58", "ISO_IR 58", "ISO-IR 58", "GB2312"))
_SINGLE_BYTE_DEFAULTS = frozenset(("", "ISO_IR 6", "ISO 2022 IR 6", "ISO_IR 100", "ISO 2022 IR 100"))
_DATE = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})", re.ASCII)
_TIME = re.compile(r"(\d{2}):?(\d{2})?(?::?(\d{2})(?:\.(\d{1,6}))?)?", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})", re.ASCII)
_AGE = re.compile(r"(\d{1,3})([DWMY])", re.ASCII)
_WHITE_SPACE = re.compile(r"[\t\r\n\f]+")
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn"))
_LATIN_WORD = re.compile(r"[^\x00-\x7f][A-Za-z]")
_DATES_AND_TIMES = (
    (0x00080022, 0x00080032),
    (0x00080023, 0x00080033),
    (0x00080021, 0x00080031),
    (0x00080020, 0x00080030),
)
"""Acquisition, content, series and study, in this order."""
_YEARS_PER = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


def raw_bytes(dataset: Dataset, tag: int) -> bytes:
    """The stored bytes of an element, empty when it is absent or not a plain value."""
    if tag not in dataset:
        return b""
    element = dataset.get_item(tag)
    if isinstance(element, RawDataElement):
        return element.value or b""
    value = element.value
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode("utf-8", "replace")


def ascii_text(dataset: Dataset, tag: int, limit: int = 64) -> str:
    """The first value of an element of the default repertoire (CS, DA, TM, UI, IS …)."""
    text = raw_bytes(dataset, tag)[: limit * 2].decode("latin-1").split("\\")[0]
    return clean(text, limit)


def clean(text: str, limit: int) -> str:
    """One line without NUL, control and formatting characters (text direction marks included)."""
    spaced = _WHITE_SPACE.sub(" ", text)
    kept = "".join(c for c in spaced if unicodedata.category(c) not in _UNSEEN)
    return " ".join(kept.split())[:limit].strip()


def character_sets(dataset: Dataset) -> list[str]:
    """The values of Specific Character Set, ``[""]`` when absent."""
    stated = raw_bytes(dataset, _CHARACTER_SET).decode("latin-1").split("\\")
    return [value.strip(" \0") for value in stated]


def decode(raw: bytes, declared: list[str]) -> str:
    """Decode text by its declared character sets.

    Two deviations from pydicom 3.0.2, both for Chinese files: text declared ``ISO 2022 IR 58`` is decoded with and
    without its escape sequences (pydicom keeps the escapes in the text, or takes the bytes for Latin letters), and
    pure GB2312 text in files that declare nothing or Latin-1 is recognised, for many carts and consoles write that.

    Source: DICOM PS3.3 C.12.1.1.2, PS3.5 6.1.2.5 and annex K.
    """
    if any(value in _IR_58 for value in declared) and (b"\x1b$)A" in raw or b"\x1b" not in raw):
        return _GB2312_ESCAPES.sub(b"", raw).decode("gb18030", "replace")
    if all(value in _SINGLE_BYTE_DEFAULTS for value in declared) and not raw.isascii():
        guessed = _undeclared(raw)
        if guessed is not None:
            return guessed
    return decode_bytes(raw, convert_encodings(list(declared)), {ord(c) for c in "^=\\\r\n\f\t"})


def _undeclared(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("gb18030", "replace") if _GB2312_TEXT.fullmatch(raw) else None


def decode_bare(raw: bytes) -> str:
    """Decode text from a file that has no way to declare a character set: UTF-8, GB18030, else Latin-1.

    Many Latin-1 words are valid GB18030 as well (``Müller``); a letter right behind a rare character tells them.
    """
    guessed = _undeclared(raw)
    if guessed is not None:
        return guessed
    try:
        chinese = raw.decode("gb18030")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
    return raw.decode("latin-1") if _LATIN_WORD.search(chinese) else chinese


def text(dataset: Dataset, tag: int, limit: int = 64, declared: list[str] | None = None) -> str | None:
    """The first value of a text element as one clean line, None when empty.

    Args:
        declared: character sets of the data set around a sequence item, which holds for the item as well.
    """
    raw = raw_bytes(dataset, tag)[: limit * 16]
    if not raw:
        return None
    decoded = decode(raw, character_sets(dataset) if declared is None else declared)
    return clean(decoded.split("\\")[0], limit) or None


def person_name(dataset: Dataset, tag: int) -> str | None:
    """A person's name for reading: the ideographic group where there is one, else the alphabetic one.

    Components of Chinese names are joined (``王^小东`` → ``王小东``), others with spaces in stored order
    (``Wang^XiaoDong`` → ``Wang XiaoDong``).
    """
    raw = raw_bytes(dataset, tag)[:4096]
    declared = character_sets(dataset)
    groups = [decode(part, declared).split("\\")[0] for part in raw.split(b"=")[:2]]
    for group in reversed(groups):
        components = [clean(component, 64) for component in group.split("^")]
        if any(components):
            joint = "" if not group.isascii() and _ideographic(group) else " "
            return joint.join(part for part in components if part)
    return None


def _ideographic(group: str) -> bool:
    return all("CJK" in unicodedata.name(c, "") or "HANGUL" in unicodedata.name(c, "") for c in group if c.isalpha())


def uid(dataset: Dataset, tag: int) -> str:
    """A UID made of digits and dots.

    Raises:
        InputRejected: ``dicom_bad_uid`` when absent or anything else; a UID may end up in queries and URLs.
    """
    found = raw_bytes(dataset, tag)[:80].decode("latin-1").rstrip("\0 ")
    if not _UID.fullmatch(found):
        raise InputRejected("dicom_bad_uid", "The file lacks a UID or has one that is not valid.")
    return found


def whole_number(dataset: Dataset, tag: int) -> int | None:
    """An integer string, None when absent or not a number of at most nine digits."""
    found = ascii_text(dataset, tag, 16)
    return int(found) if re.fullmatch(r"[+-]?\d{1,9}", found, re.ASCII) else None


def parse_date(found: str) -> date | None:
    """A DA value; ``1997.04.24`` and ``1997-04-24`` are understood too, anything else is None."""
    match = _DATE.fullmatch(found)
    if match is None:
        return None
    try:
        parsed = date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None
    return parsed if parsed.year >= 1850 else None


def parse_time(found: str) -> time | None:
    """A TM value, also with colons; a leap second is taken as 59."""
    match = _TIME.fullmatch(found)
    if match is None:
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), min(int(match[3] or 0), 59)
    if hour > 23 or minute > 59:
        return None
    return time(hour, minute, second, int((match[4] or "").ljust(6, "0")))


def parse_offset(found: str) -> timezone | None:
    """``+0800`` as a time zone, None when absent or out of range."""
    match = _OFFSET.fullmatch(found)
    if match is None or int(match[3]) > 59 or int(match[2]) > 14:
        return None
    shift = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-shift if match[1] == "-" else shift)


def parse_datetime(found: str, zone: tzinfo) -> datetime | None:
    """A DT value of at least a day; its own offset wins over ``zone``."""
    body, own = found, None
    if len(found) > 5 and found[-5] in "+-":
        body, own = found[:-5], parse_offset(found[-5:])
    day, moment = parse_date(body[:8]), parse_time(body[8:] or "00")
    if day is None or moment is None:
        return None
    return datetime.combine(day, moment, own or zone)


def parse_age(found: str) -> float | None:
    """An AS value such as ``045Y`` or ``003M`` in years."""
    match = _AGE.fullmatch(found.upper())
    return int(match[1]) * _YEARS_PER[match[2]] if match else None


def patient(dataset: Dataset) -> Patient:
    """The patient module, with what cannot be understood left out."""
    sex = ascii_text(dataset, 0x00100040, 16).upper()[:1]
    return Patient(
        id=text(dataset, 0x00100020),
        issuer=text(dataset, 0x00100021),
        name=person_name(dataset, 0x00100010),
        birth_date=parse_date(ascii_text(dataset, 0x00100030)),
        sex=sex if sex in ("M", "F", "O") else None,
    )


def acquired_at(dataset: Dataset, zone: tzinfo) -> datetime | None:
    """When it was acquired, in UTC: Acquisition DateTime, else the first date that the file has, and its time.

    A date without a time counts as its midnight. A time without offset is in Timezone Offset From UTC (0008,0201)
    where the file has it, else in ``zone``.
    """
    zone = parse_offset(ascii_text(dataset, 0x00080201)) or zone
    moment = parse_datetime(ascii_text(dataset, 0x0008002A), zone)
    if moment is not None:
        return _utc(moment)
    for date_tag, time_tag in _DATES_AND_TIMES:
        day = parse_date(ascii_text(dataset, date_tag))
        if day is not None:
            clock = parse_time(ascii_text(dataset, time_tag)) or time()
            return _utc(datetime.combine(day, clock, zone))
    return None


def _utc(moment: datetime) -> datetime | None:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the last day of year 9999
        return None


def age_years(dataset: Dataset, born: date | None, acquired_at: datetime | None) -> float | None:
    """Age at acquisition: as stated, else from the birth date; impossible ages are None."""
    age = parse_age(ascii_text(dataset, 0x00101010))
    if age is None and born is not None and acquired_at is not None:
        age = (acquired_at.date() - born).days / 365.25
    return age if age is not None and 0 <= age <= 150 else None

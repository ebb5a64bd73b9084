"""What XML formats say around their samples, each in its own spelling: names, dates, ages, units, device values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import clean, parse_date, parse_datetime, parse_time
from teleread.ingest.formats.names import unique_name
from teleread.ingest.formats.units import PER_MV
from teleread.signal.ecg.record import STANDARD_LEADS, DeviceMeasurement, OtherChannel, standard_lead_name

MAX_LEADS = 64
MAX_CELLS = 8_000_000
"""Of the rows of one recording with their gaps."""
MAX_TEXTS = 256
FS_RANGE = (1.0, 100_000.0)
LEAD_CODES = dict(zip((str(131328 + k) for k in (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)), STANDARD_LEADS, strict=True))
"""ISO 11073-10101: 131328 and the number that ISO 11073-91064 gives the lead."""

_SCALE_RANGE = (1e-12, 1e9)
_NUMBER = re.compile(r"[-+]?(?:\d{1,18}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,3})?", re.ASCII)
_AMERICAN_DATE = re.compile(r"(\d{1,2})[-/](\d{1,2})[-/](\d{4})", re.ASCII)
_OFFSET_WITH_COLON = re.compile(r"([+-]\d{2}):(\d{2})\Z", re.ASCII)
_MICRO = str.maketrans({"\u03bc": "u", "\u00b5": "u"})
_PER_MV = {
    **PER_MV,
    "nanovolts": 1e-6, "microvolts": 1e-3, "millivolts": 1.0, "volts": 1e3,
    "nanovolt": 1e-6, "microvolt": 1e-3, "millivolt": 1.0, "volt": 1e3,
}  # fmt: skip
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0}
_YEARS_PER = {"a": 1.0, "y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25, "h": 1 / 8766}
_SEXES = {
    "m": "M",
    "male": "M",
    "f": "F",
    "female": "F",
    "w": "F",
    "o": "O",
    "other": "O",
    "un": "O",
    "男": "M",
    "女": "F",
}
_NOT_STATED = frozenset(
    ("", "unknown", "none", "null", "nan", "n/a", "na", "anonymous", "---", "--", "-", "?", "未知", "无")
)


def number(text: str | None) -> float | None:
    """A finite decimal number, None when the text is anything else."""
    found = (text or "").strip()
    if not _NUMBER.fullmatch(found):
        return None
    value = float(found)
    return value if math.isfinite(value) else None


def words(text: str | None, limit: int = 64) -> str | None:
    """One clean line, None when it says nothing."""
    found = clean(text or "", limit)
    return None if found.lower() in _NOT_STATED else found


def identifier(text: str | None) -> str | None:
    """A patient's identifier; zeros and strokes are none, else everybody without a number would be one patient."""
    found = words(text)
    return found if found and any(c.isalnum() and c != "0" for c in found) else None


def sex(text: str | None) -> str | None:
    """``"M"``, ``"F"``, ``"O"`` or None."""
    return _SEXES.get((text or "").strip().lower())


def person(family: str | None, given: str | None = "", middle: str | None = "") -> str | None:
    """A name for reading: family name first and joined for Chinese, ``given family`` never turned for others."""
    parts = [part for part in (words(family), words(given), words(middle)) if part]
    joint = "" if parts and not any(c.isascii() and c.isalpha() for part in parts for c in part) else " "
    return joint.join(parts)[:64] or None


def day(text: str | None, american: bool = False) -> date | None:
    """A date of birth: ``YYYYMMDD``, ``YYYY-MM-DD`` with or without a time behind it, or ``MM-DD-YYYY``.

    Args:
        american: whether month-day-year is how the format writes dates.
    """
    found = (text or "").strip()
    turned = _AMERICAN_DATE.fullmatch(found.split(" ")[0])
    if turned and american:
        found = f"{turned[3]}{int(turned[1]):02d}{int(turned[2]):02d}"
    for length in (10, 8):
        parsed = parse_date(found[:length])
        if parsed is not None:
            return parsed
    return None


def moment(day_text: str | None, time_text: str | None, zone: tzinfo, american: bool = False) -> datetime | None:
    """When it was, in UTC; a day without a time is not a moment."""
    on, at = day(day_text, american), parse_time((time_text or "").strip().upper().removesuffix("Z"))
    return in_utc(datetime.combine(on, at, zone)) if on is not None and at is not None else None


def timestamp(text: str | None, zone: tzinfo) -> datetime | None:
    """A moment of HL7 or ISO 8601 (``20240131120000.000+0800``, ``2024-01-31T12:00:00Z``), in UTC."""
    found = (text or "").strip()
    if found[4:5] == "-" and found[7:8] == "-":
        found = found[:4] + found[5:7] + found[8:]
    found = found.replace("T", "", 1).replace(" ", "", 1)
    if found.endswith("Z"):
        found = found[:-1] + "+0000"
    found = _OFFSET_WITH_COLON.sub(r"\1\2", found)
    # more digits of a second than a microsecond has
    found = re.sub(r"(\.\d{6})\d+", r"\1", found)
    return in_utc(parse_datetime(found, zone)) if len(found) >= 10 else None


def in_utc(at: datetime | None) -> datetime | None:
    """The same moment in UTC."""
    try:
        return at.astimezone(UTC) if at is not None else None
    except OverflowError:
        return None


def years(value: str | None, unit: str | None) -> float | None:
    """An age in years from a number and a unit such as ``YEARS``, ``a`` or ``mo``; None without either."""
    found, per = number(value), _YEARS_PER.get((unit or "").strip().lower()[:1])
    if found is None or per is None:
        return None
    age = found * per
    return age if 0 <= age <= 150 else None


def millivolts_per(unit: str | None) -> float | None:
    """Millivolts in one of the unit, None when it is no voltage."""
    return _PER_MV.get((unit or "").strip().translate(_MICRO).lower())


def seconds_per(unit: str | None) -> float | None:
    """Seconds in one of the unit, None when it is no time."""
    return _SECONDS.get((unit or "").strip().translate(_MICRO).lower())


def usable_scale(value: float | None) -> bool:
    """Whether one step is a possible one, in whatever unit."""
    return value is not None and _SCALE_RANGE[0] <= abs(value) <= _SCALE_RANGE[1]


def usable_rate(value: float | None, format_name: str) -> float:
    """The sampling rate in Hz.

    Raises:
        InputRejected: ``_no_rate`` when there is none or it is out of range.
    """
    if value is None or not FS_RANGE[0] <= value <= FS_RANGE[1]:
        raise InputRejected(f"{format_name}_no_rate", "The file states no sampling rate, or an impossible one.")
    return value


def several(found: Iterable[DeviceMeasurement | None]) -> tuple[DeviceMeasurement, ...]:
    """The first of each name, without what was not measured."""
    by_name: dict[str, DeviceMeasurement] = {}
    for one in found:
        if one is not None and len(by_name) < MAX_TEXTS:
            by_name.setdefault(one.name, one)
    return tuple(by_name.values())


def sentences(found: Iterable[str | None], limit: int = 256) -> tuple[str, ...]:
    """Clean sentences in order, without empty ones."""
    kept = [sentence for sentence in (clean(text or "", limit) for text in found) if sentence]
    return tuple(kept[:MAX_TEXTS])


def stack(rows: dict[str, NDArray[np.float64]], format_name: str) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Rows of one rate as one array; a shorter one is missing at its end.

    Raises:
        InputRejected: ``_no_ecg_lead``, ``_too_large``.
    """
    if not rows or not any(row.size for row in rows.values()):
        raise InputRejected(f"{format_name}_no_ecg_lead", "The file holds no lead with samples.")
    longest = max(row.size for row in rows.values())
    if len(rows) > MAX_LEADS or longest * len(rows) > MAX_CELLS:
        raise InputRejected(f"{format_name}_too_large", "The file holds more leads or samples than can be read.")
    signals = np.full((len(rows), longest), np.nan)
    for at, row in enumerate(rows.values()):
        signals[at, : row.size] = row
    return signals, tuple(rows)


def lead_name(text: str, taken: set[str], prefixes: tuple[str, ...] = ()) -> str:
    """The lead's name in the standard spelling, made unique; ``channel`` when the file gives none."""
    name = clean(text, 64)
    for prefix in prefixes:
        if name.upper().startswith(prefix):
            name = name[len(prefix) :]
            break
    return unique_name(standard_lead_name(name) or "channel", taken)


def other(name: str, unit: str, fs_hz: float, samples: NDArray[np.float64]) -> OtherChannel:
    """A channel that is no lead of the recording."""
    return OtherChannel(name, clean(unit, 16), fs_hz, samples)

"""Dates moved by whole days: intervals stay, the days themselves go (PS3.15 E.3.6).

Only dates that tell when a study was made are moved. Birth dates, admissions, appointments and all others are treated
as without the option, and so is a value that is no date.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag

from teleread.signal.anonymise import values

MOVED = frozenset(
    (
        0x00080020,  # Study Date
        0x00080021,  # Series Date
        0x00080022,  # Acquisition Date
        0x00080023,  # Content Date
        0x0008002A,  # Acquisition DateTime
        0x00080030,  # Study Time
        0x00080031,  # Series Time
        0x00080032,  # Acquisition Time
        0x00080033,  # Content Time
        0x00400244,  # Performed Procedure Step Start Date
        0x00400245,  # Performed Procedure Step Start Time
        0x00400250,  # Performed Procedure Step End Date
        0x00400251,  # Performed Procedure Step End Time
    )
)
"""Tags of the dates that are moved, and of the times that stay beside them."""

_DATE = "%Y%m%d"
_DAY, _TIME = r"(1[89]|2\d)\d{6}", r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"
_SHAPES = {  # PS3.5 table 6.2-1
    "DA": re.compile(_DAY, re.ASCII),
    "TM": re.compile(_TIME, re.ASCII),
    "DT": re.compile(rf"{_DAY}({_TIME})?([+-]\d{{4}})?", re.ASCII),
}


def moved(tag: BaseTag, vr: str, element: DataElement | RawDataElement, days: int) -> DataElement | None:
    """The element with each date moved; None when it holds anything that is no date or time."""
    found = values.texts(element)
    if not found or vr not in ("DA", "DT", "TM"):
        return None
    out = [_moved(text, vr, days) for text in found]
    if None in out:
        return None
    return DataElement(tag, vr, out[0] if len(out) == 1 else out)


def _moved(text: str, vr: str, days: int) -> str | None:
    if not _SHAPES[vr].fullmatch(text):
        return None
    if vr == "TM":
        return text
    try:
        day = datetime.strptime(text[:8], _DATE) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return day.strftime(_DATE) + text[8:]

"""The header of EDF, EDF+ and BDF files (Kemp 1992, doi:10.1016/0013-4694(92)90009-7; Kemp & Olivan 2003)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import clean, decode_bare
from teleread.ingest.formats.units import PER_MV
from teleread.signal.ecg.record import Device, Patient, standard_lead_name

MAX_SIGNALS = 512
MAX_RECORD_SAMPLES = 10_000_000
MAX_FS_HZ = 100_000.0
_SCALE_RANGE = (1e-12, 1e12)

_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_WHOLE = re.compile(r"[-+]?\d{1,12}", re.ASCII)
_REAL = re.compile(r"[-+]?(?:\d{1,12}(?:[.,]\d{0,12})?|[.,]\d{1,12})(?:[eE][-+]?\d{1,3})?", re.ASCII)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAY = re.compile(r"(\d{1,2})-([A-Z]{3})-(\d{4})", re.ASCII)
_UNIT_WORDS = {
    "microv": "uv", "microvolt": "uv", "microvolts": "uv", "uvolt": "uv", "uvolts": "uv", "millivolt": "mv",
    "millivolts": "mv", "mvolt": "mv", "volt": "v", "volts": "v", "nanovolt": "nv",
}  # fmt: skip
# the micro sign in Unicode, Latin-1, GB 2312 and the code page of DOS
_MICRO = (b"\xc2\xb5", b"\xce\xbc", b"\xa6\xcc", b"\xb5", b"\xe6")
_FILTER = re.compile(r"\b(HP|LP|N|NOTCH):\s*(\d{1,6}(?:[.,]\d{1,6})?)\s*(m?Hz)?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal's header. Physical value = ``(digital - digital_min) * step + physical_min``."""

    label: str
    unit: str
    per_mv: float | None
    """Millivolts per unit, None when the unit is no voltage."""
    step: float | None
    """None where the limits give no scale."""
    physical_min: float
    digital_min: int
    per_record: int
    filters: dict[str, float]
    is_annotation: bool


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the samples."""

    is_bdf: bool
    discontinuous: bool
    is_plus: bool
    size: int
    records: int
    duration_s: float
    signals: tuple[Signal, ...]
    started: datetime | None
    """Naive: local time of the recorder."""
    patient: Patient
    device: Device

    @property
    def sample_bytes(self) -> int:
        return 3 if self.is_bdf else 2

    @property
    def record_samples(self) -> int:
        return sum(s.per_record for s in self.signals)


def parse_header(data: bytes) -> Header:
    """Reads the header.

    Raises:
        InputRejected: ``edf_header_invalid`` (also negative counts), ``edf_truncated`` (also a file that its recorder
            never closed: -1 records), ``edf_too_large``.
    """
    if len(data) < 256:
        raise InputRejected("edf_truncated", "The EDF file ends within its header.")
    is_bdf = data[0] == 0xFF
    size, records = _whole(data[184:192], "header size"), _whole(data[236:244], "number of records")
    duration, count = _real(data[244:252], "duration of a record"), _whole(data[252:256], "number of signals")
    if not 1 <= count <= MAX_SIGNALS or size != 256 * (count + 1):
        raise _invalid("number of signals and size of the header do not fit")
    if len(data) < size:
        raise InputRejected("edf_truncated", "The EDF file ends within its header.")
    if records == -1:
        raise InputRejected("edf_truncated", "The recording was never closed: the EDF file does not say its length.")
    if records < 1 or duration < 0:
        raise _invalid("number or duration of records out of range")
    reserved = data[192:236].decode("latin-1").upper()
    is_plus = reserved.startswith(("EDF+", "BDF+"))
    signals = _signals(data, count, is_plus)
    if sum(s.per_record for s in signals) > MAX_RECORD_SAMPLES:
        raise InputRejected("edf_too_large", "A record of the EDF file declares too many samples.")
    recording = decode_bare(data[88:168])
    return Header(
        is_bdf=is_bdf,
        discontinuous=reserved.startswith(("EDF+D", "BDF+D")),
        is_plus=is_plus,
        size=size,
        records=records,
        duration_s=duration,
        signals=signals,
        started=_started(data[168:176], data[176:184], recording),
        patient=_patient(clean(decode_bare(data[8:88]), 80)),
        device=_device(recording),
    )


def utc(started: datetime | None, zone: tzinfo) -> datetime | None:
    """The start in UTC, ``started`` being in ``zone``."""
    try:
        return started.replace(tzinfo=zone).astimezone(UTC) if started else None
    except OverflowError:
        return None


def _signals(data: bytes, count: int, is_plus: bool) -> tuple[Signal, ...]:
    columns: list[list[bytes]] = []
    at = 256
    for width in _FIELDS:
        columns.append([data[at + k * width : at + (k + 1) * width] for k in range(count)])
        at += width * count
    return tuple(_signal(*fields, is_plus=is_plus) for fields in zip(*columns, strict=True))


def _signal(
    label: bytes, _transducer: bytes, unit: bytes, low: bytes, high: bytes, digital_low: bytes, digital_high: bytes,
    prefilter: bytes, per_record: bytes, _reserved: bytes, *, is_plus: bool,
) -> Signal:  # fmt: skip
    name = clean(decode_bare(label), 64)
    count = _whole(per_record, "samples of a record")
    if not 0 <= count <= MAX_RECORD_SAMPLES:
        raise _invalid("samples of a record out of range")
    if is_plus and name in ("EDF Annotations", "BDF Annotations"):
        return Signal(name, "", None, None, 0.0, 0, count, {}, True)
    physical = _real(low, "physical minimum"), _real(high, "physical maximum")
    digital = _whole(digital_low, "digital minimum"), _whole(digital_high, "digital maximum")
    if digital[0] > digital[1]:
        raise _invalid("a digital minimum is above its maximum")
    # physical limits may be inverted: an amplifier of negative gain
    span = digital[1] - digital[0]
    step = (physical[1] - physical[0]) / span if span else 0.0
    text, per_mv = _unit(unit)
    return Signal(
        label=standard_lead_name(re.sub(r"^(?:EKG|ECG)[ _-]*(?=\S)", "ECG ", name, flags=re.IGNORECASE)),
        unit=text,
        per_mv=per_mv,
        step=step if _SCALE_RANGE[0] <= abs(step) <= _SCALE_RANGE[1] else None,
        physical_min=physical[0],
        digital_min=digital[0],
        per_record=count,
        filters=_filters(clean(prefilter.decode("latin-1"), 80)),
        is_annotation=False,
    )


def _unit(raw: bytes) -> tuple[str, float | None]:
    bare = raw.strip(b" \0")
    for micro in _MICRO:
        if bare.startswith(micro):
            bare = b"u" + bare[len(micro) :]
            break
    text = clean(decode_bare(bare), 16)
    key = text.lower()
    return text, PER_MV.get(_UNIT_WORDS.get(key, key))


def _filters(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for kind, value, unit in _FILTER.findall(text):
        number = float(value.replace(",", ".")) / (1000.0 if unit.lower() == "mhz" else 1.0)
        found.setdefault({"NOTCH": "N"}.get(kind.upper(), kind.upper()), number)
    return found


def _started(day: bytes, clock: bytes, recording: str) -> datetime | None:
    """From the 8-character fields; EDF+ repeats the day with four digits of the year."""
    on = re.fullmatch(r"(\d{2})[./:-](\d{2})[./:-](\d{2})", day.decode("latin-1").strip(), re.ASCII)
    at = re.fullmatch(r"(\d{2})[.:](\d{2})[.:](\d{2})", clock.decode("latin-1").strip(), re.ASCII)
    if on is None or at is None or (on[0].replace("/", "."), at[0].replace(":", ".")) == ("01.01.85", "00.00.00"):
        return None
    words = recording.split()
    stated = _day(words[1]) if len(words) > 1 and words[0].lower() == "startdate" else None
    try:
        year = int(on[3]) + (1900 if int(on[3]) >= 85 else 2000)
        return datetime.combine(stated or date(year, int(on[2]), int(on[1])), time(int(at[1]), int(at[2]), int(at[3])))
    except ValueError:
        return None


def _day(text: str) -> date | None:
    match = _DAY.fullmatch(text.upper())
    if match is None or match[2] not in _MONTHS:
        return None
    try:
        return date(int(match[3]), _MONTHS.index(match[2]) + 1, int(match[1]))
    except ValueError:
        return None


def _patient(text: str) -> Patient:
    """EDF+: code, sex, birth date and name, ``X`` where unknown; plain EDF: whatever is there."""
    words = text.split()
    if len(words) >= 4 and words[1] in ("F", "M", "X") and (words[2] == "X" or _day(words[2])):
        code, name = (None if word == "X" else word.replace("_", " ") for word in (words[0], words[3]))
        return Patient(id=code, name=name, sex=words[1] if words[1] != "X" else None, birth_date=_day(words[2]))
    if not any(c.isalnum() for c in text) or text.lower() in ("x", "unknown", "anonymous", "dd-mmm-yyyy"):
        return Patient()
    if all(word == "X" for word in words):
        return Patient()
    return Patient(id=text) if len(words) == 1 and any(c.isdigit() for c in text) else Patient(name=text)


def _device(recording: str) -> Device:
    """EDF+: day, number of the investigation, technician and equipment."""
    words = clean(recording, 80).split()
    if len(words) < 5 or words[0].lower() != "startdate" or words[4] == "X":
        return Device()
    return Device(model=words[4].replace("_", " "))


def _whole(raw: bytes, what: str) -> int:
    text = raw.decode("latin-1").strip(" \0")
    if not _WHOLE.fullmatch(text):
        raise _invalid(f"its {what} is not a whole number")
    return int(text)


def _real(raw: bytes, what: str) -> float:
    text = raw.decode("latin-1").strip(" \0")
    if not _REAL.fullmatch(text):
        raise _invalid(f"its {what} is not a number")
    value = float(text.replace(",", "."))
    if not math.isfinite(value):
        raise _invalid(f"its {what} is not finite")
    return value


def _invalid(what: str) -> InputRejected:
    return InputRejected("edf_header_invalid", f"The EDF header cannot be read: {what}.")

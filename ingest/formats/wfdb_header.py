"""The WFDB header file (WFDB Applications Guide, header(5)): text in, checked numbers out."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import clean, decode_bare
from teleread.ingest.formats.names import safe_name
from teleread.signal.ecg.record import Patient

MAX_HEADER_BYTES = 256 << 10
MAX_SIGNALS = 64
MAX_SAMPLES = 200_000_000
MAX_FS_HZ = 100_000.0
MAX_PER_FRAME = 1000
MAX_OFFSET = 1 << 20

MAX_SEGMENTS = 4096
GAP = "~"
"""In place of a file that holds nothing, or of a segment."""

FLAC_FORMATS = frozenset(("508", "516", "524"))
BITS: dict[str, float] = {"8": 8, "16": 16, "61": 16, "80": 8, "160": 16, "212": 12, "24": 24, "32": 32}
BITS |= {"310": 32 / 3, "311": 32 / 3} | {"508": 8, "516": 16, "524": 24}
"""Supported storage formats and the bits of one sample in the file, of FLAC before compression."""

_FORMAT = re.compile(r"(\d{1,3})(?:x(\d{1,6}))?(?::(\d{1,9}))?(?:\+(\d{1,9}))?\Z", re.ASCII)
_GAIN = re.compile(r"([-+0-9.eE]{1,32})(?:\((-?\d{1,12})\))?(?:/(\S{1,32}))?\Z", re.ASCII)
_COMMENT = re.compile(r"<?([^:：<>]{1,32})>?\s*[:：]\s*(.*)", re.DOTALL)
_COMMENT_KEYS = {
    "name": "name", "patientname": "name", "patientsname": "name", "姓名": "name", "患者姓名": "name",
    "patientid": "id", "mrn": "id", "患者id": "id", "病历号": "id",
    "age": "age", "年龄": "age", "sex": "sex", "gender": "sex", "性别": "sex",
}  # fmt: skip
_SEXES = {"M": "M", "F": "F", "男": "M", "女": "F"}
_NOT_STATED = frozenset(("", "unknown", "none", "null", "nan", "n/a", "na", "anonymous", "未知", "无"))
_MAX_COMMENTS = 32


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal line. Physical value = (sample - baseline) / gain in ``units``."""

    file: str
    format: str
    per_frame: int
    skew_frames: int
    offset_bytes: int
    gain: float
    baseline: int
    units: str
    initial: int
    checksum: int | None
    description: str


@dataclass(frozen=True, slots=True)
class Header:
    """One record. ``frames`` is None when the header leaves it to the signal file's size."""

    name: str
    fs_hz: float
    frames: int | None
    signals: tuple[Signal, ...]
    acquired_at: datetime | None
    age_years: float | None
    patient: Patient
    """What the comments say: identifier, name and sex."""
    segments: tuple[tuple[str, int], ...] = ()
    """Names and lengths in frames, when the record consists of others; it has no signals of its own then."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the signal files, or of the headers of the segments, each once, in order."""
        if self.segments:
            return tuple(dict.fromkeys(f"{name}.hea" for name, _ in self.segments if name != GAP))
        return tuple(dict.fromkeys(s.file for s in self.signals if s.file != GAP))


def parse_header(data: bytes, zone: tzinfo) -> Header:
    """Reads a header file.

    Raises:
        InputRejected: ``wfdb_header_invalid``, ``wfdb_unsafe_name`` (a name with a folder), ``wfdb_truncated`` (fewer
            lines than declared), ``wfdb_format_unsupported``, ``ecg_no_scale``.
    """
    if len(data) > MAX_HEADER_BYTES:
        raise _invalid("it is too large")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    body = [line for line in lines if line and not line.startswith("#")]
    if not body:
        raise _invalid("it is empty")
    name, count, fs, frames, acquired_at = _record_line(body[0], zone)
    parts = re.match(r"\S+?/(\d{1,6})\s", body[0] + " ", re.ASCII)
    if parts:
        segments = _segments(body[1:], int(parts[1]))
        if any(segment == name for segment, _ in segments):
            raise _invalid("the record is named as its own segment")
        age, patient = _who(data)
        return Header(name, fs, frames, (), acquired_at, age, patient, segments)
    if len(body) - 1 < count:
        raise InputRejected("wfdb_truncated", "The WFDB header describes fewer signals than it declares.")
    signals = tuple(_signal_line(line, name) for line in body[1 : count + 1])
    if frames is not None and frames * sum(s.per_frame for s in signals) > MAX_SAMPLES:
        raise _invalid("it declares too many samples")
    _check_groups(signals)
    age, patient = _who(data)
    return Header(name, fs, frames, signals, acquired_at, age, patient)


def _record_line(line: str, zone: tzinfo) -> tuple[str, int, float, int | None, datetime | None]:
    words = line.split()
    if len(words) < 2:
        raise _invalid("its first line is incomplete")
    if "/" in words[0]:
        segments = words[0].rsplit("/", 1)[1]
        words[0] = words[0].rsplit("/", 1)[0] if segments.isdecimal() else words[0]
    if not safe_name(words[0]):
        raise InputRejected("wfdb_unsafe_name", "The WFDB record name holds a folder or a forbidden character.")
    count = _whole(words[1], 0 if "/" in line.split()[0] else 1, MAX_SIGNALS, "number of signals")
    fs = _real(words[2].split("/")[0].split("(")[0], "sampling frequency") if len(words) > 2 else 250.0
    if not 1.0 <= fs <= MAX_FS_HZ:
        raise _invalid("its sampling frequency is out of range")
    frames = _whole(words[3], 0, MAX_SAMPLES, "number of samples") if len(words) > 3 else 0
    acquired_at = _moment(words[4], words[5], zone) if len(words) > 5 else None
    return words[0], count, fs, frames or None, acquired_at


def _moment(time: str, day: str, zone: tzinfo) -> datetime | None:
    for pattern in ("%d/%m/%Y", "%d-%b-%Y"):
        for clock in ("%H:%M:%S.%f", "%H:%M:%S", "%H:%M"):
            try:
                return datetime.strptime(f"{day} {time}", f"{pattern} {clock}").replace(tzinfo=zone).astimezone(UTC)
            except (ValueError, OverflowError):
                continue
    return None


def _signal_line(line: str, record: str) -> Signal:
    words = line.split(None, 8)
    if len(words) < 2:
        raise _invalid("a signal line is incomplete")
    null = words[0] == GAP and words[1] == "0"
    if not (null or safe_name(words[0])):
        raise InputRejected("wfdb_unsafe_name", "The WFDB header names a file in a folder or with a forbidden name.")
    layout = _FORMAT.match(words[1])
    if layout is None:
        raise _invalid("a signal line states no storage format")
    if layout[1] not in BITS and not null:
        raise InputRejected("wfdb_format_unsupported", "The WFDB storage format is not supported.")
    per_frame, skew, offset = int(layout[2] or 1), int(layout[3] or 0), int(layout[4] or 0)
    if not 1 <= per_frame <= MAX_PER_FRAME or skew > MAX_SAMPLES or offset > MAX_OFFSET:
        raise _invalid("samples per frame, skew or byte offset are out of range")
    scale = _GAIN.match(words[2]) if len(words) > 2 else None
    gain = _real(scale[1], "gain") if scale else 0.0
    if scale is None or gain == 0.0:
        # the format allows "uncalibrated, assume 200"; a guessed scale would be read as a measured one
        raise InputRejected("ecg_no_scale", "A WFDB signal states no gain.")
    if not 1e-9 <= abs(gain) <= 1e15:
        raise _invalid("a gain is out of range")
    zero = _whole(words[4], -(1 << 31), 1 << 31, "ADC zero") if len(words) > 4 else 0
    return Signal(
        file=words[0],
        format=layout[1],
        per_frame=per_frame,
        skew_frames=skew,
        offset_bytes=offset,
        gain=gain,
        baseline=int(scale[2]) if scale[2] else zero,
        units=scale[3] or "mV",
        initial=_whole(words[5], -(1 << 31), 1 << 31, "initial value") if len(words) > 5 else zero,
        checksum=_whole(words[6], -(1 << 16), 1 << 16, "checksum") if len(words) > 6 else None,
        description=words[8].strip() if len(words) > 8 else record,
    )


def _segments(lines: list[str], count: int) -> tuple[tuple[str, int], ...]:
    if not 1 <= count <= MAX_SEGMENTS:
        raise _invalid("its number of segments is out of range")
    if len(lines) < count:
        raise InputRejected("wfdb_truncated", "The WFDB header names fewer segments than it declares.")
    found = []
    for line in lines[:count]:
        words = line.split()
        if len(words) < 2:
            raise _invalid("a segment line is incomplete")
        if words[0] != GAP and not safe_name(words[0]):
            raise InputRejected("wfdb_unsafe_name", "The WFDB header names a segment in a folder.")
        found.append((words[0], _whole(words[1], 0, MAX_SAMPLES, "segment length")))
    if sum(length for _, length in found) > MAX_SAMPLES or found[0] == (GAP, 0):
        raise _invalid("its segments are too long or empty")
    return tuple(found)


def _check_groups(signals: tuple[Signal, ...]) -> None:
    """Signals in one file stand together and share format and offset."""
    seen: list[str] = []
    for before, signal in zip((None, *signals), signals, strict=False):
        if before is not None and before.file == signal.file != GAP:
            if (before.format, before.offset_bytes) != (signal.format, signal.offset_bytes):
                raise _invalid("signals in one file differ in format")
        elif signal.file in seen and signal.file != GAP:
            raise _invalid("signals of one file do not stand together")
        seen.append(signal.file)


def _who(data: bytes) -> tuple[float | None, Patient]:
    """Age and patient from comments such as ``Age: 65``, ``Name: 张三`` or ``69 M …`` (MIT-BIH); others are left.

    The first of each kind counts: a later line may be a remark. Each comment has its own character set, so that one
    odd byte in a diagnosis does not spoil the name.
    """
    comments = [line.strip() for line in re.split(rb"[\r\n]+", data) if line.lstrip().startswith(b"#")]
    found: dict[str, str] = {}
    for raw in comments[:_MAX_COMMENTS]:
        comment = decode_bare(raw[:1024]).lstrip("#").strip()
        short = re.match(r"(\d{1,3}) ([MF])\b", comment)
        stated = _COMMENT.match(comment)
        if short and not found:
            found = {"age": short[1], "sex": short[2]}
        elif stated:
            key = _COMMENT_KEYS.get(re.sub(r"[\s_'’-]", "", stated[1]).lower())
            value = clean(stated[2], 64)
            if key and value.lower() not in _NOT_STATED and any(c.isalnum() for c in value):
                found.setdefault(key, value)
    # months or days are not taken for years
    age = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)\s*(?:y|years?|岁)?", found.get("age", "").lower(), re.ASCII)
    return (
        float(age[1]) if age and float(age[1]) <= 130 else None,
        Patient(id=found.get("id"), name=found.get("name"), sex=_SEXES.get(found.get("sex", " ")[0].upper())),
    )


def _whole(text: str, low: int, high: int, what: str) -> int:
    if not re.fullmatch(r"[-+]?\d{1,12}", text, re.ASCII) or not low <= int(text) <= high:
        raise _invalid(f"its {what} is not a number in range")
    return int(text)


def _real(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError as e:
        raise _invalid(f"its {what} is not a number") from e
    if not math.isfinite(value):
        raise _invalid(f"its {what} is not finite")
    return value


def _invalid(what: str) -> InputRejected:
    return InputRejected("wfdb_header_invalid", f"The WFDB header cannot be read: {what}.")

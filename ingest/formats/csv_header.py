"""What the lines above the numbers of a CSV file say: names of columns, rate, unit, patient."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import clean, parse_date
from teleread.ingest.formats.units import PER_MV
from teleread.signal.ecg.record import STANDARD_LEADS, Patient, standard_lead_name

MAX_FS_HZ = 100_000.0

_KEYS = {
    "fs": "rate", "fshz": "rate", "samplingrate": "rate", "samplerate": "rate", "samplingfrequency": "rate",
    "samplefrequency": "rate", "samplingfreq": "rate", "sampfreq": "rate", "采样率": "rate", "采样频率": "rate",
    "samplinginterval": "interval", "sampleinterval": "interval", "采样间隔": "interval",
    "unit": "unit", "units": "unit", "signalunit": "unit", "amplitudeunit": "unit", "单位": "unit",
    "resolution": "step", "gain": "step", "adcgain": "step", "lsb": "step", "scale": "step", "分辨率": "step",
    "增益": "step",
    "name": "name", "patientname": "name", "姓名": "name", "患者姓名": "name", "patientid": "id", "mrn": "id",
    "患者id": "id", "病历号": "id", "age": "age", "patientage": "age", "年龄": "age", "sex": "sex", "gender": "sex",
    "性别": "sex", "birthdate": "born", "dateofbirth": "born", "dob": "born", "出生日期": "born",
    "recorded": "when", "acquired": "when", "date": "when", "datetime": "when", "recordingtime": "when",
    "acquisitiontime": "when", "recordingdate": "when", "采集时间": "when", "检查时间": "when", "记录时间": "when",
    "检查日期": "when", "日期": "when",
}  # fmt: skip
_PER_MV = {
    **PER_MV, "\u00b5v": 1e-3, "\u03bcv": 1e-3, "微伏": 1e-3, "毫伏": 1.0,
    "microvolt": 1e-3, "microvolts": 1e-3, "millivolt": 1.0, "millivolts": 1.0, "volt": 1e3, "volts": 1e3,
}  # fmt: skip
_SECONDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "秒": 1.0, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3,
    "milliseconds": 1e-3, "毫秒": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6,
}  # fmt: skip
_TIMES = frozenset(("time", "t", "elapsed time", "elapsedtime", "seconds", "timestamp", "时间", "时间戳"))
_INDICES = frozenset(("", "index", "sample", "samples", "sample number", "sample #", "n", "no", "#", "序号", "采样点"))
_UNIT_OF_NAME = re.compile(r"(.*?)\s*[(\[（/_ ]\s*([^()\[\]（）/_ ]{1,16})\s*[)\]）]?")
_STEP = re.compile(r"([\d.eE+-]{1,16})\s*(\S{1,4}?)\s*/\s*(?:lsb|bit|step|adu|count|digit)s?", re.IGNORECASE)
_STEPS = re.compile(r"([\d.eE+-]{1,16})\s*(?:lsb|bit|step|adu|count|digit|unit)s?\s*/\s*(\S{1,4})", re.IGNORECASE)
_QUANTITY = re.compile(r"([\d.]{1,16})\s*([^\d\s.,;]{0,8})")
_MODIFIED = re.compile(r"ML?I{1,3}|MV[1-6]|V[1-9]R?|ECG ?\d{0,2}|EKG ?\d{0,2}|C[CM]5|V?[XYZ]", re.IGNORECASE)
_SEXES = {"M": "M", "F": "F", "男": "M", "女": "F"}


@dataclass(frozen=True, slots=True)
class Column:
    """What a column's heading says."""

    name: str
    kind: str
    """``"lead"``, ``"time"``, ``"index"`` or ``"other"``."""
    per_mv: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Heading:
    """All that stands above the numbers."""

    columns: tuple[Column, ...] = ()
    """Empty where no line names them."""
    fs_hz: float | None = None
    unit_mv: float | None = None
    step_mv: float | None = None
    """Millivolts in one of the stated unit, and in one step of the recorder."""
    patient: Patient = field(default_factory=Patient)
    age_years: float | None = None
    acquired_at: datetime | None = None
    stated: dict[str, str] = field(default_factory=dict)

    def per_mv(self, whole: bool) -> float | None:
        """Millivolts per number; None where nothing says it, or unit and step each could mean ``whole`` numbers."""
        if self.unit_mv is None or self.step_mv is None or self.unit_mv == self.step_mv:
            return self.step_mv or self.unit_mv
        return None if whole else self.unit_mv


def per_mv_of(unit: str) -> float | None:
    """Millivolts per unit, None when it is no voltage."""
    return _PER_MV.get(unit.strip().lower())


def parse_heading(lines: Iterable[str], delimiter: str, zone: tzinfo) -> Heading:
    """From the lines before the first row of numbers.

    Raises:
        InputRejected: ``csv_rate_invalid``.
    """
    stated: dict[str, str] = {}
    rows: list[list[str]] = []
    for line in lines:
        bare = line.strip().lstrip("#%;/").strip()
        if not bare:
            continue
        pair = _pair(bare, delimiter)
        if pair is not None:
            stated.setdefault(*pair)
        elif not line.lstrip().startswith(("#", "%", "//")) or len(rows) == 0:
            rows.append([_bare(cell) for cell in _cells(bare, delimiter)])
    columns = _columns(rows)
    return Heading(
        columns=columns,
        fs_hz=_rate(stated),
        unit_mv=per_mv_of(stated.get("unit", "")),
        step_mv=_step(stated.get("step", "")),
        patient=_patient(stated),
        age_years=_age(stated.get("age", "")),
        acquired_at=_moment(stated.get("when", ""), zone),
        stated=stated,
    )


def _pair(line: str, delimiter: str) -> tuple[str, str] | None:
    """``key: value``, ``key=value`` or ``key,value`` of a known key."""
    parts = re.split(r"[:：=]", line, maxsplit=1)
    if len(parts) < 2:
        parts = [cell for cell in _cells(line, delimiter) if cell.strip()]
        if len(parts) != 2:
            return None
    key, value = _bare(parts[0]), _bare(parts[1].strip(" ,;\t"))
    bare = re.sub(r"[\s_'’.-]|[(\[（].*", "", key).lower()
    kind = _KEYS.get(bare)
    if kind is None or not value:
        return None
    unit = re.search(r"[(\[（]\s*([^)\]）]{1,8})", key)
    return kind, clean(f"{value} {unit[1]}" if unit and re.fullmatch(r"[\d.]+", value) else value, 64)


def _cells(line: str, delimiter: str) -> list[str]:
    return line.split() if delimiter == " " else line.split(delimiter)


def _bare(text: str) -> str:
    return clean(unicodedata.normalize("NFKC", text.strip().strip("\"'")), 64)


def _columns(rows: list[list[str]]) -> tuple[Column, ...]:
    """The last line, or the last but one when the last holds units alone."""
    if not rows:
        return ()
    names, units = rows[-1], [""] * len(rows[-1])
    if len(rows) > 1 and len(rows[-2]) == len(rows[-1]) and all(_is_unit(cell) for cell in rows[-1]):
        names, units = rows[-2], rows[-1]
    return tuple(_column(name, unit) for name, unit in zip(names, units, strict=True))


def _is_unit(cell: str) -> bool:
    key = cell.lower().strip("()[]（）")
    return not key or key in _PER_MV or key in _SECONDS or re.fullmatch(r"h*:?mm:ss\.?m*", key) is not None


def _column(name: str, unit: str) -> Column:
    unit = unit.lower().strip("()[]（）")
    base, per_mv, seconds = name, _PER_MV.get(unit), _SECONDS.get(unit)
    match = _UNIT_OF_NAME.fullmatch(name)
    if match and (match[2].lower() in _PER_MV or match[2].lower() in _SECONDS) and not _is_lead(name):
        base = match[1].strip()
        per_mv, seconds = _PER_MV.get(match[2].lower(), per_mv), _SECONDS.get(match[2].lower(), seconds)
    key = base.lower()
    if key in _TIMES:
        return Column(base, "time", seconds=seconds or (1.0 if key == "seconds" else None))
    if key in _INDICES:
        return Column(base, "index")
    lead = _lead(base)
    known = lead in STANDARD_LEADS or _MODIFIED.fullmatch(lead) is not None
    return Column(lead, "lead" if known else "other", per_mv=per_mv)


def _is_lead(name: str) -> bool:
    return _lead(name) in STANDARD_LEADS


def _lead(name: str) -> str:
    bare = re.sub(r"导联|导|^(?:ecg|ekg|lead)[ _-]*|[ _-]*lead$", "", name, flags=re.IGNORECASE).strip(" _-")
    return standard_lead_name(bare or name)


def _rate(stated: dict[str, str]) -> float | None:
    value, unit = _quantity(stated.get("rate", ""))
    if value is not None:
        fs = value * {"": 1.0, "hz": 1.0, "khz": 1000.0, "sps": 1.0}.get(unit, 0.0)
    else:
        value, unit = _quantity(stated.get("interval", ""))
        if value is None or unit not in _SECONDS:
            return None
        fs = 1.0 / (value * _SECONDS[unit]) if value > 0 else 0.0
    if not 1.0 <= fs <= MAX_FS_HZ:
        raise InputRejected("csv_rate_invalid", "The sampling rate that the CSV file states is out of range.")
    return fs


def _quantity(text: str) -> tuple[float | None, str]:
    match = _QUANTITY.match(text.strip())
    if match is None:
        return None, ""
    try:
        return float(match[1]), match[2].lower()
    except ValueError:
        return None, ""


def _step(text: str) -> float | None:
    """Millivolts in one step, of ``5 uV/LSB`` or ``200 adu/mV``."""
    for pattern, inverse in ((_STEP, False), (_STEPS, True)):
        match = pattern.search(text)
        per_mv = _PER_MV.get(match[2].lower()) if match else None
        if match and per_mv is not None:
            try:
                value = float(match[1])
            except ValueError:
                continue
            if 1e-9 <= abs(value) <= 1e9:
                return per_mv / value if inverse else per_mv * value
    return None


def _patient(stated: dict[str, str]) -> Patient:
    return Patient(
        id=stated.get("id"),
        name=stated.get("name"),
        sex=_SEXES.get(stated.get("sex", " ")[:1].upper()),
        birth_date=_day(stated.get("born", "")),
    )


def _day(text: str) -> date | None:
    return parse_date(text.replace("/", "-"))


def _age(text: str) -> float | None:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)\s*(?:y|years?|岁)?", text.lower(), re.ASCII)
    return float(match[1]) if match and float(match[1]) <= 130 else None


def _moment(text: str, zone: tzinfo) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.strip().replace("/", "-"))
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None

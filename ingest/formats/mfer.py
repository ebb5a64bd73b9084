"""MFER, the medical waveform format encoding rules (ISO 22077-1 to -3): ECG of carts, Holters and monitors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats import mfer_tags as tags
from teleread.ingest.formats.dicom_channels import MAX_FS_HZ
from teleread.ingest.formats.dicom_waveform import MAX_SAMPLES
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.lead_codes import LEAD_NAMES
from teleread.ingest.formats.mfer_tags import Definition, Definitions, Frame, broken, truncated
from teleread.ingest.formats.names import unique_name
from teleread.ingest.formats.persons import age_on, full_name, utc
from teleread.ingest.formats.wholeness import mfer_is_whole
from teleread.signal.ecg.record import Device, EcgRecord, Filters, LeadRows, OtherChannel, Patient

Samples = NDArray[np.float64]

_TYPES = {0: "i2", 1: "u2", 2: "i4", 3: "u1", 4: "u2", 5: "i1", 6: "u4", 7: "f4", 8: "f8"}
_STATUS_TYPE, _COMPRESSED_TYPE = 4, 9
_VOLT, _HERTZ, _SECONDS = 0, 0, 1
_UNITS = {
    1: "mmHg", 2: "Pa", 3: "cmH2O", 4: "mmHg/s", 5: "dyn", 6: "N", 7: "%", 8: "Cel", 9: "/min", 10: "/s", 11: "Ohm",
    12: "A", 13: "rpm", 14: "W", 15: "dB", 16: "kg", 17: "J", 18: "dyn.s/(m2.cm5)", 19: "L", 20: "L/s", 21: "L/min",
    22: "cd",
}  # fmt: skip
_BEATS, _FIRST_OTHER_TYPE = (8, 9), 30
"""Waveform types: carts put an average and a dominant beat behind the rhythm; from 30 on are sound, pulse and EEG."""
_LAST_ECG_CODE = 127
_NAMES = {
    **{code: name for code, name in LEAD_NAMES.items() if not 21 <= code <= 60},
    31: "NASA", 32: "CB4", 33: "CB5", 34: "CB6", 91: "MCL", 143: "Blood pressure", 160: "Impedance respiration",
    175: "SpO2", 4160: "Status", 4161: "Body position", 4162: "Body movement", 4163: "Respiration",
    4166: "ECG1", 4167: "ECG2", 4168: "ECG3", 4169: "ECG4",
}  # fmt: skip
_MORE_ECG_CODES = frozenset((4166, 4167, 4168, 4169, 0xC000, 0xC003, 0xC004))
"""The last three are Nihon Kohden's: V and two traces of an ECG."""
_SEXES = {1: "M", 2: "F", 3: "O"}
_MAX_EXPONENT = 12
_LARGEST = 1e12
_MAX_PIECES = 150_000
"""Frames times channels."""


@dataclass(frozen=True, slots=True)
class _Channel:
    name: str
    is_ecg: bool
    unit: str
    fs_hz: float
    step: float
    offset: float
    null: float | None
    block: int
    kind: np.dtype[Any]


def _recognises(head: Head) -> bool:
    return tags.looks_like_mfer(head.data)


def read_mfer(source: Source) -> EcgRecord:
    """The ECG leads at their common rate; slower leads and other signals are kept aside, beats are left out.

    Value = (stored + offset) x resolution.

    Raises:
        InputRejected: ``mfer_truncated``, ``mfer_broken``, ``mfer_no_scale``, ``mfer_no_rate``, ``mfer_no_ecg_lead``,
            ``mfer_too_large``, ``mfer_too_deep``, ``mfer_unsupported`` (compressed data, frames or channels that do
            not run side by side).
    """
    found = tags.read_definitions(source.data)
    frames = [frame for frame in found.frames if _waveform_type(frame) not in _BEATS]
    if not frames:
        raise InputRejected("mfer_no_ecg_lead", "The MFER file holds no waveform.")
    first = frames[0]
    if any((f.channels, f.order) != (first.channels, first.order) for f in frames):
        raise InputRejected("mfer_unsupported", "The MFER file changes its channels between two frames.")
    channels = _channels(found, first)
    sequences = [_sequences(frame, channels) for frame in frames]
    total = sum(sequences)
    if total * sum(c.block for c in channels) > MAX_SAMPLES or len(frames) * len(channels) > _MAX_PIECES:
        raise InputRejected("mfer_too_large", "The MFER file holds more samples than can be read.")
    ecg = [(c.fs_hz, c.block * total) for c in channels if c.is_ecg]
    if not ecg:
        raise InputRejected("mfer_no_ecg_lead", "No channel of the MFER file is an ECG lead.")
    # most leads decide the common rate, the faster one when there are as many
    common = max(sorted(set(ecg), reverse=True), key=ecg.count)
    main = [c.is_ecg and (c.fs_hz, c.block * total) == common for c in channels]
    room = LeadRows.of([c.name for c, one in zip(channels, main, strict=True) if one], common[1])
    rows = [room[c.name] if one else np.empty(c.block * total) for c, one in zip(channels, main, strict=True)]
    done = 0
    for frame, count in zip(frames, sequences, strict=True):
        _fill(source.data, frame, channels, count, done, rows)
        done += count
    others = tuple(
        OtherChannel(c.name, c.unit, c.fs_hz, row) for c, row, one in zip(channels, rows, main, strict=True) if not one
    )
    room.derive()
    return _record(found, EcgRecord(room.signals_mv, room.leads, common[0], "mfer", others, room.derived), source.zone)


def _record(found: Definitions, signals: EcgRecord, zone: tzinfo) -> EcgRecord:
    maker = [tags.text(found, part) or None for part in found.header.get(tags.MAKER, b"").split(b"^")]
    manufacturer, model, software, serial = [*maker, None, None, None][:4]
    patient, acquired_at = _patient(found), _moment(found, zone)
    return replace(
        signals,
        filters=_filters(found),
        patient=patient,
        acquired_at=acquired_at,
        age_years=age_on(_age(found), patient.birth_date, acquired_at),
        device=Device(manufacturer=manufacturer, model=model, serial=serial, software=software),
    )


def _waveform_type(frame: Frame) -> int:
    return int.from_bytes(frame.channels[0].get(tags.WAVEFORM_TYPE, b"")[:2], frame.order)


def _channels(found: Definitions, frame: Frame) -> list[_Channel]:
    names: set[str] = set()
    out = []
    for k, definition in enumerate(frame.channels):
        order = frame.order
        kind_code = definition.get(tags.DATA_TYPE, b"\0")[0]
        if kind_code == _COMPRESSED_TYPE:
            raise InputRejected("mfer_unsupported", "The MFER file holds compressed data.")
        if kind_code not in _TYPES:
            raise broken("a channel has no possible data type")
        kind = np.dtype((">" if order == "big" else "<") + _TYPES[kind_code])
        lead = definition.get(tags.LEAD, b"")
        code = lead[0] if len(lead) == 1 else int.from_bytes(lead[:2], order)
        is_status = kind_code == _STATUS_TYPE
        can_be_ecg = code <= _LAST_ECG_CODE or code in _MORE_ECG_CODES
        unscaled = is_status or not (can_be_ecg or tags.RESOLUTION in definition)
        unit_code, step = (-1, 1.0) if unscaled else _resolution(definition, order)
        is_ecg = can_be_ecg and unit_code == _VOLT and _waveform_type(frame) < _FIRST_OTHER_TYPE
        block = int.from_bytes(definition[tags.BLOCK][:4], order) if tags.BLOCK in definition else 1
        if block == 0:
            raise broken("a channel has no samples in a sequence")
        label = _NAMES.get(code) or tags.text(found, lead[2:]) or f"channel {k + 1}"
        out.append(
            _Channel(
                name=unique_name(label, names),
                is_ecg=is_ecg,
                unit="mV" if unit_code == _VOLT else _UNITS.get(unit_code, ""),
                fs_hz=_rate(definition, order),
                step=step,
                offset=_number(definition.get(tags.OFFSET), kind, order) or 0.0,
                null=_number(definition.get(tags.NULL), kind, order),
                block=block,
                kind=kind,
            )
        )
    return out


def _resolution(definition: Definition, order: Any) -> tuple[int, float]:
    """(unit code, step in that unit; of a voltage in microvolts)."""
    raw = definition.get(tags.RESOLUTION, b"")
    if len(raw) < 3:
        raise InputRejected("mfer_no_scale", "A channel of the MFER file states no resolution.")
    exponent, mantissa = int.from_bytes(raw[1:2], "big", signed=True), int.from_bytes(raw[2:], order)
    if mantissa == 0 or abs(exponent) > _MAX_EXPONENT or len(raw) > 6:
        raise InputRejected("mfer_no_scale", "A channel of the MFER file states no possible resolution.")
    return raw[0], _power(mantissa, exponent + (6 if raw[0] == _VOLT else 0))


def _rate(definition: Definition, order: Any) -> float:
    raw = definition.get(tags.INTERVAL, b"")
    if len(raw) < 3:
        raise InputRejected("mfer_no_rate", "A channel of the MFER file states no sampling rate.")
    exponent, mantissa = int.from_bytes(raw[1:2], "big", signed=True), int.from_bytes(raw[2:], order)
    if mantissa == 0 or abs(exponent) > _MAX_EXPONENT or len(raw) > 6 or raw[0] not in (_HERTZ, _SECONDS):
        raise InputRejected("mfer_no_rate", "A channel of the MFER file states no possible sampling rate.")
    # 1 / (4 x 10^-3) as 10^3 / 4, so that it comes out as 250 exactly
    rate = _power(mantissa, exponent) if raw[0] == _HERTZ else _power(1, -exponent) / mantissa
    if not 0.01 <= rate <= MAX_FS_HZ:
        raise InputRejected("mfer_no_rate", "A channel of the MFER file states no possible sampling rate.")
    return rate


def _power(mantissa: int, exponent: int) -> float:
    """mantissa x 10^exponent, correctly rounded."""
    return float(mantissa * 10**exponent) if exponent >= 0 else mantissa / 10**-exponent


def _number(raw: bytes | None, kind: np.dtype[Any], order: Any) -> float | None:
    """A value of the samples' type; one defined for all channels may have the size of another channel's samples."""
    if raw is None:
        return None
    if kind.kind == "f":
        return float(np.frombuffer(raw, kind)[0]) if len(raw) == kind.itemsize else None
    return float(int.from_bytes(raw[:8], order, signed=kind.kind == "i"))


def _sequences(frame: Frame, channels: list[_Channel]) -> int:
    """How many sequences of blocks the frame holds."""
    size = sum(c.block * c.kind.itemsize for c in channels)
    declared = {int.from_bytes(d[tags.SEQUENCES][:4], frame.order) for d in frame.channels if tags.SEQUENCES in d}
    there, rest = divmod(frame.stop - frame.start, size)
    if len(declared) > 1:
        raise InputRejected("mfer_unsupported", "Channels of the MFER file differ in their number of sequences.")
    sequences = next(iter(declared), there)
    if sequences > there or sequences == 0 or (rest and not declared):
        raise truncated()
    return sequences


def _fill(data: bytes, frame: Frame, channels: list[_Channel], sequences: int, done: int, rows: list[Samples]) -> None:
    """Writes a frame's samples into the rows behind ``done`` sequences: in each a block of every channel."""
    size = sum(c.block * c.kind.itemsize for c in channels)
    raw = np.frombuffer(data, np.uint8, count=sequences * size, offset=frame.start).reshape(sequences, size)
    at = 0
    for channel, row in zip(channels, rows, strict=True):
        width = channel.block * channel.kind.itemsize
        stored = np.ascontiguousarray(raw[:, at : at + width]).view(channel.kind).reshape(-1)
        at += width
        values = row[done * channel.block :][: stored.size]
        np.add(stored, channel.offset, out=values, dtype=np.float64)
        values *= channel.step
        if channel.unit == "mV":
            values *= 1e-3
        if channel.null is not None:
            values[stored == channel.null] = np.nan
        if channel.kind.kind == "f":
            values[~(np.abs(values) < _LARGEST)] = np.nan


def _filters(found: Definitions) -> Filters:
    """Filters such as ``HPF=0.05``, ``LPF=150`` and ``BEF=50^hum filter``."""
    values: dict[str, float] = {}
    for raw in found.filters:
        kind, _, rest = tags.text(found, raw).partition("=")
        try:
            value = float(rest.split("^")[0].lower().removesuffix("hz").strip())
        except ValueError:
            continue
        if math.isfinite(value) and 0 < value <= MAX_FS_HZ:
            values.setdefault(kind.strip().upper(), value)
    return Filters(values.get("HPF"), values.get("LPF"), values.get("BEF"))


def _patient(found: Definitions) -> Patient:
    """A name may have its parts and their phonetic spelling between ``^``: family, its sound, given, its sound …"""
    parts = [tags.text(found, part) for part in found.header.get(tags.PATIENT_NAME, b"").split(b"^")]
    number = tags.text(found, found.header.get(tags.PATIENT_ID, b"").split(b"^")[0])
    return Patient(
        id=number or None,
        name=full_name(parts[2::2], parts[:1]),
        birth_date=_birth_date(found),
        sex=_SEXES.get(found.header.get(tags.SEX, b"\0")[0]) if found.header.get(tags.SEX) else None,
    )


def _birth_date(found: Definitions) -> date | None:
    raw = found.header.get(tags.AGE, b"")
    if len(raw) < 7:
        return None
    try:
        born = date(int.from_bytes(raw[3:5], found.order), raw[5], raw[6])
    except ValueError:
        return None
    return born if born.year >= 1850 else None


def _age(found: Definitions) -> float | None:
    """Years and days; 0 and 255 stand for an age that was not entered."""
    raw = found.header.get(tags.AGE, b"")
    if not raw:
        return None
    years = float(raw[0])
    days = int.from_bytes(raw[1:3], found.order) if len(raw) >= 3 else 0
    age = years + (days / 365.25 if days <= 366 else 0.0)
    return age if 0 < age <= 130 else None


def _moment(found: Definitions, zone: tzinfo) -> datetime | None:
    raw = found.header.get(tags.TIME, b"")
    if len(raw) < 7:
        return None
    milli, micro = (int.from_bytes(raw[k : k + 2], found.order) for k in (7, 9))
    fraction = min(milli, 999) * 1000 + min(micro, 999)
    return utc((int.from_bytes(raw[:2], found.order), *raw[2:4]), raw[4:7], zone, fraction)


FORMAT = Format(
    name="mfer",
    title="MFER",
    recognises=_recognises,
    read=read_mfer,
    seen_from_device=False,
    extensions=(".mwf",),
    is_whole=mfer_is_whole,
)

"""WFDB records (WFDB Applications Guide, signal(5)): an own reader and writer over names and bytes, no file system."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats.names import unique_name
from teleread.ingest.formats.wfdb_header import BITS, MAX_SAMPLES, Header, Signal, parse_header
from teleread.signal.ecg.record import EcgRecord, OtherChannel, standard_lead_name, with_derived_leads

Stored = NDArray[np.int32]

_PER_MV = {"nv": 1e-6, "uv": 1e-3, "\u00b5v": 1e-3, "mv": 1.0, "v": 1e3}
# the value that stands for "no sample" in each format
_MISSING = {"16": -(1 << 15), "61": -(1 << 15), "80": -(1 << 7), "212": -(1 << 11), "24": -(1 << 23), "32": -(1 << 31)}


def read_wfdb(header_bytes: bytes, files: Mapping[str, bytes], zone: tzinfo) -> EcgRecord:
    """One record from its header and the signal files that it names.

    Raises:
        InputRejected: what ``parse_header`` raises, ``wfdb_missing_file``, ``wfdb_truncated``, ``wfdb_no_ecg_lead``.
    """
    header = parse_header(header_bytes, zone)
    for name in header.files:
        if name not in files:
            raise InputRejected("wfdb_missing_file", "A signal file that the WFDB header names is not there.")
    names: set[str] = set()
    channels: list[tuple[str, str, float, NDArray[np.float64]]] = []
    for name in header.files:
        group = [s for s in header.signals if s.file == name]
        for signal, stored in zip(group, _read_file(files[name], group, header.frames), strict=True):
            values, unit = _physical(signal, stored)
            lead = unique_name(standard_lead_name(signal.description)[:64], names)
            channels.append((lead, unit, header.fs_hz * signal.per_frame, values))
    return _record(header, channels)


def _record(header: Header, channels: list[tuple[str, str, float, NDArray[np.float64]]]) -> EcgRecord:
    volts = [(rate, values.size) for _, unit, rate, values in channels if unit == "mV"]
    if not volts:
        raise InputRejected("wfdb_no_ecg_lead", "No signal of the record holds a voltage.")
    # most leads decide the common rate, the faster one when there are as many
    fs, n = max(sorted(set(volts), reverse=True), key=volts.count)
    rows = [c for c in channels if c[1] == "mV" and (c[2], c[3].size) == (fs, n)]
    record = EcgRecord(
        signals_mv=np.vstack([values for *_, values in rows]),
        leads=tuple(lead for lead, *_ in rows),
        fs_hz=fs,
        source_format="wfdb",
        other_channels=tuple(OtherChannel(*c) for c in channels if not any(c is row for row in rows)),
        patient=header.patient,
        acquired_at=header.acquired_at,
        age_years=header.age_years,
    )
    return with_derived_leads(record)


def bytes_needed(header: Header, file: str) -> int | None:
    """How many bytes a signal file must have, None when the header does not say how long the record is."""
    if header.frames is None:
        return None
    group = [s for s in header.signals if s.file == file]
    return group[0].offset_bytes + _size(sum(s.per_frame for s in group) * header.frames, group[0].format)


def _size(samples: int, fmt: str) -> int:
    if fmt == "212":
        return samples // 2 * 3 + (2 if samples % 2 else 0)
    return samples * BITS[fmt] // 8


def _read_file(data: bytes, group: list[Signal], frames: int | None) -> list[Stored]:
    """The stored samples of each signal in one file, frames being interleaved."""
    fmt, offset = group[0].format, group[0].offset_bytes
    per_frame = sum(s.per_frame for s in group)
    there = max(0, len(data) - offset) * 8 // BITS[fmt]
    if frames is None:
        frames = there // per_frame
        if frames == 0 or frames * per_frame > MAX_SAMPLES:
            raise InputRejected("wfdb_truncated", "The signal file is empty or too large.")
    total = frames * per_frame
    if len(data) - offset < _size(total, fmt):
        raise InputRejected("wfdb_truncated", "The signal file holds fewer samples than its header declares.")
    flat = _decode(data[offset : offset + _size(total, fmt)], fmt, total).reshape(frames, per_frame)
    out, at = [], 0
    for signal in group:
        out.append(flat[:, at : at + signal.per_frame].reshape(-1))
        at += signal.per_frame
    return out


def _decode(data: bytes, fmt: str, total: int) -> Stored:
    if fmt in ("16", "61", "32"):
        kind = {"16": "<i2", "61": ">i2", "32": "<i4"}[fmt]
        return np.frombuffer(data, dtype=kind, count=total).astype(np.int32)
    raw = np.frombuffer(data, dtype=np.uint8).astype(np.int32)
    if fmt == "80":
        return raw[:total] - 128
    if fmt == "24":
        value = raw[0::3] | raw[1::3] << 8 | raw[2::3] << 16
        return value - ((value >> 23) << 24)
    # 212: two samples of 12 bits in three bytes; an odd last sample leaves the third byte out
    raw = np.concatenate((raw, np.zeros(-raw.size % 3, dtype=np.int32)))
    value = np.empty(raw.size // 3 * 2, dtype=np.int32)
    value[0::2] = raw[0::3] | (raw[1::3] & 0x0F) << 8
    value[1::2] = raw[2::3] | (raw[1::3] & 0xF0) << 4
    value -= (value >> 11) << 12
    return value[:total]


def _physical(signal: Signal, stored: Stored) -> tuple[NDArray[np.float64], str]:
    """(values in mV, or in the signal's own unit when that is no voltage; the unit)."""
    values = (stored.astype(np.float64) - signal.baseline) / signal.gain
    values[stored == _MISSING[signal.format]] = np.nan
    skew = min(signal.skew_frames * signal.per_frame, values.size)
    if skew:
        values = np.concatenate((values[skew:], np.full(skew, np.nan)))
    per_mv = _PER_MV.get(signal.units.lower().replace("\u03bc", "\u00b5"))
    return (values * per_mv, "mV") if per_mv else (values, signal.units)

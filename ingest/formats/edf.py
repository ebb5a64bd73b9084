"""EDF, EDF+ (continuous and with gaps) and BDF: a reader over bytes (references in :mod:`.edf_header`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice, pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import clean, decode_bare
from teleread.ingest.formats.edf_header import MAX_FS_HZ, Header, Signal, parse_header, utc
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.names import NOT_ECG, unique_name
from teleread.ingest.formats.persons import age_on
from teleread.ingest.formats.wholeness import edf_is_whole
from teleread.signal.ecg.record import (
    CALIBRATION_PULSE,
    STANDARD_LEADS,
    Annotation,
    EcgRecord,
    Filters,
    OtherChannel,
    with_derived_leads,
)

MAX_LEADS = 64
MAX_RECORDS_WITH_TIMES = 200_000
MAX_ANNOTATIONS = 20_000
# a recording with gaps may be so many times longer than what is stored; a short one always
_MAX_SPREAD = 3
_SMALL = 4_000_000

_IS_ECG = re.compile(r"(?:ECG|EKG|ML?I{1,3}\b|V[1-9]R?\b|[XYZ]$)", re.IGNORECASE)
_SECONDS = rb"[-+]\d{1,9}(?:\.\d{0,9})?"
_TAL = re.compile(rb"(" + _SECONDS + rb")(?:\x15(\d{1,9}(?:\.\d{0,9})?))?\x14([^\x14\0]{0,256})\x14")
_RECORD_START = re.compile(rb"(" + _SECONDS + rb")\x14\x14")

Samples = NDArray[np.float64]


def recognises(head: Head) -> bool:
    """The version field and digits where the header has numbers."""
    data = head.data
    if len(data) < 256 or not data.startswith((b"0       ", b"0\0\0\0\0\0\0\0", b"\xffBIOSEMI")):
        return False
    return all(re.fullmatch(rb" *[-+]?\d+[ \0]*", data[a:b]) for a, b in ((184, 192), (236, 244), (252, 256)))


def read(source: Source) -> EcgRecord:
    """One record.

    Raises:
        InputRejected: what :func:`~teleread.ingest.formats.edf_header.parse_header` raises, ``edf_truncated``,
            ``edf_size_invalid``, ``edf_no_rate``, ``edf_no_scale``, ``edf_no_ecg_lead``, ``edf_times_invalid``,
            ``edf_too_large``.
    """
    header = parse_header(source.data)
    width = header.record_samples * header.sample_bytes
    if width == 0:
        raise InputRejected("edf_no_ecg_lead", "The EDF file declares no samples.")
    if len(source.data) - header.size < width * header.records:
        raise InputRejected("edf_truncated", "The EDF file holds fewer records than it declares.")
    if len(source.data) - header.size > width * header.records:
        # bytes that nothing accounts for may stand anywhere, and would shift all samples behind them
        raise InputRejected("edf_size_invalid", "The EDF file is longer than it declares.")
    raw = np.frombuffer(source.data, dtype=np.uint8, count=width * header.records, offset=header.size)
    stored = _Stored(header, raw.reshape(header.records, width))
    chosen, fs = _leads(header)
    at, first_s = _columns(header, stored, fs, len(chosen))
    names: set[str] = set()
    length = int(at[-1]) + header.signals[chosen[0]].per_record
    signals = np.full((len(chosen), length), np.nan)
    for row, k in enumerate(chosen):
        _lay(signals[row], stored.millivolts(k), at)
    leads = tuple(unique_name(header.signals[k].label or "ECG", names) for k in chosen)
    started = header.started + timedelta(seconds=first_s) if header.started else None
    record = EcgRecord(
        signals_mv=signals,
        leads=leads,
        fs_hz=fs,
        source_format="edf",
        other_channels=tuple(_others(header, stored, chosen, names)),
        annotations=tuple(_annotations(header, stored, fs, first_s, length)),
        filters=_filters([header.signals[k] for k in chosen]),
        patient=header.patient,
        acquired_at=utc(started, source.zone),
        age_years=age_on(None, header.patient.birth_date, utc(started, source.zone)),
        device=header.device,
        extra=MappingProxyType({"variant": f"{'BDF' if header.is_bdf else 'EDF'}{'+' if header.is_plus else ''}"}),
    )
    return with_derived_leads(record)


class _Stored:
    """Samples of one signal at a time from the records, shape (records, bytes of one)."""

    def __init__(self, header: Header, raw: NDArray[np.uint8]) -> None:
        self._header, self._raw = header, raw
        sizes = [s.per_record * header.sample_bytes for s in header.signals]
        self._starts = np.concatenate(([0], np.cumsum(sizes)))

    def bytes_of(self, k: int) -> NDArray[np.uint8]:
        """Shape (records, bytes)."""
        return self._raw[:, self._starts[k] : self._starts[k + 1]]

    def physical(self, k: int) -> Samples:
        """In the signal's unit, shape (records, samples of one)."""
        signal = self._header.signals[k]
        raw = np.ascontiguousarray(self.bytes_of(k))
        if self._header.is_bdf:
            wide = np.zeros((raw.size // 3, 4), dtype=np.uint8)
            wide[:, 1:] = raw.reshape(-1, 3)
            values = (wide.view("<i4")[:, 0] >> 8).astype(np.float64)
        else:
            values = raw.view("<i2").reshape(-1).astype(np.float64)
        if signal.step is not None:
            values -= signal.digital_min
            values *= signal.step
            values += signal.physical_min
        return values.reshape(self._header.records, signal.per_record)

    def millivolts(self, k: int) -> Samples:
        values = self.physical(k)
        values *= self._header.signals[k].per_mv or 1.0
        return values


def _leads(header: Header) -> tuple[list[int], float]:
    """(places of the ECG leads at the most common rate, that rate)."""
    there = [k for k, s in enumerate(header.signals) if not s.is_annotation and s.per_record]
    named = [k for k in there if header.signals[k].label in STANDARD_LEADS or _IS_ECG.match(header.signals[k].label)]
    likely = named or [k for k in there if not NOT_ECG.match(header.signals[k].label)]
    volts = [k for k in likely if header.signals[k].per_mv is not None and header.signals[k].step is not None]
    if not volts:
        if any(header.signals[k].step is None or not header.signals[k].unit for k in likely):
            raise InputRejected("edf_no_scale", "The ECG signals of the EDF file state no unit or no scale.")
        raise InputRejected("edf_no_ecg_lead", "No signal of the EDF file holds the voltage of an ECG.")
    if any(k not in volts and header.signals[k].label in STANDARD_LEADS for k in named):
        raise InputRejected("edf_no_scale", "An ECG signal of the EDF file states no unit or no scale.")
    if header.duration_s <= 0:
        raise InputRejected("edf_no_rate", "The EDF file does not say how long a record lasts.")
    counts = [header.signals[k].per_record for k in volts]
    common = max(sorted(set(counts), reverse=True), key=counts.count)
    fs = common / header.duration_s
    if not 1.0 <= fs <= MAX_FS_HZ:
        raise InputRejected("edf_no_rate", "The sampling rate of the EDF file is out of range.")
    chosen = [k for k in volts if header.signals[k].per_record == common][:MAX_LEADS]
    # 1/0.00125 and the like: a rate that is a whole number but for the last digit is that whole number
    return chosen, float(round(fs)) if abs(fs - round(fs)) < 1e-6 * fs else fs


def _columns(header: Header, stored: _Stored, fs: float, leads: int) -> tuple[NDArray[np.int64], float]:
    """(the column where each record begins, seconds between the stated start and the first sample)."""
    per_record = round(fs * header.duration_s)
    even = np.arange(header.records, dtype=np.int64) * per_record
    marks = [k for k, s in enumerate(header.signals) if s.is_annotation]
    if not header.is_plus or not marks:
        return even, 0.0
    raw = stored.bytes_of(marks[0])
    first = _RECORD_START.match(raw[0].tobytes())
    if not header.discontinuous:
        return even, float(first[1]) if first else 0.0
    if header.records > MAX_RECORDS_WITH_TIMES:
        raise InputRejected("edf_too_large", "The EDF file with gaps has too many records.")
    found = [_RECORD_START.match(one.tobytes()) for one in raw]
    if not all(found):
        raise InputRejected("edf_times_invalid", "A record of the EDF file with gaps does not say when it begins.")
    starts = np.array([float(match[1]) for match in found if match])
    at = np.rint((starts - starts[0]) * fs).astype(np.int64)
    if (np.diff(at) < per_record).any():
        raise InputRejected("edf_times_invalid", "Records of the EDF file overlap in time.")
    total = (int(at[-1]) + per_record) * leads
    if total > max(_SMALL, _MAX_SPREAD * header.record_samples * header.records):
        raise InputRejected("edf_too_large", "The gaps in the EDF file are far longer than the recording.")
    return at, float(starts[0])


def _lay(row: Samples, values: Samples, at: NDArray[np.int64]) -> None:
    if at[-1] == (len(at) - 1) * values.shape[1]:
        row[:] = values.reshape(-1)
        return
    edges = np.concatenate(([0], np.flatnonzero(np.diff(at) != values.shape[1]) + 1, [len(at)]))
    for first, stop in pairwise(edges):
        run = values[first:stop].reshape(-1)
        row[at[first] : at[first] + run.size] = run


def _others(header: Header, stored: _Stored, chosen: list[int], names: set[str]) -> Iterator[OtherChannel]:
    """Signals that are no ECG lead at the common rate, as they lie in the file (gaps closed)."""
    if header.duration_s <= 0:
        return
    for k, signal in enumerate(header.signals):
        if k in chosen or signal.is_annotation or not signal.per_record or signal.step is None:
            continue
        values = stored.millivolts(k) if signal.per_mv else stored.physical(k)
        unit = "mV" if signal.per_mv else signal.unit
        name = unique_name(signal.label or "signal", names)
        yield OtherChannel(name, unit, signal.per_record / header.duration_s, values.reshape(-1))


def _annotations(header: Header, stored: _Stored, fs: float, first_s: float, n: int) -> Iterator[Annotation]:
    """Marks of the recorder whose text says that they are calibration pulses, pacing or beats."""
    for k, signal in enumerate(header.signals):
        if not signal.is_annotation:
            continue
        for match in islice(_TAL.finditer(stored.bytes_of(k).tobytes()), MAX_ANNOTATIONS):
            text = clean(decode_bare(match[3]), 64)
            kind = _kind(text.lower())
            start = round((float(match[1]) - first_s) * fs)
            end = start + max(1, round(float(match[2] or 0.0) * fs))
            if kind and 0 <= start < n:
                yield Annotation(kind, start, min(end, n), text=text)


def _kind(text: str) -> str | None:
    if "calib" in text:
        return CALIBRATION_PULSE
    if text.startswith(("pace", "pacing")):
        return "pacing"
    return "device_beat" if re.match(r"(?:qrs|beat|r[- ]?peak|[nvs] beat)\b", text) else None


def _filters(signals: list[Signal]) -> Filters:
    """The narrowest band; unknown as soon as one lead does not state it."""

    def of(key: str) -> list[float]:
        found = [s.filters[key] for s in signals if s.filters.get(key)]
        return found if len(found) == len(signals) else []

    return Filters(max(of("HP"), default=None), min(of("LP"), default=None), min(of("N"), default=None))


FORMAT = Format(
    name="edf",
    title="EDF, EDF+, BDF",
    recognises=recognises,
    read=read,
    seen_from_device=True,
    extensions=(".edf", ".bdf"),
    is_whole=edf_is_whole,
)

"""WFDB records (WFDB Applications Guide, signal(5)): an own reader and writer over names and bytes, no file system."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import tzinfo
from functools import partial

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import ALLIANCE_ZONE
from teleread.ingest.formats.format import LOOK_BYTES
from teleread.ingest.formats.names import NOT_ECG, unique_name
from teleread.ingest.formats.units import PER_MV
from teleread.ingest.formats.wfdb_header import FLAC_FORMATS, Header, Signal, parse_header
from teleread.ingest.formats.wfdb_samples import MISSING, Stored, frames_in, read_file, size
from teleread.ingest.formats.wfdb_segments import Channel, Line, line_of_segments
from teleread.signal.ecg.record import EcgRecord, LeadRows, OtherChannel, Patient, standard_lead_name

_SEGMENTED = re.compile(rb"\A(?:\s*#[^\r\n]*[\r\n]+)*\s*[^\s#/]+/\d+[ \t]")
_PER_MV = PER_MV | {"\u00b5v": PER_MV["uv"]}

_Write = Callable[[NDArray[np.float64]], None]


def read_wfdb(header_bytes: bytes, files: Mapping[str, bytes], zone: tzinfo) -> EcgRecord:
    """One record from its header and the signal files, or segments, that it names.

    Raises:
        InputRejected: what ``parse_header``, ``read_file`` and ``line_of_segments`` raise, ``wfdb_missing_file``,
            ``wfdb_no_ecg_lead``.
    """
    header = parse_header(header_bytes, zone)
    for name in header.files:
        if name not in files:
            raise InputRejected("wfdb_missing_file", "A signal file that the WFDB header names is not there.")
    if header.segments:
        line = line_of_segments(header, files, zone, _named)
        first = parse_header(files[header.files[0]], zone) if header.files else header
        header = replace(
            header, patient=_known(header.patient, first.patient), age_years=header.age_years or first.age_years
        )
    else:
        line = Line(tuple(_named(header, files)), ((0, header),))
    return _record(header, line, files)


def _known(patient: Patient, other: Patient) -> Patient:
    return other if patient == Patient() else patient


def _named(header: Header, files: Mapping[str, bytes]) -> Iterator[Channel]:
    """What each signal is called, its unit, ``"mV"`` for every voltage, its rate and its length."""
    names: set[str] = set()
    for name, group in _groups(header, files):
        frames = header.frames if header.frames is not None else frames_in(files[name], group)
        for signal in group:
            lead = unique_name(standard_lead_name(signal.description)[:64], names)
            unit = "mV" if _per_mv(signal) else signal.units
            yield Channel(lead, unit, header.fs_hz * signal.per_frame, frames * signal.per_frame)


def _groups(header: Header, files: Mapping[str, bytes]) -> Iterator[tuple[str, list[Signal]]]:
    for name in header.files:
        if name not in files:
            raise InputRejected("wfdb_missing_file", "A signal file that the WFDB header names is not there.")
        yield name, [s for s in header.signals if s.file == name]


def _signals(header: Header, files: Mapping[str, bytes]) -> Iterator[tuple[Channel, _Write]]:
    """Each channel with what puts its samples into a row."""
    named = _named(header, files)
    for name, group in _groups(header, files):
        frames = header.frames if header.frames is not None else frames_in(files[name], group)
        for signal, stored in zip(group, read_file(files[name], group, frames), strict=True):
            yield next(named), partial(_physical, signal, stored)


def _record(header: Header, line: Line, files: Mapping[str, bytes]) -> EcgRecord:
    in_mv = [c for c in line.channels if c.unit == "mV"]
    # a sleep recording states millivolts for its EEG as well
    volts = [c for c in in_mv if not NOT_ECG.match(c.name)] or in_mv
    if not volts:
        raise InputRejected("wfdb_no_ecg_lead", "No signal of the record holds a voltage.")
    # most leads decide the common rate, the faster one when there are as many
    shapes = [(c.fs_hz, c.n) for c in volts]
    fs, n = max(sorted(set(shapes), reverse=True), key=shapes.count)
    leads = [c for c in volts if (c.fs_hz, c.n) == (fs, n)]
    room = LeadRows.of([c.name for c in leads], n)
    rows = {c: room[c.name] if c in leads else np.empty(c.n) for c in line.channels}
    _lay(header, line, files, rows)
    room.derive()
    return EcgRecord(
        signals_mv=room.signals_mv,
        leads=room.leads,
        fs_hz=fs,
        source_format="wfdb",
        other_channels=tuple(OtherChannel(c.name, c.unit, c.fs_hz, rows[c]) for c in rows if c not in leads),
        derived_leads=room.derived,
        patient=header.patient,
        acquired_at=header.acquired_at,
        age_years=header.age_years,
    )


def _lay(header: Header, line: Line, files: Mapping[str, bytes], rows: Mapping[Channel, NDArray[np.float64]]) -> None:
    """Fills the rows of the whole line from its parts, NaN where no part holds the channel."""
    if header.segments:
        for row in rows.values():
            row.fill(np.nan)
    of = {(c.name, c.unit, c.fs_hz): row for c, row in rows.items()}
    for start, part in line.parts:
        for channel, write in _signals(part, files):
            at = start * round(channel.fs_hz / header.fs_hz)
            write(of[channel.name, channel.unit, channel.fs_hz][at : at + channel.n])


def bytes_needed(header: Header, file: str) -> int | None:
    """How many bytes a signal file must have, None when the header does not say how long the record is."""
    group = [s for s in header.signals if s.file == file]
    if header.frames is None or not group:
        return None
    if group[0].format in FLAC_FORMATS:
        return size(0, group[0].format)
    return group[0].offset_bytes + size(sum(s.per_frame for s in group) * header.frames, group[0].format)


def main_header(files: Mapping[str, bytes], names: Collection[str]) -> str | None:
    """Of several headers the one whose record consists of others, None where there is none or more than one."""
    found = [name for name in names if _SEGMENTED.search(files[name][:LOOK_BYTES])]
    if len(found) != 1:
        return None
    try:
        others = parse_header(files[found[0]], ALLIANCE_ZONE).files
    except InputRejected:
        return found[0]  # the reader says what is wrong with it
    return found[0] if set(names) - set(found) <= set(others) else None


def _per_mv(signal: Signal) -> float | None:
    return _PER_MV.get(signal.units.lower().replace("\u03bc", "\u00b5"))


def _physical(signal: Signal, stored: Stored, out: NDArray[np.float64]) -> None:
    """Puts millivolts, or values in the signal's own unit when that is no voltage, into ``out``."""
    skew = min(signal.skew_frames * signal.per_frame, stored.size)
    if skew:
        stored, behind = stored[skew:], out[stored.size - skew :]
        out, behind[:] = out[: stored.size], np.nan
    np.subtract(stored, signal.baseline, out=out, dtype=np.float64)
    out /= signal.gain
    missing = MISSING.get(signal.format)
    if missing is not None:
        out[stored == missing] = np.nan
    per_mv = _per_mv(signal)
    if per_mv is not None and per_mv != 1.0:
        out *= per_mv

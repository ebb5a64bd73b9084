"""WFDB records (WFDB Applications Guide, signal(5)): an own reader and writer over names and bytes, no file system."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import tzinfo

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import ALLIANCE_ZONE
from teleread.ingest.formats.format import LOOK_BYTES
from teleread.ingest.formats.names import unique_name
from teleread.ingest.formats.wfdb_header import FLAC_FORMATS, Header, Signal, parse_header
from teleread.ingest.formats.wfdb_samples import MISSING, Stored, read_file, size
from teleread.ingest.formats.wfdb_segments import Channels, read_segments
from teleread.signal.ecg.record import EcgRecord, OtherChannel, Patient, standard_lead_name, with_derived_leads

_SEGMENTED = re.compile(rb"\A(?:\s*#[^\r\n]*[\r\n]+)*\s*[^\s#/]+/\d+[ \t]")
_PER_MV = {"nv": 1e-6, "uv": 1e-3, "\u00b5v": 1e-3, "mv": 1.0, "v": 1e3}


def read_wfdb(header_bytes: bytes, files: Mapping[str, bytes], zone: tzinfo) -> EcgRecord:
    """One record from its header and the signal files, or segments, that it names.

    Raises:
        InputRejected: what ``parse_header``, ``read_file`` and ``read_segments`` raise, ``wfdb_missing_file``,
            ``wfdb_no_ecg_lead``.
    """
    header = parse_header(header_bytes, zone)
    for name in header.files:
        if name not in files:
            raise InputRejected("wfdb_missing_file", "A signal file that the WFDB header names is not there.")
    if header.segments:
        channels = read_segments(header, files, zone, _channels)
        first = parse_header(files[header.files[0]], zone) if header.files else header
        header = replace(
            header, patient=_known(header.patient, first.patient), age_years=header.age_years or first.age_years
        )
    else:
        channels = _channels(header, files)
    return _record(header, channels)


def _known(patient: Patient, other: Patient) -> Patient:
    return other if patient == Patient() else patient


def _channels(header: Header, files: Mapping[str, bytes]) -> Channels:
    """(name, unit, rate, samples) of each signal in mV, or in its own unit when that is no voltage."""
    names: set[str] = set()
    channels: Channels = []
    for name in header.files:
        if name not in files:
            raise InputRejected("wfdb_missing_file", "A signal file that the WFDB header names is not there.")
        group = [s for s in header.signals if s.file == name]
        for signal, stored in zip(group, read_file(files[name], group, header.frames), strict=True):
            values, unit = _physical(signal, stored)
            lead = unique_name(standard_lead_name(signal.description)[:64], names)
            channels.append((lead, unit, header.fs_hz * signal.per_frame, values))
    return channels


def _record(header: Header, channels: Channels) -> EcgRecord:
    volts = [(rate, values.size) for _, unit, rate, values in channels if unit == "mV"]
    if not volts:
        raise InputRejected("wfdb_no_ecg_lead", "No signal of the record holds a voltage.")
    # most leads decide the common rate, the faster one when there are as many
    fs, n = max(sorted(set(volts), reverse=True), key=volts.count)
    places = [k for k, c in enumerate(channels) if c[1] == "mV" and (c[2], c[3].size) == (fs, n)]
    others = tuple(OtherChannel(*c) for k, c in enumerate(channels) if k not in places)
    leads = tuple(channels[k][0] for k in places)
    signals = np.empty((len(places), n))
    for row, k in enumerate(places):
        signals[row] = channels[k][3]
        channels[k] = ("", "", 0.0, signals[row])  # the first copy may go
    record = EcgRecord(
        signals_mv=signals,
        leads=leads,
        fs_hz=fs,
        source_format="wfdb",
        other_channels=others,
        patient=header.patient,
        acquired_at=header.acquired_at,
        age_years=header.age_years,
    )
    return with_derived_leads(record)


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


def _physical(signal: Signal, stored: Stored) -> tuple[NDArray[np.float64], str]:
    """(values in mV, or in the signal's own unit when that is no voltage; the unit)."""
    values = stored.astype(np.float64)
    values -= signal.baseline
    values /= signal.gain
    missing = MISSING.get(signal.format)
    if missing is not None:
        values[stored == missing] = np.nan
    skew = min(signal.skew_frames * signal.per_frame, values.size)
    if skew:
        values = np.concatenate((values[skew:], np.full(skew, np.nan)))
    per_mv = _PER_MV.get(signal.units.lower().replace("\u03bc", "\u00b5"))
    if per_mv is None:
        return values, signal.units
    if per_mv != 1.0:
        values *= per_mv
    return values, "mV"

"""From sections 2 to 6 of an SCP-ECG record to rows of millivolts (EN 1064:2005 5.5 to 5.9)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats.dicom_waveform import MAX_CHANNELS, MAX_SAMPLES
from teleread.ingest.formats.lead_codes import LEAD_NAMES
from teleread.ingest.formats.names import unique_name
from teleread.ingest.formats.scp_huffman import Table, Values, decode, read_tables, undo_differences
from teleread.ingest.formats.scp_layout import Layout, broken, truncated

Samples = NDArray[np.float64]

_LEAD = struct.Struct("<IIB")
_BEAT = struct.Struct("<Hiii")
_ZONE = struct.Struct("<ii")
_BLOCK = struct.Struct("<HHBB")
_OVERFLOW = 1 << 16
_MAX_CODED_BYTES = 3 << 20
_MAX_VALUE = 1 << 17
"""Samples have 16 bits; what grows beyond comes from bits that are no samples."""
_MAX_RATE = 4
"""Bimodal compression leaves out at most three samples of four (5.9.5)."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One heart beat of section 4: sample numbers count from 1 like those of section 3."""

    kind: int
    start: int
    fiducial: int
    end: int


@dataclass(frozen=True, slots=True)
class Locations:
    """Section 4."""

    reference_ms: int
    fiducial: int
    beats: tuple[Beat, ...]
    zones: tuple[tuple[int, int], ...]
    """(first, last) sample of each protected zone."""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """Rows of equal length and rate; sample ``first`` of section 3's numbers is column 0."""

    rows_mv: Samples
    names: tuple[str, ...]
    fs_hz: float
    first: int
    beats: tuple[Beat, ...]
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Lead:
    name: str
    start: int
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Section 5 or 6."""

    step_nv: int
    interval_us: int
    order: int
    flag: int
    lengths: tuple[int, ...]
    data: bytes


def read_signals(layout: Layout) -> Signals:
    """The rhythm, put together again where it was compressed.

    Raises:
        InputRejected: ``scp_no_ecg_lead``, ``scp_no_scale``, ``scp_no_rate``, ``scp_truncated``, ``scp_broken``,
            ``scp_too_large``, ``scp_unsupported``.
    """
    sections = layout.sections
    if 6 not in sections or 3 not in sections:
        if layout.newer:
            raise InputRejected("scp_unsupported", "The SCP-ECG file keeps its signal in a section of version 3.")
        raise InputRejected("scp_no_ecg_lead", "The SCP-ECG file holds no rhythm.")
    leads, subtracted = _leads(sections[3])
    tables = read_tables(sections[2]) if 2 in sections else ()
    rhythm = _block(sections[6], len(leads))
    locations = read_locations(sections[4]) if 4 in sections else None
    subtracted = subtracted and locations is not None and any(b.kind == 0 for b in locations.beats)
    bimodal = rhythm.flag == 1
    reference = _block(sections[5], len(leads)) if 5 in sections and (subtracted or bimodal) else None
    if (subtracted and reference is None) or (bimodal and locations is None):
        raise broken("it lacks what its compressed samples refer to")
    rate = _rate(rhythm, reference)
    zones = _zones(locations, rate) if bimodal and locations else []
    rows, notes = _rows(rhythm, tables, leads, zones, rate)
    if subtracted and reference is not None and locations is not None:
        beats = _reference_beats(reference, tables, locations)
        rows = _add_beats(rows, beats, reference.step_nv / rhythm.step_nv, leads, locations)
    signals, first = _together(rows, leads, rhythm.step_nv)
    interval = rhythm.interval_us if rate == 1 or reference is None else reference.interval_us
    names = tuple(lead.name for lead in leads)
    return Signals(signals, names, 1e6 / interval, first, locations.beats if locations else (), notes)


def _leads(section: bytes) -> tuple[list[_Lead], bool]:
    """(leads, whether reference beats were subtracted)."""
    if len(section) < 2:
        raise truncated()
    count = section[0]
    if count == 0:
        raise InputRejected("scp_no_ecg_lead", "The SCP-ECG file declares no lead.")
    if count > MAX_CHANNELS:
        raise InputRejected("scp_too_large", "The SCP-ECG file declares too many leads.")
    if len(section) < 2 + count * _LEAD.size:
        raise truncated()
    names: set[str] = set()
    leads = []
    for k in range(count):
        start, end, code = _LEAD.unpack_from(section, 2 + k * _LEAD.size)
        if end < start:
            raise broken("a lead ends before it begins")
        name = unique_name(LEAD_NAMES.get(code, f"lead {code}"), names)
        leads.append(_Lead(name, start, end - start + 1))
    return leads, bool(section[1] & 1)


def read_locations(section: bytes) -> Locations:
    """Section 4.

    Raises:
        InputRejected: ``scp_truncated``.
    """
    if len(section) < 6:
        raise truncated()
    reference_ms, fiducial, count = struct.unpack_from("<HHH", section)
    zones_at = 6 + count * _BEAT.size
    if zones_at > len(section):
        raise truncated()
    beats = tuple(Beat(*_BEAT.unpack_from(section, at)) for at in range(6, zones_at, _BEAT.size))
    there = min(count, (len(section) - zones_at) // _ZONE.size)
    zones = tuple(_ZONE.unpack_from(section, zones_at + k * _ZONE.size) for k in range(there))
    return Locations(reference_ms, fiducial, beats, zones)


def _block(section: bytes, leads: int) -> _Block:
    data_at = _BLOCK.size + 2 * leads
    if len(section) < data_at:
        raise truncated()
    step_nv, interval_us, order, flag = _BLOCK.unpack_from(section)
    if step_nv == 0:
        raise InputRejected("scp_no_scale", "The SCP-ECG file states no amplitude per step.")
    if interval_us < 10:
        raise InputRejected("scp_no_rate", "The SCP-ECG file states no possible sampling interval.")
    if order > 2:
        raise broken("it declares differences of no known kind")
    lengths = struct.unpack_from(f"<{leads}H", section, _BLOCK.size)
    return _Block(step_nv, interval_us, order, flag, lengths, section[data_at:])


def _rate(rhythm: _Block, reference: _Block | None) -> int:
    """How many samples one sample of the rhythm stands for, outside protected zones."""
    if reference is None or rhythm.interval_us == reference.interval_us:
        return 1
    rate, rest = divmod(rhythm.interval_us, reference.interval_us)
    if rest or not 1 <= rate <= _MAX_RATE:
        raise broken("rhythm and reference beats have rates that do not go together")
    return rate


def _zones(locations: Locations, rate: int) -> list[tuple[int, int]]:
    """Protected zones as sample numbers, end exclusive, in order and apart."""
    zones = sorted((first, last + 1) for first, last in locations.zones if last >= first > 0)
    if any(a[1] > b[0] for a, b in pairwise(zones)):
        raise broken("its protected zones overlap")
    return zones if rate > 1 else []


def _rows(
    block: _Block, tables: tuple[Table, ...], leads: list[_Lead], zones: list[tuple[int, int]], rate: int
) -> tuple[list[Samples], dict[str, str]]:
    """(residual or whole samples of each lead at the full rate, in steps; notes)."""
    if tables and len(block.data) > _MAX_CODED_BYTES:
        raise InputRejected("scp_too_large", "The SCP-ECG file holds more compressed data than can be read.")
    layouts = [_stretches(lead, zones, rate) for lead in leads]
    wanted = [sum(stored for _, _, stored in layout) for layout in layouts]
    values = _stored_values(block, tables, wanted)
    short = {want - row.size for want, row in zip(wanted, values, strict=True)}
    notes: dict[str, str] = {}
    if short != {0}:
        lead = leads[0]
        if rate > 1 or len(short) > 1 or min(short) < 0:
            raise truncated()
        # a range from 0 to n has one number more than there are samples
        if short != {1} or lead.start != 0:
            if tables:
                raise truncated()
            notes = {"samples_declared": str(wanted[0]), "samples_stored": str(values[0].size)}
    if rate == 1:
        return [row.astype(np.float64) for row in values], notes
    return [_spread(row, layout, rate) for row, layout in zip(values, layouts, strict=True)], notes


def _stretches(lead: _Lead, zones: list[tuple[int, int]], rate: int) -> list[tuple[int, bool, int]]:
    """The lead's samples in order: (how many, whether each is stored, how many values are stored)."""
    if rate == 1:
        return [(lead.count, True, lead.count)]
    stretches: list[tuple[int, bool, int]] = []
    at, end = lead.start, lead.start + lead.count
    for first, last in zones:
        first, last = min(max(first, at), end), min(max(last, at), end)
        if first > at:
            stretches.append((first - at, False, -(-(first - at) // rate)))
        if last > first:
            stretches.append((last - first, True, last - first))
        at = max(at, last)
    if end > at:
        stretches.append((end - at, False, -(-(end - at) // rate)))
    return stretches


def _spread(values: Values, layout: list[tuple[int, bool, int]], rate: int) -> Samples:
    """Decimated stretches drawn as straight lines between their values, each standing for ``rate`` samples."""
    parts: list[Samples] = []
    at = 0
    for count, whole, stored in layout:
        part = values[at : at + stored].astype(np.float64)
        at += stored
        places = rate // 2 + rate * np.arange(stored)
        parts.append(part if whole else np.interp(np.arange(count), places, part))
    return np.concatenate(parts)


def _stored_values(block: _Block, tables: tuple[Table, ...], wanted: list[int]) -> list[Values]:
    """The values of each lead, differences undone; fewer than wanted where the file holds fewer."""
    rest = len(block.data) - sum(block.lengths)
    if rest < 0:
        raise truncated()
    lengths: list[int | None] = list(block.lengths)
    if rest >= _OVERFLOW - 1:
        # the field of a lead's length has 16 bits; what the section holds says that some needed more
        if tables:
            lengths = [None] * len(lengths)
        elif 0 <= len(block.data) - 2 * sum(wanted) <= 1:
            lengths = [2 * count for count in wanted]
    out, at = [], 0
    for length, low, count in zip(lengths, block.lengths, wanted, strict=True):
        data = block.data[at:] if length is None else block.data[at : at + length]
        if tables:
            values, bits = decode(tables, data, count)
            if length is None:
                needed = -(-bits // 8)
                length = low + _OVERFLOW * max(0, -(-(needed - low) // _OVERFLOW))
        else:
            values = np.frombuffer(data, "<i2", count=min(count, len(data) // 2)).astype(np.int64)
            length = len(data)
        at += length
        samples = undo_differences(values, block.order)
        if samples.size and max(abs(int(samples.min())), abs(int(samples.max()))) > _MAX_VALUE:
            raise broken("its samples leave the range of samples")
        out.append(samples)
    return out


def _reference_beats(block: _Block, tables: tuple[Table, ...], locations: Locations) -> list[Samples]:
    count = round(locations.reference_ms * 1000 / block.interval_us)
    rows = _stored_values(block, tables, [count] * len(block.lengths))
    if any(not 0 <= count - row.size <= 1 for row in rows):
        raise truncated()
    return [row.astype(np.float64) for row in rows]


def _add_beats(
    rows: list[Samples], beats: list[Samples], scale: float, leads: list[_Lead], locations: Locations
) -> list[Samples]:
    """Adds the reference beat wherever it was subtracted: at every beat of kind 0 (5.7.3)."""
    out = []
    for row, beat, lead in zip(rows, beats, leads, strict=True):
        whole = row.copy()
        for one in locations.beats:
            if one.kind != 0 or one.start <= 0 or one.end < one.start:
                continue
            shift = locations.fiducial - one.fiducial + lead.start - 1
            low = max(0, one.start - lead.start, -shift)
            high = min(row.size, one.end - lead.start + 1, beat.size - shift)
            if high > low:
                whole[low:high] += beat[low + shift : high + shift] * scale
        out.append(whole)
    return out


def _together(rows: list[Samples], leads: list[_Lead], step_nv: int) -> tuple[Samples, int]:
    """(rows in mV over the time of all leads, NaN where a lead was not recorded; number of the first sample)."""
    first = min(lead.start for lead in leads)
    end = max(lead.start + row.size for lead, row in zip(leads, rows, strict=True))
    stored = sum(row.size for row in rows)
    if end - first > stored or (end - first) * len(rows) > min(MAX_SAMPLES, 64 * stored):
        raise broken("its leads lie too far apart")
    signals = np.full((len(rows), end - first), np.nan)
    step_uv = step_nv / 1000.0
    for out, row, lead in zip(signals, rows, leads, strict=True):
        at = lead.start - first
        # step in microvolts first, then millivolts: the same two products as a DICOM or aECG reader forms
        out[at : at + row.size] = (row * step_uv) * 1e-3
    return signals, first

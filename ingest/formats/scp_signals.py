"""From sections 2 to 6 of an SCP-ECG record to rows of millivolts (EN 1064:2005 5.5 to 5.9)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats.dicom_waveform import MAX_CHANNELS, MAX_SAMPLES
from teleread.ingest.formats.lead_codes import LEAD_NAMES
from teleread.ingest.formats.names import unique_name
from teleread.ingest.formats.scp_beats import (
    Beat,
    Lead,
    Locations,
    Samples,
    add_beats,
    protected_zones,
    read_locations,
    spread,
    stretches,
)
from teleread.ingest.formats.scp_huffman import Table, check_work, decode, read_tables, undo_differences
from teleread.ingest.formats.scp_layout import Layout, broken, truncated

_LEAD = struct.Struct("<IIB")
_BLOCK = struct.Struct("<HHBB")
_OVERFLOW = 1 << 16
_MAX_VALUE = 1 << 17
"""Samples have 16 bits; what grows beyond comes from bits that are no samples."""
_MAX_BEATS_OF_LEADS = 40_000
"""Beats times leads, where each beat must be put back into each lead."""
_VERSION_3 = 30
_MIN_INTERVAL_US = 200
"""No recorder samples faster; some write a rate of 150 Hz where the interval belongs."""
_MAX_RATE = 4
"""Bimodal compression leaves out at most three samples of four (5.9.5)."""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """Rows of equal length and rate; sample ``first`` of section 3's numbers is column 0."""

    rows_mv: Samples
    names: tuple[str, ...]
    fs_hz: float
    first: int
    beats: tuple[Beat, ...]
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Section 5 or 6."""

    step_nv: int
    interval_us: int
    order: int
    flag: int
    lengths: tuple[int, ...]
    data: memoryview


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
    # the flag is reserved since version 3
    bimodal = rhythm.flag == 1 and layout.version < _VERSION_3
    locations = read_locations(sections.get(4), needed=subtracted or bimodal)
    subtracted = subtracted and locations is not None and any(b.kind == 0 for b in locations.beats)
    reference = _block(sections[5], len(leads)) if 5 in sections and (subtracted or bimodal) else None
    if (subtracted or bimodal) and (reference is None or locations is None):
        raise broken("it lacks what its compressed samples refer to")
    if (subtracted or bimodal) and locations and len(locations.beats) * len(leads) > _MAX_BEATS_OF_LEADS:
        raise InputRejected("scp_too_large", "The SCP-ECG file lists more beats than can be put back.")
    rate = _rate(rhythm, reference)
    zones = protected_zones(locations, rate) if bimodal and locations else []
    rows, notes = _rows(rhythm, tables, leads, zones, rate)
    if subtracted and reference is not None and locations is not None:
        beats = _reference_beats(reference, tables, locations)
        rows = add_beats(rows, beats, reference.step_nv / rhythm.step_nv, leads, locations)
    signals, first = _together(rows, leads, rhythm.step_nv)
    interval = rhythm.interval_us if rate == 1 or reference is None else reference.interval_us
    names = tuple(lead.name for lead in leads)
    return Signals(signals, names, 1e6 / interval, first, locations.beats if locations else (), notes)


def _leads(section: bytes) -> tuple[list[Lead], bool]:
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
        leads.append(Lead(name, start, end - start + 1))
    return leads, bool(section[1] & 1)


def _block(section: bytes, leads: int) -> _Block:
    data_at = _BLOCK.size + 2 * leads
    if len(section) < data_at:
        raise truncated()
    step_nv, interval_us, order, flag = _BLOCK.unpack_from(section)
    if step_nv == 0:
        raise InputRejected("scp_no_scale", "The SCP-ECG file states no amplitude per step.")
    if interval_us < _MIN_INTERVAL_US:
        raise InputRejected("scp_no_rate", "The SCP-ECG file states no possible sampling interval.")
    if order > 2:
        raise broken("it declares differences of no known kind")
    lengths = struct.unpack_from(f"<{leads}H", section, _BLOCK.size)
    return _Block(step_nv, interval_us, order, flag, lengths, memoryview(section)[data_at:])


def _rate(rhythm: _Block, reference: _Block | None) -> int:
    """How many samples one sample of the rhythm stands for, outside protected zones."""
    if reference is None or rhythm.interval_us == reference.interval_us:
        return 1
    rate, rest = divmod(rhythm.interval_us, reference.interval_us)
    if rest or not 1 <= rate <= _MAX_RATE:
        raise broken("rhythm and reference beats have rates that do not go together")
    return rate


def _rows(
    block: _Block, tables: tuple[Table, ...], leads: list[Lead], zones: list[tuple[int, int]], rate: int
) -> tuple[list[NDArray[Any]], dict[str, str]]:
    """(residual or whole samples of each lead at the full rate, in steps; notes)."""
    layouts = [stretches(lead, zones, rate) for lead in leads]
    wanted = [sum(stored for _, _, stored in layout) for layout in layouts]
    values = _stored_values(block, tables, wanted)
    short = {want - row.size for want, row in zip(wanted, values, strict=True)}
    notes: dict[str, str] = {}
    if short != {0}:
        if rate > 1 or len(short) > 1:
            raise truncated()
        # a range that counts from 0 to n, or its end as the sample behind the last, has one number too many
        if short != {1}:
            if tables:
                raise truncated()
            notes = {"samples_declared": str(wanted[0]), "samples_stored": str(values[0].size)}
    if rate == 1:
        return values, notes
    return [spread(row, layout, rate) for row, layout in zip(values, layouts, strict=True)], notes


def _stored_values(block: _Block, tables: tuple[Table, ...], wanted: list[int]) -> list[NDArray[Any]]:
    """The values of each lead, differences undone; fewer than wanted where the file holds fewer."""
    rest = len(block.data) - sum(block.lengths)
    if rest < 0:
        raise truncated()
    if tables:
        check_work(tables, sum(min(count, 8 * len(block.data)) for count in wanted))
    lengths: list[int | None] = list(block.lengths)
    if rest >= _OVERFLOW - 1:
        # the field of a lead's length has 16 bits; what the section holds says that some needed more
        if tables:
            lengths = [None] * len(lengths)
        elif 0 <= len(block.data) - 2 * sum(wanted) <= 1:
            lengths = [2 * count for count in wanted]
    out: list[NDArray[Any]] = []
    at = 0
    for length, low, count in zip(lengths, block.lengths, wanted, strict=True):
        data = block.data[at:] if length is None else block.data[at : at + length]
        if tables:
            values, bits = decode(tables, bytes(data), count)
            if length is None:
                needed = -(-bits // 8)
                length = low + _OVERFLOW * max(0, -(-(needed - low) // _OVERFLOW))
        else:
            values = np.frombuffer(data, "<i2", count=min(count, len(data) // 2))
            length = len(data)
        at += length
        samples = values.astype(np.int64) if block.order else values
        undo_differences(samples, block.order)
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


def _together(rows: list[NDArray[Any]], leads: list[Lead], step_nv: int) -> tuple[Samples, int]:
    """(rows in mV over the time of all leads, NaN where a lead was not recorded; number of the first sample)."""
    first = min(lead.start for lead in leads)
    end = max(lead.start + row.size for lead, row in zip(leads, rows, strict=True))
    stored = sum(row.size for row in rows)
    if end - first > stored or (end - first) * len(rows) > min(MAX_SAMPLES, 64 * stored):
        raise broken("its leads lie too far apart")
    signals = np.full((len(rows), end - first), np.nan)
    step_uv = step_nv / 1000.0
    for out, row, lead in zip(signals, rows, leads, strict=True):
        part = out[lead.start - first :][: row.size]
        # step in microvolts first, then millivolts: the same two products as a DICOM or aECG reader forms
        np.multiply(row, step_uv, out=part)
        part *= 1e-3
    return signals, first

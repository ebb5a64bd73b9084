"""From a DICOM Waveform Sequence to the leads of one recording (PS3.3 C.10.9)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from teleread.errors import InputRejected
from teleread.ingest.formats.dicom_channels import (
    MAX_FS_HZ,
    Channel,
    channel,
    channel_name,
    invalid,
    number,
)
from teleread.ingest.formats.names import unique_name
from teleread.signal.ecg.record import INDEPENDENT_LEADS, STANDARD_LEADS, Filters, LeadRows, OtherChannel

MAX_CHANNELS = 64
MAX_SAMPLES = 200_000_000
MAX_GROUPS = 64
_MAX_OFFSET_MS = 1e9
# groups of leads recorded one after another are laid on one time line when that costs no more than this
_MAX_SPREAD = 3
_SMALL = 4_000_000

_SAMPLE_TYPES = {"SB": "i1", "UB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4", "SV": "i8", "UV": "u8"}
# pressures by place, respiration, oxygen, temperature: what a catheter laboratory stores beside the leads
_NO_LEAD = re.compile(
    r".*(?:PRESS|RESP|PLETH|SPO2|SAO2|TEMP|FLOW|CVP)|(?:P\d{1,2}|ART|AO|ABP|IBP|LV|RV|LA|RA|PA|PAP|PCW|PCWP|FA)\b",
    re.IGNORECASE,
)
_MEDIAN_WORDS = ("MEDIAN", "REPRESENT", "AVERAGE", "TEMPLATE")


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One multiplex group."""

    number: int
    """Its place in the file, from 1."""
    is_original: bool
    fs_hz: float
    offset_ms: float | None
    surplus: int
    """Samples of a channel behind those that the file declares."""
    channels: tuple[Channel, ...]

    @property
    def n(self) -> int:
        return int(self.channels[0].stored.size)

    @property
    def offset(self) -> int:
        """Samples from the beginning of the recording."""
        return round((self.offset_ms or 0.0) * self.fs_hz / 1000.0)


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The rhythm recording of a waveform object."""

    fs_hz: float
    rows: LeadRows
    channels: tuple[Channel, ...]
    """Those that are stored, in their order in the file."""
    others: tuple[OtherChannel, ...]
    groups: dict[int, tuple[int, tuple[str, ...]]]
    """Of each group that is part of it, by number: the column where it begins, and its channels in stored order."""

    surplus: int

    @property
    def doubts(self) -> dict[str, str]:
        """Where the file contradicts itself and is taken by its word."""
        found = {"surplus_samples": str(self.surplus)} if self.surplus else {}
        return found | ({"bits_stored": "exceeded"} if any(c.exceeds_its_bits for c in self.channels) else {})


def read_groups(dataset: Dataset, big_endian: bool) -> list[Group]:
    """All multiplex groups but medians, which are read only where there is nothing else.

    Raises:
        InputRejected: ``dicom_no_waveform``, ``dicom_waveform_invalid``, ``dicom_waveform_encoding`` (also µ-law and
            A-law, whose absolute scale the standard leaves open), ``dicom_truncated``, ``ecg_no_scale``.
    """
    sequence = dataset.get("WaveformSequence")
    if not sequence:
        raise InputRejected("dicom_no_waveform", "The DICOM file holds no waveform.")
    if len(sequence) > MAX_GROUPS:
        raise invalid("too many multiplex groups")
    numbered = list(enumerate(sequence, start=1))
    rhythm = [(k, item) for k, item in numbered if not _is_median(item)]
    return [_group(item, k, big_endian) for k, item in rhythm or numbered]


def _is_median(item: Dataset) -> bool:
    label = str(item.get("MultiplexGroupLabel") or "").upper()
    return any(word in label for word in _MEDIAN_WORDS)


def choose(groups: list[Group], leads_only: bool = False) -> Chosen:
    """The main group and what belongs to it; groups that follow one another in time are laid on one time line.

    Args:
        leads_only: voltages that are called a pressure or the like are kept aside (haemodynamics).

    Raises:
        InputRejected: ``dicom_no_ecg_lead``.
    """
    main = max(
        groups,
        key=lambda g: (
            any(c.is_ecg for c in g.channels),
            g.is_original,
            sum(c.name in STANDARD_LEADS for c in g.channels if c.is_ecg),
            g.n / g.fs_hz,
        ),
    )
    rhythm = [main, *(g for g in groups if g is not main)]
    joined = _joined(main, [g for g in rhythm if _fits(g, main)])
    rows: dict[str, tuple[Group, Channel]] = {}
    for group in sorted(joined, key=lambda g: -g.n):  # a lead that is there twice is taken where it is longer
        for one in group.channels:
            if one.is_ecg and not (leads_only and _NO_LEAD.match(one.name)):
                rows.setdefault(one.name, (group, one))
    if not rows:
        raise InputRejected("dicom_no_ecg_lead", "No channel of the waveform holds a voltage.")
    if all(lead in rows for lead in INDEPENDENT_LEADS):
        # what is computed again need not be rounded first
        again = set(STANDARD_LEADS) - set(INDEPENDENT_LEADS)
        rows = {name: row for name, row in rows.items() if not (row[1].is_derived and name in again)}
    order = [c for g in rhythm if g in joined for c in g.channels if (g, c) == rows.get(c.name)]
    others = [
        OtherChannel(c.name, c.unit, g.fs_hz, c.samples)
        for g in rhythm
        for c in g.channels
        if not (c.is_derived and c.name in STANDARD_LEADS) and not any(c is row for row in order)
    ]
    first = min(g.offset for g in joined)
    starts = {g.number: g.offset - first for g in joined}
    length = max(starts[g.number] + g.n for g in joined)
    room = LeadRows.of([c.name for c in order], length)
    _lay(room, order, {name: starts[group.number] for name, (group, _) in rows.items()})
    placed = {g.number: (starts[g.number], tuple(c.name for c in g.channels)) for g in joined}
    return Chosen(main.fs_hz, room, tuple(order), tuple(others), placed, max(g.surplus for g in joined))


def _lay(room: LeadRows, channels: list[Channel], starts: dict[str, int]) -> None:
    """Fills the rows, NaN where a channel does not reach."""
    for one in channels:
        row, start = room[one.name], starts[one.name]
        stop = start + one.stored.size
        row[:start], row[stop:] = np.nan, np.nan
        one.write(row[start:stop])
    room.derive()


def _fits(group: Group, main: Group) -> bool:
    if group.fs_hz != main.fs_hz or group.is_original != main.is_original:
        return False
    # what begins with it and is far shorter may be a beat rather than leads of the same time
    return group.offset != main.offset or group.n >= 0.9 * main.n


def _joined(main: Group, groups: list[Group]) -> list[Group]:
    """The groups of one time line: all of them, unless it would be far larger than what is stored."""
    first, last = min(g.offset for g in groups), max(g.offset + g.n for g in groups)
    stored = sum(g.n * len(g.channels) for g in groups)
    rows = sum(len(g.channels) for g in groups)
    if (last - first) * rows <= max(_SMALL, _MAX_SPREAD * stored):
        return groups
    return [main]


def common_filters(channels: Iterable[Channel]) -> Filters:
    """The narrowest band that any of the channels states; unknown as soon as one does not state it."""

    def narrowest(values: list[float | None], pick: Any) -> float | None:
        known = [v for v in values if v is not None]
        return float(pick(known)) if known and len(known) == len(values) else None

    of = list(channels)
    return Filters(
        high_pass_hz=narrowest([c.high_pass_hz for c in of], max),
        low_pass_hz=narrowest([c.low_pass_hz for c in of], min),
        notch_hz=narrowest([c.notch_hz for c in of], min),
    )


def _group(item: Dataset, place: int, big_endian: bool) -> Group:
    count, n = _integer(item, "NumberOfWaveformChannels"), _integer(item, "NumberOfWaveformSamples")
    fs = number(item, "SamplingFrequency")
    if not 1 <= count <= MAX_CHANNELS or not n >= 1 or count * n > MAX_SAMPLES:
        raise invalid("number of channels or samples out of range")
    if fs is None or not 1.0 <= fs <= MAX_FS_HZ:
        raise invalid("sampling frequency missing or out of range")
    offset = number(item, "MultiplexGroupTimeOffset")
    if offset is not None and not abs(offset) <= _MAX_OFFSET_MS:
        raise invalid("time offset out of range")
    definitions = item.get("ChannelDefinitionSequence")
    if definitions is None or len(definitions) != count:
        raise invalid("channel definitions and number of channels differ")
    stored, padding, surplus = _stored_samples(item, count, n, big_endian)
    names: set[str] = set()
    channels = []
    for row, definition in zip(stored, definitions, strict=True):
        name = unique_name(channel_name(definition), names)
        channels.append(channel(definition, name, row, padding, fs))
    return Group(
        number=place,
        is_original=str(item.get("WaveformOriginality") or "ORIGINAL").upper() != "DERIVED",
        fs_hz=fs,
        offset_ms=offset,
        surplus=surplus,
        channels=tuple(channels),
    )


def _stored_samples(item: Dataset, count: int, n: int, big_endian: bool) -> tuple[NDArray[Any], int | None, int]:
    """(samples as stored, shape (count, n); the padding value or None; how many more there are)."""
    interpretation = str(item.get("WaveformSampleInterpretation") or "").strip()
    if interpretation not in _SAMPLE_TYPES:
        raise InputRejected("dicom_waveform_encoding", "The waveform's sample encoding is not supported.")
    kind = np.dtype((">" if big_endian else "<") + _SAMPLE_TYPES[interpretation])
    if _integer(item, "WaveformBitsAllocated") != 8 * kind.itemsize:
        raise invalid("bits allocated and sample interpretation differ")
    raw = item.get("WaveformData")
    if not isinstance(raw, bytes) or len(raw) < count * n * kind.itemsize:
        raise InputRejected("dicom_truncated", "The waveform holds fewer samples than it declares.")
    stored = np.frombuffer(raw, dtype=kind, count=count * n).reshape(n, count).T
    surplus = len(raw) // (count * kind.itemsize) - n
    if n * count * kind.itemsize % 2 and len(raw) == n * count * kind.itemsize + 1:
        surplus = 0  # the byte that makes the length even
    padding = item.get("WaveformPaddingValue")
    if isinstance(padding, bytes) and len(padding) >= kind.itemsize:
        return stored, int(np.frombuffer(padding, dtype=kind, count=1)[0]), surplus
    return stored, int(padding) if isinstance(padding, int) else None, surplus


def _integer(item: Dataset, keyword: str) -> int:
    value = item.get(keyword)
    if not isinstance(value, int):
        raise invalid(f"{keyword} is missing")
    return int(value)

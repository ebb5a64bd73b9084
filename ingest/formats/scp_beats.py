"""Heart beats in SCP-ECG: where they are, what was subtracted there, what was left out between (EN 1064:2005 5.7)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teleread.ingest.formats.scp_layout import broken, truncated

Samples = NDArray[np.float64]

_BEAT = struct.Struct("<Hiii")
_ZONE = struct.Struct("<ii")


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


@dataclass(frozen=True, slots=True)
class Lead:
    """A lead of section 3 and its samples' numbers."""

    name: str
    start: int
    count: int


def read_locations(section: bytes | None, needed: bool) -> Locations | None:
    """Section 4; when the signal does not need it, it may be cut short and is then left aside.

    Raises:
        InputRejected: ``scp_truncated``.
    """
    if section is None:
        return None
    reference_ms, fiducial, count = struct.unpack_from("<HHH", section) if len(section) >= 6 else (0, 0, 0)
    zones_at = 6 + count * _BEAT.size
    if zones_at > len(section):
        if needed:
            raise truncated()
        return None
    beats = tuple(Beat(*_BEAT.unpack_from(section, at)) for at in range(6, zones_at, _BEAT.size))
    there = min(count, (len(section) - zones_at) // _ZONE.size)
    zones = tuple(_ZONE.unpack_from(section, zones_at + k * _ZONE.size) for k in range(there))
    return Locations(reference_ms, fiducial, beats, zones)


def protected_zones(locations: Locations, rate: int) -> list[tuple[int, int]]:
    """Protected zones as sample numbers, end exclusive, in order and apart.

    Raises:
        InputRejected: ``scp_broken``.
    """
    zones = sorted((first, last + 1) for first, last in locations.zones if last >= first > 0)
    if any(a[1] > b[0] for a, b in pairwise(zones)):
        raise broken("its protected zones overlap")
    return zones if rate > 1 else []


def stretches(lead: Lead, zones: list[tuple[int, int]], rate: int) -> list[tuple[int, bool, int]]:
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


def spread(values: NDArray[Any], layout: list[tuple[int, bool, int]], rate: int) -> Samples:
    """Decimated stretches drawn as straight lines between their values, each standing for ``rate`` samples."""
    parts: list[Samples] = []
    at = 0
    for count, whole, stored in layout:
        part = values[at : at + stored].astype(np.float64)
        at += stored
        places = rate // 2 + rate * np.arange(stored)
        parts.append(part if whole else np.interp(np.arange(count), places, part))
    return np.concatenate(parts)


def add_beats(
    rows: list[NDArray[Any]], beats: list[Samples], scale: float, leads: list[Lead], locations: Locations
) -> list[NDArray[Any]]:
    """Adds the reference beat wherever it was subtracted: at every beat of kind 0 (5.7.3).

    Raises:
        InputRejected: ``scp_broken``.
    """
    out: list[NDArray[Any]] = []
    for row, beat, lead in zip(rows, beats, leads, strict=True):
        whole = row.astype(np.float64)
        if sum(one.end - one.start for one in locations.beats if one.kind == 0) > 4 * (row.size + beat.size):
            raise broken("its beats lie upon each other")
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

"""WFDB records of several segments (WFDB Applications Guide, header(5)): fixed and variable layout, gaps as NaN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats.wfdb_header import GAP, Header, parse_header

# a record with gaps may be so many times longer than what is stored; a short one always
_MAX_SPREAD = 3
_SMALL = 4_000_000

Channels = list[tuple[str, str, float, NDArray[np.float64]]]


def read_segments(
    header: Header,
    files: Mapping[str, bytes],
    zone: tzinfo,
    read: Callable[[Header, Mapping[str, bytes]], Channels],
) -> Channels:
    """All channels of the record on its one time line, NaN where a segment does not hold one.

    Args:
        read: gives the channels of a single segment.

    Raises:
        InputRejected: ``wfdb_missing_file``, ``wfdb_header_invalid``, ``wfdb_too_large``, and what ``read`` raises.
    """
    parts = _parts(header, files, zone)
    channels: dict[tuple[str, str, float], list[tuple[int, NDArray[np.float64]]]] = {}
    layout = parts[0][1] if header.segments[0][1] == 0 else None
    total = sum(length for _, length in header.segments)
    if header.frames is not None and header.frames != total:
        raise _invalid("its segments do not add up to its length")
    _check_size(parts, files, total)
    start = 0
    for (_, length), (_, part) in zip(header.segments, parts, strict=True):
        if part is not None and part is not layout:
            for name, unit, rate, values in read(part, files):
                per_frame = round(rate / header.fs_hz)
                if values.size != length * per_frame:
                    raise _invalid("a segment is not as long as it should be")
                channels.setdefault((name, unit, rate), []).append((start * per_frame, values))
        start += length
    out: Channels = []
    for name, unit, rate in sorted(channels, key=_order(layout)):
        row = np.full(total * round(rate / header.fs_hz), np.nan)
        for at, values in channels[name, unit, rate]:
            row[at : at + values.size] = values
        out.append((name, unit, rate, row))
    return out


def _parts(header: Header, files: Mapping[str, bytes], zone: tzinfo) -> list[tuple[str, Header | None]]:
    """The header of each segment, None for a gap."""
    known: dict[str, Header | None] = {GAP: None}
    for segment, _ in header.segments:
        if segment in known:
            continue
        if f"{segment}.hea" not in files:
            raise InputRejected("wfdb_missing_file", "A segment that the WFDB header names is not there.")
        part = parse_header(files[f"{segment}.hea"], zone)
        if part.segments or part.fs_hz != header.fs_hz:
            raise _invalid("a segment has segments of its own or another rate")
        known[segment] = part
    return [(segment, known[segment]) for segment, _ in header.segments]


def _check_size(parts: list[tuple[str, Header | None]], files: Mapping[str, bytes], total: int) -> None:
    """Nothing is laid out that is far larger than what is stored."""
    headers = {name: part for name, part in parts if part is not None}
    stored = sum(len(files.get(name, b"")) for name in {f for part in headers.values() for f in part.files})
    rows = {(s.description, s.units, s.per_frame) for part in headers.values() for s in part.signals}
    if total * sum(per_frame for *_, per_frame in rows) > max(_SMALL, _MAX_SPREAD * stored):
        raise InputRejected("wfdb_too_large", "The gaps in the WFDB record are far longer than the recording.")


def _order(layout: Header | None) -> Callable[[tuple[str, str, float]], int]:
    """As the layout header has them, which is where a record says what it may hold."""
    names = [s.description for s in layout.signals] if layout else []
    return lambda key: names.index(key[0]) if key[0] in names else len(names)


def _invalid(what: str) -> InputRejected:
    return InputRejected("wfdb_header_invalid", f"The WFDB header cannot be read: {what}.")

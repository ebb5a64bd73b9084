"""WFDB records of several segments (WFDB Applications Guide, header(5)): fixed and variable layout, gaps as NaN."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import tzinfo

from teleread.errors import InputRejected
from teleread.ingest.formats.wfdb_header import GAP, Header, parse_header

# a record with gaps may be so many times longer than what is stored; a short one always
_MAX_SPREAD = 3
_SMALL = 4_000_000


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a record, or of a segment of one."""

    name: str
    unit: str
    fs_hz: float
    n: int
    """Samples."""


@dataclass(frozen=True, slots=True)
class Line:
    """The channels of a whole record, and the parts it is laid out of: where each begins, in frames, and its header."""

    channels: tuple[Channel, ...]
    parts: tuple[tuple[int, Header], ...]


def line_of_segments(
    header: Header,
    files: Mapping[str, bytes],
    zone: tzinfo,
    named: Callable[[Header, Mapping[str, bytes]], Iterable[Channel]],
) -> Line:
    """All channels of the record on its one time line.

    Args:
        named: gives the channels of a single segment.

    Raises:
        InputRejected: ``wfdb_missing_file``, ``wfdb_header_invalid``, ``wfdb_too_large``, and what ``named`` raises.
    """
    parts = _parts(header, files, zone)
    layout = parts[0][1] if header.segments[0][1] == 0 else None
    total = sum(length for _, length in header.segments)
    if header.frames is not None and header.frames != total:
        raise _invalid("its segments do not add up to its length")
    _check_size(parts, files, total)
    found: dict[Channel, None] = {}
    placed: list[tuple[int, Header]] = []
    start = 0
    for (_, length), (_, part) in zip(header.segments, parts, strict=True):
        if part is not None and part is not layout:
            for one in named(part, files):
                per_frame = round(one.fs_hz / header.fs_hz)
                if one.n != length * per_frame:
                    raise _invalid("a segment is not as long as it should be")
                found.setdefault(replace(one, n=total * per_frame))
            placed.append((start, part))
        start += length
    return Line(tuple(sorted(found, key=_order(layout))), tuple(placed))


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


def _order(layout: Header | None) -> Callable[[Channel], int]:
    """As the layout header has them, which is where a record says what it may hold."""
    names = [s.description for s in layout.signals] if layout else []
    return lambda one: names.index(one.name) if one.name in names else len(names)


def _invalid(what: str) -> InputRejected:
    return InputRejected("wfdb_header_invalid", f"The WFDB header cannot be read: {what}.")

"""The books of a DICOM file: does every element have the bytes that it claims?

A parser that believes lengths reads a file cut short as if it were whole, and one that recurses can be driven into
the ground. This walk over headers (PS3.5 section 7) uses no recursion and reads no value: it takes every claimed
length to account, counts depth and elements, and tells what stands at the top level.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from teleread.errors import InputRejected

MAX_DEPTH = 16
MAX_ELEMENTS = 2_000_000
MAX_INFLATED_BYTES = 256 << 20
MAX_RATIO = 100

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"

PIXEL_DATA = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009, 0x00287FE0})
WAVEFORM_SEQUENCE = 0x54000100

_Order = Literal["little", "big"]

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_META_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the file says about itself before its data set. Empty strings where it does not."""

    sop_class_uid: str
    transfer_syntax_uid: str
    dataset_start: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The result of the walk. ``problem`` is None, ``dicom_truncated``, ``dicom_malformed``, ``dicom_too_deep`` or
    ``dicom_too_many_elements``; ``tags`` are those of the top level up to there."""

    tags: frozenset[int]
    depth: int
    problem: str | None


class _Stop(Exception):
    pass


@dataclass(slots=True)
class _Frame:
    kind: str  # "dataset", "items" or "fragments"
    end: int | None  # None: ends with a delimiter
    limit: int  # the nearest claimed end around it
    explicit: bool


@dataclass(slots=True)
class _Walk:
    data: bytes
    big: bool
    frames: list[_Frame]
    position: int
    tags: set[int] = field(default_factory=set)
    depth: int = 0
    elements: int = 0
    problem: str | None = None


def read_meta(data: bytes) -> FileMeta:
    """SOP class, transfer syntax and where the data set begins. Looks at 64 KiB at most and never raises."""
    at = 132 if data[128:132] == b"DICM" else 0
    found = {0x00020002: "", 0x00020010: ""}
    while data[at : at + 2] == b"\x02\x00" and at + 8 <= min(len(data), _META_LIMIT):
        tag = 0x00020000 | int.from_bytes(data[at + 2 : at + 4], "little")
        header, length = _explicit_length(data, at, "little")
        if at + header + length > len(data):
            break
        if tag in found:
            found[tag] = data[at + header : at + header + min(length, 64)].rstrip(b"\x00 ").decode("ascii", "replace")
        at += header + length
    sop_class = found[0x00020002] or _sop_class_in_dataset(data, at)
    return FileMeta(sop_class, found[0x00020010], at)


def _explicit_length(data: bytes, at: int, order: _Order) -> tuple[int, int]:
    """(header size, value length) of an element with explicit VR; a header cut short claims more than there is."""
    if data[at + 4 : at + 6] in _LONG_VRS:
        if at + 12 > len(data):
            return 12, 0
        return 12, int.from_bytes(data[at + 8 : at + 12], order)
    return 8, int.from_bytes(data[at + 6 : at + 8], order)


def _sop_class_in_dataset(data: bytes, at: int) -> str:
    """(0008,0016) of a file without meta information, from its first elements."""
    while data[at : at + 2] == b"\x08\x00" and at + 8 <= min(len(data), _META_LIMIT):
        if data[at + 4 : at + 6].isalpha() and data[at + 4 : at + 6].isupper():
            header, length = _explicit_length(data, at, "little")
        else:
            header, length = 8, int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at + 2 : at + 4] == b"\x16\x00":
            return data[at + header : at + header + min(length, 64)].rstrip(b"\x00 ").decode("ascii", "replace")
        at += header + length
    return ""


def inflate(data: bytes, start: int) -> bytes:
    """The data set of a file with deflated transfer syntax, inflated within limits.

    Raises:
        InputRejected: ``dicom_inflates_too_much`` or ``dicom_truncated``.
    """
    limit = min(MAX_INFLATED_BYTES, MAX_RATIO * (len(data) - start) + (64 << 10))
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        out = machine.decompress(data[start:], limit)
    except zlib.error as e:
        raise InputRejected("dicom_malformed", "The deflated DICOM data set is damaged.") from e
    if machine.unconsumed_tail or (len(out) >= limit and not machine.eof):
        raise InputRejected("dicom_inflates_too_much", "The deflated DICOM data set unpacks to far more than its size.")
    if not machine.eof:
        raise InputRejected("dicom_truncated", "The DICOM file ends before its compressed data set does.")
    return out


def take_stock(data: bytes) -> Ledger:
    """Walks the whole data set. Reads headers only; never raises.

    A file that ends on the boundary of two top-level elements keeps its books: whether something that must be there
    is missing is told by ``tags``.
    """
    meta = read_meta(data)
    start, syntax = meta.dataset_start, meta.transfer_syntax_uid or IMPLICIT_LE
    if syntax == DEFLATED_LE:
        try:
            data, start = inflate(data, start), 0
        except InputRejected as e:
            return Ledger(frozenset(), 0, e.code)
    if len(data) < start + 8:
        return Ledger(frozenset(), 0, "dicom_truncated")
    explicit = syntax != IMPLICIT_LE
    vr = data[start + 4 : start + 6]
    if explicit != (vr.isalpha() and vr.isupper()):
        explicit = not explicit  # labelled wrongly; the bytes decide, as in pydicom
    frame = _Frame("dataset", len(data), len(data), explicit)
    walk = _Walk(data, syntax == EXPLICIT_BE, [frame], start)
    try:
        while walk.frames:
            _step(walk)
    except _Stop:
        pass
    return Ledger(frozenset(walk.tags), walk.depth, walk.problem)


def _stop(walk: _Walk, problem: str) -> NoReturn:
    walk.problem = problem
    raise _Stop


def _step(walk: _Walk) -> None:
    frame = walk.frames[-1]
    if frame.end is not None and walk.position >= frame.end:
        walk.frames.pop()
        return
    walk.elements += 1
    if walk.elements > MAX_ELEMENTS:
        _stop(walk, "dicom_too_many_elements")
    if walk.position + 8 > frame.limit:
        rest = walk.data[walk.position : frame.limit]
        if len(walk.frames) == 1 and not any(rest):
            walk.frames.pop()  # a few zero bytes behind the last element
            return
        _stop(walk, "dicom_truncated" if frame.limit == len(walk.data) else "dicom_malformed")
    order: _Order = "big" if walk.big else "little"
    at = walk.position
    tag = int.from_bytes(walk.data[at : at + 2], order) << 16 | int.from_bytes(walk.data[at + 2 : at + 4], order)
    if frame.kind == "dataset":
        _element(walk, frame, tag, order)
    else:
        _item(walk, frame, tag, order)


def _element(walk: _Walk, frame: _Frame, tag: int, order: _Order) -> None:
    data, at = walk.data, walk.position
    if tag == _ITEM_END and frame.end is None:
        walk.frames.pop()
        walk.position += 8
        return
    if tag >> 16 == 0xFFFE:
        _stop(walk, "dicom_malformed")
    vr = data[at + 4 : at + 6] if frame.explicit else b""
    if frame.explicit:
        if not (vr.isalpha() and vr.isupper()):
            _stop(walk, "dicom_malformed")
        if vr in _LONG_VRS and at + 12 > frame.limit:
            _stop(walk, "dicom_truncated" if frame.limit == len(data) else "dicom_malformed")
        header, length = _explicit_length(data, at, order)
    else:
        header, length = 8, int.from_bytes(data[at + 4 : at + 8], order)
    if len(walk.frames) == 1:
        walk.tags.add(tag)
    walk.position += header
    if length == _UNDEFINED:
        sequence = vr in (b"SQ", b"UN") or (not frame.explicit and tag not in PIXEL_DATA)
        # PS3.5 6.2.2: UN of undefined length holds implicit VR
        _push(walk, "items" if sequence else "fragments", None, frame.explicit and vr != b"UN")
        return
    end = walk.position + length
    if end > frame.limit:
        _stop(walk, "dicom_truncated" if end > len(data) else "dicom_malformed")
    if length and (vr == b"SQ" or (not frame.explicit and _is_sequence(tag))):
        _push(walk, "items", end, frame.explicit)
    else:
        walk.position = end


def _item(walk: _Walk, frame: _Frame, tag: int, order: _Order) -> None:
    data, at = walk.data, walk.position
    length = int.from_bytes(data[at + 4 : at + 8], order)
    walk.position += 8
    if tag == _SEQUENCE_END:
        walk.frames.pop()
        return
    if tag != _ITEM:
        _stop(walk, "dicom_malformed")
    if length == _UNDEFINED:
        if frame.kind == "fragments":
            _stop(walk, "dicom_malformed")
        _push(walk, "dataset", None, frame.explicit)
        return
    end = walk.position + length
    if end > frame.limit:
        _stop(walk, "dicom_truncated" if end > len(data) else "dicom_malformed")
    if frame.kind == "fragments":
        walk.position = end
    else:
        _push(walk, "dataset", end, frame.explicit)


def _push(walk: _Walk, kind: str, end: int | None, explicit: bool) -> None:
    limit = walk.frames[-1].limit if end is None else end
    walk.frames.append(_Frame(kind, end, limit, explicit))
    if kind == "items":
        depth = sum(frame.kind == "items" for frame in walk.frames)
        walk.depth = max(walk.depth, depth)
        if depth > MAX_DEPTH:
            _stop(walk, "dicom_too_deep")


def _is_sequence(tag: int) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"

"""Tag, length, value: the definitions of an MFER file (ISO 22077-1) read in order."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import clean, decode_bare
from teleread.ingest.formats.dicom_waveform import MAX_CHANNELS

ZERO, BYTE_ORDER, CHARACTERS, BLOCK, CHANNELS, SEQUENCES, POINTER = 0x00, 0x01, 0x03, 0x04, 0x05, 0x06, 0x07
WAVEFORM_TYPE, LEAD, DATA_TYPE, INTERVAL, RESOLUTION, OFFSET, COMPRESSION = 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E
FILTER, NULL, MAKER, WAVEFORM = 0x11, 0x12, 0x17, 0x1E
CHANNEL, PREAMBLE, GROUP, END = 0x3F, 0x40, 0x67, 0x80
PATIENT_NAME, PATIENT_ID, AGE, SEX, TIME = 0x81, 0x82, 0x83, 0x84, 0x85

_OF_CHANNELS = frozenset((BLOCK, SEQUENCES, WAVEFORM_TYPE, LEAD, DATA_TYPE, INTERVAL, RESOLUTION, OFFSET, NULL))
_KNOWN = frozenset(
    (*range(0x00, 0x10), 0x11, 0x12, 0x15, 0x16, 0x17, WAVEFORM, CHANNEL, *range(0x40, 0x47), GROUP, *range(0x81, 0x89))
)
_FIXED_SIZES = {BYTE_ORDER: (1,), 0x02: (3,), DATA_TYPE: (0, 1), SEX: (1,), INTERVAL: (0, 3, 4, 5, 6)}
_MAX_TAGS = 200_000
_MAX_CHANGES = 256
"""How often the channels may be defined anew between two frames."""
_ZEROS = re.compile(rb"\0*")
_MAX_SPAN = 1 << 32
_CODECS = (
    ("utf-8", "utf-8"), ("utf8", "utf-8"), ("unicode", "utf-8"), ("jisx0201", "shift_jis"), ("shift", "shift_jis"),
    ("sjis", "shift_jis"), ("ms_kanji", "shift_jis"), ("jisx0208", "iso2022_jp"), ("jisx0212", "iso2022_jp_1"),
    ("iso2022", "iso2022_jp"), ("rfc1468", "iso2022_jp"), ("euc", "euc_jp"), ("gb", "gb18030"), ("cp936", "gb18030"),
    ("big5", "big5"), ("ks", "euc_kr"), ("isoir100", "latin-1"),
)  # fmt: skip

Definition = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Frame:
    """One block of waveform data with the definitions that hold for it, one per channel."""

    channels: tuple[Definition, ...]
    order: Literal["big", "little"]
    start: int
    stop: int
    pointer: int | None


@dataclass(slots=True)
class Definitions:
    """What the file has defined so far."""

    order: Literal["big", "little"] = "big"
    characters: str = ""
    count: int = 1
    root: Definition = field(default_factory=dict)
    own: dict[int, Definition] = field(default_factory=dict)
    header: Definition = field(default_factory=dict)
    filters: list[bytes] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    current: tuple[Definition, ...] | None = None
    """What holds for the next frame, until something is defined anew."""
    changes: int = 0
    tags: int = 0


def looks_like_mfer(data: bytes) -> bool:
    """A preamble with its mark, or nothing but plausible definitions up to the waveform or the end of ``data``."""
    if data[:1] == bytes([PREAMBLE]) and data[2:12].lstrip().startswith((b"MFR", b"MFER")):
        return True
    if data[:1] not in (b"\x01", b"\x40"):
        return False  # what sets the byte order comes first
    seen: set[int] = set()
    at = 0
    try:
        for tag, _, start, stop in _walk(data, 0, len(data), _MAX_SPAN):
            if tag not in _KNOWN or stop - start not in _FIXED_SIZES.get(tag, (stop - start,)):
                return False
            seen.add(tag)
            at = stop
            if tag == WAVEFORM:
                break
    except InputRejected:
        return False
    return BYTE_ORDER in seen and len(seen & {CHANNELS, INTERVAL, RESOLUTION, CHANNEL, WAVEFORM}) >= 3 and at > 0


def read_definitions(data: bytes) -> Definitions:
    """Everything up to the end mark.

    Raises:
        InputRejected: ``mfer_truncated``, ``mfer_broken``, ``mfer_unsupported`` (compressed data), ``mfer_too_large``.
    """
    found = Definitions()
    _read(found, data, 0, len(data), None, 0)
    return found


def _read(found: Definitions, data: bytes, start: int, end: int, channel: int | None, depth: int) -> None:
    for tag, number, at, stop in _walk(data, start, end, end):
        found.tags += 1
        if found.tags > _MAX_TAGS:
            raise _too_many()
        if tag == CHANNEL:
            if channel is not None:
                raise broken("a channel is defined inside another")
            # a definition for a channel that is not there is left unused
            _read(found, data, at, stop, number, depth)
        elif tag == GROUP:
            if depth == 2:
                raise InputRejected("mfer_too_deep", "The MFER file nests its definitions too deeply.")
            _read(found, data, at, stop, channel, depth + 1)
        elif tag == WAVEFORM:
            _frame(found, at, stop)
        elif tag in _OF_CHANNELS:
            _define(found, tag, data[at:stop], channel)
        else:
            _set(found, tag, data[at:stop])


def _walk(data: bytes, at: int, end: int, limit: int) -> Iterator[tuple[int, int, int, int]]:
    """(tag, channel number, first byte of its value, the byte behind) up to the end mark."""
    while True:
        at = _behind_zeros(data, at, end)
        if at >= end or data[at] == END:
            return
        tag, number = data[at], 0
        at += 1
        if tag == CHANNEL:
            more = True
            while more:
                if at >= end or number >> 21:
                    raise truncated()
                number, more = number << 7 | data[at] & 0x7F, bool(data[at] & 0x80)
                at += 1
        long, at = _length(data, at, end)
        if long is None:
            stop = _end_of_contents(data, at, end)
            yield tag, number, at, stop
            at = stop + 2
            continue
        if at + long > limit:
            raise truncated()
        yield tag, number, at, at + long
        at += long


def _behind_zeros(data: bytes, at: int, end: int) -> int:
    found = _ZEROS.match(data, at, end)
    return found.end() if found else at


def _length(data: bytes, at: int, end: int) -> tuple[int | None, int]:
    """(length, None when an end mark closes the value; where the value begins)."""
    if at >= end:
        raise truncated()
    first = data[at]
    if first <= 0x80:
        return (first if first < 0x80 else None), at + 1
    size = first & 0x7F
    if size > 4:
        raise broken("a length has too many bytes")
    if at + 1 + size > end:
        raise truncated()
    return int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size


def _end_of_contents(data: bytes, at: int, end: int) -> int:
    """Where the two zeros stand that close a value of open length; values inside have plain lengths."""
    for _ in range(_MAX_TAGS):
        if at + 1 >= end:
            raise truncated()
        if data[at] == ZERO and data[at + 1] == ZERO:
            return at
        if data[at] == CHANNEL:
            raise broken("an open definition holds another")
        long, at = _length(data, at + 1, end)
        if long is None:
            raise broken("an open definition holds another")
        at += long
    raise _too_many()


def _define(found: Definitions, tag: int, value: bytes, channel: int | None) -> None:
    found.current = None
    target = found.root if channel is None else found.own.setdefault(channel, {})
    if value:
        target[tag] = value[:256]
    else:
        target.pop(tag, None)  # a definition without a value takes back what was defined


def _set(found: Definitions, tag: int, value: bytes) -> None:
    if tag == BYTE_ORDER:
        if value[:1] not in (b"", b"\0", b"\1"):
            raise broken("its byte order is not possible")
        found.order = "little" if value[:1] == b"\1" else "big"
        found.current = None
    elif tag == CHARACTERS:
        found.characters = _codec(value)
    elif tag == CHANNELS:
        found.count = int.from_bytes(value[:4], found.order) if value else 1
        if found.count == 0:
            raise InputRejected("mfer_no_ecg_lead", "The MFER file declares no channel.")
        if found.count > MAX_CHANNELS:
            raise InputRejected("mfer_too_large", "The MFER file declares too many channels.")
        found.own.clear()
        found.current = None
    elif tag == COMPRESSION and any(value[:2]):
        raise InputRejected("mfer_unsupported", "The MFER file holds compressed data.")
    elif tag == FILTER:
        found.filters.append(value[:64])
    else:
        found.header[tag] = value[:1024]


def _frame(found: Definitions, start: int, stop: int) -> None:
    if found.current is None:
        found.changes += 1
        if found.changes > _MAX_CHANGES:
            raise _too_many()
        # a lead named for all channels can only be the first
        others = {tag: value for tag, value in found.root.items() if tag != LEAD}
        found.current = tuple((others if k else found.root) | found.own.get(k, {}) for k in range(found.count))
    pointer = found.header.pop(POINTER, None)
    at = int.from_bytes(pointer[:8], found.order) if pointer else None
    found.frames.append(Frame(found.current, found.order, start, stop, at))


def _codec(value: bytes) -> str:
    name = re.sub(r"[\s_\-./]", "", value.decode("latin-1").strip("\0").lower())
    latin = re.match(r"iso8859(\d{0,2})", name)
    if latin:
        name = f"iso8859-{latin[1] or 1}"
        try:
            return codecs.lookup(name).name
        except LookupError:
            return ""
    return next((codec for start, codec in _CODECS if name.startswith(start.replace("-", "").replace("_", ""))), "")


def text(found: Definitions, value: bytes, limit: int = 64) -> str:
    """One line in the declared character set; undeclared text by what it looks like."""
    raw = value[: 16 * limit].rstrip(b"\0")
    return clean(raw.decode(found.characters, "replace") if found.characters else decode_bare(raw), limit)


def _too_many() -> InputRejected:
    return InputRejected("mfer_too_large", "The MFER file holds too many definitions.")


def truncated() -> InputRejected:
    """A length goes beyond the end."""
    return InputRejected("mfer_truncated", "The MFER file ends before the data that it declares.")


def broken(what: str) -> InputRejected:
    """The file contradicts itself."""
    return InputRejected("mfer_broken", f"The MFER file cannot be read: {what}.")

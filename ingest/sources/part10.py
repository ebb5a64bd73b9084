"""DICOM files around datasets as they were received: no byte of the dataset is decoded or written anew.

The same instance always becomes the same file, because the file meta group (PS3.10 section 7.1) holds only what
belongs to the instance and to us, and neither a time nor a peer's title.
"""

from __future__ import annotations

import re
import struct
import zlib

IMPLEMENTATION_CLASS_UID = "2.25.98719823025483964956259617656847966760"
"""Names the writer of our files for good: a change would give every instance new bytes."""
IMPLEMENTATION_VERSION = "TELEREAD"

_UID = re.compile(r"[0-9.]{1,64}")
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_LONG_FORM = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SOP_UID_TAG = (0x0008, 0x0018)
_HEAD_BYTES = 65536


def is_uid(text: str) -> bool:
    """True for what may stand in a key or a query: 1 to 64 digits and dots."""
    return _UID.fullmatch(text) is not None


def part10(sop_class_uid: str, sop_uid: str, transfer_syntax_uid: str, dataset: bytes | memoryview) -> bytes:
    """A DICOM file: empty preamble, file meta group, then ``dataset`` untouched."""
    elements = b"".join(
        (
            struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2) + b"\x00\x01",
            _short(0x0002, b"UI", _even(sop_class_uid, b"\0")),
            _short(0x0003, b"UI", _even(sop_uid, b"\0")),
            _short(0x0010, b"UI", _even(transfer_syntax_uid, b"\0")),
            _short(0x0012, b"UI", _even(IMPLEMENTATION_CLASS_UID, b"\0")),
            _short(0x0013, b"SH", _even(IMPLEMENTATION_VERSION, b" ")),
        )
    )
    length = _short(0x0000, b"UL", struct.pack("<I", len(elements)))
    return b"".join((bytes(128), b"DICM", length, elements, dataset))


def dataset_uid(dataset: bytes | memoryview, transfer_syntax_uid: str) -> str | None:
    """The SOP Instance UID inside a raw dataset, or None when it is not to be found near the beginning.

    Reads at most the first elements: it stops at the first tag above (0008,0018) or of undefined length.
    """
    head = bytes(dataset[:_HEAD_BYTES])
    if transfer_syntax_uid == _DEFLATED:
        try:
            # bounded: a small deflated dataset may claim gigabytes
            head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, _HEAD_BYTES)
        except zlib.error:
            return None
    order = ">" if transfer_syntax_uid == _BIG_ENDIAN else "<"
    return _find_uid(head, order, explicit=transfer_syntax_uid != _IMPLICIT)


def _find_uid(head: bytes, order: str, *, explicit: bool) -> str | None:
    at = 0
    while at + 8 <= len(head):
        group, element = struct.unpack_from(order + "HH", head, at)
        if (group, element) > _SOP_UID_TAG:
            return None
        if not explicit:
            start, length = at + 8, struct.unpack_from(order + "I", head, at + 4)[0]
        elif head[at + 4 : at + 6] in _LONG_FORM:
            if at + 12 > len(head):
                return None
            start, length = at + 12, struct.unpack_from(order + "I", head, at + 8)[0]
        else:
            start, length = at + 8, struct.unpack_from(order + "H", head, at + 6)[0]
        if (group, element) == _SOP_UID_TAG:
            text = head[start : start + min(length, 66)].rstrip(b"\0 ").decode("latin-1")
            return text if is_uid(text) else None
        at = start + length
    return None


def _short(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


def _even(text: str, pad: bytes) -> bytes:
    raw = text.encode("ascii")
    return raw + pad if len(raw) % 2 else raw

"""Blank the text that compressed pixel streams carry beside their samples.

JPEG (ITU-T T.81 and, for JPEG-LS, T.87) may hold comments (COM), Exif and XMP (APP1) and IPTC (APP13); JPEG 2000
(T.800) comments. Their payload is overwritten with zeros in place: no length, offset table or sample changes. The
signatures of well-known encoders stay, so that most objects keep their pixel data byte for byte. Text
in JP2 boxes, in later scans of a progressive file and in other APPn segments is not looked for.
"""

from __future__ import annotations

import re
import struct

_JPEG_TEXT = (0xFE, 0xE1, 0xED)
_JPEG_STANDALONE = (0x01, *range(0xD0, 0xD9))
_JPEG_STOP = (0xDA, 0xD9)
_J2K_COMMENT, _J2K_STOP = 0x64, 0x90

_ENCODER = re.compile(
    rb"(?:Kakadu|Created by (?:GDCM/)?OpenJPEG version|OpenJPH Ver|Creator: JasPer Version|Lavc|"
    rb"CREATOR: gd-jpeg v|LEAD Technologies Inc\.)[ -]?(?:[vV]?\d{1,3}(?:\.\d{1,3}){0,3})?\.?\0?"
)


def blank_comments(encapsulated: bytes) -> tuple[bytes, int]:
    """Blank the comments of every fragment of encapsulated pixel data (little endian, PS3.5 A.4).

    Returns:
        The value, the same object when nothing was found, and the number of segments blanked.
    """
    changed: bytearray | None = None
    blanked = position = 0
    while len(encapsulated) - position >= 8:
        _, length = struct.unpack_from("<II", encapsulated, position)
        position += 8
        for start, end in _text_spans(encapsulated, position, min(position + length, len(encapsulated))):
            payload = encapsulated[start:end]
            if any(payload) and not _ENCODER.fullmatch(payload):
                changed = bytearray(encapsulated) if changed is None else changed
                changed[start:end] = bytes(end - start)
                blanked += 1
        position += length
    return (encapsulated if changed is None else bytes(changed)), blanked


def _text_spans(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Offsets of text payloads in one fragment that begins with a code stream."""
    mark = data[start : start + 2]
    if mark not in (b"\xff\xd8", b"\xff\x4f"):
        return []
    jpeg_2000 = mark == b"\xff\x4f"
    spans: list[tuple[int, int]] = []
    position = start + 2
    while end - position >= 4 and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == _J2K_STOP if jpeg_2000 else marker in _JPEG_STOP:
            break
        if not jpeg_2000 and marker in _JPEG_STANDALONE:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment_end = position + 2 + length
        if length < 2 or segment_end > end:
            break
        if marker == _J2K_COMMENT if jpeg_2000 else marker in _JPEG_TEXT:
            spans.append((position + (6 if jpeg_2000 else 4), segment_end))
        position = segment_end
    return spans

"""Writes small MFER files from the published description, for tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence

PREAMBLE = b"MFR Standard 12 leads ECG       "


def tlv(tag: int, value: bytes, long: bool = False) -> bytes:
    if long or len(value) > 127:
        return bytes([tag, 0x84]) + struct.pack(">I", len(value)) + value
    return bytes([tag, len(value)]) + value


def channel(number: int, *attributes: bytes) -> bytes:
    body = b"".join(attributes)
    return bytes([0x3F, number, len(body)]) + body


def monitor(
    blocks: Sequence[Sequence[Sequence[int]]],
    codes: Sequence[int],
    intervals_ms: Sequence[int],
    *,
    big: bool = False,
    header: bytes = b"",
    units: Sequence[int] | None = None,
) -> bytes:
    """A file as a monitor writes it: ``blocks[sequence][channel]`` of 16 bits, rates and resolutions per channel."""
    order = ">" if big else "<"
    units = units or [0] * len(codes)
    out = tlv(0x40, PREAMBLE) + tlv(0x01, b"\0" if big else b"\1") + tlv(0x17, b"Maker^Model 1^02-01^SN7")
    out += tlv(0x0B, bytes([1, 0xFD]) + struct.pack(order + "H", 4)) + tlv(0x12, struct.pack(order + "H", 0x8000))
    out += header
    out += tlv(0x06, struct.pack(order + "H", len(blocks))) + tlv(0x05, bytes([len(codes)]))
    for k, (code, interval) in enumerate(zip(codes, intervals_ms, strict=True)):
        out += channel(
            k,
            tlv(0x09, struct.pack(order + "H", code)),
            tlv(0x0A, b"\0"),
            tlv(0x04, struct.pack(order + "I", len(blocks[0][k]))),
            tlv(0x0B, bytes([1, 0xFD, interval])),
            tlv(0x0C, bytes([units[k], 0xFA, 2])),
        )
    wave = b"".join(struct.pack(f"{order}{len(block)}h", *block) for sequence in blocks for block in sequence)
    return out + tlv(0x1E, wave, long=True) + b"\x80\0"


def standard(rows: Sequence[Sequence[int]], *, resolution: bytes = b"\x00\xfa\x05", extra: bytes = b"") -> bytes:
    """A cart's file: big endian, one block per channel, definitions for all channels together."""
    out = tlv(0x40, PREAMBLE) + tlv(0x01, b"\0") + tlv(0x0B, b"\x00\x00\x01\xf4") + tlv(0x0C, resolution)
    out += tlv(0x04, struct.pack(">H", len(rows[0]))) + tlv(0x05, bytes([len(rows)])) + tlv(0x06, b"\1")
    for k in range(len(rows)):
        out += channel(k, tlv(0x09, bytes([(1, 2, 3, 4, 5, 6, 7, 8)[k % 8]])))
    out += extra
    return out + tlv(0x1E, b"".join(struct.pack(f">{len(row)}h", *row) for row in rows), long=True) + b"\x80\0"

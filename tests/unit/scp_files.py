"""Writes small SCP-ECG records from the published description, for tests: every compression that a reader undoes."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

TWELVE = (1, 2, 3, 4, 5, 6, 7, 8, 61, 62, 63, 64)


def default_code(value: int) -> str:
    """The default table of annex C as bits in the order of the stream."""
    if value == 0:
        return "0"
    if abs(value) <= 8:
        return "1" * abs(value) + "0" + ("1" if value < 0 else "0")
    if -128 <= value <= 127:
        return "1111111110" + f"{value & 0xFF:08b}"
    return "1" * 10 + f"{value & 0xFFFF:016b}"


def packed(bits: str) -> bytes:
    """Bits, filled up to an even number of bytes."""
    bits += "0" * (-len(bits) % 16)
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:]


def differences(samples: Sequence[int], order: int) -> list[int]:
    values = list(samples)
    if order == 1:
        return [values[0], *(b - a for a, b in pairwise(values))]
    if order == 2:
        second = [c - 2 * b + a for a, b, c in zip(values, values[1:], values[2:], strict=False)]
        return [*values[:2], *second]
    return values


def huffman(values: Sequence[int]) -> bytes:
    return packed("".join(default_code(v) for v in values))


def raw(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


def own_table(codes: Sequence[tuple[str, int, int, int]]) -> bytes:
    """One table of section 2: (prefix bits, bits of the whole code, 0 to switch tables else 1, value)."""
    out = struct.pack("<H", len(codes))
    for prefix, whole, mode, value in codes:
        out += struct.pack("<BBBhI", len(prefix), whole, mode, value, int(prefix[::-1], 2))
    return out


def leads(ranges: Sequence[tuple[int, int, int]], flags: int = 4) -> bytes:
    """Section 3: (first sample, last sample, lead number)."""
    return bytes([len(ranges), flags]) + b"".join(struct.pack("<IIB", *one) for one in ranges)


def block(
    streams: Sequence[bytes], *, step_nv: int = 2500, interval_us: int = 2000, order: int = 0, flag: int = 0
) -> bytes:
    """Section 5 or 6."""
    lengths = b"".join(struct.pack("<H", len(one) & 0xFFFF) for one in streams)
    return struct.pack("<HHBB", step_nv, interval_us, order, flag) + lengths + b"".join(streams)


def locations(
    reference_ms: int,
    fiducial: int,
    beats: Sequence[tuple[int, int, int, int]],
    zones: Sequence[tuple[int, int]] = (),
) -> bytes:
    """Section 4: beats as (type, start, fiducial, end), protected zones as (first, last)."""
    out = struct.pack("<HHH", reference_ms, fiducial, len(beats))
    out += b"".join(struct.pack("<Hiii", *one) for one in beats)
    return out + b"".join(struct.pack("<ii", *one) for one in zones)


def tag(number: int, value: bytes) -> bytes:
    return struct.pack("<BH", number, len(value)) + value


def device_tag(language: int = 1, model: bytes = b"CART12") -> bytes:
    texts = b"R1\0" + b"SN-9\0" + b"2.0\0" + b"lib\0" + b"Maker\0"
    return bytes(6) + bytes([0, 255]) + model.ljust(6, b"\0") + bytes([20, 0xC0, language]) + bytes(18) + b"\3" + texts


def patient(language: int = 1, **changed: bytes) -> bytes:
    """Section 1; ``t25=b""`` leaves a tag out."""
    values = {
        "t0": b"Schumann\0",
        "t1": b"Clara\0",
        "t2": b"P-1\0",
        "t4": struct.pack("<HB", 76, 1),
        "t5": struct.pack("<HBB", 1948, 9, 13),
        "t8": b"\2",
        "t14": device_tag(language),
        "t25": struct.pack("<HBB", 2024, 3, 5),
        "t26": bytes([14, 30, 15]),
        "t27": struct.pack("<H", 5),
        "t28": struct.pack("<H", 150),
        "t29": b"\2",
        **changed,
    }
    return b"".join(tag(int(key[1:]), value) for key, value in values.items() if value) + tag(255, b"")


@dataclass
class Scp:
    """A record under construction: data parts of its sections by number."""

    sections: dict[int, bytes] = field(default_factory=dict)
    first_index: int = 1
    mark: bytes = b"SCPECG"

    def built(self, checksums: bool = True) -> bytes:
        numbers = sorted({*range(12), *self.sections})
        parts = {n: self._section(n, data, checksums) for n, data in self.sections.items() if n}
        head = 16 + 10 * len(numbers)
        at, pointers = 6 + head, b""
        for n in numbers:
            size = head if n == 0 else len(parts.get(n, b""))
            index = (6 if n == 0 else at) + self.first_index if size else 0
            pointers += struct.pack("<HII", n, size, index)
            at += 0 if n == 0 else size
        body = self._section(0, pointers, checksums, self.mark) + b"".join(parts[n] for n in numbers if n in parts)
        body = struct.pack("<I", 6 + len(body)) + body
        return (struct.pack("<H", binascii.crc_hqx(body, 0xFFFF)) if checksums else b"\0\0") + body

    @staticmethod
    def _section(number: int, data: bytes, checksums: bool, reserved: bytes = bytes(6)) -> bytes:
        data += bytes(len(data) % 2)
        body = struct.pack("<HIBB", number, 16 + len(data), 20, 20) + reserved + data
        return (struct.pack("<H", binascii.crc_hqx(body, 0xFFFF)) if checksums else b"\0\0") + body


DEFAULT_HUFFMAN = struct.pack("<H", 19999)


def simple(rows: Mapping[int, Sequence[int]], *, order: int = 2, coded: bool = True, step_nv: int = 2500) -> Scp:
    """A record of equally long leads, coded with the default table or stored as they are."""
    encode = huffman if coded else raw
    streams = [encode(differences(row, order)) for row in rows.values()]
    ranges = [(1, len(row), code) for code, row in rows.items()]
    sections = {1: patient(), 3: leads(ranges), 6: block(streams, order=order, step_nv=step_nv)}
    return Scp(sections | ({2: DEFAULT_HUFFMAN} if coded else {}))

"""Faults that files really have, and those that somebody would make on purpose. Pure; a number gives the same fault."""

from __future__ import annotations

import binascii
import random
import re
import struct

_NUMBERS = re.compile(rb"(?<=[\s\"'>,=:(])-?\d+(?:\.\d+)?(?=[\s\"'<,;)])")
_ELEMENT = re.compile(rb"<(\w[\w:.-]*)(?:\s[^<>]*)?(?:/>|>[^<>]*</\1>)")
_BASE64 = re.compile(rb"[A-Za-z0-9+/=\r\n]{200,}")
_EXTREME = (
    b"0",
    b"-1",
    b"1",
    b"1e309",
    b"NaN",
    b"inf",
    b"99999999999999999999",
    b"",
    b"0.0000001",
    b"2147483648",
    b"x",
)
_LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEADER_BYTES = 4096


def mutate(data: bytes, seed: int) -> bytes:
    """A few random faults: bits, bytes, cuts, repeats, inserted lengths."""
    chance = random.Random(seed)
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        # headers decide most, so most faults go there
        at = chance.randrange(min(len(out), _HEADER_BYTES) if chance.random() < 0.7 else len(out))
        kind = chance.randrange(5)
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"9999"])
        elif kind == 2:
            del out[at:]
            out = out or bytearray(b"\0")
        elif kind == 3:
            out[at:at] = out[at : at + chance.randrange(1, 64)]
        else:
            del out[at : at + chance.randrange(1, 64)]
            out = out or bytearray(b"\0")
    return bytes(out)


def mutate_text(data: bytes, seed: int) -> bytes:
    """One fault in the meaning of a text file (XML, JSON, a header): a number, an element, a block of base64."""
    chance = random.Random(seed)
    kind = chance.randrange(4)
    if kind == 0:
        found = list(_NUMBERS.finditer(data))
        if found:
            one = chance.choice(found)
            new = chance.choice([*_EXTREME, chance.choice(found)[0]])  # another one of its numbers
            return data[: one.start()] + new + data[one.end() :]
    if kind == 1:
        found = list(_ELEMENT.finditer(data))
        if found:
            one, other = chance.choice(found), chance.choice(found)
            new = chance.choice([b"", one[0] * chance.choice([2, 3]), other[0], b"<!-- -->" + one[0]])
            return data[: one.start()] + new + data[one.end() :]
    if kind == 2:
        found = list(_BASE64.finditer(data))
        if found:
            one = chance.choice(found)
            at = chance.randrange(one.start(), one.end())
            return data[:at] + chance.choice([b"", b"=", b"*", b"AAAA", b"\n\n"]) + data[at + chance.randrange(8) :]
    at = chance.randrange(len(data))
    return data[:at] + chance.choice([b"&lol;", b"<", b">", b'"', b"\0", b"\xff\xfe", b"<a>" * 50]) + data[at:]


def mutate_numbers(data: bytes, seed: int) -> bytes:
    """One or two binary numbers of the header, of either byte order, made extreme or swapped."""
    chance = random.Random(seed)
    out = bytearray(data)
    for _ in range(chance.randint(1, 2)):
        size = chance.choice([1, 2, 4])
        at = chance.randrange(max(1, min(len(out), _HEADER_BYTES if chance.random() < 0.5 else 512) - size))
        if chance.random() < 0.2:
            other = chance.randrange(max(1, min(len(out), 512) - size))
            out[at : at + size], out[other : other + size] = out[other : other + size], out[at : at + size]
            continue
        value = chance.choice([*_LENGTHS, len(data), len(data) + 1, len(data) - at]) & (256**size - 1)
        out[at : at + size] = value.to_bytes(size, chance.choice(["little", "big"]))  # type: ignore[arg-type]
    return bytes(out)


def cut(data: bytes, seed: int) -> bytes:
    """The beginning of a file, as of one that is still being written."""
    chance = random.Random(seed)
    return data[: chance.randrange(1, len(data))]


def mend_scp(data: bytes) -> bytes:
    """The same with right SCP-ECG checksums, so that what lies behind them is met."""
    out = bytearray(data)
    if len(out) < 38:
        return data
    for at in range(22, min(len(out) - 10, 22 + 10 * 16), 10):
        number, length, index = struct.unpack_from("<HII", out, at)
        start, end = index - 1, index - 1 + length
        if number > 11 or not 6 <= start < end <= len(out) or length < 16:
            continue
        struct.pack_into("<H", out, start, binascii.crc_hqx(bytes(out[start + 2 : end]), 0xFFFF))
    struct.pack_into("<H", out, 0, binascii.crc_hqx(bytes(out[2:]), 0xFFFF))
    return bytes(out)


def mend_ishne(data: bytes) -> bytes:
    """The same with the right checksum of an ISHNE header."""
    if len(data) < 522:
        return data
    length = 512 + max(0, struct.unpack_from("<i", data, 10)[0])
    return data[:8] + struct.pack("<H", binascii.crc_hqx(data[10 : 10 + length], 0xFFFF)) + data[10:]

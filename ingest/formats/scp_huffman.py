"""Huffman codes of SCP-ECG (EN 1064:2005 5.5 and annex C): the default table, own tables, switching between tables."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats.scp_layout import broken, truncated

Values = NDArray[np.int64]

DEFAULT_TABLE = 19999
MAX_PREFIX_BITS = 20
_MAX_SUFFIX_BITS = 24
_MAX_TABLES = 64
_MAX_CODES = 16_384
_MAX_TABLE_SIZE = 1 << 21
"""Of all tables together."""
_STRUCTURE = struct.Struct("<BBBhI")
_CHUNK_BYTES = 1 << 15
_HOPS = 16
"""How many codes one step of the walk passes over."""
MAX_VALUES = 5_000_000
"""Of one record; the 16 bits of its length fields allow hardly more."""
MAX_SWITCHING_VALUES = 400_000
"""The same where tables are switched: those codes are read one by one."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Codes by their first ``bits`` bits.

    ``length`` is the whole code with the bits of a stored value behind its prefix, 0 where there is no such code;
    ``suffix`` the number of those bits; ``value`` the value, or the next table's number where ``switches``.
    """

    bits: int
    length: NDArray[np.uint8]
    suffix: NDArray[np.uint8]
    value: NDArray[np.int32]
    switches: NDArray[np.bool_]


def read_tables(section: bytes) -> tuple[Table, ...]:
    """The tables of section 2; none when it declares none, and samples are then stored as they are.

    Raises:
        InputRejected: ``scp_truncated``, ``scp_broken``, ``scp_unsupported`` (a prefix of more than 20 bits, or
            several tables of long ones), ``scp_too_large``.
    """
    if len(section) < 2:
        raise truncated()
    count = int.from_bytes(section[:2], "little")
    if count == DEFAULT_TABLE:
        return (_DEFAULT,)
    if count > _MAX_TABLES:
        raise broken("it declares too many Huffman tables")
    stored: list[list[_Code]] = []
    at = 2
    for _ in range(count):
        structures = int.from_bytes(section[at : at + 2], "little")
        end = at + 2 + structures * _STRUCTURE.size
        if end > len(section):
            raise truncated()
        if structures + sum(len(codes) for codes in stored) > _MAX_CODES:
            raise InputRejected("scp_too_large", "The SCP-ECG file holds too many Huffman codes.")
        codes = [_STRUCTURE.unpack_from(section, k) for k in range(at + 2, end, _STRUCTURE.size)]
        stored.append([_code(*one) for one in codes])
        at = end
    if sum(1 << max((code[1] for code in codes), default=0) for codes in stored) > _MAX_TABLE_SIZE:
        raise InputRejected("scp_unsupported", "The SCP-ECG file uses Huffman codes that are too long.")
    tables = [_table(codes) for codes in stored]
    for table in tables:
        if any(not 1 <= int(n) <= count for n in table.value[table.switches]):
            raise broken("a Huffman code switches to a table that is not there")
    return tuple(tables)


_Code = tuple[int, int, int, int, bool]
"""(prefix, its bits, bits of the whole code, value, whether it switches tables)."""


def _code(prefix_bits: int, bits: int, mode: int, value: int, reversed_prefix: int) -> _Code:
    if prefix_bits == 0 or bits < prefix_bits or bits - prefix_bits > _MAX_SUFFIX_BITS:
        raise broken("a Huffman code has no possible length")
    if prefix_bits > MAX_PREFIX_BITS:
        raise InputRejected("scp_unsupported", "The SCP-ECG file uses Huffman codes that are too long.")
    if reversed_prefix >> prefix_bits:
        raise broken("a Huffman code is longer than it says")
    # the first bit of the stream is the lowest bit of the stored code
    prefix = int(f"{reversed_prefix:0{prefix_bits}b}"[::-1], 2)
    return prefix, prefix_bits, bits, value, mode == 0


def _table(codes: list[_Code]) -> Table:
    if not codes:
        raise broken("a Huffman table is empty")
    bits = max(code[1] for code in codes)
    size = 1 << bits
    length, suffix = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    value, switches = np.zeros(size, np.int32), np.zeros(size, np.bool_)
    for prefix, prefix_bits, whole, number, switch in codes:
        span = slice(prefix << (bits - prefix_bits), (prefix + 1) << (bits - prefix_bits))
        if length[span].any():
            raise broken("a Huffman code begins another")
        length[span], suffix[span] = whole, 0 if switch else whole - prefix_bits
        value[span], switches[span] = number, switch
    return Table(bits, length, suffix, value, switches)


def _default_codes() -> list[_Code]:
    """Annex C: 0 is ``0``, ±k is k ones, 0 and the sign; then ``1111111110`` + 8 bits, ``1111111111`` + 16 bits."""
    codes: list[_Code] = [(0, 1, 1, 0, False)]
    for k in range(1, 9):
        ones = ((1 << k) - 1) << 2
        codes += [(ones, k + 2, k + 2, k, False), (ones | 1, k + 2, k + 2, -k, False)]
    return [*codes, (0x3FE, 10, 18, 0, False), (0x3FF, 10, 26, 0, False)]


_DEFAULT = _table(_default_codes())


def check_work(tables: tuple[Table, ...], values: int) -> None:
    """Refuses what takes too long to decode.

    Raises:
        InputRejected: ``scp_too_large``.
    """
    if values > (MAX_SWITCHING_VALUES if tables[0].switches.any() else MAX_VALUES):
        raise InputRejected("scp_too_large", "The SCP-ECG file holds more compressed samples than can be read.")


def decode(tables: tuple[Table, ...], data: bytes, count: int) -> tuple[Values, int]:
    """(at most ``count`` values, fewer when the data end before; the bits that they took).

    Raises:
        InputRejected: ``scp_broken`` (bits that are no code, or codes that do nothing but switch tables).
    """
    count = min(count, 8 * len(data))
    if tables[0].switches.any():
        return _decode_switching(tables, data, count)
    parts: list[Values] = []
    at, got = 0, 0
    while got < count and at < 8 * len(data):
        first = at // 8
        values, used = _decode_chunk(tables[0], data[first : first + _CHUNK_BYTES + 8], at % 8, count - got)
        if not values.size:
            break
        parts.append(values)
        got += values.size
        at = 8 * first + used
    return (np.concatenate(parts) if parts else np.zeros(0, np.int64)), at


def _decode_chunk(table: Table, data: bytes, start: int, count: int) -> tuple[Values, int]:
    """(values of the codes that begin in the first ``_CHUNK_BYTES``, the bit behind the last).

    What code stands at every bit position is looked up at once; the chain from code to code is then walked
    ``_HOPS`` codes at a time.
    """
    whole = 8 * len(data)
    ends = min(whole, 8 * _CHUNK_BYTES)
    words = _words(data, (ends + 7) // 8)
    keys = ((words[:, None] << np.arange(8, dtype=np.uint32)) >> np.uint32(32 - table.bits)).reshape(-1)
    following = np.arange(ends + 256, dtype=np.int32)
    following[:ends] += table.length[keys]
    far = following
    for _ in range(_HOPS.bit_length() - 1):
        far = far[far]
    anchors, at, hops = [], start, far.data
    need = count
    while at < ends and need > 0:
        anchors.append(at)
        at, before = hops[at], at
        need -= _HOPS
        if at == before:
            break
    codes = np.empty((_HOPS, len(anchors)), np.int32)
    codes[0] = anchors
    for k in range(1, _HOPS):
        codes[k] = following[codes[k - 1]]
    places = codes.T.reshape(-1)[:count]
    places = places[places < ends]
    chosen = keys[places]
    lengths = table.length[chosen]
    complete = places + lengths <= whole
    if not complete.all():
        kept = int(np.argmin(complete))
        places, chosen, lengths = places[:kept], chosen[:kept], lengths[:kept]
    if places.size and not lengths.all():
        raise broken("it holds bits that are no Huffman code")
    values = table.value[chosen].astype(np.int64)
    suffix = table.suffix[chosen]
    stored = np.flatnonzero(suffix)
    if stored.size:
        values[stored] = _stored_values(data, places[stored] + lengths[stored] - suffix[stored], suffix[stored])
    return values, int(places[-1]) + int(lengths[-1]) if places.size else start


def _words(data: bytes, count: int) -> NDArray[np.uint32]:
    """The 32 bits from each of the first ``count`` bytes on, zeros behind the end."""
    raw = np.frombuffer(data[: count + 4] + bytes(max(0, count + 4 - len(data))), np.uint8).astype(np.uint32)
    words = raw[:count] << 24 | raw[1 : count + 1] << 16 | raw[2 : count + 2] << 8 | raw[3 : count + 3]
    return np.asarray(words, np.uint32)


def _stored_values(data: bytes, places: NDArray[np.int32], bits: NDArray[np.uint8]) -> Values:
    """Two's complement numbers of ``bits`` bits at the bit ``places``."""
    words = _words(data, len(data))[places >> 3].astype(np.int64)
    shifted = (words << (places & 7)) & 0xFFFFFFFF
    wide = bits.astype(np.int64)
    values = shifted >> (32 - wide)
    return np.asarray(values - ((values >> (wide - 1)) << wide), np.int64)


def _decode_switching(tables: tuple[Table, ...], data: bytes, count: int) -> tuple[Values, int]:
    plain = [(t.bits, t.length.tolist(), t.suffix.tolist(), t.value.tolist(), t.switches.tolist()) for t in tables]
    padded = data + bytes(8)
    whole, at, steps = 8 * len(data), 0, 0
    bits, lengths, suffixes, numbers, switches = plain[0]
    values: list[int] = []
    while len(values) < count and at < whole:
        word = int.from_bytes(padded[at >> 3 : (at >> 3) + 8], "big")
        key = word >> (64 - (at & 7) - bits) & ((1 << bits) - 1)
        length = lengths[key]
        if length == 0:
            raise broken("it holds bits that are no Huffman code")
        if at + length > whole:
            break
        at += length
        steps += 1
        if switches[key]:
            if steps > 2 * count + 64:
                raise broken("it does nothing but switch Huffman tables")
            bits, lengths, suffixes, numbers, switches = plain[numbers[key] - 1]
        elif suffix := suffixes[key]:
            stored = word >> (64 - (at - length & 7) - length) & ((1 << suffix) - 1)
            values.append(stored - (stored >> (suffix - 1) << suffix))
        else:
            values.append(numbers[key])
    return np.array(values, np.int64), at


def undo_differences(values: Values, order: int) -> None:
    """Makes first or second differences the samples (5.9.3), in place; the first one or two are samples already."""
    steps = values[1:]
    if order == 2 and steps.size:
        steps[0] -= values[0]
        np.cumsum(steps, out=steps)
    if order:
        np.cumsum(values, out=values)

"""XLI, the compression of Philips Sierra XML: LZW of ten bits over bytes of second differences.

Each lead is a chunk: four bytes of length, two unused, two of a first difference, then LZW codes of ten bits, most
significant bit first. Unpacked, the first half are the high and the second half the low bytes of 16 bit numbers: two
samples, then ``64 +`` the negative second differences, each belonging to the sample behind it. Limb leads but I and II
are stored as what the device's own computation from I and II leaves over.

Source: the description of the format by the sierra-ecg-tools project.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected

Row = NDArray[np.int64]

_HEADER = 8
_BITS = 10
_LAST_CODE = (1 << _BITS) - 2
_OFFSET = 64
_INT16 = 1 << 15


def unpack(data: bytes, leads: int, most_samples: int) -> list[Row]:
    """The samples of each lead as the device computed with them, residual leads still residual.

    Args:
        leads: how many are read; bytes behind them are left.
        most_samples: of one lead; more mean a bomb.

    Raises:
        InputRejected: ``sierra_truncated``, ``sierra_broken``, ``sierra_bomb``.
    """
    rows: list[Row] = []
    at = 0
    while len(rows) < leads:
        header = data[at : at + _HEADER]
        size = int.from_bytes(header[:4], "little")
        at += _HEADER
        if len(header) < _HEADER or len(data) - at < size:
            raise InputRejected("sierra_truncated", "The compressed samples end too early.")
        unpacked = _lzw(data[at : at + size], 2 * most_samples)
        rows.append(_undiff(unpacked, int.from_bytes(header[6:], "little", signed=True)))
        at += size
    return rows


def rebuild_limb_leads(rows: list[Row]) -> None:
    """Replaces the residuals of III, aVR, aVL and aVF (rows 2 to 5) by the leads, in place; rounds as the device does.

    Raises:
        InputRejected: ``sierra_broken``.
    """
    one, two, three, avr, avl, avf = rows[:6]
    rows[2] = two - one - three
    rows[3] = -avr - (one + two) // 2
    rows[4] = (one - rows[2]) // 2 - avl
    rows[5] = (two + rows[2]) // 2 - avf
    for row in rows[2:6]:
        _check(row)


def _lzw(data: bytes, most: int) -> bytes:
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
    codes = (
        bits[: bits.size // _BITS * _BITS].reshape(-1, _BITS) @ (1 << np.arange(_BITS - 1, -1, -1, dtype=np.int64))
    ).tolist()
    table = [bytes((value,)) for value in range(256)]
    parts: list[bytes] = []
    before, size = b"", 0
    for code in codes:
        if code > _LAST_CODE:
            break  # the end mark
        if code < len(table):
            text = table[code]
        elif code == len(table) and before:
            text = before + before[:1]
        else:
            raise InputRejected("sierra_broken", "The compressed samples are damaged.")
        if before and len(table) <= _LAST_CODE:
            table.append(before + text[:1])
        parts.append(text)
        before = text
        size += len(text)
        if size > most:
            raise InputRejected("sierra_bomb", "The compressed samples unpack to more than the file states.")
    return b"".join(parts)


def _undiff(unpacked: bytes, first: int) -> Row:
    raw = np.frombuffer(unpacked + b"\x00" * (len(unpacked) % 2), dtype=np.uint8)
    half = raw.size // 2
    if half < 2:
        raise InputRejected("sierra_truncated", "A lead has no samples.")
    stored = (raw[:half].astype(np.uint16) << 8 | raw[half:]).view(np.int16).astype(np.int64)
    row = np.empty(half, dtype=np.int64)
    row[0] = stored[0]
    steps = np.empty(half - 1, dtype=np.int64)
    steps[0] = stored[1] - stored[0]
    if half > 2:
        steps[1] = -first
        steps[2:] = _OFFSET - stored[2:-1]
    row[1:] = stored[0] + np.cumsum(np.cumsum(steps))
    _check(row)
    return row


def _check(row: Row) -> None:
    if row.size and (int(row.min()) < -_INT16 or int(row.max()) >= _INT16):
        raise InputRejected("sierra_broken", "The samples leave the range that the format can hold.")

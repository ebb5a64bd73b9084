"""Samples that stand in a text file: lists of numbers, and base64. In bulk, strict, and bounded before allocation."""

from __future__ import annotations

import binascii
import re

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected

MAX_NUMBERS = 4_000_000
"""Per file, all leads together; 12 leads at 500 Hz last eleven minutes, and carts record up to ten."""

_CHUNK = 1 << 20
_MAX_DIGITS = 9
_ALLOWED = re.compile(r"[-+0-9.eE \t\r\n]*", re.ASCII)
_EMPTY_PLACE = re.compile(r"\A\s*,|,\s*,", re.ASCII)


class Digits:
    """Reads the number lists of one file and counts what it has read."""

    def __init__(self, format_name: str, limit: int = MAX_NUMBERS) -> None:
        self._format = format_name
        self._left = limit

    def numbers(self, text: str, *, commas: bool = False, gaps: str = "") -> NDArray[np.float64]:
        """The numbers of a list that white space, or commas, keep apart.

        Args:
            commas: a comma stands between two numbers; one after the last is allowed, an empty place is not.
            gaps: letters that stand for a missing sample when they stand alone; they become NaN.

        Raises:
            InputRejected: ``_too_large``, ``_broken`` (a token that is no number, or a number out of range).
        """
        if commas:
            if _EMPTY_PLACE.search(text):
                raise self._broken()
            count = text.count(",") + (not text.rstrip().endswith(","))
            text = text.replace(",", " ")
        parts, at = [], 0
        while at < len(text):
            end = _chunk_end(text, at)
            parts.append(self._chunk(text[at:end], gaps))
            at = end
        found = np.concatenate(parts) if parts else np.zeros(0)
        if commas and found.size and found.size != count:
            raise self._broken()
        return found

    def take(self, count: int) -> None:
        """Counts samples that were not read from text.

        Raises:
            InputRejected: ``_too_large``.
        """
        self._left -= count
        if self._left < 0:
            raise InputRejected(f"{self._format}_too_large", "The file holds more samples than can be read.")

    def base64(self, text: str, itemsize: int = 1) -> bytes:
        """The bytes of base64 text; white space in it is allowed, anything else that is not base64 is not.

        Raises:
            InputRejected: ``_broken`` (not base64, wrong length, no multiple of ``itemsize``), ``_too_large``.
        """
        try:
            plain = text.encode("ascii").translate(None, b" \t\r\n")
            found = binascii.a2b_base64(plain, strict_mode=True)
        except ValueError as e:  # binascii.Error is one, and text beyond ASCII gives a plain one
            raise self._broken() from e
        if len(found) % itemsize:
            raise self._broken()
        self.take(len(found) // max(itemsize, 2))
        return found

    def _chunk(self, text: str, gaps: str) -> NDArray[np.float64]:
        if not text.isascii():
            text = " ".join(text.split())  # no-break spaces and the like
            if not text.isascii():
                raise self._broken()
        raw = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
        blank = (raw == 32) | ((raw >= 9) & (raw <= 13))
        edges = np.flatnonzero(np.diff(np.concatenate(([True], blank, [True])).astype(np.int8)))
        starts, ends = edges[0::2], edges[1::2]
        self.take(starts.size)
        missing = np.zeros(starts.size, dtype=np.bool_)
        if gaps:
            letters = np.isin(raw[starts], np.frombuffer(gaps.encode("ascii"), dtype=np.uint8))
            missing = letters & (ends - starts == 1)
            raw = raw.copy()
            raw[starts[missing]] = 48
        values = _integers(raw, starts, ends)
        if values is None:
            values = self._decimals(raw.tobytes().decode("ascii"))
        values[missing] = np.nan
        return values

    def _decimals(self, text: str) -> NDArray[np.float64]:
        if not _ALLOWED.fullmatch(text):
            raise self._broken()
        try:
            values = np.array(text.split(), dtype=np.float64)
        except ValueError as e:
            raise self._broken() from e
        if not np.isfinite(values).all():
            raise self._broken()
        return values

    def _broken(self) -> InputRejected:
        return InputRejected(f"{self._format}_broken", "The samples hold something that is no number.")


def _chunk_end(text: str, at: int) -> int:
    """Where a chunk may end: behind white space, so that no number is cut."""
    end = at + _CHUNK
    while end < len(text) and not text[end].isspace():
        end += 1
    return end


def _integers(raw: NDArray[np.uint8], starts: NDArray[np.intp], ends: NDArray[np.intp]) -> NDArray[np.float64] | None:
    """The tokens as whole numbers, None when any of them is something else."""
    if not starts.size:
        return np.zeros(0)
    sign = raw[starts]
    signed = (sign == 45) | (sign == 43)
    first = starts + signed
    longest = int((ends - first).max())
    if longest > _MAX_DIGITS or int((ends - first).min()) < 1:
        return None
    values = np.zeros(starts.size, dtype=np.int64)
    for place in range(longest):
        at = first + place
        inside = at < ends
        digit = raw[np.where(inside, at, first)].astype(np.int64) - 48
        if ((digit < 0) | (digit > 9)).any():
            return None
        values = np.where(inside, values * 10 + digit, values)
    values[sign == 45] *= -1
    return values.astype(np.float64)

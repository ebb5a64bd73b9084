"""The numbers of a CSV file in bulk: no row is ever a Python object."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected

MAX_BYTES = 32 << 20
MAX_COLUMNS = 128
MAX_HEADING_LINES = 128
_LOOK_ROWS = 32
_CHUNK = 4 << 20
_MAX_LINE = 8192

_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d{1,3})?")
_CLOCK = re.compile(r"(?:\d{1,3}:){1,2}\d{1,2}(?:[.,]\d{1,6})?")
_ALLOWED = b"0123456789+-.eE \t\r\nnaNA"

Samples = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows look, told from the first of them."""

    delimiter: str
    """``","``, ``";"``, a tab, ``"|"`` or a space (any white space)."""
    decimal_comma: bool
    columns: int
    first_row: int
    """Line number of the first row of numbers."""
    colons: int
    """In the clock time of each row; 0 where there is none."""


def layout(lines: list[str]) -> Layout | None:
    """From the first lines, None where no table of numbers begins in them."""
    for delimiter in (",", ";", "\t", "|", " "):
        for comma in (False, True) if delimiter != "," else (False,):
            found = _layout(lines, delimiter, comma)
            if found is not None:
                return found
    return None


def _layout(lines: list[str], delimiter: str, comma: bool) -> Layout | None:
    rows: list[tuple[int, int, int]] = []
    for k, line in enumerate(lines):
        shape = _shape(line, delimiter, comma)
        if shape is None:
            if len(rows) >= 2 and line.strip():
                return None
            rows = [] if line.strip() else rows
            continue
        if rows and shape != rows[-1][1:]:
            if len(rows) >= 2:
                return None
            rows = []
        rows.append((k, *shape))
        if len(rows) >= _LOOK_ROWS:
            break
    if len(rows) < 3 or not 1 <= rows[0][1] <= MAX_COLUMNS:
        return None
    return Layout(delimiter, comma, rows[0][1], rows[0][0], rows[0][2])


def _shape(line: str, delimiter: str, comma: bool) -> tuple[int, int] | None:
    """(columns, colons of the clock time) of a row of numbers, else None."""
    cells = line.split() if delimiter == " " else line.rstrip("\r\n").split(delimiter)
    cells = [cell.strip().strip("\"'").strip() for cell in cells]
    if not any(cells) or len(cells) > MAX_COLUMNS:
        return None
    colons = 0
    for k, cell in enumerate(cells):
        if k == 0 and _CLOCK.fullmatch(cell):
            colons = cell.count(":")
        elif cell and cell.lower() != "nan" and not _NUMBER.fullmatch(cell):
            return None
        if not comma and "," in cell:
            return None
    if comma and not any("," in cell for cell in cells):
        # whole numbers among decimal commas; a point would be a thousands separator or a contradiction
        return None if any("." in cell for cell in cells) else (len(cells), colons)
    if comma and any("." in cell for cell in cells):
        return None
    return len(cells), colons


def parse(data: bytes, how: Layout) -> Samples:
    """Rows of ASCII numbers from the first on, shape (rows, columns + colons); a missing number is NaN.

    Raises:
        InputRejected: ``csv_invalid``, ``csv_truncated`` (the last row is shorter than the others).
    """
    out: list[Samples] = []
    at, end = 0, len(data)
    while at < end:
        stop = end if end - at <= _CHUNK else data.rfind(b"\n", at, at + _CHUNK) + 1
        if stop <= at:
            raise _invalid("a line is too long")
        chunk = _chunk(data[at:stop], how, last=stop == end)
        if chunk.size:
            out.append(chunk)
        at = stop
    if not out:
        raise _invalid("it holds no numbers")
    return out[0] if len(out) == 1 else np.vstack(out)


def _chunk(text: bytes, how: Layout, last: bool) -> Samples:
    delimiter = how.delimiter.encode()
    text = text.translate(None, b"\"'").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if how.colons:
        if delimiter == b" " or text.count(b":") != how.colons * _lines(text):
            raise _invalid("clock times differ in form")
        text = text.replace(b":", delimiter)
    if how.decimal_comma:
        text = text.replace(b",", b".")
    if text.translate(None, _ALLOWED + delimiter):
        raise _invalid("a field is not a number")
    text = _tidy(text, delimiter)
    width = how.columns + how.colons
    if not text:
        return np.empty((0, width))
    rows = _rows(text, delimiter, width, last)
    flat = _filled(text, delimiter).translate(bytes.maketrans(b"\n" + delimiter, b"  "))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            # a field that is no number ends the parser or gives two; as no field is empty, the count tells
            values = np.fromstring(flat.decode("ascii"), dtype=np.float64, sep=" ")
        except (ValueError, DeprecationWarning) as e:
            raise _invalid("a field is not a number") from e
    if values.size != rows * width:
        raise _invalid("a field is not a number")
    return values.reshape(-1, width)


def _tidy(text: bytes, delimiter: bytes) -> bytes:
    """No empty lines, and no white space beside a delimiter. Replaced in whole: a regular expression is far slower."""
    if delimiter != b"\t":
        text = text.replace(b"\t", b" ")
    text = _collapsed(text, b" ").replace(b" \n", b"\n").replace(b"\n ", b"\n")
    if delimiter != b" " and b" " in text:
        text = text.replace(b" " + delimiter, delimiter).replace(delimiter + b" ", delimiter)
    return _collapsed(text, b"\n").strip(b" \n")


def _collapsed(text: bytes, one: bytes) -> bytes:
    while one + one in text:
        text = text.replace(one * 8, one).replace(one + one, one)
    return text


def _rows(text: bytes, delimiter: bytes, width: int, last: bool) -> int:
    """How many rows there are; each must have ``width`` fields."""
    raw = np.frombuffer(text + b"\n", dtype=np.uint8)
    ends = raw[(raw == 10) | (raw == delimiter[0])] == 10
    if ends.size % width == 0 and (ends.reshape(-1, width) == (np.arange(width) == width - 1)).all():
        return int(ends.size) // width
    at = np.flatnonzero(ends)
    fields = np.diff(at, prepend=-1)
    if last and (fields[:-1] == width).all() and fields[-1] < width:
        raise InputRejected("csv_truncated", "The last row of the CSV file is shorter than the others.")
    raise _invalid("rows differ in length")


def _lines(text: bytes) -> int:
    return sum(1 for line in text.split(b"\n") if line.strip())


def _filled(text: bytes, delimiter: bytes) -> bytes:
    """Empty fields filled with ``nan``."""
    double = delimiter * 2
    if double not in text and delimiter + b"\n" not in text and b"\n" + delimiter not in text:
        middle = text
    else:
        nan = delimiter + b"nan" + delimiter
        middle = text.replace(double, nan).replace(double, nan)
        middle = middle.replace(delimiter + b"\n", delimiter + b"nan\n").replace(
            b"\n" + delimiter, b"\nnan" + delimiter
        )
    first = b"nan" if middle.startswith(delimiter) else b""
    return first + middle + (b"nan" if middle.endswith(delimiter) else b"")


def head_lines(text: str) -> list[str]:
    """The lines that are looked at to tell what the file is; the last may be cut and is left out."""
    lines = text.split("\n", MAX_HEADING_LINES + _LOOK_ROWS)
    kept = [line.rstrip("\r") for line in lines[: MAX_HEADING_LINES + _LOOK_ROWS]]
    return [line if len(line) <= _MAX_LINE else "?" for line in (kept if len(lines) > len(kept) else kept[:-1])]


def _invalid(what: str) -> InputRejected:
    return InputRejected("csv_invalid", f"The CSV file cannot be read: {what}.")

"""Whether names, identifiers or birth dates of known patients stand in some bytes, however they are written there.

Looked for are the usual spellings (a name with carets, spaces, commas, the other way round; a date with dashes,
slashes, dots, in Chinese) in UTF-8, GBK, GB 18030 and UTF-16, and each of those as JSON and HTML escapes,
percent-encoding, quoted-printable, hexadecimal, ``bytes`` as Python prints them, and Base64 at all three offsets.
Members of ZIP and gzip files are searched too.
"""

from __future__ import annotations

import base64
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from urllib.parse import quote, quote_from_bytes, quote_plus

import numpy as np
from numpy.typing import NDArray

_CHARSETS = ("utf-8", "gb18030", "utf-16-le", "utf-16-be")
_DATES = ("%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y")
_CHUNK = 8 << 20
_SHORTEST_CODED = 6  # bytes; less than this occurs in hexadecimal or Base64 by chance
_WORD = re.compile(rb"[0-9A-Za-z]")
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


@dataclass(frozen=True, slots=True)
class Known:
    """A patient whose traces are looked for. Give only what is distinctive: ``204`` stands everywhere."""

    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    birth_date: date | None = None


@dataclass(frozen=True, slots=True)
class Leak:
    """Something that should not be there; ``text`` is a spelling, ``coding`` how it was written."""

    where: str
    text: str
    coding: str
    around: bytes


@dataclass(frozen=True, slots=True)
class _Needle:
    data: bytes  # in lower case, unless ``exact``
    text: str
    coding: str
    exact: bool
    word: bool  # neighbours must not continue it


def find_leaks(blobs: Mapping[str, bytes], patients: Iterable[Known]) -> list[Leak]:
    """Every place where something of a patient stands, one for each blob, spelling and coding.

    Args:
        blobs: what to search, by a name for the report; the names are searched as well.
        patients: whose traces.
    """
    needles = [needle for patient in patients for text in spellings(patient) for needle in _needles(text)]
    folded = _Finder([needle for needle in needles if not needle.exact])
    exact = _Finder([needle for needle in needles if needle.exact])
    found: dict[tuple[str, str, str], Leak] = {}
    for where, data in blobs.items():
        for name, inner in ((f"name of {where}", where.encode()), *_opened(where, data)):
            for finder, searched in ((folded, inner.lower()), (exact, inner)):
                for needle, at in finder.find(searched):
                    key = (name, needle.text, needle.coding)
                    around = inner[max(0, at - 40) : at + len(needle.data) + 40]
                    found.setdefault(key, Leak(name, needle.text, needle.coding, around))
    return list(found.values())


def spellings(patient: Known) -> list[str]:
    """The usual ways to write what is known of a patient."""
    texts: list[str] = list(patient.ids)
    for name in patient.names:
        texts += _names(name)
    if (born := patient.birth_date) is not None:
        texts += [
            born.strftime(form) for form in ("%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y")
        ]
        texts += [f"{born.year}年{born.month}月{born.day}日", f"{born.year}年{born.month:02}月{born.day:02}日"]
    return list(dict.fromkeys(texts))


def _names(name: str) -> list[str]:
    parts = [part for part in re.split(r"[\^= ,]+", name) if part]
    if len(parts) == 1 and not name.isascii() and len(name) > 1:
        parts = [name[0], name[1:]]  # a Chinese family name is one character, nearly always
    if len(parts) < 2:
        return [name]
    joined = [sign.join(order) for order in (parts, parts[::-1]) for sign in ("^", " ", ", ", ",", "_", "-", ".", "=")]
    whole = ["".join(order) for order in (parts, parts[::-1])]
    return [name, *joined, *(text for text in whole if len(text.encode()) >= _SHORTEST_CODED)]


def _needles(text: str) -> Iterator[_Needle]:
    yield _Needle(text.lower().encode(), text, "utf-8", False, text.isalnum() and text.isascii())
    if not text.isascii():
        escaped = _foreign(text, lambda sign: f"\\u{ord(sign):04x}")
        for coding, written in (
            ("json", escaped),
            ("json in json", escaped.replace("\\", "\\\\")),
            ("html decimal", _foreign(text, lambda sign: f"&#{ord(sign)};")),
            ("html hexadecimal", _foreign(text, lambda sign: f"&#x{ord(sign):x};")),
        ):
            yield _Needle(written.lower().encode(), text, coding, False, False)
    elif quote(text, "") != text:
        for coding, written in (("percent", quote(text, "")), ("form", quote_plus(text))):
            yield _Needle(written.lower().encode(), text, coding, False, False)
    for charset in _CHARSETS:
        data = text.encode(charset)
        if charset != "utf-8" and data != text.encode():
            yield _Needle(data.lower(), text, charset, False, False)
        if len(data) >= _SHORTEST_CODED:
            yield from _coded(data, text, charset)


def _foreign(text: str, write: Callable[[str], str]) -> str:
    """The text with everything but ASCII written so."""
    return "".join(sign if sign.isascii() else write(sign) for sign in text)


def _coded(data: bytes, text: str, charset: str) -> Iterator[_Needle]:
    variants = {data, data.lower(), data.upper()}
    for variant in variants:
        for coding, write in _TEXT_CODINGS.items():
            written = write(variant).lower()
            if written != data.lower():
                yield _Needle(written, text, f"{charset}, {coding}", False, False)
        for offset in range(3):
            # signs at either end share bits with what stands before and behind
            whole = base64.b64encode(bytes(offset) + variant)
            inner = whole[-(-offset * 8 // 6) : (offset + len(variant)) * 8 // 6]
            for written in {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}:
                if len(written) >= _SHORTEST_CODED and set(written) <= _ALPHABET:
                    yield _Needle(written, text, f"{charset}, base64", True, False)


_TEXT_CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "percent": lambda data: quote_from_bytes(data, "").encode(),
    "hexadecimal": lambda data: data.hex().encode(),
    "python bytes": lambda data: repr(data)[2:-1].encode(),
    "quoted-printable": lambda data: b"".join(b"=%02x" % byte if byte > 126 else bytes([byte]) for byte in data),
}


class _Finder:
    """Many needles at once: candidates by their first four bytes, found in NumPy, then compared."""

    def __init__(self, needles: list[_Needle]) -> None:
        self._by_start: dict[int, list[_Needle]] = {}
        self._short = [needle for needle in needles if len(needle.data) < 4]
        for needle in needles:
            if len(needle.data) >= 4:
                self._by_start.setdefault(int.from_bytes(needle.data[:4], "little"), []).append(needle)
        self._starts = np.array(sorted(self._by_start), dtype=np.uint32)
        self._pairs = np.zeros(1 << 16, dtype=np.bool_)
        self._pairs[self._starts & 0xFFFF] = True

    def find(self, data: bytes) -> Iterator[tuple[_Needle, int]]:
        for needle in self._short:
            at = data.find(needle.data)
            if at >= 0 and _stands_alone(data, needle, at):
                yield needle, at
        for begin in range(0, len(data) - 3, _CHUNK):
            for at, start in self._candidates(np.frombuffer(data[begin : begin + _CHUNK + 3], dtype=np.uint8)):
                for needle in self._by_start[start]:
                    if data.startswith(needle.data, begin + at) and _stands_alone(data, needle, begin + at):
                        yield needle, begin + at

    def _candidates(self, part: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
        pairs = part[:-1].astype(np.uint32) | part[1:].astype(np.uint32) << 8
        likely = np.flatnonzero(self._pairs[pairs[:-2]])
        windows = pairs[likely] | pairs[likely + 2] << 16
        hits = np.isin(windows, self._starts)
        return zip(likely[hits].tolist(), windows[hits].tolist(), strict=True)


def _stands_alone(data: bytes, needle: _Needle, at: int) -> bool:
    """A number inside a longer one, or inside a hash, is another number."""
    end = at + len(needle.data)
    return not needle.word or not (_WORD.match(data[at - 1 : at]) or _WORD.match(data[end : end + 1]))


def _opened(where: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The bytes, and what is inside them when they are an archive."""
    yield where, data
    try:
        if data.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for member in archive.namelist():
                    yield f"{where}/{member}", archive.read(member)
        elif data.startswith(b"\x1f\x8b"):
            yield f"{where}/", gzip.decompress(data)
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error):
        return

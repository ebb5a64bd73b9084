"""Texts of files whose character set is stated wrongly or not at all, as Chinese carts and gateways write them."""

from __future__ import annotations

import codecs
import re

from teleread.ingest.dicom_values import decode_bare

_HIGH_RUN = re.compile(rb"[\x80-\xff](?:[^<>\"'\x00-\x1f]{0,64}[\x80-\xff])?")
_HANZI_RUN = re.compile(rb"(?:[\x20-\x7e]|[\xb0-\xf7][\xa1-\xfe]|[\xa1-\xa9][\xa1-\xfe])+")
_MAX_RUNS = 512

_CHINESE = frozenset(("gbk", "gb2312", "gb18030", "cp936", "ms936", "euc-cn", "hz-gb-2312", "x-gbk", "gb_2312-80"))
_ENCODINGS = frozenset(
    ("us-ascii", "ascii", "big5", "big5-hkscs", "shift_jis", "euc-jp", "euc-kr", "koi8-r", "iso-2022-jp", "utf-8")
)
_FAMILIES = re.compile(r"(?:iso-8859-\d{1,2}|windows-125\d|cp125\d|latin-?1|cp437|cp850)")


def decode(raw: bytes, declared: str = "") -> str:
    """Text that is what it is, not what it is said to be; never fails.

    UTF-8 is tried first whatever is declared: text in another character set is next to never valid UTF-8 by chance.
    A file that declares a Western character set and holds nothing but pairs of GB 2312 is Chinese.

    Args:
        raw: without byte order mark; not UTF-16.
        declared: a character set's name, empty where the file states none.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    name = declared.strip().lower()
    if name in _CHINESE:
        return raw.decode("gb18030", "replace")
    if name in _ENCODINGS and name != "utf-8":
        return raw.decode(codecs.lookup(name).name, "replace")
    runs = [match[0] for _, match in zip(range(_MAX_RUNS), _HIGH_RUN.finditer(raw), strict=False)]
    if _FAMILIES.fullmatch(name):
        chinese = all(_HANZI_RUN.fullmatch(run) for run in runs)
        return raw.decode("gb18030" if chinese else name, "replace")
    # nothing or nonsense is declared: what the non-Latin parts look like decides for the whole
    sample = b" ".join(runs)
    guessed = decode_bare(sample)
    for encoding in ("gb18030", "latin-1"):
        if sample.decode(encoding, "replace") == guessed:
            return raw.decode(encoding, "replace")
    return raw.decode("utf-8", "replace")  # a file of more than one character set


def decode_utf16(raw: bytes, little_endian: bool) -> str:
    """UTF-16 without its byte order mark; half a character at the end is left out."""
    return raw[: len(raw) & ~1].decode("utf-16-le" if little_endian else "utf-16-be", "replace")

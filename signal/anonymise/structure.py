"""Walk the element structure of an encoded DICOM data set before any parser is let loose on it.

pydicom reads a value that claims four gigabytes with four bytes left as if all were well, and raises
``RecursionError`` on deep nesting. This ledger compares every declared length with the bytes present, counts
elements, caps the nesting depth and finds where the data set ends. It decodes no value.

Source: DICOM PS3.5 section 7 (data element encoding) and annex A (transfer syntaxes). Where files deviate, the
same tolerance as pydicom's reader is applied, so that both see the same elements.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_VR
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from teleread.errors import InputRejected

MAX_DEPTH = 16
"""Deepest permitted nesting of sequences; real objects stay below eight."""
MAX_ELEMENTS = 1_000_000
"""Most elements in one data set, nested ones and sequence items included."""

_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_PIXEL_DATA = 0x7FE00010
_FIRST_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, _PIXEL_DATA)
_AFTER_PIXELS = (0xFFFAFFFA, 0xFFFCFFFC)
_VRS = frozenset(str(vr).encode() for vr in VR if len(str(vr)) == 2)
LONG_VRS = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)
"""Value representations with a length of four bytes in explicit headers (PS3.5 7.1.2)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the walk found; offsets count from the start of the encoded data set."""

    implicit: bool
    end: int
    """Where the data set ends; what follows is trailing bytes."""
    pixels_at: int | None
    """Offset of the first pixel data element, None without one."""
    elements: int
    tags: frozenset[int]
    """Tags at the top level."""
    cut: bool
    """Whether the bytes behind ``end`` could be the beginning of an element: padding, or a file still coming."""


@lru_cache(maxsize=8192)
def known_vr(tag: int) -> str | None:
    """The value representation in pydicom's dictionary, None for unknown and private tags."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return None


def is_letters(vr: bytes) -> bool:
    """Whether two bytes look like a value representation, which is how pydicom tells explicit from implicit."""
    return len(vr) == 2 and 0x40 < vr[0] < 0x5B and 0x40 < vr[1] < 0x5B


def walk(body: bytes, *, implicit: bool, little_endian: bool) -> Layout:
    """Check every declared length of an encoded data set.

    Args:
        body: the encoded (and inflated) data set without file meta information.
        implicit: whether the transfer syntax has implicit value representations.
        little_endian: byte order.

    Raises:
        InputRejected: ``dicom_truncated`` when the bytes end before a value or a delimiter does, ``dicom_too_deep``,
            ``dicom_too_many_elements``, ``dicom_malformed`` for delimiters out of place and for parts that are larger
            than the sequence or item around them.
    """
    if len(body) >= 6:
        implicit = not is_letters(body[4:6])
    walker = _Walker(body, little_endian)
    end, pixels_at, cut = walker.top(implicit)
    return Layout(implicit, end, pixels_at, walker.elements, frozenset(walker.tags), cut)


def _may_follow_pixels(tag: int) -> bool:
    return tag in _FIRST_PIXEL_TAGS or tag in _AFTER_PIXELS or tag >> 16 & 1 == 1


class _Walker:
    def __init__(self, body: bytes, little_endian: bool) -> None:
        self.body = body
        self.elements = 0
        self.tags: set[int] = set()
        order = "<" if little_endian else ">"
        self.tag = struct.Struct(order + "HH").unpack_from
        self.u16 = struct.Struct(order + "H").unpack_from
        self.u32 = struct.Struct(order + "I").unpack_from

    def top(self, implicit: bool) -> tuple[int, int | None, bool]:
        position, last, pixels_at, cut = 0, -1, None, False
        size = len(self.body)
        while size - position >= 8:
            tag = self._tag(position)
            after_pixels = last >= _FIRST_PIXEL_TAGS[0]
            if after_pixels and not (tag > last and _may_follow_pixels(tag)):
                break
            if tag in (_ITEM, _ITEM_END, _SEQUENCE_END):
                raise InputRejected("dicom_malformed", "A delimiter stands outside every sequence.")
            try:
                following = self._element(position, size, implicit, 0)
            except InputRejected as error:
                # Behind whole pixel data an element that does not fit is padding, not a lost part of the image.
                if after_pixels and last == _PIXEL_DATA:
                    cut = error.code == "dicom_truncated"
                    break
                raise
            self.tags.add(tag)
            if tag in _FIRST_PIXEL_TAGS and pixels_at is None:
                pixels_at = position
            last, position = tag, following
        rest = self.body[position:] if size - position < 8 else b""
        if last < _FIRST_PIXEL_TAGS[0] and rest.strip(b"\0\r\n"):
            raise self._short(size, "The file ends inside an element header.")
        return position, pixels_at, cut or any(rest)

    def _short(self, end: int, message: str) -> InputRejected:
        """Either the file ends too early, or a part of it is larger than what holds it."""
        if end < len(self.body):
            return InputRejected("dicom_malformed", "A part of the file is larger than what holds it.")
        return InputRejected("dicom_truncated", message)

    def _tag(self, position: int) -> int:
        group, element = self.tag(self.body, position)
        return int(group << 16 | element)

    def _header(self, position: int, end: int, implicit: bool) -> tuple[bytes | None, int, int]:
        """VR (None when implicit), declared length, offset of the value."""
        if end - position < 8:
            raise self._short(end, "The file ends inside an element header.")
        vr = self.body[position + 4 : position + 6]
        if implicit or (vr not in _VRS and not b"AA" <= vr <= b"ZZ"):
            return None, self.u32(self.body, position + 4)[0], position + 8
        if vr not in LONG_VRS:
            return vr, self.u16(self.body, position + 6)[0], position + 8
        if end - position < 12:
            raise self._short(end, "The file ends inside an element header.")
        return vr, self.u32(self.body, position + 8)[0], position + 12

    def _element(self, position: int, end: int, implicit: bool, depth: int) -> int:
        """Check one element and return the offset behind it."""
        self._count()
        tag = self._tag(position)
        vr, length, value = self._header(position, end, implicit)
        if length != _UNDEFINED and length > end - value:
            raise self._short(end, "An element declares more bytes than the file holds.")
        if vr is None or vr == b"UN":
            known = known_vr(tag)
            sequence = known == "SQ"
            if length == _UNDEFINED and known is None:
                sequence = end - value >= 4 and self._tag(value) in (_ITEM, _SEQUENCE_END)
            inner_implicit = True if vr is None else implicit or length != _UNDEFINED or self._implicit_item(value)
        else:
            sequence, inner_implicit = vr == b"SQ", implicit
        if sequence or (vr == b"UN" and length == _UNDEFINED):
            limit = end if length == _UNDEFINED else value + length
            return self._sequence(value, limit, length == _UNDEFINED, inner_implicit, depth + 1)
        if length == _UNDEFINED:
            return self._fragments(value, end)
        return int(value + length)

    def _implicit_item(self, position: int) -> bool:
        """Items of an unknown element of undefined length are implicit by CP-246; some writers keep explicit."""
        return not is_letters(self.body[position + 12 : position + 14])

    def _sequence(self, position: int, end: int, undefined: bool, implicit: bool, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise InputRejected("dicom_too_deep", f"Sequences are nested more than {MAX_DEPTH} deep.")
        while undefined or position < end:
            if end - position < 8:
                raise self._short(end, "The file ends inside a sequence.")
            self._count()
            tag, length = self._tag(position), self.u32(self.body, position + 4)[0]
            position += 8
            if tag == _SEQUENCE_END:
                return position if undefined else self._ended(position, end)
            if tag != _ITEM:
                raise InputRejected("dicom_malformed", "A sequence holds something other than items.")
            if length != _UNDEFINED and length > end - position:
                raise self._short(end, "A sequence item declares more bytes than the file holds.")
            item_end = end if length == _UNDEFINED else position + length
            position = self._item(position, item_end, length == _UNDEFINED, implicit, depth)
        return position

    def _ended(self, position: int, end: int) -> int:
        if position != end:
            raise InputRejected("dicom_malformed", "A sequence ends before its declared length.")
        return position

    def _item(self, position: int, end: int, undefined: bool, implicit: bool, depth: int) -> int:
        if not implicit and end - position >= 6:
            implicit = not is_letters(self.body[position + 4 : position + 6])
        while undefined or position < end:
            if end - position < 8:
                raise self._short(end, "The file ends inside a sequence item.")
            tag = self._tag(position)
            if tag == _ITEM_END and undefined:
                return position + 8
            if tag in (_ITEM, _ITEM_END, _SEQUENCE_END):
                raise InputRejected("dicom_malformed", "A delimiter stands where an element should.")
            position = self._element(position, end, implicit, depth)
        return position

    def _fragments(self, position: int, end: int) -> int:
        """Encapsulated data: items of bytes up to the sequence delimiter (PS3.5 A.4)."""
        while True:
            if end - position < 8:
                raise self._short(end, "Encapsulated data ends without its delimiter.")
            self._count()
            tag, length = self._tag(position), self.u32(self.body, position + 4)[0]
            position += 8
            if tag == _SEQUENCE_END:
                return position
            if tag != _ITEM:
                raise InputRejected("dicom_malformed", "Encapsulated data holds something other than fragments.")
            if length > end - position:
                raise self._short(end, "A fragment declares more bytes than the file holds.")
            position += length

    def _count(self) -> None:
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise InputRejected("dicom_too_many_elements", f"More than {MAX_ELEMENTS} elements in one data set.")

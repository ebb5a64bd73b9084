"""Read a DICOM file (PS3.10) from bytes that nobody vouches for.

Every teleread module that needs pydicom reads through :func:`read_dataset`. It checks the structure first
(:mod:`teleread.signal.anonymise.structure`), inflates the deflated transfer syntax under a cap, silences pydicom's
warnings (they quote values) and lets out nothing but :class:`~teleread.errors.InputRejected`.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom import config, filereader
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from teleread.errors import InputRejected
from teleread.signal.anonymise.structure import LONG_VRS, Layout, is_letters, walk

MAX_INFLATED_BYTES = 512 << 20
"""Largest data set that the deflated transfer syntax may grow to."""
MAX_INFLATE_RATIO = 100
"""Largest growth in inflating, once the output is beyond :data:`FREE_INFLATED_BYTES`."""
FREE_INFLATED_BYTES = 16 << 20
MAX_META_BYTES = 64 << 10
"""Largest file meta information; real ones are a few hundred bytes."""

# pydicom repeats each warning, values quoted, on its logger, where a root handler would write it down.
config.logger.disabled = True


@dataclass(frozen=True, slots=True)
class Part10:
    """The parts of a DICOM file, checked for structure and not yet parsed."""

    meta: FileMetaDataset
    body: bytes
    """The encoded data set, inflated, without trailing bytes."""
    layout: Layout
    little_endian: bool
    transfer_syntax: UID


@contextmanager
def dicom_boundary() -> Iterator[None]:
    """Translate whatever pydicom and its decoders raise; silence what they warn.

    Raises:
        InputRejected: ``dicom_malformed``, ``dicom_truncated``, ``dicom_too_deep``, ``dicom_unsupported`` or
            ``too_much_memory``. The cause is cut off, for its message may quote a value.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except RecursionError:
            raise InputRejected("dicom_too_deep", "The nesting of the file is too deep.") from None
        except MemoryError:
            raise InputRejected("too_much_memory", "The file asks for more memory than is allowed.") from None
        except NotImplementedError:
            raise InputRejected("dicom_unsupported", "The encoding of the file is not supported.") from None
        except EOFError:
            raise InputRejected("dicom_truncated", "The file ends before what it declares.") from None
        except (
            InvalidDicomError,
            BytesLengthException,
            OSError,
            struct.error,
            zlib.error,
            ValueError,
            TypeError,
            AttributeError,
            LookupError,
            ArithmeticError,
            AssertionError,
            RuntimeError,
            SyntaxError,
        ):
            raise InputRejected("dicom_malformed", "The file does not follow the DICOM encoding.") from None


def split(data: bytes) -> Part10:
    """Check the structure of a DICOM file and split it into its parts.

    Raises:
        InputRejected: ``dicom_not_part10`` when neither the DICM mark nor a first element is there, ``dicom_empty``
            when nothing follows, ``dicom_bomb`` for a deflated data set that grows too far, and the codes of
            :func:`~teleread.signal.anonymise.structure.walk`.
    """
    start = 132
    if data[128:132] != b"DICM":
        if not is_bare(data):
            raise InputRejected("dicom_not_part10", "The bytes are not a DICOM file.")
        start = 0
    with dicom_boundary():
        meta_end = _meta_end(data, start)
        elements = filereader.read_dataset(io.BytesIO(data[start:meta_end]), False, True)
        meta = FileMetaDataset(elements)
        stated = meta.get("TransferSyntaxUID")
        body = data[meta_end:]
        syntax = _guessed(body) if not stated else UID(str(stated))
        if syntax == DeflatedExplicitVRLittleEndian:
            body = inflate(body)
    little = syntax != ExplicitVRBigEndian
    layout = walk(body, implicit=syntax == ImplicitVRLittleEndian, little_endian=little)
    if layout.elements == 0:
        raise InputRejected("dicom_empty", "The file holds no data set.")
    return Part10(meta, body[: layout.end], layout, little, syntax)


def read_dataset(data: bytes, *, stop_before_pixels: bool = False) -> FileDataset:
    """Parse a whole DICOM file.

    Args:
        data: the bytes of the file, preamble included.
        stop_before_pixels: leave the pixel data and everything behind it out. The whole file is checked for
            truncation all the same.

    Returns:
        The data set with ``file_meta``; values are decoded by pydicom when they are first looked at, so look at
        them inside :func:`dicom_boundary`.

    Raises:
        InputRejected: for every fault, with a stable code.
    """
    return parse(split(data), stop_before_pixels=stop_before_pixels)


def parse(parts: Part10, *, stop_before_pixels: bool = False) -> FileDataset:
    """Parse the parts that :func:`split` has checked."""
    body, layout = parts.body, parts.layout
    if stop_before_pixels and layout.pixels_at is not None:
        body = body[: layout.pixels_at]
    with dicom_boundary():
        elements = filereader.read_dataset(io.BytesIO(body), layout.implicit, parts.little_endian)
        dataset = FileDataset(io.BytesIO(), elements, b"\0" * 128, parts.meta, layout.implicit, parts.little_endian)
        dataset.set_original_encoding(layout.implicit, parts.little_endian, elements.original_character_set)
    return dataset


def is_bare(data: bytes) -> bool:
    """Whether the bytes begin like a data set without preamble: group 0002 or 0008 and a plausible first length."""
    if len(data) < 16 or data[:2] not in (b"\x02\x00", b"\x08\x00") or data[3] != 0:
        return False
    return is_letters(data[4:6]) or int.from_bytes(data[4:8], "little") <= 1024


def sop_class_of(head: bytes) -> str:
    """The SOP class that the first elements of a DICOM file name, empty when they do not.

    A cheap peek: the bytes may end anywhere, no more than :data:`MAX_META_BYTES` are looked at, nothing is raised.
    """
    position = 132 if head[128:132] == b"DICM" else 0
    while head[position : position + 2] in (b"\x02\x00", b"\x08\x00") and position < MAX_META_BYTES:
        tag, (header, length) = head[position : position + 4], _extent(head, position)
        value = head[position + header : position + header + length]
        if tag in (b"\x02\x00\x02\x00", b"\x08\x00\x16\x00") and 0 < length <= min(len(value), 64):
            return value.rstrip(b"\0 ").decode("ascii", "replace")
        position += header + length
    return ""


def _extent(data: bytes, position: int) -> tuple[int, int]:
    """Length of an element's header and of its value, little endian, whichever way its header is written."""
    vr = data[position + 4 : position + 6]
    if not is_letters(vr):
        return 8, int.from_bytes(data[position + 4 : position + 8], "little")
    if vr in LONG_VRS:
        return 12, int.from_bytes(data[position + 8 : position + 12], "little")
    return 8, int.from_bytes(data[position + 6 : position + 8], "little")


def _meta_end(data: bytes, start: int) -> int:
    """Offset behind the last group 0002 element, whatever the group length element says."""
    position = start
    while data[position : position + 2] == b"\x02\x00":
        if len(data) - position >= 6 and not is_letters(data[position + 4 : position + 6]):
            raise InputRejected("dicom_malformed", "The file meta information is not explicit.")
        header, length = _extent(data, position)
        position += header + length
        if position - start > MAX_META_BYTES:
            raise InputRejected("dicom_malformed", "The file meta information is damaged.")
        if len(data) < position:
            raise InputRejected("dicom_truncated", "The file ends inside its meta information.")
    return position


def _guessed(body: bytes) -> UID:
    """The transfer syntax of a file that does not state one."""
    return UID("1.2.840.10008.1.2.1") if is_letters(body[4:6]) else ImplicitVRLittleEndian


def inflate(deflated: bytes) -> bytes:
    """Inflate a raw deflate stream under caps.

    Raises:
        InputRejected: ``dicom_bomb`` beyond the caps, ``dicom_truncated`` when the stream does not end.
    """
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    allowed = min(MAX_INFLATED_BYTES, max(FREE_INFLATED_BYTES, MAX_INFLATE_RATIO * len(deflated)))
    inflated = machine.decompress(deflated, allowed + 1)
    if len(inflated) > allowed:
        raise InputRejected("dicom_bomb", "The deflated data set grows too far.")
    if not machine.eof:
        raise InputRejected("dicom_truncated", "The deflated data set does not end.")
    return inflated

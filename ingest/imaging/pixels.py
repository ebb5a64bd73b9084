"""Decode one frame under caps computed before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import encaps
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from teleread.errors import InputRejected
from teleread.ingest import dicom_values as values
from teleread.ingest.dicom_file import Part10, dicom_boundary, parse, split
from teleread.ingest.imaging.header import n_frames, unsigned_short

MAX_SIDE = 16384
"""Most rows or columns."""
MAX_FRAMES = 10_000
MAX_FRAME_BYTES = 256 << 20
"""Most decoded bytes of one frame."""

_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_JPEG_SIZES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7))


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Sizes as the header states them, within the caps."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int

    @property
    def frame_bits(self) -> int:
        """Bits of one decoded frame."""
        return self.rows * self.columns * self.samples * self.bits_allocated


def open_image(data: bytes) -> tuple[FileDataset, Dimensions]:
    """Parse an image and check its sizes.

    Raises:
        InputRejected: ``dicom_no_image``, ``dicom_bad_dimensions``, ``dicom_too_large``, ``dicom_truncated`` and the
            codes of reading.
    """
    parts = split(data)
    if parts.layout.pixels_at is None:
        raise InputRejected("dicom_no_image", "The object holds no pixels.")
    dataset = parse(parts)
    with dicom_boundary():
        if not parts.transfer_syntax.is_transfer_syntax:
            raise _unsupported()
        dimensions = _dimensions(dataset, parts)
        _check_native_length(dataset, parts, dimensions)
        dataset.file_meta.TransferSyntaxUID = parts.transfer_syntax
    return dataset, dimensions


def decode_frame(dataset: FileDataset, dimensions: Dimensions, frame: int) -> NDArray[Any]:
    """One frame, colours in RGB or palette indices, values as stored.

    Args:
        frame: counted from 0.

    Returns:
        Array (rows, columns) or (rows, columns, 3).

    Raises:
        InputRejected: ``frame_out_of_range``, ``dicom_unsupported``, ``dicom_too_large``, ``dicom_bad_pixels``.
    """
    if not 0 <= frame < dimensions.frames:
        raise InputRejected("frame_out_of_range", "The object has no frame of that number.")
    with dicom_boundary():
        syntax = dataset.file_meta.TransferSyntaxUID
        decoder = get_decoder(syntax)
        if not decoder.is_available:
            raise _unsupported()
        if syntax == RLELossless and dimensions.bits_allocated == 1:
            raise _unsupported()
        if decoder.is_encapsulated and syntax != RLELossless:
            _check_code_stream(dataset, dimensions, frame)
        pixels = np.asarray(pixel_array(dataset, index=frame))
    shape = (dimensions.rows, dimensions.columns)
    if pixels.shape not in (shape, (*shape, 3)):
        raise InputRejected("dicom_bad_pixels", "The pixels do not have the size that the header states.")
    return pixels


def _unsupported() -> InputRejected:
    return InputRejected("dicom_unsupported", "The encoding of the file is not supported.")


def _dimensions(dataset: Dataset, parts: Part10) -> Dimensions:
    numbers = [
        unsigned_short(dataset, tag, parts.little_endian) or 0
        for tag in (0x00280010, 0x00280011, 0x00280002, 0x00280100)
    ]
    rows, columns, samples, bits = numbers[0], numbers[1], numbers[2] or 1, numbers[3]
    frames = n_frames(dataset)
    if not (rows and columns) or samples not in (1, 3) or bits not in (1, 8, 16, 32, 64):
        raise InputRejected("dicom_bad_dimensions", "The header states no usable image size.")
    found = Dimensions(rows, columns, frames, samples, bits)
    if max(rows, columns) > MAX_SIDE or frames > MAX_FRAMES or found.frame_bits > 8 * MAX_FRAME_BYTES:
        raise InputRejected("dicom_too_large", "The image is larger than teleread decodes.")
    return found


def _check_native_length(dataset: Dataset, parts: Part10, dimensions: Dimensions) -> None:
    """Uncompressed pixels must all be there."""
    if parts.transfer_syntax.is_encapsulated:
        return
    stored = next(len(values.raw_bytes(dataset, tag)) for tag in _PIXELS if tag in dataset)
    samples_bits = dimensions.frame_bits
    if values.ascii_text(dataset, 0x00280004) in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        samples_bits = samples_bits // 3 * 2
    if stored * 8 < samples_bits * dimensions.frames:
        raise InputRejected("dicom_truncated", "The file holds fewer pixels than its header states.")


def _check_code_stream(dataset: FileDataset, dimensions: Dimensions, frame: int) -> None:
    """A decoder allocates what the code stream states, whatever the header says: compare them first."""
    stored = encaps.get_frame(dataset.PixelData, frame, number_of_frames=dimensions.frames)
    size = stream_size(stored)
    if size is not None and size != (dimensions.rows, dimensions.columns):
        raise InputRejected("dicom_bad_pixels", "The compressed frame has another size than the header states.")
    if dataset.file_meta.TransferSyntaxUID in (JPEGBaseline8Bit, JPEGExtended12Bit) and _jpeg_precision(stored) > 8:
        raise _unsupported()  # Pillow decodes 8-bit JPEG only


def stream_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 code stream states; None when it cannot be told.

    Source: ITU-T T.81 B.2.2 (SOFn), T.87 C.2.2 (SOF55), T.800 A.5.1 (SIZ).
    """
    start = stream.find(b"\xff\x4f\xff\x51")
    if start >= 0 and not stream.startswith(b"\xff\xd8"):
        siz = stream[start + 4 : start + 4 + 20]
        if len(siz) < 20:
            return None
        x1, y1, x0, y0 = (int.from_bytes(siz[i : i + 4], "big") for i in (4, 8, 12, 16))
        return y1 - y0, x1 - x0
    position = _jpeg_frame_header(stream)
    if position is None:
        return None
    return (
        int.from_bytes(stream[position + 5 : position + 7], "big"),
        int.from_bytes(stream[position + 7 : position + 9], "big"),
    )


def _jpeg_frame_header(stream: bytes) -> int | None:
    """Offset of the SOFn marker."""
    position = 2
    while stream.startswith(b"\xff\xd8") and len(stream) - position >= 9 and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker in _JPEG_SIZES:
            return position
        position += 1 if marker == 0xFF else 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
    return None


def _jpeg_precision(stream: bytes) -> int:
    position = _jpeg_frame_header(stream)
    return 8 if position is None else stream[position + 4]

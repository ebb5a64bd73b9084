"""One frame as an 8-bit PNG: modality values, window, polarity, palette, size.

Source: DICOM PS3.3 C.7.6.3 (pixels), C.11.1 (modality LUT), C.11.2 (VOI LUT).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from teleread.errors import InputRejected
from teleread.ingest import dicom_values as values
from teleread.ingest.dicom_file import dicom_boundary
from teleread.ingest.imaging.pixels import MAX_SIDE, decode_frame, open_image

WINDOW_PRESETS: Mapping[str, tuple[float, float] | None] = MappingProxyType(
    {
        "default": None,
        "full": None,
        "lung": (-600.0, 1500.0),
        "mediastinum": (40.0, 400.0),
        "bone": (400.0, 1800.0),
        "brain": (40.0, 80.0),
        "abdomen": (50.0, 350.0),
    }
)
"""Centre and width in Hounsfield units, for CT; ``default`` is the file's first window, ``full`` the whole range."""

THUMBNAIL_SIDE = 128

_SCALE_KEYWORDS = (
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PixelRepresentation", "BitsStored", "PixelPaddingValue"),
)

Window = tuple[float, float] | str | None
Floats = NDArray[np.float64]


def render_frame(data: bytes, frame: int, window: Window, max_side: int) -> bytes:
    """Render one frame.

    Args:
        data: a DICOM file.
        frame: counted from 0.
        window: (centre, width) in modality units (Hounsfield for CT), a name of :data:`WINDOW_PRESETS`, or None for
            the file's own. Colour images ignore it.
        max_side: the longer side is made no larger than this, in pixels; images are never enlarged.

    Returns:
        A PNG, grey or RGB; the same arguments give the same bytes.

    Raises:
        InputRejected: ``bad_window``, ``window_needs_ct``, ``bad_size``, ``frame_out_of_range`` or a code of decoding.
    """
    _check_request(window, max_side)
    dataset, dimensions = open_image(data)
    if isinstance(window, str) and WINDOW_PRESETS[window] and values.ascii_text(dataset, 0x00080060) != "CT":
        raise InputRejected("window_needs_ct", "This window is in Hounsfield units and the image is not a CT.")
    pixels = decode_frame(dataset, dimensions, frame)
    with dicom_boundary():
        return _png(_eight_bit(pixels, dataset, frame, window), max_side)


def thumbnail(data: bytes) -> bytes:
    """The middle frame in the file's own window, at most 128 pixels on a side.

    Raises:
        InputRejected: as :func:`render_frame`.
    """
    dataset, dimensions = open_image(data)
    frame = dimensions.frames // 2
    pixels = decode_frame(dataset, dimensions, frame)
    with dicom_boundary():
        return _png(_eight_bit(pixels, dataset, frame, None), THUMBNAIL_SIDE)


def _check_request(window: Window, max_side: int) -> None:
    if not 1 <= max_side <= MAX_SIDE:
        raise InputRejected("bad_size", f"The side of a preview is 1 to {MAX_SIDE} pixels.")
    if isinstance(window, str):
        if window not in WINDOW_PRESETS:
            raise InputRejected("bad_window", "There is no window of that name.")
    elif window is not None and not (all(map(math.isfinite, window)) and window[1] > 0):
        raise InputRejected("bad_window", "A window is a finite centre and a positive width.")


def _eight_bit(pixels: NDArray[Any], dataset: Dataset, frame: int, window: Window) -> NDArray[np.uint8]:
    photometric = values.ascii_text(dataset, 0x00280004)
    if photometric == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        # Entries are scaled to the full range of their type (PS3.3 C.7.6.3.1.5).
        return (pixels >> 8 if pixels.dtype.itemsize > 1 else pixels).astype(np.uint8)
    if pixels.ndim == 3:
        return _colour(pixels, dataset)
    grey = _through_table(pixels, _grey_scale(pixels, dataset, frame, window))
    return 255 - grey if photometric == "MONOCHROME1" else grey


def _colour(pixels: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    bits = int(dataset.get("BitsStored") or pixels.dtype.itemsize * 8)
    if bits <= 8:
        return pixels.astype(np.uint8)
    return (pixels.astype(np.uint64) >> (bits - 8)).clip(0, 255).astype(np.uint8)


def _grey_scale(
    pixels: NDArray[Any], dataset: Dataset, frame: int, window: Window
) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """The way from stored values to 8-bit grey, as a function of an array."""
    settings = _frame_settings(dataset, frame)
    limits = _limits(pixels, settings)
    chosen = WINDOW_PRESETS[window] if isinstance(window, str) else window

    def to_modality(stored: NDArray[Any]) -> Floats:
        return np.nan_to_num(np.asarray(apply_modality_lut(stored, settings), dtype=np.float64))

    def apply(stored: NDArray[Any]) -> NDArray[np.uint8]:
        if chosen is None and window != "full" and settings.get("VOILUTSequence") and pixels.dtype.kind != "f":
            shown = apply_voi_lut(to_modality(stored).astype(np.int64), settings).astype(np.float64)
            depth = int(settings.VOILUTSequence[0].LUTDescriptor[2]) or 16
            return _to_byte(shown / (2**depth - 1))
        own = None if window == "full" else _own_window(settings)
        modality = to_modality(stored)
        if chosen is not None:
            return _to_byte(_linear(modality, *chosen))
        if own is not None:
            return _to_byte(own(modality))
        low, high = sorted(to_modality(limits))
        return _to_byte((modality - low) / (high - low if high > low else 1.0))

    return apply


def _through_table(pixels: NDArray[Any], scale: Callable[[NDArray[Any]], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Apply a scale once per distinct value instead of once per pixel, where that is less work."""
    if pixels.dtype.kind not in "ui" or pixels.dtype.itemsize > 2 or pixels.size < 1 << 16:
        return scale(pixels)
    low, high = int(pixels.min()), int(pixels.max())
    table = scale(np.arange(low, high + 1, dtype=pixels.dtype if high < np.iinfo(pixels.dtype).max else np.int64))
    looked_up: NDArray[np.uint8] = table[pixels.astype(np.int32) - low]
    return looked_up


def _frame_settings(dataset: Dataset, frame: int) -> Dataset:
    """Modality and VOI attributes of one frame: per-frame functional groups, then shared ones, then the top level."""
    settings = Dataset()
    groups = [
        *(dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1],
        *(dataset.get("SharedFunctionalGroupsSequence") or [])[:1],
    ]
    sources = [
        item
        for group in groups
        for keyword in ("PixelValueTransformationSequence", "FrameVOILUTSequence")
        for item in (group.get(keyword) or [])[:1]
    ]
    for source in [*sources, dataset]:
        for keyword in _SCALE_KEYWORDS:
            if keyword in source and keyword not in settings and not source[keyword].is_empty:
                settings[keyword] = source[keyword]
    return settings


def _limits(pixels: NDArray[Any], settings: Dataset) -> NDArray[Any]:
    """Lowest and highest stored value, padding and non-numbers left out."""
    counted = pixels
    if pixels.dtype.kind == "f":
        counted = pixels[np.isfinite(pixels)]
    elif isinstance(padding := settings.get("PixelPaddingValue"), int):
        counted = pixels[pixels != padding]
    if counted.size == 0:
        counted = np.zeros(1, pixels.dtype)
    return np.array([counted.min(), counted.max()])


def _own_window(settings: Dataset) -> Callable[[Floats], Floats] | None:
    """The file's first window with its function, None when absent or unusable."""
    center, width = (_first_number(settings.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    function = str(settings.get("VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID":
        return lambda x: 1 / (1 + np.exp(np.clip(-4 * (x - center) / width, -60, 60)))
    if function == "LINEAR_EXACT":
        return lambda x: (x - center) / width + 0.5
    return lambda x: _linear(x, center, width)


def _first_number(value: object) -> float | None:
    if value is not None and not isinstance(value, int | float | str) and hasattr(value, "__getitem__"):
        value = value[0]
    number = float(str(value)) if value is not None else math.nan
    return number if math.isfinite(number) else None


def _linear(x: Floats, center: float, width: float) -> Floats:
    """PS3.3 C.11.2.1.2.1; a width below 2 is a threshold."""
    return (x - (center - 0.5)) / max(width - 1, 1e-9) + 0.5


def _to_byte(share: Floats) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.rint(share.clip(0.0, 1.0) * 255).astype(np.uint8)
    return grey


def _png(pixels: NDArray[np.uint8], max_side: int) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > max_side:
        factor = max_side / max(image.size)
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.BOX if factor < 0.5 else Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=4)
    return out.getvalue()

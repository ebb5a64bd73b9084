"""Renders one frame; runs in a bounded parser process, since the pixels come from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from teleread.errors import InputRejected
from teleread.ingest.bounded import Product
from teleread.ingest.formats import sniff, unbundle
from teleread.ingest.imaging import render_frame

MAX_SIDE = 1024


def render(payload: bytes, options: Mapping[str, Any]) -> Product:
    """One frame as PNG, under the name ``frame.png``.

    Args:
        payload: a DICOM file as received, or a ZIP that holds just one.
        options: ``frame`` (from 0) and ``window`` (a preset's name).

    Raises:
        InputRejected: the frame does not exist or cannot be decoded.
    """
    if sniff(payload) == "zip":
        files = unbundle(payload)
        if len(files) != 1:
            raise InputRejected("not_one_image", "The archive does not hold one image.")
        payload = next(iter(files.values()))
    png = render_frame(payload, int(options["frame"]), str(options["window"]), MAX_SIDE)
    return Product({}, {"frame.png": png})

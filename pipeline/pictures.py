"""Pictures and PDFs of ECGs: kept and shown to the reader, never measured. Runs in a bounded parser process."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from teleread.errors import InputRejected
from teleread.ingest.bounded import Product
from teleread.ingest.dicom_file import dicom_boundary, read_dataset, sop_class_of
from teleread.ingest.formats import sniff

READ_BY_EYE: Mapping[str, str] = MappingProxyType(
    {
        "code": "picture_not_measured",
        "safe_message": "This is a picture of an ECG: it cannot be measured. Read it by eye.",
    }
)
"""The failure of every picture: it is queued like all that could not be analysed."""

MAX_PICTURES = 8
MAX_PIXELS = 40_000_000
MAX_SIDE = 3000
_ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_SHOWN = ("pdf", "png", "jpeg")


def documents(files: Mapping[str, bytes]) -> Product | None:
    """What is shown of files that are pictures and PDFs alone; None when anything else is among them.

    The blobs are ``document.pdf`` (the bytes as they came) and ``picture.png``, further ones with their number.

    Raises:
        InputRejected: ``picture_broken``, ``picture_too_large``, ``picture_too_many``.
    """
    kinds = {name: sniff(data) for name, data in files.items()}
    if not kinds or any(kind not in _SHOWN for kind in kinds.values()):
        return None
    if len(files) > MAX_PICTURES:
        raise InputRejected("picture_too_many", f"More than {MAX_PICTURES} pictures were sent together.")
    blobs: dict[str, bytes] = {}
    for name in sorted(files):
        if kinds[name] == "pdf":
            _add(blobs, "document", "pdf", files[name])
        else:
            _add(blobs, "picture", "png", _picture(files[name], str(kinds[name])))
    patient = dict.fromkeys(("id", "issuer", "name", "birth_date", "sex"))
    facts: dict[str, Any] = {
        "modality": "ECG",
        "header": None,
        "patient": patient,
        "recording": None,
        "failure": dict(READ_BY_EYE),
    }
    return Product(facts, blobs)


def encapsulated_pdf(data: bytes) -> bytes | None:
    """The PDF inside a DICOM Encapsulated PDF object; None when it is none or holds none."""
    if sop_class_of(data) != _ENCAPSULATED_PDF:
        return None
    dataset = read_dataset(data)
    with dicom_boundary():
        document = bytes(dataset.get("EncapsulatedDocument") or b"")
    return document if document.startswith(b"%PDF-") else None


def _add(blobs: dict[str, bytes], stem: str, ending: str, data: bytes) -> None:
    number = 1 + sum(name.startswith(stem) for name in blobs)
    blobs[f"{stem}.{ending}" if number == 1 else f"{stem}-{number}.{ending}"] = data


def _picture(data: bytes, kind: str) -> bytes:
    """The first picture of a file as PNG, upright, of a size that a screen can use, without anything but pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data), formats=[kind.upper()])
        if opened.width * opened.height > MAX_PIXELS:
            raise InputRejected("picture_too_large", "The picture has more pixels than is allowed.")
        opened.draft("RGB", (MAX_SIDE, MAX_SIDE))
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        ZeroDivisionError,
        struct.error,
    ) as error:  # the decoder's own: it is written for files that are whole
        raise InputRejected("picture_broken", "The picture is damaged or cut off.") from error
    upright.thumbnail((MAX_SIDE, MAX_SIDE))
    out = io.BytesIO()
    upright.save(out, "PNG", compress_level=3)
    return out.getvalue()

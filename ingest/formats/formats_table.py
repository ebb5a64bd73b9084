"""What ``teleread formats`` tells: each format, whether it is read or written, and on what evidence."""

from __future__ import annotations

from typing import Any

from teleread.ingest.formats.registry import FORMATS
from teleread.ingest.formats.writers import WRITERS

_SHOWN = (
    ("pdf", "PDF of an ECG", (".pdf",)),
    ("png", "picture of an ECG (PNG)", (".png",)),
    ("jpeg", "picture of an ECG (JPEG)", (".jpg", ".jpeg")),
)


def all_formats() -> list[dict[str, Any]]:
    """One row for each format, by name: ``name``, ``title``, ``reads``, ``writes``, ``seen_from_device``,
    ``extensions``. What is only stored and shown stands last.
    """
    rows = [
        ("dicom", "DICOM waveform (12-lead, General, General 32-bit, Ambulatory ECG)", True, (".dcm",)),
        ("wfdb", "WFDB (PhysioNet)", True, (".hea", ".dat")),
        *((one.name, one.title, one.seen_from_device, one.extensions) for one in FORMATS),
    ]
    read = [_row(name, title, True, seen, endings) for name, title, seen, endings in sorted(rows)]
    return [*read, *(_row(name, title, False, False, endings) for name, title, endings in _SHOWN)]


def _row(name: str, title: str, reads: bool, seen: bool, extensions: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "reads": reads,
        "writes": name in WRITERS,
        "seen_from_device": seen,
        "extensions": list(extensions),
    }

"""All formats, in the order in which they are tried: the surest sign first."""

from __future__ import annotations

from teleread.ingest.formats import csv, edf
from teleread.ingest.formats.format import Format, Head

FORMATS: tuple[Format, ...] = (edf.FORMAT, csv.FORMAT)
"""Beside DICOM and WFDB, which have signs of their own in :mod:`teleread.ingest.formats.sniff`."""


def recognise(head: Head) -> Format | None:
    """The first format that knows the head as its own."""
    return next((one for one in FORMATS if one.recognises(head)), None)

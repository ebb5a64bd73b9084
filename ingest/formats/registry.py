"""All formats, in the order in which they are tried: the surest sign first."""

from __future__ import annotations

from teleread.ingest.formats import (
    aecg,
    cardiosoft,
    contec,
    csv,
    edf,
    fhir,
    healforce,
    ishne,
    mfer,
    mortara,
    muse,
    schiller,
    scp,
    sierra,
    zoncare,
)
from teleread.ingest.formats.format import Format, Head

FORMATS: tuple[Format, ...] = (
    # a magic word at a fixed place
    ishne.FORMAT,
    edf.FORMAT,
    scp.FORMAT,
    healforce.FORMAT,
    # a root element
    aecg.FORMAT,
    muse.FORMAT,
    sierra.FORMAT,
    cardiosoft.FORMAT,
    schiller.FORMAT,
    zoncare.FORMAT,
    mortara.FORMAT,
    fhir.FORMAT,
    # numbers that fit together
    contec.FORMAT,
    mfer.FORMAT,
    # a table
    csv.FORMAT,
)
"""Beside DICOM and WFDB, which have signs of their own in :mod:`teleread.ingest.formats.sniff`."""


def recognise(head: Head) -> Format | None:
    """The first format that knows the head as its own."""
    return next((one for one in FORMATS if one.recognises(head)), None)

"""What is this? Told from the first bytes, never from a name, always cheaply."""

from __future__ import annotations

import re
from typing import Literal

from teleread.errors import InputRejected
from teleread.ingest.dicom_file import is_bare, sop_class_of
from teleread.ingest.formats.bundle import unbundle
from teleread.ingest.formats.format import Head
from teleread.ingest.formats.registry import FORMATS, recognise

Kind = Literal["ecg", "image", "unknown"]

_MAX_MEMBERS = 8
_MEMBER_HEAD_BYTES = 64 << 10

_ECG_SOP_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.9.1.1",  # 12-lead ECG Waveform Storage
        "1.2.840.10008.5.1.4.1.1.9.1.2",  # General ECG Waveform Storage
        "1.2.840.10008.5.1.4.1.1.9.1.3",  # Ambulatory ECG Waveform Storage
        "1.2.840.10008.5.1.4.1.1.9.1.4",  # General 32-bit ECG Waveform Storage
        "1.2.840.10008.5.1.4.1.1.9.2.1",  # Hemodynamic Waveform Storage: monitors store ECG leads under it
    }
)
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# storage classes without pixels (PS3.4 B.5): waveforms, presentation states, raw data, registration, reports,
# encapsulated documents, radiotherapy objects other than image and dose
_NOT_IMAGES = ("9.", "11.", "66", "67", "68.", "78.", "79.", "80.", "81.", "82.", "88.", "90.", "104.", "200.", "201.")
_RT_IMAGES = ("481.1", "481.2")
_SEGMENTATION = "66.4"

# name, number of signals, then optionally the rate, the length, and time and date
_WFDB_RECORD = re.compile(rb"[^\s#/<]+(/\d+)?[ \t]+\d{1,4}([ \t]+[0-9.eE+]+(/\S*)?([ \t]+\d+.*)?)?\Z")
_WFDB_SIGNAL = re.compile(rb"[^ \t]+[ \t]+\d{1,3}(x\d+)?(:\d+)?(\+\d+)?([ \t]|\Z)")


def sniff(data: bytes) -> str | None:
    """The name of the format: ``"dicom"``, ``"wfdb"`` (a header file), one of ``registry.FORMATS``, or what cannot be
    an ECG by itself: ``"zip"``, ``"pdf"``, ``"png"``, ``"jpeg"``, ``"xml"`` (of no known kind); None when unknown.
    """
    head = Head.of(data)
    if head.data[128:132] == b"DICM":
        return "dicom"
    for magic, name in _MAGIC:
        if head.data.startswith(magic):
            return name
    if (known := recognise(head)) is not None:
        return known.name
    if head.is_xml:
        return "xml"
    if is_bare(head.data):
        return "dicom"
    if _looks_like_wfdb(head.data):
        return "wfdb"
    return None


_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
)

ECG_FORMATS = frozenset({"wfdb", *(one.name for one in FORMATS)})
"""Formats whose every file is an ECG; a DICOM file must be asked for its SOP class."""


def _looks_like_wfdb(head: bytes) -> bool:
    lines = [line.strip() for line in head.splitlines()]
    lines = [line for line in lines if line and not line.startswith(b"#")]
    if len(lines) < 2 or b"\x00" in lines[0] or not _WFDB_RECORD.match(lines[0]):
        return False
    if b"/" in lines[0].split()[0]:
        return True  # the next line names a segment, not a signal
    return bool(_WFDB_SIGNAL.match(lines[1]))


def kind_of(data: bytes) -> Kind:
    """``"ecg"``, ``"image"`` or ``"unknown"``, from the content alone. Bounded, and it never raises."""
    found = sniff(data)
    if found in ECG_FORMATS:
        return "ecg"
    if found == "dicom":
        return _dicom_kind(sop_class_of(data))
    if found == "zip":
        try:
            # outside the bounded parser: a small ZIP may unpack to the size limit
            members = list(unbundle(data, _MEMBER_HEAD_BYTES).values())[:_MAX_MEMBERS]
        except InputRejected:
            return "unknown"
        kinds = {_member_kind(member) for member in members}
        return "ecg" if "ecg" in kinds else "image" if "image" in kinds else "unknown"
    return "unknown"


def _member_kind(member: bytes) -> Kind:
    found = sniff(member)
    return _dicom_kind(sop_class_of(member)) if found == "dicom" else "ecg" if found in ECG_FORMATS else "unknown"


def _dicom_kind(sop_class_uid: str) -> Kind:
    if sop_class_uid in _ECG_SOP_CLASSES:
        return "ecg"
    if not sop_class_uid.startswith(_STORAGE):
        return "unknown"
    rest = sop_class_uid.removeprefix(_STORAGE)
    if rest.startswith("481.") and rest not in _RT_IMAGES:
        return "unknown"
    if rest.startswith(_NOT_IMAGES) and rest != _SEGMENTATION:
        return "unknown"
    return "image"

"""The SOP class in the first bytes of a DICOM file, in the shape that the folder source asks for."""

from __future__ import annotations

from typing import NamedTuple

from teleread.ingest.dicom_file import sop_class_of


class FileMeta(NamedTuple):
    """Empty where the file does not say."""

    sop_class_uid: str


def read_meta(head: bytes) -> FileMeta:
    """See :func:`~teleread.ingest.dicom_file.sop_class_of`."""
    return FileMeta(sop_class_of(head))

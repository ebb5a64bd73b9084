"""Pseudonymise a whole DICOM file: preamble, file meta information, data set, trailing bytes."""

from __future__ import annotations

import zlib

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from teleread.errors import InputRejected
from teleread.signal.anonymise.part10 import Part10, dicom_boundary, parse, split
from teleread.signal.anonymise.policy import Manifest, Policy
from teleread.signal.anonymise.profile import anonymise

IMPLEMENTATION_CLASS_UID = UID("2.25.110340260758646865249635092831100398163")
"""Names teleread as the writer of a file (PS3.7 D.3.3.2): the name-based UUID of ``teleread``."""
IMPLEMENTATION_VERSION_NAME = "TELEREAD_1"


def pseudonymise_dicom(data: bytes, policy: Policy) -> tuple[bytes, Manifest]:
    """Pseudonymise a DICOM file for export.

    The preamble is zeroed, the file meta information rebuilt (SOP Instance UID mapped; source, sending and receiving
    application titles and private information gone), trailing bytes dropped, the data set cleaned by
    :func:`~teleread.signal.anonymise.profile.anonymise` and kept in its transfer syntax. Pixel and waveform samples
    stay byte for byte, but for comment segments blanked inside compressed streams (``policy.beyond_table``). The same
    input and policy give the same bytes.

    The export is *pseudonymised, not anonymous*. What stays, by the Basic Profile: text burned into pixels, faces in
    head scans, meanings of codes of other schemes than DCM, and rare measurements that single a person out.

    Raises:
        InputRejected: for every fault of the file; ``dicom_no_instance`` when it is not one SOP instance.
    """
    parts = split(data)
    out, manifest = anonymise(parse(parts), policy)
    with dicom_boundary():
        meta = _rebuilt_meta(parts, out)
        body = DicomBytesIO()
        body.is_implicit_VR = parts.layout.implicit
        body.is_little_endian = parts.little_endian
        write_dataset(body, out)
        encoded = body.getvalue()
        if parts.transfer_syntax == DeflatedExplicitVRLittleEndian:
            encoded = _deflated(encoded)
        head = DicomBytesIO()
        head.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(head, meta)
        return head.getvalue() + encoded, manifest


def _rebuilt_meta(parts: Part10, out: Dataset) -> FileMetaDataset:
    sop_class = str(out.get("SOPClassUID") or parts.meta.get("MediaStorageSOPClassUID") or "")
    instance = str(out.get("SOPInstanceUID") or "")
    if not sop_class or not instance:
        raise InputRejected("dicom_no_instance", "The file is not one DICOM instance with class and UID.")
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = _true_syntax(parts)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def _true_syntax(parts: Part10) -> UID:
    """The stated transfer syntax, put right where the data set contradicts it."""
    implicit_stated = parts.transfer_syntax == ImplicitVRLittleEndian
    if parts.layout.implicit and not implicit_stated:
        return ImplicitVRLittleEndian
    if implicit_stated and not parts.layout.implicit:
        return UID("1.2.840.10008.1.2.1")
    return parts.transfer_syntax


def _deflated(encoded: bytes) -> bytes:
    machine = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = machine.compress(encoded) + machine.flush()
    return deflated + b"\0" * (len(deflated) % 2)

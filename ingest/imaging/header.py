"""What the catalogue keeps of a DICOM object's header."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from pydicom.dataset import Dataset

from teleread.errors import InputRejected
from teleread.ingest import dicom_values as values
from teleread.ingest.dicom_file import dicom_boundary, parse, split
from teleread.signal.ecg.record import Patient

_IMAGE_TAGS = (0x00280010, 0x00280011, 0x00280100)


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """Header of one SOP instance. ``patient`` is personal data; the rest is not, UIDs apart."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    modality: str
    """Upper case code, ``"OT"`` when the file has none."""
    body_part: str | None
    series_number: int | None
    instance_number: int | None
    n_frames: int | None
    """None when the object holds no pixels, for example an ECG."""
    rows: int | None
    columns: int | None
    patient: Patient
    age_years: float | None
    acquired_at: datetime | None
    """Aware, UTC. A date without a time counts as its midnight in the file's zone."""


def read_header(data: bytes, zone: tzinfo = values.ALLIANCE_ZONE) -> DicomHeader:
    """Read the header of an image, a waveform or any other DICOM instance.

    Args:
        data: the bytes of the whole file; it is checked to its end, but pixels are not parsed.
        zone: of times in files without Timezone Offset From UTC.

    Raises:
        InputRejected: ``dicom_bad_uid``, ``dicom_bad_dimensions`` or a code of
            :func:`~teleread.ingest.dicom_file.read_dataset`.
    """
    parts = split(data)
    dataset = parse(parts, stop_before_pixels=True)
    with dicom_boundary():
        acquired_at = values.acquired_at(dataset, zone)
        patient = values.patient(dataset)
        has_pixels = parts.layout.pixels_at is not None
        if not has_pixels and all(tag in dataset for tag in _IMAGE_TAGS):
            raise InputRejected("dicom_truncated", "The file describes an image and ends before its pixels.")
        return DicomHeader(
            study_uid=values.uid(dataset, 0x0020000D),
            series_uid=values.uid(dataset, 0x0020000E),
            sop_uid=values.uid(dataset, 0x00080018),
            sop_class_uid=values.uid(dataset, 0x00080016),
            modality=values.ascii_text(dataset, 0x00080060, 16).upper() or "OT",
            body_part=values.ascii_text(dataset, 0x00180015, 16).upper() or None,
            series_number=values.whole_number(dataset, 0x00200011),
            instance_number=values.whole_number(dataset, 0x00200013),
            n_frames=n_frames(dataset) if has_pixels else None,
            rows=unsigned_short(dataset, 0x00280010, parts.little_endian) if has_pixels else None,
            columns=unsigned_short(dataset, 0x00280011, parts.little_endian) if has_pixels else None,
            patient=patient,
            age_years=values.age_years(dataset, patient.birth_date, acquired_at),
            acquired_at=acquired_at,
        )


def n_frames(dataset: Dataset) -> int:
    """Number of Frames, 1 when the file does not say.

    Raises:
        InputRejected: ``dicom_bad_dimensions`` when it is not a positive number.
    """
    if not values.ascii_text(dataset, 0x00280008, 16):
        return 1
    found = values.whole_number(dataset, 0x00280008)
    if found is None or found < 1:
        raise InputRejected("dicom_bad_dimensions", "The number of frames is not a positive number.")
    return found


def unsigned_short(dataset: Dataset, tag: int, little_endian: bool) -> int | None:
    """A US value, None when absent or of another size."""
    raw = values.raw_bytes(dataset, tag)
    return int.from_bytes(raw, "little" if little_endian else "big") if len(raw) == 2 else None

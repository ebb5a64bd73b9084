"""Real 12-lead ECGs under other names, numbers and times."""

from __future__ import annotations

from io import BytesIO

import pydicom
from pydicom.data import get_testdata_file


def from_another_moment(dataset: pydicom.Dataset, seed: int) -> None:
    """Let the tracing begin elsewhere, for each seed, so that it is another recording of the same heart."""
    for group in dataset.WaveformSequence:
        frame = 2 * int(group.NumberOfWaveformChannels)
        cut = frame * (41 * seed % int(group.NumberOfWaveformSamples))
        group.WaveformData = group.WaveformData[cut:] + group.WaveformData[:cut]


def ecg(
    *,
    patient_id: str,
    name: str = "Li^Na=李^娜",
    born: str = "19620304",
    sex: str = "M",
    at: str | None = "20261101100000",
    seed: int = 0,
    study_seed: int | None = None,
    issuer: str | None = None,
) -> bytes:
    """A DICOM ECG of which patient, recording time and UIDs are as told; other seeds are other recordings.

    Args:
        at: local time of recording, None for none.
        study_seed: the study it belongs to; its own one unless said.
    """
    path = get_testdata_file("waveform_ecg.dcm")
    assert isinstance(path, str)
    dataset = pydicom.dcmread(path)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID, dataset.PatientSex = name, patient_id, sex
    dataset.PatientBirthDate = born
    if issuer is not None:
        dataset.IssuerOfPatientID = issuer
    for keyword in ("AcquisitionDateTime", "StudyDate", "StudyTime", "ContentDate", "ContentTime"):
        if keyword in dataset:
            del dataset[keyword]
    for keyword in ("SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime"):
        if keyword in dataset:
            del dataset[keyword]
    if at is not None:
        dataset.AcquisitionDateTime = at
    from_another_moment(dataset, seed)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.{seed}"
    own = study_seed if study_seed is not None else seed
    dataset.StudyInstanceUID = f"{dataset.StudyInstanceUID}.{own}"
    dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.{own}"
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()

"""DICOM files made from a real one."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg

ECG = Path(str(get_testdata_file("waveform_ecg.dcm"))).read_bytes()


def changed(change: Callable[[Dataset], None], implicit: bool = False) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(ECG))
    change(dataset)
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    out = io.BytesIO()
    dataset.save_as(out, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return out.getvalue()


def rejected(data: bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(data)
    return caught.value.code


def without_tail(dataset: Dataset) -> None:
    """Nothing stands behind the waveform."""
    for tag in [tag for tag in dataset.keys() if tag > 0x54000100]:  # noqa: SIM118 - a Dataset is no dict
        del dataset[tag]


def set_group(**values: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dataset.WaveformSequence[0], keyword, value)

    return change

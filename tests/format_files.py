"""A few small files of each format, made by the tests' own builders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom.data import get_testdata_file

from teleread.ingest.formats.aecg_write import write_aecg
from teleread.signal.ecg import EcgRecord, Patient, simulate

Files = Callable[[], Sequence[bytes]]


def recording(seed: int = 1) -> EcgRecord:
    """A simulated recording with an invented person and a time."""
    person = Patient(id="4711", name="Wu^A", sex="F")
    return replace(simulate("normal", seed)[0], acquired_at=datetime(2026, 11, 1, 1, 0, tzinfo=UTC), patient=person)


def _dicom() -> Sequence[bytes]:
    return [Path(str(get_testdata_file("waveform_ecg.dcm"))).read_bytes()]


def _aecg() -> Sequence[bytes]:
    return [write_aecg(recording())]


FILES: Mapping[str, Files] = {
    "dicom": _dicom,
    "aecg": _aecg,
}
"""By the format's name."""

GIVEN: Mapping[str, tuple[float, str]] = {"csv": (500.0, "mV")}
"""What a person states about the files of a format."""

TEXT = frozenset({"aecg", "muse", "sierra", "cardiosoft", "mortara", "schiller", "zoncare", "fhir", "csv"})
"""Formats that are text."""

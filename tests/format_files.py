"""A few small files of each format, made by the tests' own builders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from teleread.ingest.formats.aecg_write import write_aecg
from teleread.ingest.formats.dicom_write import derived_uids, write_dicom
from teleread.signal.ecg import EcgRecord, Patient, simulate
from tests.unit import (
    mfer_files,
    scp_files,
    test_formats_contec,
    test_formats_healforce,
    test_formats_ishne,
    xml_files,
)

Files = Callable[[], Sequence[bytes]]
Steps = NDArray[np.int64]

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def recording(seed: int = 1) -> EcgRecord:
    """A simulated recording with an invented person and a time."""
    person = Patient(id="4711", name="Wu^A", sex="F")
    return replace(simulate("normal", seed)[0], acquired_at=datetime(2026, 11, 1, 1, 0, tzinfo=UTC), patient=person)


def steps(n: int = 1000, uv: float = 5.0) -> Steps:
    """Eight leads of the recording as whole steps."""
    record = recording()
    rows = np.array([record.lead(lead) for lead in EIGHT])
    return np.rint(rows[:, :n] * 1000.0 / uv).astype(np.int64)


def _dicom() -> Sequence[bytes]:
    record = recording()
    return [
        Path(str(get_testdata_file("waveform_ecg.dcm"))).read_bytes(),
        write_dicom(record, uids=derived_uids(record, b"test")),
    ]


def _scp() -> Sequence[bytes]:
    rows = dict(zip((1, 2, 3, 4, 5, 6, 7, 8), steps().tolist(), strict=True))
    return [scp_files.simple(rows).built(), scp_files.simple(rows, order=0, coded=False).built()]


def _sierra() -> Sequence[bytes]:
    rows = xml_files.stored(12, 1000)
    text = xml_files.sierra(rows, xml_files.xli(rows))
    return [text.encode(), text.encode("utf-16")]


def _edf() -> Sequence[bytes]:
    rows, fs, records = steps(2000), 500, 4
    n = len(rows)
    fields: list[tuple[int, Sequence[str]]] = [
        (16, EIGHT),
        (80, ["electrode"] * n),
        (8, ["uV"] * n),
        (8, ["-163840"] * n),
        (8, ["163835"] * n),
        (8, ["-32768"] * n),
        (8, ["32767"] * n),
        (80, ["LP:150Hz"] * n),
        (8, [str(fs)] * n),
        (32, [""] * n),
    ]
    start = (
        ("0", 8),
        ("4711 F 01-JAN-1960 Wu_A", 80),
        ("Startdate 01-NOV-2026 X X X", 80),
        ("01.11.26", 8),
        ("09.00.00", 8),
    )
    rest = (str(256 * (n + 1)), 8), ("EDF+C", 44), (str(records), 8), ("1", 8), (str(n), 4)
    head = "".join(text.ljust(width) for text, width in (*start, *rest))
    head += "".join(one.ljust(width) for width, values in fields for one in values)
    data = rows.reshape(n, records, fs).transpose(1, 0, 2).astype("<i2").tobytes()
    return [head.encode() + data]


def _contec() -> Sequence[bytes]:
    rows = steps()
    eight_of_its = np.vstack([rows[1], rows[1] - rows[0], rows[2:]])  # II, III, V1 to V6
    return [test_formats_contec.contec((2048 + eight_of_its).T.tolist())]


def _healforce() -> Sequence[bytes]:
    words = [512 + int(value) for value in np.clip(steps()[:3] // 2, -500, 500).T.reshape(-1)]
    return [test_formats_healforce.healforce(words)]


def _ishne() -> Sequence[bytes]:
    return [test_formats_ishne.ishne(steps()[:3].astype(np.int16))]


def _mfer() -> Sequence[bytes]:
    rows = steps()
    blocks = [rows[:2, start : start + 250].tolist() for start in range(0, 1000, 250)]
    return [mfer_files.standard(rows.tolist()), mfer_files.monitor(blocks, [2, 1], [4, 4])]


def _csv() -> Sequence[bytes]:
    record = recording()
    rows = np.array([record.lead(lead) for lead in EIGHT])[:, :1000]
    lines = [",".join(EIGHT), *(",".join(f"{value:.3f}" for value in sample) for sample in rows.T)]
    return ["\n".join(lines).encode() + b"\n"]


def _xml(build: Callable[[Steps], str]) -> Files:
    return lambda: [build(steps()).encode()]


FILES: Mapping[str, Files] = {
    "dicom": _dicom,
    "aecg": lambda: [write_aecg(recording())],
    "muse": _xml(xml_files.muse),
    "sierra": _sierra,
    "cardiosoft": _xml(xml_files.cardiosoft),
    "mortara": _xml(xml_files.mortara),
    "schiller": _xml(xml_files.schiller),
    "zoncare": lambda: [xml_files.zoncare(xml_files.stored(12, 1000)).encode()],
    "fhir": _xml(xml_files.fhir),
    "scp": _scp,
    "contec": _contec,
    "healforce": _healforce,
    "mfer": _mfer,
    "ishne": _ishne,
    "edf": _edf,
    "csv": _csv,
}
"""By the format's name."""

GIVEN: Mapping[str, tuple[float | None, str]] = {"csv": (500.0, "mV"), "zoncare": (None, "uV")}
"""What a person states about the files of a format."""

TEXT = frozenset({"aecg", "muse", "sierra", "cardiosoft", "mortara", "schiller", "zoncare", "fhir", "csv"})
"""Formats that are text."""

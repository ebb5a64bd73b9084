"""Promises of the Contec ECG90A reader."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff
from teleread.signal.ecg import STANDARD_LEADS

OFF = 0x6800


def contec(
    rows: list[list[int]],
    case: bytes = b"0000012",
    when: bytes = b"2020-11-12 18:09:05",
    name: bytes = b"",
    who: tuple[int, int, int] = (255, 0, 0),
) -> bytes:
    """A file of samples (II, III, V1 to V6 as steps around 2048)."""
    header = case.ljust(8, b"\0") + bytes(2) + when.ljust(20, b"\0") + bytes(2) + name.ljust(8, b"\0") + bytes(who)
    return header + b"".join(struct.pack("<8H", *row) for row in rows) + bytes(27) + b"\x16" + bytes(9)


ROWS = [[2048 + 10 * k, 2048 - k, *(2048 + lead * k for lead in range(1, 7))] for k in range(50)]


def rejected(data: bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(data)
    return caught.value.code


def test_eight_stored_leads_give_twelve() -> None:
    record = read_ecg(contec(ROWS))
    assert (record.source_format, record.fs_hz, record.leads) == ("contec", 800.0, STANDARD_LEADS)
    assert record.derived_leads == ("I", "aVR", "aVL", "aVF")
    k = np.arange(50)
    for lead, steps in {"II": 10 * k, "III": -k, "I": 11 * k, "V1": k, "V6": 6 * k, "aVR": -10.5 * k}.items():
        assert record.lead(lead) == pytest.approx(steps * 0.005)
    assert record.lead("aVL") == pytest.approx(6 * k * 0.005)
    assert record.lead("aVF") == pytest.approx(4.5 * k * 0.005)


def test_an_electrode_that_is_off_gives_no_sample() -> None:
    rows = [row.copy() for row in ROWS]
    for row in rows[:5]:
        row[3] = OFF
    for row in rows:
        row[7] = OFF
    record = read_ecg(contec(rows))
    v2 = record.lead("V2")
    assert v2 is not None
    assert np.isnan(v2[:5]).all()
    assert np.isfinite(v2[5:]).all()
    v6 = record.lead("V6")
    assert v6 is not None
    assert np.isnan(v6).all()


def test_limb_electrodes_off_leave_the_chest_leads() -> None:
    record = read_ecg(contec([[OFF, OFF, *row[2:]] for row in ROWS]))
    assert np.isnan(record.signals_mv[:6]).all()
    assert np.isfinite(record.signals_mv[6:]).all()


def test_patient_and_time() -> None:
    record = read_ecg(contec(ROWS, name="张三".encode("gb18030"), who=(1, 70, 65)))
    assert (record.patient.name, record.patient.sex, record.age_years) == ("张三", "M", 70.0)
    assert record.acquired_at == datetime(2020, 11, 12, 10, 9, 5, tzinfo=UTC)
    assert (record.device.manufacturer, record.device.model) == ("Contec", "ECG90A")
    blank = read_ecg(contec(ROWS))
    assert (blank.patient.name, blank.patient.sex, blank.age_years) == (None, None, None)
    assert read_ecg(contec(ROWS, when=b"2020-13-12 18:09:05")).acquired_at is None


def test_a_cut_file_is_refused() -> None:
    data = contec(ROWS)
    for size in range(60, len(data)):
        assert rejected(data[:size]) == "contec_truncated"
    assert rejected(contec([])) == "contec_truncated"


def test_what_is_no_recording_is_refused() -> None:
    assert rejected(contec([[OFF] * 8] * 20)) == "contec_no_ecg_lead"
    assert rejected(contec([[OFF + 1] + [2048] * 7])) == "contec_broken"


def test_it_is_known_by_its_header() -> None:
    assert sniff(contec(ROWS)) == "contec"
    assert sniff(contec(ROWS, when=b"someday")) is None
    assert sniff(b"0000012,2020-11-12 18:09:05\n" * 4) is None


def test_the_real_file_equals_its_table_row_by_row(data_dir: Path) -> None:
    folder = data_dir / "ecg_files" / "contec"
    record = read_ecg(folder / "0000050.ECG")
    table = np.genfromtxt(folder / "0000050.ECG.csv", delimiter=",", usecols=range(6))
    assert record.signals_mv.shape == (12, 37_855)
    assert np.isnan(record.signals_mv[6:]).all()  # only limb electrodes were on
    assert np.abs(record.signals_mv[:3] - table.T[:3] * 0.005).max() < 1e-12
    # the table rounds its augmented leads to whole steps
    assert np.abs(record.signals_mv[3:6] - table.T[3:] * 0.005).max() <= 0.0025 + 1e-12
    key = np.load(folder / "0000050.ECG.gt.npz")
    for lead in ("I", "II", "III"):
        row = record.lead(lead)
        assert row is not None
        assert np.abs(row - key[lead][: row.size]).max() < 1e-6

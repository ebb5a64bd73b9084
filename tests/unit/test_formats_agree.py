"""One ECG is one ECG, whatever format it came in or goes through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from teleread.ingest.formats import read_ecg
from teleread.ingest.formats.writers import WRITERS, write_ecg
from teleread.signal.ecg import EcgRecord, analyse, simulate

TRIPLE = ("scp/ecgtoolkit_Example.scp", "hl7aecg/ecgtoolkit_Example.xml", "dicom/ecgtoolkit_Example.dcm")
LONG_S = 120.0


def real_files(data_dir: Path) -> list[Path]:
    keys = sorted((data_dir / "ecg_files").glob("*/*.gt.json"))
    assert len(keys) >= 24
    return [key.with_name(key.name.removesuffix(".gt.json")) for key in keys]


def answer(record: EcgRecord) -> dict[str, Any]:
    """What the analysis says, but for where the recording came from."""
    found = analyse(record).to_json()
    del found["recording"]
    return found


def test_the_same_ecg_from_three_formats_is_equal_to_the_last_bit(data_dir: Path) -> None:
    first, *others = (read_ecg(data_dir / "ecg_files" / name) for name in TRIPLE)
    for other in others:
        assert (other.fs_hz, other.acquired_at, other.patient.id) == (first.fs_hz, first.acquired_at, first.patient.id)
        assert set(other.leads) == set(first.leads)
        for lead in first.leads:
            assert np.array_equal(np.asarray(first.lead(lead)), np.asarray(other.lead(lead))), lead


def test_analysed_through_dicom_every_file_gives_the_same_answer(data_dir: Path) -> None:
    for path in real_files(data_dir):
        record = read_ecg(path)
        if record.duration_s > LONG_S:
            continue
        (written,) = write_ecg(record, "dicom", "a").values()
        assert answer(read_ecg(written)) == answer(record), path.name


def test_a_birth_date_gives_the_age_whatever_the_format(data_dir: Path) -> None:
    for path in real_files(data_dir):
        record = read_ecg(path)
        known = record.patient.birth_date is not None and record.acquired_at is not None
        assert record.age_years is not None or not known, path.name


@pytest.mark.parametrize("to", WRITERS)
def test_written_and_read_again_every_file_is_within_a_step_of_the_coarser_scale(data_dir: Path, to: str) -> None:
    for path in real_files(data_dir):
        record = read_ecg(path)
        if record.duration_s > LONG_S:
            continue
        again = read_ecg(dict(write_ecg(record, to, "a")))
        assert again.fs_hz == pytest.approx(record.fs_hz, rel=1e-6)
        for lead in record.leads:
            if lead in record.derived_leads:
                continue
            one, other = record.lead(lead), again.lead(lead)
            assert one is not None
            assert other is not None, (path.name, lead)
            step = _step(one)
            assert np.array_equal(np.isfinite(one), np.isfinite(other))
            if not np.isfinite(one).any():
                continue  # its electrode was off
            assert np.nanmax(np.abs(one - other)) <= max(step, 0.001), (path.name, lead)


def _step(samples: Any) -> float:
    gaps = np.diff(np.unique(samples[np.isfinite(samples)]))
    gaps = gaps[gaps > 1e-9]
    return float(gaps.min()) if gaps.size else 0.0


@pytest.mark.parametrize("level_mv", [0.015259021896667946, 0.0152590218966679, 0.1, 0.3])
def test_a_lead_of_one_value_is_flat_whatever_its_last_digit(level_mv: float) -> None:
    record = simulate("normal", 1)[0]
    signals = record.signals_mv.copy()
    signals[6:] = level_mv
    found = analyse(replace(record, signals_mv=signals)).quality.findings
    assert {one.lead for one in found if one.fault == "flat"} == set(record.leads[6:])

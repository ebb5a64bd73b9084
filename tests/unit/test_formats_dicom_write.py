"""Promises of the DICOM writer: what is read, written and read again is the same."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from teleread.ingest.formats import kind_of, read_ecg
from teleread.ingest.formats.dicom_scale import decimal_string, steps_of
from teleread.ingest.formats.dicom_write import derived_uids, write_dicom
from teleread.signal.ecg import (
    Annotation,
    Device,
    DeviceMeasurement,
    EcgRecord,
    Filters,
    Patient,
    simulate,
    with_derived_leads,
)
from teleread.signal.ecg.record import INDEPENDENT_LEADS

KEY = b"a key of this test"
BASE, _ = simulate("normal", 3)
FULL = replace(
    BASE,
    patient=Patient("0007", "village", "张三", date(1960, 2, 3), "F"),
    age_years=61.5,
    acquired_at=datetime(2026, 3, 1, 20, 15, 1, 500_000, tzinfo=UTC),
    device=Device("ACME", "Cart 12", "S-1", "1.0"),
    filters=Filters(0.05, 150.0, 50.0),
    device_measurements=(
        DeviceMeasurement("heart_rate", 61.0, "/min", "MDC:2:16016"),
        DeviceMeasurement("pr_interval", 161.0, "ms", "SCPECG:5.13.5-7"),
        DeviceMeasurement("qrs_axis", -12.0, "deg", "MDC:2:16132"),
        DeviceMeasurement("qtc_fridericia", 411.5, "ms", "99ACME:7"),
        DeviceMeasurement("Sokolow index", 2.1, "mV", "99ACME:8"),
    ),
    device_statements=("窦性心律", "正常心电图"),
    annotations=(
        Annotation("calibration_pulse", 10, 60),
        Annotation("calibration_pulse", 70, 90),
        Annotation("device_beat", 100, 101, text="N"),
        Annotation("device_beat", 900, 901, text="N"),
        Annotation("pacing", 95, 96, "V3"),
    ),
)
TWELVE, GENERAL, AMBULATORY, GENERAL_32 = (f"1.2.840.10008.5.1.4.1.1.9.1.{k}" for k in (1, 2, 3, 4))


def written(record: EcgRecord, charset: Literal["ISO_IR 192", "GB18030"] = "ISO_IR 192") -> bytes:
    return write_dicom(record, uids=derived_uids(record, KEY), charset=charset)


def eight(record: EcgRecord) -> EcgRecord:
    keep = [record.leads.index(lead) for lead in INDEPENDENT_LEADS]
    return with_derived_leads(replace(record, signals_mv=record.signals_mv[keep], leads=INDEPENDENT_LEADS))


def limbs(record: EcgRecord) -> EcgRecord:
    """Of a cart that stores II and III."""
    rows = [record.leads.index(lead) for lead in ("II", "III", "I")]
    return replace(
        record, signals_mv=record.signals_mv[rows], leads=("II", "III", "I"), derived_leads=("I",), annotations=()
    )


def with_holes(record: EcgRecord) -> EcgRecord:
    signals = record.signals_mv.copy()
    signals[3, 5:100], signals[5, :] = np.nan, np.nan
    return replace(record, signals_mv=signals)


MANY = tuple(f"E{k}" for k in range(36))
CASES: dict[str, tuple[Callable[[EcgRecord], EcgRecord], str]] = {
    "twelve": (lambda r: r, TWELVE),
    "eight": (eight, TWELVE),
    "holes": (with_holes, TWELVE),
    "three": (limbs, GENERAL),
    "long": (lambda r: replace(r, signals_mv=np.tile(r.signals_mv, (1, 4))), GENERAL),
    "one lead": (lambda r: replace(r, signals_mv=r.signals_mv[:1], leads=("MLII",), annotations=()), GENERAL),
    "slow": (lambda r: replace(r, fs_hz=128.205128), AMBULATORY),
    "fast": (lambda r: replace(r, fs_hz=2000.0), GENERAL_32),
    "large": (lambda r: replace(r, signals_mv=r.signals_mv + 400.0 * (np.arange(12) == 4)[:, None]), GENERAL_32),
    "many": (lambda r: replace(r, signals_mv=np.tile(r.signals_mv, (3, 1)), leads=MANY, annotations=()), GENERAL),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("charset", ["ISO_IR 192", "GB18030"])
def test_every_fact_survives(case: str, charset: Literal["ISO_IR 192", "GB18030"]) -> None:
    change, sop_class = CASES[case]
    record = change(FULL)
    data = written(record, charset)
    back = read_ecg(data)
    assert back.extra["sop_class"] == sop_class
    assert kind_of(data) == "ecg"
    for name in ("leads", "fs_hz", "derived_leads", "filters", "patient", "acquired_at", "age_years", "device"):
        assert getattr(back, name) == getattr(record, name), name
    assert back.device_measurements == record.device_measurements
    assert back.device_statements == record.device_statements
    assert set(back.annotations) == set(record.annotations)
    assert np.array_equal(np.isnan(back.signals_mv), np.isnan(record.signals_mv))
    assert np.nanmax(np.abs(back.signals_mv - record.signals_mv)) <= 0.001


@pytest.mark.parametrize("name", ["twelve", "eight", "holes", "three", "long", "one lead", "slow", "many"])
@pytest.mark.parametrize("record", [BASE, FULL], ids=["nobody", "full"])
def test_the_standards_own_checker_finds_no_error(name: str, record: EcgRecord, tmp_path: Path) -> None:
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dicom3tools (dciodvfy) is not installed")
    path = tmp_path / "x.dcm"
    for charset in ("ISO_IR 192", "GB18030"):
        path.write_bytes(written(CASES[name][0](record), charset))  # type: ignore[arg-type]
        told = subprocess.run([checker, str(path)], capture_output=True, check=False)
        said = (told.stdout + told.stderr).decode("utf-8", "replace")
        assert "Error" not in said, said
        assert "ECG" in said


def test_the_steps_of_the_device_are_kept_so_that_nothing_is_rounded_twice() -> None:
    for step in (0.00488, 0.0025, 0.0030518043793392843, 1 / 200):
        exact = np.rint(BASE.signals_mv / step) * step
        back = read_ecg(written(replace(BASE, signals_mv=exact)))
        assert np.abs(back.signals_mv - exact).max() < 1e-9
    stored = Path(str(get_testdata_file("waveform_ecg.dcm"))).read_bytes()
    record = read_ecg(stored)
    assert np.abs(read_ecg(written(record)).signals_mv - record.signals_mv).max() < 1e-12


def test_flat_empty_and_wild_signals_have_steps() -> None:
    for values in (np.zeros(9), np.full(9, np.nan), np.full(9, 1e-9), np.array([0, 1e9, -1e9]), np.array([5.0])):
        steps = steps_of(values)
        back = steps.stored(values) * steps.step + steps.baseline
        there = np.isfinite(values)
        assert (steps.stored(values)[~there] == -(1 << (steps.bits - 1))).all()
        assert np.abs(back - values)[there].max(initial=0.0) <= max(1.0, steps.step)


@pytest.mark.parametrize("value", [0.0, -1e-300, 1 / 3, -1 / 3e8, 1e15 / 7, 4.8828125, -123456.789012345678, 1e300])
def test_a_decimal_string_has_sixteen_characters_at_most(value: float) -> None:
    text = decimal_string(value)
    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=1e-8)


def test_the_same_record_gives_the_same_bytes_and_another_key_other_uids() -> None:
    assert written(FULL) == written(FULL)
    ours, theirs = derived_uids(FULL, KEY), derived_uids(FULL, b"another key")
    assert len({ours.study, ours.series, ours.instance, theirs.study, theirs.series, theirs.instance}) == 6
    assert derived_uids(replace(FULL, signals_mv=FULL.signals_mv + 1e-3), KEY).instance != ours.instance
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in (ours.study, ours.series, ours.instance))


def test_a_date_that_is_not_known_is_not_made_up() -> None:
    data = written(BASE)
    assert read_ecg(data).acquired_at is None
    assert pydicom.dcmread(io.BytesIO(data)).StudyDate == ""


def test_computed_leads_are_marked_for_other_software_too() -> None:
    channels = pydicom.dcmread(io.BytesIO(written(eight(FULL)))).WaveformSequence[0].ChannelDefinitionSequence
    marked = {c.ChannelLabel: c.get("ChannelDerivationDescription") for c in channels}
    assert {name for name, how in marked.items() if how} == {"III", "aVR", "aVL", "aVF"}


def test_what_no_waveform_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="leads"):
        written(replace(BASE, signals_mv=np.empty((0, 5)), leads=()))
    with pytest.raises(ValueError, match="sample"):
        written(replace(BASE, signals_mv=np.empty((12, 0))))


def test_every_file_of_the_bench_comes_back_from_dicom(data_dir: Path) -> None:
    folders = data_dir / "ecg_files"
    for path in [*folders.glob("dicom/*.dcm"), *folders.glob("wfdb/*.hea"), *folders.glob("edf/*.edf")]:
        record = read_ecg(path)
        back = read_ecg(written(record))
        assert (back.leads, back.fs_hz, back.patient) == (record.leads, record.fs_hz, record.patient)
        assert back.device_measurements == record.device_measurements
        assert np.nanmax(np.abs(back.signals_mv - record.signals_mv)) <= 0.001

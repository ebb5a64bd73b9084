"""Promises of the EDF, EDF+ and BDF reader; the files are built here from the published description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import kind_of, read_ecg, sniff
from teleread.signal.ecg import Annotation, Device, EcgRecord, Filters, Patient
from tests.prove.mutations import mutate


@dataclass(frozen=True)
class One:
    """One signal of a file to build, as its header has it."""

    label: str
    unit: str | bytes = "uV"
    physical: tuple[object, object] = (-3276.8, 3276.7)
    digital: tuple[object, object] = (-32768, 32767)
    prefilter: str = ""


def field(value: object, width: int) -> bytes:
    raw = value if isinstance(value, bytes) else str(value).encode()
    assert len(raw) <= width
    return raw.ljust(width)


def build(
    signals: Sequence[One], records: Sequence[Sequence[Sequence[int]]], *, seconds: object = 1, reserved: str = "",
    patient: str | bytes = "X X X X", recording: str = "", day: str = "02.03.26", clock: str = "10.11.12",
    count: object = None, n_records: object = None, wide: bool = False, per_record: Sequence[object] | None = None,
    tals: Sequence[bytes] = (),
) -> bytes:  # fmt: skip
    """An EDF or (``wide``) BDF file; with ``tals`` it gets an annotation signal, 60 bytes of each record."""
    every = [*signals, *([One("BDF Annotations" if wide else "EDF Annotations", "")] if tals else [])]
    lengths = list(per_record or [len(one) for one in records[0]]) + ([20 if wide else 30] if tals else [])
    head = b"\xffBIOSEMI" if wide else field("0", 8)
    head += field(patient, 80) + field(recording, 80) + field(day, 8) + field(clock, 8)
    head += field(256 * (len(every) + 1), 8) + field(reserved, 44)
    head += field(len(records) if n_records is None else n_records, 8) + field(seconds, 8)
    head += field(len(every) if count is None else count, 4)
    columns: list[tuple[int, list[object]]] = [
        (16, [s.label for s in every]), (80, ["" for _ in every]), (8, [s.unit for s in every]),
        (8, [s.physical[0] for s in every]), (8, [s.physical[1] for s in every]),
        (8, [s.digital[0] for s in every]), (8, [s.digital[1] for s in every]),
        (80, [s.prefilter for s in every]), (8, lengths), (32, ["" for _ in every]),
    ]  # fmt: skip
    for width, values in columns:
        head += b"".join(field(value, width) for value in values)
    body = b""
    for k, record in enumerate(records):
        for one in record:
            stored = np.asarray(one, dtype="<i4")
            body += stored.view(np.uint8).reshape(-1, 4)[:, : 3 if wide else 2].tobytes()
        if tals:
            body += tals[k].ljust(60, b"\0")
    return head + body


def plain(**change: object) -> bytes:
    """Two leads of 100 Hz, two records of one second."""
    step = np.arange(100)
    given: dict[str, object] = {"signals": [One("ECG I"), One("II", "mV", (-5, 5), (-5000, 5000))]}
    return build(**{**given, "records": [[step, -step], [step + 100, -step - 100]], **change})  # type: ignore[arg-type]


def rejected(data: bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(data)
    return caught.value.code


def test_samples_are_scaled_by_the_limits_of_each_signal() -> None:
    record = read_ecg(plain())
    assert (record.leads, record.fs_hz, record.signals_mv.shape) == (("I", "II"), 100.0, (2, 200))
    assert np.allclose(record.signals_mv[0], np.arange(200) * 1e-4)  # 0.1 µV per step
    assert np.allclose(record.signals_mv[1], -np.arange(200) * 1e-3)
    assert record.acquired_at == datetime(2026, 3, 2, 2, 11, 12, tzinfo=UTC)
    assert (record.source_format, sniff(plain()), kind_of(plain())) == ("edf", "edf", "ecg")


def test_an_inverted_amplifier_is_turned_and_offset_limits_are_kept() -> None:
    data = plain(signals=[One("I", "uV", (3276.7, -3276.8)), One("II", "uV", (0, 1000), (0, 1000))])
    first, second = read_ecg(data).signals_mv
    assert first[:3] == pytest.approx([-0.0001, -0.0002, -0.0003])
    assert second[:3] == pytest.approx([0, -0.001, -0.002])


@pytest.mark.parametrize(
    ("unit", "millivolts"),
    [
        ("uV", 0.001), ("uv", 0.001), (b"\xb5V", 0.001), ("µV", 0.001), ("μV", 0.001), (b"\xa6\xccV", 0.001),
        (b"\xe6V", 0.001), ("microV", 0.001), ("mV", 1.0), ("V", 1000.0), ("nV", 1e-6),
    ],
)  # fmt: skip
def test_units_are_understood_in_every_spelling(unit: str | bytes, millivolts: float) -> None:
    data = plain(signals=[One("I", unit, (-32768, 32767)), One("II")])
    assert read_ecg(data).signals_mv[0, 1] == pytest.approx(millivolts)


def test_bdf_has_24_bits() -> None:
    full = (-8388608, 8388607)
    values = [0, 1, -1, 8388607, -8388608]
    data = build([One("ECG V1", "uV", full, full)], [[values]], wide=True, reserved="24BIT", seconds=0.01)
    record = read_ecg(data)
    assert (record.leads, record.fs_hz) == (("V1",), 500.0)
    assert record.signals_mv[0] * 1000 == pytest.approx(values)
    assert record.extra["variant"] == "BDF"


def test_slower_signals_and_other_kinds_are_kept_aside() -> None:
    signals = [One("ECG II"), One("Resp chest", "uV"), One("SaO2", "%"), One("EEG C3", "uV")]
    data = build(signals, [[np.arange(10), np.arange(5), [97], np.arange(10)]], seconds=0.1)
    record = read_ecg(data)
    assert (record.leads, record.fs_hz) == (("II",), 100.0)
    assert [(c.name, c.unit, c.fs_hz, c.samples.size) for c in record.other_channels] == [
        ("Resp chest", "mV", 50.0, 5),
        ("SaO2", "%", 10.0, 1),
        ("EEG C3", "mV", 100.0, 10),
    ]


def plus(variant: str, onsets: Sequence[float], extra: Sequence[bytes] = ()) -> EcgRecord:
    step = np.arange(10)
    tals = [f"+{onset:.12g}\x14\x14\0".encode() for onset in onsets]
    tals = [tal + (extra[k] if k < len(extra) else b"") for k, tal in enumerate(tals)]
    records = [[step + 10 * k] for k in range(len(onsets))]
    return read_ecg(
        build(
            [One("ECG I", prefilter="HP:0.05Hz LP:150Hz N:50Hz")],
            records,
            seconds=0.1,
            reserved=variant,
            tals=tals,
            patient="MCH-7 F 02-MAY-1951 张_三",
            recording="Startdate 02-MAR-2026 X X ECG_90A",
        )
    )


def test_a_gap_between_records_is_missing() -> None:
    record = plus("EDF+D", [0.5, 0.6, 0.8])
    row = record.signals_mv[0]
    assert row.size == 40
    assert np.isnan(row[20:30]).all()
    assert row[[0, 19, 30, 39]] * 1e4 == pytest.approx([0, 19, 20, 29])
    assert record.acquired_at == datetime(2026, 3, 2, 2, 11, 12, 500_000, tzinfo=UTC)


def test_marks_patient_device_and_filters_of_edf_plus() -> None:
    marks = b"+0.05\x150.03\x14Calibration pulse\x14\0+0.02\x14QRS\x14\0+0.04\x14lunch\x14\0"
    record = plus("EDF+C", [0, 0.1, 0.2], [marks])
    assert record.annotations == (
        Annotation("calibration_pulse", 5, 8, text="Calibration pulse"),
        Annotation("device_beat", 2, 3, text="QRS"),
    )
    assert record.patient == Patient(id="MCH-7", name="张 三", sex="F", birth_date=date(1951, 5, 2))
    assert record.device == Device(model="ECG 90A")
    assert record.filters == Filters(0.05, 150.0, 50.0)


@pytest.mark.parametrize(
    ("text", "patient"),
    [
        ("王小东".encode("gb18030"), Patient(name="王小东")),
        ("0007", Patient(id="0007")),
        ("dd-MMM-yyyy", Patient()),
        ("X X X X", Patient()),
        ("", Patient()),
    ],
)
def test_plain_edf_says_who_in_its_own_words(text: str | bytes, patient: Patient) -> None:
    assert read_ecg(plain(patient=text)).patient == patient


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"n_records": -1}, "edf_truncated"),
        ({"n_records": -5}, "edf_header_invalid"),
        ({"n_records": 3}, "edf_truncated"),
        ({"n_records": 99_999_999}, "edf_truncated"),
        ({"count": -2}, "edf_header_invalid"),
        ({"count": 9999}, "edf_header_invalid"),
        ({"per_record": [-100, 100]}, "edf_header_invalid"),
        ({"per_record": [99_999_999, 100]}, "edf_header_invalid"),
        ({"per_record": [9_999_999, 9_999_999]}, "edf_too_large"),
        ({"per_record": [0, 0]}, "edf_no_ecg_lead"),
        ({"seconds": 0}, "edf_no_rate"),
        ({"seconds": -1}, "edf_header_invalid"),
        ({"seconds": "1e-300"}, "edf_no_rate"),
        ({"seconds": "nan"}, "edf_header_invalid"),
        ({"signals": [One("I", ""), One("II", "")]}, "edf_no_scale"),
        ({"signals": [One("I", "uV", (0, 0)), One("II")]}, "edf_no_scale"),
        ({"signals": [One("I", "uV", (-1, 1), (5, 5)), One("II")]}, "edf_no_scale"),
        ({"signals": [One("I", "uV", (-1, 1), (5, -5)), One("II")]}, "edf_header_invalid"),
        ({"signals": [One("I", "uV", ("x", 1)), One("II")]}, "edf_header_invalid"),
        ({"signals": [One("EEG Fz"), One("EMG")]}, "edf_no_ecg_lead"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_code(change: dict[str, object], code: str) -> None:
    assert rejected(plain(**change)) == code


def test_times_that_overlap_or_lie_far_apart_are_refused() -> None:
    for onsets, code in (([0, 0.05], "edf_times_invalid"), ([0, 9e8], "edf_too_large"), ([5, 1], "edf_times_invalid")):
        with pytest.raises(InputRejected) as caught:
            plus("EDF+D", onsets)
        assert caught.value.code == code


def test_a_file_cut_anywhere_is_refused() -> None:
    data = plain()
    for n in range(256, len(data), 37):
        assert rejected(data[:n]) in ("edf_truncated", "edf_header_invalid")


def test_bytes_that_nothing_accounts_for_are_refused() -> None:
    data = plain()
    assert rejected(data + b"\0\0") == "edf_size_invalid"
    assert rejected(data[:900] + b"\0" + data[900:]) == "edf_size_invalid"


def test_a_mutated_file_gives_a_record_or_a_code() -> None:
    for number in range(300):
        try:
            record = read_ecg(mutate(plain(), number))
        except InputRejected:
            continue
        assert np.isfinite(record.signals_mv).all()


def test_the_real_file_is_read_as_its_key_says(data_dir: Path) -> None:
    path = data_dir / "ecg_files" / "edf" / "contec_0000050.edf"
    record = read_ecg(path)
    assert record.fs_hz == 800.0
    with np.load(str(path) + ".gt.npz") as truth:
        for name in truth.files:
            lead = record.lead(name)
            assert lead is not None
            assert np.abs(lead - truth[name]).max() < 1e-6

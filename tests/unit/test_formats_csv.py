"""Promises of the CSV reader."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff
from teleread.ingest.formats.format import Given
from teleread.signal.ecg import STANDARD_LEADS, EcgRecord, Patient
from tests.prove.mutations import mutate

FULL = Given(fs_hz=500.0, unit="mV")


def table(n: int = 40, delimiter: str = ",", time: Callable[[int], str] | None = None) -> str:
    rows = []
    for k in range(n):
        cells = [time(k)] if time else []
        rows.append(delimiter.join([*cells, f"{0.1 * (k % 7):.3f}", f"{-0.1 * (k % 5):.3f}"]))
    return "\n".join(rows) + "\n"


def is_right(record: EcgRecord, fs_hz: float = 500.0, n: int = 40) -> None:
    assert (record.leads, record.fs_hz, record.signals_mv.shape) == (("I", "II"), fs_hz, (2, n))
    assert np.allclose(record.signals_mv[0], [0.1 * (k % 7) for k in range(n)])
    assert np.allclose(record.signals_mv[1], [-0.1 * (k % 5) for k in range(n)])


def rejected(data: str | bytes, given: Given | None = FULL) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(data.encode() if isinstance(data, str) else data, given=given)
    return caught.value.code


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " ", "   "])
def test_every_delimiter_is_told_from_the_rows(delimiter: str) -> None:
    text = delimiter.join(("I", "II")) + "\n" + table(delimiter=delimiter)
    is_right(read_ecg(text.encode(), given=FULL))
    is_right(read_ecg(text.replace("\n", "\r\n").encode(), given=FULL))
    is_right(read_ecg(text.rstrip().encode(), given=FULL))


@pytest.mark.parametrize("delimiter", [";", "\t", " "])
def test_a_decimal_comma_is_no_delimiter(delimiter: str) -> None:
    text = delimiter.join(("I", "II")) + "\n" + table(delimiter=delimiter).replace(".", ",")
    is_right(read_ecg(text.encode(), given=FULL))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-be"])
def test_chinese_headings_are_read_in_every_encoding(encoding: str) -> None:
    text = "# 采样率：500 Hz\n# 单位：毫伏\n# 姓名：张三\n# 性别：男\n# 年龄：65岁\n"
    text += "# 采集时间：2026-03-02 10:11:12\n导联I,Ⅱ导联\n"
    raw = (("\ufeff" if encoding == "utf-16-be" else "") + text + table()).encode(encoding)
    record = read_ecg(raw)
    is_right(record)
    assert record.patient == Patient(name="张三", sex="M")
    assert (record.age_years, record.acquired_at) == (65.0, datetime(2026, 3, 2, 2, 11, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("heading", "factor"),
    [
        ("fs=500\nunit=mV\nI,II\n", 1.0),
        ("fs_hz,500\nunit,uV\nI,II\n", 1e-3),
        ("Sampling rate (Hz): 500\nI (mV),II (mV)\n", 1.0),
        ("Sampling interval: 2 ms\nI [uV],II [µV]\n", 1e-3),
        ("sample rate: 0.5 kHz\nI_uV,II_uV\n", 1e-3),
        ("# fs: 500\n# resolution: 5 uV/LSB\nI,II\n", 5e-3),
        ("# fs: 500\n# gain: 200 adu/mV\nI,II\n", 5e-3),
        ('# fs: 500\n"I","II"\n"mV","mV"\n', 1.0),
    ],
)
def test_rate_and_unit_come_from_the_lines_above(heading: str, factor: float) -> None:
    record = read_ecg((heading + table()).encode())
    assert (record.leads, record.fs_hz) == (("I", "II"), 500.0)
    assert record.signals_mv[0, :3] == pytest.approx([0, 0.1 * factor, 0.2 * factor])


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("time", lambda k: f"{k / 500:.3f}"),
        ("Time (s)", lambda k: f"{7 + k / 500:.4f}"),
        ("时间(毫秒)", lambda k: f"{2 * k}"),
        ("time_ms", lambda k: f"{2 * k}"),
        ("t", lambda k: f"{2 * k}"),
    ],
)
def test_a_time_column_gives_the_rate(name: str, time: Callable[[int], str]) -> None:
    is_right(read_ecg(f"{name},I (mV),II (mV)\n{table(time=time)}".encode()))


def test_the_export_of_physiobank_is_read() -> None:
    head = "'Elapsed time','I','II'\n'hh:mm:ss.mmm','mV','mV'\n"
    text = head + table(720, time=lambda k: f"'0:{k / 360:06.3f}'")
    is_right(read_ecg(text.encode()), fs_hz=360.0, n=720)


def test_a_sample_number_is_no_lead() -> None:
    is_right(read_ecg(("sample,I,II\n" + table(time=str)).encode(), given=FULL))


def test_other_columns_are_kept_aside_and_empty_ones_dropped() -> None:
    rows = "".join(f"{k},{k + 1},,7{k % 2}\n" for k in range(20))
    record = read_ecg(("I,II,V1,HR\n" + rows).encode(), given=FULL)
    assert record.leads == ("I", "II")
    assert [c.name for c in record.other_channels] == ["HR"]


def test_a_missing_number_is_missing() -> None:
    rows = table().splitlines()
    rows[3], rows[4], rows[5] = ",0.5", "0.5,", "nan,0.5"
    signals = read_ecg(("I,II\n" + "\n".join(rows)).encode(), given=FULL).signals_mv
    assert np.isnan(signals[:, 3:6]).tolist() == [[True, False, True], [False, True, False]]
    assert signals[1, 3] == 0.5


def test_unnamed_columns_are_leads_only_where_the_limb_leads_prove_their_order() -> None:
    rng = np.random.default_rng(1)
    one, two = np.cumsum(rng.integers(-9, 10, (2, 200)), axis=1)
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    every = np.rint([*limbs, *rng.integers(-99, 99, (6, 200))]).astype(int).T
    right = read_ecg("".join(",".join(map(str, row)) + "\n" for row in every).encode(), given=FULL)
    assert right.leads == STANDARD_LEADS
    turned = every[:, [1, 0, *range(2, 12)]]
    wrong = read_ecg("".join(",".join(map(str, row)) + "\n" for row in turned).encode(), given=FULL)
    assert wrong.leads[0] == "column 1"


@pytest.mark.parametrize(
    ("text", "given", "code"),
    [
        ("I,II\n" + table(), None, "csv_no_rate"),
        ("I,II\n" + table(), Given(fs_hz=500.0), "csv_no_scale"),
        ("I,II\n" + table(), Given(unit="mV"), "csv_no_rate"),
        ("I (mV),II\n" + table(), Given(fs_hz=500.0), "csv_no_scale"),
        ("fs=500\nI,II\n" + table(), Given(250.0, "mV"), "csv_rate_conflict"),
        ("fs=0\nI,II\n" + table(), FULL, "csv_rate_invalid"),
        ("fs=500\ntime,I,II\n" + table(time=lambda k: f"{k / 250}"), FULL, "csv_rate_conflict"),
        ("time,I,II\n" + table(time=lambda k: f"{k * k / 500}"), FULL, "csv_time_uneven"),
        ("time,I,II\n" + table(time=lambda k: f"{k / 500 + (1 if k > 20 else 0)}"), FULL, "csv_time_uneven"),
        ("time,I,II\n" + table(time=lambda k: f"{k * 0.03}"), Given(unit="mV"), "csv_no_rate"),
        ("I,II\n" + table() + "0.1", FULL, "csv_truncated"),
        ("I,II\n" + table() + "0.1,0.2,0.3\n" + table(), FULL, "csv_invalid"),
        ("I,II\n" + table() + "0.1,x\n", FULL, "csv_invalid"),
        ("I,II\n" + table() + "0.1,1e999\n", FULL, "csv_invalid"),
        ("I,II\n" + table() + "0.1 0.2,\n", FULL, "csv_invalid"),
        ("I,II\n" + table() + "1-2,\n", FULL, "csv_invalid"),
        ("I,II\n" + table() + "1.2.3,\n", FULL, "csv_invalid"),
        ("I,II\n" + table() + "--1,2\n", FULL, "csv_invalid"),
        ("sample,n\n" + table(time=None), FULL, "csv_no_ecg_lead"),
    ],
)
def test_what_is_not_stated_or_not_even_is_refused(text: str, given: Given | None, code: str) -> None:
    assert rejected(text, given) == code


def test_a_person_states_what_the_file_does_not() -> None:
    record = read_ecg(("I,II\n" + table()).encode(), given=Given(500.0, "uV"))
    assert record.signals_mv[0, 1] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    "text", ["a,b,c\n1,2,3\n", "1\n2\n3\n4\n5\n", "x" * 9000, ",,,\n" * 40, "\n" * 50, "1,2\n3\n" * 20]
)
def test_other_text_is_no_table_of_leads(text: str) -> None:
    assert sniff(text.encode()) is None


def test_a_long_line_or_a_huge_file_is_refused_at_once() -> None:
    head = ("I,II\n" + table()).encode()
    assert rejected(head + b"1" * (5 << 20)) == "csv_invalid"
    assert rejected(head + b"0.1,0.2\n" * (5 << 20)) == "csv_too_large"


def test_a_mutated_file_gives_a_record_or_a_code() -> None:
    text = ("# fs=500\n# unit=mV\n# 出生日期: 1961-02-03\ntime,I,II\n" + table(time=lambda k: f"{k / 500}")).encode()
    assert read_ecg(text).patient.birth_date == date(1961, 2, 3)
    for number in range(300):
        try:
            read_ecg(mutate(text, number))
        except InputRejected:
            continue


def test_the_real_export_needs_rate_and_unit_and_then_has_its_leads(data_dir: Path) -> None:
    path = data_dir / "ecg_files" / "contec" / "0000050.ECG.csv"
    for given, code in ((None, "csv_no_rate"), (Given(fs_hz=800.0), "csv_no_scale")):
        assert rejected(path.read_bytes(), given) == code
    record = read_ecg(path, given=Given(800.0, "5uV"))
    assert record.leads == STANDARD_LEADS[:6]
    with np.load(str(path.with_suffix("")) + ".gt.npz") as key:
        for name in ("I", "II", "III"):
            lead = record.lead(name)
            assert lead is not None
            assert np.array_equal(np.rint(lead * 200), np.rint(key[name][: lead.size] * 200))


def test_unit_and_step_together_do_not_scale_twice() -> None:
    heading = "fs=500\nunit=mV\nresolution=5 uV/LSB\nI,II\n"
    is_right(read_ecg((heading + table()).encode()))
    whole = "\n".join(f"{k % 7},{k % 5}" for k in range(100)) + "\n"
    assert rejected(heading + whole, None) == "csv_no_scale"  # steps, or millivolts
    assert read_ecg((heading + whole).encode(), given=Given(unit="5uV")).signals_mv[0, 6] == pytest.approx(0.03)


@pytest.mark.parametrize(("unit", "per_mv"), [("uV", 1e-3), ("5uV", 5e-3), ("4.88 uv", 4.88e-3), (".5mV", 0.5)])
def test_a_step_is_given_as_a_number_of_a_unit(unit: str, per_mv: float) -> None:
    record = read_ecg(("I,II\n" + table()).encode(), given=Given(500.0, unit))
    plain = read_ecg(("I,II\n" + table()).encode(), given=Given(500.0, "mV"))
    assert np.allclose(record.signals_mv, plain.signals_mv * per_mv)


@pytest.mark.parametrize("unit", ["0uV", "-5uV", "5", "5mm", "uV5", "1e3uV", ""])
def test_what_is_no_step_of_a_voltage_is_as_good_as_nothing(unit: str) -> None:
    assert rejected(("I,II\n" + table()).encode(), Given(500.0, unit)) == "csv_no_scale"

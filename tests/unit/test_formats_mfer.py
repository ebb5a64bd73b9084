"""Promises of the MFER reader."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff
from teleread.signal.ecg import STANDARD_LEADS
from tests.unit.mfer_files import channel, monitor, standard, tlv

ROWS = [[(7 * k * lead) % 400 - 200 for k in range(500)] for lead in range(1, 9)]


def rejected(data: bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(data)
    return caught.value.code


def test_a_carts_file() -> None:
    record = read_ecg(standard(ROWS))
    assert (record.source_format, record.fs_hz, record.leads) == ("mfer", 500.0, STANDARD_LEADS)
    assert record.derived_leads == ("III", "aVR", "aVL", "aVF")
    assert record.lead("V6") == pytest.approx(np.array(ROWS[7]) * 0.005)


@pytest.mark.parametrize("big", [False, True])
def test_a_monitors_file_with_rates_per_channel_and_null_values(big: bool) -> None:
    blocks = [
        [[100 * s + k for k in range(8)], [-k for k in range(8)], [5, -32768], [7], [1, 2, 3, 4], [3] * 8]
        for s in range(3)
    ]
    blocks[1][0][2] = -32768
    data = monitor(blocks, [2, 7, 0xC005, 160, 0xC008, 4166], [4, 4, 16, 32, 8, 4], big=big, units=[0, 0, 11, 11, 7, 0])
    record = read_ecg(data)
    assert (record.leads, record.fs_hz) == (("II", "V5", "ECG1"), 250.0)
    expected = np.concatenate([np.array(s[0], float) for s in blocks]) * 0.002
    expected[10] = np.nan
    assert record.signals_mv[0] == pytest.approx(expected, nan_ok=True)
    others = {c.name: (c.unit, c.fs_hz, c.samples.size) for c in record.other_channels}
    assert others == {
        "channel 3": ("Ohm", 62.5, 6),
        "Impedance respiration": ("Ohm", 31.25, 3),
        "channel 5": ("%", 125.0, 12),
    }
    assert np.isnan(record.other_channels[0].samples[1::2]).all()
    assert (record.device.manufacturer, record.device.model) == ("Maker", "Model 1")
    assert (record.device.software, record.device.serial) == ("02-01", "SN7")


def test_slower_ecg_leads_are_kept_aside() -> None:
    blocks = [[[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]] for _ in range(5)]
    record = read_ecg(monitor(blocks, [2, 7, 1], [4, 4, 8]))
    assert record.leads == ("II", "V5")
    assert [(c.name, c.unit, c.fs_hz) for c in record.other_channels] == [("I", "mV", 125.0)]


@pytest.mark.parametrize(
    ("kind", "code"), [(0, "h"), (1, "H"), (2, "i"), (3, "B"), (5, "b"), (6, "I"), (7, "f"), (8, "d")]
)
def test_every_data_type(kind: int, code: str) -> None:
    values = [0, 1, 2, 100]
    head = tlv(0x01, b"\1") + tlv(0x0A, bytes([kind])) + tlv(0x0B, b"\x00\x02\x05") + tlv(0x0C, b"\x00\xfb\x01")
    data = head + tlv(0x05, b"\1") + tlv(0x09, b"\2") + tlv(0x04, b"\2") + tlv(0x1E, struct.pack(f"<4{code}", *values))
    record = read_ecg(data)
    assert (record.leads, record.fs_hz) == (("II",), 500.0)
    assert record.signals_mv[0] == pytest.approx([0.0, 0.01, 0.02, 1.0])


def test_an_offset_is_added_before_scaling() -> None:
    record = read_ecg(standard(ROWS, extra=tlv(0x0D, struct.pack(">h", -100))))
    assert record.lead("I") == pytest.approx((np.array(ROWS[0]) - 100) * 0.005)


def test_what_is_not_a_number_is_missing() -> None:
    head = tlv(0x01, b"\1") + tlv(0x0A, b"\7") + tlv(0x0B, b"\x00\x02\x05") + tlv(0x0C, b"\x00\xfb\x01")
    data = head + tlv(0x05, b"\1") + tlv(0x09, b"\2") + tlv(0x1E, struct.pack("<4f", 1, float("nan"), float("inf"), 2))
    assert np.isnan(read_ecg(data).signals_mv[0]).tolist() == [False, True, True, False]


def test_frames_follow_each_other_and_dominant_beats_are_left_out() -> None:
    one = standard(ROWS)[:-2]
    again = tlv(0x1E, struct.pack(">4000h", *[9] * 4000), long=True)
    dominant = tlv(0x08, b"\x00\x09") + again
    record = read_ecg(one + again + dominant + b"\x80\0")
    assert record.signals_mv.shape == (12, 1000)
    assert record.lead("II") == pytest.approx(np.array(ROWS[1] + [9] * 500) * 0.005)


def test_an_average_beat_of_another_length_does_not_hide_the_rhythm() -> None:
    for kind in (8, 9):
        beat = tlv(0x08, bytes([0, kind])) + tlv(0x04, b"\x00\x00\x00\x64") + tlv(0x1E, bytes(1600), long=True)
        record = read_ecg(standard(ROWS)[:-2] + beat + b"\x80\0")
        assert record.signals_mv.shape == (12, 500)
        assert record.lead("II") == pytest.approx(np.array(ROWS[1]) * 0.005)


def test_frames_of_different_channels_are_refused() -> None:
    changed = tlv(0x0C, b"\x00\xfa\x0a") + tlv(0x1E, bytes(8000), long=True)
    assert rejected(standard(ROWS)[:-2] + changed) == "mfer_unsupported"


@pytest.mark.parametrize(
    ("declared", "raw", "name"),
    [
        (b"GB18030", "张^^三".encode("gb18030"), "张三"),
        (b"UTF-8", "张三".encode(), "张三"),
        (b"", "张三".encode("gb18030"), "张三"),
        (b"Shift_JIS", "山田^ﾔﾏﾀﾞ^太郎^ﾀﾛｳ".encode("shift_jis"), "山田太郎"),
        (b"JIS X 0208", "山田".encode("iso2022_jp"), "山田"),
        (b"ISO 8859-1", "Müller^^Anna".encode("latin-1"), "Anna Müller"),
        (b"ASCII", b"Schumann^^Clara\0", "Clara Schumann"),
    ],
)
def test_patients_in_every_character_set(declared: bytes, raw: bytes, name: str) -> None:
    who = (
        (tlv(0x03, declared) if declared else b"")
        + tlv(0x81, raw)
        + tlv(0x82, b"P-1^X")
        + tlv(0x83, struct.pack(">BHHBB", 75, 174, 1948, 9, 13))
        + tlv(0x84, b"\2")
        + tlv(0x85, struct.pack(">H5BHH", 2024, 3, 5, 14, 30, 15, 250, 0))
    )
    record = read_ecg(standard(ROWS, extra=who))
    assert (record.patient.name, record.patient.id, record.patient.sex) == (name, "P-1", "F")
    assert record.patient.birth_date == date(1948, 9, 13)
    assert record.age_years == pytest.approx(75 + 174 / 365.25)
    assert record.acquired_at == datetime(2024, 3, 5, 6, 30, 15, 250_000, tzinfo=UTC)


def test_filters() -> None:
    extra = tlv(0x11, b"HPF=0.05") + tlv(0x11, b"LPF=150^x") + tlv(0x11, b"BEF=50Hz^hum filter") + tlv(0x11, b"BEF=nan")
    found = read_ecg(standard(ROWS, extra=extra)).filters
    assert (found.high_pass_hz, found.low_pass_hz, found.notch_hz) == (0.05, 150.0, 50.0)


def test_definitions_of_open_length_and_groups() -> None:
    data = standard(ROWS)
    group = b"\x67\x80" + tlv(0x16, b"note") + b"\0\0"
    nested = tlv(0x67, channel(0, tlv(0x09, b"\x10")))
    record = read_ecg(data.replace(tlv(0x1E, b"")[:1] + b"\x84", group + nested + b"\x1e\x84", 1))
    assert record.leads[0] == "X"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (standard(ROWS, resolution=b""), "mfer_no_scale"),
        (standard(ROWS, resolution=b"\x00\xfa\x00"), "mfer_no_scale"),
        (standard(ROWS, resolution=b"\x00\x7f\x01"), "mfer_no_scale"),
        (standard(ROWS, extra=tlv(0x0B, b"")), "mfer_no_rate"),
        (standard(ROWS, extra=tlv(0x0B, b"\x01\xfd\x00")), "mfer_no_rate"),
        (standard(ROWS, extra=tlv(0x0B, b"\x02\xfd\x01")), "mfer_no_rate"),
        (standard(ROWS, extra=tlv(0x0B, b"\x01\x80\x01")), "mfer_no_rate"),
        (standard(ROWS, resolution=b"\x01\xfa\x05"), "mfer_no_ecg_lead"),
        (standard(ROWS, extra=tlv(0x08, b"\x00\x28")), "mfer_no_ecg_lead"),
        (standard(ROWS, extra=tlv(0x05, b"\0")), "mfer_no_ecg_lead"),
        (standard(ROWS, extra=tlv(0x05, b"\xff")), "mfer_too_large"),
        (standard(ROWS, extra=tlv(0x0E, b"\x00\x01" + bytes(4))), "mfer_unsupported"),
        (standard(ROWS, extra=tlv(0x0A, b"\x09")), "mfer_unsupported"),
        (standard(ROWS, extra=tlv(0x0A, b"\x0c")), "mfer_broken"),
        (standard(ROWS, extra=tlv(0x04, b"\0")), "mfer_broken"),
        (standard(ROWS, extra=tlv(0x04, b"\xff\xff\xff\xff")), "mfer_truncated"),
        (standard(ROWS, extra=tlv(0x06, b"\x02")), "mfer_truncated"),
        (standard(ROWS, extra=channel(0, tlv(0x06, b"\2"))), "mfer_unsupported"),
        (standard(ROWS, extra=channel(0, channel(1))), "mfer_broken"),
        (standard(ROWS, extra=b"\x67\x06\x67\x04\x67\x02\x67\x00"), "mfer_too_deep"),
        (standard(ROWS, extra=b"\x16\x85" + bytes(5)), "mfer_broken"),
        (standard(ROWS, extra=b"\x67\x80"), "mfer_truncated"),
        (standard(ROWS, extra=b"\x16\0" * 200_001), "mfer_too_large"),
        (standard(ROWS, extra=tlv(0x01, b"\7")), "mfer_broken"),
        (tlv(0x40, b"MFR ") + tlv(0x01, b"\1"), "mfer_no_ecg_lead"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_code(data: bytes, code: str) -> None:
    assert rejected(data) == code


def test_every_cut_is_refused() -> None:
    data = standard([[1, 2, 3]] * 8)
    for size in range(12, len(data) - 2):
        assert rejected(data[:size]) in ("mfer_truncated", "mfer_no_ecg_lead")


def test_it_is_known_with_and_without_a_preamble() -> None:
    data = standard(ROWS)
    assert sniff(data) == "mfer"
    assert sniff(data[34:]) == "mfer"
    assert sniff(b"\1\1\1" + bytes(100)) is None
    assert sniff(b"@ some text that is no preamble") is None

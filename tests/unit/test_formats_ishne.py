"""Promises of the ISHNE Holter reader."""

from __future__ import annotations

import binascii
import struct
import tracemalloc
from datetime import UTC, date, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff

SAMPLES = np.array([[0, 1, -2, 300], [5, -5, 32767, -32768], [9, 8, 7, 6]], np.int16)


def ishne(
    samples: NDArray[np.int16] = SAMPLES,
    leads: tuple[int, ...] = (5, 11, 2),
    steps_nv: tuple[int, ...] = (2500, 5000, 1000),
    fs: int = 200,
    more: bytes = b"",
    checksum: int | None = None,
    count: int | None = None,
    names: tuple[bytes, bytes] = (b"Clara", b"Schumann"),
) -> bytes:
    def twelve(values: tuple[int, ...]) -> bytes:
        return struct.pack("<12h", *values, *[-9] * (12 - len(values)))

    body = struct.pack("<iiiih", len(more), samples.shape[1], 522, 522 + len(more), 1)
    body += names[0].ljust(40, b"\0") + names[1].ljust(40, b"\0") + b"P-1".ljust(20, b"\0")
    body += struct.pack("<hh3h3h3h3h", 2, 0, 13, 9, 1948, 5, 3, 2024, 5, 3, 2024, 14, 30, 15)
    body += struct.pack("<h", len(leads) if count is None else count) + twelve(leads) + twelve((1,) * len(leads))
    body += twelve(steps_nv) + struct.pack("<h", 0) + b"digital".ljust(40, b"\0") + struct.pack("<h", fs)
    body = body.ljust(512, b"\0") + more
    crc = binascii.crc_hqx(body, 0xFFFF) if checksum is None else checksum
    return b"ISHNE1.0" + struct.pack("<H", crc) + body + np.ascontiguousarray(samples.T).tobytes()


def rejected(data: bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(data)
    return caught.value.code


@pytest.mark.parametrize("more", [b"", b"a block of any length"])
def test_interleaved_samples_in_each_leads_own_resolution(more: bytes) -> None:
    record = read_ecg(ishne(more=more))
    assert (record.source_format, record.fs_hz, record.leads) == ("ishne", 200.0, ("I", "V1", "X"))
    assert record.signals_mv[0] == pytest.approx([0.0, 0.0025, -0.005, 0.75])
    assert record.signals_mv[1, :3] == pytest.approx([0.025, -0.025, 163.835])
    assert np.isnan(record.signals_mv[1, 3])
    assert record.signals_mv[2] == pytest.approx([0.009, 0.008, 0.007, 0.006])


def test_patient_and_time() -> None:
    record = read_ecg(ishne())
    assert (record.patient.id, record.patient.name, record.patient.sex) == ("P-1", "Clara Schumann", "F")
    assert record.patient.birth_date == date(1948, 9, 13)
    assert record.acquired_at == datetime(2024, 3, 5, 6, 30, 15, tzinfo=UTC)
    assert record.device.model == "digital"
    assert read_ecg(ishne(names=("三".encode("gb18030"), "张".encode("gb18030")))).patient.name == "张三"


def test_a_checksum_in_either_byte_order_or_none() -> None:
    data = ishne()
    turned = data[:8] + data[9:10] + data[8:9] + data[10:]
    assert np.array_equal(read_ecg(turned).signals_mv, read_ecg(data).signals_mv, equal_nan=True)
    assert dict(read_ecg(ishne(checksum=0)).extra) == {"checksum": "absent"}
    for at in range(8, 522):
        changed = bytearray(data)
        changed[at] ^= 2
        assert rejected(bytes(changed)) in ("ishne_broken", "ishne_truncated")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"ANN  1.0" + ishne()[8:], "ishne_annotations"),
        (ishne()[:500], "ishne_truncated"),
        (ishne()[:522], "ishne_truncated"),
        (ishne()[:-1], "ishne_truncated"),
        (ishne(steps_nv=(2500, 0, 1000)), "ishne_no_scale"),
        (ishne(steps_nv=(2500, -9, 1000)), "ishne_no_scale"),
        (ishne(fs=0), "ishne_no_rate"),
        (ishne(fs=-1), "ishne_no_rate"),
        (ishne(count=0), "ishne_no_ecg_lead"),
        (ishne(count=13), "ishne_no_ecg_lead"),
        (ishne()[:10] + struct.pack("<i", -5) + ishne()[14:], "ishne_broken"),
        (ishne()[:10] + struct.pack("<i", 1 << 30) + ishne()[14:], "ishne_truncated"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_code(data: bytes, code: str) -> None:
    assert rejected(data) == code


def test_fewer_samples_than_declared_are_noted() -> None:
    assert dict(read_ecg(ishne()).extra) == {}
    assert dict(read_ecg(ishne()[:-6]).extra) == {"samples_declared": "4", "samples_stored": "3"}


def test_a_long_recording_takes_memory_in_proportion() -> None:
    data = ishne(np.zeros((3, 400_000), np.int16))
    tracemalloc.start()
    try:
        read_ecg(data)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(data)
    finally:
        tracemalloc.stop()


def test_it_is_known_by_its_mark() -> None:
    assert sniff(ishne()) == "ishne"

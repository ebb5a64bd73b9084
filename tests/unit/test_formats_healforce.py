"""Promises of the reader of Heal Force Prince 180 files."""

from __future__ import annotations

import binascii
import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff


def packed(words: list[int]) -> bytes:
    """Words of ten bits and two marks (bits 15 and 14), four in three."""
    out = b""
    for k in range(0, len(words), 4):
        a, b, c, d = words[k : k + 4]
        fourth = d & 0x3FF | (d & 0xC000) >> 4
        spread = [(fourth >> 8 & 15) << 10, (fourth >> 4 & 15) << 10, (fourth & 15) << 10]
        out += struct.pack("<3H", *(word | more for word, more in zip((a, b, c), spread, strict=True)))
    return out


def section(number: int, data: bytes, turned: bool = False) -> bytes:
    body = struct.pack("<HI", number, 16 + len(data)) + b"\x0d\x0d" + bytes(6) + data
    return binascii.crc_hqx(body, 0).to_bytes(2, "big" if turned else "little") + body


def healforce(
    words: list[int], leads: int = 3, step_nv: int = 9524, rate: int = 150, number: bytes = b"00000", order: int = 0
) -> bytes:
    stream = packed(words)
    tags = b"\2\x1e\0" + number.ljust(30, b"\0") + b"\x19\4\0\x07\xe3\x08\x08" + b"\x1a\3\0\x00\x04\x0a"
    parts = {
        1: section(1, tags + bytes(4)),
        2: section(2, bytes(14)),
        3: section(3, bytes([leads, 4]) + bytes(10)),
        6: section(6, struct.pack("<HHBBH", step_nv, rate, order, 0, len(stream)) + stream, turned=True),
    }
    pointers = struct.pack("<HII", 0, 16 + 50, 6)
    at = 6 + 16 + 50
    for key, data in parts.items():
        pointers += struct.pack("<HII", key, len(data), at)
        at += len(data)
    return b"\0\0\0\0" + struct.pack("<H", at) + section(0, pointers) + b"".join(parts.values()) + b"\xff" * 40


WORDS = [512 + (37 * k) % 500 - 250 | (0x8000 if k % 60 == 3 else 0) | (0x4000 if k == 63 else 0) for k in range(240)]


def rejected(data: bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(data)
    return caught.value.code


def test_interleaved_samples_of_ten_bits() -> None:
    record = read_ecg(healforce(WORDS))
    assert (record.source_format, record.fs_hz, record.leads) == ("healforce", 150.0, ("I", "II", "III"))
    steps = np.array([(word & 0x3FF) - 512 for word in WORDS]).reshape(-1, 3).T
    assert np.allclose(record.signals_mv, steps * 0.009524, atol=1e-12)
    assert [(a.start, a.text) for a in record.annotations] == [(1, ""), (21, "irregular"), (41, ""), (61, "")]


def test_the_scale_is_the_files_own() -> None:
    twice = read_ecg(healforce(WORDS, step_nv=19048)).signals_mv
    assert np.allclose(twice, 2 * read_ecg(healforce(WORDS)).signals_mv)


def test_one_lead_has_no_name() -> None:
    assert read_ecg(healforce(WORDS, leads=1)).leads == ("channel 1",)


def test_patient_and_time() -> None:
    record = read_ecg(healforce(WORDS, number=b"4711"))
    assert record.patient.id == "4711"
    assert record.acquired_at == datetime(2019, 8, 7, 16, 4, 10, tzinfo=UTC)
    assert read_ecg(healforce(WORDS)).patient.id is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (healforce(WORDS, leads=0), "healforce_no_ecg_lead"),
        (healforce(WORDS, leads=9), "healforce_no_ecg_lead"),
        (healforce(WORDS, step_nv=0), "healforce_no_scale"),
        (healforce(WORDS, rate=0), "healforce_no_rate"),
        (healforce(WORDS, rate=6667), "healforce_no_rate"),
        (healforce(WORDS, order=1), "healforce_broken"),
        (healforce([]), "healforce_truncated"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_code(data: bytes, code: str) -> None:
    assert rejected(data) == code


def test_every_cut_and_every_changed_byte_of_its_sections_is_seen() -> None:
    data = healforce(WORDS)
    end = len(data) - 40
    right = read_ecg(data)
    for size in range(40, end):
        assert rejected(data[:size]) == "healforce_truncated"
    for at in range(end):
        changed = bytearray(data)
        changed[at] ^= 4
        try:
            found = read_ecg(bytes(changed))
        except InputRejected:
            continue
        assert np.array_equal(found.signals_mv, right.signals_mv)


def test_it_is_told_from_scp() -> None:
    assert sniff(healforce(WORDS)) == "healforce"


def test_a_real_file_obeys_einthoven(data_dir: Path) -> None:
    record = read_ecg(data_dir / "ecg_files" / "healforce_scp" / "62.SCP")
    assert (record.leads, record.signals_mv.shape, record.fs_hz) == (("I", "II", "III"), (3, 4500), 150.0)
    one, two, three = record.signals_mv
    # each channel has a high-pass filter of its own, so the sum holds to a few steps of 9.5 microvolts
    assert np.abs(two - one - three).mean() < 0.025
    beats = [a.start for a in record.annotations]
    assert 55 < 60 * 150 / float(np.median(np.diff(beats))) < 66

"""Waves that are packed as SCP-ECG and read again."""

from __future__ import annotations

import random
import struct

import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg
from teleread.signal.ecg import EcgRecord


def wave(n: int, seed: int = 0) -> list[int]:
    """A wandering signal with steps of every size that the codes tell apart."""
    chance = random.Random(seed)
    values = [0]
    while len(values) < n:
        step = chance.choice([0, 0, 1, -1, 3, -4, 8, -8, 9, 100, -120, 700, -900])
        values.append(max(-15000, min(15000, values[-1] + step)))
    return values[:n]


def rejected(data: bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(data)
    assert "Schumann" not in str(caught.value)
    return caught.value.code


def lead(record: EcgRecord, name: str) -> list[float]:
    row = record.lead(name)
    assert row is not None
    return [float(value) for value in row]


def mv(samples: list[int], step_nv: int = 2500) -> list[float]:
    return [value * (step_nv / 1000) * 1e-3 for value in samples]


# --- what the device found -------------------------------------------------------------------------------------

MEASUREMENTS = (
    struct.pack("<BBHH", 1, 1, 800, 29999)
    + struct.pack("<5H3h", 100, 200, 260, 350, 650, 45, -30, 999)
    + struct.pack("<Hh", 500, 300)
    + struct.pack("<BBHH", 1, 0, 0, 0)
    + struct.pack("<H", 2)
    + bytes(2)
    + struct.pack("<HHHBH", 75, 29999, 430, 1, 0)
)

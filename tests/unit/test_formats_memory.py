"""Promises about what reading costs: memory in proportion to the file, however much its bytes unpack to."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable, Mapping

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.sequence import Sequence

from teleread.ingest.formats import read_ecg
from teleread.ingest.parse_limits import FREE_BYTES, MEMORY_BYTES
from teleread.signal.ecg import EcgRecord
from teleread.signal.ecg.record import INDEPENDENT_LEADS, STANDARD_LEADS

SIZE = 2 << 20
PER_BYTE = MEMORY_BYTES // FREE_BYTES


def wfdb(fmt: str, bits: float, leads: tuple[str, ...] = INDEPENDENT_LEADS) -> dict[str, bytes]:
    n = int(SIZE * 8 / bits / len(leads)) // 6 * 6
    lines = "".join(f"r.dat {fmt} 100/mV 8 0 0 0 0 {lead}\n" for lead in leads)
    return {"r.hea": f"r {len(leads)} 500 {n}\n{lines}".encode(), "r.dat": bytes(SIZE)}


def wfdb_in_segments() -> dict[str, bytes]:
    n = SIZE // 8 // 4
    segments = "".join(f"s{k} {n}\n" for k in range(4))
    files = {"m.hea": f"m/4 8 500 {4 * n}\n{segments}".encode()}
    for k in range(4):
        lines = "".join(f"s{k}.dat 80 100/mV 8 0 0 0 0 {lead}\n" for lead in INDEPENDENT_LEADS)
        files |= {f"s{k}.hea": f"s{k} 8 500 {n}\n{lines}".encode(), f"s{k}.dat": bytes(SIZE // 4)}
    return files


def dicom(count: int) -> dict[str, bytes]:
    """Samples of eight bits; every other one is the padding value, which only long runs of are."""
    dataset = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    group = dataset.WaveformSequence[0]
    dataset.WaveformSequence = Sequence([group])
    definitions = [group.ChannelDefinitionSequence[STANDARD_LEADS.index(lead)] for lead in INDEPENDENT_LEADS[:count]]
    group.ChannelDefinitionSequence = Sequence(definitions)
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = count, SIZE // count
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 8, "SB"
    for one in definitions:
        one.WaveformBitsStored = 8
    group.add_new("WaveformData", "OB", (np.arange(SIZE, dtype=np.uint8) // count % 2).tobytes())
    group.add_new("WaveformPaddingValue", "OB", b"\1")
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return {"a.dcm": out.getvalue()}


def mfer() -> dict[str, bytes]:
    def tag(number: int, value: bytes) -> bytes:
        size = len(value).to_bytes(4, "big")
        return bytes([number]) + (size[3:] if len(value) < 128 else b"\x84" + size) + value

    head = tag(0x40, b"MFR ".ljust(32)) + tag(0x01, b"\0") + tag(0x05, b"\x08") + tag(0x0A, b"\x05")
    head += tag(0x0B, b"\x00\x00\x01\xf4") + tag(0x0C, b"\x00\xfa\x00\x05") + tag(0x04, b"\x00\x00\x00\x01")
    head += b"".join(b"\x3f" + bytes([k, 3]) + tag(0x09, bytes([k + 1])) for k in range(8))
    return {"a.mwf": head + tag(0x1E, bytes(SIZE))}


FILES: Mapping[str, Callable[[], dict[str, bytes]]] = {
    "WFDB of 8 bits": lambda: wfdb("80", 8),
    "WFDB of differences": lambda: wfdb("8", 8),
    "WFDB of differences of one lead": lambda: wfdb("8", 8, ("II",)),
    "WFDB of 10 bits": lambda: wfdb("310", 32 / 3),
    "WFDB of 12 bits": lambda: wfdb("212", 12),
    "WFDB in segments": wfdb_in_segments,
    "DICOM of 8 bits": lambda: dicom(8),
    "DICOM of 8 bits of one lead": lambda: dicom(1),
    "MFER of 8 bits": mfer,
}


def read(files: dict[str, bytes]) -> tuple[EcgRecord, int]:
    """(the record, bytes that reading asked for at most, over those of the file)."""
    read_ecg(files)  # what is imported or kept once for all files
    tracemalloc.start()
    try:
        record = read_ecg(files)
        return record, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", FILES)
def test_memory_is_in_proportion_to_the_file(name: str) -> None:
    record, peak = read(FILES[name]())
    assert record.signals_mv.shape[0] == (1 if "one lead" in name else 12)
    assert peak < PER_BYTE * SIZE, peak / SIZE

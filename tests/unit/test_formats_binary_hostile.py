"""Mutated binary recordings: each gives a record or a coded error, never anything else and never a wrong signal."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg
from teleread.ingest.formats.format import Source
from teleread.ingest.formats.registry import FORMATS
from tests.prove.mutations import mutate
from tests.unit import mfer_files, scp_files
from tests.unit.scp_waves import MEASUREMENTS, wave
from tests.unit.test_formats_contec import ROWS as CONTEC_ROWS
from tests.unit.test_formats_contec import contec
from tests.unit.test_formats_healforce import WORDS, healforce
from tests.unit.test_formats_ishne import ishne
from tests.unit.test_formats_mfer import ROWS as MFER_ROWS


def _compressed_scp() -> bytes:
    scp = scp_files.simple({1: [0] * 60})
    scp.sections |= {
        3: scp_files.leads([(1, 60, 1)], flags=5),
        4: scp_files.locations(100, 20, [(0, 9, 28, 48)], [(9, 48)]),
        5: scp_files.block([scp_files.huffman([0] * 50)]),
        6: scp_files.block([scp_files.huffman([10, 20, *range(100, 140), -4, 8, 12])], interval_us=8000, flag=1),
        7: MEASUREMENTS,
    }
    return scp.built(checksums=False)


def _switching_scp() -> bytes:
    scp = scp_files.simple({1: wave(6)})
    one = scp_files.own_table([("0", 1, 1, 1), ("10", 2, 0, 2), ("11", 10, 1, 0)])
    two = scp_files.own_table([("1", 1, 1, -1), ("00", 2, 0, 1), ("01", 18, 1, 0)])
    scp.sections |= {2: struct.pack("<H", 2) + one + two, 6: scp_files.block([scp_files.packed("001011100")])}
    return scp.built(checksums=False)


ROWS = {code: wave(300, code) for code in scp_files.TWELVE}
FILES: dict[str, list[Callable[[], bytes]]] = {
    "scp": [
        lambda: scp_files.simple(ROWS).built(),
        lambda: scp_files.simple(ROWS, order=1).built(checksums=False),
        lambda: scp_files.simple(ROWS, coded=False, order=0).built(checksums=False),
        _compressed_scp,
        _switching_scp,
    ],
    "contec": [lambda: contec(CONTEC_ROWS)],
    "healforce": [lambda: healforce(WORDS)],
    "mfer": [
        lambda: mfer_files.standard(MFER_ROWS),
        lambda: mfer_files.monitor([[[1] * 8, [2] * 8, [3, 4]]] * 6, [2, 7, 0xC005], [4, 4, 16]),
    ],
    "ishne": [ishne, lambda: ishne(checksum=0)],
}


@pytest.mark.parametrize("name", FILES)
def test_a_mutated_file_gives_a_record_or_a_coded_error(name: str) -> None:
    reader = next(one.read for one in FORMATS if one.name == name)
    originals = [build() for build in FILES[name]]
    codes = set()
    for seed in range(600):
        data = mutate(originals[seed % len(originals)], seed)
        for read in (read_ecg, lambda data: reader(Source(data))):
            try:
                assert read(data).signals_mv.size, seed
            except InputRejected as error:
                codes.add(error.code)
    assert all(code.startswith(("format_", f"{name}_")) for code in codes), codes


@pytest.mark.parametrize("build", [FILES["scp"][0], FILES["healforce"][0]])
def test_a_mutated_file_with_checksums_never_gives_another_signal(build: Callable[[], bytes]) -> None:
    original = build()
    right = read_ecg(original)
    for seed in range(2000):
        try:
            found = read_ecg(mutate(original, seed))
        except InputRejected:
            continue
        assert np.array_equal(found.signals_mv, right.signals_mv), seed
        assert (found.leads, found.fs_hz, found.patient.name) == (right.leads, right.fs_hz, right.patient.name), seed

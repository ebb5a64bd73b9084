"""How SCP-ECG packs samples: Huffman tables, differences, reference beats, bimodal compression."""

from __future__ import annotations

import random
import struct
import time

import numpy as np
import pytest

from teleread.ingest.formats import read_ecg
from teleread.ingest.formats.scp_huffman import decode, read_tables, undo_differences
from tests.unit import scp_files
from tests.unit.scp_files import DEFAULT_HUFFMAN, block, differences, huffman, leads, locations, simple
from tests.unit.scp_waves import lead, mv, rejected, wave

# --- Huffman ---------------------------------------------------------------------------------------------------


def test_every_value_of_the_default_table() -> None:
    values = [*range(-140, 141), -32768, 32767, 300, -300, 0, 0, 0]
    found, _ = decode(read_tables(DEFAULT_HUFFMAN), huffman(values), len(values))
    assert found.tolist() == values


@pytest.mark.parametrize("seed", range(6))
def test_long_streams_cross_the_bounds_of_the_decoders_steps(seed: int) -> None:
    chance = random.Random(seed)
    values = [chance.choice([0, 0, 0, 1, -2, 8, 90, -500, 20000]) for _ in range(40_000)]
    found, bits = decode(read_tables(DEFAULT_HUFFMAN), huffman(values), len(values))
    assert found.tolist() == values
    assert bits == sum(len(scp_files.default_code(v)) for v in values)


OWN = [("0", 1, 1, 7), ("10", 2, 1, -3), ("110", 9, 1, 0), ("111", 15, 1, 0)]


def own_bits(value: int) -> str:
    if value in (7, -3):
        return "0" if value == 7 else "10"
    return f"110{value & 0x3F:06b}" if -32 <= value < 32 else f"111{value & 0xFFF:012b}"


def test_own_tables_with_stored_values_of_any_width() -> None:
    values = [7, -3, 0, 31, -32, 2047, -2048, 7, 7, -3]
    table = read_tables(struct.pack("<H", 1) + scp_files.own_table(OWN))
    found, _ = decode(table, scp_files.packed("".join(own_bits(v) for v in values)), len(values))
    assert found.tolist() == values


def test_switching_between_tables() -> None:
    one = [("0", 1, 1, 1), ("10", 2, 0, 2), ("11", 10, 1, 0)]
    two = [("1", 1, 1, -1), ("00", 2, 0, 1), ("01", 18, 1, 0)]
    section = struct.pack("<H", 2) + scp_files.own_table(one) + scp_files.own_table(two)
    bits = "001011" + "01" + f"{-5000 & 0xFFFF:016b}" + "100011" + f"{-100 & 0xFF:08b}" + "0"
    scp = simple({1: wave(9)})
    scp.sections |= {2: section, 6: block([scp_files.packed(bits)])}
    assert lead(read_ecg(scp.built()), "I") == mv([1, 1, -1, -1, -5000, -1, 1, -100, 1])


@pytest.mark.parametrize(
    ("section", "code"),
    [
        (struct.pack("<H", 1) + scp_files.own_table([("0", 1, 1, 0)])[:-1], "scp_truncated"),
        (struct.pack("<H", 1) + struct.pack("<H", 65535), "scp_truncated"),
        (struct.pack("<H", 1) + struct.pack("<HBBBhI", 1, 0, 4, 1, 0, 0), "scp_broken"),
        (struct.pack("<H", 1) + struct.pack("<HBBBhI", 1, 40, 40, 1, 0, 0), "scp_unsupported"),
        (struct.pack("<H", 1) + struct.pack("<HBBBhI", 1, 1, 60, 1, 0, 0), "scp_broken"),
        (struct.pack("<H", 1) + struct.pack("<HBBBhI", 1, 4, 2, 1, 0, 0), "scp_broken"),
        (struct.pack("<H", 1) + struct.pack("<HBBBhI", 1, 1, 1, 1, 0, 6), "scp_broken"),
        (struct.pack("<H", 1) + scp_files.own_table([("0", 1, 1, 0), ("01", 2, 1, 1)]), "scp_broken"),
        (struct.pack("<H", 1) + struct.pack("<H", 0), "scp_broken"),
        (struct.pack("<H", 1) + scp_files.own_table([("0", 1, 0, 9), ("1", 1, 1, 0)]), "scp_broken"),
        (struct.pack("<H", 1) + scp_files.own_table([("00", 2, 1, 0)]), "scp_broken"),
        (struct.pack("<H", 500), "scp_broken"),
    ],
)
def test_a_table_that_cannot_be_is_refused(section: bytes, code: str) -> None:
    scp = simple({1: wave(100)})
    stream = bytes(40) if code == "scp_truncated" else b"\xaa" * 40
    scp.sections |= {2: section, 6: block([stream])}
    assert rejected(scp.built()) == code


def test_huffman_that_never_ends_costs_no_time() -> None:
    scp = simple({1: [0] * 100})
    scp.sections |= {3: leads([(1, 0x7FFFFFFF, 1)]), 6: block([bytes(65534)])}
    started = time.process_time()
    assert rejected(scp.built()) == "scp_truncated"
    assert time.process_time() - started < 1.0


def test_switching_without_end_is_refused() -> None:
    scp = simple({1: wave(100)})
    endless = struct.pack("<H", 1) + scp_files.own_table([("0", 1, 0, 1), ("1", 1, 1, 0)])
    scp.sections |= {2: endless, 6: block([bytes(60_000)])}
    assert rejected(scp.built()) == "scp_broken"


def test_more_values_than_there_is_time_for_are_refused() -> None:
    scp = simple({1: wave(100)})
    switching = struct.pack("<H", 1) + scp_files.own_table([("0", 1, 0, 1), ("1", 1, 1, 0)])
    scp.sections |= {3: leads([(1, 500_000, 1)]), 6: block([bytes(62_500)])}
    scp.sections[2] = switching
    assert rejected(scp.built()) == "scp_too_large"
    many = simple({1: wave(100)})
    many.sections |= {3: leads([(1, 500_000, 1)] * 12), 6: block([bytes(62_500)] * 12)}
    assert rejected(many.built()) == "scp_too_large"


def test_differences_are_undone() -> None:
    samples = wave(200, 5)
    for order in (0, 1, 2):
        stored = np.array(differences(samples, order))
        undo_differences(stored, order)
        assert stored.tolist() == samples
    for few in ([], [4], [4, 9]):
        stored = np.array(few, dtype=np.int64)
        undo_differences(stored, 2)
        assert stored.tolist() == few


# --- compression against reference beats -----------------------------------------------------------------------


def test_reference_beats_are_added_where_they_were_subtracted() -> None:
    beat, residual = wave(100, 1), wave(600, 2)
    whole = list(residual)
    for at in (50, 300):  # sample numbers count from 1; the beat's fiducial point is its sample 40
        for k in range(30, 80):
            whole[at - 40 + k - 1] += beat[k - 1]
    beats = [(0, 40, 50, 89), (1, 150, 160, 199), (0, 290, 300, 339)]
    scp = simple({1: residual})
    scp.sections |= {
        3: leads([(1, 600, 1)], flags=5),
        4: locations(200, 40, beats),
        5: block([huffman(differences(beat, 1))], order=1),
    }
    record = read_ecg(scp.built())
    assert lead(record, "I") == pytest.approx(mv(whole), abs=1e-12)
    assert [(a.kind, a.start, a.text) for a in record.annotations] == [
        ("device_beat", 49, "type 0"),
        ("device_beat", 159, "type 1"),
        ("device_beat", 299, "type 0"),
    ]


def test_a_reference_beat_that_was_not_subtracted_is_not_added() -> None:
    scp = simple({1: wave(600, 2)})
    scp.sections |= {4: locations(200, 40, [(0, 0, 300, 0)]), 5: block([huffman(differences(wave(100), 1))], order=1)}
    assert lead(read_ecg(scp.built()), "I") == mv(wave(600, 2))


def test_bimodal_compression_keeps_protected_zones_and_draws_lines_between() -> None:
    stored = [10, 20, *range(100, 140), -4, 8, 12]  # 8 samples at a quarter of the rate, 40 whole, 12 at a quarter
    scp = simple({1: [0] * 60})
    scp.sections |= {
        4: locations(100, 20, [(0, 9, 28, 48)], [(9, 48)]),
        5: block([huffman([0] * 50)]),
        6: block([huffman(stored)], interval_us=8000, flag=1),
    }
    record = read_ecg(scp.built())
    row = lead(record, "I")
    assert record.fs_hz == 500.0
    assert row[8:48] == mv(list(range(100, 140)))
    assert row[:8] == pytest.approx(np.array([10, 10, 10, 12.5, 15, 17.5, 20, 20]) * 0.0025)
    expected = [-4, -4, -4, -1, 2, 5, 8, 9, 10, 11, 12, 12]
    assert row[48:] == pytest.approx(np.array(expected) * 0.0025)


def test_bimodal_and_reference_beats_together() -> None:
    beat = [40] * 50
    scp = simple({1: [0] * 60})
    scp.sections |= {
        3: leads([(1, 60, 1)], flags=5),
        4: locations(100, 20, [(0, 9, 28, 48)], [(9, 48)]),
        5: block([huffman(beat)], step_nv=5000),
        6: block([huffman([0, 0, *[1] * 40, 0, 0, 0])], interval_us=8000, flag=1),
    }
    row = lead(read_ecg(scp.built()), "I")
    assert row == pytest.approx([0.0] * 8 + [0.0025 + 0.2] * 40 + [0.0] * 12)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({5: b""}, "scp_broken"),
        ({4: b""}, "scp_broken"),
        ({4: locations(100, 20, [(0, 9, 28, 48)] * 2, [(9, 48), (20, 50)])}, "scp_broken"),
        ({3: leads([(1, 200, 1)], flags=5)}, "scp_truncated"),
        ({5: block([huffman([0] * 50)], interval_us=3000)}, "scp_broken"),
        ({5: block([huffman([0] * 50)], interval_us=400)}, "scp_broken"),
    ],
)
def test_compression_that_refers_to_nothing_is_refused(changed: dict[int, bytes], code: str) -> None:
    scp = simple({1: [0] * 60})
    scp.sections |= {
        3: leads([(1, 60, 1)], flags=5),
        4: locations(100, 20, [(0, 9, 28, 48)], [(9, 48)]),
        5: block([huffman([0] * 50)]),
        6: block([huffman([10, 20, *range(100, 140), -4, 8, 12])], interval_us=8000, flag=1),
    }
    scp.sections |= changed
    scp.sections = {number: data for number, data in scp.sections.items() if data}
    assert rejected(scp.built()) == code

"""Promises of the SCP-ECG reader."""

from __future__ import annotations

import random
import struct
import time
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff
from teleread.ingest.formats.scp_huffman import decode, read_tables, undo_differences
from teleread.signal.ecg import STANDARD_LEADS, EcgRecord
from tests.unit import scp_files
from tests.unit.scp_files import DEFAULT_HUFFMAN, block, differences, huffman, leads, locations, patient, simple


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


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("coded", [True, False])
def test_samples_come_out_as_they_went_in(order: int, coded: bool) -> None:
    rows = {code: wave(600, code) for code in scp_files.TWELVE}
    record = read_ecg(simple(rows, order=order, coded=coded).built())
    assert (record.source_format, record.fs_hz, set(record.leads)) == ("scp", 500.0, set(STANDARD_LEADS))
    for code, name in zip(scp_files.TWELVE, record.leads, strict=True):
        assert lead(record, name) == mv(rows[code])
    assert record.derived_leads == ()
    assert dict(record.extra) == {}


def test_eight_leads_give_twelve_with_four_marked() -> None:
    record = read_ecg(simple({code: wave(100, code) for code in range(1, 9)}).built())
    assert record.leads == STANDARD_LEADS
    assert record.derived_leads == ("III", "aVR", "aVL", "aVF")


def test_patient_device_filters_and_time() -> None:
    record = read_ecg(simple({1: wave(50)}).built())
    assert (record.patient.id, record.patient.name, record.patient.sex) == ("P-1", "Clara Schumann", "F")
    assert (record.patient.birth_date, record.age_years) == (date(1948, 9, 13), 76.0)
    assert record.acquired_at == datetime(2024, 3, 5, 6, 30, 15, tzinfo=UTC)
    assert (record.device.manufacturer, record.device.model) == ("Maker", "CART12")
    assert (record.device.serial, record.device.software) == ("SN-9", "2.0")
    assert (record.filters.high_pass_hz, record.filters.low_pass_hz, record.filters.notch_hz) == (0.05, 150.0, 50.0)


def test_the_time_zone_of_the_file_wins() -> None:
    scp = simple({1: wave(50)})
    scp.sections[1] = patient(t34=struct.pack("<hh", -300, 0) + b"EST\0")
    assert read_ecg(scp.built()).acquired_at == datetime(2024, 3, 5, 19, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("raw", "language", "name"),
    [
        ("张三".encode("gb18030"), 0x27, "张三"),
        ("张三".encode("gb18030"), 0x01, "张三"),
        ("张三".encode(), 0x01, "张三"),
        ("张三".encode("utf-16-le"), 0x07, "张三"),
        ("Müller".encode("latin-1"), 0x01, "Müller"),
        ("Čapek".encode("iso8859-2"), 0x03, "Čapek"),
        ("山田".encode("shift_jis"), 0x17, "山田"),
    ],
)
def test_names_in_the_character_sets_of_the_field(raw: bytes, language: int, name: str) -> None:
    scp = simple({1: wave(50)})
    scp.sections[1] = patient(language, t0=raw + b"\0\0", t1=b"")
    assert read_ecg(scp.built()).patient.name == name


@pytest.mark.parametrize(
    ("unit", "years"), [(1, 40.0), (2, 40 / 12), (3, 40 * 7 / 365.25), (4, 40 / 365.25), (0, None)]
)
def test_ages_in_every_unit(unit: int, years: float | None) -> None:
    scp = simple({1: wave(50)})
    scp.sections[1] = patient(t4=struct.pack("<HB", 40, unit), t5=bytes(4))  # no date of birth to count from
    assert read_ecg(scp.built()).age_years == (pytest.approx(years) if years else None)


def test_a_record_without_dates_or_patient_is_read() -> None:
    scp = simple({1: wave(50)})
    del scp.sections[1]
    record = read_ecg(scp.built())
    assert (record.acquired_at, record.patient.name, record.device.model) == (None, None, None)


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


# --- ranges, lengths, checksums --------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "last"), [(1, 300), (0, 299), (0, 300)])
@pytest.mark.parametrize("coded", [False, True])
def test_lead_ranges_from_zero_or_one(first: int, last: int, coded: bool) -> None:
    samples = [*wave(299), 9000]
    scp = simple({1: samples}, coded=coded)
    scp.sections[3] = leads([(first, last, 1)])
    found = lead(read_ecg(scp.built()), "I")
    assert found[:300] == mv(samples)
    assert len(found) <= 301


def test_pointers_that_count_from_zero() -> None:
    scp = simple({1: wave(100)})
    scp.first_index = 0
    assert lead(read_ecg(scp.built()), "I") == mv(wave(100))


def test_leads_recorded_one_after_another_stand_where_they_belong() -> None:
    scp = simple({1: wave(100, 1), 2: wave(100, 2)})
    scp.sections[3] = leads([(1, 100, 1), (101, 200, 2)], flags=0)
    record = read_ecg(scp.built())
    assert record.signals_mv.shape == (2, 200)
    assert lead(record, "I")[:100] == mv(wave(100, 1))
    assert lead(record, "II")[100:] == mv(wave(100, 2))
    assert np.isnan(record.signals_mv[0, 100:]).all()
    assert np.isnan(record.signals_mv[1, :100]).all()


def test_length_fields_of_16_bits_that_overflowed() -> None:
    rows = {1: wave(40_000, 1), 2: wave(40_000, 2)}
    for coded in (False, True):
        record = read_ecg(simple(rows, coded=coded, order=0).built())
        assert lead(record, "I") == mv(rows[1])
        assert lead(record, "II") == mv(rows[2])


def test_a_writer_that_stored_less_than_it_declares_is_read_with_a_note() -> None:
    scp = simple({1: wave(1000, 1), 2: wave(1000, 2)}, coded=False, order=0)
    scp.sections[3] = leads([(1, 1200, 1), (1, 1200, 2)])
    record = read_ecg(scp.built())
    assert lead(record, "II") == mv(wave(1000, 2))
    assert dict(record.extra) == {"samples_declared": "1200", "samples_stored": "1000"}


def test_a_writer_without_checksums_is_read_with_a_note() -> None:
    record = read_ecg(simple({1: wave(100)}).built(checksums=False))
    assert lead(record, "I") == mv(wave(100))
    assert dict(record.extra) == {"checksum": "absent"}


def test_a_tag_of_fixed_size_with_a_wrong_length_is_read() -> None:
    scp = simple({1: wave(100)})
    scp.sections[1] = patient().replace(scp_files.tag(8, b"\2"), struct.pack("<BH", 8, 600) + b"\2")
    record = read_ecg(scp.built())
    assert (record.patient.sex, record.patient.name) == ("F", "Clara Schumann")
    assert record.acquired_at is not None


def test_a_list_of_beats_that_is_cut_matters_only_where_it_is_needed() -> None:
    scp = simple({1: wave(100)})
    scp.sections[4] = locations(200, 40, [(0, 40, 50, 89)])[:12]
    assert lead(read_ecg(scp.built()), "I") == mv(wave(100))
    scp.sections[3] = leads([(1, 100, 1)], flags=5)
    assert rejected(scp.built()) == "scp_truncated"


@pytest.mark.parametrize("number", [1, 2, 3, 6])
def test_a_changed_byte_of_patient_or_signal_is_refused(number: int) -> None:
    scp = simple({1: wave(100)})
    data = bytearray(scp.built())
    index = int.from_bytes(data[22 + 10 * number + 6 : 22 + 10 * number + 10], "little")
    data[index - 1 + 18] ^= 1
    assert rejected(bytes(data)) == "scp_broken"


def test_a_changed_byte_of_the_measurements_leaves_them_out() -> None:
    scp = simple({1: wave(100)})
    scp.sections[7] = MEASUREMENTS
    data = bytearray(scp.built())
    data[-4] ^= 1
    record = read_ecg(bytes(data))
    assert record.device_measurements == ()
    assert dict(record.extra) == {"checksum": "wrong", "sections_left_out": "7"}


def test_any_single_changed_byte_is_seen_or_changes_nothing() -> None:
    data = simple({1: wave(60), 2: wave(60, 1)}).built()
    right = read_ecg(data)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x10
        try:
            found = read_ecg(bytes(changed))
        except InputRejected:
            continue
        assert np.array_equal(found.signals_mv, right.signals_mv)
        assert (found.leads, found.fs_hz, found.patient) == (right.leads, right.fs_hz, right.patient)


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ({3: b"\0\4"}, "scp_no_ecg_lead"),
        ({3: b""}, "scp_no_ecg_lead"),
        ({6: b""}, "scp_no_ecg_lead"),
        ({6: b"", 12: bytes(40)}, "scp_unsupported"),
        ({3: bytes([200, 4]) + bytes(9 * 200)}, "scp_too_large"),
        ({3: bytes([2, 4]) + bytes(9)}, "scp_truncated"),
        ({3: leads([(10, 5, 1)])}, "scp_broken"),
        ({3: leads([(1, 2**31, 1)])}, "scp_truncated"),
        ({3: leads([(1, 50, 1), (2**30, 2**30 + 49, 2)]), 6: block([huffman([1] * 50)] * 2)}, "scp_broken"),
        ({6: block([b""], step_nv=0)}, "scp_no_scale"),
        ({6: block([b""], interval_us=0)}, "scp_no_rate"),
        ({6: block([b""], interval_us=150)}, "scp_no_rate"),
        ({6: block([b""], order=7)}, "scp_broken"),
        ({6: block([huffman([30000] * 50)], order=2)}, "scp_broken"),
        ({6: block([huffman([1] * 50)])[:-20]}, "scp_truncated"),
        ({6: bytes(5)}, "scp_truncated"),
        ({1: scp_files.tag(0, b"x" * 20)[:9]}, "scp_truncated"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_code(sections: dict[int, bytes], code: str) -> None:
    scp = simple({1: wave(50)})
    scp.sections |= sections
    scp.sections = {number: data for number, data in scp.sections.items() if data}
    assert rejected(scp.built()) == code


def test_a_section_past_the_end_is_refused() -> None:
    data = bytearray(simple({1: wave(50)}).built(checksums=False))
    data[22 + 60 + 2 : 22 + 60 + 6] = struct.pack("<I", 1 << 30)
    assert rejected(bytes(data)) == "scp_truncated"
    data[22 + 60 + 6 : 22 + 60 + 10] = struct.pack("<I", 1 << 30)
    assert rejected(bytes(data)) == "scp_truncated"


def test_every_cut_is_refused() -> None:
    data = simple({1: wave(50)}).built()
    for size in range(30, len(data)):
        assert rejected(data[:size]) in ("scp_truncated", "format_unknown")


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


def test_measurements_statements_and_pacing() -> None:
    scp = simple({1: wave(600)})
    texts = [b"Sinus rhythm\0", "窦性心律".encode("gb18030") + b"\0"]
    report = (
        bytes(8) + bytes([2]) + b"".join(struct.pack("<BH", k + 1, len(line)) + line for k, line in enumerate(texts))
    )
    values = [29999] * 9 + [-50, 900, -300, 29999, 29999, 10, 0, 0, 400, 29998]
    leads_found = struct.pack("<HH", 1, 0) + struct.pack("<HH", 7, 38) + struct.pack("<19h", *values)
    scp.sections |= {7: MEASUREMENTS, 8: report, 10: leads_found}
    record = read_ecg(scp.built())
    found = {m.name: (m.value, m.unit) for m in record.device_measurements}
    assert found == {
        "heart_rate": (75.0, "/min"),
        "rr_interval": (800.0, "ms"),
        "p_duration": (100.0, "ms"),
        "pr_interval": (160.0, "ms"),
        "qrs_duration": (90.0, "ms"),
        "qt_interval": (390.0, "ms"),
        "qtc_interval": (430.0, "ms"),
        "p_axis": (45.0, "deg"),
        "qrs_axis": (-30.0, "deg"),
        "q_amplitude V5": (-50.0, "uV"),
        "r_amplitude V5": (900.0, "uV"),
        "s_amplitude V5": (-300.0, "uV"),
        "j_amplitude V5": (10.0, "uV"),
        "t_amplitude V5": (400.0, "uV"),
    }
    assert record.device_statements == ("Sinus rhythm", "窦性心律")
    assert [(a.kind, a.start) for a in record.annotations] == [("pacing", 250)]


def test_coded_statements_stand_in_for_a_missing_report() -> None:
    scp = simple({1: wave(60)})
    entries = [b"\1NSR\0ABNR\0", b"\2Normal ECG\0"]
    scp.sections[11] = bytes(8) + b"\2" + b"".join(struct.pack("<BH", 1, len(e)) + e for e in entries)
    assert read_ecg(scp.built()).device_statements == ("NSR ABNR", "Normal ECG")


def test_results_that_end_early_never_stop_the_reading() -> None:
    for number, data in ((7, MEASUREMENTS), (8, bytes(8) + b"\5abc"), (10, bytes(3) + b"\1"), (11, bytes(8) + b"\xff")):
        for size in range(1, len(data)):
            scp = simple({1: wave(60)})
            scp.sections[number] = data[:size]
            assert lead(read_ecg(scp.built()), "I") == mv(wave(60))


# --- files as they are found -----------------------------------------------------------------------------------


def test_it_is_known_with_and_without_the_mark_and_not_by_chance() -> None:
    data = simple({1: wave(50)}).built()
    assert sniff(data) == "scp"
    unmarked = simple({1: wave(50)})
    unmarked.mark = bytes(6)
    assert sniff(unmarked.built()) == "scp"
    assert sniff(bytes(200)) is None
    assert sniff(data[:12] + bytes(200)) is None


def test_real_files_match_their_keys(data_dir: Path) -> None:
    folder = data_dir / "ecg_files" / "scp"
    for name in ("ecgtoolkit_Example.scp", "scpinfo_example.scp"):
        record = read_ecg(folder / name)
        key = np.load(folder / f"{name}.gt.npz")
        for one in key.files:
            assert np.abs(np.array(lead(record, one)) - key[one]).max() < 1e-6
        assert ("qrs_duration", 120.0) in {(m.name, m.value) for m in record.device_measurements}


def test_a_real_file_holds_the_samples_that_fit_into_its_length_fields(data_dir: Path) -> None:
    """Its writer stops at 32,767 samples of each lead; the recording that it came from has 37,855 (as declared)."""
    record = read_ecg(data_dir / "ecg_files" / "scp" / "contec_0000050.scp")
    rows = np.genfromtxt(data_dir / "ecg_files" / "contec" / "0000050.ECG.csv", delimiter=",", usecols=range(6))
    assert record.signals_mv.shape == (12, 32_767)
    assert dict(record.extra) == {"samples_declared": "37855", "samples_stored": "32767"}
    assert np.abs(record.signals_mv[:6] - rows[:32_767].T * 0.005).max() < 1e-12


def test_the_same_recording_as_dicom_is_equal_to_the_last_bit(data_dir: Path) -> None:
    scp = read_ecg(data_dir / "ecg_files" / "scp" / "ecgtoolkit_Example.scp")
    dicom = read_ecg(data_dir / "ecg_files" / "dicom" / "ecgtoolkit_Example.dcm")
    assert scp.fs_hz == dicom.fs_hz
    for name in STANDARD_LEADS:
        assert lead(scp, name) == lead(dicom, name)

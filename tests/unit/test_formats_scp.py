"""Promises of the SCP-ECG reader."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff
from teleread.signal.ecg import STANDARD_LEADS
from tests.unit import scp_files
from tests.unit.scp_files import block, huffman, leads, locations, patient, simple
from tests.unit.scp_waves import MEASUREMENTS, lead, mv, rejected, wave


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

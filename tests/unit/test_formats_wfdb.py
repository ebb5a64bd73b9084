"""Promises of the WFDB reader and writer."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import is_whole, missing_part, pseudonymise_wfdb, read_ecg, sniff, write_wfdb
from teleread.signal.ecg import EcgRecord, Patient, simulate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peer's own deprecations
    import wfdb


def rejected(files: Mapping[str, bytes]) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(files)
    return caught.value.code


def one_signal(line: str, data: bytes, record: str = "r 1 500 4") -> dict[str, bytes]:
    return {"r.hea": f"{record}\n{line}\n".encode(), "r.dat": data}


@pytest.mark.parametrize("condition", ["normal", "complete_block"])
def test_what_is_written_is_read_within_half_a_step(condition: str) -> None:
    record, _ = simulate(condition, 3)
    record = replace(
        record,
        patient=Patient(id="1", name="Somebody", sex="F"),
        age_years=61.0,
        acquired_at=datetime(2026, 3, 1, 20, 15, tzinfo=UTC),
    )
    files = write_wfdb(record, "rec")
    back = read_ecg(files)
    assert set(files) == {"rec.hea", "rec.dat"}
    assert back.leads == record.leads
    assert back.fs_hz == record.fs_hz
    assert np.abs(back.signals_mv - record.signals_mv).max() <= 0.0005 + 1e-9
    assert (back.acquired_at, back.age_years, back.patient.sex) == (record.acquired_at, 61.0, "F")
    assert b"Somebody" not in files["rec.hea"]


def test_missing_samples_stay_missing_and_large_ones_fit() -> None:
    record, _ = simulate("normal", 1)
    signals = record.signals_mv.copy()
    signals[3, 100:200] = np.nan
    signals[4, 50] = -120.0
    back = read_ecg(write_wfdb(replace(record, signals_mv=signals), "rec"))
    assert np.array_equal(np.isnan(back.signals_mv), np.isnan(signals))
    assert back.signals_mv[4, 50] == pytest.approx(-120.0, abs=0.005)


def test_derived_leads_are_derived_again_not_stored() -> None:
    record, _ = simulate("normal", 1)
    keep = [0, 1, 6, 7, 8, 9, 10, 11]
    eight = replace(record, signals_mv=record.signals_mv[keep], leads=tuple(record.leads[i] for i in keep))
    back = read_ecg(write_wfdb(eight, "rec"))
    assert back.derived_leads == ("III", "aVR", "aVL", "aVF")
    again = read_ecg(write_wfdb(back, "rec"))
    assert again.derived_leads == back.derived_leads


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fmt", ["16", "80", "212", "24", "32"])
@pytest.mark.parametrize("n", [1000, 1001])
def test_each_storage_format_is_read_as_the_wfdb_package_does(fmt: str, n: int, tmp_path: Path) -> None:
    top = {"80": 126, "212": 2040}.get(fmt, 30000)
    stored = np.random.default_rng(int(fmt)).integers(-top, top, (n, 3))
    wfdb.wrsamp(
        "rec",
        fs=360,
        units=["mV", "uV", "mmHg"],
        sig_name=["II", "V5", "ABP"],
        d_signal=stored,
        fmt=[fmt] * 3,
        adc_gain=[200.0, 0.5, 10.0],
        baseline=[7, -3, 0],
        write_dir=str(tmp_path),
    )
    record = read_ecg(tmp_path / "rec.hea")
    assert record.leads == ("II", "V5")
    assert np.allclose(record.signals_mv[0], (stored[:, 0] - 7) / 200.0)
    assert np.allclose(record.signals_mv[1], (stored[:, 1] + 3) / 0.5 / 1000.0)
    (pressure,) = record.other_channels
    assert (pressure.name, pressure.unit) == ("ABP", "mmHg")
    assert np.allclose(pressure.samples, stored[:, 2] / 10.0)
    assert np.array_equal(read_ecg(tmp_path / "rec.dat").signals_mv, record.signals_mv)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("fmt", "top"), [("160", 30000), ("310", 511), ("311", 255), ("508", 120), ("516", 30000)])
@pytest.mark.parametrize("n", [999, 1000, 1001])
def test_rarer_storage_formats_are_read_as_the_wfdb_package_does(fmt: str, top: int, n: int, tmp_path: Path) -> None:
    if fmt in ("508", "516"):
        pytest.importorskip("soundfile")
    rng = np.random.default_rng(int(fmt) + n)
    stored = rng.integers(-top, top, (n, 3))
    if fmt in ("160", "310", "311"):
        # the package writes none of them, so bytes are random; its 311 takes a spare bit for part of the third sample
        raw = rng.integers(0, 64, 6 * n + 4, dtype=np.uint8).tobytes()
        lines = [f"rec.dat {fmt} 100(0)/mV 10 0 0 0 0 {lead}" for lead in ("I", "II", "III")]
        (tmp_path / "rec.hea").write_text("\n".join([f"rec 3 360 {n}", *lines]) + "\n")
        (tmp_path / "rec.dat").write_bytes(raw)
    else:
        wfdb.wrsamp(
            "rec", fs=360, units=["mV"] * 3, sig_name=["I", "II", "III"], d_signal=stored, fmt=[fmt] * 3,
            adc_gain=[100.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path),
        )  # fmt: skip
    peer = wfdb.rdrecord(str(tmp_path / "rec"))
    assert np.allclose(read_ecg(tmp_path / "rec.hea").signals_mv, peer.p_signal.T, equal_nan=True)


def test_format_311_packs_three_samples_of_ten_bits() -> None:
    word = (5 & 0x3FF) | (-7 & 0x3FF) << 10 | (-512 & 0x3FF) << 20 | 0b11 << 30
    data = word.to_bytes(4, "little") * 2
    row = read_ecg(one_signal("r.dat 311 1/mV 10 0 0 0 0 II", data, "r 1 500 6")).signals_mv[0]
    assert row[:2].tolist() == [5.0, -7.0]
    assert np.isnan(row[2])  # the lowest value stands for no sample


def test_format_8_adds_differences_to_the_initial_value() -> None:
    data = np.array([0, 3, -5, 127], dtype="i1").tobytes()
    files = one_signal("r.dat 8 10/mV 12 0 100 0 0 II", data)
    assert read_ecg(files).signals_mv[0] * 10 == pytest.approx([100, 103, 98, 225])
    assert np.array_equal(read_ecg(pseudonymise_wfdb(files, "P7")).signals_mv, read_ecg(files).signals_mv)


def flac(stored: Any, subtype: str = "PCM_16") -> bytes:
    soundfile = pytest.importorskip("soundfile")
    out = io.BytesIO()
    soundfile.write(out, np.asarray(stored), 500, subtype, format="FLAC")
    return out.getvalue()


def test_a_flac_file_is_read_whole_or_not_at_all() -> None:
    stored = np.cumsum(np.random.default_rng(1).integers(-9, 10, 4000)).astype(np.int16)
    good = flac(stored)
    line = "r.dat 516 100/mV 16 0 0 0 0 II"
    assert np.allclose(read_ecg(one_signal(line, good, "r 1 500 4000")).signals_mv[0] * 100, stored)
    assert np.allclose(read_ecg(one_signal(line, good, "r 1 500")).signals_mv[0] * 100, stored)
    for data in (good[:-500], good[:60], good[:8], b"", b"RIFF" + good[4:]):
        assert rejected(one_signal(line, data, "r 1 500 4000")) in ("wfdb_flac_broken", "wfdb_truncated")
    for at in range(60, len(good), 101):
        damaged = good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :]
        with suppress(InputRejected):
            # where a comment was hit, every sample is what it was
            assert np.allclose(read_ecg(one_signal(line, damaged, "r 1 500 4000")).signals_mv[0] * 100, stored)
    assert rejected(one_signal(line, good, "r 1 500 4001")) == "wfdb_truncated"
    assert rejected(one_signal(line.replace("516", "508"), good, "r 1 500 4000")) == "wfdb_flac_broken"


def test_a_flac_file_cannot_unpack_to_far_more_than_its_size() -> None:
    data = flac(np.zeros(6_000_000, dtype=np.int16))
    assert len(data) < 100_000
    assert rejected(one_signal("r.dat 516 100/mV 16 0 0 0 0 II", data, "r 1 500 6000000")) == "wfdb_too_large"


def test_a_wrong_checksum_is_refused_and_an_unstated_one_is_not() -> None:
    files = write_wfdb(simulate("normal", 1)[0], "rec")
    data = bytearray(files["rec.dat"])
    data[5000] ^= 0x04
    assert rejected({**files, "rec.dat": bytes(data)}) == "wfdb_checksum"
    row = read_ecg(one_signal("r.dat 16 100/mV 16 0 0 0 0 II", np.arange(4, dtype="<i2").tobytes())).signals_mv
    assert row.shape == (1, 4)


def test_the_brain_is_no_lead_of_the_heart() -> None:
    names = ("ECG", "EEG (C4-A1)", "Resp")
    header = "r 3 250 100\n" + "".join(f"r.dat 16 200/mV 16 0 0 0 0 {name}\n" for name in names)
    record = read_ecg({"r.hea": header.encode(), "r.dat": bytes(600)})
    assert (record.leads, [one.name for one in record.other_channels]) == (names[:1], list(names[1:]))


def segments(lengths: str = "s1 1000\n~ 500\ns2 700\n", total: int = 2200) -> dict[str, bytes]:
    whole, _ = simulate("normal", 1)
    one = replace(whole, signals_mv=whole.signals_mv[:, :1000])
    two = replace(whole, signals_mv=whole.signals_mv[:6, 1000:1700], leads=whole.leads[:6])
    head = f"m/{lengths.count(chr(10))} 12 500 {total} 10:11:12 02/03/2026\n{lengths}# Age: 61\n"
    return {"m.hea": head.encode(), **write_wfdb(one, "s1"), **write_wfdb(two, "s2")}


def test_segments_are_laid_on_one_time_line_with_gaps() -> None:
    whole, _ = simulate("normal", 1)
    record = read_ecg(segments())
    assert record.leads == whole.leads
    assert record.signals_mv.shape == (12, 2200)
    assert np.allclose(record.signals_mv[:, :1000], whole.signals_mv[:, :1000], atol=0.00051)
    assert np.isnan(record.signals_mv[:, 1000:1500]).all()
    assert np.allclose(record.signals_mv[:6, 1500:], whole.signals_mv[:6, 1000:1700], atol=0.00051)
    assert np.isnan(record.signals_mv[6:, 1500:]).all()
    assert (record.age_years, record.acquired_at) == (61.0, datetime(2026, 3, 2, 2, 11, 12, tzinfo=UTC))


def test_a_layout_header_gives_the_order_of_leads(tmp_path: Path) -> None:
    files = segments("lay 0\ns2 700\ns1 1000\n", 1700)
    names = ("V6", "V5", "V4", "V3", "V2", "V1", "I", "II", "III", "aVR", "aVL", "aVF")
    layout = "lay 12 500 0\n" + "".join(f"~ 0 1000(0)/mV 16 0 0 0 0 {name}\n" for name in names)
    files = {**files, "lay.hea": layout.encode()}
    assert read_ecg(files).leads == names
    assert (is_whole(files), missing_part({k: v for k, v in files.items() if k != "s1.dat"})) == (True, "s1.dat")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert np.array_equal(read_ecg(tmp_path / "m.hea").signals_mv, read_ecg(files).signals_mv, equal_nan=True)


@pytest.mark.parametrize(
    ("lengths", "total", "code"),
    [
        ("s1 1000\n", 1001, "wfdb_header_invalid"),
        ("s1 999\n", 999, "wfdb_header_invalid"),
        ("s1 1000\n~ 150000000\n", 150001000, "wfdb_too_large"),
        ("s1 1000\n" * 400, 400_000, "wfdb_too_large"),
        ("m 1000\n", 1000, "wfdb_header_invalid"),
        ("../s1 1000\n", 1000, "wfdb_unsafe_name"),
        ("s3 1000\n", 1000, "wfdb_missing_file"),
        ("s1 -5\n", 1000, "wfdb_header_invalid"),
        ("~ 1000\n", 1000, "wfdb_no_ecg_lead"),
    ],
)
def test_segments_that_cannot_be_right_are_refused(lengths: str, total: int, code: str) -> None:
    files = segments(lengths, total)
    kept = ("m", "s1") if "s1" in lengths else ("m",)
    used = {name: data for name, data in files.items() if name.split(".")[0] in kept}
    assert rejected(used) == code


def test_format_61_is_big_endian() -> None:
    data = np.array([1, -2, 300, -32768], dtype=">i2").tobytes()
    row = read_ecg(one_signal("r.dat 61 100/mV 16 0 0 0 0 II", data)).signals_mv[0]
    assert np.allclose(row[:3], [0.01, -0.02, 3.0])
    assert np.isnan(row[3])


def test_byte_offset_skew_and_baseline_are_honoured() -> None:
    data = b"HEADER" + np.array([10, 20, 30, 40], dtype="<i2").tobytes()
    row = read_ecg(one_signal("r.dat 16:1+6 10(5)/mV 16 0 0 0 0 II", data)).signals_mv[0]
    assert np.allclose(row[:3], [1.5, 2.5, 3.5])
    assert np.isnan(row[3])


def test_slower_leads_are_kept_aside() -> None:
    header = (
        b"r 3 250 4\nr.dat 16x2 100/mV 16 0 0 0 0 I\nr.dat 16x2 100/mV 16 0 0 0 0 II\nr.dat 16 1/mV 16 0 0 0 0 V9\n"
    )
    data = np.arange(20, dtype="<i2").tobytes()
    record = read_ecg({"r.hea": header, "r.dat": data})
    assert (record.leads, record.fs_hz, record.signals_mv.shape) == (("I", "II"), 500.0, (2, 8))
    assert np.allclose(record.signals_mv[0] * 100, [0, 1, 5, 6, 10, 11, 15, 16])
    assert [(c.name, c.fs_hz, c.samples.size) for c in record.other_channels] == [("V9", 250.0, 4)]


def agrees_with_wfdb(folder: Path, pattern: str, count: int) -> None:
    headers = sorted(folder.glob(pattern))[:count]
    assert headers
    for header in headers:
        peer = wfdb.rdrecord(str(header.with_suffix("")))
        ours = read_ecg(header)
        assert ours.fs_hz == peer.fs
        assert [lead.upper() for lead in ours.leads] == [lead.upper() for lead in peer.sig_name]
        assert np.allclose(ours.signals_mv, peer.p_signal.T, equal_nan=True, atol=1e-9)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("folder", "count"), [("mitdb", 3), ("ludb", 20), ("twelve", 30), ("cpsc2019s", 5), ("cpsc2021s", 3), ("nstdb", 2)]
)
def test_real_records_are_read_as_the_wfdb_package_does(data_dir: Path, folder: str, count: int) -> None:
    agrees_with_wfdb(data_dir / "ecg" / folder, "*.hea", count)


@pytest.mark.parametrize("name", ["../secret.dat", "/etc/passwd", "a\\b.dat", "..", "-", "~", "c:x.dat", "sub/x.dat"])
def test_a_header_cannot_name_a_file_elsewhere(name: str, tmp_path: Path) -> None:
    text = f"r 1 500 4\n{name} 16 100/mV 16 0 0 0 0 II\n".encode()
    (tmp_path / "secret.dat").write_bytes(bytes(8))
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "r.hea").write_bytes(text)
    with pytest.raises(InputRejected) as caught:
        read_ecg(inside / "r.hea")
    assert caught.value.code == "wfdb_unsafe_name"
    assert missing_part({"r.hea": text}) is None
    assert name not in str(caught.value) or len(name) < 3


@pytest.mark.parametrize(
    ("record", "line", "code"),
    [
        ("r 1 500 4", "r.dat 16 0/mV 16 0 0 0 0 II", "ecg_no_scale"),
        ("r 1 500 4", "r.dat 16", "ecg_no_scale"),
        ("r 1 500 4", "r.dat 16 nan/mV 16 0 0 0 0 II", "ecg_no_scale"),
        ("r 1 500 4", "r.dat 16 1e-300/mV 16 0 0 0 0 II", "wfdb_header_invalid"),
        ("r 1 500 4", "r.dat 16 1e999/mV 16 0 0 0 0 II", "wfdb_header_invalid"),
        ("r 1 500 4", "r.dat 9 100/mV 16 0 0 0 0 II", "wfdb_format_unsupported"),
        ("r 1 500 4", "r.dat 16x0 100/mV 16 0 0 0 0 II", "wfdb_header_invalid"),
        ("r 1 500 4", "r.dat 16x999999 100/mV 16 0 0 0 0 II", "wfdb_header_invalid"),
        ("r 1 500 4", "r.dat 16+999999999 100/mV 16 0 0 0 0 II", "wfdb_header_invalid"),
        ("r 1 500 4", "r.dat 16 100/mmHg 16 0 0 0 0 ABP", "wfdb_no_ecg_lead"),
        ("r 1 500 200000000", "r.dat 16 100/mV 16 0 0 0 0 II", "wfdb_truncated"),
        ("r 1 500 900000000000", "r.dat 16 100/mV 16 0 0 0 0 II", "wfdb_header_invalid"),
        ("r 65 500 4", "r.dat 16 100/mV 16 0 0 0 0 II", "wfdb_header_invalid"),
        ("r 12 500 4", "r.dat 16 100/mV 16 0 0 0 0 II", "wfdb_truncated"),
        ("r 1 0 4", "r.dat 16 100/mV 16 0 0 0 0 II", "wfdb_header_invalid"),
        ("r 1 1e9 4", "r.dat 16 100/mV 16 0 0 0 0 II", "wfdb_header_invalid"),
        ("r/2 1 500 4", "r_1 2", "wfdb_truncated"),
        ("r 1 500 4", "other.dat 16 100/mV 16 0 0 0 0 II", "wfdb_missing_file"),
    ],
)
def test_a_hostile_header_is_refused_with_its_code(record: str, line: str, code: str) -> None:
    assert rejected(one_signal(line, bytes(8), record)) == code


def test_two_formats_in_one_file_are_refused() -> None:
    text = b"r 2 500 4\nr.dat 16 100/mV 16 0 0 0 0 I\nr.dat 212 100/mV 16 0 0 0 0 II\n"
    assert rejected({"r.hea": text, "r.dat": bytes(64)}) == "wfdb_header_invalid"


def test_a_huge_header_is_refused() -> None:
    text = b"r 1 500 4\nr.dat 16 100/mV 16 0 0 0 0 II\n" + b"# x\n" * 100_000
    assert rejected({"r.hea": text, "r.dat": bytes(8)}) == "wfdb_header_invalid"


def test_a_signal_file_is_whole_only_with_its_last_byte() -> None:
    files = write_wfdb(simulate("normal", 1)[0], "rec")
    assert is_whole(files)
    for cut in (1, 2, 1000, len(files["rec.dat"]) - 1, len(files["rec.dat"])):
        short = {**files, "rec.dat": files["rec.dat"][:-cut]}
        assert not is_whole(short)
        assert rejected(short) == "wfdb_truncated"
    assert not is_whole({"rec.hea": files["rec.hea"]})


def test_the_missing_part_is_named() -> None:
    files = write_wfdb(simulate("normal", 1)[0], "rec")
    assert missing_part(files) is None
    assert missing_part({"rec.hea": files["rec.hea"]}) == "rec.dat"
    assert missing_part({"rec.dat": files["rec.dat"]}) == "rec.hea"


def identified() -> dict[str, bytes]:
    header = (
        b"ZHANGSAN 2 500 4 10:11:12 03/02/1961\nZHANGSAN.dat 16+8 100(3)/mV 16 0 7 0 0 II\n"
        b"ZHANGSAN.dat 16+8 100(3)/mV 16 0 7 0 0 ZHANG SAN ROOM 4\n# Zhang San, born 1961\n#Sex: Male\n"
    )
    data = b"ZHANGSAN" + np.arange(8, dtype="<i2").tobytes() + b"ZHANGSAN WAS HERE"
    return {"ZHANGSAN.hea": header, "ZHANGSAN.dat": data, "ZHANGSAN.atr": b"ZHANGSAN"}


def tells_who(files: Mapping[str, bytes]) -> bool:
    text = b"\n".join([name.encode() + b"\n" + data for name, data in files.items()]).upper()
    return any(word in text for word in (b"ZHANG", b"SAN ", b"1961", b"10:11", b"MALE", b"ROOM"))


def test_a_pseudonymised_record_keeps_every_sample_and_nothing_else() -> None:
    before = identified()
    after = pseudonymise_wfdb(before, "PABCDEFG")
    assert tells_who(before)  # the check can fail
    assert not tells_who(after)
    assert set(after) == {"PABCDEFG.hea", "PABCDEFG.dat"}
    ours, theirs = read_ecg(after), read_ecg({k: before[k] for k in ("ZHANGSAN.hea", "ZHANGSAN.dat")})
    assert np.array_equal(ours.signals_mv, theirs.signals_mv)
    assert ours.leads == ("II", "channel 2")
    assert ours.acquired_at is None
    assert ours.patient == Patient()


def commented(*comments: bytes) -> dict[str, bytes]:
    files = one_signal("r.dat 16 100/mV 16 0 0 0 0 II", bytes(8))
    return {**files, "r.hea": files["r.hea"] + b"".join(b"# " + comment + b"\n" for comment in comments)}


@pytest.mark.parametrize(
    ("comment", "name"),
    [
        ("Name: 张示例".encode(), "张示例"),
        ("Name: 张示例".encode("gb18030"), "张示例"),
        ("Name: 朱镕喆".encode("gb18030"), "朱镕喆"),  # not in GB 2312
        ("Name: 𠮷田".encode("gb18030"), "𠮷田"),  # four bytes
        ("姓名：王小东".encode("gb18030"), "王小东"),
        (b"<patient name>: Clark, A.", "Clark, A."),
        (b"PATIENT'S NAME : Clark", "Clark"),
        ("Name: Müller".encode("latin-1"), "Müller"),
        ("Name: MÜLLER".encode("latin-1"), "MÜLLER"),
        ("Name: Wang\0\x1b[31m\u202e Xiao\tdong".encode(), "Wang[31m Xiao dong"),
        (b"Name: " + b"x" * 5000, "x" * 64),
        (b"Name: Unknown", None),
        (b"Name:", None),
        (b"Name of the device: X", None),
    ],
)
def test_the_name_in_a_comment_is_read_as_it_was_written(comment: bytes, name: str | None) -> None:
    odd = "Dx: 房颤 \xb5".encode("latin-1", "ignore")  # another line in another character set
    assert read_ecg(commented(b"Age: 41", odd, comment)).patient.name == name


@pytest.mark.parametrize(
    ("comment", "patient"),
    [
        (b"Patient ID: SAMPLE-0001", Patient(id="SAMPLE-0001")),
        (b"patient_id:0007", Patient(id="0007")),
        ("病历号：A7".encode(), Patient(id="A7")),
        (b"Patient ID: n/a", Patient()),  # else everybody without a number would be one patient
        (b"Patient ID: ----", Patient()),
        (b"ID: 7", Patient()),  # may be the recording's
        (b"Sex: Female", Patient(sex="F")),
        ("性别: 男".encode(), Patient(sex="M")),
    ],
)
def test_identifier_and_sex_come_from_comments_that_say_so(comment: bytes, patient: Patient) -> None:
    assert read_ecg(commented(comment)).patient == patient


@pytest.mark.parametrize(
    ("comment", "years"),
    [("Age: 65", 65.0), ("<age>: 79", 79.0), ("年龄：65岁", 65.0), ("Age: 6 months", None), ("Age: 999", None)],
)
def test_an_age_is_in_years_or_unknown(comment: str, years: float | None) -> None:
    assert read_ecg(commented(comment.encode())).age_years == years


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_no_comment_survives_pseudonymisation(encoding: str) -> None:
    who = [text.encode(encoding) for text in ("Name: 张示例", "Patient ID: SAMPLE-0001", "Age: 41", "Sex: M", "备注")]
    before = commented(*who)
    assert read_ecg(before).patient == Patient(id="SAMPLE-0001", name="张示例", sex="M")
    after = pseudonymise_wfdb(before, "P7")
    assert b"#" in before["r.hea"]
    assert b"#" not in after["P7.hea"]
    assert after["P7.hea"].isascii()
    assert read_ecg(after).patient == Patient()
    assert read_ecg(after).age_years is None
    assert after["P7.dat"] == before["r.dat"]


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 65, "名"])
def test_a_record_name_cannot_be_a_path(name: str) -> None:
    record: EcgRecord = simulate("normal", 1)[0]
    with pytest.raises(ValueError, match="name"):
        write_wfdb(record, name)
    with pytest.raises(ValueError, match="pseudonym"):
        pseudonymise_wfdb(identified(), name)


def test_a_header_is_told_from_other_text() -> None:
    assert sniff(b"# a comment\r\n100 2 360 650000\r\n100.dat 212 200 11 1024\r\n") == "wfdb"
    for text in (b"", b"hello world\n", b"a,b,c\n1,2,3\n", b"12 3\n", b"Dear Sir\n16 is the age\n", bytes(500)):
        assert sniff(text) is None


@pytest.mark.parametrize(
    "text", [b"<?xml version='1.0'?>", b"\xef\xbb\xbf<a/>", b"\n <SomethingElse>", "<?xml?>".encode("utf-16")]
)
def test_markup_is_told_from_everything_else(text: bytes) -> None:
    assert sniff(text) == "xml"

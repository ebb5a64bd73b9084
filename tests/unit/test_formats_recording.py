"""Promises of the one way in: any bytes give a record or a coded refusal."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from teleread.errors import InputRejected
from teleread.ingest.formats import bundle, is_whole, kind_of, missing_part, read_ecg, sniff, write_wfdb
from teleread.signal.ecg import EcgRecord, analyse, simulate

WFDB = write_wfdb(simulate("normal", 1, fs_hz=100, duration_s=2)[0], "rec")


def small_dicom() -> bytes:
    """A whole ECG object of a few kilobytes, so that most mutations hit a header."""
    import io

    import pydicom

    dataset = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    dataset.WaveformSequence = dataset.WaveformSequence[:1]
    group = dataset.WaveformSequence[0]
    group.NumberOfWaveformSamples = 100
    group.WaveformData = group.WaveformData[: 100 * 12 * 2]
    dataset.WaveformAnnotationSequence = dataset.WaveformAnnotationSequence[:6]
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


DICOM = small_dicom()


def test_every_way_in_gives_the_same_record(tmp_path: Path) -> None:
    for name, data in WFDB.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "one.zip").write_bytes(bundle(WFDB))
    (tmp_path / "no_ending").write_bytes(DICOM)
    sources = [WFDB, bundle(WFDB), tmp_path / "rec.hea", tmp_path / "rec.dat", str(tmp_path / "one.zip")]
    assert len({read_ecg(s).signals_mv.tobytes() for s in sources}) == 1  # type: ignore[arg-type]
    assert np.array_equal(read_ecg(tmp_path / "no_ending").signals_mv, read_ecg(DICOM).signals_mv)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (b"", "format_unknown"),
        (b"\x00" * 1000, "format_unknown"),
        (b"%PDF-1.7", "format_unsupported"),
        (b"<?xml version='1.0'?><a/>", "format_unsupported"),
        ({"a.dcm": DICOM, "b.dcm": DICOM}, "several_recordings"),
        ({}, "format_unknown"),
        (WFDB["rec.hea"], "wfdb_missing_file"),
        (Path("nowhere.hea"), "file_unreadable"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_code(source: object, code: str) -> None:
    with pytest.raises(InputRejected) as caught:
        read_ecg(source)  # type: ignore[arg-type]
    assert caught.value.code == code


def test_no_refusal_names_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ZhangSan.hea"
    path.write_bytes(b"ZhangSan 1 500 4\nZhangSan.dat 16 100/mV 16 0 0 0 0 II\n")
    for source in (path, tmp_path / "ZhangSan-gone.dcm"):
        with pytest.raises(InputRejected) as caught:
            read_ecg(source)
        assert "ZhangSan" not in str(caught.value)


def test_a_bundle_is_whole_as_its_files_are() -> None:
    whole = bundle(WFDB)
    assert is_whole({"x.zip": whole})
    assert not is_whole({"x.zip": whole[:-1]})
    assert not is_whole({"x.zip": bundle({**WFDB, "rec.dat": WFDB["rec.dat"][:-2]})})
    assert not is_whole({"x.zip": bundle({"rec.hea": WFDB["rec.hea"]})})
    assert not is_whole({})
    assert not is_whole({"x": b""})
    assert is_whole({"note.txt": b"what is not understood is not waited for"})


def answers(files: dict[str, bytes]) -> None:
    """A record that can be analysed, or a coded refusal; and the cheap questions never fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in files.values():
            sniff(data)
            kind_of(data)
        missing_part(files)
        is_whole(files)
        try:
            record = read_ecg(files)
        except InputRejected:
            return
        assert isinstance(record, EcgRecord)
        assert not np.isinf(record.signals_mv).any()
        if record.signals_mv.size < 100_000:
            analyse(record).to_json()


KINDS = ["flip", "huge", "zero", "cut", "drop", "repeat"]
step = st.tuples(st.integers(0, 1 << 16), st.sampled_from(KINDS), st.integers(0, 255))
mutations = st.lists(step, min_size=1, max_size=6)


def mutated(data: bytes, steps: list[tuple[int, str, int]]) -> bytes:
    out = bytearray(data)
    for where, what, value in steps:
        at = where % max(1, len(out))
        if what == "flip" and out:
            out[at] ^= value
        elif what == "huge":
            out[at : at + 4] = b"\xff\xff\xff\xff"
        elif what == "zero":
            out[at : at + 4] = bytes(4)
        elif what == "cut":
            del out[at:]
        elif what == "drop":
            del out[at : at + value % 16]
        else:
            out[at:at] = out[at : at + value % 32]
    return bytes(out)


@settings(max_examples=400, deadline=None)
@given(mutations)
def test_a_mutated_dicom_file_gives_a_record_or_a_coded_refusal(steps: list[tuple[int, str, int]]) -> None:
    answers({"x": mutated(DICOM, steps)})


@settings(max_examples=300, deadline=None)
@given(mutations, st.booleans())
def test_a_mutated_wfdb_record_gives_a_record_or_a_coded_refusal(
    steps: list[tuple[int, str, int]], header: bool
) -> None:
    name = "rec.hea" if header else "rec.dat"
    answers({**WFDB, name: mutated(WFDB[name], steps)})


@settings(max_examples=200, deadline=None)
@given(mutations)
def test_a_mutated_zip_gives_a_record_or_a_coded_refusal(steps: list[tuple[int, str, int]]) -> None:
    answers({"x.zip": mutated(bundle(WFDB), steps)})


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", bytes(128) + b"DICM", b"PK\x03\x04", b"r 1 500 4\nr.dat 16 "]))
def test_any_bytes_give_a_coded_refusal_at_worst(tail: bytes, head: bytes) -> None:
    answers({"x": head + tail})


@pytest.mark.parametrize("step", [3, 7])
def test_a_file_cut_at_many_points_is_refused_or_read(step: int) -> None:
    for n in range(0, len(DICOM), step * 10):
        answers({"x": DICOM[:n]})
    for n in range(0, len(WFDB["rec.hea"]), step):
        answers({**WFDB, "rec.hea": WFDB["rec.hea"][:n]})

"""Promises of the DICOM ECG reader."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from teleread.ingest.formats import is_whole, kind_of, read_ecg, sniff
from teleread.ingest.imaging import read_header
from teleread.signal.ecg import STANDARD_LEADS
from tests.unit.dicom_files import ECG, changed, rejected, without_tail


def test_the_rhythm_is_read_not_the_median() -> None:
    record = read_ecg(ECG)
    assert record.leads == STANDARD_LEADS
    assert record.signals_mv.shape == (12, 10_000)
    assert record.fs_hz == 1000.0
    assert record.other_channels == ()
    assert record.signals_mv[0, :4] == pytest.approx([0.1, 0.08125, 0.0625, 0.04375])
    assert (record.device.manufacturer, record.device.model) == ("Mortara Instrument, Inc.", "el250")
    assert (record.patient.birth_date, record.patient.sex, record.age_years) == (date(1971, 1, 23), "F", 42.0)
    assert record.acquired_at == datetime(2013, 1, 25, 2, 59, 19, tzinfo=UTC)  # no offset in the file: UTC+8


def test_tens_of_thousands_of_annotations_are_refused_before_each_is_parsed() -> None:
    def annotate(dataset: Dataset) -> None:
        one = Dataset()
        one.UnformattedTextValue = "x"
        dataset.WaveformAnnotationSequence = Sequence([one] * 40_000)

    assert rejected(changed(annotate)) == "dicom_too_many_elements"


def test_the_median_is_not_taken_even_when_it_stands_first() -> None:
    def turn(dataset: Dataset) -> None:
        dataset.WaveformSequence = Sequence(reversed(list(dataset.WaveformSequence)))

    assert np.array_equal(read_ecg(changed(turn)).signals_mv, read_ecg(ECG).signals_mv)


def test_device_values_are_kept_and_marked_as_the_devices() -> None:
    record = read_ecg(ECG)
    assert ("rr_interval", 982.0, "ms") in {(m.name, m.value, m.unit) for m in record.device_measurements}
    assert "RITMO SINUSALE" in record.device_statements


def test_a_printed_report_is_never_measured() -> None:
    def report(dataset: Dataset) -> None:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"

    assert rejected(changed(report)) == "dicom_pdf_no_waveform"


@pytest.mark.parametrize(
    ("scheme", "value", "meaning", "number", "unit", "expected"),
    [
        ("MDC", "2:15872", "PR interval global", "161", "ms", ("pr_interval", 161.0, "ms")),
        ("SCPECG", "5.13.5-9", "x", "0.09", "s", ("qrs_duration", 90.0, "ms")),
        ("LN", "8638-9", "T wave axis", "-30", "deg", ("t_axis", -30.0, "deg")),
        ("99ACME", "7", "QTc Fridericia", "411", "ms", ("qtc_fridericia", 411.0, "ms")),
        ("SCPECG", "5.10.3-13", "QRS Axis", "-61", "ms", ("qrs_axis", -61.0, "deg")),
        ("MDC", "2:16016", "Heart rate", "71", "{H.B.}/min", ("heart_rate", 71.0, "/min")),
        ("99ACME", "8", "Sokolow index", "2.1", "mV", ("Sokolow index", 2.1, "mV")),
        ("MDC", "2:15872", "PR interval global", "29999", "ms", None),
    ],
)
def test_device_values_have_one_name_and_unit(
    scheme: str, value: str, meaning: str, number: str, unit: str, expected: tuple[str, float, str] | None
) -> None:
    def only(dataset: Dataset) -> None:
        item = next(i for i in dataset.WaveformAnnotationSequence if "NumericValue" in i)
        concept = item.ConceptNameCodeSequence[0]
        concept.CodingSchemeDesignator, concept.CodeValue, concept.CodeMeaning = scheme, value, meaning
        item.NumericValue, item.MeasurementUnitsCodeSequence[0].CodeValue = number, unit
        dataset.WaveformAnnotationSequence = Sequence([item])

    found = [(m.name, m.value, m.unit) for m in read_ecg(changed(only)).device_measurements]
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("text", "charset", "name"),
    [
        (b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "\\ISO 2022 IR 58", "张小东"),
        ("王^小东".encode("gb18030"), "GB18030", "王小东"),
        ("王^小东".encode("gb18030"), "", "王小东"),
        ("王^小东".encode(), "ISO_IR 192", "王小东"),
        ("王^小东".encode(), "", "王小东"),
        (b"Clark^A", "", "Clark A"),
    ],
)
def test_chinese_names_are_read_as_they_were_written(text: bytes, charset: str, name: str) -> None:
    def element(tag: bytes, vr: bytes, value: bytes) -> bytes:
        value += b" " * (len(value) % 2)
        return tag + vr + struct.pack("<H", len(value)) + value

    start = ECG.index(b"\x08\x00\x05\x00CS")
    stop = start + 8 + struct.unpack_from("<H", ECG, start + 6)[0]
    data = ECG[:start] + element(b"\x08\x00\x05\x00", b"CS", charset.encode()) + ECG[stop:]
    start = data.index(b"\x10\x00\x10\x00PN")
    stop = start + 8 + struct.unpack_from("<H", data, start + 6)[0]
    data = data[:start] + element(b"\x10\x00\x10\x00", b"PN", text) + data[stop:]
    assert read_ecg(data).patient.name == name
    assert read_ecg(data).patient == read_header(data).patient


def test_what_has_no_waveform_says_so() -> None:
    assert rejected(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()) == "dicom_no_waveform"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("waveform_ecg.dcm", "ecg"),
        ("CT_small.dcm", "image"),
        ("MR_small.dcm", "image"),
        ("examples_rgb_color.dcm", "image"),
        ("rtplan.dcm", "unknown"),
        ("reportsi.dcm", "unknown"),
    ],
)
def test_the_kind_is_told_from_the_content(name: str, kind: str) -> None:
    data = Path(str(get_testdata_file(name))).read_bytes()
    assert sniff(data) == "dicom"
    assert kind_of(data) == kind
    assert kind_of(data[132:]) == kind or kind == "unknown"  # without preamble


def test_a_file_without_preamble_is_read_like_one_with_it() -> None:
    bare = ECG[132:]
    assert np.array_equal(read_ecg(bare).signals_mv, read_ecg(ECG).signals_mv)
    assert read_header(bare) == read_header(ECG)
    assert is_whole({"x": changed(without_tail)[132:]})
    assert not is_whole({"x": changed(without_tail)[132:-1]})


def test_the_catalogue_and_the_recording_say_the_same() -> None:
    record, header = read_ecg(ECG), read_header(ECG)
    assert (record.patient, record.acquired_at, record.age_years) == (
        header.patient,
        header.acquired_at,
        header.age_years,
    )


def test_sentences_of_the_device_are_read_in_the_character_set_of_the_file() -> None:
    def say(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = "GB18030"
        dataset.WaveformAnnotationSequence[0].UnformattedTextValue = "窦性心律\r\n\x1b[31m正常"

    assert "窦性心律 [31m正常" in read_ecg(changed(say)).device_statements


def test_every_dicom_file_of_the_bench_is_read(data_dir: Path) -> None:
    for path in sorted((data_dir / "ecg_files" / "dicom").glob("*.dcm")):
        truth = np.load(str(path) + ".gt.npz")
        record = read_ecg(path)
        for name in truth.files:
            lead = record.lead(name)
            assert lead is not None
            assert np.abs(lead - truth[name]).max() <= 1e-6

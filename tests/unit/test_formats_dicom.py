"""Promises of the DICOM ECG reader."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from teleread.errors import InputRejected
from teleread.ingest.dicom_file import split
from teleread.ingest.formats import is_whole, kind_of, read_ecg, sniff
from teleread.ingest.imaging import read_header
from teleread.signal.ecg import STANDARD_LEADS

ECG = Path(str(get_testdata_file("waveform_ecg.dcm"))).read_bytes()


def changed(change: Callable[[Dataset], None], implicit: bool = False) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(ECG))
    change(dataset)
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    out = io.BytesIO()
    dataset.save_as(out, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return out.getvalue()


def rejected(data: bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(data)
    return caught.value.code


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


def test_the_median_is_not_taken_even_when_it_stands_first() -> None:
    def turn(dataset: Dataset) -> None:
        dataset.WaveformSequence = Sequence(reversed(list(dataset.WaveformSequence)))

    assert np.array_equal(read_ecg(changed(turn)).signals_mv, read_ecg(ECG).signals_mv)


def test_device_values_are_kept_and_marked_as_the_devices() -> None:
    record = read_ecg(ECG)
    assert ("rr_interval", 982.0, "ms") in {(m.name, m.value, m.unit) for m in record.device_measurements}
    assert "RITMO SINUSALE" in record.device_statements


def test_sensitivity_correction_and_baseline_give_millivolts() -> None:
    def rescale(dataset: Dataset) -> None:
        channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[1]
        channel.ChannelSensitivity = "2.5"
        channel.ChannelSensitivityCorrectionFactor = "2"
        channel.ChannelBaseline = "100"

    plain = pydicom.dcmread(io.BytesIO(ECG)).WaveformSequence[0]
    stored = np.frombuffer(plain.WaveformData, "<i2").reshape(-1, 12)[:, 1]
    lead = read_ecg(changed(rescale)).lead("II")
    assert lead is not None
    assert np.allclose(lead, (stored * 5.0 + 100.0) / 1000.0)


def test_padding_becomes_missing() -> None:
    def pad(dataset: Dataset) -> None:
        group = dataset.WaveformSequence[0]
        raw = np.frombuffer(group.WaveformData, "<i2").copy()
        raw[12 * 500 : 12 * 600] = -32768
        group.WaveformData = raw.tobytes()
        group.add_new("WaveformPaddingValue", "OW", struct.pack("<h", -32768))

    record = read_ecg(changed(pad))
    assert np.isnan(record.signals_mv[:, 500:600]).all()
    assert np.isfinite(record.signals_mv[:, :500]).all()


def test_a_padding_value_that_is_also_an_ordinary_sample_erases_no_sample() -> None:
    def declare_zero(dataset: Dataset) -> None:
        dataset.WaveformSequence[0].add_new("WaveformPaddingValue", "OW", b"\0\0")

    assert (read_ecg(ECG).signals_mv == 0).any()
    assert np.isfinite(read_ecg(changed(declare_zero)).signals_mv).all()


def test_leads_are_known_by_code_by_label_and_by_words() -> None:
    def rename(dataset: Dataset) -> None:
        channels = dataset.WaveformSequence[0].ChannelDefinitionSequence
        for k, (code, label, meaning) in enumerate(
            [
                ("2:1", "", ""),
                ("", "ii", ""),
                ("", "", "Lead III"),
                ("5.6.3-9-62", "", "x"),
                ("", "?", "aVL, augmented"),
            ]
        ):
            source = channels[k].ChannelSourceSequence[0]
            source.CodeValue, source.CodeMeaning, channels[k].ChannelLabel = code, meaning, label

    assert read_ecg(changed(rename)).leads[:5] == ("I", "II", "III", "aVR", "aVL")


def test_eight_stored_leads_give_twelve_with_four_marked() -> None:
    def thin(dataset: Dataset) -> None:
        group = dataset.WaveformSequence[0]
        keep = [0, 1, 6, 7, 8, 9, 10, 11]
        raw = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12)[:, keep]
        group.ChannelDefinitionSequence = Sequence([group.ChannelDefinitionSequence[i] for i in keep])
        group.NumberOfWaveformChannels, group.WaveformData = 8, raw.tobytes()

    record = read_ecg(changed(thin))
    assert record.leads == STANDARD_LEADS
    assert record.derived_leads == ("III", "aVR", "aVL", "aVF")


@pytest.mark.parametrize("implicit", [False, True])
def test_both_value_representations_give_the_same(implicit: bool) -> None:
    data = changed(lambda _: None, implicit)
    assert np.array_equal(read_ecg(data).signals_mv, read_ecg(ECG).signals_mv)
    assert is_whole({"x": data})


def deflated(data: bytes, body: bytes | None = None) -> bytes:
    machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = machine.compress(split(data).body if body is None else body) + machine.flush()
    uid = b"1.2.840.10008.1.2.1.99"
    elements = b"\x02\x00\x02\x00UI" + struct.pack("<H", 28) + b"1.2.840.10008.5.1.4.1.1.9.1.1"[:28]
    elements += b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid
    head = bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(elements)) + elements
    return head + packed


def test_a_deflated_file_is_read_within_limits() -> None:
    data = deflated(ECG)
    assert np.array_equal(read_ecg(data).signals_mv, read_ecg(ECG).signals_mv)
    assert rejected(data[:-200]) == "dicom_truncated"


def test_a_deflated_bomb_is_refused() -> None:
    assert rejected(deflated(ECG, bytes(64 << 20))) == "dicom_bomb"


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


def without_tail(dataset: Dataset) -> None:
    """Nothing stands behind the waveform."""
    for tag in [tag for tag in dataset.keys() if tag > 0x54000100]:  # noqa: SIM118 - a Dataset is no dict
        del dataset[tag]


def test_a_file_cut_anywhere_is_not_whole() -> None:
    data = changed(without_tail)
    assert is_whole({"x": data})
    ends = [len(data) - k for k in range(1, 60)]
    for n in [*range(1, 3000), *range(3000, len(data), 1201), *ends]:
        assert not is_whole({"x": data[:n]}), n


@pytest.mark.parametrize("implicit", [False, True])
def test_a_file_cut_between_two_elements_is_not_whole(implicit: bool) -> None:
    data = changed(without_tail, implicit)
    starts = [e.value_tell for e in pydicom.dcmread(io.BytesIO(data)).values() if isinstance(e, RawDataElement)]
    assert len(starts) > 20
    assert not any(is_whole({"x": data[: start - back]}) for start in starts for back in (0, 4, 8, 12))


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "JPEG2000.dcm",
        "examples_rgb_color.dcm",
        "MR_small_bigendian.dcm",
    ],
)
def test_images_are_whole_until_their_last_byte_goes(name: str) -> None:
    data = Path(str(get_testdata_file(name))).read_bytes()
    assert is_whole({"x": data})
    for n in (200, len(data) // 3, len(data) // 2, len(data) - 20):
        assert not is_whole({"x": data[:n]})


@pytest.mark.parametrize("n", [200, 1000, 5000, 100_000, len(ECG) - 1])
def test_a_cut_file_is_refused_as_truncated(n: int) -> None:
    assert rejected(ECG[:n]) in ("dicom_truncated", "dicom_no_waveform")


def test_a_claim_of_four_gigabytes_is_refused_at_once() -> None:
    at = ECG.rindex(b"\x10\x10OW")
    data = ECG[: at + 6] + struct.pack("<I", 0xFFFFFFF0) + ECG[at + 10 :]
    assert rejected(data) in ("dicom_truncated", "dicom_malformed")
    tail = b"\xe0\x7f\x10\x00OW\x00\x00\xf0\xff\xff\xff1234"
    assert rejected(ECG + tail) == "dicom_truncated"


def set_group(**values: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dataset.WaveformSequence[0], keyword, value)

    return change


def set_channel(**values: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[0]
            if value is None:
                delattr(channel, keyword)
            else:
                setattr(channel, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (set_group(NumberOfWaveformChannels=0), "dicom_waveform_invalid"),
        (set_group(NumberOfWaveformChannels=255), "dicom_waveform_invalid"),
        (set_group(NumberOfWaveformChannels=13), "dicom_waveform_invalid"),
        (set_group(NumberOfWaveformSamples=0), "dicom_waveform_invalid"),
        (set_group(NumberOfWaveformSamples=4_000_000_000), "dicom_waveform_invalid"),
        (set_group(NumberOfWaveformSamples=10_001), "dicom_truncated"),
        (set_group(SamplingFrequency="0"), "dicom_waveform_invalid"),
        (set_group(SamplingFrequency="1000000000"), "dicom_waveform_invalid"),
        (set_group(WaveformBitsAllocated=12), "dicom_waveform_invalid"),
        (set_group(WaveformSampleInterpretation="MB"), "dicom_waveform_encoding"),
        (set_channel(ChannelSensitivity=None), "ecg_no_scale"),
        (set_channel(ChannelSensitivity="0"), "ecg_no_scale"),
        (set_channel(ChannelSensitivity="1e300"), "ecg_no_scale"),
        (set_channel(ChannelSensitivityUnitsSequence=None), "ecg_no_scale"),
        (lambda dataset: delattr(dataset, "WaveformSequence"), "dicom_no_waveform"),
    ],
)
def test_a_hostile_waveform_is_refused_with_its_code(change: Callable[[Dataset], None], code: str) -> None:
    assert rejected(changed(change)) == code


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

"""Promises of the DICOM ECG reader."""

from __future__ import annotations

import copy
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
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

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


def test_a_lead_is_known_by_the_name_of_its_code() -> None:
    def rename(dataset: Dataset) -> None:
        for lead, one in zip(STANDARD_LEADS, dataset.WaveformSequence[0].ChannelDefinitionSequence, strict=True):
            source = one.ChannelSourceSequence[0]
            source.CodeValue, source.CodeMeaning = f"MDC_ECG_LEAD_{lead.upper()}"[:16], "electrocardiogram"
            if "ChannelLabel" in one:
                del one.ChannelLabel

    assert read_ecg(changed(rename)).leads == STANDARD_LEADS


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


def waveform(kind: str, values: list[int], **channel: object) -> bytes:
    """One channel, lead II, of a General ECG."""

    def change(dataset: Dataset) -> None:
        group = dataset.WaveformSequence[0]
        one = group.ChannelDefinitionSequence[1]
        for keyword, value in channel.items():
            setattr(one, keyword, value)
        dtype = np.dtype("<" + {"B": "i1", "S": "i2", "L": "i4", "V": "i8"}[kind[1]])
        dtype = np.dtype(dtype.str.replace("i", "u")) if kind[0] == "U" else dtype
        group.ChannelDefinitionSequence = Sequence([one])
        group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 1, len(values)
        group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 8 * dtype.itemsize, kind
        raw = np.array(values, dtype=dtype).tobytes()
        group.WaveformData = raw + b"\0" * (len(raw) % 2)
        dataset.WaveformSequence = Sequence([group])

    return changed(change)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("SB", [-128, 0, 127]), ("UB", [0, 128, 255]), ("SS", [-32768, 5, 32767]), ("US", [0, 40_000, 65_535]),
        ("SL", [-(1 << 31), 5, (1 << 31) - 1]), ("UL", [0, 7, (1 << 32) - 1]),
        ("SV", [-(1 << 50), 5, 1 << 50]), ("UV", [0, 1 << 40, 1 << 52]),
    ],
)  # fmt: skip
def test_samples_of_every_width_are_read(kind: str, values: list[int]) -> None:
    record = read_ecg(waveform(kind, values, ChannelSensitivity="2"))
    assert record.signals_mv[0] * 500 == pytest.approx(values, rel=1e-12)


def test_a_file_that_contradicts_itself_is_taken_by_its_word_and_says_so() -> None:
    assert read_ecg(ECG).extra == {"sop_class": "1.2.840.10008.5.1.4.1.1.9.1.1"}
    short = read_ecg(changed(set_group(NumberOfWaveformSamples=9_000)))
    assert (short.signals_mv.shape, short.extra["surplus_samples"]) == ((12, 9_000), "1000")
    for kind, values, exceeded in (("SS", [-2048, 2047], False), ("SS", [0, 2048], True), ("US", [0, 4095], False)):
        record = read_ecg(waveform(kind, values, ChannelSensitivity="1000", WaveformBitsStored=12))
        assert record.signals_mv[0].tolist() == values
        assert ("bits_stored" in record.extra) is exceeded
    assert "surplus_samples" not in read_ecg(waveform("SB", [1, 2, 3])).extra


def test_big_endian_samples_are_turned() -> None:
    def turn(dataset: Dataset) -> None:
        for group in dataset.WaveformSequence:
            group.WaveformData = np.frombuffer(group.WaveformData, "<i2").astype(">i2").tobytes()
            if "WaveformPaddingValue" in group:
                group.WaveformPaddingValue = group.WaveformPaddingValue[::-1]

    dataset = pydicom.dcmread(io.BytesIO(ECG))
    turn(dataset)
    for tag in [tag for tag in dataset.keys() if tag.is_private]:  # noqa: SIM118 - a Dataset is no dict
        del dataset[tag]
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    out = io.BytesIO()
    assert len(list(dataset.iterall())) > 100  # decoded, so that it is encoded anew
    pydicom.dcmwrite(out, dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.array_equal(read_ecg(out.getvalue()).signals_mv, read_ecg(ECG).signals_mv)


def test_a_late_channel_begins_with_missing_samples() -> None:
    values = list(range(1, 9))
    for skew in ({"ChannelSampleSkew": "2"}, {"ChannelTimeSkew": "0.002", "ChannelSampleSkew": "0"}):
        row = read_ecg(waveform("SS", values, ChannelSensitivity="1000", **skew)).signals_mv[0]
        assert np.isnan(row[:2]).all()
        assert row[2:].tolist() == [1, 2, 3, 4, 5, 6]
    row = read_ecg(waveform("SS", values, ChannelSensitivity="1000", ChannelTimeSkew="0.0004")).signals_mv[0]
    assert row.tolist() == values  # an ordinary multiplexer
    row = read_ecg(waveform("SS", values, ChannelSensitivity="1000", ChannelSampleSkew="-3")).signals_mv[0]
    assert row[:5].tolist() == [4, 5, 6, 7, 8]
    assert np.isnan(row[5:]).all()
    assert rejected(waveform("SS", values, ChannelSampleSkew="8")) == "dicom_waveform_invalid"


@pytest.mark.parametrize(
    ("unit", "meaning", "millivolts"),
    [
        ("uV", "microvolt", 1e-3), ("mV", "millivolt", 1.0), ("nV", "", 1e-6), ("V", "volt", 1e3),
        ("\u00b5V", "", 1e-3), ("266419", "uV by ISO 11073", 1e-3), ("?", "microvolts", 1e-3),
    ],
)  # fmt: skip
def test_units_are_known_by_code_or_by_word(unit: str, meaning: str, millivolts: float) -> None:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = unit, meaning
    data = waveform("SS", [0, 1], ChannelSensitivity="1", ChannelSensitivityUnitsSequence=Sequence([item]))
    assert read_ecg(data).signals_mv[0, 1] == pytest.approx(millivolts)


def test_leads_recorded_one_after_another_stand_on_one_time_line() -> None:
    def split_in_time(dataset: Dataset) -> None:
        group = dataset.WaveformSequence[0]
        raw = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12)
        parts = []
        for k in range(4):
            part = copy.deepcopy(group)
            part.ChannelDefinitionSequence = Sequence(list(group.ChannelDefinitionSequence)[3 * k : 3 * k + 3])
            part.NumberOfWaveformChannels, part.NumberOfWaveformSamples = 3, 2500
            part.MultiplexGroupTimeOffset = str(2500 * k)
            part.WaveformData = raw[2500 * k : 2500 * (k + 1), 3 * k : 3 * k + 3].tobytes()
            parts.append(part)
        dataset.WaveformSequence = Sequence(parts)

    whole, record = read_ecg(ECG), read_ecg(changed(split_in_time))
    assert record.leads == STANDARD_LEADS
    assert record.signals_mv.shape == (12, 10_000)
    for k in range(12):
        there = slice(2500 * (k // 3), 2500 * (k // 3 + 1))
        assert np.array_equal(record.signals_mv[k, there], whole.signals_mv[k, there])
        assert np.isfinite(record.signals_mv[k]).sum() == 2500


def test_groups_of_another_rate_or_far_apart_are_kept_aside() -> None:
    def add(offset: str, rate: str) -> Callable[[Dataset], None]:
        def change(dataset: Dataset) -> None:
            group = copy.deepcopy(dataset.WaveformSequence[0])
            group.MultiplexGroupTimeOffset, group.SamplingFrequency = offset, rate
            dataset.WaveformSequence = Sequence([dataset.WaveformSequence[0], group])

        return change

    for offset, rate in (("0", "4000"), ("900000000", "1000")):
        record = read_ecg(changed(add(offset, rate)))
        assert record.signals_mv.shape == (12, 10_000)
        assert [(c.name, c.fs_hz) for c in record.other_channels][:2] == [("I", float(rate)), ("II", float(rate))]


def test_a_group_that_ends_a_little_earlier_is_filled_up_and_a_short_one_is_not() -> None:
    def shorten(n: int) -> Callable[[Dataset], None]:
        def change(dataset: Dataset) -> None:
            group = dataset.WaveformSequence[0]
            channels = list(group.ChannelDefinitionSequence)
            raw = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12)
            other = copy.deepcopy(group)
            group.ChannelDefinitionSequence = Sequence(channels[:6])
            other.ChannelDefinitionSequence = Sequence(channels[6:])
            group.NumberOfWaveformChannels = other.NumberOfWaveformChannels = 6
            group.WaveformData, other.WaveformData = raw[:, :6].tobytes(), raw[:n, 6:].tobytes()
            other.NumberOfWaveformSamples, other.MultiplexGroupLabel = n, ""
            dataset.WaveformSequence = Sequence([group, other])

        return change

    record = read_ecg(changed(shorten(9_990)))
    assert record.leads == STANDARD_LEADS
    assert np.isnan(record.signals_mv[6:, 9_990:]).all()
    assert np.isfinite(record.signals_mv[6:, :9_990]).all()
    assert read_ecg(changed(shorten(1_200))).leads == STANDARD_LEADS[:6]


def test_pressures_beside_the_leads_of_a_catheter_laboratory_are_no_leads() -> None:
    def haemodynamic(dataset: Dataset) -> None:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.2.1"
        channels = dataset.WaveformSequence[0].ChannelDefinitionSequence
        for k, unit in ((9, "mm[Hg]"), (10, "mV"), (11, None)):
            channels[k].ChannelSourceSequence[0].CodeValue = "P1"
            channels[k].ChannelSourceSequence[0].CodeMeaning = f"Pressure {k}"
            if unit:
                channels[k].ChannelSensitivityUnitsSequence[0].CodeValue = unit
                channels[k].ChannelSensitivityUnitsSequence[0].CodeMeaning = unit
            else:
                del channels[k].ChannelSensitivity, channels[k].ChannelSensitivityUnitsSequence

    record = read_ecg(changed(haemodynamic))
    assert record.leads == STANDARD_LEADS[:9]
    assert [(c.name, c.unit) for c in record.other_channels] == [
        ("Pressure 9", "mm[Hg]"),
        ("Pressure 10", "mV"),
        ("Pressure 11", ""),
    ]


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

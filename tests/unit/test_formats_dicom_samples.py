"""Samples of a DICOM waveform: their scale, leads, widths and groups."""

from __future__ import annotations

import copy
import io
import struct
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian

from teleread.ingest.formats import is_whole, read_ecg
from teleread.signal.ecg import STANDARD_LEADS
from tests.unit.dicom_files import ECG, changed, rejected, set_group


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

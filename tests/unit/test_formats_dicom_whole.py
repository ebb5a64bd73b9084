"""A DICOM file is read within limits, whole or not at all."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from teleread.ingest.dicom_file import split
from teleread.ingest.formats import is_whole, read_ecg
from tests.unit.dicom_files import ECG, changed, rejected, set_group, without_tail


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

"""Promises of reading DICOM bytes that nobody vouches for."""

from __future__ import annotations

import random
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from teleread.errors import InputRejected
from teleread.ingest.dicom_file import dicom_boundary, read_dataset
from teleread.ingest.formats import is_whole
from teleread.ingest.imaging import read_header, thumbnail
from teleread.signal.anonymise import Policy, pseudonymise_dicom
from teleread.signal.anonymise.part10 import inflate

EXPLICIT = b"1.2.840.10008.1.2.1\0"
DEFLATED = b"1.2.840.10008.1.2.1.99"


def shipped(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def file_of(body: bytes, syntax: bytes = EXPLICIT) -> bytes:
    """A DICOM file around an encoded data set."""
    return bytes(128) + b"DICM\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax)) + syntax + body


def element(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    if vr in (b"SQ", b"OB", b"UN"):
        return struct.pack("<HH2sHI", *tag, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", *tag, vr, len(value)) + value


def code_of(data: bytes, **options: bool) -> str:
    with pytest.raises(InputRejected) as caught:
        read_dataset(data, **options)
    return caught.value.code


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(4000), b"MZ" + bytes(4000), b"<html>" * 100])
def test_what_is_not_dicom_is_said_so(data: bytes) -> None:
    assert code_of(data) == "dicom_not_part10"


def test_a_value_that_claims_more_than_is_there_is_truncated() -> None:
    name = element((0x10, 0x10), b"PN", b"Wang")
    assert read_dataset(file_of(name)).PatientName == "Wang"
    claim = struct.pack("<HH2sHI", 0x10, 0x2000, b"UN", 0, 0xFFFFFFF0) + b"four"
    assert code_of(file_of(name + claim)) == "dicom_truncated"


def test_a_part_larger_than_what_holds_it_is_damage_not_truncation() -> None:
    """More bytes would not mend it, so nobody need wait for them."""
    inner = struct.pack("<HH2sH", 8, 0x100, b"SH", 400) + b"four"
    data = file_of(element((8, 0x9215), b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner))
    assert code_of(data + bytes(500)) == "dicom_malformed"
    assert is_whole({"x": data + element((0x10, 0x10), b"PN", b"Wang")})
    assert not is_whole({"x": data[:-1]})


def test_what_may_be_padding_may_also_be_a_file_still_coming() -> None:
    """Readers let it pass; who can wait is told."""
    image = shipped("MR_small.dcm")
    image = image[: image.index(read_dataset(image).PixelData) + len(read_dataset(image).PixelData)]
    padding = element((0xFFFC, 0xFFFC), b"OB", b"pad!")
    plan = file_of(element((8, 0x18), b"UI", b"1.2.3\0"))
    for whole, cut in [(image + padding, image + padding[:-1]), (image, image + b"\xfc\xff"), (plan, plan + b"\n")]:
        assert read_dataset(cut).SOPInstanceUID
        assert is_whole({"x": whole})
        assert not is_whole({"x": cut})


@pytest.mark.parametrize("stop_before_pixels", [True, False])
def test_a_file_cut_inside_its_pixels_is_truncated(stop_before_pixels: bool) -> None:
    data = shipped("MR_small.dcm")
    samples = read_dataset(data).PixelData
    end = data.index(samples) + len(samples)
    read_dataset(data[:end])
    for missing in (1, 2, 7, 1000, 8000):
        assert code_of(data[: end - missing], stop_before_pixels=stop_before_pixels) == "dicom_truncated"


@pytest.mark.parametrize("name", ["CT_small.dcm", "examples_jpeg2k.dcm", "MR_small_implicit.dcm"])
def test_no_part_of_an_image_passes_for_the_whole(name: str) -> None:
    data = shipped(name)
    read_header(data)
    end = data.index(read_dataset(data).PixelData) + len(read_dataset(data).PixelData)
    generator = random.Random(4)
    for cut in [generator.randrange(132, end) for _ in range(150)]:
        with pytest.raises(InputRejected):
            read_header(data[:cut])


def test_bytes_behind_the_pixels_are_no_reason_to_refuse() -> None:
    data = shipped("MR_small.dcm")
    for tail in (b"\0" * 3, b"\0" * 512, b"PATIENT NAME WANG" * 9, b"\xcd\xf5\xd0\xa1" * 20):
        assert read_dataset(data + tail).PixelData == read_dataset(data).PixelData


@pytest.mark.parametrize(("depth", "accepted"), [(16, True), (17, False), (1000, False), (200_000, False)])
def test_nesting_is_capped_before_parsing(depth: int, accepted: bool) -> None:
    opening = struct.pack("<HH2sHI", 8, 0x9215, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = file_of(opening * depth + closing * depth)
    if accepted:
        assert "DerivationCodeSequence" in read_dataset(data)
    else:
        assert code_of(data) == "dicom_too_deep"


def test_nesting_of_defined_length_is_capped_as_well() -> None:
    body = b""
    for _ in range(40):
        body = element((8, 0x9215), b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body)
    assert code_of(file_of(body)) == "dicom_too_deep"


def test_a_deflate_bomb_is_refused_without_inflating_it() -> None:
    machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(machine.compress(bytes(1 << 20)) for _ in range(300)) + machine.flush()
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    try:
        assert code_of(file_of(bomb, DEFLATED)) == "dicom_bomb"
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()


def test_an_honest_deflated_file_is_read() -> None:
    assert read_dataset(shipped("image_dfl.dcm")).Rows == 512
    assert inflate(zlib.compress(b"abc")[2:-4]) == b"abc"


def test_a_deflated_file_that_is_cut_is_refused() -> None:
    assert code_of(shipped("image_dfl.dcm")[:-400]) == "dicom_truncated"


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + bytes(8),
        element((8, 0x9215), b"SQ", b"not an item....."),
        element((8, 0x9215), b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 8) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)),
    ],
)
def test_delimiters_out_of_place_are_refused(body: bytes) -> None:
    assert code_of(file_of(body)) == "dicom_malformed"


def test_no_exception_but_ours_gets_out() -> None:
    """Mutated files: a value or InputRejected, nothing else, and no warning."""
    generator = random.Random(11)
    sources = [shipped(name) for name in ("CT_small.dcm", "rtplan.dcm", "examples_palette.dcm", "JPEG2000.dcm")]
    policy = Policy(b"k" * 32, "P1")
    outcomes = {"value": 0, "rejected": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(300):
            data = bytearray(generator.choice(sources))
            for _ in range(generator.choice((1, 3, 10))):
                at = generator.randrange(128, min(len(data), 6000))
                data[at : at + 2] = generator.randbytes(generator.choice((1, 2, 3)))
            for function in (read_header, thumbnail, lambda b: pseudonymise_dicom(b, policy)):
                try:
                    function(bytes(data))
                    outcomes["value"] += 1
                except InputRejected:
                    outcomes["rejected"] += 1
    assert min(outcomes.values()) > 20


@pytest.mark.parametrize("error", [RecursionError, MemoryError, NotImplementedError, KeyError, ValueError, OSError])
def test_the_boundary_cuts_off_messages_that_quote_values(error: type[Exception]) -> None:
    with pytest.raises(InputRejected) as caught, dicom_boundary():
        raise error("Wang Xiaodong")
    assert "Wang" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__

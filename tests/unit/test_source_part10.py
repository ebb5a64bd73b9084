"""Raw datasets become the same files every time, and are named by what they really hold."""

from __future__ import annotations

import random
import struct
import zlib
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from teleread.ingest.sources.dicom_query import (
    SERIES_UID,
    TRANSFER_SYNTAXES,
    USUAL_CLASSES,
    Series,
    Study,
    in_order,
    partition,
    read_study,
    read_uid,
    storage_contexts,
)
from teleread.ingest.sources.part10 import IMPLEMENTATION_CLASS_UID, dataset_uid, is_uid, part10

CT, UID = USUAL_CLASSES[2], "1.2.840.99.1"
EXPLICIT, IMPLICIT, BIG, DEFLATED = (
    TRANSFER_SYNTAXES[0],
    TRANSFER_SYNTAXES[1],
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)


def encoded(syntax: str) -> bytes:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientName = CT, UID, "张^三"
    raw = encode(ds, syntax == IMPLICIT, syntax != BIG, False)
    assert raw is not None
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(raw) + packer.flush()
    return raw


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_a_raw_dataset_becomes_a_file_that_others_read(syntax: str) -> None:
    raw = encoded(syntax)
    assert dataset_uid(raw, syntax) == UID
    data = part10(CT, UID, syntax, raw)
    assert data.endswith(raw)
    assert data == part10(CT, UID, syntax, memoryview(raw))
    ds = pydicom.dcmread(BytesIO(data))
    assert (ds.PatientName, ds.SOPInstanceUID) == ("张^三", UID)
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert ds.file_meta.MediaStorageSOPInstanceUID == UID
    assert ds.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert data[:128] == bytes(128)


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED]))
def test_no_bytes_make_the_look_inside_fail(raw: bytes, syntax: str) -> None:
    found = dataset_uid(raw, syntax)
    assert found is None or is_uid(found)


def test_a_deflated_bomb_is_not_inflated() -> None:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(bytes(64 << 20)) + packer.flush()
    assert dataset_uid(bomb, DEFLATED) is None


@pytest.mark.parametrize("value", [b"1.2.x", b"../../etc", b"", b"1" * 66])
def test_what_is_no_uid_inside_is_not_believed(value: bytes) -> None:
    raw = struct.pack("<HH2sH", 8, 0x18, b"UI", len(value)) + value
    assert dataset_uid(raw, EXPLICIT) is None


def test_an_element_of_undefined_length_ends_the_look() -> None:
    raw = struct.pack("<HH2sHI", 8, 6, b"SQ", 0, 0xFFFFFFFF) + encoded(EXPLICIT)
    assert dataset_uid(raw, EXPLICIT) is None


def series(uid: str, *classes: str) -> Series:
    return Series("1.2", uid, len(classes), {f"{uid}.{n}": sop_class for n, sop_class in enumerate(classes)})


def test_every_association_fits_into_128_contexts_and_no_series_is_forgotten() -> None:
    rng = random.Random(5)
    classes = [f"1.2.840.{n}" for n in range(40)]
    wanted = [series(f"1.3.{n}", *rng.sample(classes, rng.randint(1, 4))) for n in range(60)]
    wanted += [series("1.4", "")]
    groups = list(partition(wanted))
    assert [one.uid for _, group in groups for one in group] == [one.uid for one in wanted]
    for proposed, group in groups:
        assert len(storage_contexts(proposed)) + 1 <= 128
        named = {sop_class for one in group for sop_class in one.missing.values() if sop_class}
        assert named <= set(proposed)
    assert set(groups[-1][0]) >= set(USUAL_CLASSES) - set().union(*(set(p) for p, _ in groups[:-1]))


def test_the_newest_studies_come_first_and_all_others_come_in_turn() -> None:
    studies = [Study(f"1.{n}", f"2026{n:04d}", None) for n in range(200)]
    first = [in_order(studies, random.Random(seed)) for seed in range(30)]
    newest = [study.uid for study in sorted(studies, key=lambda study: study.when, reverse=True)[:64]]
    for order in first:
        assert [study.uid for study in order[:64]] == newest
        assert sorted(study.uid for study in order) == sorted(study.uid for study in studies)
    assert len({order[64].uid for order in first}) > 10


def test_answers_are_believed_only_where_they_look_right() -> None:
    answer = Dataset()
    answer.add_new(0x0020000D, "LO", "1.2.3 ")
    answer.add_new(0x00080020, "LO", "2004.01.19")
    answer.add_new(0x00201208, "LO", "many")
    assert read_study(answer) == Study("1.2.3", "", None)
    answer.add_new(0x00080020, "LO", "20040119")
    answer.add_new(0x00080030, "LO", "072730.5")
    answer.add_new(0x00201208, "LO", "12")
    assert read_study(answer) == Study("1.2.3", "20040119072730", 12)
    assert read_uid(answer, SERIES_UID) is None

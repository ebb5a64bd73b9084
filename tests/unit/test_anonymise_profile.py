"""Promises of de-identification: nothing of the table survives, nothing else is lost, references hold."""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from teleread.errors import InputRejected, Misconfigured
from teleread.signal.anonymise import Policy, anonymise, pseudonymise_dicom
from teleread.signal.anonymise.e11_table import ACTIONS, EDITION
from teleread.signal.anonymise.rules import Treatment, action_for, treatment_of
from teleread.signal.anonymise.values import dummy, keyed_uid

KEY = b"a key of the project, 32 bytes .."
POLICY = Policy(KEY, "PABCDEFGH2345")
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"


def shipped(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def built(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """A DICOM file of the data set."""
    dataset.SOPClassUID = dataset.get("SOPClassUID", CT_CLASS)
    dataset.SOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3.4")
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def read(data: bytes) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(data))
        dataset.decode()
        return dataset


def with_everything() -> tuple[Dataset, list[bytes]]:
    """A data set with an identifier in every attribute of the table that can hold text, at two depths."""
    tokens: list[bytes] = []

    def fill(into: Dataset, depth: int) -> None:
        for tag, _action in ACTIONS.items():
            if tag >> 16 in (0, 2) or not pydicom.datadict.dictionary_has_tag(tag):
                continue
            vr = pydicom.datadict.dictionary_VR(tag)
            token = f"Q{len(tokens):05d}W"
            if vr in ("LO", "LT", "SH", "ST", "PN", "UT", "UC", "UR", "AE", "CS"):
                into.add_new(tag, vr, token)
            elif vr == "UN":
                into.add_new(tag, vr, token.encode() + b" ")
            elif vr == "UI":
                token = f"1.2.3.77.1{len(tokens):05d}.9"
                into.add_new(tag, vr, token)
            elif vr == "DA":
                token = f"19{len(tokens) % 90 + 10}0101"
                into.add_new(tag, vr, token)
                continue
            else:
                continue
            tokens.append(token.encode())
        if depth < 2:
            item = Dataset()
            fill(item, depth + 1)
            into.add_new(0x00089215, "SQ", Sequence([item]))  # Derivation Code Sequence is not in the table

    top = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fill(top, 0)
    block = top.private_block(0x0029, "SOMEBODY", create=True)
    block.add_new(1, "LO", "QPRIVATEW")
    tokens.append(b"QPRIVATEW")
    top.add_new(0x60004000, "LT", "QOVERLAYW")
    top.add_new(0x50200020, "LO", "QCURVEW")
    tokens += [b"QOVERLAYW", b"QCURVEW"]
    top.SOPClassUID = CT_CLASS
    return top, tokens


def survivors(tokens: list[bytes], out: bytes) -> list[bytes]:
    return [token for token in tokens if token in out]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("beyond_table", [True, False])
def test_no_identifier_of_the_table_survives_at_any_depth(syntax: UID, beyond_table: bool) -> None:
    dataset, tokens = with_everything()
    data = built(dataset, syntax)
    assert len(tokens) > 600
    assert survivors(tokens, data) == tokens
    out, manifest = pseudonymise_dicom(data, Policy(KEY, "P1", beyond_table=beyond_table))
    assert survivors(tokens, out) == []
    assert manifest.counts["removed"] > 100


def shallow(data: bytes) -> bytes:
    """A broken twin that forgets to go into sequences that it keeps."""
    dataset = read(data)
    out, _ = anonymise(Dataset({t: dataset[t] for t in dataset.keys() if dataset[t].VR != "SQ"}), POLICY)  # noqa: SIM118
    for element in dataset:
        if element.VR == "SQ" and action_for(element.tag) is None:
            out[element.tag] = element
    return built(out)


def only_text(data: bytes) -> bytes:
    """A broken twin that forgets the file meta information and the preamble."""
    out, _ = pseudonymise_dicom(data, POLICY)
    return data[:200] + out


@pytest.mark.parametrize("broken", [shallow, only_text])
def test_broken_twins_are_caught(broken: Callable[[bytes], bytes]) -> None:
    dataset, tokens = with_everything()
    data = b"QPREAMBLEW".ljust(128, b"\0") + built(dataset)[128:]
    assert survivors([*tokens, b"QPREAMBLEW"], broken(data)) != []


def test_preamble_meta_information_and_trailing_bytes_are_rebuilt() -> None:
    source = read(shipped("CT_small.dcm"))
    source.file_meta.SourceApplicationEntityTitle = "QSOURCEW"
    source.file_meta.PrivateInformationCreatorUID = UID("1.2.3.4")
    source.file_meta.PrivateInformation = b"QPRIVATEW "
    raw = io.BytesIO()
    source.save_as(raw, enforce_file_format=True)
    data = b"QPREAMBLEW".ljust(128, b"\0") + raw.getvalue()[128:] + b"QTRAILING NAMEW"
    out, _ = pseudonymise_dicom(data, POLICY)
    assert survivors([b"QSOURCEW", b"QPRIVATEW", b"QPREAMBLEW", b"QTRAILING"], out) == []
    assert out[:132] == bytes(128) + b"DICM"
    got = read(out)
    assert got.file_meta.MediaStorageSOPInstanceUID == got.SOPInstanceUID != source.SOPInstanceUID
    assert got.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID


def test_marks_and_pseudonym_are_set_and_burned_in_text_is_not_denied() -> None:
    out, manifest = pseudonymise_dicom(shipped("CT_small.dcm"), POLICY)
    got = read(out)
    assert (got.PatientID, str(got.PatientName)) == (POLICY.pseudonym, POLICY.pseudonym)
    assert got.PatientIdentityRemoved == "YES"
    assert "Pseudonymised" in got.DeidentificationMethod
    assert got.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert got.LongitudinalTemporalInformationModified == "REMOVED"
    assert "BurnedInAnnotation" not in got
    assert manifest.burned_in == "unknown"


@pytest.mark.parametrize(("stated", "said"), [("YES", "yes"), ("NO", "no"), ("", "unknown")])
def test_the_manifest_repeats_the_files_word_on_burned_in_text(stated: str, said: str) -> None:
    dataset = Dataset()
    dataset.BurnedInAnnotation = stated
    out, manifest = anonymise(dataset, POLICY)
    assert manifest.burned_in == said
    assert out.BurnedInAnnotation == stated


def test_the_manifest_holds_no_value() -> None:
    dataset, tokens = with_everything()
    _, manifest = pseudonymise_dicom(built(dataset), POLICY)
    text = json.dumps(manifest.to_json())
    assert survivors(tokens, text.encode()) == []
    assert manifest.policy_version in text
    assert EDITION in text


def test_the_same_input_and_policy_give_the_same_bytes() -> None:
    data = shipped("CT_small.dcm")
    assert pseudonymise_dicom(data, POLICY)[0] == pseudonymise_dicom(data, Policy(KEY, POLICY.pseudonym))[0]
    assert pseudonymise_dicom(data, POLICY)[0] != pseudonymise_dicom(data, Policy(b"x" * 32, POLICY.pseudonym))[0]


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "ExplVR_BigEnd.dcm",
        "MR_small_RLE.dcm",
        "JPEG2000.dcm",
        "image_dfl.dcm",
    ],
)
def test_pixels_stay_byte_for_byte(name: str) -> None:
    data = shipped(name)
    before, after = read(data), read(pseudonymise_dicom(data, POLICY)[0])
    assert after.PixelData == before.PixelData
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID


def test_waveform_samples_stay_byte_for_byte() -> None:
    data = shipped("waveform_ecg.dcm")
    before, after = read(data), read(pseudonymise_dicom(data, POLICY)[0])
    for old, new in zip(before.WaveformSequence, after.WaveformSequence, strict=True):
        assert new.WaveformData == old.WaveformData
        assert new.SamplingFrequency == old.SamplingFrequency


def test_references_follow_their_instances() -> None:
    target = "1.2.3.55.1"
    dataset = Dataset()
    image, series = Dataset(), Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CT_CLASS, target
    series.ReferencedSOPSequence = Sequence([image])
    dataset.ReferencedSeriesSequence = Sequence([series])
    dataset.SourceImageSequence = Sequence([image])
    dataset.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"  # a registered atlas
    out, _ = anonymise(dataset, POLICY)
    expected = keyed_uid(target, KEY)
    nested = out.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert nested.ReferencedSOPInstanceUID == out.SourceImageSequence[0].ReferencedSOPInstanceUID == expected
    assert nested.ReferencedSOPClassUID == CT_CLASS
    assert out.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"


def test_keyed_uids_are_valid_stable_and_need_the_key() -> None:
    mapped = keyed_uid("1.2.3", KEY)
    assert UID(mapped).is_valid
    assert mapped.startswith("2.25.")
    assert mapped == keyed_uid("1.2.3", KEY)
    assert mapped != keyed_uid("1.2.3", b"another key of 32 bytes, or so ..")
    assert keyed_uid(CT_CLASS, KEY) == CT_CLASS


def test_nested_people_get_the_pseudonym_only_when_they_are_the_patient() -> None:
    same, other = Dataset(), Dataset()
    same.PatientID, other.PatientID = "4711", "4712"
    dataset = Dataset()
    dataset.PatientID = "4711"
    dataset.add_new(0x00089215, "SQ", Sequence([same, other]))
    out, _ = anonymise(dataset, POLICY)
    assert [item.PatientID for item in out[0x00089215].value] == [POLICY.pseudonym, "ANONYMIZED"]


def test_structured_reports_lose_text_and_keep_numbers_and_public_codes() -> None:
    code, text, number, local = Dataset(), Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "121071", "DCM", "Finding"
    local.CodeValue, local.CodingSchemeDesignator, local.CodeMeaning = "DR77", "99HOSP", "Doctor Qwertz"
    text.ValueType, text.TextValue = "TEXT", "Wang Xiaodong has a cough"
    text.ConceptNameCodeSequence = Sequence([code, local])
    number.ValueType, number.NumericValue = "NUM", "42.5"
    dataset = Dataset()
    dataset.ContentSequence = Sequence([text, number])
    out, _ = anonymise(dataset, POLICY)
    assert out.ContentSequence[0].TextValue == "ANONYMIZED"
    assert out.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning == "Finding"
    assert out.ContentSequence[0].ConceptNameCodeSequence[1].CodeMeaning == "ANONYMIZED"
    assert out.ContentSequence[1].NumericValue == 42.5


def test_the_input_is_not_changed() -> None:
    dataset, _ = with_everything()
    before = built(dataset)
    anonymise(dataset, POLICY)
    assert built(dataset) == before


def test_unknown_public_attributes_are_kept_and_counted() -> None:
    dataset = Dataset()
    dataset.add_new(0x00181FFE, "LO", "kernel B30")
    dataset.Rows = 5
    out, manifest = anonymise(dataset, POLICY)
    assert out[0x00181FFE].value == "kernel B30"
    assert out.Rows == 5
    assert manifest.counts["unknown"] == 1


def test_comments_inside_jpeg_streams_are_blanked_and_decode_alike() -> None:
    source = read(shipped("SC_rgb_jpeg_dcmtk.dcm"))
    frames = [bytes(frame) for frame in generate_frames(source.PixelData, number_of_frames=1)]
    comment = b"NAME QCOMMENTW"
    segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    source.PixelData = encapsulate([frames[0][:2] + segment + frames[0][2:]])
    data = built(source, source.file_meta.TransferSyntaxUID)
    out, manifest = pseudonymise_dicom(data, POLICY)
    assert b"QCOMMENTW" not in out
    assert manifest.counts["beyond_table"] >= 1
    assert np.array_equal(read(out).pixel_array, read(data).pixel_array)
    kept, _ = pseudonymise_dicom(data, Policy(KEY, "P1", beyond_table=False))
    assert read(kept).PixelData == read(data).PixelData


def test_overlay_labels_and_notes_in_code_meanings_go_beyond_the_table() -> None:
    dataset, code = Dataset(), Dataset()
    dataset.add_new(0x60001500, "LO", "Wang")
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113040", "DCM", "for Wang, MRN 4711"
    dataset.DerivationCodeSequence = Sequence([code])
    out, _ = anonymise(dataset, POLICY)
    assert 0x60001500 not in out
    assert out.DerivationCodeSequence[0].CodeMeaning == "Lossy Compression"
    strict, _ = anonymise(dataset, Policy(KEY, "P1", beyond_table=False))
    assert strict[0x60001500].value == "Wang"


@pytest.mark.parametrize("vr", ["AE", "AS", "DA", "DT", "TM", "PN", "SH", "LO", "CS", "UI", "UR", "IS", "DS", "US"])
def test_dummies_are_valid_for_their_value_representation(vr: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        element = dummy(0x00091001, vr)
    assert not element.is_empty


def test_every_action_of_the_table_is_resolved() -> None:
    for tag, action in ACTIONS.items():
        for sequence in (True, False):
            treatment = treatment_of(tag, sequence)
            assert treatment is not Treatment.KEEP
            assert (treatment is Treatment.REMOVE) <= ("X" in action)
            assert (treatment is Treatment.EMPTY) <= ("Z" in action)
    assert treatment_of(0x50220010, False) is treatment_of(0x60023000, False) is Treatment.REMOVE
    assert treatment_of(0x00291001, True) is Treatment.REMOVE
    assert treatment_of(0x00280010, False) is Treatment.KEEP


def test_nesting_is_capped() -> None:
    innermost = dataset = Dataset()
    for _ in range(40):
        inner = Dataset()
        innermost.DerivationCodeSequence = Sequence([inner])
        innermost = inner
    with pytest.raises(InputRejected) as caught:
        anonymise(dataset, POLICY)
    assert caught.value.code == "dicom_too_deep"


@pytest.mark.parametrize(
    ("key", "pseudonym"), [(b"short", "P1"), (KEY, ""), (KEY, "a b"), (KEY, "x" * 65), (KEY, "王")]
)
def test_weak_keys_and_odd_pseudonyms_are_refused(key: bytes, pseudonym: str) -> None:
    with pytest.raises(Misconfigured):
        Policy(key, pseudonym)


def test_the_key_is_not_shown() -> None:
    assert "key of the project" not in repr(POLICY)


def test_a_file_that_is_no_instance_is_refused() -> None:
    dataset = Dataset()
    dataset.PatientName = "A"
    data = built(dataset).replace(b"\x08\x00\x18\x00UI", b"\x08\x00\x1a\x00UI")
    with pytest.raises(InputRejected) as caught:
        pseudonymise_dicom(data, POLICY)
    assert caught.value.code == "dicom_no_instance"


def test_the_table_module_is_what_the_script_makes(root: Path, data_dir: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_ps315_table", root / "deploy" / "make_ps315_table.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rows = json.loads((data_dir / "ps315" / "table_e1_1.json").read_text(encoding="utf-8"))
    committed = (root / "signal" / "anonymise" / "e11_table.py").read_text(encoding="utf-8")
    assert script.render(rows, EDITION) == committed
    with pytest.raises(ValueError, match="unknown action"):
        script.render([{"id": "00100010", "basicProfile": "Q"}], EDITION)

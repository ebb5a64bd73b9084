"""The sample PACS is a fair peer: it finds what is asked for, keeps what it is sent, and gives it back unchanged."""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Iterator, Sequence
from datetime import date
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset
from pynetdicom import build_context

from teleread.alliance import Connection
from teleread.ingest.sources.dicom_query import STUDY_ROOT_FIND, context
from teleread.ingest.sources.dimse import associate
from teleread.sample.pacs import Archive, Pacs, answers, matching

SHIPPED = Path(pydicom.data.__file__).parent / "test_files"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("CT_small.dcm", "MR_small.dcm", "waveform_ecg.dcm"):
        shutil.copy(SHIPPED / name, tmp_path)
    return tmp_path


@pytest.fixture
def pacs(folder: Path) -> Iterator[Pacs]:
    pacs = Pacs(folder, "COUNTY")
    yield pacs
    pacs.close()


def connection_to(pacs: Pacs) -> Connection:
    return Connection(
        "county", "dicom", date(2026, 1, 1), host="127.0.0.1", port=pacs.port, ae_title="COUNTY", answer_timeout_s=5.0
    )


def query(level: str, **keys: object) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked


def patients(folder: Path, **keys: object) -> list[str]:
    found = matching(Archive(folder).instances(), query("STUDY", **keys))
    return sorted(str(one.header.PatientID) for one in found)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, ["1CT1", "4MR1", "642341"]),
        ({"PatientID": "1CT1"}, ["1CT1"]),
        ({"PatientID": "?MR*"}, ["4MR1"]),
        ({"PatientName": "compressedsamples*"}, ["1CT1", "4MR1"]),
        ({"PatientName": "[CX]*"}, []),
        ({"StudyDate": "20040101-20041231"}, ["1CT1", "4MR1"]),
        ({"StudyDate": "20130125-"}, ["642341"]),
        ({"StudyDate": "-20040119"}, ["1CT1"]),
        ({"StudyDate": "20040119"}, ["1CT1"]),
        ({"ModalitiesInStudy": "ECG"}, ["642341"]),
        ({"ModalitiesInStudy": ["CT", "MR"]}, ["1CT1", "4MR1"]),
        ({"PatientID": "*"}, ["1CT1", "4MR1", "642341"]),
    ],
)
def test_queries_select_as_the_standard_says(folder: Path, keys: dict[str, object], expected: list[str]) -> None:
    assert patients(folder, **keys) == expected


def test_an_answer_holds_the_keys_that_were_asked_for_and_no_other(folder: Path) -> None:
    asked = query("STUDY", PatientID="1CT1", PatientName="", NumberOfStudyRelatedInstances="", StudyID="")
    (answer,) = answers(Archive(folder).instances(), asked)
    assert answer.PatientName == "CompressedSamples^CT1"
    assert answer.NumberOfStudyRelatedInstances == 1
    assert "StudyDate" not in answer


def test_a_file_that_appears_or_changes_is_seen_at_the_next_query(folder: Path) -> None:
    archive = Archive(folder)
    assert len(archive.instances()) == 3
    shutil.copy(SHIPPED / "examples_overlay.dcm", folder)
    assert len(archive.instances()) == 4
    (folder / "MR_small.dcm").write_bytes(b"no DICOM any more")
    assert len(archive.instances()) == 3
    (folder / "CT_small.dcm").unlink()
    assert len(archive.instances()) == 2


def store(pacs: Pacs, datasets: Sequence[Dataset]) -> None:
    contexts = [build_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in datasets]
    with associate(connection_to(pacs), contexts, deadline=time.monotonic() + 20) as peer:
        for ds in datasets:
            peer.store(ds)


def test_what_is_stored_is_a_file_named_by_its_bytes_and_never_by_its_uid(pacs: Pacs, folder: Path) -> None:
    new = pydicom.dcmread(SHIPPED / "examples_jpeg2k.dcm")
    before = set(folder.iterdir())
    store(pacs, [new])
    store(pacs, [new])
    (added,) = set(folder.iterdir()) - before
    assert len(added.stem) == 64
    assert added.suffix == ".dcm"
    assert pydicom.dcmread(added) == new


@pytest.mark.parametrize(
    ("named", "inside", "status"),
    [
        ("1.2.3", "1.2.3", 0x0000),
        ("1.2.3", "1.2.4", 0xA900),
        ("../../tmp/x", "1.2.3", 0xC000),
        ("1.2.3", "../../tmp/x", 0xA900),
    ],
)
def test_only_a_dataset_that_agrees_with_its_message_is_stored(
    pacs: Pacs, folder: Path, named: str, inside: str, status: int
) -> None:
    before = set(folder.iterdir())
    raw = struct.pack("<HH2sH", 8, 0x18, b"UI", len(inside)) + inside.encode()
    request = SimpleNamespace(
        AffectedSOPInstanceUID=named, AffectedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", DataSet=BytesIO(raw)
    )
    event: Any = SimpleNamespace(request=request, context=SimpleNamespace(transfer_syntax="1.2.840.10008.1.2.1"))
    assert pacs._on_store(event) == status
    assert len(set(folder.iterdir()) - before) == (1 if status == 0 else 0)


def test_it_listens_on_loopback_only(pacs: Pacs) -> None:
    assert pacs._server.socket is not None
    assert pacs._server.socket.getsockname()[0] == "127.0.0.1"


def test_a_query_without_a_level_fails_and_the_next_one_works(pacs: Pacs) -> None:
    with associate(connection_to(pacs), [context(STUDY_ROOT_FIND)], deadline=time.monotonic() + 20) as peer:
        _, _, problem = peer.find(STUDY_ROOT_FIND, query("NONSENSE"), lambda ds: ds)
        assert problem is not None
        assert problem.code == "peer_failed"
        found, _, problem = peer.find(STUDY_ROOT_FIND, query("STUDY", StudyInstanceUID=""), lambda ds: ds)
        assert (len(found), problem) == (3, None)

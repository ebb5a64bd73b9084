"""The same pull against a PACS that we did not write."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from pynetdicom import build_context

from teleread.alliance import Connection
from teleread.ingest.reports_out import OutgoingReport, basic_text_sr, store_sr
from teleread.ingest.sources.base import PullResult, PullStopped, SourceItem
from teleread.ingest.sources.dicom import DicomSource
from teleread.ingest.sources.dimse import associate
from tests.ledger import MemoryLedger

pytest_plugins = ["tests.contract.orthanc"]
pytestmark = pytest.mark.peers

SHIPPED = Path(pydicom.data.__file__).parent / "test_files"
NAMES = ("CT_small.dcm", "examples_jpeg2k.dcm", "examples_ybr_color.dcm", "waveform_ecg.dcm")
Start = Callable[..., Connection]


def send(connection: Connection, *datasets: pydicom.Dataset) -> None:
    contexts = {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in datasets}
    with associate(
        connection, [build_context(*pair) for pair in sorted(contexts)], deadline=time.monotonic() + 30
    ) as peer:
        for ds in datasets:
            peer.store(ds)


def shipped() -> list[pydicom.Dataset]:
    datasets = [pydicom.dcmread(SHIPPED / name) for name in NAMES]
    for ds in datasets:
        ds.pop(0xFFFCFFFC, None)  # trailing padding: Orthanc drops it, as it may
    return datasets


def pull(connection: Connection, ledger: MemoryLedger, items: dict[str, bytes]) -> PullResult:
    def land(item: SourceItem) -> str:
        (items[item.key],) = item.files.values()
        return hashlib.sha256(items[item.key]).hexdigest()[:32]

    return DicomSource(connection).pull(ledger, land, time.monotonic() + 60)


def test_orthanc_gives_everything_once_as_it_stores_it(start_orthanc: Start) -> None:
    connection = start_orthanc()
    sent = shipped()
    send(connection, *sent)
    ledger: MemoryLedger = MemoryLedger()
    items: dict[str, bytes] = {}
    assert pull(connection, ledger, items) == PullResult(listed=4, landed=4)
    for ds in sent:
        came = pydicom.dcmread(BytesIO(items[ds.SOPInstanceUID]))
        assert came.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
        assert came == ds
    first = dict(items)
    assert pull(connection, ledger, items) == PullResult(listed=4, known=4)
    again: dict[str, bytes] = {}
    pull(connection, MemoryLedger(), again)
    assert again == first  # the same instance, the same bytes


def test_orthanc_study_that_grows_is_completed(start_orthanc: Start) -> None:
    connection = start_orthanc()
    one = pydicom.dcmread(SHIPPED / "CT_small.dcm")
    send(connection, one)
    ledger: MemoryLedger = MemoryLedger()
    items: dict[str, bytes] = {}
    pull(connection, ledger, items)
    for number in (2, 3):
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number}"
        send(connection, one)
    assert pull(connection, ledger, items) == PullResult(listed=3, landed=2, known=1)
    assert {"2.25.2", "2.25.3"} <= set(items)


def test_orthanc_that_cuts_its_list_is_not_believed(start_orthanc: Start) -> None:
    connection = start_orthanc(LimitFindResults=2, LimitFindInstances=2)
    send(connection, *shipped())
    with pytest.raises(PullStopped) as stopped:
        pull(connection, MemoryLedger(), {})
    assert stopped.value.code == "peer_failed"
    assert stopped.value.result.landed > 0


def test_orthanc_that_does_not_know_us_is_an_error_with_a_code(start_orthanc: Start) -> None:
    connection = start_orthanc(DicomAlwaysAllowFind=False, DicomAlwaysAllowGet=False)
    with pytest.raises(PullStopped) as stopped:
        pull(connection, MemoryLedger(), {})
    assert stopped.value.code in {"peer_rejected", "peer_failed", "peer_aborted"}  # it closes the connection


def test_orthanc_takes_a_report_back_and_twice_is_once(start_orthanc: Start) -> None:
    connection = start_orthanc()
    ecg = pydicom.dcmread(SHIPPED / "waveform_ecg.dcm")
    send(connection, ecg)
    report = OutgoingReport(
        "R1", 1, "窦性心律。", False, "李^医生", datetime(2026, 3, 1, tzinfo=UTC), study_uid=ecg.StudyInstanceUID
    )
    store_sr(connection, basic_text_sr(report))
    store_sr(connection, basic_text_sr(report))
    items: dict[str, bytes] = {}
    assert pull(connection, MemoryLedger(), items).landed == 2
    document = basic_text_sr(report)
    came = pydicom.dcmread(BytesIO(items[document.SOPInstanceUID]))
    assert came.StudyInstanceUID == ecg.StudyInstanceUID
    assert came.ContentSequence[-1].ContentSequence[0].TextValue == "窦性心律。"

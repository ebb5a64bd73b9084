"""Peers for the tests of DICOM pulls: a good PACS, scripted ones and raw sockets."""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from teleread.alliance import Connection
from teleread.errors import StorageError
from teleread.ingest.sources.base import SourceItem
from teleread.ingest.sources.dicom import DicomSource
from teleread.ingest.sources.dicom_query import (
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    TRANSFER_SYNTAXES,
    USUAL_CLASSES,
)
from teleread.sample.pacs import Pacs
from tests.ledger import MemoryLedger

SHIPPED = Path(pydicom.data.__file__).parent / "test_files"
CT, MR, ECG, JPEG_2000 = "CT_small.dcm", "MR_small.dcm", "waveform_ecg.dcm", "examples_jpeg2k.dcm"


def connection_to(port: int, **other: Any) -> Connection:
    limits = {"connect_timeout_s": 2.0, "answer_timeout_s": 2.0, "budget_s": 30.0} | other
    return Connection("county", "dicom", date(2026, 1, 1), host="127.0.0.1", port=port, ae_title="COUNTY", **limits)


class Landing:
    """Keeps what is landed; fails for the keys it is told."""

    def __init__(self, failing: tuple[str, ...] = ()) -> None:
        self.items: dict[str, SourceItem] = {}
        self.calls = 0
        self.failing = failing

    def __call__(self, item: SourceItem) -> str:
        self.calls += 1
        if item.key in self.failing:
            raise StorageError("disk_full", "No space is left.")
        self.items[item.key] = item
        return hashlib.sha256(self.data(item.key)).hexdigest()[:32]

    def data(self, key: str) -> bytes:
        (data,) = self.items[key].files.values()
        return data


def pull(source: DicomSource, ledger: MemoryLedger, land: Callable[[SourceItem], str], budget_s: float = 30.0) -> Any:
    return source.pull(ledger, land, time.monotonic() + budget_s)


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def variant(name: str, number: int, folder: Path, *, series: str | None = None, study: str | None = None) -> str:
    """A copy of a shipped file under another instance UID; returns the UID."""
    ds = pydicom.dcmread(SHIPPED / name)
    uid = f"2.25.{number}"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
    ds.SeriesInstanceUID = series or ds.SeriesInstanceUID
    ds.StudyInstanceUID = study or ds.StudyInstanceUID
    ds.save_as(folder / f"{number}.dcm")
    return uid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "county"
    folder.mkdir()
    for name in (CT, MR, ECG, JPEG_2000):
        shutil.copy(SHIPPED / name, folder)
    return folder


@pytest.fixture
def pacs(folder: Path) -> Iterator[Pacs]:
    pacs = Pacs(folder, "COUNTY")
    yield pacs
    pacs.close()


@contextmanager
def scripted(
    find: Callable[[evt.Event], Any] | None = None,
    get: Callable[[evt.Event], Any] | None = None,
    **settings: Any,
) -> Iterator[int]:
    """A peer that answers queries as a test wants it to."""
    entity = AE(ae_title="COUNTY")
    for name, value in settings.items():
        setattr(entity, name, value)
    entity.add_supported_context(STUDY_ROOT_FIND)
    if get is not None:
        entity.add_supported_context(STUDY_ROOT_GET)
        for sop_class in USUAL_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES), scu_role=True, scp_role=True)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)]
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[pair for pair in handlers if pair[1] is not None]
    )
    try:
        yield server.socket.getsockname()[1]
    finally:
        entity.shutdown()


@contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serves each TCP connection with a function, in threads that end with the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                held.append(one)
                threading.Thread(target=serve, args=(one,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for one in held:
                one.close()


def level_answers(tree: dict[str, dict[str, list[str]]]) -> Callable[[evt.Event], Any]:
    """C-FIND answers for a tree of study, series and instance UIDs."""

    def find(event: evt.Event) -> Any:
        query = event.identifier
        answer = Dataset()
        answer.QueryRetrieveLevel = query.QueryRetrieveLevel
        if query.QueryRetrieveLevel == "STUDY":
            for answer.StudyInstanceUID in tree:
                yield 0xFF00, answer
        elif query.QueryRetrieveLevel == "SERIES":
            for answer.SeriesInstanceUID in tree[query.StudyInstanceUID]:
                yield 0xFF00, answer
        else:
            answer.SOPClassUID = USUAL_CLASSES[2]
            for answer.SOPInstanceUID in tree[query.StudyInstanceUID][query.SeriesInstanceUID]:
                yield 0xFF00, answer

    return find

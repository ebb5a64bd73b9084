"""DICOM pulls from peers that fail, fall silent, lie or flood."""

from __future__ import annotations

import socket
import struct
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt

from teleread.alliance import Connection
from teleread.errors import PeerError
from teleread.ingest.sources import dimse
from teleread.ingest.sources.base import LedgerRow, PullResult, PullStopped
from teleread.ingest.sources.dicom import DicomSource
from teleread.ingest.sources.dimse import echo
from teleread.ingest.sources.wire import Wire
from teleread.sample.pacs import Pacs
from tests.ledger import MemoryLedger
from tests.unit.dicom_peers import (  # noqa: F401 - fixtures
    CT,
    ECG,
    JPEG_2000,
    MR,
    Landing,
    connection_to,
    folder,
    level_answers,
    pacs,
    pull,
    raw_server,
    scripted,
    uid_of,
    variant,
)

# Peers that fail


def test_a_peer_that_takes_the_connection_and_never_answers_is_silent() -> None:
    with raw_server(lambda one: None) as port:
        started = time.monotonic()
        with pytest.raises(PullStopped) as stopped:
            pull(DicomSource(connection_to(port, answer_timeout_s=0.5)), MemoryLedger(), Landing())
        assert time.monotonic() - started < 3
    assert stopped.value.code == "peer_silent"
    assert stopped.value.result == PullResult(complete=False)


@pytest.mark.parametrize("level", ["STUDY", "IMAGE"])
def test_a_peer_that_never_answers_a_query_is_silent(level: str) -> None:
    released = threading.Event()
    answer = level_answers({"1.2": {"1.2.3": ["1.2.3.4"]}})

    def find(event: evt.Event) -> Any:
        if event.identifier.QueryRetrieveLevel == level:
            released.wait(20)
        yield from answer(event)

    with scripted(find) as port:
        started = time.monotonic()
        with pytest.raises(PullStopped) as stopped:
            pull(DicomSource(connection_to(port, answer_timeout_s=0.5)), MemoryLedger(), Landing())
        assert time.monotonic() - started < 3
        released.set()
    assert stopped.value.code == "peer_silent"


def test_a_slow_line_is_not_silence() -> None:
    """Each PDU comes in time, the whole message does not: pynetdicom's own time limit would give up."""
    with raw_server(lambda one: trickle(one, pause_s=0.1)) as port, pytest.raises(PeerError) as caught:
        echo(connection_to(port, answer_timeout_s=0.6))
    assert caught.value.code == "peer_aborted"  # the trickle ended with an abort after 1.5 s, and was waited for


def trickle(one: socket.socket, pause_s: float) -> None:
    one.recv(65536)
    for byte in b"\x02\x00\x00\x00\x00\x0a" + bytes(9):
        one.sendall(bytes([byte]))
        threading.Event().wait(pause_s)
    one.close()


def test_a_deadline_keeps_what_has_landed_and_says_what_waits(tmp_path: Path) -> None:
    uids = [variant(CT, n, tmp_path) for n in range(1, 5)]
    series = pydicom.dcmread(tmp_path / "1.dcm").SeriesInstanceUID
    released = threading.Event()

    def get(event: evt.Event) -> Any:
        yield len(uids)
        for n, _ in enumerate(uids, 1):
            if n == 3:
                released.wait(20)
            yield 0xFF00, pydicom.dcmread(tmp_path / f"{n}.dcm")

    with scripted(level_answers({"1.2": {series: uids}}), get) as port:
        land, ledger = Landing(), MemoryLedger()
        result = pull(DicomSource(connection_to(port, answer_timeout_s=9.0)), ledger, land, budget_s=1.5)
        released.set()
    assert set(land.items) == set(uids[:2]) == set(ledger.rows)
    assert (result.listed, result.landed, result.waiting, result.complete) == (4, 2, 2, False)


def test_a_pull_without_time_left_asks_nothing(pacs: Pacs) -> None:
    assert pull(DicomSource(connection_to(pacs.port)), MemoryLedger(), Landing(), -1.0) == PullResult(complete=False)


def test_a_peer_that_rejects_the_association_says_why() -> None:
    with (
        scripted(level_answers({}), require_called_aet=True, ae_title="OTHER") as port,
        pytest.raises(PullStopped) as stopped,
    ):
        pull(DicomSource(connection_to(port)), MemoryLedger(), Landing())
    assert stopped.value.code == "peer_rejected"
    assert "AE title" in stopped.value.safe_message


def test_a_peer_without_the_service_is_named_as_such() -> None:
    tree = {"1.2": {"1.2.3": ["1.2.3.4"]}}
    with scripted(level_answers(tree)) as port, pytest.raises(PullStopped) as stopped:  # C-FIND and no C-GET
        pull(DicomSource(connection_to(port)), MemoryLedger(), Landing())
    assert (stopped.value.code, stopped.value.result.waiting) == ("peer_rejected", 1)


def test_a_list_that_the_peer_cuts_is_taken_and_never_passed_over_in_silence(tmp_path: Path) -> None:
    uid = variant(CT, 1, tmp_path)
    series = pydicom.dcmread(tmp_path / "1.dcm").SeriesInstanceUID
    whole = level_answers({"1.2": {series: [uid]}})

    def find(event: evt.Event) -> Any:
        yield from whole(event)
        if event.identifier.QueryRetrieveLevel == "STUDY":
            yield 0xA700, None

    def get(event: evt.Event) -> Any:
        yield 1
        yield 0xFF00, pydicom.dcmread(tmp_path / "1.dcm")

    with scripted(find, get) as port, pytest.raises(PullStopped) as stopped:
        pull(DicomSource(connection_to(port)), MemoryLedger(), Landing())
    assert stopped.value.code == "peer_failed"
    assert "0xA700" in stopped.value.safe_message
    assert stopped.value.result.landed == 1


def test_a_peer_that_counts_more_than_it_lists_is_reported() -> None:
    def find(event: evt.Event) -> Any:
        for status, answer in level_answers({"1.2": {"1.2.3": []}})(event):
            answer.NumberOfStudyRelatedInstances = 12
            yield status, answer

    with scripted(find) as port:
        assert pull(DicomSource(connection_to(port)), MemoryLedger(), Landing()) == PullResult(short_studies=1)


def test_a_list_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleread.ingest.sources.dicom.MAX_ANSWERS", 20)
    studies: dict[str, dict[str, list[str]]] = {f"1.2.{n}": {} for n in range(200)}
    with scripted(level_answers(studies)) as port, pytest.raises(PullStopped) as stopped:
        pull(DicomSource(connection_to(port)), MemoryLedger(), Landing())
    assert stopped.value.code == "peer_failed"


def test_answers_with_unusable_uids_are_counted_and_left() -> None:
    def find(event: evt.Event) -> Any:
        for uid in ("1.2/../x", "", "1.2"):
            answer = Dataset()
            answer.add_new(0x0020000D, "LO", uid)
            answer.add_new(0x0020000E, "LO", uid)
            if event.identifier.QueryRetrieveLevel != "IMAGE":
                yield 0xFF00, answer

    with scripted(find) as port:
        result = pull(DicomSource(connection_to(port)), MemoryLedger(), Landing())
    assert (result.listed, result.unrecognised) == (0, 4)


class _CredulousWire(Wire):
    """The broken twin: believes any length, as pynetdicom does."""

    def on_open(self, event: evt.Event) -> None:
        super().on_open(event)
        del event.assoc.dul.socket.recv


@pytest.mark.parametrize(("wire", "code"), [(Wire, "peer_failed"), (_CredulousWire, "peer_silent")])
def test_a_claimed_pdu_of_4_gib_is_refused_at_its_header(
    monkeypatch: pytest.MonkeyPatch, wire: type[Wire], code: str
) -> None:
    def serve(one: socket.socket) -> None:
        one.recv(65536)
        one.sendall(b"\x02\x00" + struct.pack(">I", 0xFFFFFFFF) + bytes(100_000))

    monkeypatch.setattr(dimse, "Wire", wire)
    with raw_server(serve) as port, pytest.raises(PeerError) as caught:
        echo(connection_to(port, answer_timeout_s=1.0))
    assert caught.value.code == code


def test_the_sample_pacs_is_not_held_by_a_claimed_pdu_of_4_gib(pacs: Pacs) -> None:
    with socket.create_connection(("127.0.0.1", pacs.port), 5) as one:
        one.settimeout(5)
        one.sendall(b"\x01\x00" + struct.pack(">I", 0xFFFFFFFF))
        assert one.recv(64) == b""
    assert echo(connection_to(pacs.port)) > 0


def test_an_object_beyond_the_limit_is_refused_and_the_others_come(pacs: Pacs, folder: Path) -> None:
    source = DicomSource(connection_to(pacs.port), max_object_bytes=200_000)
    big = uid_of(folder / ECG)
    land = Landing()
    result = pull(source, MemoryLedger(), land)
    assert result.refused == ((big, "peer_failed"),)
    assert set(land.items) == {uid_of(folder / name) for name in (CT, MR, JPEG_2000)}


def test_an_unknown_host_is_unreachable() -> None:
    connection = Connection("county", "dicom", date(2026, 1, 1), host="no.such.host.invalid", port=104, ae_title="X")
    with pytest.raises(PeerError) as caught:
        echo(connection)
    assert caught.value.code == "peer_unreachable"


def test_pulls_leave_no_thread_behind(pacs: Pacs) -> None:
    pull(DicomSource(connection_to(pacs.port)), MemoryLedger(), Landing())
    stop = time.monotonic() + 5
    ours = ("RequestorThread", "dicom-watch")
    while any(thread.name.startswith(ours[0]) for thread in threading.enumerate()) and time.monotonic() < stop:
        threading.Event().wait(0.01)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(ours[0])]


def test_a_ledger_row_without_an_arrival_is_not_taken_for_landed(pacs: Pacs, folder: Path) -> None:
    uid = uid_of(folder / CT)
    ds = pydicom.dcmread(folder / CT)
    ledger = MemoryLedger()
    fingerprint = f"{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}"
    ledger.rows[uid] = LedgerRow(fingerprint, datetime.now(UTC), None)
    land = Landing()
    pull(DicomSource(connection_to(pacs.port)), ledger, land)
    assert uid in land.items
    assert ledger.rows[uid].arrival_id is not None
    assert ledger.rows[uid].fingerprint == fingerprint

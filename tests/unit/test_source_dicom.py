"""Pulling from a PACS: nothing is lost, nothing doubled, and no peer can hold us."""

from __future__ import annotations

import hashlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.dsutils import encode

from teleread.alliance import Connection
from teleread.errors import PeerError, StorageError
from teleread.ingest.sources import dimse
from teleread.ingest.sources.base import LedgerRow, PullResult, PullStopped, SourceItem
from teleread.ingest.sources.dicom import DicomSource, _Job, _Pull
from teleread.ingest.sources.dicom_query import (
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    TRANSFER_SYNTAXES,
    USUAL_CLASSES,
    Series,
)
from teleread.ingest.sources.dimse import associate, echo
from teleread.ingest.sources.memory import MemoryLedger
from teleread.ingest.sources.wire import Wire
from teleread.sample.pacs import Pacs

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


# What arrives


def test_a_pull_lands_every_instance_that_the_pacs_process_holds(folder: Path) -> None:
    arguments = [sys.executable, "-m", "teleread.sample.pacs", "--folder", str(folder), "--port", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        word, port = process.stdout.readline().split()
        assert word == "ready"
        source, ledger, land = DicomSource(connection_to(int(port))), MemoryLedger(), Landing()
        first = pull(source, ledger, land)
        assert first == PullResult(listed=4, landed=4)
        for name in (CT, MR, ECG, JPEG_2000):
            sent = pydicom.dcmread(folder / name)
            came = pydicom.dcmread(BytesIO(land.data(sent.SOPInstanceUID)))
            assert came.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
            assert came == sent
        second = pull(source, ledger, land)
        assert second == PullResult(listed=4, known=4)
        assert land.calls == 4
        started = time.monotonic()
        process.terminate()
        process.wait(5)
        assert time.monotonic() - started < 1
        with pytest.raises(PullStopped) as stopped:
            pull(source, ledger, land)
        assert stopped.value.code == "peer_refused"


def test_the_same_instance_always_comes_as_the_same_bytes(pacs: Pacs) -> None:
    one, two = Landing(), Landing()
    for land in (one, two):
        pull(DicomSource(connection_to(pacs.port)), MemoryLedger(), land)
    assert {key: one.data(key) for key in one.items} == {key: two.data(key) for key in two.items}


def test_a_study_stored_at_the_hospital_appears_at_the_next_pull(pacs: Pacs) -> None:
    source, ledger, land = DicomSource(connection_to(pacs.port)), MemoryLedger(), Landing()
    pull(source, ledger, land)
    new = pydicom.dcmread(SHIPPED / "examples_rgb_color.dcm")
    deadline = time.monotonic() + 10
    context = build_context(new.SOPClassUID, new.file_meta.TransferSyntaxUID)
    with associate(connection_to(pacs.port), [context], deadline=deadline, max_message_bytes=1 << 20) as peer:
        peer.store(new)
        peer.store(new)  # the same object twice is one
    assert pull(source, ledger, land) == PullResult(listed=5, landed=1, known=4)
    assert pydicom.dcmread(BytesIO(land.data(new.SOPInstanceUID))) == new


def test_a_growing_study_is_completed_without_fetching_what_is_there(pacs: Pacs, folder: Path) -> None:
    source, ledger, land = DicomSource(connection_to(pacs.port)), MemoryLedger(), Landing()
    pull(source, ledger, land)
    late = variant(CT, 7, folder)
    elsewhere = variant(CT, 8, folder, series="2.25.80")
    shutil.copy(SHIPPED / CT, folder / "again.dcm")  # a second file of a known instance
    assert pull(source, ledger, land) == PullResult(listed=6, landed=2, known=4)
    assert {late, elsewhere} <= set(land.items)
    assert land.calls == 6


def test_an_instance_moved_to_another_series_is_fetched_again(pacs: Pacs, folder: Path) -> None:
    source, ledger, land = DicomSource(connection_to(pacs.port)), MemoryLedger(), Landing()
    variant(CT, 7, folder)
    pull(source, ledger, land)
    variant(CT, 7, folder, series="2.25.80")
    result = pull(source, ledger, land)
    assert (result.landed, result.known) == (1, 4)
    assert pydicom.dcmread(BytesIO(land.data("2.25.7"))).SeriesInstanceUID == "2.25.80"


def test_only_studies_since_a_day_are_listed(pacs: Pacs) -> None:
    # CT_small is of 2004-01-19, the ECG of 2013
    source = DicomSource(connection_to(pacs.port), since=datetime(2013, 1, 1, tzinfo=UTC))
    result = pull(source, MemoryLedger(), Landing())
    assert (result.listed, result.landed) == (1, 1)


def test_max_items_ends_a_pull_and_the_next_goes_on(pacs: Pacs, folder: Path) -> None:
    for number in range(1, 9):
        variant(CT, number, folder)
    source, ledger, land = DicomSource(connection_to(pacs.port, max_items=5)), MemoryLedger(), Landing()
    first = pull(source, ledger, land)
    assert (first.listed, first.landed, first.waiting, first.complete) == (12, 5, 7, False)
    assert pull(source, ledger, land).landed == 5
    assert pull(source, ledger, land) == PullResult(listed=12, landed=2, known=10)
    assert land.calls == 12


# What refuses to arrive


def test_one_object_that_cannot_be_landed_stops_no_other_and_is_reported(pacs: Pacs, folder: Path) -> None:
    bad = uid_of(folder / ECG)
    source, ledger, land = DicomSource(connection_to(pacs.port)), MemoryLedger(), Landing(failing=(bad,))
    result = pull(source, ledger, land)
    assert (result.landed, result.waiting, result.refused) == (3, 1, ((bad, "disk_full"),))
    land.failing = ()
    assert pull(source, ledger, land) == PullResult(listed=4, landed=1, known=3)


def statuses_sent(pacs: Pacs, land: Callable[[SourceItem], str], run: type[_Pull], monkeypatch: Any) -> list[int]:
    """What each C-STORE of a pull is answered with."""
    monkeypatch.setattr("teleread.ingest.sources.dicom._Pull", run)
    sent: list[int] = []

    def on_message(event: evt.Event) -> None:
        if type(event.message).__name__ == "C_STORE_RSP":
            sent.append(int(event.message.command_set.Status))

    def on_open(event: evt.Event) -> None:
        event.assoc.bind(evt.EVT_DIMSE_RECV, on_message)

    pacs._server.bind(evt.EVT_CONN_OPEN, on_open)
    pull(DicomSource(connection_to(pacs.port)), MemoryLedger(), land)
    return sent


class _HastyPull(_Pull):
    """The broken twin: says yes, whatever became of the object."""

    def _land(self, item: SourceItem) -> int:
        super()._land(item)
        return 0x0000


@pytest.mark.parametrize(("run", "honest"), [(_Pull, True), (_HastyPull, False)])
def test_success_is_answered_only_for_what_was_landed(
    pacs: Pacs, folder: Path, monkeypatch: pytest.MonkeyPatch, run: type[_Pull], honest: bool
) -> None:
    land = Landing(failing=(uid_of(folder / CT),))
    sent = statuses_sent(pacs, land, run, monkeypatch)
    assert (sorted(sent) == [0, 0, 0, 0xA700]) is honest
    assert sent.count(0) == (3 if honest else 4)


def test_a_programming_error_while_landing_is_not_swallowed(pacs: Pacs) -> None:
    def land(item: SourceItem) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pull(DicomSource(connection_to(pacs.port)), MemoryLedger(), land)


def test_an_object_under_another_uid_is_kept_and_the_one_asked_for_still_waits() -> None:
    def get(event: evt.Event) -> Any:
        sent = pydicom.dcmread(SHIPPED / CT)
        yield 1
        yield 0xFF00, sent

    other = uid_of(SHIPPED / CT)
    with scripted(level_answers({"1.2": {"1.2.3": ["1.2.3.4"]}}), get) as port:
        land = Landing()
        result = pull(DicomSource(connection_to(port)), MemoryLedger(), land)
    assert set(land.items) == {other}
    assert result.waiting == 1
    assert dict(result.refused) == {"1.2.3.4": "not_sent"}


def test_a_dataset_that_names_itself_otherwise_than_its_message_is_kept_under_its_own_name() -> None:
    land = Landing()
    run = _Pull(DicomSource(connection_to(104)), MemoryLedger(), land, deadline=0.0)
    run._job = _Job(Series("1.2", "1.2.3", 1, {"1.2.3.4": ""}), ("1.2.3.4",), whole=True)
    assert run._on_store(store_event("1.2.3.4", inside="1.2.3.5")) == 0x0000
    assert set(land.items) == {"1.2.3.5"}
    assert run.tally.refused == {"1.2.3.4": "other_uid"}


def store_event(named: str, *, inside: str, sop_class: str = USUAL_CLASSES[2]) -> Any:
    ds = Dataset()
    ds.SOPInstanceUID = inside
    encoded = encode(ds, True, True)
    assert encoded is not None
    request = SimpleNamespace(AffectedSOPInstanceUID=named, AffectedSOPClassUID=sop_class, DataSet=BytesIO(encoded))
    return SimpleNamespace(request=request, context=SimpleNamespace(transfer_syntax=TRANSFER_SYNTAXES[1]))


@pytest.mark.parametrize("named", ["../../../tmp/x", "", "1.2\n3", "1" * 65, "张三"])
def test_a_hostile_uid_is_refused_and_never_becomes_a_key(named: str) -> None:
    land = Landing()
    run = _Pull(DicomSource(connection_to(104)), MemoryLedger(), land, deadline=0.0)
    run._job = _Job(Series("1.2", "1.2.3", 1, {"1.2.3.4": ""}), ("1.2.3.4",), whole=True)
    assert run._on_store(store_event(named, inside="1.2.3.4")) == 0xC000
    assert not land.items
    assert run.tally.unreadable == 1


def test_a_peer_that_sends_on_and_on_is_refused() -> None:
    land = Landing()
    run = _Pull(DicomSource(connection_to(104)), MemoryLedger(), land, deadline=0.0)
    run._job = _Job(Series("1.2", "1.2.3", 1, {"1.2.3.4": ""}), ("1.2.3.4",), whole=True)
    answers = [run._on_store(store_event(f"1.2.{n}", inside=f"1.2.{n}")) for n in range(100)]
    assert 0 < answers.count(0x0000) < 50
    assert answers[-1] == 0xA700


def test_an_object_that_makes_the_peer_break_off_keeps_none_of_the_others_away(tmp_path: Path) -> None:
    uids = [variant(CT, n, tmp_path) for n in range(1, 7)]
    series = pydicom.dcmread(tmp_path / "1.dcm").SeriesInstanceUID

    def get(event: evt.Event) -> Any:
        wanted = event.identifier.get("SOPInstanceUID") or uids
        chosen = [wanted] if isinstance(wanted, str) else list(wanted)
        yield len(chosen)
        for uid in chosen:
            if uid == uids[2]:
                event.assoc.abort()
                return
            yield 0xFF00, pydicom.dcmread(tmp_path / f"{uid.removeprefix('2.25.')}.dcm")

    with scripted(level_answers({"1.2": {series: uids}}), get) as port:
        land = Landing()
        result = pull(DicomSource(connection_to(port)), MemoryLedger(), land)
    assert set(land.items) == set(uids) - {uids[2]}
    assert result.refused == ((uids[2], "peer_aborted"),)
    assert (result.waiting, result.complete) == (1, False)


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

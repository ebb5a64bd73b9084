"""Pulling from a PACS: nothing is lost, nothing doubled, and no peer can hold us."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset
from pynetdicom import build_context, evt
from pynetdicom.dsutils import encode

from teleread.ingest.sources.base import PullResult, PullStopped, SourceItem
from teleread.ingest.sources.dicom import DicomSource, _Job, _Pull
from teleread.ingest.sources.dicom_query import (
    TRANSFER_SYNTAXES,
    USUAL_CLASSES,
    Series,
)
from teleread.ingest.sources.dimse import associate
from teleread.sample.pacs import Pacs
from tests.ledger import MemoryLedger
from tests.unit.dicom_peers import (  # noqa: F401 - fixtures
    CT,
    ECG,
    JPEG_2000,
    MR,
    SHIPPED,
    Landing,
    connection_to,
    folder,
    level_answers,
    pacs,
    pull,
    scripted,
    uid_of,
    variant,
)

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


OBJECTS = 4  # that the server holds


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
    # the server hears of an answer in another thread than the one that ends the pull
    deadline = time.monotonic() + 10
    while len(sent) < OBJECTS and time.monotonic() < deadline:
        threading.Event().wait(0.01)
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

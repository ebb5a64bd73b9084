"""The agent's promises about recordings: durable before all else, never lost, never doubled, urgent first."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from teleread.agent.lead import Lead, LineBroken
from teleread.agent.sender import Sender
from teleread.agent.sender import running as sending
from teleread.agent.spool import Spool
from teleread.agent.watch import PARTNER_WAIT_S, STILL_S, Watcher
from teleread.ingest.formats import write_wfdb
from teleread.pipeline.services import Services
from teleread.signal.ecg import simulate
from teleread.storage.catalogue.schema import arrivals, audit_events
from teleread.testing.line import BadLine, Faults
from tests.ui.live import PASSWORD, Web


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "agent")


def token(web: Web) -> str:
    with web.client() as client:
        client.post("/sign-in", data={"name": "nurse", "password": PASSWORD})
        return client.cookies["teleread_session"]


_open: list[Lead] = []


def lead(web: Web, port: int | None = None, **more: Any) -> Lead:
    _open.append(Lead(web.address if port is None else f"http://127.0.0.1:{port}", token=token(web), **more))
    return _open[-1]


@pytest.fixture(autouse=True)
def close_leads() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def patient_sender(spool: Spool, to: Lead) -> Sender:
    return Sender(spool, to, chance=random.Random(1), first_pause_s=0.05, longest_pause_s=0.5)


def wait_until(true: Any, patience_s: float = 60) -> None:
    ends = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def landed(services: Services) -> list[Any]:
    with services.catalogue.read() as conn:
        return list(conn.execute(select(arrivals).order_by(arrivals.c.arrived_at)))


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def test_what_the_agent_took_survives_its_end(spool: Spool) -> None:
    item = spool.add({"a": b"1"}, urgent=True, seen_at=5.0)
    again = Spool(spool.folder)
    assert again.items() == [item]
    assert again.path(item, 0).read_bytes() == b"1"


def test_a_recording_cut_short_while_it_was_taken_is_none(spool: Spool) -> None:
    half = spool.folder / "items" / ("0" * 32)
    half.mkdir()
    (half / "0").write_bytes(b"half")
    assert Spool(spool.folder).items() == []
    assert not half.exists()


def test_the_same_bytes_are_one_item_and_rise_when_they_come_again_as_urgent(spool: Spool) -> None:
    first = spool.add({"a": b"1"}, urgent=False, seen_at=1.0)
    spool.acknowledged(first, ["R"], 2.0)
    assert spool.add({"renamed": b"1"}, urgent=False, seen_at=3.0).state == "sent"
    risen = spool.add({"a": b"1"}, urgent=True, seen_at=3.0)
    assert (risen.id, risen.state, risen.urgent, risen.receipts) == (first.id, "queued", True, ("R",))
    assert spool.path(risen, 0).read_bytes() == b"1"


def test_urgent_goes_first_then_as_they_came(spool: Spool) -> None:
    for seen_at, urgent in ((1.0, False), (2.0, True), (0.5, False), (3.0, True)):
        spool.add({"a": str(seen_at).encode()}, urgent=urgent, seen_at=seen_at)
    assert [one.seen_at for one in spool.queued()] == [2.0, 3.0, 1.0, 0.5]


class Moment:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "watched"
    path.mkdir()
    return path


@pytest.fixture
def watcher(folder: Path, spool: Spool, tmp_path: Path, moment: Moment) -> Watcher:
    return Watcher(folder, spool, tmp_path / "taken.json", clock=moment)


def test_a_file_is_taken_when_it_is_still_and_not_while_it_grows(
    watcher: Watcher, folder: Path, spool: Spool, moment: Moment
) -> None:
    file = folder / "a.dcm"
    for size in range(1, 5):
        file.write_bytes(bytes(size))
        moment.now += STILL_S
        assert watcher.look() == 0
    moment.now += STILL_S
    assert watcher.look() == 1
    moment.now += STILL_S
    assert watcher.look() == 0
    assert [one.size for one in spool.items()] == [4]


def test_a_name_written_over_is_another_recording_and_a_restart_takes_nothing_twice(
    watcher: Watcher, folder: Path, spool: Spool, moment: Moment, tmp_path: Path
) -> None:
    file = folder / "last.xml"
    for content in (b"one", b"two"):
        file.write_bytes(content)
        watcher.look()
        moment.now += STILL_S
        assert watcher.look() == 1
    fresh = Watcher(folder, spool, tmp_path / "taken.json", clock=moment)
    fresh.look()
    moment.now += STILL_S
    assert fresh.look() == 0
    assert len(spool.items()) == 2


def test_a_header_waits_for_the_file_that_it_names(
    watcher: Watcher, folder: Path, spool: Spool, moment: Moment
) -> None:
    files = write_wfdb(simulate("normal", 1, duration_s=2)[0], "rec")
    (folder / "rec.hea").write_bytes(files["rec.hea"])
    watcher.look()
    moment.now += STILL_S
    assert watcher.look() == 0
    (folder / "rec.dat").write_bytes(files["rec.dat"])
    watcher.look()
    moment.now += STILL_S
    assert watcher.look() == 1
    assert [one.name for one in spool.items()[0].files] == ["rec.dat", "rec.hea"]
    (folder / "alone.hea").write_bytes(files["rec.hea"].replace(b"rec.dat", b"gone.dat"))
    watcher.look()
    moment.now += PARTNER_WAIT_S + 1
    assert watcher.look() == 1


def test_the_urgent_folder_is_urgent_and_links_are_not_followed(
    watcher: Watcher, folder: Path, spool: Spool, moment: Moment, tmp_path: Path
) -> None:
    (folder / "紧急").mkdir()
    (folder / "紧急" / "a").write_bytes(b"1")
    (tmp_path / "secret").write_bytes(b"2")
    os.symlink(tmp_path / "secret", folder / "link")
    (folder / "b.part").write_bytes(b"3")
    watcher.look()
    moment.now += STILL_S
    assert watcher.look() == 1
    assert [one.urgent for one in spool.items()] == [True]


def test_what_is_sent_is_kept_until_it_is_acknowledged(web: Web, spool: Spool, services: Services) -> None:
    data = noise(300_000)
    item = spool.add({"a.bin": data}, urgent=False, seen_at=time.time())
    sender = patient_sender(spool, lead(web))
    assert sender.send(item)
    sent = spool.items()[0]
    assert (sent.state, len(sent.receipts)) == ("sent", 1)
    assert not spool.path(item, 0).exists()
    assert [one.size_bytes for one in landed(services)] == [len(data)]


def test_how_long_it_waited_at_the_clinic_stands_in_the_audit_trail(web: Web, spool: Spool, services: Services) -> None:
    kinds = {
        "one": {"a.bin": noise(1000)},
        "several": write_wfdb(simulate("normal", 1)[0], "rec"),
        "no sense": {"b": b"1"},
    }
    for name, files in kinds.items():
        item = spool.add(files, urgent=False, seen_at=time.time() - (3 * 3600 if name != "no sense" else 1e9))
        assert patient_sender(spool, lead(web)).send(item)
    with services.catalogue.read() as conn:
        query = select(audit_events.c.detail).where(audit_events.c.action == "land").order_by(audit_events.c.id)
        waited = [(detail or {}).get("waited_at_clinic_s") for detail in conn.scalars(query)]
    assert [one is not None and 3 * 3600 <= one < 3 * 3600 + 60 for one in waited] == [True, True, False]
    assert waited[2] is None


def test_files_of_one_recording_arrive_as_one(web: Web, spool: Spool, services: Services) -> None:
    item = spool.add(write_wfdb(simulate("normal", 1)[0], "rec"), urgent=True, seen_at=time.time())
    assert patient_sender(spool, lead(web)).send(item)
    assert [(one.kind, one.clinic_priority) for one in landed(services)] == [("ecg", "urgent")]


def test_a_line_that_breaks_again_and_again_loses_and_doubles_nothing(
    web: Web, spool: Spool, services: Services
) -> None:
    data = noise(1 << 20)
    spool.add({"a.bin": data}, urgent=False, seen_at=time.time())
    port = int(web.address.rsplit(":", 1)[1])
    with BadLine(port, Faults(cut_every_bytes=100_000)) as line:
        with sending(patient_sender(spool, lead(web, line.port))):
            wait_until(lambda: not spool.queued())
        assert line.cuts >= 10
        assert line.up_bytes < 2 * len(data)
    (row,) = landed(services)
    assert services.store.get(row.object_key) == data


def test_an_urgent_recording_overtakes_a_large_one_on_its_way(web: Web, spool: Spool, services: Services) -> None:
    large = spool.add({"ct.bin": noise(600_000)}, urgent=False, seen_at=time.time())
    port = int(web.address.rsplit(":", 1)[1])
    with BadLine(port, Faults(bytes_per_s=100_000)) as line, sending(patient_sender(spool, lead(web, line.port))) as on:
        wait_until(lambda: on.progress.sent > 30_000)
        spool.add({"ecg.bin": noise(20_000, 1)}, urgent=True, seen_at=time.time())
        wait_until(lambda: not spool.queued())
    assert [one.size_bytes for one in landed(services)] == [20_000, 600_000]
    assert spool.find(large.id).state == "sent"  # type: ignore[union-attr]


def test_a_lead_hospital_out_of_reach_is_tried_again_until_it_answers(
    web: Web, spool: Spool, services: Services
) -> None:
    port = int(web.address.rsplit(":", 1)[1])
    with BadLine(port, Faults()) as line:
        line.close()
        spool.add({"a": b"1" * 100}, urgent=False, seen_at=time.time())
        sender = patient_sender(spool, lead(web, line.port))
        with sending(sender):
            wait_until(lambda: sender.progress.failure == "line_broken")
            assert spool.queued()
            line.open()
            wait_until(lambda: not spool.queued())
    assert len(landed(services)) == 1


def test_an_agent_that_died_after_the_last_byte_sends_nothing_again(web: Web, spool: Spool, services: Services) -> None:
    data = noise(200_000)
    item = spool.add({"a": data}, urgent=False, seen_at=time.time())
    first = lead(web)
    first_sender = patient_sender(spool, first)
    # it dies between the receipt and the note of it
    first_sender._spool = _Deaf(spool)  # type: ignore[assignment]
    with pytest.raises(RuntimeError):
        first_sender.send(item)
    second = lead(web)
    again = Spool(spool.folder)
    assert patient_sender(again, second).send(again.queued()[0])
    # the announcement of a new process may bring a first part along, no more
    assert second.sent_bytes <= second.part_bytes
    assert len(landed(services)) == 1


class _Deaf:
    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def __getattr__(self, name: str) -> Any:
        if name == "acknowledged":
            raise RuntimeError
        return getattr(self._spool, name)


def test_nobody_who_is_not_known_there_is_refused_for_ever(web: Web, spool: Spool) -> None:
    item = spool.add({"a": b"1"}, urgent=False, seen_at=time.time())
    stranger = Lead(web.address, token="nobody")
    sender = Sender(spool, stranger, first_pause_s=0.01, longest_pause_s=0.01)
    thread = threading.Thread(target=sender.run)
    thread.start()
    wait_until(lambda: sender.progress.failure == "sign_in_needed")
    sender.stop()
    thread.join()
    assert spool.find(item.id).state == "queued"  # type: ignore[union-attr]


def test_a_wrong_clock_is_seen(web: Web) -> None:
    late = lead(web, now=lambda: time.time() - 3600)
    late.announce(1, {"filename": "a"})
    assert late.skew_s == pytest.approx(-3600, abs=5)


def test_an_address_without_a_host_is_refused() -> None:
    with pytest.raises(ValueError, match="https"):
        Lead("ftp://x")
    with pytest.raises(LineBroken):
        Lead("http://127.0.0.1:9").verdict("X")


def test_a_full_disk_is_said_and_what_came_is_taken_once_there_is_room(
    watcher: Watcher, folder: Path, spool: Spool, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a").write_bytes(b"1")
    watcher.look()
    moment.now += STILL_S

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(spool, "add", full)
        with pytest.raises(OSError, match="full"):
            watcher.look()
    assert watcher.look() == 1

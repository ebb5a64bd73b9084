"""What goes wrong at the agent or in between harms one recording at the most, for a while, and is told."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from teleread.agent.lead import Lead, LineBroken, Refused
from teleread.agent.sender import Sender
from teleread.agent.sender import running as sending
from teleread.agent.spool import Item, Spool
from teleread.pipeline import spool as server_spool
from teleread.pipeline import uploads
from teleread.pipeline.services import Services
from teleread.pipeline.uploads import finish_left
from teleread.storage.catalogue.schema import arrivals
from teleread.testing.line import BadLine, Faults
from tests.prove.lines_archives import archives
from tests.prove.lines_hostile import Door, besiege, besieged, judge, mutated, race, send
from tests.ui.live import Web, named_ecg


@pytest.fixture
def token(web: Web) -> str:
    with web.signed_in("nurse") as nurse:
        return nurse.cookies["teleread_session"]


@pytest.fixture
def port(web: Web) -> int:
    return int(web.address.rsplit(":", 1)[1])


@pytest.fixture
def lead(web: Web, token: str) -> Iterator[Lead]:
    opened = Lead(web.address, token=token)
    yield opened
    opened.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "agent")


def patient(spool: Spool, lead: Any) -> Sender:
    return Sender(spool, lead, chance=random.Random(1), first_pause_s=0.05, longest_pause_s=0.3)


def landed(services: Services) -> dict[str, str]:
    with services.catalogue.read() as conn:
        return {row.sha256: row.clinic_priority for row in conn.execute(select(arrivals))}


def wait_until(true: Callable[[], object], patience_s: float = 60) -> None:
    ends = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


class Troubled:
    """A lead hospital that refuses one recording in its own way."""

    def __init__(self, lead: Lead, name: str, error: Exception) -> None:
        self._lead, self._name, self._error = lead, name, error

    def announce(self, length: int, said: dict[str, str], first: bytes = b"") -> Any:
        if said["filename"] == self._name:
            raise self._error
        return self._lead.announce(length, said, first)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lead, name)


@pytest.mark.parametrize(
    "error",
    [
        LineBroken("internal_error", answered=True),
        LineBroken("disk_full", answered=True),
        LineBroken("not_landed_yet", answered=True),
        Refused("upload_invalid", 400),
        Refused("not_found", 404),
        OSError(5, "the disk"),
    ],
)
def test_a_recording_that_fails_each_time_holds_up_no_other(
    spool: Spool, lead: Lead, services: Services, error: Exception
) -> None:
    bad = spool.add({"bad": b"1" * 100}, urgent=True, seen_at=1.0)
    for number in range(3):
        spool.add({"good": bytes([number]) * 100}, urgent=number == 2, seen_at=2.0)
    with sending(patient(spool, Troubled(lead, "bad", error))):
        wait_until(lambda: len(spool.queued()) == 1)
    assert spool.find(bad.id).state == "queued"  # type: ignore[union-attr]
    assert list(landed(services).values()).count("urgent") == 1


def test_what_was_damaged_on_its_way_is_sent_again_and_what_the_disk_damaged_is_told(
    spool: Spool, lead: Lead, services: Services
) -> None:
    whole = spool.add({"whole": b"1" * 100}, urgent=False, seen_at=1.0)
    rotten = spool.add({"rotten": b"2" * 100}, urgent=False, seen_at=1.0)
    gone = spool.add({"gone": b"3" * 100}, urgent=False, seen_at=1.0)
    spool.path(rotten, 0).write_bytes(b"2" * 99 + b"x")
    spool.path(gone, 0).unlink()
    once = iter([Refused("upload_hash_mismatch", 422)])

    class Once(Troubled):
        def announce(self, length: int, said: dict[str, str], first: bytes = b"") -> Any:
            if said["filename"] == "whole" and (error := next(once, None)):
                raise error
            return self._lead.announce(length, said, first)

    with sending(patient(spool, Once(lead, "", OSError()))):
        wait_until(lambda: not spool.queued())
    states = {one.id: (one.state, one.failure) for one in spool.items()}
    assert states == {
        whole.id: ("sent", ""),
        rotten.id: ("refused", "spool_damaged"),
        gone.id: ("refused", "spool_damaged"),
    }
    assert set(landed(services)) == {hashlib.sha256(b"1" * 100).hexdigest()}


def test_what_becomes_urgent_while_it_is_sent_is_urgent_there(spool: Spool, lead: Lead, services: Services) -> None:
    item = spool.add({"a": b"1" * 100}, urgent=False, seen_at=1.0)

    class Meanwhile(Troubled):
        def announce(self, length: int, said: dict[str, str], first: bytes = b"") -> Any:
            where = self._lead.announce(length, said, first)
            spool.add({"a": b"1" * 100}, urgent=True, seen_at=2.0)
            return where

    sender = patient(spool, Meanwhile(lead, "", OSError()))
    assert sender.send(item)
    (again,) = spool.queued()
    assert sender.send(again)
    assert list(landed(services).values()) == ["urgent"]
    assert not spool.queued()


def test_what_is_written_down_of_a_recording_may_be_damaged_and_its_bytes_still_go(spool: Spool) -> None:
    one = spool.add({"a": b"1" * 100}, urgent=False, seen_at=1.0)
    pair = spool.add({"a": b"2", "b": b"3"}, urgent=False, seen_at=1.0)
    for item in (one, pair):
        (spool.folder / "items" / item.id / "item.json").write_bytes(b"\0" * 40)
    again = Spool(spool.folder)
    assert [(item.id, item.urgent) for item in again.queued()] == [(one.id, True)]
    assert (spool.folder / "damaged" / pair.id / "1").read_bytes() == b"3"


def test_what_a_death_left_behind_is_cleared(spool: Spool) -> None:
    item = spool.add({"a": b"1" * 100}, urgent=False, seen_at=1.0)
    spool.acknowledged(item, ["R"], 2.0)
    spool.path(item, 0).write_bytes(b"1" * 100)
    (spool.path(item, 0).parent / "0.77.part").write_bytes(b"1")
    again = Spool(spool.folder)
    assert [path.name for path in again.path(item, 0).parent.iterdir()] == ["item.json"]
    assert again.items()[0].receipts == ("R",)


def test_a_line_that_dies_silently_is_noticed_and_the_upload_gives_way(
    spool: Spool, port: int, token: str, services: Services
) -> None:
    data = random.Random(1).randbytes(400_000)
    spool.add({"ct": data}, urgent=False, seen_at=1.0)
    with BadLine(port, Faults(bytes_per_s=100e3, silent=True)) as line:
        far = Lead(f"http://127.0.0.1:{line.port}", token=token)
        failures: list[str] = []
        with sending(patient(spool, far)) as on:
            wait_until(lambda: on.progress.sent > 50_000)
            line.cut()
            begun = time.monotonic()
            wait_until(lambda: on.progress.failure and (failures.append(on.progress.failure) or True))
            assert time.monotonic() - begun < 15  # well below what a server waits
            wait_until(lambda: not spool.queued())
        far.close()
    assert failures[0] == "line_broken"
    assert set(landed(services)) == {hashlib.sha256(data).hexdigest()}


def test_patience_grows_while_a_line_is_silent_and_is_back_with_the_first_answer(port: int, token: str) -> None:
    with BadLine(port, Faults(silent=True)) as line:
        far = Lead(f"http://127.0.0.1:{line.port}", token=token)
        far.announce(1, {"filename": "a"})
        first = far._patience_s
        line.cut()
        with pytest.raises(LineBroken) as caught:
            far.announce(1, {"filename": "a"})
        assert caught.value.silent
        assert far._patience_s == 2 * first
        far.announce(1, {"filename": "a"})
        assert far._patience_s == first
        far.close()


def test_an_upload_that_the_disk_damaged_begins_anew(services: Services, lead: Lead) -> None:
    other, data = b"2" * 5000, b"1" * 5000
    said = {"filename": "a", "sha256": hashlib.sha256(data).hexdigest()}
    where = lead.announce(5000, said)
    spool = server_spool.Spool(services.spool_folder)  # type: ignore[arg-type]
    (upload,) = spool.uploads()
    (spool.folder / upload.place / "upload.json").write_bytes(b"\0" * 100)
    second = lead.announce(5000, {"filename": "b", "sha256": hashlib.sha256(other).hexdigest()})
    assert second.offset == 0
    assert finish_left(services, spool) == 0
    assert lead.announce(5000, said, data).receipts or lead.announce(5000, said).location == where.location


def test_the_beginnings_of_uploads_that_died_are_forgotten(services: Services) -> None:
    spool = server_spool.Spool(services.spool_folder)  # type: ignore[arg-type]
    (spool.folder / "village" / ("0" * 32)).mkdir(parents=True)
    (spool.folder / "village" / ("0" * 32) / "bytes").write_bytes(b"1")
    assert spool.count("village") == 1
    now = services.clock().now(tz=services.clock().tzinfo)
    assert spool.expire(now) == 0
    assert spool.expire(now + server_spool.KEEP + timedelta(seconds=60)) == 1
    assert spool.count("village") == 0


def test_only_one_lands_an_upload_at_a_time(services: Services, lead: Lead) -> None:
    lead.announce(5, {"filename": "a", "sha256": hashlib.sha256(b"12345").hexdigest()})
    spool = server_spool.Spool(services.spool_folder)  # type: ignore[arg-type]
    (upload,) = spool.uploads()
    with spool.landing(upload) as first, spool.landing(upload, 0.1) as second:
        assert (first, second) == (True, False)


def _raised_while_landing(services: Services, monkeypatch: pytest.MonkeyPatch, moment: str) -> str:
    """The priority of an arrival whose upload was called urgent at this moment of its landing."""
    spool = server_spool.Spool(services.spool_folder)  # type: ignore[arg-type]
    data = named_ecg("A")
    sha256 = hashlib.sha256(data).hexdigest()
    upload = server_spool.Upload(
        id=server_spool.upload_id("village", sha256, len(data), None),
        site_id="village",
        actor="nurse",
        length=len(data),
        sha256=sha256,
        name="a.dcm",
        priority="routine",
        group=None,
        group_size=1,
        created_at=services.clock(),
    )
    spool.create(upload)
    with spool.append(upload, 0) as appender:
        appender.write(data)
    real_land = uploads._land

    def land(*args: Any) -> Any:
        if moment == "before the row":
            assert not spool.raise_priority(upload, "urgent").settled
        landed = real_land(*args)
        if moment == "before the receipt":
            assert not spool.raise_priority(upload, "urgent").settled
        return landed

    monkeypatch.setattr(uploads, "_land", land)
    assert uploads.finish(services, spool, upload).settled
    assert finish_left(services, spool) == 0
    with services.catalogue.read() as conn:
        return str(conn.scalar(select(arrivals.c.clinic_priority)))


@pytest.mark.parametrize("moment", ["before the row", "before the receipt"])
def test_what_is_called_urgent_while_it_is_being_landed_is_urgent(
    services: Services, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    assert _raised_while_landing(services, monkeypatch, moment) == "urgent"


def test_a_landing_that_looks_at_no_mark_would_be_caught(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_spool.Spool, "_raised", lambda self, upload: upload)
    assert _raised_while_landing(services, monkeypatch, "before the receipt") == "routine"


def test_mutated_requests_have_a_code_each(port: int, token: str) -> None:
    door = Door(port, token)
    said = set()
    for number in range(60):
        chance = random.Random(number)
        request, silence = mutated(door, chance)
        said.add(judge(door.ask(request, ends=silence), silence))
    assert {"upload_invalid", "tus_version", "not_found", "no HTTP"} <= said
    assert len(race(door, random.Random(1))) >= 11


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 500 X\r\n\r\n{}",
        b"HTTP/1.1 400 X\r\ncontent-length: 5\r\n\r\nwrong",
        b'HTTP/1.1 409 X\r\ncontent-length: 5\r\n\r\n{"error": {}}',
    ],
)
def test_an_answer_without_a_code_is_seen(answer: bytes) -> None:
    with pytest.raises((AssertionError, KeyError)):
        judge(answer, False)


def test_archives_that_no_honest_program_writes_have_a_code_each(port: int, token: str) -> None:
    door = Door(port, token)
    chance = random.Random(2)
    ended = {what: besiege(door, what, data, chance) for what, data in archives(chance)}
    assert ended["many, and the end says one"] == ["bundle_too_many"]
    assert ended["zip64 that points elsewhere"] == ["bundle_broken"]
    assert len(ended) == 23


def test_slow_and_half_open_connections_hold_up_nobody(port: int, token: str, services: Services) -> None:
    door = Door(port, token)
    with besieged(door, 200, 5):
        assert send(door, b"1" * 50_000)
    assert landed(services)


def test_a_page_that_is_slow_beside_it_is_served(web: Web, token: str) -> None:
    with httpx.Client(base_url=web.address) as client:
        assert client.get("/api/receipts/NONE", headers={"Authorization": f"Bearer {token}"}).status_code == 404


def test_an_urgent_one_that_comes_while_a_routine_one_fails_is_tried_at_once(spool: Spool, lead: Lead) -> None:
    class Dead(Troubled):
        def announce(self, length: int, said: dict[str, str], first: bytes = b"") -> Any:
            if said["filename"] == "ct":
                spool.add({"ecg": b"2" * 50}, urgent=True, seen_at=2.0)
                raise LineBroken("line_broken")
            return self._lead.announce(length, said, first)

    spool.add({"ct": b"1" * 100}, urgent=False, seen_at=1.0)
    sender = Sender(spool, Dead(lead, "", OSError()), chance=random.Random(1), first_pause_s=30, longest_pause_s=60)  # type: ignore[arg-type]
    thread = threading.Thread(target=sender.run)
    thread.start()
    begun = time.monotonic()
    wait_until(lambda: any(one.state == "sent" for one in spool.items()), 10)
    assert time.monotonic() - begun < 3
    sender.stop()
    thread.join()


def test_items_of_an_older_agent_are_read(spool: Spool) -> None:
    item = spool.add({"a": b"1"}, urgent=False, seen_at=1.0)
    path = spool.folder / "items" / item.id / "item.json"
    path.write_text(path.read_text().replace('"number": 1', '"sent_at": 0.0'))
    assert isinstance(Spool(spool.folder).items()[0], Item)

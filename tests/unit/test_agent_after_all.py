"""Urgent after all, for what was sent: durable before it is told, told for as long as it takes, and once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from teleread.agent import after_all, home
from teleread.agent.lead import Lead, LineBroken, Refused
from teleread.agent.page import Desk
from teleread.agent.sender import Sender
from teleread.agent.sender import running as sending
from teleread.agent.spool import Item, Spool
from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals, audit_events
from teleread.testing.line import BadLine, Faults
from teleread.web import certificates
from tests.ui.live import Web, running
from tests.unit.test_agents import invited

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def web(services: Services, tmp_path: Path) -> Iterator[Web]:
    authority = certificates.agents_authority(tmp_path / "tls", services.clock())
    with running(services, agents_authority=authority) as started:
        yield started


@pytest.fixture
def identity(web: Web, services: Services, tmp_path: Path) -> home.Identity:
    place = web.address.removeprefix("http://")
    return home.enrol(tmp_path / "agent", home.Invitation.parse(f"{invited(services)}@{place}"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "agent")


@pytest.fixture
def lead(identity: home.Identity) -> Iterator[Lead]:
    made = Lead(identity.url, token=identity.token)
    yield made
    made.close()


def patient(spool: Spool, to: Lead) -> Sender:
    return Sender(spool, to, chance=random.Random(1), first_pause_s=0.05, longest_pause_s=0.2)


def sent(spool: Spool, lead: Lead, data: bytes = b"an ECG") -> Item:
    item = spool.add({"a.bin": data}, urgent=False, seen_at=time.time())
    assert patient(spool, lead).send(item)
    found = spool.find(item.id)
    assert found is not None
    return found


def priorities(services: Services) -> list[str]:
    with services.catalogue.read() as conn:
        return list(conn.scalars(select(arrivals.c.clinic_priority)))


def raises(services: Services) -> int:
    with services.catalogue.read() as conn:
        return list(conn.scalars(select(audit_events.c.action))).count("raise")


def wait_until(true: Callable[[], Any], patience_s: float = 60) -> None:
    ends = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def desk(spool: Spool, now: float | None = None) -> Desk:
    return Desk(spool, None, None, "") if now is None else Desk(spool, None, None, "", now=lambda: now)


def row(spool: Spool, now: float | None = None) -> dict[str, Any]:
    found: dict[str, Any] = desk(spool, now).state()["items"][0]
    return found


def test_what_was_sent_becomes_urgent_at_the_lead_hospital_and_the_page_says_when(
    spool: Spool, lead: Lead, services: Services
) -> None:
    item = sent(spool, lead)
    desk(spool).make_urgent(item.id)
    assert (row(spool)["urgent"], row(spool)["raising"], row(spool)["state"]) == (True, True, "sent")
    with sending(patient(spool, lead)):
        wait_until(lambda: row(spool)["raised_at"])
    assert not row(spool)["raising"]
    assert priorities(services) == ["urgent"]
    desk(spool).make_urgent(item.id)
    assert spool.to_tell() == []
    assert raises(services) == 1


def test_the_word_survives_the_end_of_the_agent(spool: Spool, lead: Lead, services: Services) -> None:
    item = sent(spool, lead)
    desk(spool).make_urgent(item.id)
    again = Spool(spool.folder)  # what a process that starts after kill -9 finds
    assert [one.id for one in again.to_tell()] == [item.id]
    with sending(patient(again, lead)):
        wait_until(lambda: not again.to_tell())
    assert priorities(services) == ["urgent"]


def test_the_twin_that_remembers_without_writing_is_caught(spool: Spool, lead: Lead) -> None:
    item = sent(spool, lead)
    spool._items[item.id] = replace(item, urgent=True, raising_since=1.0)
    assert Spool(spool.folder).to_tell() == []


def test_a_broken_line_only_puts_it_off_and_the_telephone_is_shown_meanwhile(
    spool: Spool, lead: Lead, identity: home.Identity, services: Services
) -> None:
    item = sent(spool, lead)
    with BadLine(int(identity.url.rsplit(":", 1)[1]), Faults()) as line:
        line.close()
        spool.make_urgent(item.id, 1000.0)
        assert not desk(spool, 1059.0).state()["telephone_now"]
        assert desk(spool, 1061.0).state()["telephone_now"]
        behind = Lead(f"http://127.0.0.1:{line.port}", token=identity.token)
        sender = patient(spool, behind)
        with sending(sender):
            wait_until(lambda: sender.progress.failure == "line_broken")
            assert spool.to_tell()
            line.open()
            wait_until(lambda: not spool.to_tell())
    assert priorities(services) == ["urgent"]


class Deaf(Lead):
    """The lead hospital hears it, and the line breaks before its answer arrives."""

    times = 0

    def make_urgent(self, receipt: str) -> None:
        super().make_urgent(receipt)
        self.times += 1
        if self.times < 3:
            raise LineBroken("line_broken")


def test_an_answer_that_is_lost_is_asked_for_again_and_changes_nothing(
    spool: Spool, identity: home.Identity, services: Services
) -> None:
    to = Deaf(identity.url, token=identity.token)
    item = sent(spool, to)
    spool.make_urgent(item.id, time.time())
    with sending(patient(spool, to)):
        wait_until(lambda: not spool.to_tell())
    assert (to.times, raises(services)) == (3, 1)


def test_it_does_not_wait_behind_a_large_file(spool: Spool, lead: Lead, identity: home.Identity) -> None:
    item = sent(spool, lead)
    spool.add({"ct.bin": random.Random(1).randbytes(400_000)}, urgent=False, seen_at=time.time())
    with BadLine(int(identity.url.rsplit(":", 1)[1]), Faults(bytes_per_s=100_000)) as line:
        behind = Lead(f"http://127.0.0.1:{line.port}", token=identity.token)
        with sending(patient(spool, behind)) as on:
            wait_until(lambda: on.progress.sent > 30_000)
            spool.make_urgent(item.id, time.time())
            wait_until(lambda: not spool.to_tell())
            assert spool.queued(), "the large one was still on its way"


class Forgetful(Lead):
    def make_urgent(self, receipt: str) -> None:
        raise Refused("no_such_arrival", 404)


def test_what_the_lead_hospital_no_longer_knows_is_for_the_telephone(
    spool: Spool, lead: Lead, identity: home.Identity
) -> None:
    item = sent(spool, lead)
    spool.make_urgent(item.id, time.time())
    with sending(patient(spool, Forgetful(identity.url))):
        wait_until(lambda: not spool.to_tell())
    assert (row(spool)["failure"], row(spool)["raised_at"], row(spool)["state"]) == ("urgent_not_told", 0.0, "sent")
    words = json.loads((ROOT / "teleread" / "agent" / "words.json").read_text(encoding="utf-8"))
    assert words["zh"]["code.urgent_not_told"]


def test_what_is_not_told_yet_is_not_forgotten(spool: Spool, lead: Lead) -> None:
    item = sent(spool, lead)
    spool.make_urgent(item.id, time.time())
    assert spool.forget_sent(time.time() + 1e9) == 0
    spool.told(item, time.time())
    assert spool.forget_sent(time.time() + 1e9) == 1


def test_what_is_said_beside_the_agent_is_taken_over_whenever_it_comes_back(spool: Spool, lead: Lead) -> None:
    item = sent(spool, lead)
    found = after_all.find(Spool(spool.folder, owner=False), item.receipts[0].lower())
    assert found == item
    after_all.say(spool.folder, item, 5.0)
    assert after_all.take_over(spool.folder, spool) == 1
    assert [one.raising_since for one in spool.to_tell()] == [5.0]
    assert after_all.take_over(spool.folder, spool) == 0


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "teleread.agent", "--home", str(folder), "--json", *arguments]


def run(folder: Path, *arguments: str) -> tuple[int, Any]:
    done = subprocess.run(command(folder, *arguments), capture_output=True, text=True, cwd=ROOT, check=False)
    return done.returncode, json.loads(done.stdout)


def test_the_command_tells_it_of_a_receipt_and_of_a_file_whether_the_agent_runs_or_not(
    web: Web, identity: home.Identity, services: Services, tmp_path: Path
) -> None:
    folder, watched = tmp_path / "agent", tmp_path / "watched"
    watched.mkdir()
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(os.urandom(1000))
    receipts = [run(folder, str(tmp_path / name))[1]["items"][0]["receipts"][0] for name in ("a", "b")]
    assert priorities(services) == ["routine", "routine"]
    assert run(folder, "--urgent-after-all", receipts[0])[0] == 0
    assert sorted(priorities(services)) == ["routine", "urgent"]
    agent = subprocess.Popen(command(folder, "--watch", str(watched), "--no-page"), stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        wait_until(lambda: run(folder, "--status")[1]["runs"])
        assert run(folder, "--urgent-after-all", str(tmp_path / "b"))[0] == 0
        assert priorities(services) == ["urgent", "urgent"]
    finally:
        agent.kill()
        agent.wait()
    assert run(folder, "--urgent-after-all", receipts[1])[0] == 0
    code, said = run(folder, "--urgent-after-all", "R-NOT-OURS")
    assert (code, said["error"]["code"]) == (2, "usage")

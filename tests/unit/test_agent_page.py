"""The agent's page on the clinic's own PC: works without a line, and serves nobody else."""

from __future__ import annotations

import http.client
import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teleread.agent.follow import Assessor
from teleread.agent.home import Identity
from teleread.agent.judge import Judge
from teleread.agent.lead import Lead
from teleread.agent.page import Desk, serving
from teleread.agent.sender import Sender
from teleread.agent.spool import Spool
from teleread.ingest.formats import write_wfdb
from teleread.signal.ecg import simulate
from teleread.web import agent_words

OURS = {"Host": "127.0.0.1", "X-Teleread": "1"}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "agent")


@pytest.fixture
def port(spool: Spool, tmp_path: Path) -> Iterator[int]:
    identity = Identity("https://lead:1", "a", "village", "0571-1", "", tmp_path / "x", None, "")
    lead = Lead("http://127.0.0.1:9")
    sender = Sender(spool, lead, chance=random.Random(1))
    with serving(Desk(spool, sender, identity, "C:\\ECG"), 0) as number:
        yield number


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, {**OURS, **{name.replace("_", "-"): text for name, text in headers.items()}})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, json.loads(data) if "json" in answer.headers["content-type"] else data


def framed(files: dict[str, bytes], urgent: bool) -> bytes:
    head = {"urgent": urgent, "files": [{"name": name, "size": len(data)} for name, data in files.items()]}
    return json.dumps(head).encode() + b"\n" + b"".join(files.values())


def test_what_is_dropped_is_saved_without_a_line(port: int, spool: Spool) -> None:
    status, said = ask(port, "POST", "/take", framed({"a.dcm": b"1234"}, urgent=True))
    assert status == 201
    item = Spool(spool.folder, owner=False).find(said["id"])
    assert item is not None
    assert item.urgent
    shown = ask(port, "GET", "/state")[1]
    assert (shown["waiting"], shown["urgent"], shown["telephone"]) == (1, 1, "0571-1")
    assert shown["items"][0]["name"] == "a.dcm"


def test_an_urgent_one_that_waits_for_a_minute_is_for_the_telephone(port: int, spool: Spool) -> None:
    spool.add({"a": b"1"}, urgent=True, seen_at=time.time() - 59)
    assert not ask(port, "GET", "/state")[1]["telephone_now"]
    spool.add({"b": b"2"}, urgent=True, seen_at=time.time() - 61)
    assert ask(port, "GET", "/state")[1]["telephone_now"]


def test_what_waits_can_become_urgent(port: int, spool: Spool) -> None:
    item = spool.add({"a": b"1"}, urgent=False, seen_at=0.0)
    assert ask(port, "POST", f"/urgent/{item.id}")[0] == 200
    assert spool.items()[0].urgent


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/take", {"X_Teleread": "0"}, 403),
        ("/take", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("/take", {"Host": "evil.example"}, 421),
    ],
)
def test_another_page_can_do_nothing(port: int, spool: Spool, path: str, headers: dict[str, str], status: int) -> None:
    assert ask(port, "POST", path, framed({"a": b"1"}, urgent=False), **headers)[0] == status
    assert spool.items() == []


def test_another_name_for_this_pc_reads_nothing(port: int) -> None:
    assert ask(port, "GET", "/state", Host="evil.example")[0] == 421


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}\n",
        b"[]\n",
        b'{"files": []}\n',
        b'{"files": [{"name": "a", "size": 5}]}\n1',
        b'{"files": [{"name": "a", "size": -1}]}\n1',
        b'{"files": [{"name": "a", "size": 1}]}\n12',
        b"\xff\n1",
    ],
)
def test_a_broken_drop_is_refused(port: int, spool: Spool, body: bytes) -> None:
    assert ask(port, "POST", "/take", body) == (400, {"code": "request_invalid"})
    assert spool.items() == []


def test_a_drop_that_lies_about_its_length_is_refused(port: int) -> None:
    assert ask(port, "POST", "/take", b"", Content_Length=str(1 << 40))[0] == 413


def test_the_page_and_its_words_are_served(port: int) -> None:
    for path in ("/", "/page.js", "/page.css"):
        assert ask(port, "GET", path)[0] == 200
    assert set(ask(port, "GET", "/words.json")[1]) == {"zh", "en"}
    assert ask(port, "GET", "/etc/passwd")[0] == 404


def test_the_agents_words_are_those_of_the_catalogue() -> None:
    from importlib import resources

    kept = resources.files("teleread.agent").joinpath("words.json").read_text(encoding="utf-8")
    assert kept == agent_words.to_text(), "run python -m teleread.web.agent_words"
    words = json.loads(kept)
    assert words["zh"].keys() == words["en"].keys()
    assert not [key for key, text in words["zh"].items() if text == words["en"][key]]


def test_a_recording_is_judged_without_a_line(spool: Spool) -> None:
    judge = Judge(timeout_s=60)
    try:
        for condition, light in (("normal", "green"), ("lead_off", "red")):
            item = spool.add(write_wfdb(simulate(condition, 3)[0], "rec"), urgent=False, seen_at=0.0)
            Assessor(spool, judge).assess(item)
            assert spool.find(item.id).verdict["light"] == light  # type: ignore[union-attr]
        unread = spool.add({"a": b"\0" * 100}, urgent=False, seen_at=0.0)
        Assessor(spool, judge).assess(unread)
        assert spool.find(unread.id).verdict["failure"] == "format_unknown"  # type: ignore[union-attr]
    finally:
        judge.close()


def test_a_judge_that_hangs_costs_its_verdict_and_no_more(spool: Spool) -> None:
    judge = Judge(timeout_s=0.2)
    try:
        judge.warm_up()
        assert judge.ready
        assert judge._child is not None
        judge._child.send_signal(signal.SIGSTOP)
        item = spool.add({"a": b"1"}, urgent=False, seen_at=0.0)
        Assessor(spool, judge).assess(item)
        assert spool.find(item.id).verdict == {"light": "none"}  # type: ignore[union-attr]
        assert spool.queued() == [spool.find(item.id)]
    finally:
        judge.close()

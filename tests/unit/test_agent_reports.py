"""Signed reports on the clinic's PC: whole, checked, the newest alone in the folder, for as long as one may change."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from teleread.agent import ed25519, fetch, home, reports_lead
from teleread.agent.fetch import Fetcher
from teleread.agent.follow import FOLLOW_FOR_S, Follower
from teleread.agent.lead import LineBroken, Pace, Refused
from teleread.agent.page import Desk, serving
from teleread.agent.reports import ASIDE, Reports, shown, stem
from teleread.agent.reports_lead import GaveWay, ReportsLead
from teleread.agent.sender import Sender
from teleread.agent.sound import News, NotSound, check_json, check_pdf, news_of
from teleread.agent.spool import Spool
from teleread.pipeline.services import Services
from teleread.reading.documents import check_all, read_file
from teleread.storage import signers
from teleread.testing.line import BadLine, Faults
from teleread.web import certificates
from tests.conftest import Clock
from tests.signing import post_report
from tests.ui.live import Page, Web, named_ecg, running
from tests.unit.test_agents import invited

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def web(services: Services, tmp_path: Path) -> Iterator[Web]:
    authority = certificates.agents_authority(tmp_path / "tls", services.clock())
    with running(services, agents_authority=authority) as started:
        yield started


@pytest.fixture
def reader(web: Web) -> Iterator[Page]:
    with web.signed_in("reader") as client:
        yield client


@pytest.fixture
def identity(web: Web, services: Services, tmp_path: Path) -> home.Identity:
    place = web.address.removeprefix("http://")
    return home.enrol(tmp_path / "agent", home.Invitation.parse(f"{invited(services)}@{place}"))


@pytest.fixture
def lead(identity: home.Identity) -> Iterator[ReportsLead]:
    made = ReportsLead(identity.url, token=identity.token)
    yield made
    made.close()


class PC:
    """A clinic's PC: its spool, its folder of reports, a clock that goes when told to."""

    def __init__(self, folder: Path, lead: ReportsLead) -> None:
        self.home, self.lead = folder, lead
        self.moment = [0.0]
        self.start()

    def start(self) -> None:
        """As a process finds it that starts now."""
        self.spool = Spool(self.home)
        self.reports = Reports(self.home, self.home / "reports")
        clocks: dict[str, Any] = {"now": lambda: 1e9 + self.moment[0], "clock": lambda: self.moment[0]}
        self.fetcher = Fetcher(self.spool, self.reports, self.lead, chance=random.Random(1), **clocks)
        self.follower = Follower(self.spool, self.lead, clocks["now"])

    def fetch(self, after_s: float = 0.0) -> None:
        self.moment[0] += after_s
        self.lead.close()
        self.fetcher.everything()

    def names(self, folder: str = "reports") -> list[str]:
        place = self.home / folder
        return sorted(one.name for one in place.iterdir() if one.is_file()) if place.is_dir() else []


@pytest.fixture
def pc(tmp_path: Path, lead: ReportsLead) -> PC:
    return PC(tmp_path / "agent", lead)


def sent(pc: PC, seed: int = 0, *, urgent: bool = False) -> str:
    """Send an ECG of a named patient; its receipt."""
    data = named_ecg("Wang^XiaoDong=王^小东", patient_id=f"11010{seed}", seed=seed)
    item = pc.spool.add({f"ecg-{seed}.dcm": data}, urgent=urgent, seen_at=1e9)
    sender = Sender(pc.spool, pc.lead, chance=random.Random(1), now=lambda: 1e9 + pc.moment[0])
    while True:
        with suppress(LineBroken):
            if sender.send(item):
                break
        time.sleep(0.05)
    found = pc.spool.find(item.id)
    assert found is not None
    pc.lead.verdict(found.receipts[0], 2.0)
    return found.receipts[0]


def case_of(reader: Page) -> str:
    return re.findall(r'href="(/cases/\w+)"', reader.get("/worklist").text)[0]


def sign(reader: Page, path: str, text: str = "Words.", **more: str) -> None:
    assert post_report(reader, path, {"text": text, **more}).status_code == 303


def bytes_of(pc: PC, name: str) -> bytes:
    return (pc.home / "reports" / name).read_bytes()


# ---- what the clinic gets


def test_a_signed_report_lies_in_the_folder_as_a_sheet_and_as_a_document(pc: PC, reader: Page) -> None:
    receipt = sent(pc)
    pc.fetch()
    assert pc.names() == [], "nothing before it is signed"
    path = case_of(reader)
    sign(reader, path)
    pc.lead.close()
    pc.follower.ask_due()
    pc.fetch()
    assert pc.names() == [f"{receipt}-v1.json", f"{receipt}-v1.pdf"]
    assert bytes_of(pc, f"{receipt}-v1.pdf").startswith(b"%PDF-")
    (checked,) = check_all(read_file(bytes_of(pc, f"{receipt}-v1.json")))
    assert checked.faults == ()
    row = shown(pc.reports.all()[0])
    assert (row["state"], row["signature"], row["version"], row["critical"]) == ("here", "good", 1, False)
    kept = "".join(one.read_text(encoding="utf-8") for one in (pc.home / "given").iterdir())
    assert "小东" not in kept + "".join(pc.names()), "whose it is stands in the files alone"


def test_the_newest_stands_alone_and_says_what_it_is(pc: PC, reader: Page) -> None:
    receipt = sent(pc)
    path = case_of(reader)
    sign(reader, path, "First.")
    pc.fetch()
    first = bytes_of(pc, f"{receipt}-v1.pdf")
    sign(reader, path, "More.", kind="addendum")
    pc.fetch(fetch.ASK_FRESH_S)
    assert pc.names() == [f"{receipt}-v2.json", f"{receipt}-v2.pdf"]
    sign(reader, path, "Right.", kind="corrected", reason="typing")
    pc.fetch(fetch.ASK_FRESH_S)
    assert pc.names() == [f"{receipt}-v3-CORRECTED.json", f"{receipt}-v3-CORRECTED.pdf"]
    sign(reader, path, "Wrong patient.", kind="withdrawn", reason="label")
    pc.fetch(fetch.ASK_FRESH_S)
    assert pc.names() == [f"{receipt}-v4-WITHDRAWN.json", f"{receipt}-v4-WITHDRAWN.pdf"]
    aside = pc.names(f"reports/{ASIDE}")
    assert len(aside) == 6
    digest = hashlib.sha256(first).hexdigest()[:8]
    assert bytes_of(pc, f"{ASIDE}/{receipt}-v1-{digest}.pdf") == first, "what was given stays to be read"


def test_whose_it_is_under_correction_and_corrected_is_another_sheet(pc: PC, reader: Page) -> None:
    receipt = sent(pc)
    path = case_of(reader)
    sign(reader, path)
    pc.fetch()
    assert reader.post(f"{path}/identity", data={"act": "open", "reason": "wrong label"}).status_code == 303
    pc.fetch(fetch.ASK_FRESH_S)
    held = f"{receipt}-v1-IDENTITY-UNDER-CORRECTION"
    assert pc.names() == [f"{held}.json", f"{held}.pdf"]
    assert reader.post(f"{path}/identity", data={"act": "confirm"}).status_code == 303
    pc.fetch(fetch.ASK_FRESH_S)
    assert pc.names() == [f"{receipt}-v1.json", f"{receipt}-v1.pdf"]


def test_a_report_that_comes_after_weeks_is_fetched_and_its_recording_not_forgotten(pc: PC, reader: Page) -> None:
    receipt = sent(pc)
    pc.fetch()
    pc.moment[0] += 29 * 86400.0
    assert pc.moment[0] > FOLLOW_FOR_S
    pc.start()
    pc.fetch()
    sign(reader, case_of(reader))
    pc.fetch(fetch.ASK_OLD_S)
    assert pc.names() == [f"{receipt}-v1.json", f"{receipt}-v1.pdf"]
    assert pc.spool.items()[0].verdict["report"], "the page knows it as well"


def test_a_correction_is_heard_of_after_the_recording_was_forgotten(pc: PC, reader: Page) -> None:
    receipt = sent(pc)
    path = case_of(reader)
    sign(reader, path)
    pc.fetch()
    assert pc.spool.forget_sent(1e12) == 1
    pc.start()
    sign(reader, path, "Right.", kind="corrected", reason="typing")
    pc.fetch(200 * 86400.0)
    assert pc.names() == [f"{receipt}-v2-CORRECTED.json", f"{receipt}-v2-CORRECTED.pdf"]
    assert pc.reports.all()[0].name == "ecg-0.dcm"


def test_what_waits_for_a_report_is_not_forgotten_after_a_month(pc: PC) -> None:
    sent(pc)
    assert pc.spool.forget_sent(1e12, lambda one: pc.reports.find(one.receipts[0]) is None) == 0


def test_a_clock_that_jumps_by_years_loses_no_report(pc: PC, reader: Page) -> None:
    receipt = sent(pc)
    pc.fetch()
    for years in (20, -40):
        pc.fetcher._now = lambda years=years: 1e9 + years * 366 * 86400.0
        pc.fetch(fetch.ASK_OLD_S)
    sign(reader, case_of(reader))
    pc.fetch(fetch.ASK_OLD_S)
    assert pc.names() == [f"{receipt}-v1.json", f"{receipt}-v1.pdf"]


def test_what_somebody_took_out_of_the_folder_is_not_put_back_and_what_the_disk_damaged_is(
    pc: PC, reader: Page
) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader))
    pc.fetch()
    whole = bytes_of(pc, f"{receipt}-v1.pdf")
    (pc.home / "reports" / f"{receipt}-v1.pdf").write_bytes(whole[:-9])
    assert pc.reports.read(receipt, "pdf") is None
    assert shown(pc.reports.all()[0])["failure"] == "report_changed_here"
    pc.fetch()
    assert pc.reports.read(receipt, "pdf") == whole
    (pc.home / "reports" / f"{receipt}-v1.pdf").unlink()
    assert shown(pc.reports.all()[0])["state"] == "taken_away"
    pc.fetch(fetch.ASK_OLD_S)
    assert pc.names() == [f"{receipt}-v1.json"]


# ---- whose, how much, how often


def test_another_sites_receipt_is_404_and_stands_in_no_answer(
    pc: PC, reader: Page, web: Web, services: Services, tmp_path: Path
) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader))
    place = web.address.removeprefix("http://")
    other = home.enrol(tmp_path / "other", home.Invitation.parse(f"{invited(services, 'other')}@{place}"))
    stranger = ReportsLead(other.url, token=other.token)
    assert pc.lead.states([receipt]).keys() == {receipt}
    assert stranger.states([receipt]) == {}
    for ending in ("json", "pdf"):
        with pytest.raises(Refused) as refused:
            stranger.file(receipt, ending, "zh", 1 << 20, lambda: False)
        assert (refused.value.status, refused.value.code) == (404, "not_found")
    stranger.close()


def test_an_agent_confirms_nothing_in_the_place_of_a_person(pc: PC, reader: Page, web: Web) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader), critical="1")
    report = json.loads(pc.lead.file(receipt, "json", "zh", 1 << 20, lambda: False)[0])["in_force"]
    headers = {"authorization": f"Bearer {pc.lead._token}"}
    answer = httpx.post(
        f"{web.address}/api/receipts/{receipt}/read", data={"report": report}, headers=headers, trust_env=False
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_a_person")


def test_so_many_downloads_in_a_minute_and_the_agent_waits_for_the_next(
    pc: PC, reader: Page, web: Web, clock: Clock
) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader))
    with web.signed_in("nurse") as nurse:
        codes = [nurse.get(f"/api/receipts/{receipt}/report.json").status_code for _ in range(61)]
        assert codes == [200] * 60 + [429]
        assert nurse.get(f"/api/receipts/{receipt}").status_code == 200, "the verdict is never limited"
    limiter = web.app.state.download_limiter
    while limiter.admit(f"agent:{pc_agent(pc)}", clock()):
        pass
    with pytest.raises(LineBroken) as limited:
        pc.fetch()
    assert limited.value.code == "too_many_downloads"
    clock.advance(61)
    pc.fetch()
    assert len(pc.names()) == 2


def pc_agent(pc: PC) -> str:
    found = home.load(pc.home)
    assert found is not None
    return found.agent


def test_sixty_four_receipts_are_one_question_and_more_are_refused(pc: PC, web: Web) -> None:
    headers = {"authorization": f"Bearer {pc.lead._token}"}
    for count, status in ((64, 200), (65, 400)):
        of = ",".join(f"0000-0000-{n:04d}" for n in range(count))
        address = f"{web.address}/api/receipts/-/reports?of={of}"
        assert httpx.get(address, headers=headers, trust_env=False).status_code == status


# ---- the line


def test_a_line_that_breaks_leaves_nothing_half_and_goes_on(pc: PC, reader: Page, identity: home.Identity) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader))
    with BadLine(int(identity.url.rsplit(":", 1)[1]), Faults()) as line:
        pc.lead = ReportsLead(f"http://127.0.0.1:{line.port}", token=identity.token)
        pc.start()
        line.close()
        with pytest.raises(LineBroken):
            pc.fetch()
        assert pc.names() == []
        line.open()
        pc.fetch()
        pc.lead.close()
    assert pc.names() == [f"{receipt}-v1.json", f"{receipt}-v1.pdf"]


def test_nothing_is_asked_or_fetched_while_something_urgent_waits(pc: PC, reader: Page) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader))
    waiting = pc.spool.add({"b": b"urgent"}, urgent=True, seen_at=1e9)
    before = pc.lead.sent_bytes
    assert not pc.fetcher.step()
    assert pc.lead.sent_bytes == before
    asked: list[int] = []

    def comes() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(GaveWay):
        pc.lead.file(receipt, "pdf", "zh", 24 << 20, comes)
    assert len(asked) == 4, "it gives way between two blocks and not at the end"
    pc.spool.update(waiting.id, state="refused")
    pc.fetch()
    assert len(pc.names()) == 2


def test_a_routine_report_leaves_the_line_to_what_waits_but_not_for_ever(pc: PC, reader: Page) -> None:
    sent(pc)
    sign(reader, case_of(reader))
    pc.spool.add({"ct": b"routine"}, urgent=False, seen_at=1e9)
    pc.fetch()
    assert pc.names() == []
    pc.fetch(fetch.ROUTINE_WAITS_S)
    assert len(pc.names()) == 2


def test_a_critical_report_does_not_wait_behind_routine_recordings(pc: PC, reader: Page) -> None:
    sent(pc)
    sign(reader, case_of(reader), critical="1")
    pc.spool.add({"ct": b"routine"}, urgent=False, seen_at=1e9)
    pc.fetch()
    assert len(pc.names()) == 2
    assert shown(pc.reports.all()[0])["critical"]


def test_all_that_an_agent_does_shares_one_cap() -> None:
    moment, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        moment[0] += seconds

    pace = Pace(1000.0, lambda: moment[0], sleep)
    for _ in range(10):
        pace.take(500)
    assert moment[0] == pytest.approx(4.5)
    moment[0] += 100
    pace.take(500)
    assert moment[0] == pytest.approx(104.5), "what was not used is not saved up"


def test_a_download_keeps_to_the_cap(pc: PC, reader: Page, identity: home.Identity) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader))
    moment = [0.0]

    def sleep(seconds: float) -> None:
        moment[0] += seconds

    pace = Pace(2000.0, lambda: moment[0], sleep)
    capped = ReportsLead(identity.url, token=identity.token, pace=pace, clock=lambda: moment[0])
    data, _state = capped.file(receipt, "pdf", "zh", 24 << 20, lambda: False)
    capped.close()
    assert moment[0] >= (len(data) - 4096) / 2000.0


# ---- a server that is hostile, or broken


@contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Whatever is asked, these bytes are the answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer, suppress(OSError):
                    asked = b""
                    while b"\r\n\r\n" not in asked and (more := peer.recv(4096)):
                        asked += more
                    peer.sendall(answer(asked))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def answered(body: bytes, status: str = "200 OK", **more: str) -> bytes:
    said = {"content_length": str(len(body)), "repr_digest": digest(body), "teleread_report": "abc", **more}
    head = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in said.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


HOSTILE = {
    "other bytes than the hash": answered(b"%PDF-1.4 %%EOF", repr_digest=digest(b"other")),
    "no hash": answered(b"%PDF-1.4 %%EOF").replace(b"repr-digest", b"x-digest"),
    "no state": answered(b"%PDF-1.4 %%EOF").replace(b"teleread-report", b"x-state"),
    "a state that is a path": answered(b"%PDF-1.4 %%EOF", teleread_report="../../x"),
    "cut short": answered(b"%PDF-1.4 %%EOF", content_length="4000"),
    "no length": answered(b"%PDF").replace(b"content-length: 4\r\n", b""),
    "a length of terabytes": answered(b"%PDF", content_length=str(1 << 45)),
    "a negative length": answered(b"%PDF", content_length="-5"),
    "no HTTP": b"\xff\x00" * 5000,
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000,
    "a refusal as deep as the sea": answered(b"[" * 60_000, "404 Not Found"),
    "a refusal with a code that is none": answered(b'{"error": {"code": {"a": 1}}}', "404 Not Found"),
    "a refusal that is no object": answered(b'{"error": 5}', "503 No"),
    "a redirection": answered(b"", "302 Found", location="http://evil.example/"),
}


@pytest.mark.parametrize("case", list(HOSTILE))
def test_whatever_a_server_answers_nothing_is_kept_of_it(case: str) -> None:
    with answering(lambda _: HOSTILE[case]) as port:
        hostile = ReportsLead(f"http://127.0.0.1:{port}", token="t")
        with pytest.raises((NotSound, LineBroken, Refused)):
            hostile.file("7K2M-QX9D-0RTB", "pdf", "zh", 1 << 20, lambda: False)
        hostile.close()


def test_a_larger_file_than_may_be_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(lambda _: answered(b"%PDF" + b"x" * 5000)) as port:
        hostile = ReportsLead(f"http://127.0.0.1:{port}", token="t")
        with pytest.raises(NotSound, match="report_too_large"):
            hostile.file("7K2M-QX9D-0RTB", "pdf", "zh", 4000, lambda: False)
        hostile.close()


def test_what_drips_for_ever_ends() -> None:
    moment = [0.0]

    def later() -> bool:
        moment[0] += 1e5
        return False

    with answering(lambda _: answered(b"%PDF-1.4", content_length="9000")) as port:
        hostile = ReportsLead(f"http://127.0.0.1:{port}", token="t", clock=lambda: moment[0])
        with pytest.raises(LineBroken):
            hostile.file("7K2M-QX9D-0RTB", "pdf", "zh", 1 << 20, later)
        hostile.close()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"5", b"{}", b'{"reports": []}', b'{"reports": 5}', b"[" * 100_000, b'{"reports": ' + b"[" * 90_000],
)
def test_an_answer_about_many_that_cannot_be_understood_changes_nothing(body: bytes) -> None:
    with answering(lambda _: answered(body)) as port:
        hostile = ReportsLead(f"http://127.0.0.1:{port}", token="t")
        with pytest.raises(LineBroken):
            hostile.states(["7K2M-QX9D-0RTB"])
        with pytest.raises(LineBroken):
            hostile.verdict("7K2M-QX9D-0RTB")
        hostile.close()


def test_states_are_taken_only_of_what_was_asked_and_in_their_form() -> None:
    states = {"A-1": "abc", "B-2": "a/../b", "C-3": 5, "D-4": "abc", "E-5": "x" * 65}
    said = {receipt: {"state": state, "critical": "yes"} for receipt, state in states.items()} | {"F-6": "abc"}
    body = json.dumps({"reports": said}).encode()
    with answering(lambda _: answered(body)) as port:
        hostile = ReportsLead(f"http://127.0.0.1:{port}", token="t")
        assert hostile.states(["A-1", "B-2", "C-3", "E-5", "F-6"]) == {"A-1": ("abc", False)}
        hostile.close()


REPORT = {
    "version": 1,
    "critical": False,
    "sha256": "a" * 64,
    "state": "abc",
    "newest": {"version": 1, "kind": "final", "critical": False},
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "../x"},
        {"state": 5},
        {"state": ""},
        {"sha256": "x"},
        {"newest": None},
        {"newest": {"version": 0, "kind": "final", "critical": False}},
        {"newest": {"version": True, "kind": "final", "critical": False}},
        {"newest": {"version": 10**9, "kind": "final", "critical": False}},
        {"newest": {"version": 1, "kind": "../..", "critical": False}},
        {"newest": []},
    ],
)
def test_news_that_cannot_be_are_none(wrong: dict[str, Any]) -> None:
    assert news_of({"report": REPORT}) == News("abc", 1, "final", False, "a" * 64, False)
    assert news_of({"report": None}) is None
    for report in (REPORT | wrong, [REPORT], "x"):
        with pytest.raises(NotSound):
            news_of({"report": report})


@pytest.mark.parametrize("receipt", ["../../etc", "A/B", "a-b", "", "A" * 200, "A-B/..", "7K2M-QX9D-0RTB.pdf", "CON"])
def test_a_receipt_that_is_a_path_names_no_file(tmp_path: Path, receipt: str) -> None:
    with pytest.raises(ValueError, match="receipt"):
        Reports(tmp_path, tmp_path / "reports").learn(
            receipt, News("a", 1, "final", False, "", False), 1.0, urgent=False
        )
    assert list(tmp_path.rglob("*")) == []


# ---- what is checked


@pytest.fixture
def signed(pc: PC, reader: Page) -> tuple[bytes, News]:
    """The JSON of a report of two versions, and what is said of it."""
    receipt = sent(pc)
    path = case_of(reader)
    sign(reader, path)
    sign(reader, path, "Right.", kind="corrected", reason="typing")
    news = news_of(pc.lead.verdict(receipt))
    assert news is not None
    return pc.lead.file(receipt, "json", "zh", 8 << 20, lambda: False)[0], news


def _change(data: bytes, change: Callable[[Any], None]) -> bytes:
    body = json.loads(data)
    change(body)
    return json.dumps(body, ensure_ascii=False).encode()


def _rewrite(one: dict[str, Any], *, hash_too: bool) -> None:
    one["document"] = one["document"].replace("Right.", "Wrong.")
    if hash_too:
        one["sha256"] = hashlib.sha256(one["document"].encode()).hexdigest()


def _other_key(one: dict[str, Any]) -> None:
    one["public_key"] = base64.b64encode(signers.SIGNERS["ed25519"].public_of(b"k" * 32)).decode()


FORGED: dict[str, tuple[Callable[[Any], None], str]] = {
    "a word": (lambda body: _rewrite(body["versions"][1], hash_too=False), "report_damaged"),
    "a word and its hash": (lambda body: _rewrite(body["versions"][1], hash_too=True), "report_signature_wrong"),
    "the key": (lambda body: _other_key(body["versions"][0]), "report_signature_wrong"),
    "the key's name": (lambda body: body["versions"][0].update(key_id="0" * 32), "report_signature_wrong"),
    "the signature": (
        lambda body: body["versions"][0].update(signature=body["versions"][1]["signature"]),
        "report_signature_wrong",
    ),
    "the newest left out": (lambda body: body["versions"].pop(), "report_damaged"),
    "the order": (lambda body: body["versions"].reverse(), "report_damaged"),
    "none": (lambda body: body.update(versions=[]), "report_not_understood"),
    "no list": (lambda body: body.update(versions=5), "report_not_understood"),
    "no format": (lambda body: body.update(format="x"), "report_not_understood"),
    "no text": (lambda body: body["versions"][0].update(document=5), "report_not_understood"),
}


def test_what_was_changed_on_its_way_is_not_kept(signed: tuple[bytes, News]) -> None:
    data, news = signed
    assert check_json(data, news) == "good"
    for change, code in FORGED.values():
        with pytest.raises(NotSound, match=code):
            check_json(_change(data, change), news)
    with pytest.raises(NotSound, match="report_damaged"):
        check_json(data, replace(news, sha256="0" * 64))  # not the hash that the lead hospital says


@pytest.mark.parametrize("data", [b"", b"\xff", b"{}", b"[", b"[" * 100_000, b"5", b'{"versions": {}}'])
def test_what_is_no_report_is_not_understood(data: bytes) -> None:
    with pytest.raises(NotSound, match="report_not_understood"):
        check_json(data, News("a", 1, "final", False, "", False))


def test_a_signature_of_an_unknown_algorithm_is_kept_and_said_not_to_be_checked(signed: tuple[bytes, News]) -> None:
    data, news = signed

    def change(body: Any) -> None:
        one = body["versions"][1]
        one["algorithm"] = "sm2"
        public = base64.b64decode(one["public_key"])
        one["key_id"] = hashlib.sha256(b"signing key\0sm2\0" + public).hexdigest()[:32]

    assert check_json(_change(data, change), news) == "not_checked"


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4\n", b"<html>%%EOF", b"%PDF-1.4 %%EOF" + b"x" * 2000])
def test_what_does_not_begin_and_end_as_a_pdf_is_none(data: bytes) -> None:
    with pytest.raises(NotSound):
        check_pdf(data)
    check_pdf(b"%PDF-1.4\n...\n%%EOF\n")


# RFC 8032, section 7.1: secret left out; public key, message, signature
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2465"
        "5141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb0"
        "0d291612bb0c00",
    ),
]


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_signatures_of_the_standard_are_good_and_changed_ones_are_not(
    public: str, message: str, signature: str
) -> None:
    key, said, mark = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert ed25519.verify(key, said, mark)
    assert not ed25519.verify(key, said + b"x", mark)
    for place in (0, 31, 32, 63):
        assert not ed25519.verify(key, said, mark[:place] + bytes([mark[place] ^ 1]) + mark[place + 1 :])


def test_the_check_agrees_with_the_library_that_signs() -> None:
    scheme, chance = signers.SIGNERS["ed25519"], random.Random(5)
    for _ in range(20):
        private, message = chance.randbytes(32), chance.randbytes(chance.randrange(300))
        public, signature = scheme.public_of(private), scheme.sign(private, message)
        assert ed25519.verify(public, message, signature)
        place = chance.randrange(64)
        wrong = signature[:place] + bytes([signature[place] ^ (1 << chance.randrange(8))]) + signature[place + 1 :]
        assert not ed25519.verify(public, message, wrong)
        assert ed25519.verify(public, message, wrong) == scheme.verify(public, message, wrong)
    order = 2**252 + 27742317777372353535851937790883648493
    again = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not ed25519.verify(public, message, signature[:32] + again), "a second signature of the same words"
    for public in (b"", b"\xff" * 32, b"\x02" + b"\0" * 31, b"\x01" + b"\0" * 30 + b"\x80"):
        assert not ed25519.verify(public, b"x", b"\0" * 64)


# ---- the page, the terminal


def ask(port: int, path: str, **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": "127.0.0.1", **headers})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data, answer.headers


def test_the_page_gives_the_sheet_without_a_line_and_only_what_holds(pc: PC, reader: Page) -> None:
    receipt = sent(pc)
    path = case_of(reader)
    sign(reader, path)
    pc.fetch()
    whole = bytes_of(pc, f"{receipt}-v1.pdf")
    desk = Desk(pc.spool, None, None, "", reports=pc.reports)
    with serving(desk, 0) as port:
        state = json.loads(ask(port, "/state")[1])
        (row,) = state["items"][0]["reports"]
        assert (row["files"], row["state"]) == (
            {ending: f"/reports/{receipt}.{ending}" for ending in ("json", "pdf")},
            "here",
        )
        assert str(pc.home / "reports") == state["reports_in"]
        status, data, said = ask(port, row["files"]["pdf"])
        assert (status, data, said["content-type"]) == (200, whole, "application/pdf")
        assert said["x-content-type-options"] == "nosniff"
        assert ask(port, row["files"]["pdf"], Host="evil.example")[0] == 421
        for name in ("../agent.json", "..%2fagent.json", f"{receipt}.exe", f"{receipt}.", "A-1.pdf", "x"):
            assert ask(port, f"/reports/{name}")[0] == 404, name
        news = replace(pc.reports.all()[0].news, state="newer", version=2, kind="corrected")
        pc.reports.learn(receipt, news, 2e9, urgent=False)
        assert ask(port, f"/reports/{receipt}.pdf")[0] == 404, "what does not hold any more is not given"
        assert json.loads(ask(port, "/state")[1])["items"][0]["reports"][0]["state"] == "newer"


def status_of(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "teleread.agent", "--home", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_terminal_says_the_critical_one_first_in_both_languages(pc: PC, reader: Page) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader), critical="1")
    pc.fetch()
    lines = status_of(pc.home, "--status").stdout.splitlines()
    assert lines[0].startswith("CRITICAL report: read it now 危急报告")
    assert f"{receipt}-v1.pdf" in lines[0]
    (row,) = json.loads(status_of(pc.home, "--status", "--json").stdout)["reports"]
    assert (row["receipt"], row["critical"], row["state"]) == (receipt, True, "here")
    assert Path(row["files"]["pdf"]).is_file()


def test_one_command_fetches_what_there_is_into_a_folder_and_ends(pc: PC, reader: Page, tmp_path: Path) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader))
    wanted = tmp_path / "for the ward"
    done = status_of(pc.home, "--reports", str(wanted), "--reports-language", "en", "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(one.name for one in wanted.iterdir()) == [f"{receipt}-v1.json", f"{receipt}-v1.pdf"]
    assert json.loads(done.stdout)["reports"][0]["files"]["pdf"] == str(wanted / f"{receipt}-v1.pdf")


def test_reports_are_not_put_where_they_would_be_sent(tmp_path: Path, identity: home.Identity) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    for folder in (watched, watched / "reports"):
        done = status_of(tmp_path / "agent", "--watch", str(watched), "--reports", str(folder))
        assert done.returncode == 2
        assert "would be sent" in done.stderr


# ---- files that another program holds


def test_a_sheet_that_is_open_elsewhere_is_marked_until_it_can_be_put_aside(
    pc: PC, reader: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = sent(pc)
    path = case_of(reader)
    sign(reader, path)
    pc.fetch()
    held = pc.home / "reports" / f"{receipt}-v1.pdf"
    replace_ = Path.replace

    def locked(self: Path, to: Any) -> Any:
        if self == held:
            raise PermissionError("in use")
        return replace_(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", locked)
        sign(reader, path, "Right.", kind="corrected", reason="typing")
        pc.fetch(fetch.ASK_FRESH_S)
        new = [f"{receipt}-v2-CORRECTED.json", f"{receipt}-v2-CORRECTED.pdf"]
        assert pc.names() == sorted([held.name, f"{held.name}.NOT-VALID.txt", *new])
        assert "已失效" in held.with_name(f"{held.name}.NOT-VALID.txt").read_text(encoding="utf-8")
        assert shown(pc.reports.all()[0])["open_elsewhere"] == [str(held)]
    pc.start()
    pc.fetcher.put_aside()
    assert pc.names() == new
    assert shown(pc.reports.all()[0])["open_elsewhere"] == []


def test_a_folder_that_is_not_there_stops_nothing_and_is_used_once_it_is(pc: PC, reader: Page, tmp_path: Path) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader))
    (tmp_path / "share").write_text("a file where the share should be")
    pc.reports.folder = tmp_path / "share" / "reports"
    pc.fetch()
    assert shown(pc.reports.all()[0])["failure"] == "report_not_saved"
    (tmp_path / "share").unlink()
    pc.fetch(fetch.LONGEST_PAUSE_S)
    assert shown(pc.reports.all()[0])["state"] == "here"
    assert (tmp_path / "share" / "reports" / f"{receipt}-v1.pdf").is_file()


def test_a_record_that_the_disk_has_lost_leaves_no_old_sheet_as_valid(pc: PC, reader: Page) -> None:
    receipt = sent(pc)
    path = case_of(reader)
    sign(reader, path)
    pc.fetch()
    (pc.home / "given" / f"{receipt}.json").write_bytes(b"\0" * 50)
    sign(reader, path, "Right.", kind="corrected", reason="typing")
    pc.start()
    pc.fetch()
    assert pc.names() == [f"{receipt}-v2-CORRECTED.json", f"{receipt}-v2-CORRECTED.pdf"]


# ---- broken twins: what these tests would not let pass


class Torn(Reports):
    """Writes into the file's own name."""

    def keep(self, receipt: str, news: News, data: Any, signature: str) -> Any:
        path = self.folder / f"{stem(receipt, news)}.pdf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data["pdf"][: len(data["pdf"]) // 2])
        raise OSError("the power went")


def test_the_twin_that_writes_in_place_is_caught(pc: PC, reader: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = sent(pc)
    sign(reader, case_of(reader))
    pc.fetcher.reports = Torn(pc.home, pc.home / "reports")
    pc.fetch()
    assert pc.names() == [f"{receipt}-v1.pdf"], "half a sheet under its own name, which no test above allows"
    pc.start()
    pc.fetch(fetch.LONGEST_PAUSE_S)
    assert len(pc.names()) == 2
    check_pdf(bytes_of(pc, f"{receipt}-v1.pdf"))


def test_the_twin_that_follows_for_a_day_is_caught(pc: PC, reader: Page) -> None:
    sent(pc)
    pc.moment[0] += FOLLOW_FOR_S + 1
    sign(reader, case_of(reader))
    pc.follower.ask_due()
    assert not pc.spool.items()[0].verdict.get("report"), "the question about one recording alone has ended by then"


def test_the_twin_that_compares_no_hash_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports_lead.hashlib, "sha256", lambda _: hashlib.new("md5", b""))
    with answering(lambda _: answered(b"%PDF-1.4 %%EOF", repr_digest="sha-256=:1B2M2Y8AsgTpgAmY7PhCfg==:")) as port:
        twin = ReportsLead(f"http://127.0.0.1:{port}", token="t")
        assert twin.file("7K2M-QX9D-0RTB", "pdf", "zh", 1 << 20, lambda: False)[0]
        twin.close()

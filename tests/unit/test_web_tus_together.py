"""The same recording by several ways, and ends that die or are wrong: one item, one receipt, nothing sent twice."""

from __future__ import annotations

import hashlib
import io
import random
import ssl
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from teleread.agent import home
from teleread.agent.lead import Lead, LineBroken
from teleread.agent.sender import Sender
from teleread.agent.sender import running as sending
from teleread.agent.spool import Spool
from teleread.ingest.formats import bundle
from teleread.pipeline import uploads
from teleread.pipeline.services import Services
from teleread.storage import agents
from teleread.storage.catalogue.schema import arrivals
from teleread.web import certificates
from teleread.web.app import create_app
from tests.conftest import Clock
from tests.ui.live import Web, named_ecg, over_tls, running, wfdb

SITE = "village"
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture
def authority(services: Services, tmp_path: Path) -> certificates.Identity:
    return certificates.agents_authority(tmp_path / "tls", services.clock())


@pytest.fixture
def web(services: Services, authority: certificates.Identity) -> Iterator[Web]:
    with running(services, agents_authority=authority) as started:
        yield started


@pytest.fixture
def enrol(web: Web, services: Services, tmp_path: Path) -> Iterator[Callable[[str], tuple[Spool, Sender, Lead]]]:
    leads: list[Lead] = []

    def one(name: str) -> tuple[Spool, Sender, Lead]:
        with services.catalogue.write() as conn:
            code = agents.invite(conn, SITE, name, services.clock(), actor="engineer")
        place = web.address.removeprefix("http://")
        identity = home.enrol(tmp_path / name, home.Invitation.parse(f"{code}@{place}"))
        leads.append(Lead(identity.url, token=identity.token))
        spool = Spool(tmp_path / name)
        return (
            spool,
            Sender(spool, leads[-1], chance=random.Random(1), first_pause_s=0.05, longest_pause_s=0.2),
            leads[-1],
        )

    yield one
    for lead in leads:
        lead.close()


def landed(services: Services) -> dict[str, tuple[str, str]]:
    with services.catalogue.read() as conn:
        return {row.sha256: (row.receipt, row.clinic_priority) for row in conn.execute(select(arrivals))}


def wait_until(true: Callable[[], object], patience_s: float = 60) -> None:
    ends = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def by_page(nurse: httpx.Client, data: bytes) -> str:
    """The receipt of what the page sends, in parts of 40 KB."""
    import base64

    said = f"sha256 {base64.b64encode(hashlib.sha256(data).hexdigest().encode()).decode()}"
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        answer = nurse.post("/api/tus", headers={**TUS, "Upload-Length": str(len(data)), "Upload-Metadata": said})
        if receipt := answer.headers.get("teleread-receipts"):
            return receipt
        start = int(answer.headers["upload-offset"])
        headers = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(start)}
        nurse.patch(answer.headers["location"], content=data[start : start + 40_000], headers=headers)
    raise AssertionError("no receipt")


def test_page_and_agent_with_the_same_file_are_one_item_with_one_receipt(
    web: Web, services: Services, enrol: Callable[[str], tuple[Spool, Sender, Lead]]
) -> None:
    data = named_ecg("Wang^Lan") + bytes(400_000)
    spool, sender, _ = enrol("a")
    item = spool.add({"a.dcm": data}, urgent=True, seen_at=time.time())
    with web.signed_in("nurse") as nurse, sending(sender):
        receipt = by_page(nurse, data)
        wait_until(lambda: not spool.queued())
    assert landed(services) == {hashlib.sha256(data).hexdigest(): (receipt, "urgent")}
    assert spool.find(item.id).receipts == (receipt,)  # type: ignore[union-attr]


def test_two_agents_with_the_same_recordings_are_one_item_each(
    services: Services, enrol: Callable[[str], tuple[Spool, Sender, Lead]]
) -> None:
    chance = random.Random(5)
    held = [{"a": chance.randbytes(300_000)}, wfdb("normal"), {"c": chance.randbytes(20_000)}]
    two = [enrol("a"), enrol("b")]
    for spool, _, _ in two:
        for files in held:
            spool.add(files, urgent=False, seen_at=time.time())
    with sending(two[0][1]), sending(two[1][1]):
        wait_until(lambda: not any(spool.queued() for spool, _, _ in two))
    receipts = [sorted(one.receipts for one in spool.items()) for spool, _, _ in two]
    assert receipts[0] == receipts[1]
    assert len(landed(services)) == 3


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("what", ["one file", "a recording of two files", "a study"])
def test_what_landed_before_the_agent_died_is_not_sent_again_and_still_rises(
    services: Services, enrol: Callable[[str], tuple[Spool, Sender, Lead]], what: str
) -> None:
    """Killed between the last byte and the note of its receipt, then sent by another life, as urgent."""
    study = zipped({"1": named_ecg("A", seed=1) + bytes(300_000), "2": named_ecg("B", seed=2) + bytes(300_000)})
    large = {name: data + b"\n" for name, data in wfdb("normal", 3).items()}
    files = {"one file": {"a": random.Random(1).randbytes(300_000)}, "a study": {"a.zip": study}}.get(what, large)
    spool, sender, _ = enrol("a")
    assert sender.send(spool.add(files, urgent=False, seen_at=1.0))
    before = landed(services)
    other, again, lead = enrol("b")
    item = other.add(files, urgent=True, seen_at=2.0)
    again._begun.update(one.sha256 for one in item.files)  # it asks first, and brings nothing along
    assert again.send(item)
    assert lead.sent_bytes == 0
    assert {sha256: receipt for sha256, (receipt, _) in landed(services).items()} == {
        sha256: receipt for sha256, (receipt, _) in before.items()
    }
    assert {priority for _, priority in landed(services).values()} == {"urgent"}
    assert set(other.find(item.id).receipts) == {receipt for receipt, _ in before.values()}  # type: ignore[union-attr]


def test_files_of_a_recording_that_hold_the_same_bytes_are_told_apart(
    services: Services, enrol: Callable[[str], tuple[Spool, Sender, Lead]]
) -> None:
    files = {"a.hea": b"a 2 500 100\n", "a.dat": b"\1\2" * 100, "b.dat": b"\1\2" * 100}
    spool, sender, _ = enrol("a")
    assert sender.send(spool.add(files, urgent=False, seen_at=1.0))
    assert set(landed(services)) == {hashlib.sha256(bundle(files)).hexdigest()}


def test_a_recording_too_large_for_memory_is_the_same_bundle(
    services: Services, enrol: Callable[[str], tuple[Spool, Sender, Lead]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_IN_MEMORY_BYTES", 1000)
    files = wfdb("normal", 4)
    spool, sender, _ = enrol("a")
    assert sender.send(spool.add(files, urgent=False, seen_at=1.0))
    study = zipped({"x/1": named_ecg("A"), **{f"y/{name}": data for name, data in wfdb("normal", 5).items()}})
    assert sender.send(spool.add({"s.zip": study}, urgent=False, seen_at=1.0))
    wanted = [bundle(files), bundle(wfdb("normal", 5)), named_ecg("A")]
    assert set(landed(services)) == {hashlib.sha256(data).hexdigest() for data in wanted}


def test_a_clock_that_jumps_by_years_changes_no_order_and_no_receipt(
    services: Services, enrol: Callable[[str], tuple[Spool, Sender, Lead]]
) -> None:
    spool, _, lead = enrol("a")
    moments = [4e9, 0.0, 1e9, 2.0]  # 2096, 1970, 2001, 1970
    for number, seen_at in enumerate(moments):
        spool.add({"a": bytes([number]) * 100}, urgent=number == 3, seen_at=seen_at)
    again = Spool(spool.folder)
    assert [one.seen_at for one in again.queued()] == [2.0, 4e9, 0.0, 1e9]
    clock = iter([4e9, *[1.0] * 1000])
    late = Sender(again, lead, now=lambda: next(clock))
    for item in again.queued():
        assert late.send(item)
    assert {one.receipts for one in again.items()} == {(receipt,) for receipt, _ in landed(services).values()}


@contextmanager
def secure(services: Services, folder: Path, years: int) -> Iterator[str]:
    """Over TLS, with a certificate that the clock of this PC finds from another time."""
    own = certificates.own_identity(folder / "own", "0.0.0.0", services.clock() + timedelta(days=365 * years))
    authority = certificates.agents_authority(folder / "agents", services.clock())
    app = create_app(services, sweep_every=None, agents_authority=authority)
    with over_tls(app, own, authority) as port:
        with services.catalogue.write() as conn:
            code = agents.invite(conn, SITE, "a", services.clock(), actor="engineer")
        yield f"{code}@127.0.0.1:{port}#{own.fingerprint}"


@pytest.mark.parametrize("years", [-40, 20])
def test_an_agent_whose_clock_is_years_off_trusts_its_lead_hospital_all_the_same(
    services: Services, tmp_path: Path, years: int, clock: Clock
) -> None:
    with secure(services, tmp_path / "tls", years) as invitation:
        identity = home.enrol(tmp_path / "agent", home.Invitation.parse(invitation))
        lead = Lead(identity.url, context=identity.context())
        spool = Spool(tmp_path / "agent")
        assert Sender(spool, lead).send(spool.add({"a": b"1" * 100}, urgent=True, seen_at=0.0))
        lead.close()
    assert len(landed(services)) == 1


def test_without_that_a_clock_that_is_years_off_would_stop_it(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "_NO_CHECK_TIME", ssl.VerifyFlags(0))
    with secure(services, tmp_path / "tls", 20) as invitation:
        identity = home.enrol(tmp_path / "agent", home.Invitation.parse(invitation))
        lead = Lead(identity.url, context=identity.context())
        with pytest.raises(LineBroken, match="server_not_trusted"):
            lead.announce(1, {})
        lead.close()

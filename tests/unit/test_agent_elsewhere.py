"""What waits for one lead hospital goes to no other because somebody enrolled the PC anew."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teleread.agent import home
from teleread.agent.spool import Spool
from teleread.pipeline.services import Services
from teleread.storage import agents
from teleread.web import certificates
from tests.ui.live import Web, running
from tests.unit.test_agents import invited, secure

ROOT = Path(__file__).resolve().parents[2]
Tls = tuple[int, certificates.Identity]


@pytest.fixture
def web(services: Services, tmp_path: Path) -> Iterator[Web]:
    authority = certificates.agents_authority(tmp_path / "tls", services.clock())
    with running(services, agents_authority=authority) as started:
        yield started


def enrolled_elsewhere(folder: Path) -> None:
    row = {"url": "https://other.example:8420", "pinned": False, "agent": "a", "site": "village", "telephone": "1"}
    folder.mkdir(parents=True)
    (folder / "agent.json").write_text(json.dumps({**row, "token": "", "expires_at": ""}))


def enrol(folder: Path, web: Web, code: str, *more: str) -> tuple[int, Any, str]:
    invitation = f"{code}@{web.address.removeprefix('http://')}"
    command = [sys.executable, "-m", "teleread.agent", "--home", str(folder), "--json", "--enrol", invitation, *more]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


def is_unused(services: Services, code: str) -> bool:
    with services.catalogue.read() as conn:
        return bool(agents.invited_to(conn, code, services.clock()))


def test_a_queue_is_not_sent_elsewhere_unless_that_is_said(web: Web, services: Services, tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    enrolled_elsewhere(folder)
    Spool(folder).add({"a": b"1"}, urgent=False, seen_at=0.0)
    code = invited(services)
    status, said, shown = enrol(folder, web, code)
    assert (status, said["error"]["code"]) == (3, "queue_elsewhere")
    assert "--send-queue-there" in shown
    assert "登记" in said["error"]["message"]
    assert is_unused(services, code), "the code was not said to the new place"
    known = home.load(folder)
    assert known is not None
    assert known.url == "https://other.example:8420"
    assert enrol(folder, web, code, "--send-queue-there")[0] == 0
    assert home.load(folder).url == web.address  # type: ignore[union-attr]


def test_an_empty_queue_stands_in_nobodys_way(web: Web, services: Services, tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    enrolled_elsewhere(folder)
    sent = Spool(folder).add({"a": b"1"}, urgent=False, seen_at=0.0)
    Spool(folder).acknowledged(sent, ["R"], 1.0)
    assert enrol(folder, web, invited(services))[0] == 0


def test_what_was_to_be_told_there_counts_as_a_queue(web: Web, services: Services, tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    enrolled_elsewhere(folder)
    spool = Spool(folder)
    sent = spool.add({"a": b"1"}, urgent=False, seen_at=0.0)
    spool.acknowledged(sent, ["R"], 1.0)
    spool.make_urgent(sent.id, 2.0)
    assert enrol(folder, web, invited(services))[0] == 3


def test_a_new_invitation_of_the_same_lead_hospital_takes_the_queue_along(
    web: Web, services: Services, tmp_path: Path
) -> None:
    folder = tmp_path / "agent"
    assert enrol(folder, web, invited(services))[0] == 0
    Spool(folder).add({"a": b"1"}, urgent=False, seen_at=0.0)
    assert enrol(folder, web, invited(services))[0] == 0


def test_another_site_of_the_same_lead_hospital_is_another_place(web: Web, services: Services, tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    assert enrol(folder, web, invited(services))[0] == 0
    Spool(folder).add({"a": b"1"}, urgent=False, seen_at=0.0)
    before = (folder / "agent.json").read_bytes()
    assert enrol(folder, web, invited(services, "other"))[0] == 3
    assert (folder / "agent.json").read_bytes() == before
    assert enrol(folder, web, invited(services, "other"), "--send-queue-there")[0] == 0


def test_the_same_certificate_under_another_name_is_the_same_place(services: Services, tmp_path: Path) -> None:
    with secure(services, tmp_path / "tls") as (port, own):
        first = home.Invitation.parse(f"{invited(services)}@127.0.0.1:{port}#{own.fingerprint}")
        known = home.enrol(tmp_path / "agent", first)
        for place, fingerprint, elsewhere in (
            (f"localhost:{port}", own.fingerprint, False),
            ("lead.example:8422", own.fingerprint, False),
            ("lead.example:8422", "0" * 64, True),
            ("127.0.0.1:9", "0" * 64, True),
        ):
            invitation = home.Invitation.parse(f"0000-0000-0000-0000@{place}#{fingerprint}")
            assert home.is_elsewhere(known, invitation) is elsewhere, place

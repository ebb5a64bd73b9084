"""What an agent may do, and how it and its people learn that it may do it no longer."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from teleread.agent import disk, home
from teleread.agent.crew import Crew
from teleread.agent.follow import ASK_S, Follower
from teleread.agent.lead import Lead, Refused
from teleread.agent.page import Desk
from teleread.agent.sender import Progress
from teleread.agent.spool import Spool
from teleread.agent.standing import KnownLead, Standing
from teleread.errors import AccessDenied, InputRejected, Misconfigured
from teleread.pipeline.services import Services
from teleread.settings import load_settings
from teleread.storage import agents
from teleread.storage.accounts import Account
from teleread.storage.catalogue.schema import audit_events, invitations
from teleread.web import certificates
from tests.conftest import Clock
from tests.ui.live import Web, running
from tests.unit.test_agents import SITE, invitation, invited, secure
from tests.unit.test_own_certificate import greets

Tls = tuple[int, certificates.Identity]


@pytest.fixture
def tls(services: Services, tmp_path: Path) -> Iterator[Tls]:
    with secure(services, tmp_path / "tls") as started:
        yield started


@pytest.fixture
def web(services: Services, tmp_path: Path) -> Iterator[Web]:
    authority = certificates.agents_authority(tmp_path / "tls", services.clock())
    with running(services, agents_authority=authority) as started:
        yield started


def lead_of(identity: home.Identity) -> KnownLead:
    return KnownLead(identity.url, context=identity.context(), token=identity.token or None)


def local(web: Web, services: Services, folder: Path) -> home.Identity:
    place = web.address.removeprefix("http://")
    return home.enrol(folder, home.Invitation.parse(f"{invited(services)}@{place}"))


def bearer(identity: home.Identity, **more: str) -> dict[str, str]:
    return {
        "authorization": f"Bearer {identity.token}",
        **{name.replace("_", "-"): text for name, text in more.items()},
    }


def test_a_stolen_agent_opens_no_page_of_persons(web: Web, services: Services, tmp_path: Path) -> None:
    headers = bearer(local(web, services, tmp_path / "agent"))
    with httpx.Client(base_url=web.address, headers=headers, trust_env=False) as client:
        assert client.get("/api/agents/me").status_code == 200
        for path in ("/identity", "/upload", "/receipts/x"):
            assert client.get(path).status_code in {403, 404}, path
        assert client.get("/identity").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"x_forwarded_for": "203.0.113.9"},
        {"forwarded": "for=203.0.113.9"},
        {"via": "1.1 proxy"},
        {"x_real_ip": "203.0.113.9"},
        {"host": "lead.example"},
    ],
)
def test_a_token_that_a_proxy_hands_on_is_nobodys(
    web: Web, services: Services, tmp_path: Path, headers: dict[str, str]
) -> None:
    identity = local(web, services, tmp_path / "agent")
    url = f"{web.address}/api/agents/me"
    assert httpx.get(url, headers=bearer(identity), trust_env=False).status_code == 200
    assert httpx.get(url, headers=bearer(identity, **headers), trust_env=False).status_code == 401


def test_where_a_proxy_is_meant_to_stand_no_token_is_good(web: Web, services: Services, tmp_path: Path) -> None:
    identity = local(web, services, tmp_path / "agent")
    web.app.state.behind_proxy = True
    url = f"{web.address}/api/agents/me"
    assert httpx.get(url, headers=bearer(identity), trust_env=False).status_code == 401


def test_over_tls_no_token_is_given(tls: Tls, services: Services, tmp_path: Path) -> None:
    assert home.enrol(tmp_path / "agent", invitation(tls, invited(services))).token == ""


def test_of_two_that_use_one_code_at_once_one_is_enrolled(web: Web, services: Services) -> None:
    code, statuses = invited(services), []
    start = threading.Barrier(4)

    def enrol() -> None:
        start.wait()
        answer = httpx.post(f"{web.address}/api/agents/enrol", json={"code": code}, timeout=60, trust_env=False)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=enrol) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 403, 403, 403]
    with services.catalogue.read() as conn:
        assert len(agents.listed(conn)) == 1


def test_an_agent_whose_time_is_over_is_told_so_and_not_that_its_line_is_broken(
    tls: Tls, services: Services, tmp_path: Path
) -> None:
    identity = home.enrol(tmp_path / "agent", invitation(tls, invited(services)))
    now = services.clock()
    authority = certificates.agents_authority(tmp_path / "tls", now)
    issued = certificates.issue(authority, "0" * 16, SITE, now - timedelta(days=800), agents.VALID_FOR)
    with services.catalogue.write() as conn:
        agents.enrol(conn, agents.invite(conn, SITE, "x", now, actor="e"), "0" * 16, issued.fingerprint, now, now)
    identity.certificate.write_text(issued.certificate_pem + issued.key_pem)
    lead = lead_of(identity)
    with pytest.raises(Refused, match="agent_expired"):
        lead.announce(4, {"filename": "a"})
    lead.close()


def test_an_agent_renews_itself_and_the_old_certificate_is_good_until_the_new_one_is_shown(
    tls: Tls, services: Services, tmp_path: Path, clock: Clock
) -> None:
    folder = tmp_path / "agent"
    old = home.enrol(folder, invitation(tls, invited(services)))
    early = lead_of(old)
    with pytest.raises(Exception, match="too_early_to_renew"):
        early.renew()
    clock.now += agents.VALID_FOR - timedelta(days=10)
    lost = early.renew()  # the answer never arrives: nothing of it is kept
    assert early.me()["renew"] is True
    early.close()
    assert Standing(folder, old, lead_of(old)).ask()
    new = home.load(folder)
    assert new is not None
    assert new.expires_at > old.expires_at
    assert lost["certificate"] not in (folder / "agent.pem").read_text()
    clock.now += timedelta(days=20)  # the old one would be over by now
    lead = lead_of(new)
    assert lead.me()["renew"] is False
    lead.close()
    with services.catalogue.read() as conn:
        (agent,) = agents.listed(conn)
    assert agent.expires_at.isoformat() == new.expires_at


def test_a_renewed_agent_can_be_shut_out_under_both_certificates(
    tls: Tls, services: Services, tmp_path: Path, clock: Clock
) -> None:
    folder = tmp_path / "agent"
    old = home.enrol(folder, invitation(tls, invited(services)))
    context = old.context()
    clock.now += agents.VALID_FOR - timedelta(days=10)
    assert Standing(folder, old, lead_of(old)).ask()
    with services.catalogue.write() as conn:
        agents.revoke(conn, old.agent, services.clock(), actor="engineer")
    for one in (context, home.load(folder).context()):  # type: ignore[union-attr]
        lead = KnownLead(old.url, context=one)
        with pytest.raises(Refused, match="agent_shut_out"):
            lead.me()
        lead.close()


def test_a_pc_whose_clock_is_wrong_by_years_sends_all_the_same(tmp_path: Path) -> None:
    identity = certificates.own_identity(tmp_path / "s", "127.0.0.1", datetime(2001, 1, 1, tzinfo=UTC))
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    strict.check_hostname = False
    strict.load_verify_locations(identity.certificate)
    assert not greets(identity, strict), "the twin: time is checked"
    assert greets(identity, home._trusting(identity.certificate))


def test_a_certificate_that_an_authority_signed_is_trusted_by_its_fingerprint(tmp_path: Path) -> None:
    identity = _signed_by_an_authority(tmp_path)
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    strict.check_hostname = False
    strict.load_verify_locations(identity.certificate)
    assert not greets(identity, strict), "the twin: the whole chain is asked for"
    assert greets(identity, home._trusting(identity.certificate))


def _signed_by_an_authority(folder: Path) -> certificates.Identity:
    now, keys = datetime.now(UTC), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    name = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("authority", "lead")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name[1])
        .issuer_name(name[0])
        .public_key(keys[1].public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(keys[0], hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "lead.pem").write_bytes(certificate.public_bytes(pem))
    key = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "lead.key").write_bytes(key)
    return certificates.given_identity(folder / "lead.pem", folder / "lead.key")


def test_todays_ciphers_alone_are_spoken(tls: Tls) -> None:
    port, own = tls
    for ciphers, is_spoken in (("ECDHE-ECDSA-AES128-GCM-SHA256", True), ("ECDHE-ECDSA-AES128-SHA", False)):
        context = ssl.create_default_context(cafile=str(own.certificate))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
        try:
            answer = httpx.get(f"https://localhost:{port}/healthz", verify=context, trust_env=False)
        except httpx.TransportError:
            assert not is_spoken, ciphers
        else:
            assert is_spoken, ciphers
            assert answer.status_code == 200


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_no_other_user_of_the_pc_reads_what_the_agent_keeps(web: Web, services: Services, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        local(web, services, tmp_path / "agent")
    finally:
        os.umask(before)
    assert (tmp_path / "agent").stat().st_mode & 0o077 == 0
    for path in (tmp_path / "agent").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_the_token_stands_in_no_text_of_the_identity(tmp_path: Path) -> None:
    identity = home.Identity("http://localhost:1", "a", SITE, "", "geheim", tmp_path / "x", None, "")
    assert "geheim" not in repr(identity)


def test_a_file_that_another_program_holds_for_a_moment_is_replaced_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, real = [], os.replace

    def as_on_windows(source: Path, target: Path) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise PermissionError("held open")
        real(source, target)

    monkeypatch.setattr(os, "replace", as_on_windows)
    (tmp_path / "draft").write_bytes(b"1")
    disk._put_in_place(tmp_path / "draft", tmp_path / "kept", lambda _seconds: None)
    assert ((tmp_path / "kept").read_bytes(), len(tries)) == (b"1", 3)


class Faulty:
    """A worker whose disk is full at first."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.runs = 0
        self.worked = threading.Event()

    def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise OSError(28, "No space left on device")
        self.worked.set()

    def stop(self) -> None:
        pass


def test_a_sender_that_a_full_disk_has_ended_is_seen_and_starts_again() -> None:
    moment = [0.0]
    worker: Any = Faulty(Progress())
    crew = Crew(worker, Lead("http://127.0.0.1:9"), clock=lambda: moment[0])
    crew.add(worker)
    crew._threads[id(worker)].join()
    assert worker.progress.failure == "agent_failed"
    crew.mend()
    assert worker.runs == 1, "not at once: a full disk does not get better by being asked"
    moment[0] = 6.0
    crew.mend()
    assert worker.worked.wait(20)
    crew.stop()


def test_five_hundred_that_were_sent_do_not_fill_the_line_with_questions(tmp_path: Path) -> None:
    spool, asked = Spool(tmp_path / "agent"), []

    class Answers(Lead):
        def verdict(self, receipt: str, wait_s: float = 0) -> dict[str, Any]:
            asked.append(receipt)
            return {}

    for n in range(30):
        item = spool.add({"a": str(n).encode()}, urgent=n == 29, seen_at=n)
        spool.acknowledged(item, [f"r{n}"], 1000.0)
    now = [1000.0]
    follower = Follower(spool, Answers("http://127.0.0.1:9"), lambda: now[0])
    follower.ask_due()
    assert len(asked) <= 2
    assert asked[0] == "r29", "the urgent one first"
    for _ in range(40):
        follower.ask_due()
    assert set(asked) == {f"r{n}" for n in range(30)}, "each in its turn"
    now[0] += ASK_S
    spool.add({"b": b"waits"}, urgent=False, seen_at=2000.0)
    asked.clear()
    follower.ask_due()
    assert asked == ["r29"], "what waits has the line; only urgent ones are asked for beside it"


def test_the_page_says_whether_the_line_or_the_permission_is_missing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "agent")
    identity = home.Identity(
        "http://localhost:1", "a", SITE, "1", "", tmp_path / "x", None, "2027-01-01T00:00:00+00:00"
    )
    standing = Standing(tmp_path, identity, KnownLead("http://127.0.0.1:9"), lambda: 0.0)
    desk = Desk(spool, None, identity, "", standing=standing, trouble=lambda: "folder_gone")
    assert (desk.state()["line"], desk.state()["trouble"]) == ("unknown", "folder_gone")
    standing.heard_at = 1.0
    assert desk.state()["line"] == "ok"
    for code, line in (("line_broken", "down"), ("agent_shut_out", "refused"), ("agent_expired", "refused")):
        standing.failure = code
        assert (desk.state()["line"], desk.state()["failure"]) == (line, code)


def test_the_page_says_when_its_time_ends_by_the_lead_hospitals_clock(tmp_path: Path) -> None:
    ends = datetime(2027, 1, 1, tzinfo=UTC)
    identity = home.Identity("http://localhost:1", "a", SITE, "", "", tmp_path / "x", None, ends.isoformat())
    lead = KnownLead("http://127.0.0.1:9")
    standing = Standing(tmp_path, identity, lead, lambda: ends.timestamp() - 70 * 86400)
    assert standing.ends_at is None
    lead.skew_s = -20 * 86400.0  # this PC is 20 days behind: there it is later
    assert standing.ends_at == ends.timestamp()


def test_every_word_that_the_page_asks_for_is_there() -> None:
    words = json.loads((Path(home.__file__).parent / "words.json").read_text(encoding="utf-8"))
    for language in ("zh", "en"):
        assert {f"line_{one}" for one in ("ok", "down", "refused", "unknown")} <= words[language].keys()
        for code in ("folder_gone", "agent_disk_full", "agent_failed", "agent_shut_out", "sign_in_needed"):
            assert words[language][f"code.{code}"]


def failures_noted(services: Services) -> list[int]:
    with services.catalogue.read() as conn:
        query = select(audit_events).where(audit_events.c.action == "enrol_agent_failed").order_by(audit_events.c.id)
        return [row.detail["failures"] for row in conn.execute(query)]


def test_codes_that_are_refused_are_counted_in_the_audit_trail_and_not_named(
    services: Services, tmp_path: Path, clock: Clock
) -> None:
    authority = certificates.agents_authority(tmp_path / "tls", services.clock())
    with running(services, agents_authority=authority) as web:
        url, code = f"{web.address}/api/agents/enrol", invited(services)

        def tried(text: str) -> int:
            return httpx.post(url, json={"code": text}, trust_env=False).status_code

        assert tried("0000-0000-0000-0000") == 403
        assert failures_noted(services) == [1], "the first at once"
        for _ in range(4):
            assert tried("1111-1111-1111-1111") == 403
        assert failures_noted(services) == [1], "a flood of them does not fill the trail"
        clock.now += timedelta(minutes=2)
        assert tried("2222-2222-2222-2222") == 403
        assert failures_noted(services) == [1, 5]
        assert tried(code) == 201
        assert tried(code) == 403
    assert failures_noted(services) == [1, 5, 1], "the rest at the end"
    with services.catalogue.read() as conn:
        text = str(list(conn.execute(select(audit_events))))
    assert "1111" not in text
    assert code not in text


def test_codes_beyond_the_limit_count_as_well(services: Services, tmp_path: Path, clock: Clock) -> None:
    authority = certificates.agents_authority(tmp_path / "tls", services.clock())
    with running(services, agents_authority=authority) as web:
        url = f"{web.address}/api/agents/enrol"
        statuses = [
            httpx.post(url, json={"code": "0000-0000-0000-0000"}, trust_env=False).status_code for _ in range(35)
        ]
    assert statuses.count(403) + statuses.count(429) == 35
    assert sum(failures_noted(services)) == 35


def test_invitations_that_nobody_used_are_forgotten(services: Services, clock: Clock) -> None:
    with services.catalogue.write() as conn:
        agents.invite(conn, SITE, "one", services.clock(), actor="e")
        clock.now += timedelta(days=40)
        agents.invite(conn, SITE, "two", services.clock(), actor="e")
        assert [row.label for row in conn.execute(invitations.select())] == ["two"]


@pytest.mark.parametrize("hours", [0, -1, 169])
def test_an_invitation_is_good_for_a_week_at_the_most(services: Services, hours: int) -> None:
    with services.catalogue.write() as conn, pytest.raises(InputRejected, match="bad_hours"):
        agents.invite(conn, SITE, "one", services.clock(), actor="e", valid_for=timedelta(hours=hours))


def test_the_engineer_sees_which_agents_end_soon(web: Web, services: Services, clock: Clock) -> None:
    with services.catalogue.write() as conn:
        now = services.clock()
        for n, days in enumerate((30, 400)):
            code = agents.invite(conn, SITE, f"PC-{days}", now, actor="e")
            agents.enrol(conn, code, str(n) * 16, str(n) * 64, now + timedelta(days=days), now)
        assert [one.label for one in agents.needing_care(conn, now)] == ["PC-30"]
        assert [one.state(now + timedelta(days=50)) for one in agents.needing_care(conn, now)] == ["expired"]
    with web.signed_in("engineer") as client:
        text = client.get("/engineer").text
    assert "PC-30" in text
    assert "PC-400" not in text


def test_why_not_says_nothing_of_those_it_does_not_know(services: Services, clock: Clock) -> None:
    with services.catalogue.write() as conn:
        now = services.clock()
        code = agents.invite(conn, SITE, "PC", now, actor="e")
        agents.enrol(conn, code, "0" * 16, "a" * 64, now + timedelta(days=1), now)
        assert agents.why_not(conn, now) is None
        assert agents.why_not(conn, now, certificate_sha256="b" * 64, token="x") is None
        agents.revoke(conn, "0" * 16, now, actor="e")
        assert agents.why_not(conn, now, certificate_sha256="a" * 64) == "agent_shut_out"
        account = Account("agent:" + "0" * 16, "uploader", SITE)
        with pytest.raises(AccessDenied, match="agent_shut_out"):
            agents.renew(conn, account, "c" * 64, now + timedelta(days=9), now)


@pytest.mark.parametrize(
    "text", ["0000-0000-0000-0000@h:1#" + ":" * 32, "0000-0000-0000-0000@h:0", "0000-0000-0000-0000@h:1/x"]
)
def test_an_invitation_that_could_not_be_checked_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="invitation"):
        home.Invitation.parse(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pa@ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql://h/db?user=u&password=geheim&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("s3://key:geheim@h:9000/bucket", "s3://key:***@h:9000/bucket"),
    ],
)
def test_settings_show_no_password_however_it_is_written(url: str, shown: str) -> None:
    assert load_settings({"TELEREAD_CATALOGUE_URL": url}).redacted()["catalogue_url"] == shown


def test_a_certificate_without_its_key_is_a_setting_that_is_wrong() -> None:
    with pytest.raises(Misconfigured, match="tls_key"):
        load_settings({"TELEREAD_TLS_CERTIFICATE": "/x.pem"})

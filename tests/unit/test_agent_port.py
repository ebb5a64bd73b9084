"""Agents have a port of their own: only there is a certificate asked for, and only what is theirs is served."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from teleread.agent import home
from teleread.agent.lead import Refused
from teleread.agent.standing import KnownLead, Standing
from teleread.errors import Misconfigured
from teleread.pipeline.services import Services
from teleread.settings import load_settings
from teleread.storage import accounts
from teleread.web import certificates, serving
from teleread.web.app import create_app
from tests.lead_hospital import LeadHospital
from tests.system import free_ports
from tests.ui.live import ACCOUNTS, PASSWORD
from tests.unit.test_agents import SITE, invited, secure


@dataclass(frozen=True, slots=True)
class Ports:
    web: int
    agents: int
    own: certificates.Identity
    server: serving.BothPorts


@contextmanager
def both(services: Services, folder: Path, *, agents_ask_at_web: bool = False) -> Iterator[Ports]:
    """The application as ``teleread serve`` runs it over TLS.

    Args:
        agents_ask_at_web: the broken twin: the persons' port asks for a certificate as well.
    """
    now = services.clock()
    own, authority = certificates.own_identity(folder, "0.0.0.0", now), certificates.agents_authority(folder, now)
    web, agents = free_ports(2)
    app = create_app(services, sweep_every=None, agents_authority=authority)
    app.state.agents_trust = certificates.AgentsTrust(own.authority, agents, web)
    for_agents = serving.tls_options(own, authority)
    options = for_agents if agents_ask_at_web else serving.tls_options(own)
    config = uvicorn.Config(app, host="127.0.0.1", port=web, log_level="critical", ws="none", **options)
    config.load()
    server = serving.server(config, agents, for_agents)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        ends = time.monotonic() + 20
        while len(getattr(server, "servers", ())) < 2:
            assert time.monotonic() < ends
            thread.join(0.01)
        yield Ports(web, agents, own, server)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def ports(services: Services, tmp_path: Path) -> Iterator[Ports]:
    with both(services, tmp_path / "tls") as running:
        yield running


def client(ports: Ports, port: int, **more: Any) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(ports.own.certificate))
    return httpx.Client(verify=context, base_url=f"https://localhost:{port}", trust_env=False, **more)


def invitation(ports: Ports, services: Services, port: int) -> home.Invitation:
    return home.Invitation.parse(f"{invited(services)}@127.0.0.1:{port}#{ports.own.fingerprint}")


def lead_of(identity: home.Identity) -> KnownLead:
    return KnownLead(identity.url, context=identity.context())


def asks_for_certificate(port: int) -> bool:
    """Whether a TLS server asks its client for a certificate, as the handshake shows it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # of 1.3 the request is encrypted
    seen: list[Any] = []
    context._msg_callback = lambda *message: seen.append(message[4])  # type: ignore[attr-defined]
    with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(plain):
        pass
    return any(getattr(one, "name", "") == "CERTIFICATE_REQUEST" for one in seen)


def test_only_the_agents_port_asks_for_a_certificate(ports: Ports) -> None:
    assert not asks_for_certificate(ports.web)
    assert asks_for_certificate(ports.agents)


def test_the_twin_that_asks_everybody_is_caught(services: Services, tmp_path: Path) -> None:
    with both(services, tmp_path / "tls", agents_ask_at_web=True) as twin:
        assert asks_for_certificate(twin.web)


def test_the_agents_port_serves_agents_alone(ports: Ports, services: Services) -> None:
    with services.catalogue.write() as conn:
        for name, (role, site) in ACCOUNTS.items():
            accounts.create_account(conn, name, PASSWORD, role, site, services.clock())
    with client(ports, ports.agents) as agents, client(ports, ports.web) as web:
        for path in (
            "/",
            "/sign-in",
            "/upload",
            "/worklist",
            "/identity",
            "/static/app.css",
            "/healthz",
            "/api/upload",
        ):
            answer = agents.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
        assert agents.get("/api/agents/place").json() == {"agent_port": ports.agents, "web_port": ports.web}
        assert web.get("/healthz").status_code == 200
        origin = {"origin": f"https://localhost:{ports.web}"}
        web.post("/sign-in", data={"name": "nurse", "password": PASSWORD}, headers=origin)
        session = {"cookie": f"teleread_session={web.cookies['teleread_session']}"}
        head = {"Tus-Resumable": "1.0.0"}
        assert web.head("/api/tus/" + "0" * 32, headers=head).status_code == 404
        assert agents.head("/api/tus/" + "0" * 32, headers={**head, **session}).status_code == 401, "a person's session"
        bearer = {"authorization": f"Bearer {web.cookies['teleread_session']}"}
        assert agents.head("/api/tus/" + "0" * 32, headers={**head, **bearer}).status_code == 401


def test_an_agent_enrols_and_sends_at_its_port_and_knows_where_the_pages_are(
    ports: Ports, services: Services, tmp_path: Path
) -> None:
    identity = home.enrol(tmp_path / "agent", invitation(ports, services, ports.agents))
    assert identity.page_url == f"https://127.0.0.1:{ports.web}"
    assert home.load(tmp_path / "agent") == identity
    lead = lead_of(identity)
    assert lead.announce(4, {"filename": "a"}, b"1234").receipts
    assert lead.me()["site"] == SITE
    lead.close()


def test_an_agent_that_enrolled_at_the_persons_port_finds_the_agents_by_itself(
    ports: Ports, services: Services, tmp_path: Path
) -> None:
    folder = tmp_path / "agent"
    identity = home.enrol(folder, invitation(ports, services, ports.web))
    lead = lead_of(identity)
    with pytest.raises(Refused, match="sign_in_needed"):
        lead.announce(4, {"filename": "a"}, b"1234")
    lead.close()
    assert Standing(folder, identity, lead_of(identity)).ask(), "whoever runs it starts anew"
    found = home.load(folder)
    assert found is not None
    assert found.url == f"https://127.0.0.1:{ports.agents}"
    lead = lead_of(found)
    assert lead.announce(4, {"filename": "a"}, b"1234").receipts
    lead.close()
    assert not Standing(folder, found, lead_of(found)).ask()


def test_one_that_sends_a_file_and_goes_finds_it_as_well(ports: Ports, services: Services, tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    home.enrol(folder, invitation(ports, services, ports.web))
    (tmp_path / "a").write_bytes(b"1234")
    command = [sys.executable, "-m", "teleread.agent", "--home", str(folder), str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stderr


def test_somebody_else_cannot_lead_an_agent_away(ports: Ports, services: Services, tmp_path: Path) -> None:
    """An impostor at the same address holds no trusted certificate, so its word for another port is not heard."""
    folder = tmp_path / "agent"
    identity = home.enrol(folder, invitation(ports, services, ports.agents))
    with secure(services, tmp_path / "impostor") as (port, _):
        led_astray = KnownLead(f"https://127.0.0.1:{port}", context=identity.context())
        assert not Standing(folder, identity, led_astray).ask()
    assert home.load(folder) == identity


@pytest.mark.parametrize("said", [{}, [], None, {"agent_port": 0}, {"agent_port": "8422"}, {"agent_port": True}])
def test_nonsense_about_the_port_changes_nothing(ports: Ports, services: Services, tmp_path: Path, said: Any) -> None:
    identity = home.enrol(tmp_path / "agent", invitation(ports, services, ports.agents))
    assert home.moved(tmp_path / "agent", identity, said) == identity
    assert home.load(tmp_path / "agent") == identity


def test_both_ports_end_together(services: Services, tmp_path: Path) -> None:
    with both(services, tmp_path / "tls") as running:
        pass
    for port in (running.web, running.agents):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), 5)


def test_a_lead_hospital_that_is_served_says_its_ports_and_starts_with_neither_where_one_is_taken(
    tmp_path: Path,
) -> None:
    web, agents = free_ports(2)
    environment = {
        **os.environ,
        "TELEREAD_HOME": str(tmp_path / "home"),
        "TELEREAD_TLS": "on",
        "TELEREAD_WEB_PORT": str(web),
        "TELEREAD_AGENT_PORT": str(agents),
    }
    LeadHospital(tmp_path / "home")  # its alliance and folders
    serve = [sys.executable, "-m", "teleread", "serve"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", agents))
        taken.listen()
        done = subprocess.run(serve, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 3, done.stderr
        assert str(agents) in done.stderr
    process = subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        assert said[0].startswith("certificate SHA-256")
        assert "localhost" in said[1]
        assert said[2] == f"agents' port {agents}\n"
        ends = time.monotonic() + 60
        while not (_listens(web) and _listens(agents)):
            assert time.monotonic() < ends
            assert process.poll() is None
        assert (asks_for_certificate(web), asks_for_certificate(agents)) == (False, True)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert not _listens(web)
        assert not _listens(agents)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("environment", "port"),
    [
        ({}, 8422),
        ({"TELEREAD_WEB_PORT": "9000"}, 9002),
        ({"TELEREAD_WEB_PORT": "8419"}, 8422),
        ({"TELEREAD_WEB_PORT": "65535"}, 65533),
        ({"TELEREAD_AGENT_PORT": "9443"}, 9443),
    ],
)
def test_the_agents_port_is_two_above_the_persons_unless_it_is_said(environment: dict[str, str], port: int) -> None:
    assert load_settings(environment).agent_port == port


@pytest.mark.parametrize("text", ["0", "-1", "70000", "x"])
def test_an_agents_port_that_is_none_is_named(text: str) -> None:
    with pytest.raises(Misconfigured, match="agent_port"):
        load_settings({"TELEREAD_AGENT_PORT": text})


def test_without_tls_or_with_one_port_for_both_nothing_is_apart() -> None:
    assert serving.agent_port(load_settings({})) is None, "on loopback a token takes the certificate's place"
    assert serving.agent_port(load_settings({"TELEREAD_TLS": "on"})) == 8422
    same = {"TELEREAD_TLS": "on", "TELEREAD_AGENT_PORT": "8420"}
    assert serving.agent_port(load_settings(same)) is None


@pytest.mark.parametrize(
    ("at", "place", "is_warned"),
    [
        ("lead.example", "lead.example:8422", False),
        ("lead.example:9443", "lead.example:9443", False),
        ("lead.example:8420", "lead.example:8420", True),
        ("[2001:db8::1]", "[2001:db8::1]:8422", False),
    ],
)
def test_an_invitation_names_the_agents_port(tmp_path: Path, at: str, place: str, is_warned: bool) -> None:
    hospital = LeadHospital(tmp_path / "home", host="0.0.0.0", web_port="8420")
    command = [sys.executable, "-m", "teleread", "agent", "invite", "riverside-clinic", "PC", "--at", at]
    environment = {**os.environ, **hospital.environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"@{place}#" in done.stdout
    assert ("the persons' port" in done.stdout) is is_warned

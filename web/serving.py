"""The web service on the network: TLS by default off loopback, and what an agent's certificate says to the routes.

Agents have a port of their own: only there is a certificate asked for. A browser that holds one, as many do for other
offices, would otherwise ask its user which to show.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import socket
import ssl
import sys
from asyncio import Transport
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server

from teleread.settings import Settings
from teleread.web import live
from teleread.web.certificates import AgentsTrust, Identity, given_identity, own_identity
from teleread.web.patience import PatientProtocol
from teleread.web.security import CERTIFICATE, OF_AGENTS, is_loopback

log = logging.getLogger(__name__)

_CANNOT_START = 3
_NOT_HERE = {
    "code": "not_found",
    "what": "这个端口只供院点的发送程序使用。 This port is for clinics' agents alone.",
    "lost": "",
    "todo": "请使用网页的地址。 Use the address of the pages.",
}


class CertificateProtocol(PatientProtocol):
    """HTTP over TLS that tells the application which certificate the other side has proved to hold."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """The TLS handshake is over: what it has shown holds for the whole connection."""
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        shown = connection.getpeercert(binary_form=True) if connection is not None else None
        if shown is not None:
            self.app = _Known(self.app, hashlib.sha256(shown).hexdigest())


class _Known:
    def __init__(self, app: ASGIApp, fingerprint: str) -> None:
        self._app = app
        self._fingerprint = fingerprint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, CERTIFICATE: self._fingerprint}, receive, send)


class _OfAgents:
    """The application as agents see it: what is theirs, and enrolment; known by a certificate and nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not str(scope["path"]).startswith(OF_AGENTS):
            answer = JSONResponse({"error": _NOT_HERE}, 404, {"cache-control": "no-store"})
            await answer(scope, receive, send)
            return
        # a browser sends its cookie to every port of a host
        headers = [one for one in scope.get("headers", ()) if one[0] not in {b"cookie", b"authorization"}]
        await self._app({**scope, "headers": headers}, receive, send)


class BothPorts(Server):
    """The persons' port, and beside it the agents': one process and one application, begun and ended together."""

    def __init__(self, config: Config, agents: Config | None = None) -> None:
        super().__init__(config)
        self._agents = agents

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Bind the agents' port first: where it is taken, nothing is begun."""
        if self._agents is None:
            await super().startup(sockets)
            return
        loop, config = asyncio.get_running_loop(), self._agents
        try:
            listening = await loop.create_server(
                self._for_agent,
                host=config.host,
                port=config.port,
                ssl=config.ssl,
                backlog=config.backlog,
                start_serving=False,
            )
        except OSError as error:
            log.error("the agents' port %d cannot be used: %s", config.port, error.strerror)
            sys.exit(_CANNOT_START)
        await super().startup(sockets)
        await listening.start_serving()
        self.servers.append(listening)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the open streams before the requests are waited for."""
        live.ending.set()
        super().handle_exit(sig, frame)

    def _for_agent(self) -> asyncio.Protocol:
        assert self._agents is not None
        made: asyncio.Protocol = self._agents.http_protocol_class(  # type: ignore[call-arg]
            config=self._agents, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def server(config: Config, agent_port: int | None = None, agents: dict[str, Any] | None = None) -> BothPorts:
    """What serves a loaded configuration, on the agents' port as well where there is one.

    Args:
        agents: :func:`tls_options` of the agents' port.
    """
    harden(config)
    if agent_port is None or agents is None:
        return BothPorts(config)
    theirs = Config(
        _OfAgents(config.loaded_app),
        host=config.host,
        port=agent_port,
        log_config=None,
        server_header=False,
        access_log=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        **agents,
    )
    theirs.load()
    harden(theirs)
    return BothPorts(config, theirs)


def tls_options(own: Identity, agents: Identity | None = None) -> dict[str, Any]:
    """Of :class:`uvicorn.Config`: our certificate; where ``agents`` are given, their certificates are asked for and
    checked, never demanded: one that enrols has none.
    """
    ours = {"ssl_certfile": str(own.certificate), "ssl_keyfile": str(own.key)}
    if agents is None:
        return {"http": PatientProtocol, **ours}
    return {
        "http": CertificateProtocol,
        **ours,
        "ssl_ca_certs": str(agents.certificate),
        "ssl_cert_reqs": ssl.CERT_OPTIONAL,
    }


_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # forward secret and authenticated; of TLS 1.3 all are
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME


def harden(config: Config) -> None:
    """TLS 1.2 at the least with ciphers of today; call it when the configuration is loaded."""
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        config.ssl.set_ciphers(_CIPHERS)
        config.ssl.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        # whether an agent's time is over is for the catalogue to say, in words: a handshake that fails looks to the
        # clinic like a broken line, and it would wait for ever
        config.ssl.verify_flags = ssl.VerifyFlags(config.ssl.verify_flags | _NO_CHECK_TIME)


def tls_wanted(settings: Settings) -> bool:
    """Whether the web service speaks TLS itself: by default wherever others than this machine reach it."""
    return settings.tls == "on" or (settings.tls == "auto" and not is_loopback(settings.host))


def identity(settings: Settings, now: datetime, *, renew: bool = False) -> Identity:
    """The certificate that the settings name, else our own.

    Args:
        renew: whether our own gets the names of today. For who serves it: another process may have other settings.

    Raises:
        Misconfigured: ``tls_unusable``.
    """
    if settings.tls_certificate:
        return given_identity(Path(settings.tls_certificate), Path(settings.tls_key))
    return own_identity(settings.home / "tls", settings.host, now, our_names(settings), renew=renew)


def our_names(settings: Settings) -> list[str]:
    """Names and addresses under which others may reach us, beside the one that is listened on."""
    said = [name.strip() for name in settings.tls_names.split(",") if name.strip()]
    if not is_every_address(settings.host):
        return said
    return [*said, socket.gethostname(), *_outward_addresses()]


def _outward_addresses() -> list[str]:
    """This machine's addresses as others see them, as its routes say; nothing is sent for that."""
    found = []
    for family, beyond in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((beyond, 9))
                found.append(str(probe.getsockname()[0]).partition("%")[0])
        except OSError:
            continue
    return found


def agents_trust(settings: Settings, now: datetime) -> AgentsTrust:
    """What agents are told of us.

    Raises:
        Misconfigured: ``tls_unusable``.
    """
    if not tls_wanted(settings):
        return AgentsTrust()
    port = agent_port(settings)
    return AgentsTrust(identity(settings, now).authority, port, None if port is None else settings.web_port)


def agent_port(settings: Settings) -> int | None:
    """Where agents are served; None where that is the persons' port, or without TLS."""
    return settings.agent_port if tls_wanted(settings) and settings.agent_port != settings.web_port else None


def address(settings: Settings) -> str:
    """Where the web service is reached from this machine, ``https://127.0.0.1:8420``."""
    reachable = "127.0.0.1" if is_every_address(settings.host) else settings.host
    return f"{'https' if tls_wanted(settings) else 'http'}://{place(reachable, settings.web_port)}"


def place(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_every_address(host: str) -> bool:
    """Whether it stands for all addresses of this machine, and so is nobody's address."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False

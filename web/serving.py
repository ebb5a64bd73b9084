"""The web service on the network: TLS by default off loopback, and what an agent's certificate says to the routes."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from asyncio import Transport
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config

from teleread.settings import Settings
from teleread.web.certificates import Identity, given_identity, own_identity
from teleread.web.patience import PatientProtocol
from teleread.web.security import CERTIFICATE, is_loopback


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


def tls_options(own: Identity, agents: Identity) -> dict[str, Any]:
    """Of :class:`uvicorn.Config`: our certificate, and agents' certificates asked for and checked, never demanded:
    a browser has none.
    """
    return {
        "http": CertificateProtocol,
        "ssl_certfile": str(own.certificate),
        "ssl_keyfile": str(own.key),
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


def identity(settings: Settings, now: datetime) -> Identity:
    """The certificate that the settings name, else our own.

    Raises:
        Misconfigured: ``tls_unusable``.
    """
    if settings.tls_certificate:
        return given_identity(Path(settings.tls_certificate), Path(settings.tls_key))
    return own_identity(settings.home / "tls", settings.host, now)


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

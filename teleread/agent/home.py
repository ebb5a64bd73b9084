"""Who the agent is and whom it trusts: made once, from the invitation that an operator gave the clinic.

An invitation is one line: ``ABCD-EFGH-JKMN-PQRS@host:port#fingerprint``. The fingerprint is that of the lead hospital's
certificate, and is compared before the code is said; from then on only that certificate is trusted. Without one, the
certificates that this PC trusts decide.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from teleread.agent.disk import read_json, write_json, write_whole
from teleread.agent.lead import LineBroken, Refused

_INVITATION = re.compile(r"([0-9A-Za-z-]{16,24})@([^@#\s]+)(?:#([0-9a-fA-F:]{32,95}))?\Z")
_TIMEOUT_S = 20.0
_ANSWER_BYTES = 1 << 20
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME, which the module has no name for


@dataclass(frozen=True, slots=True)
class Invitation:
    """A one-time code, and where it is good."""

    code: str
    url: str
    fingerprint: str

    @classmethod
    def parse(cls, text: str) -> Invitation:
        """Read the line.

        Raises:
            ValueError: it is none; with a sentence for a person.
        """
        found = _INVITATION.match(text.strip())
        if found is None:
            raise ValueError("An invitation looks like ABCD-EFGH-JKMN-PQRS@host:port#fingerprint.")
        code, place, fingerprint = found.groups()
        host = urlsplit(f"//{place}").hostname or ""
        # plain HTTP only where nobody can listen: a lead hospital that is tried out on this PC
        scheme = "https" if fingerprint or host not in {"localhost", "127.0.0.1", "::1"} else "http"
        return cls(code, f"{scheme}://{place}", (fingerprint or "").replace(":", "").lower())


@dataclass(frozen=True, slots=True)
class Identity:
    """The agent as the lead hospital knows it."""

    url: str
    agent: str
    site: str
    telephone: str
    token: str
    certificate: Path
    trusted: Path | None
    expires_at: str

    @property
    def is_local(self) -> bool:
        """Whether the lead hospital is on this PC and spoken to without TLS."""
        return self.url.startswith("http://")

    def context(self) -> ssl.SSLContext | None:
        """How the lead hospital is spoken to; None without TLS."""
        if self.is_local:
            return None
        context = _trusting(self.trusted)
        context.load_cert_chain(self.certificate)
        return context


def load(folder: Path) -> Identity | None:
    """Who the agent in this folder is; None before it has enrolled."""
    row = read_json(folder / "agent.json")
    if row is None:
        return None
    trusted = folder / "lead.pem" if row.pop("pinned") else None
    return Identity(certificate=folder / "agent.pem", trusted=trusted, **row)


def enrol(folder: Path, invitation: Invitation) -> Identity:
    """Use the invitation up, and keep what came of it.

    Raises:
        LineBroken: the lead hospital is not reached, or shows another certificate (``server_not_trusted``).
        Refused: it does not know the code.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = urlsplit(invitation.url)
    connection, shown = _connect(parts.hostname or "", parts.port, invitation)
    try:
        body = json.dumps({"code": invitation.code})
        connection.request("POST", "/api/agents/enrol", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = _json(answer.read(_ANSWER_BYTES))
    except (OSError, http.client.HTTPException) as error:
        raise LineBroken("line_broken") from error
    finally:
        connection.close()
    if answer.status != 201:
        code = said.get("error", {}).get("code") if isinstance(said, dict) else None
        raise Refused(str(code or f"http_{answer.status}"), answer.status)
    if shown is not None:
        write_whole(folder / "lead.pem", ssl.DER_cert_to_PEM_cert(shown).encode())
    _write_secret(folder / "agent.pem", (said["certificate"] + said["key"]).encode())
    kept = {name: said[name] for name in ("agent", "site", "telephone", "token", "expires_at")}
    write_json(folder / "agent.json", {"url": invitation.url, "pinned": shown is not None, **kept})
    identity = load(folder)
    assert identity is not None
    return identity


def _connect(host: str, port: int | None, invitation: Invitation) -> tuple[http.client.HTTPConnection, bytes | None]:
    """A connection whose other end is who the invitation says, and its certificate where that was compared."""
    if invitation.url.startswith("http://"):
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S), None
    if not invitation.fingerprint:
        context = _trusting(None)
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context), None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # what it shows is compared below, before a word is said
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
    try:
        connection.connect()
    except OSError as error:
        raise LineBroken("line_broken") from error
    assert isinstance(connection.sock, ssl.SSLSocket)
    shown = connection.sock.getpeercert(binary_form=True) or b""
    if not hashlib.sha256(shown).hexdigest().startswith(invitation.fingerprint):
        connection.close()
        raise LineBroken("server_not_trusted")
    return connection, shown


def _trusting(pinned: Path | None) -> ssl.SSLContext:
    if pinned is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # that very certificate and no other: whatever name it is reached by
    context.check_hostname = False
    # nor by which date: a PC whose battery is flat is years off, and its recordings must get through all the same
    context.verify_flags |= _NO_CHECK_TIME
    context.load_verify_locations(pinned)
    return context


def _write_secret(path: Path, data: bytes) -> None:
    write_whole(path, data)
    os.chmod(path, 0o600)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None

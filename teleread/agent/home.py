"""Who the agent is and whom it trusts: made once, from the invitation that an operator gave the clinic.

An invitation is one line: ``ABCD-EFGH-JKMN-PQRS@host:port#fingerprint``. The fingerprint is that of the lead hospital's
certificate, and is compared before the code is said; from then on only that certificate is trusted. Without one, the
certificates that this PC trusts decide.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from teleread.agent.disk import private_folder, read_json, write_json, write_whole
from teleread.agent.lead import LineBroken, Refused

_INVITATION = re.compile(r"([0-9A-Za-z-]{16,24})@([^@#\s]+)(?:#([0-9a-fA-F:]{32,95}))?\Z")
_PEM = re.compile("-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TIMEOUT_S = 20.0
_ANSWER_BYTES = 1 << 20
_NEEDED_BYTES = 64 << 10
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
_KEPT = ("agent", "site", "telephone", "token", "expires_at")


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
        digits = (fingerprint or "").replace(":", "").lower()
        try:
            parts = urlsplit(f"//{place}")
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port = "", None
        if not host or parts.path or port == 0 or (fingerprint is not None and not 32 <= len(digits) <= 64):
            raise ValueError("An invitation looks like ABCD-EFGH-JKMN-PQRS@host:port#fingerprint.")
        # plain HTTP only where nobody can listen: a lead hospital that is tried out on this PC
        scheme = "https" if fingerprint or host not in _LOOPBACK else "http"
        return cls(code, f"{scheme}://{place}", digits)


@dataclass(frozen=True, slots=True)
class Identity:
    """The agent as the lead hospital knows it."""

    url: str
    agent: str
    site: str
    telephone: str
    token: str = field(repr=False)
    certificate: Path
    trusted: Path | None
    expires_at: str
    page_port: int | None = None

    @property
    def page_url(self) -> str:
        """Where a person reaches the lead hospital's pages."""
        if self.page_port is None:
            return self.url
        host = urlsplit(self.url).hostname or ""
        return f"https://{_place(host, self.page_port)}"

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


class QueueElsewhere(Exception):
    """What waits here was meant for another place than the one that is to be enrolled at."""


def is_elsewhere(known: Identity, invitation: Invitation) -> bool:
    """Whether an invitation leads to another lead hospital than the one that this PC is enrolled at: another host, and
    not the certificate that is trusted here. On loopback several may be tried out, so there the port counts as well.
    """
    here, there = urlsplit(known.url), urlsplit(invitation.url)
    same_port = here.port == there.port or here.hostname not in _LOOPBACK
    if here.hostname == there.hostname and same_port:
        return False
    if not invitation.fingerprint or known.trusted is None:
        return True
    return not any(_sha256(one).startswith(invitation.fingerprint) for one in _shown_by(known.trusted))


def enrol(folder: Path, invitation: Invitation, *, queue_goes_along: bool = True) -> Identity:
    """Use the invitation up, and keep what came of it.

    Args:
        queue_goes_along: False where something waits to be sent that must not go to another place or for another site.

    Raises:
        LineBroken: the lead hospital is not reached, or shows another certificate (``server_not_trusted``).
        Refused: it does not know the code.
        QueueElsewhere: nothing was kept; where it is another site, the invitation is used up.
    """
    before = load(folder)
    if not queue_goes_along and before is not None and is_elsewhere(before, invitation):
        raise QueueElsewhere
    private_folder(folder)
    # a code is good once: what could not be kept afterwards is found out before it is said
    write_whole(folder / "agent.probe", b"\0" * _NEEDED_BYTES)
    (folder / "agent.probe").unlink()
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
    if not isinstance(said, dict) or not all(isinstance(said.get(one), str) for one in (*_KEPT, "certificate", "key")):
        raise LineBroken("answer_not_understood")
    if not queue_goes_along and before is not None and said["site"] != before.site:
        raise QueueElsewhere
    if shown is not None:
        # whoever signed it outlives the certificate; what was shown stays known, so that an invitation can be compared
        authority = said["trusted"] if isinstance(said.get("trusted"), str) else ""
        write_whole(folder / "lead.pem", (authority + ssl.DER_cert_to_PEM_cert(shown)).encode())
    write_whole(folder / "agent.pem", (said["certificate"] + said["key"]).encode())
    kept = {name: said[name] for name in _KEPT} | {"page_port": _port(said.get("web_port"))}
    write_json(folder / "agent.json", {"url": invitation.url, "pinned": shown is not None, **kept})
    identity = load(folder)
    assert identity is not None
    return identity


def renewed(folder: Path, identity: Identity, said: Any) -> Identity:
    """Keep the certificate that the lead hospital gave in place of one that ends soon.

    Raises:
        LineBroken: ``answer_not_understood``.
    """
    if not isinstance(said, dict) or not all(isinstance(said.get(one), str) for one in ("certificate", "key")):
        raise LineBroken("answer_not_understood")
    write_whole(folder / "agent.pem", (said["certificate"] + said["key"]).encode())
    return told(folder, identity, said)


def told(folder: Path, identity: Identity, said: Any) -> Identity:
    """Keep what the lead hospital says of itself and of us, where it is another than we know."""
    news: dict[str, Any] = {name: said[name] for name in ("telephone", "expires_at") if isinstance(said.get(name), str)}
    if "web_port" in said:
        news["page_port"] = _port(said["web_port"])
    if all(getattr(identity, name) == text for name, text in news.items()):
        return identity
    row = read_json(folder / "agent.json")
    if isinstance(row, dict):
        write_json(folder / "agent.json", {**row, **news})
    return replace(identity, **news)


def moved(folder: Path, identity: Identity, said: Any) -> Identity:
    """Keep at which port the lead hospital asks for agents' certificates, where that is another than we know.

    Args:
        said: what whoever holds the trusted certificate answers to ``/api/agents/place``.
    """
    port = _port(said.get("agent_port")) if isinstance(said, dict) else None
    parts, row = urlsplit(identity.url), read_json(folder / "agent.json")
    if port is None or port == parts.port or identity.is_local or not isinstance(row, dict):
        return identity
    url = f"{parts.scheme}://{_place(parts.hostname or '', port)}"
    page_port = _port(said.get("web_port"))
    write_json(folder / "agent.json", {**row, "url": url, "page_port": page_port})
    return replace(identity, url=url, page_port=page_port)


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _port(said: Any) -> int | None:
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 < said < 65536 else None


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
    context.load_verify_locations(pinned)
    # it may be signed by an authority that we do not hold, and a PC whose clock is wrong must send all the same
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    return context


def _shown_by(trusted: Path) -> list[bytes]:
    """Certificates of the lead hospital that this PC knows, as DER."""
    text = trusted.read_text(encoding="ascii", errors="replace")
    return [base64.b64decode("".join(one.split())) for one in _PEM.findall(text)]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None

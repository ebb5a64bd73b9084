"""Writing to a contact outside of teleread: a webhook or an e-mail, within a few seconds or not at all.

Where to is said by the rules file alone, never by a request. Nothing that leaves says more of a patient than the
receipt number and the codes of what was found. Never called inside a database transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from typing import Any
from urllib.parse import SplitResult, urlsplit

from teleread.reading_room import Contact
from teleread.storage.vault import KeyRing

TIMEOUT_S = 3.0
"""For all of it: name, connection, handshake and answer."""
DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class Telling:
    """How messages leave.

    Args:
        smtp_host: mail server; empty: none, and e-mail addresses are of no use.
        smtp_port: of it.
        sender: address that messages come from.
        public_url: of this installation, for links; empty: messages hold none.
        loopback: whether this machine itself may be written to, without TLS: for exercises and tests.
        timeout_s: for one message.
    """

    smtp_host: str = ""
    smtp_port: int = 587
    sender: str = ""
    public_url: str = ""
    loopback: bool = False
    timeout_s: float = TIMEOUT_S
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)


@dataclass(frozen=True, slots=True)
class Message:
    """What a contact is told: ``kind`` is ``critical`` or ``test``."""

    kind: str
    id: str
    receipt: str
    codes: tuple[str, ...]
    found_at: datetime
    telephone: str

    def facts(self, telling: Telling) -> dict[str, Any]:
        """As JSON values."""
        found = {
            "event": self.kind,
            "id": self.id,
            "receipt": self.receipt,
            "codes": list(self.codes),
            "found_at": self.found_at.isoformat(timespec="seconds"),
            "telephone": self.telephone,
        }
        link = self.link(telling)
        return found | ({"link": link} if link else {})

    def link(self, telling: Telling) -> str:
        """The receipt's page; who opens it signs in."""
        if not telling.public_url or not self.receipt:
            return ""
        return f"{telling.public_url.rstrip('/')}/receipts/{self.receipt}"


def send(contact: Contact, channel: str, message: Message, telling: Telling, key: bytes, at: datetime) -> str:
    """Write to a contact; returns ``delivered`` or a stable word for why not. Never raises for what a peer does.

    Args:
        key: that this contact's webhook is signed with (:func:`webhook_key`).
    """
    try:
        if channel == "webhook":
            return _post(contact.webhook, message, telling, key, at)
        if channel == "email":
            return _mail(contact.email, message, telling)
    except ssl.SSLError:
        return "tls_failed"
    except TimeoutError:
        return "timeout"
    except (smtplib.SMTPException, http.client.HTTPException, UnicodeError):
        return "not_taken"
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "unreachable"
    return "no_channel"


def webhook_key(ring: KeyRing, contact_id: str) -> bytes:
    """What a contact's webhook is signed with; its receiver is given it once (``teleread contacts key``)."""
    return ring.derive(f"webhook {contact_id}")


def signature(key: bytes, body: bytes, at: datetime) -> str:
    """The header ``Teleread-Signature``: time in Unix seconds, and HMAC-SHA256 (RFC 2104) of "time.body" in hex."""
    seconds = str(int(at.timestamp()))
    mac = hmac.new(key, seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={mac}"


def is_sound(key: bytes, body: bytes, header: str, now: datetime, within_s: float = 300.0) -> bool:
    """Whether a webhook was signed with this key, lately: what a receiver checks."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    seconds = parts.get("t", "")
    if not seconds.isdigit() or abs(now.timestamp() - int(seconds[:12])) > within_s:
        return False
    expected = signature(key, body, datetime.fromtimestamp(int(seconds[:12]), now.tzinfo))
    return hmac.compare_digest(expected, header)


def _post(url: str, message: Message, telling: Telling, key: bytes, at: datetime) -> str:
    target = urlsplit(url)
    refused = _refused(target, telling)
    if refused:
        return refused
    body = json.dumps(message.facts(telling), ensure_ascii=False, sort_keys=True).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "teleread",
        "Teleread-Signature": signature(key, body, at),
        # the same message again carries the same key, so that a receiver can tell
        "Idempotency-Key": message.id,
        "Connection": "close",
    }
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    with _deadline(telling.timeout_s) as held:
        connection = _open(target, telling, held)
        try:
            connection.request("POST", path, body, headers)
            status = connection.getresponse().status  # a redirect is an answer like another, and is not followed
        finally:
            connection.close()
    return DELIVERED if 200 <= status < 300 else f"answered_{status}"


def _refused(target: SplitResult, telling: Telling) -> str | None:
    """Why an address is not written to: it names a user, no host, no TLS, or this machine."""
    try:
        port = target.port
    except ValueError:
        return "address_invalid"
    host = target.hostname
    if not host or target.username or target.password or port == 0 or target.scheme not in {"https", "http"}:
        return "address_invalid"
    if target.scheme == "http" and not (telling.loopback and _is_own(host)):
        return "address_without_tls"
    return None


def _open(target: SplitResult, telling: Telling, held: _Held) -> http.client.HTTPConnection:
    host, tls = str(target.hostname), target.scheme == "https"
    raw = _connect(host, target.port or (443 if tls else 80), telling, held)
    connection = http.client.HTTPConnection(host, target.port, timeout=telling.timeout_s)
    if tls:
        raw = telling.tls.wrap_socket(raw, server_hostname=host)
        held.socket = raw
        if target.port is None:
            connection = http.client.HTTPConnection(host, 443, timeout=telling.timeout_s)
    connection.sock = raw
    return connection


def _connect(host: str, port: int, telling: Telling, held: _Held) -> socket.socket:
    """A connection to the address that was looked at, so that a name cannot mean another one a moment later.

    Raises:
        OSError: there is none, or it is this machine or the link's own.
    """
    failure: OSError = OSError("no address")
    for family, kind, protocol, _name, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if (ip.is_loopback and not telling.loopback) or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
            continue
        raw = socket.socket(family, kind, protocol)
        raw.settimeout(telling.timeout_s)
        held.socket = raw
        try:
            raw.connect(address)
        except OSError as error:
            failure = error
            raw.close()
            continue
        return raw
    raise failure


def _mail(address: str, message: Message, telling: Telling) -> str:
    if not telling.smtp_host or not telling.sender:
        return "no_mail_server"
    mail = EmailMessage()
    mail["From"], mail["To"] = telling.sender, address
    mail["Subject"] = _SUBJECTS[message.kind].format(receipt=message.receipt)
    mail["Message-ID"] = f"<{message.id}@teleread>"
    mail.set_content(_TEXTS[message.kind].format(**_words(message, telling)))
    with _deadline(telling.timeout_s) as held:
        raw = _connect(telling.smtp_host, telling.smtp_port, Telling(loopback=True, timeout_s=telling.timeout_s), held)
        own = _is_own(str(raw.getpeername()[0]))
        with _Smtp(raw, telling.smtp_host, telling.timeout_s) as server:
            server.ehlo_or_helo_if_needed()
            if server.has_extn("starttls"):
                server.starttls(context=telling.tls)
                held.socket = server.sock
            elif not (own and telling.loopback):
                return "tls_failed"  # what goes to a mail server goes encrypted or not at all
            server.send_message(mail)
    return DELIVERED


# one mail for whoever reads it: the language of a mailbox is not known
_SUBJECTS: Mapping[str, str] = {
    "critical": "危急值 / Critical result: {receipt}",
    "test": "联系方式测试 / Contact test: teleread",
}
_TEXTS: Mapping[str, str] = {
    "critical": (
        "危急值，请立即查看。回执号 {receipt}\n{link}\n如无法打开页面，请立即致电 {telephone}。\n\n"
        "A critical result: look at once. Receipt number {receipt}\n{link}\n"
        "If the page does not open, telephone {telephone} now.\n"
    ),
    "test": (
        "这是每月一次的联系方式测试，无需处理。\n\nThis is the monthly test of this address. Nothing is to be done.\n"
    ),
}


def _words(message: Message, telling: Telling) -> dict[str, str]:
    return {"receipt": message.receipt, "link": message.link(telling), "telephone": message.telephone}


def _is_own(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Smtp(smtplib.SMTP):
    """Speaks over a connection that is there already."""

    def __init__(self, raw: socket.socket, host: str, timeout_s: float) -> None:
        self._raw = raw
        super().__init__(timeout=timeout_s)
        self._host = host  # the name that its certificate must bear
        code, _answer = self.connect(host)
        if code != 220:
            self.close()
            raise smtplib.SMTPConnectError(code, "not ready")

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._raw


@dataclass(slots=True)
class _Held:
    """The connection that the deadline closes."""

    socket: socket.socket | None = None
    late: bool = False


@contextmanager
def _deadline(seconds: float) -> Iterator[_Held]:
    """Close the connection at a time, whatever trickles through it: a peer that answers a byte at a time is silent.

    Raises:
        TimeoutError: it was closed.
    """
    held = _Held()

    def close() -> None:
        held.late = True
        if held.socket is not None:
            with suppress(OSError):
                held.socket.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, close)
    timer.daemon = True
    timer.start()
    try:
        yield held
    except (OSError, smtplib.SMTPException, http.client.HTTPException):
        if held.late:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()

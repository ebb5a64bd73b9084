"""Writing to contacts: what leaves says receipt and codes and no more, and no peer holds anybody up."""

from __future__ import annotations

import json
import ssl
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from teleread.pipeline.tell import Message, Telling, is_sound, send, signature
from teleread.reading_room import Contact
from teleread.web import certificates
from tests.outside import mail_server, webhook

AT = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
KEY = b"k" * 32
MESSAGE = Message("critical", "c1.0", "AAAA-BBBB-CCCC", ("st_elevation_inferior",), AT, "0571-0")
HERE = Telling(loopback=True, timeout_s=0.4, public_url="https://teleread.example")


def contact(webhook: str = "", email: str = "") -> Contact:
    return Contact("v1", "village", "First Nurse", date(2026, 1, 1), webhook=webhook, email=email)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's side and a client's that trusts it."""
    made = certificates.own_identity(tmp_path, "127.0.0.1", datetime.now(UTC))  # a peer goes by the real clock
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.certificate, made.key)
    return server, ssl.create_default_context(cafile=str(made.certificate))


def test_a_webhook_gets_receipt_and_codes_signed(capsys: pytest.CaptureFixture[str]) -> None:
    with webhook("ok") as peer:
        assert send(contact(webhook=peer.url), "webhook", MESSAGE, HERE, KEY, AT) == "delivered"
    head, _, body = peer.taken[0][1].partition(b"\r\n\r\n")
    assert json.loads(body) == {
        "event": "critical",
        "id": "c1.0",
        "receipt": "AAAA-BBBB-CCCC",
        "codes": ["st_elevation_inferior"],
        "found_at": "2026-11-01T02:00:00+00:00",
        "telephone": "0571-0",
        "link": "https://teleread.example/receipts/AAAA-BBBB-CCCC",
    }
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert is_sound(KEY, body, headers["Teleread-Signature"], AT)
    assert headers["Idempotency-Key"] == "c1.0"


def test_a_signature_is_good_for_this_body_this_key_and_now() -> None:
    header = signature(KEY, b"{}", AT)
    assert is_sound(KEY, b"{}", header, AT)
    assert not is_sound(KEY, b"{ }", header, AT)
    assert not is_sound(b"j" * 32, b"{}", header, AT)
    assert not is_sound(KEY, b"{}", header, AT + timedelta(minutes=6))
    for bad in ("", "v1=x", "t=,v1=", "t=9999999999999999999,v1=x", header.replace("v1=", "v1=0")):
        assert not is_sound(KEY, b"{}", bad, AT)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("fails", "answered_500"),
        ("redirects", "answered_307"),
        ("hangs", "timeout"),
        ("trickles", "timeout"),
        ("refuses", "refused"),
    ],
)
def test_what_a_webhook_does_is_said_and_holds_nobody_up(kind: str, outcome: str) -> None:
    with webhook(kind) as peer:
        assert send(contact(webhook=peer.url), "webhook", MESSAGE, HERE, KEY, AT) == outcome
    assert len(peer.taken) <= 1  # no redirect was followed


@pytest.mark.parametrize(
    ("url", "outcome"),
    [
        ("http://10.0.0.1/hook", "address_without_tls"),
        ("http://localhost.example/hook", "address_without_tls"),
        ("https://user:secret@clinic.example/", "address_invalid"),
        ("file:///etc/passwd", "address_invalid"),
        ("https://", "address_invalid"),
        ("https://clinic.example:99999/", "address_invalid"),
        ("https://169.254.169.254/latest", "unreachable"),
        ("https://[::]/", "unreachable"),
        ("https://224.0.0.1/", "unreachable"),
    ],
)
def test_addresses_that_are_never_written_to(url: str, outcome: str) -> None:
    assert send(contact(webhook=url), "webhook", MESSAGE, HERE, KEY, AT) == outcome


def test_this_machine_is_not_written_to_outside_of_an_exercise() -> None:
    strict = replace(HERE, loopback=False)
    with webhook("ok") as peer:
        assert send(contact(webhook=peer.url), "webhook", MESSAGE, strict, KEY, AT) == "address_without_tls"
        address = peer.url.replace("http:", "https:")
        assert send(contact(webhook=address), "webhook", MESSAGE, strict, KEY, AT) == "unreachable"
    assert peer.taken == []


def test_a_webhook_behind_tls_is_trusted_or_not_written_to(certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, trusting = certificate
    with webhook("ok", server) as peer:
        assert send(contact(webhook=peer.url), "webhook", MESSAGE, HERE, KEY, AT) == "tls_failed"
        trusted = replace(HERE, tls=trusting, timeout_s=5.0)
        assert send(contact(webhook=peer.url), "webhook", MESSAGE, trusted, KEY, AT) == "delivered"
    assert len(peer.taken) == 1


def mailing(port: int, **more: object) -> Telling:
    return replace(HERE, smtp_host="127.0.0.1", smtp_port=port, sender="teleread@alliance.example", **more)  # type: ignore[arg-type]


def test_a_mail_says_receipt_and_link_in_both_languages() -> None:
    with mail_server("ok") as peer:
        assert send(contact(email="n@x.example"), "email", MESSAGE, mailing(peer.port), KEY, AT) == "delivered"
    mail = message_from_bytes(peer.taken[0][1], policy=policy.default)
    text = mail.get_content()
    assert "AAAA-BBBB-CCCC" in mail["Subject"]
    assert text.count("https://teleread.example/receipts/AAAA-BBBB-CCCC") == 2
    assert "危急值" in text
    assert "st_elevation" not in text  # a mail server is not the clinic
    assert "First Nurse" not in mail.as_string()


@pytest.mark.parametrize(("kind", "outcome"), [("fails", "not_taken"), ("hangs", "timeout"), ("refuses", "refused")])
def test_what_a_mail_server_does_is_said(kind: str, outcome: str) -> None:
    with mail_server(kind) as peer:
        assert send(contact(email="n@x.example"), "email", MESSAGE, mailing(peer.port), KEY, AT) == outcome


def test_mail_goes_encrypted_or_not_at_all(certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, trusting = certificate
    with mail_server("ok") as plain:
        telling = mailing(plain.port, loopback=False)
        assert send(contact(email="n@x.example"), "email", MESSAGE, telling, KEY, AT) == "tls_failed"
    with mail_server("ok", server) as peer:
        telling = mailing(peer.port, loopback=False, timeout_s=5.0)
        assert send(contact(email="n@x.example"), "email", MESSAGE, telling, KEY, AT) == "tls_failed"
        assert peer.taken == []
        trusted = replace(telling, tls=trusting)
        assert send(contact(email="n@x.example"), "email", MESSAGE, trusted, KEY, AT) == "delivered"
    assert len(peer.taken) == 1
    assert plain.taken == []


def test_without_a_mail_server_it_says_so() -> None:
    assert send(contact(email="n@x.example"), "email", MESSAGE, HERE, KEY, AT) == "no_mail_server"
    assert send(contact(), "pigeon", MESSAGE, HERE, KEY, AT) == "no_channel"

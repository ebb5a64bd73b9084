"""The lead hospital's own certificate takes new names when they change, and no agent notices."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from teleread.agent import home
from teleread.agent.lead import Lead
from teleread.errors import Misconfigured
from teleread.pipeline.services import Services
from teleread.settings import load_settings
from teleread.web import certificates, serving
from teleread.web.certificates import Identity, names_of, own_identity
from tests.unit.test_agents import invitation, invited, secure

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def greets(identity: Identity, client: ssl.SSLContext, name: str | None = None) -> bool:
    """Whether a client that trusts as its context says takes the server for who it wants."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(identity.certificate, identity.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    try:
        for _ in range(4):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLError:
        return False
    return ends[0].version() is not None


def pinned(folder: Path, text: str) -> ssl.SSLContext:
    """What an agent that keeps this as ``lead.pem`` trusts."""
    (folder / "lead.pem").write_text(text)
    return home._trusting(folder / "lead.pem")


def browser(identity: Identity) -> ssl.SSLContext:
    """A browser that was given our authority, as strict as any."""
    context = ssl.create_default_context(cadata=identity.authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def test_it_holds_the_names_that_it_is_reached_by(tmp_path: Path) -> None:
    own = own_identity(tmp_path, "0.0.0.0", datetime.now(UTC), ["lead.example", "10.0.0.5", "", "bad name", "::"])
    assert names_of(own.certificate) == ["lead.example", "10.0.0.5", "localhost", "127.0.0.1", "::1"]
    for name, is_ours in (("lead.example", True), ("10.0.0.5", True), ("localhost", True), ("other.example", False)):
        assert greets(own, browser(own), name) is is_ours, name


def test_it_stays_while_its_names_are_enough(tmp_path: Path) -> None:
    own = own_identity(tmp_path, "0.0.0.0", NOW, ["lead.example", "old.example"])
    assert own_identity(tmp_path, "0.0.0.0", NOW, ["lead.example"]) == own
    assert own_identity(tmp_path, "lead.example", NOW + timedelta(days=300)) == own


def test_a_new_name_makes_it_anew_with_the_same_key_under_the_same_authority(tmp_path: Path) -> None:
    old = own_identity(tmp_path, "0.0.0.0", NOW, ["lead.example"])
    key = old.key.read_bytes()
    new = own_identity(tmp_path, "0.0.0.0", NOW, ["lead.example", "new.example"])
    assert "new.example" in names_of(new.certificate)
    assert new.fingerprint != old.fingerprint, "invitations that were not used yet are made anew"
    assert (new.key.read_bytes(), new.authority) == (key, old.authority)


def test_who_does_not_serve_does_not_change_it(tmp_path: Path) -> None:
    own = own_identity(tmp_path, "0.0.0.0", NOW, ["lead.example"])
    assert own_identity(tmp_path, "127.0.0.1", NOW, ["other.example"], renew=False) == own


def test_it_is_renewed_when_its_time_is_half_over(tmp_path: Path) -> None:
    old = own_identity(tmp_path, "0.0.0.0", NOW)
    new = own_identity(tmp_path, "0.0.0.0", NOW + timedelta(days=400))
    assert (new.fingerprint != old.fingerprint, new.authority) == (True, old.authority)


@pytest.mark.parametrize("harm", ["shown.pem", "shown.key"])
def test_one_that_is_lost_is_made_anew_under_the_same_authority(tmp_path: Path, harm: str) -> None:
    old = own_identity(tmp_path, "0.0.0.0", NOW)
    (tmp_path / harm).unlink()
    new = own_identity(tmp_path, "0.0.0.0", NOW, renew=False)
    assert new.authority == old.authority
    assert greets(new, pinned(tmp_path, old.authority))


def test_one_that_the_disk_has_damaged_is_made_anew(tmp_path: Path) -> None:
    old = own_identity(tmp_path, "0.0.0.0", NOW)
    old.certificate.write_text("nonsense")
    assert greets(own_identity(tmp_path, "0.0.0.0", NOW), pinned(tmp_path, old.authority))


def test_an_authority_without_its_key_is_said(tmp_path: Path) -> None:
    own_identity(tmp_path, "0.0.0.0", NOW)
    (tmp_path / "server.key").unlink()
    with pytest.raises(Misconfigured, match="certificate"):
        own_identity(tmp_path, "0.0.0.0", NOW, ["new.example"])


def test_nobody_else_reads_a_key(tmp_path: Path) -> None:
    own_identity(tmp_path, "0.0.0.0", NOW)
    for path in tmp_path.glob("*.key"):
        assert path.stat().st_mode & 0o077 == 0


def of_before(folder: Path, host: str) -> str:
    """An installation whose certificate signed itself and was shown itself, as all were; gives that certificate."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"teleread {host}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    (folder / "server.pem").write_text(pem(certificate))
    (folder / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem(certificate)


def test_agents_that_trust_a_certificate_of_before_trust_what_it_signs(tmp_path: Path) -> None:
    kept = of_before(tmp_path / "tls", "0.0.0.0")
    own = own_identity(tmp_path / "tls", "0.0.0.0", datetime.now(UTC), ["new.example"])
    assert greets(own, pinned(tmp_path, kept))
    assert not greets(own_identity(tmp_path / "other", "0.0.0.0", datetime.now(UTC)), pinned(tmp_path, kept))


def test_the_twin_that_signs_itself_anew_with_the_same_key_is_trusted_by_no_agent(tmp_path: Path) -> None:
    kept = of_before(tmp_path / "tls", "0.0.0.0")
    signer = x509.load_pem_x509_certificate(kept.encode())
    key = certificates._elliptic(tmp_path / "tls" / "server.key")
    again = certificates._self_signed(key, "teleread 0.0.0.0", datetime.now(UTC))
    assert again.subject == signer.subject
    (tmp_path / "twin.pem").write_text(pem(again))
    twin = certificates.given_identity(tmp_path / "twin.pem", tmp_path / "tls" / "server.key")
    assert not greets(twin, pinned(tmp_path, kept))


def test_an_enrolled_agent_goes_on_after_the_names_have_changed(services: Services, tmp_path: Path) -> None:
    with secure(services, tmp_path / "tls") as before:
        identity = home.enrol(tmp_path / "agent", invitation(before, invited(services)))
    now = services.clock()
    assert own_identity(tmp_path / "tls", "0.0.0.0", now, ["new.example"]).fingerprint != before[1].fingerprint
    with secure(services, tmp_path / "tls", renew=False) as (port, own):
        assert "new.example" in names_of(own.certificate)
        lead = Lead(f"https://127.0.0.1:{port}", context=identity.context())
        assert lead.announce(4, {"filename": "a"}, b"1234").receipts
        lead.close()


def test_the_names_come_from_the_settings_and_from_this_machine() -> None:
    said = {"TELEREAD_TLS_NAMES": "lead.example, 203.0.113.7"}
    assert serving.our_names(load_settings({**said, "TELEREAD_HOST": "10.0.0.5"})) == ["lead.example", "203.0.113.7"]
    everywhere = serving.our_names(load_settings({**said, "TELEREAD_HOST": "0.0.0.0"}))
    assert everywhere[:2] == ["lead.example", "203.0.113.7"]
    assert len(everywhere) > 2

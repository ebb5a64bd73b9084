"""The web service's own certificate, and the authority that signs those of clinics' agents.

Both are made at the first start where none is given. A self-signed certificate is worth what its fingerprint is
compared with: it is printed at the start and goes with each invitation.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from teleread.errors import Misconfigured

_OWN_VALID_FOR = timedelta(days=3650)
_BACKDATED = timedelta(hours=24)  # clinics' clocks are wrong


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, as files.

    Args:
        fingerprint: SHA-256 of the certificate's DER bytes, 64 lower-case hexadecimal digits.
    """

    certificate: Path
    key: Path
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate with its key, as PEM text; the key is kept nowhere."""

    certificate_pem: str
    key_pem: str
    fingerprint: str
    expires_at: datetime


def own_identity(folder: Path, host: str, now: datetime) -> Identity:
    """The web service's certificate, self-signed for ``host``; made when there is none.

    Raises:
        Misconfigured: ``tls_unusable``.
    """
    return _kept(folder / "server", f"teleread {host}", now, host=host)


def agents_authority(folder: Path, now: datetime) -> Identity:
    """Who signs agents' certificates; made when there is none.

    Raises:
        Misconfigured: ``tls_unusable``.
    """
    return _kept(folder / "agents", "teleread agents", now, host=None)


def issue(authority: Identity, agent_id: str, site_id: str, now: datetime, valid_for: timedelta) -> Issued:
    """A certificate for an agent, which binds it to its site."""
    signer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    signing_key = serialization.load_pem_private_key(authority.key.read_bytes(), None)
    if not isinstance(signing_key, ec.EllipticCurvePrivateKey):
        raise Misconfigured("tls_unusable", "The agents' authority has a key of another kind.")
    key = ec.generate_private_key(ec.SECP256R1())
    expires_at = now + valid_for
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, agent_id)]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(expires_at)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"teleread://{site_id}/{agent_id}")]),
            critical=False,
        )
        .sign(signing_key, hashes.SHA256())
    )
    return Issued(_pem(certificate), _key_pem(key), _fingerprint(certificate), expires_at)


def fingerprint_words(fingerprint: str) -> str:
    """The fingerprint in pairs, to be compared by eye."""
    return ":".join(fingerprint[at : at + 2] for at in range(0, len(fingerprint), 2)).upper()


def given_identity(certificate: Path, key: Path) -> Identity:
    """A certificate that the hospital has from elsewhere.

    Raises:
        Misconfigured: ``tls_unusable``.
    """
    try:
        return Identity(certificate, key, _fingerprint(x509.load_pem_x509_certificate(certificate.read_bytes())))
    except (OSError, ValueError) as error:
        raise Misconfigured("tls_unusable", "The certificate or its key cannot be read.") from error


def _kept(place: Path, name: str, now: datetime, *, host: str | None) -> Identity:
    certificate_file, key_file = place.with_suffix(".pem"), place.with_suffix(".key")
    try:
        if not certificate_file.exists():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            key = ec.generate_private_key(ec.SECP256R1())
            # the key first: a certificate that is there has its key
            _write(key_file, _key_pem(key))
            _write(certificate_file, _pem(_self_signed(key, name, now, host)))
    except OSError as error:
        raise Misconfigured("tls_unusable", "The certificate cannot be written.") from error
    return given_identity(certificate_file, key_file)


def _self_signed(key: ec.EllipticCurvePrivateKey, name: str, now: datetime, host: str | None) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _OWN_VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(_alternatives(host)), critical=False)
    return builder.sign(key, hashes.SHA256())


def _alternatives(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return [x509.DNSName(host), *names]
    return names if address.is_unspecified or address.is_loopback else [x509.IPAddress(address), *names]


def _write(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".part")
    with open(draft, "w", encoding="ascii", opener=_private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def _fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

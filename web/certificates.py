"""The web service's own certificate, and the authority that signs those of clinics' agents.

All are made at the first start where none is given. ``server.pem`` is an authority of our own that signs one thing, the
certificate that is shown (``shown.pem``). That one holds our names and is made anew when they change; agents trust the
authority, which stays, so they never notice. It is worth what its fingerprint is compared with: that is printed at the
start and goes with each invitation.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from teleread.errors import Misconfigured

_OWN_VALID_FOR = timedelta(days=3650)
_SHOWN_VALID_FOR = timedelta(days=730)
_SHOWN_RENEWED_BEFORE = timedelta(days=365)  # looked at when the service starts, which may be seldom
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_BACKDATED = timedelta(hours=24)  # clinics' clocks are wrong


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, as files.

    Args:
        certificate: PEM; behind it, where we signed it ourselves, the authority.
        fingerprint: SHA-256 of the certificate's DER bytes, 64 lower-case hexadecimal digits.
        authority: who signed it, as PEM text, where that is ourselves: it outlives the certificate. Else empty.
    """

    certificate: Path
    key: Path
    fingerprint: str
    authority: str = ""


@dataclass(frozen=True, slots=True)
class AgentsTrust:
    """What an agent is told of us.

    Args:
        authority: PEM text of whom it trusts from then on; empty: the very certificate that it was shown.
        agent_port, web_port: where agents and persons are served; None where that is one and the same.
    """

    authority: str = ""
    agent_port: int | None = None
    web_port: int | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate with its key, as PEM text; the key is kept nowhere."""

    certificate_pem: str
    key_pem: str
    fingerprint: str
    expires_at: datetime


def own_identity(folder: Path, host: str, now: datetime, names: Sequence[str] = (), *, renew: bool = True) -> Identity:
    """The web service's certificate, signed by an authority of ours; made when there is none.

    Args:
        host: the address that is listened on.
        names: others under which we are reached: host names and addresses.
        renew: whether it is made anew when it lacks one of these names or its time is half over. Its key stays, and so
            does what agents trust; its fingerprint is another one then.

    Raises:
        Misconfigured: ``tls_unusable``.
    """
    authority = _kept(folder / "server", f"teleread {host}", now)
    certificate_file, key_file = folder / "shown.pem", folder / "shown.key"
    wanted = _alternatives([host, *names])
    try:
        signer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
        if not _is_good(certificate_file, key_file, signer, wanted if renew else None, now):
            key = _own_key(key_file)
            shown = _shown(key, signer, _signing_key(authority), wanted, now)
            _write(key_file, _key_pem(key))
            _write(certificate_file, _pem(shown) + _pem(signer))
    except OSError as error:
        raise Misconfigured("tls_unusable", "The certificate cannot be written.") from error
    except ValueError as error:
        raise Misconfigured("tls_unusable", "The certificate or its key cannot be read.") from error
    return replace(given_identity(certificate_file, key_file), authority=_pem(signer))


def names_of(certificate: Path) -> list[str]:
    """The names and addresses for which a certificate is good."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return []
    return [str(one.value) for one in held]


def agents_authority(folder: Path, now: datetime) -> Identity:
    """Who signs agents' certificates; made when there is none.

    Raises:
        Misconfigured: ``tls_unusable``.
    """
    return _kept(folder / "agents", "teleread agents", now)


def issue(authority: Identity, agent_id: str, site_id: str, now: datetime, valid_for: timedelta) -> Issued:
    """A certificate for an agent, which binds it to its site."""
    signer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    signing_key = _signing_key(authority)
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


def _kept(place: Path, name: str, now: datetime) -> Identity:
    certificate_file, key_file = place.with_suffix(".pem"), place.with_suffix(".key")
    try:
        if not certificate_file.exists():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            key = ec.generate_private_key(ec.SECP256R1())
            # the key first: a certificate that is there has its key
            _write(key_file, _key_pem(key))
            _write(certificate_file, _pem(_self_signed(key, name, now)))
    except OSError as error:
        raise Misconfigured("tls_unusable", "The certificate cannot be written.") from error
    return given_identity(certificate_file, key_file)


def _self_signed(key: ec.EllipticCurvePrivateKey, name: str, now: datetime) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _OWN_VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _shown(
    key: ec.EllipticCurvePrivateKey,
    signer: x509.Certificate,
    signing_key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    now: datetime,
) -> x509.Certificate:
    # another subject than the signer's: with the same one it would count as self-signed, and as an impostor of it
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "teleread web service")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _SHOWN_VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signing_key, hashes.SHA256())
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Either it signs certificates or it proves who we are."""
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _is_good(
    certificate: Path, key: Path, signer: x509.Certificate, names: Sequence[x509.GeneralName] | None, now: datetime
) -> bool:
    """Whether what is shown can go on: ours, and, where names are given, good for these and for long enough."""
    if not certificate.exists() or not key.exists():
        return False
    try:
        shown = x509.load_pem_x509_certificate(certificate.read_bytes())
        shown.verify_directly_issued_by(signer)
        held = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    if _own_key(key).public_key() != shown.public_key():
        return False
    if names is None:
        return True
    return set(names) <= set(held) and shown.not_valid_after_utc - now > _SHOWN_RENEWED_BEFORE


def _own_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in that file; a new one where there is none."""
    if not path.exists():
        return ec.generate_private_key(ec.SECP256R1())
    return _elliptic(path)


def _signing_key(authority: Identity) -> ec.EllipticCurvePrivateKey:
    return _elliptic(authority.key)


def _elliptic(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Misconfigured("tls_unusable", f"The key {path.name} is of another kind.")
    return key


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    """Names and addresses as a certificate holds them, ours on this machine as well; what is no name is left out."""
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys([*names, "localhost", "127.0.0.1", "::1"]):
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            if _NAME.match(name):
                found.append(x509.DNSName(name.lower()))
        else:
            if not address.is_unspecified:
                found.append(x509.IPAddress(address))
    return list(dict.fromkeys(found))


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

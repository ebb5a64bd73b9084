"""Signature algorithms behind one small protocol, so that another (SM2, where the law asks for it) can be added.

A signature is detached and covers the signed bytes themselves, so that anybody can check it without us.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from teleread.errors import InputRejected


class Signer(Protocol):
    """One algorithm. Keys and signatures are bytes in the algorithm's own raw form."""

    @property
    def algorithm(self) -> str:
        """Its stable name, at most 16 characters."""

    def new_private(self, random_bytes: Callable[[int], bytes]) -> bytes:
        """A new private key."""

    def public_of(self, private: bytes) -> bytes:
        """The public key that belongs to a private one."""

    def sign(self, private: bytes, message: bytes) -> bytes:
        """The detached signature of a message."""

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the signature is of this message and by the owner of this public key."""


class Ed25519:
    """Ed25519 (RFC 8032): private key and public key of 32 bytes, signature of 64."""

    algorithm = "ed25519"

    def new_private(self, random_bytes: Callable[[int], bytes]) -> bytes:
        """32 random bytes."""
        return random_bytes(32)

    def public_of(self, private: bytes) -> bytes:
        """The public key that belongs to a private one."""
        return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, private: bytes, message: bytes) -> bytes:
        """The detached signature of a message."""
        return Ed25519PrivateKey.from_private_bytes(private).sign(message)

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the signature is of this message and by the owner of this public key."""
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


_ED25519 = Ed25519()
SIGNERS: Mapping[str, Signer] = MappingProxyType({_ED25519.algorithm: _ED25519})
DEFAULT = _ED25519.algorithm


def signer(algorithm: str) -> Signer:
    """The algorithm of this name.

    Raises:
        InputRejected: ``signature_algorithm_unknown``.
    """
    found = SIGNERS.get(algorithm)
    if found is None:
        raise InputRejected("signature_algorithm_unknown", "This version does not know the signature's algorithm.")
    return found


def key_id(algorithm: str, public: bytes) -> str:
    """What a key is named by: 32 hexadecimal characters, a hash of algorithm and public key."""
    return hashlib.sha256(f"signing key\0{algorithm}\0".encode() + public).hexdigest()[:32]

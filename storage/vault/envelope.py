"""The envelopes of the vault: a master key wraps an entry's key, and that seals the identity and wraps object keys.

AES-256-GCM (NIST SP 800-38D) throughout, with a random nonce of 12 bytes before each sealed text. What a text stands
for (its kind, the pseudonym, the id of the key) is authenticated with it, so that nothing can be put in another's
place. Nobody outside the vault imports this: identities are opened by ``Vault.join`` alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from teleread.errors import StorageError
from teleread.storage.vault.identity import Entry, Statement
from teleread.storage.vault.keyring import KEY_BYTES, KeyRing

_NONCE_BYTES = 12
_PAD_TO = 64

Random = Callable[[int], bytes]


class MasterGone(Exception):
    """The row was read before a rotation came to its end: read it again."""


class Envelopes:
    """Sealing and opening with the keys of one ring."""

    def __init__(self, ring: KeyRing, random_bytes: Random) -> None:
        self._ring = ring
        self._random_bytes = random_bytes

    def new_key(self) -> bytes:
        """Another entry's or project's key."""
        return self._random_bytes(KEY_BYTES)

    def wrap(self, kind: str, name: str, key: bytes) -> tuple[str, bytes]:
        """Wrap a key with the master key in use.

        Args:
            kind: ``"entry"`` or ``"project"``.
            name: pseudonym or project.

        Returns:
            the master key's id as hexadecimal, and the wrapped key.
        """
        master_id, master = self._ring.master()
        return master_id.hex(), self._sealed(master, key, kind, name, master_id.hex())

    def unwrap(self, kind: str, name: str, master_id: str, wrapped: bytes) -> bytes:
        """The key that was wrapped.

        Raises:
            MasterGone: the ring does not hold the master key (any more).
            StorageError: ``vault_corrupt``.
        """
        master = self._ring.master_key(bytes.fromhex(master_id))
        if master is None:
            raise MasterGone
        return _opened(master, wrapped, kind, name, master_id)

    def seal_entry(self, key: bytes, pseudonym: str, entry: Entry) -> bytes:
        """The entry under its own key, padded so that its length says little."""
        return self._sealed(key, _packed(entry), "identity", pseudonym)

    def open_entry(self, key: bytes, pseudonym: str, sealed: bytes) -> Entry:
        """The entry; raises ``StorageError("vault_corrupt")``."""
        return _unpacked(_opened(key, sealed, "identity", pseudonym))

    def wrap_object_key(self, key: bytes, pseudonym: str, root_sha256: str, data_key_id: str, data_key: bytes) -> bytes:
        """An object's key under an entry's."""
        return self._sealed(key, data_key, "object", pseudonym, root_sha256, data_key_id)

    def unwrap_object_key(
        self, key: bytes, pseudonym: str, root_sha256: str, data_key_id: str, wrapped: bytes
    ) -> bytes:
        """The object's key; raises ``StorageError("vault_corrupt")``."""
        return _opened(key, wrapped, "object", pseudonym, root_sha256, data_key_id)

    def _sealed(self, key: bytes, data: bytes, *context: str) -> bytes:
        nonce = self._random_bytes(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, data, _context(context))


def _opened(key: bytes, sealed: bytes, *context: str) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _context(context))
    except (InvalidTag, ValueError):
        raise StorageError("vault_corrupt", "an entry of the vault is not what was written") from None


def _context(parts: tuple[str, ...]) -> bytes:
    return b"teleread vault 1\0" + "\0".join(parts).encode()


def _packed(entry: Entry) -> bytes:
    values: dict[str, Any] = {
        "issuer": entry.issuer,
        "patient_id": entry.patient_id,
        "values": dict(entry.values),
        "said": [[one.field, one.value, one.at.isoformat(), one.arrivals, one.settled] for one in entry.said],
        "export": entry.export_secret.hex(),
    }
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    return text.ljust(-(-len(text) // _PAD_TO) * _PAD_TO)


def _unpacked(text: bytes) -> Entry:
    values = json.loads(text)
    return Entry(
        values["issuer"],
        values["patient_id"],
        values["values"],
        tuple(
            Statement(name, value, datetime.fromisoformat(at), tuple(arrivals), settled)
            for name, value, at, arrivals, settled in values["said"]
        ),
        bytes.fromhex(values["export"]),
    )

"""Copies of the key ring, sealed for recovery, in the store itself.

Each change of the ring leaves one as ``keyring/<generation>-<hash>``. They are no sealed objects like the others:
the key that would seal them is inside. When the key file is lost and the store is not, a restore takes the newest
copy that the two halves open, so that what was landed after the last backup stays readable.

Only the newest copy stays. An older one would keep keys that were destroyed since.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from teleread.errors import InputRejected, StorageError
from teleread.storage.objects.protocol import Blobs
from teleread.storage.vault import recovery
from teleread.storage.vault.keyring import KeyRing

PREFIX = "keyring/"
_KEY = re.compile(r"keyring/([0-9]{12})-([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class StoredRing:
    """A sealed copy of the ring.

    Args:
        key: where it lies in the store.
        generation: number of the ring's change that it holds; a later change has a higher one.
        sealed: its bytes, which only the two halves open.
    """

    key: str
    generation: int
    sealed: bytes = field(repr=False)


def store_ring(blobs: Blobs, ring: KeyRing) -> StoredRing:
    """Keep a sealed copy of the present ring in the store, and remove those of older rings.

    To be called after each change of the ring, and by each backup.
    Raises:
        Misconfigured: ``no_recovery_key``.
        StorageError, PeerError: of the store.
    """
    generation = ring.generation
    sealed = ring.sealed_for_recovery()
    if ring.generation != generation:  # changed between the two: whoever changed it stores it too
        generation = ring.generation
        sealed = ring.sealed_for_recovery()
    key = f"{PREFIX}{generation:012d}-{hashlib.sha256(sealed).hexdigest()[:16]}"
    with blobs.draft(len(sealed)) as draft:
        draft.write(sealed)
        draft.publish(key)
    for other in list(stored_rings(blobs)):
        # keys sort by generation; of two copies made at once the greater stays, whoever looks
        if other < key:
            blobs.delete(other)
    return StoredRing(key, generation, sealed)


def stored_rings(blobs: Blobs) -> Iterator[str]:
    """Keys of the copies in the store, oldest first."""
    for info in blobs.list(PREFIX):
        if _KEY.fullmatch(info.key):
            yield info.key


def stored_generations(blobs: Blobs) -> list[int]:
    """Which changes of the ring the copies in the store hold."""
    return [_generation(key) for key in stored_rings(blobs)]


def newer_rings(blobs: Blobs, private: bytes, than: int) -> Iterator[bytes]:
    """The rings in the store that are newer than a generation and that the halves open, newest first.

    One that is damaged or sealed to another recovery key is left out.
    """
    for key in reversed(list(stored_rings(blobs))):
        if _generation(key) <= than:
            return
        try:
            yield recovery.open_sealed(private, blobs.get(key))
        except (InputRejected, StorageError):
            continue


def _generation(key: str) -> int:
    found = _KEY.fullmatch(key)
    assert found is not None
    return int(found[1])

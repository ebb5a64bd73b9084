"""Keys for stores under test: a ring in plain dictionaries."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

from teleread.storage.objects.protocol import DataKey


class TestKeys:
    """Object keys as the vault gives them: intake keys that rotate and retire, data keys that are kept for good.

    Args:
        random_bytes: that many unpredictable bytes.
    """

    __test__ = False

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._ring: dict[bytes, bytes] = {}
        self._held: dict[tuple[str, bytes], bytes] = {}
        self.current = b""
        self.rotate()

    def intake(self) -> tuple[bytes, bytes]:
        """See :meth:`ObjectKeys.intake`."""
        return self.current, self._ring[self.current]

    def intake_key(self, key_id: bytes) -> bytes | None:
        """See :meth:`ObjectKeys.intake_key`."""
        return self._ring.get(key_id)

    def recover(self, root_sha256: str, data_key_id: bytes) -> bytes | None:
        """See :meth:`ObjectKeys.recover`."""
        return self._held.get((root_sha256, data_key_id))

    def rotate(self) -> bytes:
        """A new intake key from now on; its id."""
        self.current = self._random_bytes(8)
        self._ring[self.current] = self._random_bytes(32)
        return self.current

    def retire(self, key_id: bytes) -> None:
        """Destroy an intake key."""
        del self._ring[key_id]

    def adopt(self, data_key: DataKey) -> None:
        """Keep a data key for good."""
        self._held[data_key.root_sha256, data_key.id] = data_key.key

    def forget(self, root_sha256: str) -> None:
        """Lose the data keys of a raw object for good."""
        for held in [held for held in self._held if held[0] == root_sha256]:
            del self._held[held]


def shared_keys() -> TestKeys:
    """The same keys in every process, for what is written in one and read in another."""
    return TestKeys(random.Random(1).randbytes)

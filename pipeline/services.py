"""What every step needs, in one frozen value: the shell builds it, the steps receive it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.storage.catalogue.database import Database
from teleread.storage.objects.protocol import ObjectStore
from teleread.storage.vault import KeyRing, Vault

# Part of every derived object's key. Raise it when the same input may give other derived bytes.
PIPELINE_VERSION = "2"


@dataclass(frozen=True)
class Services:
    """The open parts of a running teleread.

    ``make_pool`` starts the bounded parser processes; it is called once, when a step first needs to parse, so that
    a task that only plans does not pay for it.
    """

    alliance: Alliance
    catalogue: Database
    store: ObjectStore
    ring: KeyRing
    vault: Vault
    make_pool: Callable[[], BoundedPool]
    clock: Callable[[], datetime]

    @cached_property
    def pool(self) -> BoundedPool:
        return self.make_pool()

    def close(self) -> None:
        """End the parser processes and close all connections."""
        if "pool" in self.__dict__:
            self.pool.close()
        self.store.close()
        self.catalogue.close()
        self.vault.close()

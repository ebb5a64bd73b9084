"""What every step needs, in one frozen value: the shell builds it, the steps receive it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from teleread.alliance import Alliance
from teleread.alliance_file import AllianceFile
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.tell import Telling
from teleread.reading.critical_ladder import Ladder, standard_ladders
from teleread.reading_room import ReadingRoom
from teleread.storage import audit
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from teleread.storage.objects.protocol import ObjectStore
from teleread.storage.vault import KeyRing, Vault
from teleread.storage.vault import schema as vault_schema

# Part of every derived object's key. Raise it when the same input may give other derived bytes.
PIPELINE_VERSION = "4"


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
    anchors: Path | None = None  # where the ends of the audit chains are written once a day
    spool_folder: Path | None = None  # where uploads on their way lie
    telling: Telling = field(default_factory=Telling)  # how contacts are written to
    ladders: tuple[Ladder, ...] = field(default_factory=standard_ladders)  # of critical values
    alliance_file: AllianceFile | None = None  # as it stands now; ``alliance`` is what it said at the start

    @property
    def room(self) -> ReadingRoom:
        """The rules of the reading room as they stand now: a roster that has changed holds within seconds."""
        return (self.alliance if self.alliance_file is None else self.alliance_file()).room

    @cached_property
    def pool(self) -> BoundedPool:
        return self.make_pool()

    @cached_property
    def trails(self) -> tuple[audit.Trail, ...]:
        """The audit of each database, with its own chain."""
        return (
            audit.Trail("catalogue", self.catalogue, schema.audit),
            audit.Trail("vault", self.vault.database, vault_schema.audit),
        )

    @property
    def audit_key(self) -> bytes:
        """What the ends of the audit chains are checked with."""
        return self.ring.derive("audit")

    @cached_property
    def sealer(self) -> audit.Sealer:
        """Chains what was recorded."""
        return audit.Sealer(self.trails, self.audit_key, self.clock)

    def close(self) -> None:
        """End the parser processes and close all connections."""
        if "pool" in self.__dict__:
            self.pool.close()
        self.store.close()
        self.catalogue.close()
        self.vault.close()

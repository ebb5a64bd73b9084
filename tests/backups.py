"""A small system with content, for tests of backup, restore and deletion."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from teleread.storage import audit
from teleread.storage.backup.make import Parts
from teleread.storage.backup.restore import Target
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from teleread.storage.objects.filesystem import FileBlobs
from teleread.storage.objects.sealed import SealedStore
from teleread.storage.vault import recovery
from teleread.storage.vault import schema as vault_schema
from teleread.storage.vault.keyring import KeyRing
from teleread.storage.vault.schema import VAULT

BEGIN = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
HASH = hashlib.sha256(b"x").hexdigest()


@dataclass
class RingKeys:
    """Object keys of the ring alone."""

    ring: KeyRing

    def intake(self) -> tuple[bytes, bytes]:
        return self.ring.intake()

    def intake_key(self, key_id: bytes) -> bytes | None:
        return self.ring.intake_key(key_id)

    def recover(self, root_sha256: str, data_key_id: bytes) -> bytes | None:
        return None


@dataclass
class Small:
    """Databases, store and ring below one folder."""

    home: Path
    urls: tuple[str, str]
    now: datetime = BEGIN
    halves: tuple[str, str] = ("", "")
    landed: dict[str, bytes] = field(default_factory=dict)
    opened: list[Database] = field(default_factory=list)

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def open(self, *, recoverable: bool = True) -> Parts:
        catalogue, vault = self.databases()
        catalogue.migrate()
        vault.migrate()
        ring = KeyRing.open(self.key_file, clock=self.clock)
        if recoverable and ring.recovery_public is None:
            private, public = recovery.new_pair()
            self.halves = recovery.split(private)
            ring.set_recovery(public)
        return Parts(catalogue, vault, self.blobs, ring, self.clock)

    def databases(self) -> tuple[Database, Database]:
        found = Database(self.urls[0]), Database(self.urls[1], migrations=VAULT)
        self.opened += found
        return found

    @property
    def key_file(self) -> Path:
        return self.home / "keys" / "ring"

    @property
    def blobs(self) -> FileBlobs:
        return FileBlobs(self.home / "objects")

    def target(self) -> Target:
        catalogue, vault = self.databases()
        return Target(catalogue, vault, self.blobs, self.key_file, self.clock)

    def close(self) -> None:
        for database in self.opened:
            database.close()


def small_on_files(home: Path) -> Small:
    home.mkdir(exist_ok=True)
    return Small(home, (f"sqlite:///{home / 'catalogue.db'}", f"sqlite:///{home / 'vault' / 'vault.db'}"))


def land_one(small: Small, parts: Parts, number: int) -> str:
    """A landed arrival with an entry in the vault, in the order of the real steps. Returns its id."""
    data = f"bytes {number}".encode() * 50
    store = SealedStore(parts.blobs, RingKeys(parts.ring))
    stored = store.put_raw(data)
    now = small.clock()
    arrival = hashlib.sha256(f"arrival {number}".encode()).hexdigest()[:32]
    pseudonym = f"P{number:012d}"
    with parts.vault.write() as conn:
        row = {"pseudonym": pseudonym, "enrolled_at": now, "changed_at": now, "sealed": b"\x00\xff" * 20}
        row["master_id"] = parts.ring.master()[0].hex()
        conn.execute(insert(vault_schema.identities).values(**row))
        audit.record(
            conn,
            at=now,
            actor="intake",
            action="enroll",
            object_type="patient",
            object_id=pseudonym,
            table=vault_schema.vault_events,
        )
    with parts.catalogue.write() as conn:
        conn.execute(
            insert(schema.objects).values(
                key=stored.key,
                sha256=stored.sha256,
                size_bytes=stored.size_bytes,
                created_at=now,
                root_sha256=stored.root_sha256,
                intake_key=stored.intake_key,
            )
        )
        conn.execute(
            insert(schema.studies).values(
                id=arrival,
                site_id="village",
                study_uid=f"1.2.{number}",
                modality="ECG",
                patient_pseudonym=pseudonym,
                patient_age_years=71.25,
                created_at=now,
                acquired_at=now,
            )
        )
        conn.execute(
            insert(schema.arrivals).values(
                id=arrival,
                receipt=f"{number:014d}",
                site_id="village",
                sha256=stored.sha256,
                size_bytes=stored.size_bytes,
                object_key=stored.key,
                source="web",
                kind="ecg",
                clinic_priority="urgent",
                state="prepared",
                arrived_at=now,
                study_id=arrival,
            )
        )
        audit.record(
            conn,
            at=now,
            actor="中心",
            action="land",
            object_type="arrival",
            object_id=arrival,
            detail={"说": "急", "n": [1.5, None]},
        )
    small.landed[arrival] = data
    return arrival


def rows_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    with database.read() as conn:
        return {
            table.name: sorted((tuple(row) for row in conn.execute(select(table))), key=repr)
            for table in database.migrations.metadata.sorted_tables
        }


def wrong_with(small: Small, parts: Parts, acknowledged: set[str]) -> list[str]:
    """What of the acknowledged is not there, or not as it was landed."""
    store = SealedStore(parts.blobs, RingKeys(parts.ring))
    wrong = []
    with parts.catalogue.read() as conn:
        rows = {row.id: row for row in conn.execute(select(schema.arrivals))}
        studies = {row.id: row.patient_pseudonym for row in conn.execute(select(schema.studies))}
    with parts.vault.read() as conn:
        known = {row.pseudonym: row.master_id for row in conn.execute(select(vault_schema.identities))}
    for arrival in sorted(acknowledged | set(rows)):
        if arrival not in rows:
            wrong.append(f"{arrival}: no row")
        elif store.get(rows[arrival].object_key) != small.landed[arrival]:
            wrong.append(f"{arrival}: other bytes")
        elif studies[arrival] not in known:
            wrong.append(f"{arrival}: no identity")
        elif parts.ring.master_key(bytes.fromhex(known[studies[arrival]])) is None:
            wrong.append(f"{arrival}: identity under a lost key")
    return wrong


Step = Callable[[str], None]

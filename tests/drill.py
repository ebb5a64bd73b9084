"""The restore drill: work, back up, go on working, lose everything but the backup, restore, and compare.

Used by the unit tests on SQLite and files, and by the contract tests on PostgreSQL and S3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.restored import CaughtUp, catch_up
from teleread.pipeline.services import Services
from teleread.storage.backup.make import Made, Parts, make_backup
from teleread.storage.backup.restore import Restored, Target, note_restored, restore_backup
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from teleread.storage.objects import SealedStore
from teleread.storage.objects.protocol import Blobs
from teleread.storage.vault import KeyRing, Vault, recovery
from teleread.storage.vault.schema import VAULT
from tests.conftest import Clock, SharedPool
from tests.signing import sign_report


@dataclass
class Place:
    """Where one system's parts lie. ``new_url`` makes an empty database, ``new_blobs`` opens the same store again."""

    home: Path
    alliance: Alliance
    clock: Clock
    pool: BoundedPool
    new_url: Callable[[], str]
    new_blobs: Callable[[], Blobs]
    urls: tuple[str, str] = ("", "")
    halves: tuple[str, str] = ("", "")
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def begin_anew(self) -> None:
        """Empty databases; what stood in those before is out of reach, as is the key file."""
        self.urls = self.new_url(), self.new_url()
        self.key_file.unlink(missing_ok=True)

    @property
    def key_file(self) -> Path:
        return self.home / "keys.json"

    def services(self) -> Services:
        ring = KeyRing.open(self.key_file, clock=self.clock)
        if ring.recovery_public is None:
            private, public = recovery.new_pair()
            self.halves = recovery.split(private)
            ring.set_recovery(public)
        vault = Vault(self.urls[1], ring)
        catalogue = Database(self.urls[0])
        catalogue.migrate()
        vault.migrate()
        return Services(
            alliance=self.alliance,
            catalogue=catalogue,
            store=SealedStore(self.new_blobs(), vault.keys),
            ring=ring,
            vault=vault,
            make_pool=lambda: SharedPool(self.pool),  # type: ignore[arg-type,return-value]
            clock=self.clock,
        )

    def work(self, services: Services, files: dict[str, bytes], site: str, *, until: str = "signed") -> str:
        """One arrival through the steps; what was acknowledged of it is remembered."""
        landed = land(services, site_id=site, source="web", files=files, clinic_priority="urgent", actor="nurse")
        fact: dict[str, Any] = {"receipt": landed.receipt, "sha256": landed.sha256}
        self.known[landed.arrival_id] = fact
        if until == "landed":
            return landed.arrival_id
        assert prepare(services, landed.arrival_id) == "prepared"
        case = enqueue(services, landed.arrival_id)
        with services.catalogue.write() as conn:
            report = sign_report(
                conn, case, text=f"阅片 {site}", critical=False, signed_by="reader", channel="web", at=self.clock()
            )
        fact["report"] = (report.id, report.text)
        return landed.arrival_id

    def remember(self, services: Services) -> None:
        """What the finished ones say: identity and derived bytes."""
        for arrival, fact in self.known.items():
            if "report" in fact and "identity" not in fact:
                fact.update(self._facts(services, arrival))

    def back_up(self, services: Services, folder: Path, **options: Any) -> Made:
        store = services.store.blobs
        parts = Parts(services.catalogue, services.vault.database, store, services.ring, self.clock)
        return make_backup(parts, folder, **options)

    def restore(self, folder: Path) -> tuple[Restored, CaughtUp, Services]:
        with (
            closing(Database(self.urls[0])) as catalogue,
            closing(Database(self.urls[1], migrations=VAULT)) as vault,
        ):
            blobs = self.new_blobs()
            target = Target(catalogue, vault, blobs, self.key_file, self.clock)
            restored = restore_backup(target, folder, self.halves, actor="ops")
            blobs.close()
            services = self.services()
            caught_up = catch_up(services, restored.manifest.audit, actor="ops")
            note_restored(target, restored.manifest, actor="ops", detail={})
        return restored, caught_up, services

    def seal(self, services: Services) -> None:
        services.sealer.seal_all()

    def wrong(self, services: Services, *, only: set[str] | None = None) -> list[str]:
        """What of the acknowledged is not as it was."""
        found = []
        for arrival, fact in self.known.items():
            if only is not None and arrival not in only:
                continue
            with services.catalogue.read() as conn:
                row = conn.execute(select(schema.arrivals).where(schema.arrivals.c.id == arrival)).one_or_none()
            if row is None or row.receipt != fact["receipt"]:
                found.append(f"{arrival}: no receipt")
                continue
            if hashlib.sha256(services.store.get(row.object_key)).hexdigest() != fact["sha256"]:
                found.append(f"{arrival}: other bytes")
            if "identity" in fact:
                now = self._facts(services, arrival)
                found += [f"{arrival}: other {name}" for name in now if now[name] != fact[name]]
                with services.catalogue.read() as conn:
                    texts = dict(conn.execute(select(schema.reports.c.id, schema.reports.c.text)).all())  # type: ignore[arg-type]
                if texts.get(fact["report"][0]) != fact["report"][1]:
                    found.append(f"{arrival}: no report")
        return found

    def _facts(self, services: Services, arrival: str) -> dict[str, Any]:
        with services.catalogue.read() as conn:
            keys = conn.execute(
                select(schema.derived.c.name, schema.derived.c.object_key).where(schema.derived.c.arrival_id == arrival)
            ).all()
            pseudonym = conn.scalar(
                select(schema.studies.c.patient_pseudonym)
                .join(schema.arrivals, schema.arrivals.c.study_id == schema.studies.c.id)
                .where(schema.arrivals.c.id == arrival)
            )
        joined = services.vault.join([str(pseudonym)], who="r", why="drill", case_ids=[arrival], at=self.clock())
        return {
            "identity": joined.get(str(pseudonym)),
            "derived": {row.name: hashlib.sha256(services.store.get(row.object_key)).hexdigest() for row in keys},
        }

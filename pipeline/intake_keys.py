"""Retiring intake keys: after that, deleting a patient's entry makes every copy of the bytes useless.

An intake key opens every object in whose header it stands. It may be destroyed once the vault holds the data keys of
all these objects, each under the patient whose they are, and a backup was begun since, so that no single loss takes
the last copy of a key. What nobody prepared (quarantined, unreadable) has an entry of its own, by its arrival; what
is no patient's (certificates and the like) belongs to the entry of the records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice, pairwise

from sqlalchemy import Connection, func, select, update

from teleread.errors import StorageError
from teleread.pipeline.correction_notes import CORRECTION_NOTES
from teleread.pipeline.notes import NOTES
from teleread.pipeline.pairs import DERIVED
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import arrivals, backups, objects, studies
from teleread.storage.objects.protocol import DataKey
from teleread.storage.objects.raw import raw_key, raw_root
from teleread.storage.objects.sealing import unwrap
from teleread.storage.vault import Identity, KeyRing, Vault

_AT_ONCE = 500
_RECORDS = Identity("teleread", "records")
_NOTES = (NOTES, CORRECTION_NOTES)


@dataclass(frozen=True, slots=True)
class Retirement:
    """What became of one intake key.

    Args:
        key_id: 16 hexadecimal digits.
        retired: it is destroyed.
        waits_for: why not: ``reconcile`` (objects that the catalogue does not name yet or of which it does not say
            under which key they stand, or bytes that it names and the store lacks) or ``backup`` (none was begun
            since the last data key was adopted); None when retired.
        roots: how many raw objects stand under it.
        adopted: how many data keys went into the vault now.
    """

    key_id: str
    retired: bool
    waits_for: str | None
    roots: int
    adopted: int


def retirable(ring: KeyRing, older_than: timedelta, now: datetime) -> tuple[bytes, ...]:
    """Intake keys that are not retired and were out of use for so long, oldest first."""
    living = [one for one in ring.intakes() if one.retired_at is None]
    return tuple(one.id for one, after in pairwise(living) if after.made_at <= now - older_than)


def retire_intake_keys(services: Services, *, older_than: timedelta, who: str = "teleread") -> tuple[Retirement, ...]:
    """Retire every intake key that may be; what stands in the way of the others is said.

    Data keys that the vault lacks are adopted on the way, so a second run after the next backup goes further. Runs
    as long as it takes to list the store.

    Args:
        older_than: only keys that were replaced so long ago; whoever stored with one has long ended.
        who: account name, for the audit events.

    Raises:
        StorageError, PeerError: nothing was retired that may not be; run again.
    """
    now = services.clock()
    old = retirable(services.vault.ring, older_than, now)
    if not old:
        return ()
    strangers = _strangers(services, set(old))
    return tuple(_retire(services, key_id, strangers.get(key_id, []), now, who) for key_id in old)


def _some_unsaid(catalogue: Database) -> bool:
    """Whether the catalogue does not say of every object which intake key stands in its header."""
    with catalogue.read() as conn:
        return conn.execute(select(objects.c.key).where(objects.c.intake_key.is_(None)).limit(1)).first() is not None


def unkept(catalogue: Database, vault: Vault) -> dict[str, tuple[int, int]]:
    """For each intake key by its id: how many roots stand under it, and of how many the vault holds no key.

    What the catalogue names is counted; a data key that stands in for another one of the same bytes counts as held.
    """
    found: dict[str, tuple[int, int]] = {}
    for key_id in (one.id for one in vault.ring.intakes() if one.retired_at is None):
        roots = missing = 0
        after = ""
        while some := _roots(catalogue, key_id, after):
            kept = {root for root, _ in vault.held([root for root, _ in some])}
            roots += len(some)
            missing += sum(root not in kept for root, _ in some)
            after = some[-1][0]
        found[key_id.hex()] = roots, missing
    return found


def keep_for_owners(services: Services, root: str) -> None:
    """See to it that the vault holds the data key of a raw object for each arrival whose it is.

    Raises:
        StorageError: as :meth:`ObjectStore.data_key`, and those of the vault.
    """
    _Keeper(services, b"", services.clock()).keep(root, raw_key(root))


def _retire(services: Services, key_id: bytes, strangers: Sequence[str], now: datetime, who: str) -> Retirement:
    keeper = _Keeper(services, key_id, now)
    waits_for = "reconcile" if _some_unsaid(services.catalogue) else None
    for key in strangers:
        if raw_root(key) is not None or key.startswith(_NOTES):
            waits_for = "reconcile"  # acknowledged, perhaps: only the catalogue can say whose it is
        elif not key.startswith(DERIVED):
            # a derived object that no row names is about to be swept; its key is its patient's and nobody else's
            keeper.keep_own(key)
    after = ""
    while some := _roots(services.catalogue, key_id, after):
        for root, key in some:
            try:
                keeper.keep(root, key)
            except StorageError as error:
                if error.code not in ("object_missing", "object_corrupt"):
                    raise
                waits_for = "reconcile"
        after = some[-1][0]
    if waits_for is None and not _backed_up(services, key_id, keeper.latest):
        waits_for = "backup"
    if waits_for is None:
        services.vault.retire_intake_key(key_id, who=who)
    return Retirement(key_id.hex(), waits_for is None, waits_for, keeper.roots, keeper.adopted)


class _Keeper:
    """Sees to it that the vault holds the data keys under one intake key."""

    def __init__(self, services: Services, key_id: bytes, now: datetime) -> None:
        self._services = services
        self._key_id = key_id
        self._now = now
        self.roots = self.adopted = 0
        self.latest: datetime | None = None

    def keep(self, root: str, key: str) -> None:
        """The data key of one raw object, for each patient whose it is."""
        store, vault = self._services.store, self._services.vault
        self.roots += 1
        with self._services.catalogue.read() as conn:
            owners = _owners(conn, root)
        if not owners:
            self.keep_own(key)
            return
        data_key = store.data_key(root)
        before = vault.held([root]).get((root, data_key.id))
        for arrival_id, pseudonym in owners:
            if pseudonym is None:
                self._enroll(Identity("teleread", f"unidentified-{arrival_id}"), data_key)
            elif pseudonym not in self._forgotten:
                vault.adopt(pseudonym, [data_key], self._now)
        self._count(data_key, before)

    def keep_own(self, key: str) -> None:
        """The data key of an object that stands for itself and is no patient's."""
        header = self._services.store.header(key)
        intake_key = self._services.vault.ring.intake_key(header.intake_id)
        if header.intake_id != self._key_id or intake_key is None:
            return
        data_key = unwrap(header, intake_key, key)
        before = self._services.vault.held([data_key.root_sha256]).get((data_key.root_sha256, data_key.id))
        self._enroll(_RECORDS, data_key)
        self._count(data_key, before)

    @cached_property
    def _forgotten(self) -> Collection[str]:
        return self._services.vault.forgotten().keys()

    def _enroll(self, identity: Identity, data_key: DataKey) -> None:
        self._services.vault.enroll(identity, self._now, data_keys=[data_key])

    def _count(self, data_key: DataKey, before: datetime | None) -> None:
        since = self._services.vault.held([data_key.root_sha256]).get((data_key.root_sha256, data_key.id))
        if since is None:
            return  # everybody whose it was has been forgotten
        self.adopted += since != before
        self.latest = since if self.latest is None else max(self.latest, since)


def _strangers(services: Services, old: set[bytes]) -> dict[bytes, list[str]]:
    """Objects of the store under these keys that no row of the catalogue speaks for.

    What a row says is not trusted where it would leave a raw object out: the header decides, and mends the row.
    """
    found: dict[bytes, list[str]] = {}
    counted = {key_id.hex() for key_id in old}
    listed = (info.key for info in services.store.list())
    for keys in _parts(listed):
        with services.catalogue.read() as conn:
            said = select(objects.c.key, objects.c.intake_key).where(objects.c.key.in_(keys))
            known: dict[str, str | None] = {row.key: row.intake_key for row in conn.execute(said)}
            notes = {key: key.split("/")[2] for key in keys if key.startswith(_NOTES) and key.count("/") == 3}
            landed = set(conn.execute(select(arrivals.c.id).where(arrivals.c.id.in_(notes.values()))).scalars())
        for key in keys:
            named = key in known
            if notes.get(key) in landed or (named and (raw_root(key) is None or known[key] in counted)):
                continue
            try:
                intake_id = services.store.header(key).intake_id
            except StorageError as error:
                if error.code not in ("object_missing", "object_corrupt"):
                    raise
                continue  # swept meanwhile, or damaged beyond any key
            if named:
                _mend(services.catalogue, key, known[key], intake_id.hex())
            elif intake_id in old:
                found.setdefault(intake_id, []).append(key)
    return found


def _mend(catalogue: Database, key: str, said: str | None, right: str) -> None:
    if said == right:
        return
    unchanged = objects.c.intake_key.is_(None) if said is None else objects.c.intake_key == said
    with catalogue.write() as conn:
        conn.execute(update(objects).where(objects.c.key == key, unchanged).values(intake_key=right))


def _parts(keys: Iterator[str]) -> Iterator[list[str]]:
    while some := list(islice(keys, _AT_ONCE)):
        yield some


def _roots(catalogue: Database, key_id: bytes, after: str) -> list[tuple[str, str]]:
    """Roots under the key in ascending order, each with one object of it; the raw one where it stands there."""
    query = (
        select(objects.c.root_sha256, func.max(objects.c.key))
        .where(objects.c.intake_key == key_id.hex(), objects.c.root_sha256 > after)
        .group_by(objects.c.root_sha256)
        .order_by(objects.c.root_sha256)
        .limit(_AT_ONCE)
    )
    with catalogue.read() as conn:
        return [(str(root), str(key)) for root, key in conn.execute(query)]


def _owners(conn: Connection, root: str) -> list[tuple[str, str | None]]:
    """The arrivals of these bytes, each with its patient where one is known."""
    query = (
        select(arrivals.c.id, studies.c.patient_pseudonym)
        .join(studies, studies.c.id == arrivals.c.study_id, isouter=True)
        .where(arrivals.c.object_key == raw_key(root))
        .order_by(arrivals.c.id)
    )
    return [(row[0], row[1]) for row in conn.execute(query)]


def _backed_up(services: Services, key_id: bytes, adopted_at: datetime | None) -> bool:
    """Whether a whole backup that still is was begun after the last of the key's objects was written and adopted."""
    with services.catalogue.read() as conn:
        of_key = objects.c.intake_key == key_id.hex()
        written_at = conn.execute(select(func.max(objects.c.created_at)).where(of_key)).scalar_one()
        made = conn.execute(select(backups.c.begun_at, backups.c.facts).where(backups.c.made_at.is_not(None))).all()
    begun_at = max((row.begun_at for row in made if "dropped_at" not in row.facts), default=None)
    latest = max((one for one in (written_at, adopted_at) if one is not None), default=None)
    return latest is None or (begun_at is not None and begun_at > latest)

"""Another master key while everybody works: wrap anew in short transactions, then destroy the old one.

A rotation has no state of its own. The newest living master key of the ring is the one to wrap with; whatever is
wrapped by another one is still to do; a ring with two living master keys is in the middle of a rotation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Table, bindparam, func, select, update

from teleread.errors import Misconfigured, StorageError
from teleread.storage.vault.database import VaultDatabase
from teleread.storage.vault.entries import record
from teleread.storage.vault.envelope import Envelopes, MasterGone
from teleread.storage.vault.keyring import KeyRing
from teleread.storage.vault.schema import forgotten, identities, object_keys, project_keys

_AT_ONCE = 500
_LOOKS = 3


@dataclass(frozen=True, slots=True)
class VaultStatus:
    """How much the vault holds.

    Args:
        entries: patients.
        plain: rows of the older version that are not sealed yet.
        object_keys: keys of stored objects.
        projects: project keys.
        forgotten: entries that were deleted.
        by_master: how many entries each master key wraps, by its id.
    """

    entries: int
    plain: int
    object_keys: int
    projects: int
    forgotten: int
    by_master: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """Where wrapped keys stand."""

    kind: str
    table: Table
    name: Column[Any]
    key: Column[Any]


_ENTRIES = _Wrapped("entry", identities, identities.c.pseudonym, identities.c.entry_key)
_PROJECTS = _Wrapped("project", project_keys, project_keys.c.name, project_keys.c.wrapped)


def rotate(
    database: VaultDatabase,
    ring: KeyRing,
    envelopes: Envelopes,
    progress: Callable[[int, int], None] | None,
    who: str,
) -> int:
    """See :meth:`Vault.rotate`."""
    check_ring(database, ring)
    if len(_living(ring)) < 2:
        ring.add_master()
    with database.read() as conn:
        total = sum(_count(conn, place, ring) for place in (_ENTRIES, _PROJECTS))
    done, idle = 0, 0
    while not _drop_old(database, ring, who):
        before = done
        for place in (_ENTRIES, _PROJECTS):
            after = ""
            while some := _rewrap_some(database, ring, envelopes, place, after):
                after, number = some
                done += number
                if progress is not None:
                    progress(done, max(total, done))
        idle = idle + 1 if done == before else 0
        if idle == _LOOKS:
            raise StorageError("vault_key_missing", "the key ring does not hold the key that an entry is sealed with")
    # what the old key wrapped may stand in the log; it is useless, but costs nothing to be rid of
    with contextlib.suppress(StorageError):
        database.checkpoint()
    return done


def check_ring(database: VaultDatabase, ring: KeyRing) -> None:
    """Raise ``Misconfigured("key_ring_foreign")`` where entries are sealed with keys that the ring does not hold."""
    query = select(identities.c.master_id).where(identities.c.master_id.is_not(None)).distinct()
    for _ in range(_LOOKS):  # a rotation may end between the two looks
        with database.read() as conn:
            used = {bytes.fromhex(one) for one in conn.execute(query).scalars()}
        if used <= _living(ring):
            return
    raise Misconfigured(
        "key_ring_foreign", "The key ring does not belong to this vault; restore the one that does from its halves."
    )


def status(database: VaultDatabase) -> VaultStatus:
    """See :meth:`Vault.status`."""
    with database.read() as conn:
        by_master = select(identities.c.master_id, func.count()).group_by(identities.c.master_id)
        counts = {row[0]: int(row[1]) for row in conn.execute(by_master)}
        object_count, projects, gone = (
            int(conn.execute(select(func.count()).select_from(table)).scalar_one())
            for table in (object_keys, project_keys, forgotten)
        )
    plain = counts.pop(None, 0)
    return VaultStatus(sum(counts.values()) + plain, plain, object_count, projects, gone, counts)


def _living(ring: KeyRing) -> set[bytes]:
    return {one.id for one in ring.masters() if one.retired_at is None}


def _to_do(place: _Wrapped, newest: str) -> Any:
    return (place.table.c.master_id != newest) & place.table.c.master_id.is_not(None)


def _count(conn: Connection, place: _Wrapped, ring: KeyRing) -> int:
    query = select(func.count()).select_from(place.table).where(_to_do(place, ring.master()[0].hex()))
    return int(conn.execute(query).scalar_one())


def _rewrap_some(
    database: VaultDatabase, ring: KeyRing, envelopes: Envelopes, place: _Wrapped, after: str
) -> tuple[str, int] | None:
    """One batch, in the order of names; the last name and how many, or None when none is left."""
    query = select(place.name.label("name"), place.table.c.master_id, place.key.label("wrapped"))
    query = query.where(_to_do(place, ring.master()[0].hex()), place.name > after).order_by(place.name).limit(_AT_ONCE)
    with database.read() as conn:
        rows = conn.execute(query).all()
    if not rows:
        return None
    fresh = []
    for row in rows:
        try:
            key = envelopes.unwrap(place.kind, row.name, row.master_id, row.wrapped)
        except MasterGone:
            continue  # another rotation was quicker
        master_id, wrapped = envelopes.wrap(place.kind, row.name, key)
        fresh.append({"this": row.name, "old": row.master_id, "new": master_id, "wrapped_anew": wrapped})
    if fresh:
        change = (
            update(place.table)
            .where(place.name == bindparam("this"), place.table.c.master_id == bindparam("old"))
            .values({"master_id": bindparam("new"), place.key.name: bindparam("wrapped_anew")})
        )
        with database.write() as conn:
            database.keep_masters(conn)
            newest = ring.master()[0].hex()
            fresh = [one for one in fresh if one["new"] == newest]
            if fresh:
                conn.execute(change, fresh)
    return rows[-1].name, len(fresh)


def _drop_old(database: VaultDatabase, ring: KeyRing, who: str) -> bool:
    """Destroy the master keys that wrap nothing any more, while nobody can wrap; False where one still does."""
    with database.write() as conn:
        database.hold_writers(conn)
        old = [one.id for one in ring.masters() if one.retired_at is None][:-1]
        names = [one.hex() for one in old]
        for place in (_ENTRIES, _PROJECTS):
            wrapped = select(place.name).where(place.table.c.master_id.in_(names)).limit(1)
            if conn.execute(wrapped).first() is not None:
                return False
        if old:
            detail = {"dropped": names}
            record(conn, ring.clock(), who, "rotate_master", ring.master()[0].hex(), detail, "key")
        for one in old:
            ring.drop_master(one)
    return True

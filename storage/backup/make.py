"""Making a backup while the system runs.

The order is what makes it whole. The catalogue first, in one snapshot; then the vault's, later, since an entry is
written before the catalogue's row that names it; then the objects, since an object is durable before its row; then
the key ring, since a key is in the ring before an object is sealed with it. So each part holds all that the parts
before it name, and more, which a restore catches up with or leaves alone. The manifest is written last.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

import teleread
from teleread.errors import Conflict, Misconfigured, StorageError
from teleread.storage import audit
from teleread.storage.backup.copy import Swept, Tally, copy_objects, lying_copies, renew_copy
from teleread.storage.backup.dump import Part, Progress, dump_database, revision_of, silent
from teleread.storage.backup.folder import (
    OBJECTS,
    clean_up,
    finished,
    manifest_key,
    opened_folder,
    os_errors,
    proven_backups,
    remove_copies,
    system_of,
    thin_out,
    verify_backup,
    write_private,
)
from teleread.storage.backup.manifest import (
    AuditHead,
    ListFile,
    Manifest,
    check_file,
    read_list,
    write_manifest,
)
from teleread.storage.backup.rings import PREFIX as RINGS
from teleread.storage.backup.rings import store_ring
from teleread.storage.backup.sealing import Written
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import backups, objects, swept_objects
from teleread.storage.objects.filesystem import FileBlobs
from teleread.storage.objects.protocol import Blobs
from teleread.storage.vault import recovery
from teleread.storage.vault.keyring import KeyRing

_ID_TIME = "%Y%m%dt%H%M%Sz"
_PAGE = 500
_VAULT_TRIES = 3
_CLOCKS_DIFFER = timedelta(days=1)  # the store's from ours, at most


@dataclass(frozen=True, slots=True)
class Parts:
    """What a backup is made of and restored into.

    Args:
        catalogue, vault: the databases.
        blobs: the sealed objects.
        ring: the key ring.
        clock: aware time.
    """

    catalogue: Database
    vault: Database
    blobs: Blobs
    ring: KeyRing
    clock: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Made:
    """A finished backup and what making it did.

    Args:
        manifest: what it holds.
        manifest_sha256: of ``manifest.json``; whoever keeps it elsewhere can tell this backup from any other.
        copied, copied_bytes: objects that were new to the folder.
        removed: copies of objects that were deleted on purpose, taken out of the folder.
        kept: copies of objects that the store has lost; scrub and reconcile say more.
        thinned: ids of older backups that were removed.
        broken: keys of objects whose copies are not what was written while the store has no such bytes either; looked
            for with ``verify`` alone.
        unproven: folders whose manifest is damaged or was not written by this system; they are left alone.
    """

    manifest: Manifest
    manifest_sha256: str
    copied: int
    copied_bytes: int
    removed: int
    kept: int
    thinned: tuple[str, ...]
    broken: tuple[str, ...]
    unproven: tuple[str, ...]


def make_backup(
    parts: Parts,
    folder: Path,
    *,
    keep: int | None = None,
    verify: bool = False,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    progress: Progress = silent,
    step: Callable[[str], None] = lambda _name: None,
) -> Made:
    """Back up everything into the folder, whole and consistent, while the system runs.

    Killed at any point it leaves the backups before as they were; the next run cleans up and copies only what is
    missing.

    Args:
        parts: the system.
        folder: a mounted disk or share, made when absent; one system's alone.
        keep: how many backups to keep, this one too; None keeps all.
        verify: read everything that the backup needs once more and compare with what was written; a copy that
            differs is brought anew.
        random_bytes: end of the backup's id.
        progress: called now and then with what is done and how many.
        step: called after each step; tests end the process there.

    Raises:
        Misconfigured: ``no_recovery_key``; ``backup_folder_foreign`` when the folder is another system's;
            ``backup_folder_unusable``.
        Conflict: ``backup_running``.
        StorageError, PeerError: of the databases, the store (``store_full``, ...) or the folder.
    """
    ring = parts.ring
    public = ring.recovery_public
    if public is None:
        raise Misconfigured(
            "no_recovery_key", "Backups are sealed to a recovery key: make one with `teleread vault recovery-key`."
        )

    def seal(piece: bytes) -> bytes:
        return recovery.seal_to(public, piece)

    with opened_folder(folder, system_of(ring)):
        key = manifest_key(ring)
        clean_up(folder, key)
        begun_at = parts.clock()
        made = proven_backups(folder, key)
        identifier = _new_id(made[-1].id if made else "", begun_at, random_bytes)
        here = folder / identifier
        with os_errors():
            here.mkdir(mode=0o700)
        with parts.catalogue.write() as conn:
            conn.execute(backups.insert().values(id=identifier, begun_at=begun_at, facts={"folder": str(folder)}))
        step("row_begun")
        work = _Work(parts, folder, here, made, identifier, begun_at, seal, progress, step)
        manifest, tally = work.run()
        broken: tuple[str, ...] = ()
        if verify:
            target = FileBlobs(folder / OBJECTS)
            broken = verify_backup(folder, manifest, progress, lambda copied: renew_copy(parts.blobs, target, copied))
            step("verified")
        sha256 = write_manifest(here, manifest, key)
        step("manifest_written")
        removed = remove_copies(folder, manifest)
        step("copies_removed")
        thinned = thin_out(folder, keep, key) if keep is not None else ()
        step("thinned")
        _note_made(parts, manifest, sha256, thinned)
        step("row_made")
        known = {manifest.id, *(one.id for one in made)}
        unproven = tuple(name for name in finished(folder) if name not in known)
    return Made(manifest, sha256, tally.copied, tally.copied_bytes, removed, len(tally.kept), thinned, broken, unproven)


def _new_id(before: str, at: datetime, random_bytes: Callable[[int], bytes]) -> str:
    """An id behind those that are there, also when the clock was set back: the last one is the newest."""
    stamp = at.astimezone(UTC).strftime(_ID_TIME)
    if before.split("-")[0] >= stamp:
        last = datetime.strptime(before.split("-")[0], _ID_TIME)
        stamp = (last + timedelta(seconds=1)).strftime(_ID_TIME)
    return f"{stamp}-{random_bytes(3).hex()}"


@dataclass(frozen=True, slots=True)
class _Work:
    parts: Parts
    folder: Path
    here: Path
    made: Sequence[Manifest]
    identifier: str
    begun_at: datetime
    seal: Callable[[bytes], bytes]
    progress: Progress
    step: Callable[[str], None]

    def run(self) -> tuple[Manifest, Tally]:
        """Everything but the manifest's own file."""
        heads: dict[str, AuditHead | None] = {"catalogue": None, "vault": None}
        catalogue_parts, versions, mark = self._dump_catalogue(heads)
        self.step("catalogue_dumped")
        vault_parts = self._dump_vault(heads, versions)
        self.step("vault_dumped")
        listed, removed, tally = self._copy(mark)
        self.step("objects_copied")
        generation, ring_file = self._keep_ring()
        vault_parts = self._vault_again_unless_readable(vault_parts, heads, versions)
        lost = self._lost(listed[0], mark)
        self.step("ring_kept")
        manifest = Manifest(
            id=self.identifier,
            system=system_of(self.parts.ring),
            begun_at=self.begun_at,
            made_at=self.parts.clock(),
            versions=versions,
            parts=(*catalogue_parts, *vault_parts),
            objects=listed[0],
            object_count=listed[1],
            object_bytes=listed[2],
            lost=lost,
            removed=removed,
            ring=ring_file,
            ring_generation=generation,
            swept_mark=mark,
            audit=heads,
        )
        return manifest, tally

    def _dump_catalogue(self, heads: dict[str, AuditHead | None]) -> tuple[list[Part], dict[str, str], int]:
        database = self.parts.catalogue
        with os_errors(), gzip.open(self.here / _KEYS, "wb") as keys, database.snapshot() as conn:
            mark = int(conn.execute(select(func.coalesce(func.max(swept_objects.c.id), 0))).scalar_one())

            def seen(table: str, row: Mapping[str, Any]) -> None:
                if table == "objects":
                    keys.write(f"{row['key']}\n".encode())
                elif table == "audit_head":
                    heads["catalogue"] = AuditHead(row["seq"], bytes(row["hash"]).hex())

            made = dump_database(conn, database.migrations, self.here, self.seal, self.progress, seen)
            versions = {"teleread": teleread.__version__, "catalogue": str(revision_of(conn, database.migrations))}
        return made, versions, mark

    def _dump_vault(self, heads: dict[str, AuditHead | None], versions: dict[str, str]) -> list[Part]:
        database = self.parts.vault
        masters: set[str] = set()

        def seen(table: str, row: Mapping[str, Any]) -> None:
            if table == "vault_head":
                heads["vault"] = AuditHead(row["seq"], bytes(row["hash"]).hex())
            elif row.get("master_id") is not None:
                masters.add(row["master_id"])

        with database.snapshot() as conn:
            made = dump_database(conn, database.migrations, self.here, self.seal, self.progress, seen)
            versions["vault"] = str(revision_of(conn, database.migrations))
        with os_errors():
            write_private(self.here / _MASTERS, json.dumps(sorted(masters)).encode())
        return made

    def _vault_again_unless_readable(
        self, made: list[Part], heads: dict[str, AuditHead | None], versions: dict[str, str]
    ) -> list[Part]:
        """A master key may have been dropped between the vault's dump and the ring's: then the dump is noise."""
        for _ in range(_VAULT_TRIES):
            with os_errors():
                masters = json.loads((self.here / _MASTERS).read_text())
                if all(self.parts.ring.master_key(bytes.fromhex(one)) is not None for one in masters):
                    (self.here / _MASTERS).unlink()
                    return made
                for part in made:
                    (self.here / part.file.name).unlink()
            made = self._dump_vault(heads, versions)
        raise StorageError("vault_keys_missing", "The vault holds entries under a master key that the ring lacks.")

    def _known(self) -> Manifest | None:
        """The newest backup whose list is what was written."""
        for manifest in reversed(self.made):
            try:
                check_file(self.folder / manifest.id, manifest.objects)
            except StorageError as error:
                if error.code != "backup_corrupt":
                    raise
            else:
                return manifest
        return None

    def _since(self, before: Manifest) -> int:
        """The backup's number of deletion; 0 when the catalogue was restored to an earlier time and counts anew."""
        with self.parts.catalogue.read() as conn:
            there = conn.scalar(select(backups.c.id).where(backups.c.id == before.id))
        return before.swept_mark if there is not None else 0

    def _copy(self, mark: int) -> tuple[tuple[Written, int, int], Written, Tally]:
        target = FileBlobs(self.folder / OBJECTS)
        before = self._known()
        if before is None:
            known, since, unchanged = lying_copies(target), 0, None
        else:
            known, since = read_list(self.folder / before.id, before.objects), self._since(before)
            unchanged = before.begun_at - _CLOCKS_DIFFER
        catalogue = self.parts.catalogue

        def gone(keys: Collection[str]) -> set[str]:
            # of the ring only the newest copy stays in the store, and each backup holds its own
            rings = {key for key in keys if key.startswith(RINGS)}
            return rings | _deleted(catalogue, list(keys), since)

        with catalogue.read() as conn:
            fresh = set(conn.scalars(select(swept_objects.c.key).where(swept_objects.c.id > since)))
        with (
            ListFile(self.here / "objects.list.gz") as wanted,
            ListFile(self.here / "removed.list.gz") as removed,
        ):
            swept = Swept(mark, fresh, gone, unchanged)
            tally = copy_objects(self.parts.blobs, target, known, swept, wanted, removed, self.progress)
            return (wanted.close(), wanted.count, wanted.size_bytes), removed.close(), tally

    def _keep_ring(self) -> tuple[int, Written]:
        stored = store_ring(self.parts.blobs, self.parts.ring)
        path = self.here / "ring.sealed"
        with os_errors():
            write_private(path, stored.sealed)
        return stored.generation, Written(path.name, hashlib.sha256(stored.sealed).hexdigest(), len(stored.sealed))

    def _lost(self, listed: Written, mark: int) -> tuple[str, ...]:
        """Objects that the catalogue named when it was dumped, that are nowhere, and that nobody deleted since."""
        held = (copied.key for copied in read_list(self.here, listed))
        missing: list[str] = []
        with os_errors(), gzip.open(self.here / _KEYS, "rt") as lines:
            has = next(held, None)
            for line in lines:
                key = line.rstrip("\n")
                while has is not None and has < key:
                    has = next(held, None)
                if has != key:
                    missing.append(key)
        with os_errors():
            (self.here / _KEYS).unlink()
        gone = _deleted(self.parts.catalogue, missing, mark)
        return tuple(key for key in missing if key not in gone)


_KEYS = ".keys.gz"
_MASTERS = ".masters.json"


def _deleted(catalogue: Database, keys: Sequence[str], since: int) -> set[str]:
    """Which of the keys were deleted on purpose under a number above one, and have not come back since.

    A key that was deleted once, came anew and is absent now was lost: no number is new, or a row names it.
    """
    found: set[str] = set()
    for start in range(0, len(keys), _PAGE):
        page = keys[start : start + _PAGE]
        swept = select(swept_objects.c.key).where(swept_objects.c.key.in_(page), swept_objects.c.id > since)
        named = select(objects.c.key).where(objects.c.key.in_(page))
        with catalogue.read() as conn:
            found |= set(conn.scalars(swept)) - set(conn.scalars(named))
    return found


def _note_made(parts: Parts, manifest: Manifest, sha256: str, thinned: Collection[str]) -> None:
    now = parts.clock()
    facts = {"objects": manifest.object_count, "bytes": manifest.object_bytes, "lost": len(manifest.lost)}
    with parts.catalogue.write() as conn:
        row = conn.execute(select(backups.c.facts).where(backups.c.id == manifest.id)).scalar_one_or_none() or {}
        conn.execute(
            update(backups)
            .where(backups.c.id == manifest.id)
            .values(made_at=manifest.made_at, manifest_sha256=sha256, facts={**row, **facts})
        )
        for identifier in thinned:
            _drop(conn, identifier, now)
        audit.record(
            conn,
            at=now,
            actor="teleread",
            action="backup",
            object_type="backup",
            object_id=manifest.id,
            detail={"manifest_sha256": sha256, "thinned": list(thinned)},
        )


def _drop(conn: Any, identifier: str, now: datetime) -> bool:
    facts = conn.execute(select(backups.c.facts).where(backups.c.id == identifier)).scalar_one_or_none()
    if facts is None:
        return False
    dropped = {**facts, "dropped_at": now.isoformat()}
    conn.execute(update(backups).where(backups.c.id == identifier).values(facts=dropped))
    return True


def note_dropped(parts: Parts, identifier: str, *, who: str) -> None:
    """Record that a backup no longer exists anywhere: its folder was destroyed. A named person says so.

    Raises:
        Conflict: ``no_such_backup``.
    """
    now = parts.clock()
    with parts.catalogue.write() as conn:
        if not _drop(conn, identifier, now):
            raise Conflict("no_such_backup", "No backup of this id was made here.")
        audit.record(
            conn, at=now, actor=who, action="backup_dropped", object_type="backup", object_id=identifier, detail={}
        )

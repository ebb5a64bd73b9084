"""Restoring a backup into empty databases and a store that may be empty or may still hold everything.

Nothing is changed before everything was checked: the manifest and its key, every file and every copy that is needed,
that the halves open them, that the databases are empty. Then the key ring, the vault, the catalogue, the objects.
Each database is filled in one transaction that ends with an audit event naming the backup, so a restore that was
killed can be run again and goes on where it was.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, Table, exists, inspect, select, update

from teleread.errors import Conflict, InputRejected, StorageError
from teleread.storage import audit
from teleread.storage.backup.copy import copy_one
from teleread.storage.backup.dump import Part, Progress, check_part, is_empty, load_database, silent
from teleread.storage.backup.folder import OBJECTS, finished, is_whole, manifest_key, proven_backups, system_of
from teleread.storage.backup.manifest import NAME, Copied, Manifest, check_file, proven, read_list, read_manifest
from teleread.storage.backup.rings import newer_rings
from teleread.storage.backup.sealing import Written, corrupt
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import audit_events, backups
from teleread.storage.objects.filesystem import FileBlobs
from teleread.storage.objects.protocol import Blobs
from teleread.storage.vault import recovery
from teleread.storage.vault.keyring import KeyRing
from teleread.storage.vault.schema import vault_events

_BEGUN = "restore"
_ENDED = "restored"
_THREADS = 8
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Target:
    """Where a backup is restored to.

    Args:
        catalogue, vault: empty databases, or those of a restore of the same backup that was killed.
        blobs: the store; what is in it stays.
        key_file: of the ring; absent, or this system's.
        clock: aware time.
    """

    catalogue: Database
    vault: Database
    blobs: Blobs
    key_file: Path
    clock: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Args:
        manifest: of the backup.
        ring: open.
        ring_newer: the ring holds keys from after the backup.
        copied: objects that the store did not have.
        missing: objects that the backup names and that are nowhere, after ``without_broken`` or lost before it.
    """

    manifest: Manifest
    ring: KeyRing
    ring_newer: bool
    copied: int
    missing: tuple[str, ...]


_Removed = Mapping[str, Copied | None]
"""Name of a copy that is gone, and the copy to take instead; None when the object was deleted."""


def restore_backup(
    target: Target,
    folder: Path,
    halves: tuple[str, str],
    *,
    identifier: str | None = None,
    without_broken: bool = False,
    actor: str,
    progress: Progress = silent,
    step: Callable[[str], None] = lambda _name: None,
) -> Restored:
    """Restore ring, vault, catalogue and missing objects; the caller then catches up with what came after.

    Args:
        target: where to.
        folder: that holds the backups.
        halves: of the recovery key, in whichever order.
        identifier: of the backup; None takes the newest.
        without_broken: go on although copies of objects are missing or damaged, and name them.
        actor: who restores, for the audit.
        progress: called now and then with what is done and how many.
        step: called after each step; tests end the process there.

    Raises:
        InputRejected: the halves: see :func:`recovery.join`; ``recovery_wrong_key`` when they are of another key.
        StorageError: ``backup_missing``, ``backup_corrupt``, ``backup_unfinished``, ``backup_copies_broken``; nothing
            was changed. Also those of the databases and the store.
        Conflict: ``database_not_empty`` (a running system is not restored over), ``key_file_foreign``.
        Misconfigured: ``backup_newer``, ``database_newer``.
    """
    private = recovery.join(*halves)
    names = finished(folder)
    if not names:
        raise StorageError("backup_missing", "The folder holds no finished backup.")
    chosen = identifier or names[-1]
    if chosen not in names:
        raise StorageError("backup_missing", "The folder holds no finished backup of this id.")
    here = folder / chosen
    manifest = read_manifest(here)
    ring = KeyRing.in_memory(_ring_bytes(here, manifest, private), clock=target.clock)
    key = manifest_key(ring)
    manifest = proven(here, key)
    if manifest.system != system_of(ring):
        raise corrupt(here / NAME)
    revisions = _check_files(here, manifest, private, progress)
    state = _check_databases(target, manifest)
    removed = _removed_since(folder, manifest, key)
    missing = _check_copies(target.blobs, folder, manifest, removed, without_broken, progress)
    ring_bytes, newer = _ring_to_restore(target, manifest, here, private, key)
    step("checked")
    kept = _restore_ring(target, ring_bytes)
    step("ring_restored")
    work = _Loading(target, here, manifest, lambda blob: recovery.open_sealed(private, blob), actor, progress)
    if not state.vault:
        work.load(target.vault, revisions["vault"], vault_events)
        step("vault_restored")
    if not state.catalogue:
        work.load(target.catalogue, revisions["catalogue"], audit_events)
        step("catalogue_restored")
    copied = _copy_back(target.blobs, folder, manifest, removed, missing, progress)
    step("objects_restored")
    return Restored(manifest, kept, newer, copied, (*missing, *manifest.lost))


def note_restored(target: Target, manifest: Manifest, *, actor: str, detail: dict[str, object]) -> None:
    """Say that the restore came to its end; the databases are a system's from here on."""
    with target.catalogue.write() as conn:
        audit.record(
            conn,
            at=target.clock(),
            actor=actor,
            action=_ENDED,
            object_type="backup",
            object_id=manifest.id,
            detail=detail,
        )


def _ring_bytes(here: Path, manifest: Manifest, private: bytes) -> bytes:
    check_file(here, manifest.ring)
    return recovery.open_sealed(private, (here / manifest.ring.name).read_bytes())


def _ring_to_restore(
    target: Target, manifest: Manifest, here: Path, private: bytes, key: bytes
) -> tuple[bytes | None, bool]:
    """The ring to write; None where the key file is there. Keys from after the backup come from the store."""
    if target.key_file.exists():
        present = KeyRing.open(target.key_file, clock=target.clock)
        if not hmac.compare_digest(manifest_key(present), key):
            raise Conflict("key_file_foreign", "The key file belongs to another system; move it away first.")
        return None, present.generation > manifest.ring_generation
    backed_up = _ring_bytes(here, manifest, private)
    for candidate in newer_rings(target.blobs, private, manifest.ring_generation):
        newer = KeyRing.in_memory(candidate, clock=target.clock)
        if hmac.compare_digest(manifest_key(newer), key):
            return KeyRing.united(candidate, [backed_up]), True
    return backed_up, False


def _restore_ring(target: Target, ring_bytes: bytes | None) -> KeyRing:
    if ring_bytes is None:
        return KeyRing.open(target.key_file, clock=target.clock)
    return KeyRing.restore(target.key_file, ring_bytes, clock=target.clock)


def _check_files(here: Path, manifest: Manifest, private: bytes, progress: Progress) -> dict[str, str]:
    """Every file is what was written and opens; returns the revision of each schema."""
    revisions: dict[str, str] = {}
    for written in manifest.files:
        check_file(here, written)
    for number, part in enumerate(manifest.parts):
        path = here / part.file.name
        try:
            revisions[part.database] = check_part(path, part, lambda blob: recovery.open_sealed(private, blob))
        except InputRejected as error:
            raise corrupt(path) from error
        progress("tables checked", number + 1)
    return revisions


@dataclass(frozen=True, slots=True)
class _State:
    """Which databases a killed restore of this backup has filled already."""

    vault: bool
    catalogue: bool


def _check_databases(target: Target, manifest: Manifest) -> _State:
    filled = []
    for database, events in ((target.vault, vault_events), (target.catalogue, audit_events)):
        if is_empty(database):
            filled.append(False)
        elif _has_event(database, events, _BEGUN, manifest.id):
            filled.append(True)
        else:
            raise _not_empty()
    if filled[1] and _has_event(target.catalogue, audit_events, _ENDED, manifest.id):
        raise _not_empty()
    return _State(*filled)


def _not_empty() -> Conflict:
    return Conflict("database_not_empty", "A restore goes into empty databases; these are in use. Nothing was changed.")


def _has_event(database: Database, events: Table, action: str, identifier: str) -> bool:
    with database.read() as conn:
        if events.name not in inspect(conn).get_table_names():
            return False
        query = select(exists().where(events.c.action == action, events.c.object_id == identifier))
        return bool(conn.execute(query).scalar_one())


@dataclass(frozen=True, slots=True)
class _Loading:
    target: Target
    here: Path
    manifest: Manifest
    unseal: Callable[[bytes], bytes]
    actor: str
    progress: Progress

    def load(self, database: Database, revision: str, events: Table) -> None:
        name = database.migrations.name
        files: list[tuple[Path, Part]] = [
            (self.here / part.file.name, part) for part in self.manifest.parts if part.database == name
        ]

        def last(conn: Connection) -> None:
            if name == "catalogue":
                sweeping.let_go(conn)
                conn.execute(
                    update(backups).where(backups.c.id == self.manifest.id).values(made_at=self.manifest.made_at)
                )
            audit.record(
                conn,
                at=self.target.clock(),
                actor=self.actor,
                action=_BEGUN,
                object_type="backup",
                object_id=self.manifest.id,
                detail={},
                table=events,
            )

        load_database(database, files, revision, self.unseal, self.progress, last)


def _check_copies(
    store: Blobs, folder: Path, manifest: Manifest, removed: _Removed, without_broken: bool, progress: Progress
) -> tuple[str, ...]:
    """Read every copy that the store needs; returns the keys of those that are not what was written."""
    broken: list[str] = []
    for number, copied in enumerate(_listed(folder, manifest, removed)):
        if not _holds(store, copied) and not is_whole(folder, copied):
            broken.append(copied.key)
        if number % _PAGE == 0:
            progress("copies checked", number)
    if broken and not without_broken:
        raise StorageError(
            "backup_copies_broken",
            f"{len(broken)} copies of objects that are needed are missing or damaged, the first of {broken[0]}. "
            "Nothing was changed.",
        )
    return tuple(broken)


def _listed(folder: Path, manifest: Manifest, removed: _Removed) -> Iterator[Copied]:
    """The copies that the backup needs, without those of objects that were deleted on purpose since."""
    for copied in read_list(folder / manifest.id, manifest.objects):
        there = removed.get(copied.name, copied)
        if there is not None:
            yield there


def _removed_since(folder: Path, manifest: Manifest, key: bytes) -> _Removed:
    """Names of copies that later backups of this system took out of the folder, and what took their place; few.

    A later backup whose list is damaged says nothing: copies that it removed are then missing, and named so.
    """
    removed: dict[str, Copied | None] = {}
    later = [one for one in proven_backups(folder, key) if one.id > manifest.id]
    for one in later:
        removed |= {copied.name: None for copied in _whole_list(folder / one.id, one.removed)}
    keys = {name.partition("/")[2] for name in removed}
    # bytes that had rotted and were replaced: the newest copy is the good one
    newest = next(iter(later[-1:]), None)
    listed = () if newest is None else _whole_list(folder / newest.id, newest.objects)
    instead = {one.key: one for one in listed if one.key in keys and one.name not in removed}
    return {name: instead.get(name.partition("/")[2]) for name in removed}


def _whole_list(folder: Path, written: Written) -> Iterator[Copied]:
    try:
        yield from read_list(folder, written)
    except StorageError as error:
        if error.code != "backup_corrupt":
            raise


def _holds(store: Blobs, copied: Copied) -> bool:
    there = store.stat(copied.key)
    return there is not None and there.size_bytes == copied.size_bytes


def _copy_back(
    store: Blobs, folder: Path, manifest: Manifest, leave: _Removed, broken: Collection[str], progress: Progress
) -> int:
    """Put what the store does not have."""
    source = FileBlobs(folder / OBJECTS)

    def put(copied: Copied) -> bool:
        if _holds(store, copied):
            return False
        store.delete(copied.key)  # cut short: no object of ours has another size
        if copy_one(source, store, copied.name, copied.key, copied.size_bytes) != copied.sha256:
            raise StorageError("backup_copies_broken", f"The copy of {copied.key} changed while it was read.")
        return True

    done = 0
    skipped = set(broken)
    wanted = (copied for copied in _listed(folder, manifest, leave) if copied.key not in skipped)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="restore") as threads:
        while page := list(islice(wanted, _PAGE)):
            done += sum(threads.map(put, page))
            progress("objects", done)
    return done

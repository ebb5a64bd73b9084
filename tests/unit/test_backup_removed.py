"""What is removed from the system leaves the backups' folder, and what came again since stays."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select, update

from teleread.storage.backup.folder import finished, manifest_key, proven_backups, verify_backup
from teleread.storage.backup.make import make_backup
from teleread.storage.backup.restore import restore_backup
from teleread.storage.backup.rings import store_ring
from teleread.storage.catalogue import schema, sweeping
from teleread.storage.catalogue.schema import backups, objects, swept_objects
from teleread.storage.objects.sealed import SealedStore
from teleread.storage.vault import schema as vault_schema
from tests.backups import RingKeys, Small, land_one, wrong_with
from tests.unit.backing_up import folder, lose, small  # noqa: F401


def test_a_deleted_object_leaves_the_folder_and_a_lost_one_stays(small: Small, folder: Path) -> None:
    parts = small.open()
    for number in range(4):
        land_one(small, parts, number)
    first = make_backup(parts, folder)
    deleted, lost, *_ = [info.key for info in parts.blobs.list("raw/")]
    with parts.catalogue.write() as conn:
        conn.execute(delete(schema.arrivals).where(schema.arrivals.c.object_key == deleted))
        conn.execute(delete(objects).where(objects.c.key == deleted))
        conn.execute(swept_objects.insert().values(key=deleted, condemned_at=small.now, gone=True))
    parts.blobs.delete(deleted)
    parts.blobs.delete(lost)
    made = make_backup(parts, folder, verify=True)
    assert (made.removed, made.kept, made.manifest.lost) == (1, 1, ())
    assert not (folder / "objects" / "0" / deleted).exists()
    assert (folder / "objects" / "0" / lost).exists()
    # the older backup names the deleted object and can still be restored
    lose(small, store=True)
    restored = restore_backup(small.target(), folder, small.halves, identifier=first.manifest.id, actor="ops")
    assert restored.missing == ()


def test_bytes_that_came_anew_after_a_deletion_get_a_copy_of_their_own(small: Small, folder: Path) -> None:
    parts = small.open()
    arrival = land_one(small, parts, 0)
    make_backup(parts, folder)
    (key,) = [info.key for info in parts.blobs.list("raw/")]
    with parts.catalogue.write() as conn:
        conn.execute(swept_objects.insert().values(key=key, condemned_at=small.now, gone=True))
    parts.blobs.delete(key)
    from teleread.storage.objects.sealed import SealedStore
    from tests.backups import RingKeys

    SealedStore(parts.blobs, RingKeys(parts.ring)).put_raw(small.landed[arrival])
    fresh = parts.blobs.get(key)
    made = make_backup(parts, folder, verify=True)
    assert made.removed == 1
    make_backup(parts, folder, verify=True)
    lose(small, store=True)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    assert small.blobs.get(key) == fresh


def test_thinning_keeps_the_newest_and_all_that_it_needs(small: Small, folder: Path) -> None:
    parts = small.open()
    ids = []
    for number in range(4):
        land_one(small, parts, number)
        ids.append(make_backup(parts, folder, keep=2).manifest.id)
    assert finished(folder) == ids[2:]
    with parts.catalogue.read() as conn:
        facts = {row.id: row for row in conn.execute(select(backups))}
    assert ["dropped_at" in facts[name].facts for name in ids] == [True, True, False, False]
    assert all(facts[name].made_at for name in ids)
    newest = proven_backups(folder, manifest_key(parts.ring))[-1]
    verify_backup(folder, newest)


def test_the_newest_backup_is_the_last_one_also_when_the_clock_was_set_back(small: Small, folder: Path) -> None:
    parts = small.open()
    make_backup(parts, folder)
    small.now -= timedelta(days=30)
    told = {land_one(small, parts, 0)}
    made = make_backup(parts, folder)
    assert finished(folder)[-1] == made.manifest.id
    lose(small)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    assert wrong_with(small, small.open(), told) == []


def test_a_master_key_dropped_while_the_backup_runs_leaves_no_entry_unreadable(small: Small, folder: Path) -> None:
    parts = small.open()
    told = {land_one(small, parts, number) for number in range(3)}

    def step(name: str) -> None:
        if name == "vault_dumped":
            old = parts.ring.master()[0]
            fresh = parts.ring.add_master()
            with parts.vault.write() as conn:
                conn.execute(update(vault_schema.identities).values(master_id=fresh.hex()))
            parts.ring.drop_master(old)

    make_backup(parts, folder, verify=True, step=step)
    lose(small)
    for info in list(small.blobs.list("keyring/")):
        small.blobs.delete(info.key)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    assert wrong_with(small, small.open(), told) == []


def test_what_was_being_removed_at_the_backup_and_came_again_since_is_not_removed(small: Small, folder: Path) -> None:
    parts = small.open()
    store = SealedStore(parts.blobs, RingKeys(parts.ring))
    key = store.put_raw(b"of a landing that was cut short").key
    with parts.catalogue.write() as conn:
        sweeping.condemn(conn, [key], small.clock())
    make_backup(parts, folder)
    with sweeping.sole_remover(parts.catalogue):
        sweeping.finish(parts.catalogue, store, [key])
    store.put_raw(b"of a landing that was cut short")
    lose(small, ring=False)

    target = small.target()
    restore_backup(target, folder, small.halves, actor="ops")
    with sweeping.sole_remover(target.catalogue):
        later = small.clock() + timedelta(days=1)
        assert sweeping.finish_left(target.catalogue, store, later) == 0
    assert store.exists(key)
    with target.catalogue.write() as conn:
        sweeping.check(conn, [key], sweeping.mark(conn))


def test_the_last_copy_of_a_lost_object_stays_although_its_key_was_deleted_once(small: Small, folder: Path) -> None:
    parts = small.open()
    arrival = land_one(small, parts, 0)
    (key,) = [info.key for info in parts.blobs.list("raw/")]
    with parts.catalogue.write() as conn:  # deleted a year ago, before the same bytes came again
        conn.execute(swept_objects.insert().values(key=key, condemned_at=small.now, gone=True))
    make_backup(parts, folder)
    parts.blobs.delete(key)
    for _ in range(2):
        made = make_backup(parts, folder)
        assert (made.kept, made.manifest.lost) == (1, ())
        assert (folder / "objects" / "0" / key).exists()
    lose(small, store=True)
    restored = restore_backup(small.target(), folder, small.halves, actor="ops")
    assert restored.missing == ()
    assert wrong_with(small, small.open(), {arrival}) == []


def test_an_object_that_came_again_and_is_nowhere_is_named_as_lost(small: Small, folder: Path) -> None:
    parts = small.open()
    land_one(small, parts, 0)
    (key,) = [info.key for info in parts.blobs.list("raw/")]
    with parts.catalogue.write() as conn:
        conn.execute(swept_objects.insert().values(key=key, condemned_at=small.now, gone=True))
    parts.blobs.delete(key)
    assert make_backup(parts, folder).manifest.lost == (key,)


def test_a_copy_of_the_ring_that_a_newer_one_replaced_is_not_called_lost(small: Small, folder: Path) -> None:
    parts = small.open()
    land_one(small, parts, 0)
    make_backup(parts, folder)
    make_backup(parts, folder)
    parts.ring.new_intake()
    store_ring(parts.blobs, parts.ring)
    made = make_backup(parts, folder)
    assert (made.kept, made.manifest.lost) == (0, ())


def test_what_is_deleted_after_a_restore_to_an_earlier_time_leaves_the_folder(small: Small, folder: Path) -> None:
    parts = small.open()
    for number in range(2):
        land_one(small, parts, number)
    first = make_backup(parts, folder)
    with parts.catalogue.write() as conn:
        for _ in range(9):
            conn.execute(swept_objects.insert().values(key="elsewhere", condemned_at=small.now, gone=True))
    make_backup(parts, folder)
    lose(small, store=True)
    restore_backup(small.target(), folder, small.halves, identifier=first.manifest.id, actor="ops")
    parts = small.open()
    key = next(info.key for info in parts.blobs.list("raw/"))
    with parts.catalogue.write() as conn:
        conn.execute(delete(schema.arrivals).where(schema.arrivals.c.object_key == key))
        conn.execute(delete(objects).where(objects.c.key == key))
        conn.execute(swept_objects.insert().values(key=key, condemned_at=small.now, gone=True))
    parts.blobs.delete(key)
    assert make_backup(parts, folder).kept == 0
    assert not (folder / "objects" / "0" / key).exists()

"""Backups are whole and consistent while the system runs; nothing is restored from one that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from teleread.errors import Conflict, InputRejected, Misconfigured, StorageError
from teleread.storage import audit
from teleread.storage.backup.folder import finished, manifest_key, proven_backups, verify_backup
from teleread.storage.backup.make import make_backup
from teleread.storage.backup.restore import note_restored, restore_backup
from teleread.storage.backup.rings import store_ring, stored_rings
from teleread.storage.catalogue import schema, sweeping
from teleread.storage.catalogue.schema import backups, objects, swept_objects
from teleread.storage.objects.sealed import SealedStore
from teleread.storage.vault import recovery
from teleread.storage.vault import schema as vault_schema
from tests.backups import RingKeys, Small, land_one, rows_of, small_on_files, wrong_with
from tests.prove.backups import prove_one


class Killed(BaseException):
    """Ends a step as a kill does: nothing catches it."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    made = small_on_files(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def _lose(small: Small, *, store: bool = False, ring: bool = True) -> None:
    small.close()
    small.opened.clear()
    for path in [small.home / "vault", *small.home.glob("catalogue.db*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if ring:
        shutil.rmtree(small.home / "keys")
    if store:
        shutil.rmtree(small.home / "objects")


@pytest.mark.parametrize("store", [False, True], ids=["store survives", "store lost"])
def test_all_that_was_acknowledged_before_the_backup_is_back(small: Small, folder: Path, store: bool) -> None:
    parts = small.open()
    told = {land_one(small, parts, number) for number in range(12)}
    made = make_backup(parts, folder, verify=True)
    assert made.copied == made.manifest.object_count == 12
    before = rows_of(parts.catalogue), rows_of(parts.vault)
    land_one(small, parts, 99)
    _lose(small, store=store)

    target = small.target()
    restored = restore_backup(target, folder, small.halves, actor="ops")
    assert restored.manifest == made.manifest
    assert restored.missing == ()
    assert restored.copied == (12 if store else 0)
    parts = small.open()
    assert wrong_with(small, parts, told) == []
    after = rows_of(parts.catalogue), rows_of(parts.vault)
    for was, now in zip(before, after, strict=True):
        for name in was.keys() - {"audit_events", "audit_unsealed", "vault_events", "vault_unsealed", "backups"}:
            assert now[name] == was[name], name
    kept = after[0]["audit_events"]
    assert [row for row in before[0]["audit_events"] if row not in kept and row[3] != "backup"] == []
    assert [row for row in before[1]["vault_events"] if row not in after[1]["vault_events"]] == []


def test_the_audit_chain_goes_on_after_a_restore(small: Small, folder: Path) -> None:
    parts = small.open()
    for number in range(3):
        land_one(small, parts, number)
    key = parts.ring.derive("audit")
    pairs = ((parts.catalogue, schema.audit), (parts.vault, vault_schema.audit))
    for database, tables in pairs:
        audit.seal(database, tables, key, small.clock())
    land_one(small, parts, 3)
    made = make_backup(parts, folder)
    head = made.manifest.audit["catalogue"]
    assert head is not None
    assert head.seq == 3
    _lose(small)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    parts = small.open()
    key = parts.ring.derive("audit")
    for database, tables in ((parts.catalogue, schema.audit), (parts.vault, vault_schema.audit)):
        audit.seal(database, tables, key, small.clock())
        verdict = audit.verify(database, tables, key, small.clock())
        assert verdict.broken is None
        assert verdict.links >= 4


def test_a_second_backup_copies_only_what_is_new(small: Small, folder: Path) -> None:
    parts = small.open()
    for number in range(5):
        land_one(small, parts, number)
    make_backup(parts, folder)
    land_one(small, parts, 5)
    made = make_backup(parts, folder, verify=True)
    assert (made.copied, made.manifest.object_count) == (2, 7)  # one object and the ring's copy of the first backup


def test_without_a_recovery_key_there_is_no_backup(small: Small, folder: Path) -> None:
    parts = small.open(recoverable=False)
    with pytest.raises(Misconfigured) as refused:
        make_backup(parts, folder)
    assert refused.value.code == "no_recovery_key"
    assert not folder.exists()


def test_a_folder_of_another_system_is_refused(small: Small, folder: Path, tmp_path: Path) -> None:
    make_backup(small.open(), folder)
    other = small_on_files(tmp_path / "other")
    with pytest.raises(Misconfigured) as refused:
        make_backup(other.open(), folder)
    other.close()
    assert refused.value.code == "backup_folder_foreign"


def _steps(small: Small, folder: Path) -> list[str]:
    seen: list[str] = []
    make_backup(small.open(), folder, keep=1, step=seen.append)
    return seen


STEPS = [
    "row_begun",
    "catalogue_dumped",
    "vault_dumped",
    "objects_copied",
    "ring_kept",
    "manifest_written",
    "copies_removed",
    "thinned",
    "row_made",
]


def test_the_steps_are_those_that_the_kills_go_through(small: Small, folder: Path) -> None:
    assert _steps(small, folder) == STEPS


@pytest.mark.parametrize("killed_at", STEPS)
def test_a_backup_killed_at_any_step_is_never_half_a_backup(small: Small, folder: Path, killed_at: str) -> None:
    parts = small.open()
    told = {land_one(small, parts, number) for number in range(4)}
    make_backup(parts, folder)
    told_late = told | {land_one(small, parts, number) for number in range(4, 7)}

    def step(name: str) -> None:
        land_one(small, parts, 100 + len(small.landed))  # the system goes on
        if name == killed_at:
            raise Killed

    with pytest.raises(Killed):
        make_backup(parts, folder, keep=1, step=step)
    finished_now = len(finished(folder)) == 2 or STEPS.index(killed_at) >= STEPS.index("manifest_written")
    _lose(small, store=True)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    parts = small.open()
    assert wrong_with(small, parts, told_late if finished_now else told) == []
    # the next run finds nothing in its way
    make_backup(parts, folder, keep=1, verify=True)
    assert len(finished(folder)) == 1
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [".lock"]


def test_a_dump_of_the_vault_before_the_catalogue_is_caught(
    small: Small, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: what lands between the two dumps has a row and no identity."""
    from teleread.storage.backup import make

    catalogue, vault = make._Work._dump_catalogue, make._Work._dump_vault

    def vault_first(work, heads):  # type: ignore[no-untyped-def]
        versions: dict[str, str] = {}
        twin["parts"] = vault(work, heads, versions)
        twin["versions"] = versions
        work.step("between")
        parts, later, mark = catalogue(work, heads)
        return parts, {**versions, **later}, mark

    twin: dict[str, object] = {}
    monkeypatch.setattr(make._Work, "_dump_catalogue", vault_first)
    monkeypatch.setattr(make._Work, "_dump_vault", lambda *_: twin["parts"])
    parts = small.open()
    land_one(small, parts, 0)
    make_backup(parts, folder, step=lambda _name: str(land_one(small, parts, 100 + len(small.landed))))  # type: ignore[arg-type,return-value]
    _lose(small, store=True)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    assert any("no identity" in wrong for wrong in wrong_with(small, small.open(), set()))


def test_objects_copied_before_the_catalogue_are_caught(
    small: Small, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: what lands between has a row and no bytes."""
    from teleread.storage.backup import make

    catalogue, copy = make._Work._dump_catalogue, make._Work._copy
    twin: dict[str, object] = {}

    def objects_first(work, heads):  # type: ignore[no-untyped-def]
        twin["copied"] = copy(work, 0)
        work.step("between")
        return catalogue(work, heads)

    monkeypatch.setattr(make._Work, "_dump_catalogue", objects_first)
    monkeypatch.setattr(make._Work, "_copy", lambda *_: twin["copied"])
    parts = small.open()
    land_one(small, parts, 0)
    made = make_backup(parts, folder, step=lambda _name: str(land_one(small, parts, 100 + len(small.landed))))  # type: ignore[arg-type,return-value]
    assert made.manifest.lost != ()
    _lose(small, store=True)
    restored = restore_backup(small.target(), folder, small.halves, actor="ops")
    assert restored.missing == made.manifest.lost
    with pytest.raises(StorageError):
        wrong_with(small, small.open(), set())


def test_a_manifest_written_first_is_caught(small: Small, folder: Path) -> None:
    """The broken twin: killed later, it leaves a folder that says it is a backup and is none."""
    parts = small.open()
    land_one(small, parts, 0)
    made = make_backup(parts, folder)
    here = folder / made.manifest.id

    def step(name: str) -> None:
        if name == "catalogue_dumped":
            unfinished = next(path for path in folder.iterdir() if path.is_dir() and path.name not in
                              ("objects", made.manifest.id))  # fmt: skip
            shutil.copy(here / "manifest.json", unfinished / "manifest.json")
            raise Killed

    with pytest.raises(Killed):
        make_backup(parts, folder, step=step)
    _lose(small)
    with pytest.raises(StorageError) as refused:
        restore_backup(small.target(), folder, small.halves, actor="ops")
    assert refused.value.code == "backup_corrupt"


def _spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_one_flipped_bit_anywhere_in_a_backup_is_found_and_nothing_is_changed(small: Small, folder: Path) -> None:
    parts = small.open()
    for number in range(3):
        land_one(small, parts, number)
    made = make_backup(parts, folder)
    _lose(small, store=True)
    clean = folder.with_name("clean")
    shutil.copytree(folder, clean)
    files = list((folder / made.manifest.id).iterdir())
    files += [path for path in (folder / "objects" / "0").rglob("*") if path.is_file()]
    assert len(files) > 40
    for path in files:
        _spoil(path)
        target = small.target()
        with pytest.raises((StorageError, InputRejected)) as refused:
            restore_backup(target, folder, small.halves, actor="ops")
        assert refused.value.code in {"backup_corrupt", "backup_copies_broken", "backup_unfinished"}, path
        assert not small.key_file.exists()
        assert not (small.home / "objects" / "raw").exists()
        shutil.copy(clean / path.relative_to(folder), path)
    restore_backup(small.target(), folder, small.halves, actor="ops")


def test_a_broken_copy_does_not_stand_against_the_rest_when_a_person_says_so(small: Small, folder: Path) -> None:
    parts = small.open()
    told = [land_one(small, parts, number) for number in range(3)]
    make_backup(parts, folder)
    _lose(small, store=True)
    copy = sorted(path for path in (folder / "objects" / "0").rglob("*") if path.is_file())[1]
    _spoil(copy)
    restored = restore_backup(small.target(), folder, small.halves, actor="ops", without_broken=True)
    assert restored.missing == (str(copy.relative_to(folder / "objects" / "0")),)
    with small.open().catalogue.read() as conn:
        assert len(conn.execute(select(schema.arrivals)).all()) == len(told)


def test_a_running_system_is_not_restored_over(small: Small, folder: Path) -> None:
    parts = small.open()
    land_one(small, parts, 0)
    make_backup(parts, folder)
    with pytest.raises(Conflict) as refused:
        restore_backup(small.target(), folder, small.halves, actor="ops")
    assert refused.value.code == "database_not_empty"


def test_wrong_halves_open_nothing(small: Small, folder: Path) -> None:
    make_backup(small.open(), folder)
    _lose(small)
    other = recovery.split(recovery.new_pair()[0])
    for halves in (other, (small.halves[0], other[1]), (small.halves[0], small.halves[0])):
        with pytest.raises(InputRejected):
            restore_backup(small.target(), folder, halves, actor="ops")
    assert not small.key_file.exists()


RESTORE_STEPS = ["checked", "ring_restored", "vault_restored", "catalogue_restored", "objects_restored"]


@pytest.mark.parametrize("killed_at", RESTORE_STEPS)
def test_a_restore_killed_at_any_step_can_be_run_again(small: Small, folder: Path, killed_at: str) -> None:
    parts = small.open()
    told = {land_one(small, parts, number) for number in range(3)}
    make_backup(parts, folder)
    _lose(small, store=True)
    seen: list[str] = []

    def step(name: str) -> None:
        seen.append(name)
        if name == killed_at:
            raise Killed

    with pytest.raises(Killed):
        restore_backup(small.target(), folder, small.halves, actor="ops", step=step)
    assert seen == RESTORE_STEPS[: len(seen)]
    target = small.target()
    restored = restore_backup(target, folder, small.halves, actor="ops")
    assert wrong_with(small, small.open(), told) == []
    note_restored(target, restored.manifest, actor="ops", detail={})
    with pytest.raises(Conflict):
        restore_backup(small.target(), folder, small.halves, actor="ops")


def test_keys_made_after_the_backup_come_from_the_store(small: Small, folder: Path) -> None:
    parts = small.open()
    told = {land_one(small, parts, 0)}
    make_backup(parts, folder)
    old_master = parts.ring.master()[0]
    parts.ring.new_intake()
    parts.ring.add_master()
    parts.ring.drop_master(old_master)
    store_ring(parts.blobs, parts.ring)
    land_one(small, parts, 1)
    generation = parts.ring.generation
    raw = [info.key for info in parts.blobs.list("raw/")]
    _lose(small)
    restored = restore_backup(small.target(), folder, small.halves, actor="ops")
    assert restored.ring_newer
    assert restored.ring.generation > generation
    parts = small.open()
    # the old master key is back, because the backup's entries are under it
    assert wrong_with(small, parts, told) == []
    for key in raw:
        assert parts.ring.intake_key(parts.blobs.get_range(key, 36, 8)) is not None


def test_only_the_newest_copy_of_the_ring_stays_in_the_store(small: Small) -> None:
    parts = small.open()
    for _ in range(3):
        parts.ring.new_intake()
        store_ring(parts.blobs, parts.ring)
        store_ring(parts.blobs, parts.ring)
    assert len(list(stored_rings(parts.blobs))) in (1, 2)  # of one generation both may stay
    assert all(f"{parts.ring.generation:012d}" in key for key in stored_rings(parts.blobs))


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
    _lose(small, store=True)
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
    _lose(small, store=True)
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


def test_nothing_in_the_folder_is_readable(small: Small, folder: Path) -> None:
    parts = small.open()
    arrival = land_one(small, parts, 0)
    make_backup(parts, folder)
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"P000000000000" not in data
            assert small.landed[arrival][:20] not in data
            assert path.stat().st_mode & 0o077 == 0, path
    json.loads((folder / finished(folder)[0] / "manifest.json").read_text())


@pytest.mark.parametrize("number", [1, 5])
def test_a_backup_ended_by_the_system_is_whole_or_none(tmp_path: Path, number: int) -> None:
    assert prove_one(tmp_path, number) == []


def test_the_newest_backup_is_the_last_one_also_when_the_clock_was_set_back(small: Small, folder: Path) -> None:
    parts = small.open()
    make_backup(parts, folder)
    small.now -= timedelta(days=30)
    told = {land_one(small, parts, 0)}
    made = make_backup(parts, folder)
    assert finished(folder)[-1] == made.manifest.id
    _lose(small)
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
    _lose(small)
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
    _lose(small, ring=False)

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
    _lose(small, store=True)
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
    _lose(small, store=True)
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

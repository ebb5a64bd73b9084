"""Backups are whole and consistent while the system runs; nothing is restored from one that is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import select

from teleread.errors import Conflict, InputRejected, Misconfigured, StorageError
from teleread.storage import audit
from teleread.storage.backup.folder import finished
from teleread.storage.backup.make import make_backup
from teleread.storage.backup.restore import restore_backup
from teleread.storage.backup.rings import store_ring, stored_rings
from teleread.storage.catalogue import schema
from teleread.storage.vault import recovery
from teleread.storage.vault import schema as vault_schema
from tests.backups import Small, land_one, rows_of, small_on_files, wrong_with
from tests.unit.backing_up import folder, lose, small  # noqa: F401


@pytest.mark.parametrize("store", [False, True], ids=["store survives", "store lost"])
def test_all_that_was_acknowledged_before_the_backup_is_back(small: Small, folder: Path, store: bool) -> None:
    parts = small.open()
    told = {land_one(small, parts, number) for number in range(12)}
    made = make_backup(parts, folder, verify=True)
    assert made.copied == made.manifest.object_count == 12
    before = rows_of(parts.catalogue), rows_of(parts.vault)
    land_one(small, parts, 99)
    lose(small, store=store)

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
    lose(small)
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


def _spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_one_flipped_bit_anywhere_in_a_backup_is_found_and_nothing_is_changed(small: Small, folder: Path) -> None:
    parts = small.open()
    for number in range(3):
        land_one(small, parts, number)
    made = make_backup(parts, folder)
    lose(small, store=True)
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
    lose(small, store=True)
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
    lose(small)
    other = recovery.split(recovery.new_pair()[0])
    for halves in (other, (small.halves[0], other[1]), (small.halves[0], small.halves[0])):
        with pytest.raises(InputRejected):
            restore_backup(small.target(), folder, halves, actor="ops")
    assert not small.key_file.exists()


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
    lose(small)
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

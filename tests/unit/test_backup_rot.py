"""What rots, is cut short or is forged in the store or in the folder is noticed, and harms nothing else."""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from teleread.errors import StorageError
from teleread.storage.backup.folder import finished
from teleread.storage.backup.make import Parts, make_backup
from teleread.storage.backup.restore import restore_backup
from teleread.storage.catalogue.schema import swept_objects
from teleread.storage.objects.sealed import SealedStore
from teleread.storage.vault.keyring import KeyRing
from tests.backups import RingKeys, Small, land_one, wrong_with
from tests.unit.backing_up import folder, small  # noqa: F401

FORGED = "99990101t000000z-000000"


def _lose(small: Small) -> None:
    small.close()
    small.opened.clear()
    for path in [*small.home.glob("catalogue.db*")]:
        path.unlink()
    for name in ("vault", "keys", "objects"):
        shutil.rmtree(small.home / name)


def _raw(parts: Parts) -> list[str]:
    return [info.key for info in parts.blobs.list("raw/")]


def _spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def _replace(small: Small, parts: Parts, key: str, data: bytes, *, said: bool) -> bytes:
    """As a rotten object is replaced: the same plaintext, sealed anew."""
    parts.blobs.delete(key)
    SealedStore(parts.blobs, RingKeys(parts.ring)).put_raw(data)
    if said:
        with parts.catalogue.write() as conn:
            conn.execute(swept_objects.insert().values(key=key, condemned_at=small.now, gone=True))
    return parts.blobs.get(key)


@pytest.mark.parametrize("said", [True, False], ids=["the catalogue says so", "the store alone shows it"])
def test_good_bytes_that_took_the_place_of_rotten_ones_are_backed_up(small: Small, folder: Path, said: bool) -> None:
    parts = small.open()
    arrival = land_one(small, parts, 0)
    (key,) = _raw(parts)
    _spoil(small.home / "objects" / key)
    make_backup(parts, folder)
    good = _replace(small, parts, key, small.landed[arrival], said=said)
    make_backup(parts, folder, verify=True)
    make_backup(parts, folder, verify=True)
    _lose(small)
    assert restore_backup(small.target(), folder, small.halves, actor="ops").missing == ()
    assert small.blobs.get(key) == good


def test_an_older_backup_is_restored_with_the_good_bytes_that_came_later(small: Small, folder: Path) -> None:
    parts = small.open()
    arrival = land_one(small, parts, 0)
    (key,) = _raw(parts)
    first = make_backup(parts, folder)
    good = _replace(small, parts, key, small.landed[arrival], said=True)
    assert make_backup(parts, folder).removed == 1
    _lose(small)
    restore_backup(small.target(), folder, small.halves, identifier=first.manifest.id, actor="ops")
    assert small.blobs.get(key) == good
    assert wrong_with(small, small.open(), {arrival}) == []


def test_an_object_cut_short_in_the_store_does_not_take_the_place_of_its_whole_copy(small: Small, folder: Path) -> None:
    parts = small.open()
    arrival = land_one(small, parts, 0)
    (key,) = _raw(parts)
    make_backup(parts, folder)
    path = small.home / "objects" / key
    whole = path.read_bytes()
    for length in (200, 60, 0):
        path.chmod(0o600)
        path.write_bytes(whole[:length])
        made = make_backup(parts, folder, verify=True)
        assert (made.kept, made.broken) == (1, ())
    _lose(small)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    assert wrong_with(small, small.open(), {arrival}) == []


def test_a_rotten_copy_is_brought_anew_when_the_backup_is_verified(small: Small, folder: Path) -> None:
    parts = small.open()
    arrival = land_one(small, parts, 0)
    (key,) = _raw(parts)
    make_backup(parts, folder)
    copy = folder / "objects" / "0" / key
    good = copy.read_bytes()
    _spoil(copy)
    assert make_backup(parts, folder, verify=True).broken == ()
    assert copy.read_bytes() == good
    copy.unlink()
    make_backup(parts, folder)
    _lose(small)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    assert wrong_with(small, small.open(), {arrival}) == []


@pytest.mark.parametrize("lost", [True, False], ids=["lost in the store", "rotten in the store"])
def test_a_rotten_copy_that_nobody_can_renew_is_named_at_each_verification(
    small: Small, folder: Path, lost: bool
) -> None:
    parts = small.open()
    land_one(small, parts, 0)
    (key,) = _raw(parts)
    make_backup(parts, folder)
    _spoil(folder / "objects" / "0" / key)
    if lost:
        parts.blobs.delete(key)
    else:
        _spoil(small.home / "objects" / key)
        (small.home / "objects" / key).write_bytes((small.home / "objects" / key).read_bytes()[:-1] + b"?")
    for _ in range(2):
        assert make_backup(parts, folder, verify=True).broken == (key,)


def test_what_a_killed_backup_copied_and_rotted_since_is_not_taken_for_good(small: Small, folder: Path) -> None:
    parts = small.open()
    arrival = land_one(small, parts, 0)
    (key,) = _raw(parts)

    def step(name: str) -> None:
        if name == "objects_copied":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_backup(parts, folder, step=step)
    _spoil(folder / "objects" / "0" / key)
    make_backup(parts, folder)
    _lose(small)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    assert wrong_with(small, small.open(), {arrival}) == []


def _forge(folder: Path, like: str) -> Path:
    fake = folder / FORGED
    fake.mkdir()
    said = json.loads((folder / like / "manifest.json").read_text())
    said["manifest"]["id"] = FORGED
    said["manifest"]["removed"] = {**said["manifest"]["objects"], "name": "removed.list.gz"}
    shutil.copy(folder / like / "objects.list.gz", fake / "removed.list.gz")
    (fake / "manifest.json").write_text(json.dumps(said))
    return fake


def test_a_forged_later_manifest_takes_nothing_from_a_restore(small: Small, folder: Path) -> None:
    parts = small.open()
    told = {land_one(small, parts, number) for number in range(3)}
    made = make_backup(parts, folder)
    _forge(folder, made.manifest.id)
    _lose(small)
    with pytest.raises(StorageError) as refused:
        restore_backup(small.target(), folder, small.halves, actor="ops")
    assert refused.value.code == "backup_corrupt"
    restored = restore_backup(small.target(), folder, small.halves, identifier=made.manifest.id, actor="ops")
    assert (restored.copied, restored.missing) == (3, ())
    assert wrong_with(small, small.open(), told) == []


def test_a_forged_manifest_removes_neither_copies_nor_backups_and_is_named(small: Small, folder: Path) -> None:
    parts = small.open()
    land_one(small, parts, 0)
    first = make_backup(parts, folder)
    fake = _forge(folder, first.manifest.id)
    made = make_backup(parts, folder, keep=2, verify=True)
    assert made.thinned == ()
    assert made.unproven == (FORGED,)
    assert made.copied <= 1  # the ring's copy: the objects were there
    assert made.manifest.id < FORGED
    assert fake.exists()


@pytest.mark.parametrize("list_name", ["objects.list.gz", "removed.list.gz"])
@pytest.mark.parametrize("older", [True, False], ids=["an older list is whole", "there is no other list"])
def test_a_rotten_list_stands_in_no_backups_way_and_loses_nothing(
    small: Small, folder: Path, list_name: str, older: bool
) -> None:
    parts = small.open()
    told = {land_one(small, parts, number) for number in range(4)}
    lost = _raw(parts)[0]
    if older:
        make_backup(parts, folder)
    made = make_backup(parts, folder)
    parts.blobs.delete(lost)
    path = folder / made.manifest.id / list_name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = make_backup(parts, folder, keep=1, verify=True)
    assert (again.kept, again.manifest.lost) == (1, ())
    assert again.copied <= 1
    _lose(small)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    assert wrong_with(small, small.open(), told) == []


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, '{"manifest": Infinity}'], ids=["[", "{", "inf"])
def test_a_manifest_that_no_parser_can_hold_has_a_code(small: Small, folder: Path, text: str) -> None:
    parts = small.open()
    told = {land_one(small, parts, 0)}
    made = make_backup(parts, folder)
    deep = folder / FORGED
    deep.mkdir()
    (deep / "manifest.json").write_text(text)
    assert make_backup(parts, folder).unproven == (FORGED,)
    _lose(small)
    with pytest.raises(StorageError) as refused:
        restore_backup(small.target(), folder, small.halves, actor="ops")
    assert refused.value.code == "backup_corrupt"
    restore_backup(small.target(), folder, small.halves, identifier=made.manifest.id, actor="ops")
    assert wrong_with(small, small.open(), told) == []
    assert FORGED in finished(folder)


def test_a_restore_writes_the_key_ring_to_its_own_place_alone(
    small: Small, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = small.open()
    land_one(small, parts, 0)
    make_backup(parts, folder)
    _lose(small)
    (tmp_path / "aside").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "aside"))
    opened: list[Path] = []
    restore = KeyRing.restore

    def watched(path: Path | str, ring_bytes: bytes, *, clock) -> KeyRing:  # type: ignore[no-untyped-def]
        opened.append(Path(path))
        return restore(path, ring_bytes, clock=clock)

    monkeypatch.setattr(KeyRing, "restore", watched)
    seen: list[Path] = []

    def look(_what: str, _done: int) -> None:
        seen.extend((tmp_path / "aside").rglob("*"))

    restore_backup(small.target(), folder, small.halves, actor="ops", progress=look)
    assert seen == []
    assert opened == [small.key_file]


def test_a_ring_in_memory_is_read_and_never_changed(small: Small) -> None:
    ring = small.open().ring

    def now() -> datetime:
        return small.now + timedelta(days=1)

    copy = KeyRing.in_memory(small.key_file.read_bytes(), clock=now)
    assert copy.derive("backup") == ring.derive("backup")
    with pytest.raises(StorageError) as refused:
        copy.new_intake()
    assert refused.value.code == "key_file_io"

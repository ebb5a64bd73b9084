"""The file store: durable when it says so, whole or absent after a crash."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from teleread.errors import StorageError
from teleread.storage.objects import FileSystemStore, StoredObject
from tests.contract import storage_child
from tests.contract.object_store_contract import MIB, ObjectStoreContract, Trickle, at_once, peak_bytes

OBJECTS = storage_child.OBJECTS


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "objects")


def temporaries(store: FileSystemStore) -> list[str]:
    return os.listdir(store.root / ".incoming")


class TestFileSystemStore(ObjectStoreContract):
    memory_bound_bytes = 4 * MIB


def test_the_memory_test_catches_a_store_that_reads_everything_at_once(store: FileSystemStore) -> None:
    class Greedy(FileSystemStore):
        def put(self, key: str, data: bytes | BinaryIO, *, size_hint: int | None = None) -> StoredObject:
            return super().put(key, data if isinstance(data, bytes) else data.read())

    greedy = Greedy(store.root)
    assert peak_bytes(lambda: greedy.put("big", Trickle(16 * MIB))) > 4 * MIB  # type: ignore[arg-type]


# crashes


def broken_promises(root: Path, acknowledged: list[str]) -> list[str]:
    """What a reader finds that must not be: partial objects, lost acknowledged ones, strange names."""
    store = FileSystemStore(root)
    found = list(store.list())
    broken = [f"unknown {key}" for key in found if key not in OBJECTS]
    broken += [f"partial {key}" for key in found if key in OBJECTS and store.get(key) != OBJECTS[key]]
    broken += [f"lost {key}" for key in acknowledged if key not in found]
    return broken


def crash_everywhere(kind: str, folder: Path) -> tuple[int, list[str]]:
    """Kill a writer at each of its steps; how many there are, and all promises broken."""
    broken: list[str] = []
    for n in range(1, 100):
        root = folder / str(n)
        status, acknowledged = storage_child.run("store", kind, str(root), str(n))
        broken += [f"step {n}: {what}" for what in broken_promises(root, acknowledged)]
        if status == 0:
            return n - 1, broken
        assert status == -9
        if kind == "real":
            store = FileSystemStore(root)
            for key, data in OBJECTS.items():
                store.put(key, data)
            assert broken_promises(root, list(OBJECTS)) == []
            store.sweep_temporaries(datetime.now(UTC) + timedelta(minutes=1))
            assert temporaries(store) == []
    raise AssertionError("the writer never came to its end")


def test_a_writer_killed_at_any_step_leaves_objects_whole_or_absent(tmp_path: Path) -> None:
    steps, broken = crash_everywhere("real", tmp_path)
    assert broken == []
    assert steps > 15


def test_the_crash_test_catches_a_writer_that_writes_in_place(tmp_path: Path) -> None:
    _, broken = crash_everywhere("naive", tmp_path)
    assert [what for what in broken if "partial" in what]


def test_the_crash_test_catches_a_lost_object(tmp_path: Path) -> None:
    assert broken_promises(tmp_path, list(OBJECTS)) == [f"lost {key}" for key in OBJECTS]


# durability: a killed process shows nothing about a lost page cache, so the order of calls is watched instead


class Disk:
    """Knows which bytes and which names a power cut would leave."""

    def __init__(self, patch: pytest.MonkeyPatch, *, lazy: str = "") -> None:
        self._lazy = lazy
        self.synced: set[tuple[int, int]] = set()  # (device, inode) of files whose bytes are durable
        self.names: set[Path] = set()  # entries whose folder was synced after they were made
        self._real_fsync = os.fsync
        patch.setattr(os, "fsync", self._fsync)

    def _fsync(self, handle: int) -> None:
        found = os.fstat(handle)
        kind = "folder" if stat.S_ISDIR(found.st_mode) else "file"
        if kind == self._lazy:
            return
        self._real_fsync(handle)
        if kind == "file":
            self.synced.add((found.st_dev, found.st_ino))
        else:
            folder = Path(os.readlink(f"/proc/self/fd/{handle}"))
            self.names |= {folder / name for name in os.listdir(folder)}

    def keeps(self, path: Path, root: Path) -> bool:
        """Whether the file would be there, with its bytes, after a power cut."""
        found = path.stat()
        way = [path, *path.parents]
        return (found.st_dev, found.st_ino) in self.synced and set(way[: way.index(root)]) <= self.names


def put_and_cut_power(tmp_path: Path, disk: Disk) -> list[bool]:
    root = tmp_path / "deep" / "objects"
    store = FileSystemStore(root)
    kept = []
    for key in ("raw/sha256/ab/cd/one", "raw/sha256/ab/cd/two", "raw/sha256/ab/ef/one", "top"):
        store.put(key, key.encode())
        kept.append(disk.keeps(root / key, tmp_path))
    return kept


def test_what_is_acknowledged_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert put_and_cut_power(tmp_path, Disk(monkeypatch)) == [True] * 4


@pytest.mark.parametrize("lazy", ["file", "folder"])
def test_the_power_cut_test_catches_a_missing_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazy: str) -> None:
    assert put_and_cut_power(tmp_path, Disk(monkeypatch, lazy=lazy)) == [False] * 4


def test_bytes_are_durable_before_they_have_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    seen: list[bool] = []

    def step(name: str) -> None:
        if name == "linked":
            found = (tmp_path / "objects" / "a").stat()
            seen.append((found.st_dev, found.st_ino) in disk.synced)

    FileSystemStore(tmp_path / "objects", step=step).put("a", b"one")
    assert seen == [True]


def test_an_object_that_another_writer_just_named_is_made_durable_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writer may crash before it syncs the folder."""
    root = tmp_path / "objects"
    outcome: list[bool] = []

    def stopped_here(name: str) -> None:
        if name == "linked" and not outcome:
            disk = Disk(monkeypatch)
            FileSystemStore(root).put("x/a", b"one")
            outcome.append(root / "x/a" in disk.names and root / "x" in disk.names)

    FileSystemStore(root, step=stopped_here).put("x/a", b"one")
    assert outcome == [True]


# full and failing disks


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    status, lines = storage_child.run("full", str(tmp_path / "objects"), str(2 * MIB))
    assert (status, lines) == (0, ["store_full"])
    store = FileSystemStore(tmp_path / "objects")
    assert list(store.list()) == []
    assert temporaries(store) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "store_full"),
        (errno.EDQUOT, "store_full"),
        (errno.EIO, "store_io"),
        (errno.EROFS, "store_io"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "link", "mkdir", "open"])
def test_a_failing_disk_is_said_and_leaves_nothing(
    store: FileSystemStore, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "simulated")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StorageError) as failed:
            store.put("a/b", b"one")
    assert failed.value.code == code
    assert list(store.list()) == []
    assert temporaries(store) == []
    store.put("a/b", b"one")
    assert store.get("a/b") == b"one"


def test_a_failing_source_passes_unchanged_and_leaves_nothing(store: FileSystemStore) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 0:
                raise ConnectionResetError("the browser is gone")
            return super().read(size)

    with pytest.raises(ConnectionResetError):
        store.put("a", Broken(b"x" * (3 * MIB)))
    assert list(store.list()) == []
    assert temporaries(store) == []


# the rest


def test_a_key_is_never_both_an_object_and_a_folder(store: FileSystemStore) -> None:
    store.put("a/b", b"one")
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(StorageError) as refused:
            store.put(key, b"one")
        assert refused.value.code == "bad_key"
    assert list(store.list()) == ["a/b"]
    assert temporaries(store) == []


def test_objects_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = FileSystemStore(tmp_path / "objects")
        store.put("a/b", b"one")
    finally:
        os.umask(before)
    assert stat.S_IMODE((store.root / "a/b").stat().st_mode) == 0o600
    for folder in (store.root, store.root / "a", store.root / ".incoming"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_only_old_temporaries_are_swept(store: FileSystemStore) -> None:
    now = datetime.now(UTC)
    for name, age in (("old", timedelta(hours=2)), ("young", timedelta(minutes=5))):
        path = store.root / ".incoming" / name
        path.write_bytes(b"half")
        then = (now - age).timestamp()
        os.utime(path, (then, then))
    store.put("a", b"one")
    assert store.sweep_temporaries(now - timedelta(hours=1)) == 1
    assert temporaries(store) == ["young"]
    assert store.get("a") == b"one"
    with pytest.raises(ValueError, match="naive"):
        store.sweep_temporaries(datetime(2026, 1, 1))


def test_files_that_are_no_objects_are_not_listed(store: FileSystemStore) -> None:
    store.put("a/b", b"one")
    for name in ("lost+found", "README", ".hidden", "a/.b", "a/B"):
        (store.root / name).write_bytes(b"")
    assert list(store.list()) == ["a/b"]


def test_a_symbolic_link_is_not_followed_out_of_the_store(store: FileSystemStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (store.root / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError):
        store.get("a")
    assert not store.exists("a")


@pytest.mark.parametrize("act", [lambda store: store.get("a"), lambda store: store.put("a", b"one")])
def test_many_threads_may_use_one_store(store: FileSystemStore, act: Callable[[FileSystemStore], object]) -> None:
    store.put("a", b"one")
    assert not [outcome for outcome in at_once(16, lambda _: act(store)) if isinstance(outcome, StorageError)]

"""The file store: durable when it says so, whole or absent after a crash."""

from __future__ import annotations

import contextlib
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
from teleread.storage.objects import FileBlobs, SealedStore, StoredObject, check_raw, raw_key
from tests.contract import storage_child
from tests.contract.keys import TestKeys, shared_keys
from tests.contract.object_store_contract import ObjectStoreContract
from tests.contract.stored_objects import MIB, Trickle, at_once, peak_bytes

OBJECTS = storage_child.OBJECTS


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "objects")


@pytest.fixture
def store(blobs: FileBlobs) -> SealedStore:
    return SealedStore(blobs, TestKeys())


def keys_of(store: SealedStore | FileBlobs) -> list[str]:
    return [info.key for info in store.list()]


def temporaries(blobs: FileBlobs) -> list[str]:
    return os.listdir(blobs.root / ".incoming")


class TestFileStore(ObjectStoreContract):
    flips = None
    big_bytes = 256 * MIB


def test_the_memory_test_catches_a_store_that_reads_everything_at_once(blobs: FileBlobs) -> None:
    class Greedy(SealedStore):
        def put_raw(self, data: bytes | BinaryIO) -> StoredObject:
            return super().put_raw(data if isinstance(data, bytes) else data.read())

    greedy = Greedy(blobs, TestKeys())
    assert peak_bytes(lambda: greedy.put_raw(Trickle(16 * MIB))) > 4 * MIB  # type: ignore[arg-type]


def test_the_whole_process_stays_small_too(tmp_path: Path) -> None:
    """Python's own count does not see what libraries take."""
    status, (before, after) = storage_child.run("big", str(tmp_path), str(256 * MIB))
    assert status == 0
    assert int(after) - int(before) < 8 * 1024


def test_at_no_step_is_anything_of_the_plaintext_on_the_disk(tmp_path: Path) -> None:
    mark = b"Zhang San 110101199003071233"
    files: list[Path] = []

    def step(name: str) -> None:
        for path in tmp_path.rglob("*"):
            if path.is_file():
                files.append(path)
                assert mark[:8] not in path.read_bytes(), name
                assert mark.hex() not in path.name

    store = SealedStore(FileBlobs(tmp_path, step=step), TestKeys())
    store.put_raw(mark * 10)
    store.put_raw(Trickle(700_000))  # type: ignore[arg-type]
    store.put("a", io.BytesIO(mark * 20_000))
    assert len(files) > 20


def test_writers_of_the_same_bytes_in_many_processes_all_succeed(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(storage_child.child("race", str(tmp_path), str(4 * MIB))) for _ in range(8)]
        assert {storage_child.answer(writer) for writer in writers} == {"ready"}
        for writer in writers:
            storage_child.tell(writer)
        said = {storage_child.answer(writer) for writer in writers for _ in range(2)}
        assert [writer.wait() for writer in writers] == [0] * 8
    assert len(said) == 1  # the hash and the id of one data key
    store = SealedStore(FileBlobs(tmp_path), shared_keys())
    sha256 = said.pop().split()[0]
    assert check_raw(store, sha256) == 4 * MIB
    assert keys_of(store) == [raw_key(sha256)]


def test_a_forked_process_uses_the_store_of_its_parent(store: SealedStore) -> None:
    raw = store.put_raw(b"one")
    child = os.fork()
    if child == 0:
        store.put("derived", b"two", root=raw.sha256)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get("derived") == b"two"


def test_a_listing_does_not_read_the_folders_before_where_it_goes_on(
    store: SealedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        store.put(f"a/{i:02}/x", b"")
    seen: list[str] = []
    scan = os.scandir

    def scandir(path: Path) -> object:
        seen.append(path.name)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert [info.key for info in store.list("a/", after="a/17/x")] == ["a/18/x", "a/19/x"]
    assert seen == ["a", "17", "18", "19"]


# crashes


def broken_promises(root: Path, acknowledged: list[str]) -> list[str]:
    """What a reader finds that must not be: partial objects, lost acknowledged ones, strange names."""
    store = SealedStore(FileBlobs(root), shared_keys())
    found = keys_of(store)
    broken = [f"unknown {key}" for key in found if key not in OBJECTS]
    broken += [f"partial {key}" for key in found if key in OBJECTS and not is_whole(store, key)]
    broken += [f"lost {key}" for key in acknowledged if key not in found]
    return broken


def is_whole(store: SealedStore, key: str) -> bool:
    try:
        return store.get(key) == OBJECTS[key]
    except StorageError:
        return False


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
            store = SealedStore(FileBlobs(root), shared_keys())
            for key, data in OBJECTS.items():
                store.put(key, data)
            assert broken_promises(root, list(OBJECTS)) == []
            blobs = FileBlobs(root)
            blobs.sweep_temporaries(datetime.now(UTC) + timedelta(minutes=1))
            assert temporaries(blobs) == []
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
    store = SealedStore(FileBlobs(root), TestKeys())
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

    SealedStore(FileBlobs(tmp_path / "objects", step=step), TestKeys()).put("a", b"one")
    assert seen == [True]


def test_an_object_that_another_writer_just_named_is_made_durable_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writer may crash before it syncs the folder."""
    root = tmp_path / "objects"
    keys = TestKeys()
    outcome: list[bool] = []

    def stopped_here(name: str) -> None:
        if name == "linked" and not outcome:
            disk = Disk(monkeypatch)
            SealedStore(FileBlobs(root), keys).put("x/a", b"one")
            outcome.append(root / "x/a" in disk.names and root / "x" in disk.names)

    SealedStore(FileBlobs(root, step=stopped_here), keys).put("x/a", b"one")
    assert outcome == [True]


# full and failing disks


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    status, lines = storage_child.run("full", str(tmp_path / "objects"), str(2 * MIB))
    assert (status, lines) == (0, ["store_full"])
    blobs = FileBlobs(tmp_path / "objects")
    assert keys_of(blobs) == []
    assert temporaries(blobs) == []


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
    store: SealedStore, blobs: FileBlobs, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "simulated")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StorageError) as failed:
            store.put("a/b", b"one")
    assert failed.value.code == code
    assert keys_of(store) == []
    assert temporaries(blobs) == []
    store.put("a/b", b"one")
    assert store.get("a/b") == b"one"


def test_a_failing_source_passes_unchanged_and_leaves_nothing(store: SealedStore, blobs: FileBlobs) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 0:
                raise ConnectionResetError("the browser is gone")
            return super().read(size)

    with pytest.raises(ConnectionResetError):
        store.put("a", Broken(b"x" * (3 * MIB)))
    assert keys_of(store) == []
    assert temporaries(blobs) == []


# the rest


def test_a_key_is_never_both_an_object_and_a_folder(store: SealedStore, blobs: FileBlobs) -> None:
    store.put("a/b", b"one")
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(StorageError) as refused:
            store.put(key, b"one")
        assert refused.value.code == "bad_key"
    assert keys_of(store) == ["a/b"]
    assert temporaries(blobs) == []


def test_objects_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        blobs = FileBlobs(tmp_path / "objects")
        SealedStore(blobs, TestKeys()).put("a/b", b"one")
    finally:
        os.umask(before)
    assert stat.S_IMODE((blobs.root / "a/b").stat().st_mode) == 0o600
    for folder in (blobs.root, blobs.root / "a", blobs.root / ".incoming"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_only_old_temporaries_are_swept(store: SealedStore, blobs: FileBlobs) -> None:
    now = datetime.now(UTC)
    for name, age in (("old", timedelta(hours=2)), ("young", timedelta(minutes=5))):
        path = blobs.root / ".incoming" / name
        path.write_bytes(b"half")
        then = (now - age).timestamp()
        os.utime(path, (then, then))
    store.put("a", b"one")
    assert blobs.sweep_temporaries(now - timedelta(hours=1)) == 1
    assert temporaries(blobs) == ["young"]
    assert store.get("a") == b"one"
    with pytest.raises(ValueError, match="naive"):
        blobs.sweep_temporaries(datetime(2026, 1, 1))


def test_files_that_are_no_objects_are_not_listed(store: SealedStore, blobs: FileBlobs) -> None:
    store.put("a/b", b"one")
    for name in ("lost+found", "README", ".hidden", "a/.b", "a/B"):
        (blobs.root / name).write_bytes(b"")
    assert keys_of(store) == ["a/b"]


def test_a_symbolic_link_is_not_followed_out_of_the_store(store: SealedStore, blobs: FileBlobs, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (blobs.root / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError):
        store.get("a")
    assert not store.exists("a")


@pytest.mark.parametrize("act", [lambda store: store.get("a"), lambda store: store.put("a", b"one")])
def test_many_threads_may_use_one_store(store: SealedStore, act: Callable[[SealedStore], object]) -> None:
    store.put("a", b"one")
    assert not [outcome for outcome in at_once(16, lambda _: act(store)) if isinstance(outcome, StorageError)]

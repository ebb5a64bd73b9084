"""Copying sealed objects into the backup's folder: what is there already is not read again.

What a key holds never changes, unless the object was deleted on purpose and its bytes arrived anew: those have
another data key, so the copy before would be noise. Such keys stand among ``swept_objects``; their headers are
compared, and the new bytes get a copy beside the old one.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from teleread.errors import StorageError
from teleread.storage.backup.dump import Progress
from teleread.storage.backup.manifest import Copied, ListFile
from teleread.storage.objects.protocol import Blobs, ObjectInfo
from teleread.storage.objects.streams import pieces

FIRST = "0/"
_HEADER_BYTES = 128
_THREADS = 8
_AHEAD = 64
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Swept:
    """What the catalogue says of objects that were deleted on purpose.

    Args:
        mark: number of the newest deletion.
        since: keys deleted since the backup before; few.
        gone: which of some keys were deleted on purpose since the backup before, and are named by no row.
    """

    mark: int
    since: Collection[str]
    gone: Callable[[Collection[str]], set[str]]


@dataclass(slots=True)
class Tally:
    """What copying did."""

    copied: int = 0
    copied_bytes: int = 0
    kept: list[str] = field(default_factory=list)  # names of copies whose object the store has lost


def copy_objects(
    source: Blobs,
    target: Blobs,
    known: Iterator[Copied],
    swept: Swept,
    wanted: ListFile,
    removed: ListFile,
    progress: Progress,
) -> Tally:
    """Bring the folder's copies up to date with the store, and list them.

    Args:
        source: the system's blobs.
        target: the folder's; what is in it is durable and was verified when it was written.
        known: the list of the backup before, ascending; empty when there is none.
        swept: what was deleted on purpose.
        wanted: gets every copy that this backup needs.
        removed: gets every copy that may leave the folder once this backup is finished.
        progress: called now and then.

    Raises:
        StorageError, PeerError: of the store; ``store_full``, ``store_io`` of the folder.
    """
    tally = Tally()
    absent: list[Copied] = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="backup") as threads:
        waiting: deque[Future[_Done | None]] = deque()
        try:
            for info, before in _merged(source.list(), known):
                if info is None:
                    assert before is not None
                    waiting.append(threads.submit(_lost, target, before))
                else:
                    changed = before is None or info.key in swept.since
                    waiting.append(threads.submit(_bring, source, target, info, before, changed))
                while len(waiting) >= _AHEAD:
                    _take(waiting.popleft().result(), tally, wanted, removed, absent, swept, progress)
            while waiting:
                _take(waiting.popleft().result(), tally, wanted, removed, absent, swept, progress)
            _settle(absent, tally, wanted, removed, swept)
        finally:
            for future in waiting:
                future.cancel()
    return tally


def copy_one(source: Blobs, target: Blobs, key: str, name: str, size_bytes: int) -> str | None:
    """Copy an object as it is, durable and of the right size when this returns.

    Returns:
        the SHA-256 (hexadecimal) of the sealed bytes; None when the source no longer has it.
    """
    try:
        stream = source.open(key)
    except StorageError as error:
        if error.code == "object_missing":
            return None
        raise
    digest, size = hashlib.sha256(), 0
    with stream, target.draft(size_bytes) as draft:
        for piece in pieces(stream):
            digest.update(piece)
            size += len(piece)
            draft.write(piece)
        if size != size_bytes:
            raise StorageError("object_corrupt", f"object {key} gave {size} bytes where the store says {size_bytes}")
        draft.publish(name)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Done:
    copied: Copied
    state: str  # held | copied | lost
    replaced: Copied | None = None


def _bring(source: Blobs, target: Blobs, info: ObjectInfo, before: Copied | None, changed: bool) -> _Done | None:
    """Have the object's copy in the folder."""
    name = FIRST + info.key if before is None else before.name
    there = target.stat(name)
    fits = there is not None and there.size_bytes == info.size_bytes
    replaced = None
    if fits and changed and not _same_header(source, target, info.key, name):
        replaced, fits = before, False
        name = _other_name(source, info.key)
        there = target.stat(name)
        fits = there is not None and there.size_bytes == info.size_bytes
    elif there is not None and not fits:
        # cut short by something other than us: what we publish is whole
        target.delete(name)
    if fits:
        sha256 = before.sha256 if before is not None and before.name == name else _hash(target, name)
        return _Done(Copied(info.key, info.size_bytes, sha256, name), "held", replaced)
    fresh = copy_one(source, target, info.key, name, info.size_bytes)
    if fresh is None:  # deleted or lost since it was listed
        return None if before is None else _lost(target, before)
    return _Done(Copied(info.key, info.size_bytes, fresh, name), "copied", replaced)


def _lost(target: Blobs, before: Copied) -> _Done | None:
    return None if target.stat(before.name) is None else _Done(before, "lost")


def _take(
    done: _Done | None,
    tally: Tally,
    wanted: ListFile,
    removed: ListFile,
    absent: list[Copied],
    swept: Swept,
    progress: Progress,
) -> None:
    if done is None:
        return
    if done.state == "lost":
        absent.append(done.copied)
        if len(absent) >= _PAGE:
            _settle(absent, tally, wanted, removed, swept)
        return
    if absent and wanted.count >= 0:
        # the lists ascend: what was lost before this key goes first
        _settle(absent, tally, wanted, removed, swept)
    wanted.add(done.copied)
    if done.replaced is not None:
        removed.add(done.replaced)
    if done.state == "copied":
        tally.copied += 1
        tally.copied_bytes += done.copied.size_bytes
    if wanted.count % _PAGE == 0:
        progress("objects", wanted.count)


def _settle(absent: list[Copied], tally: Tally, wanted: ListFile, removed: ListFile, swept: Swept) -> None:
    """What the store no longer has: deleted on purpose, it goes; lost, its copy is kept."""
    gone = swept.gone([copied.key for copied in absent])
    for copied in absent:
        if copied.key in gone:
            removed.add(copied)
        else:
            wanted.add(copied)
            tally.kept.append(copied.name)
    absent.clear()


def _merged(listed: Iterator[ObjectInfo], known: Iterator[Copied]) -> Iterator[tuple[ObjectInfo | None, Copied | None]]:
    """Both ascending streams by key."""
    info, before = next(listed, None), next(known, None)
    while info is not None or before is not None:
        if before is None or (info is not None and info.key < before.key):
            yield info, None
            info = next(listed, None)
        elif info is None or before.key < info.key:
            yield None, before
            before = next(known, None)
        else:
            yield info, before
            info, before = next(listed, None), next(known, None)


def _same_header(source: Blobs, target: Blobs, key: str, name: str) -> bool:
    try:
        return source.get_range(key, 0, _HEADER_BYTES) == target.get_range(name, 0, _HEADER_BYTES)
    except StorageError as error:
        if error.code == "object_missing":  # deleted just now; the copy is settled by the next backup
            return True
        raise


def _other_name(source: Blobs, key: str) -> str:
    return f"1-{hashlib.sha256(source.get_range(key, 0, _HEADER_BYTES)).hexdigest()[:16]}/{key}"


def _hash(target: Blobs, name: str) -> str:
    digest = hashlib.sha256()
    with target.open(name) as file:
        for piece in pieces(file):
            digest.update(piece)
    return digest.hexdigest()

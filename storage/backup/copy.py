"""Copying sealed objects into the backup's folder: what is there already is not read again.

What a key holds never changes, unless the object was deleted on purpose and its bytes arrived anew, or had rotted and
was replaced: the new bytes have another data key, so the copy before would be noise. Such keys stand among
``swept_objects``. Their headers, and those of all that was written since the backup before, are compared, and the new
bytes get a copy beside the old one, which leaves once the backup is finished.

A copy's hash is taken when it is made and goes from list to list. Where no list is left, copies are compared with the
store's bytes as a whole.
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

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
        unchanged_since: what the store has held since before this time is what the backup before saw; None when
            there is none.
    """

    mark: int
    since: Collection[str]
    gone: Callable[[Collection[str]], set[str]]
    unchanged_since: datetime | None = None

    def may_differ(self, info: ObjectInfo, before: Copied | None) -> bool:
        """Whether the store may hold other bytes under the key than the folder's copy is of."""
        if before is None or not before.sha256 or info.key in self.since:
            return True
        return self.unchanged_since is None or info.written_at >= self.unchanged_since


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
        known: the list of the backup before, ascending; see :func:`lying_copies` when there is none.
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
                    waiting.append(threads.submit(_bring, source, target, info, before, swept))
                while len(waiting) >= _AHEAD:
                    _take(waiting.popleft().result(), tally, wanted, removed, absent, swept, progress)
            while waiting:
                _take(waiting.popleft().result(), tally, wanted, removed, absent, swept, progress)
            _settle(absent, tally, wanted, removed, swept)
        finally:
            for future in waiting:
                future.cancel()
    return tally


def lying_copies(target: Blobs) -> Iterator[Copied]:
    """What lies in the folder, ascending by key, when no list says so; the hashes are unknown (empty)."""
    newest: dict[str, ObjectInfo] = {}
    for info in target.list("1-"):
        key = info.key.partition("/")[2]
        if key not in newest or newest[key].written_at < info.written_at:
            newest[key] = info
    others = [Copied(key, info.size_bytes, "", info.key) for key, info in sorted(newest.items())]
    first = (
        Copied(info.key[len(FIRST) :], info.size_bytes, "", info.key)
        for info in target.list(FIRST)
        if info.key[len(FIRST) :] not in newest
    )
    return heapq.merge(first, others, key=lambda copied: copied.key)


def renew_copy(source: Blobs, target: Blobs, copied: Copied) -> bool:
    """Bring a copy anew that is not what was written, from an object that still is.

    Returns:
        False when the store has no such bytes either; the copy is left as it is.
    """
    if (there := source.stat(copied.key)) is None or there.size_bytes != copied.size_bytes:
        return False
    with source.open(copied.key) as stream, target.draft(copied.size_bytes) as draft:
        digest = hashlib.sha256()
        for piece in pieces(stream):
            digest.update(piece)
            draft.write(piece)
        if digest.hexdigest() != copied.sha256:
            return False
        target.delete(copied.name)
        draft.publish(copied.name)
    return True


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


def _bring(source: Blobs, target: Blobs, info: ObjectInfo, before: Copied | None, swept: Swept) -> _Done | None:
    """Have the object's copy in the folder. No copy that was whole is removed or replaced here."""
    name = FIRST + info.key if before is None else before.name
    there = target.stat(name)
    replaced = None
    if there is not None and there.size_bytes != info.size_bytes and not _as_recorded(there, before):
        target.delete(name)  # the copy was cut short: what we publish is whole
        there = None
    elif there is not None and (swept.may_differ(info, before) or there.size_bytes != info.size_bytes):
        if not _same_header(source, target, info, there):
            name = _other_name(source, info.key)
            # without a deletion on purpose it may be the store's bytes that are no good: the old copy is left lying
            replaced = before if info.key in swept.since else None
            there = target.stat(name)
            if there is not None and there.size_bytes != info.size_bytes:
                target.delete(name)
                there = None
        elif there.size_bytes != info.size_bytes:
            assert before is not None
            return _Done(before, "lost")  # cut short in the store
    if there is not None:
        if before is not None and before.name == name and before.sha256:
            return _Done(before, "held")
        sha256 = _hash(target, name)
        if sha256 == _hash(source, info.key):
            return _Done(Copied(info.key, info.size_bytes, sha256, name), "held", replaced)
        name = f"1-{secrets.token_hex(8)}/{info.key}"  # nobody knows which of the two is good: both stay
    fresh = copy_one(source, target, info.key, name, info.size_bytes)
    if fresh is None:  # deleted or lost since it was listed
        return None if before is None else _lost(target, before)
    return _Done(Copied(info.key, info.size_bytes, fresh, name), "copied", replaced)


def _as_recorded(there: ObjectInfo, before: Copied | None) -> bool:
    return before is not None and before.size_bytes == there.size_bytes


def _lost(target: Blobs, before: Copied) -> _Done | None:
    if target.stat(before.name) is None:
        return None
    if not before.sha256:
        before = replace(before, sha256=_hash(target, before.name))
    return _Done(before, "lost")


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


def _same_header(source: Blobs, target: Blobs, info: ObjectInfo, copy: ObjectInfo) -> bool:
    length = min(_HEADER_BYTES, info.size_bytes, copy.size_bytes)
    if length == 0:  # empty objects are cut short: none of ours is
        return True
    try:
        return source.get_range(info.key, 0, length) == target.get_range(copy.key, 0, length)
    except StorageError as error:
        if error.code == "object_missing":  # deleted just now; the copy is settled by the next backup
            return True
        raise


def _other_name(source: Blobs, key: str) -> str:
    return f"1-{hashlib.sha256(source.get_range(key, 0, _HEADER_BYTES)).hexdigest()[:16]}/{key}"


def _hash(blobs: Blobs, name: str) -> str:
    digest = hashlib.sha256()
    with blobs.open(name) as file:
        for piece in pieces(file):
            digest.update(piece)
    return digest.hexdigest()

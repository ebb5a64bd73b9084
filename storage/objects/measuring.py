"""Reading many objects through, several at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from teleread.errors import TelereadError
from teleread.storage.objects.protocol import ObjectStore

_AHEAD = 16


@dataclass(frozen=True, slots=True)
class Measured:
    """What an object holds, or why it cannot be read.

    Args:
        key: where it lies.
        sha256: of its plaintext; empty when it cannot be read.
        size_bytes: of its plaintext; -1 when it cannot be read.
        failure: such as ``object_corrupt``, ``object_missing`` or a peer's error.
    """

    key: str
    sha256: str
    size_bytes: int
    failure: TelereadError | None = None


def measure_many(store: ObjectStore, keys: Iterable[str], *, threads: int = 2) -> Iterator[Measured]:
    """:meth:`ObjectStore.measure` of each key, in their order; a failure is a result and stops nothing.

    Reading, opening and hashing leave the interpreter to other threads, so that a thread for each core pays. The
    keys are taken as they are needed, at most 16 for each thread ahead of what was given out.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="measure") as pool:
        waiting: deque[Future[Measured]] = deque()
        try:
            for key in keys:
                waiting.append(pool.submit(_measured, store, key))
                if len(waiting) >= threads * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def _measured(store: ObjectStore, key: str) -> Measured:
    try:
        return Measured(key, *store.measure(key))
    except TelereadError as error:
        return Measured(key, "", -1, error)

"""Reading many objects through, several at once."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeVar

from teleread.errors import StorageError, TelereadError
from teleread.storage.objects.protocol import ObjectStore

_AHEAD = 2
Batch = TypeVar("Batch")
_here: list[ObjectStore] = []  # of a worker process, since its fork


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


def measure_batches(
    store: ObjectStore, batches: Iterable[Batch], keys_of: Callable[[Batch], Sequence[str]], *, workers: int
) -> Generator[tuple[Batch, list[Measured]], None, None]:
    """:meth:`ObjectStore.measure` of every key, batch by batch in their order; a failure is a result and stops nothing.

    Forked processes do it, because what Python itself does for a small object takes longer than to hash it. Where
    this process has other threads, of which one may hold a lock during the fork, threads do it instead. Batches are
    taken as they are needed, two for each worker ahead of what was given out.

    Args:
        keys_of: the keys of a batch; only they and what was found pass between the processes.
        workers: how many; with one, the reading is done here.

    Raises:
        StorageError: ``scrub_worker_ended`` when a process was killed.
    """
    if workers == 1:
        for batch in batches:
            yield batch, [_measured(store, key) for key in keys_of(batch)]
        return
    waiting: deque[tuple[Batch, Future[list[Measured]]]] = deque()
    with _executor(store, workers) as pool:
        read = _measure_here if isinstance(pool, ProcessPoolExecutor) else _reader(store)
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(read, keys_of(batch))))
                if len(waiting) > _AHEAD * workers:
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        except BrokenProcessPool:
            raise StorageError("scrub_worker_ended", "a process that was reading objects was ended") from None
        finally:
            for _, future in waiting:
                future.cancel()


def _first(waiting: deque[tuple[Batch, Future[list[Measured]]]]) -> tuple[Batch, list[Measured]]:
    batch, future = waiting.popleft()
    return batch, future.result()


def _executor(store: ObjectStore, workers: int) -> Executor:
    if threading.active_count() > 1:
        return ThreadPoolExecutor(workers, thread_name_prefix="measure")
    return ProcessPoolExecutor(workers, mp_context=get_context("fork"), initializer=_begin, initargs=(store,))


def _begin(store: ObjectStore) -> None:
    # Ctrl-C reaches the whole group; the process that gave the work ends it in order
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _here.append(store)


def _measure_here(keys: Sequence[str]) -> list[Measured]:
    return [_measured(_here[-1], key) for key in keys]


def _reader(store: ObjectStore) -> Callable[[Sequence[str]], list[Measured]]:
    return lambda keys: [_measured(store, key) for key in keys]


def _measured(store: ObjectStore, key: str) -> Measured:
    try:
        return Measured(key, *store.measure(key))
    except TelereadError as error:
        return Measured(key, "", -1, error)

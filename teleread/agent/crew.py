"""The agent's workers, each on a thread of its own: one that a fault of the disk has ended is started again.

A thread that ended without a word would leave a page that shows all in order and sends nothing.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from teleread.agent.lead import Lead
from teleread.agent.sender import Sender

log = logging.getLogger(__name__)

_AGAIN_AFTER_S = 5.0


class Worker(Protocol):
    """What works until it is told to stop."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(slots=True)
class Crew:
    """All workers of one agent.

    Args:
        trouble: code of what is wrong with this PC itself, for the page; empty when nothing is.
        judge_failure: code of why nothing is judged on this PC; empty while it is, or not known yet.
        clock: seconds that only go on.
    """

    sender: Sender
    lead: Lead
    trouble: str = ""
    judge_failure: Callable[[], str] = lambda: ""
    workers: list[Worker] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    _threads: dict[int, threading.Thread] = field(default_factory=dict)
    _begun_at: dict[int, float] = field(default_factory=dict)
    _done: set[int] = field(default_factory=set)

    def add(self, worker: Worker) -> None:
        """Start one."""
        self.workers.append(worker)
        self._start(worker)

    def mend(self) -> None:
        """Start again what has ended before its time."""
        for worker in self.workers:
            key = id(worker)
            if key in self._done or self._threads[key].is_alive():
                continue
            if self.clock() - self._begun_at[key] >= _AGAIN_AFTER_S:
                log.warning("%s starts again", type(worker).__name__)
                self._start(worker)

    def stop(self) -> None:
        """End all, each after what it is about."""
        for worker in self.workers:
            self._done.add(id(worker))
            worker.stop()
        for thread in self._threads.values():
            thread.join()

    def _start(self, worker: Worker) -> None:
        name = type(worker).__name__
        thread = threading.Thread(target=self._run, args=(worker,), name=name, daemon=True)
        self._begun_at[id(worker)] = self.clock()
        self._threads[id(worker)] = thread
        thread.start()

    def _run(self, worker: Worker) -> None:
        over = False
        try:
            worker.run()
            over = True
        except OSError as error:
            log.error("%s has met a fault of the disk: %s", type(worker).__name__, error.strerror)
        finally:
            if over:
                self._done.add(id(worker))
            elif worker is self.sender:
                progress = self.sender.progress
                progress.failure = "agent_failed"
                progress.failing_since = progress.failing_since or time.time()


@contextlib.contextmanager
def at_work(sender: Sender, lead: Lead) -> Iterator[Crew]:
    """The sender at work, and whoever is added; all stopped when the block ends."""
    crew = Crew(sender, lead)
    crew.add(sender)
    try:
        yield crew
    finally:
        crew.stop()

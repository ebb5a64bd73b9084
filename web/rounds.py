"""What the web service does every few seconds, whatever else fails: the last net under every arrival."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

from teleread.errors import TelereadError
from teleread.pipeline.critical_loop import CriticalLoop
from teleread.pipeline.room_watch import RoomWatch
from teleread.pipeline.services import Services
from teleread.pipeline.spool import Spool
from teleread.pipeline.sweep import queue_unseen, sweep_web
from teleread.pipeline.uploads import finish_left
from teleread.pipeline.watch import watch

log = logging.getLogger(__name__)

STALE_AFTER_S = 60.0
EXPIRE_EVERY_S = 300.0
CRITICAL_EVERY_S = 0.4  # a step of a ladder within 5 s of its time, also after the process that began it died
WATCH_EVERY_S = 0.5  # a step of the ladder is done within 5 s of its time, also after the process that began it died
CHAIN_EVERY_S = 0.4  # every event is chained within a second


class Rounds:
    """Loops on threads of their own, so that none waits for requests, nor a quick one for a slow one.

    Args:
        every: pause between two rounds; the audit is chained more often.
    """

    def __init__(self, services: Services, every: timedelta) -> None:
        self._services = services
        self._spool = None if services.spool_folder is None else Spool(services.spool_folder)
        self._criticals = CriticalLoop(services)
        self._every_s = every.total_seconds()
        self._room_watch = RoomWatch(services)
        self._threads = ThreadPoolExecutor(7, thread_name_prefix="rounds")
        self._tasks: list[asyncio.Task[None]] = []
        self._last_ok = self._last_watch = time.monotonic()

    def start(self) -> None:
        """Begin; inside a running event loop."""
        self._last_ok = self._last_watch = time.monotonic()
        acts = (
            (self._queue_unseen, self._every_s),
            (self._sweep, self._every_s),
            (self._chain_audit, CHAIN_EVERY_S),
            (self._expire, EXPIRE_EVERY_S),
            (self._watch, WATCH_EVERY_S),
            (self._tell, CRITICAL_EVERY_S),
            (self._watch_room, self._every_s),
        )
        for act, every_s in acts:
            self._tasks.append(asyncio.create_task(self._repeat(act, every_s)))

    async def stop(self) -> None:
        """End after the rounds that are running."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._threads.shutdown()
        self._criticals.close()

    @property
    def stale(self) -> bool:
        """Whether no look for unseen arrivals, or unread cases, has succeeded for too long: an urgent one may lie."""
        return time.monotonic() - min(self._last_ok, self._last_watch) > STALE_AFTER_S

    def _queue_unseen(self) -> None:
        queue_unseen(self._services)
        self._last_ok = time.monotonic()

    def _watch(self) -> None:
        watch(self._services)
        self._last_watch = time.monotonic()

    def _tell(self) -> None:
        self._criticals.run_due()

    def _sweep(self) -> None:
        if self._spool is not None:
            finish_left(self._services, self._spool)
        sweep_web(self._services)

    def _expire(self) -> None:
        if self._spool is not None:
            self._spool.expire(self._services.clock())

    def _watch_room(self) -> None:
        self._room_watch()

    def _chain_audit(self) -> None:
        self._services.sealer.seal_all()

    async def _repeat(self, act: Callable[[], None], every_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._threads, act)
            except Exception as error:  # noqa: BLE001 -- a net that ends at its first surprise is none
                reason = error.code if isinstance(error, TelereadError) else type(error).__name__
                log.error("round %s failed: %s", act.__name__, reason)
            await asyncio.sleep(every_s)

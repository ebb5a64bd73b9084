"""Tells open pages that something happened in the queue: a wake-up and never a record.

One look at the newest event for all pages of a process, a few times a second and only while a page listens. What a
page hears makes it ask (``/api/worklist/changes``); where this fails it asks every few seconds all the same.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.concurrency import run_in_threadpool

from teleread.errors import InputRejected, TelereadError
from teleread.pipeline.services import Services
from teleread.reading import desk

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.3
COMMENT_EVERY_S = 15.0
"""So often something is sent over a silent stream, which keeps it open and finds out whether anybody listens."""
ENDS_AFTER_S = 300.0
"""The browser comes again by itself, and its session is looked at anew."""
STREAMS_PER_PERSON = 5

ending = threading.Event()
"""Set when the process is about to end: streams end first, or they would hold it up."""


class Feed:
    """The streams of one process.

    Args:
        look: the number of the newest event; called on a thread.
    """

    def __init__(self, look: Callable[[], int]) -> None:
        self._look = look
        self._changed = asyncio.Condition()
        self._seen = -1
        self._streams: dict[int, tuple[str, float]] = {}
        self._numbers = itertools.count()
        self._task: asyncio.Task[None] | None = None

    def enter(self, who: str) -> int:
        """Take one of a person's streams; :meth:`leave` gives it back.

        Raises:
            InputRejected: ``too_many_streams``.
        """
        now = asyncio.get_running_loop().time()
        # one whose browser went away before its first line was never left
        self._streams = {n: one for n, one in self._streams.items() if now - one[1] < 2 * ENDS_AFTER_S}
        if sum(one[0] == who for one in self._streams.values()) >= STREAMS_PER_PERSON:
            raise InputRejected("too_many_streams", f"At most {STREAMS_PER_PERSON} lists are told of changes at once.")
        number = next(self._numbers)
        self._streams[number] = (who, now)
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        return number

    def leave(self, number: int) -> None:
        """A stream has ended."""
        self._streams.pop(number, None)
        if not self._streams and self._task is not None:
            self._task.cancel()
            self._task = None

    async def events(self, is_gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
        """Lines of ``text/event-stream``: the number of the newest event, at once and with each change.

        Args:
            is_gone: whether nobody reads any more.
        """
        loop = asyncio.get_running_loop()
        ends, told, commented = loop.time() + ENDS_AFTER_S, -1, loop.time()
        yield "retry: 1000\n\n"
        while loop.time() < ends and not ending.is_set():
            if self._seen != told:
                told = self._seen
                yield f"id: {told}\nevent: changed\ndata: {told}\n\n"
            if loop.time() - commented > COMMENT_EVERY_S:
                commented = loop.time()
                yield ": \n\n"
            async with self._changed:
                try:
                    await asyncio.wait_for(self._changed.wait(), 1.0)
                except TimeoutError:
                    if await is_gone():
                        return

    async def _watch(self) -> None:
        failing = False
        while True:
            try:
                newest = await run_in_threadpool(self._look)
                failing = False
            except TelereadError as error:
                if not failing:
                    log.error("the list's changes cannot be looked at: %s", error.code)
                failing, newest = True, self._seen
            if newest != self._seen:
                async with self._changed:
                    self._seen = newest
                    self._changed.notify_all()
            await asyncio.sleep(LOOK_EVERY_S)


def feed_of(services: Services) -> Feed:
    """The feed of an application on open services."""

    def look() -> int:
        with services.catalogue.read() as conn:
            return desk.newest_event(conn)

    return Feed(look)

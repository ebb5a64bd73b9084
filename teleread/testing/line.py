"""A bad line: a TCP proxy on loopback that is slow, stalls and breaks as village networks do.

Both ways share nothing but the breaks. What has been read from one side and not yet written to the other is lost when
the line breaks, as in a router's memory.
"""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import dataclass

_SEGMENT = 1460
_START_S = 10.0
_UNDER_WAY = 512  # segments


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad the line is.

    Args:
        bytes_per_s: of each direction; None for no limit.
        latency_s: of each direction.
        stall_share: of all segments, which wait for ``stall_s`` (least, most).
        cut_every_s: each connection is reset after so long; None for never.
        cut_every_bytes: the line is reset each time so many bytes have gone up; None for never.
        silent: a cut line says nothing: no reset, nothing more arrives.
    """

    bytes_per_s: float | None = None
    latency_s: float = 0.0
    stall_share: float = 0.0
    stall_s: tuple[float, float] = (0.2, 1.0)
    cut_every_s: float | None = None
    cut_every_bytes: int | None = None
    silent: bool = False


class BadLine:
    """The proxy, on a thread of its own: ``with BadLine(port, faults, seed) as line: … line.port``."""

    def __init__(self, port: int, faults: Faults, seed: int = 0) -> None:
        self._target = port
        self.faults = faults
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bad line", daemon=True)
        self._pairs: set[_Pair] = set()
        self._muted: list[_Pair] = []
        self.port = 0
        self.up_bytes = 0
        """Bytes that have left towards the server, those of broken connections as well."""
        self.down_bytes = 0
        self.cuts = 0
        self._up_since_cut = 0
        self._is_open = True

    def __enter__(self) -> BadLine:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_START_S)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()

    def cut(self) -> None:
        """Break all connections now."""
        self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        """Break all connections and take no new ones until :meth:`open`."""
        self._is_open = False
        self.cut()

    def open(self) -> None:
        """Take connections again."""
        self._is_open = True

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        self._cut()
        # what was cut without a word is ended now
        for pair in self._muted:
            pair.end()
        await asyncio.sleep(0)

    def _cut(self) -> None:
        self.cuts += bool(self._pairs)
        for pair in list(self._pairs):
            self._cut_pair(pair)

    def _cut_pair(self, pair: _Pair) -> None:
        if self.faults.silent:
            self._muted.append(pair)
        pair.cut(self.faults.silent)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, up_writer)
        self._pairs.add(pair)
        ways = [
            asyncio.create_task(self._carry(reader, up_writer, up=True)),
            asyncio.create_task(self._carry(up_reader, writer, up=False)),
        ]
        pair.ways = ways
        if self.faults.cut_every_s is not None:
            pair.timer = self._loop.call_later(self.faults.cut_every_s, self._cut_one, pair)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if not pair.muted:
            pair.end()
        self._pairs.discard(pair)

    def _cut_one(self, pair: _Pair) -> None:
        self.cuts += 1
        self._cut_pair(pair)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        faults = self.faults
        loop = asyncio.get_running_loop()
        free_at = loop.time()
        # what is under way: delay takes nothing from the rate
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)
        delivering = asyncio.create_task(self._deliver(under_way, writer, up=up))
        try:
            while piece := await reader.read(_SEGMENT):
                if faults.bytes_per_s is not None:
                    free_at = max(free_at, loop.time()) + len(piece) / faults.bytes_per_s
                    await asyncio.sleep(max(0.0, free_at - loop.time()))
                if faults.stall_share and self._chance.random() < faults.stall_share:
                    await asyncio.sleep(self._chance.uniform(*faults.stall_s))
                await under_way.put((loop.time() + faults.latency_s, piece))
            await under_way.put((0.0, b""))
            await delivering
        except (OSError, asyncio.CancelledError):
            return
        finally:
            delivering.cancel()

    async def _deliver(
        self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        faults = self.faults
        loop = asyncio.get_running_loop()
        while True:
            due, piece = await under_way.get()
            if not piece:
                return
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            try:
                writer.write(piece)
                await writer.drain()
            except OSError:
                return
            if not up:
                self.down_bytes += len(piece)
                continue
            self.up_bytes += len(piece)
            self._up_since_cut += len(piece)
            if faults.cut_every_bytes is not None and self._up_since_cut >= faults.cut_every_bytes:
                self._up_since_cut = 0
                self._cut()


class _Pair:
    """The two ends of one connection through the line."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._near, self._far = near, far
        self.ways: list[asyncio.Task[None]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.muted = False

    def cut(self, silent: bool) -> None:
        """Reset both ends; silently: carry nothing more and say nothing."""
        self.muted = silent
        for way in self.ways:
            way.cancel()
        if not silent:
            self.end()

    def end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        for way in self.ways:
            way.cancel()
        self._near.transport.abort()
        self._far.transport.abort()

"""The bytes of one DICOM connection, watched and bounded (PS3.8).

pynetdicom speaks the protocol. What it leaves open is closed here: it reads any PDU length that a peer claims (six
bytes that say 4 GiB cost gigabytes of memory, before any AE title is checked), waits without end inside a half-sent
PDU, lets small messages wait for Nagle's algorithm, and its timeout for a message cannot tell a silent peer from a
slow line.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pynetdicom import evt

# Peers exceed the PDU size that was agreed; none needs this much. An A-ASSOCIATE-AC of 128 contexts is far smaller.
_PDU_LIMIT = 1 << 20
_ABORT_PDU = 0x07


class Wire:
    """Watches and bounds the bytes of one connection; serves requestors and acceptors alike.

    Args:
        silence_s: how long the peer may send nothing while it is its turn.
        deadline: ``monotonic`` time at which the connection is cut in any case, None for never.
        max_message_bytes: how long one message may be.
    """

    def __init__(
        self,
        silence_s: float,
        deadline: float | None,
        max_message_bytes: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fault: str | None = None  # the first reason why it ended: deadline, silent, oversized, aborted, closed
        self._silence_s = silence_s
        self._deadline = deadline
        self._limit = max_message_bytes
        self._monotonic = monotonic
        self._received = 0
        self._last = monotonic()
        self._ours = False
        self._socket: socket.socket | None = None
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._run_watch, name="dicom-watch", daemon=True)

    def on_open(self, event: evt.Event) -> None:
        """Handler of ``EVT_CONN_OPEN``: bounds the socket before its first byte is read."""
        wrapped = event.assoc.dul.socket
        if wrapped is None or wrapped.socket is None:
            return
        self._socket = wrapped.socket
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(self._silence_s)
        wrapped.recv = self._read  # type: ignore[method-assign,assignment]
        event.assoc.bind(evt.EVT_DIMSE_RECV, self._message_done)
        event.assoc.bind(evt.EVT_CONN_CLOSE, self._closed)
        self._last = self._monotonic()
        self._watch.start()

    @contextmanager
    def turn(self, *, ours: bool) -> Iterator[None]:
        """Whose turn it is for the time of the block. While it is ours, the peer owes us nothing."""
        before = self._ours
        self._last = self._monotonic()
        self._ours = ours
        try:
            yield
        finally:
            self._last = self._monotonic()
            self._ours = before

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()

    def close(self) -> None:
        """Stop watching and close the socket, which pynetdicom leaves open when the peer was faster."""
        self.end()
        if self._socket is not None:
            self._socket.close()

    def _message_done(self, event: evt.Event) -> None:
        self._received = 0  # taken in whole: the next one may be as long again

    def _closed(self, event: evt.Event) -> None:
        self.end()

    def _read(self, count: int) -> bytearray:
        if count > _PDU_LIMIT or self._received > self._limit or self._socket is None:
            self._cut("oversized")
            raise OSError("refused by the limits of this connection")
        buffer = bytearray(count)
        view, have = memoryview(buffer), 0
        while have < count:
            try:
                got = self._socket.recv_into(view[have:])
            except TimeoutError:
                self._cut("silent")
                raise
            if not got:
                self.fault = self.fault or "closed"
                view.release()
                return buffer[:have]
            have += got
            self._last = self._monotonic()
        self._received += count
        if count == 6 and buffer[0] == _ABORT_PDU and struct.unpack_from(">I", buffer, 2)[0] == 4:
            self.fault = self.fault or "aborted"
        return buffer

    def _run_watch(self) -> None:
        step = max(0.02, min(0.25, self._silence_s / 10))
        while not self._ended.wait(step):
            now = self._monotonic()
            if self._deadline is not None and now >= self._deadline:
                self._cut("deadline")
                return
            if not self._ours and now - self._last > self._silence_s:
                self._cut("silent")
                return

    def _cut(self, reason: str) -> None:
        self.fault = self.fault or reason
        if self._socket is not None:
            with suppress(OSError):  # already gone
                self._socket.shutdown(socket.SHUT_RDWR)

"""What the pool of workers and its children say to each other.

Four bytes length, a JSON header, then the blobs that the header names with their sizes; the same both ways. No pickle.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_HEADER_BYTES = 64 << 20
"""Largest JSON header, whatever the output cap allows."""

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Product:
    """What a job gives back: JSON facts and named blobs."""

    facts: dict[str, Any] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


class FrameError(Exception):
    """The other side closed the connection or does not speak the protocol."""


class TooLarge(Exception):
    """The answer is larger than allowed."""


def send_frame(
    sock: socket.socket, header: Mapping[str, Any], blobs: Mapping[str, bytes], deadline: float | None = None
) -> None:
    """Send one frame before ``deadline`` on the monotonic clock.

    Raises:
        OSError: when the other side is gone; as TimeoutError when the deadline has passed.
        ValueError: for facts that JSON cannot say.
    """
    named = {**header, "blobs": [[name, len(blob)] for name, blob in blobs.items()]}
    encoded = json.dumps(named, allow_nan=False, separators=(",", ":")).encode()
    # Nothing is sent for an empty blob: the other side may have answered and gone by then.
    for part in (_LENGTH.pack(len(encoded)) + encoded, *filter(None, blobs.values())):
        if deadline is not None:
            sock.settimeout(max(deadline - time.monotonic(), 1e-3))
        sock.sendall(part)


def receive_frame(
    sock: socket.socket, max_bytes: int, deadline: float | None = None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Receive one frame of at most ``max_bytes`` in all, before ``deadline`` on the monotonic clock.

    Raises:
        FrameError: end of the connection, or not a frame.
        TooLarge: more bytes announced than allowed; nothing of that size has been allocated.
        TimeoutError: the deadline has passed.
    """
    (length,) = _LENGTH.unpack(_receive(sock, _LENGTH.size, deadline))
    if length > min(max_bytes, MAX_HEADER_BYTES):
        raise TooLarge
    try:
        header = json.loads(_receive(sock, length, deadline))
        sizes = [(str(name), int(size)) for name, size in header.pop("blobs")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise FrameError from None
    if any(size < 0 for _, size in sizes):
        raise FrameError
    if length + sum(size for _, size in sizes) > max_bytes:
        raise TooLarge
    return header, {name: _receive(sock, size, deadline) for name, size in sizes}


def _receive(sock: socket.socket, count: int, deadline: float | None) -> bytes:
    if count == 0:
        return b""
    buffer = bytearray(count)
    view, got = memoryview(buffer), 0
    while got < count:
        if deadline is not None:
            sock.settimeout(max(deadline - time.monotonic(), 1e-3))
        received = sock.recv_into(view[got:])
        if received == 0:
            raise FrameError
        got += received
    return bytes(buffer)

"""Limits on what a request may cost: attempts to sign in, size of forms, size and pace of uploads."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from teleread.errors import InputRejected

SMALL_FORM_BYTES = 64 * 1024
CHUNK_WAIT_S = 60.0
MAX_FILES = 8


class RateLimiter:
    """At most ``limit`` attempts per key in ``window``; remembers a bounded number of keys. Thread-safe."""

    def __init__(self, limit: int, window: timedelta, max_keys: int = 10_000) -> None:
        self._limit = limit
        self._window = window
        self._max_keys = max_keys
        self._attempts: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, key: str, at: datetime) -> bool:
        """Count an attempt; False when it is one too many (and then it does not count)."""
        with self._lock:
            times = self._attempts.setdefault(key, deque())
            self._attempts.move_to_end(key)
            while times and at - times[0] >= self._window:
                times.popleft()
            if len(times) >= self._limit:
                return False
            times.append(at)
            while len(self._attempts) > self._max_keys:
                self._attempts.popitem(last=False)
            return True


class Tally:
    """Counts what may happen often and is written down seldom: the first at once, then the sum once in ``every``."""

    def __init__(self, every: timedelta) -> None:
        self._every = every
        self._lock = threading.Lock()
        self._count = 0
        self._told_at: datetime | None = None

    def add(self, at: datetime) -> int:
        """Count one; returns how many are to be written down now, 0 while they wait."""
        with self._lock:
            self._count += 1
            return self._taken(at) if self._is_due(at) else 0

    def rest(self, at: datetime) -> int:
        """How many wait; for the end."""
        with self._lock:
            return self._taken(at)

    def _is_due(self, at: datetime) -> bool:
        return self._told_at is None or abs(at - self._told_at) >= self._every

    def _taken(self, at: datetime) -> int:
        count, self._count, self._told_at = self._count, 0, at
        return count


async def small_form(request: Request) -> dict[str, str]:
    """The fields of a URL-encoded form; of a repeated field the last.

    Raises:
        InputRejected: ``request_too_large`` or ``request_invalid``.
    """
    body = await small_body(request)
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=32))
    except ValueError as error:
        raise InputRejected("request_invalid", "The form cannot be understood.") from error


async def small_body(request: Request) -> bytes:
    """The body of a request that has no reason to be large.

    Raises:
        InputRejected: ``request_too_large``.
    """
    body = bytearray()
    async for chunk in _bounded(request, SMALL_FORM_BYTES, "request_too_large"):
        body += chunk
    return bytes(body)


async def multipart(request: Request, limit: int) -> FormData:
    """A multipart form; its files are spooled to temporary files as they come. The caller closes it.

    Raises:
        InputRejected: ``upload_too_large``, ``upload_stalled``, ``upload_interrupted`` or ``request_invalid``.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InputRejected("request_invalid", "An upload is a multipart form.")
    stream = _bounded(request, limit, "upload_too_large")
    try:
        return await MultiPartParser(request.headers, stream, max_files=MAX_FILES, max_fields=8).parse()
    except MultiPartException as error:
        raise InputRejected("request_invalid", "The form cannot be understood.") from error
    except ClientDisconnect as error:
        raise InputRejected("upload_interrupted", "The line broke before everything had arrived.") from error


async def _bounded(request: Request, limit: int, code: str) -> AsyncGenerator[bytes, None]:
    too_large = InputRejected(code, f"The request is larger than {limit} bytes.")
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise too_large
    received = 0
    chunks = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), CHUNK_WAIT_S)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise InputRejected("upload_stalled", "Nothing arrived for a minute.") from error
        received += len(chunk)
        if received > limit:
            raise too_large
        yield chunk

"""The lead hospital's end of the line: tus 1.0.0 over HTTP, from the standard library alone."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO
from urllib.parse import urlsplit

PART_SECONDS = 1.0
"""How long one part may take on the line as it is: a more urgent recording waits no longer for it."""
MIN_PART, MAX_PART = 8 << 10, 4 << 20
_BLOCK = 4 << 10
_PATIENCE_S, _LONGEST_PATIENCE_S = 3.0, 40.0
"""How long a line may say nothing before it counts as dead, beyond what a part takes on it; doubled while it does."""
_PARTS_PATIENCE = 2.0  # times what a part of this size took lately
_SLOWEST_BYTES_S = 1e3
_UNKNOWN_BYTES_S = 4e3  # a line that nothing has gone over yet is not taken for dead too soon
_LANDING_BYTES_S = 10e6  # slower than any disk on which a whole file is hashed and stored
_ANSWER_BYTES = 1 << 20
_VERSION = {"Tus-Resumable": "1.0.0"}


_FOR_EVER = frozenset({"empty_upload", "upload_too_large"})


class LineBroken(Exception):
    """The lead hospital cannot be reached, or does not answer as it should; the same again may succeed later."""

    def __init__(self, code: str, *, answered: bool = False, silent: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.silent = silent
        """Whether nothing more was heard, and the line did not say that it broke."""
        self.answered = answered
        """Whether the lead hospital itself said so: then the line is in order, and others may be sent meanwhile."""


class Refused(Exception):
    """The lead hospital has understood and does not take it."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.code = code
        self.status = status

    @property
    def for_ever(self) -> bool:
        """Whether the bytes themselves are refused, and not who sends them or when; by the lead hospital's own code,
        since something between may answer in its place.
        """
        return self.code in _FOR_EVER

    @property
    def of_sender(self) -> bool:
        """Whether who sends is refused, so that nothing else would be taken either."""
        return self.status in {401, 403, 407} or self.status < 400


@dataclass(frozen=True, slots=True)
class Where:
    """How far an upload has come."""

    location: str
    offset: int
    receipts: tuple[str, ...]


class Pace:
    """So many bytes of the line in a second, for all who share it. Thread-safe."""

    def __init__(
        self,
        bytes_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_s = bytes_s
        self._clock, self._sleep = clock, sleep
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Wait until the line is free for so many bytes, and take it for them."""
        with self._lock:
            moment = self._clock()
            begins = max(moment, self._free_at)
            self._free_at = begins + size / self.bytes_s
        if begins > moment:
            self._sleep(begins - moment)


class Lead:
    """One connection to the lead hospital, opened again when it broke. For one thread.

    Args:
        url: ``https://host:port``; the path is ours.
        context: with the agent's certificate and the server's, for https.
        token: sent as a bearer token where there is no certificate.
        cap_bytes_s: how much of the line may be used; None for all of it.
        pace: the same, shared with others; in the place of ``cap_bytes_s``.
    """

    def __init__(
        self,
        url: str,
        *,
        context: ssl.SSLContext | None = None,
        token: str | None = None,
        cap_bytes_s: float | None = None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("the lead hospital's address begins with https:// and names a host")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._context = context
        self._token = token
        self._pace = Pace(cap_bytes_s, clock, sleep) if pace is None and cap_bytes_s else pace
        self._clock, self._now = clock, now
        self._connection: http.client.HTTPConnection | None = None
        self._rate = 32e3
        self._has_learned = False
        self._patience_s = _PATIENCE_S
        self.skew_s: float | None = None
        """Our clock less the lead hospital's, as its last answer showed it."""
        self.sent_bytes = 0
        self.last_byte_at = 0.0
        """When the last block was given to the line, by ``clock``."""

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def part_bytes(self) -> int:
        """How many bytes go into one part on the line as it is."""
        return int(min(max(self._rate * PART_SECONDS, MIN_PART), MAX_PART))

    def announce(self, length: int, said: Mapping[str, str], first: bytes = b"") -> Where:
        """Begin an upload, or learn how far the one of the same bytes has come.

        Args:
            said: of ``Upload-Metadata``.
            first: the first bytes of the file, sent along; empty where some may be there already.

        Raises:
            LineBroken, Refused.
        """
        pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in said.items())
        headers = {**_VERSION, "Upload-Length": str(length), "Upload-Metadata": ",".join(pairs)}
        if first:
            headers["Content-Type"] = "application/offset+octet-stream"
        landing_s = length / _LANDING_BYTES_S if len(first) == length else 0.0
        begun = self._clock()
        _, answered = self._ask("POST", "/api/tus", headers, first, landing_s)
        if len(first) >= MIN_PART:
            self._learn_rate(len(first), self._clock() - begun)
        return _where(answered.get("location", ""), answered)

    def add(self, where: Where, file: BinaryIO, length: int) -> Where:
        """Send the next part of a file.

        Raises:
            LineBroken, Refused.
        """
        file.seek(where.offset)
        piece = file.read(min(self.part_bytes, length - where.offset))
        headers = {
            **_VERSION,
            "Upload-Offset": str(where.offset),
            "Content-Type": "application/offset+octet-stream",
        }
        begun = self._clock()
        is_last = where.offset + len(piece) == length
        _, answered = self._ask("PATCH", where.location, headers, piece, length / _LANDING_BYTES_S if is_last else 0.0)
        self._learn_rate(len(piece), self._clock() - begun)
        return _where(where.location, answered)

    def verdict(self, receipt: str, wait_s: float = 0) -> dict[str, Any]:
        """What has become of what was sent under a receipt."""
        body, _ = self._ask("GET", f"/api/receipts/{receipt}?wait={wait_s:g}", {}, b"", wait_s)
        found = body.get("verdict") if isinstance(body, dict) else None
        if not isinstance(found, dict):
            # what was known before must not give way to nothing
            raise LineBroken("answer_not_understood")
        return found

    def make_urgent(self, receipt: str) -> None:
        """What was sent under a receipt is urgent after all; said twice is said once.

        Raises:
            LineBroken, Refused.
        """
        self._ask("POST", f"/api/receipts/{receipt}/urgent", {}, b"")

    def _learn_rate(self, size: int, seconds: float) -> None:
        self._has_learned = True
        rate = size / max(seconds, 1e-3)
        # a line that got worse is believed at once, one that got better by and by
        self._rate = min(rate, 0.5 * self._rate + 0.5 * rate) if rate < self._rate else 0.5 * self._rate + 0.5 * rate

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes, work_s: float = 0.0
    ) -> tuple[Any, dict[str, str]]:
        headers = {"Accept": "application/json", "Content-Length": str(len(body)), **headers}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        with self._line(len(body)):
            rate = self._rate if self._has_learned else min(self._rate, _UNKNOWN_BYTES_S)
            connection = self._connected(self._patience_s + _PARTS_PATIENCE * len(body) / rate + work_s)
            connection.request(method, path, body=self._paced(body) if body else None, headers=headers)
            answer = connection.getresponse()
            data = answer.read(_ANSWER_BYTES)
        answered = self._heard(answer)
        if answer.status < 300:
            return (_json(data) if data else None), answered
        raise self._refusal(answer.status, data)

    @contextmanager
    def _line(self, size: int = 0) -> Iterator[None]:
        """Whatever can happen to a line while so many bytes are sent, as :class:`LineBroken`."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise LineBroken("server_not_trusted") from error
        except TimeoutError as error:
            # a line that died without a word; one that is only slow is given longer the next time
            self.close()
            self._patience_s = min(2 * self._patience_s, _LONGEST_PATIENCE_S)
            if size:
                self._rate = max(0.5 * self._rate, _SLOWEST_BYTES_S)
            raise LineBroken("line_broken", silent=True) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise LineBroken("line_broken") from error

    def _heard(self, answer: http.client.HTTPResponse) -> dict[str, str]:
        """What the headers of an answer say."""
        self._patience_s = _PATIENCE_S
        answered = {name.lower(): value for name, value in answer.getheaders()}
        self._learn_skew(answered.get("date"))
        if answer.will_close:
            self.close()
        return answered

    def _refusal(self, status: int, data: bytes) -> LineBroken | Refused:
        """What an answer that is none of success means."""
        refusal = _json(data)
        said = refusal.get("error") if isinstance(refusal, dict) else None
        code = said.get("code") if isinstance(said, dict) else None
        code = code if isinstance(code, str) else None
        if status >= 500 or status in {408, 409, 423, 429, 460}:
            self.close()
            return LineBroken(code or f"http_{status}", answered=code is not None)
        return Refused(code or f"http_{status}", status)

    def _connected(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._connection is None:
            if self._secure:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=timeout_s, context=self._context
                )
            else:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)
        return self._connection

    def _paced(self, body: bytes) -> Iterator[bytes]:
        """The body in small blocks, no faster than the cap allows."""
        for start in range(0, len(body), _BLOCK):
            block = body[start : start + _BLOCK]
            if self._pace is not None:
                self._pace.take(len(block))
            self.sent_bytes += len(block)
            yield block
            self.last_byte_at = self._clock()

    def _learn_skew(self, date: str | None) -> None:
        if date:
            try:
                self.skew_s = self._now() - parsedate_to_datetime(date).timestamp()
            except ValueError:
                self.skew_s = None


def _where(location: str, answered: Mapping[str, str]) -> Where:
    try:
        offset = int(answered.get("upload-offset", ""))
    except ValueError:
        raise LineBroken("answer_not_understood") from None
    receipts = tuple(filter(None, answered.get("teleread-receipts", "").split(",")))
    return Where(location, offset, receipts)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None

"""Signed requests to one bucket of an S3 server, and what its answers mean.

They are made here, over urllib3, and not by minio-py: its ``put_object`` cannot send a conditional write (an
``If-None-Match`` given to it is stored as user metadata, and the object is overwritten), its private methods change
between patch releases, it takes a quarter of a second to import, and it signs each request with keys derived anew.

Keys have no character that a URL would have to escape (see ``check_key``). The bucket is in the path, not in the
host's name.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

import certifi
import urllib3

from teleread.errors import Misconfigured, PeerError, StorageError, TelereadError
from teleread.storage.objects.protocol import missing
from teleread.storage.objects.signing import Signer

_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})
_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccountProblem"})
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "XMinioStorageQuotaExceeded", "InsufficientStorage"})
_DAMAGED = frozenset({"BadDigest", "InvalidDigest"})
_BUSY = frozenset(
    {
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "ServiceUnavailable",
        "InternalError",
        "RequestTimeout",
        "OperationAborted",
        "ConditionalRequestConflict",
        "XMinioServerNotInitialized",
    }
)
_CODE = re.compile(rb"<Code>(\w{1,64})</Code>")
_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?")
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)

Body = bytes | bytearray | memoryview | BinaryIO


def _ack_at_once(sock: socket.socket | None) -> None:
    """Have the next segments acknowledged at once.

    A server that writes an answer's head and body apart, and leaves Nagle's algorithm on, holds the body back until
    the head is acknowledged, which Linux puts off for 40 ms. Ceph's gateway is such a server unless it is told
    otherwise. The kernel forgets this wish, so it is said with every request.
    """
    if sock is not None and _QUICK_ACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)


_SENT_AGAIN = frozenset({"GET", "HEAD", "POST", "PUT"})
_HEAD_AND_BODY = frozenset({"GET", "POST"})  # whose answers have bodies of any size


class _Connection(urllib3.connection.HTTPConnection):
    def request(self, method: str, *arguments: Any, **rest: Any) -> None:
        self._has_body = method in _HEAD_AND_BODY
        super().request(method, *arguments, **rest)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        if self._has_body:
            _ack_at_once(self.sock)
        return super().getresponse()


class _TlsConnection(urllib3.connection.HTTPSConnection):
    def request(self, method: str, *arguments: Any, **rest: Any) -> None:
        self._has_body = method in _HEAD_AND_BODY
        super().request(method, *arguments, **rest)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        if self._has_body:
            _ack_at_once(self.sock)
        return super().getresponse()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Wire:
    """Requests to one bucket; safe to use from several threads and after a fork.

    Args:
        endpoint: ``host:port`` without scheme.
        bucket: its name.
        signer: with the credentials.
        secure: TLS with verified certificates.
        connections: kept open at once; as many as threads use the wire.
        connect_timeout_s, answer_timeout_s: for each try; there are at most three, and one answer to DELETE.
        clock: aware; the time that requests are signed for.

    Raises:
        Misconfigured: ``bad_store_url`` when the endpoint is not one.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        signer: Signer,
        *,
        secure: bool,
        connections: int,
        connect_timeout_s: float,
        answer_timeout_s: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not _ENDPOINT.fullmatch(endpoint):
            raise Misconfigured("bad_store_url", "the object store's endpoint is not host:port")
        self.endpoint, self.bucket, self.secure = endpoint, bucket, secure
        self._path = f"/{quote(bucket)}/"
        self._signer = signer
        self._connections = connections
        self._timeouts_s = (connect_timeout_s, answer_timeout_s)
        self._clock = clock
        self._connect()

    @property
    def url(self) -> str:
        """Names the bucket, without credentials."""
        return f"{'https' if self.secure else 'http'}://{self.endpoint}{self._path}"

    def _connect(self) -> None:
        self._pid = os.getpid()
        host, _, port = self.endpoint.rpartition(":") if _has_port(self.endpoint) else (self.endpoint, "", "")
        connect_timeout_s, answer_timeout_s = self._timeouts_s
        common: dict[str, Any] = {
            "host": host.strip("[]"),
            "port": int(port) if port else None,
            "maxsize": self._connections,
            "timeout": urllib3.Timeout(connect=connect_timeout_s, read=answer_timeout_s),
            # An unanswered request is sent again as it was; who must not be answered twice looks at the tries. But for
            # deleting: a server may come to the first of two requests late, when the key holds another object already.
            "retries": urllib3.Retry(
                total=2,
                redirect=0,
                backoff_factor=0.2,
                status_forcelist=(500, 502, 503, 504),
                allowed_methods=_SENT_AGAIN,
                raise_on_status=False,
            ),
            "blocksize": 1 << 18,
        }
        if self.secure:
            trusted = os.environ.get("SSL_CERT_FILE") or certifi.where()
            self._pool: urllib3.HTTPConnectionPool = _TlsPool(**common, cert_reqs="CERT_REQUIRED", ca_certs=trusted)
        else:
            self._pool = _Pool(**common)

    def with_secret(self, secret_key: str) -> Wire:
        """The same requests under another secret."""
        return self._other(self.bucket, self._signer.with_secret(secret_key))

    def with_bucket(self, bucket: str) -> Wire:
        """The same requests to another bucket."""
        return self._other(bucket, self._signer)

    def _other(self, bucket: str, signer: Signer) -> Wire:
        return Wire(
            self.endpoint,
            bucket,
            signer,
            secure=self.secure,
            connections=1,
            connect_timeout_s=self._timeouts_s[0],
            answer_timeout_s=self._timeouts_s[1],
            clock=self._clock,
        )

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.close()

    def send(
        self,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        size_bytes: int | None = None,
        stream: bool = False,
        expected: Collection[int] = (),
    ) -> urllib3.BaseHTTPResponse:
        """Send one request and return its answer.

        Args:
            method: as HTTP names it.
            key: of the object; the bucket itself when empty.
            query: parameters of the URL.
            headers: to be sent and signed, with lower-case names.
            body: what is sent; a stream is sent from where it stands.
            size_bytes: of a stream.
            stream: leave the answer's body to be read by the caller, who must close it.
            expected: statuses from 300 on that are answers and no failures.

        Raises:
            StorageError: what the answer means, and ``object_missing``.
            PeerError: no answer, or the server is busy.
        """
        if self._pid != os.getpid():  # a forked child does not share its parent's connections
            self._connect()
        path, asked = self._path + key, urlencode(sorted(query.items()), quote_via=quote, safe="") if query else ""
        signed = self._signer.signed(method, path, asked, {**(headers or {}), "host": self.endpoint}, self._clock())
        signed["user-agent"] = "teleread"
        if size_bytes is not None:
            signed["content-length"] = str(size_bytes)
        with translated():
            answer = self._pool.urlopen(
                method,
                f"{path}?{asked}" if asked else path,
                body=body,  # type: ignore[arg-type]  # takes whatever has a buffer
                headers=signed,
                preload_content=not stream,
                redirect=False,
            )
            if answer.status < 300 or answer.status in expected:
                return answer
            said = answer.read() if stream else answer.data
            answer.release_conn()
        raise refusal(said, key, answer.status)

    def pieces(self, key: str, count: int) -> Iterator[bytes]:
        """The object's bytes, that many at a time. Errors as :meth:`send`."""
        answer = self.send("GET", key, stream=True)
        try:
            with translated():
                while piece := answer.read(count):
                    yield piece
        finally:
            answer.close()
            answer.release_conn()


def _has_port(endpoint: str) -> bool:
    return ":" in endpoint.rpartition("]")[2]


def was_retried(answer: urllib3.BaseHTTPResponse) -> bool:
    """Whether the request had been sent before and its answer was lost or a failure."""
    return answer.retries is not None and bool(answer.retries.history)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what urllib3 raises into the project's errors."""
    try:
        yield
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise PeerError("store_unreachable", "the object store does not answer") from error


def refusal(said: bytes, key: str, status: int) -> TelereadError:
    """The error that stands for a server's."""
    found = _CODE.search(said)
    # the answer to HEAD has no body
    code = (
        found[1].decode() if found else {403: "AccessDenied", 404: "NoSuchKey" if key else "NoSuchBucket"}.get(status)
    )
    if code in _MISSING:
        return missing(key)
    if code == "NoSuchBucket":
        return StorageError("bucket_missing", "the object store has no such bucket")
    if code in _DENIED:
        return StorageError("store_access_denied", "the object store does not accept the credentials")
    if code == "RequestTimeTooSkewed":
        return StorageError("store_clock", "the clock of the object store and this one differ too much")
    if code in _FULL:
        return StorageError("store_full", "no space is left in the object store")
    if code in _DAMAGED:
        return PeerError("store_damaged_transfer", "the object store received other bytes than were sent")
    if code in _BUSY or status >= 500:
        return PeerError("store_unavailable", "the object store is too busy or failed")
    return StorageError("store_io", "the object store refused the request")

"""Signed requests to one bucket of an S3 server, and what its answers mean.

Requests are signed by minio-py's :func:`minio.signer.sign_v4_s3` and sent by urllib3. minio-py's own ``put_object``
cannot send a conditional write: an ``If-None-Match`` given to it is stored as user metadata and the object is
overwritten. Its private methods could, and change between its patch releases. Here every header that is given is
signed, ``If-None-Match`` and ``Content-MD5`` among them, so that nobody on the way can take it out.

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
from typing import BinaryIO, cast
from urllib.parse import quote, urlencode, urlsplit

import certifi
import urllib3
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from teleread.errors import Misconfigured, PeerError, StorageError, TelereadError
from teleread.storage.objects.protocol import missing

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


class _Connection(urllib3.connection.HTTPConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        _ack_at_once(self.sock)
        return super().getresponse()


class _TlsConnection(urllib3.connection.HTTPSConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 has it
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
        access_key, secret_key: credentials.
        secure: TLS with verified certificates.
        region: as the server signs for.
        connections: kept open at once; as many as threads use the wire.
        connect_timeout_s, answer_timeout_s: for each try; there are at most three.
        clock: aware; the time that requests are signed for.

    Raises:
        Misconfigured: ``bad_store_url`` when the endpoint is not one.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool,
        region: str,
        connections: int,
        connect_timeout_s: float,
        answer_timeout_s: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not _ENDPOINT.fullmatch(endpoint):
            raise Misconfigured("bad_store_url", "the object store's endpoint is not host:port")
        self.endpoint, self.bucket, self.secure = endpoint, bucket, secure
        self.base = f"{'https' if secure else 'http'}://{endpoint}/{quote(bucket)}"
        self._region = region
        self._credentials = Credentials(access_key, secret_key)
        self._connections = connections
        self._timeouts_s = (connect_timeout_s, answer_timeout_s)
        self._clock = clock
        self._connect()

    def _connect(self) -> None:
        self._pid = os.getpid()
        self._pool = urllib3.PoolManager(
            maxsize=self._connections,
            timeout=urllib3.Timeout(connect=self._timeouts_s[0], read=self._timeouts_s[1]),
            # an unanswered request is sent again as it was; who must not be answered twice looks at the tries
            retries=urllib3.Retry(
                total=2,
                redirect=0,
                backoff_factor=0.2,
                status_forcelist=(500, 502, 503, 504),
                allowed_methods=None,
                raise_on_status=False,
                raise_on_redirect=False,
            ),
            blocksize=1 << 18,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        self._pool.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def with_secret(self, secret_key: str) -> Wire:
        """The same requests under another secret."""
        return self._other(self.bucket, secret_key)

    def with_bucket(self, bucket: str) -> Wire:
        """The same requests to another bucket."""
        return self._other(bucket, self._credentials.secret_key)

    def _other(self, bucket: str, secret_key: str) -> Wire:
        return Wire(
            self.endpoint,
            bucket,
            self._credentials.access_key,
            secret_key,
            secure=self.secure,
            region=self._region,
            connections=1,
            connect_timeout_s=self._timeouts_s[0],
            answer_timeout_s=self._timeouts_s[1],
            clock=self._clock,
        )

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.clear()

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
            headers: to be sent and signed.
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
        url = f"{self.base}/{key}" if key else f"{self.base}/"
        if query:
            url += "?" + urlencode(query, quote_via=quote, safe="")
        signed = self._signed(method, url, headers or {})
        if size_bytes is not None:
            signed["Content-Length"] = str(size_bytes)
        with translated():
            answer = self._pool.urlopen(
                method, url, body=body, headers=signed, preload_content=not stream, redirect=False
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

    def _signed(self, method: str, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        now = self._clock().astimezone(UTC)
        payload = "UNSIGNED-PAYLOAD"  # its Content-MD5 is signed
        ready: dict[str, str | list[str] | tuple[str]] = {
            "Host": self.endpoint,
            "User-Agent": "teleread",
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
            "x-amz-content-sha256": payload,
            **headers,
        }
        signed = sign_v4_s3(
            method=method,
            url=urlsplit(url),
            region=self._region,
            headers=ready,
            credentials=self._credentials,
            content_sha256=payload,
            date=now,
        )
        return cast("dict[str, str]", signed)


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
    if code in _FULL:
        return StorageError("store_full", "no space is left in the object store")
    if code in _DAMAGED:
        return PeerError("store_damaged_transfer", "the object store received other bytes than were sent")
    if code in _BUSY or status >= 500:
        return PeerError("store_unavailable", "the object store is too busy or failed")
    return StorageError("store_io", "the object store refused the request")

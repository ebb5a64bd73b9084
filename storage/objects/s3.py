"""Objects in any S3 server, through minio-py.

No conditional write is relied on: several servers ignore ``If-None-Match``, and minio-py would store it as user
metadata and overwrite. Creation is instead: look, compare, write, look again. Raw objects have the hash of their
bytes as key and derived ones follow from their key, so two processes that race on one key write the same bytes.
Threads of one process are kept apart by a lock. Of two processes that race with different bytes on one key the
loser is told only if the winner's write was finished when it looked again.
"""

from __future__ import annotations

import io
import os
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from teleread.errors import Misconfigured, PeerError, StorageError, TelereadError
from teleread.storage.objects.protocol import (
    ObjectInfo,
    StoredObject,
    check_key,
    check_prefix,
    check_range,
    missing,
    other_bytes,
)
from teleread.storage.objects.streams import Rewindable, measure, rewindable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SHA256 = "sha256"  # stored as x-amz-meta-sha256; servers change its case
_PART_BYTES = 16 << 20
_LOCKS = 256
_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})
_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccountProblem"})
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "XMinioStorageQuotaExceeded", "InsufficientStorage"})
_BUSY = frozenset(
    {
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "ServiceUnavailable",
        "InternalError",
        "RequestTimeout",
        "OperationAborted",
        "XMinioServerNotInitialized",
    }
)


@dataclass(frozen=True, slots=True)
class _Head:
    size_bytes: int
    sha256: str | None  # as its writer recorded it; absent where the server keeps no metadata


class S3Store:
    """Objects in one bucket.

    Args:
        endpoint: ``host:port`` without scheme.
        bucket: its name; see :meth:`ensure_bucket`.
        access_key, secret_key: credentials.
        secure: TLS with verified certificates.
        region: as the server signs for.
        connections: kept open at once; as many as threads use the store.
        connect_timeout_s, answer_timeout_s: for each try; there are at most three.

    Raises:
        Misconfigured: ``bad_store_url`` when the endpoint is not one.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        secure: bool = True,
        region: str = "us-east-1",
        *,
        connections: int = 16,
        connect_timeout_s: float = 5.0,
        answer_timeout_s: float = 30.0,
    ) -> None:
        self.bucket = bucket
        self._connections = connections
        self._timeout = urllib3.Timeout(connect=connect_timeout_s, read=answer_timeout_s)
        self._endpoint, self._secure, self._region = endpoint, secure, region
        self._credentials = (access_key, secret_key)
        self._connect()

    def _connect(self) -> None:
        self._pid = os.getpid()
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))
        self._pool = urllib3.PoolManager(
            maxsize=self._connections,
            timeout=self._timeout,
            # an unanswered PUT is sent again whole: the same bytes under the same key
            retries=urllib3.Retry(
                total=2, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504), raise_on_status=False
            ),
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        access_key, secret_key = self._credentials
        try:
            self._client = Minio(
                endpoint=self._endpoint,
                access_key=access_key,
                secret_key=secret_key,
                secure=self._secure,
                region=self._region,
                http_client=self._pool,
            )
        except ValueError as error:
            raise Misconfigured("bad_store_url", "the object store's endpoint is not host:port") from error

    def _leave_parent(self) -> None:
        """A forked child shares neither connections nor locks with its parent."""
        if self._pid != os.getpid():
            self._connect()

    @property
    def _server(self) -> Minio:
        self._leave_parent()
        return self._client

    def ensure_bucket(self) -> None:
        """Make the bucket when it is absent."""
        with _translated():
            if not self._server.bucket_exists(bucket_name=self.bucket):
                self._server.make_bucket(bucket_name=self.bucket)

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.clear()

    def put(self, key: str, data: bytes | BinaryIO, *, size_hint: int | None = None) -> StoredObject:
        """See :meth:`ObjectStore.put`.

        A stream that cannot be rewound is first copied to a temporary file, because its hash is sent ahead of it.

        Raises:
            StorageError: also ``object_corrupt`` when the server holds less than it acknowledged.
        """
        check_key(key)
        with rewindable(data) as source, self._lock(key):
            head = self._head(key)
            if head is not None:
                self._compare(key, head, source)
            else:
                self._upload(key, source)
                self._read_back(key, source)
            return StoredObject(key, source.sha256, source.size_bytes)

    def get(self, key: str) -> bytes:
        """See :meth:`ObjectStore.get`."""
        with self.open(key) as body:
            return body.read()

    def open(self, key: str) -> BinaryIO:
        """See :meth:`ObjectStore.open`; the stream holds a connection until it is closed."""
        check_key(key)
        with _translated(key):
            response = self._server.get_object(bucket_name=self.bucket, object_name=key)
        return io.BufferedReader(_Body(response), 1 << 16)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See :meth:`ObjectStore.get_range`."""
        check_key(key)
        check_range(start, length)
        head = self._head(key)
        if head is None:
            raise missing(key)
        length = min(length, head.size_bytes - start)
        if length <= 0:
            return b""
        with _translated(key):
            response = self._server.get_object(bucket_name=self.bucket, object_name=key, offset=start, length=length)
        with io.BufferedReader(_Body(response)) as body:
            # A server may answer a range with the whole object; rclone answers with the range, and status 200.
            is_range = response.status == 206 or "content-range" in response.headers
            return body.read(length) if is_range else body.read(start + length)[start:]

    def stat(self, key: str) -> ObjectInfo | None:
        """See :meth:`ObjectStore.stat`."""
        head = self._head(check_key(key))
        return None if head is None else ObjectInfo(key, head.size_bytes)

    def exists(self, key: str) -> bool:
        """See :meth:`ObjectStore.exists`."""
        return self.stat(key) is not None

    def list(self, prefix: str = "") -> Iterator[str]:
        """See :meth:`ObjectStore.list`."""
        check_prefix(prefix)
        with _translated():
            for entry in self._server.list_objects(bucket_name=self.bucket, prefix=prefix, recursive=True):
                if not entry.is_dir:
                    yield str(entry.object_name)

    def delete(self, key: str) -> None:
        """See :meth:`ObjectStore.delete`."""
        if self._head(check_key(key)) is not None:  # some servers fail on what is not there
            with _translated(key):
                self._server.remove_object(bucket_name=self.bucket, object_name=key)

    def _lock(self, key: str) -> threading.Lock:
        self._leave_parent()
        return self._locks[zlib.crc32(key.encode()) % _LOCKS]

    def _head(self, key: str) -> _Head | None:
        try:
            with _translated(key):
                found = self._server.stat_object(bucket_name=self.bucket, object_name=key)
        except StorageError as error:
            if error.code == "object_missing":
                return None
            raise
        metadata = {name.lower(): value for name, value in (found.metadata or {}).items()}
        return _Head(found.size or 0, metadata.get(f"x-amz-meta-{_SHA256}"))

    def _upload(self, key: str, source: Rewindable) -> None:
        with _translated(key):
            self._server.put_object(
                bucket_name=self.bucket,
                object_name=key,
                data=source.stream,
                length=source.size_bytes,
                metadata={_SHA256: source.sha256},
                # one part at a time bounds the memory; an object of one part is one request
                part_size=_part_bytes(source.size_bytes),
                num_parallel_uploads=1,
            )

    def _read_back(self, key: str, source: Rewindable) -> None:
        head = self._head(key)
        if head is None or (head.sha256 == source.sha256 and head.size_bytes != source.size_bytes):
            raise StorageError("object_corrupt", f"the store acknowledged object {key} and does not hold it")
        if head.sha256 is None:
            self._compare(key, head, source)
        elif head.sha256 != source.sha256:
            raise other_bytes(key)

    def _compare(self, key: str, head: _Head, source: Rewindable) -> None:
        """Raise unless the stored bytes themselves are these: metadata can survive rotten bytes."""
        if head.size_bytes == source.size_bytes:
            with self.open(key) as body:
                if measure(body) == (source.sha256, source.size_bytes):
                    return
        raise other_bytes(key)


def _part_bytes(size_bytes: int) -> int:
    """Part size that keeps an object of this size below S3's 10,000 parts."""
    return max(_PART_BYTES, -(-size_bytes // 9_000 // (1 << 20)) * (1 << 20))


class _Body(io.RawIOBase):
    """An answer's bytes with our errors; closing gives the connection back."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        super().__init__()
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        with _translated():
            piece = self._response.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        with _translated():
            return self._response.read()

    def close(self) -> None:
        if not self.closed:
            # closing drops a half-read connection; a fully read one has already gone back to the pool
            self._response.close()
            self._response.release_conn()
        super().close()


@contextmanager
def _translated(key: str = "") -> Iterator[None]:
    """Turn what minio-py and urllib3 raise into the project's errors."""
    try:
        yield
    except S3Error as error:
        raise _failure(error.code or "", key, error.response.status) from error
    except InvalidResponseError as error:
        # minio-py reads errors of content type application/xml only; rclone's are text/xml
        found = re.search(r"<Code>(\w{1,64})</Code>", str(error))
        raise _failure(found[1] if found else "InternalError", key, 0) from error
    except ServerError as error:
        raise PeerError("store_unavailable", "the object store answered with something that is not S3") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise PeerError("store_unreachable", "the object store does not answer") from error
    except MinioException as error:
        raise StorageError("store_io", "the object store refused the request") from error


def _failure(code: str, key: str, status: int) -> TelereadError:
    if code in _MISSING:
        return missing(key)
    if code == "NoSuchBucket":
        return StorageError("bucket_missing", "the object store has no such bucket")
    if code in _DENIED:
        return StorageError("store_access_denied", "the object store does not accept the credentials")
    if code in _FULL:
        return StorageError("store_full", "no space is left in the object store")
    if code in _BUSY or status >= 500:
        return PeerError("store_unavailable", "the object store is too busy or failed")
    return StorageError("store_io", "the object store refused the request")

"""Sealed objects in any S3 server.

A draft stays here until it is published: in memory, or in a temporary file without a name where it is large. What it
holds is sealed already. Publishing creates the object and never replaces one:

- Where the server enforces ``If-None-Match`` on a PUT, one conditional PUT does both. Objects of up to 5 GiB go in
  one request then, because a server that enforces the condition on a PUT need not do so when parts are put together
  (Ceph's gateway does not).
- Where it also enforces it there, large objects go in parts.
- Where it enforces nothing: look, write, look again. Threads of one process are kept apart by a lock; between two
  processes that race on one key nothing is promised. The probe finds such a server (see ``probe.py``), and it is
  refused unless the operator accepts it knowingly.

Every request carries the MD5 of its body; where the server's ETag is an MD5 it is compared as well.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import re
import tempfile
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, BinaryIO

import urllib3

from teleread.errors import PeerError, StorageError, TelereadError
from teleread.storage.objects.listing import entries, uploads
from teleread.storage.objects.protocol import (
    Draft,
    ObjectInfo,
    check_key,
    check_prefix,
    check_range,
    missing,
)
from teleread.storage.objects.streams import os_failure
from teleread.storage.objects.wire import Body, Wire, refusal, translated, was_retried

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CREATE_ONLY, CREATE_ONLY_PARTS, ETAG_MD5 = "create_only", "create_only_parts", "etag_md5"

_IN_MEMORY_BYTES = 16 << 20
_PART_BYTES = 16 << 20
_MOST_PARTS = 9_000
_ONE_REQUEST_BYTES = 5 << 30
_READ_BYTES = 1 << 20
_LOCKS = 256
_CONFLICTS = 8
_ANY_SIZE = 1 << 50
_MD5 = re.compile(r"[0-9a-f]{32}")
_UPLOAD_ID = re.compile(rb"<UploadId>\s*([^<\s]{1,1024})\s*</UploadId>")


class S3Blobs:
    """Sealed objects in one bucket.

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
        self.wire = Wire(
            endpoint,
            bucket,
            access_key,
            secret_key,
            secure=secure,
            region=region,
            connections=connections,
            connect_timeout_s=connect_timeout_s,
            answer_timeout_s=answer_timeout_s,
        )
        self._relied_on: frozenset[str] = frozenset()
        self._make_locks()

    def _make_locks(self) -> None:
        self._pid = os.getpid()
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))

    def rely_on(self, enforced: Collection[str]) -> None:
        """Say what this server was found to enforce; nothing is relied on before."""
        self._relied_on = frozenset(enforced)

    def ensure_bucket(self) -> None:
        """Make the bucket when it is absent."""
        try:
            self.wire.send("HEAD")
        except StorageError as error:
            if error.code != "bucket_missing":
                raise
            # 409: somebody else made it in the meantime
            self.wire.send("PUT", expected=(409,))

    def close(self) -> None:
        """Close the kept connections."""
        self.wire.close()

    def draft(self, size_hint: int | None = None) -> AbstractContextManager[Draft]:
        """See :meth:`Blobs.draft`."""
        return _drafted(self, (size_hint or 0) > _IN_MEMORY_BYTES)

    def get(self, key: str) -> bytes:
        """See :meth:`Blobs.get`."""
        return self.wire.send("GET", check_key(key)).data

    def open(self, key: str) -> BinaryIO:
        """See :meth:`Blobs.open`; the stream holds a connection until it is closed."""
        answer = self.wire.send("GET", check_key(key), stream=True)
        return io.BufferedReader(_Body(answer), 1 << 16)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See :meth:`Blobs.get_range`."""
        check_key(key)
        check_range(start, length)
        length = min(length, _ANY_SIZE)
        if length == 0 or start >= _ANY_SIZE:
            if self.stat(key) is None:
                raise missing(key)
            return b""
        wanted = {"Range": f"bytes={start}-{start + length - 1}"}
        answer = self.wire.send("GET", key, headers=wanted, stream=True, expected=(416,))
        with io.BufferedReader(_Body(answer)) as body:
            if answer.status == 416:
                body.read()
                return b""
            # A server may answer a range with the whole object; rclone answers with the range, and status 200.
            said = answer.headers.get("content-range")
            if said is None and answer.status != 206:
                return body.read(start + length)[start:]
            if said is not None and not said.startswith(f"bytes {start}-"):
                raise StorageError("store_io", "the object store answered with another range")
            return body.read(length)

    def stat(self, key: str) -> ObjectInfo | None:
        """See :meth:`Blobs.stat`."""
        headers = self.head(key)
        return None if headers is None else ObjectInfo(key, _size(headers), _written_at(headers))

    def head(self, key: str) -> Mapping[str, str] | None:
        """Headers of the object, or None."""
        answer = self.wire.send("HEAD", check_key(key), expected=(404,))
        return None if answer.status == 404 else answer.headers

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """See :meth:`Blobs.list`; objects whose keys are none of ours are left out."""
        return entries(self.wire, check_prefix(prefix), after)

    def delete(self, key: str) -> None:
        """See :meth:`Blobs.delete`."""
        self.wire.send("DELETE", check_key(key), expected=(404,))

    def sweep_temporaries(self, older_than: datetime) -> int:
        """Abort uploads in parts that crashed writers left behind and return how many.

        Args:
            older_than: aware; uploads begun since are left, because their writer may be alive. By the server's clock.
        """
        if older_than.tzinfo is None:
            raise ValueError("naive datetime for the sweep")
        swept = 0
        for upload in list(uploads(self.wire)):
            if upload.begun_at < older_than:
                self._abort(upload.key, upload.id)
                swept += 1
        return swept

    # -- publishing

    def put_whole(self, key: str, body: Body, size_bytes: int, digest: bytes) -> bool:
        """Create the object by one request; False when the key holds one already."""
        enforced = CREATE_ONLY in self._relied_on
        headers = {"Content-MD5": base64.b64encode(digest).decode(), "Content-Type": "application/octet-stream"}
        if enforced:
            headers["If-None-Match"] = "*"
            answer = self._until_decided("PUT", key, headers=headers, body=body, size_bytes=size_bytes)
            if answer.status == 412:
                # the answer to our own first try may have been lost
                return was_retried(answer) and self._holds(key, digest, size_bytes)
            self._compare(key, answer.headers, digest.hex(), size_bytes)
            return True
        with self._lock(key):
            if self.head(key) is not None:
                return False
            answer = self.wire.send("PUT", key, headers=headers, body=body, size_bytes=size_bytes)
            self._compare(key, answer.headers, digest.hex(), size_bytes)
            # another process may have come in between: then the object is its, not ours
            return self._holds(key, digest, size_bytes)

    def put_parts(self, key: str, file: BinaryIO, size_bytes: int) -> bool:
        """Create the object in parts; False when the key holds one already."""
        if self.head(key) is not None:
            return False
        answer = self.wire.send(
            "POST", key, query={"uploads": ""}, headers={"Content-Type": "application/octet-stream"}
        )
        found = _UPLOAD_ID.search(answer.data)
        if found is None:
            raise StorageError("store_io", "the object store began no upload in parts")
        upload = found[1].decode()
        try:
            tags = self._send_parts(key, upload, file, part_bytes(size_bytes))
            if self._complete(key, upload, tags, size_bytes):
                return True
        except (TelereadError, OSError):
            # what is not aborted now is swept later
            with contextlib.suppress(TelereadError):
                self._abort(key, upload)
            raise
        self._abort(key, upload)
        return False

    def by_one_request(self, size_bytes: int) -> bool:
        """Whether a large draft had better be sent whole: only so can this server keep it from replacing another."""
        return (
            CREATE_ONLY in self._relied_on
            and CREATE_ONLY_PARTS not in self._relied_on
            and size_bytes <= _ONE_REQUEST_BYTES
        )

    def _send_parts(self, key: str, upload: str, file: BinaryIO, size: int) -> list[str]:
        file.seek(0)
        tags: list[str] = []
        while piece := _read(file, size):
            digest = hashlib.md5(piece, usedforsecurity=False).digest()
            answer = self.wire.send(
                "PUT",
                key,
                query={"partNumber": str(len(tags) + 1), "uploadId": upload},
                headers={"Content-MD5": base64.b64encode(digest).decode()},
                body=piece,
            )
            tag = answer.headers.get("etag", "").strip('"')
            if not tag or (ETAG_MD5 in self._relied_on and tag != digest.hex()):
                raise PeerError("store_damaged_transfer", "the object store received other bytes than were sent")
            tags.append(tag)
        return tags

    def _complete(self, key: str, upload: str, tags: list[str], size_bytes: int) -> bool:
        parts = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{tag}"</ETag></Part>' for number, tag in enumerate(tags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"Content-MD5": base64.b64encode(digest).decode(), "Content-Type": "application/xml"}
        enforced = CREATE_ONLY_PARTS in self._relied_on
        if enforced:
            headers["If-None-Match"] = "*"
        with self._lock(key):
            if not enforced and self.head(key) is not None:
                return False
            answer = self._until_decided("POST", key, query={"uploadId": upload}, headers=headers, body=body)
            whole = _tag_of_parts(tags)
            if answer.status == 404 or answer.status == 412:
                held = self.head(key) if was_retried(answer) else None
                if held is not None and _tag(held) == whole:
                    return True
                if answer.status == 412:
                    return False
                raise PeerError("store_unavailable", "the object store lost an upload in parts")
            if b"<Error>" in answer.data:  # such a failure comes with status 200
                raise refusal(answer.data, key, 500)
            held = self.head(key)
        if held is None or _size(held) != size_bytes or (ETAG_MD5 in self._relied_on and _tag(held) not in ("", whole)):
            raise _not_held(key)
        return True

    def _until_decided(
        self,
        method: str,
        key: str,
        *,
        headers: Mapping[str, str],
        body: Body,
        query: Mapping[str, str] | None = None,
        size_bytes: int | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """The answer to a conditional request, sent again while the server finds it in conflict with another."""
        for _ in range(_CONFLICTS):
            if not isinstance(body, (bytes, bytearray, memoryview)):
                body.seek(0)
            answer = self.wire.send(
                method, key, query=query, headers=headers, body=body, size_bytes=size_bytes, expected=(404, 409, 412)
            )
            if answer.status == 404 and method == "PUT":
                raise refusal(answer.data, key, 404)
            if answer.status != 409:
                return answer
        raise PeerError("store_unavailable", "the object store decides between no writers of one key")

    def _compare(self, key: str, headers: Mapping[str, str], tag: str, size_bytes: int) -> None:
        """Raise unless the acknowledged object is the one that was sent."""
        said = _tag(headers)
        if said == tag:
            return
        if ETAG_MD5 in self._relied_on:
            raise _not_held(key)
        held = self.head(key)
        if held is None or _size(held) != size_bytes:
            raise _not_held(key)

    def _holds(self, key: str, digest: bytes, size_bytes: int) -> bool:
        """Whether the stored bytes are these."""
        headers = self.head(key)
        if headers is None or _size(headers) != size_bytes:
            return False
        if _tag(headers) == digest.hex():
            return True
        found = hashlib.md5(usedforsecurity=False)
        with self.open(key) as body:
            while piece := body.read(_READ_BYTES):
                found.update(piece)
        return found.digest() == digest

    def _abort(self, key: str, upload: str) -> None:
        self.wire.send("DELETE", key, query={"uploadId": upload}, expected=(404,))

    def _lock(self, key: str) -> threading.Lock:
        if self._pid != os.getpid():  # a forked child shares no locks with its parent
            self._make_locks()
        return self._locks[zlib.crc32(key.encode()) % _LOCKS]


class _Draft:
    """See :class:`Draft`."""

    def __init__(self, blobs: S3Blobs, in_file: bool) -> None:
        self._blobs = blobs
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._size = 0
        if in_file:
            self._spill()

    def write(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._file is None and self._size > _IN_MEMORY_BYTES:
            self._spill()
        if self._file is None:
            self._memory += piece
            return
        with _os_errors():
            self._file.write(piece)

    def rewrite_start(self, piece: bytes) -> None:
        if len(piece) > self._size:
            raise ValueError("the draft is shorter than its new start")
        if self._file is None:
            self._memory[: len(piece)] = piece
            return
        with _os_errors():
            self._file.seek(0)
            self._file.write(piece)
            self._file.seek(0, os.SEEK_END)

    def publish(self, key: str) -> bool:
        check_key(key)
        if self._file is None:
            digest = hashlib.md5(self._memory, usedforsecurity=False).digest()
            return self._blobs.put_whole(key, self._memory, len(self._memory), digest)
        with _os_errors():
            self._file.flush()
            if not self._blobs.by_one_request(self._size):
                return self._blobs.put_parts(key, self._file, self._size)
            # nothing is sent for a key that is taken; who comes later is told by the condition
            if self._blobs.head(key) is not None:
                return False
            self._file.seek(0)
            digest = hashlib.file_digest(self._file, _md5).digest()
            return self._blobs.put_whole(key, self._file, self._size, digest)

    def close(self) -> None:
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        with _os_errors():
            # never has a name where the file system allows it, else loses it at once
            self._file = tempfile.TemporaryFile()  # type: ignore[assignment]  # noqa: SIM115
            assert self._file is not None
            self._file.write(self._memory)
        self._memory = bytearray()


@contextmanager
def _drafted(blobs: S3Blobs, in_file: bool) -> Iterator[_Draft]:
    draft = _Draft(blobs, in_file)
    try:
        yield draft
    finally:
        draft.close()


class _Body(io.RawIOBase):
    """An answer's bytes with our errors; closing gives the connection back."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        super().__init__()
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        with translated():
            piece = self._response.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        with translated():
            return self._response.read()

    def close(self) -> None:
        if not self.closed:
            # closing drops a half-read connection; a fully read one has already gone back to the pool
            self._response.close()
            self._response.release_conn()
        super().close()


def part_bytes(size_bytes: int) -> int:
    """Part size in bytes that keeps an object of this size below S3's 10,000 parts."""
    return max(_PART_BYTES, -(-size_bytes // _MOST_PARTS // (1 << 20)) * (1 << 20))


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _read(file: BinaryIO, size: int) -> bytes:
    with _os_errors():
        return file.read(size)


@contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise os_failure(error) from error


def _tag(headers: Mapping[str, str]) -> str:
    return headers.get("etag", "").strip('"').lower()


def _tag_of_parts(tags: list[str]) -> str:
    """The ETag that S3 gives an object of parts with these ETags; empty when they are no MD5s."""
    if not all(_MD5.fullmatch(tag) for tag in tags):
        return ""
    return hashlib.md5(bytes.fromhex("".join(tags)), usedforsecurity=False).hexdigest() + f"-{len(tags)}"


def _size(headers: Mapping[str, str]) -> int:
    said = headers.get("content-length", "")
    if not said.isdecimal():
        raise StorageError("store_io", "the object store does not say how large an object is")
    return int(said)


def _written_at(headers: Mapping[str, str]) -> datetime:
    try:
        return parsedate_to_datetime(headers.get("last-modified", "")).astimezone(UTC)
    except ValueError as error:
        raise StorageError("store_io", "the object store does not say when an object was written") from error


def _not_held(key: str) -> StorageError:
    return StorageError("object_corrupt", f"the store acknowledged object {key} and does not hold it")

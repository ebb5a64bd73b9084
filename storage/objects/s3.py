"""Sealed objects in any S3 server.

A draft stays here until it is published: in memory, or in a temporary file without a name where it is large. What it
holds is sealed already. How it is published without replacing anything is in ``creating.py``.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO, TYPE_CHECKING, BinaryIO, cast
from xml.sax.saxutils import escape

import urllib3

from teleread.errors import StorageError
from teleread.storage.objects.creating import Creator, abort, head, size
from teleread.storage.objects.listing import entries, uploads
from teleread.storage.objects.protocol import Draft, ObjectInfo, check_key, check_prefix, check_range, missing
from teleread.storage.objects.signing import Signer
from teleread.storage.objects.streams import os_failure
from teleread.storage.objects.wire import Wire, translated

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_IN_MEMORY_BYTES = 16 << 20
_ANY_SIZE = 1 << 50
_REGION = (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>"
)


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
        self._region = escape(region)
        self.wire = Wire(
            endpoint,
            bucket,
            Signer(access_key, secret_key, region),
            secure=secure,
            connections=connections,
            connect_timeout_s=connect_timeout_s,
            answer_timeout_s=answer_timeout_s,
        )
        self._creator = Creator(self.wire)

    def rely_on(self, enforced: Collection[str]) -> None:
        """Say what this server was found to enforce (see ``probe.py``); nothing is relied on before."""
        self._creator.relied_on = frozenset(enforced)

    def ensure_bucket(self) -> None:
        """Make the bucket when it is absent."""
        try:
            self.wire.send("HEAD")
        except StorageError as error:
            if error.code != "bucket_missing":
                raise
            body = _REGION.format(self._region).encode() if self._region != "us-east-1" else None
            # 409: somebody else made it in the meantime
            self.wire.send("PUT", body=body, expected=(409,))

    def close(self) -> None:
        """Close the kept connections."""
        self.wire.close()

    def draft(self, size_hint: int | None = None) -> AbstractContextManager[Draft]:
        """See :meth:`Blobs.draft`."""
        return _drafted(self._creator, (size_hint or 0) > _IN_MEMORY_BYTES)

    def get(self, key: str) -> bytes:
        """See :meth:`Blobs.get`."""
        return self.wire.send("GET", check_key(key)).data

    def open(self, key: str) -> BinaryIO:
        """See :meth:`Blobs.open`; the stream holds a connection until it is closed."""
        return io.BufferedReader(_Answer(self.wire.send("GET", check_key(key), stream=True)), 1 << 16)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See :meth:`Blobs.get_range`."""
        check_key(key)
        check_range(start, length)
        length = min(length, _ANY_SIZE)
        if length == 0 or start >= _ANY_SIZE:
            if self.stat(key) is None:
                raise missing(key)
            return b""
        wanted = {"range": f"bytes={start}-{start + length - 1}"}
        answer = self.wire.send("GET", key, headers=wanted, stream=True, expected=(416,))
        with io.BufferedReader(_Answer(answer)) as body:
            if answer.status == 416:
                body.read()
                return b""
            # A server may answer a range with the whole object; rclone answers with the range, and status 200.
            said = answer.headers.get("content-range")
            if said is not None and not said.startswith(f"bytes {start}-"):
                raise StorageError("store_io", "the object store answered with another range")
            skip = start if said is None and answer.status != 206 else 0
            # a huge length must not make read() allocate that much
            return body.read(min(skip + length, size(answer.headers)))[skip:]

    def stat(self, key: str) -> ObjectInfo | None:
        """See :meth:`Blobs.stat`."""
        headers = head(self.wire, check_key(key))
        if headers is None:
            return None
        try:
            written_at = parsedate_to_datetime(headers.get("last-modified", "")).astimezone(UTC)
        except ValueError as error:
            raise StorageError("store_io", "the object store does not say when an object was written") from error
        return ObjectInfo(key, size(headers), written_at)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """See :meth:`Blobs.list`; objects whose keys are none of ours are left out."""
        # checked at once, not with the first object
        return entries(self.wire, check_prefix(prefix), after)

    def delete(self, key: str) -> None:
        """See :meth:`Blobs.delete`."""
        if head(self.wire, check_key(key)) is not None:  # some servers fail on what is not there
            self.wire.send("DELETE", key, expected=(404,))

    def sweep_temporaries(self, older_than: datetime) -> int:
        """Abort uploads in parts that crashed writers left behind and return how many.

        Args:
            older_than: aware, compared with the server's clock; uploads begun since are left, because their writer
                may be alive. One hour ago is a good choice.
        """
        if older_than.tzinfo is None:
            raise ValueError("naive datetime for the sweep")
        swept = 0
        # the pages would shift while their entries go
        for upload in tuple(uploads(self.wire)):
            if upload.begun_at < older_than:
                abort(self.wire, upload.key, upload.id)
                swept += 1
        return swept


class _Draft:
    """See :class:`Draft`."""

    def __init__(self, creator: Creator, in_file: bool) -> None:
        self._creator = creator
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._size = 0
        if in_file:
            self._file = self._spilled()

    def write(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._file is None and self._size > _IN_MEMORY_BYTES:
            self._file = self._spilled()
        if self._file is None:
            self._memory += piece
            return
        with _os_errors():
            self._file.write(piece)

    def rewrite_start(self, piece: bytes) -> None:
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
            return self._creator.create_small(key, self._memory)
        with _os_errors():
            self._file.flush()
        return self._creator.create_large(key, cast("BinaryIO", self._file), self._size)

    def close(self) -> None:
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()

    def _spilled(self) -> IO[bytes]:
        """A temporary file without a name, with what was written so far."""
        with _os_errors():
            file = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the draft
            try:
                file.write(self._memory)
            except OSError:
                file.close()
                raise
        self._memory = bytearray()
        return file


@contextmanager
def _drafted(creator: Creator, in_file: bool) -> Iterator[_Draft]:
    draft = _Draft(creator, in_file)
    try:
        yield draft
    finally:
        draft.close()


class _Answer(io.RawIOBase):
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


@contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise os_failure(error) from error

"""Creating an object in an S3 bucket without ever replacing one, as far as its server helps.

- Where the server enforces ``If-None-Match`` on a PUT, one conditional PUT does it. Objects of up to 5 GiB go in one
  request then, because a server that enforces the condition on a PUT need not do so when parts are put together
  (Ceph's gateway does not).
- Where it also enforces it there, large objects go in parts.
- Where it enforces nothing: look, then write. Threads of one process are kept apart by a lock; between two
  processes that race on one key nothing is promised. The probe finds such a server (see ``probe.py``), and it is
  refused unless the operator accepts it knowingly.

Every request carries the MD5 of its body; where the server's ETag is an MD5 it is compared as well.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import threading
import zlib
from collections.abc import Mapping
from typing import BinaryIO

import urllib3

from teleread.errors import PeerError, StorageError, TelereadError
from teleread.storage.objects.streams import os_failure
from teleread.storage.objects.wire import Body, Wire, refusal, was_retried

CREATE_ONLY, CREATE_ONLY_PARTS, ETAG_MD5 = "create_only", "create_only_parts", "etag_md5"
"""What can be relied on here where the server was found to enforce it."""

_PART_BYTES = 16 << 20
_MOST_PARTS = 9_000
_ONE_REQUEST_BYTES = 5 << 30
_READ_BYTES = 1 << 20
_LOCKS = 256
_CONFLICTS = 8
_MD5 = re.compile(r"[0-9a-f]{32}")
_UPLOAD_ID = re.compile(rb"<UploadId>\s*([^<\s]{1,1024})\s*</UploadId>")


class Creator:
    """Creates objects; safe to use from several threads and after a fork.

    Args:
        wire: to the bucket.
    """

    def __init__(self, wire: Wire) -> None:
        self.relied_on: frozenset[str] = frozenset()
        self._wire = wire
        self._make_locks()

    def _make_locks(self) -> None:
        self._pid = os.getpid()
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))

    def create_small(self, key: str, body: bytearray) -> bool:
        """Create the object from memory; False when the key holds one already.

        Raises:
            StorageError: ``object_corrupt`` when the server acknowledged the object and does not hold it.
            PeerError: no decision was heard; the object is whole or absent.
        """
        return self._put(key, body, len(body), hashlib.md5(body, usedforsecurity=False).digest())

    def create_large(self, key: str, file: BinaryIO, size_bytes: int) -> bool:
        """Create the object from a file; otherwise as :meth:`create_small`."""
        # nothing is sent for a key that is taken; who comes later is told by the condition
        if head(self._wire, key) is not None:
            return False
        only_whole = CREATE_ONLY in self.relied_on and CREATE_ONLY_PARTS not in self.relied_on
        if not only_whole or size_bytes > _ONE_REQUEST_BYTES:
            return self._in_parts(key, file, size_bytes)
        file.seek(0)
        digest = hashlib.md5(usedforsecurity=False)
        while piece := _read(file, _READ_BYTES):
            digest.update(piece)
        file.seek(0)
        return self._put(key, file, size_bytes, digest.digest())

    def _put(self, key: str, body: Body, size_bytes: int, digest: bytes) -> bool:
        headers = {"content-md5": base64.b64encode(digest).decode()}
        if CREATE_ONLY in self.relied_on:
            headers["if-none-match"] = "*"
            answer = self._decided("PUT", key, headers=headers, body=body, size_bytes=size_bytes)
            if answer.status == 412:
                # the answer to our own first try may have been lost
                return was_retried(answer) and self._holds(key, digest, size_bytes)
            self._check_put(key, answer.headers, digest.hex(), size_bytes)
            return True
        with self._lock(key):
            if head(self._wire, key) is not None:
                return False
            answer = self._wire.send("PUT", key, headers=headers, body=body, size_bytes=size_bytes)
            self._check_put(key, answer.headers, digest.hex(), size_bytes)
            return True

    def _in_parts(self, key: str, file: BinaryIO, size_bytes: int) -> bool:
        answer = self._wire.send("POST", key, query={"uploads": ""})
        found = _UPLOAD_ID.search(answer.data)
        if found is None:
            raise StorageError("store_io", "the object store began no upload in parts")
        upload = found[1].decode()
        try:
            tags, whole = self._send_parts(key, upload, file, part_bytes(size_bytes))
            if self._complete(key, upload, tags, whole, size_bytes):
                return True
        except TelereadError:
            # what is not aborted now is swept later
            with contextlib.suppress(TelereadError):
                abort(self._wire, key, upload)
            raise
        # decided already: the key holds another's object
        with contextlib.suppress(TelereadError):
            abort(self._wire, key, upload)
        return False

    def _send_parts(self, key: str, upload: str, file: BinaryIO, size: int) -> tuple[list[str], set[str]]:
        """Returns the ETags of the parts, and those that the object may have."""
        file.seek(0)
        tags: list[str] = []
        whole = hashlib.md5(usedforsecurity=False)
        while piece := _read(file, size):
            whole.update(piece)
            digest = hashlib.md5(piece, usedforsecurity=False).digest()
            answer = self._wire.send(
                "PUT",
                key,
                query={"partNumber": str(len(tags) + 1), "uploadId": upload},
                headers={"content-md5": base64.b64encode(digest).decode()},
                body=piece,
            )
            said = tag(answer.headers)
            if not said or (ETAG_MD5 in self.relied_on and said != digest.hex()):
                raise PeerError("store_damaged_transfer", "the object store received other bytes than were sent")
            tags.append(said)
        # S3 makes it of the parts; a server over plain files may say the MD5 of the whole, and some say none
        return tags, {_tag_of_parts(tags), whole.hexdigest(), ""}

    def _complete(self, key: str, upload: str, tags: list[str], whole: set[str], size_bytes: int) -> bool:
        parts = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{said}"</ETag></Part>'
            for number, said in enumerate(tags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"content-md5": base64.b64encode(digest).decode(), "content-type": "application/xml"}
        enforced = CREATE_ONLY_PARTS in self.relied_on
        if enforced:
            headers["if-none-match"] = "*"
        with self._lock(key):
            if not enforced and head(self._wire, key) is not None:
                return False
            answer = self._decided("POST", key, query={"uploadId": upload}, headers=headers, body=body)
            held = head(self._wire, key)
        is_ours = held is not None and size(held) == size_bytes and tag(held) in whole
        if answer.status in (404, 412):
            # the answer to our own first try may have been lost
            if was_retried(answer) and is_ours:
                return True
            if answer.status == 412:
                return False
            raise PeerError("store_unavailable", "the object store lost an upload in parts")
        if b"<Error>" in answer.data:  # such a failure comes with status 200
            raise refusal(answer.data, key, 500)
        if is_ours:
            return True
        if held is not None and not enforced:  # another process came in between
            return False
        raise _not_held(key)

    def _decided(
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
            answer = self._wire.send(
                method, key, query=query, headers=headers, body=body, size_bytes=size_bytes, expected=(404, 409, 412)
            )
            if answer.status == 404 and method == "PUT":
                raise refusal(answer.data, key, 404)
            if answer.status != 409:
                return answer
        raise PeerError("store_unavailable", "the object store decides between no writers of one key")

    def _check_put(self, key: str, headers: Mapping[str, str], digest: str, size_bytes: int) -> None:
        """Raise unless the acknowledged object is the one that was sent."""
        if tag(headers) == digest:
            return
        held = None if ETAG_MD5 in self.relied_on else head(self._wire, key)
        if held is None or size(held) != size_bytes:
            raise _not_held(key)

    def _holds(self, key: str, digest: bytes, size_bytes: int) -> bool:
        """Whether the stored bytes are these."""
        headers = head(self._wire, key)
        if headers is None or size(headers) != size_bytes:
            return False
        if tag(headers) == digest.hex():
            return True
        found = hashlib.md5(usedforsecurity=False)
        for piece in self._wire.pieces(key, _READ_BYTES):
            found.update(piece)
        return found.digest() == digest

    def _lock(self, key: str) -> threading.Lock:
        if self._pid != os.getpid():  # a forked child shares no locks with its parent
            self._make_locks()
        return self._locks[zlib.crc32(key.encode()) % _LOCKS]


def head(wire: Wire, key: str) -> Mapping[str, str] | None:
    """Headers of the object, or None."""
    answer = wire.send("HEAD", key, expected=(404,))
    return None if answer.status == 404 else answer.headers


def abort(wire: Wire, key: str, upload: str) -> None:
    """Give up an upload in parts; nothing happens when there is none.

    Asked once more where no answer came: the id names this upload alone, so that a late request harms nothing.
    """
    try:
        wire.send("DELETE", key, query={"uploadId": upload}, expected=(404,))
    except PeerError:
        wire.send("DELETE", key, query={"uploadId": upload}, expected=(404,))


def part_bytes(size_bytes: int) -> int:
    """Part size in bytes that keeps an object of this size below S3's 10,000 parts: at most 9,000."""
    return max(_PART_BYTES, -(-size_bytes // (_MOST_PARTS << 20)) << 20)


def size(headers: Mapping[str, str]) -> int:
    """Number of bytes that the answer has, or would have to a GET."""
    said = headers.get("content-length", "")
    if not said.isdecimal():
        raise StorageError("store_io", "the object store does not say how large an object is")
    return int(said)


def tag(headers: Mapping[str, str]) -> str:
    """The ETag without its quotes; empty when there is none."""
    return headers.get("etag", "").strip('"')


def _tag_of_parts(tags: list[str]) -> str:
    """The ETag that S3 gives an object of parts with these ETags; empty when they are no MD5s."""
    if not all(_MD5.fullmatch(said) for said in tags):
        return ""
    return hashlib.md5(bytes.fromhex("".join(tags)), usedforsecurity=False).hexdigest() + f"-{len(tags)}"


def _read(file: BinaryIO, count: int) -> bytes:
    try:
        return file.read(count)
    except OSError as error:
        raise os_failure(error) from error


def _not_held(key: str) -> StorageError:
    return StorageError("object_corrupt", f"the store acknowledged object {key} and does not hold it")

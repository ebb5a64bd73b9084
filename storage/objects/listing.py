"""What an S3 bucket holds: its objects and its unfinished uploads, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree

from teleread.errors import StorageError
from teleread.storage.objects.protocol import ObjectInfo, check_key
from teleread.storage.objects.wire import Wire, refusal


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts that was begun and neither completed nor aborted."""

    key: str
    id: str
    begun_at: datetime


def entries(wire: Wire, prefix: str, after: str, page: int = 1000) -> Iterator[ObjectInfo]:
    """Objects whose keys start with the prefix and come after the given one, ascending by key.

    Args:
        wire: to the bucket.
        prefix: of the keys.
        after: a key or the beginning of one; empty for all.
        page: how many at most are asked for at once.

    Raises:
        StorageError: ``store_io`` for an answer that is no listing or runs in a circle.
    """
    last, token = after, ""
    while True:
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(page)}
        if token:
            query["continuation-token"] = token
        elif last:
            query["start-after"] = last
        root = _parsed(wire.send("GET", query=query).data)
        for element in _all(root, "Contents"):
            key = _text(element, "Key")
            if _is_key(key) and key > after and key.startswith(prefix):
                yield ObjectInfo(key, _number(_text(element, "Size")), _time(_text(element, "LastModified")))
            last = max(last, key)
        if _text(root, "IsTruncated") != "true":
            return
        before, token = token, _text(root, "NextContinuationToken")
        if not token or token == before:
            raise StorageError("store_io", "the object store's listing does not go on")


def uploads(wire: Wire) -> Iterator[Upload]:
    """Uploads in parts that are not finished, of keys that are ours."""
    query = {"uploads": "", "max-uploads": "1000"}
    while True:
        answer = wire.send("GET", query=query, expected=(404,))
        if answer.status == 404:
            if b"NoSuchUpload" in answer.data:  # rclone's word for none
                return
            raise refusal(answer.data, "", 404)
        root = _parsed(answer.data)
        for element in _all(root, "Upload"):
            key = _text(element, "Key")
            if _is_key(key):
                yield Upload(key, _text(element, "UploadId"), _time(_text(element, "Initiated")))
        if _text(root, "IsTruncated") != "true":
            return
        marks = {"key-marker": _text(root, "NextKeyMarker"), "upload-id-marker": _text(root, "NextUploadIdMarker")}
        if not marks["key-marker"] or marks.items() <= query.items():
            raise StorageError("store_io", "the object store's listing does not go on")
        query.update(marks)


def _parsed(answer: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(answer)
    except ElementTree.ParseError as error:
        raise StorageError("store_io", "the object store's listing cannot be read") from error


def _all(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    # servers differ in whether they name the namespace
    return (child for child in root if child.tag.rpartition("}")[2] == name)


def _text(root: ElementTree.Element, name: str) -> str:
    found = next(_all(root, name), None)
    return "" if found is None else (found.text or "")


def _time(said: str) -> datetime:
    try:
        found = datetime.fromisoformat(said)
    except ValueError as error:
        raise StorageError("store_io", "the object store's listing has no dates") from error
    # to the second, which is all that HEAD says
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).replace(microsecond=0)


def _number(said: str) -> int:
    if not said.isdecimal():
        raise StorageError("store_io", "the object store's listing has no sizes")
    return int(said)


def _is_key(key: str) -> bool:
    try:
        check_key(key)
    except StorageError:
        return False
    return True

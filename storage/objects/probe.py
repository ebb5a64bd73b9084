"""What an S3 server really does, found by effect and never by its word.

Servers answer 200 to what they ignore: a conditional PUT that overwrites, a checksum that nobody compares. So each
probe does the thing and looks what came of it. Everything lies below ``probe/<random>/`` and is removed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

import urllib3

from teleread.errors import Misconfigured, PeerError, StorageError, TelereadError
from teleread.storage.objects.creating import CREATE_ONLY, CREATE_ONLY_PARTS, ETAG_MD5, abort, head, tag
from teleread.storage.objects.listing import entries, uploads
from teleread.storage.objects.s3 import S3Blobs
from teleread.storage.objects.wire import Wire, was_retried

CREDENTIALS, CONTENT_MD5, RANGES, PARTS, LISTING, DELETION = (
    "credentials",
    "content_md5",
    "ranges",
    "parts",
    "listing",
    "deletion",
)

NEEDED = {
    CREDENTIALS: "anybody can read and write the objects",
    CREATE_ONLY: "two processes that store one object at once may replace each other's",
    CONTENT_MD5: "what is damaged on its way is stored as if it were whole",
    RANGES: "parts of objects cannot be read",
    PARTS: "large objects may be seen half written, and what broken uploads leave cannot be removed",
    LISTING: "backups and checks miss objects",
    DELETION: "what must be deleted stays",
}
"""What a store has to enforce, and what follows where it does not."""

ACCEPTABLE = frozenset(NEEDED) - {CREDENTIALS}

_ANY = frozenset({*range(300, 500), 501})
_WRITERS, _ROUNDS = 8, 5
_UPLOAD_ID = re.compile(rb"<UploadId>\s*([^<\s]{1,1024})\s*</UploadId>")
_LEFT_BEHIND = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store was found to enforce: names of :data:`NEEDED`, and what else can be relied on."""

    enforced: frozenset[str]

    def missing(self) -> tuple[str, ...]:
        """What is needed and not enforced."""
        return tuple(name for name in NEEDED if name not in self.enforced)


def require(capabilities: Capabilities, accepted: Collection[str] = frozenset()) -> None:
    """Raise unless the store enforces all that is needed and not accepted knowingly.

    Args:
        capabilities: as the probe found them.
        accepted: names of :data:`ACCEPTABLE` that the operator takes upon himself. A server that takes a wrong
            secret is never accepted.

    Raises:
        Misconfigured: ``store_does_not_enforce``, which names each, what follows, and how to accept it.
    """
    lacking = [name for name in capabilities.missing() if name not in ACCEPTABLE or name not in accepted]
    if not lacking:
        return
    what = "; ".join(f"{name} ({NEEDED[name]})" for name in lacking)
    if CREDENTIALS in lacking:
        way = "A server that takes a wrong secret is never accepted."
    else:
        names = ",".join(name for name in NEEDED if name in lacking or name in accepted)
        way = f"Use another server, or accept it knowingly with accept={names} in the store's URL."
    raise Misconfigured("store_does_not_enforce", f"the object store does not enforce {what}. {way}")


def probe(blobs: S3Blobs, *, random_name: Callable[[], str] = lambda: secrets.token_hex(8)) -> Capabilities:
    """Find out what the server enforces; takes about a hundred requests.

    Raises:
        StorageError: the server cannot even keep an object; its own error.
        PeerError: it does not answer, which says nothing about what it enforces.
    """
    place = _Place(blobs, f"probe/{random_name()}/")
    try:
        place.wire.send("PUT", place.key("plain"), body=b"plain")
        probes: dict[str, Callable[[_Place], bool]] = {
            CREDENTIALS: _credentials,
            CREATE_ONLY: _create_only,
            CONTENT_MD5: _content_md5,
            RANGES: _ranges,
            PARTS: _parts,
            CREATE_ONLY_PARTS: _create_only_parts,
            LISTING: _listing,
            DELETION: _deletion,
            ETAG_MD5: _etag_md5,
        }
        return Capabilities(frozenset(name for name, holds in probes.items() if _found(holds, place)))
    finally:
        place.clear()


def _found(holds: Callable[[_Place], bool], place: _Place) -> bool:
    try:
        return holds(place)
    except StorageError:
        return False  # refused, or answered with something that is not S3


@dataclass(slots=True)
class _Place:
    blobs: S3Blobs
    prefix: str
    used: set[str] = field(default_factory=set)

    @property
    def wire(self) -> Wire:
        return self.blobs.wire

    def key(self, name: str) -> str:
        key = self.prefix + name
        self.used.add(key)
        return key

    def put(self, name: str, body: bytes, *, wire: Wire | None = None, **headers: str) -> urllib3.BaseHTTPResponse:
        """Any answer but those that say that the server is in trouble."""
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        return (wire or self.wire).send("PUT", self.key(name), body=body, headers=said, expected=_ANY)

    def get(self, name: str) -> bytes | None:
        try:
            return self.blobs.get(self.key(name))
        except StorageError as error:
            if error.code == "object_missing":
                return None
            raise

    def begin(self, name: str) -> str:
        found = _UPLOAD_ID.search(self.wire.send("POST", self.key(name), query={"uploads": ""}).data)
        if found is None:
            raise StorageError("store_io", "the object store began no upload in parts")
        return found[1].decode()

    def part(self, name: str, upload: str, body: bytes) -> bytes:
        """Send the only part; returns what completes the upload."""
        answer = self.wire.send("PUT", self.key(name), query={"partNumber": "1", "uploadId": upload}, body=body)
        part = f'<Part><PartNumber>1</PartNumber><ETag>"{tag(answer.headers)}"</ETag></Part>'
        return f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()

    def complete(self, name: str, upload: str, body: bytes, **headers: str) -> urllib3.BaseHTTPResponse:
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.wire.send(
            "POST", self.key(name), query={"uploadId": upload}, body=body, headers=said, expected=_ANY
        )

    def begun(self) -> set[str]:
        """Unfinished uploads here."""
        return {upload.id for upload in uploads(self.wire) if upload.key.startswith(self.prefix)}

    def clear(self) -> None:
        """Remove what was made, and what a probe that was killed long ago left. Failures are not this one's."""
        with contextlib.suppress(TelereadError):
            for upload in list(uploads(self.wire)):
                if upload.key.startswith(self.prefix):
                    abort(self.wire, upload.key, upload.id)
        with contextlib.suppress(TelereadError):
            mine = self.blobs.stat(self.prefix + "plain")
            if mine is not None:  # its age is by the server's clock
                for info in self.blobs.list("probe/"):
                    if info.key.startswith(self.prefix) or info.written_at < mine.written_at - _LEFT_BEHIND:
                        self.used.add(info.key)
        for key in sorted(self.used):
            with contextlib.suppress(TelereadError):
                self.blobs.delete(key)


def _credentials(place: _Place) -> bool:
    """A wrong secret reads nothing and writes nothing."""
    stranger = place.wire.with_secret(secrets.token_urlsafe(24))
    try:
        with contextlib.suppress(StorageError):
            stranger.send("GET", place.key("plain"))
            return False
        with contextlib.suppress(StorageError):
            stranger.send("GET", query={"list-type": "2", "prefix": place.prefix, "max-keys": "1"})
            return False
        place.put("stranger", b"stranger", wire=stranger)
    finally:
        stranger.close()
    return place.get("stranger") is None


def _race(write: Callable[[int], urllib3.BaseHTTPResponse]) -> list[int] | None:
    """Which of the writers that begin at once were told that they had won; None when one had to try again."""
    together = threading.Barrier(_WRITERS)

    def one(i: int) -> urllib3.BaseHTTPResponse:
        together.wait(60)
        return write(i)

    with ThreadPoolExecutor(_WRITERS) as threads:
        answers = list(threads.map(one, range(_WRITERS)))
    if any(was_retried(answer) for answer in answers):
        return None
    return [i for i, answer in enumerate(answers) if answer.status < 300 and b"<Error>" not in answer.data]


def _one_winner(place: _Place, prepare: Callable[[str], Callable[[int], urllib3.BaseHTTPResponse]]) -> bool:
    """Whether of writers with other bytes exactly one wins in each round, and its bytes stay."""
    counted = 0
    for number in range(3 * _ROUNDS):
        name = f"race-{secrets.token_hex(4)}-{number}"
        winners = _race(prepare(name))
        if winners is None:
            continue
        if len(winners) != 1 or place.get(name) != _racer(winners[0]):
            return False
        counted += 1
        if counted == _ROUNDS:
            return True
    raise PeerError("store_unavailable", "the object store fails too often to be probed")


def _racer(i: int) -> bytes:
    return bytes([i]) * 1024


def _create_only(place: _Place) -> bool:
    """A conditional PUT is refused where something lies, and of writers at once exactly one wins."""
    place.put("taken", b"first")
    answer = place.put("taken", b"second", if_none_match="*")
    if answer.status < 300 or place.get("taken") != b"first":
        return False

    def prepare(name: str) -> Callable[[int], urllib3.BaseHTTPResponse]:
        return lambda i: place.put(name, _racer(i), if_none_match="*")

    return _one_winner(place, prepare)


def _create_only_parts(place: _Place) -> bool:
    """The same for an upload in parts when it is completed."""
    place.put("taken-parts", b"first")
    upload = place.begin("taken-parts")
    answer = place.complete("taken-parts", upload, place.part("taken-parts", upload, b"second"), if_none_match="*")
    if (answer.status < 300 and b"<Error>" not in answer.data) or place.get("taken-parts") != b"first":
        return False

    def prepare(name: str) -> Callable[[int], urllib3.BaseHTTPResponse]:
        begun = [place.begin(name) for _ in range(_WRITERS)]
        parts = [place.part(name, upload, _racer(i)) for i, upload in enumerate(begun)]
        return lambda i: place.complete(name, begun[i], parts[i], if_none_match="*")

    return _one_winner(place, prepare)


def _content_md5(place: _Place) -> bool:
    """Bytes with the MD5 of others are not stored."""
    wrong = base64.b64encode(hashlib.md5(b"others", usedforsecurity=False).digest()).decode()
    place.put("damaged", b"damaged", content_md5=wrong)
    return place.get("damaged") is None


def _ranges(place: _Place) -> bool:
    """Any range of an object is what a slice of it is."""
    data = bytes(range(256)) * 8
    place.put("range", data)
    spans = ((0, 1), (0, 2048), (100, 1000), (2047, 1), (2040, 100), (2048, 1), (1, 10**12))
    return all(
        place.blobs.get_range(place.key("range"), start, length) == data[start : start + length]
        for start, length in spans
    )


def _parts(place: _Place) -> bool:
    """An upload in parts is unseen until it is completed, can be listed and aborted, and is whole afterwards."""
    left, data = place.begin("left"), secrets.token_bytes(1024)
    place.part("left", left, data)
    if place.get("left") is not None or any(True for _ in entries(place.wire, place.prefix + "left", "")):
        return False
    if left not in place.begun():
        return False
    abort(place.wire, place.key("left"), left)
    if left in place.begun() or place.get("left") is not None:
        return False
    upload = place.begin("whole")
    place.complete("whole", upload, place.part("whole", upload, data))
    return place.get("whole") == data


def _listing(place: _Place) -> bool:
    """Keys come in ascending order, page by page, and from any key on."""
    names = ["list/a-b", "list/a.b", "list/a/1", "list/a/10", "list/a/2", "list/ab", "list/b"]
    for name in reversed(names):
        place.put(name, b"x")
    keys, prefix = [place.key(name) for name in names], place.prefix + "list/"
    if [info.key for info in entries(place.wire, prefix, "", page=2)] != keys:
        return False
    for i, after in enumerate(keys):
        if [info.key for info in entries(place.wire, prefix, after, page=3)] != keys[i + 1 :]:
            return False
        query = {"list-type": "2", "prefix": prefix, "start-after": after, "max-keys": "1000"}
        if f"<Key>{after}</Key>".encode() in place.wire.send("GET", query=query).data:
            return False
    return True


def _deletion(place: _Place) -> bool:
    """What was deleted is neither read nor listed."""
    place.put("gone", b"gone")
    place.blobs.delete(place.key("gone"))
    listed = any(True for _ in entries(place.wire, place.prefix + "gone", ""))
    return place.get("gone") is None and place.blobs.stat(place.key("gone")) is None and not listed


def _etag_md5(place: _Place) -> bool:
    """The ETag is the MD5 of the bytes, so that it can be compared with what was sent."""
    data = secrets.token_bytes(1024)
    said = hashlib.md5(data, usedforsecurity=False).hexdigest()
    answer = place.put("tagged", data)
    held = head(place.wire, place.key("tagged"))
    return held is not None and {tag(answer.headers), tag(held)} == {said}

"""Uploads that survive their line: tus 1.0.0 (https://tus.io/protocols/resumable-upload) with the extensions creation,
creation-with-upload, expiration, termination and checksum.

``Upload-Metadata`` may hold ``filename``, ``sha256`` (hexadecimal, of the whole file), ``urgent`` (``1``), ``waited_s``
(how long it has waited at the clinic), and ``group`` with ``group_size`` for a recording of several files.

What arrives stays, also of a request that broke off: the next one goes on behind it. The answer to the last byte names
the receipts (``Teleread-Receipts``): they are the acknowledgement, nothing before is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from email.utils import format_datetime
from typing import Annotated

from fastapi import APIRouter
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from teleread.alliance import PRIORITIES, Priority
from teleread.errors import Conflict, InputRejected
from teleread.pipeline.land import land_again
from teleread.pipeline.spool import Spool, Upload, expiry, upload_id
from teleread.pipeline.uploads import finish
from teleread.storage import agents
from teleread.storage.catalogue.schema import arrivals
from teleread.web import sending
from teleread.web.errors import NotFound
from teleread.web.limits import CHUNK_WAIT_S
from teleread.web.security import Seat, allow, public

log = logging.getLogger(__name__)
router = APIRouter()

VERSION = "1.0.0"
MAX_LENGTH = 8 << 30
ALGORITHMS = ("sha256", "sha1")
OPEN_AT_ONCE = 20_000
"""Uploads of one site that are on their way or were lately; more must wait, unless they are urgent."""
_METADATA_BYTES = 4096
_GATHER_BYTES = 256 << 10  # written to the disk at once
_STALE_S = 2.0  # a request that has brought nothing for so long gives way to a new one
_GIVE_WAY_S = 5.0
_NUMBER = re.compile(r"\d{1,18}\Z", re.ASCII)
_GROUP = re.compile(r"[0-9A-Za-z-]{8,64}\Z")
_MAX_GROUP = 8
_LONGEST_WAIT_S = 400 * 86_400
_HEADERS = {"Tus-Resumable": VERSION, "Cache-Control": "no-store"}


class Passage:
    """One request that brings bytes. A new one for the same upload takes its place once it stands still: a line that
    broke without a word would otherwise hold the upload until its time is over.
    """

    def __init__(self) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self.give_way = asyncio.Event()
        self.over = asyncio.Event()


@dataclass(frozen=True, slots=True)
class _Announced:
    name: str
    sha256: str | None
    urgent: bool
    group: str | None
    group_size: int
    waited_s: int | None = None


@router.options("/api/tus")
def options(seat: Annotated[Seat, public(audit=None)]) -> Response:
    """What this server can."""
    headers = {
        **_HEADERS,
        "Tus-Version": VERSION,
        "Tus-Max-Size": str(MAX_LENGTH),
        "Tus-Extension": "creation,creation-with-upload,expiration,termination,checksum",
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    return Response(status_code=204, headers=headers)


@router.post("/api/tus")
async def create(request: Request, seat: Annotated[Seat, allow("uploader", audit="land")]) -> Response:
    """Begin an upload, or go on with the one of the same bytes; the body may be its first bytes."""
    _check_version(request)
    if "upload-defer-length" in request.headers:
        raise InputRejected("upload_invalid", "The length of an upload must be announced.")
    length = _number(request.headers.get("upload-length"))
    if length > MAX_LENGTH:
        raise InputRejected("upload_too_large", f"An upload has {MAX_LENGTH} bytes at the most.")
    if length == 0:
        raise InputRejected("empty_upload", "Nothing was sent: the file is empty.")
    upload = await run_in_threadpool(_begin, _spool(request), seat, length, _announced(request))
    brings = request.headers.get("content-type", "").startswith("application/offset+octet-stream")
    # bytes beside the announcement of an upload that has some already are not read: its sender asks where it is
    if brings and not upload.settled and await run_in_threadpool(_spool(request).offset, upload) == 0:
        upload = await _take(request, seat, upload, 0)
    headers = {"Location": f"/api/tus/{upload.id}", **await run_in_threadpool(_state, _spool(request), upload)}
    return Response(status_code=201, headers=headers)


@router.head("/api/tus/{identifier}")
def where(request: Request, seat: Annotated[Seat, allow("uploader", audit=None)], identifier: str) -> Response:
    """How many bytes have come."""
    _check_version(request)
    spool = _spool(request)
    return Response(status_code=200, headers=_state(spool, _own(spool, seat, identifier)))


@router.patch("/api/tus/{identifier}")
async def add(request: Request, seat: Annotated[Seat, allow("uploader", audit="land")], identifier: str) -> Response:
    """Add bytes behind those that have come."""
    _check_version(request)
    if not request.headers.get("content-type", "").startswith("application/offset+octet-stream"):
        raise InputRejected("upload_media_type", "The bytes of an upload come as application/offset+octet-stream.")
    offset = _number(request.headers.get("upload-offset"))
    upload = await run_in_threadpool(_own, _spool(request), seat, identifier)
    if upload.settled:
        raise Conflict("upload_offset", "The upload is whole already.")
    upload = await _take(request, seat, upload, offset)
    return Response(status_code=204, headers=await run_in_threadpool(_state, _spool(request), upload))


@router.delete("/api/tus/{identifier}")
def give_up(request: Request, seat: Annotated[Seat, allow("uploader", audit="land")], identifier: str) -> Response:
    """Forget what has come of an upload. What has landed stays."""
    _check_version(request)
    spool = _spool(request)
    spool.remove(_own(spool, seat, identifier))
    return Response(status_code=204, headers=_HEADERS)


@router.post("/api/tus/{identifier}/urgent")
def make_urgent(
    request: Request, seat: Annotated[Seat, allow("uploader", audit="land")], identifier: str
) -> JSONResponse:
    """What is on its way is urgent after all."""
    spool = _spool(request)
    upload = _own(spool, seat, identifier)
    if upload.settled:
        raise Conflict("upload_offset", "The upload is whole already: send it again as urgent.")
    if spool.raise_priority(upload, "urgent").settled:
        raise Conflict("upload_offset", "The upload has become whole: send it again as urgent.")
    return JSONResponse({"priority": "urgent"})


def _begin(spool: Spool, seat: Seat, length: int, announced: _Announced) -> Upload:
    services, site_id = seat.services, seat.site_id
    if seat.account is not None and agents.is_agent(seat.account):
        with services.catalogue.write() as conn:
            agents.seen(conn, seat.account, services.clock())
    priority = sending.priority_of(services, site_id, announced.urgent)
    upload = Upload(
        id=secrets.token_hex(16),
        site_id=site_id,
        actor=seat.name,
        length=length,
        sha256=announced.sha256,
        name=announced.name,
        priority=priority,
        group=announced.group,
        group_size=announced.group_size,
        created_at=services.clock(),
        waited_s=announced.waited_s,
    )
    if announced.sha256 is not None:
        name = announced.name if announced.group else ""
        upload = replace(upload, id=upload_id(site_id, announced.sha256, length, announced.group, name))
        if announced.group is None and (known := _known(seat, announced.sha256, priority)) is not None:
            return spool.create(replace(upload, receipts=(known,)))
        found = spool.find(site_id, upload.id)
        if found is not None and not found.settled and _higher(priority, found.priority):
            found = spool.raise_priority(found, priority)
        if found is not None and not found.settled:
            return found
        if found is not None and _still_held(seat, found, priority):
            return found
        if found is not None:
            spool.remove(found)
    if priority != "urgent" and spool.count(site_id) >= OPEN_AT_ONCE:
        raise Conflict("too_many_uploads", "Too many uploads of this site are on their way.")
    return spool.create(upload)


def _known(seat: Seat, sha256: str, priority: Priority) -> str | None:
    """The receipt of bytes that have landed before; a higher priority than then is taken."""
    known = land_again(seat.services, site_id=seat.site_id, sha256=sha256, clinic_priority=priority, actor=seat.name)
    return None if known is None else known.receipt


def _still_held(seat: Seat, upload: Upload, priority: Priority) -> bool:
    """Whether all that a settled upload has become is here still; a higher priority than then is taken."""
    with seat.services.catalogue.read() as conn:
        rows = conn.execute(select(arrivals.c.sha256).where(arrivals.c.receipt.in_(upload.receipts))).all()
    held = [_known(seat, row.sha256, priority) for row in rows]
    return len(held) == len(upload.receipts) > 0 and None not in held


async def _take(request: Request, seat: Seat, upload: Upload, offset: int) -> Upload:
    """Append the request's body and land the upload when it is whole then."""
    spool = _spool(request)
    checksum = _checksum(request)
    async with _passage(request, upload) as passage:
        with spool.append(upload, offset) as appender:
            digest = hashlib.new(checksum[0]) if checksum else None
            try:
                async with aclosing(_pieces(request, passage)) as pieces:
                    async for piece in pieces:
                        if digest is not None:
                            digest.update(piece)
                        await run_in_threadpool(appender.write, piece)
            except (ClientDisconnect, InputRejected) as error:
                if checksum:
                    # a part that was to be checked as a whole did not come as a whole
                    await run_in_threadpool(appender.take_back)
                if isinstance(error, InputRejected):
                    raise
                raise InputRejected("upload_interrupted", "The line broke before everything had arrived.") from error
            if checksum and digest is not None and digest.digest() != checksum[1]:
                await run_in_threadpool(appender.take_back)
                raise InputRejected("upload_checksum", "The part of the upload was damaged on its way.")
            whole = appender.offset == upload.length
    if not whole:
        return upload
    async with request.app.state.upload_slots:
        return await run_in_threadpool(_land, request, seat, spool, upload.id)


def _land(request: Request, seat: Seat, spool: Spool, identifier: str) -> Upload:
    upload = spool.find(seat.site_id, identifier)
    if upload is None:
        raise NotFound()
    done = finish(seat.services, spool, upload)
    for receipt in done.receipts:
        sending.prepare_soon(seat, request.app.state.lane, receipt)
    return done


@asynccontextmanager
async def _passage(request: Request, upload: Upload) -> AsyncIterator[Passage]:
    """Be the one request that adds to an upload.

    Raises:
        Conflict: ``upload_locked``: another one does, and bytes do come by it.
    """
    passages: dict[str, Passage] = request.app.state.passages
    before = passages.get(upload.id)
    if before is not None:
        if asyncio.get_running_loop().time() - before.heard_at < _STALE_S:
            raise Conflict("upload_locked", "Another request is sending this file.")
        before.give_way.set()
        try:
            await asyncio.wait_for(before.over.wait(), _GIVE_WAY_S)
        except TimeoutError:
            raise Conflict("upload_locked", "Another request is sending this file.") from None
    if upload.id in passages:
        raise Conflict("upload_locked", "Another request is sending this file.")
    passage = passages[upload.id] = Passage()
    try:
        yield passage
    finally:
        del passages[upload.id]
        passage.over.set()


async def _pieces(request: Request, passage: Passage) -> AsyncGenerator[bytes, None]:
    """The body in pieces that are worth a write; what has come is given out also when the line stands still."""
    loop = asyncio.get_running_loop()
    stream = request.stream()
    gathered = bytearray()
    waiting: asyncio.Task[bytes] | None = None
    give_way = asyncio.create_task(passage.give_way.wait())
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(stream))
            assert waiting is not None
            limit = _STALE_S if gathered else CHUNK_WAIT_S
            await asyncio.wait({waiting, give_way}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if passage.give_way.is_set():
                break
            if waiting.done():
                try:
                    gathered += waiting.result()
                except StopAsyncIteration:
                    waiting = None
                    break
                waiting, passage.heard_at = None, loop.time()
                if len(gathered) < _GATHER_BYTES:
                    continue
            elif not gathered:
                raise InputRejected("upload_stalled", "Nothing arrived for a minute.")
            yield bytes(gathered)
            gathered.clear()
        if gathered:
            yield bytes(gathered)
    except ClientDisconnect:
        if gathered:
            yield bytes(gathered)
        raise
    finally:
        for task in (waiting, give_way):
            if task is not None:
                task.cancel()


def _state(spool: Spool, upload: Upload) -> dict[str, str]:
    headers = {**_HEADERS, "Upload-Offset": str(spool.offset(upload)), "Upload-Length": str(upload.length)}
    headers["Upload-Expires"] = format_datetime(expiry(upload), usegmt=True)
    if upload.receipts:
        headers["Teleread-Receipts"] = ",".join(upload.receipts[:64])
    return headers


def _own(spool: Spool, seat: Seat, identifier: str) -> Upload:
    upload = spool.find(seat.site_id, identifier)
    if upload is None:
        raise NotFound()  # or another site's
    return upload


def _spool(request: Request) -> Spool:
    spool: Spool | None = request.app.state.spool
    if spool is None:
        raise NotFound()
    return spool


def _check_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise InputRejected("tus_version", f"This server speaks tus {VERSION}.")


def _number(text: str | None) -> int:
    if text is None or not _NUMBER.match(text):
        raise InputRejected("upload_invalid", "A length or an offset is missing or is no number.")
    return int(text)


def _announced(request: Request) -> _Announced:
    """What ``Upload-Metadata`` says; keys that we do not know are other people's."""
    said: dict[str, str] = {}
    text = request.headers.get("upload-metadata", "")
    if len(text) > _METADATA_BYTES:
        raise InputRejected("upload_invalid", "The description of the upload is too long.")
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            said[key] = base64.b64decode(value, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise InputRejected("upload_invalid", "The description of the upload cannot be read.") from None
    group = said.get("group")
    size = _number(said.get("group_size", "1")) if group else 1
    if group is not None and (not _GROUP.match(group) or not 1 <= size <= _MAX_GROUP):
        raise InputRejected("upload_invalid", "The group of the upload cannot be read.")
    name = sending.plain_name(said.get("filename", ""))
    sha256 = said.get("sha256", "").lower() or None
    return _Announced(name, sha256, said.get("urgent") == "1", group, size, _waited(said.get("waited_s")))


def _waited(text: str | None) -> int | None:
    """Seconds that it waited at the clinic; a clock that was set there says nonsense, which refuses nothing."""
    if text is None or not _NUMBER.match(text) or int(text) > _LONGEST_WAIT_S:
        return None
    return int(text)


def _checksum(request: Request) -> tuple[str, bytes] | None:
    text = request.headers.get("upload-checksum")
    if text is None:
        return None
    algorithm, _, value = text.partition(" ")
    if algorithm not in ALGORITHMS:
        raise InputRejected("upload_checksum_unknown", "The checksum's algorithm is not known here.")
    try:
        return algorithm, base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InputRejected("upload_checksum_unknown", "The checksum cannot be read.") from None


def _higher(one: Priority, other: Priority) -> bool:
    return PRIORITIES.index(one) < PRIORITIES.index(other)

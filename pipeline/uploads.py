"""What follows when an upload is whole: its bytes are landed, then let go from the spool."""

from __future__ import annotations

import logging
import posixpath
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import BinaryIO, cast

from teleread.alliance import PRIORITIES, Priority
from teleread.errors import InputRejected, TelereadError
from teleread.ingest.formats import sniff
from teleread.ingest.formats.bundle import MAX_TOTAL_BYTES
from teleread.pipeline import unpack
from teleread.pipeline.clinic_word import raise_sent
from teleread.pipeline.land import Landed, land, land_file
from teleread.pipeline.services import Services
from teleread.pipeline.spool import Spool, Upload

log = logging.getLogger(__name__)

_IN_MEMORY_BYTES = 8 << 20
_ZIP_IN_MEMORY_BYTES = 64 << 20
_ROOM = threading.BoundedSemaphore(2)  # uploads in memory at once, however many arrive
_MEMBER_IN_MEMORY_BYTES = 8 << 20


def finish(services: Services, spool: Spool, upload: Upload) -> Upload:
    """Land a whole upload, or its whole group when it is the last of it; any number of times.

    Returns:
        The settled upload; as it is while others of its group are on their way.

    Raises:
        InputRejected: ``upload_hash_mismatch``: the bytes are not what was announced. They are forgotten, and the
            sender sends them again.
        StorageError: nothing was acknowledged; finish again.
    """
    if upload.settled or not spool.is_whole(upload):
        return upload
    together = _together(spool, upload)
    # all of a group have the same first one, so none of them is landed beside another
    with spool.landing(min(together, key=lambda one: one.id)) as alone:
        found = spool.find(upload.site_id, upload.id)
        if found is None or found.settled or not alone:
            return found or upload
        return _finish(services, spool, found)


def _together(spool: Spool, upload: Upload) -> list[Upload]:
    if upload.group is None:
        return [upload]
    return [one for one in spool.uploads(upload.site_id) if one.group == upload.group] or [upload]


def _finish(services: Services, spool: Spool, upload: Upload) -> Upload:
    if not spool.is_whole(upload):
        return upload
    if upload.sha256 is not None and spool.sha256(upload) != upload.sha256:
        spool.restart(upload)
        raise InputRejected("upload_hash_mismatch", "The bytes that came are not the bytes that were announced.")
    if upload.group is None:
        receipts = tuple(one.receipt for one in _land(services, spool, upload))
        return _settle(services, spool, upload, receipts, upload.priority)
    together = _together(spool, upload)
    landed_as = min((one.priority for one in together), key=PRIORITIES.index)
    if any(one.receipts for one in together):
        landed_as = PRIORITIES[-1]
        # the whole group has landed before, and was cut short while its parts were being settled
        receipts = next(one.receipts for one in together if one.receipts)
    elif len(together) < upload.group_size or not all(spool.is_whole(one) for one in together):
        return upload
    else:
        receipts = tuple(one.receipt for one in _land_group(services, spool, together))
    for one in together:
        if not one.settled:
            _settle(services, spool, one, receipts, landed_as)
    return spool.find(upload.site_id, upload.id) or upload


def _settle(services: Services, spool: Spool, upload: Upload, receipts: tuple[str, ...], landed_as: Priority) -> Upload:
    """Write down its receipts. Whoever called it more urgent while it was being landed has either seen them, or is
    heard here: no word is lost between the two.
    """

    def catch_up() -> None:
        found = spool.find(upload.site_id, upload.id)
        if found is None or PRIORITIES.index(found.priority) >= PRIORITIES.index(landed_as):
            return
        for receipt in receipts:
            with suppress(InputRejected):  # deleted meanwhile
                raise_sent(
                    services,
                    receipt=receipt,
                    site_id=upload.site_id,
                    priority=found.priority,
                    actor=upload.actor,
                )

    return spool.settle(upload, receipts=receipts, failure=upload.failure, then=catch_up)


def finish_left(services: Services, spool: Spool) -> int:
    """Land what was whole when a process died; returns how many were landed."""
    landed = 0
    for upload in spool.uploads(unsettled=True):
        if upload.settled:
            # it died after it had written down the receipts and before it let the bytes go
            _settle(services, spool, upload, upload.receipts, PRIORITIES[-1])
            continue
        if not spool.is_whole(upload):
            continue
        try:
            landed += finish(services, spool, upload).settled
        except TelereadError as error:
            log.warning("upload %s is not landed: %s", upload.id, error.code)
    return landed


def _land(services: Services, spool: Spool, upload: Upload) -> list[Landed]:
    with spool.open(upload) as file:
        head = file.read(4096)
        landed: list[Landed] = []
        if sniff(head) == "zip" and _land_members(services, spool, upload, landed):
            return landed
        # what cannot be taken apart is landed as it is: a person looks at it, nothing is refused
        # a small archive is looked into for what it is; all else shows it by its first bytes
        if upload.length > (_ZIP_IN_MEMORY_BYTES if sniff(head) == "zip" else _IN_MEMORY_BYTES):
            return [*landed, _land_file(services, upload, file)]
        with _ROOM:
            file.seek(0)
            return [*landed, _land_files(services, upload, {upload.name: file.read()})]


def _land_members(services: Services, spool: Spool, upload: Upload, landed: list[Landed]) -> bool:
    """Each recording of an archive by itself. False where it holds none, or is one recording as it is, or is not to be
    taken apart, or is damaged behind what is in ``landed`` then.
    """
    try:
        with spool.open(upload) as file, unpack.opened(file) as archive:
            members = unpack.look(archive)
            if not members.recordings or (len(members.recordings) == 1 and unpack.is_plain(archive)):
                return False
            for names in members.recordings:
                if len(names) > 1 and sum(archive.getinfo(name).file_size for name in names) <= _IN_MEMORY_BYTES:
                    with _ROOM:
                        files = {posixpath.basename(name): unpack.read(archive, name) for name in names}
                        landed.append(_land_files(services, upload, files))
                    continue
                with tempfile.SpooledTemporaryFile(_MEMBER_IN_MEMORY_BYTES, "w+b", dir=str(spool.folder)) as member:
                    if len(names) > 1:
                        parts = {posixpath.basename(name): partial(archive.open, name) for name in names}
                        unpack.bundle_to(cast(BinaryIO, member), parts)
                    else:
                        unpack.copy(archive, names[0], member)
                    landed.append(_land_file(services, upload, cast(BinaryIO, member)))
            return True
    except InputRejected as error:
        log.warning("upload %s is landed as it is: %s", upload.id, error.code)
        return False


def _land_group(services: Services, spool: Spool, together: list[Upload]) -> list[Landed]:
    highest = min((one.priority for one in together), key=PRIORITIES.index)
    together = [replace(one, priority=highest) for one in together]
    total = sum(one.length for one in together)
    if total > MAX_TOTAL_BYTES or len({one.name for one in together}) != len(together):
        # too large to be read as one recording: nothing is refused, a person looks at its files
        landed = []
        for one in together:
            with spool.open(one) as file:
                landed.append(_land_file(services, one, file))
        return landed
    if total <= _IN_MEMORY_BYTES:
        with _ROOM:
            files = {}
            for one in together:
                with spool.open(one) as file:
                    files[one.name] = file.read()
            return [_land_files(services, together[0], files)]
    with tempfile.TemporaryFile("w+b", dir=str(spool.folder)) as whole:
        unpack.bundle_to(cast(BinaryIO, whole), {one.name: partial(spool.open, one) for one in together})
        return [_land_file(services, together[0], cast(BinaryIO, whole))]


def _land_file(services: Services, upload: Upload, file: BinaryIO) -> Landed:
    return land_file(
        services,
        site_id=upload.site_id,
        source="web",
        file=file,
        clinic_priority=upload.priority,
        actor=upload.actor,
        waited_s=_waited_s(services, upload),
    )


def _land_files(services: Services, upload: Upload, files: dict[str, bytes]) -> Landed:
    return land(
        services,
        site_id=upload.site_id,
        source="web",
        files=files,
        clinic_priority=upload.priority,
        actor=upload.actor,
        waited_s=_waited_s(services, upload),
    )


def _waited_s(services: Services, upload: Upload) -> int | None:
    """Until now: before it was announced, by the clinic's clock, and on its way, by ours."""
    if upload.waited_s is None:
        return None
    return upload.waited_s + max(0, int((services.clock() - upload.created_at).total_seconds()))

"""Reading everything that is stored, to find what has rotted while nobody looked.

Two of them. One is asked for, reads all there is as fast as it can, and goes on where it was stopped. The other never
ends: a small slice with each round of the durable lane, so that rot is found within weeks without anyone asking.
Both read objects through as anyone else would, hash the plaintext, and compare: a raw object with its own key, every
other one with its row. A finding stands until a later look at the same object finds it good.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from teleread.errors import PeerError, StorageError, TelereadError
from teleread.pipeline import certificates
from teleread.pipeline.notes import NOTES, read_note
from teleread.pipeline.pairs import Pair, pairs, stored_versions
from teleread.pipeline.rotten import audit_id
from teleread.pipeline.services import PIPELINE_VERSION, Services
from teleread.storage import audit
from teleread.storage.backup import rings
from teleread.storage.catalogue.schema import objects, scrub_findings, scrubs
from teleread.storage.objects.measuring import Measured, measure_batches
from teleread.storage.objects.raw import raw_root

SLICE_BYTES = 64 << 20
EVERY = timedelta(days=1)  # the slow one begins anew no sooner than this after it last began
_KEEP_EVERY_S = 2.0
_BATCH_BYTES = 4 << 20
_BATCH_OBJECTS = 128
_SLICE_OBJECTS = 2_000
# a disk that cannot read one file says store_io; the rest of it may be well
_FAULTS = frozenset(
    {"object_corrupt", "object_missing", "object_key_missing", "store_io", "note_malformed", "note_newer"}
)


@dataclass(frozen=True, slots=True)
class Fault:
    """An object that is not what was stored.

    Args:
        key: where it lies.
        code: ``object_corrupt``, ``object_missing``, ``object_key_missing``, ``store_io`` (its bytes cannot be read),
            ``note_malformed`` or ``note_newer``.
    """

    key: str
    code: str


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """What a scrub has read. ``faults`` counts those of the whole scrub, from its beginning."""

    scrub_id: int
    begun_at: datetime
    objects: int
    bytes: int
    faults: int
    ended: bool


@dataclass(frozen=True, slots=True)
class ScrubState:
    """What a page shows. ``ended_at`` is that of the last look at everything, absent when there was none yet."""

    begun_at: datetime | None
    ended_at: datetime | None
    objects: int
    bytes: int
    faults: int
    first_faults: tuple[tuple[str, str, datetime], ...]  # key, code, when found


def scrub(
    services: Services,
    *,
    fresh: bool = False,
    workers: int | None = None,
    tell: Callable[[Fault], None] = lambda _fault: None,
    progress: Callable[[int, int], None] = lambda _objects, _bytes: None,
    step: Callable[[str], None] = lambda _name: None,
) -> ScrubReport:
    """Read everything, from where the last one that was asked for was stopped.

    Args:
        fresh: from the beginning.
        workers: how many processes read; one for each processor unless said.
        tell: called with each fault, at first those that this scrub found before it was stopped.
        progress: called with the objects and bytes read so far, before it was stopped too.
        step: called with the name of each step after it was done; crash tests end the process there.

    Raises:
        StorageError, PeerError: store or catalogue failed; the next run goes on behind the last object kept.
    """
    row = _open_scrub(services, asked=True, fresh=fresh)
    with services.catalogue.read() as conn:
        before = conn.execute(select(scrub_findings).where(scrub_findings.c.scrub_id == row.id)).all()
    for known in before:
        tell(Fault(known.key, known.code))
    run = _Run(services, row, workers or os.cpu_count() or 1, tell, progress, step)
    return run.go(None)


def scrub_slice(
    services: Services, *, bytes_wanted: int = SLICE_BYTES, step: Callable[[str], None] = lambda _name: None
) -> ScrubReport | None:
    """The next slice of the scrub that never ends.

    Args:
        bytes_wanted: it stops after the object with which it has read as many, or after 2,000 objects.

    Returns:
        None when everything was read lately.
    """
    with services.catalogue.read() as conn:
        last = conn.execute(
            select(scrubs).where(scrubs.c.asked.is_(False)).order_by(scrubs.c.id.desc()).limit(1)
        ).one_or_none()
    if last is not None and last.ended_at is not None and services.clock() - last.begun_at < EVERY:
        return None
    row = _open_scrub(services, asked=False, fresh=False)
    run = _Run(services, row, 1, lambda _fault: None, lambda _objects, _bytes: None, step)
    return run.go(bytes_wanted)


def scrub_state(conn: Connection) -> ScrubState:
    """The newest scrub and the faults that stand, for the engineer's page."""
    newest = conn.execute(select(scrubs).order_by(scrubs.c.begun_at.desc(), scrubs.c.id.desc()).limit(1)).one_or_none()
    ended_at = conn.scalar(select(func.max(scrubs.c.ended_at)))
    faults = conn.scalar(select(func.count(scrub_findings.c.key.distinct()))) or 0
    found_at = func.min(scrub_findings.c.found_at)
    first = conn.execute(
        select(scrub_findings.c.key, func.min(scrub_findings.c.code), found_at)
        .group_by(scrub_findings.c.key)
        .order_by(found_at.desc(), scrub_findings.c.key)
        .limit(50)
    ).all()
    return ScrubState(
        begun_at=None if newest is None else newest.begun_at,
        ended_at=ended_at,
        objects=0 if newest is None else newest.objects,
        bytes=0 if newest is None else newest.bytes,
        faults=faults,
        first_faults=tuple((key, code, at) for key, code, at in first),
    )


def _open_scrub(services: Services, *, asked: bool, fresh: bool) -> Row[Any]:
    now = services.clock()
    with services.catalogue.write() as conn:
        running = scrubs.c.asked.is_(asked), scrubs.c.ended_at.is_(None)
        if fresh:
            conn.execute(update(scrubs).where(*running).values(ended_at=now))
        found = conn.execute(select(scrubs).where(*running).order_by(scrubs.c.id.desc()).limit(1)).one_or_none()
        if found is not None:
            return found
        new = {"asked": asked, "begun_at": now, "position": "", "objects": 0, "bytes": 0}
        identifier = conn.execute(insert(scrubs).values(**new).returning(scrubs.c.id)).scalar_one()
        return conn.execute(select(scrubs).where(scrubs.c.id == identifier)).one()


@dataclass(frozen=True, slots=True)
class _Member:
    """An object to be read: what the catalogue says of it, and whether the position may stand behind it."""

    key: str
    row: Row[Any] | None
    size_bytes: int
    ends_group: bool


@dataclass(slots=True)
class _Pending:
    """What was read and is not kept yet."""

    position: str
    good: list[str]
    faults: list[Fault]


class _Run:
    def __init__(
        self,
        services: Services,
        row: Row[Any],
        workers: int,
        tell: Callable[[Fault], None],
        progress: Callable[[int, int], None],
        step: Callable[[str], None],
    ) -> None:
        self._services = services
        self._workers = workers
        self._tell = tell
        self._progress = progress
        self._step = step
        self._row = row
        self._in_slices = not row.asked
        self._report = ScrubReport(row.id, row.begun_at, row.objects, row.bytes, 0, ended=False)
        self._pending = _Pending(row.position, [], [])
        self._kept_at = time.monotonic()

    def go(self, bytes_wanted: int | None) -> ScrubReport:
        until = None if bytes_wanted is None else self._report.bytes + bytes_wanted
        ended, looked_at = True, 0
        with closing(self._measured()) as measured:
            for member, found in measured:
                self._judge(found, member.row)
                self._report = replace(
                    self._report, objects=self._report.objects + 1, bytes=self._report.bytes + max(0, member.size_bytes)
                )
                looked_at += 1
                self._progress(self._report.objects, self._report.bytes)
                if not member.ends_group:
                    continue
                self._pending.position = member.key
                if time.monotonic() - self._kept_at > _KEEP_EVERY_S:
                    self._keep(ended=False)
                if until is not None and (self._report.bytes >= until or looked_at >= _SLICE_OBJECTS):
                    ended = False
                    break
        if ended:
            for fault in plain_faults(self._services):
                self._pending.faults.append(fault)
                self._tell(fault)
        self._keep(ended=ended)
        return replace(self._report, faults=self._count(), ended=ended)

    def _measured(self) -> Generator[tuple[_Member, Measured], None, None]:
        """Every object from the position on, in order.

        Handing an object over costs about as much as reading a small one, so they are handed over in batches.
        """
        store = self._services.store
        versions = {PIPELINE_VERSION, *stored_versions(store)} if self._in_slices else None
        found = pairs(self._services.catalogue, store, after=self._row.position, versions=versions)
        batches = measure_batches(store, _batches(found), _keys, workers=self._workers)
        with closing(batches):
            for members, measured in batches:
                yield from zip(members, measured, strict=True)

    def _judge(self, found: Measured, row: Row[Any] | None) -> None:
        try:
            code = self._code(found, row)
        except TelereadError as error:
            if isinstance(error, PeerError) or error.code not in _FAULTS:
                raise
            code = error.code
        if code is None:
            self._pending.good.append(found.key)
        else:
            self._pending.faults.append(Fault(found.key, code))
            self._tell(Fault(found.key, code))

    def _code(self, found: Measured, row: Row[Any] | None) -> str | None:
        if found.failure is not None:
            if found.failure.code == "object_missing":
                # listed and gone: removed in between, unless a row still names it
                return "object_missing" if self._is_named(found.key) else None
            if found.failure.code == "object_key_missing" and row is None:
                return None  # its patient was forgotten
            raise found.failure
        if (own := raw_root(found.key)) is not None:
            return None if found.sha256 == own else "object_corrupt"
        if row is not None:
            return None if (found.sha256, found.size_bytes) == (row.sha256, row.size_bytes) else "object_corrupt"
        if found.key.startswith(NOTES):
            read_note(self._services.store, found.key)
        return None

    def _is_named(self, key: str) -> bool:
        with self._services.catalogue.read() as conn:
            return conn.execute(select(objects.c.key).where(objects.c.key == key)).first() is not None

    def _keep(self, *, ended: bool) -> None:
        now = self._services.clock()
        pending, self._pending = self._pending, _Pending(self._pending.position, [], [])
        with self._services.catalogue.write() as conn:
            if conn.execute(select(scrub_findings.c.key).limit(1)).first() is not None:
                for keys in _pages(pending.good):
                    conn.execute(delete(scrub_findings).where(scrub_findings.c.key.in_(keys)))
            for fault in pending.faults:
                self._keep_fault(conn, fault, now)
            values = {"position": pending.position, "objects": self._report.objects, "bytes": self._report.bytes}
            if ended:
                values["ended_at"] = now
                # all was looked at: what an earlier one found stands again here, or is no more
                conn.execute(delete(scrub_findings).where(scrub_findings.c.scrub_id < self._row.id))
            conn.execute(update(scrubs).where(scrubs.c.id == self._row.id).values(**values))
        self._kept_at = time.monotonic()
        self._step("position_kept")

    def _keep_fault(self, conn: Connection, fault: Fault, now: datetime) -> None:
        same = scrub_findings.c.key == fault.key, scrub_findings.c.code == fault.code
        first = conn.scalar(select(func.min(scrub_findings.c.found_at)).where(*same))
        if first is None:
            audit.record(
                conn,
                at=now,
                actor="teleread",
                action="scrub_found",
                object_type="object",
                object_id=audit_id(fault.key),
                detail={"key": fault.key, "code": fault.code},
            )
        here = scrub_findings.c.key == fault.key, scrub_findings.c.scrub_id == self._row.id
        conn.execute(delete(scrub_findings).where(*here))
        row = {"scrub_id": self._row.id, "key": fault.key, "code": fault.code, "found_at": first or now}
        conn.execute(insert(scrub_findings).values(**row))

    def _count(self) -> int:
        query = select(func.count()).where(scrub_findings.c.scrub_id == self._row.id)
        with self._services.catalogue.read() as conn:
            return int(conn.execute(query).scalar_one())


def _batches(found: Iterable[Pair]) -> Iterator[list[_Member]]:
    """The objects of the groups, about as many as make a megabyte together."""
    batch: list[_Member] = []
    size = 0
    for pair in found:
        keys = sorted(pair.stored.keys() | pair.rows.keys())
        for key in keys:
            held = pair.stored[key].size_bytes if key in pair.stored else 0
            batch.append(_Member(key, pair.rows.get(key), held, key == keys[-1]))
            size += held
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_OBJECTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _keys(batch: Sequence[_Member]) -> list[str]:
    return [member.key for member in batch]


def _pages(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + 500] for start in range(0, len(keys), 500))


def plain_faults(services: Services) -> Iterator[Fault]:
    """Certificates and copies of the key ring that are not what was written; they carry their own checks."""
    blobs = services.store.blobs
    for info in blobs.list(certificates.PREFIX):
        try:
            certificates.read(blobs, info.key, services.ring)
        except StorageError as error:
            if error.code != "certificate_corrupt":
                raise
            yield Fault(info.key, "object_corrupt")
    for key in rings.stored_rings(blobs):
        if hashlib.sha256(blobs.get(key)).hexdigest()[:16] != key[-16:]:
            yield Fault(key, "object_corrupt")

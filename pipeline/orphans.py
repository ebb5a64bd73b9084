"""Removing what nothing names: the leftovers of writers that died, and nothing else.

A walk goes through the store in the order of the keys, a slice at a time, and remembers where it stands. In that
order the arrival notes come first, so a note that the catalogue does not know has become an arrival again before the
raw objects are looked at; then come derived objects, then raw ones. Removed are only

- raw objects without a row and without a note, which were there before the walk began,
- derived objects without a row,

older than an hour by the store's clock, and each through ``catalogue/sweeping.py``, because age alone proves nothing.
As long as a note can be neither read nor told to belong to a known arrival, no raw object is removed: it might be
that note's. Objects of every other kind are left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Any, Protocol, runtime_checkable

from sqlalchemy import delete, select, update

from teleread.errors import PeerError, StorageError
from teleread.pipeline.adopt import adopt
from teleread.pipeline.identifiers import arrival_id
from teleread.pipeline.notes import NOTES, notes_of, split_key
from teleread.pipeline.pairs import DERIVED, RAW
from teleread.pipeline.services import Services
from teleread.storage import audit
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import arrivals, objects, store_walks, swept_objects
from teleread.storage.objects.protocol import ObjectInfo
from teleread.storage.objects.raw import raw_root

log = logging.getLogger(__name__)

OLDER_THAN = timedelta(hours=1)
SLICE = 2_000
_REMOVED_TOGETHER = 32
_PAGE = 500
_WALK = "orphans"


@runtime_checkable
class _SweepsTemporaries(Protocol):
    def sweep_temporaries(self, older_than: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What one slice did. ``ended``: the walk came to the end of the store."""

    looked_at: int = 0
    temporaries: int = 0
    finished: int = 0
    adopted: int = 0
    unclear: int = 0
    removed: int = 0
    removed_bytes: int = 0
    ended: bool = False
    busy: bool = False  # another process is sweeping; nothing was done


def sweep_orphans(
    services: Services,
    *,
    older_than: timedelta = OLDER_THAN,
    limit: int = SLICE,
    progress: Callable[[int], None] = lambda _looked_at: None,
    step: Callable[[str], None] = lambda _name: None,
) -> SweepReport:
    """One slice of the walk.

    Args:
        older_than: what is younger is left.
        limit: how many objects are looked at.
        progress: called with the number of objects looked at so far.
        step: called with the name of each step after it was done; crash tests end the process there.

    Raises:
        StorageError, PeerError: the store or the catalogue failed; the next slice goes on from the same place.
    """
    with sweeping.sole_remover(services.catalogue) as sole:
        if not sole:
            return SweepReport(busy=True)
        return _Slice(services, older_than, limit, progress, step).run()


class _Slice:
    def __init__(
        self,
        services: Services,
        older_than: timedelta,
        limit: int,
        progress: Callable[[int], None],
        step: Callable[[str], None],
    ) -> None:
        self._services = services
        self._now = services.clock()
        self._older_than = older_than
        self._limit = limit
        self._progress = progress
        self._step = step
        self._report = SweepReport()

    def run(self) -> SweepReport:
        self._sweep_temporaries()
        self._finish_condemned()
        walk = self._walk()
        self._unclear = int(walk.unclear)
        self._begun_at: datetime = walk.begun_at
        # one more than the limit, to know whether the walk ends here
        found = list(islice(self._services.store.list(after=walk.position), self._limit + 1))
        ended, page = len(found) <= self._limit, found[: self._limit]
        for kind, members in groupby(page, key=lambda info: _kind(info.key)):
            for few in _pages(list(members)):
                self._look(kind, few)
                self._report = replace(self._report, looked_at=self._report.looked_at + len(few))
                self._progress(self._report.looked_at)
        self._remember(page[-1].key if page else walk.position, ended)
        self._step("position_kept")
        return replace(self._report, ended=ended)

    def _sweep_temporaries(self) -> None:
        blobs = self._services.store.blobs
        if not isinstance(blobs, _SweepsTemporaries):
            return
        try:
            swept = blobs.sweep_temporaries(self._now - self._older_than)
        except StorageError as error:
            # some servers do not list unfinished uploads; whatever that is, the walk does not need it
            log.warning("unfinished uploads are not swept: %s", error.code)
            return
        self._report = replace(self._report, temporaries=swept)
        self._step("temporaries_swept")

    def _finish_condemned(self) -> None:
        finished = sweeping.finish_left(
            self._services.catalogue,
            self._services.store,
            self._now,
            limit=self._limit,
            spares=lambda key: is_noted(self._services, key),
            step=self._step,
        )
        self._report = replace(self._report, finished=finished)

    def _look(self, kind: str, few: Sequence[ObjectInfo]) -> None:
        if kind == NOTES:
            self._adopt_unknown(few)
        elif kind == DERIVED:
            self._remove(few)
        elif kind == RAW and self._unclear == 0:
            # a note of theirs that was there before the walk began has been seen by it
            self._remove([info for info in few if info.written_at < self._begun_at], unless=self._has_note)

    def _adopt_unknown(self, few: Sequence[ObjectInfo]) -> None:
        """Landings that were cut short between note and row, and those that a restored catalogue has not seen."""
        old = [info for info in few if self._is_old(info)]
        noted = {named[0]: None for info in old if (named := split_key(info.key)) is not None}
        with self._services.catalogue.read() as conn:
            known = set(conn.scalars(select(arrivals.c.id).where(arrivals.c.id.in_(list(noted)))))
        for identifier in noted:
            if identifier in known:
                continue
            try:
                adopted = adopt(self._services, list(notes_of(self._services.store, identifier)), actor="teleread")
                self._report = replace(self._report, adopted=self._report.adopted + (adopted is not None))
                self._step("note_adopted")
            except PeerError:
                raise
            except StorageError as error:
                if error.code.startswith(("catalogue_", "store_")):
                    raise
                if error.code == "object_key_missing":
                    continue  # its patient was forgotten
                log.error("note of arrival %s leads nowhere: %s", identifier, error.code)
                self._unclear += error.code.startswith("note_")
                self._report = replace(self._report, unclear=self._report.unclear + 1)
        malformed = [info.key for info in old if split_key(info.key) is None]
        self._unclear += len(malformed)
        self._report = replace(self._report, unclear=self._report.unclear + len(malformed))

    def _remove(self, few: Sequence[ObjectInfo], *, unless: Callable[[ObjectInfo], bool] = lambda _info: False) -> None:
        old = {info.key: info for info in few if self._is_old(info)}
        with self._services.catalogue.read() as conn:
            named = set(conn.scalars(select(objects.c.key).where(objects.c.key.in_(list(old)))))
        orphans = [key for key, info in old.items() if key not in named and not unless(info)]
        for start in range(0, len(orphans), _REMOVED_TOGETHER):
            together = orphans[start : start + _REMOVED_TOGETHER]
            removed = sweeping.remove(
                self._services.catalogue, self._services.store, together, self._now, step=self._step
            )
            size = sum(max(0, old[key].size_bytes) for key in together)
            self._report = replace(
                self._report,
                removed=self._report.removed + removed,
                removed_bytes=self._report.removed_bytes + size,
            )

    def _has_note(self, info: ObjectInfo) -> bool:
        """Whether a site that we know has a note of these bytes, which came after the walk had passed the notes."""
        sha256 = raw_root(info.key)
        if sha256 is None:
            return True  # no key that we write: left alone
        return next(_notes(self._services, sha256), None) is not None

    def _is_old(self, info: ObjectInfo) -> bool:
        return info.written_at < self._now - self._older_than

    def _walk(self) -> Any:
        fresh = {"name": _WALK, "begun_at": self._now, "position": "", "unclear": 0}
        with self._services.catalogue.write() as conn:
            insert_missing(conn, store_walks, [fresh], ["name"])
            return conn.execute(select(store_walks).where(store_walks.c.name == _WALK)).one()

    def _remember(self, position: str, ended: bool) -> None:
        with self._services.catalogue.write() as conn:
            if self._report.removed:
                detail = {"objects": self._report.removed, "bytes": self._report.removed_bytes}
                audit.record(
                    conn,
                    at=self._now,
                    actor="teleread",
                    action="sweep_orphans",
                    object_type="store",
                    object_id="orphans",
                    detail=detail,
                )
            this = store_walks.c.name == _WALK
            if ended:
                conn.execute(delete(store_walks).where(this))
            else:
                conn.execute(update(store_walks).where(this).values(position=position, unclear=self._unclear))


def is_noted(services: Services, key: str) -> bool:
    """Whether a condemned raw object has a note that is not condemned: it was landed since its remover died.

    As long as removers only die, nobody lands what is condemned. A catalogue that its database's own means put back to
    an earlier time condemns again what was removed long ago and has arrived since.
    """
    sha256 = raw_root(key)
    noted = [] if sha256 is None else list(_notes(services, sha256))
    waits = select(swept_objects.c.key).where(swept_objects.c.key.in_(noted), swept_objects.c.gone.is_(False))
    with services.catalogue.read() as conn:
        return bool(set(noted) - set(conn.scalars(waits)))


def _notes(services: Services, sha256: str) -> Iterator[str]:
    """Keys of the notes that sites of the alliance have of these bytes."""
    for site in services.alliance.sites:
        yield from notes_of(services.store, arrival_id(site, sha256))


def _kind(key: str) -> str:
    return next((prefix for prefix in (NOTES, DERIVED, RAW) if key.startswith(prefix)), "")


def _pages(infos: Sequence[ObjectInfo]) -> Iterable[Sequence[ObjectInfo]]:
    return (infos[start : start + _PAGE] for start in range(0, len(infos), _PAGE))

"""Store and catalogue compared both ways, and mended from what is left.

Three passes, each one merge of two sorted listings: notes with arrivals, derived objects with their rows, raw objects
with theirs. While it runs, others land and prepare; so every difference is looked at again before it counts, and every
change is made in a transaction that sees the rows as they are then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from sqlalchemy import Row, delete, exists, select, update

from teleread.alliance import PRIORITIES, Priority
from teleread.errors import StorageError
from teleread.pipeline.adopt import adopt, note_of, raise_arrival
from teleread.pipeline.notes import NOTES, note_key, read_note, split_key, write_note
from teleread.pipeline.orphans import is_noted
from teleread.pipeline.pairs import DERIVED, RAW, Pair, pairs
from teleread.pipeline.rotten import LOST, audit_id, release, set_aside
from teleread.pipeline.route import placing
from teleread.pipeline.services import Services
from teleread.storage import audit
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.schema import arrivals, derived, objects, quarantine, scrub_findings
from teleread.storage.objects.protocol import ObjectInfo
from teleread.storage.objects.raw import raw_root

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference.

    Args:
        code: ``arrival_missing``, ``note_missing``, ``note_malformed``, ``note_newer``, ``note_corrupt``,
            ``priority_behind``, ``object_missing``, ``object_corrupt``, ``object_size``, ``derived_missing``,
            ``object_row``, ``object_back``.
        thing: the object's key, or the arrival's id.
        mended: whether it is no more.
    """

    code: str
    thing: str
    mended: bool


@dataclass(slots=True)
class Report:
    """What was compared and found. ``orphans`` are no fault: the sweeper removes them in time."""

    arrivals: int = 0
    notes: int = 0
    objects: int = 0
    orphans: int = 0
    found: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        """How many differences stand."""
        return self.found.total() - self.mended.total()


def reconcile(
    services: Services,
    *,
    repair: bool,
    headers: bool = True,
    actor: str = "teleread",
    tell: Callable[[Finding], None] = lambda _finding: None,
    progress: Callable[[str, int], None] = lambda _part, _count: None,
    step: Callable[[str], None] = lambda _name: None,
) -> Report:
    """Compare everything; run again after it was stopped, it begins anew and ends in the same state.

    Args:
        repair: also mend. What cannot be mended is quarantined, so that a person sees it.
        headers: also compare each object's header with its row, which costs one small read an object.
        actor: in the audit.
        tell: called with each finding, when it was mended or could not be.
        progress: called with the part (``notes``, ``derived``, ``raw``) and the number compared in it so far.
        step: called with the name of each change after it was made; crash tests end the process there.

    Raises:
        StorageError, PeerError: store or catalogue failed; what was mended until then stays so.
    """
    if repair:
        with sweeping.sole_remover(services.catalogue) as sole:
            if sole:
                sweeping.finish_left(
                    services.catalogue,
                    services.store,
                    services.clock(),
                    spares=lambda key: is_noted(services, key),
                    step=step,
                )
    run = _Run(services, repair, headers, actor, tell, step)
    for part, compare in (("notes", run.notes), ("derived", run.derived), ("raw", run.raw)):
        for count, _ in enumerate(compare(), start=1):
            if count % 100 == 0:
                progress(part, count)
    return run.report


class _Run:
    def __init__(
        self,
        services: Services,
        repair: bool,
        headers: bool,
        actor: str,
        tell: Callable[[Finding], None],
        step: Callable[[str], None],
    ) -> None:
        self._services = services
        self._store = services.store
        self._catalogue = services.catalogue
        self._repair = repair
        self._headers = headers
        self._actor = actor
        self._tell = tell
        self._step = step
        self.report = Report()
        with self._catalogue.read() as conn:
            # what a scrub found; everything else is taken at its size and header
            self._suspect = frozenset(conn.scalars(select(scrub_findings.c.key).distinct()))

    def notes(self) -> Iterator[None]:
        """Every arrival has its notes and every note its arrival."""
        listed = _grouped_notes(self._store.list(NOTES), self._stray)
        rows = self._arrivals()
        note, row = next(listed, None), next(rows, None)
        while note is not None or row is not None:
            yield
            if row is None or (note is not None and note[0] < row.id):
                assert note is not None
                self.report.notes += len(note[1])
                self._note_without_row(*note)
                note = next(listed, None)
            elif note is None or row.id < note[0]:
                self.report.arrivals += 1
                self._keep_note(row)
                row = next(rows, None)
            else:
                self.report.notes += len(note[1])
                self.report.arrivals += 1
                self._compare(row, note[1])
                note, row = next(listed, None), next(rows, None)

    def derived(self) -> Iterator[None]:
        """Every derived object that a row names is there, of the row's size."""
        for pair in pairs(self._catalogue, self._store, DERIVED):
            yield
            self.report.objects += len(pair.stored)
            self.report.orphans += sum(key not in pair.rows for key in pair.stored)
            for key, row in pair.rows.items():
                if not self._is_whole(row, pair.stored.get(key)) or self._has_rotted(row):
                    self._derive_again(row)
                else:
                    self._compare_header(row)

    def raw(self) -> Iterator[None]:
        """Every raw object that a row names is there, of the row's size."""
        lost = self._set_aside_keys()
        for pair in pairs(self._catalogue, self._store, RAW):
            yield
            self.report.objects += len(pair.stored)
            self.report.orphans += sum(key not in pair.rows for key in pair.stored)
            for key, row in pair.rows.items():
                self._compare_raw(pair, key, row, was_lost=key in lost)

    def _found(self, code: str, thing: str, mended: bool, step: str = "") -> None:
        self.report.found[code] += 1
        self.report.mended[code] += mended
        if mended and step:
            self._step(step)
        self._tell(Finding(code, thing, mended))

    # notes and arrivals

    def _stray(self, key: str) -> None:
        self._found("note_malformed", key, mended=False)

    def _arrivals(self) -> Iterator[Row[Any]]:
        last = ""
        while True:
            page = select(arrivals).where(arrivals.c.id > last).order_by(arrivals.c.id).limit(_PAGE)
            with self._catalogue.read() as conn:
                found = conn.execute(page).all()
            yield from found
            if len(found) < _PAGE:
                return
            last = found[-1].id

    def _note_without_row(self, identifier: str, priorities: dict[Priority, ObjectInfo]) -> None:
        with self._catalogue.read() as conn:
            if conn.execute(select(arrivals.c.id).where(arrivals.c.id == identifier)).first() is not None:
                return  # it landed while we read the two lists
        if not self._repair:
            self._found("arrival_missing", identifier, mended=False)
            return
        try:
            adopted = adopt(self._services, [info.key for info in priorities.values()], actor=self._actor)
        except StorageError as error:
            if error.code in {"object_key_missing", "object_swept"}:
                return  # its patient was forgotten, or it is being removed
            if not error.code.startswith(("note_", "object_")):
                raise
            self._found(error.code, identifier, mended=False)
            return
        if adopted is not None:
            self._found("arrival_missing", identifier, True, "arrival_made")

    def _keep_note(self, row: Row[Any]) -> None:
        """An arrival of before there were notes, or whose note was lost."""
        key = note_key(row.id, row.clinic_priority)
        if self._store.exists(key):
            return
        if not self._store.exists(row.object_key):
            return  # the pass over the raw objects names it
        mended = self._repair and self._write_note(row)
        self._found("note_missing", row.id, mended, "note_written")

    def _write_note(self, row: Row[Any], priority: Priority | None = None) -> bool:
        note = note_of(row)
        try:
            write_note(self._store, note if priority is None else replace(note, clinic_priority=priority))
        except StorageError as error:
            if error.code not in {"object_key_missing", "object_corrupt", "object_missing"}:
                raise
            return False  # the raw object cannot be read; the scrub names it
        return True

    def _renew_note(self, row: Row[Any], priority: Priority, key: str) -> None:
        """A note that a scrub found rotten; what it said stands in the row."""
        try:
            read_note(self._store, key)
            return
        except StorageError as error:
            if not error.code.startswith("note_"):
                raise
            code = error.code
        mended = False
        if self._repair:
            self._store.delete(key)
            self._step("note_removed")
            mended = self._write_note(row, priority)
        self._found(code, key, mended, "note_written")

    def _compare(self, row: Row[Any], priorities: dict[Priority, ObjectInfo]) -> None:
        for priority, info in priorities.items():
            if info.key in self._suspect:
                self._renew_note(row, priority, info.key)
        known: Priority = row.clinic_priority
        noted = min(priorities, key=PRIORITIES.index)
        if known not in priorities and PRIORITIES.index(known) < PRIORITIES.index(noted):
            self._keep_note(row)
        elif PRIORITIES.index(noted) < PRIORITIES.index(known):
            mended = False
            if self._repair:
                now = self._services.clock()
                with self._catalogue.write() as conn:
                    mended = raise_arrival(conn, row.id, noted, self._actor, now, placing(self._services.room, now))
            self._found("priority_behind", row.id, mended, "priority_raised")

    # objects and their rows

    def _is_whole(self, row: Row[Any], info: ObjectInfo | None) -> bool:
        if info is None:
            try:
                info = self._store.stat(row.key)  # it may have come after that part of the list
            except StorageError as error:
                if error.code != "object_corrupt":
                    raise
        return info is not None and info.size_bytes == row.size_bytes

    def _compare_header(self, row: Row[Any]) -> None:
        """The row says which keys seal the object; what decides is the object."""
        if not self._headers and row.root_sha256 is not None and row.intake_key is not None:
            return
        try:
            header = self._store.header(row.key)
        except StorageError as error:
            if error.code == "object_missing":
                return
            if error.code != "object_corrupt":
                raise
            self._rotten(row)
            return
        right = {"root_sha256": header.root_sha256, "intake_key": header.intake_id.hex()}
        right |= {"sha256": own} if (own := raw_root(row.key)) else {}
        if all(getattr(row, name) == value for name, value in right.items()):
            return
        if self._repair:
            with self._catalogue.write() as conn:
                conn.execute(update(objects).where(objects.c.key == row.key).values(**right))
                self._record(conn, "mend_object_row", row.key)
        self._found("object_row", row.key, self._repair, "row_mended")

    def _rotten(self, row: Row[Any]) -> None:
        if row.key.startswith(DERIVED):
            self._derive_again(row)
        else:
            self._lost(row.key, "object_corrupt")

    def _derive_again(self, row: Row[Any]) -> None:
        """Let go of a derived object that is not there as its row says; the arrival is prepared again in its place."""
        with self._catalogue.read() as conn:
            this = select(exists().where(derived.c.object_key == row.key))
            if not conn.execute(this).scalar_one() and not self._repair:
                return  # superseded: nobody reads it
        if not self._repair:
            self._found("derived_missing", row.key, mended=False)
            return
        with sweeping.sole_remover(self._catalogue) as sole:
            needed = sole and self._forget_derived(row)
        if not sole:
            self._found("derived_missing", row.key, mended=False)
        elif needed:
            self._found("derived_missing", row.key, True, "derived_let_go")

    def _forget_derived(self, row: Row[Any]) -> bool:
        now = self._services.clock()
        with self._catalogue.write() as conn:
            sweeping.exclude_writers(conn)
            of = select(derived.c.arrival_id).where(derived.c.object_key == row.key)
            identifiers = list(conn.scalars(of))
            conn.execute(delete(derived).where(derived.c.object_key == row.key))
            conn.execute(delete(objects).where(objects.c.key == row.key))
            conn.execute(
                update(arrivals)
                .where(arrivals.c.id.in_(identifiers), arrivals.c.state == "prepared")
                .values(state="landed")
            )
            # what is there in its place is no good, and would stand in the way
            condemned = sweeping.condemn(conn, [row.key], now)
            self._record(conn, "derive_again", row.key)
        self._step("derived_condemned")
        sweeping.finish(self._catalogue, self._store, condemned, step=self._step)
        return bool(identifiers)

    def _compare_raw(self, pair: Pair, key: str, row: Row[Any], *, was_lost: bool) -> None:
        if not self._is_whole(row, pair.stored.get(key)):
            self._raw_differs(row)
            return
        if self._has_rotted(row):
            self._lost(key, "object_corrupt")
            return
        if was_lost and self._reads_well(row):
            if self._repair:
                with self._catalogue.write() as conn:
                    release(conn, key, self._services.clock())
            self._found("object_back", key, self._repair, "quarantine_left")
        self._compare_header(row)

    def _raw_differs(self, row: Row[Any]) -> None:
        if not self._store.exists(row.key):
            self._lost(row.key, "object_missing")
            return
        try:
            sha256, size = self._store.measure(row.key)
        except StorageError as error:
            if error.code != "object_corrupt":
                raise
            self._lost(row.key, "object_corrupt")
            return
        if sha256 != raw_root(row.key):
            self._lost(row.key, "object_corrupt")
            return
        # the bytes are right by their hash: the row is wrong
        header = self._store.header(row.key)
        right = {"root_sha256": sha256, "intake_key": header.intake_id.hex(), "sha256": sha256, "size_bytes": size}
        if self._repair:
            with self._catalogue.write() as conn:
                conn.execute(update(objects).where(objects.c.key == row.key).values(**right))
                conn.execute(update(arrivals).where(arrivals.c.object_key == row.key).values(size_bytes=size))
                self._record(conn, "mend_object_row", row.key)
        self._found("object_row", row.key, self._repair, "row_mended")

    def _lost(self, key: str, code: str) -> None:
        with self._catalogue.read() as conn:
            named = conn.execute(select(arrivals.c.id).where(arrivals.c.object_key == key).limit(1)).first()
        if named is None:
            return  # no arrival needs it
        if self._repair:
            with self._catalogue.write() as conn:
                set_aside(conn, key, code, self._services.clock())
            self._step("quarantined")
        self._found(code, key, mended=False)

    def _set_aside_keys(self) -> set[str]:
        """Raw objects that were found to be lost before; few, or all is lost."""
        query = (
            select(arrivals.c.object_key)
            .join(quarantine, quarantine.c.arrival_id == arrivals.c.id)
            .where(quarantine.c.code.in_(LOST), quarantine.c.resolved_at.is_(None))
        )
        with self._catalogue.read() as conn:
            return set(conn.scalars(query))

    def _has_rotted(self, row: Row[Any]) -> bool:
        return row.key in self._suspect and not self._reads_well(row)

    def _reads_well(self, row: Row[Any]) -> bool:
        try:
            return self._store.measure(row.key)[0] == (raw_root(row.key) or row.sha256)
        except StorageError as error:
            if error.code in {"object_corrupt", "object_missing"}:
                return False
            raise

    def _record(self, conn: Any, action: str, key: str) -> None:
        audit.record(
            conn,
            at=self._services.clock(),
            actor=self._actor,
            action=action,
            object_type="object",
            object_id=audit_id(key),
            detail={"key": key},
        )


def _grouped_notes(
    infos: Iterator[ObjectInfo], stray: Callable[[str], None]
) -> Iterator[tuple[str, dict[Priority, ObjectInfo]]]:
    def named() -> Iterator[tuple[str, Priority, ObjectInfo]]:
        for info in infos:
            parts = split_key(info.key)
            if parts is None:
                stray(info.key)
            else:
                yield parts[0], parts[1], info

    for identifier, members in groupby(named(), key=lambda member: member[0]):
        yield identifier, {priority: info for _, priority, info in members}

"""Chaining what was recorded: soon after the act, in transactions of its own, so that no act waits for a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, text, update

from teleread.errors import StorageError
from teleread.storage.audit import encoding, sections
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import AuditTables

BATCH = 2_000  # events in one transaction: some 30 ms of writing
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class Trail:
    """One database's audit.

    Args:
        name: ``catalogue`` or ``vault``; part of anchors' names.
        database: where it stands.
        tables: its tables.
    """

    name: str
    database: Database
    tables: AuditTables


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain, its check already made."""

    seq: int
    hash: bytes
    sealed_at: str


def seal(database: Database, tables: AuditTables, key: bytes, now: datetime, *, limit: int = BATCH) -> int:
    """Chain what is unsealed, oldest number first, in one short transaction.

    One sealer works at a time: another that comes in between makes this one leave its work undone and return 0.
    The hashing is done before the transaction begins. With nothing to do it is one read.

    Args:
        key: of the chain's end, 32 secret bytes; the same for good.
        now: aware time.
        limit: at most so many events.

    Returns:
        how many events were chained.

    Raises:
        StorageError: ``audit_broken`` when the chain's end does not fit its check: whoever changed the chain must
            not have it confirmed by us; and what ``Database`` raises.
    """
    return _seal(database, tables, key, now, limit, None)[0]


def read_head(conn: Connection, tables: AuditTables, key: bytes, is_sqlite: bool) -> Head | None:
    """The chain's end; None when nothing is chained yet.

    Args:
        conn: in a snapshot, or holding the sealers' lock.

    Raises:
        StorageError: ``audit_broken`` when its check, or the last link, does not fit.
    """
    end_column, mac_column = (encoding.bytes_column(name, is_sqlite) for name in ("hash", "mac"))
    columns = f"seq, {end_column}, {mac_column}, {encoding.time_column('sealed_at', is_sqlite)}"
    head = conn.execute(text(f"SELECT {columns} FROM {tables.head.name} WHERE id = 1")).one_or_none()
    last = conn.execute(
        text(f"SELECT seq, {end_column} FROM {tables.chain.name} ORDER BY seq DESC LIMIT 1")
    ).one_or_none()
    if head is None and last is None:
        return None
    if head is None or last is None:
        raise _broken()
    seq, end, mac, at = *head[:3], encoding.as_text(head[3])
    if not isinstance(end, bytes) or tuple(last) != (seq, end):
        raise _broken()
    if not encoding.same(mac, encoding.head_mac(key, tables.events.name, seq, end, at)):
        raise _broken()
    return Head(seq, end, at)


class Sealer:
    """Seals several databases again and again, and remembers how far each was.

    What a database forgets while this runs (a chain set back to an older end together with its check) is noticed.
    A database that cannot be sealed is left alone for 1 to 60 s; the others go on.

    Args:
        trails: the databases.
        key: of the chains' ends.
        clock: gives the aware time.
    """

    def __init__(self, trails: Iterable[Trail], key: bytes, clock: Callable[[], datetime]) -> None:
        self._trails = tuple(trails)
        self._key = key
        self._clock = clock
        self._ends: dict[str, Head] = {}
        self._pauses: dict[str, tuple[datetime, float]] = {}

    def seal_all(self) -> int:
        """Chain all that is unsealed.

        Returns:
            how many events were chained.

        Raises:
            StorageError: as :func:`seal`, of the first database that could not be sealed, after the others were.
        """
        sealed, failure = 0, None
        for trail in self._trails:
            resume, pause = self._pauses.get(trail.name, (None, _FIRST_PAUSE_S))
            if resume is not None and self._clock() < resume:
                continue
            try:
                sealed += self._seal_one(trail)
                self._pauses.pop(trail.name, None)
            except StorageError as error:
                self._pauses[trail.name] = (
                    self._clock() + timedelta(seconds=pause),
                    min(2 * pause, _LONGEST_PAUSE_S),
                )
                failure = failure or error
        if failure is not None:
            raise failure
        return sealed

    def _seal_one(self, trail: Trail) -> int:
        sealed = 0
        while True:
            known = self._ends.get(trail.name)
            count, end = _seal(trail.database, trail.tables, self._key, self._clock(), BATCH, known)
            if end is not None:
                self._ends[trail.name] = end
            sealed += count
            if count < BATCH:
                return sealed


def _seal(
    database: Database, tables: AuditTables, key: bytes, now: datetime, limit: int, known: Head | None
) -> tuple[int, Head | None]:
    """How many were chained, and where the chain ends now as far as this call saw."""
    with database.read() as conn:
        if conn.execute(text(f"SELECT 1 FROM {tables.unsealed.name} LIMIT 1")).first() is None:
            return 0, None
    # a snapshot: another sealer may move the end between the reading of its check and of its last link
    with database.snapshot() as conn:
        head = read_head(conn, tables, key, database.is_sqlite)
        if known is not None:
            _check_not_set_back(conn, tables, known, database.is_sqlite)
        rows = conn.exec_driver_sql(_unsealed(tables, database.is_sqlite, limit)).all()
    if not rows:
        return 0, head
    seq, end = (head.seq, head.hash) if head else (0, encoding.genesis(tables.events.name))
    links = []
    for number, *fields in rows:
        seq += 1
        end = encoding.link(end, encoding.canonical(number, *fields))
        links.append({"seq": seq, "event_id": number, "hash": end})
    at = now.astimezone(UTC)
    new = Head(seq, end, f"{at:%Y-%m-%d %H:%M:%S.%f}")
    mac = encoding.head_mac(key, tables.events.name, seq, end, new.sealed_at)
    with database.write() as conn:
        if not database.is_sqlite and not only_one(conn, tables):
            return 0, head
        if read_head(conn, tables, key, database.is_sqlite) != head:
            return 0, head
        conn.execute(insert(tables.chain), links)
        values = {"seq": seq, "hash": end, "mac": mac, "sealed_at": at}
        conn.execute(insert(tables.head).values(id=1, **values) if head is None else update(tables.head).values(values))
        numbers = [link["event_id"] for link in links]
        conn.execute(delete(tables.unsealed).where(tables.unsealed.c.event_id.in_(numbers)))
    return len(links), new


def _unsealed(tables: AuditTables, is_sqlite: bool, limit: int) -> str:
    """The oldest events that wait; none that has its link already, which :func:`verify` tells of."""
    return (
        f"SELECT e.id, {encoding.columns(is_sqlite)} FROM {tables.unsealed.name} u "
        f"JOIN {tables.events.name} e ON e.id = u.event_id "
        f"WHERE NOT EXISTS (SELECT 1 FROM {tables.chain.name} c WHERE c.event_id = u.event_id) "
        f"ORDER BY u.event_id LIMIT {int(limit)}"
    )


def _check_not_set_back(conn: Connection, tables: AuditTables, known: Head, is_sqlite: bool) -> None:
    found = conn.execute(text(f"SELECT hash FROM {tables.chain.name} WHERE seq = :seq"), {"seq": known.seq}).scalar()
    if encoding.same(found, known.hash):
        return
    # it was broken, and somebody with the key put that on record: what was known lies before
    later = conn.exec_driver_sql(sections.linked(tables, is_sqlite, sections.of_sections(known.seq)))
    if next(sections.sections(tables.events.name, (tuple(row) for row in later)), None) is None:
        raise _broken()


def only_one(conn: Connection, tables: AuditTables) -> bool:
    """Take PostgreSQL's lock until the end of the transaction, unless another sealer has it."""
    number = int.from_bytes(hashlib.sha256(b"seal " + tables.chain.name.encode()).digest()[:8], "big", signed=True)
    return bool(conn.execute(text("SELECT pg_try_advisory_xact_lock(:number)"), {"number": number}).scalar_one())


def _broken() -> StorageError:
    return StorageError("audit_broken", "the audit chain's end does not fit its check; see `teleread audit verify`")

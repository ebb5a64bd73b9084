"""Removing objects without racing those who write rows that name them.

The object store and the catalogue know nothing of each other, so an object that nothing names now may be named in a
moment, by whoever is about to write its row. Age decides nothing: bytes that lay for a day may arrive again this
second, and their put then changes nothing, because they are there. What decides is one table, ``swept_objects``, and
three rules.

- A remover *condemns* keys in a transaction that sees that no row names them, then deletes the objects, then says
  that they are *gone*. A key that is gone gets a new number, so the numbers follow the order in which deletions ended.
- A writer takes the *mark*, the highest number, before it puts its objects, and *checks* in the transaction of its
  rows: a key that is condemned and not gone, or gone under a number above its mark, was or will be deleted behind its
  back. It then writes nothing and begins again (``object_swept``).
- Checking and condemning exclude each other until their transactions end. SQLite has one writer at a time anyway; on
  PostgreSQL writers share an advisory lock that a remover holds alone.

One remover works at a time (:func:`sole_remover`), so that nobody deletes what another has already let go; and each
looks again, right before it deletes, whether the key still waits and the right is still its own. Rows of this table are
never removed: the numbers must not begin again.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Connection, delete, func, insert, or_, select, text

from teleread.errors import StorageError
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.failures import translated
from teleread.storage.catalogue.schema import objects, swept_objects

_WRITERS = 0x7E1E5EAE  # shared by who writes rows that name objects, held alone by who condemns
_REMOVER = 0x7E1E5EAF  # the one remover
_PAGE = 500
# a request of a process that was killed may still be on its way to a remote store
_FINISH_AFTER = timedelta(minutes=2)  # above the longest request to delete; see ``objects/wire.py``
# the connection whose session is the sole remover's, and the server's number of that session, in the thread that is it
_here = threading.local()


class _Deletes(Protocol):
    def delete(self, key: str) -> None: ...


def mark(conn: Connection) -> int:
    """What a writer remembers before it puts its objects, for :func:`check`."""
    return int(conn.execute(select(func.coalesce(func.max(swept_objects.c.id), 0))).scalar_one())


def check(conn: Connection, keys: Collection[str], mark: int) -> None:
    """Call inside the transaction that writes rows naming these objects, before those rows.

    Args:
        conn: of :meth:`Database.write`.
        keys: of the objects that were put since the mark was taken.
        mark: from :func:`mark`, taken before the first of them was put.

    Raises:
        StorageError: ``object_swept``: one of them was or is being removed. Take a new mark and put them again.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _WRITERS})
    swept = select(swept_objects.c.key).where(
        swept_objects.c.key.in_(list(keys)), or_(swept_objects.c.gone.is_(False), swept_objects.c.id > mark)
    )
    if conn.execute(swept.limit(1)).first() is not None:
        raise StorageError("object_swept", "an object was removed while it was being stored; store it again")


def exclude_writers(conn: Connection) -> None:
    """Nobody writes rows that name objects until this transaction ends.

    A transaction that changes rows and then condemns calls this first: writers take their share before they touch
    rows, so in the other order the two could wait for each other.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _WRITERS})


def condemn(conn: Connection, keys: Sequence[str], at: datetime) -> list[str]:
    """Say that these objects are about to be removed; rows that name them may be deleted in this transaction before.

    Args:
        conn: of :meth:`Database.write`; the objects are deleted only after it was committed, see :func:`finish`.
        keys: those that a row of ``objects`` names are left out.
        at: now.

    Returns:
        The keys that are condemned, those that were already among them.
    """
    exclude_writers(conn)
    condemned: list[str] = []
    for start in range(0, len(keys), _PAGE):
        page = list(dict.fromkeys(keys[start : start + _PAGE]))
        named = set(conn.scalars(select(objects.c.key).where(objects.c.key.in_(page))))
        waits = select(swept_objects.c.key).where(swept_objects.c.key.in_(page), swept_objects.c.gone.is_(False))
        already = set(conn.scalars(waits))
        free = [key for key in page if key not in named]
        rows = [{"key": key, "condemned_at": at, "gone": False} for key in free if key not in already]
        if rows:
            conn.execute(insert(swept_objects), rows)
        condemned += free
    return condemned


def unfinished(conn: Connection, *, before: datetime, limit: int = _PAGE) -> list[str]:
    """Keys condemned before some time whose objects may still be there: their remover died."""
    waits = select(swept_objects.c.key).where(swept_objects.c.gone.is_(False), swept_objects.c.condemned_at < before)
    return list(conn.scalars(waits.order_by(swept_objects.c.id).limit(limit)))


def finish(
    database: Database,
    store: _Deletes,
    keys: Sequence[str],
    *,
    spares: Callable[[str], bool] = lambda _key: False,
    step: Callable[[str], None] = lambda _name: None,
) -> None:
    """Delete condemned objects and say that they are gone. The caller is the :func:`sole_remover`.

    Keys that wait no more are passed over: another remover came to their end, and bytes that came since are there.

    Args:
        spares: keys of which only is said that they are gone: what no row names is an orphan then.

    Raises:
        StorageError, PeerError: the store did not delete; what was deleted and not said is deleted again later.
            ``remover_lost``, ``catalogue_unreachable``: the session that held the right has ended; nothing more was
            deleted.
    """
    for key in keys:
        if not _waits(database, key):
            continue
        if not spares(key):
            store.delete(key)
        step("object_deleted")
        with database.write() as conn:
            exclude_writers(conn)
            this = (swept_objects.c.key == key, swept_objects.c.gone.is_(False))
            condemned_at = conn.scalar(select(func.min(swept_objects.c.condemned_at)).where(*this))
            if condemned_at is not None:
                _say_gone(conn, key, condemned_at)
        step("object_gone")


def let_go(conn: Connection) -> None:
    """Say of all condemned keys that they are gone, whatever the store holds: what no row names is an orphan then.

    For a restored catalogue. Its removers came to their end long ago, and what lies at these keys now was stored since.
    """
    waits = select(swept_objects.c.key, func.min(swept_objects.c.condemned_at).label("at"))
    waits = waits.where(swept_objects.c.gone.is_(False)).group_by(swept_objects.c.key)
    for row in conn.execute(waits.order_by(func.min(swept_objects.c.id))).all():
        _say_gone(conn, row.key, row.at)


def _say_gone(conn: Connection, key: str, condemned_at: datetime) -> None:
    # the new number first: it must be above every mark that was taken while the object was there
    conn.execute(insert(swept_objects).values(key=key, condemned_at=condemned_at, gone=True))
    conn.execute(delete(swept_objects).where(swept_objects.c.key == key, swept_objects.c.gone.is_(False)))


def _waits(database: Database, key: str) -> bool:
    """Whether a key is condemned and not gone, asked over the session that holds the right where one does."""
    query = select(swept_objects.c.id).where(swept_objects.c.key == key, swept_objects.c.gone.is_(False)).limit(1)
    held: tuple[Database, Connection, int] | None = getattr(_here, "session", None)
    if held is None or held[0] is not database:
        with database.read() as conn:
            return conn.execute(query).first() is not None
    _, conn, session = held
    with translated(database.migrations.name):
        try:
            # a connection that broke is replaced silently, and the right went with the first one
            if conn.scalar(text("SELECT pg_backend_pid()")) != session:
                raise StorageError("remover_lost", "the right to remove objects was lost; try again")
            return conn.execute(query).first() is not None
        finally:
            conn.rollback()


def finish_left(
    database: Database,
    store: _Deletes,
    now: datetime,
    *,
    limit: int = _PAGE,
    spares: Callable[[str], bool] = lambda _key: False,
    step: Callable[[str], None] = lambda _name: None,
) -> int:
    """Finish what removers that died have left, and return how many objects that was. See :func:`finish`."""
    with database.read() as conn:
        left = unfinished(conn, before=now - _FINISH_AFTER, limit=limit)
    finish(database, store, left, spares=spares, step=step)
    return len(left)


def remove(
    database: Database,
    store: _Deletes,
    keys: Sequence[str],
    at: datetime,
    *,
    step: Callable[[str], None] = lambda _name: None,
) -> int:
    """Remove the objects that no row names and return how many that were. The caller is the :func:`sole_remover`."""
    with database.write() as conn:
        condemned = condemn(conn, keys, at)
    step("objects_condemned")
    finish(database, store, condemned, step=step)
    return len(condemned)


@contextmanager
def sole_remover(database: Database) -> Iterator[bool]:
    """Be the only process, and the only thread, that removes objects named in this catalogue.

    Yields:
        False when another is at it; then remove nothing. The right ends with the process, however that ends.
    """
    if database.path is not None:
        with _file_lock(f"{database.path}.remover") as held:
            yield held
        return
    with database.read() as conn:
        # of the session, not of the transaction: given back below, or by the server when the connection ends
        taken = "SELECT pg_try_advisory_lock(:lock) AS held, pg_backend_pid() AS session"
        row = conn.execute(text(taken), {"lock": _REMOVER}).one()
        conn.rollback()
        held, before = bool(row.held), getattr(_here, "session", None)
        if held:
            _here.session = database, conn, int(row.session)
        try:
            yield held
        finally:
            _here.session = before
            if held and not conn.invalidated:
                conn.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _REMOVER})
                conn.rollback()


@contextmanager
def _file_lock(path: str) -> Iterator[bool]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError("catalogue_unreachable", "the lock file cannot be made") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)

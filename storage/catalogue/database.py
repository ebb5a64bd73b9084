"""One way to SQLite and PostgreSQL: short transactions that wait for each other.

``Database.read`` and ``Database.write`` are the only ways to a connection. On SQLite a writer begins with
``BEGIN IMMEDIATE``: it waits for the writer before it, and can no longer fail half-way because its snapshot is old.
Inside a write there is no parsing, no hashing and no network.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import Pool

from teleread.errors import Misconfigured, StorageError
from teleread.storage.catalogue.failures import translated
from teleread.storage.catalogue.migrate import CATALOGUE, Migrations, upgrade

_ADVISORY_LOCK = 0x7E1E5EAD  # every starting process of every version takes this one
_MIGRATION_WAIT_S = 600


class Database:
    """A database and its pool of connections. Safe in threads, and in children that were forked from its owner.

    Args:
        url: ``sqlite:////absolute/path`` or ``postgresql+psycopg://user:password@host/name``. A SQLite file is
            made when absent, mode 0600, its folder 0700.
        wait_s: how long a writer waits for another before it fails with ``catalogue_busy``.
        migrations: the schema that :meth:`migrate` brings it to.
        secure_delete: on SQLite, overwrite what is removed with zeros.

    Raises:
        Misconfigured: ``bad_database_url``.
        StorageError: ``catalogue_unreachable`` when the SQLite file cannot be made.
    """

    def __init__(
        self, url: str, *, wait_s: float = 30.0, migrations: Migrations = CATALOGUE, secure_delete: bool = False
    ) -> None:
        self._address = address = _address(url)
        self._wait_s = wait_s
        self._secure_delete = secure_delete
        self._migrations = migrations
        self._path = sqlite_path(url)
        if self._path is not None:
            _make_private(self._path)
            self._engine = _sqlite_engine(address, wait_s, secure_delete=secure_delete)
        else:
            self._engine = _postgres_engine(address, wait_s)
        self._here = threading.local()
        self._inherited: list[Pool] = []
        _open_databases.add(self)

    @property
    def migrations(self) -> Migrations:
        """The history of this database's schema."""
        return self._migrations

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file rather than PostgreSQL."""
        return self._path is not None

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        return self._path

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection in a transaction that cannot write and is never committed.

        Raises:
            StorageError: ``catalogue_busy``, ``catalogue_unreachable`` and so on: see ``catalogue/failures.py``.
        """
        with translated(self._migrations.name), self._engine.connect() as connection:
            connection.execution_options(**({} if self.is_sqlite else {"postgresql_readonly": True}))
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """As :meth:`read`, but all that is read is of the moment at which the block began, however long it takes.

        Raises:
            StorageError: as :meth:`read`.
        """
        with translated(self._migrations.name), self._engine.connect() as connection:
            if self.is_sqlite:
                # BEGIN alone takes no snapshot, the first read does
                connection.execute(text("SELECT count(*) FROM sqlite_master"))
            else:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                connection.execute(text("SELECT 1"))
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in one transaction: committed at the end, rolled back when the block raises.

        Raises:
            StorageError: ``catalogue_busy``, ``catalogue_full`` and so on: see ``catalogue/failures.py``;
                ``nested_write`` when this thread is already inside one, because it would wait for itself.
        """
        with self._transaction(self._engine) as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the schema up to date; processes that start together wait for the first.

        Raises:
            Misconfigured: ``database_newer``.
            StorageError: as :meth:`write`.
        """
        if self._path is None:
            with self.write() as connection:
                connection.execute(text(f"SET LOCAL lock_timeout = {_MIGRATION_WAIT_S * 1000}"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
                upgrade(connection, self._migrations)
            return
        # SQLite changes most things by making the table anew, which foreign keys forbid while they are enforced
        engine = _sqlite_engine(self._address, self._wait_s, foreign_keys=False, secure_delete=self._secure_delete)
        try:
            with _alone(self._path), self._transaction(engine) as connection:
                changed = upgrade(connection, self._migrations)
                if changed and connection.execute(text("PRAGMA foreign_key_check")).first() is not None:
                    raise StorageError(f"{self._migrations.name}_integrity", "the migration would orphan rows")
        finally:
            engine.dispose()

    def close(self) -> None:
        """Close the pooled connections; the next use opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        if getattr(self._here, "writing", False):
            raise StorageError("nested_write", "a write was begun inside a write")
        self._here.writing = True
        try:
            with translated(self._migrations.name), engine.connect() as connection:
                connection.execution_options(teleread_writes=True)
                with connection.begin():
                    yield connection
        finally:
            self._here.writing = False

    def _leave_parent(self) -> None:
        # The parent's connections are kept unclosed and unused: closing one could end it for the parent too.
        self._inherited.append(self._engine.pool)
        self._engine.dispose(close=False)
        self._here = threading.local()


def insert_missing(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], key_columns: Sequence[str]
) -> int:
    """Insert the rows that are not there yet and return how many that was; the others stay as they are.

    Args:
        connection: of :meth:`Database.write`.
        table: where.
        rows: each with the same columns.
        key_columns: columns of the primary key or unique constraint that says whether a row is there; none means
            any of them.
    """
    if not rows:
        return 0
    build = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = build(table).on_conflict_do_nothing(index_elements=list(key_columns) or None)
    inserted = statement.returning(*table.primary_key.columns)
    return len(connection.execute(inserted, [dict(row) for row in rows]).all())


def sqlite_path(url: str) -> Path | None:
    """The file that a SQLite URL names, whether or not it is there; None for PostgreSQL.

    Raises:
        Misconfigured: ``bad_database_url``.
    """
    address = _address(url)
    return Path(address.database or "") if address.get_backend_name() == "sqlite" else None


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise Misconfigured("bad_database_url", "the database's URL is not one") from error
    if address.drivername in ("sqlite", "sqlite+pysqlite"):
        if not address.database or address.database.startswith((":memory:", "file:")) or address.query:
            raise Misconfigured("bad_database_url", "the SQLite URL names a file: sqlite:////path")
        return address
    if address.drivername in ("postgresql", "postgresql+psycopg"):
        return address.set(drivername="postgresql+psycopg")
    raise Misconfigured("bad_database_url", "the database's URL starts with sqlite: or postgresql+psycopg:")


def _make_private(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # An existing file is never opened here: closing it would drop the locks of every other connection that
        # this process has on it (POSIX). SQLite gives its WAL the same mode.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.chmod(path, 0o600)
    except OSError as error:
        raise StorageError("catalogue_unreachable", "the SQLite file cannot be made") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the file lock: switching a new SQLite file to WAL does not wait as a transaction does."""
    try:
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError("catalogue_unreachable", "the lock file cannot be made") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sqlite_engine(address: URL, wait_s: float, *, foreign_keys: bool = True, secure_delete: bool = False) -> Engine:
    engine = create_engine(
        address,
        hide_parameters=True,
        connect_args={"timeout": wait_s},
        # a thread of the web service holds at most one; idle ones cost a file handle
        pool_size=8,
        max_overflow=56,
        pool_timeout=wait_s,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver begins nothing; we do, below
        pragmas = ["journal_mode = WAL", "synchronous = FULL", f"foreign_keys = {int(foreign_keys)}"]
        if secure_delete:
            pragmas.append("secure_delete = ON")
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = bool(connection.get_execution_options().get("teleread_writes"))
        connection.exec_driver_sql(f"PRAGMA query_only = {0 if writes else 1}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    @event.listens_for(engine, "handle_error")
    def leave_read_only(context: ExceptionContext) -> None:
        # SQLite opens a file for reading alone when opening it for writing fails once; such a connection never
        # writes again, so it must not go back to the pool
        if getattr(context.original_exception, "sqlite_errorname", "").startswith("SQLITE_READONLY"):
            context.is_disconnect = True

    return engine


def _postgres_engine(address: URL, wait_s: float) -> Engine:
    return create_engine(
        address,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=15,
        pool_timeout=wait_s,
        connect_args={
            "connect_timeout": max(2, min(5, int(wait_s))),
            "application_name": "teleread",
            "tcp_user_timeout": 30_000,
            "options": f"-c timezone=UTC -c lock_timeout={int(wait_s * 1000)} "
            "-c idle_in_transaction_session_timeout=60000",
        },
    )


_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork() -> None:
    for database in list(_open_databases):
        database._leave_parent()


os.register_at_fork(after_in_child=_after_fork)

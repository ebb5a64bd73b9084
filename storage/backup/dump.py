"""A database as lines of JSON, from SQLite or PostgreSQL and into either.

One file for each table: a first line that names the table and its columns with their kinds, then one array a row,
in the order of the primary key. Tables come in an order in which every row finds what it refers to.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Date,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.types import TypeEngine

from teleread.errors import Conflict, Misconfigured
from teleread.storage.backup.sealing import Seal, SealedFile, Unseal, Written, corrupt, sealed_lines
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.migrate import Migrations, upgrade
from teleread.storage.catalogue.schema import UtcDateTime

Progress = Callable[[str, int], None]
"""Called with what is being done and how many of it are done."""


def silent(_what: str, _done: int) -> None:
    """No progress is shown."""


_ROWS = 1000
# a trigger writes these when the events come in, and lets go only of those that have their link
_UNSEALED = {"audit_unsealed": "audit_chain", "vault_unsealed": "vault_chain"}


@dataclass(frozen=True, slots=True)
class Part:
    """One table's file of a backup.

    Args:
        database: ``catalogue`` or ``vault``.
        table: its name.
        rows: how many it has.
        file: where they lie.
    """

    database: str
    table: str
    rows: int
    file: Written


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    type: TypeEngine[Any]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


_KINDS = (  # the first that fits
    _Kind("time", UtcDateTime(), lambda value: value.isoformat(), datetime.fromisoformat),
    _Kind("date", Date(), lambda value: value.isoformat(), date.fromisoformat),
    _Kind("bytes", LargeBinary(), lambda value: base64.b64encode(value).decode(), base64.b64decode),
    _Kind("json", Text(), _same, _same),  # the text as it is stored: the audit's hashes are over it
    _Kind("bool", Boolean(), _same, _same),
    _Kind("float", Float(), _same, _same),
    _Kind("int", BigInteger(), _same, _same),
    _Kind("text", Text(), _same, _same),
)
_CLASSES: tuple[tuple[type, str], ...] = (
    (UtcDateTime, "time"),
    (Date, "date"),
    (LargeBinary, "bytes"),
    (JSON, "json"),
    (Boolean, "bool"),
    (Float, "float"),
    (Integer, "int"),
)
_BY_NAME = {kind.name: kind for kind in _KINDS}


def revision_of(conn: Connection, migrations: Migrations) -> str | None:
    """The schema's revision in this database; None when there is no schema."""
    context = MigrationContext.configure(conn, opts={"version_table": migrations.version_table})
    return context.get_current_revision()


def dump_database(
    conn: Connection,
    migrations: Migrations,
    folder: Path,
    seal: Seal,
    progress: Progress,
    row_seen: Callable[[str, Mapping[str, Any]], None] | None = None,
) -> list[Part]:
    """Write every table of the schema, in constant memory.

    Args:
        conn: of :meth:`Database.snapshot`, so that all tables are of one moment.
        migrations: of this database.
        folder: where the files are made; none of them may exist.
        seal: to the recovery key.
        progress: called now and then.
        row_seen: called with each table's name and row.

    Raises:
        StorageError: of the database, or ``store_full``, ``store_io``.
    """
    parts = []
    for table in _tables(migrations):
        with SealedFile(folder / f"{migrations.name}.{table.name}.sealed", seal) as out:
            kinds = [_kind(column) for column in table.c]
            head = {
                "database": migrations.name,
                "revision": revision_of(conn, migrations),
                "table": table.name,
                "columns": [[column.name, kind.name] for column, kind in zip(table.c, kinds, strict=True)],
            }
            out.write(_line(head))
            rows = 0
            for row in conn.execute(_rows_of(conn, table), execution_options={"yield_per": _ROWS}):
                encoded = zip(kinds, row, strict=True)
                out.write(_line([None if value is None else kind.encode(value) for kind, value in encoded]))
                if row_seen is not None:
                    row_seen(table.name, dict(row._mapping))
                rows += 1
                if rows % _ROWS == 0:
                    progress(f"{migrations.name} {table.name}", rows)
            parts.append(Part(migrations.name, table.name, rows, out.close()))
    return parts


def check_part(path: Path, part: Part, unseal: Unseal) -> str:
    """Read one table's file through and return the schema's revision.

    Raises:
        StorageError: ``backup_corrupt``, ``wrong_halves``.
    """
    head, rows = _opened(path, unseal)
    found = sum(1 for _ in rows)
    if (head.database, head.table, found) != (part.database, part.table, part.rows):
        raise corrupt(path)
    return head.revision


def _tables(migrations: Migrations) -> list[Table]:
    """All that hold something of their own; what a revision writes about itself comes with the schema."""
    return [table for table in migrations.metadata.sorted_tables if table.name != f"{migrations.name}_readers"]


def is_empty(database: Database) -> bool:
    """Whether no table of the schema has a row."""
    with database.read() as conn:
        there = set(inspect(conn).get_table_names())
        return not any(
            conn.execute(select(text("1")).select_from(table).limit(1)).first() is not None
            for table in _tables(database.migrations)
            if table.name in there
        )


def load_database(
    database: Database,
    files: list[tuple[Path, Part]],
    revision: str,
    unseal: Unseal,
    progress: Progress,
    last: Callable[[Connection], None],
) -> None:
    """Fill an empty database in one transaction, and bring it to the present schema afterwards.

    Nobody else uses the database, so the transaction may be long; one that was killed leaves it empty.

    Args:
        database: empty; its schema is made when there is none.
        files: one for each table, in the order of the dump.
        revision: the schema's when the dump was made.
        unseal: opens a sealed piece.
        progress: called now and then.
        last: called inside the transaction, after the last row.

    Raises:
        Misconfigured: ``database_newer`` when the dump is of a newer version of teleread; ``database_other_schema``
            when the database has another schema than the dump.
        Conflict: ``database_not_empty``.
        StorageError: ``backup_corrupt`` and those of the database.
    """
    migrations = database.migrations
    if not is_empty(database):
        raise Conflict("database_not_empty", "A restore goes into empty databases; this one holds rows.")
    with database.write() as conn:
        present = revision_of(conn, migrations)
        if present is None:
            upgrade(conn, migrations, revision)
        elif present != revision:
            raise Misconfigured(
                "database_other_schema", "The empty database has another schema than the backup; give one without any."
            )
        for path, _part in files:
            head, rows = _opened(path, unseal)
            if head.table not in _UNSEALED:
                _load_table(conn, head, rows, progress)
        for unsealed, chain in _UNSEALED.items():
            if unsealed in migrations.metadata.tables:
                linked = select(migrations.metadata.tables[chain].c.event_id)
                table = migrations.metadata.tables[unsealed]
                conn.execute(delete(table).where(table.c.event_id.in_(linked)))
        last(conn)
    database.migrate()


@dataclass(frozen=True, slots=True)
class _Head:
    database: str
    revision: str
    table: str
    columns: tuple[tuple[str, _Kind], ...]


def _opened(path: Path, unseal: Unseal) -> tuple[_Head, Iterator[list[Any]]]:
    lines = sealed_lines(path, unseal)
    try:
        head = json.loads(next(lines))
        read = _Head(
            head["database"],
            head["revision"],
            head["table"],
            tuple((name, _BY_NAME[kind]) for name, kind in head["columns"]),
        )
    except (StopIteration, ValueError, KeyError, TypeError) as error:
        raise corrupt(path) from error
    return read, _rows(lines, len(read.columns), path)


def _rows(lines: Iterator[bytes], width: int, path: Path) -> Iterator[list[Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise corrupt(path) from error
        if not isinstance(row, list) or len(row) != width:
            raise corrupt(path)
        yield row


def _load_table(conn: Connection, head: _Head, rows: Iterator[list[Any]], progress: Progress) -> None:
    table = Table(head.table, MetaData(), *(Column(name, kind.type) for name, kind in head.columns))
    statement = insert(table).values({name: _bound(conn, name, kind) for name, kind in head.columns})
    batch: list[dict[str, Any]] = []
    done = 0
    for row in rows:
        given = zip(head.columns, row, strict=True)
        batch.append({f"v_{name}": None if value is None else kind.decode(value) for (name, kind), value in given})
        if len(batch) == _ROWS:
            conn.execute(statement, batch)
            done += len(batch)
            batch.clear()
            progress(f"{head.database} {head.table}", done)
    if batch:
        conn.execute(statement, batch)
    if conn.dialect.name == "postgresql" and any(name == "id" and kind.name == "int" for name, kind in head.columns):
        # rows with given numbers do not move the sequence
        conn.execute(
            select(
                func.setval(
                    func.pg_get_serial_sequence(head.table, "id"), select(func.max(table.c.id)).scalar_subquery()
                )
            ).where(func.pg_get_serial_sequence(head.table, "id").is_not(None), select(table.c.id).exists())
        )


def _bound(conn: Connection, name: str, kind: _Kind) -> ColumnElement[Any]:
    value = bindparam(f"v_{name}", type_=kind.type)
    return cast(value, JSON) if kind.name == "json" and conn.dialect.name == "postgresql" else value


def _kind(column: Column[Any]) -> _Kind:
    name = next((name for kind, name in _CLASSES if isinstance(column.type, kind)), "text")
    return _BY_NAME[name]


def _rows_of(conn: Connection, table: Table) -> Select[Any]:
    columns = [cast(column, Text).label(column.name) if _kind(column).name == "json" else column for column in table.c]
    return select(*columns).order_by(*_order(conn, table))


def _order(conn: Connection, table: Table) -> list[ColumnElement[Any]]:
    # byte by byte in both databases, so that equal content gives equal files before they are sealed
    return [
        column.collate("C") if conn.dialect.name == "postgresql" and _kind(column).name == "text" else column
        for column in table.primary_key.columns
    ]


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

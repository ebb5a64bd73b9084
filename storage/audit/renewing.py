"""Going on behind a break: a new section of the chain, begun by a named person for a reason that stays on record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text, update

from teleread.errors import Conflict
from teleread.storage.audit import encoding, sections
from teleread.storage.audit.anchors import Anchor
from teleread.storage.audit.sealing import Trail, only_one
from teleread.storage.audit.sections import Section
from teleread.storage.audit.verifying import Break, Verdict, verify
from teleread.storage.catalogue.schema import AuditTables


def begin_section(
    trail: Trail, key: bytes, now: datetime, *, who: str, reason: str, anchors: Iterable[Anchor] = ()
) -> Section:
    """Put a break on record and let sealing go on behind it; nothing of what is there is changed or removed.

    The links before stay as they are, pinned by a digest; what nobody had chained is chained in the new section, from
    now on provable, as it is found. Whoever writes waits meanwhile, for the digest is of this very moment.

    Args:
        key: of the chain's end.
        now: aware time.
        who: the person who decides.
        reason: without anybody's name.
        anchors: of this database; one that fits no more is a break too.

    Raises:
        Conflict: ``audit_not_broken``; ``audit_busy`` when somebody seals at this moment: call again.
        StorageError: what ``Database`` raises.
    """
    given = [anchor for anchor in anchors if anchor.is_ours(key)]
    verdict = verify(trail.database, trail.tables, key, now, given)
    if verdict.broken is None:
        raise Conflict("audit_not_broken", f"The audit chain of the {trail.name} is sound: nothing was begun.")
    tables, is_sqlite = trail.tables, trail.database.is_sqlite
    with trail.database.write() as conn:
        if not is_sqlite and not only_one(conn, tables):
            raise Conflict("audit_busy", "Somebody seals the audit at this moment; call again.")
        start = _next_link(conn, tables, [anchor.seq for anchor in given])
        everything = conn.exec_driver_sql(
            sections.linked(tables, is_sqlite, f"WHERE c.seq < {start}"), execution_options={"stream_results": True}
        )
        section = Section(
            seq=start,
            begun_by=who,
            begun_at=f"{now.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}",
            reason=reason,
            **_broken(verdict, verdict.broken),
            before=sections.digest(tuple(row) for row in everything),
        )
        _note_all(conn, tables)
        _write(conn, tables, key, section, now, is_sqlite)
    return section


def _broken(verdict: Verdict, broken: Break) -> dict[str, Any]:
    return {
        "kind": broken.kind,
        "broken_seq": broken.seq,
        "message": broken.message,
        "links": verdict.links,
        "hash": verdict.hash,
    }


def _next_link(conn: Connection, tables: AuditTables, anchored: Sequence[int]) -> int:
    """A number behind everything that was ever said of this chain."""
    said = [conn.scalar(select(func.max(table.c.seq))) for table in (tables.chain, tables.head)]
    return max(0, *anchored, *(one for one in said if isinstance(one, int))) + 1


def _note_all(conn: Connection, tables: AuditTables) -> None:
    """Every event without a link waits for one, and no other does."""
    events, unsealed, chain = tables.events.name, tables.unsealed.name, tables.chain.name
    linked = f"SELECT 1 FROM {chain} c WHERE c.event_id"
    conn.execute(
        text(
            f"DELETE FROM {unsealed} WHERE EXISTS ({linked} = {unsealed}.event_id) "
            f"OR NOT EXISTS (SELECT 1 FROM {events} e WHERE e.id = {unsealed}.event_id)"
        )
    )
    conn.execute(
        text(
            f"INSERT INTO {unsealed} (event_id) SELECT e.id FROM {events} e WHERE NOT EXISTS ({linked} = e.id) "
            f"AND NOT EXISTS (SELECT 1 FROM {unsealed} u WHERE u.event_id = e.id)"
        )
    )


def _write(conn: Connection, tables: AuditTables, key: bytes, section: Section, now: datetime, is_sqlite: bool) -> None:
    detail = {name: value for name, value in asdict(section).items() if name not in {"seq", "begun_by", "begun_at"}}
    values: dict[str, Any] = {
        "at": now,
        "actor": section.begun_by,
        "action": sections.ACTION,
        "object_type": "audit",
        "object_id": str(section.seq),
        "detail": detail,
    }
    if is_sqlite:  # numbers of events that were removed are given again, and theirs may stand in a link
        last = [conn.scalar(select(func.max(column))) or 0 for column in (tables.events.c.id, tables.chain.c.event_id)]
        values["id"] = max(last) + 1
    number = conn.execute(insert(tables.events).values(**values).returning(tables.events.c.id)).scalar_one()
    row = conn.exec_driver_sql(
        f"SELECT {encoding.columns(is_sqlite)} FROM {tables.events.name} e WHERE e.id = {int(number)}"
    ).one()
    end = encoding.link(encoding.section_genesis(tables.events.name), encoding.canonical(number, *row))
    conn.execute(insert(tables.chain).values(seq=section.seq, event_id=number, hash=end))
    conn.execute(delete(tables.unsealed).where(tables.unsealed.c.event_id == number))
    mac = encoding.head_mac(key, tables.events.name, section.seq, end, section.begun_at)
    head = {"seq": section.seq, "hash": end, "mac": mac, "sealed_at": now}
    conn.execute(delete(tables.head).where(tables.head.c.id != 1))
    if not conn.execute(update(tables.head).where(tables.head.c.id == 1).values(head)).rowcount:
        conn.execute(insert(tables.head).values(id=1, **head))

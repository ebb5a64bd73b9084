"""Where a chain begins anew because what came before is broken, and what was written down of it then.

A section's first link does not follow from the link before: it stands on a hash of its own, and its event says who
began it and why, what was broken, and the digest of everything that lay before it, as it was found. Without the key
nobody makes one: the check of the chain's end would not fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from teleread.storage.audit import encoding
from teleread.storage.catalogue.schema import AuditTables

ACTION = "audit_section"


@dataclass(frozen=True, slots=True)
class Section:
    """One section but the first.

    Args:
        seq: its first link.
        begun_by, begun_at, reason: as the event says; the time is text, UTC.
        kind, broken_seq, message: the break that it leaves behind.
        links: so many links before it fit, counted from the first; ``hash`` is the last one's, hexadecimal.
        before: SHA-256 of all links before it and their events as they were found, hexadecimal.
    """

    seq: int
    begun_by: str
    begun_at: str
    reason: str
    kind: str
    broken_seq: int | None
    message: str
    links: int
    hash: str
    before: str


def linked(tables: AuditTables, is_sqlite: bool, condition: str) -> str:
    """SQL for links with their events, in the chain's order: seq, event id, hash, the event's id and its columns."""
    found = encoding.bytes_column("c.hash", is_sqlite)
    return (
        f"SELECT c.seq, c.event_id, {found}, e.id, {encoding.columns(is_sqlite)} "
        f"FROM {tables.chain.name} c LEFT JOIN {tables.events.name} e ON e.id = c.event_id {condition} ORDER BY c.seq"
    )


def of_sections(after: int = 0) -> str:
    """The condition of :func:`linked` for links that may begin a section."""
    return f"WHERE e.action = '{ACTION}' AND c.seq > {int(after)}"


def sections(events: str, rows: Iterable[Sequence[Any]]) -> Iterator[Section]:
    """Those of the links of :func:`of_sections` that begin one; others only have an event of that name.

    Args:
        events: name of the events' table.
    """
    begin = encoding.section_genesis(events)
    for seq, event_id, found, _present, *fields in rows:
        try:
            made = encoding.link(begin, encoding.canonical(event_id, *fields))
        except (TypeError, AttributeError):
            continue
        if encoding.same(found, made):
            at, actor, _action, _type, _id, detail = (encoding.as_text(field) for field in fields)
            if (section := _section(seq, actor, at, detail)) is not None:
                yield section


def _section(seq: int, actor: str, at: str, detail: str) -> Section | None:
    """None where somebody has made up an event that says less, or something else."""
    try:
        section = Section(seq=seq, begun_by=actor, begun_at=at, **json.loads(detail))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (section.reason, section.kind, section.message, section.hash, section.before)
    numbers = isinstance(section.links, int) and isinstance(section.broken_seq, int | None)
    return section if numbers and all(isinstance(one, str) for one in texts) else None


def digest(rows: Iterable[Sequence[Any]]) -> str:
    """SHA-256, hexadecimal, of links with their events as they are found, whether or not they fit."""
    total = hashlib.sha256()
    for row in rows:
        fields = [field if isinstance(field, bytes) else str(field).encode() for field in row]
        total.update(b"".join(b"%d:%b," % (len(field), field) for field in fields))
    return total.hexdigest()

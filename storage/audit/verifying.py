"""Walking a chain from its first link to its end, and naming the first thing that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from teleread.storage.audit import encoding
from teleread.storage.audit.anchors import Anchor
from teleread.storage.audit.sections import Section, digest, linked, of_sections, sections
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import AuditTables

GRACE = timedelta(seconds=10)  # so long an event may wait for its link
_CHUNK = 5_000
_NEARBY = 200  # links that are looked at to tell a moved one from a changed one

Kind = Literal[
    "event_changed",
    "event_missing",
    "link_changed",
    "link_missing",
    "order",
    "unchained_event",
    "unsealed_changed",
    "head_mismatch",
    "anchor_mismatch",
    "section_changed",
]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Break:
    """The first thing that is wrong.

    Args:
        kind: what it looks like. That something is wrong is certain, what was done to it is the likeliest reading.
        seq: number of the link; None when the event has none.
        event_id: None when it is not known.
        message: one sentence.
    """

    kind: Kind
    seq: int | None
    event_id: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk found.

    Args:
        links: how many links fit, counted from the first.
        hash: of the last of them, hexadecimal; what a person may copy onto paper.
        anchored: highest link that an anchor confirms, 0 without one.
        broken: None when all is sound, or what is not was put on record when a section was begun behind it.
        sections: begun behind breaks, each with what it left behind.
    """

    links: int
    hash: str
    anchored: int
    broken: Break | None
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True)
class _Walk:
    """What every check needs."""

    conn: Connection
    tables: AuditTables
    key: bytes
    is_sqlite: bool

    def rows(self, statement: str) -> Iterator[Sequence[Any]]:
        """As the driver gives them, some thousands at a time."""
        result = self.conn.exec_driver_sql(statement, execution_options={"stream_results": True})
        try:
            while rows := result.fetchmany(_CHUNK):
                yield from rows
        finally:
            result.close()

    def linked(self, condition: str = "") -> str:
        """SQL for links with their events, in the chain's order."""
        return linked(self.tables, self.is_sqlite, condition)


def verify(
    database: Database,
    tables: AuditTables,
    key: bytes,
    now: datetime,
    anchors: Iterable[Anchor] = (),
    progress: Progress | None = None,
) -> Verdict:
    """Walk the whole chain in one snapshot and constant memory; nobody who writes is kept waiting.

    Args:
        key: of the chain's end.
        now: aware time, against which waiting events are judged.
        anchors: of this database.
        progress: told how many of how many links are done.

    Raises:
        StorageError: what ``Database`` raises.
    """
    with database.read() as conn:
        if not database.is_sqlite:
            conn = conn.execution_options(isolation_level="REPEATABLE READ")
        walk = _Walk(conn, tables, key, database.is_sqlite)
        given = sorted(anchors, key=lambda anchor: anchor.seq)
        head = _read_head(walk)
        total = head[1] if head else 0
        begun = tuple(sections(tables.events.name, walk.rows(walk.linked(of_sections()))))
        closed = _closed_break(walk, begun, given)
        if begun:
            given = [anchor for anchor in given if anchor.seq >= begun[-1].seq]
        broken, links, end, anchored = _chain_break(walk, begun[-1] if begun else None, given, total, progress)
        broken = (
            closed
            or broken
            or _head_break(walk, head, links, end)
            or _late_anchor_break(given, links)
            or _unchained_break(walk, now)
            or _unsealed_break(walk)
        )
    return Verdict(links, end.hex(), anchored, broken, begun)


def _closed_break(walk: _Walk, begun: Sequence[Section], anchors: Sequence[Anchor]) -> Break | None:
    """What lies before the last section is as it was found then, and says what the anchors say where it fitted."""
    if not begun:
        return None
    if (bad := _bad_anchor(walk, anchors)) is not None:
        return bad
    last = begun[-1]
    if digest(walk.rows(walk.linked(f"WHERE c.seq < {last.seq}"))) != last.before:
        message = f"what lies before link {last.seq} is not what it was when the section began there"
        return Break("section_changed", last.seq, None, message)
    doubted = [(one.broken_seq, one.seq) for one in begun if one.kind == "anchor_mismatch" and one.broken_seq]
    for anchor in anchors:
        closing = next((one for one in begun if one.seq > anchor.seq), None)
        if closing is None or anchor.seq > closing.links or any(a <= anchor.seq < b for a, b in doubted):
            continue
        stored = next(iter(walk.rows(walk.linked(f"WHERE c.seq = {anchor.seq}"))), None)
        if stored is None or not encoding.same(stored[2], bytes.fromhex(anchor.hash)):
            message = f"link {anchor.seq} is not what it was when the anchor was written"
            return Break("anchor_mismatch", anchor.seq, None, message)
    return None


def _chain_break(
    walk: _Walk, section: Section | None, anchors: Sequence[Anchor], total: int, progress: Progress | None
) -> tuple[Break | None, int, bytes, int]:
    """The first link that does not follow; else how many do, the last one's hash and the last anchor that fits."""
    link, canonical = encoding.link, encoding.canonical
    done, anchored, end = 0, 0, encoding.genesis(walk.tables.events.name)
    if section is not None:
        done, end = section.seq - 1, encoding.section_genesis(walk.tables.events.name)
    waiting = list(reversed(anchors))
    if (broken := _bad_anchor(walk, anchors)) is not None:
        return broken, done, end, 0
    while waiting and waiting[-1].seq < 1:
        waiting.pop()
    for seq, event_id, found, present, *fields in walk.rows(walk.linked(f"WHERE c.seq > {done}" if section else "")):
        if seq != done + 1:
            return _gap(seq, done + 1), done, end, anchored
        if present is None:
            message = f"the event of link {seq} is gone"
            return Break("event_missing", seq, event_id, message), done, end, anchored
        try:
            made = link(end, canonical(event_id, *fields))
        except (TypeError, AttributeError):
            made = b""
        if made != found:
            return _diagnose(walk, seq, event_id, end, made, found), done, end, anchored
        done, end = seq, made
        while waiting and waiting[-1].seq == done:
            if waiting.pop().hash != end.hex():
                message = f"link {done} is not what it was when the anchor was written; {anchored} and before are"
                return Break("anchor_mismatch", done, event_id, message), done, end, anchored
            anchored = done
        if progress is not None and done % _CHUNK == 0:
            progress(done, max(total, done))
    if progress is not None:
        progress(done, max(total, done))
    return None, done, end, anchored


def _bad_anchor(walk: _Walk, anchors: Sequence[Anchor]) -> Break | None:
    for anchor in anchors:
        if not anchor.is_ours(walk.key):
            message = f"the anchor of {anchor.anchored_at[:10]} was changed, or belongs to another alliance"
            return Break("anchor_mismatch", anchor.seq, None, message)
    return None


def _gap(seq: int, expected: int) -> Break:
    if seq < expected:
        return Break("order", seq, None, f"link {seq} stands where {expected} belongs")
    return Break("link_missing", expected, None, f"link {expected} is gone")


def _diagnose(walk: _Walk, seq: int, event_id: int, before: bytes, made: bytes, found: object) -> Break:
    """What was most likely done to a link that does not follow from the one before and its event.

    If the link after it follows from the stored hash, the hash is the old one and the event is not; if it follows
    from the hash that the event gives, the other way round. A link or event that fits here but stands elsewhere was
    moved.
    """
    nearby = []
    for other_seq, other_id, other_hash, present, *fields in walk.rows(
        walk.linked(f"WHERE c.seq BETWEEN {seq} AND {seq + _NEARBY}")
    ):
        if present is None:
            continue
        try:
            nearby.append((other_seq, other_id, other_hash, encoding.canonical(other_id, *fields)))
        except (TypeError, AttributeError):
            continue
    for other_seq, other_id, other_hash, event in nearby:
        if other_seq != seq and encoding.link(before, event) in (found, other_hash):
            message = f"link {seq} and link {other_seq} are not in their order"
            return Break("order", seq, other_id, message)
    following = next(((hash_, event) for other, _, hash_, event in nearby if other == seq + 1), None)
    head = _read_head(walk)
    if following is None:
        changed_link = head is not None and made == head[2]
    else:
        changed_link = bool(made) and encoding.link(made, following[1]) == following[0]
    if changed_link:
        return Break("link_changed", seq, event_id, f"the hash of link {seq} was changed")
    return Break("event_changed", seq, event_id, f"the event of link {seq} is not what was chained")


def _read_head(walk: _Walk) -> tuple[Any, ...] | None:
    end, mac = (encoding.bytes_column(name, walk.is_sqlite) for name in ("hash", "mac"))
    sealed_at = encoding.time_column("sealed_at", walk.is_sqlite)
    rows = list(walk.rows(f"SELECT id, seq, {end}, {mac}, {sealed_at} FROM {walk.tables.head.name} ORDER BY id"))
    if len(rows) != 1 or not isinstance(rows[0][1], int):
        return None
    return (*rows[0][:4], encoding.as_text(rows[0][4]))


def _head_break(walk: _Walk, head: tuple[Any, ...] | None, links: int, end: bytes) -> Break | None:
    if head is None:
        if links == 0 and not list(walk.rows(f"SELECT id FROM {walk.tables.head.name} LIMIT 1")):
            return None
        return Break("head_mismatch", links, None, "the chain has no end that can be checked")
    number, seq, stored, mac, sealed_at = head
    if seq > links:
        return Break("head_mismatch", links + 1, None, f"the chain is cut: links {links + 1} to {seq} are gone")
    if seq < links:
        return Break("head_mismatch", seq + 1, None, f"links were added behind the chain's end, {seq}")
    if number != 1 or stored != end:
        return Break("head_mismatch", seq, None, f"the chain does not end as it was sealed, at link {seq}")
    if not encoding.same(mac, encoding.head_mac(walk.key, walk.tables.events.name, seq, end, sealed_at)):
        message = f"the check of the chain's end, link {seq}, does not fit: it was made without the key"
        return Break("head_mismatch", seq, None, message)
    return None


def _late_anchor_break(anchors: Sequence[Anchor], links: int) -> Break | None:
    """An anchor of a link that is not there any more."""
    late = next((anchor for anchor in anchors if anchor.seq > links), None)
    if late is None:
        return None
    message = f"the chain was set back: it ends at {links}, but an anchor names link {late.seq}"
    return Break("anchor_mismatch", links + 1, None, message)


def _unchained_break(walk: _Walk, now: datetime) -> Break | None:
    """An event without a link that nobody will seal, or that has waited for too long."""
    latest = f"{(now - GRACE).astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
    at = encoding.time_column("e.at", walk.is_sqlite)
    for number, recorded, waits in walk.rows(
        f"SELECT e.id, {at}, u.event_id FROM {walk.tables.events.name} e "
        f"LEFT JOIN {walk.tables.chain.name} c ON c.event_id = e.id "
        f"LEFT JOIN {walk.tables.unsealed.name} u ON u.event_id = e.id WHERE c.event_id IS NULL ORDER BY e.id"
    ):
        if waits is None:
            return Break("unchained_event", None, number, f"event {number} is neither chained nor waiting to be")
        if encoding.as_text(recorded) < latest:
            message = f"event {number} has waited for its link for more than {GRACE.seconds} s: is anything sealing?"
            return Break("unchained_event", None, number, message)
    return None


def _unsealed_break(walk: _Walk) -> Break | None:
    """A note of an unsealed event that is not there, or has its link."""
    for number, present, seq in walk.rows(
        f"SELECT u.event_id, e.id, c.seq FROM {walk.tables.unsealed.name} u "
        f"LEFT JOIN {walk.tables.events.name} e ON e.id = u.event_id "
        f"LEFT JOIN {walk.tables.chain.name} c ON c.event_id = u.event_id "
        "WHERE e.id IS NULL OR c.seq IS NOT NULL ORDER BY u.event_id LIMIT 1"
    ):
        if present is None:
            return Break("event_missing", seq, number, f"event {number} was removed before it was chained")
        return Break("unsealed_changed", seq, number, f"event {number} is noted as waiting, but has its link")
    return None

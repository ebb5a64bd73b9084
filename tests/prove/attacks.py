"""Attacks on an audit trail by somebody who owns the database.

The attacker may change, remove, add and reorder whatever stands in the tables, triggers or not; what he lacks is the
key. Each attack returns the links that a verdict may name, or None where what it broke has no number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy import Connection, text

from teleread.storage import audit
from teleread.storage.audit import Anchor, encoding
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database

KEY = bytes(range(32))
AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
NOW = AT + timedelta(hours=1)
CHAINED, WAITING = 30, 3
FIELDS = ("actor", "action", "object_type", "object_id")


@dataclass
class World:
    """A sound trail that is copied for each attack.

    Args:
        copy: makes a copy and gives its URL.
        anchors: of link 10 and of the last one.
        old_head: the head when link 20 was the last.
    """

    copy: Callable[[], str]
    anchors: tuple[Anchor, ...] = ()
    old_head: dict[str, Any] = field(default_factory=dict)


@dataclass
class Attack:
    """The attacker's hands: a connection without triggers and foreign keys."""

    conn: Connection
    random: Random
    world: World

    def run(self, statement: str, **values: object) -> Any:
        return self.conn.execute(text(statement), values)

    def link(self, low: int = 1, high: int = CHAINED) -> int:
        return self.random.randint(low, high)

    def two(self) -> tuple[int, int]:
        first, second = sorted(self.random.sample(range(1, CHAINED + 1), 2))
        return first, second

    def hash_of(self, seq: int) -> bytes:
        return bytes(self.run("SELECT hash FROM audit_chain WHERE seq = :s", s=seq).scalar_one())

    def event_of(self, seq: int) -> int:
        return int(self.run("SELECT event_id FROM audit_chain WHERE seq = :s", s=seq).scalar_one())

    def recompute(self, start: int, stop: int) -> bytes:
        """Give every link from ``start`` on the hash that follows, as anybody can."""
        end = self.hash_of(start - 1) if start > 1 else encoding.genesis("audit_events")
        columns = encoding.columns(self.conn.dialect.name == "sqlite")
        for seq in range(start, stop + 1):
            row = self.run(
                f"SELECT e.id, {columns} FROM audit_events e JOIN audit_chain c ON c.event_id = e.id WHERE c.seq = :s",
                s=seq,
            ).one()
            end = encoding.link(end, encoding.canonical(*row))
            self.run("UPDATE audit_chain SET hash = :h WHERE seq = :s", h=end, s=seq)
        return end

    def renumber(self, after: int) -> None:
        """Close a gap."""
        self.run("UPDATE audit_chain SET seq = -(seq - 1) WHERE seq > :s", s=after)
        self.run("UPDATE audit_chain SET seq = -seq WHERE seq < 0")

    def change_event(self, seq: int) -> None:
        number = self.event_of(seq)
        name = self.random.choice([*FIELDS, "at", "detail"])
        if name == "at":
            value: object = AT + timedelta(microseconds=self.random.randint(10_000_000_000, 10**11))
            sqlite = self.conn.dialect.name == "sqlite"
            value = f"{value:%Y-%m-%d %H:%M:%S.%f}" if sqlite else value
        elif name == "detail":
            # one space more is the same JSON, and yet another text
            old = self.run("SELECT CAST(detail AS TEXT) FROM audit_events WHERE id = :i", i=number).scalar_one()
            value = self.random.choice([old.replace(":", ": ", 1).replace("{", "{ ", 1), '{"n": "other"}'])
            cast = ":v" if self.conn.dialect.name == "sqlite" else "CAST(:v AS json)"
            self.run(f"UPDATE audit_events SET detail = {cast} WHERE id = :i", v=value, i=number)
            return
        else:
            old = self.run(f"SELECT {name} FROM audit_events WHERE id = :i", i=number).scalar_one()
            place = self.random.randrange(len(old))
            value = old[:place] + chr(ord(old[place]) ^ 1) + old[place + 1 :]
        self.run(f"UPDATE audit_events SET {name} = :v WHERE id = :i", v=value, i=number)


Expected = set[int] | None


def change_event(attack: Attack) -> Expected:
    seq = attack.link()
    attack.change_event(seq)
    return {seq}


def move_text_between_fields(attack: Attack) -> Expected:
    """The fields' texts put together stay the same."""
    seq = attack.link()
    attack.run(
        "UPDATE audit_events SET actor = actor || substr(action, 1, 1), action = substr(action, 2) WHERE id = :i",
        i=attack.event_of(seq),
    )
    return {seq}


def swap_events(attack: Attack) -> Expected:
    first, second = attack.two()
    one, two = attack.event_of(first), attack.event_of(second)
    for old, new in ((one, -1), (two, one), (-1, two)):
        attack.run("UPDATE audit_events SET id = :n WHERE id = :o", n=new, o=old)
    return {first}


def renumber_event(attack: Attack) -> Expected:
    seq = attack.link()
    number = attack.event_of(seq)
    attack.run("UPDATE audit_events SET id = :n WHERE id = :o", n=number + 1000, o=number)
    attack.run("UPDATE audit_chain SET event_id = :n WHERE event_id = :o", n=number + 1000, o=number)
    return {seq}


def remove_event(attack: Attack) -> Expected:
    seq = attack.link()
    attack.run("DELETE FROM audit_events WHERE id = :i", i=attack.event_of(seq))
    return {seq}


def remove_link(attack: Attack) -> Expected:
    seq = attack.link()
    attack.run("DELETE FROM audit_chain WHERE seq = :s", s=seq)
    return {seq}


def remove_both(attack: Attack) -> Expected:
    seq = attack.link()
    attack.run("DELETE FROM audit_events WHERE id = :i", i=attack.event_of(seq))
    return remove_link(replace(attack, random=Same(seq)))


def remove_both_and_close_the_gap(attack: Attack) -> Expected:
    seq = attack.link(1, CHAINED - 1)
    attack.run("DELETE FROM audit_events WHERE id = :i", i=attack.event_of(seq))
    attack.run("DELETE FROM audit_chain WHERE seq = :s", s=seq)
    attack.renumber(seq)
    return {seq}


def swap_what_links_name(attack: Attack) -> Expected:
    first, second = attack.two()
    one, two = attack.event_of(first), attack.event_of(second)
    for seq, number in ((first, -1), (second, one), (first, two)):
        attack.run("UPDATE audit_chain SET event_id = :n WHERE seq = :s", n=number, s=seq)
    return {first}


def swap_hashes(attack: Attack) -> Expected:
    first, second = attack.two()
    one, two = attack.hash_of(first), attack.hash_of(second)
    for seq, value in ((first, two), (second, one)):
        attack.run("UPDATE audit_chain SET hash = :h WHERE seq = :s", h=value, s=seq)
    return {first}


def swap_links(attack: Attack) -> Expected:
    first, second = attack.two()
    for old, new in ((first, -1), (second, first), (-1, second)):
        attack.run("UPDATE audit_chain SET seq = :n WHERE seq = :o", n=new, o=old)
    return {first}


def rotate_links(attack: Attack) -> Expected:
    first, second = attack.two()
    attack.run("UPDATE audit_chain SET seq = -1000 WHERE seq = :s", s=first)
    for seq in range(first + 1, second + 1):
        attack.run("UPDATE audit_chain SET seq = :n WHERE seq = :o", n=seq - 1, o=seq)
    attack.run("UPDATE audit_chain SET seq = :s WHERE seq = -1000", s=second)
    return {first}


def flip_a_bit_of_a_link(attack: Attack) -> Expected:
    seq = attack.link()
    old = bytearray(attack.hash_of(seq))
    old[attack.random.randrange(32)] ^= 1 << attack.random.randrange(8)
    attack.run("UPDATE audit_chain SET hash = :h WHERE seq = :s", h=bytes(old), s=seq)
    return {seq}


def link_another_event(attack: Attack) -> Expected:
    seq = attack.link()
    attack.run("UPDATE audit_chain SET event_id = :n WHERE seq = :s", n=CHAINED + 1, s=seq)
    return {seq}


def cut_the_tail(attack: Attack) -> Expected:
    seq = attack.link()
    attack.run("DELETE FROM audit_events WHERE id IN (SELECT event_id FROM audit_chain WHERE seq >= :s)", s=seq)
    attack.run("DELETE FROM audit_chain WHERE seq >= :s", s=seq)
    return {seq}


def cut_the_tail_and_move_the_head(attack: Attack) -> Expected:
    seq = attack.link(2)
    cut_the_tail(replace(attack, random=Same(seq)))
    attack.run("UPDATE audit_head SET seq = :s, hash = :h", s=seq - 1, h=attack.hash_of(seq - 1))
    return {seq - 1}


def change_and_recompute_all(attack: Attack) -> Expected:
    seq = attack.link()
    attack.change_event(seq)
    end = attack.recompute(seq, CHAINED)
    mac = hashlib.sha256(end).digest()
    attack.run("UPDATE audit_head SET hash = :h", h=end)
    if attack.random.random() < 0.5:
        attack.run("UPDATE audit_head SET mac = :m", m=mac)
    return {CHAINED}


def remove_and_recompute_all(attack: Attack) -> Expected:
    remove_both_and_close_the_gap(attack)
    end = attack.recompute(1, CHAINED - 1)
    attack.run("UPDATE audit_head SET seq = :s, hash = :h", s=CHAINED - 1, h=end)
    return {CHAINED - 1}


def change_and_recompute_one(attack: Attack) -> Expected:
    seq = attack.link()
    attack.change_event(seq)
    attack.recompute(seq, seq)
    return {seq, min(seq + 1, CHAINED)}


def change_the_head(attack: Attack) -> Expected:
    what = attack.random.choice(["seq = seq + 1", "seq = seq - 1", "hash = :x", "mac = :x", "sealed_at = :t", "id = 2"])
    later = NOW + timedelta(hours=1)
    at = f"{later:%Y-%m-%d %H:%M:%S.%f}" if attack.conn.dialect.name == "sqlite" else later
    values = {":x": {"x": attack.random.randbytes(32)}, ":t": {"t": at}}.get(what.split()[-1], {})
    attack.run(f"UPDATE audit_head SET {what}", **values)
    return {CHAINED, CHAINED + 1}


def remove_the_head(attack: Attack) -> Expected:
    attack.run("DELETE FROM audit_head")
    return {CHAINED}


def add_links_behind_the_head(attack: Attack) -> Expected:
    attack.run(
        "INSERT INTO audit_chain (seq, event_id, hash) VALUES (:s, :i, :h)", s=CHAINED + 1, i=CHAINED + 1, h=b"0" * 32
    )
    attack.recompute(CHAINED + 1, CHAINED + 1)
    attack.run("DELETE FROM audit_unsealed WHERE event_id = :i", i=CHAINED + 1)
    return {CHAINED + 1}


def slip_in_a_link(attack: Attack) -> Expected:
    """A forged event between two others, the links behind it renumbered."""
    seq = attack.link()
    attack.run("UPDATE audit_chain SET seq = -(seq + 1) WHERE seq >= :s", s=seq)
    attack.run("UPDATE audit_chain SET seq = -seq WHERE seq < 0")
    forge(attack, CHAINED + 50)
    attack.run("INSERT INTO audit_chain (seq, event_id, hash) VALUES (:s, :i, :h)", s=seq, i=CHAINED + 50, h=b"0" * 32)
    attack.recompute(seq, seq)
    attack.run("UPDATE audit_head SET seq = seq + 1")
    # a forged last link is told from a sealed one by the chain's end alone
    return {min(seq + 1, CHAINED + 1)}


def add_a_link_before_the_first(attack: Attack) -> Expected:
    seq = -attack.random.randrange(5)
    attack.run("INSERT INTO audit_chain (seq, event_id, hash) VALUES (:s, :i, :h)", s=seq, i=CHAINED + 1, h=b"0" * 32)
    return {seq}


def hide_a_waiting_event(attack: Attack) -> Expected:
    attack.run(
        "DELETE FROM audit_unsealed WHERE event_id = :i", i=attack.random.randint(CHAINED + 1, CHAINED + WAITING)
    )
    return None


def remove_a_waiting_event(attack: Attack) -> Expected:
    attack.run("DELETE FROM audit_events WHERE id = :i", i=attack.random.randint(CHAINED + 1, CHAINED + WAITING))
    return None


def note_a_chained_event_as_waiting(attack: Attack) -> Expected:
    seq = attack.link()
    attack.run("INSERT INTO audit_unsealed (event_id) VALUES (:i)", i=attack.event_of(seq))
    return {seq}


def add_an_event_without_a_note(attack: Attack) -> Expected:
    forge(attack, CHAINED + 50)
    return None


def hold_an_event_back(attack: Attack) -> Expected:
    """It stays noted as waiting, because nobody seals."""
    forge(attack, CHAINED + 50, AT)
    attack.run("INSERT INTO audit_unsealed (event_id) VALUES (:i)", i=CHAINED + 50)
    return None


def unchain_and_note_again(attack: Attack) -> Expected:
    """Links from some number on are taken away and their events set back to waiting, changed."""
    seq = attack.link()
    attack.change_event(seq)
    attack.run("INSERT INTO audit_unsealed (event_id) SELECT event_id FROM audit_chain WHERE seq >= :s", s=seq)
    attack.run("DELETE FROM audit_chain WHERE seq >= :s", s=seq)
    return {seq}


def set_back(attack: Attack) -> Expected:
    """The whole database as it was at link 20, check and all: an older copy put in place."""
    end = attack.world.old_head["seq"]
    attack.run("DELETE FROM audit_unsealed")
    attack.run("DELETE FROM audit_chain WHERE seq > :s", s=end)
    attack.run("DELETE FROM audit_events WHERE id > :s", s=end)
    attack.run("DELETE FROM audit_head")
    names = ", ".join(attack.world.old_head)
    marks = ", ".join(f":{name}" for name in attack.world.old_head)
    attack.run(f"INSERT INTO audit_head ({names}) VALUES ({marks})", **attack.world.old_head)
    return {end + 1}


def begin_anew(attack: Attack) -> Expected:
    """All links are taken away, an event changed, all noted as waiting: the next sealer would chain them."""
    attack.change_event(attack.link(1, 10))
    attack.run("DELETE FROM audit_unsealed")
    attack.run("DELETE FROM audit_chain")
    attack.run("DELETE FROM audit_head")
    attack.run("INSERT INTO audit_unsealed (event_id) SELECT id FROM audit_events")
    attack.conn.commit()
    database = Database(attack.conn.engine.url.render_as_string(hide_password=False))
    audit.seal(database, schema.audit, KEY, NOW)
    database.close()
    return {10}


class Same(Random):
    """Chooses the same link always."""

    def __init__(self, link: int) -> None:
        super().__init__(0)
        self._link = link

    def randint(self, _low: int, _high: int) -> int:
        return self._link


ATTACKS: tuple[Callable[[Attack], Expected], ...] = (
    change_event,
    change_event,
    move_text_between_fields,
    swap_events,
    renumber_event,
    remove_event,
    remove_link,
    remove_both,
    remove_both_and_close_the_gap,
    swap_what_links_name,
    swap_hashes,
    swap_links,
    rotate_links,
    flip_a_bit_of_a_link,
    link_another_event,
    cut_the_tail,
    cut_the_tail_and_move_the_head,
    change_and_recompute_all,
    remove_and_recompute_all,
    change_and_recompute_one,
    change_the_head,
    remove_the_head,
    add_links_behind_the_head,
    slip_in_a_link,
    add_a_link_before_the_first,
    hide_a_waiting_event,
    remove_a_waiting_event,
    note_a_chained_event_as_waiting,
    add_an_event_without_a_note,
    hold_an_event_back,
    unchain_and_note_again,
    set_back,
    begin_anew,
)
# what only an anchor shows: the check of the chain's end is a real one
BY_ANCHOR = (set_back, begin_anew)


def forge(attack: Attack, number: int, at: datetime = NOW) -> None:
    """An event of the attacker's own."""
    sqlite = attack.conn.dialect.name == "sqlite"
    attack.run(
        "INSERT INTO audit_events (id, at, actor, action, object_type, object_id, detail) "
        "VALUES (:i, :t, 'reader', 'view', 'case', 'c1', '{}')",
        i=number,
        t=f"{at:%Y-%m-%d %H:%M:%S.%f}" if sqlite else at,
    )

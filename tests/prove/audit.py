"""Seeded attacks on an audit trail, and whether the verifier names them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

from sqlalchemy import create_engine, text

from teleread.storage import audit
from teleread.storage.audit import Anchor, Trail, Verdict
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from tests.prove.attacks import AT, ATTACKS, BY_ANCHOR, CHAINED, KEY, NOW, WAITING, Attack, World


def make_world(url: str, folder: Path, copy: Callable[[], str]) -> World:
    """Fill a new database with 30 chained events and 3 that wait."""
    database = Database(url)
    database.migrate()
    trail = Trail("catalogue", database, schema.audit)
    world = World(copy)
    for number in range(CHAINED):
        with database.write() as conn:
            audit.record(
                conn,
                at=AT + timedelta(seconds=number, microseconds=number),
                actor=f"reader{number % 4}",
                action=("view", "sign", "download")[number % 3],
                object_type="case",
                object_id=f"{number:032x}",
                detail={"priority": "urgent", "n": number / 7, "名": "值"} if number % 2 else {},
            )
        if number % 10 == 9:
            audit.seal(database, schema.audit, KEY, AT + timedelta(seconds=number))
            audit.write_anchor(trail, KEY, folder, AT + timedelta(days=number), "0")
        if number == 19:
            with database.read() as conn:
                head = conn.exec_driver_sql("SELECT id, seq, hash, mac, sealed_at FROM audit_head").mappings().one()
                world.old_head = dict(head)
    with database.write() as conn:
        for number in range(WAITING):
            audit.record(conn, at=NOW, actor="reader", action="view", object_type="case", object_id=f"w{number}")
    database.close()
    first, _, last = audit.read_anchors(folder)
    world.anchors = (first, last)
    return world


def examine(world: World, number: int, verdict_of: Callable[[Database, tuple[Anchor, ...]], Verdict]) -> str | None:
    """Attack a copy and say what the verifier missed; None when it named the right link."""
    attack = ATTACKS[number % len(ATTACKS)]
    url = world.copy()
    engine = create_engine(url)
    with engine.connect() as conn:
        if conn.dialect.name == "sqlite":
            for name in conn.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
                conn.execute(text(f"DROP TRIGGER {name}"))
        else:
            conn.execute(text("SET session_replication_role = replica"))
        expected = attack(Attack(conn, Random(number), world))
        conn.commit()
    engine.dispose()
    database = Database(url)
    try:
        verdict = verdict_of(database, world.anchors if attack in BY_ANCHOR else ())
    finally:
        database.close()
    if verdict.broken is None:
        return f"{attack.__name__} {number}: not found"
    named = verdict.broken.seq
    if named not in (expected or {None}):
        return f"{attack.__name__} {number}: {named} named instead of {expected}"
    return None


def real_verdict(database: Database, anchors: tuple[Anchor, ...]) -> Verdict:
    """Of the verifier itself."""
    return audit.verify(database, schema.audit, KEY, NOW, anchors)


@contextmanager
def sqlite_world() -> Iterator[World]:
    """A world of files, one copy at a time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def copy() -> str:
            for end in ("", "-wal", "-shm"):
                Path(f"{folder}/copy.db{end}").unlink(missing_ok=True)
            shutil.copyfile(folder / "base.db", folder / "copy.db")
            return f"sqlite:///{folder}/copy.db"

        yield make_world(f"sqlite:///{folder}/base.db", folder / "anchors", copy)


@contextmanager
def audit_mutations() -> Iterator[Callable[[int], None]]:
    """Every change, removal and reordering in an audit trail is found, and the first broken link named."""
    with sqlite_world() as world:

        def prove(number: int) -> None:
            missed = examine(world, number, real_verdict)
            assert missed is None, missed

        yield prove

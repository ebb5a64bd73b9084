"""What removing objects must do on every store and database.

A test module imports these tests and provides the fixtures ``database`` and ``store``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import insert, select, update

from teleread.errors import StorageError
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.database import Database, insert_missing
from teleread.storage.catalogue.schema import objects, swept_objects
from teleread.storage.objects.protocol import ObjectStore
from tests.contract.interleave import Turn, every_order

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
Check = Callable[[Database, str, int], None]
Remove = Callable[[Database, ObjectStore, str, Turn], None]


def row(key: str) -> dict[str, object]:
    return {"key": key, "sha256": "0" * 64, "size_bytes": 1, "created_at": AT}


def write(database: Database, store: ObjectStore, data: bytes, turn: Turn, *, checks: bool = True) -> None:
    """What land and prepare do: three tries, then nothing is acknowledged."""
    for _ in range(3):
        turn()
        with database.read() as conn:
            mark = sweeping.mark(conn)
        turn()
        try:
            key = store.put("derived/1/" + data.decode(), data).key
        except StorageError as error:
            # the object went while put compared it: nothing was acknowledged, and it is sent again
            if error.code != "object_swept":
                raise
            continue
        turn()
        try:
            with database.write() as conn:
                if checks:
                    sweeping.check(conn, [key], mark)
                insert_missing(conn, objects, [row(key)], ["key"])
            return
        except StorageError as error:
            if error.code != "object_swept":
                raise


def remove(database: Database, store: ObjectStore, key: str, turn: Turn) -> None:
    turn()
    with sweeping.sole_remover(database) as sole:
        assert sole
        sweeping.remove(database, store, [key], AT, step=lambda _name: turn())


def remove_by_age(database: Database, store: ObjectStore, key: str, turn: Turn) -> None:
    """The broken twin: old and unnamed, so it goes."""
    turn()
    with database.read() as conn:
        named = conn.execute(select(objects).where(objects.c.key == key)).first()
    turn()
    if named is None:
        store.delete(key)


def remove_under_one_number(database: Database, store: ObjectStore, key: str, turn: Turn) -> None:
    """A subtler one: what is gone keeps the number under which it was condemned."""
    turn()
    with database.write() as conn:
        condemned = sweeping.condemn(conn, [key], AT)
    turn()
    if condemned:
        store.delete(key)
        turn()
        with database.write() as conn:
            conn.execute(update(swept_objects).where(swept_objects.c.key == key).values(gone=True))


def lost_orders(
    database: Database, store: ObjectStore, remover: Remove, *, lies_there: bool = True, checks: bool = True
) -> tuple[int, list[str]]:
    """How many orders there are, and those after which a row names an object that is not there."""
    numbers, lost, keys, written = count(), list[str](), list[str](), list[bool]()
    prefix = f"{remover.__name__}-{lies_there}-{checks}".replace("_", "-").lower()

    def start() -> Mapping[str, Callable[[Turn], None]]:
        name = f"{prefix}-{next(numbers)}"
        keys.append(f"derived/1/{name}")
        if lies_there:
            store.put(keys[-1], name.encode())
        return {
            "writer": lambda turn: write(database, store, name.encode(), turn, checks=checks),
            "remover": lambda turn: remover(database, store, keys[-1], turn),
        }

    def check(order: str) -> None:
        with database.read() as conn:
            named = conn.execute(select(objects).where(objects.c.key == keys[-1])).first() is not None
        written.append(named)
        if named and not store.exists(keys[-1]):
            lost.append(order)

    runs = every_order(start, check)
    assert any(written)
    return runs, lost


@pytest.mark.parametrize("lies_there", [True, False])
def test_in_no_order_of_steps_does_a_row_name_a_removed_object(
    database: Database, store: ObjectStore, lies_there: bool
) -> None:
    runs, lost = lost_orders(database, store, remove, lies_there=lies_there)
    assert runs >= 20
    assert lost == []


@pytest.mark.parametrize("remover", [remove_by_age, remove_under_one_number])
def test_removers_that_race_are_caught(database: Database, store: ObjectStore, remover: Remove) -> None:
    """The broken twins."""
    _, lost = lost_orders(database, store, remover)
    assert lost


def test_a_writer_that_does_not_check_is_caught(database: Database, store: ObjectStore) -> None:
    _, lost = lost_orders(database, store, remove, checks=False)
    assert lost


def test_what_a_row_names_is_never_condemned(database: Database, store: ObjectStore) -> None:
    store.put("derived/1/named", b"x")
    store.put("derived/1/free", b"x")
    with database.write() as conn:
        conn.execute(insert(objects).values(**row("derived/1/named")))
    assert sweeping.remove(database, store, ["derived/1/named", "derived/1/free"], AT) == 1
    assert store.exists("derived/1/named")
    assert not store.exists("derived/1/free")


def test_a_condemned_object_is_refused_until_it_is_gone_and_then_taken_again(
    database: Database, store: ObjectStore
) -> None:
    key = store.put("derived/1/again", b"x").key
    with database.write() as conn:
        assert sweeping.condemn(conn, [key], AT) == [key]
        assert sweeping.condemn(conn, [key], AT) == [key]
    with database.read() as conn:
        assert sweeping.unfinished(conn, before=AT) == []
        assert sweeping.unfinished(conn, before=AT + timedelta(seconds=1)) == [key]
        late = sweeping.mark(conn)
    with pytest.raises(StorageError, match="object_swept"), database.write() as conn:
        sweeping.check(conn, [key], late)
    sweeping.finish(database, store, [key])
    sweeping.finish(database, store, [key])
    with database.read() as conn:
        assert sweeping.unfinished(conn, before=AT + timedelta(seconds=1)) == []
        assert len(conn.execute(select(swept_objects).where(swept_objects.c.key == key)).all()) == 1
        now = sweeping.mark(conn)
    with pytest.raises(StorageError, match="object_swept"), database.write() as conn:
        sweeping.check(conn, [key], late)
    with database.write() as conn:
        sweeping.check(conn, [key], now)


def test_there_is_one_remover_at_a_time(database: Database) -> None:
    with sweeping.sole_remover(database) as first:
        with sweeping.sole_remover(database) as second:
            assert (first, second) == (True, False)
        with sweeping.sole_remover(database) as third:
            assert not third
    with sweeping.sole_remover(database) as next_one:
        assert next_one


def test_a_remover_deletes_nothing_that_another_brought_to_its_end(database: Database, store: ObjectStore) -> None:
    key = store.put_raw(b"swept twice").key
    with database.write() as conn:
        condemned = sweeping.condemn(conn, [key], datetime.now(UTC))
    with sweeping.sole_remover(database):
        sweeping.finish(database, store, condemned)
        store.put_raw(b"swept twice")
        sweeping.finish(database, store, condemned)
    assert store.exists(key)

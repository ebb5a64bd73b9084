"""The order of the list, and which part of it a reader may take.

The order is ``(band, order_at, id)``. It is indexed as a whole and by pool, and a reader of some pools reads the head
of each and merges them: so a page costs the same at the front and after a million rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Integer,
    Select,
    Subquery,
    and_,
    bindparam,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    union,
    union_all,
)

from teleread.storage.catalogue.schema import work_items

WAITING: ColumnElement[bool] = work_items.c.state == literal_column("'SCHEDULED'")
"""Said as a constant: an index on part of a table is used only where the query visibly stays within that part."""

WHOLE: ColumnElement[bool] = work_items.c.seq > literal_column("0")
"""True always, and said only of what waits for whomever: the whole list's own index is for that alone.

For one pool that index looks cheaper to PostgreSQL than the pool's own where the pool is a frequent one or not known
yet; and then all is walked through that waits for others and is nearer the front.
"""

IN_PROGRESS: ColumnElement[bool] = work_items.c.state == literal_column("'IN PROGRESS'")

KEY = (work_items.c.band, work_items.c.order_at, work_items.c.id)

Cursor = tuple[int, datetime, str]
"""Band, ``order_at`` and id of a row: where the next page begins, or the one before it ends."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What one reader may claim.

    Args:
        who: the account.
        pools: those that the reader is licensed and on duty for; what is not routed yet is anybody's.
    """

    who: str
    pools: tuple[str, ...]


def within(reach: Reach) -> ColumnElement[bool]:
    """The condition that a work item may be read by this reader."""
    pools = list(reach.pools)
    open_to = or_(work_items.c.pool.is_(None), work_items.c.pool.in_(pools), work_items.c.overflow_pool.in_(pools))
    return open_to & allowed(reach)


def allowed(reach: Reach) -> ColumnElement[bool]:
    """The condition that a work item is not kept from this reader, who read it before."""
    return or_(work_items.c.not_for.is_(None), work_items.c.not_for != reach.who)


def of_modality(modality: str) -> ColumnElement[bool]:
    """The condition of a modality filter. What nobody could read yet may be an ECG, so it stands among the ECGs."""
    return or_(*_modality_arms(modality == "ECG", modality))


def past(cursor: Cursor, *, backwards: bool = False) -> ColumnElement[bool]:
    """The condition of what stands behind a row, or before it."""
    parts = (literal(value, column.type) for value, column in zip(cursor, KEY, strict=True))
    return _past(tuple_(*parts), backwards=backwards)


def past_given(*, backwards: bool = False) -> ColumnElement[bool]:
    """As :func:`past`, for any row: the values of :func:`given` go with the statement."""
    parts = (bindparam(f"past_{column.name}", type_=column.type) for column in KEY)
    return _past(tuple_(*parts), backwards=backwards)


def given(cursor: Cursor | None) -> dict[str, Any]:
    """The values of :func:`past_given`."""
    return {} if cursor is None else dict(zip((f"past_{column.name}" for column in KEY), cursor, strict=True))


class Shape(NamedTuple):
    """What a question about the front of the list looks like, apart from its values: built once, and kept."""

    most: int  # rows of each index; a constant, by which a plan is chosen
    pools: int | None = None  # None: without a reader's reach
    sites: int | None = None
    modality: bool | None = None  # whether it is the one of ECGs; None: no filter
    place: bool = False  # whether a cursor is given
    backwards: bool = False


def asked(
    *,
    limit: int,
    reach: Reach | None = None,
    site_ids: Sequence[str] | None = None,
    modality: str | None = None,
    cursor: Cursor | None = None,
    backwards: bool = False,
) -> tuple[Shape, dict[str, Any]]:
    """The shape of a question, and its values by name."""
    shape = Shape(
        limit,
        None if reach is None else len(reach.pools),
        None if site_ids is None else len(site_ids),
        None if modality is None else modality == "ECG",
        cursor is not None,
        backwards,
    )
    values: dict[str, Any] = {}
    if reach is not None:
        values |= {f"pool_{i}": pool for i, pool in enumerate(reach.pools)} | {"for_whom": reach.who}
    if site_ids is not None:
        values |= {f"site_{i}": site_id for i, site_id in enumerate(site_ids)}
    if modality is not None:
        values["of_modality"] = modality
    return shape, values | given(cursor)


@lru_cache(maxsize=256)
def head(shape: Shape) -> Select[Any]:
    """The keys of the first waiting rows, out of the heads of the fewest indexes that hold them all.

    Not more than ``most`` of each index, so there may be more rows than that; each stands once. The values are
    those of :func:`asked`.
    """
    heads = _heads(shape, (*KEY, work_items.c.rank))
    if not heads:
        return select(*KEY, work_items.c.rank).where(literal_column("1 = 0"))
    if len(heads) == 1:
        return select(heads[0])
    # a union that keeps each row once: one may stand in its own pool and in an overflow pool
    return select(union(*(select(one) for one in heads)).subquery())


@lru_cache(maxsize=256)
def head_ids(shape: Shape) -> CompoundSelect[Any]:
    """As :func:`head`, the ids alone; one may come twice."""
    return union_all(*(select(one) for one in _heads(shape, (work_items.c.id,))))


def _heads(shape: Shape, columns: Sequence[ColumnElement[Any]]) -> list[Subquery]:
    pools = [bindparam(f"pool_{i}", type_=work_items.c.pool.type) for i in range(shape.pools or 0)]
    conditions = [WAITING]
    if shape.sites is not None:
        parts = [work_items.c.site_id == bindparam(f"site_{i}") for i in range(shape.sites)]
    elif shape.modality is not None:
        parts = _modality_arms(shape.modality, bindparam("of_modality"))
    else:
        parts = [WHOLE] if shape.pools is None else _pool_arms(pools)
    if shape.pools is not None:
        who = bindparam("for_whom", type_=work_items.c.not_for.type)
        conditions.append(or_(work_items.c.not_for.is_(None), work_items.c.not_for != who))
        if shape.sites is not None or shape.modality is not None:
            conditions.append(or_(*_pool_arms(pools)))
    if shape.sites is not None and shape.modality is not None:
        conditions.append(or_(*_modality_arms(shape.modality, bindparam("of_modality"))))
    if shape.place:
        conditions.append(past_given(backwards=shape.backwards))
    order = [column.desc() for column in KEY] if shape.backwards else list(KEY)
    found = select(*columns).where(*conditions).order_by(*order).limit(most(shape))
    return [found.where(part).subquery() for part in parts]


def most(shape: Shape) -> ColumnElement[int]:
    """The limit, as a constant of the statement."""
    return literal_column(str(int(shape.most)), Integer)


def keep_plan(conn: Connection) -> None:
    """Let the database plan each statement of this transaction once per connection, not each time anew.

    To plan the merging of several indexes takes PostgreSQL longer than to do it.
    """
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")


def _pool_arms(pools: Sequence[ColumnElement[Any]]) -> list[ColumnElement[bool]]:
    """Conditions that together say what is within reach, each the beginning of one index."""
    columns = work_items.c.pool, work_items.c.overflow_pool
    return [work_items.c.pool.is_(None), *(column == pool for column in columns for pool in pools)]


def _modality_arms(is_ecg: bool, modality: Any) -> list[ColumnElement[bool]]:
    same = [work_items.c.modality == modality]
    if is_ecg:
        same.append(and_(work_items.c.modality == "OT", work_items.c.analysed.is_(False)))
    return same


def _past(place: Any, *, backwards: bool) -> ColumnElement[bool]:
    key: Any = tuple_(*KEY)
    behind: ColumnElement[bool] = key < place if backwards else key > place
    return behind

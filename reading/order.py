"""The order of the list, and which part of it a reader may take.

The order is ``(band, order_at, id)``. It is indexed as a whole and by pool, and a reader of some pools reads the head
of each and merges them: so a page costs the same at the front and after a million rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, literal, literal_column, or_, select, true, tuple_, union

from teleread.storage.catalogue.schema import work_items

WAITING: ColumnElement[bool] = work_items.c.state == literal_column("'SCHEDULED'")
"""Said as a constant: an index on part of a table is used only where the query visibly stays within that part."""

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


def arms(reach: Reach | None) -> list[ColumnElement[bool]]:
    """Conditions that together say what is within reach, each the beginning of one index."""
    if reach is None:
        return [true()]
    pools = work_items.c.pool, work_items.c.overflow_pool
    return [work_items.c.pool.is_(None), *(column == pool for column in pools for pool in reach.pools)]


def of_modality(modality: str) -> ColumnElement[bool]:
    """The condition of a modality filter. What nobody could read yet may be an ECG, so it stands among the ECGs."""
    return or_(*_modality_arms(modality))


def _modality_arms(modality: str) -> list[ColumnElement[bool]]:
    same = [work_items.c.modality == modality]
    if modality == "ECG":
        same.append(and_(work_items.c.modality == "OT", work_items.c.analysed.is_(False)))
    return same


def past(cursor: Cursor, *, backwards: bool = False) -> ColumnElement[bool]:
    """The condition of what stands behind a row, or before it."""
    band, order_at, item_id = cursor
    given = tuple_(
        literal(band, work_items.c.band.type),
        literal(order_at, work_items.c.order_at.type),
        literal(item_id, work_items.c.id.type),
    )
    key = tuple_(*KEY)
    return key < given if backwards else key > given


def head(
    limit: int,
    *,
    reach: Reach | None = None,
    site_ids: Sequence[str] | None = None,
    modality: str | None = None,
    cursor: Cursor | None = None,
    backwards: bool = False,
) -> Select[Any]:
    """The keys of the first waiting rows, out of the heads of the fewest indexes that hold them all.

    Not more than ``limit`` of each index, so there may be more rows than that; each stands once.
    """
    if site_ids is not None:
        parts: list[ColumnElement[bool]] = [work_items.c.site_id == site_id for site_id in site_ids]
    elif modality is not None:
        parts = _modality_arms(modality)
    else:
        parts = arms(reach)
    conditions = [WAITING]
    if reach is not None:
        conditions.append(allowed(reach) if site_ids is None and modality is None else within(reach))
    if site_ids is not None and modality is not None:
        conditions.append(of_modality(modality))
    if cursor is not None:
        conditions.append(past(cursor, backwards=backwards))
    order = [column.desc() for column in KEY] if backwards else list(KEY)
    columns = (*KEY, work_items.c.rank)
    heads = [select(*columns).where(part, *conditions).order_by(*order).limit(limit).subquery() for part in parts]
    if not heads:
        return select(*columns).where(literal_column("1 = 0"))
    if len(heads) == 1:
        return select(heads[0])
    # a union that keeps each row once: one may stand in its own pool and in an overflow pool
    return select(union(*(select(one) for one in heads)).subquery())

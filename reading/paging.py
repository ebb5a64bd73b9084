"""Lists that are read page by page: each page begins behind the last row of the one before, by its time and its key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, or_

Place = tuple[datetime, str | int]
"""Where a row stands in its list: its time, and its key where several have one time."""

Seen = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""The condition that somebody may see the case whose id is in a column."""


def behind(at: ColumnElement[Any], key: ColumnElement[Any], last: Place, *, newest_first: bool = False) -> Any:
    """The condition that a row stands behind a place."""
    time, of = last
    if newest_first:
        return or_(at < time, and_(at == time, key < of))
    return or_(at > time, and_(at == time, key > of))

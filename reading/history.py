"""What happened to a work item: a row for each event, in the transaction of the act, checked by the table of states."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, insert

from teleread.reading import ups
from teleread.storage.catalogue.schema import item_events

_INSERT = insert(item_events).inline()
"""Inline: nobody needs the number that the row gets. Built once: this goes with every act."""


def item_id_of(case_id: str, seq: int) -> str:
    """The id of a case's n-th work item."""
    return hashlib.sha256(f"workitem\0{case_id}\0{seq}".encode()).hexdigest()[:32]


def note_event(
    conn: Connection,
    item: Row[Any],
    event: ups.Event,
    who: str,
    at: datetime,
    detail: Mapping[str, Any] | None = None,
    fence: int | None = None,
) -> ups.State:
    """Write down what happens to a work item and return the state that it leads to.

    Raises:
        Conflict: ``illegal_transition``.
    """
    state = cast(ups.State, item.state)
    return note(conn, item.case_id, item.id, event, state, who, at, item.fence if fence is None else fence, detail)


def note_created(
    conn: Connection,
    case_id: str,
    item_id: str,
    who: str,
    at: datetime,
    *,
    fence: int = 0,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write down that a work item is there."""
    note(conn, case_id, item_id, "created", None, who, at, fence, detail)


def note(
    conn: Connection,
    case_id: str,
    item_id: str,
    event: ups.Event,
    from_state: ups.State | None,
    who: str,
    at: datetime,
    fence: int,
    detail: Mapping[str, Any] | None = None,
) -> ups.State:
    """Write down an event by the names of its parts; returns the state that it leads to.

    Raises:
        Conflict: ``illegal_transition``.
    """
    to_state = ups.after(from_state, event)
    values = {"case_id": case_id, "item_id": item_id, "at": at, "event": event, "from_state": from_state}
    values |= {"to_state": to_state, "who": who, "fence": fence, "detail": dict(detail or {})}
    conn.execute(_INSERT, values)
    return to_state

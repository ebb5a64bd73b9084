"""What a reader has typed and not signed: one draft for each case, kept for whoever claims it next.

A draft is saved as it is typed, by the reader who has the case, with the claim's token and the draft's revision: what
another window or another reader has saved meanwhile is never overwritten unseen. It goes when a report is signed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from teleread.errors import Conflict, InputRejected
from teleread.reading import claims
from teleread.storage.catalogue.schema import drafts, work_items

FIELDS: Mapping[str, type] = {
    "statements": list,
    "text": str,
    "comparison": str,
    "technical": str,
    "critical": bool,
    "template": bool,
}
BYTES_LIMIT = 128 * 1024


@dataclass(frozen=True, slots=True)
class Draft:
    """A kept draft with its author."""

    case_id: str
    item_id: str
    body: dict[str, Any]
    revision: int
    saved_by: str
    saved_at: datetime


def checked(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a draft that are known.

    Raises:
        InputRejected: ``draft_invalid``: another type, an unknown field, or too long.
    """
    for name, value in body.items():
        if not isinstance(value, FIELDS.get(name, ())):
            raise InputRejected("draft_invalid", "The draft holds what no draft holds.")
    statements = body.get("statements", [])
    if not all(isinstance(one, str) for one in statements) or len(json.dumps(body)) > BYTES_LIMIT:
        raise InputRejected("draft_invalid", "The draft holds what no draft holds.")
    return dict(body)


def is_empty(body: Mapping[str, Any]) -> bool:
    """Whether nothing was typed."""
    return not any(value.strip() if isinstance(value, str) else value for value in body.values())


def draft_of(conn: Connection, case_id: str) -> Draft | None:
    """The case's draft."""
    columns = [drafts.c[name] for name in Draft.__dataclass_fields__]
    row = conn.execute(select(*columns).where(drafts.c.case_id == case_id)).one_or_none()
    return None if row is None else Draft(**row._mapping)


def save(
    conn: Connection,
    case_id: str,
    item_id: str,
    fence: int,
    who: str,
    body: Mapping[str, Any],
    revision: int,
    at: datetime,
) -> int:
    """Keep what the reader who has the case has typed; returns the new revision.

    Args:
        revision: of the draft that the reader's page shows, 0 where it shows none.

    Raises:
        Conflict: ``claim_lost``; ``draft_changed``: it was saved elsewhere meanwhile.
        InputRejected: ``draft_invalid``.
    """
    values = checked(body)
    item = claims.check(conn, item_id, who, fence, at)
    if item.case_id != case_id:
        raise Conflict("claim_lost", "You no longer have this case. What you typed is kept as a draft.")
    known = conn.scalar(select(drafts.c.revision).where(drafts.c.case_id == case_id).with_for_update())
    if revision != (known or 0):
        raise Conflict("draft_changed", "The draft was saved in another window or by another reader.")
    return _write(conn, case_id, item_id, fence, who, values, known, at)


def keep_typed(
    conn: Connection, case_id: str, item_id: str, fence: int, who: str, body: Mapping[str, Any], at: datetime
) -> bool:
    """Keep what somebody typed whose claim has ended, unless the case is in other hands or has a draft of another's.

    Returns:
        Whether it is kept.
    """
    values = checked(body)
    item = conn.execute(
        select(work_items).where(work_items.c.case_id == case_id).order_by(work_items.c.seq.desc()).limit(1)
    ).one_or_none()
    if item is None or item.state in {"COMPLETED", "CANCELED"} or is_empty(values):
        return False
    if item.state == "IN PROGRESS" and item.claimed_by != who and item.lease_until > at:
        return False
    known = draft_of(conn, case_id)
    if known is not None and known.saved_by != who:
        return False
    _write(conn, case_id, item_id, fence, who, values, None if known is None else known.revision, at)
    return True


def _write(
    conn: Connection,
    case_id: str,
    item_id: str,
    fence: int,
    who: str,
    body: dict[str, Any],
    known: int | None,
    at: datetime,
) -> int:
    revision = (known or 0) + 1
    values = {"item_id": item_id, "body": body, "revision": revision, "saved_by": who, "saved_at": at, "fence": fence}
    if known is None:
        conn.execute(insert(drafts).values(case_id=case_id, **values))
    else:
        conn.execute(update(drafts).where(drafts.c.case_id == case_id).values(**values))
    return revision


def drop(conn: Connection, case_id: str) -> None:
    """The report is signed, or its author throws it away."""
    conn.execute(delete(drafts).where(drafts.c.case_id == case_id))

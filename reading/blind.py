"""Who must not see a first report yet: whoever has a case in hand for a blind second reading, until it is signed.

What waits for a reader is hidden from nobody: a case that is queued again stands above a comparison.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, exists, literal_column, or_, select

from teleread.errors import AccessDenied
from teleread.reading.queue import AWAITS_OPINION, latest_item
from teleread.storage.catalogue.schema import work_items

KIND = "second_reading"

BESIDE = work_items.c.kind != literal_column("'reading'")
"""Said as a constant: by it the index of those few is found among all that somebody has ever claimed."""


class Blind(AccessDenied):
    """The case is read a second time by whoever asks; its report opens when that is signed.

    Args:
        reading: the case of the second reading.
    """

    def __init__(self, reading: str) -> None:
        super().__init__("blind_until_signed", "You read this case a second time: its report opens when you have.")
        self.reading = reading


def hidden_cases(conn: Connection, who: str) -> dict[str, str]:
    """The cases whose first reports somebody must not see, each with the case of the second reading.

    Whoever has given the second reading back stays blind until anybody has signed it: to look and to take it again
    would be no second reading.
    """
    first, newest, again = work_items.alias("first"), work_items.alias("newest"), work_items.alias("again")
    in_hand = or_(
        newest.c.state.in_(["SCHEDULED", "IN PROGRESS"]),
        and_(newest.c.state == "CANCELED", newest.c.end_reason == AWAITS_OPINION),
    )
    later = work_items.alias("later")
    # what waits, or is in this reader's hands, is hers to read
    hers = exists().where(
        again.c.case_id == first.c.case_id,
        or_(again.c.state == "SCHEDULED", and_(again.c.state == "IN PROGRESS", again.c.claimed_by == who)),
    )
    query = (
        select(first.c.case_id, work_items.c.case_id.label("reading"))
        .join(first, first.c.id == work_items.c.parent_id)
        .join(newest, newest.c.case_id == work_items.c.case_id)
        .where(
            BESIDE,
            work_items.c.claimed_by == who,
            work_items.c.state.in_(["IN PROGRESS", "CANCELED"]),
            work_items.c.kind == KIND,
            in_hand,
            ~exists().where(later.c.case_id == newest.c.case_id, later.c.seq > newest.c.seq),
            ~hers,
        )
        .distinct()
    )
    return {row.case_id: row.reading for row in conn.execute(query)}


def hidden_by(conn: Connection, case_id: str, who: str) -> tuple[str, bool] | None:
    """The second reading that keeps somebody from a case's report, or from who asked for a reading beside it.

    Returns:
        The second reading's case, and whether the case itself is hidden: the first one, and what was answered beside
        it. Of what waits beside it, and of the second reading, only the first reader's name is. None: nothing is.
    """
    hidden = hidden_cases(conn, who)
    if not hidden:
        return None
    if case_id in hidden:
        return hidden[case_id], True
    item = latest_item(conn, case_id)
    if item is None or item.parent_id is None:
        return None
    origin = conn.scalar(select(work_items.c.case_id).where(work_items.c.id == item.parent_id))
    if origin not in hidden:
        return None
    return hidden[origin], item.state == "COMPLETED" and case_id != hidden[origin]


def check(conn: Connection, case_id: str, who: str) -> None:
    """Go on only with a case whose report this reader may see.

    Raises:
        Blind: ``blind_until_signed``.
    """
    found = hidden_by(conn, case_id, who)
    if found is not None and found[1]:
        raise Blind(found[0])

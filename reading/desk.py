"""The list as one reader sees it: what she may read, narrowed as she asked, page by page in the order of reading.

Every question is answered from the front of an index, however many cases wait: a list is the merged fronts of one
list for each pool, and a count ends at :data:`COUNTED`. Only ids and pseudonyms; the vault joins names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)

from teleread.reading.corrections import is_under_correction
from teleread.reading.order import (
    IN_PROGRESS,
    KEY,
    WAITING,
    WHOLE,
    Cursor,
    Reach,
    allowed,
    given,
    keep_plan,
    past_given,
    within,
)
from teleread.storage.catalogue.schema import arrivals, drafts, item_events, recordings, studies, work_items

Show = Literal["waiting", "mine", "all", "read"]
COUNTED = 1000
"""A count goes so far; what is beyond is "more than"."""
LOOKED_THROUGH = 5000
"""Sex and age are looked for among so many of a list's first rows."""

_ITEMS = work_items.c
_STATES: Mapping[Show, tuple[ColumnElement[bool], ...]] = {
    "waiting": (WAITING,),
    "mine": (IN_PROGRESS,),
    "all": (WAITING, IN_PROGRESS),
    "read": (IN_PROGRESS,),
}


@dataclass(frozen=True, slots=True)
class View:
    """What of the list is wanted; None: no matter which."""

    show: Show = "waiting"
    modality: str | None = None
    site: str | None = None
    pool: str | None = None
    priority: str | None = None
    cases: tuple[str, ...] | None = None
    sex: str | None = None  # M | F | O
    age: int | None = None  # whole years


@dataclass(frozen=True, slots=True)
class Row:
    """A work item in the list. ``due_at`` is absent where nothing was promised."""

    id: str
    case_id: str
    state: str
    kind: str
    priority: str
    band: int
    order_at: datetime
    reasons: tuple[str, ...]
    pool: str | None
    overflow_pool: str | None
    site_id: str
    modality: str
    arrival_id: str
    study_id: str | None
    receipt: str
    patient_pseudonym: str | None
    patient_sex: str | None
    patient_age_years: float | None
    analysed: bool
    quality_acceptable: bool | None
    quality_findings: int | None
    flags: tuple[tuple[str, str, str], ...]  # code, kind, severity
    arrived_at: datetime
    due_at: datetime | None
    claimed_by: str | None
    claimed_at: datetime | None
    lease_until: datetime | None
    draft_by: str | None  # whose unfinished report lies with it
    has_prior: bool  # an earlier study of the same patient is held
    under_correction: bool

    @property
    def cursor(self) -> Cursor:
        """The key beside which the next page begins."""
        return self.band, self.order_at, self.id


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the order of reading, and whether there are more on either side."""

    rows: tuple[Row, ...]
    before: bool
    after: bool


@dataclass(frozen=True, slots=True)
class Count:
    """How many; ``more``: at least so many."""

    n: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """How many cases there are in a view, by priority, whatever priority the view names."""

    urgent: Count
    high: Count
    routine: Count

    @property
    def total(self) -> Count:
        parts = (self.urgent, self.high, self.routine)
        return Count(sum(one.n for one in parts), any(one.more for one in parts))


def page(
    conn: Connection,
    view: View,
    reach: Reach | None,
    *,
    after: Cursor | None = None,
    before: Cursor | None = None,
    limit: int = 50,
) -> Page:
    """A page of the list, by key and never by number.

    Args:
        reach: what the reader may read; None for one who looks after all pools.
        after: the last row of the page before.
        before: the first row of the page behind; the page that ends just before it.
    """
    backwards = before is not None
    beside = after if before is None else before
    keep_plan(conn)
    found = conn.execute(_page(view, reach, beside is not None, backwards, limit + 1), given(beside))
    rows = [_row(row._mapping) for row in found]
    more = len(rows) > limit
    if more:
        del rows[0 if backwards else -1]
    return Page(tuple(rows), before=more if backwards else after is not None, after=True if backwards else more)


def rows_of(conn: Connection, item_ids: Sequence[str]) -> list[Row]:
    """Work items as the list shows them, in the order of reading."""
    found = conn.execute(_shown().where(_ITEMS.id.in_(list(item_ids))).order_by(*KEY))
    return [_row(row._mapping) for row in found]


def tally(conn: Connection, view: View, reach: Reach | None) -> Tally:
    """How many cases are in a view, by priority; each count ends at :data:`COUNTED`."""
    wanted = [_ITEMS.priority]
    urgent = _counted(conn, _narrowed(view, reach, wanted, COUNTED + 1, _ITEMS.band == 0))
    other = _counted(conn, _narrowed(view, reach, wanted, COUNTED + 1, _ITEMS.band == 1))
    more = sum(other.values()) > COUNTED
    n_urgent = urgent.get("urgent", 0)
    return Tally(
        Count(min(n_urgent, COUNTED), n_urgent > COUNTED),
        Count(min(other.get("high", 0), COUNTED), more),
        Count(min(other.get("routine", 0), COUNTED), more),
    )


def by_receipt(conn: Connection, beginning: str, limit: int = 50) -> tuple[str, ...]:
    """Cases of the arrivals whose receipt numbers begin so, waiting or not."""
    query = select(arrivals.c.case_id).where(
        arrivals.c.receipt >= beginning, arrivals.c.receipt < f"{beginning}~", arrivals.c.case_id.is_not(None)
    )
    return tuple(conn.scalars(query.order_by(arrivals.c.receipt).limit(limit)))


def newest_event(conn: Connection) -> int:
    """The number of the last thing that happened to any work item."""
    return int(conn.scalar(select(func.max(item_events.c.id))) or 0)


def newcomers(conn: Connection, view: View, reach: Reach | None, since: int) -> list[tuple[str, str]]:
    """Cases that came into a view by what happened after an event, with their priorities, in the order of reading.

    Of the newest :data:`COUNTED` events: whoever asks more seldom than that loads the list anew.
    """
    recent = select(item_events.c.item_id).where(item_events.c.id > since).order_by(item_events.c.id.desc())
    touched = list(dict.fromkeys(conn.scalars(recent.limit(COUNTED))))
    wanted = [_ITEMS.case_id, _ITEMS.priority, *KEY]
    found = _narrowed(view, reach, wanted, COUNTED, _ITEMS.id.in_(touched), given=True).subquery()
    rows = conn.execute(select(found).order_by(found.c.band, found.c.order_at, found.c.id))
    return [(row.case_id, row.priority) for row in rows]


def being_read(conn: Connection, reach: Reach | None) -> int:
    """How many cases are in readers' hands, of those that this reader may read."""
    query = select(func.count()).select_from(work_items).where(IN_PROGRESS, _within(View(), reach))
    return int(conn.scalar(query) or 0)


def pools_of(conn: Connection, case_id: str) -> tuple[str, ...]:
    """The pools that a case waits or has waited in."""
    pools = select(work_items.c.pool).where(work_items.c.case_id == case_id, work_items.c.pool.is_not(None))
    return tuple(conn.scalars(pools.distinct()))


def standing(
    conn: Connection, case_ids: Iterable[str], reach: Reach | None = None
) -> dict[str, tuple[str, str | None]]:
    """State and owner of the newest work item of each case; of those alone that are within reach, or one's own."""
    query = select(_ITEMS.case_id, _ITEMS.state, _ITEMS.claimed_by).where(_ITEMS.case_id.in_(list(case_ids)))
    if reach is not None:
        query = query.where(or_(within(reach), _ITEMS.claimed_by == reach.who))
    return {row.case_id: (row.state, row.claimed_by) for row in conn.execute(query.order_by(_ITEMS.seq))}


def receipts_of(conn: Connection, subjects: Sequence[str]) -> dict[str, str]:
    """Receipt numbers of what alarms are about, where that is a work item or a case."""
    found = conn.execute(
        select(_ITEMS.id, _ITEMS.case_id, arrivals.c.receipt)
        .join(arrivals, arrivals.c.id == _ITEMS.arrival_id)
        .where(or_(_ITEMS.id.in_(list(subjects)), _ITEMS.case_id.in_(list(subjects))))
    ).all()
    return {row.case_id: row.receipt for row in found} | {row.id: row.receipt for row in found}


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """An urgent case that nobody has taken."""

    case_id: str
    receipt: str
    site_id: str
    arrived_at: datetime


def unclaimed_urgent(conn: Connection, reach: Reach | None, until: datetime, limit: int = 20) -> list[Unclaimed]:
    """Urgent cases that arrived before a moment and that this reader could take, the longest waiting first.

    Asked of the list itself, not of its alarms: it is true also where nobody has raised them.
    """
    query = _narrowed(View(), reach, [_ITEMS.id], limit, _ITEMS.band == 0, _ITEMS.arrived_at <= until)
    ids = list(conn.scalars(query))
    found = conn.execute(
        select(_ITEMS.case_id, arrivals.c.receipt, _ITEMS.site_id, _ITEMS.arrived_at)
        .join(arrivals, arrivals.c.id == _ITEMS.arrival_id)
        .where(_ITEMS.id.in_(ids))
        .order_by(_ITEMS.arrived_at)
        .limit(limit)
    )
    return [Unclaimed(**row._mapping) for row in found]


@lru_cache(maxsize=256)
def _page(view: View, reach: Reach | None, beside: bool, backwards: bool, limit: int) -> Select[Any]:
    """The next rows beside a cursor, whose values are given with it: to build this takes longer than to answer it."""
    conditions = [past_given(backwards=backwards)] if beside else []
    fronts = _narrowed(view, reach, list(KEY), limit, *conditions, backwards=backwards).subquery()
    order = (fronts.c.band, fronts.c.order_at, fronts.c.id)
    ordered = select(fronts.c.id).order_by(*(column.desc() if backwards else column for column in order))
    return _shown().where(_ITEMS.id.in_(ordered.limit(_constant(limit)))).order_by(*KEY)


def _constant(limit: int) -> ColumnElement[int]:
    """A limit that a plan may reckon with, which is kept for any value of what is asked for."""
    return literal_column(str(int(limit)), Integer)


def _narrowed(
    view: View,
    reach: Reach | None,
    columns: Sequence[Any],
    limit: int,
    *conditions: ColumnElement[bool],
    backwards: bool = False,
    given: bool = False,
) -> Any:
    """The fronts of the view's lists, one under the other: each comes from an index and ends at ``limit``.

    Args:
        given: the conditions name the rows.
    """
    order = [column.desc() for column in KEY] if backwards else list(KEY)
    by_others = view.site is not None or view.cases is not None or given
    common = [*conditions, *_asked(view), *_allowed(view, reach)]
    facts = _facts(view)
    fronts = []
    for state in _STATES[view.show]:
        for pool in [_within(view, reach)] if by_others else _pools(view, reach):
            for modality in _modalities(view.modality):
                front = select(*columns).where(state, pool, modality, *common).order_by(*order)
                front = front.limit(_constant(limit)) if not facts else _looked_through(front, facts, columns, limit)
                fronts.append(front)
    parts = [select(front.subquery()) for front in fronts]
    whole = parts[0] if len(parts) == 1 else union_all(*parts)
    return select(whole.subquery())


def _looked_through(front: Select[Any], facts: list[ColumnElement[bool]], columns: Sequence[Any], limit: int) -> Any:
    """Those of a list's first rows that fit facts which have no index."""
    nearest = front.with_only_columns(_ITEMS.id).limit(_constant(LOOKED_THROUGH)).subquery()
    found = select(*columns).where(_ITEMS.id.in_(select(nearest.c.id)), *facts)
    return found.order_by(*front._order_by_clauses).limit(_constant(limit))


def _facts(view: View) -> list[ColumnElement[bool]]:
    facts: list[ColumnElement[bool]] = []
    if view.sex is not None:
        facts.append(_ITEMS.patient_sex == view.sex)
    if view.age is not None:
        facts.append(_ITEMS.patient_age_years.between(view.age, view.age + 0.9999))
    return facts


def _asked(view: View) -> list[ColumnElement[bool]]:
    asked: list[ColumnElement[bool]] = []
    if view.site is not None:
        asked.append(_ITEMS.site_id == view.site)
    if view.priority is not None:
        asked.append(_ITEMS.priority == view.priority)
    if view.cases is not None:
        asked.append(_ITEMS.case_id.in_(list(view.cases)))
    return asked


def _allowed(view: View, reach: Reach | None) -> list[ColumnElement[bool]]:
    if reach is None:
        return []
    if view.show == "mine":
        return [_ITEMS.claimed_by == reach.who]
    return [allowed(reach)]


def _pools(view: View, reach: Reach | None) -> list[ColumnElement[bool]]:
    """One condition for each list that must be looked at; no row fulfils two of them."""
    if view.show == "mine" or (reach is None and view.pool is None):
        return [WHOLE if view.pool is None else _ITEMS.pool == view.pool]
    mine = set() if reach is None else set(reach.pools)
    if view.pool is not None:
        if reach is not None and view.pool not in mine:
            return [and_(_ITEMS.pool == view.pool, _ITEMS.overflow_pool.in_(sorted(mine)))]
        other = or_(_ITEMS.pool.is_(None), _ITEMS.pool != view.pool)
        return [_ITEMS.pool == view.pool, and_(_ITEMS.overflow_pool == view.pool, other)]
    elsewhere = and_(_ITEMS.pool.is_not(None), _ITEMS.pool.not_in(sorted(mine)))
    return [
        _ITEMS.pool.is_(None),
        *(_ITEMS.pool == pool for pool in sorted(mine)),
        *(and_(_ITEMS.overflow_pool == pool, elsewhere) for pool in sorted(mine)),
    ]


def _within(view: View, reach: Reach | None) -> ColumnElement[bool]:
    """The same as one condition, written so that no index of pools is taken for it: a site's is the shorter one."""
    pool = func.coalesce(_ITEMS.pool, "")
    open_to: list[ColumnElement[bool]] = []
    if view.pool is not None:
        open_to.append(or_(pool == view.pool, func.coalesce(_ITEMS.overflow_pool, "") == view.pool))
    if reach is not None and view.show != "mine":
        mine = sorted(reach.pools)
        open_to.append(or_(pool.in_(["", *mine]), func.coalesce(_ITEMS.overflow_pool, "").in_(mine)))
    return and_(true(), *open_to)


def _modalities(modality: str | None) -> list[ColumnElement[bool]]:
    """What nobody could read yet may be an ECG, so it stands among the ECGs."""
    if modality is None:
        return [true()]
    same = _ITEMS.modality == modality
    return [same, and_(_ITEMS.modality == "OT", _ITEMS.analysed.is_(False))] if modality == "ECG" else [same]


def _counted(conn: Connection, narrowed: Any) -> dict[str, int]:
    found = narrowed.subquery()
    rows = conn.execute(select(found.c.priority, func.count()).group_by(found.c.priority))
    return {str(priority): int(n) for priority, n in rows}


def _shown() -> Select[Any]:
    elsewhere = set(Row.__dataclass_fields__) & set(_ITEMS.keys())
    earlier = studies.alias()
    prior = exists().where(
        earlier.c.patient_pseudonym == _ITEMS.patient_pseudonym,
        earlier.c.id != _ITEMS.study_id,
        earlier.c.created_at <= _ITEMS.created_at,
    )
    return (
        select(
            *(_ITEMS[name] for name in sorted(elsewhere)),
            arrivals.c.receipt,
            recordings.c.quality_findings,
            recordings.c.flags,
            drafts.c.saved_by.label("draft_by"),
            prior.label("has_prior"),
            is_under_correction(_ITEMS.case_id).label("under_correction"),
        )
        .join(arrivals, arrivals.c.id == _ITEMS.arrival_id)
        .outerjoin(recordings, recordings.c.arrival_id == _ITEMS.arrival_id)
        .outerjoin(drafts, drafts.c.case_id == _ITEMS.case_id)
    )


def _row(found: Mapping[Any, Any]) -> Row:
    values = {name: found[name] for name in Row.__dataclass_fields__}
    values["reasons"] = tuple(values["reasons"])
    values["flags"] = tuple((str(code), str(kind), str(severity)) for code, kind, severity in values["flags"] or ())
    values["has_prior"] = bool(values["has_prior"])  # SQLite says 0 and 1
    values["under_correction"] = bool(values["under_correction"])
    return Row(**values)

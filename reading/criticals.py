"""Critical values: raised, brought up a ladder of people, and ended only by a named person.

What is raised is never silent: its timers are set in the transaction that raises it, its last step gives it a named
owner, and nothing but an acknowledgement, a read-back or a later statement ends it. Who heard is a person of the
clinic; the six facts (what, when found, by whom, told whom, when, how) stand in its row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from teleread.errors import AccessDenied, Conflict, InputRejected
from teleread.reading import alarms, timers
from teleread.reading.critical_ladder import Ladder, ladder_at, standard_ladders
from teleread.reading.critical_rows import get, lock, standing, still_open
from teleread.reading.critical_state import BY_HAND, ENDED, UNNAMED, WITHDRAWN, Critical, Event, after
from teleread.storage import agents, audit
from teleread.storage.accounts import Account
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import (
    accounts,
    acknowledgements,
    arrivals,
    critical_steps,
    criticals,
    deliveries,
    work_items,
)

LADDER_TIMER = "critical"
"""Kind of the timers of the ladder; their subject is the critical value's id and the step."""
OWNER_ALARM = "critical_owner"
NAME_LIMIT = 64
CODES_LIMIT = 16
_MAY_RECORD = frozenset({"coordinator", "senior_reader", "administrator"})


def raise_critical(
    conn: Connection,
    case_id: str,
    codes: Iterable[str],
    who: str,
    at: datetime,
    *,
    ladders: Sequence[Ladder] | None = None,
) -> Critical:
    """The reader who has claimed a case finds something critical in it; the report may come later.

    While one of the case is open, what was found joins it: pressed twice is one.

    Args:
        codes: of what was found; none is "another critical finding".

    Raises:
        Conflict: ``claim_needed``: this reader has no claim on the case.
        InputRejected: ``code_invalid``.
    """
    item = _locked_item(conn, case_id)
    if item is None or item.state != "IN PROGRESS" or item.claimed_by != who or item.lease_until <= at:
        raise Conflict("claim_needed", "Claim the case first.")
    wanted = _checked(codes) or (UNNAMED,)
    known = standing(conn, case_id)
    if known is not None and known.ended_at is None and known.codes != (WITHDRAWN,):
        return _joined(conn, known, wanted, None, who, at)
    return _new(conn, item, known, wanted, who, at, None, ladders)


def reported(
    conn: Connection,
    case_id: str,
    *,
    report_id: str,
    critical: bool,
    codes: Iterable[str],
    who: str,
    at: datetime,
    kind: str = "final",
    ladders: Sequence[Ladder] | None = None,
) -> Critical | None:
    """A report has been signed; called in its transaction, critical or not. Returns what the clinic must hear of.

    A first critical report joins what was raised before it, also when the clinic has acknowledged that, unless it says
    more. A corrected or withdrawn report asks for an acknowledgement anew where its critical statement is another one
    than before; where nothing critical is left, the clinic must hear that.

    Args:
        kind: preliminary | final | addendum | corrected | withdrawn.
        codes: of its critical statements; may be empty.

    Raises:
        Conflict: ``case_unknown``.
        InputRejected: ``code_invalid``.
    """
    item = _locked_item(conn, case_id)
    if item is None:
        raise Conflict("case_unknown", "There is no such case.")
    known = standing(conn, case_id)
    before = known if known is not None and known.codes != (WITHDRAWN,) else None
    said = _checked(codes)
    stated = (said or (UNNAMED,)) if critical and kind != "withdrawn" else ()
    corrects = kind in {"corrected", "withdrawn"}
    if not stated:
        if before is None or not (corrects and before.report_id is not None):
            return None  # nothing critical was reported before: what was only raised is for its reader to take back
        return _supersede(conn, item, before, (WITHDRAWN,), who, at, report_id, ladders)
    if before is None:
        return _new(conn, item, known, stated, who, at, report_id, ladders)
    covered = not said or set(said) <= set(before.codes)
    if corrects and before.report_id is not None:
        return _supersede(conn, item, before, stated, who, at, report_id, ladders)
    if before.ended_at is None or covered:
        return _joined(conn, before, said, report_id, who, at)
    return _supersede(conn, item, before, stated, who, at, report_id, ladders)


def take_back(
    conn: Connection, critical_id: str, who: str, at: datetime, *, ladders: Sequence[Ladder] | None = None
) -> Critical:
    """Who raised it finds that it is none, before any report says it: the clinic must hear that too.

    Raises:
        Conflict: ``no_such_critical``; ``critical_reported``: a report says it, which must be corrected.
        AccessDenied: ``critical_not_yours``.
    """
    known = _locked(conn, critical_id)
    if known.report_id is not None:
        raise Conflict("critical_reported", "A report says it: correct the report.")
    if known.found_by != who:
        raise AccessDenied("critical_not_yours", "Only who raised it takes it back.")
    if known.codes == (WITHDRAWN,):
        return known
    item = _locked_item(conn, known.case_id)
    assert item is not None
    return _supersede(conn, item, known, (WITHDRAWN,), who, at, None, ladders)


def acknowledge(
    conn: Connection, critical_id: str, site_id: str, who: str, at: datetime, *, how: str = "page"
) -> Critical:
    """A person of the clinic has read it; the first one's name and time stay.

    Args:
        who: an account of the site. An agent's certificate is nobody.

    Raises:
        Conflict: ``no_such_critical``, also for another site's; ``critical_ended``: another one stands in its place.
        AccessDenied: ``not_a_person``.
    """
    known = _locked(conn, critical_id, site_id)
    _person_of(conn, who, site_id)
    if known.state == "acknowledged":
        return known
    told = {"told_to": who, "told_at": at, "told_how": how, "recorded_by": who}
    done = _move(conn, known, "acknowledged", at, **told)
    if known.report_id is not None:
        _note_reading(conn, known.report_id, site_id, who, at)
    audit.record(
        conn, at=at, actor=who, action="acknowledge", object_type="critical", object_id=known.id, detail={"how": how}
    )
    return done


def acknowledge_report(conn: Connection, case_id: str, report_id: str, site_id: str, who: str, at: datetime) -> None:
    """ "I have read this" was pressed below a critical report: what is open of its case is acknowledged with it."""
    query = still_open().where(criticals.c.case_id == case_id, criticals.c.site_id == site_id)
    for row in conn.execute(query).all():
        if row.report_id in (None, report_id):
            acknowledge(conn, row.id, site_id, who, at)


def record_call(conn: Connection, critical_id: str, told_to: str, outcome: str, who: str, at: datetime) -> Critical:
    """Somebody here has telephoned.

    Args:
        told_to: the person at the clinic, or the contact that was called.
        outcome: ``read_back``: that person said it back, which ends it; ``not_read_back``: told, and did not say it
            back; ``no_answer``.

    Raises:
        Conflict: ``no_such_critical``, ``critical_ended``.
        AccessDenied: ``critical_not_yours``: who is neither coordinator nor the reader whose it is.
        InputRejected: ``told_to_missing``, ``answer_unknown``.
    """
    known = _locked(conn, critical_id)
    _may_record(conn, known, who)
    if outcome not in {"read_back", "not_read_back", "no_answer"}:
        raise InputRejected("answer_unknown", "The form names no answer.")
    name = told_to.strip()
    if not name or len(name) > NAME_LIMIT:
        raise InputRejected("told_to_missing", "Name the person whom you told.")
    if known.ended_at is not None:
        raise Conflict("critical_ended", "This critical value has been settled.")
    _write_call(conn, known, name, outcome, at)
    if outcome == "read_back":
        return record_read_back(conn, critical_id, name, who, at)
    detail = {"outcome": outcome}
    audit.record(conn, at=at, actor=who, action="call", object_type="critical", object_id=known.id, detail=detail)
    return known


def record_read_back(conn: Connection, critical_id: str, told_to: str, who: str, at: datetime) -> Critical:
    """A person of the clinic has heard it on the telephone and said it back; see :func:`record_call`."""
    known = _locked(conn, critical_id)
    _may_record(conn, known, who)
    told = {"told_to": told_to, "told_at": at, "told_how": "telephone", "read_back": True, "recorded_by": who}
    done = _move(conn, known, "read_back", at, **told)
    audit.record(conn, at=at, actor=who, action="read_back", object_type="critical", object_id=known.id)
    return done


def take_ownership(conn: Connection, critical_id: str, who: str, at: datetime) -> Critical:
    """Somebody here makes an open critical value theirs. Its ladder goes on until the clinic has it.

    Raises:
        Conflict: ``no_such_critical``, ``critical_ended``.
        AccessDenied: ``critical_not_yours``.
    """
    known = _locked(conn, critical_id)
    _may_record(conn, known, who)
    if known.owner == who:
        return known
    done = _move(conn, known, "taken", at, owner=who, owned_at=at)
    _raise_owner_alarm(conn, done, at)
    audit.record(conn, at=at, actor=who, action="own_critical", object_type="critical", object_id=known.id)
    return done


def escalate(conn: Connection, known: Critical, owner: str, at: datetime) -> Critical:
    """The ladder is at its end: it gets a named owner, unless somebody has made it theirs before."""
    owned = {} if known.owner is not None else {"owner": owner, "owned_at": at}
    done = _move(conn, known, "escalated", at, **owned)
    _raise_owner_alarm(conn, done, at)
    detail = {"owner": done.owner}
    audit.record(
        conn,
        at=at,
        actor="teleread",
        action="escalate_critical",
        object_type="critical",
        object_id=known.id,
        detail=detail,
    )
    return done


def blocks_closing(conn: Connection, case_id: str) -> bool:
    """Whether a case cannot be closed yet, because something critical of it has neither been heard nor been given an
    owner. A signed report does not close it: it stays on every list of open critical values and its page says so, and
    its rows cannot be deleted.
    """
    query = still_open().where(criticals.c.case_id == case_id, criticals.c.state == "open")
    return conn.execute(query.limit(1)).first() is not None


# rows


def _raise(
    conn: Connection,
    item: Row[Any],
    codes: Sequence[str],
    who: str,
    at: datetime,
    *,
    report_id: str | None = None,
    supersedes: Critical | None = None,
    ladders: Sequence[Ladder] | None = None,
) -> Critical:
    number = conn.scalar(select(func.count()).where(criticals.c.case_id == item.case_id)) or 0
    critical_id = hashlib.sha256(f"critical\0{item.case_id}\0{number + 1}".encode()).hexdigest()[:32]
    receipt = conn.scalar(select(arrivals.c.receipt).where(arrivals.c.id == item.arrival_id))
    row = {
        "id": critical_id,
        "case_id": item.case_id,
        "item_id": item.id,
        "report_id": report_id,
        "site_id": item.site_id,
        "receipt": receipt,
        "codes": list(codes),
        "state": after(None, "raised"),
        "found_at": at,
        "found_by": who,
        "supersedes": None if supersedes is None else supersedes.id,
    }
    conn.execute(insert(criticals).values(**row))
    ladder = ladder_at(standard_ladders() if ladders is None else ladders, at.date())
    for step, one in enumerate(ladder.steps):
        timers.set_timer(conn, LADDER_TIMER, f"{critical_id}.{step}", at + one.after)
    detail = {"case": item.case_id, "codes": list(codes), "ladder": f"{ladder.name} {ladder.version}"}
    audit.record(
        conn, at=at, actor=who, action="raise_critical", object_type="critical", object_id=critical_id, detail=detail
    )
    found = get(conn, critical_id)
    assert found is not None
    return found


def _new(
    conn: Connection,
    item: Row[Any],
    known: Critical | None,
    codes: Sequence[str],
    who: str,
    at: datetime,
    report_id: str | None,
    ladders: Sequence[Ladder] | None,
) -> Critical:
    """One that follows none, or one that has ended; a withdrawal that nobody has heard yet is withdrawn by it."""
    if known is not None and known.ended_at is None:
        return _supersede(conn, item, known, codes, who, at, report_id, ladders)
    return _raise(conn, item, codes, who, at, report_id=report_id, ladders=ladders)


def _supersede(
    conn: Connection,
    item: Row[Any],
    known: Critical,
    codes: Sequence[str],
    who: str,
    at: datetime,
    report_id: str | None,
    ladders: Sequence[Ladder] | None,
) -> Critical:
    _move(conn, known, "corrected", at)
    return _raise(conn, item, codes, who, at, report_id=report_id, supersedes=known, ladders=ladders)


def _joined(
    conn: Connection, known: Critical, codes: Sequence[str], report_id: str | None, who: str, at: datetime
) -> Critical:
    more = [code for code in codes if code not in known.codes]
    if not more and (report_id is None or known.report_id is not None):
        return known
    values: dict[str, Any] = {"codes": [*known.codes, *more]}
    if known.report_id is None and report_id is not None:
        values["report_id"] = report_id
    done = _move(conn, known, "joined", at, **values)
    detail = {"report": report_id, "codes": more}
    audit.record(
        conn, at=at, actor=who, action="join_critical", object_type="critical", object_id=known.id, detail=detail
    )
    return done


def _move(conn: Connection, known: Critical, event: Event, at: datetime, **values: Any) -> Critical:
    state = after(known.state, event)
    if state in ENDED and known.ended_at is None:
        values["ended_at"] = at
        alarms.clear(conn, [OWNER_ALARM], known.id, str(values.get("told_to") or "teleread"), at)
    moved = conn.execute(
        update(criticals)
        .where(criticals.c.id == known.id, criticals.c.state == known.state)
        .values(state=state, **values)
    )
    if moved.rowcount != 1:
        raise Conflict("critical_ended", "Somebody else has just settled this critical value.")
    found = get(conn, known.id)
    assert found is not None
    return found


def _raise_owner_alarm(conn: Connection, known: Critical, at: datetime) -> None:
    alarms.clear(conn, [OWNER_ALARM], known.id, "teleread", at)
    alarms.raise_alarm(
        conn,
        OWNER_ALARM,
        known.id,
        at,
        site_id=known.site_id,
        owner=known.owner,
        detail={"case": known.case_id, "receipt": known.receipt},
    )


def _write_call(conn: Connection, known: Critical, name: str, outcome: str, at: datetime) -> None:
    """The call as a row of its own; telephone tasks of the ladder that waited for one are done."""
    mine = critical_steps.c.critical_id == known.id
    conn.execute(
        update(critical_steps)
        .where(mine, critical_steps.c.channel == "telephone", critical_steps.c.done_at.is_(None))
        .values(done_at=at, outcome="called")
    )
    calls = conn.scalar(select(func.count()).where(mine, critical_steps.c.step >= BY_HAND)) or 0
    values = {"channel": "telephone", "contact": name, "due_at": at, "tried_at": at, "done_at": at, "tries": 1}
    conn.execute(insert(critical_steps).values(critical_id=known.id, step=BY_HAND + calls, outcome=outcome, **values))


def _note_reading(conn: Connection, report_id: str, site_id: str, who: str, at: datetime) -> None:
    """The report that says it has been read with it, where the clinic has it."""
    given = select(deliveries.c.report_id).where(
        deliveries.c.report_id == report_id, deliveries.c.site_id == site_id, deliveries.c.delivered_at.is_not(None)
    )
    if conn.execute(given).first() is not None:
        row = {"report_id": report_id, "site_id": site_id, "read_by": who, "read_at": at}
        insert_missing(conn, acknowledgements, [row], ["report_id"])


def _person_of(conn: Connection, who: str, site_id: str) -> None:
    row = conn.execute(select(accounts).where(accounts.c.name == who)).one_or_none()
    if (
        row is None
        or row.disabled_at is not None
        or row.site_id != site_id
        or agents.is_agent(Account(row.name, row.role, row.site_id))
    ):
        raise AccessDenied("not_a_person", "Only a person of the clinic can say that they have read it.")


def _may_record(conn: Connection, known: Critical, who: str) -> None:
    role = conn.scalar(select(accounts.c.role).where(accounts.c.name == who, accounts.c.disabled_at.is_(None)))
    if role not in _MAY_RECORD and not (role == "reader" and who in {known.found_by, known.owner}):
        raise AccessDenied("critical_not_yours", "This is for the coordinator, or for the reader who found it.")


def _checked(codes: Iterable[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(codes))
    if len(found) > CODES_LIMIT or not all(0 < len(one) <= 96 and one.isascii() and one.isprintable() for one in found):
        raise InputRejected("code_invalid", "What was found is named by codes.")
    return found


def _locked_item(conn: Connection, case_id: str) -> Row[Any] | None:
    query = select(work_items).where(work_items.c.case_id == case_id).order_by(work_items.c.seq.desc()).limit(1)
    return conn.execute(query.with_for_update()).one_or_none()


def _locked(conn: Connection, critical_id: str, site_id: str | None = None) -> Critical:
    known = lock(conn, critical_id)
    if known is None or (site_id is not None and known.site_id != site_id):
        raise Conflict("no_such_critical", "There is no such critical value.")
    return known

"""What a reader says of the program's flags: rejected by one key, confirmed by a statement that says the same.

A verdict is kept for each rule and lead, because the precision of each rule is counted from these rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, select, update

from teleread.errors import InputRejected
from teleread.reading.statements import Lexicon
from teleread.storage import audit
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import flag_verdicts

Word = Literal["rejected", "confirmed"]
REASONS = ("artifact", "not_there", "old", "normal_variant", "other")


@dataclass(frozen=True, slots=True)
class Raised:
    """One thing that the program flagged and a page shows, by however many rules.

    Args:
        rules: rule, its version, and the lead ("" for the whole recording).
    """

    code: str
    rules: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one rule's flag."""

    flag: str
    rule_version: str
    verdict: Word
    reason: str | None
    said_by: str
    said_at: datetime


def key(rule_id: str, lead: str) -> str:
    """What a rule's flag is named by."""
    return f"{rule_id} {lead}".strip()[:96]


def verdicts_of(conn: Connection, case_id: str) -> dict[str, Verdict]:
    """What was said of a case's flags, by :func:`key`."""
    columns = [flag_verdicts.c[name] for name in Verdict.__dataclass_fields__]
    rows = conn.execute(select(*columns).where(flag_verdicts.c.case_id == case_id))
    return {row.flag: Verdict(**row._mapping) for row in rows}


def rejected(raised: Raised, said: Mapping[str, Verdict]) -> bool:
    """Whether a reader has rejected every rule of it."""
    found = [said.get(key(rule, lead)) for rule, _version, lead in raised.rules]
    return all(one is not None and one.verdict == "rejected" for one in found)


def unanswered(
    flags: Iterable[Raised], said: Mapping[str, Verdict], codes: Sequence[str], words: Lexicon
) -> tuple[str, ...]:
    """The flags that a reader has neither rejected nor answered by a statement."""
    return tuple(one.code for one in flags if not rejected(one, said) and not words.answers(one.code, codes))


def say(
    conn: Connection, case_id: str, raised: Raised, verdict: Word, reason: str | None, who: str, at: datetime
) -> None:
    """Keep what a reader says of a flag, in the place of what was said before; the caller has checked the claim.

    Raises:
        InputRejected: ``flag_reason_unknown``.
    """
    if reason is not None and reason not in REASONS:
        raise InputRejected("flag_reason_unknown", "This reason is none of those that can be given.")
    for rule, version, lead in raised.rules:
        values = {"rule_version": version, "verdict": verdict, "reason": reason, "said_by": who, "said_at": at}
        row = {"case_id": case_id, "flag": key(rule, lead)}
        if not insert_missing(conn, flag_verdicts, [row | values], ["case_id", "flag"]):
            this = flag_verdicts.c.case_id == case_id, flag_verdicts.c.flag == row["flag"]
            conn.execute(update(flag_verdicts).where(*this).values(**values))
    audit.record(
        conn,
        at=at,
        actor=who,
        action="flag_verdict",
        object_type="case",
        object_id=case_id,
        detail={"flag": raised.code, "verdict": verdict, "reason": reason},
    )


def take_back(conn: Connection, case_id: str, raised: Raised, who: str, at: datetime) -> None:
    """A reader has rejected a flag by mistake: it stands again."""
    flags = [key(rule, lead) for rule, _version, lead in raised.rules]
    this = flag_verdicts.c.case_id == case_id, flag_verdicts.c.flag.in_(flags)
    conn.execute(flag_verdicts.delete().where(*this))
    detail = {"flag": raised.code, "verdict": None}
    audit.record(conn, at=at, actor=who, action="flag_verdict", object_type="case", object_id=case_id, detail=detail)


def confirm_answered(
    conn: Connection,
    case_id: str,
    flags: Iterable[Raised],
    said: Mapping[str, Verdict],
    codes: Sequence[str],
    words: Lexicon,
    who: str,
    at: datetime,
) -> None:
    """At signing: a flag that a statement answers is confirmed, unless it was rejected."""
    for one in flags:
        known = [said.get(key(rule, lead)) for rule, _version, lead in one.rules]
        if words.answers(one.code, codes) and not any(known):
            say(conn, case_id, one, "confirmed", None, who, at)

"""What Hypothesis makes of arrivals, claims, raises and time keeps every promise of the queue; broken ones are seen."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from teleread.reading import claims, escalation, queue, timers
from teleread.storage.catalogue.schema import work_items
from tests.prove import claims_machine


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/db/catalogue.sqlite"


def test_random_steps_keep_every_promise(url: str) -> None:
    claims_machine.run(url, 3, seed=1)


def _any_token(conn: Connection, item_id: str, who: str, fence: int, at: datetime) -> Any:
    return conn.execute(select(work_items).where(work_items.c.id == item_id)).one()


def _raised_without_steps(*_args: Any, **_more: Any) -> None:
    """As if a raised case kept the steps that it had."""


def _told_by_nobody(_kind: str, **_more: Any) -> None:
    """As if nothing ever were to be done."""


_decide, _take_due = escalation.decide, timers.take_due


def _late_is_told_of_what_waits_alone(kind: str, *, state: str, **more: Any) -> Any:
    """As if nobody were told at 80 % of what a reader has in hand and left."""
    return None if kind == "late" and state == "IN PROGRESS" else _decide(kind, state=state, **more)


def _one_late_alarm_skipped(kind: str, *, pool: str | None, **more: Any) -> Any:
    """As if one pool's lead were never told."""
    return None if kind == "late" and pool == "night" else _decide(kind, pool=pool, **more)


def _late_two_minutes_late(conn: Connection, at: datetime, **more: Any) -> Any:
    """As if 80 % were looked at less often."""
    return _take_due(conn, at - timedelta(minutes=2) if more["kinds"] == ["late"] else at, **more)


def _late_a_minute_early(conn: Connection, at: datetime, **more: Any) -> Any:
    """As if somebody were told before 80 % of the limit are over."""
    return _take_due(conn, at + timedelta(minutes=1) if more["kinds"] == ["late"] else at, **more)


@pytest.mark.parametrize(
    ("where", "name", "twin"),
    [
        (claims, "check", _any_token),
        (queue, "_begin_again", _raised_without_steps),
        (escalation, "decide", _told_by_nobody),
        (queue, "band_of", lambda _priority: 1),
        (escalation, "decide", _late_is_told_of_what_waits_alone),
        (escalation, "decide", _one_late_alarm_skipped),
        (timers, "take_due", _late_two_minutes_late),
        (timers, "take_due", _late_a_minute_early),
    ],
    ids=[
        "any token",
        "raised without steps",
        "no alarm",
        "urgent among the others",
        "80 % of what is read untold",
        "80 % of one pool untold",
        "80 % told late",
        "80 % told early",
    ],
)
def test_a_broken_twin_is_caught(url: str, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, twin: Any) -> None:
    monkeypatch.setattr(where, name, twin)
    with pytest.raises(AssertionError):
        claims_machine.run(url, 200, seed=2, shortest=False)

"""What Hypothesis makes of arrivals, claims, raises and time keeps every promise of the queue; broken ones are seen."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from teleread.reading import claims, escalation, queue
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


@pytest.mark.parametrize(
    ("where", "name", "twin"),
    [
        (claims, "check", _any_token),
        (queue, "_begin_again", _raised_without_steps),
        (escalation, "decide", _told_by_nobody),
        (queue, "band_of", lambda _priority: 1),
    ],
    ids=["any token", "raised without steps", "no alarm", "urgent among the others"],
)
def test_a_broken_twin_is_caught(url: str, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, twin: Any) -> None:
    monkeypatch.setattr(where, name, twin)
    with pytest.raises(AssertionError):
        claims_machine.run(url, 200, seed=2, shortest=False)

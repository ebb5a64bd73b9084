"""Claimers that pause and die never own a case together, and the checker that says so sees it when they do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from teleread.errors import Conflict
from teleread.reading import claims
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.schema import work_items
from tests.prove.claims import BEGAN, Claimer, Trial, run


@pytest.fixture
def trial(tmp_path: Path) -> Callable[[int], Trial]:
    return lambda kills: Trial(f"sqlite:///{tmp_path}/db/c.sqlite", tmp_path, 5, 30, kills, seed=7)


def test_claimers_that_pause_and_are_killed_never_own_a_case_together(trial: Callable[[int], Trial]) -> None:
    assert run(trial(5)) == []


def _any_token(conn: Connection, item_id: str, who: str, fence: int, at: datetime) -> Any:
    """As if only the name were looked at."""
    return conn.execute(select(work_items).where(work_items.c.id == item_id)).one()


def _late_token(conn: Connection, item_id: str, who: str, fence: int, at: datetime) -> Any:
    """As if a lease that has run out held until somebody ends it."""
    return HONEST_CHECK(conn, item_id, who, fence, BEGAN)


def _refuses_all(conn: Connection, item_id: str, who: str, fence: int, at: datetime) -> Any:
    """As if a lease ended before its time, for the one who has it alone."""
    item = HONEST_CHECK(conn, item_id, who, fence, at)
    if item.seq == 1:
        raise Conflict("claim_lost", "")
    return item


def _gives_twice(conn: Connection, reach: claims.Reach, at: datetime) -> claims.Claim | None:
    """As if whoever reads a case did not count."""
    row = conn.execute(select(work_items).where(work_items.c.state == "IN PROGRESS").limit(1)).one_or_none()
    if row is None:
        return HONEST_NEXT(conn, reach, at)
    return claims.Claim(row.id, row.case_id, row.fence, row.lease_until)


def _ends_early(conn: Connection, at: datetime, limit: int = 64) -> list[str]:
    """As if no lease lasted."""
    conn.execute(update(work_items).where(work_items.c.state == "IN PROGRESS").values(lease_until=at))
    return HONEST_EXPIRE(conn, at, limit)


HONEST_CHECK, HONEST_NEXT, HONEST_EXPIRE = claims.check, claims.claim_next, claims.expire


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("check", _any_token),
        ("check", _late_token),
        ("check", _refuses_all),
        ("claim_next", _gives_twice),
        ("expire", _ends_early),
    ],
)
def test_a_broken_twin_is_caught(
    trial: Callable[[int], Trial], monkeypatch: pytest.MonkeyPatch, name: str, twin: Any
) -> None:
    class Bold(Claimer):
        """Ends what others read, as soon as it has lost a token; often sits before a case for longer than it holds."""

        def _work(self, mine: claims.Claim) -> None:
            if self._random.random() < 0.2:
                self._time.pass_by(1200)
                self._sign(mine, stale=False)
            super()._work(mine)
            if self._lost:
                others = schema.work_items.c.claimed_by != self._who
                self._sign(self._moved_to(self._random.choice(self._lost), others), stale=True)

    monkeypatch.setattr(claims, name, twin)
    assert run(trial(0), Bold)

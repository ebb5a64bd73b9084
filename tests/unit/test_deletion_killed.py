"""A deletion ends the same wherever it was interrupted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import MetaData, func, select

from teleread.pipeline import deletion
from teleread.pipeline.deletion import begin, resume, run
from teleread.pipeline.reconcile import reconcile
from teleread.pipeline.services import Services
from teleread.storage.catalogue import schema
from tests.unit.deleting import LAW, WHO, due, identity, mentions  # noqa: F401


class Killed(BaseException):
    """Ends a step as a kill does: nothing catches it."""


def state(services: Services) -> dict[str, Any]:
    """What is left, without times and numbers."""
    skip = {"audit_unsealed", "swept_objects"}
    with services.catalogue.read() as conn:
        found = MetaData()
        found.reflect(conn)
        counts = {
            name: conn.scalar(select(func.count()).select_from(table))
            for name, table in found.tables.items()
            if name not in skip
        }
        gone = conn.scalar(select(func.count()).where(schema.swept_objects.c.gone.is_(False)))
        facts = [
            (row.state, row.facts["counts"], [one["key"] for one in row.facts["objects"]], row.facts["shared"])
            for row in conn.execute(select(schema.deletions).order_by(schema.deletions.c.pseudonym))
        ]
    return {
        "counts": counts,
        "condemned": gone,
        "facts": facts,
        "keys": [re.sub("certificates/[0-9a-f]+", "certificates", info.key) for info in services.store.blobs.list()],
    }


def test_a_deletion_killed_at_any_step_ends_the_same(services: Services, due: dict[str, str]) -> None:
    (identifier,) = begin(services, due["ecg"], LAW, who=WHO, reason="over")
    kills = 0
    # each run ends one step later than the one before: every step is killed once, with all before it done or redone
    while True:
        seen = 0

        def step(_name: str, at: int = kills) -> None:
            nonlocal seen
            seen += 1
            if seen > at:
                raise Killed

        try:
            run(services, identifier, step=step)
            break
        except Killed:
            kills += 1
    killed = state(services)
    assert kills > 5
    assert mentions(services, due["ecg"]) == {"deletions", "audit_events"}
    assert identity(services, due["ecg"]) is None
    assert killed["condemned"] == 0
    assert reconcile(services, repair=False).left == 0
    assert resume(services) == {}
    assert run(services, identifier) == "forgotten"
    assert state(services)["facts"] == killed["facts"]


@pytest.mark.parametrize("number", [1, 4, 7, 11])
def test_a_deletion_killed_once_is_finished_by_the_next_round(
    services: Services, due: dict[str, str], number: int
) -> None:
    left = number

    def step(_name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    (identifier,) = begin(services, due["ecg"], LAW, who=WHO, reason="over")
    try:
        run(services, identifier, step=step)
    except Killed:
        assert resume(services) == {identifier: "forgotten"}
    assert mentions(services, due["ecg"]) == {"deletions", "audit_events"}
    assert identity(services, due["ecg"]) is None
    (row,) = state(services)["facts"]
    assert row[0] == "forgotten"
    assert row[1]["studies"] == 1
    assert not [key for key in state(services)["keys"] if key.startswith("derived") and key in row[2]]


def test_a_deletion_that_condemns_after_its_rows_are_gone_is_caught(
    services: Services, due: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: killed between the two, it never finds the objects again."""
    real = deletion.remove_study

    def rows_only(conn: Any, *more: Any) -> None:
        monkeypatch.setattr(deletion.sweeping, "condemn", lambda *_: [])
        real(conn, *more)
        monkeypatch.undo()

    monkeypatch.setattr(deletion, "remove_study", rows_only)
    (identifier,) = begin(services, due["ecg"], LAW, who=WHO, reason="over")

    def step(name: str) -> None:
        if name == "study_removed":
            raise Killed

    with pytest.raises(Killed):
        run(services, identifier, step=step)
    resume(services)
    raw = [key for key in state(services)["keys"] if key.startswith("raw/")]
    assert len(raw) == 2  # the harness sees what should have gone

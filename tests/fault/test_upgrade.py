"""During an upgrade the version before goes on running on the new schema; afterwards nothing of it is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import func, select

from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.services import Services
from teleread.reading.reports import reports_of
from teleread.reading.worklist import list_items
from teleread.storage.catalogue.schema import arrivals, studies, work_items
from tests.fault.forge import Forge
from tests.fault.upgrade import Day, NoHistory, commit_before, drop_what_the_old_writes, kept, old_day, unpack_before
from tests.fault.world import Clock, DatabaseKind, Ground, StoreKind, World, bring_up_to_date, open_services

Grounds = Callable[[StoreKind, DatabaseKind], Ground]
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.peers)]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        commit_before()
    except NoHistory as reason:
        pytest.skip(f"no version before: {reason}")
    return unpack_before(tmp_path_factory.mktemp("old"))


@pytest.fixture
def world(grounds: Grounds, request: pytest.FixtureRequest) -> Iterator[World]:
    """A world whose databases are up to date, and whose vault the new code has not used yet."""
    with grounds("files", cast(DatabaseKind, request.param)).empty_world() as fresh:
        bring_up_to_date(fresh, use=False)
        yield fresh


@pytest.fixture
def empty(grounds: Grounds, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world whose databases have no tables yet."""
    with grounds("files", cast(DatabaseKind, request.param)).empty_world() as fresh:
        yield fresh


@pytest.mark.parametrize("world", DATABASES, indirect=True)
def test_the_version_before_works_a_day_on_the_new_schema(old: Path, world: World) -> None:
    day = old_day(old, world, migrate=False)
    assert day.error == ""
    after_the_upgrade(world, day)


@pytest.mark.parametrize("empty", DATABASES, indirect=True)
def test_nothing_of_the_version_before_is_lost_by_the_upgrade(old: Path, empty: World) -> None:
    day = old_day(old, empty, migrate=True)
    assert day.error == ""
    before = kept(empty)
    bring_up_to_date(empty)
    assert kept(empty) == before
    after_the_upgrade(empty, day)


@pytest.mark.parametrize("world", DATABASES, indirect=True)
def test_a_migration_that_contracts_first_is_caught(old: Path, world: World) -> None:
    """The broken twin."""
    drop_what_the_old_writes(world)
    assert "quality_findings" in old_day(old, world, migrate=False).error


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_old_and_new_work_on_one_database_at_once(old: Path, world: World, running_forge: Forge) -> None:
    ended = running_forge.run("first_run", world=world.as_json(), numbered=False)
    assert ended.exit == 0, ended.lines
    landed = ended.acknowledged
    day = old_day(old, world, migrate=False)
    # the same bytes of the same site: the same arrival, whoever took it
    assert day.error == ""
    assert {name: landed[name] for name in day.arrivals} == day.arrivals
    with sqlite3.connect(f"{world.home}/catalogue.db") as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT id) FROM arrivals").fetchone() == (5, 5)
    connection.close()


def after_the_upgrade(world: World, day: Day) -> None:
    """The new code finds everything, knows who the patients are, and doubles nothing."""
    bring_up_to_date(world)  # also whatever the old code has written since
    services = open_services(world, make_pool=cast(Any, None), clock=Clock())
    try:
        with services.catalogue.read() as conn:
            held = set(conn.execute(select(arrivals.c.id)).scalars())
            assert set(day.arrivals.values()) <= held
            assert set(day.listed) == {item.case_id for item in list_items(conn)}
            assert [report.id for report in reports_of(conn, day.arrivals["ecg"])] == [day.report]
            items = conn.execute(select(func.count()).select_from(work_items)).scalar_one()
        for arrival_id in day.arrivals.values():
            enqueue(services, arrival_id)
        with services.catalogue.read() as conn:
            assert conn.execute(select(func.count()).select_from(work_items)).scalar_one() == items
        assert who(services) == {"F-100", "F-200"}
    finally:
        services.close()


def who(services: Services) -> set[str]:
    """Identifiers of the patients of all studies, joined by the new code."""
    with services.catalogue.read() as conn:
        pseudonyms = list(conn.execute(select(studies.c.patient_pseudonym).distinct()).scalars())
    joined = services.vault.join(pseudonyms, who="test", why="test", case_ids=[], at=datetime(2026, 11, 2, tzinfo=UTC))
    assert set(joined) == set(pseudonyms)
    return {identity.patient_id for identity in joined.values()}

"""SIGKILL of the agent while it takes and sends recordings. ``make prove`` dies at every step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals
from tests.prove.lines_agent import TWINS, AgentDeaths
from tests.ui.live import Web, running

Deaths = Callable[[str], AgentDeaths]


@pytest.fixture
def deaths(services: Services) -> Iterator[Deaths]:
    def landed() -> list[tuple[str, str, str]]:
        with services.catalogue.read() as conn:
            columns = (arrivals.c.sha256, arrivals.c.clinic_priority, arrivals.c.receipt)
            return [(row.sha256, row.clinic_priority, row.receipt) for row in conn.execute(select(*columns))]

    def begin(web: Web, twin: str) -> AgentDeaths:
        with web.signed_in("nurse") as nurse:
            return AgentDeaths(web.address, nurse.cookies["teleread_session"], landed, twin)

    with running(services) as web:
        yield lambda twin: begin(web, twin)


def test_an_agent_that_dies_at_any_step_loses_and_doubles_nothing(deaths: Deaths) -> None:
    agents = deaths("")
    assert {"before fsync", "after unlink", "before getresponse", "after send"} <= set(agents.steps)
    for step in random.Random(7).sample(range(1, len(agents.steps) + 1), 12):
        agents.die_at(step, step)


@pytest.mark.parametrize("twin", TWINS)
def test_a_broken_agent_is_caught(deaths: Deaths, twin: str) -> None:
    agents = deaths(twin)
    caught = 0
    # some step between the two halves of what the twin does the wrong way round
    near = {TWINS[0]: "before mkdir", TWINS[1]: "after replace", TWINS[2]: "after unlink"}[twin]
    steps = [number for number, name in enumerate(agents.steps, 1) if name == near]
    for step in steps[:: max(1, len(steps) // 8)]:
        try:
            agents.die_at(step, step)
        except AssertionError:
            caught += 1
            break
    assert caught

"""SIGKILL while files arrive by upload. ``make prove`` dies at every step."""

from __future__ import annotations

import pytest

from tests.fault.forge import Forge
from tests.fault.sweep import some
from tests.fault.world import Ground
from tests.prove.lines_server import UploadDeaths


def test_a_death_at_any_step_of_an_upload_loses_and_doubles_nothing(running_forge: Forge, embedded: Ground) -> None:
    deaths = UploadDeaths(running_forge, embedded)
    assert {"before fsync", "after path.unlink", "before commit", "before path.replace"} <= set(deaths.steps)
    for step in some(len(deaths.steps), 25, "uploads"):
        deaths.die_at(step)


@pytest.mark.parametrize("twin", ["a receipt before landing", "another hash for each try"])
def test_a_broken_twin_is_caught(running_forge: Forge, embedded: Ground, twin: str) -> None:
    deaths = UploadDeaths(running_forge, embedded, twin)
    caught = 0
    for step in some(len(deaths.steps), 8, twin):
        try:
            deaths.die_at(step)
        except AssertionError:
            caught += 1
    assert caught

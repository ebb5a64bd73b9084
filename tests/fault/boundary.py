"""A process that meets one fault at the clients' boundary, reports it, and goes on when it is over."""

from __future__ import annotations

import sqlite3
from functools import cached_property
from typing import Any

from tests.fault.forge import Forge
from tests.fault.outside import judge
from tests.fault.sweep import Sweep
from tests.fault.world import Ground, World


class Boundary:
    """One combination; see ``tests.fault.faults`` for the faults."""

    def __init__(self, forge: Forge, ground: Ground, twin: str = "") -> None:
        self.forge, self.ground, self.twin = forge, ground, twin
        # the product's own end is the measure for a twin too
        self.sweep = Sweep(forge, ground)

    @cached_property
    def requests(self) -> int:
        """How many requests a run makes."""
        return self.sweep.steps.count("before request")

    @property
    def statements(self) -> int:
        return self.sweep.steps.count("statement")

    @property
    def commits(self) -> int:
        return self.sweep.steps.count("before commit")

    def fail(self, **fault: Any) -> list[str]:
        """Meet the fault; returns the codes that came out, and what was logged.

        Raises:
            Caught: a bare exception, a hang, no recovery, or another state than without the fault.
        """
        about = str(fault)
        with self.ground.world() as world:
            if fault["fault"] == "pages":
                _small_pages(world)
            first = self.forge.run("stubborn_run", world=world.as_json(), patience=4, twin=self.twin, **fault)
            judge(first, about)
            self.sweep.compare(self.sweep.go_on(world, first), about)
            slowest = max(first.said("seconds"), default=0.0)
            assert slowest < 30, f"{about}: an answer took {slowest:.0f} s"
            return [str(code) for code in (*first.said("error"), *first.said("logged"))]


def _small_pages(world: World) -> None:
    """With pages of 512 bytes a few rows need a new one."""
    for name in ("catalogue", "vault"):
        connection = sqlite3.connect(f"{world.home}/{name}.db", isolation_level=None)
        for statement in ("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 512", "VACUUM"):
            connection.execute(statement)
        connection.close()

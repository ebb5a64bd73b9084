"""The lead hospital's process dies at every step of an upload: what it promised is there, once, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fault.forge import Forge, forge
from tests.fault.uploads import expected
from tests.fault.world import Ground, ground
from tests.prove.faults import Counted


class UploadDeaths:
    """Deaths of one combination of store and database.

    Args:
        twin: a broken twin's name, instead of the product.
    """

    def __init__(self, running: Forge, on: Ground, twin: str = "") -> None:
        self._forge, self._ground, self._twin = running, on, twin
        with on.world() as world:
            clean = running.run("upload_run", world=world.as_json(), numbered=True)
            assert clean.exit == 0, clean.lines
            self.steps: list[str] = clean.said("steps")[0]

    def die_at(self, step: int) -> None:
        """Die at a step (from 1), start again, send again, and look.

        Raises:
            AssertionError: a receipt that came out names nothing, or something is lost, doubled or left behind.
        """
        about = f"step {step}, {self.steps[step - 1]}"
        with self._ground.world() as world:
            first = self._run(world, numbered=True, die_at=step)
            assert first.killed, f"{about}: not killed: {first.lines[-1:]}"
            second = self._run(world, numbered=False)
            assert second.exit == 0, f"{about}: {second.lines[-1:]}"
            state = second.said("state")[0]
        promised = {receipt for _, receipt in (*first.said("receipt"), *second.said("receipt"))}
        assert [tuple(row) for row in state["arrivals"]] == sorted(expected().items()), f"{about}: lost or doubled"
        assert promised == set(state["receipts"]), f"{about}: a receipt that names nothing"
        assert (state["wrong"], state["left"]) == ([], 0), f"{about}: {state}"

    def _run(self, world: Any, **options: Any) -> Any:
        return self._forge.run("upload_run", world=world.as_json(), twin=self._twin, **options)


@contextmanager
def upload_deaths() -> Iterator[Counted]:
    """Every numbered step of the spool, of landing and of the databases, on files and SQLite."""
    with forge() as running, ground() as on:
        deaths = UploadDeaths(running, on)
        yield Counted(len(deaths.steps), lambda number: deaths.die_at(number + 1))

"""Dying at every step and going on, and whether anything was lost, doubled or half seen on the way."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.fault.forge import Ended, Forge
from tests.fault.world import Ground, World


class Caught(AssertionError):
    """A promise that did not hold.

    Args:
        kind: which check saw it: one of ``look``'s problems, ``other_state``, ``not_killed``, ``bare_exception``,
            ``hang`` or ``second_run_failed``.
        about: where.
    """

    def __init__(self, kind: str, about: str) -> None:
        super().__init__(f"{kind}: {about}")
        self.kind = kind


@dataclass
class Tally:
    """What many deaths gave."""

    deaths: int = 0
    acknowledged: int = 0
    caught: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, caught: Caught) -> None:
        self.caught[caught.kind] += 1
        self.first.setdefault(caught.kind, str(caught))


class Sweep:
    """One combination of store and database, and the state that a run without any fault reaches.

    Args:
        twin: a broken twin's name, instead of the product; the product's end is the measure for it too.
    """

    def __init__(self, forge: Forge, ground: Ground, twin: str = "") -> None:
        self.forge, self.ground, self.twin = forge, ground, twin

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """Names of all steps of a run that nobody disturbs."""
        return tuple(self._clean[0])

    @cached_property
    def expected(self) -> str:
        """The state's hash after such a run."""
        return self._clean[1]

    @property
    def seconds(self) -> float:
        """How long such a run takes."""
        return self._clean[2]

    @cached_property
    def _clean(self) -> tuple[list[str], str, float]:
        with self.ground.world() as world:
            first = self.forge.run("first_run", world=world.as_json())
            assert first.exit == 0, first.lines
            return first.said("steps")[0], self.go_on(world, first, twin=""), first.seconds

    def die_at(self, step: int) -> int:
        """Die at the step, look, go on, look again; returns how many receipts had come out.

        Raises:
            Caught: something was lost, doubled, half seen, or ended otherwise than without the death.
        """
        with self.ground.world() as world:
            first = self.forge.run("first_run", world=world.as_json(), die_at=step, twin=self.twin)
            if not first.killed:
                raise Caught("not_killed", f"step {step}: {first.lines[-1:]}")
            name = self.steps[step - 1] if step <= len(self.steps) else "?"
            self.compare(self.go_on(world, first), f"step {step}, {name}")
            return len(first.acknowledged)

    def go_on(self, world: World, first: Ended, *, twin: str | None = None) -> str:
        """A second process looks, finishes and looks again; returns the state's hash."""
        twin = self.twin if twin is None else twin
        second = self.forge.run("second_run", world=world.as_json(), acknowledged=first.acknowledged, twin=twin)
        for when in ("before", "after"):
            for found in second.said(when):
                for kind, about in found["problems"]:
                    raise Caught(kind, f"{when} the second run: {about}")
        if second.exit or not second.said("after"):
            raise Caught("hang" if second.hung else "second_run_failed", str(second.lines[-1:]))
        return str(second.said("after")[0]["hash"])

    def compare(self, reached: str, about: str) -> None:
        """Raise when another state was reached than without any fault."""
        if reached != self.expected:
            raise Caught("other_state", about)

    def all(self, steps: Iterable[int]) -> Tally:
        """Die at each of the steps, and count."""
        tally = Tally()
        for step in steps:
            tally.deaths += 1
            try:
                tally.acknowledged += self.die_at(step)
            except Caught as caught:
                tally.add(caught)
        return tally


def some(total: int, count: int, seed: Any) -> list[int]:
    """A seeded sample of the numbers 1 to total, in ascending order."""
    return sorted(random.Random(str(seed)).sample(range(1, total + 1), min(count, total)))

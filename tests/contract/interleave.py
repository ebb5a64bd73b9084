"""Every order in which the steps of a few actors can follow each other, run one after the other.

An actor is a function that calls ``turn()`` before each of its steps. It runs in a thread of its own, but only one
runs at a time, so a run depends on the order of the turns alone. All orders are tried, also where what one actor does
decides how many steps another one needs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

Turn = Callable[[], None]
_PATIENCE_S = 60.0


class _Actor:
    def __init__(self, act: Callable[[Turn], None]) -> None:
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._act = act
        self.failure: BaseException | None = None
        self.ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._wait()

    def _run(self) -> None:
        try:
            self._act(self._turn)
        except BaseException as failure:  # noqa: BLE001 -- raised again in the test's own thread
            self.failure = failure
        self.ended = True
        self._back.release()

    def _turn(self) -> None:
        self._back.release()
        assert self._go.acquire(timeout=_PATIENCE_S)

    def _wait(self) -> None:
        assert self._back.acquire(timeout=_PATIENCE_S), "an actor does not come to its next step"

    def step(self) -> None:
        self._go.release()
        self._wait()
        if self.failure is not None:
            raise self.failure


def every_order(start: Callable[[], Mapping[str, Callable[[Turn], None]]], check: Callable[[str], None]) -> int:
    """Run all orders and return how many there were.

    Args:
        start: makes a fresh situation and returns its actors by name.
        check: called after each run with its order, the actors' first letters.
    """
    waiting, runs = [[]], 0  # type: list[list[str]], int
    while waiting:
        chosen = waiting.pop()
        order = list(chosen)
        actors = {name: _Actor(act) for name, act in start().items()}
        at = 0
        while ready := [name for name, actor in actors.items() if not actor.ended]:
            if at == len(order):
                waiting += [[*order, other] for other in ready[1:]]
                order.append(ready[0])
            actors[order[at]].step()
            at += 1
        check("".join(name[0] for name in order))
        runs += 1
    return runs

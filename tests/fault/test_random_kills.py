from __future__ import annotations

from collections import Counter

from tests.fault.forge import Forge
from tests.fault.kills import kill_once
from tests.fault.sweep import Caught, Sweep
from tests.fault.world import Ground


def test_nothing_acknowledged_is_lost_or_doubled_by_a_kill(running_forge: Forge, embedded: Ground) -> None:
    sweep = Sweep(running_forge, embedded)
    ends = [kill_once(sweep, seed) for seed in range(20)]
    assert sum(killed for killed, _ in ends) >= 10
    assert sum(receipts for _, receipts in ends) >= 10


def test_a_service_that_acknowledges_first_is_caught(running_forge: Forge, embedded: Ground) -> None:
    """The broken twin."""
    sweep = Sweep(running_forge, embedded, "receipt first")
    caught: Counter[str] = Counter()
    for seed in range(60):
        try:
            kill_once(sweep, seed)
        except Caught as found:
            caught[found.kind] += 1
            if found.kind == "lost":
                return
    raise AssertionError(f"the harness did not notice that acknowledged arrivals were lost: {caught}")

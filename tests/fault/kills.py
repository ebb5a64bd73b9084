"""Kill a process that lands, prepares and queues at a random moment, and look whether what it acknowledged is there.

A kill costs a fork of a process that has imported everything, a world copied from a template, and a second run; not
the seconds of a Python start and of a migration.
"""

from __future__ import annotations

import random

from tests.fault.sweep import Sweep


def kill_once(sweep: Sweep, seed: int) -> tuple[bool, int]:
    """Kill the scenario at a moment that the seed chooses, go on and compare.

    Returns:
        whether the kill came before the end, and how many receipts had come out.

    Raises:
        Caught: as :meth:`Sweep.die_at`.
    """
    moment = random.Random(seed).uniform(0.0, sweep.seconds)
    with sweep.ground.world() as world:
        sweep.forge.begin("first_run", world=world.as_json(), numbered=False, twin=sweep.twin)
        first = sweep.forge.finish(kill_after_s=moment)
        sweep.compare(sweep.go_on(world, first), f"kill {seed} after {moment:.3f} s")
        return first.killed, len(first.acknowledged)

from __future__ import annotations

from pathlib import Path

from tests.fault.kills import Tally, kill_once


def test_nothing_acknowledged_is_lost_or_doubled_by_a_kill(tmp_path: Path) -> None:
    tally = Tally()
    for seed in range(8):
        kill_once(tmp_path, seed, tally)
    assert tally.acknowledged >= 8
    assert (tally.lost, tally.doubled, tally.torn) == (0, 0, 0)


def test_a_service_that_acknowledges_first_is_caught(tmp_path: Path) -> None:
    """The broken twin."""
    tally = Tally()
    for seed in range(20):
        kill_once(tmp_path, seed, tally, broken=True)
        if tally.lost:
            return
    raise AssertionError("the harness did not notice that acknowledged arrivals were lost")

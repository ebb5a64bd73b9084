"""A day without a line, with kills of both processes. ``make prove`` tells it with 500 ECGs and 100 kills."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prove.lines_outage import Day, compare, live_through

SMALL = Day(ecgs=25, studies=2, kills=6, study_bytes=300_000, bytes_per_s=200e3)


def test_what_was_held_through_an_outage_arrives_once_and_urgent_first(tmp_path: Path) -> None:
    told = live_through(SMALL, tmp_path, 3)
    assert told["recordings"] == 27


@pytest.mark.parametrize(
    ("rows", "receipts", "words"),
    [
        ([("a", "urgent", "1")], {"1"}, "lost"),
        ([("a", "urgent", "1"), ("b", "routine", "2"), ("b", "routine", "3")], {"1", "2", "3"}, "doubled"),
        ([("a", "urgent", "1"), ("b", "routine", "2")], {"1", "4"}, "receipt"),
        ([("b", "routine", "2"), ("a", "urgent", "1")], {"1", "2"}, "behind"),
        ([("a", "routine", "1"), ("b", "routine", "2")], {"1", "2"}, "lost"),
    ],
)
def test_what_is_wrong_is_seen(rows: list[tuple[str, str, str]], receipts: set[str], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        compare({"a": "urgent", "b": "routine"}, rows, receipts)

"""Proofs about the reading room's rules."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar

from teleread.reading.coverage import gaps
from teleread.reading.eligibility import who_is_on_duty
from teleread.reading_room import Licence, Pool, ReadingRoom, Route, Shift
from tests.unit.test_reading_coverage import minute_by_minute, minutes

_T = TypeVar("_T")

READERS = ("li", "chen", "wang")
AHEAD = timedelta(hours=72)
MINUTE = timedelta(minutes=1)


@contextmanager
def hours_without_a_reader() -> Iterator[Callable[[int], None]]:
    """The gaps of the coming 72 h are those of a count minute by minute, whatever the roster."""

    def prove(number: int) -> None:
        chance = random.Random(number)
        room = a_room(chance)
        at = datetime(2026, 12, 26, tzinfo=UTC) + chance.randrange(7 * 1440) * MINUTE  # over the end of the year
        found = gaps(room, at, READERS, AHEAD)
        told = list(minutes(found))
        assert len(told) == len(set(told)), number
        assert set(told) == minute_by_minute(room, at, READERS, AHEAD // MINUTE), number
        for pool, minute in chance.sample(told, min(20, len(told))):
            assert who_is_on_duty(room, pool, minute, READERS) == (), (number, pool, minute)

    yield prove


def a_room(chance: random.Random) -> ReadingRoom:
    """Rules at random: some pools, some days, some that end meanwhile."""
    names = ("ecg", "imaging", "night")

    def some(values: Sequence[_T]) -> _T:
        return chance.choice(values)

    def times() -> dict[str, date | None]:
        first = date(2026, 12, 20) + timedelta(days=chance.randrange(16))
        return {
            "valid_from": some((date(2026, 1, 1), first)),
            "valid_to": some((None, None, first + timedelta(days=chance.randrange(1, 9)))),
        }

    def minute() -> time:
        return some((time(0), time(8), time(20), time(chance.randrange(24), chance.randrange(60))))

    pools = tuple(Pool(name, name, name, date(2026, 1, 1), overflow=some(("", "", "night"))) for name in names[:2])
    modalities = ((), ("ECG", "OT"), ("CT",), ("CT", "MR"))
    return ReadingRoom(
        pools=(*pools, Pool("night", "night", "night", date(2026, 1, 1))),
        routes=tuple(
            Route(f"r{k}", some(names), **times(), modality=some(modalities), age_from_years=some((None, None, 14.0)))  # type: ignore[arg-type]
            for k in range(chance.randrange(5))
        ),
        licences=tuple(
            Licence(
                some((*READERS, "gone")),
                **times(),  # type: ignore[arg-type]
                modality=some(((), (), ("ECG",), ("CT",), ("MR",))),
                pool=some(((), (), ("ecg",), ("night", "imaging"))),
                age_from_years=some((None, None, 14.0)),
            )
            for _ in range(some((0, 4, 8)))
        ),
        shifts=tuple(
            Shift(
                f"s{k}",
                some((*READERS, "gone")),
                **times(),  # type: ignore[arg-type]
                pool=some(names),
                days=some(((1, 2, 3, 4, 5, 6, 7), tuple(chance.sample(range(1, 8), chance.randrange(1, 7))))),
                begins=minute(),
                ends=minute(),
                role=some(("reader", "reader", "reader", "coordinator")),
            )
            for k in range(some((0, 3, 9)))
        ),
        utc_offset_minutes=some((480, 345, 0, -570, 765)),
    )

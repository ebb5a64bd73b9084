"""Names and moments of people as files store them in parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, tzinfo


def full_name(given: Iterable[str | None], family: Iterable[str | None]) -> str | None:
    """A name for reading: ``Clara Schumann``, but ``张三``, family name first and joined; None when empty."""
    first, last = [part for part in given if part], [part for part in family if part]
    if any("\u3040" <= c <= "\u9fff" for part in (*first, *last) for c in part):
        return "".join((*last, *first))
    return " ".join((*first, *last)) or None


def utc(day: Sequence[int], clock: Sequence[int], zone: tzinfo, microsecond: int = 0) -> datetime | None:
    """The moment in UTC of (year, month, day) and (hour, minute, second) in ``zone``; None when there is no such."""
    try:
        local = datetime(day[0], day[1], day[2], clock[0], clock[1], clock[2], microsecond, zone)
        return local.astimezone(UTC) if local.year >= 1900 else None
    except (ValueError, OverflowError):
        return None


def age_on(stated: float | None, born: date | None, acquired_at: datetime | None) -> float | None:
    """The age as stated, else from the date of birth; None when neither is possible."""
    if stated is None and born is not None and acquired_at is not None:
        stated = (acquired_at.date() - born).days / 365.25
    return stated if stated is not None and 0 <= stated <= 150 else None

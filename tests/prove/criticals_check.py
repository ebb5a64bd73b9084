"""What must hold of every critical value's rows when its ladder is over. Pure: rows in, faults out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from teleread.reading.critical_ladder import Ladder
from teleread.reading.critical_state import BY_HAND, Critical, Told

WITHIN = timedelta(seconds=5)
"""Of its time: the bar for each step, and for the first alert."""


def faults(
    one: Critical,
    told: Sequence[Told],
    ladder: Ladder,
    now: datetime,
    people: Collection[str],
    site_people: Mapping[str, Collection[str]],
) -> list[str]:
    """What is wrong with a critical value; nothing when all holds.

    Args:
        now: not before the end of its ladder, with the bar.
        people: names that may own one: accounts and contacts.
        site_people: names that may have heard, by site.
    """
    found = [*_end(one, now, ladder, people, site_people), *_first_alert(one, told)]
    last = one.ended_at or now
    for number, step in enumerate(ladder.steps):
        due = one.found_at + step.after
        rows = [row for row in told if row.step == number]
        if due + WITHIN > last:
            continue  # it ended before, or while this step was due
        if not rows:
            found.append(f"step {number} was never taken")
        for row in rows:
            found += _step(row, due, last)
    return [f"{one.id}: {text}" for text in found]


def _end(
    one: Critical, now: datetime, ladder: Ladder, people: Collection[str], site_people: Mapping[str, Collection[str]]
) -> Iterable[str]:
    if one.state == "acknowledged":
        if not one.told_to or one.told_at is None or one.told_how is None or one.recorded_by is None:
            yield "acknowledged, and the six facts are not whole"
        elif one.told_how == "page" and one.told_to not in site_people[one.site_id]:
            yield f"acknowledged by {one.told_to}, who is nobody of the site"
        elif one.told_how == "telephone" and not one.read_back:
            yield "acknowledged by telephone without a read-back"
    elif one.state == "owned":
        if one.owner not in people or one.owned_at is None:
            yield f"owned by {one.owner}, who is nobody"
        elif one.owned_at > one.found_at + ladder.steps[-1].after + WITHIN:
            yield "owned too late"
    elif one.state == "open" and now > one.found_at + ladder.steps[-1].after + WITHIN:
        yield "SILENT: the ladder is over, nobody has heard and nobody owns it"


def _first_alert(one: Critical, told: Sequence[Told]) -> Iterable[str]:
    alert = first_alert(told)
    if one.ended_at is not None and one.ended_at <= one.found_at + WITHIN:
        return
    if alert is None or alert > one.found_at + WITHIN:
        yield "the first alert came too late or never"


def first_alert(told: Sequence[Told]) -> datetime | None:
    """When somebody was first told in a way that reaches beyond the database: a message begun, a screen that showed
    it, or a person here who is asked to telephone.
    """
    times = [
        row.done_at if row.channel == "screen" else row.tried_at
        for row in told
        if row.step < BY_HAND and row.channel != "owner"
    ]
    return min((at for at in times if at is not None), default=None)


def _step(row: Told, due: datetime, last: datetime) -> Iterable[str]:
    if row.outcome == "settled":
        return
    if row.tried_at is None:
        yield f"step {row.step} over {row.channel} to {row.contact} was never tried"
    elif row.tried_at > due + WITHIN:
        yield f"step {row.step} over {row.channel} was {(row.tried_at - due).total_seconds():.1f} s after its time"
    if row.channel in ("webhook", "email") and row.outcome is None and last > due + timedelta(seconds=60):
        yield f"step {row.step} over {row.channel} has no outcome"

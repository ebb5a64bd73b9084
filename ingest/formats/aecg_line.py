"""Sequence sets of an HL7 annotated ECG on one time line."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats import xml_facts as facts
from teleread.signal.ecg.record import STANDARD_LEADS, OtherChannel

_MAX_STRETCH = 8
"""How much longer than its samples a time line with gaps may be."""

Rows = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class SequenceSet:
    """Rows in millivolts by lead that began together; other channels with their unit."""

    fs_hz: float
    start: datetime | None
    offset_s: float | None
    """Of the first sample, on a relative time line."""
    rows: Rows
    others: list[tuple[str, str, NDArray[np.float64]]]

    @property
    def length(self) -> int:
        """In samples."""
        return max((row.size for row in self.rows.values()), default=0)

    @property
    def rank(self) -> tuple[int, int]:
        """How much of a recording it is."""
        return sum(lead in STANDARD_LEADS for lead in self.rows), self.length


def on_one_line(sets: list[SequenceSet], aside: list[SequenceSet]) -> tuple[SequenceSet, Rows, list[OtherChannel]]:
    """(the earliest set on the line, its rows by lead with gaps as NaN, everything else).

    The set with most of a recording decides the rate and the time; sets of another rate, of leads that have samples
    there already, or too far away stand aside.

    Args:
        aside: sets that belong to another recording.

    Raises:
        InputRejected: ``aecg_no_ecg_lead``, ``aecg_too_large``.
    """
    main = max(sets, key=lambda one: one.rank)
    if not main.rows:
        raise InputRejected("aecg_no_ecg_lead", "No sequence holds a voltage.")
    placed = _placed(sets, main)
    leads = list(dict.fromkeys(lead for one in sets if id(one) in placed for lead in one.rows))
    if len(leads) > facts.MAX_LEADS:
        raise InputRejected("aecg_too_large", "The file holds more leads than can be read.")
    on_line = [(placed[id(one)], one) for one in sets if id(one) in placed]
    first, end = min(at for at, _ in on_line), max(at + one.length for at, one in on_line)
    stored = sum(row.size for _, one in on_line for row in one.rows.values())
    if (end - first) * len(leads) > min(facts.MAX_CELLS, _MAX_STRETCH * stored + 1_000_000):
        on_line, first, end, leads = [(0, main)], 0, main.length, list(main.rows)
    rows = {lead: np.full(end - first, np.nan) for lead in leads} if len(on_line) > 1 else main.rows
    for at, one in on_line if len(on_line) > 1 else ():
        for lead, samples in one.rows.items():
            rows[lead][at - first : at - first + samples.size] = samples
    others = [OtherChannel(name, unit, one.fs_hz, row) for one in sets + aside for name, unit, row in one.others]
    kept = {id(one) for _, one in on_line}
    for one in sets + aside:
        if id(one) not in kept:
            others += [OtherChannel(lead, "mV", one.fs_hz, row) for lead, row in one.rows.items()]
    return min(on_line, key=lambda pair: pair[0])[1], rows, others[: 4 * facts.MAX_LEADS]


def _placed(sets: list[SequenceSet], main: SequenceSet) -> dict[int, int]:
    """Where each set begins, in samples behind the main one, by its identity; without those that cannot stand there."""
    placed: dict[int, int] = {}
    taken: dict[str, list[tuple[int, int]]] = {}
    for one in [main, *(one for one in sets if one is not main and one.rows)]:
        at = _place(one, main)
        if at is None:
            continue
        spans = {lead: (at, at + row.size) for lead, row in one.rows.items() if row.size}
        places = {lead: bisect(taken.setdefault(lead, []), span) for lead, span in spans.items()}
        if any(_overlaps(spans[lead], taken[lead], place) for lead, place in places.items()):
            continue
        for lead, place in places.items():
            taken[lead].insert(place, spans[lead])
        placed[id(one)] = at
    return placed


def _overlaps(span: tuple[int, int], others: list[tuple[int, int]], place: int) -> bool:
    """Whether a span meets one of those that stand in order and apart; ``place`` is where it would stand."""
    before, behind = others[place - 1 : place], others[place : place + 1]
    return any(span[0] < end and start < span[1] for start, end in before + behind)


def _place(one: SequenceSet, main: SequenceSet) -> int | None:
    if one is main:
        return 0
    if one.fs_hz != main.fs_hz:
        return None
    if one.start is not None and main.start is not None:
        return round((one.start - main.start).total_seconds() * main.fs_hz)
    if one.offset_s is not None and main.offset_s is not None:
        return round((one.offset_s - main.offset_s) * main.fs_hz)
    # no time for one of them: other leads of the same length were recorded together
    return 0 if one.length == main.length and not any(lead in main.rows for lead in one.rows) else None

"""Which seconds of which lead stand where on the pages of a printed ECG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from teleread.signal.ecg.record import STANDARD_LEADS
from teleread.signal.ecg.sheet_page import Points

LAYOUTS = ("auto", "3x4", "3x4+3", "6x2", "12x1", "strips")
"""``3x4`` has one rhythm strip (II), ``3x4+3`` three (V1, II, V5), ``6x2`` one; ``strips`` is every lead in 10 s
lines, one below the other. ``auto``: 3x4 for a 12-lead recording, further leads on extra pages, else strips."""


PAPER_MM = (297.0, 210.0)


GRID = (13.5, 46.0, 270.0, 150.0)  # x, y, width, height: whole squares of 5 mm


LINE_S = 10.0


_MOST_PAGES = 12


ORDERS: Mapping[str, tuple[tuple[str, int], ...]] = MappingProxyType(
    {
        "standard": tuple((lead, 1) for lead in STANDARD_LEADS),
        # Cabrera: the frontal plane in its order, aVR turned round (AHA/ACC/HRS 2007)
        "cabrera": (
            *(("aVL", 1), ("I", 1), ("aVR", -1), ("II", 1), ("aVF", 1), ("III", 1)),
            *((lead, 1) for lead in STANDARD_LEADS[6:]),
        ),
    }
)
"""The twelve leads in the order in which they are drawn, each with its sign."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One line beside the measurements; ``alert`` for what must not be missed, ``strong`` for the worst of that."""

    text: str
    alert: bool = False
    strong: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class SheetContent:
    """Everything that a sheet shows, already in the reader's language.

    Args:
        signals_mv: shape (n_leads, n), NaN where missing.
        person: lines about the patient, empty when the sheet is not to say who it is.
        facts: (label, value) of measurements.
        statements: what was found, most urgent first.
        filters: what the device did to the signal, and whether ST may be judged from the print.
        doubtful: lead → what is wrong with it; drawn in grey with the word beside its name.
        signed: who has signed the facts and statements, for the foot; empty where they are the program's, which the
            sheet then calls unconfirmed.
        begins_s: where in the recording the first of these samples lies, for what is printed of the time.
        lasts_s: the recording's length, None when the samples are all of it.
    """

    signals_mv: Points
    leads: tuple[str, ...]
    fs_hz: float
    title: str
    person: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    statements: tuple[Statement, ...] = ()
    filters: str = ""
    doubtful: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    language: str = "en"
    begins_s: float = 0.0
    lasts_s: float | None = None
    signed: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One lead over a span of time, in one row."""

    lead: int
    row: int
    left_mm: float  # from the start of the row's traces
    start_s: float
    seconds: float
    sign: int = 1


Plan = tuple[int, list[Cell]]


def cut(plans: Sequence[Plan], line_s: float) -> list[Plan]:
    """The plans on pages that hold ``line_s`` seconds side by side."""
    if line_s >= LINE_S:
        return list(plans)
    pages: list[Plan] = []
    for rows, cells in plans:
        for number in range(int(np.ceil(LINE_S / line_s - 1e-9))):
            left, right = number * line_s, (number + 1) * line_s
            parts = []
            for cell in cells:
                begin, end = max(cell.left_mm, left), min(cell.left_mm + cell.seconds, right)
                if end > begin:
                    start = cell.start_s + begin - cell.left_mm
                    parts.append(replace(cell, left_mm=begin - left, start_s=start, seconds=end - begin))
            pages.append((rows, parts))
    return pages


def planned(
    content: SheetContent,
    layout: str,
    start_s: float,
    order: str = "standard",
    rhythm: Sequence[str] | None = None,
) -> list[Plan]:
    """(number of rows, cells) of each page."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}")
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}")
    twelve = all(lead in content.leads for lead in STANDARD_LEADS)
    if layout == "auto":
        layout = "3x4" if twelve else "strips"
    if layout == "strips":
        return _strips(content, range(len(content.leads)), start_s)
    if not twelve:
        raise ValueError(f"layout {layout} needs the twelve standard leads")
    rest = [k for k, lead in enumerate(content.leads) if lead not in STANDARD_LEADS]
    strips = _RHYTHM[layout] if rhythm is None else tuple(rhythm)
    if not set(strips) <= set(content.leads):
        raise ValueError("the recording has not every lead of the rhythm strips")
    return [_standard(content, layout, start_s, order, strips), *(_ten_seconds(rest, start_s) if rest else [])]


_RHYTHM: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"3x4": ("II",), "3x4+3": ("V1", "II", "V5"), "6x2": ("II",), "12x1": ()}
)


def _standard(content: SheetContent, layout: str, start_s: float, order: str, strips: Sequence[str]) -> Plan:
    rows = {"3x4": 3, "3x4+3": 3, "6x2": 6, "12x1": 12}[layout]
    seconds = LINE_S / (12 // rows)
    cells = []
    for k, (lead, sign) in enumerate(ORDERS[order]):
        column, row = divmod(k, rows)
        start = start_s + column * seconds
        cells.append(Cell(content.leads.index(lead), row, column * seconds, start, seconds, sign))
    for k, lead in enumerate(strips):
        cells.append(Cell(content.leads.index(lead), rows + k, 0.0, start_s, LINE_S))
    return rows + len(strips), cells


def _ten_seconds(leads: Sequence[int], start_s: float, per_page: int = 6) -> list[Plan]:
    """The same ten seconds of further leads, one per row."""
    pages = [leads[k : k + per_page] for k in range(0, len(leads), per_page)]
    return [
        (max(3, len(page)), [Cell(lead, row, 0.0, start_s, LINE_S) for row, lead in enumerate(page)]) for page in pages
    ]


def _strips(content: SheetContent, leads: Sequence[int], start_s: float) -> list[Plan]:
    """All leads, line after line of ten seconds, to the end of the recording or of the paper."""
    duration = content.signals_mv.shape[1] / content.fs_hz
    lines = max(1, int(np.ceil((duration - start_s) / LINE_S - 1e-9)))
    if len(leads) > 6:
        return _ten_seconds(leads, start_s)
    together = max(1, len(leads))
    systems = max(1, (5 if together == 1 else 6) // together)
    pages: list[Plan] = []
    for first in range(0, min(lines, systems * _MOST_PAGES), systems):
        cells = []
        for line in range(first, min(lines, first + systems)):
            row = (line - first) * together
            start = start_s + line * LINE_S
            cells += [Cell(lead, row + k, 0.0, start, LINE_S) for k, lead in enumerate(leads)]
        pages.append((max(3, min(lines, systems) * together), cells))
    return pages


def last_second(content: SheetContent, plans: Sequence[Plan]) -> float:
    """The last second drawn."""
    duration: float = content.signals_mv.shape[1] / content.fs_hz
    return min(duration, max((cell.start_s + cell.seconds for _, cells in plans for cell in cells), default=0.0))

"""The standard printed ECG: 25 mm/s, 10 mm/mV, 3 x 4 leads with rhythm strips on a millimetre grid. Pure geometry.

Every coordinate is in millimetres, so that a back end only has to keep the scale (AHA/ACC/HRS 2007,
doi:10.1161/CIRCULATIONAHA.106.180200, on presentation). What is drawn is what is stored: no filter is applied, only
each lead's median is taken off, a missing sample leaves a gap and what lies off the grid is drawn along its edge and
said to be off scale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from teleread.signal.ecg.sheet_layout import (
    GRID,
    LINE_S,
    PAPER_MM,
    Cell,
    SheetContent,
    Statement,
    cut,
    last_second,
    planned,
)
from teleread.signal.ecg.sheet_page import Box, Item, Page, Points, Polyline, Segments, Text
from teleread.signal.ecg.sheet_words import word

_PULSE_MM = 10.0  # kept free at the left of each row for the calibration pulse
_ASIDE_MM = 163.0  # where the statements begin
_FACT_MM = 44.0  # width of a measurement, its label included
_LINE_MM = GRID[2] - 2 * _PULSE_MM  # of traces


@dataclass(frozen=True, slots=True)
class Scale:
    """Paper speed in mm/s and gain in mm/mV."""

    speed: float = 25.0
    gain: float = 10.0


def draw_sheet(
    content: SheetContent,
    layout: str = "auto",
    *,
    start_s: float = 0.0,
    scale: Scale = Scale(),
    order: str = "standard",
    rhythm: Sequence[str] | None = None,
) -> tuple[Page, ...]:
    """The pages of a recording. At a speed that ten seconds of do not fit, the paper is cut into several.

    Args:
        layout: one of ``LAYOUTS``.
        start_s: where the printed ten seconds begin in a longer 12-lead recording; strips begin there and go on.
        order: one of ``ORDERS``, of the twelve leads.
        rhythm: leads of the rhythm strips, the layout's own by default.

    Raises:
        ValueError: an unknown layout or order, or one whose leads the recording does not have.
    """
    plans = cut(planned(content, layout, start_s, order, rhythm), _LINE_MM / scale.speed)
    pages = []
    for number, (rows, cells) in enumerate(plans, 1):
        items = [*_grid(), *_traces(content, rows, cells, scale)]
        items += _header(content) + _footer(content, scale, _shown(content, cells), number, len(plans))
        if number == len(plans):
            items += _goes_on(content, last_second(content, plans))
        pages.append(Page(*PAPER_MM, tuple(items)))
    return tuple(pages)


def drawn_until(content: SheetContent, layout: str = "auto", *, start_s: float = 0.0) -> float:
    """The second at which the pages of ``draw_sheet`` end; below the recording's length where it goes on.

    Raises:
        ValueError: as ``draw_sheet``.
    """
    return last_second(content, planned(content, layout, start_s))


def _shown(content: SheetContent, cells: Sequence[Cell]) -> str:
    start = content.begins_s + min((cell.start_s for cell in cells), default=0.0)
    end = content.begins_s + last_second(content, [(0, list(cells))])
    return word("part", content.language, start=f"{start:g}", end=f"{end:g}", all=f"{_lasts(content):.1f}")


def _lasts(content: SheetContent) -> float:
    """Seconds of the whole recording."""
    return content.signals_mv.shape[1] / content.fs_hz if content.lasts_s is None else content.lasts_s


def _goes_on(content: SheetContent, end_s: float) -> Iterator[Item]:
    """The last page's word that the recording is longer than what was drawn."""
    end_s, duration = content.begins_s + end_s, _lasts(content)
    if end_s < duration - 1.0 / content.fs_hz:
        text = word("goes_on", content.language, end=f"{end_s:g}", all=f"{duration:.1f}")
        yield Text(GRID[0] + GRID[2] - 20.0, GRID[1] + GRID[3] + 9.0, text, 3.2, "alert", bold=True, anchor="end")


def _grid() -> Iterator[Item]:
    """Millimetre paper: thin lines every mm, strong ones every 5 mm."""
    x, y, width, height = GRID
    for step, pen in ((1.0, "grid_1"), (5.0, "grid_5")):
        xs, ys = x + np.arange(0.0, width + 0.5, step), y + np.arange(0.0, height + 0.5, step)
        upright = np.column_stack([xs, np.full_like(xs, y), xs, np.full_like(xs, y + height)])
        level = np.column_stack([np.full_like(ys, x), ys, np.full_like(ys, x + width), ys])
        yield Segments(np.vstack([upright, level]), pen, pen)


def _traces(content: SheetContent, rows: int, cells: Sequence[Cell], scale: Scale) -> Iterator[Item]:
    levels = [_level(lead) for lead in content.signals_mv]
    for row in sorted({cell.row for cell in cells}):
        yield _pulse(_baseline(row, rows), scale)
    fitted = [(cell, _onto_paper(content, cell, rows, levels[cell.lead], scale)) for cell in cells]
    for cell, level in fitted:
        yield from _trace(content, cell, _baseline(cell.row, rows), level, scale)
    # names last: where rows are close, a neighbour's trace runs through them
    for cell, level in fitted:
        yield from _name(content, cell, rows, scale, beyond=_beyond(content, cell, rows, level, scale))


def _baseline(row: int, rows: int) -> float:
    """Height of a row's 0 mV, on a line of the grid; the first row has room for a tall R wave."""
    spacing = GRID[3] / rows
    top = max(spacing / 2, min(17.0, 1.4 * spacing))
    step = (GRID[3] - top - spacing / 2) / max(1, rows - 1)
    return GRID[1] + round(top + row * step)


def _level(lead: Points) -> float:
    """The lead's median in mV, 0 where it has no sample."""
    seen = lead[np.isfinite(lead)]
    return float(np.median(seen)) if seen.size else 0.0


def _onto_paper(content: SheetContent, cell: Cell, rows: int, level: float, scale: Scale) -> float:
    """The level in mV that brings the whole cell onto the paper, by at most half a row; the given one where none does
    or none is needed."""
    _, ys = _heights(content, cell, _baseline(cell.row, rows), level, scale)
    seen = ys[np.isfinite(ys)]
    if not seen.size:
        return level
    low, high = GRID[1], GRID[1] + GRID[3]
    down, up = max(0.0, low - float(seen.min())), max(0.0, float(seen.max()) - high)
    move = np.ceil(down) - np.ceil(up)
    fits = low <= float(seen.min()) + move and float(seen.max()) + move <= high
    return float(level + cell.sign * move / scale.gain) if fits and abs(move) <= 0.5 * GRID[3] / rows else level


def _pulse(base: float, scale: Scale) -> Polyline:
    """The calibration pulse: 1 mV for 0.2 s, at 50 mm/s for 0.1 s, so that it stays before the trace."""
    left, wide, high = GRID[0] + 2.0, (0.2 if scale.speed <= 25.0 else 0.1) * scale.speed, 1.0 * scale.gain
    corners = [(-1.0, 0), (0, 0), (0, -high), (wide, -high), (wide, 0), (wide + 1.0, 0)]
    return Polyline(np.array([(left + x, base + y) for x, y in corners], dtype=np.float64), "pulse", "pulse")


def _name(content: SheetContent, cell: Cell, rows: int, scale: Scale, *, beyond: bool) -> Iterator[Item]:
    """The lead's name, what is wrong with it and, beside it, whether the trace leaves the paper."""
    lead, base = content.leads[cell.lead], _baseline(cell.row, rows)
    x = GRID[0] + _PULSE_MM + cell.left_mm * scale.speed
    if cell.left_mm > 0:
        yield Segments(np.array([[x, base - 6.0, x, base - 4.0], [x, base + 4.0, x, base + 6.0]]), "tick", "tick")
    fault = content.doubtful.get(lead, "")
    parts = [
        lead if cell.sign > 0 else f"-{lead}",
        fault,
        f"{cell.start_s:g} s" if cell.seconds == LINE_S and cell.start_s > 0 else "",
    ]
    above = min(10.6, 0.42 * GRID[3] / rows)
    text = " · ".join(part for part in parts if part)
    yield Text(x + 1.0, base - above, text, 3.6, "alert" if fault else "text", bold=True, halo=True)
    if beyond:
        behind = x + 2.0 + 3.6 * _wide(text)
        yield Text(behind, base - above, word("clipped", content.language), 2.8, "alert", halo=True)


def _trace(content: SheetContent, cell: Cell, base: float, level: float, scale: Scale) -> Iterator[Item]:
    """The lead's samples within the cell, one line per stretch without a missing sample."""
    lead, low, high = content.leads[cell.lead], GRID[1], GRID[1] + GRID[3]
    lo, ys = _heights(content, cell, base, level, scale)
    left = GRID[0] + _PULSE_MM + cell.left_mm * scale.speed
    xs = left + (np.arange(lo, lo + ys.size) / content.fs_hz - cell.start_s) * scale.speed
    ys = np.clip(ys, low, high)
    pen = "doubtful" if lead in content.doubtful else "trace"
    for start, stop in _stretches(np.isfinite(ys)):
        if stop - start > 1:
            yield Polyline(np.column_stack([xs[start:stop], ys[start:stop]]), pen, f"trace:{lead}")


def _heights(content: SheetContent, cell: Cell, base: float, level: float, scale: Scale) -> tuple[int, Points]:
    """(first sample, heights in mm of the cell's samples)."""
    fs = content.fs_hz
    lo = max(0, int(np.ceil(cell.start_s * fs - 1e-9)))
    hi = min(content.signals_mv.shape[1], int(np.ceil((cell.start_s + cell.seconds) * fs - 1e-9)))
    return lo, base - cell.sign * (content.signals_mv[cell.lead, lo:hi] - level) * scale.gain


def _beyond(content: SheetContent, cell: Cell, rows: int, level: float, scale: Scale) -> bool:
    """Whether a sample of the cell lies off the paper."""
    _, ys = _heights(content, cell, _baseline(cell.row, rows), level, scale)
    with np.errstate(invalid="ignore"):
        return bool(np.any((ys < GRID[1]) | (ys > GRID[1] + GRID[3])))


def _stretches(present: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], present.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _header(content: SheetContent) -> list[Item]:
    x = GRID[0]
    items: list[Item] = [Text(x, 13.5, content.title, 5.6, bold=True)]
    items += [Text(x, 19.5 + 4.6 * k, line, 3.3) for k, line in enumerate(content.person[:6])]
    for k, (label, value) in enumerate(content.facts[:10]):
        column, row = divmod(k, 5)
        left, y = x + 68.0 + column * 48.0, 19.5 + 5.0 * row
        # a long value is set smaller rather than into its label
        size = min(3.6, (_FACT_MM - 1.5 - 3.0 * _wide(label)) / _wide(value))
        items += [Text(left, y, label, 3.0, "faint"), Text(left + _FACT_MM, y, value, size, bold=True, anchor="end")]
    items += _statements(content)
    if content.signed:
        return items
    mark = word("unconfirmed", content.language)
    width = 68.0 if content.language == "zh" else 42.0
    right = x + GRID[2]
    items += [
        Box(right - width, 8.0, width, 7.0, pen="alert"),
        Text(right - width / 2, 12.9, mark, 3.8, "alert", bold=True, anchor="middle"),
    ]
    return items


def _statements(content: SheetContent, most: int = 8) -> list[Item]:
    """The statements, wrapped; those that do not fit are counted."""
    x, size = GRID[0] + _ASIDE_MM, 3.1
    lines: list[tuple[Statement, str]] = []
    for k, statement in enumerate(content.statements):
        pieces = wrapped(statement.text, (GRID[2] - _ASIDE_MM) / size)
        left = len(content.statements) - k
        if len(lines) + len(pieces) > most - (left > 1):
            more = replace(statement, text=word("more", content.language, n=left))
            lines = [*lines[: most - 1], (more, more.text)]
            break
        lines += [(statement, piece) for piece in pieces]
    return [
        Text(x, 18.2 + 3.8 * k, text, size, "alert" if s.alert else "text", bold=s.alert and s.strong)
        for k, (s, text) in enumerate(lines)
    ]


def wrapped(text: str, ems: float) -> list[str]:
    """``text`` in lines of at most ``ems`` font sizes, as far as its spaces and Chinese characters allow."""
    lines, line, width = [], "", 0.0
    for piece in re.findall(r"[\u2e80-\uffef]|[^\s\u2e80-\uffef]+\s*|\s+", text):
        wide = _wide(piece.rstrip())
        if line and width + wide > ems:
            lines.append(line.rstrip())
            line, width = "", 0.0
        line += piece
        width += _wide(piece)
    return [*lines, line.rstrip()]


def _wide(text: str) -> float:
    """Width of a text in font sizes."""
    return sum(_em(character) for character in text)


def _em(character: str) -> float:
    """Width of a character in font sizes, as in a bold Helvetica, rather more than less."""
    if character >= "\u2e80":
        return 1.0
    if character in "ijlI.,:;'|!()[] ft/r-":
        return 0.36
    if character in "mwMW–%":
        return 0.9
    return 0.72 if character.isupper() else 0.58


def _footer(content: SheetContent, scale: Scale, part: str, page: int, pages: int) -> list[Item]:
    language, right = content.language, GRID[0] + GRID[2]
    scales = [f"{scale.speed:g} mm/s", f"{scale.gain:g} mm/mV", content.filters, f"{content.fs_hz:g} Hz", part]
    y = GRID[1] + GRID[3]
    paper = f"{word('print', language)} · {word('page', language, n=page, of=pages)}"
    return [
        Text(GRID[0], y + 4.6, "   ".join(text for text in scales if text), 3.2, bold=True),
        Text(right, y + 4.6, paper, 3.0, "faint", anchor="end"),
        Text(GRID[0], y + 9.0, content.signed or word("aid", language), 2.9, "faint"),
        Text(right, y + 9.0, "teleread", 2.9, "faint", anchor="end"),
    ]

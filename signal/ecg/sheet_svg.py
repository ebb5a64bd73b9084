"""A page of the printed sheet as SVG text. One user unit is one millimetre, three decimals: a micrometre."""

from __future__ import annotations

from xml.sax.saxutils import escape

from teleread.signal.ecg.sheet_page import HALO_MM, PENS, Box, Item, Page, Polyline, Segments, Text

_FONTS = "Arial, Helvetica, 'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', SimSun, sans-serif"


def to_svg(page: Page) -> str:
    """The page as a document of its own, true to scale when printed at 100 %."""
    width, height = page.width_mm, page.height_mm
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="{_FONTS}">'
    )
    paper = f'<rect width="{width:g}" height="{height:g}" fill="{_colour("paper")}"/>'
    return "\n".join([head, paper, *(_item(item) for item in page.items), "</svg>"]) + "\n"


def _item(item: Item) -> str:
    if isinstance(item, Polyline):
        points = " ".join(f"{x:.3f},{y:.3f}" for x, y in item.points.tolist())
        return f'<polyline data-name="{_safe(item.name)}" points="{points}" {_stroke(item.pen)}/>'
    if isinstance(item, Segments):
        path = "".join(f"M{x1:.3f},{y1:.3f}L{x2:.3f},{y2:.3f}" for x1, y1, x2, y2 in item.ends.tolist())
        return f'<path data-name="{_safe(item.name)}" d="{path}" {_stroke(item.pen)}/>'
    if isinstance(item, Box):
        return (
            f'<rect x="{item.x:.3f}" y="{item.y:.3f}" width="{item.width:.3f}" height="{item.height:.3f}" '
            f"{_stroke(item.pen)}/>"
        )
    return _text(item)


def _text(item: Text) -> str:
    weight = ' font-weight="bold"' if item.bold else ""
    anchor = "" if item.anchor == "start" else f' text-anchor="{item.anchor}"'
    place = f'<text x="{item.x:.3f}" y="{item.y:.3f}" font-size="{item.size_mm:g}"{weight}{anchor}'
    written = f'{place} fill="{_colour(item.pen)}">{_safe(item.text)}</text>'
    if not item.halo:
        return written
    # an element of its own, below the letters: many programs know no paint-order and would draw the outline above them
    outline = f'fill="none" stroke="{_colour("paper")}" stroke-width="{2 * HALO_MM:g}" stroke-linejoin="round"'
    return f'{place} {outline} aria-hidden="true">{_safe(item.text)}</text>{written}'


def _stroke(pen: str) -> str:
    width = PENS[pen].width_mm
    return f'fill="none" stroke="{_colour(pen)}" stroke-width="{width:g}" stroke-linejoin="round"'


def _colour(pen: str) -> str:
    red, green, blue = PENS[pen].colour
    return f"#{red:02x}{green:02x}{blue:02x}"


def _safe(text: str) -> str:
    """Escaped, without characters that XML does not allow."""
    return escape("".join(c for c in text if c >= " " and c not in "\ufffe\uffff"), {'"': "&quot;"})

"""Drawing primitives of the printed sheet, in millimetres: origin at the top left, y downwards. A type module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pen:
    """Colour as (red, green, blue) of 255 and line width in mm."""

    colour: tuple[int, int, int]
    width_mm: float


PENS: Mapping[str, Pen] = MappingProxyType(
    {
        "grid_1": Pen((250, 218, 214), 0.10),
        "grid_5": Pen((240, 170, 165), 0.18),
        "trace": Pen((0, 0, 0), 0.26),
        "doubtful": Pen((140, 140, 140), 0.26),
        "pulse": Pen((0, 0, 0), 0.26),
        "tick": Pen((0, 0, 0), 0.18),
        "frame": Pen((60, 60, 60), 0.25),
        "text": Pen((20, 20, 20), 0.0),
        "faint": Pen((105, 105, 105), 0.0),
        "alert": Pen((176, 0, 32), 0.35),
        "paper": Pen((255, 255, 255), 0.0),
    }
)
"""Every pen that a primitive may name."""


@dataclass(frozen=True, slots=True, eq=False)
class Polyline:
    """A line through ``points``, shape (k, 2), k at least 2. ``name`` says what it is: ``trace:V2``, ``pulse``."""

    points: Points
    pen: str
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Separate straight lines, shape (k, 4): x1, y1, x2, y2."""

    ends: Points
    pen: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """The frame of a rectangle."""

    x: float
    y: float
    width: float
    height: float
    pen: str


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text on its baseline. ``size_mm`` is the font size; ``anchor`` is ``start``, ``middle``, ``end``.

    ``halo`` leaves ``HALO_MM`` of paper around the letters, so that they can be read where a trace passes.
    """

    x: float
    y: float
    text: str
    size_mm: float
    pen: str = "text"
    bold: bool = False
    anchor: str = "start"
    halo: bool = False


HALO_MM = 0.4

Item = Polyline | Segments | Box | Text


@dataclass(frozen=True, slots=True)
class Page:
    """One sheet of paper; items are drawn in their order."""

    width_mm: float
    height_mm: float
    items: tuple[Item, ...]

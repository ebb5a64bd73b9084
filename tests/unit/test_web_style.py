"""The colours can be told apart (WCAG 2.2, 1.4.3 and 1.4.11), in the light and in the dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from teleread.web.render import STATIC_FOLDER

# (ink, ground): text needs 4.5 to 1
TEXT = [
    ("ink", "bg"),
    ("ink", "surface"),
    ("ink", "surface-2"),
    ("ink", "accent-soft"),
    ("ink", "urgent-soft"),
    ("ink", "high-soft"),
    ("ink-2", "bg"),
    ("ink-2", "surface"),
    ("ink-2", "surface-2"),
    ("ink-2", "accent-soft"),
    ("ink-2", "urgent-soft"),
    ("ink-2", "high-soft"),
    ("accent", "surface"),
    ("accent", "bg"),
    ("accent-ink", "accent"),
    ("urgent-ink", "urgent"),
    ("urgent", "surface"),
    ("urgent", "urgent-soft"),
    ("urgent", "accent-soft"),
    ("high", "surface"),
    ("high", "high-soft"),
    ("high", "accent-soft"),
    ("routine", "surface"),
    ("routine", "accent-soft"),
    ("ok", "surface"),
    ("ok", "ok-soft"),
    ("ok", "accent-soft"),
    ("bar-ink", "bar"),
    ("bar-ink-2", "bar"),
    ("trace", "paper"),
    ("earlier", "paper"),
    ("mark", "paper"),
    ("doubtful", "paper"),
]
# outlines of controls and the focus ring need 3 to 1
OUTLINES = [("line-strong", "surface"), ("line-strong", "surface-2"), ("focus", "surface"), ("focus", "bg")]


def tokens(scheme: str) -> dict[str, str]:
    """The colours of a scheme: the light ones, with the dark ones over them."""
    found: dict[str, str] = {}
    for name in ("base.css", "case.css"):
        source = (STATIC_FOLDER / "css" / name).read_text(encoding="utf-8")
        light, dark = source, ""
        for block in re.findall(r"@media \(prefers-color-scheme: dark\) \{(.*?)\n\}", source, re.DOTALL):
            light, dark = light.replace(block, ""), dark + block
        for text in (light, dark) if scheme == "dark" else (light,):
            found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text))
    return found


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_outlines_stand_out(scheme: str) -> None:
    colours = tokens(scheme)
    weak = [(a, b, contrast(colours[a], colours[b])) for a, b in TEXT if contrast(colours[a], colours[b]) < 4.5]
    weak += [(a, b, contrast(colours[a], colours[b])) for a, b in OUTLINES if contrast(colours[a], colours[b]) < 3.0]
    assert weak == []


def test_contrast_knows_black_on_white_and_grey_on_grey() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#999999", "#aaaaaa") < 4.5


def test_nothing_static_comes_from_elsewhere() -> None:
    for path in Path(STATIC_FOLDER).rglob("*.*"):
        source = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|eval\(|new Function", source), path.name

"""The printed ECG as files: SVG, PDF or PNG, all from the same geometry and true to its millimetres.

PDF by ReportLab: vectors, Helvetica, and STSong-Light for Chinese, which every PDF reader with Asian fonts knows, so
that no font is embedded. PNG by Pillow at 300 dpi, lines drawn twice as large and halved, so that traces are smooth;
Chinese needs a Chinese font on the machine (``chinese_font``).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from teleread.signal.ecg.sheet_page import HALO_MM, PENS, Box, Page, Polyline, Segments, Text
from teleread.signal.ecg.sheet_svg import to_svg

DPI = 300
_MM_PER_INCH = 25.4
_POINTS_PER_MM = 72.0 / _MM_PER_INCH
_FINER = 2  # lines are drawn this much larger and then shrunk
_CHINESE_FONTS = (
    ("NotoSansCJK-Regular.ttc", "NotoSansCJK-Bold.ttc"),
    ("NotoSansSC-Regular.otf", "NotoSansSC-Bold.otf"),
    ("SourceHanSansSC-Regular.otf", "SourceHanSansSC-Bold.otf"),
    ("msyh.ttc", "msyhbd.ttc"),
    ("wqy-microhei.ttc", "wqy-microhei.ttc"),
    ("wqy-zenhei.ttc", "wqy-zenhei.ttc"),
    ("NotoSerifCJK-Regular.ttc", "NotoSerifCJK-Bold.ttc"),
    ("PingFang.ttc", "PingFang.ttc"),
    ("simhei.ttf", "simhei.ttf"),
    ("simsun.ttc", "simsun.ttc"),
)


def svg_files(pages: Sequence[Page]) -> list[bytes]:
    """One document for each page."""
    return [to_svg(page).encode("utf-8") for page in pages]


def pdf_files(pages: Sequence[Page]) -> list[bytes]:
    """One document with all pages. The same pages give the same bytes: it holds no time and no random id."""
    # imported here: drawing is rare, and reading a DICOM header should not wait for it
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen.canvas import Canvas

    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    buffer = io.BytesIO()
    canvas = Canvas(buffer, invariant=1, pageCompression=1)
    canvas.setTitle("ECG")
    for page in pages:
        width, height = page.width_mm * _POINTS_PER_MM, page.height_mm * _POINTS_PER_MM
        canvas.setPageSize((width, height))
        # from here on the unit is the millimetre and y goes downwards, as in the geometry
        canvas.transform(_POINTS_PER_MM, 0, 0, -_POINTS_PER_MM, 0, height)
        canvas.setLineJoin(1)
        for item in page.items:
            if isinstance(item, Text):
                _pdf_text(canvas, item, pdfmetrics.stringWidth)
            else:
                _pdf_lines(canvas, item)
        canvas.showPage()
    canvas.save()
    return [buffer.getvalue()]


def _pdf_lines(canvas: Any, item: Polyline | Segments | Box) -> None:
    canvas.setStrokeColorRGB(*_rgb(item.pen))
    canvas.setLineWidth(PENS[item.pen].width_mm)
    if isinstance(item, Box):
        canvas.rect(item.x, item.y, item.width, item.height, stroke=1, fill=0)
        return
    path = canvas.beginPath()
    if isinstance(item, Polyline):
        (x, y), *rest = item.points.tolist()
        path.moveTo(x, y)
        for x, y in rest:
            path.lineTo(x, y)
    else:
        for x1, y1, x2, y2 in item.ends.tolist():
            path.moveTo(x1, y1)
            path.lineTo(x2, y2)
    canvas.drawPath(path, stroke=1, fill=0)


def _pdf_text(canvas: Any, item: Text, width_of: Callable[[str, str, float], float]) -> None:
    runs = [(text, _pdf_font(text[0], item.bold)) for text in _runs(item.text)]
    widths = [width_of(text, font, item.size_mm) for text, font in runs]
    x = item.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[item.anchor] * sum(widths)
    canvas.setFillColorRGB(*_rgb(item.pen))
    canvas.setStrokeColorRGB(*_rgb("paper"))
    canvas.setLineWidth(2 * HALO_MM)
    # mode 1 draws the outlines alone, 0 fills; every halo first, or it would cut into the run before it
    for mode in (1, 0) if item.halo else (0,):
        left = x
        for (text, font), width in zip(runs, widths, strict=True):
            canvas.saveState()
            canvas.transform(1, 0, 0, -1, left, item.y)
            canvas.setFont(font, item.size_mm)
            canvas.drawString(0, 0, text, mode=mode)
            canvas.restoreState()
            left += width


def _pdf_font(first: str, bold: bool) -> str:
    if not _is_latin(first):
        return "STSong-Light"
    return "Helvetica-Bold" if bold else "Helvetica"


def _runs(text: str) -> Iterator[str]:
    """The text in pieces that one font can set."""
    start = 0
    for k in range(1, len(text) + 1):
        if k == len(text) or _is_latin(text[k]) != _is_latin(text[start]):
            yield text[start:k]
            start = k


def _is_latin(character: str) -> bool:
    """Whether Helvetica's standard encoding has it."""
    try:
        character.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def png_files(pages: Sequence[Page], fonts: tuple[str, str] | None = None) -> list[bytes]:
    """One image of 300 dpi for each page. The same pages and fonts give the same bytes.

    Args:
        fonts: regular and bold font files; without them ``chinese_font()``, and without that a Latin one.
    """
    return [_png(page, fonts or chinese_font()) for page in pages]


@lru_cache(maxsize=1)
def chinese_font() -> tuple[str, str] | None:
    """Names of a regular and a bold font with Chinese that this machine has, or None."""
    for regular, bold in _CHINESE_FONTS:
        try:
            ImageFont.truetype(regular, 10)
            ImageFont.truetype(bold, 10)
        except OSError:
            continue
        return regular, bold
    return None


def _png(page: Page, fonts: tuple[str, str] | None) -> bytes:
    per_mm = DPI / _MM_PER_INCH
    size = round(page.width_mm * per_mm), round(page.height_mm * per_mm)
    image = Image.new("RGB", size, PENS["paper"].colour)
    for pen in dict.fromkeys(item.pen for item in page.items if not isinstance(item, Text)):
        image.paste(PENS[pen].colour, mask=_png_lines(page, pen, size, per_mm))
    draw = ImageDraw.Draw(image)
    for item in page.items:
        if isinstance(item, Text):
            at = (item.x * per_mm, item.y * per_mm)
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[item.anchor]
            font = _font(fonts, item.bold, item.size_mm * per_mm)
            around = round(HALO_MM * per_mm) if item.halo else 0
            paper = PENS["paper"].colour
            if around:
                draw.text(at, item.text, paper, font, anchor, stroke_width=around, stroke_fill=paper)
            draw.text(at, item.text, PENS[item.pen].colour, font, anchor)
    buffer = io.BytesIO()
    image.quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", dpi=(DPI, DPI), optimize=False)
    return buffer.getvalue()


def _png_lines(page: Page, pen: str, size: tuple[int, int], per_mm: float) -> Image.Image:
    """How much ink of one pen lies on each pixel."""
    scale = per_mm * _FINER
    mask = Image.new("L", (size[0] * _FINER, size[1] * _FINER), 0)
    draw = ImageDraw.Draw(mask)
    width = max(1, round(PENS[pen].width_mm * scale))
    for item in page.items:
        if isinstance(item, Text) or item.pen != pen:
            continue
        for line in _lines(item):
            draw.line([tuple(point) for point in (line * scale).tolist()], 255, width, joint="curve")
    return mask.reduce(_FINER)


def _lines(item: Polyline | Segments | Box) -> Iterator[np.ndarray]:
    if isinstance(item, Polyline):
        yield item.points
    elif isinstance(item, Segments):
        yield from item.ends.reshape(-1, 2, 2)
    else:
        x, y, right, low = item.x, item.y, item.x + item.width, item.y + item.height
        yield np.array([(x, y), (right, y), (right, low), (x, low), (x, y)], dtype=np.float64)


@lru_cache(maxsize=32)
def _font(fonts: tuple[str, str] | None, bold: bool, size_px: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if fonts is None:
        return ImageFont.load_default(size_px)
    return ImageFont.truetype(fonts[int(bold)], size_px)


def _rgb(pen: str) -> tuple[float, float, float]:
    red, green, blue = PENS[pen].colour
    return red / 255.0, green / 255.0, blue / 255.0


FORMATS: Mapping[str, Callable[[Sequence[Page]], list[bytes]]] = MappingProxyType(
    {".svg": svg_files, ".pdf": pdf_files, ".png": png_files}
)
"""How pages become files, by the file name's ending: one file per page, a PDF holds all."""

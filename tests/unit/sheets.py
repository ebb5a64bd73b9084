"""Sheets of simulated recordings, taken apart."""

from __future__ import annotations

import base64
import re
import zlib

import numpy as np

from teleread.signal.ecg import STANDARD_LEADS
from teleread.signal.ecg.sheet_layout import SheetContent
from teleread.signal.ecg.sheet_page import Page, Polyline, Text

FS = 500.0


def square(leads: tuple[str, ...] = STANDARD_LEADS, seconds: float = 10.0, fs: float = FS) -> SheetContent:
    """Every lead is 0 mV but for a step of 1 mV from 1.000 to 1.400 s of each second and a half."""
    t = np.arange(round(seconds * fs)) / fs
    x = np.where((t % 2.5 >= 1.0) & (t % 2.5 < 1.4), 1.0, 0.0)
    return SheetContent(np.tile(x, (len(leads), 1)), leads, fs, "12-lead ECG")


def lines(page: Page, name: str) -> list[np.ndarray]:
    return [item.points for item in page.items if isinstance(item, Polyline) and item.name == name]


def texts(page: Page) -> list[str]:
    return [item.text for item in page.items if isinstance(item, Text)]


def pdf_page(data: bytes) -> tuple[tuple[float, ...], list[np.ndarray]]:
    """(media box in mm, polylines in mm) of a one-page PDF, from its content stream."""
    box = tuple(float(v) * 25.4 / 72 for v in re.search(rb"/MediaBox \[([^\]]*)\]", data).group(1).split())  # type: ignore[union-attr]
    raw = re.search(rb"/ASCII85Decode[^>]*>>\s*stream\s*(.*?)~>\s*endstream", data, re.S)
    assert raw is not None
    content = zlib.decompress(base64.a85decode(raw.group(1)))
    words = content.decode("latin-1").split()
    matrix = np.eye(3)
    stack: list[np.ndarray] = []
    found: list[np.ndarray] = []
    current: list[tuple[float, float]] = []
    numbers: list[float] = []
    for token in words:
        try:
            numbers.append(float(token))
            continue
        except ValueError:
            pass
        if token == "cm":
            a, b, c, d, e, f = numbers[-6:]
            matrix = np.array([[a, b, 0], [c, d, 0], [e, f, 1]]) @ matrix
        elif token == "q":
            stack.append(matrix)
        elif token == "Q":
            matrix = stack.pop()
        elif token in ("m", "l"):
            if token == "m" and current:
                found.append(np.array(current))
                current = []
            x, y, _ = np.array([*numbers[-2:], 1.0]) @ matrix
            current.append((x * 25.4 / 72, y * 25.4 / 72))
        elif token == "S" and current:
            found.append(np.array(current))
            current = []
        numbers = []
    return box, found

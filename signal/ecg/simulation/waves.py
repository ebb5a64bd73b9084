"""Waves with a real beginning and a real end, poured into the moving dipole.

A wave is a pair of quarter cosines raised to a power, one up to the peak, one down from it. Outside its span it is
exactly zero, so that its onset and its end are facts, not thresholds. The power says how visible the ends are: near 1
the trace bends where the wave starts, and what an eye, a threshold or a tangent calls the end is within a few
milliseconds of the truth; from 2 on it starts imperceptibly, which is right for the inside of a QRS complex and for
the slow foot of T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Vector = tuple[float, float, float]
"""Millivolts towards the left, the feet and the back."""


@dataclass(frozen=True, slots=True)
class Bump:
    """One wave on the scale of its complex: 0 is where the complex begins, 1 where it ends."""

    on: float
    peak: float
    off: float
    vector: Vector
    rise: float = 1.4
    fall: float = 1.4

    def at(self, u: Samples) -> Samples:
        """The wave's height, 0 to 1, at positions ``u`` (any shape)."""
        before = u < self.peak
        away = np.where(before, (self.peak - u) / (self.peak - self.on), (u - self.peak) / (self.off - self.peak))
        # away from the span the cosine is exactly zero
        height = np.cos(0.5 * np.pi * np.minimum(away, 1.0))
        height[away >= 1.0] = 0.0
        shape: Samples = height ** np.where(before, self.rise, self.fall)
        return shape


def pour(
    dipole: Samples,
    fs_hz: float,
    start_s: Samples,
    length_s: Samples,
    bump: Bump,
    vectors: Samples,
) -> None:
    """Adds one wave of every beat to ``dipole`` (k, n) in place.

    Args:
        start_s: where each beat's complex begins, seconds, shape (beats,).
        length_s: how long it is.
        vectors: what a height of 1 adds to the k rows in each beat, shape (beats, k).
    """
    n = dipole.shape[1]
    first = np.floor((start_s + bump.on * length_s) * fs_hz).astype(np.int64)
    span = int(np.ceil((bump.off - bump.on) * float(length_s.max(initial=0.0)) * fs_hz)) + 2
    where = np.flatnonzero((first < n) & (first + span > 0))
    if where.size == 0:
        return
    first = first[where]
    index = first[:, None] + np.arange(span)[None, :]
    u = (index / fs_hz - start_s[where, None]) / length_s[where, None]
    shape = bump.at(u)
    for row, beat in enumerate(where):
        lo, hi = max(0, -int(first[row])), min(span, n - int(first[row]))
        dipole[:, first[row] + lo : first[row] + hi] += vectors[beat][:, None] * shape[row, lo:hi]


def ramp_and_fall(u: Samples, foot: float, knee: float, bend: float) -> Samples:
    """The course of a shifted ST segment: 0 before ``foot``, exactly 1 at 0 (the J point), ``bend`` at ``knee``,
    back to 0 at 1 (the end of T)."""
    up = 0.5 - 0.5 * np.cos(np.pi * np.clip((u - foot) / -foot, 0.0, 1.0))
    along = np.clip(u / knee, 0.0, 1.0)
    level = 1.0 + (bend - 1.0) * along * along * (3 - 2 * along)
    down = np.cos(0.5 * np.pi * np.clip((u - knee) / (1.0 - knee), 0.0, 1.0))
    down[u >= 1.0] = 0.0
    course: Samples = up * level * np.maximum(down, 0.0) ** 1.2
    return course


def pour_st(
    dipole: Samples,
    fs_hz: float,
    j_s: Samples,
    length_s: Samples,
    foot: float,
    bend: float,
    vectors: Samples,
) -> None:
    """Adds the shifted ST segment of every beat: 1 at J (``j_s``), gone ``length_s`` later, where T ends."""
    n = dipole.shape[1]
    for beat in range(j_s.size):
        lo = max(0, int((j_s[beat] + foot * length_s[beat]) * fs_hz))
        hi = min(n, int((j_s[beat] + length_s[beat]) * fs_hz) + 2)
        if lo < hi:
            u = (np.arange(lo, hi) / fs_hz - j_s[beat]) / length_s[beat]
            dipole[:, lo:hi] += vectors[beat][:, None] * ramp_and_fall(u, foot, 0.6, bend)


def course(bumps: Sequence[Bump], u: Samples) -> Samples:
    """The vector of several waves at positions ``u`` (m,), shape (3, m)."""
    total = np.zeros((3, u.size))
    for bump in bumps:
        total += np.array(bump.vector)[:, None] * bump.at(u)[None, :]
    return total


def turn(frontal_deg: float, horizontal_deg: float) -> Samples:
    """A rotation (3, 3): in the frontal plane towards the feet, then in the horizontal plane towards the back."""
    a, b = np.deg2rad(frontal_deg), np.deg2rad(horizontal_deg)
    frontal = np.array([[np.cos(a), -np.sin(a), 0.0], [np.sin(a), np.cos(a), 0.0], [0.0, 0.0, 1.0]])
    horizontal = np.array([[np.cos(b), 0.0, -np.sin(b)], [0.0, 1.0, 0.0], [np.sin(b), 0.0, np.cos(b)]])
    rotation: Samples = horizontal @ frontal
    return rotation

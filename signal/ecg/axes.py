"""Electrical axes in the frontal plane."""

from __future__ import annotations

import numpy as np

from teleread.signal.ecg.boundaries import isoelectric
from teleread.signal.ecg.delineation import ABSENT
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.measured import Measured
from teleread.signal.ecg.median_beat import MedianBeat

_AUGMENTED = 2.0 / np.sqrt(3.0)
"""An augmented lead shows a vector along it by this much smaller than a bipolar one does."""

_LEAST_NET_MV = 0.010  # mean deflection below which a wave has no direction to speak of


def axis_deg(net_one: float, net_avf: float) -> float:
    """Angle of the frontal vector from the net deflections in I and aVF: 0 is to the left, 90 to the feet.

    -180 (exclusive) to 180; aVF is scaled to the strength of a bipolar lead first (Einthoven's triangle).
    """
    degrees = float(np.degrees(np.arctan2(_AUGMENTED * net_avf, net_one)))
    return 180.0 if degrees <= -180.0 else degrees


def axes(beat: MedianBeat, quality: float = 1.0) -> dict[str, Measured]:
    """Axes of P, QRS and T in degrees from the net areas in I and aVF; a wave without direction has none.

    P is taken against the straight line from its onset to its end, QRS and T against the level just before QRS.
    """
    frontal = _frontal(beat)
    if frontal is None:
        return {}
    level = isoelectric(frontal, beat.fs_hz, beat.qrs_on)
    found: dict[str, Measured] = {}
    for name, first, last, own_line in (
        ("p_axis_deg", beat.p_on, beat.p_off, True),
        ("qrs_axis_deg", beat.qrs_on, beat.qrs_off, False),
        ("t_axis_deg", beat.t_on, beat.t_off, False),
    ):
        if first == ABSENT or last == ABSENT or last - first < 3:
            continue
        wave = frontal[:, first : last + 1]
        base = wave[:, :1] + (wave[:, -1:] - wave[:, :1]) * np.linspace(0.0, 1.0, wave.shape[1]) if own_line else level
        net = (wave - base).mean(axis=1)
        size = float(np.hypot(net[0], _AUGMENTED * net[1]))
        if size < _LEAST_NET_MV:
            continue
        # as sure as the net deflection is large beside noise and beside what cancelled out
        gross = float(np.abs(wave - base).mean())
        sure = quality * size / (size + 0.25 * gross + _LEAST_NET_MV)
        found[name] = Measured(round(axis_deg(float(net[0]), float(net[1])), 1), "deg", "global", round(sure, 3))
    return found


def _frontal(beat: MedianBeat) -> Samples | None:
    """Leads I and aVF (2, m), aVF from I and II where it is not recorded; None without them."""
    one, foot, two = beat.row("I"), beat.row("aVF"), beat.row("II")
    if one is None:
        return None
    if foot is None:
        if two is None:
            return None
        foot = two - 0.5 * one
    return np.vstack((one, foot))

"""Atrial flutter: a single rhythm of 210 to 354/min between the QRS.

The QRS are bridged by straight lines; what is left is judged in its spectrum, alone (``flutter_strength``,
for any ratio of conduction that leaves a line of its own) and together with what else is known of the stretch, by a
small network.
"""

from __future__ import annotations

import numpy as np

from teleread.signal.ecg.beat_shapes import Indices, Mask, decimated
from teleread.signal.ecg.beat_table import BeatTable
from teleread.signal.ecg.filters import Samples, bridge_gaps
from teleread.signal.ecg.small_networks import network

_FLUTTER_HZ = (3.5, 5.9)
_FLUTTER_FS_HZ = 125.0
_FLUTTER_LEADS = ("II", "III", "aVF", "V1")
_STRENGTH = 0.40
_LEAST_STRENGTH = 0.22
_TWO_TO_ONE_STRENGTH = 0.55
_SURE, _QUITE_SURE, _VERY_SURE = 0.9, 1.3, 2.5
_FASTEST_HZ = 2.6
_SLOWEST_TWO_TO_ONE_HZ = 1.92
FEATURES = 17


class Spectra:
    """Power of what lies between the QRS, per lead, with the sums that several measures need."""

    def __init__(self, signals_mv: Samples, fs_hz: float, leads: tuple[str, ...], r_peaks: Indices) -> None:
        rows = [i for i, lead in enumerate(leads) if lead in _FLUTTER_LEADS] or list(range(min(3, len(leads))))
        step = max(1, round(fs_hz / _FLUTTER_FS_HZ))
        x = decimated(signals_mv[rows], step)
        fs = fs_hz / step
        self.samples = n = x.shape[1]
        self.beats_hz = r_peaks.size * fs / max(n, 1)
        self.enough = n >= 4 * fs and bool(rows)
        if not self.enough:
            return
        x = _without_qrs(x, r_peaks // step, fs)
        self.signals = x - x.mean(axis=1, keepdims=True)
        self.power = np.abs(np.fft.rfft(self.signals * np.hanning(n), n=4 * n, axis=1)) ** 2
        self.f = np.fft.rfftfreq(4 * n, 1.0 / fs)
        self.wide = 2.0 * fs / n
        self.band = (self.f >= _FLUTTER_HZ[0]) & (self.f <= _FLUTTER_HZ[1])
        self.whole = (self.f >= 1.0) & (self.f <= 15.0)
        self.total = np.concatenate((np.zeros((len(rows), 1)), np.cumsum(self.power, axis=1)), axis=1)

    def line(self, row: int, f_hz: float) -> float:
        """Power within two resolution widths of a frequency."""
        return self.between(row, f_hz - self.wide, f_hz + self.wide)

    def between(self, row: int, low_hz: float, high_hz: float) -> float:
        lo, hi = np.searchsorted(self.f, (low_hz, high_hz), side="left")
        return float(self.total[row, hi] - self.total[row, lo]) + 1e-12


def flutter_strength(s: Spectra) -> tuple[float, float]:
    """How strong the line and its double are beside all else, in the two leads that show it best; its rate in 1/min."""
    if not s.enough:
        return 0.0, 0.0
    found: list[tuple[float, float]] = []
    for row, power in enumerate(s.power):
        top = float(s.f[s.band][int(np.argmax(power[s.band]))])
        line = s.line(row, top) + s.line(row, 2.0 * top) - 0.5 * s.line(row, 0.5 * top)
        found.append((line / s.between(row, 1.0, 15.0), 60.0 * top))
    found.sort(reverse=True)
    if len(found) == 1:
        return found[0]
    # one lead alone may be disturbed
    return 0.6 * found[0][0] + 0.4 * found[1][0], found[0][1]


def flutter_features(s: Spectra, table: BeatTable, inside: Mask, fibrillation: Samples) -> Samples:
    """What the network judges, (``FEATURES``,): lines of the two best leads, rest between waves, P evidence, rates."""
    rows = np.array([_line_features(s, row) for row in range(s.power.shape[0])])
    best = np.argsort(-rows[:, 1], kind="stable")[:2]
    ratio = float(rows[best[0], 8]) / max(s.beats_hz, 0.3)
    p = np.median(table.p[inside], axis=0)
    rr = table.rr_s[inside]
    rr = rr[np.isfinite(rr)]
    step = float(np.median(np.abs(np.diff(rr)))) / float(np.median(rr)) if rr.size > 1 else 0.0
    rest = [s.beats_hz, abs(ratio - round(ratio)), min(ratio, 6.0), float(fibrillation[inside].mean()), p[0], p[1]]
    return np.array([*rows[best].mean(axis=0), *rest, float(np.log(p[6] + 0.003)), step])


def _line_features(s: Spectra, row: int) -> list[float]:
    power = s.power[row]
    top = float(s.f[s.band][int(np.argmax((power * s.f)[s.band]))])
    line = s.line(row, top)
    steep = power * s.f * s.f
    near = np.abs(s.f - top) <= s.wide
    parts = max(s.line(row, top * share) for share in (0.5, 1 / 3, 2 / 3, 0.25, 0.75))
    rest = s.between(row, top + s.wide, 15.0) - s.line(row, 2.0 * top) - s.line(row, 3.0 * top)
    slope = np.convolve(np.abs(np.diff(s.signals[row])), np.ones(5) / 5.0, mode="same")
    q10, q20, q60, q80 = np.quantile(slope, (0.1, 0.2, 0.6, 0.8))
    return [
        line / s.between(row, 1.0, 15.0),
        float(steep[near].sum() / (steep[s.whole].sum() + 1e-12)),
        float(np.log(line / s.between(row, 1.0, top - 2.0 * s.wide))),
        float(np.log(line / parts)),
        float(np.log(s.line(row, 2.0 * top) / line)),
        float(np.log(max(rest, 1e-12) / line)),
        float(q20 / (q80 + 1e-9)),
        float(q10 / (q60 + 1e-9)),
        top,
    ]


def flutters(s: Spectra, table: BeatTable, inside: Mask, fibrillation: Samples) -> bool:
    """Whether the atria flutter in one stretch; ``inside`` marks its beats."""
    strength, rate = flutter_strength(s)
    if not s.enough:
        return False
    # P and T waves of a fast sinus rhythm are two waves to a beat as well; a line at the beats' rate is of the beats
    two_to_one = rate < 2.3 * 60.0 * s.beats_hz
    needed = _TWO_TO_ONE_STRENGTH if two_to_one else _STRENGTH
    clear = strength > needed and rate > 1.4 * 60.0 * s.beats_hz
    never = s.beats_hz > _FASTEST_HZ or (strength < _LEAST_STRENGTH and not two_to_one)
    if clear or never or inside.sum() < 4:
        return clear
    logit = float(network("flutter").logits(flutter_features(s, table, inside, fibrillation)[None])[0, 0])
    # where flutter that conducts two to one would be a slow one, it takes much to call it so; P, QRS and T at equal
    # distances look like three waves to a beat
    slow = two_to_one and s.beats_hz < _SLOWEST_TWO_TO_ONE_HZ
    return bool(logit > (_VERY_SURE if slow else _SURE if two_to_one else _QUITE_SURE))


def _without_qrs(x: Samples, r: Indices, fs: float) -> Samples:
    mask = np.zeros(x.shape[1], dtype=np.bool_)
    for offset in range(-round(0.07 * fs), round(0.08 * fs) + 1):
        mask[np.clip(r + offset, 0, mask.size - 1)] = True
    y = x.copy()
    y[:, mask] = np.nan
    return bridge_gaps(y)

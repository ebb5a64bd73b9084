"""Boundaries of P, QRS and T in one lead: a network's probabilities, read beat by beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.delineate_net import FRAME_HZ, Planes, Weights, wave_probabilities
from teleread.signal.ecg.delineation import ABSENT, Delineation
from teleread.signal.ecg.filters import Samples, bridge_gaps, run_lengths

Indices = NDArray[np.int64]

P, QRS, T = 1, 2, 3
_FLOOR = (0.0, 0.3, 0.3, 0.3)
_ENOUGH = (0.0, 0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """The stretches that look like one kind of wave, in seconds, ascending; ``mass`` is probability times seconds."""

    on: Samples
    off: Samples
    mass: Samples


def waves(probability: Samples, floor: float, enough: float) -> Waves:
    """Runs above ``floor`` that reach ``enough``; their ends lie where the probability crosses one half."""
    starts, stops = run_lengths(probability > floor)
    if starts.size == 0:
        return Waves(np.empty(0), np.empty(0), np.empty(0))
    total = np.concatenate(([0.0], np.cumsum(probability)))
    top = np.maximum.reduceat(np.append(probability, 0.0), np.ravel(np.column_stack((starts, stops))))[::2]
    kept = top >= enough
    starts, stops, top = starts[kept], stops[kept], top[kept]
    level = np.minimum(0.5, 0.7 * top)
    on = np.array([_crossing(probability, a, b, v, 1) for a, b, v in zip(starts, stops, level, strict=True)])
    off = np.array([_crossing(probability, a, b, v, -1) for a, b, v in zip(starts, stops, level, strict=True)])
    return Waves((on + 0.25) / FRAME_HZ, (off + 0.25) / FRAME_HZ, (total[stops] - total[starts]) / FRAME_HZ)


def _crossing(probability: Samples, start: int, stop: int, level: float, way: int) -> float:
    """Where, to a fraction of a frame, the run first (way 1) or last (way -1) reaches the level."""
    above = np.flatnonzero(probability[start:stop] >= level)
    k = start + int(above[0] if way == 1 else above[-1])
    beyond = k - way
    if not 0 <= beyond < probability.size:
        return float(k)
    inner, outer = probability[k], probability[beyond]
    return float(k - way * (inner - level) / (inner - outer))


def delineate_lead(
    ecg_mv: NDArray[np.floating], fs_hz: float, r_peaks: NDArray[np.integer], weights: Weights | None = None
) -> Delineation:
    x = np.asarray(ecg_mv, dtype=np.float64)
    peaks = np.asarray(r_peaks, dtype=np.int64)
    bridged = bridge_gaps(x)
    return from_probabilities(wave_probabilities(bridged, fs_hz, weights), bridged, fs_hz, peaks)


def from_probabilities(planes: Planes, x: Samples, fs_hz: float, peaks: Indices) -> Delineation:
    found = {c: waves(planes[c].astype(np.float64), _FLOOR[c], _ENOUGH[c]) for c in (P, QRS, T)}
    r = peaks / fs_hz
    n = peaks.size
    out = {name: np.full(n, np.nan) for name in ("p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off")}
    q = found[QRS]
    for i in range(n):
        gap = np.maximum(q.on - r[i], r[i] - q.off)
        if gap.size and gap.min() < 0.08:
            k = int(np.argmin(gap))
            out["qrs_on"][i], out["qrs_off"][i] = q.on[k], q.off[k]
    for i in range(n):
        start = out["qrs_on"][i] if np.isfinite(out["qrs_on"][i]) else r[i] - 0.04
        stop = out["qrs_off"][i] if np.isfinite(out["qrs_off"][i]) else r[i] + 0.05
        after = r[i + 1] if i + 1 < n else np.inf
        t = found[T]
        mid = 0.5 * (t.on + t.off)
        ok = np.flatnonzero((mid > stop) & (t.on < min(after, r[i] + 0.8)) & (mid < after))
        if ok.size:
            k = ok[np.argmax(t.mass[ok])]
            out["t_on"][i], out["t_off"][i] = t.on[k], t.off[k]
        p = found[P]
        mid = 0.5 * (p.on + p.off)
        before = out["t_off"][i - 1] if i and np.isfinite(out["t_off"][i - 1]) else (r[i - 1] + 0.1 if i else -1.0)
        ok = np.flatnonzero((mid < start) & (mid > before))
        if ok.size:
            k = ok[-1]
            out["p_on"][i], out["p_off"][i] = p.on[k], p.off[k]
    whole = {
        k: np.where(np.isfinite(v), np.rint(np.nan_to_num(v) * fs_hz), ABSENT).astype(np.int64) for k, v in out.items()
    }
    return Delineation(r_peaks=peaks, p_peak=whole["p_on"], t_peak=whole["t_on"], **whole)

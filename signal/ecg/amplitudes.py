"""Amplitudes, Q durations and ST levels of each lead, on the median beat.

Levels: QRS, ST and T against the level just before the onset of QRS, P against the straight line from its onset to its
end. A wave counts when it leaves that level by 30 µV for 6 ms and lasts 12 ms (IEC 60601-2-51, annex GG).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.boundaries import isoelectric
from teleread.signal.ecg.delineation import ABSENT
from teleread.signal.ecg.filters import Samples, run_lengths
from teleread.signal.ecg.measured import Measured
from teleread.signal.ecg.median_beat import MedianBeat

_LEAST_MV = 0.030
_LEAST_OVER_S = 0.006
_LEAST_LASTS_S = 0.012
_LEAST_P_MV = 0.015
_ST_POINTS = (("st_j_mv", 0.0), ("st_j60_mv", 0.060), ("st_j80_mv", 0.080))
_ST_MEAN_S = 0.004  # on both sides of the point
_SURE_BEATS = 5.0


def amplitudes(beat: MedianBeat, quality: float = 1.0) -> dict[str, Measured]:
    """``<quantity>.<lead>`` for every lead with samples: p_amplitude_mv and p2_amplitude_mv (the second, opposite part
    of a biphasic P), q_, r_, s_, r2_, s2_amplitude_mv, q_duration_ms, t_amplitude_mv and t2_amplitude_mv, st_j_mv,
    st_j60_mv, st_j80_mv. Q, S and inverted waves are negative. A complex that is one negative wave is a Q.
    A wave that is not there is absent.
    """
    level = isoelectric(beat.signals_mv, beat.fs_hz, beat.qrs_on)
    lifted = beat.signals_mv - level
    noise = beat.noise_mv if beat.noise_mv.size else np.zeros(len(beat.leads))
    found: dict[str, Measured] = {}
    for row, lead in enumerate(beat.leads):
        y = lifted[row]
        if not np.isfinite(y[0]):
            continue
        enough = quality * min(1.0, beat.beats / _SURE_BEATS)
        values = {**_p(beat, y), **_qrs(beat, y), **_st(beat, y), **_t(beat, y)}
        for name, value in values.items():
            unit = "ms" if name.endswith("_ms") else "mV"
            size = 0.1 if name.startswith("st_") or unit == "ms" else abs(value)
            sure = round(float(np.clip(enough * size / (size + 2.0 * noise[row] + 0.002), 0.01, 1.0)), 3)
            found[f"{name}.{lead}"] = Measured(round(value, 1 if unit == "ms" else 4), unit, lead, sure)
    return found


def _p(beat: MedianBeat, y: Samples) -> dict[str, float]:
    if beat.p_on == ABSENT or beat.p_off - beat.p_on < 3:
        return {}
    wave = y[beat.p_on : beat.p_off + 1]
    wave = wave - np.linspace(wave[0], wave[-1], wave.size)
    return _one_or_two(wave, "p", _LEAST_P_MV)


def _t(beat: MedianBeat, y: Samples) -> dict[str, float]:
    """T is where the trace is farthest from the line between ST and the end of T; its height is against the level."""
    first = max(beat.t_on, beat.qrs_off + round(0.06 * beat.fs_hz))
    if beat.t_off == ABSENT or beat.t_off - first < 0.04 * beat.fs_hz:
        return {}
    wave = y[first : beat.t_off + 1]
    bowed = wave - np.linspace(wave[0], wave[-1], wave.size)
    shape = _one_or_two(bowed, "t", _LEAST_MV)
    if len(shape) < 2:
        return {"t_amplitude_mv": float(wave[int(np.argmax(np.abs(bowed)))])}
    parts = (float(wave[int(np.argmax(bowed))]), float(wave[int(np.argmin(bowed))]))
    large, small = parts if shape["t_amplitude_mv"] > 0 else parts[::-1]
    return {"t_amplitude_mv": large, "t2_amplitude_mv": small} if large * small < 0 else {"t_amplitude_mv": large}


def _one_or_two(wave: Samples, name: str, least_mv: float) -> dict[str, float]:
    """The larger deflection of a wave, and the opposite one when it is at least a third of it."""
    top, bottom = float(wave.max()), float(wave.min())
    large, small = (top, bottom) if top >= -bottom else (bottom, top)
    if abs(small) >= max(least_mv, abs(large) / 3.0):
        return {f"{name}_amplitude_mv": large, f"{name}2_amplitude_mv": small}
    return {f"{name}_amplitude_mv": large}


def _st(beat: MedianBeat, y: Samples) -> dict[str, float]:
    half = round(_ST_MEAN_S * beat.fs_hz)
    found = {}
    for name, later_s in _ST_POINTS:
        at = beat.qrs_off + round(later_s * beat.fs_hz)
        if at + half < y.size and (beat.t_off == ABSENT or at < beat.t_off):
            # J itself from there on: what is before it is still QRS
            found[name] = float(y[at - (half if later_s else 0) : at + half + 1].mean())
    return found


def _qrs(beat: MedianBeat, y: Samples) -> dict[str, float]:
    fs = beat.fs_hz
    wave = y[beat.qrs_on : beat.qrs_off + 1]
    found: dict[str, float] = {}
    count = {1: 0, -1: 0}
    for start, stop, height in _deflections(wave, fs):
        sign = 1 if height > 0 else -1
        if sign < 0 and count[1] == 0:
            if "q_amplitude_mv" not in found:
                found["q_amplitude_mv"] = height
                found["q_duration_ms"] = 1000.0 * (stop - start) / fs
            continue
        count[sign] += 1
        name = ("r" if sign > 0 else "s") + ("" if count[sign] == 1 else str(count[sign]))
        if count[sign] <= 2:
            found[f"{name}_amplitude_mv"] = height
    return found


def _deflections(wave: Samples, fs: float) -> list[tuple[int, int, float]]:
    """(start, stop, height) of the waves that are large and long enough, in order of time."""
    found = []
    for sign in (1.0, -1.0):
        side: NDArray[np.bool_] = sign * wave > 0
        for start, stop in zip(*run_lengths(side), strict=True):
            part = sign * wave[start:stop]
            over = int((part >= _LEAST_MV).sum())
            if over >= _LEAST_OVER_S * fs and stop - start >= _LEAST_LASTS_S * fs:
                found.append((int(start), int(stop), sign * float(part.max())))
    return sorted(found)

"""A threshold detector without anything learned, to mark the beats of unannotated 12-lead recordings.

Slope energy of several leads, weighted by how far their beats stand out, then a threshold between signal and noise,
T-wave rejection and search-back (after Pan and Tompkins, doi:10.1109/TBME.1985.325532). Its marks are used only where
two disjoint halves of the leads agree beat for beat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from teleread.signal.ecg.filters import Samples, band_pass, bridge_gaps, moving_mean

Indices = NDArray[np.int64]

MIN_FS_HZ = 50.0
"""Below this the QRS is not in the samples; nothing is detected."""

_WORK_FS_HZ = 250.0
_MIN_S = 0.5
_REFRACTORY_S = 0.2
_T_WAVE_S = 0.36
_P_WAVE_S = 0.26


@dataclass(frozen=True, slots=True)
class _Tuning:
    band_hz: tuple[float, float] = (7.0, 30.0)
    window_s: float = 0.1
    accept: float = 0.26
    search_back: float = 0.18
    stand_out: float = 1.8
    level_window_s: float = 1.4
    level_reach: int = 4
    t_ratio: float = 0.5
    p_ratio: float = 0.6
    locate_hz: tuple[float, float] = (4.0, 40.0)
    locate_reach_s: float = 0.1


_TUNING = _Tuning()


def threshold_beats(ecg_mv: NDArray[np.floating], fs_hz: float) -> Indices:
    """R-peak sample indices, ascending, of leads (n,) or (n_leads, n)."""
    x = np.asarray(ecg_mv, dtype=np.float64)
    if x.ndim not in (1, 2):
        raise ValueError("ecg_mv must be (n,) or (n_leads, n)")
    if not (np.isfinite(fs_hz) and fs_hz > 0):
        raise ValueError("fs_hz must be a positive number")
    x = np.atleast_2d(x)
    nothing = np.empty(0, dtype=np.int64)
    if x.shape[0] == 0 or x.shape[1] < _MIN_S * fs_hz or fs_hz < MIN_FS_HZ:
        return nothing
    step = max(1, int(fs_hz // _WORK_FS_HZ))
    work, usable = _prepare(x, step)
    fs = fs_hz / step
    if not usable.any():
        return nothing
    energy, shape = _detection_function(work, usable, fs)
    if not energy.any():
        return nothing
    beats = _pick_beats(energy, fs)
    return _locate(x, shape, beats, fs_hz, step)


def _prepare(x: Samples, step: int) -> tuple[Samples, NDArray[np.bool_]]:
    """Working copy at about 250 Hz, each lead centred and scaled, and which of its samples are really there."""
    n = x.shape[1] // step * step
    present: NDArray[np.bool_] = np.asarray(np.isfinite(x[:, :n]))
    bridged = bridge_gaps(x[:, :n])
    if step > 1:
        bridged = bridged.reshape(x.shape[0], -1, step).mean(axis=2)
        present = np.asarray(present.reshape(x.shape[0], -1, step).all(axis=2))
    centred = bridged - np.median(bridged, axis=1, keepdims=True)
    scale = np.abs(centred).max(axis=1, keepdims=True)
    # a constant with rounding noise on top is flat, whatever its offset
    alive = scale > 1e-9 * np.abs(bridged).max(axis=1, keepdims=True)
    return np.where(alive, centred / np.where(alive, scale, 1.0), 0.0), present & alive


def _detection_function(work: Samples, usable: NDArray[np.bool_], fs: float) -> tuple[Samples, Samples]:
    """(slope energy, waveform magnitude), both (n,) and summed over leads by how far beats stand out in each."""
    band = band_pass(work, fs, *_TUNING.band_hz)
    wave = band_pass(work, fs, *_TUNING.locate_hz)
    slope = np.gradient(band, axis=1)
    energy = np.sqrt(np.maximum(moving_mean(slope * slope, round(_TUNING.window_s * fs)), 0.0))
    energy[~usable] = 0.0
    total, magnitude = np.zeros(work.shape[1]), np.zeros(work.shape[1])
    for lead, lead_energy in enumerate(energy):
        level = float(np.median(_window_maxima(lead_energy, fs)))
        if level <= 0:
            level = float(lead_energy.max())
        if level <= 0:
            continue
        rest = float(np.median(lead_energy[usable[lead]]))
        stands_out = min(level / rest, 20.0) if rest > 0 else 20.0
        weight = max(stands_out - 1.0, 0.05) ** 2 / level
        total += weight * lead_energy
        magnitude += (weight * wave[lead]) ** 2
    return total, magnitude


def _window_maxima(energy: Samples, fs: float) -> Samples:
    """The strongest value in each of the consecutive windows; a part window at the end joins the one before."""
    width = max(1, min(round(_TUNING.level_window_s * fs), energy.size))
    whole = energy.size // width
    maxima: Samples = energy[: whole * width].reshape(whole, width).max(axis=1)
    maxima[-1] = max(maxima[-1], energy[whole * width :].max(initial=0.0))
    return maxima


def _level_around(energy: Samples, fs: float) -> Samples:
    """The usual height of a beat near each sample: a running median over window maxima that hold anything."""
    maxima = _window_maxima(energy, fs)
    # flat stretches hold no beat and one huge artefact must not make the rest look flat, hence not the maximum
    filled = np.flatnonzero(maxima > 0.05 * np.percentile(maxima[maxima > 0], 75))
    reach = _TUNING.level_reach
    levels = np.array([np.median(maxima[filled[max(0, i - reach) : i + reach + 1]]) for i in range(filled.size)])
    centres = (filled + 0.5) * round(_TUNING.level_window_s * fs)
    around: Samples = np.interp(np.arange(energy.size), centres, levels)
    return around


def _pick_beats(energy: Samples, fs: float) -> Indices:
    peaks, _ = find_peaks(energy, distance=max(1, round(_REFRACTORY_S * fs)))
    if peaks.size == 0:
        return np.empty(0, dtype=np.int64)
    height = energy[peaks] / _level_around(energy, fs)[peaks]
    rest = moving_mean(energy, round(2 * fs))
    quiet = energy[peaks] / np.maximum(rest[peaks], np.finfo(float).tiny)
    kept: list[int] = []
    for k in range(peaks.size):
        if height[k] < _TUNING.accept or quiet[k] < _TUNING.stand_out:
            continue
        if kept:
            gap_s = (peaks[k] - peaks[kept[-1]]) / fs
            if gap_s < _T_WAVE_S and height[k] < _TUNING.t_ratio * height[kept[-1]]:
                continue
            if gap_s < _P_WAVE_S and height[kept[-1]] < _TUNING.p_ratio * height[k]:
                kept.pop()
        kept.append(k)
    kept = _search_back(peaks, height, kept, fs)
    return np.asarray(peaks[kept], dtype=np.int64)


def _search_back(peaks: Indices, height: Samples, kept: list[int], fs: float) -> list[int]:
    """Looks again, with a lower threshold, where a beat is overdue (1.66 times the usual distance)."""
    if len(kept) < 3:
        return kept
    rr = np.diff(peaks[kept])
    found = list(kept)
    for i, distance in enumerate(rr):
        usual = float(np.median(rr[max(0, i - 4) : i + 5]))
        if distance < 1.66 * usual:
            continue
        inside = np.arange(kept[i] + 1, kept[i + 1])
        far = (peaks[inside] - peaks[kept[i]] > _T_WAVE_S * fs) & (peaks[kept[i + 1]] - peaks[inside] > _T_WAVE_S * fs)
        inside = inside[far & (height[inside] > _TUNING.search_back)]
        if inside.size:
            found.append(int(inside[np.argmax(height[inside])]))
    return sorted(found)


def _locate(x: Samples, magnitude: Samples, beats: Indices, fs_hz: float, step: int) -> Indices:
    """The largest deflection within 100 ms of each energy peak, to a fraction of a working sample by a parabola."""
    if beats.size == 0:
        return beats
    reach = round(_TUNING.locate_reach_s * fs_hz / step)
    around = beats[:, None] + np.arange(-reach, reach + 1)[None, :]
    inside = np.clip(around, 0, magnitude.size - 1)
    top = inside[np.arange(beats.size), np.argmax(magnitude[inside], axis=1)]
    middle = np.sqrt(magnitude[top])
    left, right = (
        np.sqrt(magnitude[np.maximum(top - 1, 0)]),
        np.sqrt(magnitude[np.minimum(top + 1, magnitude.size - 1)]),
    )
    bend = left - 2.0 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
    # a working sample is the mean of `step` samples and stands for their centre
    exact = (top + np.clip(shift, -0.5, 0.5)) * step + (step - 1) / 2
    return np.unique(np.clip(np.rint(exact), 0, x.shape[1] - 1).astype(np.int64))

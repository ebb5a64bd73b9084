"""Simple measures of each lead's trace: what is missing, flat, railed, humming, wandering, noisy. No judgement here.

All measures are in physical units or shares, so that they mean the same on any cart, at any rate and over any length.
They are made of box means and half-second windows, in bulk over all rows: a day of recording is a matter of seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from teleread.signal.ecg.filters import Samples, bridge_gaps

WINDOW_S = 0.5
"""Length of the windows that a recording is cut into."""

WORK_FS_HZ = 250.0
"""Rate at which slow things are looked at; samples are averaged in blocks, so that nothing folds back."""

_HUM_WINDOW_S = 2.0
_HUM_SEEN_MV = 0.01
_LINES_HZ = (50.0, 60.0)
_SILENT_BAND_HZ = (65.0, 95.0)
_QRS_BAND_HZ = (8.0, 20.0)
_RAIL_RUN_S = 0.02
_RAIL_AWAY_MV = 0.5
_RAIL_HIGH_MV = 2.0


@dataclass(frozen=True, slots=True)
class LeadMeasures:
    """What the leads show, one entry per lead in each array."""

    missing: Samples
    """Share of samples that are not there."""
    flat: Samples
    """Share of half-second windows whose span is below the limit."""
    railed: Samples
    """Share of samples in runs at an end of the range."""
    level_mv: Samples
    """Usual absolute value."""
    qrs_mv: Samples
    """Usual peak-to-peak of a beat in the QRS band (third quartile over windows)."""
    mains_mv: Samples
    """Amplitude of the 50 or 60 Hz hum."""
    drift_mv: Samples
    """Usual peak-to-peak of the baseline within 2.5 s."""
    swing_mv: Samples
    """Largest peak-to-peak of the baseline within 2.5 s."""
    noise_mv: Samples
    """Usual rms from 30 Hz to half the working rate outside beats, hum taken out."""
    noise_low_mv: Samples
    """The same, exceeded in seven windows of ten."""
    noise_high_mv: Samples
    """The same in the second noisiest window."""
    noisy: Samples
    """Share of windows above the noise limit."""
    jumps: Samples
    """Share of windows with a jump within 20 ms that no heart makes."""

    def of(self, rows: NDArray[np.intp]) -> LeadMeasures:
        """The measures of some leads."""
        return LeadMeasures(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True, slots=True)
class MeasureLimits:
    """What a window must show to be counted as flat, noisy or jumping."""

    flat_mv: float
    noise_mv: float
    jump_mv: float


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """A recording as it is looked at, made once: gaps bridged, at the working rate, in the QRS band."""

    present: Samples
    """Share of samples that are there, lead by lead."""
    whole: Samples
    fs_hz: float
    work: Samples
    work_fs_hz: float
    band: Samples


def views(ecg_mv: Samples, fs_hz: float) -> Views:
    """All views of ``ecg_mv`` (n_leads, n)."""
    present = np.isfinite(ecg_mv).mean(axis=1)
    whole = ecg_mv if present.min() == 1.0 else bridge_gaps(ecg_mv)
    work, work_fs = to_work_rate(whole, fs_hz)
    return Views(present, whole, fs_hz, work, work_fs, beat_band(work, work_fs))


def to_work_rate(ecg_mv: Samples, fs_hz: float, work_fs_hz: float = WORK_FS_HZ) -> tuple[Samples, float]:
    """(block means at about ``work_fs_hz``, their exact rate); the samples themselves where the rate is lower."""
    step = max(1, round(fs_hz / work_fs_hz))
    if step == 1:
        return ecg_mv, fs_hz
    n = ecg_mv.shape[-1] // step * step
    means: Samples = ecg_mv[..., :n].reshape(*ecg_mv.shape[:-1], -1, step).mean(axis=-1)
    return means, fs_hz / step


def beat_band(work: Samples, fs_hz: float) -> Samples:
    """Roughly 4 to 35 Hz by two box means; where the QRS stands out from P, T, baseline and muscle."""
    narrow = uniform_filter1d(work, max(1, round(0.014 * fs_hz)), axis=-1, mode="nearest")
    band: Samples = narrow - uniform_filter1d(work, max(2, round(0.12 * fs_hz)), axis=-1, mode="nearest")
    return band


def measure_leads(seen: Views, limits: MeasureLimits) -> LeadMeasures:
    """Measures each lead, at least one second long."""
    whole, fs_hz, work, fs = seen.whole, seen.fs_hz, seen.work, seen.work_fs_hz
    centre = np.median(work[:, :: max(1, round(fs / 100))], axis=1, keepdims=True)
    spans = np.ptp(_windows(whole, fs_hz, WINDOW_S), axis=2)
    rest, hum = _noise(work - centre, fs)
    ordered = np.sort(rest, axis=1)
    drift = _wander(work, fs)
    lag = max(1, round(0.02 * fs))
    steps = _windows(np.abs(work[:, lag:] - work[:, :-lag]), fs, WINDOW_S).max(axis=2)
    beats = np.ptp(_windows(seen.band, fs, WINDOW_S), axis=2)
    return LeadMeasures(
        missing=1.0 - seen.present,
        flat=(spans < limits.flat_mv).mean(axis=1),
        railed=_railed(whole, centre, fs_hz),
        level_mv=np.median(np.abs(work), axis=1),
        qrs_mv=np.percentile(beats, 75, axis=1),
        mains_mv=hum,
        drift_mv=np.median(drift, axis=1),
        swing_mv=drift.max(axis=1),
        noise_mv=np.median(rest, axis=1),
        noise_low_mv=ordered[:, int(0.3 * (ordered.shape[1] - 1))],
        noise_high_mv=ordered[:, max(0, ordered.shape[1] - 2)],
        noisy=(rest > limits.noise_mv).mean(axis=1),
        jumps=(steps > limits.jump_mv).mean(axis=1),
    )


def _windows(a: Samples, fs_hz: float, width_s: float) -> Samples:
    """(rows, windows, samples): whole windows only, at least one however short the row."""
    width = max(1, min(round(width_s * fs_hz), a.shape[1]))
    count = a.shape[1] // width
    return a[:, : count * width].reshape(a.shape[0], count, width)


def _railed(whole: Samples, centre: Samples, fs_hz: float) -> Samples:
    """Share of samples in runs of at least 20 ms that sit at the lead's own minimum or maximum.

    Only ends at least 0.5 mV from the usual value count, or a quiet lead would rest on its rail all the time; an end
    beyond 2 mV counts even where it is the usual value.
    """
    run = max(3, round(_RAIL_RUN_S * fs_hz))
    low, high = whole.min(axis=1, keepdims=True), whole.max(axis=1, keepdims=True)
    near = 1e-3 * (high - low)
    ends = np.zeros(whole.shape, dtype=np.bool_)
    spread = high - low > _RAIL_AWAY_MV
    for end in (low, high):
        far = spread & ((np.abs(end - centre) > _RAIL_AWAY_MV) | (np.abs(end) > _RAIL_HIGH_MV))
        rows = np.flatnonzero(far[:, 0])
        ends[rows] |= np.abs(whole[rows] - end[rows]) <= near[rows]
    share = np.zeros(whole.shape[0])
    for row in np.flatnonzero(ends.sum(axis=1) >= run):
        total = np.concatenate(([0], np.cumsum(ends[row])))
        share[row] = (total[run:] - total[:-run] == run).mean()
    return share


def _wander(work: Samples, fs_hz: float) -> Samples:
    """Peak-to-peak of the baseline (below about 0.7 Hz) in each stretch of 2.5 s, shape (rows, stretches)."""
    coarse, fs = to_work_rate(work, fs_hz, 25.0)
    slow = coarse
    for _ in range(2):
        slow = uniform_filter1d(slow, max(1, round(0.6 * fs)), axis=1, mode="nearest")
    swings: Samples = np.ptp(_windows(slow, fs, 2.5), axis=2)
    return swings


def _noise(centred: Samples, fs_hz: float) -> tuple[Samples, Samples]:
    """(rms above 30 Hz outside beats per window and row, amplitude of the hum per row), in mV.

    The median of the absolute value ignores the short QRS inside a window; 1.48 makes it an rms for Gaussian noise.
    """
    if fs_hz <= 80:
        return np.zeros((centred.shape[0], 1)), np.zeros(centred.shape[0])
    fast = centred - uniform_filter1d(centred, round(0.02 * fs_hz), axis=1, mode="nearest")
    parts = _windows(fast, fs_hz, WINDOW_S)
    hum, line = _hum(fast, fs_hz)
    humming = np.flatnonzero(hum > _HUM_SEEN_MV)
    if humming.size:
        parts = parts.copy()
        phase = 2.0 * np.pi * np.arange(parts.shape[2])[None, :] / fs_hz * line[humming, None]
        for wave in (np.sin(phase), np.cos(phase)):
            size = np.einsum("rwn,rn->rw", parts[humming], wave) / np.maximum((wave * wave).sum(axis=1), 1e-9)[:, None]
            parts[humming] -= size[:, :, None] * wave[:, None, :]
    rest: Samples = 1.4826 * np.median(np.abs(parts), axis=2)
    return rest, hum


def _hum(fast: Samples, fs_hz: float) -> tuple[Samples, Samples]:
    """(amplitude in mV of the line above its surroundings, its frequency): the median over two-second windows."""
    parts = _windows(fast, fs_hz, _HUM_WINDOW_S)
    width = parts.shape[2]
    taper = np.hanning(width)
    t = np.arange(width) / fs_hz
    best, line_hz = np.zeros(fast.shape[0]), np.full(fast.shape[0], _LINES_HZ[0])
    for line in _LINES_HZ:
        if line > 0.48 * fs_hz:
            continue
        offsets = np.array([0.0, -6.0, -4.5, -3.0, 3.0, 4.5, 6.0])
        waves = np.exp(-2j * np.pi * (line + offsets)[:, None] * t[None, :]) * taper * (2.0 / max(taper.sum(), 1e-9))
        power = np.abs(parts @ waves.real.T) ** 2 + np.abs(parts @ waves.imag.T) ** 2
        extra = power[:, :, 0] - np.median(power[:, :, 1:], axis=2)
        amplitude = np.sqrt(np.maximum(np.median(extra, axis=1), 0.0))
        line_hz = np.where(amplitude > best, line, line_hz)
        best = np.maximum(best, amplitude)
    return best, line_hz


def silent_above(work: Samples, fs_hz: float, dead: NDArray[np.bool_]) -> tuple[float, float]:
    """(rms in mV that the liveliest lead shows between 65 and 95 Hz, its share of that between 8 and 20 Hz).

    Any heart and any skin gives something there. Only a filter of the device takes it away. Infinite where the rate
    is too low to tell.
    """
    live = work[~dead]
    n = live.shape[1]
    if fs_hz < 2.1 * _SILENT_BAND_HZ[1] or live.shape[0] == 0:
        return float("inf"), float("inf")
    power = np.abs(np.fft.rfft((live - live.mean(axis=1, keepdims=True)) * np.hanning(n), axis=1)) ** 2
    freqs = np.fft.rfftfreq(n, 1 / fs_hz)
    size = []
    for low, high in (_SILENT_BAND_HZ, _QRS_BAND_HZ):
        inside = (freqs > low) & (freqs < high)
        size.append(np.sqrt(power[:, inside].sum(axis=1).max() * 2.0 / (0.375 * n * n)))
    return float(size[0]), float(size[0] / size[1]) if size[1] > 0 else float("inf")

"""Simple measures of one lead's trace: what is missing, flat, railed, humming, wandering, noisy. No judgement here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples, band_pass, baseline, bridge_gaps, qrs_band

WINDOW_S = 0.5
"""Length of the windows that a recording is cut into."""


@dataclass(frozen=True, slots=True)
class LeadMeasures:
    """What one lead shows, in physical units."""

    missing: float  # share of samples
    flat: float  # share of windows
    railed: float  # share of samples in runs at an end of the range
    level_mv: float  # usual absolute value
    qrs_mv: float  # usual peak-to-peak of a beat in the QRS band
    mains_mv: float  # amplitude of the hum
    drift_mv: float  # peak-to-peak of the baseline
    noise_mv: float  # usual rms above 30 Hz outside beats
    noisy: float  # share of windows above the noise limit
    jumps: float  # share of windows with a jump that no heart makes


def beat_likeness(x: Samples, fs_hz: float, peaks: NDArray[np.int64]) -> float:
    """How much the beats resemble their median, all leads together: the median correlation, 1 with too few beats.

    Each beat may shift by 16 ms to fit best, since the peak of a small biphasic QRS is not found to the sample.
    """
    half, slack = round(0.06 * fs_hz), round(0.016 * fs_hz)
    inside = peaks[(peaks >= half + slack) & (peaks + half + slack < x.shape[1])]
    if inside.size < 3:
        return 1.0
    inside = inside[:200]
    band = qrs_band(x, fs_hz)
    cuts = np.lib.stride_tricks.sliding_window_view(band, 2 * half + 1, axis=1)
    usual = np.median(cuts[:, inside - half], axis=1)
    best = np.full(inside.size, -1.0)
    for shift in range(-slack, slack + 1, max(1, slack // 4)):
        beats = cuts[:, inside - half + shift]
        norms = np.sqrt((beats * beats).sum(axis=(0, 2)) * (usual * usual).sum())
        best = np.maximum(best, np.einsum("lbk,lk->b", beats, usual) / np.where(norms > 0, norms, 1.0))
    return float(np.median(best))


def measure_leads(x: Samples, fs_hz: float, flat_mv: float, noise_mv: float, jump_mv: float) -> list[LeadMeasures]:
    """Measures each row of ``x`` (n_leads, n); the three limits say which windows count as flat, noisy and jumping."""
    present = np.isfinite(x)
    whole = bridge_gaps(x)
    width = round(WINDOW_S * fs_hz)
    count = x.shape[1] // width

    def windows(a: Samples) -> Samples:
        return a[:, : count * width].reshape(a.shape[0], count, width)

    spans = np.ptp(windows(whole), axis=2)
    noise = np.sqrt(windows(band_pass(whole, fs_hz, 30.0, None)) ** 2) if fs_hz > 80 else windows(0.0 * whole)
    # the median of |x| ignores the short QRS inside a window; 1.48 makes it an rms for Gaussian noise
    rest = 1.4826 * np.median(noise, axis=2)
    qrs = np.ptp(windows(qrs_band(whole, fs_hz)), axis=2)
    slow = _wander(baseline(whole, fs_hz), fs_hz)
    lag = max(1, round(0.02 * fs_hz))
    jumps = windows(np.abs(whole - np.roll(whole, lag, axis=1)))[:, 1:].max(axis=2)
    hum = _hum(whole, fs_hz)
    return [
        LeadMeasures(
            missing=float(1 - present[i].mean()),
            flat=float((spans[i] < flat_mv).mean()),
            railed=_railed(whole[i], fs_hz),
            level_mv=float(np.median(np.abs(whole[i]))),
            qrs_mv=float(np.percentile(qrs[i], 75)),
            mains_mv=float(hum[i]),
            drift_mv=float(slow[i]),
            noise_mv=float(np.median(rest[i])),
            noisy=float((rest[i] > noise_mv).mean()),
            jumps=float((jumps[i] > jump_mv).mean()),
        )
        for i in range(x.shape[0])
    ]


def _railed(row: Samples, fs_hz: float) -> float:
    """Share of samples in runs of at least 20 ms that sit exactly at the lead's own minimum or maximum.

    Only ends at least 0.5 mV from the usual value count, or a quiet lead would rest on its rail all the time.
    """
    run = max(3, round(0.02 * fs_hz))
    ends = ((row == row.max()) | (row == row.min())) & (np.abs(row - np.median(row)) > 0.5)
    total = np.concatenate(([0], np.cumsum(ends)))
    full = total[run:] - total[:-run] == run
    return float(full.sum()) / row.size


def _wander(slow: Samples, fs_hz: float) -> Samples:
    """Usual peak-to-peak of the baseline within 2.5 s; the median leaves out one single swing."""
    width = min(round(2.5 * fs_hz), slow.shape[1])
    count = slow.shape[1] // width
    swings: Samples = np.median(np.ptp(slow[:, : count * width].reshape(slow.shape[0], count, width), axis=2), axis=1)
    return swings


def _hum(whole: Samples, fs_hz: float) -> Samples:
    """Amplitude in mV of the 50 or 60 Hz line above its surroundings, the median over two-second windows."""
    width = min(round(2.0 * fs_hz), whole.shape[1])
    count = whole.shape[1] // width
    parts = whole[:, : count * width].reshape(whole.shape[0], count, width)
    taper = np.hanning(width)
    spectrum = np.abs(np.fft.rfft((parts - parts.mean(axis=2, keepdims=True)) * taper, axis=2)) ** 2
    freqs = np.fft.rfftfreq(width, 1 / fs_hz)
    power = spectrum * (2.0 / (taper * taper).sum() / width) if taper.any() else spectrum
    worst = np.zeros(whole.shape[0])
    for line in (50.0, 60.0):
        near, around = np.abs(freqs - line) <= 1.0, (np.abs(freqs - line) > 2.0) & (np.abs(freqs - line) <= 6.0)
        if line > 0.48 * fs_hz or not near.any() or not around.any():
            continue
        extra = power[:, :, near].sum(axis=2) - near.sum() * np.median(power[:, :, around], axis=2)
        amplitude = np.sqrt(2.0 * np.maximum(np.median(extra, axis=1), 0.0))
        worst = np.maximum(worst, amplitude)
    return worst

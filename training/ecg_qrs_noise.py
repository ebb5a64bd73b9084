"""Made and recorded disturbances for the training variants of the QRS judges, at the working rate: noise, atrial waves,
pacing spikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.qrs_front import WORK_HZ

Array = NDArray[np.float64]


def smooth(x: Array, width: int) -> Array:
    return np.convolve(x, np.ones(width) / width, mode="same")


def envelope(n: int, rng: np.random.Generator) -> Array:
    """Noise comes and goes."""
    if rng.random() < 0.3:
        return np.ones(n)
    knots = np.arange(0, n + 2400, int(WORK_HZ * rng.uniform(1, 12)))
    if knots.size < 2:
        return np.ones(n)
    return np.interp(np.arange(n), knots, np.where(rng.random(knots.size) < 0.4, 1.0, rng.uniform(0, 0.4, knots.size)))


def disturbance(n: int, noise: Array, rng: np.random.Generator) -> Array:
    total = np.zeros(n)
    if rng.random() < 0.5:
        row = noise[rng.integers(noise.shape[0])]
        start = rng.integers(row.size)
        piece = np.resize(np.roll(row, -start), n)
        total += piece * np.exp(rng.uniform(np.log(0.03), np.log(0.6))) * envelope(n, rng)
    if rng.random() < 0.6:
        muscle = rng.standard_normal(n)
        if rng.random() < 0.6:
            muscle = smooth(muscle, int(rng.integers(2, 5))) * 1.6
        total += muscle * np.exp(rng.uniform(np.log(0.01), np.log(0.25))) * envelope(n, rng)
    t = np.arange(n) / WORK_HZ
    if rng.random() < 0.3:
        total += rng.uniform(0, 2.0) * np.sin(2 * np.pi * rng.uniform(0.1, 0.6) * t + rng.uniform(0, 6))
    if rng.random() < 0.2:
        total += rng.uniform(0, 0.25) * np.sin(2 * np.pi * rng.choice([50.0, 60.0, 49.7]) * t) * envelope(n, rng)
    if rng.random() < 0.3:
        for at in rng.integers(0, n, max(1, int(n / WORK_HZ / rng.uniform(5, 60)))):
            decay = np.exp(-np.arange(min(600, n - at)) / rng.uniform(5, 120))
            total[at : at + decay.size] += rng.choice([-1, 1]) * np.exp(rng.uniform(-1, 2.2)) * decay
    return total


def atrial(n: int, rng: np.random.Generator) -> Array:
    """Flutter or fibrillation waves, regular or not."""
    if rng.random() > 0.12:
        return np.zeros(n)
    pace = rng.uniform(3.3, 6.5) * (1.0 + rng.choice([0.01, 0.15]) * smooth(rng.standard_normal(n), 30) * 5.5)
    phase = 2 * np.pi * np.cumsum(pace) / WORK_HZ
    wave = np.sin(phase)
    for harmonic in (2, 3):
        wave = wave + rng.uniform(0, 0.6 / harmonic) * np.sin(harmonic * phase + rng.uniform(0, 6.3))
    return rng.uniform(0.04, 0.35) * wave


def flutter(n: int, rng: np.random.Generator) -> Array:
    """Flutter waves as large as QRS may be in one lead: peaked, saw-toothed or two-humped, steady, slowly swelling."""
    t = np.arange(n) / WORK_HZ
    jitter = 0.02 * smooth(rng.standard_normal(n), 60) * np.sqrt(60)
    turns = np.cumsum(rng.uniform(3.6, 6.0) * (1.0 + jitter)) / WORK_HZ
    # time within a wave runs unevenly: one flank is steeper than the other
    skew = rng.uniform(-0.75, 0.75)
    phase = 2 * np.pi * turns + skew * np.sin(2 * np.pi * turns)
    peaked = np.exp(rng.uniform(0.0, 3.5) * (np.cos(phase) - 1.0))
    if rng.random() < 0.4:
        peaked = peaked + rng.uniform(-0.8, 0.8) * np.exp(
            rng.uniform(1.0, 4.0) * (np.cos(phase + rng.uniform(1.0, 5.0)) - 1.0)
        )
    swell = 1.0 + rng.uniform(0.0, 0.6) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.5) * t + rng.random()))
    size = np.exp(rng.uniform(np.log(0.3), np.log(1.8))) * rng.choice([-1, 1])
    return size * swell * (peaked - peaked.mean()) / np.ptp(peaked)


def spikes(n: int, beats: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Pacing spikes before beats or before P waves, or stray ones: one or two samples wide, with a small recoil."""
    total = np.zeros(n + 40)
    kind = rng.random()
    if kind > 0.16 or beats.size < 3:
        return total[:n]
    size = np.exp(rng.uniform(-1.5, 0.8)) * rng.choice([-1, 1])
    if kind < 0.06:
        at = beats - rng.integers(4, 9)
    elif kind < 0.11:
        at = beats - rng.integers(15, 26)
    else:
        at = rng.integers(0, n, max(1, int(n / WORK_HZ / rng.uniform(1, 10))))
    at = at[(at >= 0) & (at < n)]
    share = rng.uniform(0, 1)
    total[at] += size * share
    total[at + 1] += size * (1 - share)
    for k in range(2, 30):
        total[at + k] -= 0.15 * size * np.exp(-k / 8)
    return total[:n]

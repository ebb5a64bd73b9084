"""Noise as a clinic makes it: breathing and wander, muscle, mains, moving electrodes.

It is made at the electrodes, so that the laws of the leads hold, and in frequencies, so that the same seed gives the
same noise at every sampling rate.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft

from teleread.signal.ecg.simulation.electrodes import LIMB_COUNT
from teleread.signal.ecg.simulation.waves import Samples

_HIGHEST_HZ = 250.0
_WANDER_MV, _BREATH_MV, _MUSCLE_MV, _MAINS_MV = 0.075, 0.08, 0.014, 0.006
"""Root mean square at one electrode (amplitude for breath and mains) at level 1."""


def clinic_noise(electrodes: int, n: int, fs_hz: float, level: float, mains_hz: float, seed: list[int]) -> Samples:
    """Noise at each electrode, shape (electrodes, n), mV.

    Args:
        level: 0 nothing, 0.3 a quiet recording, 1 an ordinary one of a busy clinic, 2 a bad one.
    """
    if level <= 0:
        return np.zeros((electrodes, n))
    rng = np.random.default_rng(seed)
    t = np.arange(n) / fs_hz
    out = level * (slow_noise(electrodes, n, fs_hz, rng) + muscle_noise(electrodes, n, fs_hz, rng))
    # the trunk moves as one, each electrode a little differently
    rate, phase = rng.uniform(0.18, 0.32), rng.uniform(0, 2 * np.pi)
    breath = np.sin(2 * np.pi * rate * t + phase) + 0.25 * np.sin(4 * np.pi * rate * t + 2 * phase)
    out += level * rng.normal(0.0, _BREATH_MV, (electrodes, 1)) * breath
    out += mains(electrodes, n, fs_hz, mains_hz, level * _MAINS_MV, rng)
    if level > 0.5:
        _motion(out, fs_hz, level, rng)
    return out


def slow_noise(electrodes: int, n: int, fs_hz: float, rng: np.random.Generator) -> Samples:
    """Electrode wander: pink from 0.05 to 1 Hz, falling steeply above."""
    freqs = _freqs(n, fs_hz, 5.0)
    size = np.where(freqs < 0.05, 0.0, 1.0 / np.sqrt(np.maximum(freqs, 0.05)) / (1.0 + (freqs / 0.6) ** 2))
    return _shaped(electrodes, n, freqs, size, _WANDER_MV, rng)


def muscle_noise(electrodes: int, n: int, fs_hz: float, rng: np.random.Generator) -> Samples:
    """Surface EMG of tense muscles: broad around 30 to 90 Hz, swelling and ebbing; most at the limbs."""
    freqs = _freqs(n, fs_hz, _HIGHEST_HZ)
    size = (freqs / 25.0) ** 1.2 / (1.0 + (freqs / 25.0) ** 1.2) / np.sqrt(1.0 + (freqs / 70.0) ** 3)
    size /= np.sqrt(1.0 + (freqs / 150.0) ** 8)  # the amplifier's low pass
    quiet = _shaped(electrodes, n, freqs, size, _MUSCLE_MV, rng)
    slow = _freqs(n, fs_hz, 2.0)
    swell = np.exp(_shaped(electrodes, n, slow, np.where(slow > 0, 1.0, 0.0), 0.35, rng))
    where = np.where(np.arange(electrodes) < LIMB_COUNT, 1.0, 0.7)
    muscle: Samples = quiet * swell * where[:, None]
    return muscle


def mains(electrodes: int, n: int, fs_hz: float, mains_hz: float, size_mv: float, rng: np.random.Generator) -> Samples:
    """Hum and its third harmonic, in phase everywhere, of another size at each electrode."""
    t = np.arange(n) / fs_hz
    phase, gain = rng.uniform(0, 2 * np.pi, 2), rng.normal(0.0, size_mv, (electrodes, 1))
    hum = np.zeros(n)
    if mains_hz < 0.48 * fs_hz:
        hum += np.sin(2 * np.pi * mains_hz * t + phase[0])
    if 3 * mains_hz < 0.48 * fs_hz:
        hum += 0.15 * np.sin(6 * np.pi * mains_hz * t + phase[1])
    whole: Samples = gain * hum
    return whole


def white(n: int, fs_hz: float, rng: np.random.Generator) -> Samples:
    """White noise up to 250 Hz, standard deviation 1."""
    freqs = _freqs(n, fs_hz, _HIGHEST_HZ)
    row: Samples = _shaped(1, n, freqs, np.where(freqs > 0, 1.0, 0.0), 1.0, rng)[0]
    return row


def banded(n: int, fs_hz: float, low_hz: float, high_hz: float, rng: np.random.Generator) -> Samples:
    """Noise between two frequencies, standard deviation 1."""
    freqs = _freqs(n, fs_hz, 4 * high_hz)
    size = np.where(freqs < low_hz, 0.0, 1.0 / (1.0 + (freqs / high_hz) ** 4))
    row: Samples = _shaped(1, n, freqs, size, 1.0, rng)[0]
    return row


def _motion(out: Samples, fs_hz: float, level: float, rng: np.random.Generator) -> None:
    """Now and then an electrode is pulled and creeps back."""
    n = out.shape[1]
    for _ in range(int(rng.poisson(0.04 * level * n / fs_hz))):
        where, at, size = int(rng.integers(0, out.shape[0])), rng.uniform(0, n / fs_hz), rng.normal(0, 0.25 * level)
        t = np.arange(n) / fs_hz - at
        rise = 0.5 + 0.5 * np.tanh(np.clip(t / 0.06, -20.0, 20.0))
        out[where] += size * rise * np.exp(-np.maximum(t, 0.0) / 0.7)


def _freqs(n: int, fs_hz: float, highest_hz: float) -> Samples:
    freqs: Samples = np.arange(min(n // 2, int(highest_hz * n / fs_hz)) + 1, dtype=np.float64) * (fs_hz / n)
    return freqs


def _shaped(rows: int, n: int, freqs: Samples, size: Samples, rms: float, rng: np.random.Generator) -> Samples:
    """Gaussian noise with the given amplitude over frequency; its expected rms up to 250 Hz is ``rms``."""
    parts = rng.standard_normal((freqs.size, rows, 2))
    # the full band's power, also where the sampling rate cuts some of it off
    power = float((size * size).sum())
    spectrum = np.zeros((rows, n // 2 + 1), dtype=np.complex128)
    scale = size * (rms / np.sqrt(power) * n / 2.0)
    spectrum[:, : freqs.size] = ((parts[:, :, 0] + 1j * parts[:, :, 1]) * scale[:, None]).T
    spectrum[:, 0] = 0.0
    shaped: Samples = np.asarray(irfft(spectrum, n, axis=1), dtype=np.float64)
    return shaped

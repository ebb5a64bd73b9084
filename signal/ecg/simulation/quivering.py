"""Flutter and fibrillation: waves that go on without beats. All is a function of time, the same at every rate."""

from __future__ import annotations

import numpy as np

from teleread.signal.ecg.simulation.score import Waves
from teleread.signal.ecg.simulation.waves import Samples, Vector

_FLUTTER: Vector = (0.015, -0.115, -0.035)
_FIBRILLATION = ((0.012, 0.036, -0.046), (0.016, -0.012, 0.014))


def add_waves(dipole: Samples, fs_hz: float, waves: Waves, rng: np.random.Generator, size: float) -> None:
    """Adds one stretch to ``dipole`` (3, n); it swells and ebbs away within a fifth of a second at its ends."""
    lo, hi = max(0, int(np.ceil(waves.start_s * fs_hz))), min(dipole.shape[1], int(waves.end_s * fs_hz) + 1)
    if lo >= hi:
        return
    t = np.arange(lo, hi) / fs_hz
    edge = np.clip(np.minimum(t - waves.start_s, waves.end_s - t) / 0.2, 0.0, 1.0)
    makers = {"flutter": _flutter, "fibrillation": _fibrillation, "ventricular_fibrillation": _ventricular}
    dipole[:, lo:hi] += size * edge * makers[waves.kind](t, waves, rng)


def _flutter(t: Samples, waves: Waves, rng: np.random.Generator) -> Samples:
    """The saw tooth of typical flutter: a slow fall and a quick rise in II, III and aVF, upright in V1."""
    turn = np.mod((t - waves.phase_s) * waves.rate_bpm / 60.0, 1.0)
    fall = float(rng.uniform(0.66, 0.74))
    down = np.clip(turn / fall, 0.0, 1.0) ** 1.5
    up = 0.5 + 0.5 * np.cos(np.pi * np.clip((turn - fall) / (1.0 - fall), 0.0, 1.0))
    saw = np.where(turn < fall, down, up) - 0.45
    vector = np.array(_FLUTTER) * rng.uniform(0.85, 1.25, 3)
    return np.asarray(vector[:, None] * saw[None, :] * 1.3)


def _fibrillation(t: Samples, _waves: Waves, rng: np.random.Generator) -> Samples:
    """Two unequal trains of 5 to 8 Hz whose rate and size wander, largest at the front (V1) and the feet."""
    whole = np.zeros((3, t.size))
    for vector, usual in zip(_FIBRILLATION, (rng.uniform(5.2, 6.8), rng.uniform(6.5, 8.0)), strict=True):
        phase = _wandering(t, usual, 0.6, rng)
        size = 1.0 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 0.6) * t + rng.uniform(0, 6.28))
        train = size * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.6))
        whole += np.array(vector)[:, None] * train
    return whole


def _ventricular(t: Samples, _waves: Waves, rng: np.random.Generator) -> Samples:
    """Three trains of 3.5 to 7 Hz with directions of their own; the root mean square of the largest is 1."""
    whole = np.zeros((3, t.size))
    main = rng.uniform(4.0, 6.2)
    for part, size in enumerate((1.0, 0.6, 0.35)):
        usual = main if part == 0 else main * rng.uniform(0.72, 1.35)
        phase = _wandering(t, usual, 0.5, rng)
        swell = np.exp(0.35 * np.sin(2 * np.pi * rng.uniform(0.15, 0.5) * t + rng.uniform(0, 6.28)))
        vector = rng.standard_normal(3) * np.array([0.8, 1.0, 0.6])
        vector /= np.sqrt((vector * vector).sum())
        train = np.sin(phase) + 0.25 * np.sin(2 * phase + rng.uniform(0, 6.28))
        whole += np.sqrt(2.0) * size * vector[:, None] * (swell * train)
    return whole


def _wandering(t: Samples, usual_hz: float, spread_hz: float, rng: np.random.Generator) -> Samples:
    """The phase of an oscillation whose rate wanders around the usual one."""
    phase = 2 * np.pi * usual_hz * t + rng.uniform(0, 6.28)
    for rate in rng.uniform((0.11, 0.3, 0.7), (0.25, 0.6, 1.1)).tolist():
        phase = phase + spread_hz / (np.sqrt(3.0) * rate) * np.sin(2 * np.pi * rate * t + rng.uniform(0, 6.28))
    result: Samples = phase
    return result

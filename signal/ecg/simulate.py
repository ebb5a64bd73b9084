"""Simulated 12-lead recordings whose truth is known: for demonstrations, tests and training, never for a patient.

The heart is one dipole that moves in space. Each wave is a Gaussian in time with a vector of three amplitudes
(McSharry et al., doi:10.1109/TBME.2003.808805, in three dimensions as in Sameni et al., doi:10.1155/2007/43407);
Dower's matrix (doi:10.1016/S0022-0736(80)80014-5) turns the vector into leads, and those into the potentials of nine
electrodes. Noise is added at the electrodes, so that Einthoven's and Goldberger's equations hold exactly, and a wrong
or loose electrode acts on all the leads that use it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples, band_pass
from teleread.signal.ecg.record import STANDARD_LEADS, Device, EcgRecord, Filters

CONDITIONS = ("normal", "af", "inferior_stemi", "complete_block", "lead_off", "ra_la_swap")
"""What ``simulate`` can show."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is really in a simulated recording.

    ``faults`` are pairs (lead, fault code of ``teleread.signal.ecg.quality``). ``r_peaks`` are sample indices of the
    main ventricular deflection; ``heart_rate_bpm`` follows from their mean distance.
    """

    condition: str
    r_peaks: NDArray[np.int64]
    heart_rate_bpm: float
    faults: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Wave:
    at_s: float
    width_s: float
    vector_mv: tuple[float, float, float]  # left, towards the feet, towards the back


# rows I, II, V1 … V6; columns left, foot, back
_DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)

_P = (_Wave(-0.172, 0.017, (0.06, 0.075, -0.035)), _Wave(-0.142, 0.018, (0.105, 0.070, 0.03)))
_QRS = (
    _Wave(-0.030, 0.0085, (-0.12, -0.05, -0.20)),
    _Wave(-0.002, 0.0105, (1.10, 0.75, 0.10)),
    _Wave(0.018, 0.0100, (0.10, -0.05, 0.62)),
    _Wave(0.036, 0.0090, (-0.12, -0.10, 0.10)),
)
_T = (_Wave(0.245, 0.048, (0.17, 0.14, -0.15)), _Wave(0.300, 0.030, (0.14, 0.12, -0.10)))
_QRS_INFERIOR_INFARCT = (_Wave(-0.026, 0.0110, (0.02, -0.30, -0.16)), *_QRS[1:])
_ST_INFERIOR_INFARCT = tuple(_Wave(0.060 + 0.035 * k, 0.026, (-0.13, 0.165, 0.05)) for k in range(5))
_QRS_ESCAPE = (
    _Wave(-0.034, 0.011, (0.35, 0.05, 0.40)),
    _Wave(0.000, 0.015, (0.85, -0.30, 0.85)),
    _Wave(0.040, 0.016, (0.75, -0.40, 0.60)),
)
_T_ESCAPE = (_Wave(0.290, 0.060, (-0.22, 0.05, -0.30)), _Wave(0.350, 0.036, (-0.14, 0.05, -0.18)))


def simulate(
    condition: str, seed: int, *, fs_hz: float = 500.0, duration_s: float = 10.0, lead: str = "V3"
) -> tuple[EcgRecord, Truth]:
    """A 12-lead recording of one condition. The same arguments give the same samples.

    Args:
        condition: one of ``CONDITIONS``.
        seed: chooses rate, size of the waves and noise.
        fs_hz: 100 to 2000 Hz.
        duration_s: at least 2 s.
        lead: the chest lead whose electrode is off, for ``lead_off`` only.

    Raises:
        ValueError: an unknown condition, a lead that is not a chest lead, or a rate or length out of range.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}")
    if lead not in STANDARD_LEADS[6:]:
        raise ValueError("only a chest electrode can be off alone")
    if not (100 <= fs_hz <= 2000 and 2 <= duration_s <= 3600):
        raise ValueError("100 to 2000 Hz and 2 to 3600 s")
    rng = np.random.default_rng([seed, CONDITIONS.index(condition)])
    n = round(duration_s * fs_hz)
    beats_s = _beat_times(condition, duration_s, rng)
    heart = _heart(condition, beats_s, n, fs_hz, rng)
    electrodes = _electrodes(_DOWER @ heart) + _noise(n, fs_hz, rng)
    faults: tuple[tuple[str, str], ...] = ()
    if condition == "ra_la_swap":
        electrodes[[0, 1]] = electrodes[[1, 0]]
        faults = (("I", "limb_reversal"),)
    signals = _leads(electrodes)
    if condition == "lead_off":
        signals[STANDARD_LEADS.index(lead)] = 0.0006 * rng.standard_normal(n)  # the amplifier's own noise
        faults = ((lead, "flat"),)
    record = EcgRecord(
        signals_mv=signals,
        leads=STANDARD_LEADS,
        fs_hz=float(fs_hz),
        source_format="simulated",
        filters=Filters(high_pass_hz=0.05, low_pass_hz=150.0),
        device=Device(manufacturer="teleread", model="simulator"),
    )
    peaks = np.rint(beats_s * fs_hz).astype(np.int64)
    peaks = peaks[(peaks >= 0) & (peaks < n)]
    rate = 60.0 * fs_hz / float(np.diff(peaks).mean())
    return record, Truth(condition, peaks, rate, faults)


def _beat_times(condition: str, duration_s: float, rng: np.random.Generator) -> Samples:
    """Times of ventricular beats in seconds, from before the start to after the end."""
    count = int(duration_s * 5) + 10
    if condition == "af":
        rr = np.clip(rng.gamma(14.0, rng.uniform(0.54, 0.66) / 14.0, count), 0.34, 1.3)
    elif condition == "complete_block":
        rr = np.full(count, 60.0 / rng.uniform(36.5, 39.5)) + rng.normal(0.0, 0.008, count)
    else:
        usual = 60.0 / rng.uniform(62.0, 84.0)
        breath = np.sin(2 * np.pi * np.arange(count) * usual / rng.uniform(3.6, 4.6) + rng.uniform(0, 6.28))
        rr = usual * (1.0 + 0.03 * breath) + rng.normal(0.0, 0.006, count)
    times = rng.uniform(0.35, 0.75) - rr[0] + np.cumsum(np.concatenate(([0.0], rr[:-1])))
    kept: Samples = times[times < duration_s + 1.0]
    return kept


def _heart(condition: str, beats_s: Samples, n: int, fs_hz: float, rng: np.random.Generator) -> Samples:
    """The dipole over time, shape (3, n), in mV."""
    qrs: tuple[_Wave, ...] = _QRS
    t_wave: tuple[_Wave, ...] = _T
    p_wave = _P
    if condition == "inferior_stemi":
        qrs, t_wave = _QRS_INFERIOR_INFARCT, (*_ST_INFERIOR_INFARCT, *_T)
    elif condition == "complete_block":
        qrs, t_wave = _QRS_ESCAPE, _T_ESCAPE
    size = rng.uniform(0.9, 1.1) * (1.0 + 0.05 * rng.standard_normal(3))
    heart = np.zeros((3, n))
    rr = np.diff(beats_s, prepend=2 * beats_s[0] - beats_s[1])
    for at, before in zip(beats_s, rr, strict=True):
        # repolarisation is sooner after a short pause (Bazett)
        late = float(np.sqrt(np.clip(before, 0.5, 1.1)))
        waves = [*qrs, *(replace(w, at_s=w.at_s * late, width_s=w.width_s * late) for w in t_wave)]
        if condition not in ("af", "complete_block"):
            waves += p_wave
        scale = size * (1.0 + 0.015 * rng.standard_normal())
        _add_waves(heart, waves, float(at), scale, fs_hz)
    if condition == "complete_block":
        # the atria beat on their own; P waves are placed by their own clock
        period = 60.0 / rng.uniform(73.0, 77.0)
        for at in np.arange(rng.uniform(0.0, period), n / fs_hz + 1.0, period):
            _add_waves(heart, p_wave, float(at + rng.normal(0.0, 0.004)), size, fs_hz)
    if condition == "af":
        heart += _fibrillation(n, fs_hz, rng)
    return heart


def _add_waves(
    heart: Samples, waves: list[_Wave] | tuple[_Wave, ...], at_s: float, scale: Samples, fs_hz: float
) -> None:
    for wave in waves:
        centre = at_s + wave.at_s
        lo = max(0, int((centre - 5 * wave.width_s) * fs_hz))
        hi = min(heart.shape[1], int((centre + 5 * wave.width_s) * fs_hz) + 2)
        if lo < hi:
            t = np.arange(lo, hi) / fs_hz
            shape = np.exp(-0.5 * ((t - centre) / wave.width_s) ** 2)
            heart[:, lo:hi] += (scale * np.array(wave.vector_mv))[:, None] * shape


def _fibrillation(n: int, fs_hz: float, rng: np.random.Generator) -> Samples:
    """Fibrillatory waves of 5 to 7 Hz whose rate and size wander, largest to the front (V1) and the feet."""
    t = np.arange(n) / fs_hz
    rate = rng.uniform(5.4, 6.6) + 0.5 * np.sin(2 * np.pi * 0.23 * t + rng.uniform(0, 6.28))
    phase = 2 * np.pi * np.cumsum(rate) / fs_hz + rng.uniform(0, 6.28)
    size = 1.0 + 0.35 * np.sin(2 * np.pi * 0.41 * t + rng.uniform(0, 6.28))
    wave = size * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.6))
    return np.array([0.012, 0.040, -0.048])[:, None] * wave


def _electrodes(independent: Samples) -> Samples:
    """Potentials of RA, LA, LL, V1 … V6 against Wilson's terminal from leads I, II, V1 … V6."""
    one, two = independent[0], independent[1]
    limbs = [-(one + two) / 3, (2 * one - two) / 3, (2 * two - one) / 3]
    return np.vstack([*limbs, independent[2:]])


def _leads(electrodes: Samples) -> Samples:
    """The twelve standard leads from nine electrode potentials."""
    ra, la, ll = electrodes[:3]
    centre = (ra + la + ll) / 3
    limb = [la - ra, ll - ra, ll - la, ra - (la + ll) / 2, la - (ra + ll) / 2, ll - (ra + la) / 2]
    return np.vstack([*limb, electrodes[3:] - centre])


def _noise(n: int, fs_hz: float, rng: np.random.Generator) -> Samples:
    """Muscle, baseline wander and a trace of mains at nine electrodes, in mV."""
    t = np.arange(n) / fs_hz
    # generated at one rate of noise per hertz, so that a higher sampling rate does not look noisier
    muscle = 0.0035 * np.sqrt(fs_hz / 500.0) * rng.standard_normal((9, n))
    if fs_hz > 340:
        muscle = band_pass(muscle, fs_hz, None, 150.0)
    breath = np.sin(2 * np.pi * rng.uniform(0.20, 0.28) * t + rng.uniform(0, 6.28))
    slow = np.sin(2 * np.pi * 0.07 * t[None, :] + rng.uniform(0, 6.28, (9, 1)))
    wander = rng.normal(0.0, 0.02, (9, 1)) * breath + rng.normal(0.0, 0.02, (9, 1)) * slow
    mains = rng.normal(0.0, 0.0015, (9, 1)) * np.sin(2 * np.pi * 50.0 * t + rng.uniform(0, 6.28))
    noise: Samples = muscle + wander + mains
    return noise

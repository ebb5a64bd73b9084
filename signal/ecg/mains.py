"""Mains interference: found, followed in amplitude and phase, and subtracted.

A notch filter rings after each QRS, because the QRS has power at 50 and 60 Hz too. Here the sinusoid is fitted by least
squares in blocks of a tenth of a second, beside a parabola that takes up the ECG, and the fits are averaged over about
a second with weights that leave blocks with a QRS out. Only what stays coherent from block to block is subtracted
(the idea of subtracting estimated mains where the ECG is smooth: Levkov et al., doi:10.1186/1475-925X-4-50).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Phasors = NDArray[np.complex128]

CANDIDATES_HZ = (50.0, 60.0)

_BLOCK_S = 0.1  # five periods of 50 Hz, six of 60 Hz: the two do not disturb one another
_REACH_BLOCKS = 6
_LEAST_MV = 0.002
_LEAST_COHERENCE = 0.55
_NYQUIST_PART = 0.45


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    phasors: Phasors  # (n_leads, blocks), relative to a sinusoid through the whole record
    weights: Samples  # (n_leads, blocks)


def mains_of(x: Samples, fs_hz: float) -> float | None:
    """50.0, 60.0 or None: the mains that is coherent over the record in its leads (n_leads, n), without NaN."""
    best: tuple[float, float] | None = None
    for hz in CANDIDATES_HZ:
        if hz > _NYQUIST_PART * fs_hz or x.shape[-1] < 5 * _BLOCK_S * fs_hz:
            continue
        fit = _fitted(x, fs_hz, hz)
        power, coherence = _coherent_power(fit)
        level = float(np.sqrt(power.max(initial=0.0)))
        lead = int(np.argmax(power * coherence)) if power.size else 0
        if level > _LEAST_MV and coherence[lead] > _LEAST_COHERENCE and (best is None or level > best[0]):
            best = (level, hz)
    return None if best is None else best[1]


def without_mains(x: Samples, fs_hz: float, mains_hz: float) -> Samples:
    """(n_leads, n) less the mains and its second and third harmonic, where these are coherent; a new array."""
    n = x.shape[-1]
    if n < 5 * _BLOCK_S * fs_hz:
        return x.copy()
    clean = x.copy()
    for harmonic in (1, 2, 3):
        hz = harmonic * mains_hz
        if hz > _NYQUIST_PART * fs_hz:
            break
        fit = _fitted(clean, fs_hz, hz)
        power, coherence = _coherent_power(fit)
        there = (coherence > _LEAST_COHERENCE) & (power > _LEAST_MV**2) if harmonic > 1 else power > 0.0
        if not there.any():
            continue
        step = _frequency_step(fit)
        phasors = np.where(there[:, None], _smoothed(fit, step), 0.0)
        clean -= _wave(phasors, n, round(_BLOCK_S * fs_hz), 2.0 * np.pi * hz / fs_hz)
    return clean


def _fitted(x: Samples, fs_hz: float, hz: float) -> _Fit:
    """A sinusoid for each lead and block, and how little the block holds besides it."""
    width = round(_BLOCK_S * fs_hz)
    blocks = x.shape[-1] // width
    omega = 2.0 * np.pi * hz / fs_hz
    y = np.ascontiguousarray(x[:, : blocks * width]).reshape(x.shape[0], blocks, width)
    basis, back = _basis(width, omega)
    parts = y @ basis
    rest = np.maximum(np.einsum("lbt,lbt->lb", y, y) - np.einsum("lbk,lbk->lb", parts, parts), 0.0)
    cosine, sine = np.moveaxis(parts @ back, 2, 0)
    phasors = (cosine - 1j * sine) * np.exp(-1j * omega * width * np.arange(blocks))
    floor = np.median(rest, axis=1, keepdims=True) * 0.05 + 1e-12
    return _Fit(phasors, 1.0 / (rest + floor) ** 2)


@lru_cache(maxsize=32)
def _basis(width: int, omega: float) -> tuple[Samples, Samples]:
    """An orthonormal basis of cubics and the sinusoid over one block, and how to get cosine and sine from it."""
    t = np.arange(width)
    u = (t - 0.5 * (width - 1)) / width
    columns = np.stack((np.ones(width), u, u * u, u**3, np.cos(omega * t), np.sin(omega * t)), axis=1)
    basis, triangle = np.linalg.qr(columns)
    return basis, np.linalg.inv(triangle)[4:].T


def _coherent_power(fit: _Fit) -> tuple[Samples, Samples]:
    """Per lead: squared amplitude of what goes on from block to block, and its part of all that was fitted."""
    both = np.sqrt(fit.weights[:, 1:] * fit.weights[:, :-1])
    both = np.minimum(both, 4.0 * np.median(both, axis=1, keepdims=True))
    pairs = np.abs((both * fit.phasors[:, 1:] * fit.phasors[:, :-1].conj()).sum(axis=1))
    alone = (both * 0.5 * (np.abs(fit.phasors[:, 1:]) ** 2 + np.abs(fit.phasors[:, :-1]) ** 2)).sum(axis=1)
    total = both.sum(axis=1)
    power = pairs / np.where(total > 0, total, 1.0)
    return power, pairs / np.where(alone > 0, alone, 1.0)


def _frequency_step(fit: _Fit) -> float:
    """By how much the phase moves from one block to the next, in radians, over all leads: the grid is not exact."""
    both = np.sqrt(fit.weights[:, 1:] * fit.weights[:, :-1])
    both = both / np.maximum(both.sum(axis=1, keepdims=True), 1e-300)
    return float(np.angle((both * fit.phasors[:, 1:] * fit.phasors[:, :-1].conj()).sum()))


def _smoothed(fit: _Fit, step: float) -> Phasors:
    """The phasors averaged over about a second, the even turn of the phase taken out before and put back after."""
    blocks = fit.phasors.shape[1]
    turn = np.exp(1j * step * np.arange(blocks))
    reach = min(_REACH_BLOCKS, blocks - 1)
    window = np.hanning(2 * reach + 3)[1:-1]
    # even the best block counts only so much: a flat one would otherwise outweigh all its neighbours
    weights = np.minimum(fit.weights, 20.0 * np.median(fit.weights, axis=1, keepdims=True))
    top, bottom = np.zeros_like(fit.phasors), np.zeros_like(weights)
    weighted = weights * fit.phasors / turn
    for shift in range(-reach, reach + 1):
        here = slice(max(0, -shift), blocks - max(0, shift))
        there = slice(max(0, shift), blocks - max(0, -shift))
        top[:, here] += window[shift + reach] * weighted[:, there]
        bottom[:, here] += window[shift + reach] * weights[:, there]
    smooth: Phasors = top / bottom * turn
    return smooth


def _wave(phasors: Phasors, n: int, width: int, omega: float) -> Samples:
    """The sinusoid (n_leads, n) whose phasor runs straight from one block's centre to the next; held at the ends."""
    leads, blocks = phasors.shape
    centre = width // 2
    # one stretch before the first centre, one between each two, and enough after the last
    stretches = blocks + 1 + (n - centre - blocks * width + width) // width
    knots = np.concatenate((phasors[:, :1], phasors, np.repeat(phasors[:, -1:], stretches - blocks, axis=1)), axis=1)
    turn = np.exp(1j * omega * (centre + width * np.arange(-1, stretches - 1)))
    start, step = knots[:, :-1] * turn, np.diff(knots, axis=1) * turn
    t = np.arange(width)
    cosine, sine = np.cos(omega * t), np.sin(omega * t)
    tables = np.stack((cosine, -sine, cosine * t / width, -sine * t / width))
    wave = np.stack((start.real, start.imag, step.real, step.imag), axis=-1) @ tables
    lead_time: Samples = wave.reshape(leads, -1)[:, width - centre : width - centre + n]
    return lead_time

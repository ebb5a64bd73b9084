"""A small convolutional network that tells P, QRS, T or nothing for each 8 ms of one lead; inference in NumPy.

A U-Net (Ronneberger et al., doi:10.1007/978-3-319-24574-4_28) in one dimension, with sums instead of concatenations,
after the use on ECG by Moskalenko et al. (doi:10.1007/978-3-030-30425-6_29). Trained by ``training/ecg_delineate.py``.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples, moving_mean

Planes = NDArray[np.float32]
Weights = dict[str, Planes]

CHANNELS = (12, 18, 26, 36, 48)
"""Width of the network at 125, 62.5, 31.25, 15.6 and 7.8 frames a second."""
KERNELS = (7, 7, 5, 5, 5)
FS_HZ = 250.0
FRAME_HZ = 125.0
"""Frame k of the output stands for the time (k + 0.25) / 125 s: it is two samples wide."""

_BASELINE_S = 1.0
_BLOCK_S = 1.25
_MULTIPLE = 2 ** len(CHANNELS)
_WINDOW = 5120
_MARGIN = 512
_PIECE = 250_000


def wave_probabilities(ecg_mv: Samples, fs_hz: float, weights: Weights | None = None) -> Planes:
    """(4, frames): none, P, QRS, T for each frame of one lead (n,) without gaps, in windows of some 20 s."""
    net = trained() if weights is None else weights
    total = max(1, int(np.ceil(ecg_mv.size / fs_hz * FS_HZ)))
    if total <= _WINDOW:
        return _window(ecg_mv, fs_hz, 0, total, net)[:, : (total + 1) // 2]
    whole = np.zeros((4, (total + 1) // 2), dtype=np.float32)
    step = _WINDOW - 2 * _MARGIN
    for start in range(0, total - 2 * _MARGIN, step):
        length = min(_WINDOW, total - start)
        part = _window(ecg_mv, fs_hz, start, length, net)
        skip = _MARGIN // 2 if start else 0
        whole[:, start // 2 + skip : start // 2 + (length + 1) // 2] = part[:, skip : (length + 1) // 2]
    return whole


def _window(ecg_mv: Samples, fs_hz: float, start: int, length: int, net: Weights) -> Planes:
    lead = resampled(ecg_mv, fs_hz, start, length)
    # rounding noise on top of an offset is no signal
    flat = float(np.ptp(lead)) <= 1e-9 * float(np.abs(lead).max())
    x = network_input(without_baseline(lead))
    padded = np.zeros((2, -(-length // _MULTIPLE) * _MULTIPLE), dtype=np.float32)
    padded[:, :length] = x
    if not flat:
        return forward(padded, net)
    nothing = np.zeros((4, padded.shape[1] // 2), dtype=np.float32)
    nothing[0] = 1.0
    return nothing


def resampled(ecg_mv: Samples, fs_hz: float, start: int, length: int) -> Samples:
    """Samples start … start + length of the lead at 250 Hz, each the mean over the time that it stands for."""
    half = max(0.5, 0.5 * fs_hz / FS_HZ)
    at = np.arange(start, start + length) * (fs_hz / FS_HZ)
    first, last = max(0, int(at[0] - half) - 1), min(ecg_mv.size, int(at[-1] + half) + 2)
    part = ecg_mv[first:last]
    total = np.zeros(part.size)
    np.cumsum(0.5 * (part[1:] + part[:-1]), out=total[1:])
    grid = np.arange(first, last, dtype=np.float64)
    low, high = np.clip(at - half, grid[0], grid[-1]), np.clip(at + half, grid[0], grid[-1])
    span = high - low
    mean = (np.interp(high, grid, total) - np.interp(low, grid, total)) / np.where(span > 0, span, 1.0)
    return np.asarray(np.where(span > 0, mean, part[-1]), dtype=np.float64)


def without_baseline(x: Samples) -> Samples:
    """(n,) at 250 Hz less its slow part: a moving mean over a second, twice."""
    width = round(_BASELINE_S * FS_HZ)
    return x - moving_mean(moving_mean(x, width), width)


def network_input(x: Samples) -> Samples:
    """(2, n): the lead in units of its usual beat's height, plain and compressed so that small waves are seen."""
    width = round(_BLOCK_S * FS_HZ)
    blocks = x[: x.size // width * width].reshape(-1, width) if x.size >= width else x[None]
    size = float(np.median(blocks.max(axis=1) - blocks.min(axis=1)))
    scaled = x / size if size > 0 else np.zeros_like(x)
    return np.stack((np.clip(2.0 * scaled, -4.0, 4.0), 0.5 * np.arcsinh(20.0 * scaled)))


def forward(x: Planes, net: Weights) -> Planes:
    """Probabilities (4, n / 2) from the network's input (2, n), n a multiple of 32."""
    levels = len(CHANNELS)
    x = _unit(x, net, "enter", 2)
    kept: list[Planes] = []
    for i in range(levels):
        x = _unit(_unit(x, net, f"down{i}", 2) if i else x, net, f"keep{i}")
        kept.append(x)
    x = x + _unit(x, net, "deep")
    for i in range(levels - 2, -1, -1):
        side = _product(net[f"side{i}.w"][:, :, 0], x) + net[f"side{i}.b"][:, None]
        x = _unit(kept[i] + np.repeat(side, 2, axis=1), net, f"up{i}")
    score = _convolved(x, net["head.w"], net["head.b"])
    score = np.exp(score - score.max(axis=0))
    probability: Planes = score / score.sum(axis=0)
    return probability


def _unit(x: Planes, net: Weights, name: str, stride: int = 1) -> Planes:
    y = _convolved(x, net[name + ".w"], net[name + ".b"], stride)
    return np.maximum(y, 0.0, out=y)


def _convolved(x: Planes, w: Planes, b: Planes, stride: int = 1) -> Planes:
    """A convolution as one matrix product: (in, n) by (out, in, k) to (out, n / stride), zeros beyond the ends."""
    width = w.shape[2]
    pad = (width - stride) // 2
    padded = np.zeros((x.shape[0], x.shape[1] + 2 * pad), dtype=np.float32)
    padded[:, pad : pad + x.shape[1]] = x
    seen = sliding_window_view(padded, width, axis=1)[:, ::stride].transpose(0, 2, 1)
    return _product(w.reshape(w.shape[0], -1), seen.reshape(x.shape[0] * width, -1)) + b[:, None]


def _product(w: Planes, columns: Planes) -> Planes:
    """``w @ columns`` in pieces that no BLAS splits over threads: small work is slower there, and sums would differ."""
    y = np.empty((w.shape[0], columns.shape[1]), dtype=np.float32)
    step = max(16, _PIECE // w.size)
    for start in range(0, columns.shape[1], step):
        np.matmul(w, columns[:, start : start + step], out=y[:, start : start + step])
    return y


@lru_cache(maxsize=1)
def trained() -> Weights:
    """The weights that come with the package."""
    with (files("teleread.signal.ecg") / "weights" / "delineate.weights").open("rb") as source:
        return load(source)


def load(source: str | Path | IO[bytes]) -> Weights:
    """Weights by layer from an .npz file or its path."""
    with np.load(source, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files if name.endswith((".w", ".b"))}

"""Would experts call this twelve-lead recording acceptable? Small convolutional networks over every lead alike.

Learned from recordings that several people graded (training/ecg_quality.py). Each lead is looked at in steps of 40 ms:
its level, its highest and lowest sample against the baseline, its span, its usual and its steepest slope. The same
three convolutions run over every lead; what they find is pooled over time, then over the leads (the worst one counts
most, as it did for those who graded). No device, no format, no order of leads within limbs or chest enters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.lead_measures import WORK_FS_HZ
from teleread.signal.ecg.record import STANDARD_LEADS

CHANNELS = 6
KERNEL, STRIDE = 5, 2
BADNESS_BIAS = 2.0

_STEP_S = 0.04
_BASELINE_S = 1.0
_STRETCH_S = 10.0

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """Networks of one shape, stacked along the first axis, and the probability from which a recording is refused."""

    convolutions: tuple[tuple[Floats, Floats], ...]
    """For each layer (nets, 5 * channels in, channels out) and its bias (nets, channels out)."""
    lead: tuple[Floats, Floats]
    badness: tuple[Floats, Floats]
    hidden: tuple[Floats, Floats]
    out: tuple[Floats, Floats]
    threshold: float

    def log_odds(self, seen: Floats) -> float:
        """That experts would refuse; ``seen`` (12, 6, steps), six limb leads first. The mean over the networks."""
        return float(np.mean([self._one(seen, net) for net in range(len(self.out[0]))]))

    def _one(self, seen: Floats, net: int) -> float:
        h = seen
        for weights, bias in self.convolutions:
            h = _convolve(h, weights[net], bias[net])
        pooled = np.concatenate([h.mean(axis=2), h.max(axis=2), np.abs(np.diff(h, axis=2)).mean(axis=2)], axis=1)
        lead = np.maximum(pooled @ self.lead[0][net] + self.lead[1][net], 0.0)
        bad = 1.0 / (1.0 + np.exp(BADNESS_BIAS - lead @ self.badness[0][net] - self.badness[1][net]))
        any_bad = -np.log1p(-np.minimum(bad, 0.999)).sum() / 3.0
        parts = [lead.mean(axis=0), lead.max(axis=0), lead[:6].max(axis=0), lead[6:].max(axis=0)]
        whole = np.concatenate([*parts, [any_bad, bad.max()]])
        hidden = np.maximum(whole @ self.hidden[0][net] + self.hidden[1][net], 0.0)
        return float(hidden @ self.out[0][net] + self.out[1][net])


def _convolve(x: Floats, weights: Floats, bias: Floats) -> Floats:
    """(leads, channels, n) → (leads, channels out, about n / 2), with zeros beyond the ends, then relu."""
    half = KERNEL // 2
    padded = np.pad(x, ((0, 0), (0, 0), (half, half)))
    cuts = np.lib.stride_tricks.sliding_window_view(padded, KERNEL, axis=2)[:, :, ::STRIDE]
    flat = cuts.transpose(0, 2, 1, 3).reshape(cuts.shape[0] * cuts.shape[2], -1)
    made: Floats = np.maximum(flat @ weights + bias, np.float32(0.0))
    shaped: Floats = made.reshape(cuts.shape[0], cuts.shape[2], -1).transpose(0, 2, 1)
    return shaped


@lru_cache(maxsize=1)
def experts() -> Experts:
    """The networks of the package."""
    source = resources.files("teleread.signal.ecg").joinpath("weights", "quality.weights")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as held:
        parts = {name: np.asarray(held[name], dtype=np.float32) for name in held.files if name.startswith("net_")}
        threshold = float(held["threshold"])
    return networks(parts, threshold)


def networks(parts: dict[str, Floats], threshold: float) -> Experts:
    """From arrays named ``net_LAYER_w`` and ``net_LAYER_b``, as the weight file has them."""

    def of(layer: str) -> tuple[Floats, Floats]:
        return parts[f"net_{layer}_w"], parts[f"net_{layer}_b"]

    convolutions = tuple(of(f"c{k}") for k in range(3))
    return Experts(convolutions, of("lead"), of("badness"), of("hidden"), of("out"), threshold)


def unacceptable_to_experts(work: Samples, fs_hz: float, leads: Sequence[str]) -> bool | None:
    """Whether experts would refuse it; None without all twelve standard leads.

    Args:
        work: (leads, n) in mV at the working rate ``fs_hz`` (lead_measures.to_work_rate).
    """
    if any(lead not in leads for lead in STANDARD_LEADS):
        return None
    rows = np.array([list(leads).index(lead) for lead in STANDARD_LEADS])
    judge = experts()
    odds = [judge.log_odds(seen) for seen in stretches(work[rows], fs_hz)]
    return bool(1.0 / (1.0 + np.exp(-np.mean(odds))) > judge.threshold)


def stretches(work: Samples, fs_hz: float) -> list[Floats]:
    """What the networks look at, (leads, 6, steps), for each stretch of about ten seconds: they were graded so long."""
    count = max(1, round(work.shape[1] / (_STRETCH_S * fs_hz)))
    return [look_at(part, fs_hz) for part in np.array_split(work, count, axis=1)]


def look_at(work: Samples, fs_hz: float) -> Floats:
    """(leads, 6, steps) of one stretch."""
    width = max(2, round(_STEP_S * fs_hz))
    n = work.shape[1] // width * width
    level = work[:, :n] - np.median(work, axis=1, keepdims=True)
    blocks = level.reshape(level.shape[0], -1, width)
    mean, high, low = blocks.mean(axis=2), blocks.max(axis=2), blocks.min(axis=2)
    slope = np.abs(np.diff(level, axis=1, append=level[:, -1:])).reshape(blocks.shape) * (fs_hz / WORK_FS_HZ)
    baseline = uniform_filter1d(mean, max(1, round(_BASELINE_S / _STEP_S)), axis=1)
    channels = (
        np.arcsinh(mean / 0.5),
        np.arcsinh((high - baseline) / 0.1),
        np.arcsinh((low - baseline) / 0.1),
        np.log10(high - low + 2e-3) + 1.0,
        np.log10(np.median(slope, axis=2) + 1e-3) + 2.0,
        np.log10(slope.max(axis=2) + 3e-3) + 1.5,
    )
    return np.stack(channels, axis=1).astype(np.float32)

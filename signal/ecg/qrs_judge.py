"""The two networks that say which candidate is a beat, and what they look at.

The first sees the waveform around a candidate and how slope comes and goes within 1.2 s. The second sees the
waveform again beside what the first found around: distances to the beats before and after, how alike and how large
those are, what else competes. Both see waveforms through absolute values of linear filters, so that the polarity of a
lead cannot matter, and as ratios, so that gain cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.qrs_front import PAD, Floats, Front, Indices, rolling, strongest

REACH = 66
"""Working samples (120 Hz) of waveform on either side of a candidate."""

COLUMNS = np.concatenate((np.arange(0, 48, 3), np.arange(48, 85), np.arange(85, 2 * REACH + 1, 3) + 2))
COLUMNS = COLUMNS[COLUMNS <= 2 * REACH]
"""Where the networks look within the window: each sample near the candidate, each third farther off."""

LIKE_REACH = 14
"""Working samples on either side that are compared between beats."""

BUMP_REACH, BUMP_STEP = 144, 8
REFRACTORY = 24
LEAN = np.float32(0.7)
"""Added to the second network's logit among plain beats: there missed and extra beats balance on recordings left out
of training. Where nothing around is surely a beat, as in noise or asystole, doubt stays doubt."""

HOPELESS = -4.0
"""Candidates below this logit of the first network are not looked at again."""

_NEIGHBOURS = 8
_FAR = 4.0
_AWAY = 1e6
_REMEMBERED = 1500.0
_LONGEST_RR = 360.0
_SCALE = np.float32(0.3)
_SURE = 3.0
_TINY = np.float32(1e-12)


@dataclass(frozen=True, slots=True)
class Network:
    """``waveform`` (columns, filters), then dense layers (weights, biases) over |filters| and the other inputs."""

    waveform: Floats
    shift: Floats
    scale: Floats
    layers: tuple[tuple[Floats, Floats], ...]

    def __call__(self, windows: Floats, scale: Floats, others: Floats) -> Floats:
        """Logits; ``windows`` (n, columns) are taken times ``scale`` (n,), ``others`` (n, k) as they are."""
        seen = windows @ self.waveform
        np.abs(seen, out=seen)
        seen *= scale[:, None]
        weights, biases = self.layers[0]
        filters = self.waveform.shape[1]
        # the inputs' shift and scale are folded into the first layer
        rest = self.scale[:, None] * weights[filters:]
        hidden = seen @ weights[:filters]
        hidden += others @ rest
        hidden += biases - self.shift @ rest
        np.maximum(hidden, 0, out=hidden)
        for weights, biases in self.layers[1:-1]:
            hidden = hidden @ weights
            hidden += biases
            np.maximum(hidden, 0, out=hidden)
        weights, biases = self.layers[-1]
        return np.asarray((hidden @ weights + biases)[:, 0], dtype=np.float32)


def network(arrays: Mapping[str, NDArray[np.float32]], name: str) -> Network:
    """The network called ``name`` from the arrays of a weights file, waveform filters spread over whole windows."""
    spread = np.zeros((2 * REACH + 1, arrays[f"{name}.waveform"].shape[1]), np.float32)
    spread[COLUMNS] = arrays[f"{name}.waveform"]
    layers: list[tuple[Floats, Floats]] = []
    while f"{name}.w{len(layers)}" in arrays:
        layers.append((arrays[f"{name}.w{len(layers)}"], arrays[f"{name}.b{len(layers)}"]))
    return Network(spread, arrays[f"{name}.shift"], arrays[f"{name}.scale"], tuple(layers))


@lru_cache(maxsize=1)
def networks() -> tuple[Network, Network]:
    """First and second network as shipped (built by training/ecg_qrs.py)."""
    path = files("teleread.signal.ecg") / "weights" / "qrs.weights"
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        loaded = {key: arrays[key] for key in arrays.files if key != "sources"}
    return network(loaded, "first"), network(loaded, "second")


def windows(front: Front, at: Indices) -> Floats:
    """Waveform around each candidate in each lead, (n_leads, n, 2 REACH + 1), as stored."""
    view = rolling(front.wave[:, PAD - REACH :], 2 * REACH + 1)
    cut: Floats = view[:, at]
    return cut


def bumps(front: Front, at: Indices) -> Floats:
    """Logarithm of slope over the usual level at each ``BUMP_STEP`` around each candidate, (n_leads, n, 37)."""
    view = rolling(front.bumps[:, (PAD - BUMP_REACH) // 2 :], BUMP_REACH + 1)
    cut: Floats = view[:, :, :: BUMP_STEP // 2][:, at // 2]
    return cut


def first_scale(front: Front, at: Indices) -> Floats:
    """What the first network's windows are multiplied with, (n_leads, n)."""
    strongest_here = np.maximum(np.maximum(front.level[:, at], front.slope[:, at]), _TINY)
    return np.asarray(_SCALE / strongest_here, dtype=np.float32)


def second_scale(usual: Floats, slope: Floats) -> Floats:
    """What the second network's windows are multiplied with, (n,)."""
    return np.asarray(_SCALE / np.maximum(np.maximum(usual, slope), _TINY), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Context:
    """What surrounds each candidate: ``others`` for the second network, the ``usual`` slope of the beats around it, and
    the ``lean`` towards a beat that is added to the second network's logit.
    """

    others: Floats
    usual: Floats
    lean: Floats


def context(at: Indices, logits: Floats, slope: Floats, inner: Floats, leads: int = 1) -> Context:
    """Context of each candidate from the first network's logits.

    Args:
        at: candidates, ascending working samples.
        logits: the first network's, one per candidate.
        slope: slope at each candidate.
        inner: (n, leads * m) waveform near each candidate, one lead after the other, for likeness.
        leads: how many.
    """
    likely = (logits > 0.0).nonzero()[0]
    beats = likely[strongest(at[likely], logits[likely], REFRACTORY)]
    c = _NEIGHBOURS
    # beats that a candidate would replace are not its neighbours
    before = np.searchsorted(at[beats], at - REFRACTORY, side="right")
    after = np.searchsorted(at[beats], at + REFRACTORY, side="left")
    near = np.concatenate((before[:, None] + np.arange(c), after[:, None] + np.arange(c, 2 * c)), axis=1)
    away = np.full(c, _AWAY, np.float32)
    times = np.concatenate((-away, at[beats].astype(np.float32), away))
    usual_rr, spread = _rhythm(times, before)
    t = np.abs(times[near] - at.astype(np.float32)[:, None])
    there = t < _REMEMBERED
    count = there.sum(axis=1, dtype=np.float32)
    padding = np.full(c, -1)
    who = np.concatenate((padding, beats, padding))[near]
    heights = np.where(there, slope[who], np.float32(np.inf))
    usual = np.where(count > 0, _middle(heights, count), slope)
    strong = np.where(there, np.minimum(logits[who], np.float32(8)), np.float32(0))
    distance = np.minimum(t[:, c - 3 : c + 3] / usual_rr[:, None], np.float32(_FAR))
    gap = np.minimum((t[:, c] + t[:, c - 1]) / usual_rr, np.float32(2 * _FAR))
    beside = np.where(there, heights, usual[:, None])[:, c - 1 : c + 1]
    height = np.maximum(np.column_stack((slope, beside)), _TINY) / np.maximum(usual, _TINY)[:, None]
    logs = np.column_stack((np.maximum(distance[:, 2:4], np.float32(0.05)), usual_rr / np.float32(96), height))
    np.log(logs, out=logs)
    others = np.column_stack(
        (
            logits,
            distance,
            gap,
            logs,
            spread,
            count,
            strong[:, c - 2 : c + 2],
            strong.sum(axis=1) / np.maximum(count, 1),
            _likeness(inner, leads, beats, before, after, who, there),
            _rivals(at, logits),
        )
    )
    sure = strong.sum(axis=1) / (2 * c)
    return Context(others, usual, np.where(sure > _SURE, LEAN, np.float32(0)))


def _middle(values: Floats, count: Floats) -> Floats:
    """Lower median of each row, of which ``count`` values are finite."""
    ranked = np.sort(values, axis=1)
    middle: Floats = ranked[np.arange(len(values)), (np.maximum(count, 1).astype(np.int64) - 1) // 2]
    return middle


def _rhythm(times: Floats, before: Indices) -> tuple[Floats, Floats]:
    """Median distance of the beats around each candidate, and their quartiles' distance relative to it."""
    rr = np.diff(times)
    rr[(rr > _LONGEST_RR) | (rr <= 0)] = np.inf
    ranked = np.sort(rolling(rr, 2 * _NEIGHBOURS - 1), axis=1)
    count = (ranked < np.inf).sum(axis=1)
    row = np.arange(len(ranked))
    middle = np.where(count > 0, ranked[row, np.maximum(count - 1, 0) // 2], np.float32(96))
    enough = count > 3
    upper = np.where(enough, ranked[row, np.where(enough, 3 * count // 4, 0)], 0)
    lower = np.where(enough, ranked[row, count // 4], 0)
    spread = np.where(enough, (upper - lower) / middle, np.float32(0.5)).astype(np.float32)
    return middle[before], spread[before]


def _rivals(at: Indices, logits: Floats) -> Floats:
    """(n, 8): logit and distance (s) of the two candidates before and after each."""
    n = at.size
    end = np.full(2, -6, np.float32)
    logit = np.concatenate((end, np.minimum(logits, np.float32(8)), end))
    away = np.full(2, _AWAY, np.float32)
    time = np.concatenate((-away, at.astype(np.float32), away))
    columns = []
    for k in (-1, -2, 1, 2):
        columns.append(logit[2 + k : 2 + k + n])
        columns.append(np.minimum(np.abs(time[2 + k : 2 + k + n] - time[2 : 2 + n]), np.float32(240)) / np.float32(120))
    return np.column_stack(columns)


def _likeness(
    inner: Floats, leads: int, beats: Indices, before: Indices, after: Indices, who: Indices, there: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """(n, 4): correlation with the mean of the beats around (best of small shifts), with the most alike of the four
    nearest, with the one before, with the one after.
    """
    width = inner.shape[1]
    unit = inner / (np.sqrt(np.einsum("ij,ij->i", inner, inner)) + np.float32(1e-12))[:, None]
    sums = np.zeros((beats.size + 1, width))
    np.cumsum(unit[beats], axis=0, dtype=np.float64, out=sums[1:])
    near = sums[before] - sums[np.maximum(before - _NEIGHBOURS, 0)]
    near += sums[np.minimum(after + _NEIGHBOURS, beats.size)] - sums[after]
    mean = near.astype(np.float32)
    mean /= (np.sqrt(np.einsum("ij,ij->i", mean, mean)) + np.float32(1e-6))[:, None]
    closest = np.einsum("ij,ij->i", unit, mean)
    one, all_of_them = unit.reshape(len(unit), leads, -1), mean.reshape(len(unit), leads, -1)
    for lag in (2, 4):
        np.maximum(closest, np.einsum("ijk,ijk->i", one[..., lag:], all_of_them[..., :-lag]), out=closest)
        np.maximum(closest, np.einsum("ijk,ijk->i", one[..., :-lag], all_of_them[..., lag:]), out=closest)
    c = _NEIGHBOURS
    single = [np.einsum("ij,ij->i", unit, unit[who[:, k]]) * there[:, k] for k in range(c - 2, c + 2)]
    best = np.maximum(np.maximum(single[0], single[1]), np.maximum(single[2], single[3]))
    return np.column_stack((closest, best, single[1], single[2]))

"""What a usual beat looks like under each guess of which electrode lies where.

A beat is cut into 19 pieces (P, QRS, T), each lead's mean over a piece divided by the size of the whole QRS, so gain
and rate drop out. Every guess permutes electrodes: among the limbs that is a linear map of leads I and II (Einthoven;
the chest leads stay, since Wilson's terminal is the mean of all three), among the chest leads an exchange of rows.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.beat_measures import BeatMeasures
from teleread.signal.ecg.filters import Samples

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The rows of a description, in this order."""

LIMB_GUESSES = ("as_it_should_be", "ra_la", "la_ll", "ra_ll", "rotated_left", "rotated_right")
CHEST_PAIRS = tuple(itertools.combinations(range(6), 2))

_ORDERS = ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1))
_P_S = (-0.24, -0.20, -0.16, -0.12, -0.08)
_QRS_S = (-0.06, -0.044, -0.032, -0.02, -0.008, 0.004, 0.016, 0.028, 0.04, 0.056, 0.076)
_T_S = (0.10, 0.16, 0.22, 0.28, 0.34, 0.42)
WAVES = (slice(0, 4), slice(4, 14), slice(14, 19))
_GAINS = (3.0, 1.0, 3.0)
_FLOOR = 1e-3
_RARE = 1.0
_NO_QRS_MV = 1e-4

Maps = tuple[Samples, ...]
"""For each wave, ridge maps that tell leads from other leads."""


def _limb_maps() -> Samples:
    """(6, 2, 2): leads I and II under each order of the arms and the left leg."""
    potentials = np.array([[-1.0, -1.0], [2.0, -1.0], [-1.0, 2.0]]) / 3.0
    maps = []
    for order in _ORDERS:
        right, left, foot = potentials[list(order)]
        maps.append(np.stack([left - right, foot - right]))
    return np.stack(maps)


LIMB_MAPS = _limb_maps()


def describe(beats: BeatMeasures, rows: NDArray[np.intp]) -> Samples | None:
    """The beat of the eight independent leads in 19 pieces, shape (8, 19); None where no QRS is seen."""
    beat, r, fs = beats.beat_mv[rows], beats.r_index, beats.fs_hz
    pieces = []
    for edges in (_P_S, _QRS_S, _T_S):
        at = [min(max(r + round(edge * fs), 0), beat.shape[1] - 1) for edge in edges]
        pieces += [beat[:, a : max(b, a + 1)].mean(axis=1) for a, b in itertools.pairwise(at)]
    start, stop = r + round(_P_S[-1] * fs), max(r + round(_QRS_S[0] * fs), r + round(_P_S[-1] * fs) + 1)
    shape: Samples = np.asarray(np.stack(pieces, axis=1) - beat[:, start:stop].mean(axis=1, keepdims=True))
    size = float(np.sqrt((shape[:, WAVES[1]] ** 2).mean()))
    return np.asarray(shape / size, dtype=np.float64) if size > _NO_QRS_MV else None


def limb_versions(shapes: Samples) -> Samples:
    """(m, 6, 8, 19) from (m, 8, 19): the beat if each guess about the limbs were put right."""
    versions = np.repeat(shapes[:, None], len(_ORDERS), axis=1)
    versions[:, :, :2] = np.einsum("hij,njk->nhik", LIMB_MAPS, shapes[:, :2])
    return versions


def chest_versions(shapes: Samples) -> Samples:
    """(m, 16, 8, 19): the beat as it is, then with each pair of chest leads exchanged."""
    versions = np.repeat(shapes[:, None], 1 + len(CHEST_PAIRS), axis=1)
    for k, (i, j) in enumerate(CHEST_PAIRS, start=1):
        versions[:, k, [2 + i, 2 + j]] = shapes[:, [2 + j, 2 + i]]
    return versions


def limb_features(versions: Samples, maps: Maps) -> Samples:
    """(m, guesses, k): shapes, heights of waves, likeness of limb and chest leads, what the chest leads foretell."""
    every = _all_leads(versions)
    parts = _common(versions, every)
    for wave, foretell in zip(WAVES, maps, strict=True):
        seen = versions[..., :2, wave]
        error = ((seen - np.einsum("ji,nhjt->nhit", foretell, versions[..., 2:, wave])) ** 2).mean(axis=-1)
        power = (seen**2).mean(axis=(-1, -2))[..., None]
        parts += [np.log((error + _FLOOR) / (power + _FLOOR)), np.log(error.sum(axis=-1, keepdims=True) + _FLOOR)]
    parts.append(_likeness(every)[..., :6, 6:].reshape(*versions.shape[:2], -1))
    return np.concatenate(parts, axis=-1)


def chest_features(versions: Samples, maps: Maps) -> Samples:
    """(m, guesses, k): the same about the chest leads among themselves."""
    every = _all_leads(versions)
    parts = _common(versions, every)
    for wave, foretell in zip(WAVES, maps, strict=True):
        told = np.einsum("ji,nhjt->nhit", foretell, versions[..., wave])
        error = ((versions[..., 2:, wave] - told) ** 2).mean(axis=-1)
        parts += [np.log(error + _FLOOR), np.log(error.sum(axis=-1, keepdims=True) + _FLOOR)]
    likeness = _likeness(every)
    parts += [likeness[..., rows, 6:].reshape(*versions.shape[:2], -1) for rows in (slice(6, 12), slice(0, 2))]
    return np.concatenate(parts, axis=-1)


def said_guess(scores: Samples, margin: Samples, kind: str) -> int:
    """The guess to be said, 0 for none: any must be its margin ahead of the recording as it is, the likeliest is named.

    Two exchanges at once are rarer than one, so a guess about all three limbs must be likelier by far.
    """
    ahead = scores[1:] - scores[0]
    if not (ahead > margin).any():
        return 0
    rare = np.zeros(ahead.size)
    if kind == "limb":
        rare[3:] = _RARE
    return 1 + int(np.argmax(ahead - rare))


def _all_leads(versions: Samples) -> Samples:
    one, two = versions[..., 0, :], versions[..., 1, :]
    limb = np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2], axis=-2)
    return np.concatenate([limb, versions[..., 2:, :]], axis=-2)


def _common(versions: Samples, every: Samples) -> list[Samples]:
    parts = [0.5 * versions.reshape(*versions.shape[:2], -1)]
    for wave, gain in zip(WAVES, _GAINS, strict=True):
        parts += [np.tanh(gain * every[..., wave].max(axis=-1)), np.tanh(gain * every[..., wave].min(axis=-1))]
    return parts


def _likeness(every: Samples) -> Samples:
    qrs = every[..., WAVES[1]]
    unit = qrs / np.sqrt((qrs**2).sum(axis=-1, keepdims=True) + _FLOOR)
    return np.asarray(unit @ np.swapaxes(unit, -1, -2))

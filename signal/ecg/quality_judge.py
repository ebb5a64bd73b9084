"""Would experts call this twelve-lead recording acceptable? Small trees over explainable measures.

Learned from recordings that several people graded (training/ecg_quality.py); it looks at the worst, second and third
worst lead by each measure, never at a device, a format or the order of leads within limbs or chest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.beat_measures import BeatMeasures
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.lead_measures import LeadMeasures
from teleread.signal.ecg.record import STANDARD_LEADS

_NO_BEATS_MV = 9.0
_SMALL_IS_BAD = ("qrs_mv", "lead_likeness", "beat_mv", "span_mv")
_MEASURES = (
    "missing",
    "flat",
    "railed",
    "level_mv",
    "span_mv",
    "reach_mv",
    "qrs_mv",
    "mains_mv",
    "drift_mv",
    "swing_mv",
    "noise_mv",
    "noise_high_mv",
    "noisy",
    "jumps",
    "jolts",
    "unexplained",
    "lead_likeness",
    "residual_mv",
    "outside",
    "beat_mv",
)


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """Boosted trees of one depth, all nodes in one array; a leaf points to itself."""

    feature: NDArray[np.int64]
    limit: Samples
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: Samples
    roots: NDArray[np.int64]
    depth: int
    start: float
    threshold: float

    def probability(self, features: Samples) -> float:
        """That experts would refuse."""
        node = self.roots
        for _ in range(self.depth):
            node = np.where(features[self.feature[node]] <= self.limit[node], self.left[node], self.right[node])
        return float(1.0 / (1.0 + np.exp(-self.start - self.value[node].sum())))


@lru_cache(maxsize=1)
def trees() -> Trees:
    """The trees of the package."""
    source = resources.files("teleread.signal.ecg").joinpath("weights", "quality.weights")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as held:
        return Trees(
            feature=held["feature"].astype(np.int64),
            limit=held["limit"].astype(np.float64),
            left=held["left"].astype(np.int64),
            right=held["right"].astype(np.int64),
            value=held["value"].astype(np.float64),
            roots=held["roots"].astype(np.int64),
            depth=int(held["depth"]),
            start=float(held["start"]),
            threshold=float(held["threshold"]),
        )


def unacceptable_to_experts(
    m: LeadMeasures, beats: BeatMeasures | None, band: Samples, leads: Sequence[str]
) -> bool | None:
    """Whether experts would refuse it; None without all twelve standard leads. ``band`` is the QRS band (leads, n)."""
    if any(lead not in leads for lead in STANDARD_LEADS):
        return None
    rows = np.array([list(leads).index(lead) for lead in STANDARD_LEADS])
    judge = trees()
    return judge.probability(judge_features(m, beats, band, rows)) > judge.threshold


def judge_features(m: LeadMeasures, beats: BeatMeasures | None, band: Samples, rows: NDArray[np.intp]) -> Samples:
    """The order statistics of every measure over the twelve leads (six limb leads first), worst first."""
    count = band.shape[0]
    values = {"unexplained": _unexplained(band, rows[[0, 1, 6, 7, 8, 9, 10, 11]])}
    if beats is None:
        values |= {"lead_likeness": np.zeros(count), "beat_mv": np.zeros(count), "outside": np.ones(count)}
        values |= {"residual_mv": np.full(count, _NO_BEATS_MV)}
    else:
        values |= {"lead_likeness": beats.lead_likeness, "beat_mv": np.ptp(beats.beat_mv, axis=1)}
        values |= {"residual_mv": beats.residual_mv, "outside": beats.outside}
    table = np.stack([values[name] if name in values else getattr(m, name) for name in _MEASURES])[:, rows]
    sign = np.array([[-1.0 if name in _SMALL_IS_BAD else 1.0] for name in _MEASURES])
    worst_first = -np.sort(-sign * table, axis=1)
    chest = (sign * table)[:, 6:].max(axis=1)
    parts = [worst_first[:, k] for k in (0, 1, 2, 4, 6, 11)]
    whole = [0.0, 0.0] if beats is None else [float(beats.count), beats.likeness]
    features: Samples = np.concatenate([*parts, chest, whole])
    return features


def _unexplained(band: Samples, rows: NDArray[np.intp]) -> Samples:
    """How much of each lead's QRS band the other leads do not foretell, 0 … 1; 0 for rows that are not asked for."""
    share = np.zeros(band.shape[0])
    seen = band[rows]
    power = seen @ seen.T
    own = np.diag(power).copy()
    held = power + (1e-6 * own.mean() + 1e-9) * np.eye(len(rows))
    share[rows] = np.clip(1.0 / np.diag(np.linalg.inv(held)) / np.maximum(own, 1e-12), 0.0, 1.0)
    return share

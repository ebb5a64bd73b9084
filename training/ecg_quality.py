"""Trains the trees that say whether experts would accept a twelve-lead recording, and prints how they do unseen.

    python training/ecg_quality.py --data DATA/ecg --out signal/ecg/weights/quality.weights

Needs scikit-learn and wfdb. Graded recordings are CinC 2011 set a (601 of 1,000); LUDB and the recordings of CinC
2020/2021 are added as acceptable ones from other carts, in training only. The threshold comes from unseen recordings.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold

from teleread.signal.ecg import STANDARD_LEADS, detect_qrs
from teleread.signal.ecg.beat_measures import measure_beats
from teleread.signal.ecg.lead_faults import find_faults, judge_beats
from teleread.signal.ecg.lead_measures import MeasureLimits, measure_leads, views
from teleread.signal.ecg.quality_judge import judge_features
from teleread.signal.ecg.quality_types import LIMITS
from training.ecg_electrodes import recordings

DEPTH = 3
SEEDS = 4
FOLDS = 10
REPEATS = 2


def measured(x: np.ndarray, fs: float) -> tuple[np.ndarray, bool, bool]:
    """(features of a recording, whether the limits name any fault in it, whether they alone refuse it)."""
    seen = views(np.nan_to_num(x), fs)
    limits = MeasureLimits(LIMITS.flat_mv, LIMITS.noise_mv, LIMITS.jump_mv, LIMITS.jolt_mv)
    measures = measure_leads(seen, limits)
    faults = find_faults(measures, STANDARD_LEADS, LIMITS)
    live = ~faults.dead()
    peaks = detect_qrs(seen.whole[live], fs) if live.any() else np.empty(0, dtype=np.int64)
    beats = measure_beats(seen, peaks)
    faults = judge_beats(faults, measures, beats, STANDARD_LEADS, LIMITS)
    named = any(rows.any() for rows in faults.present.values())
    return judge_features(measures, beats, seen.band, np.arange(12)), named, bool(faults.lost.any())


def gather(data: Path, cache: Path | None) -> dict[str, np.ndarray]:
    if cache is not None and cache.exists():
        return dict(np.load(cache))
    held = np.load(data / "cinc2011" / "set_a.npz")
    graded = np.flatnonzero(held["acceptable"] >= 0)
    ecgs, rate = held["ecg_int16"], float(held["fs"])
    rows = [measured(ecgs[i] / 200.0, rate) for i in graded]
    more = [measured(x, fs)[0] for source, x, fs in recordings(data) if source != "cinc2011"]
    found = {
        "features": np.array([row for row, _, _ in rows]),
        "named": np.array([named for _, named, _ in rows]),
        "lost": np.array([lost for _, _, lost in rows]),
        "refused": held["acceptable"][graded] == 0,
        "accepted_elsewhere": np.array(more),
    }
    if cache is not None:
        np.savez(cache, **found)
    return found


def fit(x: np.ndarray, refused: np.ndarray, elsewhere: np.ndarray, seed: int) -> GradientBoostingClassifier:
    model = GradientBoostingClassifier(
        n_estimators=150,
        max_depth=DEPTH,
        learning_rate=0.05,
        subsample=0.6,
        max_features=0.15,
        min_samples_leaf=5,
        random_state=seed,
    )
    return model.fit(np.concatenate([x, elsewhere]), np.concatenate([refused, np.zeros(len(elsewhere), dtype=bool)]))


def log_odds(models: list[GradientBoostingClassifier], x: np.ndarray) -> np.ndarray:
    return np.mean([model.decision_function(x) for model in models], axis=0)


def unseen(held: dict[str, np.ndarray], repeat: int) -> np.ndarray:
    """Probability of a refusal for every recording, from trees that have not seen it."""
    x, refused = held["features"], held["refused"]
    odds = np.zeros(len(x))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(x, refused):
        models = [fit(x[train], refused[train], held["accepted_elsewhere"], seed) for seed in range(SEEDS)]
        odds[test] = log_odds(models, x[test])
    return 1.0 / (1.0 + np.exp(-odds))


def packed(models: list[GradientBoostingClassifier]) -> dict[str, np.ndarray]:
    """All nodes of all trees in one list; a leaf points to itself, so that every path has the same length."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("feature", "limit", "left", "right", "value")}
    roots, at = [], 0
    for model in models:
        for one in model.estimators_[:, 0]:
            tree = one.tree_
            own = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            roots.append(at)
            parts["feature"].append(np.where(leaf, 0, tree.feature))
            parts["limit"].append(np.where(leaf, 0.0, tree.threshold))
            parts["left"].append(at + np.where(leaf, own, tree.children_left))
            parts["right"].append(at + np.where(leaf, own, tree.children_right))
            parts["value"].append(np.where(leaf, tree.value[:, 0, 0] * model.learning_rate / len(models), 0.0))
            at += tree.node_count
    start = np.mean([model.init_.class_prior_[1] for model in models])
    whole = {name: np.concatenate(one) for name, one in parts.items()}
    kinds = {"feature": np.int16, "limit": np.float32, "left": np.int32, "right": np.int32, "value": np.float32}
    packed_nodes = {name: one.astype(kinds[name]) for name, one in whole.items()}
    return packed_nodes | {
        "roots": np.array(roots, dtype=np.int32),
        "depth": np.array(DEPTH),
        "start": np.array(np.log(start / (1 - start))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="keeps the measures between runs")
    args = parser.parse_args()
    held = gather(args.data, args.cache)
    refused, named, lost = held["refused"], held["named"], held["lost"]
    told = np.mean([unseen(held, repeat) for repeat in range(REPEATS)], axis=0)
    told = np.where(named, told, 0.0)
    sys.stdout.write(f"{len(refused)} graded recordings, {refused.sum()} refused; {FOLDS} folds, {REPEATS} times\n")
    grid = np.arange(0.1, 0.65, 0.025)
    for threshold in grid:
        says = lost | (told > threshold)
        right, found = np.mean(says == refused), says[refused].mean()
        sys.stdout.write(f"  {threshold:.3f}  accuracy {right:.4f}  refused found {found:.4f}\n")
    # the grades contradict each other at the border; within three of the best, rather ask once too often
    accuracy = np.array([np.mean((lost | (told > threshold)) == refused) for threshold in grid])
    threshold = float(grid[np.flatnonzero(accuracy >= accuracy.max() - 3.5 / len(refused))[0]])
    sys.stdout.write(f"threshold {threshold:.3f}\n")
    models = [fit(held["features"], refused, held["accepted_elsewhere"], seed) for seed in range(SEEDS)]
    note = "CinC 2011 set a (601 of 1,000), LUDB 1.0.1 (150), CinC 2020/2021 (81); training/ecg_quality.py"
    arrays = packed(models) | {"threshold": np.array(threshold), "sources": np.array(note)}
    with args.out.open("wb") as file:
        np.savez_compressed(file, **arrays, unseen=np.round(told, 3).astype(np.float32))


if __name__ == "__main__":
    main()

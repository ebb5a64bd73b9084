"""Trains the networks that say whether experts would accept a twelve-lead recording, and prints how they do unseen.

    python training/ecg_quality.py --data DATA/ecg --out signal/ecg/weights/quality.weights

Needs torch, scikit-learn and wfdb. Graded recordings are CinC 2011 set a (601 of 1,000); LUDB and the recordings of
CinC 2020/2021 are added as acceptable ones from other carts, every second of them once more with some leads spoilt
beyond doubt, in training only. The thresholds that judge a fold come
from the other folds.

Those who graded CinC 2011 became milder from the first number to the last: recordings alike to the eye were refused
early and accepted late, and nothing in a recording tells its number. So the networks may explain a grade by the
recording's place in the list while they learn, and judge from the middle of it. The script prints what accuracy can be
expected at best with and without knowing the place.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from teleread.signal.ecg import STANDARD_LEADS, detect_qrs
from teleread.signal.ecg.beat_measures import measure_beats
from teleread.signal.ecg.lead_faults import find_faults, judge_beats
from teleread.signal.ecg.lead_measures import MeasureLimits, measure_leads, views
from teleread.signal.ecg.quality_judge import BADNESS_BIAS, CHANNELS, KERNEL, STRIDE, look_at, networks
from teleread.signal.ecg.quality_types import LIMITS
from training.ecg_electrodes import recordings

NETS = 3
FOLDS = 5
EPOCHS = 30
BATCH = 32
WIDTHS = (16, 24, 24)
LEAD, HIDDEN = 12, 12
SMOOTH = 0.02
NEAR_BEST = 3.5
SPOILT_EVERY = 2


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def measured(x: np.ndarray, fs: float) -> tuple[np.ndarray, bool, bool]:
    """(what the networks see, whether the limits name any fault in it, whether they alone refuse it)."""
    seen = views(np.nan_to_num(x), fs)
    measures = measure_leads(seen, MeasureLimits(LIMITS.flat_mv, LIMITS.noise_mv, LIMITS.jump_mv))
    faults = find_faults(measures, STANDARD_LEADS, LIMITS)
    live = ~faults.dead()
    peaks = detect_qrs(seen.whole[live], fs) if live.any() else np.empty(0, dtype=np.int64)
    faults = judge_beats(faults, measures, measure_beats(seen, peaks), STANDARD_LEADS, LIMITS)
    named = any(rows.any() for rows in faults.present.values())
    return look_at(seen.work, seen.work_fs_hz), named, bool(faults.lost.any())


def looked(x: np.ndarray, fs: float) -> np.ndarray:
    seen = views(np.nan_to_num(x), fs)
    return look_at(seen.work, seen.work_fs_hz)


def spoilt(x: np.ndarray, fs: float, rng: np.random.Generator) -> np.ndarray:
    """Two to five leads of which nothing can be read, in ways that the graded recordings may not show."""
    x = np.nan_to_num(x)
    n = x.shape[1]
    t = np.arange(n) / fs
    kind = rng.integers(6)
    size = rng.uniform(0.7, 2.5)
    for row in rng.choice(12, rng.integers(2, 6), replace=False):
        if kind == 0:
            x[row] += size * np.sign(np.sin(2 * np.pi * rng.uniform(1.0, 8.0) * t))
        elif kind == 1:
            x[row] += size * np.sin(2 * np.pi * rng.uniform(4.0, 9.0) * t + row)
        elif kind == 2:
            x[row] += 0.3 * size * rng.standard_normal(n)
        elif kind == 3:
            x[row] += 1.2 * size * np.cumsum(rng.standard_normal(n)) / np.sqrt(fs)
        elif kind == 4:
            for at in rng.integers(0, n, 30):
                x[row, at : at + round(0.03 * fs)] += rng.choice((-2.0, 2.0)) * size
        else:
            at = rng.integers(0, n // 2)
            x[row, at : at + n // 2] = rng.choice((-2.0, 0.0, 2.0)) * size
    return x


def gather(data: Path, cache: Path | None) -> dict[str, np.ndarray]:
    if cache is not None and cache.exists():
        return dict(np.load(cache))
    held = np.load(data / "cinc2011" / "set_a.npz")
    graded = np.flatnonzero(held["acceptable"] >= 0)
    ecgs, rate = held["ecg_int16"], float(held["fs"])
    rows = [measured(ecgs[i] / 200.0, rate) for i in graded]
    steps = rows[0][0].shape[2]
    others = [(x, fs) for source, x, fs in recordings(data) if source != "cinc2011"]
    rng = np.random.default_rng(0)
    more = [looked(x, fs) for x, fs in others]
    worse = [looked(spoilt(x, fs, rng), fs) for x, fs in others[::SPOILT_EVERY]]
    found = {
        "seen": np.array([row for row, _, _ in rows]),
        "named": np.array([named for _, named, _ in rows]),
        "lost": np.array([lost for _, _, lost in rows]),
        "refused": held["acceptable"][graded] == 0,
        "place": graded / len(ecgs) - 0.5,
        "accepted_elsewhere": np.array([one for one in more if one.shape[2] == steps]),
        "spoilt_elsewhere": np.array([one for one in worse if one.shape[2] == steps]),
    }
    if cache is not None:
        np.savez(cache, **found)
    return found


class Net(torch.nn.Module):
    """As ``quality_judge.Experts`` computes it, and what the place in the list adds while it learns."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (CHANNELS, *WIDTHS)
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv1d(a, b, KERNEL, STRIDE, KERNEL // 2) for a, b in itertools.pairwise(sizes)
        )
        self.lead = torch.nn.Linear(3 * WIDTHS[-1], LEAD)
        self.badness = torch.nn.Linear(LEAD, 1)
        self.hidden = torch.nn.Linear(4 * LEAD + 2, HIDDEN)
        self.out = torch.nn.Linear(HIDDEN, 1)
        self.milder = torch.nn.Parameter(torch.zeros(1))
        self.drop_lead, self.drop = torch.nn.Dropout(0.25), torch.nn.Dropout(0.3)

    def forward(self, seen: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        count = seen.shape[0]
        h = seen.reshape(count * 12, CHANNELS, -1)
        for layer in self.convolutions:
            h = torch.relu(layer(h))
        pooled = torch.cat([h.mean(2), h.amax(2), h.diff(dim=2).abs().mean(2)], 1)
        lead = torch.relu(self.lead(self.drop_lead(pooled))).reshape(count, 12, LEAD)
        bad = torch.sigmoid(self.badness(lead)[..., 0] - BADNESS_BIAS)
        any_bad = -torch.log1p(-bad.clamp(max=0.999)).sum(1, keepdim=True) / 3.0
        parts = [lead.mean(1), lead.amax(1), lead[:, :6].amax(1), lead[:, 6:].amax(1), any_bad]
        whole = torch.cat([*parts, bad.amax(1, keepdim=True)], 1)
        return self.out(self.drop(torch.relu(self.hidden(self.drop(whole)))))[:, 0] + 3.0 * self.milder * place


def varied(seen: torch.Tensor) -> torch.Tensor:
    """Begun elsewhere, backwards, leads upside down, limb leads and chest leads in another order: graded the same."""
    turned = seen[:, :, [0, 2, 1, 3, 4, 5]].clone()
    turned[:, :, :3] *= -1.0
    seen = torch.where(torch.rand(len(seen), 12, 1, 1) < 0.5, turned, seen)
    seen = torch.roll(seen, int(torch.randint(seen.shape[3], (1,))), 3)
    if torch.rand(1) < 0.5:
        seen = seen.flip(3)
    return seen[:, torch.cat([torch.randperm(6), 6 + torch.randperm(6)])]


def fit(seen: np.ndarray, refused: np.ndarray, place: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    net = Net()
    x, y, at = (torch.tensor(one, dtype=torch.float32) for one in (seen, refused, place))
    y = y * (1.0 - 2.0 * SMOOTH) + SMOOTH
    parts = -(-len(x) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=EPOCHS * parts)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).tensor_split(parts):
            told = net(varied(x[rows]), at[rows])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(told, y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            plan.step()
    return arrays(net)


def arrays(net: Net) -> dict[str, np.ndarray]:
    kept = {f"c{k}": layer for k, layer in enumerate(net.convolutions)}
    kept |= {"lead": net.lead, "badness": net.badness, "hidden": net.hidden, "out": net.out}
    found = {}
    for name, layer in kept.items():
        weights = layer.weight.detach().numpy()
        weights = weights.reshape(len(weights), -1).T
        found[f"net_{name}_w"] = weights[:, 0] if name in ("badness", "out") else weights
        bias = layer.bias.detach().numpy()
        found[f"net_{name}_b"] = bias[0] if name in ("badness", "out") else bias
    return found


def ensemble(held: dict[str, np.ndarray], rows: np.ndarray, first_seed: int) -> dict[str, np.ndarray]:
    good, bad = held["accepted_elsewhere"], held["spoilt_elsewhere"]
    seen = np.concatenate([held["seen"][rows], good, bad])
    refused = np.concatenate([held["refused"][rows], np.arange(len(good) + len(bad)) >= len(good)])
    place = np.concatenate([held["place"][rows], np.zeros(len(good) + len(bad))])
    nets = [fit(seen, refused, place, first_seed + k) for k in range(NETS)]
    return {name: np.stack([net[name] for net in nets]).astype(np.float32) for name in nets[0]}


def told(parts: dict[str, np.ndarray], seen: np.ndarray) -> np.ndarray:
    judge = networks(parts, 0.5)
    return 1.0 / (1.0 + np.exp(-np.array([judge.log_odds(one) for one in seen])))


def unseen(held: dict[str, np.ndarray], jobs: int) -> tuple[np.ndarray, np.ndarray]:
    """(probability of a refusal from networks that have not seen the recording, its fold)."""
    refused = held["refused"]
    result, fold = np.zeros(len(refused)), np.zeros(len(refused), dtype=np.int64)
    parts = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(refused, refused))
    with ProcessPoolExecutor(jobs, get_context("spawn"), single_thread) as pool:
        seeds = [100 * (k + 1) for k in range(FOLDS)]
        made = pool.map(ensemble, [held] * FOLDS, [train for train, _ in parts], seeds)
        for k, ((_, test), one) in enumerate(zip(parts, made, strict=True)):
            result[test], fold[test] = told(one, held["seen"][test]), k
            say(f"  fold {k} done")
    return result, fold


def single_thread() -> None:
    torch.set_num_threads(1)


def chosen(probability: np.ndarray, lost: np.ndarray, refused: np.ndarray) -> float:
    """The lowest threshold within three errors of the best: the grades contradict each other at the border, and
    there it is better to ask once too often."""
    grid = np.arange(0.1, 0.7, 0.02)
    accuracy = np.array([np.mean((lost | (probability > one)) == refused) for one in grid])
    return float(grid[np.flatnonzero(accuracy >= accuracy.max() - NEAR_BEST / len(refused))[0]])


def report(held: dict[str, np.ndarray], probability: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Prints the figures; returns which recordings are refused unseen, thresholds from the other folds."""
    refused, lost = held["refused"], held["lost"]
    for one in np.arange(0.1, 0.7, 0.05):
        says = lost | (probability > one)
        say(f"  {one:.2f}  accuracy {np.mean(says == refused):.4f}  refused found {says[refused].mean():.4f}")
    says = np.zeros(len(refused), dtype=bool)
    for k in range(FOLDS):
        rest = fold != k
        threshold = chosen(probability[rest], lost[rest], refused[rest])
        says[~rest] = lost[~rest] | (probability[~rest] > threshold)
        say(f"  fold {k}: threshold {threshold:.2f} from the others")
    say(f"nested: accuracy {np.mean(says == refused):.4f}, refused found {says[refused].mean():.4f}")
    best_expected(held, probability)
    return says


def best_expected(held: dict[str, np.ndarray], probability: np.ndarray) -> None:
    """What the drift of the grades leaves: the accuracy to be expected of the best rule, by a logistic model."""
    place, refused = held["place"], held["refused"]
    odds = np.log(np.clip(probability, 0.01, 0.99) / (1.0 - np.clip(probability, 0.01, 0.99)))
    model = LogisticRegression(C=100.0).fit(np.stack([odds, place], axis=1), refused)

    def at(where: np.ndarray) -> np.ndarray:
        return model.predict_proba(np.stack([odds, where], axis=1))[:, 1]

    anywhere = np.mean([at(np.full(len(odds), one)) for one in np.linspace(-0.5, 0.5, 21)], axis=0)
    for name, p in (("knowing the place in the list", at(place)), ("not knowing it", anywhere)):
        say(f"expected accuracy of the best rule, {name}: {np.maximum(p, 1.0 - p).mean():.4f}")
    rest = refused - model.predict_proba(np.stack([odds, np.zeros(len(odds))], axis=1))[:, 1]
    seen = abs(np.corrcoef(place, rest)[0, 1])
    rng = np.random.default_rng(0)
    chance = [abs(np.corrcoef(rng.permutation(place), rest)[0, 1]) for _ in range(5000)]
    say(f"grades against place: correlation {seen:.3f}, as large by chance in {np.mean(np.array(chance) >= seen):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="keeps what the networks see between runs")
    parser.add_argument("--jobs", type=int, default=2, help="folds at a time")
    args = parser.parse_args()
    torch.set_num_threads(1)
    held = gather(args.data, args.cache)
    refused, named, lost = held["refused"], held["named"], held["lost"]
    say(f"{len(refused)} graded recordings, {refused.sum()} refused; {FOLDS} folds, {NETS} networks")
    probability, fold = unseen(held, args.jobs)
    probability = np.where(named, probability, 0.0)
    says = report(held, probability, fold)
    threshold = chosen(probability, lost, refused)
    say(f"threshold {threshold:.2f}")
    parts = ensemble(held, np.arange(len(refused)), 0)
    note = "CinC 2011 set a (601 of 1,000), LUDB 1.0.1 (150), CinC 2020/2021 (81); training/ecg_quality.py"
    kept = {"threshold": np.array(threshold), "sources": np.array(note), "unseen_refused": says & ~lost}
    with args.out.open("wb") as file:
        np.savez_compressed(file, **parts, **kept, unseen=np.round(probability, 3).astype(np.float32))


if __name__ == "__main__":
    main()

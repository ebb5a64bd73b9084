"""Trains the two networks of the QRS detector and says how good they are on recordings that did not train them.

    python -m training.ecg_qrs --data ecg [--folds 8] [--variants 6] [--out signal/ecg/weights/qrs.weights]

Recordings are split into folds by patient. The second network learns from what the first says of recordings that did
not train it (stacking); every figure printed is of recordings in the fold left out. The weights written are trained
on everything. Needs torch (CPU) and wfdb.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from teleread.signal.ecg import qrs_judge as judge
from teleread.signal.ecg.qrs_front import Floats, alive, candidates, prepare, strongest
from training.ecg_qrs_data import Source, Variant, recorded_noise, silence, sources, variants

SEED = 20260
FILTERS = 32


@dataclass
class Piece:
    """One variant made ready: candidates, what the first network sees of them, what they are."""

    source: int
    fold: int
    plain: bool
    at: NDArray[np.int64]
    windows: Floats
    bumps: Floats
    slope: Floats
    scale: Floats
    label: Floats
    weight: Floats
    beats: NDArray[np.int64]
    again: float = 1.0


def label(at: NDArray[np.int64], height: Floats, variant: Variant) -> tuple[Floats, Floats]:
    """1 for the candidate that stands for a beat; others near a beat weigh little or nothing."""
    y, w = np.zeros(at.size, np.float32), variant.weight[at].astype(np.float32)
    for beat in variant.beats:
        low, high = np.searchsorted(at, (beat - 18, beat + 19))
        if low == high:
            continue
        distance = np.abs(at[low:high] - beat)
        worth = np.where(distance <= 9, 1.0, 0.0) + np.minimum(height[low:high], 1.5) * 0.5 - distance / 18.0
        best = low + int(np.argmax(worth))
        near = np.arange(low, high)
        w[near[distance <= 9]] *= 0.1
        w[near[distance > 9]] *= 0.4
        y[best], w[best] = 1.0, variant.weight[beat]
    return y, w


def piece(variant: Variant, source: int, fold: int, is_plain: bool, importance: float) -> Piece | None:
    work = variant.signal[None]
    if not alive(work).all():
        return None
    front = prepare(work)
    slope, level = front.slope[0], front.level[0]
    at = candidates(slope, level)
    if at.size < 2:
        return None
    y, w = label(at, slope[at] / np.maximum(level[at], 1e-9), variant)
    seen = judge.windows(front, at)[0, :, judge.COLUMNS].T.copy()
    return Piece(source, fold, is_plain, at, seen, judge.bumps(front, at)[0], slope[at],
                 judge.first_scale(front, at)[0], y, w * np.float32(importance), variant.beats)  # fmt: skip


def dataset(found: list[Source], folds: NDArray[np.int64], count: int, noise: NDArray[np.float64]) -> list[Piece]:
    worth = {
        "mitdb": 1.0,
        "cpsc2019s": 6.0,
        "cpsc2021s": 0.7,
        "ludb": 1.5,
        "twelve": 1.0,
        "cinc2011": 1.0,
        "simulated": 0.7,
    }
    pieces = []
    for i, one in enumerate(found):
        many = {"cpsc2019s": 8 * count, "mitdb": count, "cpsc2021s": count}.get(one.database, max(1, count // 2))
        for k, variant in enumerate(variants(one, many, noise, SEED)):
            made = piece(variant, i, int(folds[i]), k == 0, worth[one.database] * one.worth)
            if made is not None:
                made.again = one.again
                pieces.append(made)
    rng = np.random.default_rng(SEED)
    for k in range(30 * count):
        made = piece(silence(60, noise, rng), -1, k % (int(folds.max()) + 1), False, 1.0)
        if made is not None:
            pieces.append(made)
    return pieces


class Net(torch.nn.Module):
    def __init__(self, columns: int, others: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.waveform = torch.nn.Linear(columns, FILTERS, bias=False)
        sizes = (FILTERS + others, *hidden, 1)
        self.dense = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in pairwise(sizes))
        self.drop = torch.nn.Dropout(0.1)

    def forward(self, windows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        h = torch.cat((self.waveform(windows).abs(), others), dim=1)
        for layer in self.dense[:-1]:
            h = self.drop(torch.relu(layer(h)))
        return self.dense[-1](h)[:, 0]


def fit(windows: Floats, others: Floats, y: Floats, w: Floats, hidden: tuple[int, ...], epochs: int, seed: int
        ) -> dict[str, Floats]:  # fmt: skip
    torch.manual_seed(seed)
    shift, scale = others.mean(axis=0), 1.0 / (others.std(axis=0) + 1e-3)
    net = Net(windows.shape[1], others.shape[1], hidden)
    xs, os_ = torch.from_numpy(windows), torch.from_numpy((others - shift) * scale)
    ys, ws = torch.from_numpy(y), torch.from_numpy(w)
    batch = 2048
    steps = epochs * (len(y) // batch)
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=2e-2)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=steps + 1, pct_start=0.2)
    loss = torch.nn.BCEWithLogitsLoss(reduction="none")
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(y), generator=generator)
        for k in range(len(y) // batch):
            take = order[k * batch : (k + 1) * batch]
            opt.zero_grad()
            target = ys[take] * 0.995 + 0.0025
            out = (loss(net(xs[take], os_[take]), target) * ws[take]).mean()
            out.backward()
            opt.step()
            plan.step()
    arrays = {"waveform": net.waveform.weight.detach().numpy().T.copy(), "shift": shift, "scale": scale}
    for k, layer in enumerate(net.dense):
        arrays[f"w{k}"] = layer.weight.detach().numpy().T.copy()
        arrays[f"b{k}"] = layer.bias.detach().numpy().copy()
    return {key: value.astype(np.float32) for key, value in arrays.items()}


def apply(net: dict[str, Floats], windows: Floats, others: Floats) -> Floats:
    layers = tuple((net[f"w{k}"], net[f"b{k}"]) for k in range(sum(key[0] == "b" for key in net)))
    return judge.Network(net["waveform"], net["shift"], net["scale"], layers)(
        windows, np.ones(len(windows), np.float32), others
    )


_EASY = 0.3


def easy(p: Piece) -> NDArray[np.bool_]:
    """Small bumps that are no beats: a share of them is enough."""
    own = p.bumps[:, judge.BUMP_REACH // judge.BUMP_STEP]
    quiet: NDArray[np.bool_] = (p.label == 0) & (own < np.log(0.2 / 0.05 + 1))
    return quiet


def first_rows(pieces: list[Piece]) -> tuple[Floats, Floats, Floats, Floats]:
    """Inputs, labels and weights of the first network; easy candidates without weight are dropped."""
    rng = np.random.default_rng(SEED)
    keep = [np.flatnonzero((p.weight > 0) & (~easy(p) | (rng.random(p.at.size) < _EASY))) for p in pieces]
    windows = np.concatenate([p.windows[k] * p.scale[k, None] for p, k in zip(pieces, keep, strict=True)])
    bumps = np.concatenate([p.bumps[k] for p, k in zip(pieces, keep, strict=True)])
    y = np.concatenate([p.label[k] for p, k in zip(pieces, keep, strict=True)])
    w = np.concatenate([p.weight[k] / np.where(easy(p)[k], _EASY, 1) for p, k in zip(pieces, keep, strict=True)])
    w = w.astype(np.float32)
    return windows, bumps, y, w


INNER = np.flatnonzero(np.abs(judge.COLUMNS - judge.REACH) <= judge.LIKE_REACH)


def second_inputs(p: Piece, logits: Floats) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    """(which candidates, windows, others, lean) for the second network."""
    kept = np.flatnonzero(logits > judge.HOPELESS)
    if kept.size == 0:
        return kept, p.windows[kept], np.zeros((0, 1), np.float32), np.zeros(0, np.float32)
    around = judge.context(p.at[kept], logits[kept], p.slope[kept], p.windows[kept][:, INNER])
    scale = judge.second_scale(around.usual, p.slope[kept])
    return kept, p.windows[kept] * scale[:, None], around.others, around.lean


def score(p: Piece, ratio: float, found: NDArray[np.int64], tolerance: float, ignored: tuple[tuple[float, float], ...]
          ) -> tuple[int, int, int]:  # fmt: skip
    """(beats, missed, extra) of decisions at the working rate."""
    y = found
    for start, stop in ignored:
        y = y[(y < start) | (y > stop)]
    beats = p.beats
    for start, stop in ignored:
        beats = beats if p.source < 0 else beats[(beats < start) | (beats > stop)]
    i = j = paired = 0
    while i < beats.size and j < y.size:
        d = y[j] - beats[i]
        if d < -tolerance:
            j += 1
        elif d > tolerance:
            i += 1
        else:
            paired += 1
            i += 1
            j += 1
    return beats.size, beats.size - paired, y.size - paired


def decide(at: NDArray[np.int64], logits: Floats, threshold: float = 0.0) -> NDArray[np.int64]:
    likely = np.flatnonzero(logits > threshold)
    return at[likely[strongest(at[likely], logits[likely], judge.REFRACTORY)]]


def folds_of(found: list[Source], count: int) -> NDArray[np.int64]:
    """Fold of each source: groups of a database are dealt out in turn."""
    fold: dict[str, int] = {}
    for database in sorted({s.database for s in found}):
        groups = sorted({s.group for s in found if s.database == database})
        np.random.default_rng(SEED).shuffle(groups)
        fold.update({group: k % count for k, group in enumerate(groups)})
    return np.array([fold[s.group] for s in found])


def report(name: str, pieces: list[Piece], found: list[Source], decisions: dict[int, NDArray[np.int64]]) -> None:
    rng = np.random.default_rng(0)
    print(f"## {name}")
    for database, tolerance in (
        ("mitdb", 18),
        ("cpsc2019s", 9),
        ("ludb", 18),
        ("cpsc2021s", 18),
        ("cinc2011", 18),
        ("simulated", 9),
    ):
        rows = []
        for k, p in enumerate(pieces):
            if p.plain and p.source >= 0 and found[p.source].database == database and k in decisions:
                one = found[p.source]
                rows.append((one.group, *score(p, one.ratio, decisions[k], tolerance, one.ignored)))
        if not rows:
            continue
        n = np.array([r[1:] for r in rows], float)
        draw = rng.integers(0, len(rows), (2000, len(rows)))
        der = 100 * n[draw, 1:].sum(axis=(1, 2)) / n[draw, 0].sum(axis=1)
        total = n.sum(axis=0)
        tp = total[0] - total[1]
        print(f"{database}: {int(total[0])} beats, missed {int(total[1])}, extra {int(total[2])}, "
              f"DER {100 * (total[1] + total[2]) / total[0]:.3f} % "
              f"({np.percentile(der, 2.5):.3f} to {np.percentile(der, 97.5):.3f}), "
              f"F1 {200 * tp / (2 * tp + total[1] + total[2]):.3f}")  # fmt: skip
        worst = sorted(rows, key=lambda r: -(r[2] + r[3]) / max(1, r[1]))[:9]
        print("  worst:", ", ".join(f"{g} -{m} +{e}" for g, _, m, e in worst if m + e))


def first_stage(pieces: list[Piece], count: int, epochs: int) -> tuple[list[dict[str, Floats]], list[Floats]]:
    """First networks by fold left out (the last leaves nothing out), and logits by the one that did not see it."""
    nets = []
    for fold in range(count + 1):
        begun = time.process_time()
        chosen = [p for p in pieces if p.fold != fold]
        nets.append(fit(*first_rows(chosen), (32, 16), epochs, SEED + fold))
        print(f"first, fold {fold}: {time.process_time() - begun:.0f} s", flush=True)
    return nets, [apply(nets[p.fold], p.windows * p.scale[:, None], p.bumps) for p in pieces]


def second_stage(pieces: list[Piece], logits: list[Floats], count: int, epochs: int
                 ) -> tuple[list[dict[str, Floats]], dict[int, NDArray[np.int64]]]:  # fmt: skip
    """Second networks by fold left out, and decisions of the plain recordings by the one that did not see them."""
    seen = [second_inputs(p, z) for p, z in zip(pieces, logits, strict=True)]
    nets, decisions = [], {}
    for fold in range(count + 1):
        begun = time.process_time()
        rows = [(p, s) for p, s in zip(pieces, seen, strict=True) if p.fold != fold and s[0].size]
        parts = [(s[1], s[2], p.label[s[0]], p.weight[s[0]] * np.float32(p.again)) for p, s in rows]
        inputs = [np.concatenate(column) for column in zip(*parts, strict=True)]
        use = inputs[3] > 0
        nets.append(fit(*(a[use] for a in inputs), (32, 16), epochs, SEED + fold))  # type: ignore[call-arg]
        print(f"second, fold {fold}: {time.process_time() - begun:.0f} s", flush=True)
        for k, (p, s) in enumerate(zip(pieces, seen, strict=True)):
            if p.plain and p.fold == fold:
                empty = np.empty(0, np.int64)
                decisions[k] = decide(p.at[s[0]], apply(nets[fold], s[1], s[2]) + s[3]) if s[0].size else empty
    return nets, decisions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mitdb, cpsc2019s, cpsc2021s, ludb, nstdb")
    parser.add_argument("--folds", type=int, default=6)
    parser.add_argument("--variants", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="weights trained on everything, as shipped")
    parser.add_argument("--folds-out", type=Path, help="networks by fold, for benchmarks/ecg_qrs.py --folds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = sources(options.data)
    folds = folds_of(found, options.folds)
    pieces = dataset(found, folds, options.variants, recorded_noise(options.data))
    print(f"{len(found)} recordings, {len(pieces)} variants, {sum(p.at.size for p in pieces)} candidates", flush=True)
    firsts, logits = first_stage(pieces, options.folds, options.epochs)
    alone = {k: decide(p.at, z) for k, (p, z) in enumerate(zip(pieces, logits, strict=True)) if p.plain}
    report("first network alone", pieces, found, alone)
    seconds, decisions = second_stage(pieces, logits, options.folds, options.epochs)
    report("both networks", pieces, found, decisions)
    if options.out:
        named = ", ".join(f"{n} of {d}" for d, n in sorted(Counter(s.database for s in found).items()))
        text = np.array(f"trained by training/ecg_qrs.py on {named}; noise of nstdb/118e24")
        with options.out.open("wb") as file:
            np.savez(file, sources=text, **pair(firsts[-1], seconds[-1]))
    if options.folds_out:
        save_folds(options.folds_out, found, folds, firsts, seconds)
    return 0


def pair(first: dict[str, Floats], second: dict[str, Floats], prefix: str = "") -> dict[str, Floats]:
    """Both networks' arrays under the names that the detector reads."""
    named = {f"{prefix}first.{k}": v for k, v in first.items()}
    return named | {f"{prefix}second.{k}": v for k, v in second.items()}


def save_folds(path: Path, found: list[Source], folds: NDArray[np.int64], firsts: list[dict[str, Floats]],
               seconds: list[dict[str, Floats]]) -> None:  # fmt: skip
    """The networks of every fold and which recordings they did not see, for benchmarks/ecg_qrs.py."""
    arrays: dict[str, Floats] = {}
    for k in range(int(folds.max()) + 1):
        arrays |= pair(firsts[k], seconds[k], f"{k}.")
    np.savez(path, groups=np.array([s.group for s in found]), fold=folds, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    raise SystemExit(main())

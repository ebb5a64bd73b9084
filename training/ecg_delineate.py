"""Trains the network of ``signal/ecg/delineate_net.py`` on LUDB and tells how well it does on unseen records.

    python -m training.ecg_delineate prepare --ludb DIR --nstdb DIR --out FILE.npz
    python -m training.ecg_delineate fold  --data FILE.npz --fold 0 --folds 3 --out FOLDER
    python -m training.ecg_delineate all   --data FILE.npz --steps 3000 --out signal/ecg/weights/delineate.weights

Then the same once more with ``--start WEIGHTS --steps 1000`` and another ``--out``: a short second course.
Needs torch and (to prepare) wfdb. Each lead of each record is a sample; a fold leaves out whole records, and what it
writes (``fold_K.npz``) are the weights that those records have not seen, for benchmarks/ecg_delineation.py.
Deterministic on one machine: one thread, seeded.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

FS_SOURCE = 500.0
FS = 250.0
LENGTH = 2048
WAVES = {"p": 1, "N": 2, "t": 3}
SEED = 20240611


# ---------------------------------------------------------------- data


def marks(symbols: list[str], samples: list[int]) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
    """Whole waves (class, on, off) and the stretches where a mark lacks one of its ends and nothing can be learned."""
    waves, unsure = [], []
    for i, symbol in enumerate(symbols):
        if symbol not in WAVES:
            continue
        on = samples[i - 1] if i and symbols[i - 1] == "(" else None
        off = samples[i + 1] if i + 1 < len(symbols) and symbols[i + 1] == ")" else None
        if on is None or off is None:
            unsure.append((samples[i] - 60 if on is None else on, samples[i] + 60 if off is None else off))
        else:
            waves.append((WAVES[symbol], on, off))
    return waves, unsure


def prepare(args: argparse.Namespace) -> None:
    import wfdb

    names = sorted((p.stem for p in Path(args.ludb).glob("*.hea")), key=int)
    signals, spans, rows = [], [], []
    for r, name in enumerate(names):
        record = wfdb.rdrecord(f"{args.ludb}/{name}")
        for k, lead in enumerate(record.sig_name):
            note = wfdb.rdann(f"{args.ludb}/{name}", lead.lower())
            waves, unsure = marks(list(note.symbol), [int(s) for s in note.sample])
            spans.append((note.sample[0], note.sample[-1]))
            rows += [(r, k, *w) for w in waves] + [(r, k, 0, *u) for u in unsure]
        signals.append(record.p_signal.T.astype(np.float32))
    clean, noisy = (wfdb.rdrecord(f"{args.nstdb}/{n}").p_signal for n in ("118", "118e24"))
    noise = (noisy - clean).T[:, 108000:]  # the first five minutes are left clean
    noise = np.stack([np.interp(np.arange(0, n.size, 360 / FS), np.arange(n.size), n) for n in noise])
    np.savez(
        args.out,
        names=np.array([int(n) for n in names]),
        signals=np.stack(signals),
        spans=np.array(spans).reshape(len(names), -1, 2),
        waves=np.array(rows),
        noise=noise.astype(np.float32),
    )


class Examples:
    """Augmented examples: network input (2, LENGTH), soft targets (4, LENGTH / 2), weights (LENGTH / 2)."""

    def __init__(self, data: dict[str, np.ndarray], seed: int, hard: bool = False) -> None:
        self.data = data
        self.hard = hard
        self.random = np.random.default_rng(seed)
        waves = data["waves"]
        self.of = {}
        key = waves[:, 0] * 100 + waves[:, 1]
        for r, k in np.ndindex(data["signals"].shape[:2]):
            self.of[r, k] = waves[key == r * 100 + k][:, 2:]

    def batch(self, pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        made = [self.example(r, k) for r, k in pairs]
        return tuple(np.stack(part).astype(np.float32) for part in zip(*made, strict=True))  # type: ignore[return-value]

    def example(self, r: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        from teleread.signal.ecg.delineate_net import network_input, without_baseline

        rng = self.random
        source = self.data["signals"][r, k].astype(float)
        lo, hi = self.data["spans"][r, k]
        ours = self.of[r, k].copy()
        if rng.random() < 0.35:
            source, ours = self.altered(source, ours)
        if self.hard and rng.random() < 0.3:
            source, ours = self.blocked(source, ours)
        draw = rng.random()
        stretch = np.exp(rng.uniform(-0.6, -0.2) if draw < 0.12 else rng.uniform(-0.22, 0.22) if draw < 0.75 else 0.0)
        room = source.size / FS_SOURCE * stretch - LENGTH / FS
        start_s = rng.uniform(min(0.0, room), max(0.0, room))
        at = (start_s + np.arange(LENGTH) / FS) / stretch * FS_SOURCE
        smooth = np.convolve(source, [0.25, 0.5, 0.25], "same")
        smooth[0], smooth[-1] = smooth[1], smooth[-2]
        x = np.interp(at, np.arange(source.size), smooth)
        x = self.disturbed(x * (-1.0 if rng.random() < 0.25 else 1.0))
        silent = self.hard and rng.random() < 0.03  # nothing but noise, so that noise is nothing
        if silent:
            x = self.disturbed(rng.standard_normal(x.size) * (np.std(x) + 1e-3))
        # network frames are two samples wide, so frame k reaches from 2 k - 0.5 to 2 k + 1.5
        edges = (start_s + (np.arange(0, LENGTH + 1, 2) - 0.5) / FS) / stretch * FS_SOURCE
        target = np.zeros((4, LENGTH // 2))
        weight = ((edges[:-1] >= lo - 2) & (edges[1:] <= hi + 2)).astype(float)
        for wave in (0, 1, 2, 3):
            some = ours[ours[:, 0] == wave][:, 1:].astype(float)
            if some.size == 0:
                continue
            some = some[np.argsort(some[:, 0])]
            length = np.cumsum(some[:, 1] - some[:, 0])
            cumulative = np.ravel(np.column_stack((length - (some[:, 1] - some[:, 0]), length)))
            cover = np.diff(np.interp(edges, np.maximum.accumulate(some.ravel()), cumulative)) / np.diff(edges)
            if wave == 0:
                weight[cover > 0] = 0.0
            else:
                target[wave] = np.clip(cover, 0.0, 1.0)
        if silent:
            target[:], weight[:] = 0.0, 1.0
        total = target.sum(axis=0)
        target /= np.maximum(total, 1.0)
        target[0] = 1.0 - target[1:].sum(axis=0)
        return network_input(without_baseline(x)), target, weight

    def blocked(self, source: np.ndarray, ours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One of the P waves once more, between T and P where there is room: as with blocked or dissociated atria."""
        rng, source = self.random, source.copy()
        p = ours[ours[:, 0] == 1]
        every = ours[np.argsort(ours[:, 1])]
        made = []
        for (before, _, end), (after, begin, _) in pairwise(every):
            if p.size == 0 or before != 3 or after not in (1, 2) or rng.random() > 0.7:
                continue
            _, on, off = p[rng.integers(len(p))]
            room = begin - end - (off - on) - 30
            if room > 0:
                at = end + 15 + int(rng.integers(room))
                source[at : at + off - on + 1] += source[on : off + 1] - np.linspace(
                    source[on], source[off], off - on + 1
                )
                made.append((1, at, at + off - on))
        return source, np.concatenate((ours, made)) if made else ours

    def altered(self, source: np.ndarray, ours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P and T made smaller, larger or upside down; or P taken away and fibrillation put in their place."""
        rng, source = self.random, source.copy()
        fibrillates = rng.random() < 0.3
        gains = {1: 0.0 if fibrillates else rng.uniform(0.35, 1.4), 2: 1.0, 3: rng.uniform(0.4, 1.4)}
        if rng.random() < 0.2:
            gains[3] = -rng.uniform(0.3, 1.0)
        for wave, on, off in ours:
            if wave and gains[wave] != 1.0:
                line = np.linspace(source[on], source[off], off - on + 1)
                source[on : off + 1] = line + gains[wave] * (source[on : off + 1] - line)
        if not fibrillates:
            return source, ours
        t = np.arange(source.size) / FS_SOURCE
        wander = np.interp(t, np.arange(0.0, 11.0), rng.standard_normal(11))
        phase = 2 * np.pi * (rng.uniform(4.0, 8.0) * t + 0.15 * wander)
        shape = np.sin(phase) + rng.uniform(0.0, 0.6) * np.sin(2 * phase + rng.uniform(0, 6.28))
        height = np.percentile(np.abs(source - np.median(source)), 99.5) * 10 ** rng.uniform(-2.2, -0.9)
        grow = 1.0 + 0.4 * np.interp(t, np.arange(0.0, 11.0, 0.5), rng.standard_normal(22))
        # where the marks lack an end, a P wave may have been left standing
        return source + height * grow * shape, ours[ours[:, 0] != 1]

    def disturbed(self, x: np.ndarray) -> np.ndarray:
        rng = self.random
        size = np.percentile(np.abs(x - np.median(x)), 99) + 1e-6
        t = np.arange(x.size) / FS
        if rng.random() < 0.35:
            x = x + size * rng.uniform(0, 0.6) * np.sin(2 * np.pi * (rng.uniform(0.05, 0.5) * t + rng.random()))
        if rng.random() < 0.3:
            x = x + size * 10 ** rng.uniform(-2.5, -1.0) * rng.standard_normal(x.size)
        if rng.random() < 0.15:
            height = size * 10 ** rng.uniform(-2.5, -0.8)
            x = x + height * np.sin(2 * np.pi * (rng.choice([50.0, 60.0]) * t + rng.random()))
        if rng.random() < 0.2:
            noise = self.data["noise"]
            at = rng.integers(0, noise.shape[1] - x.size)
            part = noise[rng.integers(0, 2), at : at + x.size]
            x = x + size * 10 ** rng.uniform(-2.0, -0.7) * part / (part.std() + 1e-9)
        if rng.random() < 0.2:  # a narrower band, as carts with a muscle filter and slower rates have
            width = int(rng.integers(2, 6))
            narrow = np.convolve(x, np.ones(width) / width, "same" if width % 2 else "full")[: x.size]
            if width % 2:
                x = narrow
            elif not self.hard:
                x = np.convolve(narrow, np.ones(2) / 2, "same")
            else:  # an even mean lags by half a sample more than width / 2 - 1; here it is taken back exactly
                x = np.convolve(np.convolve(x, np.ones(width) / width), np.ones(2) / 2)[width // 2 :][: x.size]
        return x


# ---------------------------------------------------------------- network


def network(torch):  # type: ignore[no-untyped-def]
    from teleread.signal.ecg.delineate_net import CHANNELS, KERNELS

    nn = torch.nn

    def unit(a, b, k, stride=1):  # type: ignore[no-untyped-def]
        return nn.Sequential(nn.Conv1d(a, b, k, stride, (k - stride) // 2, bias=False), nn.BatchNorm1d(b), nn.ReLU())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            c, k = CHANNELS, KERNELS
            self.enter = unit(2, c[0], 10, 2)
            self.down = nn.ModuleList(unit(c[i - 1], c[i], 4, 2) for i in range(1, len(c)))
            self.keep = nn.ModuleList(unit(c[i], c[i], k[i]) for i in range(len(c)))
            self.deep = unit(c[-1], c[-1], k[-1])
            self.side = nn.ModuleList(nn.Conv1d(c[i + 1], c[i], 1) for i in range(len(c) - 1))
            self.up = nn.ModuleList(unit(c[i], c[i], k[i]) for i in range(len(c) - 1))
            self.head = nn.Conv1d(c[0], 4, 5, padding=2)

        def forward(self, x):  # type: ignore[no-untyped-def]
            x = self.enter(x)
            kept = []
            for i, keep in enumerate(self.keep):
                x = keep(self.down[i - 1](x) if i else x)
                kept.append(x)
            x = kept[-1] + self.deep(x)
            for i in range(len(self.side) - 1, -1, -1):
                x = self.up[i](kept[i] + torch.repeat_interleave(self.side[i](x), 2, dim=2))
            return self.head(x)

    return Net()


def folded(net) -> dict[str, np.ndarray]:  # type: ignore[no-untyped-def]
    """Weights with each batch normalisation folded into its convolution: name.w (out, in, k), name.b (out,)."""
    out = {}

    def take(name, unit):  # type: ignore[no-untyped-def]
        if not hasattr(unit, "__getitem__"):
            out[name + ".w"], out[name + ".b"] = unit.weight.detach().numpy(), unit.bias.detach().numpy()
            return
        conv, norm = unit[0], unit[1]
        gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
        out[name + ".w"] = (conv.weight.detach() * gain[:, None, None]).numpy()
        out[name + ".b"] = (norm.bias - norm.running_mean * gain).detach().numpy()

    take("enter", net.enter)
    take("deep", net.deep)
    take("head", net.head)
    for part in ("down", "keep", "side", "up"):
        for i, unit in enumerate(getattr(net, part)):
            take(f"{part}{i + 1 if part == 'down' else i}", unit)
    return {name: np.ascontiguousarray(w, dtype=np.float32) for name, w in out.items()}


def train(data: dict[str, np.ndarray], records: np.ndarray, seed: int, steps: int, batch: int):  # type: ignore[no-untyped-def]
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    examples = Examples(data, seed)
    net = network(torch)
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps, pct_start=0.15)
    swa = torch.optim.swa_utils
    mean_net = swa.AveragedModel(net, multi_avg_fn=swa.get_ema_multi_avg_fn(0.99), use_buffers=True)
    begun, total = time.process_time(), 0.0
    order: list[tuple[int, int]] = []
    for step in range(steps):
        while len(order) < batch:
            pool = [(int(r), k) for r in records for k in range(12)]
            examples.random.shuffle(pool)
            order += pool
        chosen, order = order[:batch], order[batch:]
        x, y, w = (torch.from_numpy(a) for a in examples.batch(chosen))
        loss = -(y * torch.log_softmax(net(x), 1)).sum(1)
        loss = (loss * w).sum() / w.sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        mean_net.update_parameters(net)
        total += loss.item()
        if step % 50 == 49:
            sys.stderr.write(f"step {step + 1} loss {total / 50:.4f} cpu {time.process_time() - begun:.0f} s\n")
            total = 0.0
    return mean_net.module.eval()


def unfolded(torch, start: str):  # type: ignore[no-untyped-def]
    """A network whose normalisations are the identity, with the weights that ``folded`` wrote."""
    net = network(torch)
    stored = np.load(start, allow_pickle=False)
    with torch.no_grad():
        parts = {"enter": net.enter, "deep": net.deep, "head": net.head}
        for part in ("down", "keep", "side", "up"):
            parts |= {f"{part}{i + (part == 'down')}": unit for i, unit in enumerate(getattr(net, part))}
        for name, unit in parts.items():
            w, b = (torch.from_numpy(stored[f"{name}.{what}"]) for what in "wb")
            if isinstance(unit, torch.nn.Sequential):
                unit[0].weight.copy_(w)
                unit[1].bias.copy_(b)
                unit[1].running_var.fill_(1.0 - unit[1].eps)
            else:
                unit.weight.copy_(w)
                unit.bias.copy_(b)
    return net.eval()


def refine(data: dict[str, np.ndarray], records: np.ndarray, seed: int, steps: int, batch: int, start: str):  # type: ignore[no-untyped-def]
    """A short second course with blocked P waves and silence, from weights of the first, normalisation held."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    examples = Examples(data, seed + 1000, hard=True)
    net = unfolded(torch, start)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, total_steps=steps, pct_start=0.1)
    total = 0.0
    for step in range(steps):
        chosen = [(int(examples.random.choice(records)), int(examples.random.integers(12))) for _ in range(batch)]
        x, y, w = (torch.from_numpy(a) for a in examples.batch(chosen))
        loss = (-(y * torch.log_softmax(net(x), 1)).sum(1) * w).sum() / w.sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % 25 == 24:
            sys.stderr.write(f"step {step + 1} loss {total / 25:.4f}\n")
            total = 0.0
    return net


SOURCES = "trained on LUDB 1.0.1 (ODC-By 1.0) with noise of the MIT-BIH noise stress test (ODC-By 1.0)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "fold", "all"))
    for name in ("ludb", "nstdb", "data", "out", "start"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=24)
    args = parser.parse_args()
    if args.what == "prepare":
        prepare(args)
        return
    data = dict(np.load(args.data))
    records = np.arange(len(data["names"]))
    unseen = records[records % args.folds == args.fold] if args.what == "fold" else records[:0]
    seen = np.setdiff1d(records, unseen)
    if args.start:
        net = refine(data, seen, SEED + args.fold, args.steps, args.batch, args.start)
    else:
        net = train(data, seen, SEED + args.fold, args.steps, args.batch)
    target = Path(args.out) / f"fold_{args.fold}.npz" if args.what == "fold" else Path(args.out)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        np.savez(file, **folded(net), sources=np.array(SOURCES), unseen=data["names"][unseen])


if __name__ == "__main__":
    main()

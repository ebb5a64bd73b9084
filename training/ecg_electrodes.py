"""Trains the networks that find exchanged electrodes, and prints how they do on recordings they have not seen.

    python training/ecg_electrodes.py --data DATA/ecg --out signal/ecg/weights/electrodes.weights

Needs torch and wfdb. Every recording (LUDB, CinC 2020/2021, the acceptable ones of CinC 2011, simulated hearts) is
taken as recorded properly; the only wrong examples are its own exchanges, so nothing else about
a recording can be learned.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import wfdb

from teleread.signal.ecg import STANDARD_LEADS, detect_qrs, simulate
from teleread.signal.ecg import electrode_features as look
from teleread.signal.ecg.beat_measures import measure_beats
from teleread.signal.ecg.electrodes import can_tell
from teleread.signal.ecg.lead_faults import find_faults
from teleread.signal.ecg.lead_measures import MeasureLimits, measure_leads, views
from teleread.signal.ecg.quality_types import LIMITS
from training.ecg_electrode_maps import chest_maps, limb_maps

NETS = 4
HIDDEN = 24
EPOCHS = 45
FOLDS = 5
ALARMS = {("limb", 0): 0, ("limb", 2): 4, ("chest", 0): 1, ("chest", 7): 0, ("chest", 10): 0, ("chest", 15): 3}
"""Real recordings, of some 220, of which a guess may be said falsely; guess 0 stands for all others of its kind."""
SIMULATED = 360
SIMULATED_CONDITIONS = ("normal", "af", "normal", "lbbb", "normal", "rbbb", "normal", "lvh", "normal", "inferior_stemi")
LEAST_MARGIN = 1.0
SMALLEST_MV = 0.05
WEIGHTS = {"limb": {"simulated": 0.4, "cinc2011": 0.7}, "chest": {}}
"""How much a recording counts in training where not 1: made hearts less, and those that may be exchanged indeed. In the
chest, made hearts that count less cost V5-V6 too much among themselves."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def recordings(data: Path) -> Iterator[tuple[str, np.ndarray, float]]:
    for folder in ("ludb", "twelve"):
        for header in sorted((data / folder).glob("*.hea")):
            record = wfdb.rdrecord(str(header.with_suffix("")))
            names = [name.lower() for name in record.sig_name]
            x = record.p_signal.T[[names.index(lead.lower()) for lead in STANDARD_LEADS]]
            if np.ptp(x) < SMALLEST_MV:
                x = 1000.0 * x  # the headers of those from PTB state a gain a thousand times too large
            yield folder, x[:, : int(10 * record.fs)], float(record.fs)
    held = np.load(data / "cinc2011" / "set_a.npz")
    for ecg, label in zip(held["ecg_int16"], held["acceptable"], strict=True):
        if label == 1:
            yield "cinc2011", ecg / 200.0, float(held["fs"])


def simulated() -> Iterator[tuple[str, np.ndarray, float]]:
    """Hearts of the simulator, by seeds that no benchmark uses, healthy and ill, in noise of all sizes."""
    for k in range(SIMULATED):
        condition = SIMULATED_CONDITIONS[k % len(SIMULATED_CONDITIONS)]
        record = simulate(condition, 100_000 + k, noise=0.3 + 0.2 * (k % 5))[0]
        yield "simulated", record.signals_mv, record.fs_hz


def shapes(data: Path, cache: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m, 8, 19), where each comes from and whether it would be asked, of the recordings without a spoilt lead."""
    if cache is not None and cache.exists():
        held = np.load(cache)
        return held["shapes"], held["source"], held["asked"]
    found, source, asked = [], [], []
    for name, x, fs in (*recordings(data), *simulated()):
        seen = views(np.nan_to_num(x), fs)
        measures = measure_leads(seen, MeasureLimits(LIMITS.flat_mv, LIMITS.noise_mv, LIMITS.jump_mv))
        faults = find_faults(measures, STANDARD_LEADS, LIMITS)
        if (faults.dead() | faults.present["burst"] | faults.present["muscle"]).any():
            continue
        beats = measure_beats(seen, detect_qrs(x, fs))
        if beats is None:
            continue
        shape = look.describe(beats, np.array([STANDARD_LEADS.index(n) for n in look.LEADS]))
        if shape is not None:
            found.append(shape)
            source.append(name)
            asked.append(can_tell(beats, shape))
    if cache is not None:
        np.savez(cache, shapes=np.array(found), source=np.array(source), asked=np.array(asked))
    return np.array(found), np.array(source), np.array(asked)


KINDS = {
    "limb": (look.limb_versions, limb_maps, look.limb_features),
    "chest": (look.chest_versions, chest_maps, look.chest_features),
}


def varied(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other gains, a little noise, a little offset: other carts, other skins."""
    gain = np.exp(0.12 * rng.standard_normal((len(x), 8, 1)))
    gain[:, 0] = gain[:, 1]
    return x * gain + 0.03 * rng.standard_normal(x.shape) + 0.02 * rng.standard_normal((len(x), 8, 1))


def train(x: np.ndarray, weight: np.ndarray, kind: str, seed: int) -> dict[str, np.ndarray]:
    """One network: the recording as it is must score above each of its exchanges (softmax over the guesses)."""
    versions, fit, features = KINDS[kind]
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    maps = fit(x)
    plain = features(versions(x), maps)
    mean, scale = plain.mean(axis=(0, 1)), plain.std(axis=(0, 1)) + 1e-3
    inner = torch.nn.Linear(plain.shape[-1], HIDDEN)
    outer = torch.nn.Linear(HIDDEN, 1, bias=False)
    net = torch.nn.Sequential(torch.nn.Dropout(0.1), inner, torch.nn.Tanh(), torch.nn.Dropout(0.3), outer)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    counts = torch.tensor(weight, dtype=torch.float32)
    for epoch in range(EPOCHS):
        if epoch % 3 == 0:
            batch = torch.tensor((features(versions(varied(x, rng)), maps) - mean) / scale, dtype=torch.float32)
        for part in np.array_split(rng.permutation(len(x)), max(1, len(x) // 32)):
            loss = -(torch.log_softmax(net(batch[part])[..., 0], 1)[:, 0] * counts[part]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    arrays = {f"map{k}": one for k, one in enumerate(maps)} | {"mean": mean, "scale": scale}
    arrays |= {"inner": inner.weight.detach().numpy().T, "inner_bias": inner.bias.detach().numpy()}
    return arrays | {"outer": outer.weight.detach().numpy()[0]}


def ensemble(x: np.ndarray, weight: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    nets = [train(x, weight, kind, seed) for seed in range(NETS)]
    same = {name: one for name, one in nets[0].items() if name not in ("inner", "inner_bias", "outer")}
    return same | {name: np.stack([net[name] for net in nets]) for name in ("inner", "inner_bias", "outer")}


def scores(model: dict[str, np.ndarray], x: np.ndarray, kind: str) -> np.ndarray:
    versions, _, features = KINDS[kind]
    maps = tuple(model[f"map{k}"] for k in range(3))
    standard = (features(versions(x), maps) - model["mean"]) / model["scale"]
    return np.mean(
        [
            np.tanh(standard @ w + b) @ v
            for w, b, v in zip(model["inner"], model["inner_bias"], model["outer"], strict=True)
        ],
        axis=0,
    )


def margins(ahead: np.ndarray, kind: str) -> np.ndarray:
    """How far ahead of the recording as it is each guess must be to be said.

    So far that the guess is said of as few unseen real recordings as ``ALARMS`` allows; arms and left leg, and the
    last two chest electrodes, are alike in so many hearts that they get more, or they would never be found. What is
    given there is taken where it costs least, so that all about the chest stay within two in a hundred.

    Args:
        ahead: (m, guesses) on real recordings as they are, of those that are asked at all.
    """
    ordered = np.sort(ahead, axis=0)[::-1]
    allowed = np.array([ALARMS.get((kind, guess), ALARMS[kind, 0]) for guess in range(1, ahead.shape[1] + 1)])
    return np.maximum(ordered[allowed, np.arange(ahead.shape[1])] + 0.05, LEAST_MARGIN)


def said(scores_of: np.ndarray, margin: np.ndarray, kind: str) -> np.ndarray:
    """The guess that is said, 0 for none, as ``teleread.signal.ecg.electrodes`` does it."""
    return np.array([look.said_guess(row, margin, kind) for row in scores_of])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="keeps the beats between runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    x, source, asked = shapes(args.data, args.cache)
    say(f"{len(x)} recordings " + str(dict(zip(*np.unique(source, return_counts=True), strict=True))))
    fold = np.random.default_rng(1).permutation(len(x)) % FOLDS
    stored: dict[str, np.ndarray] = {}
    for kind in KINDS:
        weight = np.array([WEIGHTS[kind].get(name, 1.0) for name in source])
        models = [ensemble(x[fold != k], weight[fold != k], kind) for k in range(FOLDS)]
        margin = report(kind, models, x, fold, source, asked)
        model = ensemble(x, weight, kind) | {"margin": margin}
        stored |= {f"{kind}_{name}": one.astype(np.float32) for name, one in model.items()}
    note = "LUDB 1.0.1 (150), CinC 2020/2021 (81), CinC 2011 set a (acceptable of 601), 360 simulated; "
    note += "training/ecg_electrodes.py"
    with args.out.open("wb") as file:
        np.savez_compressed(file, sources=np.array(note), **stored)


def report(
    kind: str,
    models: list[dict[str, np.ndarray]],
    x: np.ndarray,
    fold: np.ndarray,
    source: np.ndarray,
    asked: np.ndarray,
) -> np.ndarray:
    """Margins from the figures on unseen recordings, and how many exchanges they find and name."""
    versions = KINDS[kind][0]

    def unseen(shown: np.ndarray) -> np.ndarray:
        result = np.empty((len(x), versions(x[:1]).shape[1]))
        for k, model in enumerate(models):
            result[fold == k] = scores(model, shown[fold == k], kind)
        return result

    held_out = unseen(x)
    count = held_out.shape[1]
    inverse = (0, 1, 2, 3, 5, 4) if kind == "limb" else range(count)
    exchanged = [unseen(versions(x)[:, inverse[h]]) for h in range(count)]
    ahead = held_out[:, 1:] - held_out[:, :1]
    # some of CinC 2011 are exchanged indeed; they train, but set no margin and judge nothing
    real = np.isin(source, ("ludb", "twelve"))
    margin = margins(ahead[real & asked], kind)
    false = (said(held_out, margin, kind) > 0) & asked
    say(
        f"{kind}: false alarms " + ", ".join(f"{name} {false[source == name].mean():.3f}" for name in np.unique(source))
    )
    for h in range(1, count):
        names = said(exchanged[h], margin, kind)
        right = asked & (np.isin(names, (4, 5)) if kind == "limb" and h >= 4 else names == h)
        name = look.LIMB_GUESSES[h] if kind == "limb" else "V{}-V{}".format(*(1 + i for i in look.CHEST_PAIRS[h - 1]))
        made = right[source == "simulated"].mean()
        say(f"  {name:13s} margin {margin[h - 1]:5.2f}  named, real {right[real].mean():.3f}  simulated {made:.3f}")
    return margin


if __name__ == "__main__":
    main()

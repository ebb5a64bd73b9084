"""Trains the small networks of the rhythm analysis, for the package and without each patient in turn.

    python -m training.ecg_rhythm DATA [--folds FOLDER] [--write] [--nets beats,fibrillation,flutter]

``DATA`` holds ``mitdb``, ``cpsc2021s``, ``ludb`` and ``twelve``. Needs wfdb and torch. Seeded: the same data gives
the same file. With ``--nets`` the others stay as the files have them. What judges flutter looks at the fibrillation
network of the package: train that one first.
"""

from __future__ import annotations

import argparse
import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import wfdb

from teleread.signal.ecg.atrial import fibrillation_share
from teleread.signal.ecg.beat_table import beat_features, beat_table, fibrillation_features
from teleread.signal.ecg.flutter import Spectra, flutter_features
from teleread.signal.ecg.qrs import detect_qrs
from teleread.signal.ecg.record import standard_lead_name
from teleread.signal.ecg.simulate import CONDITIONS, simulate

WEIGHTS = Path(__file__).parent.parent / "signal" / "ecg" / "weights" / "ecg_rhythm.weights"
BEATS = "NLRBAaJSVrFejnE/fQ!"
NORMAL, EARLY, VENTRICULAR = "NLRej", "AaJS", "VE!"
STRIPS = {"mit": ((10, 1), (30, 1)), "cpsc": ((10, 1), (30, 1))}
FAST = ("sinus_tachycardia", "svt", "af")
NETS = ("beats", "fibrillation", "flutter")
LIKE_FLUTTER = ("sinus_tachycardia", "svt", "af", "av_block_1", "long_qt", "normal")
SKIPPED = ("vf", "asystole", "paced", "lead_off", "ra_la_swap")
EVERY_STRIP = 3
SIMULATED_KINDS = {"normal": 0, "junctional": 0, "supraventricular": 1, "ventricular": 2}
TWELVE_CHOICES = ((0, 1, 6, 7, 8, 9, 10, 11), (0,), (1,), (6,), (10,), (0, 1), (1, 6, 10))


@dataclass
class Part:
    """The beats of one recording or strip in one choice of leads."""

    patient: str
    source: str
    choice: str
    strip_s: int
    beat_x: np.ndarray
    fib_x: np.ndarray
    kinds: np.ndarray  # 0 normal, 1 early, 2 ventricular, -1 unknown
    fib: np.ndarray  # 1 fibrillation, 0 none, -1 left out
    flutter_x: np.ndarray | None = None  # of one stretch with limb leads and V1
    flutter: int = 0


def parts(data: Path, nets: frozenset[str]) -> Iterator[Part]:
    of_beats = bool(nets & {"beats", "fibrillation"})
    for source, folder in (("mit", "mitdb"), ("cpsc", "cpsc2021s")):
        for header in sorted((data / folder).glob("*.hea")):
            if of_beats:
                yield from _annotated(str(header.with_suffix("")), header.stem, source)
            if "flutter" in nets:
                yield from _strips_for_flutter(str(header.with_suffix("")), header.stem, source)
    for path, patient, label in _diagnosed(data):
        if of_beats:
            yield from _twelve(path, patient, label)
        if "flutter" in nets:
            yield _twelve_for_flutter(path, patient, label)
    if of_beats:
        yield from _simulated()
    if "flutter" in nets:
        yield from _simulated_for_flutter()


def _diagnosed(data: Path) -> Iterator[tuple[str, str, int]]:
    """Path, patient and label (1 fibrillation, 0 neither, -1 flutter) of what physicians named."""
    with (data / "ludb" / "ludb.csv").open() as file:
        for row in csv.DictReader(file):
            path = data / "ludb" / row["ID"].strip()
            if path.with_suffix(".hea").exists() and not row["Cardiac pacing"].strip():
                text = row["Rhythms"]
                yield str(path), f"ludb{path.name}", 1 if "fibrillation" in text else -1 if "flutter" in text else 0
    for header in sorted((data / "twelve").glob("*.hea")):
        diagnoses = next(line for line in header.read_text().splitlines() if "Dx" in line).split(":")[1].strip()
        if diagnoses:
            label = 1 if "164889003" in diagnoses else -1 if "164890007" in diagnoses else 0
            yield str(header.with_suffix("")), header.stem, label


def _simulated() -> Iterator[Part]:
    """Ten seconds of each simulated rhythm with a beat, a dozen seeds; the benchmark uses seeds from 1000 on."""
    for condition in CONDITIONS:
        if condition in SKIPPED:
            continue
        for seed in range(40 if condition == "atrial_flutter" else 20 if condition in FAST else 12):
            record, truth = simulate(condition, seed)
            r = truth.r_peaks
            if r.size < 4:
                continue
            codes = {code for *_, code in truth.rhythm}
            fib = 1 if "atrial_fibrillation" in codes else -1 if "atrial_flutter" in codes else 0
            kinds = np.array([SIMULATED_KINDS.get(kind, -1) for kind in truth.beats])
            if (kinds > 0).mean() > 0.5:  # nothing to compare with
                kinds[:] = -1
            for choice in ((0, 1, 6, 7, 8, 9, 10, 11), (1,), (6,), (0, 1)):
                y = record.signals_mv[list(choice)]
                tag = "-".join(map(str, choice))
                yield _part(f"sim_{condition}", "sim", tag, 10, y, record.fs_hz, r, kinds, np.full(r.size, fib))


def _simulated_for_flutter() -> Iterator[Part]:
    """Many more of flutter, and of what resembles it, in the noise of quiet and of busy days."""
    for condition in CONDITIONS:
        if condition in SKIPPED:
            continue
        for seed in range(240 if condition == "atrial_flutter" else 120 if condition in LIKE_FLUTTER else 40):
            noise = float(np.random.default_rng([seed, zlib.crc32(condition.encode()), 1]).uniform(0.1, 1.0))
            record, _ = simulate(condition, seed, noise=noise)
            r = detect_qrs(record.signals_mv, record.fs_hz)
            part = _for_flutter(f"sim_{condition}", "sim")
            yield _flutter_part(part, record.signals_mv, record.fs_hz, record.leads, r, condition == "atrial_flutter")
    # a sinus rhythm about as fast as what flutter conducts two to one
    for seed in range(120):
        rng = np.random.default_rng([seed, 2])
        noise, rate = float(rng.uniform(0.1, 1.0)), float(rng.uniform(85.0, 130.0))
        record, _ = simulate("normal", seed, noise=noise, rate_bpm=rate)
        r = detect_qrs(record.signals_mv, record.fs_hz)
        part = _for_flutter("sim_sinus_tachycardia", "sim")
        yield _flutter_part(part, record.signals_mv, record.fs_hz, record.leads, r, False)


def _strips_for_flutter(path: str, name: str, source: str) -> Iterator[Part]:
    """Every third ten seconds of a long recording: flutter is rare there, what resembles it is not."""
    x, fs, leads, marks = _read(path)
    r = detect_qrs(x, fs)
    _, fib = _labels(r, fs, marks)
    n = round(10 * fs)
    for start in range(0, x.shape[1] - n + 1, EVERY_STRIP * n):
        inside = (r >= start) & (r < start + n)
        labels = set(fib[inside].tolist())
        # flutter within fibrillation is too like it to be learned from
        if labels and -1 not in labels:
            part = _for_flutter(_patient(name, source), "long")
            yield _flutter_part(part, x[:, start : start + n], fs, leads, r[inside] - start, False)


def _twelve_for_flutter(path: str, patient: str, label: int) -> Part:
    record = wfdb.rdrecord(path)
    x, fs = np.ascontiguousarray(record.p_signal.T), float(record.fs)
    leads = tuple(map(standard_lead_name, record.sig_name))
    return _flutter_part(_for_flutter(patient, "twelve"), x, fs, leads, detect_qrs(x, fs), label < 0)


def _read(path: str) -> tuple[np.ndarray, float, tuple[str, ...], wfdb.Annotation]:
    record = wfdb.rdrecord(path)
    leads = tuple(map(standard_lead_name, record.sig_name))
    return np.ascontiguousarray(record.p_signal.T), float(record.fs), leads, wfdb.rdann(path, "atr")


def _patient(name: str, source: str) -> str:
    return name.split("_")[1] if source == "cpsc" else {"202": "201"}.get(name, name)


def _for_flutter(patient: str, source: str) -> Part:
    """Nothing for the networks of beats."""
    nothing, none = np.empty((0, 0)), np.empty(0, dtype=int)
    return Part(patient, source, "flutter", 10, nothing, nothing, none, none)


def _annotated(path: str, name: str, source: str) -> Iterator[Part]:
    x, fs, _, marks = _read(path)
    patient = _patient(name, source)
    for choice in ((0,), (1,), (0, 1)):
        y = x[list(choice)]
        r = detect_qrs(y, fs)
        kinds, fib = _labels(r, fs, marks)
        tag = "".join(map(str, choice))
        yield _part(patient, source, tag, 0, y, fs, r, kinds, fib)
        for seconds, _ in STRIPS[source]:
            n = round(seconds * fs)
            for start in range(0, y.shape[1] - n + 1, n):
                inside = (r >= start) & (r < start + n)
                if inside.sum() >= 4:
                    strip = y[:, start : start + n]
                    yield _part(patient, source, tag, seconds, strip, fs, r[inside] - start, kinds[inside], fib[inside])


def _twelve(path: str, patient: str, label: int) -> Iterator[Part]:
    record = wfdb.rdrecord(path)
    x, fs = np.ascontiguousarray(record.p_signal.T), float(record.fs)
    for choice in TWELVE_CHOICES:
        y = x[list(choice)]
        r = detect_qrs(y, fs)
        if r.size >= 4:
            tag = "-".join(map(str, choice))
            yield _part(patient, "twelve", tag, 10, y, fs, r, np.full(r.size, -1), np.full(r.size, label))


def _part(patient, source, choice, strip_s, y, fs, r, kinds, fib) -> Part:  # type: ignore[no-untyped-def]
    table = beat_table(y, fs, tuple(str(i) for i in range(y.shape[0])), r)
    features = beat_features(table).astype(np.float32), fibrillation_features(table).astype(np.float32)
    return Part(patient, source, choice, strip_s, *features, kinds, fib)


def _labels(r: np.ndarray, fs: float, marks: wfdb.Annotation) -> tuple[np.ndarray, np.ndarray]:
    symbols = np.array(marks.symbol)
    beat = np.isin(symbols, list(BEATS))
    at, symbol = marks.sample[beat], symbols[beat]
    k = np.clip(np.searchsorted(at, r), 1, at.size - 1)
    k = np.where(np.abs(at[k - 1] - r) < np.abs(at[k] - r), k - 1, k)
    found = np.where(np.abs(at[k] - r) < 0.12 * fs, symbol[k], "-")
    kinds = np.full(r.size, -1)
    for number, letters in enumerate((NORMAL, EARLY, VENTRICULAR)):
        kinds[np.isin(found, list(letters))] = number
    fib = np.zeros(r.size, dtype=int)
    for sample, text in zip(marks.sample, marks.aux_note, strict=True):
        if text and text.startswith("("):
            code = text.strip("\x00")
            fib[r >= sample] = 1 if code == "(AFIB" else -1 if code == "(AFL" else 0
    return kinds, fib


def _flutter_part(part: Part, y, fs, leads, r, flutter: bool) -> Part:  # type: ignore[no-untyped-def]
    stop = min(y.shape[1], round(10 * fs))
    r = r[r < stop]
    if r.size < 4:
        return part
    table = beat_table(y[:, :stop], fs, leads, r)
    spectra = Spectra(y[:, :stop], fs, leads, r)
    # how sure it is of fibrillation comes from the network of the package as it is
    x = flutter_features(spectra, table, np.ones(r.size, dtype=bool), fibrillation_share(table))
    return replace(part, flutter_x=x, flutter=int(flutter))


def train_flutter(chosen: list[Part]) -> dict[str, np.ndarray]:
    use = [p for p in chosen if p.flutter_x is not None]
    x = np.array([p.flutter_x for p in use])
    y = np.array([p.flutter for p in use])
    strips: dict[str, int] = {}
    for p in use:
        strips[p.patient] = strips.get(p.patient, 0) + 1
    # a long recording counts as ten short ones; the few with real flutter, and what is most like it, for more
    weight = np.array([_flutter_weight(p, strips[p.patient]) for p in use])
    weight = np.where(y == 1, weight * weight[y == 0].sum() / weight[y == 1].sum(), weight)
    net = fit(x, y, weight, 2, 6, 500)
    net["out"], net["out_bias"] = net["out"][:, 1:] - net["out"][:, :1], net["out_bias"][1:] - net["out_bias"][:1]
    return net


def _flutter_weight(part: Part, strips: int) -> float:
    if part.source == "sim":
        return 3.0 if part.patient in ("sim_sinus_tachycardia", "sim_svt") else 1.0
    return 60.0 / strips if part.source == "long" else 20.0 if part.flutter else 6.0


def fit(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, classes: int, hidden: int, steps: int
) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    mean, scale = x.mean(0), x.std(0) + 1e-6
    inputs = torch.tensor((x - mean) / scale, dtype=torch.float32).clamp(-4, 4)
    target, share = torch.tensor(y), torch.tensor(weight / weight.sum(), dtype=torch.float32)
    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, classes))
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        k = torch.multinomial(share, 2048, replacement=True, generator=generator)
        loss = torch.nn.functional.cross_entropy(net(inputs[k]), target[k])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    w1, b1, w2, b2 = (p.detach().numpy() for p in net.parameters())
    return {"mean": mean, "scale": scale, "hidden": w1.T, "hidden_bias": b1, "out": w2.T, "out_bias": b2}


def train_beats(chosen: list[Part]) -> dict[str, np.ndarray]:
    use = [p for p in chosen if (p.kinds >= 0).any()]
    x = np.concatenate([p.beat_x[p.kinds >= 0] for p in use])
    y = np.concatenate([p.kinds[p.kinds >= 0] for p in use])
    total: dict[str, np.ndarray] = {}
    for p in use:
        total[p.patient] = total.get(p.patient, np.zeros(3)) + np.bincount(p.kinds[p.kinds >= 0], minlength=3)
    weight = np.concatenate([((1.0, 1.0, 1.5) / np.sqrt(total[p.patient] + 300.0))[p.kinds[p.kinds >= 0]] for p in use])
    return fit(x, y, weight, 3, 16, 500)


def train_fibrillation(chosen: list[Part]) -> dict[str, np.ndarray]:
    use = [p for p in chosen if (p.fib >= 0).any()]
    x = np.concatenate([p.fib_x[p.fib >= 0] for p in use])
    y = np.concatenate([p.fib[p.fib >= 0] for p in use])
    total: dict[str, int] = {}
    for p in use:
        total[p.patient] = total.get(p.patient, 0) + int((p.fib >= 0).sum())
    weight = np.concatenate([np.full(int((p.fib >= 0).sum()), 1.0 / np.sqrt(total[p.patient] + 300.0)) for p in use])
    weight = np.where(y == 1, weight * 0.6 * weight[y == 0].sum() / weight[y == 1].sum(), weight)
    net = fit(x, y, weight, 2, 10, 400)
    net["out"], net["out_bias"] = net["out"][:, 1:] - net["out"][:, :1], net["out_bias"][1:] - net["out_bias"][:1]
    return net


def folds(everything: list[Part]) -> list[set[str]]:
    """One patient each for the long recordings, tenths for the ten-second ones."""
    long = sorted({p.patient for p in everything if p.source not in ("twelve", "sim")})
    short = np.random.default_rng(0).permutation(sorted({p.patient for p in everything if p.source == "twelve"}))
    return [{p} for p in long] + [set(short[k::10].tolist()) for k in range(10)]


SOURCES = (
    "MIT-BIH Arrhythmia Database (half of the records), CPSC2021 (3 patients), LUDB 1.0.1 (150 records), "
    "12-lead recordings of CinC 2020/2021 with diagnoses, simulated rhythms; made by training/ecg_rhythm.py"
)


TRAINERS = {"beats": train_beats, "fibrillation": train_fibrillation, "flutter": train_flutter}


def save(path: Path, chosen: list[Part], nets: frozenset[str]) -> None:
    """Writes the networks named; what else the file holds stays."""
    arrays: dict[str, np.ndarray] = {}
    if path.exists():
        with np.load(path) as before:
            arrays = {key: before[key] for key in before.files if key.split("_")[0] in set(NETS) - nets}
    for name in NETS:
        if name in nets:
            arrays |= {f"{name}_{k}": v.astype(np.float32) for k, v in TRAINERS[name](chosen).items()}
    with path.open("wb") as file:
        np.savez(file, sources=np.array(SOURCES), **{key: arrays[key] for key in sorted(arrays)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folds", type=Path, help="write one weight file per left-out patient into this folder")
    parser.add_argument("--write", action="store_true", help="write the weight file of the package")
    parser.add_argument("--nets", default=",".join(NETS), help="which networks to train")
    arguments = parser.parse_args()
    nets = frozenset(arguments.nets.split(","))
    torch.set_num_threads(1)
    everything = list(parts(arguments.data, nets))
    if arguments.write:
        WEIGHTS.parent.mkdir(exist_ok=True)
        save(WEIGHTS, everything, nets)
    if arguments.folds:
        arguments.folds.mkdir(parents=True, exist_ok=True)
        for number, left_out in enumerate(folds(everything)):
            file = arguments.folds / f"{number:02d}.npz"
            save(file, [p for p in everything if p.patient not in left_out], nets)
            file.with_suffix(".txt").write_text("\n".join(sorted(left_out)))


if __name__ == "__main__":
    main()

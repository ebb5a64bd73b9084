"""Boundaries of P, QRS and T in each lead of LUDB by itself, with beats found in that lead, beside neurokit2.

    python -m benchmarks.ecg_delineation --ludb DIR [--folds FOLDER] [--peers PYTHON] [--leads all] [--peer-leads ii]
        [--qrs-folds FILE] [--as-written]

``--folds`` names what ``training/ecg_delineate.py fold`` wrote: each record is then judged by the weights that have not
seen it; ``--qrs-folds`` what ``training/ecg_qrs.py --folds-out`` wrote, so that its beats too are found by networks
that have not. Without them the package's own weights are judged on records that trained them, and the table says so. A
mark counts when found within 150 ms; differences are ours minus the cardiologists'. Intervals: 95 %, bootstrap over
records.

In six of 150 records some waves are marked without one of their ends (122 QRS onsets, many of QS complexes and paced
beats, whose onset lies on the peak: a file holds one mark per sample). What is found there is neither right nor wrong;
``--as-written`` counts it as wrong.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

POINTS = ("p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off")
BARS = {
    "p_on": (97.0, 95.0, 15.0),
    "p_off": (97.0, 95.0, 15.0),
    "qrs_on": (99.8, 99.8, 10.0),
    "qrs_off": (99.8, 99.8, 12.0),
    "t_on": (99.0, 98.0, None),
    "t_off": (99.0, 98.0, 25.0),
}
LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")
TOLERANCE_MS = 150.0
_BEHIND = 2
_WAVE = {"p": "p", "N": "qrs", "t": "t"}

Marks = dict[str, NDArray[np.float64]]
Key = tuple[str, str]
_PEER = Path(__file__).with_name("ecg_delineation_peer.py")


def reference(folder: Path, name: str, lead: str, as_written: bool = False) -> tuple[Marks, Marks, float, float]:
    """The cardiologists' marks of one lead, where a wave lacks such a mark, and the stretch that they marked."""
    import wfdb

    note = wfdb.rdann(str(folder / name), lead)
    symbols, at = list(note.symbol), [int(sample) for sample in note.sample]
    if not as_written:
        for i in range(len(symbols) - 1):  # an onset that lies a sample or two behind the peak
            if symbols[i] in _WAVE and symbols[i + 1] == "(" and at[i + 1] - at[i] <= _BEHIND:
                symbols[i], symbols[i + 1], at[i], at[i + 1] = symbols[i + 1], symbols[i], at[i + 1], at[i]
    marks: dict[str, list[float]] = {point: [] for point in POINTS}
    lacking: dict[str, list[float]] = {point: [] for point in POINTS}
    for i, symbol in enumerate(symbols):
        if symbol in _WAVE:
            for side, step, bracket in (("on", -1, "("), ("off", 1, ")")):
                there = 0 <= i + step < len(symbols) and symbols[i + step] == bracket
                (marks if there else lacking)[f"{_WAVE[symbol]}_{side}"].append(at[i + step] if there else at[i])
    known = {k: np.asarray(v, dtype=float) for k, v in marks.items()}
    unknown = {k: np.asarray([] if as_written else v, dtype=float) for k, v in lacking.items()}
    return known, unknown, float(note.sample[0]), float(note.sample[-1])


def paired(true: NDArray[np.float64], found: NDArray[np.float64], tolerance: float) -> list[tuple[int, int]]:
    """One-to-one, in order of time, as many as possible; of several that fit, the nearer where nothing is lost."""
    pairs, i, j = [], 0, 0
    while i < true.size and j < found.size:
        gap = found[j] - true[i]
        if abs(gap) > tolerance:
            i, j = (i + 1, j) if gap > 0 else (i, j + 1)
            continue
        nearer = j + 1 < found.size and abs(found[j + 1] - true[i]) < abs(gap)
        wanted = nearer and i + 1 < true.size and abs(found[j + 1] - true[i + 1]) <= tolerance
        if nearer and not wanted:
            j += 1
            continue
        pairs.append((i, j))
        i, j = i + 1, j + 1
    return pairs


def counts(
    true: NDArray[np.float64],
    found: NDArray[np.float64],
    low: float,
    high: float,
    fs: float,
    unknown: NDArray[np.float64] | None = None,
) -> list[float]:
    """Hits, misses, extras, sum and sum of squares of the differences in ms. Outside what was marked nothing counts,
    and no extra is what lies at a wave at ``unknown``, whose mark is lacking."""
    tolerance = TOLERANCE_MS * fs / 1000.0
    found = np.unique(found[(found >= low - tolerance) & (found <= high + tolerance)])
    pairs = paired(true, found, tolerance)
    hit = {j for _, j in pairs}
    free = np.empty(0) if unknown is None else unknown
    extra = sum(
        j not in hit and low <= found[j] <= high and not (np.abs(free - found[j]) <= tolerance).any()
        for j in range(found.size)
    )
    gaps = np.array([found[j] - true[i] for i, j in pairs]) * 1000.0 / fs
    return [len(pairs), true.size - len(pairs), extra, float(gaps.sum()), float((gaps**2).sum())]


def figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(…, 5) counts to (…, 4): sensitivity and predictive value in %, mean and SD of the differences in ms."""
    hit, miss, extra, total, square = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / hit
        spread = np.sqrt(np.maximum(square / hit - mean**2, 0.0))
        return np.stack((100 * hit / (hit + miss), 100 * hit / (hit + extra), mean, spread), axis=-1)


def table(label: str, by_record: dict[str, dict[str, NDArray[np.float64]]]) -> list[str]:
    """Rows of one delineator; ``by_record`` holds the counts by record and point."""
    rng = np.random.default_rng(1)
    rows = []
    for point in POINTS:
        each = np.stack([record[point] for record in by_record.values()])
        whole = figures(each.sum(axis=0))
        drawn = rng.integers(0, len(each), (1000, len(each)))
        low, high = np.nanpercentile(figures(each[drawn].sum(axis=1)), (2.5, 97.5), axis=0)
        cells = [f"{w:.2f} ({a:.2f}–{b:.2f})" for w, a, b in zip(whole[:2], low[:2], high[:2], strict=True)]
        cells += [f"{w:+.1f} ({a:+.1f}–{b:+.1f})" for w, a, b in zip(whole[2:3], low[2:3], high[2:3], strict=True)]
        cells += [f"{whole[3]:.1f} ({low[3]:.1f}–{high[3]:.1f})"]
        rows.append(f"| {label} | {point} | {int(each[:, :2].sum())} | {' | '.join(cells)} |")
    return rows


def our_weights(folds: Path | None) -> Callable[[str], object]:
    """Which weights judge which record."""
    if folds is None:
        return lambda name: None
    from teleread.signal.ecg.delineate_net import load

    unseen: dict[str, object] = {}
    for path in sorted(folds.glob("fold_*.npz")):
        weights = load(path)
        with np.load(path, allow_pickle=False) as stored:
            unseen.update((str(name), weights) for name in stored["unseen"])
    return unseen.__getitem__


def ours(signal: NDArray[np.float64], fs: float, weights: object, beats: NDArray[np.int64]) -> Marks:
    """Own boundaries of own beats, one lead."""
    from teleread.signal.ecg.delineate_lead import delineate_lead

    found = delineate_lead(signal, fs, beats, weights, overlooked=True)  # type: ignore[arg-type]
    return {point: getattr(found, point)[getattr(found, point) >= 0].astype(float) for point in POINTS}


def peers(python: str, signals: dict[Key, NDArray[np.float64]], fs: float) -> dict[str, dict[Key, Marks]]:
    """neurokit2 in its own environment, over files: label to marks by record and lead."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, fs=fs, **{"/".join(key): signal for key, signal in signals.items()})  # type: ignore[arg-type]
        subprocess.run([python, str(_PEER), str(source), str(target)], check=True)
        out: dict[str, dict[Key, Marks]] = {}
        with np.load(target, allow_pickle=False) as stored:
            for name in stored.files:
                label, record, lead, point = name.split("/")
                out.setdefault(label, {}).setdefault((record, lead), {})[point] = stored[name]
        return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ludb", type=Path, required=True)
    parser.add_argument("--folds", type=Path)
    parser.add_argument("--peers", help="the Python of an environment with neurokit2")
    parser.add_argument("--qrs-folds", type=Path)
    parser.add_argument("--as-written", action="store_true", help="what is found at a wave without that mark is wrong")
    parser.add_argument("--leads", default="all")
    parser.add_argument("--peer-leads", default="ii")
    args = parser.parse_args(arguments)
    import wfdb

    from benchmarks import ecg_qrs

    detect = ecg_qrs.ours(args.qrs_folds)
    leads = LEADS if args.leads == "all" else tuple(args.leads.split(","))
    names = sorted((p.stem for p in args.ludb.glob("*.hea")), key=int)
    choose = our_weights(args.folds)
    totals: dict[str, dict[str, dict[str, NDArray[np.float64]]]] = {}
    truth: dict[Key, tuple[Marks, Marks, float, float]] = {}
    signals, spent, fs = {}, [], 500.0

    def add(label: str, key: Key, marks: Marks) -> None:
        true, unknown, low, high = truth[key]
        sums = totals.setdefault(label, {}).setdefault(key[0], {point: np.zeros(5) for point in POINTS})
        for point in POINTS:
            sums[point] += counts(true[point], marks.get(point, np.empty(0)), low, high, fs, unknown[point])

    us = "ours, unseen records" if args.folds else "ours, trained on these records"
    for name in names:
        try:
            weights = choose(name)
        except KeyError:
            continue  # no fold left this record out
        record = wfdb.rdrecord(str(args.ludb / name))
        fs = float(record.fs)
        for lead in leads:
            key = (name, lead)
            truth[key] = reference(args.ludb, name, lead, args.as_written)
            signals[key] = record.p_signal[:, [s.lower() for s in record.sig_name].index(lead)]
            begun = time.process_time()
            marks = ours(signals[key], fs, weights, detect(signals[key], fs, f"ludb{name}"))
            spent.append(time.process_time() - begun)
            add(us, key, marks)
    if args.peers:
        some = {key: signal for key, signal in signals.items() if key[1] in args.peer_leads.split(",")}
        for label, found in peers(args.peers, some, fs).items():
            for key, marks in found.items():
                add(f"{label}, lead {args.peer_leads}", key, marks)
    print(
        f"{len(totals[us])} records, leads {args.leads}; CPU {1000 * float(np.median(spent)):.1f} ms per lead of 10 s"
    )
    print("| delineator | point | n | Se % | PPV % | mean ms | SD ms |\n|---|---|---|---|---|---|---|")
    for label, by_record in totals.items():
        print("\n".join(table(label, by_record)))
    for point, (sensitivity, predictive, spread) in BARS.items():
        print(f"| bar | {point} | | ≥ {sensitivity} | ≥ {predictive} | ±4 | {f'≤ {spread:g}' if spread else ''} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

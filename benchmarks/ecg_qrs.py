"""QRS detection beside its rivals: accuracy by database with 95 % intervals, CPU seconds per hour, in one run.

    python -m benchmarks.ecg_qrs --data ecg [--peers VENV] [--folds FILE] [--only mitdb,ludb]

``--data`` holds mitdb, cpsc2019s, cpsc2021s and ludb. With ``--peers`` the run moves into that environment, which
has the rivals (extra ``peers``). The weights shipped are trained on these very recordings; ``--folds`` names what
``python -m training.ecg_qrs --folds-out`` wrote, and then each recording is judged by networks that never saw it.
Detectors take turns record by record, so that a busy machine slows them alike: read the speed as a ratio.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.qrs import detect_with
from teleread.signal.ecg.qrs_judge import Network, network, networks

Beats = NDArray[np.int64]
Detector = Callable[[NDArray[np.float64], float, str], Any]
BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")
OURS = "teleread"


@dataclass(frozen=True)
class Database:
    """What is judged: tolerance and ends left out in seconds, annotator, whether only the annotated span counts."""

    name: str
    tolerance_s: float
    lead: int | None = 0
    edge_s: float = 0.0
    extension: str = "atr"
    annotated_span: bool = False
    folder: str = ""


DATABASES = (
    Database("mitdb", 0.15),
    Database("cpsc2019s", 0.075, edge_s=0.5),
    Database("ludb lead II", 0.15, lead=1, extension="ii", annotated_span=True, folder="ludb"),
    Database("ludb 12 leads", 0.15, lead=None, extension="ii", annotated_span=True, folder="ludb"),
    Database("cpsc2021s", 0.15),
)


@dataclass
class Tally:
    """Counts of each record (beats, missed, extra) and CPU seconds."""

    rows: list[tuple[str, int, int, int]] = field(default_factory=list)
    cpu_s: float = 0.0
    failed: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, help="virtual environment with sleepecg, wfdb, neurokit2, biosppy")
    parser.add_argument("--folds", type=Path, help="networks by fold, for figures on unseen recordings")
    parser.add_argument("--only", default="", help="names of databases, separated by commas")
    parser.add_argument("--slow", action="store_true", help="also rivals that take seconds per hour of signal")
    options = parser.parse_args()
    if options.peers and Path(sys.prefix).resolve() != options.peers.resolve():
        python = str(options.peers / "bin" / "python")
        os.execv(python, [python, "-m", "benchmarks.ecg_qrs", *sys.argv[1:]])
    detectors: dict[str, Detector] = {OURS: ours(options.folds)}
    if options.peers:
        warnings.simplefilter("ignore")
        detectors |= rivals(options.slow)
    print("| database | detector | Se % | PPV % | F1 % (95 % CI) | DER % (95 % CI) | worst record | CPU s/h |")
    print("|---|---|---|---|---|---|---|---|")
    for database in DATABASES:
        if not options.only or database.name.split()[0] in options.only.split(","):
            show(database, judge(database, options.data, detectors))
    return 0


def ours(folds: Path | None) -> Detector:
    """Our detector; with ``folds``, the networks that did not see the record."""
    shipped = networks()
    if folds is None:
        return lambda x, fs, record: detect_with(x, fs, shipped)
    with np.load(folds, allow_pickle=False) as arrays:
        loaded = {key: arrays[key] for key in arrays.files}
    fold_of = dict(zip(loaded["groups"].tolist(), loaded["fold"].tolist(), strict=True))
    pairs: dict[int, tuple[Network, Network]] = {}
    for fold in set(fold_of.values()):
        own = {key.removeprefix(f"{fold}."): a for key, a in loaded.items() if key.startswith(f"{fold}.")}
        pairs[fold] = (network(own, "first"), network(own, "second"))
    return lambda x, fs, record: detect_with(x, fs, pairs[fold_of[record]])


def rivals(slow: bool) -> dict[str, Detector]:
    """Detectors of the peers' environment, one lead each; what is not installed there is left out and said."""
    found: dict[str, Detector] = {}
    for make in (_sleepecg, _neurokit, *((_biosppy, _wfdb) if slow else ())):
        try:
            found |= make()
        except ImportError as problem:
            print(f"left out: {problem}", file=sys.stderr)
    return found


def _sleepecg() -> dict[str, Detector]:
    import sleepecg

    return {"sleepecg (C)": lambda x, fs, record: sleepecg.detect_heartbeats(x, fs, backend="c")}


def _neurokit() -> dict[str, Detector]:
    import neurokit2

    def neurokit(x: NDArray[np.float64], fs: float, record: str) -> Any:
        clean = neurokit2.ecg_clean(x, sampling_rate=int(fs))
        return neurokit2.ecg_peaks(clean, sampling_rate=int(fs))[1]["ECG_R_Peaks"]

    return {"neurokit2": neurokit}


def _biosppy() -> dict[str, Detector]:
    from biosppy.signals import ecg, tools

    def hamilton(x: NDArray[np.float64], fs: float, record: str) -> Any:
        band = {"ftype": "FIR", "band": "bandpass", "order": int(1.5 * fs), "frequency": [0.67, 45]}
        clean = tools.filter_signal(x, sampling_rate=fs, **band)[0]
        return ecg.hamilton_segmenter(signal=clean, sampling_rate=fs)[0]

    return {"biosppy hamilton": hamilton}


def _wfdb() -> dict[str, Detector]:
    from wfdb import processing

    return {
        "wfdb gqrs": lambda x, fs, record: processing.gqrs_detect(sig=x, fs=fs),
        "wfdb xqrs": lambda x, fs, record: processing.xqrs_detect(sig=x, fs=fs, verbose=False),
    }


def judge(database: Database, data: Path, detectors: dict[str, Detector]) -> dict[str, tuple[Tally, float]]:
    tallies = {name: Tally() for name in detectors if database.lead is not None or name == OURS}
    hours = 0.0
    for number, (record, x, fs, beats, ignored) in enumerate(recordings(database, data)):
        hours += x.shape[-1] / fs / 3600
        names = list(tallies)
        if number == 0:  # imports and caches are not part of the timing
            for name in names:
                attempt(partial(detectors[name], x, fs, record))
        for k in range(len(names)):
            name = names[(k + number) % len(names)]
            begun = time.process_time()
            found = attempt(partial(detectors[name], x.copy(), fs, record))
            tallies[name].cpu_s += time.process_time() - begun
            tallies[name].failed += found is None
            y = np.unique(np.asarray(found if found is not None else [], dtype=float))
            tallies[name].rows.append((record, *count(database, y, beats, ignored, x.shape[-1], fs)))
    return {name: (tally, hours) for name, tally in tallies.items()}


def attempt(run: Callable[[], Any]) -> Any:
    """What a rival says, or nothing where it gives up on a recording."""
    try:
        return run()
    except (ValueError, IndexError, ZeroDivisionError, TypeError):
        return None


def recordings(
    database: Database, data: Path
) -> Iterator[tuple[str, NDArray[np.float64], float, Beats, list[tuple[int, int]]]]:
    import wfdb

    for header in sorted((data / (database.folder or database.name)).glob("*.hea")):
        stem = str(header.with_suffix(""))
        record, marks = wfdb.rdrecord(stem), wfdb.rdann(stem, database.extension)
        beats = np.array([s for s, c in zip(marks.sample, marks.symbol, strict=True) if c in BEATS], dtype=np.int64)
        starts = [s for s, c in zip(marks.sample, marks.symbol, strict=True) if c == "["]
        stops = [s for s, c in zip(marks.sample, marks.symbol, strict=True) if c == "]"]
        signals = np.nan_to_num(record.p_signal.T)
        x = signals if database.lead is None else np.ascontiguousarray(signals[database.lead])
        group = {"ludb": f"ludb{header.stem}", "cpsc2021s": header.stem.rsplit("_", 1)[0]}.get(
            database.folder or database.name, header.stem
        )
        yield group, x, float(record.fs), beats, list(zip(starts, stops, strict=False))


def count(
    database: Database, y: NDArray[np.float64], beats: Beats, ignored: list[tuple[int, int]], n: int, fs: float
) -> tuple[int, int, int]:
    """(beats, missed, extra) of one recording, paired one to one."""
    low, high, tolerance = database.edge_s * fs, n - database.edge_s * fs, database.tolerance_s * fs
    beats, y = beats[(beats >= low) & (beats < high)], y[(y >= low) & (y < high)]
    if database.annotated_span and beats.size:
        y = y[(y >= beats[0] - tolerance) & (y <= beats[-1] + tolerance)]
    for start, stop in ignored:
        y = y[(y < start) | (y > stop)]
    i = j = paired = 0
    while i < beats.size and j < y.size:
        if y[j] < beats[i] - tolerance:
            j += 1
        elif y[j] > beats[i] + tolerance:
            i += 1
        else:
            # a nearer detection of this beat is taken if it is not needed by the next one
            if (
                j + 1 < y.size
                and abs(y[j + 1] - beats[i]) < abs(y[j] - beats[i])
                and not (i + 1 < beats.size and abs(y[j + 1] - beats[i + 1]) <= tolerance)
            ):
                j += 1
                continue
            paired, i, j = paired + 1, i + 1, j + 1
    return beats.size, beats.size - paired, y.size - paired


def show(database: Database, results: dict[str, tuple[Tally, float]]) -> None:
    for name, (tally, hours) in results.items():
        n = np.array([row[1:] for row in tally.rows], dtype=float)
        draws = np.random.default_rng(0).integers(0, len(n), (2000, len(n)))
        sums = n[draws].sum(axis=1)
        se, ppv, f1, der = rates(*n.sum(axis=0))
        spread = np.array([rates(*row) for row in sums])
        low, high = np.percentile(spread, [2.5, 97.5], axis=0)
        worst = max(tally.rows, key=lambda row: (row[2] + row[3]) / max(1, row[1]))
        print(
            f"| {database.name} | {name} | {se:.2f} | {ppv:.2f} | {f1:.2f} ({low[2]:.2f} to {high[2]:.2f}) "
            f"| {der:.3f} ({low[3]:.3f} to {high[3]:.3f}) "
            f"| {worst[0]} {100 * (worst[2] + worst[3]) / max(1, worst[1]):.2f} % | {tally.cpu_s / hours:.4f} |"
            + (f" failed on {tally.failed} |" if tally.failed else "")
        )


def rates(beats: float, missed: float, extra: float) -> tuple[float, float, float, float]:
    """Se, PPV, F1 and detection error rate in per cent."""
    hit = beats - missed
    return (
        100 * hit / max(1, beats),
        100 * hit / max(1, hit + extra),
        200 * hit / max(1, 2 * hit + missed + extra),
        100 * (missed + extra) / max(1, beats),
    )


if __name__ == "__main__":
    sys.exit(main())

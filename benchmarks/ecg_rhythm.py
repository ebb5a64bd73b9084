"""How well the rhythm analysis does: AF, ventricular rhythms, diagnoses, simulated conditions, beside the bars.

    python -m benchmarks.ecg_rhythm DATA [--folds FOLDER] [--only af,ventricular,diagnoses,simulator] [--seeds 20]

``DATA`` holds mitdb, cpsc2021s, ludb and twelve. ``FOLDER`` is what ``python -m training.ecg_rhythm DATA --folds
FOLDER`` wrote: each patient is then judged by networks that have not seen that patient. Without it the figures are
those of training data. Intervals are 95 %, bootstrapped over patients. Needs wfdb.
"""

from __future__ import annotations

import argparse
import csv
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import wfdb

from teleread.signal.ecg import atrial, beats, flutter, small_networks
from teleread.signal.ecg.median_beat import delineate_and_median
from teleread.signal.ecg.qrs import detect_qrs
from teleread.signal.ecg.record import standard_lead_name
from teleread.signal.ecg.rhythm import Rhythm, classify_rhythm
from teleread.signal.ecg.simulate import CONDITIONS, simulate

CRITICAL = (
    "ventricular_tachycardia",
    "ventricular_fibrillation",
    "asystole",
    "idioventricular_rhythm",
    "accelerated_idioventricular_rhythm",
)
TOLD_BY_THE_RHYTHM = {"bradycardia", "tachycardia"}
CHOICES = ((0,), (1,), (0, 1))


class Weights:
    """Gives each patient the networks that have not seen that patient."""

    def __init__(self, folder: Path | None) -> None:
        self._files: dict[str, Path] = {}
        for names in sorted(folder.glob("*.txt")) if folder else ():
            for patient in names.read_text().split():
                self._files[patient] = names.with_suffix(".npz")

    def use(self, patient: str) -> None:
        file = self._files.get(patient)
        chosen = small_networks.network if file is None else lambda name: small_networks.read_network(str(file), name)
        atrial.network = chosen  # type: ignore[attr-defined]
        beats.network = chosen  # type: ignore[attr-defined]
        flutter.network = chosen  # type: ignore[attr-defined]


def patient_of(name: str) -> str:
    return name.split("_")[1] if name.startswith("data_") else {"202": "201"}.get(name, name)


def read(path: Path) -> tuple[np.ndarray, float, tuple[str, ...]]:
    record = wfdb.rdrecord(str(path.with_suffix("")))
    return np.ascontiguousarray(record.p_signal.T), float(record.fs), tuple(map(standard_lead_name, record.sig_name))


def marks_of(path: Path, length: int) -> list[tuple[int, int, str]]:
    """Spans of rhythm in samples."""
    a = wfdb.rdann(str(path.with_suffix("")), "atr")
    starts = [(int(s), t.strip("\x00")) for s, t in zip(a.sample, a.aux_note, strict=True) if t and t.startswith("(")]
    starts = starts if starts and starts[0][0] < 1000 else [(0, "(N"), *starts]
    return [(s, e, t) for (s, t), (e, _) in zip(starts, [*starts[1:], (length, "")], strict=True)]


def interval(rows: list[tuple[float, float]]) -> str:
    """Share of hits over (hits, total) per patient with its bootstrap interval."""
    table = np.array(rows, dtype=float).reshape(-1, 2)
    if table[:, 1].sum() == 0:
        return "-"
    rng = np.random.default_rng(0)
    draws = table[rng.integers(0, len(table), (2000, len(table)))].sum(axis=1)
    shares = draws[:, 0] / np.maximum(draws[:, 1], 1e-9)
    lo, hi = np.percentile(shares[draws[:, 1] > 0], (2.5, 97.5))
    return f"{100 * table[:, 0].sum() / table[:, 1].sum():5.1f} % [{100 * lo:.1f}, {100 * hi:.1f}]"


def at_samples(rhythm: Rhythm, at: np.ndarray, fs: float) -> np.ndarray:
    """The code at each sample."""
    codes = np.full(at.size, "", dtype="U40")
    for start, end, code in rhythm.spans:
        codes[(at >= start * fs) & (at < end * fs)] = code
    return codes


def strips(x: np.ndarray, fs: float, seconds: float | None) -> Iterator[tuple[int, np.ndarray]]:
    if seconds is None:
        yield 0, x
        return
    n = round(seconds * fs)
    for start in range(0, x.shape[1] - n + 1, n):
        yield start, x[:, start : start + n]


def fibrillation(data: Path, weights: Weights) -> None:
    print("\nAtrial fibrillation per second (flutter left out); bar: Se >= 97 %, Sp >= 95 %")
    for folder in ("mitdb", "cpsc2021s"):
        for seconds in (None, 10.0):
            for choice in CHOICES:
                hit: dict[str, np.ndarray] = {}
                for header in sorted((data / folder).glob("*.hea")):
                    x, fs, leads = read(header)
                    marks = marks_of(header, x.shape[1])
                    patient = patient_of(header.stem)
                    weights.use(patient)
                    y, names = x[list(choice)], tuple(leads[i] for i in choice)
                    r = detect_qrs(y, fs)
                    counts = hit.setdefault(patient, np.zeros(4))
                    for start, piece in strips(y, fs, seconds):
                        inside = r[(r >= start) & (r < start + piece.shape[1])] - start
                        rhythm = classify_rhythm(piece, fs, names, inside, None, None)
                        at = np.arange(int(fs / 2), piece.shape[1], round(fs))
                        found = at_samples(rhythm, at, fs) == "atrial_fibrillation"
                        truth = truth_at(marks, at + start)
                        af, plain = truth == "(AFIB", (truth != "(AFIB") & (truth != "(AFL")
                        counts += [(found & af).sum(), af.sum(), (~found & plain).sum(), plain.sum()]
                se = interval([(c[0], c[1]) for c in hit.values()])
                sp = interval([(c[2], c[3]) for c in hit.values()])
                what = "whole" if seconds is None else f"{seconds:.0f} s strips"
                print(
                    f"  {folder:10s} {what:12s} channels {'+'.join(str(c + 1) for c in choice):4s} Se {se}  Sp {sp}",
                    flush=True,
                )


def truth_at(marks: list[tuple[int, int, str]], at: np.ndarray) -> np.ndarray:
    truth = np.full(at.size, "(N", dtype="U8")
    for start, end, text in marks:
        truth[(at >= start) & (at < end)] = text
    return truth


def ventricular(data: Path, weights: Weights) -> None:
    """Runs of at least four ventricular beats at 100/min and more by the beats' marks, and ventricular flutter."""
    print("\nVentricular tachycardia (runs >= 4 beats, >= 100/min) and flutter, MIT-BIH; bar: each found >= 95 %")
    for choice in CHOICES:
        vt: list[tuple[float, float]] = []
        vfl: list[tuple[float, float]] = []
        false: list[tuple[float, float]] = []
        vebs: list[tuple[float, float]] = []
        ppv: list[tuple[float, float]] = []
        for header in sorted((data / "mitdb").glob("*.hea")):
            x, fs, leads = read(header)
            weights.use(patient_of(header.stem))
            y, names = x[list(choice)], tuple(leads[i] for i in choice)
            r = detect_qrs(y, fs)
            rhythm = classify_rhythm(y, fs, names, r, None, None)
            at = np.arange(int(fs / 2), x.shape[1], round(fs))
            codes = at_samples(rhythm, at, fs)
            named = np.isin(codes, ("ventricular_tachycardia", "ventricular_fibrillation"))
            bad = np.zeros(at.size, dtype=bool)
            runs = runs_of(header)
            found = sum(_overlap(rhythm, a / fs, b / fs) for a, b in runs)
            vt.append((found, len(runs)))
            spans = [(a, b) for a, b, t in marks_of(header, x.shape[1]) if t in ("(VFL", "(VT")]
            fluttering = [(a, b) for a, b, t in marks_of(header, x.shape[1]) if t == "(VFL"]
            vfl.append((sum(_overlap(rhythm, a / fs, b / fs) for a, b in fluttering), len(fluttering)))
            for a, b in [*runs, *spans]:
                bad |= (at >= a - 2 * fs) & (at < b + 2 * fs)
            false.append((float((named & ~bad).sum()), float((~bad).sum())))
            se_p = ventricular_beats(header, rhythm, r, fs)
            vebs.append(se_p[:2])
            ppv.append(se_p[2:])
        tag = "+".join(str(c + 1) for c in choice)
        total = sum(int(v[1]) for v in vt)
        print(f"  channels {tag:4s} VT runs {interval(vt)} of {total}  VFL {interval(vfl)}", flush=True)
        print(f"                time falsely called VT or VF {interval(false)}")
        print(f"                ventricular beats: Se {interval(vebs)}  PPV {interval(ppv)}")


def _overlap(rhythm: Rhythm, start: float, end: float) -> bool:
    return any(
        a < end and b > start and code in ("ventricular_tachycardia", "ventricular_fibrillation")
        for a, b, code in rhythm.spans
    )


def runs_of(header: Path) -> list[tuple[int, int]]:
    a = wfdb.rdann(str(header.with_suffix("")), "atr")
    beat = np.isin(a.symbol, list("NLRBAaJSVrFejnE/fQ"))
    at, symbol = a.sample[beat], np.array(a.symbol)[beat]
    runs, k = [], 0
    while k < at.size:
        j = k
        while j < at.size and symbol[j] == "V":
            j += 1
        if j - k >= 4 and 60.0 * 360.0 / float(np.median(np.diff(at[k:j]))) >= 100.0:
            runs.append((int(at[k]), int(at[j - 1])))
        k = max(j, k + 1)
    return runs


def ventricular_beats(header: Path, rhythm: Rhythm, r: np.ndarray, fs: float) -> tuple[float, float, float, float]:
    a = wfdb.rdann(str(header.with_suffix("")), "atr")
    symbols = np.array(a.symbol)
    kinds = np.array(rhythm.beats)
    called = r[kinds == "ventricular"]
    true = a.sample[np.isin(symbols, list("VE"))]
    other = a.sample[np.isin(symbols, list("NLRAaJSjenr"))]
    near = lambda points, to: sum(bool(to.size and np.abs(to - p).min() < 0.15 * fs) for p in points)  # noqa: E731
    hits, false = near(true, called), near(called, other)
    return hits, true.size, hits, hits + false


LUDB = {
    "atrial_fibrillation": lambda row: "Atrial fibrillation" in row["Rhythms"],
    "atrial_flutter": lambda row: "flutter" in row["Rhythms"],
    "sinus_bradycardia": lambda row: "Sinus bradycardia" in row["Rhythms"],
    "sinus_tachycardia": lambda row: "Sinus tachycardia" in row["Rhythms"],
    "sinus_arrhythmia": lambda row: "Sinus arrhythmia" in row["Rhythms"] or "Irregular sinus" in row["Rhythms"],
    "rbbb": lambda row: "Complete right" in row["Conduction abnormalities"],
    "lbbb": lambda row: "Complete left" in row["Conduction abnormalities"],
    "av_block_1": lambda row: "I degree av block" in row["Conduction abnormalities"],
    "av_block_3": lambda row: "Iii degree" in row["Conduction abnormalities"],
    "premature_ventricular": lambda row: (
        "Ventricular extrasystole" in row["Extrasystoles" if "Extrasystoles" in row else "Extrasystolies"]
    ),
    "premature_supraventricular": lambda row: "Atrial extrasystole" in row["Extrasystolies"],
    "paced": lambda row: "pacing" in row["Cardiac pacing"] or "synchrony" in row["Cardiac pacing"],
}
SNOMED = {
    "atrial_fibrillation": ("164889003",),
    "atrial_flutter": ("164890007",),
    "sinus_bradycardia": ("426177001",),
    "sinus_tachycardia": ("427084000",),
    "sinus_arrhythmia": ("427393009",),
    "rbbb": ("59118001", "713427006"),
    "lbbb": ("164909002", "733534002"),
    "av_block_1": ("270492004",),
    "av_block_3": ("27885002",),
    "premature_ventricular": ("427172004", "17338001", "164884008"),
    "premature_supraventricular": ("284470004", "63593006"),
    "paced": ("10370003",),
}


def said(rhythm: Rhythm) -> set[str]:
    """Findings, and the spans that fill at least a quarter."""
    total = rhythm.spans[-1][1] if rhythm.spans else 1.0
    filled: dict[str, float] = {}
    for start, end, code in rhythm.spans:
        filled[code] = filled.get(code, 0.0) + end - start
    return {f.code for f in rhythm.findings} | {code for code, s in filled.items() if s >= 0.25 * total}


def whole_chain(x: np.ndarray, fs: float, leads: tuple[str, ...]) -> Rhythm:
    r = detect_qrs(x, fs)
    delineation, beat = delineate_and_median(x, fs, leads, r)
    return classify_rhythm(x, fs, leads, r, delineation, beat, raw_mv=x)


def diagnoses(data: Path, weights: Weights, verbose: bool) -> None:
    table: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    with (data / "ludb" / "ludb.csv").open() as file:
        for row in csv.DictReader(file):
            header = data / "ludb" / f"{row['ID'].strip()}.hea"
            if header.exists():
                weights.use(f"ludb{header.stem}")
                codes = said(whole_chain(*read(header)))
                for code, test in LUDB.items():
                    table.setdefault(("LUDB", code), []).append((bool(test(row)), code in codes))
                    if verbose and bool(test(row)) != (code in codes):
                        print("   ", header.stem, code, "missed" if test(row) else "false", sorted(codes))
    for header in sorted((data / "twelve").glob("*.hea")):
        listed = next(line for line in header.read_text().splitlines() if "Dx" in line).split(":")[1].strip()
        if listed:
            weights.use(header.stem)
            codes = said(whole_chain(*read(header)))
            for code, numbers in SNOMED.items():
                truth = any(number in listed for number in numbers)
                table.setdefault(("twelve", code), []).append((truth, code in codes))
                if verbose and truth != (code in codes):
                    print("   ", header.stem, code, "missed" if truth else "false", sorted(codes))
    print("\nDiagnoses by record")
    for (source, code), pairs in table.items():
        se = interval([(float(f), 1.0) for t, f in pairs if t])
        sp = interval([(float(not f), 1.0) for t, f in pairs if not t])
        print(f"  {source:7s} {code:28s} n {sum(t for t, _ in pairs):3d}  Se {se:24s} Sp {sp}", flush=True)


def simulator(seeds: int) -> None:
    print(f"\nSimulated conditions, {seeds} seeds each, noise 0.1 to 1.0: rhythm named rightly, all findings found")
    print("bar: each critical class >= 95 %")
    spent = []
    for condition in CONDITIONS:
        right, listed, extra = [], [], {}
        for seed in range(1000, 1000 + seeds):
            noise = float(np.random.default_rng([seed, 7, zlib.crc32(condition.encode())]).uniform(0.1, 1.0))
            record, truth = simulate(condition, seed, noise=noise)
            r = detect_qrs(record.signals_mv, record.fs_hz)
            delineation, beat = delineate_and_median(record.signals_mv, record.fs_hz, record.leads, r)
            start = time.process_time()
            rhythm = classify_rhythm(record.signals_mv, record.fs_hz, record.leads, r, delineation, beat)
            spent.append(time.process_time() - start)
            want = {code for *_, code in truth.rhythm}
            codes = said(rhythm)
            right.append((float(want <= codes), 1.0))
            found = set(truth.findings) - TOLD_BY_THE_RHYTHM
            listed.append((float(found <= codes), 1.0))
            for code in codes - want - found:
                extra[code] = extra.get(code, 0) + 1
        print(
            f"  {condition:28s} rhythm {interval(right):24s} findings {interval(listed):24s} also {extra or '-'}",
            flush=True,
        )
    print(f"  classify_rhythm, 12 leads x 10 s x 500 Hz: {1000 * float(np.median(spent)):.1f} ms CPU (bar 4)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folds", type=Path)
    parser.add_argument("--only", default="af,ventricular,diagnoses,simulator")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--verbose", action="store_true", help="name each record that was misjudged")
    arguments = parser.parse_args()
    weights = Weights(arguments.folds)
    parts: dict[str, Callable[[], None]] = {
        "af": lambda: fibrillation(arguments.data, weights),
        "ventricular": lambda: ventricular(arguments.data, weights),
        "diagnoses": lambda: diagnoses(arguments.data, weights, arguments.verbose),
        "simulator": lambda: simulator(arguments.seeds),
    }
    print(
        "left-out patients judged by networks that have not seen them" if arguments.folds else "networks saw these data"
    )
    for name in arguments.only.split(","):
        parts[name]()


if __name__ == "__main__":
    main()

"""Global intervals: on the simulator, beside the devices' own in MUSE and Philips files, on LUDB; and CPU time.

    python -m benchmarks.ecg_intervals [--data DIR] [--seeds N] [--only simulator,device,ludb,cpu] [--filter band]

DIR holds ``ecg/ludb`` and ``ecg_files/{muse_xml,sierra_xml}`` (default: TELEREAD_DATA); without it those two tables are
left out. ``FILE.gt.npz`` holds the true samples of ``FILE`` by lead, in mV.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg import detect_qrs, simulate
from teleread.signal.ecg.delineate_global import delineate_global
from teleread.signal.ecg.filters import diagnostic, diagnostic_band
from teleread.signal.ecg.measure import Measured, delineate_and_median, measure

Samples = NDArray[np.float64]
Values = dict[str, float]

NAMES = ("p_duration_ms", "pr_ms", "qrs_duration_ms", "qt_ms")
SHORT = ("P", "PR", "QRS", "QT")
ANALYTICAL = ((10, 8), (10, 8), (6, 5), (12, 10))  # mean and SD, IEC 60601-2-25
BIOLOGICAL = ((10, 15), (10, 10), (10, 10), (25, 30))
DEVICE_BARS = {"heart_rate_bpm": 2.0, "pr_ms": 20.0, "qrs_duration_ms": 12.0, "qt_ms": 25.0}
RATES = (40.0, 60.0, 80.0, 100.0, 120.0, 140.0)
AT_ANY_RATE = ("normal", "lbbb", "rbbb", "lvh", "inferior_stemi")
OTHERS = (
    "anterior_stemi", "lateral_stemi", "posterior_stemi", "ivcd", "pre_excitation", "st_depression", "wellens",
    "long_qt", "short_qt", "low_voltage", "av_block_1", "early_repolarisation", "premature_ventricular", "child",
)  # fmt: skip
TAGS = {
    "heart_rate_bpm": ("VentricularRate", "meanventrate"),
    "pr_ms": ("PRInterval", "meanprint"),
    "qrs_duration_ms": ("QRSDuration", "meanqrsdur"),
    "qt_ms": ("QTInterval", "meanqtint"),
    "p_axis_deg": ("PAxis", "pfrontaxis"),
    "qrs_axis_deg": ("RAxis", "qrsfrontaxis"),
    "t_axis_deg": ("TAxis", "tfrontaxis"),
}
CALIBRATION_FROM = {"sierra_xml": 5350}  # these files end with a calibration pulse on all leads
EXPLAINED = {
    ("v103_129DYPRG.xml", "qrs_duration_ms"): "the device's own group of beats says 96 ms in the same file",
    ("v103_repbeats_example.xml", "qrs_duration_ms"): "the device's own group of beats says 96 ms in the same file",
    ("v104_3191723.xml", "heart_rate_bpm"): "sinus slows from 104 to 73/min; the device averages rates, we RR",
    ("v104_3191723_js.xml", "heart_rate_bpm"): "sinus slows from 104 to 73/min; the device averages rates, we RR",
}


FILTERS: dict[str, Callable[[Samples, float], Samples]] = {
    "diagnostic": lambda x, fs_hz: diagnostic(x, fs_hz).signals_mv,
    "band": diagnostic_band,
}
CHOSEN = {"filter": "diagnostic"}


def measured(signals_mv: Samples, fs_hz: float, leads: tuple[str, ...]) -> dict[str, Measured]:
    """Everything that is measured on one recording, by the way that ``analyse`` takes."""
    filtered = FILTERS[CHOSEN["filter"]](signals_mv, fs_hz)
    peaks = detect_qrs(signals_mv, fs_hz)
    delineation, beat = delineate_and_median(filtered, fs_hz, leads, peaks)
    return measure(beat, np.diff(peaks) * 1000.0 / fs_hz, delineation=delineation, fs_hz=fs_hz)


def summary(errors: list[float]) -> str:
    return f"{np.mean(errors):6.1f} /{np.std(errors):5.1f}" if errors else "      -      "


def interval_95(errors: list[float]) -> str:
    """Bootstrap over recordings: 95 % intervals of mean and SD."""
    rng = np.random.default_rng(1)
    draws = np.array(errors)[rng.integers(0, len(errors), (1000, len(errors)))]
    mean, sd = np.percentile(draws.mean(axis=1), (2.5, 97.5)), np.percentile(draws.std(axis=1), (2.5, 97.5))
    return f"[{mean[0]:.1f} {mean[1]:.1f}] / [{sd[0]:.1f} {sd[1]:.1f}]"


def simulator(seeds: int) -> None:
    print("Simulator: found minus true, mean / SD in ms")
    print(f"{'':34}" + "".join(f"{name:>15}" for name in SHORT) + "   absent")
    print(f"{'IEC 60601-2-25, analytical':34}" + "".join(f"{f'{m} / {s}':>15}" for m, s in ANALYTICAL))
    for fs_hz in (250.0, 500.0, 1000.0):
        for noise in (0.0, 1.0):
            errors: dict[str, list[float]] = {name: [] for name in NAMES}
            worst: list[tuple[float, str]] = []
            absent = 0
            for condition, seed, rate in plan(seeds):
                settings = {} if rate is None else {"rate_bpm": rate}
                record, truth = simulate(condition, seed, fs_hz=fs_hz, noise=noise, **settings)  # type: ignore[arg-type]
                found = measured(record.signals_mv, fs_hz, record.leads)
                for name in NAMES:
                    if name not in truth.intervals_ms:
                        continue
                    if name not in found:
                        absent += 1
                        worst.append((np.inf, f"{condition} {seed} {name} absent"))
                        continue
                    error = found[name].value - truth.intervals_ms[name]
                    errors[name].append(error)
                    worst.append((abs(error), f"{condition} {seed} at {rate or 'any'}/min: {name} {error:+.0f}"))
            label = f"{fs_hz:.0f} Hz, noise {noise:.0f}, {len(errors['qt_ms'])} recordings"
            print(f"{label:34}" + "".join(f"{summary(errors[name]):>15}" for name in NAMES) + f"{absent:7d}")
            for _, text in sorted((w for w in worst if w[0] > 30), reverse=True)[:4]:
                print(f"    {text}")


def plan(seeds: int) -> Iterator[tuple[str, int, float | None]]:
    for condition in AT_ANY_RATE:
        for seed in range(seeds):
            for k, rate in enumerate(RATES):
                yield condition, 1000 + seed * len(RATES) + k, rate
    for condition in OTHERS:
        for seed in range(seeds):
            yield condition, 1000 + seed, None


def device(data: Path) -> None:
    print("\nDevices: ours (device's)", end="")
    print("".join(f"{name:>24}" for name in TAGS))
    misses = []
    for path in sorted((data / "ecg_files").glob("*_xml/*.xml")):
        truth = Path(f"{path}.gt.json")
        own = device_values(path)
        if path.parent.name not in ("muse_xml", "sierra_xml") or not truth.exists() or "qt_ms" not in own:
            continue
        facts = json.loads(truth.read_text(encoding="utf-8"))
        with np.load(f"{path}.gt.npz") as stored:
            n = min(stored[lead].size for lead in facts["leads"])
            n = min(n, CALIBRATION_FROM.get(path.parent.name, n))
            signals = np.array([stored[lead][:n] for lead in facts["leads"]], dtype=np.float64)
        found = measured(signals, float(facts["fs"]), tuple(facts["leads"]))
        shown = [f"{found[k].value:.0f} ({own[k]:.0f})" if k in found and k in own else "-" for k in TAGS]
        print(f"{path.name:24}" + "".join(f"{text:>24}" for text in shown))
        for name, bar in DEVICE_BARS.items():
            if name in own and (name not in found or abs(found[name].value - own[name]) > bar):
                ours = f"{found[name].value:.1f}" if name in found else "absent"
                why = EXPLAINED.get((path.name, name), "not explained")
                misses.append(f"{path.name} {name}: ours {ours}, device {own[name]:.0f}: {why}")
    print(f"beyond rate 2/min, PR 20, QRS 12, QT 25 ms: {len(misses)}")
    for miss in misses:
        print(f"    {miss}")


def device_values(path: Path) -> Values:
    """The first value of each of the device's own measurements in an XML file, whatever its namespaces."""
    raw = path.read_bytes()
    text = raw.decode("utf-16") if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else raw.decode("utf-8", errors="replace")
    values = {}
    for name, tags in TAGS.items():
        for tag in tags:
            match = re.search(rf"<{tag}[^>]*>\s*(-?\d+)\s*<", text)
            if match:
                values[name] = float(match.group(1))
                break
    return values


def ludb(data: Path) -> None:
    """Reference: the k-th earliest onset and k-th latest end of the twelve leads' marks, the median over the beats."""
    import wfdb

    folder = data / "ecg" / "ludb"
    names = sorted((p.stem for p in folder.glob("*.hea")), key=int)
    errors: dict[int, dict[str, list[float]]] = {k: {name: [] for name in NAMES} for k in (1, 2, 3)}
    p_seen = [0, 0, 0, 0]  # with and without P, found so and not
    for name in names:
        record = wfdb.rdrecord(str(folder / name))
        found = measured(record.p_signal.T, float(record.fs), tuple(record.sig_name))
        marks = [wfdb.rdann(str(folder / name), lead) for lead in record.sig_name]
        for k, by_name in errors.items():
            reference = ludb_reference(marks, float(record.fs), k)
            for interval in NAMES:
                if interval in found and interval in reference:
                    by_name[interval].append(found[interval].value - reference[interval])
        p_seen[(0 if "pr_ms" in ludb_reference(marks, float(record.fs), 1) else 2) + ("pr_ms" not in found)] += 1
    print(f"\nLUDB, {len(names)} recordings: ours minus the marks, mean / SD in ms, and bootstrap 95 % intervals")
    print(
        f"{'IEC 60601-2-25, biological':34}"
        + "".join(f"{f'{n} {m} / {s}':>18}" for n, (m, s) in zip(SHORT, BIOLOGICAL, strict=True))
    )
    for k, by_name in errors.items():
        label = "earliest and latest of 12 leads" if k == 1 else f"number {k} from either end"
        print(f"{label:34}" + "".join(f"{summary(by_name[n]):>18}" for n in NAMES))
        print(f"{'':34}" + "  ".join(interval_95(by_name[n]) for n in NAMES))
        rest = {n: without_farthest(by_name[n], 8) for n in NAMES}
        print(f"{'    without the 8 farthest':34}" + "".join(f"{summary(rest[n]):>18}" for n in NAMES))
    print(
        f"P marked: found {p_seen[0]}, missed {p_seen[1]}; "
        f"no P marked: found all the same {p_seen[2]}, absent {p_seen[3]}"
    )


def without_farthest(errors: list[float], count: int) -> list[float]:
    """The errors without those that lie farthest from their median."""
    middle = float(np.median(errors))
    return sorted(errors, key=lambda error: abs(error - middle))[:-count]


def ludb_reference(marks: list, fs_hz: float, k: int) -> Values:  # type: ignore[type-arg]
    """Global intervals from (onset, peak, end) of each wave in each lead, beat by beat around the QRS marks."""
    waves: dict[str, list[tuple[int, int, int]]] = {"p": [], "N": [], "t": []}
    for lead in marks:
        for i, symbol in enumerate(lead.symbol):
            if symbol in waves:
                on = lead.sample[i - 1] if i and lead.symbol[i - 1] == "(" else -1
                off = lead.sample[i + 1] if i + 1 < len(lead.symbol) and lead.symbol[i + 1] == ")" else -1
                waves[symbol].append((on, int(lead.sample[i]), off))
    peaks = np.sort([peak for _, peak, _ in waves["N"]])
    beats = np.split(peaks, np.flatnonzero(np.diff(peaks) > 0.2 * fs_hz) + 1) if peaks.size else []
    collected: dict[str, list[float]] = {name: [] for name in NAMES}
    for beat in beats:
        r = int(np.median(beat))
        p, qrs, t = (
            edges([w for w in waves[kind] if low * fs_hz < w[1] - r < high * fs_hz], k)
            for kind, low, high in (("p", -0.4, -0.02), ("N", -0.12, 0.12), ("t", 0.06, 0.66))
        )
        pairs = ((p[0], p[1]), (p[0], qrs[0]), (qrs[0], qrs[1]), (qrs[0], t[1]))
        for name, (first, last) in zip(NAMES, pairs, strict=True):
            if first is not None and last is not None:
                collected[name].append((last - first) * 1000.0 / fs_hz)
    return {name: float(np.median(values)) for name, values in collected.items() if values}


def edges(waves: list[tuple[int, int, int]], k: int) -> tuple[int | None, int | None]:
    """The k-th earliest onset and the k-th latest end; None with marks in fewer than four leads."""
    on, off = sorted(w[0] for w in waves if w[0] >= 0), sorted(w[2] for w in waves if w[2] >= 0)
    return (on[k - 1] if len(on) >= 4 else None), (off[-k] if len(off) >= 4 else None)


def cpu() -> None:
    record, _ = simulate("normal", 1, noise=1.0)
    filtered = diagnostic(record.signals_mv, 500.0).signals_mv
    peaks = detect_qrs(record.signals_mv, 500.0)
    rr_ms = np.diff(peaks) * 2.0
    delineation, beat = delineate_and_median(filtered, 500.0, record.leads, peaks)
    print("\nCPU time, 12 leads, 10 s, 500 Hz, median of 100")
    for label, bar, work in (
        ("delineate_global", 5.0, lambda: delineate_global(filtered, 500.0, peaks)),
        ("the same with the median beat", 5.0, lambda: delineate_and_median(filtered, 500.0, record.leads, peaks)),
        ("measure", 2.0, lambda: measure(beat, rr_ms, delineation=delineation, fs_hz=500.0)),
    ):
        times = []
        for _ in range(100):
            start = time.process_time()
            work()
            times.append(1000.0 * (time.process_time() - start))
        print(f"{label:34}{np.median(times):6.2f} ms   bar {bar:.0f}")
    long, _ = simulate("normal", 2, fs_hz=250.0, duration_s=3600.0)
    hour = np.ascontiguousarray(long.signals_mv[:3])
    beats = detect_qrs(hour, 250.0)
    start = time.process_time()
    delineate_and_median(hour, 250.0, long.leads[:3], beats)
    print(f"{'one hour, 3 leads, 250 Hz':34}{time.process_time() - start:6.2f} s, {beats.size} beats")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("TELEREAD_DATA"))
    parser.add_argument("--seeds", type=int, default=3, help="seeds for each condition and rate (44 recordings each)")
    parser.add_argument("--only", default="simulator,device,ludb,cpu")
    parser.add_argument(
        "--filter", choices=sorted(FILTERS), default="diagnostic", help="band: without baseline removal"
    )
    chosen = parser.parse_args()
    CHOSEN["filter"] = chosen.filter
    parts = chosen.only.split(",")
    if "simulator" in parts:
        simulator(chosen.seeds)
    if chosen.data is not None and "device" in parts:
        device(Path(chosen.data))
    if chosen.data is not None and "ludb" in parts:
        ludb(Path(chosen.data))
    if "cpu" in parts:
        cpu()


if __name__ == "__main__":
    main()

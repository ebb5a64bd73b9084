"""The quality gate beside its bars: graded recordings, named faults, false alarms, speed.

    python -m benchmarks.ecg_quality [DATA] [--records N] [--only cinc faults alarms speed]

DATA is the folder of real recordings (default: TELEREAD_DATA). Accuracy on CinC 2011 is out of fold: each recording
is judged by networks that never saw it, at a threshold from the other folds (their answers lie beside the weights, see
training/ecg_quality.py, which also prints what accuracy the drift of the grades leaves to the best rule).
Faults are laid over simulated hearts in real noise (nstdb record 118e24 minus record 118) and over real twelve-lead
recordings. The limb and chest networks learned from the real ones, so for them the simulated ones are the judge; on
unseen real recordings see the figures that training/ecg_electrodes.py prints.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from teleread.ingest.formats import read_ecg
from teleread.signal.ecg import STANDARD_LEADS, EcgRecord, assess_quality, detect_qrs, simulate
from teleread.signal.ecg.filters import Samples, band_pass
from teleread.signal.ecg.quality import judge_recording
from teleread.signal.ecg.quality_judge import unacceptable_to_experts
from teleread.signal.ecg.quality_types import LIMITS, Quality
from teleread.signal.ecg.simulation.faults import FAULT_KINDS, apply_fault, lay_noise

BARS = "bars: accuracy 0.95, unacceptable found 0.90; each fault 95 % (chest exchange 80 %), clean flagged 2 %"
CONDITIONS = ("normal", "normal", "normal", "af", "lbbb", "rbbb", "lvh", "inferior_stemi")
SWAPS = ("v1_v2", "v2_v3", "v1_v3", "v3_v4", "v4_v5", "v5_v6", "v2_v5", "v1_v6")


def interval(flags: NDArray[np.bool_]) -> str:
    """A share with its 95 % bootstrap interval."""
    if flags.size == 0:
        return "     -"
    rng = np.random.default_rng(0)
    means = flags[rng.integers(0, flags.size, (2000, flags.size))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return f"{flags.mean():.3f} ({low:.3f} to {high:.3f})"


def cinc(data: Path) -> None:
    held = np.load(data / "cinc2011" / "set_a.npz")
    graded = np.flatnonzero(held["acceptable"] >= 0)
    with resources.files("teleread.signal.ecg").joinpath("weights", "quality.weights").open("rb") as file:
        unseen = np.load(file)["unseen_refused"]
    refused = held["acceptable"][graded] == 0
    fs, ecgs = float(held["fs"]), held["ecg_int16"]
    out, fixed, whole = (np.zeros(graded.size, dtype=np.bool_) for _ in range(3))
    for k, i in enumerate(graded):
        ecg = ecgs[i] / 200.0
        told = bool(unseen[k])

        def others(work: Samples, fs_hz: float, leads: Sequence[str], t: bool = told) -> bool:
            return t

        out[k] = not judge_recording(ecg, fs, STANDARD_LEADS, LIMITS, None, others).acceptable
        fixed[k] = not judge_recording(ecg, fs, STANDARD_LEADS, LIMITS, None, lambda *_: None).acceptable
        whole[k] = not judge_recording(ecg, fs, STANDARD_LEADS, LIMITS, None, unacceptable_to_experts).acceptable
    print(f"CinC 2011, {graded.size} graded recordings of 1,000, {refused.sum()} unacceptable; published 0.932")
    for name, says in (("out of fold", out), ("limits alone", fixed), ("trained on these", whole)):
        print(
            f"  {name:18s} accuracy {interval(says == refused)}  found {interval(says[refused])}  "
            f"kept {interval(~says[~refused])}"
        )


def real(data: Path) -> Iterator[tuple[str, EcgRecord]]:
    for folder in ("ludb", "twelve"):
        for header in sorted((data / folder).glob("*.hea")):
            record = read_ecg(header)
            n = round(10 * record.fs_hz)
            yield folder, EcgRecord(record.signals_mv[:, :n], record.leads, record.fs_hz, record.source_format)


def real_noise(data: Path, fs_hz: float) -> Samples:
    """What was added to record 118 at 24 dB (electrode motion), without the drift below 0.3 Hz, in mV."""
    clean, noisy = (read_ecg(data / "nstdb" / f"{name}.hea") for name in ("118", "118e24"))
    n = min(clean.signals_mv.shape[1], noisy.signals_mv.shape[1])
    extra = noisy.signals_mv[:, :n] - clean.signals_mv[:, :n]
    busy = np.abs(extra).sum(axis=0) > 0
    extra = extra[:, busy][:, : round(300 * clean.fs_hz)]
    times = np.arange(0, extra.shape[1] - 1, clean.fs_hz / fs_hz)
    moved = np.array([np.interp(times, np.arange(extra.shape[1]), row) for row in extra])
    return band_pass(moved, fs_hz, 0.3, None)


def named(quality: Quality, truth: Sequence[tuple[str, str]]) -> bool:
    """Whether a fault is found and rightly named, in any of the leads that it spoils or at their electrode."""
    wanted = {(lead or None, fault) for lead, fault in truth}
    seen = {(finding.lead, finding.fault) for finding in quality.findings}
    return bool(wanted & seen)


def faults(data: Path | None, count: int) -> None:
    noise = real_noise(data, 500.0) if data is not None else None
    simulated = []
    for seed in range(count):
        record = simulate(CONDITIONS[seed % len(CONDITIONS)], seed, noise=0.5)[0]
        simulated.append(record if noise is None else lay_noise(record, noise, seed, snr_db=24.0))
    sets: dict[str, list[EcgRecord]] = {"simulated": simulated}
    if data is not None:
        every = [record for _, record in real(data) if not assess(record).findings]
        sets["real"] = [every[i] for i in np.random.default_rng(0).permutation(len(every))[:count]]
    print(f"{'fault':16s}" + "".join(f"{name:>28s}" for name in sets))
    for fault in ("clean", *(kind for kind in FAULT_KINDS if kind != "ll_rl"), *SWAPS):
        line = f"{fault:16s}"
        for records in sets.values():
            hits = []
            for seed, record in enumerate(records):
                if fault == "clean":
                    hits.append(bool(assess(record).findings))
                    continue
                spoilt, truth = apply_fault(record, fault, seed)
                if truth:
                    hits.append(named(assess(spoilt), truth))
            line += f"{interval(np.array(hits, dtype=np.bool_)):>28s}"
        print(line)


def assess(record: EcgRecord) -> Quality:
    return assess_quality(record.signals_mv, record.fs_hz, record.leads)


def alarms(data: Path) -> None:
    kept: dict[str, list[Quality]] = {}
    for folder, record in real(data):
        kept.setdefault(folder, []).append(assess(record))
    for folder, verdicts in kept.items():
        print(f"{folder}, {len(verdicts)} recordings")
        print(f"  called unacceptable     {interval(np.array([not v.acceptable for v in verdicts]))}")
        for fault in sorted({f.fault for v in verdicts for f in v.findings}):
            hits = np.array([any(f.fault == fault for f in v.findings) for v in verdicts])
            print(f"  {fault:22s}  {interval(hits)}")


def speed() -> None:
    for fs_hz in (250.0, 500.0, 1000.0):
        record = simulate("normal", 1, fs_hz=fs_hz)[0]
        peaks = detect_qrs(record.signals_mv, fs_hz)
        took = {name: [] for name in ("with peaks", "without")}
        for _ in range(30):
            for name, known in (("with peaks", peaks), ("without", None)):
                start = time.process_time()
                assess_quality(record.signals_mv, fs_hz, record.leads, r_peaks=known)
                took[name].append(1000 * (time.process_time() - start))
        print(
            f"12 leads, 10 s, {fs_hz:.0f} Hz: " + ", ".join(f"{k} {np.median(v):.1f} ms CPU" for k, v in took.items())
        )
    day = np.tile(simulate("normal", 2, fs_hz=250.0, duration_s=60.0)[0].signals_mv[:3], (1, 24 * 60))
    start = time.process_time()
    assess_quality(day, 250.0, ("I", "II", "III"))
    print(f"3 leads, 24 h, 250 Hz: {time.process_time() - start:.1f} s CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("TELEREAD_DATA"))
    parser.add_argument("--records", type=int, default=60)
    parser.add_argument("--only", nargs="*", default=["cinc", "faults", "alarms", "speed"])
    args = parser.parse_args()
    data = Path(args.data) / "ecg" if args.data else None
    print(BARS)
    if data is not None and "cinc" in args.only:
        cinc(data)
    if "faults" in args.only:
        faults(data, args.records)
    if data is not None and "alarms" in args.only:
        alarms(data)
    if "speed" in args.only:
        speed()


if __name__ == "__main__":
    main()

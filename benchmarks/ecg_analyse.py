"""What `analyse` costs: a 12-lead recording, a day of three leads, and whether it says the same thing twice.

    python -m benchmarks.ecg_analyse [--rounds 40] [--hours 24] [--json]

CPU time of one thread, medians after warming up. The day runs in a process of its own, whose highest resident memory
is told together with that of the samples alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

# CPU time of one thread is promised, and NumPy reads this once, when it is imported
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from teleread.signal.ecg import EcgRecord, analyse, simulate

CONDITIONS = ("normal", "af", "complete_block", "inferior_stemi")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = {**short(options.rounds), **day(options.hours)}
    if options.json:
        print(json.dumps(figures))
        return
    print("| what | bar | figure |\n|---|---|---|")
    print(f"| analyse, 12 leads, 10 s, 500 Hz, CPU | 25 ms | {figures['cpu_ms']:.1f} ms |")
    print(f"| its peak memory, times the input | 10 | {figures['memory_ratio']:.1f} |")
    print(f"| the same twice | bit-equal | {'yes' if figures['bit_equal'] else 'NO'} |")
    print(f"| {options.hours:g} h, 3 leads, 250 Hz, CPU | 60 s | {figures['day_cpu_s']:.1f} s |")
    print(f"| its highest memory, samples included | 1 GB | {figures['day_mb']:.0f} MB |")


def short(rounds: int) -> dict[str, Any]:
    """CPU, memory and sameness for a standard recording."""
    records = [simulate(condition, seed, noise=1.0)[0] for condition in CONDITIONS for seed in range(3)]
    for record in records:
        analyse(record)
    taken = []
    for number in range(rounds):
        begun = time.process_time()
        analyse(records[number % len(records)])
        taken.append(time.process_time() - begun)
    record = records[0]
    tracemalloc.start()
    analyse(record)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    twice = {hashlib.sha256(json.dumps(analyse(record).to_json()).encode()).hexdigest() for _ in range(3)}
    return {
        "cpu_ms": 1e3 * statistics.median(taken),
        "memory_ratio": peak / record.signals_mv.nbytes,
        "bit_equal": len(twice) == 1,
    }


def day(hours: float) -> dict[str, Any]:
    """A long recording, in a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=_day, args=(hours, theirs.send))
    worker.start()
    cpu_s, peak_kb = ours.recv()
    worker.join()
    return {"day_cpu_s": cpu_s, "day_mb": peak_kb / 1024}


def _day(hours: float, send: Callable[[tuple[float, int]], None]) -> None:
    record = long_record(hours)
    begun = time.process_time()
    analyse(record)
    send((time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def long_record(hours: float, fs_hz: float = 250.0) -> EcgRecord:
    """Three leads of so many hours, from five-minute pieces of changing rhythm and noise."""
    pieces = [
        simulate(CONDITIONS[number % 3], number, fs_hz=fs_hz, duration_s=300.0, noise=1.0)[0] for number in range(6)
    ]
    first = pieces[0]
    rows = [first.leads.index(lead) for lead in ("I", "II", "V2")]
    count = max(1, round(hours * 12))
    length = first.signals_mv.shape[1]
    signals = np.empty((3, count * length))
    for number in range(count):
        signals[:, number * length : (number + 1) * length] = pieces[number * 7 % 6].signals_mv[rows]
    return replace(first, signals_mv=signals, leads=("I", "II", "V2"), derived_leads=())


if __name__ == "__main__":
    main()

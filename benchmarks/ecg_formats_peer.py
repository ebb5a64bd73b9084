"""Reads one file with a rival for benchmarks/ecg_formats.py, in an environment of its own: file in, leads out as .npz.

python ecg_formats_peer.py READER FILE TARGET REPEATS
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

Leads = dict[str, "np.ndarray"]


def ecgdatakit(path: str) -> tuple[Leads, float]:
    from ecgdatakit import FileParser

    record = FileParser.parse(path, auto_scale=True, units="mV")
    return {lead.label: np.asarray(lead.samples, float) for lead in record.leads}, float(record.leads[0].sampling_rate)


def sierraecg(path: str) -> tuple[Leads, float]:
    from sierraecg import read_file

    leads = read_file(path).leads
    step = 0.005  # it gives numbers as stored: 5 µV in every file seen
    rows = {lead.label: np.asarray(lead.samples, float) * step for lead in leads}
    return rows, float(leads[0].sampling_freq)


def wfdb(path: str) -> tuple[Leads, float]:
    import wfdb as library

    record = library.rdrecord(path.rsplit(".", 1)[0])
    per_mv = {"mV": 1.0, "uV": 1e-3, "V": 1e3}
    columns = zip(record.sig_name, record.units, record.p_signal.T, strict=True)
    return {name: row * per_mv[unit] for name, unit, row in columns}, float(record.fs)


READERS: dict[str, Callable[[str], tuple[Leads, float]]] = {
    "ecgdatakit": ecgdatakit,
    "sierraecg": sierraecg,
    "wfdb": wfdb,
}


def main(reader: str, source: str, target: str, repeats: str) -> None:
    """Read the file, the first time to warm up, and write the last outcome with the median CPU time."""
    warnings.simplefilter("ignore")
    read = READERS[reader]
    leads, fs = read(source)
    times = []
    for _ in range(int(repeats)):
        began = time.process_time()
        leads, fs = read(source)
        times.append((time.process_time() - began) * 1000)
    rows = {f"lead {name}": row for name, row in leads.items()}
    np.savez(target, fs=fs, ms=np.median(times), **rows)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:5])

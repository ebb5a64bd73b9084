"""Which reader reads which file right, each file in a process of its own; and how long a file takes.

    python -m benchmarks.ecg_formats [--data DIR] [--peers VENV] [--biosig FOLDER] [--json]

DIR holds ``ecg_files/<format>`` with answer keys (``FILE.gt.json``, ``FILE.gt.npz``; default: TELEREAD_DATA). VENV is
an environment of ``requirements-bench.lock`` with the rivals; FOLDER holds ``save2gdf`` of Debian's biosig-tools. A
file is right when every lead of its key is there at its rate, within 6 µV, at most two samples longer or shorter.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from teleread.ingest.formats import read_ecg

TOLERANCE_MV = 0.006
MOST_SAMPLES_OFF = 2
LIMIT_S = 60
REPEATS = 9
RIVALS = ("ecgdatakit", "biosig", "sierraecg", "wfdb")
ALONE = {"sierraecg": {"sierra_xml"}, "wfdb": {"wfdb", "edf"}}  # readers of one format
BARS_MS = {"dicom": 10.0, "hl7aecg": 30.0, "muse_xml": 30.0, "sierra_xml": 30.0}
PEER = Path(__file__).with_name("ecg_formats_peer.py")

Leads = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: ``right``, ``wrong``, ``refused``, ``crash``, ``hang`` or ``–`` (not its format)."""

    verdict: str
    ms: float | None
    seconds: float | None  # length of the recording


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("TELEREAD_DATA"))
    parser.add_argument("--peers", type=Path, metavar="VENV")
    parser.add_argument("--biosig", type=Path, metavar="FOLDER")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("FILE", "TARGET"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return read_one(Path(options.one[0]), Path(options.one[1]))
    if options.data is None:
        parser.error("--data names no folder")
    found = dict(measured(options.data / "ecg_files", options.peers, options.biosig))
    if options.json:
        print(json.dumps({file: {r: o.verdict for r, o in row.items()} for file, row in found.items()}, indent=1))
        return 0
    report(found)
    return 0


def measured(folder: Path, peers: Path | None, biosig: Path | None) -> Iterator[tuple[str, Mapping[str, Outcome]]]:
    """Every file that has a key, with what each reader made of it."""
    for key in sorted(folder.glob("*/*.gt.json")):
        path = key.with_name(key.name.removesuffix(".gt.json"))
        truth = dict(np.load(path.with_name(path.name + ".gt.npz")))
        fs = json.loads(key.read_text()).get("fs")
        row = {"teleread": judged([sys.executable, "-m", "benchmarks.ecg_formats", "--one", str(path)], truth, fs)}
        for rival in RIVALS:
            if rival == "biosig":
                if biosig is not None:
                    row[rival] = by_biosig(biosig, path, truth, fs)
            elif peers is not None and path.parent.name in ALONE.get(rival, {path.parent.name}):
                python = str(peers / "bin" / "python")
                row[rival] = judged([python, str(PEER), rival, str(path)], truth, fs, [str(REPEATS)])
        print(path.parent.name, path.name, {name: one.verdict for name, one in row.items()}, file=sys.stderr)
        yield f"{path.parent.name}/{path.name}", row


def judged(command: list[str], truth: Leads, fs: float | None, more: list[str] | None = None) -> Outcome:
    """Run a reader that writes ``TARGET.npz`` in a process of its own, and compare with the key."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.npz"
        try:
            done = subprocess.run(
                [*command, str(target), *(more or [])], capture_output=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Outcome("hang", None, None)
        if done.returncode < 0:
            return Outcome("crash", None, None)
        if done.returncode or not target.exists():
            return Outcome("refused", None, None)
        with np.load(target) as stored:
            leads = {name.removeprefix("lead "): stored[name] for name in stored.files if name.startswith("lead ")}
            rate, ms = float(stored["fs"]), float(stored["ms"])
    longest = max((row.size for row in leads.values()), default=0)
    return Outcome("right" if is_right(leads, rate, truth, fs) else "wrong", ms, longest / rate)


def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)


def is_right(leads: Leads, rate: float, truth: Leads, fs: float | None) -> bool:
    """Whether all that the key holds is there, within its tolerance."""
    if fs and abs(rate - fs) > 0.01:
        return False
    have = {re.sub(r"^(lead|ecg)\s+", "", name.strip(), flags=re.I).upper(): row for name, row in leads.items()}
    for name, want in truth.items():
        row = have.get(name.upper())
        if row is None or abs(row.size - want.size) > MOST_SAMPLES_OFF:
            return False
        n = min(row.size, want.size)
        gap = np.abs(row[:n] - want[:n])[np.isfinite(want[:n])]
        if gap.size and not np.nanmax(gap) <= TOLERANCE_MV:
            return False
    return True


def by_biosig(folder: Path, path: Path, truth: Leads, fs: float | None) -> Outcome:
    """What Debian's biosig-tools make of a file, written as text: one number a line for each channel."""
    tool = shutil.which("save2gdf", path=str(folder)) or shutil.which("biosig2gdf", path=str(folder))
    assert tool is not None, f"no biosig-tools in {folder}"
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "out.asc"
        began = time.monotonic()
        try:
            done = subprocess.run(
                [tool, "-f=ASCII", str(path), str(out)], capture_output=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Outcome("hang", None, None)
        ms = (time.monotonic() - began) * 1000
        if done.returncode < 0:
            return Outcome("crash", None, None)
        if not out.exists():
            return Outcome("refused", None, None)
        leads, rate = asc(out)
    return Outcome("right" if leads and is_right(leads, rate, truth, fs) else "wrong", ms, None)


def asc(header: Path) -> tuple[Leads, float]:
    """The channels of BioSig's ASCII format, in mV."""
    leads: dict[str, NDArray[np.float64]] = {}
    rate = 0.0
    per_mv = {"uV": 1e-3, "mV": 1.0, "V": 1e3, "nV": 1e-6}
    for block in re.split(r"\n(?=Filename)", header.read_text("latin-1"))[1:]:
        facts = dict(re.findall(r"^(\w+)\s*[:=]\s*(.*?)\s*(?:#.*)?$", block, re.M))
        file = header.with_name(Path(facts.get("Filename", "")).name)
        unit = facts.get("PhysicalUnits", facts.get("PhysDim", "uV"))
        if not file.is_file() or file == header:
            continue
        values = np.array(file.read_text("latin-1").split(), dtype=float)
        leads[str(facts.get("Label", file.suffix))] = values * per_mv.get(str(unit), np.nan)
        rate = float(facts.get("SamplingRate", 0) or 0)
    return leads, rate


def read_one(path: Path, target: Path) -> int:
    """teleread's own part, in a process of its own as the rivals have."""
    record = read_ecg(path)
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        record = read_ecg(path)
        times.append((time.process_time() - began) * 1000)
    rows = {f"lead {name}": row for name, row in zip(record.leads, record.signals_mv, strict=True)}
    np.savez(target, fs=record.fs_hz, ms=np.median(times), **rows)  # type: ignore[arg-type]
    return 0


def report(found: Mapping[str, Mapping[str, Outcome]]) -> None:
    """The tables of benchmarks/README.md."""
    readers = ["teleread", *(name for name in RIVALS if any(name in row for row in found.values()))]
    folders = sorted({file.split("/")[0] for file in found})
    print("\n| format (files) | " + " | ".join(readers) + " |")
    print("|---" * (len(readers) + 1) + "|")
    for folder in [*folders, "all"]:
        rows = [row for file, row in found.items() if folder in ("all", file.split("/")[0])]
        cells = []
        for reader in readers:
            verdicts = [row[reader].verdict for row in rows if reader in row]
            odd = {kind: verdicts.count(kind) for kind in ("wrong", "crash", "hang") if kind in verdicts}
            notes = ", ".join(f"{count} {kind}" for kind, count in odd.items())
            cells.append(f"{verdicts.count('right')}" + (f" ({notes})" if notes else "") if verdicts else "–")
        print(f"| {folder} ({len(rows)}) | " + " | ".join(cells) + " |")
    print("\n| 10 s, median CPU of a read, ms | bar | " + " | ".join(readers) + " |")
    print("|---" * (len(readers) + 2) + "|")
    for folder in folders:
        rows = [row for file, row in found.items() if file.startswith(f"{folder}/")]
        rows = [row for row in rows if 9.0 <= (row["teleread"].seconds or 0) <= 12.0]
        if rows:
            print(
                f"| {folder} | {BARS_MS.get(folder, 10.0):g} | " + " | ".join(time_of(rows, r) for r in readers) + " |"
            )


def time_of(rows: list[Mapping[str, Outcome]], reader: str) -> str:
    """The median over the files that the reader reads right."""
    times = [one.ms for row in rows if (one := row.get(reader)) and one.verdict == "right" and one.ms is not None]
    return f"{statistics.median(times):.1f}" if times else "–"


if __name__ == "__main__":
    sys.exit(main())

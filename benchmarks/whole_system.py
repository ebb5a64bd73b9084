"""The whole system from a fresh clone: how long until it can be used, what it takes, and how fast a study goes through.

    .venv-core/bin/python -m benchmarks.whole_system [--uploads 40] [--keep FOLDER]

Clones the committed state of this repository, runs ``make run`` there, measures, ends it, and runs it again. Prints
one table. Nothing is timed twice over: installation is part of the first start.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom.ae import ApplicationEntity

from teleread.ingest.formats import write_wfdb
from teleread.signal.ecg import simulate
from tests.system import System, new_system, wait_for

ROOT = Path(__file__).resolve().parents[1]
MEMBERS = ("county-hospital", "township-clinic", "riverside-clinic")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="teleread-bench-"))
    try:
        measure(folder, options.uploads)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def measure(folder: Path, uploads: int) -> None:
    clone = folder / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    system = new_system(["make", "run"], folder / "home", clone)
    begun = time.monotonic()
    try:
        say("fresh clone: make run → table printed", f"{system.start(600):.0f} s")
        reader = system.sign_in("reader")
        wait_for(lambda: all(shown(reader, member) for member in MEMBERS), 300, "studies of all three members")
        say("fresh clone: make run → worklist with studies of all three members", f"{time.monotonic() - begun:.0f} s")
        wait_for(lambda: settled(system), 300, "the first pull and its preparation", 1)
        time.sleep(60)  # what idles after a minute is idle
        say("memory of all processes, idle (PSS)", f"{pss_mb(system):.0f} MB in {len(system.processes())} processes")
        upload(system, reader, uploads)
        from_pacs(system, reader)
        say("Ctrl-C → last process gone", f"{system.stop():.1f} s, ports held: {system.held_ports() or 'none'}")
        begun = time.monotonic()
        passwords = dict(system.passwords)
        say("second time: make run → table printed", f"{system.start(300):.0f} s")
        system.passwords = passwords
        reader = system.sign_in("reader")
        wait_for(lambda: all(shown(reader, member) for member in MEMBERS), 120, "studies of all three members")
        say("second time: make run → worklist with studies of all three members", f"{time.monotonic() - begun:.0f} s")
        system.stop()
    finally:
        system.kill()


def shown(reader: httpx.Client, site: str) -> bool:
    """Whether the worklist has a case of this site."""
    return 'href="/cases/' in reader.get("/worklist", params={"site": site}).text


def settled(system: System) -> bool:
    with system.airflow_client() as airflow:
        runs = [
            run["state"]
            for dag in ("pull_hospitals", "prepare_arrivals")
            for run in airflow.get(f"/api/v2/dags/{dag}/dagRuns").json()["dag_runs"]
        ]
    return len(runs) >= 2 and all(state in {"success", "failed"} for state in runs)


def pss_mb(system: System) -> float:
    total = 0
    for pid in system.processes():
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def upload(system: System, reader: httpx.Client, count: int) -> None:
    nurse = system.sign_in("nurse")
    verdicts, items = [], []
    for seed in range(count + 2):
        record, _truth = simulate("normal", 10_000 + seed)
        files = [("file", (name, data)) for name, data in write_wfdb(record, "rec").items()]
        begun = time.monotonic()
        answer = nurse.post("/api/upload", files=files, data={"urgent": "1"}).json()
        assert answer["verdict"]["state"] == "prepared", answer
        verdicts.append(time.monotonic() - begun)
        receipt = answer["receipt"]
        wait_for(lambda receipt=receipt: receipt in reader.get("/worklist").text, 30, "item in the worklist", 0.02)
        items.append(time.monotonic() - begun)
    say(f"upload of an ECG → verdict answered ({count} times, 2 to warm up)", percentiles(verdicts[2:]))
    say("upload of an ECG → its row in the reader's worklist", percentiles(items[2:]))


def from_pacs(system: System, reader: httpx.Client) -> None:
    path = get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    dataset = pydicom.dcmread(path)
    dataset.PatientID = "BENCH"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    before = cases(reader)
    entity = ApplicationEntity("BENCH")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", system.ports.pacs, ae_title="COUNTY")
    assert association.is_established
    assert association.send_c_store(dataset).Status == 0
    association.release()
    with system.airflow_client() as airflow:
        begun = time.monotonic()
        started = airflow.post("/api/v2/dags/pull_hospitals/dagRuns", json={"logical_date": None})
        assert started.status_code < 300, started.text
        wait_for(lambda: cases(reader) > before, 180, "the new study in the worklist")
        say("a study put on the county PACS → in the worklist, from the start of the pull run",
            f"{time.monotonic() - begun:.0f} s")  # fmt: skip


def cases(reader: httpx.Client) -> int:
    return reader.get("/worklist", params={"site": "county-hospital", "modality": "CT"}).text.count('href="/cases/')


def percentiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    median, worst = statistics.median(ordered), ordered[-1]
    return f"median {median * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms, max {worst * 1000:.0f} ms"


def say(what: str, figure: str) -> None:
    print(f"{what:<85} {figure}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

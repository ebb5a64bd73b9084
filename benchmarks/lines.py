"""Bad lines: what they cost, how soon a verdict comes over them, and whether an urgent ECG overtakes.

    .venv-core/bin/python -m benchmarks.lines [--seconds 240] [--study-mb 2048]

Each line is a proxy on loopback between the real agent and a real ``teleread serve``. What is sent is random bytes, so
every hash is its own.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import random
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from teleread.agent.lead import Lead
from teleread.agent.sender import Sender, running
from teleread.agent.spool import Spool
from teleread.ingest.formats import bundle, write_wfdb
from teleread.signal.ecg import simulate
from teleread.testing.line import BadLine, Faults
from tests.lead_hospital import LeadHospital

KBIT = 1000 / 8
RATES = (64, 256, 2000)
SEGMENT = 1460
STALLS = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240, help="how long each line is measured (default: 240)")
    parser.add_argument("--ecgs", type=int, default=20, help="for the time until the verdict (default: 20)")
    parser.add_argument("--study-mb", type=int, default=2048, help="a study over a line that is cut 100 times")
    parser.add_argument("--only", choices=("lines", "verdict", "overtake", "silence", "study"), help="one part")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="teleread-lines-") as folder, LeadHospital(Path(folder) / "lead") as lead:
        if options.only in (None, "lines"):
            lines(lead, Path(folder), options.seconds)
        if options.only in (None, "verdict"):
            verdicts(lead, Path(folder), options.ecgs)
        if options.only in (None, "overtake"):
            overtake(lead, Path(folder))
        if options.only in (None, "silence"):
            silence(lead, Path(folder))
        if options.only in (None, "study"):
            study(lead, Path(folder), options.study_mb << 20)
    return 0


@contextmanager
def clinic(lead: LeadHospital, folder: Path, faults: Faults) -> Iterator[tuple[BadLine, Spool, Sender, Lead]]:
    """An agent behind a line."""
    place = Path(tempfile.mkdtemp(dir=folder))
    with BadLine(lead.port, faults, seed=1) as bad:
        identity = lead.agent(place)
        far = Lead(f"http://127.0.0.1:{bad.port}", token=identity.token)
        spool = Spool(place)
        sender = Sender(spool, far, chance=random.Random(1), first_pause_s=0.5, longest_pause_s=5)
        yield bad, spool, sender, far
        far.close()


def lines(lead: LeadHospital, folder: Path, seconds: float) -> None:
    """All rates at once: each line stands still for most of its time."""
    threads = [threading.Thread(target=line, args=(lead, folder, kbit, seconds)) for kbit in RATES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def line(lead: LeadHospital, folder: Path, kbit: int, seconds: float) -> None:
    """Random files over a line with stalls and cuts; what had to be sent again.

    Bytes sent again are those that left the line at the lead hospital, less the files', less the requests' heads as
    the agent counts them. What the line itself swallowed at a cut never left it; it can only be bounded, by what the
    agent gave to its own system.
    """
    faults = Faults(bytes_per_s=kbit * KBIT, latency_s=0.05, stall_share=STALLS, cut_every_s=30)
    # a segment takes its time on the line and its share of the stalls, which is what a fast line mostly does
    a_segment = SEGMENT / (kbit * KBIT) + STALLS * statistics.mean(faults.stall_s)
    files = [os.urandom(max(int(SEGMENT / a_segment * seconds) // 4, 1)) for _ in range(4)]
    total = sum(map(len, files))
    with clinic(lead, folder, faults) as (bad, spool, sender, far):
        heads = HeadBytes(far)
        for data in files:
            spool.add({"a": data}, urgent=False, seen_at=time.time())
        begun = time.monotonic()
        with running(sender):
            wait_until(lambda: not spool.queued(), 60 + 20 * seconds)
        took = time.monotonic() - begun
        known = {sha256 for sha256, *_ in lead.landed()}
        right = sum(hashlib.sha256(data).hexdigest() in known for data in files)
        again = bad.up_bytes - heads.count - total
        say(
            f"{kbit} kbit/s, 5 % of segments stalled, cut every 30 s",
            f"{right} of {len(files)} hashes equal, {total >> 10} KB in {took:.0f} s, {bad.cuts} cuts, "
            f"sent again {100 * max(again, 0) / total:.2f} % (at the most {100 * (far.sent_bytes / total - 1):.2f} %), "
            f"heads {100 * heads.count / total:.1f} %",
        )


class HeadBytes:
    """Counts the bytes of requests that are not their bodies."""

    def __init__(self, far: Lead) -> None:
        self.count = 0
        connected = far._connected

        def counted(timeout_s: float) -> http.client.HTTPConnection:
            connection = connected(timeout_s)
            if not hasattr(connection, "counted"):
                send = connection.send

                def sending(data: object) -> None:
                    # http.client gives a head in one piece; bodies come from Lead in pieces of their own
                    if isinstance(data, bytes) and data[:6] in {b"POST /", b"PATCH "}:
                        self.count += len(data)
                    send(data)  # type: ignore[arg-type]

                connection.send = sending  # type: ignore[method-assign, assignment]
                connection.counted = True  # type: ignore[attr-defined]
            return connection

        far._connected = counted  # type: ignore[method-assign]


def silence(lead: LeadHospital, folder: Path) -> None:
    """The line dies without a word while a CT is on its way, then an urgent ECG comes: until it is acknowledged."""
    waits = []
    with clinic(lead, folder, Faults(bytes_per_s=256 * KBIT, latency_s=0.05, silent=True)) as (bad, spool, sender, _):
        spool.add({"ct": os.urandom(32 << 20)}, urgent=False, seen_at=time.time())
        with running(sender):
            for _n in range(5):
                sent = sender.progress.sent
                wait_until(lambda sent=sent: sender.progress.sent != sent, 120)  # type: ignore[misc]
                bad.cut()
                begun = time.monotonic()
                spool.add({"ecg": os.urandom(20_000)}, urgent=True, seen_at=time.time())
                wait_until(lambda: not any(one.urgent for one in spool.queued()), 120)
                waits.append(time.monotonic() - begun)
                time.sleep(3)
    say(
        "urgent ECG just after the line died silently, 256 kbit/s",
        f"acknowledged after {statistics.median(waits):.1f} s (median), {max(waits):.1f} s at the most of {len(waits)}",
    )


def verdicts(lead: LeadHospital, folder: Path, count: int) -> None:
    """From the last byte of a 200 KB ECG until its verdict is here, over 256 kbit/s."""
    times = []
    with clinic(lead, folder, Faults(bytes_per_s=256 * KBIT, latency_s=0.05)) as (_, spool, sender, far):
        for number in range(count):
            data = bundle(write_wfdb(simulate("normal", number, duration_s=16)[0], "rec"))
            spool.add({"a.zip": data}, urgent=True, seen_at=time.time())
            item = spool.queued()[0]
            assert sender.send(item)
            found = spool.find(item.id)
            assert found is not None
            last = far.last_byte_at
            verdict = far.verdict(found.receipts[0], 2)
            assert verdict["state"] == "prepared", verdict
            times.append(time.monotonic() - last)
    times.sort()
    say(
        f"verdict after the last byte is given to the line, {len(data) >> 10} KB ECG, 256 kbit/s",
        f"median {statistics.median(times):.2f} s, p95 {times[int(0.95 * (len(times) - 1))]:.2f} s",
    )


def overtake(lead: LeadHospital, folder: Path) -> None:
    """An urgent ECG while a CT is on its way: from the moment it is there until its first byte leaves, and its last."""
    waits = []
    with clinic(lead, folder, Faults(bytes_per_s=256 * KBIT, latency_s=0.05)) as (_, spool, sender, _far):
        spool.add({"ct": os.urandom(8 << 20)}, urgent=False, seen_at=time.time())
        with running(sender):
            wait_until(lambda: sender.progress.sent > 200_000, 60)
            for _n in range(5):
                item = spool.add({"ecg": os.urandom(20_000)}, urgent=True, seen_at=time.time())
                begun = time.monotonic()
                wait_until(lambda wanted=item.id: sender.progress.item == wanted, 60)  # type: ignore[misc]
                waits.append(time.monotonic() - begun)
                wait_until(lambda: not any(one.urgent for one in spool.queued()), 60)
                time.sleep(1)
    say("urgent ECG behind a CT on its way, 256 kbit/s", f"waits {max(waits):.2f} s at the most of {len(waits)}")


def study(lead: LeadHospital, folder: Path, size: int) -> None:
    """One large file, the line cut 100 times; memory at both ends."""
    path = folder / "study.bin"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(0, size, 1 << 20):
            piece = os.urandom(1 << 20)
            digest.update(piece)
            file.write(piece)
    with clinic(lead, folder, Faults(cut_every_bytes=size // 100)) as (bad, spool, sender, _):
        before = lead_mb(lead.pid)
        peak = [before]
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        item = spool.add_paths({"study": path}, urgent=False, seen_at=time.time())
        path.unlink()
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.2):
                peak.append(lead_mb(lead.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        begun = time.monotonic()
        with running(sender):
            wait_until(lambda: not spool.queued(), 3600)
        took = time.monotonic() - begun
        stop.set()
        watcher.join()
        landed = {sha256 for sha256, *_ in lead.landed()}
        again = bad.up_bytes - size
        say(
            f"study of {size >> 20} MB, cut {bad.cuts} times",
            f"hash {'equal' if digest.hexdigest() in landed and spool.find(item.id) else 'DIFFERS'}, "
            f"{again / max(bad.cuts, 1) / 1024:.0f} KB sent again per cut, {took:.0f} s; memory of the lead hospital "
            f"+{max(peak) - before:.0f} MB, of the agent "
            f"+{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - ours:.0f} MB",
        )


def lead_mb(pid: int) -> float:
    """Resident memory of the web process, its parsers left out."""
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith("VmRSS:"):
            return int(row.split()[1]) / 1024
    return 0.0


def wait_until(true: object, patience_s: float) -> None:
    ends = time.monotonic() + patience_s
    while not true():  # type: ignore[operator]
        assert time.monotonic() < ends, "not in time"
        time.sleep(0.01)


def say(what: str, figure: str) -> None:
    print(f"{what:<60} {figure}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

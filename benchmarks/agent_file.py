"""The one-file agent on a PC with only Python: how large it is, how long the first start takes, how soon it judges.

    python -m benchmarks.agent_file [--runs 60] [--file build/teleread-agent.pyz]

Nothing answers at the lead hospital's address. Each recording is a 12-lead ECG of about 200 KB that is taken as the
watched folder's are; the time is from its being on the disk of the agent to its verdict standing there, the child that
judges being warm. The agent runs in an environment without a single package.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from deploy.agent_wheels import Target
from deploy.make_agent import ROOT, build
from teleread.agent import carried
from teleread.ingest.formats import write_wfdb
from teleread.signal.ecg import simulate

BAR_S = 2.0
_DURATION_S = 20.0

# run by the bare Python, with the agent's file on its path
_TIMED = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from teleread.agent.follow import Assessor
from teleread.agent.judge import Judge
from teleread.agent.spool import Spool
home, recordings = Path(sys.argv[2]), [Path(one) for one in sys.argv[3:]]
spool, judge = Spool(home), Judge(home=home)
begun = time.monotonic()
judge.warm_up()
warm_s, times, lights = time.monotonic() - begun, [], []
for folder in recordings:
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    begun = time.monotonic()
    item = spool.add(files, urgent=False, seen_at=0.0)
    Assessor(spool, judge).assess(item)
    times.append(time.monotonic() - begun)
    lights.append(spool.find(item.id).verdict["light"])
judge.close()
print(json.dumps({"warm_s": warm_s, "times": times, "lights": lights}))
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = options.file or build(folder / "teleread-agent.pyz", [Target.here()], ROOT / "build" / "wheels")
        venv.create(folder / "bare", with_pip=False, symlinks=True)
        python = str(folder / "bare" / "bin" / "python")
        recordings = []
        for n in range(options.runs):
            kind = ("normal", "lead_off")[n % 2]
            recordings.append(folder / f"r{n}")
            recordings[-1].mkdir()
            for name, data in write_wfdb(simulate(kind, n, duration_s=_DURATION_S)[0], "rec").items():
                (recordings[-1] / name).write_bytes(data)
        size = sum(path.stat().st_size for path in recordings[0].iterdir())
        print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB for {carried.key()}; recordings of {size / 1e3:.0f} KB")
        command = [python, "-I", "-S", "-c", _TIMED, str(file), str(folder / "home"), *map(str, recordings)]
        first, second = _run(command), _run([*command[:6], str(folder / "home"), *command[7:8]])
        print(f"first start: {first['warm_s']:.1f} s until it can judge (unpacked beside the sending)")
        print(f"later start: {second['warm_s']:.1f} s (every file compared with its hash)")
        times = sorted(first["times"])
        p95 = times[int(0.95 * (len(times) - 1) + 0.5)]
        lights = {one: first["lights"].count(one) for one in sorted(set(first["lights"]))}
        median = statistics.median(times)
        print(f"verdict: median {median:.3f} s, p95 {p95:.3f} s of {len(times)} (bar {BAR_S} s); {lights}")
        return 0 if p95 <= BAR_S and "none" not in lights else 1


def _run(command: list[str]) -> Any:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())

"""How long each DAG file takes to parse once Airflow itself is imported, as its DAG processor has it.

.venv/bin/python -m benchmarks.dag_parse
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

DAGS = Path(__file__).resolve().parents[1] / "dags"
MEASURE = """
import runpy, sys, time
import airflow.sdk, airflow.exceptions
begun = time.perf_counter()
runpy.run_path(sys.argv[1])
print(time.perf_counter() - begun, "numpy" in sys.modules)
"""


def main() -> int:
    for path in sorted(DAGS.glob("*.py")):
        rounds = []
        for _ in range(5):
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
            )
            seconds, numpy = done.stdout.split()[-2:]
            rounds.append(float(seconds))
        print(f"{path.name:<24} median of 5: {statistics.median(rounds) * 1000:6.1f} ms   numpy imported: {numpy}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The same recording gives the same analysis: to the bit on one machine, to a sample and a microvolt on another.

The other machine is this one without its vector instructions and with the oldest kernels of its linear algebra: sums
are then made in another order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from teleread.signal.ecg import CONDITIONS, analyse, simulate

SHOWN = ("normal", "af", "inferior_stemi", "lbbb", "complete_block", "vt")
_CHILD = """
import json, sys
from teleread.signal.ecg import analyse, simulate
print(json.dumps([analyse(simulate(name, 7, noise=0.6)[0]).to_json() for name in sys.argv[1:]]))
"""
_OTHER_MACHINE = {
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX AVX512_ICL AVX512_SPR X86_V3 X86_V4",
    "OPENBLAS_CORETYPE": "Prescott",
    "PYTHONWARNINGS": "ignore",  # a feature that this processor lacks anyway is told by a warning
}


def _elsewhere(**environment: str) -> list[dict[str, Any]]:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *SHOWN],
        cwd=root,
        env={**os.environ, "PYTHONPATH": root, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def here() -> list[dict[str, Any]]:
    assert set(SHOWN) <= set(CONDITIONS)
    return [analyse(simulate(name, 7, noise=0.6)[0]).to_json() for name in SHOWN]


def test_the_same_recording_gives_the_same_bytes_in_another_process(here: list[dict[str, Any]]) -> None:
    assert json.dumps(_elsewhere(PYTHONHASHSEED="1")) == json.dumps(here)


def test_another_machine_differs_by_a_sample_and_a_microvolt_at_most(here: list[dict[str, Any]]) -> None:
    for ours, theirs in zip(here, _elsewhere(**_OTHER_MACHINE), strict=True):
        assert len(ours["r_peaks"]) == len(theirs["r_peaks"])
        assert np.abs(np.subtract(ours["r_peaks"], theirs["r_peaks"])).max(initial=0) <= 1
        for wave, marks in ours["delineation"].items():
            assert np.abs(np.subtract(marks, theirs["delineation"][wave])).max(initial=0) <= 1, wave
        assert [span["code"] for span in ours["rhythm"]] == [span["code"] for span in theirs["rhythm"]]
        assert [flag["rule_id"] for flag in ours["flags"]] == [flag["rule_id"] for flag in theirs["flags"]]
        assert ours["measurements"].keys() == theirs["measurements"].keys()
        for name, one in ours["measurements"].items():
            near = {"mV": 0.0011, "ms": 2.1, "bpm": 0.2, "deg": 0.6}[one["unit"]]
            assert abs(one["value"] - theirs["measurements"][name]["value"]) <= near, name

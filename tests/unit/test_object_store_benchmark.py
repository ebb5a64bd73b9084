"""The benchmark of the object store runs and says what it compares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.object_store import main


@pytest.mark.parametrize("part", ["files"])
def test_the_benchmark_gives_figures_beside_their_rival(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([part, "--rounds", "1", "--scale", "0.001", "--folder", str(tmp_path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert len(figures) == 6
    assert all(one["per_s"] > 0 for one in figures)
    assert [one["ratio"] is not None for one in figures] == [bool(one["beside"]) for one in figures]
    assert not list(tmp_path.iterdir())

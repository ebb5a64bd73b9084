"""An agent that fetches reports dies at every write, renaming, removal and question: nothing half, nothing as valid.

``python -m tests.unit.test_agent_reports_deaths FOLDER TWIN``: lives, each a process of its own, in which a report is
fetched and then its correction, and which end at one step after the other; says what was wrong after them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from teleread.agent import reports as module
from teleread.agent.disk import read_json
from teleread.agent.fetch import LONGEST_PAUSE_S, Fetcher
from teleread.agent.reports import ASIDE, Reports
from teleread.agent.reports_lead import ReportsLead
from teleread.agent.spool import Spool
from teleread.storage import signers

ROOT = Path(__file__).resolve().parents[2]
RECEIPT = "7K2M-QX9D-0RTB"
TWINS = ("written in place", "written down before its files", "put aside before it is written down", "never put aside")
_KEY = b"k" * 32


def sheet(version: int) -> bytes:
    """The sheet of a version."""
    return b"%PDF-1.4\n" + random.Random(version).randbytes(20_000) + b"\n%%EOF\n"


def document(upto: int) -> bytes:
    """The JSON of all versions up to one, really signed."""
    scheme = signers.SIGNERS["ed25519"]
    public = scheme.public_of(_KEY)
    versions = []
    for version in range(1, upto + 1):
        said = {"report": {"version": version, "replaces": None}, "case": {"receipt": RECEIPT}}
        text = json.dumps(said).encode()
        versions.append(
            {
                "document": text.decode(),
                "sha256": hashlib.sha256(text).hexdigest(),
                "algorithm": "ed25519",
                "key_id": signers.key_id("ed25519", public),
                "public_key": base64.b64encode(public).decode(),
                "signature": base64.b64encode(scheme.sign(_KEY, text)).decode(),
            }
        )
    return json.dumps({"format": "teleread-report-bundles", "versions": versions, "unsigned": []}).encode()


class Given(ReportsLead):
    """A lead hospital that has given back so many versions; each question is a step."""

    def __init__(self, step: Callable[[], None] = lambda: None) -> None:
        super().__init__("http://127.0.0.1:9")
        self.version, self._step = 1, step

    def states(self, receipts: Any) -> dict[str, tuple[str, bool]]:
        self._step()
        return dict.fromkeys(receipts, (f"state{self.version}", False))

    def verdict(self, receipt: str, wait_s: float = 0) -> dict[str, Any]:
        self._step()
        kind = "final" if self.version == 1 else "corrected"
        newest = {"version": self.version, "kind": kind, "critical": False}
        state = f"state{self.version}"
        return {"report": {"newest": newest, "state": state, "critical": False, "sha256": None}, "light": "green"}

    def file(self, receipt: str, ending: str, language: str, largest: int, gives_way: Any) -> tuple[bytes, str]:
        self._step()
        data = document(self.version) if ending == "json" else sheet(self.version)
        return data, f"state{self.version}"


def live(home: Path, die_at: int, twin: str) -> int:
    """Fetch the first version, then the second; as far as it was not done in a life before."""
    steps = [0]

    def step() -> None:
        steps[0] += 1
        if steps[0] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Any) -> Any:
        def stepped(*arguments: Any, **named: Any) -> Any:
            step()
            value = call(*arguments, **named)
            step()
            return value

        return stepped

    _break(twin)
    for name in ("fsync", "replace", "unlink", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    spool, moment = Spool(home), [0.0]
    lead = Given(step)
    reports = Reports(home, home / "reports")
    fetcher = Fetcher(spool, reports, lead, now=lambda: 1e9, clock=lambda: moment[0])
    lead.version = 2 if (home / "corrected").exists() else 1
    for _ in range(3):
        fetcher.everything()
        moment[0] += LONGEST_PAUSE_S
    (home / "corrected").touch()
    lead.version = 2
    for _ in range(3):
        fetcher.everything()
        moment[0] += LONGEST_PAUSE_S
    return steps[0]


def _break(twin: str) -> None:
    whole: Any = module
    if twin == TWINS[0]:
        whole.write_whole = lambda path, data: _in_place(path, data)
    elif twin == TWINS[1]:
        keep = Reports.keep

        def first(self: Any, receipt: str, news: Any, data: Any, signature: str) -> Any:
            from dataclasses import replace

            files = {
                ending: module.File(str(self.folder / f"{module.stem(receipt, news)}.{ending}"), "")
                for ending in module.ENDINGS
            }
            known = self._known[receipt]
            self._write(replace(known, state=news.state, files=files))
            self._known[receipt] = known
            return keep(self, receipt, news, data, signature)

        Reports.keep = first  # type: ignore[method-assign]
    elif twin == TWINS[2]:
        learn = Reports.learn

        def aside_first(self: Any, receipt: str, news: Any, at: float, **more: Any) -> Any:
            known = self.find(receipt)
            for one in known.files.values() if known is not None and known.news != news else ():
                module._moved(Path(one.path))
            return learn(self, receipt, news, at, **more)

        Reports.learn = aside_first  # type: ignore[method-assign]
    elif twin == TWINS[3]:
        whole._moved = lambda path: True
        whole._of_receipt = lambda folder, receipt: ()


def _in_place(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        for start in range(0, len(data), 8192):
            file.write(data[start : start + 8192])
            file.flush()
            os.fsync(file.fileno())


def faults(home: Path) -> list[str]:
    """What is wrong in the folder just now, whatever moment it is."""
    found = []
    names = [one.name for one in (home / "reports").glob("*") if one.suffix in {".pdf", ".json"}]
    for name in names:
        version = int(name.split("-v")[1][0])
        whole = sheet(version) if name.endswith("pdf") else document(version)
        if (home / "reports" / name).read_bytes() != whole:
            found.append(f"{name} is torn")
    row = read_json(home / "given" / f"{RECEIPT}.json")
    if row and row["state"] == row["news"]["state"] and row["files"]:
        for ending, file in row["files"].items():
            if not Path(file["path"]).is_file():
                found.append(f"{ending} is said to be here and is not")
    if row and row["news"]["version"] == 2 and not row["aside"] and any("-v1" in name for name in names):
        found.append("the version that no longer holds lies there as one that does")
    elsewhere = list((home / "reports" / ASIDE).glob("*.pdf"))
    if elsewhere and row and row["news"]["version"] == 1 and row["state"] == "state1":
        found.append("the version that holds was put aside, and nobody knows why")
    return found


def is_done(home: Path) -> bool:
    """Whether the newest version is here alone, and the one before is aside."""
    names = sorted(one.name for one in (home / "reports").iterdir() if one.is_file())
    aside = list((home / "reports" / ASIDE).glob("*"))
    wanted = [f"{RECEIPT}-v2-CORRECTED.json", f"{RECEIPT}-v2-CORRECTED.pdf"]
    row = read_json(home / "given" / f"{RECEIPT}.json")
    left = list((home / "given").glob("*.part"))
    return names == wanted and len(aside) == 2 and row["state"] == "state2" and row["aside"] == [] and left == []


def life(home: Path, die_at: int, twin: str) -> int:
    """One life, in a fork of this process; how many steps it had, 0 where it died."""
    if not home.exists():
        spool = Spool(home)
        spool.acknowledged(spool.add({"a": b"1"}, urgent=False, seen_at=0.0), [RECEIPT], 1e9)
    child = os.fork()
    if child == 0:
        try:
            (home / "steps").write_text(str(live(home, die_at, twin)))
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (-signal.SIGKILL if die_at else 0), f"a life ended with {code}"
    return 0 if die_at else int((home / "steps").read_text())


def harmed(folder: Path, twin: str) -> Iterator[str]:
    """Deaths after which the folder lies, or which the next life does not mend."""
    steps = life(folder / "whole", 0, twin)
    assert steps > 40
    yield from (f"without a death: {one}" for one in faults(folder / "whole"))
    for n in range(1, steps + 1):
        place = folder / str(n)
        life(place, n, twin)
        yield from (f"step {n}: {one}" for one in faults(place))
        life(place, 0, twin)
        yield from (f"step {n}, then whole: {one}" for one in faults(place))
        if not is_done(place):
            yield f"step {n}: not done by the next life"


def of_lives(folder: Path, twin: str, *, first: bool) -> list[str]:
    """What was wrong; of a twin the first thing is enough."""
    command = [sys.executable, "-m", "tests.unit.test_agent_reports_deaths", str(folder), twin, "1" if first else ""]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return list(json.loads(done.stdout))


def test_a_death_at_any_step_leaves_nothing_half_and_nothing_old_as_valid(tmp_path: Path) -> None:
    assert of_lives(tmp_path, "", first=False) == []


@pytest.mark.parametrize("twin", TWINS)
def test_the_twin_in_the_wrong_order_is_caught(tmp_path: Path, twin: str) -> None:
    assert of_lives(tmp_path, twin, first=True)


if __name__ == "__main__":
    wrong = harmed(Path(sys.argv[1]), sys.argv[2])
    sys.stdout.write(json.dumps(list(islice(wrong, 1)) if sys.argv[3] else list(wrong)))

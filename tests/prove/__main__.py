"""The long counts: ``make prove``. Goes on where it was stopped; ``--fresh`` begins anew.

A proof is a function of a number; its count says for how many numbers it must hold. How far each has come stands in
``var/prove.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fault.kills import Tally, kill_once
from tests.prove import vault
from tests.prove.audit import audit_mutations
from tests.prove.mutations import mutated_dicom, mutated_wfdb
from tests.prove.rot import flipped_bits

STATE = Path("var/prove.json")
SAVE_EVERY_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    parser.add_argument("--only", metavar="NAME", help="one proof alone")
    options = parser.parse_args()
    done: dict[str, int] = {}
    if STATE.exists() and not options.fresh:
        done = json.loads(STATE.read_text())
    for name, (count, open_proof) in PROOFS.items():
        if options.only in (None, name):
            run(name, count, open_proof, done)
    return 0


def run(name: str, count: int, open_proof: Callable[[], object], done: dict[str, int]) -> None:
    """Run one proof from where it stands; a failure raises and the next run starts at it."""
    saved = time.monotonic()
    with open_proof() as prove:  # type: ignore[attr-defined]
        for number in range(done.get(name, 0), count):
            prove(number)
            done[name] = number + 1
            if time.monotonic() - saved > SAVE_EVERY_S or number + 1 == count:
                saved = time.monotonic()
                STATE.parent.mkdir(exist_ok=True)
                STATE.write_text(json.dumps(done))
                print(f"{name}: {number + 1} of {count}", flush=True)
    print(f"{name}: holds, {count} of {count}", flush=True)


@contextmanager
def land_kills() -> Iterator[Callable[[int], None]]:
    """A landing process killed at a random moment loses and doubles nothing that it acknowledged."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = 0

        def prove(number: int) -> None:
            nonlocal fresh
            # a catalogue of its own every 50 kills, so that the last kill costs no more than the first
            fresh = number // 50
            home = Path(folder) / str(fresh)
            tally = Tally()
            kill_once(home, number, tally)
            assert (tally.lost, tally.doubled, tally.torn) == (0, 0, 0), (number, tally)

        yield prove


PROOFS: dict[str, tuple[int, Callable[[], object]]] = {
    "kills while landing": (1_000, land_kills),
    "audit mutations": (1_000, audit_mutations),
    "flipped bits": (2_000, flipped_bits),
    "mutated DICOM": (10_000, mutated_dicom),
    "mutated WFDB": (10_000, mutated_wfdb),
    "vault, wrong joins": (vault.STEPS, vault.wrong_joins),
    "vault, export key alone": (10, vault.export_keys),
}


if __name__ == "__main__":
    sys.exit(main())

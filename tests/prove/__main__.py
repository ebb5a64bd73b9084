"""The long counts: ``make prove``. Goes on where it was stopped; ``--fresh`` begins anew.

A proof is a function of a number; its count says for how many numbers it must hold. How far each has come stands in
``var/prove.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.prove import claims, ladder, vault
from tests.prove.api import api_calls
from tests.prove.audit import audit_mutations
from tests.prove.backups import killed_backups
from tests.prove.claims_machine import random_steps
from tests.prove.criticals import nobody_silent, nobody_silent_on_postgres
from tests.prove.faults import BOUNDARY, EVERY_CALL, EVERY_STEP, random_kills
from tests.prove.lines import LINES
from tests.prove.mutations import MUTATED
from tests.prove.objects import damaged_objects, two_gigabytes
from tests.prove.rooms import hours_without_a_reader
from tests.prove.rot import flipped_bits

STATE = Path("var/prove.json")
SAVE_EVERY_S = 5.0


def main() -> int:
    names = "proofs:\n" + "\n".join(f"  {name}" for name in PROOFS)
    parser = argparse.ArgumentParser(
        prog="make prove", description=__doc__, epilog=names, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    parser.add_argument("--only", metavar="NAME", help="one proof alone, by its name below")
    parser.add_argument("--list", action="store_true", help="the names and counts, and how far each has come")
    options = parser.parse_args()
    if options.only is not None and options.only not in PROOFS:
        parser.error(f"there is no proof {options.only!r}; --list names them")
    done: dict[str, int] = {}
    if STATE.exists() and not options.fresh:
        done = json.loads(STATE.read_text())
    if options.list:
        for name, (count, _) in PROOFS.items():
            print(f"{done.get(name, 0):>7} of {count if count is not None else 'as many as it has':<7}  {name}")
        return 0
    for name, (count, open_proof) in PROOFS.items():
        if options.only in (None, name):
            run(name, count, open_proof, done)
    return 0


def run(name: str, count: int | None, open_proof: Callable[[], object], done: dict[str, int]) -> None:
    """Run one proof from where it stands; a failure raises and the next run starts at it."""
    saved = time.monotonic()
    with open_proof() as prove:  # type: ignore[attr-defined]
        count = prove.count if count is None else count
        for number in range(done.get(name, 0), count):
            prove(number)
            done[name] = number + 1
            if time.monotonic() - saved > SAVE_EVERY_S or number + 1 == count:
                saved = time.monotonic()
                STATE.parent.mkdir(exist_ok=True)
                STATE.write_text(json.dumps(done))
                print(f"{name}: {number + 1} of {count}", flush=True)
    print(f"{name}: holds, {count} of {count}", flush=True)


# no count: it follows from the product, and the proof itself knows it
PROOFS: dict[str, tuple[int | None, Callable[[], object]]] = {
    "random kills": (1_000, random_kills),
    **EVERY_STEP,
    **EVERY_CALL,
    **BOUNDARY,
    **LINES,
    "critical values, nobody silent": (500, nobody_silent),
    "critical values, nobody silent, on PostgreSQL": (500, nobody_silent_on_postgres),
    "audit mutations": (1_000, audit_mutations),
    "flipped bits": (2_000, flipped_bits),
    "killed backups": (90, killed_backups),
    "damaged objects": (10_000, damaged_objects),
    "hours without a reader": (2_000, hours_without_a_reader),
    "two gigabytes through the store": (1, two_gigabytes),
    **{f"mutated {name}": (10_000, open_proof) for name, open_proof in MUTATED.items()},
    "claims on SQLite": (3, claims.on_sqlite),
    "claims on PostgreSQL": (3, claims.on_postgres),
    "queue, random steps": (20, random_steps),
    "ladder, watchers killed": (10, ladder.on_sqlite),
    "calls of every route": (None, api_calls),
    "vault, wrong joins": (vault.STEPS, vault.wrong_joins),
    "vault, export key alone": (10, vault.export_keys),
}


if __name__ == "__main__":
    sys.exit(main())

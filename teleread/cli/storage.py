"""Commands on what is stored: compare it with the catalogue, read it all through."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select

from teleread.cli.terminal import Line, actor, say
from teleread.services import running_services

_MISMATCH = 3


def add_commands(commands: Any) -> None:
    """Add ``storage reconcile`` and ``storage scrub``."""
    storage = commands.add_parser("storage", help="whether what is stored is what was received")
    actions = storage.add_subparsers(metavar="ACTION", required=True)

    reconcile = actions.add_parser(
        "reconcile",
        help="compare object store and catalogue both ways; --repair mends",
        description="Compares the object store with the catalogue and names every difference. With --repair, arrivals "
        "that a restored catalogue does not know come back from their notes, derived objects that are missing are "
        "made again, and what cannot be mended is quarantined. Exits with 3 when a difference is left.",
    )
    reconcile.add_argument("--repair", action="store_true", help="mend what can be mended")
    reconcile.add_argument("--quick", action="store_true", help="do not read the objects' headers")
    reconcile.add_argument("--json", action="store_true", help="one JSON object a line; the last one sums up")
    reconcile.set_defaults(run=run_reconcile)

    scrub = actions.add_parser(
        "scrub",
        help="read and hash everything that is stored",
        description="Reads every object through and compares its hash. Goes on where it was stopped. Names each "
        "object that is not what was stored, and exits with 3 when there is one.",
    )
    scrub.add_argument("--fresh", action="store_true", help="begin anew, not where the last one was stopped")
    scrub.add_argument(
        "--workers", type=_workers, metavar="N", help="processes that read (default: one for each processor)"
    )
    scrub.add_argument("--json", action="store_true", help="one JSON object a line; the last one sums up")
    scrub.set_defaults(run=run_scrub)


def run_reconcile(options: argparse.Namespace) -> int:
    """``teleread storage reconcile``."""
    from teleread.pipeline.reconcile import Finding, reconcile

    shown = Line()

    def tell(finding: Finding) -> None:
        shown.clear()
        end = "mended" if finding.mended else "left"
        print(json.dumps(asdict(finding)) if options.json else f"{finding.code:<18} {end:<7} {finding.thing}")

    with running_services() as services:
        report = reconcile(
            services,
            repair=options.repair,
            headers=not options.quick,
            actor=actor(),
            tell=tell,
            progress=shown.count,
        )
    shown.clear()
    facts = {
        "arrivals": report.arrivals,
        "notes": report.notes,
        "objects": report.objects,
        "orphans": report.orphans,
        "found": report.found.total(),
        "mended": report.mended.total(),
        "left": report.left,
    }
    say(options, facts, ", ".join(f"{name} {value}" for name, value in facts.items()))
    return _MISMATCH if report.left else 0


def run_scrub(options: argparse.Namespace) -> int:
    """``teleread storage scrub``."""
    from teleread.pipeline.scrub import Fault, scrub
    from teleread.storage.catalogue.schema import objects

    shown = Line()
    begun = time.monotonic()
    first: list[int] = []

    def tell(fault: Fault) -> None:
        shown.clear()
        print(json.dumps(asdict(fault)) if options.json else f"{fault.code:<18} {fault.key}", flush=True)

    with running_services() as services:
        with services.catalogue.read() as conn:
            expected = int(conn.scalar(select(func.coalesce(func.sum(objects.c.size_bytes), 0))) or 0)

        def progress(count: int, read: int) -> None:
            if not first:
                first.append(read)
            shown.show(_scrub_line(count, read, read - first[0], expected, time.monotonic() - begun))

        report = scrub(services, fresh=options.fresh, workers=options.workers, tell=tell, progress=progress)
    shown.clear()
    facts = {"objects": report.objects, "bytes": report.bytes, "faults": report.faults}
    say(options, facts, ", ".join(f"{name} {value}" for name, value in facts.items()))
    return _MISMATCH if report.faults else 0


def _scrub_line(count: int, read: int, read_now: int, expected: int, seconds: float) -> str:
    speed = read_now / seconds if seconds > 0 else 0.0
    left = f", about {max(0, expected - read) / speed / 60:.0f} min left" if speed > 0 else ""
    return f"{count} objects, {read / 1e6:.0f} of {expected / 1e6:.0f} MB, {speed / 1e6:.0f} MB/s{left}"


def _workers(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 64:
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 64")
    return int(text)

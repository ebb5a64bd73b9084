"""``teleread reproduce``: is a derived value what its input gives?"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from teleread.services import running_services


def add_commands(commands: Any) -> None:
    """Add the command."""
    reproduce = commands.add_parser(
        "reproduce",
        help="compute derived values again from the raw bytes and compare them bit by bit",
        description="Reads the raw bytes, computes with the recorded parameters, and compares every bit. "
        "Exit code 3 when anything differs.",
    )
    reproduce.add_argument(
        "id", metavar="ID", help="an arrival, a receipt number, ARRIVAL/NAME, or the key of a derived object"
    )
    reproduce.add_argument("--json", action="store_true", help="one JSON object per derived value")
    reproduce.set_defaults(run=run_reproduce)


def run_reproduce(options: argparse.Namespace) -> int:
    """``teleread reproduce ID``."""
    from teleread.pipeline.reproduce import reproduce

    with running_services() as services:
        results = reproduce(services, options.id)
    for one in results:
        if options.json:
            print(json.dumps(asdict(one)))
        else:
            note = f"  (changed since: {', '.join(one.changed)})" if one.changed else ""
            print(f"{one.outcome:<10} {one.arrival_id}/{one.name}  code {one.code_version}{note}")
    return 0 if all(one.outcome == "same" for one in results) else 3

"""The ``teleread`` command.

Exit codes: 0 ok, 2 usage or settings, 3 input rejected, 4 a peer failed, 5 internal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from teleread import __version__
from teleread.cli import (
    accounts,
    agents,
    audit,
    backup,
    contacts,
    files,
    operations,
    patients,
    reading_room,
    report,
    reproduce,
    restore,
    retention,
    storage,
    vault,
)
from teleread.errors import TelereadError


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; every command has a ``run`` function."""
    parser = argparse.ArgumentParser(
        prog="teleread",
        description="Hospitals in an alliance read each other's ECGs and images. "
        "Measurements and flags are an unconfirmed aid; a licensed reader decides.",
    )
    parser.add_argument("--version", action="version", version=f"teleread {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    files.add_commands(commands)
    operations.add_commands(commands)
    for module in (
        accounts,
        agents,
        patients,
        report,
        reproduce,
        audit,
        vault,
        storage,
        backup,
        restore,
        retention,
        reading_room,
        contacts,
    ):
        module.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every failure is one line on standard error and an exit code."""
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except TelereadError as error:
        if getattr(options, "json", False):
            print(json.dumps({"error": {"code": error.code, "message": error.safe_message}}))
        print(f"teleread: {error.safe_message} [{error.code}]", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, EOFError):
        # what was begun is whole or not there at all: every act is a transaction of its own
        print("\nteleread: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of our output has gone; Python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0

"""What commands have in common: who types them, and how they say what they did."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

_SHOW_EVERY_S = 0.5
_LONGEST_ACTOR = 64  # the audit's column


def actor() -> str:
    """Who acts, for the audit: the account of this machine."""
    return f"cli:{getpass.getuser()}"[:_LONGEST_ACTOR]


def say(options: argparse.Namespace, facts: Mapping[str, Any], words: str) -> None:
    """Print the facts as one JSON object with ``--json``, else the words."""
    print(json.dumps(facts) if options.json else words)


def plain(value: Any) -> Any:
    """A value as JSON takes it: days and times in ISO 8601."""
    return value.isoformat() if hasattr(value, "isoformat") else value


class Line:
    """One line of progress on standard error, for a person who watches; nothing otherwise."""

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()
        self._next = 0.0
        self._width = 0

    def show(self, text: str) -> None:
        """Show the text, but not too often."""
        if self._watched and time.monotonic() >= self._next:
            self._next = time.monotonic() + _SHOW_EVERY_S
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = max(self._width, len(text))

    def count(self, what: str, done: int) -> None:
        """Show how many are done of something."""
        self.show(f"{what}: {done}")

    def clear(self) -> None:
        """Leave the line empty, for what is printed next."""
        if self._watched and self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)
            self._next = 0.0

"""Make ``signal/anonymise/e11_table.py`` from a machine-readable copy of DICOM PS3.15 Table E.1-1.

    python deploy/make_ps315_table.py TABLE.json [--edition 2026c] [--out signal/anonymise/e11_table.py]

``TABLE.json`` is a list of objects with ``id`` (eight hexadecimal digits, ``x`` for any digit, or a text that begins
with ``GGGGEEEE`` for the private attributes), ``basicProfile`` (the action) and, optionally, ``name``. Only facts are
taken over: tag, action and the attribute's name. Without ``--out`` the module is printed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ACTIONS = frozenset(["D", "Z", "X", "K", "C", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U", "X/Z/U*"])

HEADER = '''"""DICOM PS3.15 Table E.1-1, column "Basic Profile", edition {edition}. Generated: do not edit.

Made by ``deploy/make_ps315_table.py``. Facts only: attribute tag and action code; names are for the reader. An ``x``
in a pattern stands for any hexadecimal digit. Private attributes (odd groups) are all removed, by rule.
"""

from __future__ import annotations

EDITION = "{edition}"
"""Edition of the standard that the actions come from."""

PATTERNS: tuple[tuple[int, int, str], ...] = (
{patterns})
"""Repeating groups: (mask, value, action); a tag matches when ``tag & mask == value``."""

ACTIONS: dict[int, str] = {{
{actions}}}
"""Action code of each attribute."""
'''


def clean_name(name: object) -> str:
    """The attribute's name as one printable ASCII line, empty when the source has none."""
    text = re.split(r"\(see", str(name or ""))[0]
    text = " ".join(text.encode("ascii", "ignore").decode().split())
    return "" if text == "?" else text


def render(rows: Iterable[Mapping[str, object]], edition: str) -> str:
    """The text of the generated module.

    Raises:
        ValueError: for an action code or a tag pattern that the module does not know, or a tag given twice.
    """
    exact: dict[int, str] = {}
    names: dict[int, str] = {}
    patterns: set[tuple[int, int, str]] = set()
    for row in rows:
        identifier, action = str(row["id"]), str(row["basicProfile"])
        if action not in ACTIONS:
            raise ValueError(f"unknown action {action!r} for {identifier}")
        if identifier.upper().startswith("GGGGEEEE"):
            if action != "X":
                raise ValueError("private attributes are expected to be removed")
        elif re.fullmatch(r"[0-9A-Fa-f]{8}", identifier):
            tag = int(identifier, 16)
            if exact.setdefault(tag, action) != action or tag in names:
                raise ValueError(f"{identifier} is given twice")
            names[tag] = clean_name(row.get("name"))
        elif re.fullmatch(r"[0-9A-Fa-fxX]{8}", identifier):
            digits = identifier.lower()
            mask = int("".join("0" if digit == "x" else "F" for digit in digits), 16)
            patterns.add((mask, int(digits.replace("x", "0"), 16), action))
        else:
            raise ValueError(f"unknown tag pattern {identifier!r}")
    pattern_lines = "".join(f'    (0x{m:08X}, 0x{v:08X}, "{a}"),\n' for m, v, a in sorted(patterns))
    action_lines = "".join(
        f'    0x{tag:08X}: "{exact[tag]}",' + (f"  # {names[tag]}" if names[tag] else "") + "\n"
        for tag in sorted(exact)
    )
    return HEADER.format(edition=edition, patterns=pattern_lines, actions=action_lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="Make the module of PS3.15 Table E.1-1 from JSON.")
    parser.add_argument("table", type=Path, help="the table as JSON")
    parser.add_argument("--edition", default="2026c")
    parser.add_argument("--out", type=Path, help="module to write; printed when left out")
    given = parser.parse_args(arguments)
    text = render(json.loads(given.table.read_text(encoding="utf-8")), given.edition)
    if given.out is None:
        sys.stdout.write(text)
    else:
        given.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

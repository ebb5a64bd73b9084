"""The ladder of a critical value as data: one effective-dated, cited TOML file, read and checked. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from teleread.errors import Misconfigured

WHOM: Mapping[str, frozenset[str]] = {
    "screen": frozenset({"clinic"}),
    "message": frozenset({"clinic-1", "clinic-other", "clinic-2", "coordinator", "duty-officer"}),
    "call": frozenset({"coordinator", "clinic-2"}),
    "owner": frozenset({"duty-officer"}),
}
"""What a step may do, and to whom. ``clinic-other``: the first contact again, or the next one where that one failed."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens when a critical value has been open for so long: pairs of act and whom."""

    after: timedelta
    acts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Ladder:
    """Steps by rising time; the last one gives the critical value a named owner."""

    name: str
    version: str
    valid_from: date
    source: str
    steps: tuple[Step, ...]
    valid_to: date | None = None

    def faster(self, factor: float) -> Ladder:
        """The same ladder with its times divided, for an exercise."""
        steps = tuple(Step(step.after / factor, step.acts) for step in self.steps)
        return Ladder(self.name, self.version, self.valid_from, self.source, steps, self.valid_to)


def ladder_at(ladders: Sequence[Ladder], on: date) -> Ladder:
    """The ladder that holds on a day; where none does, the one that begins first: a day without one would be silent."""
    found = [one for one in ladders if one.valid_from <= on and (one.valid_to is None or on < one.valid_to)]
    return found[-1] if found else min(ladders, key=lambda one: one.valid_from)


@lru_cache(1)
def standard_ladders() -> tuple[Ladder, ...]:
    """The embedded ladders."""
    return parse_ladders(files("teleread.reading").joinpath("critical_ladder.toml").read_text(encoding="utf-8"))


def parse_ladders(text: str) -> tuple[Ladder, ...]:
    """Read and check a file of ladders.

    Raises:
        Misconfigured: ``ladder_invalid``, with what is wrong.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured("ladder_invalid", f"The ladder file is not TOML: {error}.") from error
    entries = document.get("ladder")
    if set(document) != {"ladder"} or not isinstance(entries, list) or not entries:
        raise _invalid("it holds [[ladder]] tables and nothing else")
    return tuple(_ladder(entry) for entry in entries)


def _ladder(entry: Mapping[str, Any]) -> Ladder:
    try:
        found = Ladder(
            name=str(entry["name"]),
            version=str(entry["version"]),
            valid_from=entry["valid_from"],
            source=str(entry["source"]).strip(),
            steps=tuple(_step(one) for one in entry["step"]),
            valid_to=entry.get("valid_to"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(f"an entry is missing or wrong: {error}") from error
    dates = [found.valid_from, *([] if found.valid_to is None else [found.valid_to])]
    if not all(type(one) is date for one in dates):
        raise _invalid("valid_from and valid_to are days")
    times = [step.after for step in found.steps]
    if not found.source or not times or times[0] != timedelta(0) or any(b <= a for a, b in pairwise(times)):
        raise _invalid("a ladder has a source, begins at 0 s and rises")
    if ("screen", "clinic") not in found.steps[0].acts or not any(act == "owner" for act, _ in found.steps[-1].acts):
        raise _invalid("a ladder begins on the clinic's screen and ends with an owner")
    return found


def _step(entry: Mapping[str, Any]) -> Step:
    acts = tuple((act, whom) for act, _, whom in (str(one).partition(":") for one in entry["acts"]))
    wrong = [f"{act}:{whom}" for act, whom in acts if whom not in WHOM.get(act, frozenset())]
    if wrong or not acts:
        raise _invalid(f"a step does what is known, not {wrong or 'nothing'}")
    return Step(timedelta(seconds=float(entry["after_s"])), acts)


def _invalid(why: str) -> Misconfigured:
    return Misconfigured("ladder_invalid", f"Ladder file: {why}.")

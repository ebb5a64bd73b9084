"""How one entry of the alliance file is read and checked: what its tables share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import date, time
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

from teleread.errors import Misconfigured

Priority = Literal["urgent", "high", "routine"]
PRIORITIES: tuple[Priority, ...] = ("urgent", "high", "routine")

_T = TypeVar("_T")


class Dated(Protocol):
    """An entry that holds from ``valid_from`` up to and without ``valid_to``."""

    @property
    def valid_from(self) -> date: ...

    @property
    def valid_to(self) -> date | None: ...


@dataclass(frozen=True, slots=True)
class Lead:
    """Which site reads a specialty, and when."""

    specialty: str
    site_id: str
    valid_from: date
    valid_to: date | None = None


def holds(entry: Dated, on: date) -> bool:
    """Whether an entry is in force on a day."""
    return entry.valid_from <= on and (entry.valid_to is None or on < entry.valid_to)


def invalid(where: str, why: str) -> Misconfigured:
    """The error of a wrong entry: ``alliance_invalid``."""
    return Misconfigured("alliance_invalid", f"Alliance file, {where}: {why}.")


def tables(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The entries of one kind.

    Raises:
        Misconfigured: ``alliance_invalid``.
    """
    found = document.get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise invalid(name, f"must be written as [[{name}]]")
    return cast(list[dict[str, Any]], found)


def entry(cls: type[_T], raw: Mapping[str, Any], where: str) -> _T:
    """One entry as a value of its dataclass: no key unknown, none missing, each of its kind.

    Raises:
        Misconfigured: ``alliance_invalid``, with the entry and what is wrong with it.
    """
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key, value in raw.items():
        if key not in known:
            raise invalid(where, f"unknown key {key!r}")
        if not _fits(value, str(known[key].type)):
            raise invalid(where, f"{key} does not take {value!r}")
    missing = [name for name, field in known.items() if field.default is MISSING and name not in raw]
    if missing:
        raise invalid(where, f"{'site' if missing[0] == 'site_id' else missing[0]} is missing")
    return cls(**{key: _value(value, str(known[key].type)) for key, value in raw.items()})


def check_periods(entries: Iterable[tuple[str, Dated]], kind: str) -> None:
    """Every period has a day, and no two of one owner share one.

    Raises:
        Misconfigured: ``alliance_invalid``.
    """
    by_owner: dict[str, list[Dated]] = {}
    for owner, one in entries:
        if one.valid_to is not None and one.valid_to <= one.valid_from:
            raise invalid(f"{kind} of {owner!r}", "valid_to is not after valid_from")
        by_owner.setdefault(owner, []).append(one)
    for owner, periods in by_owner.items():
        ordered = sorted(periods, key=lambda one: one.valid_from)
        for earlier, later in pairwise(ordered):
            if earlier.valid_to is None or later.valid_from < earlier.valid_to:
                raise invalid(f"{kind} of {owner!r}", f"two entries hold on {later.valid_from}")


def _value(value: Any, kind: str) -> Any:
    if "Path" in kind:
        return Path(value)
    if kind.startswith("tuple"):
        return tuple(value)
    if kind in {"float", "float | None"}:
        return float(value)
    if kind == "time" and isinstance(value, str):
        return time.fromisoformat(value)
    return value


def _fits(value: object, kind: str) -> bool:
    if kind.startswith("tuple["):
        inner = kind.removeprefix("tuple[").removesuffix(", ...]")
        return isinstance(value, list) and all(_fits(one, inner) for one in value)
    if kind.startswith("Literal"):
        return isinstance(value, str) and f'"{value}"' in kind.replace("'", '"')
    if kind == "Priority":
        return value in PRIORITIES
    if kind == "time":
        return _is_minute(value)
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    wanted: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "int": (int,),
        "float": (int, float),
        "date": (date,),
        "Path": (str,),
    }
    return any(type(value) in wanted[part] for part in kind.split(" | ") if part in wanted)


def _is_minute(value: object) -> bool:
    """Whether this is a time of day in whole minutes, as ``20:00:00`` or "20:00"."""
    if isinstance(value, str):
        try:
            value = time.fromisoformat(value) if len(value) == 5 else None
        except ValueError:
            return False
    return isinstance(value, time) and value.tzinfo is None and not (value.second or value.microsecond)

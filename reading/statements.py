"""What a reader says of an ECG: coded statements in Chinese and English, read from ``statements.toml``. Pure.

The codes are ours and stable; beside each stand the numbers of the AHA/ACC/HRS list (Mason et al. 2007,
doi:10.1016/j.jacc.2007.01.025) and, where one of this very name is known, a concept of SNOMED CT. Which statements are
critical, and from when, is data with its source. What a program's flag suggests is a suggestion and confirms nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from teleread.errors import InputRejected

LIMIT = 24
"""Statements in one report at the most."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    Args:
        code: stable, ours.
        category: a letter of the AHA list, or ``S`` secondary, ``X`` comparison, ``R`` neither.
        aha: numbers of the AHA list, a statement and its modifiers; empty where it has none.
        snomed: a concept of SNOMED CT, or None.
        initials: of the Chinese words in pinyin, to search by.
        age_years: for whom it is meant, from and below; None for everybody.
    """

    code: str
    category: str
    aha: tuple[int, ...]
    snomed: str | None
    en: str
    zh: str
    initials: str
    age_years: tuple[float, float] | None = None

    def name(self, language: str) -> str:
        """Its words in a language."""
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True, slots=True)
class CriticalRule:
    """That a statement is a critical value, for a while and by a source."""

    code: str
    since: date
    until: date | None
    source: str


@dataclass(frozen=True, slots=True)
class Macro:
    """Words that Tab makes statements of; ``key`` is its letter behind the full stop, ``normal`` marks a normal."""

    name: str
    statements: tuple[str, ...]
    key: str | None = None
    normal: bool = False


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The whole file.

    Args:
        excludes: for each code the codes that cannot stand beside it.
        flags, rhythms: what a program's code suggests, the first of which is offered; any of them answers a flag.
    """

    version: str
    statements: Mapping[str, Statement]
    categories: Mapping[str, Mapping[str, str]]
    critical: tuple[CriticalRule, ...]
    excludes: Mapping[str, frozenset[str]]
    macros: tuple[Macro, ...]
    flags: Mapping[str, tuple[str, ...]]
    rhythms: Mapping[str, tuple[str, ...]]

    def critical_on(self, day: date) -> frozenset[str]:
        """The statements that are critical values on a day."""
        return frozenset(
            rule.code for rule in self.critical if rule.since <= day and (rule.until is None or day < rule.until)
        )

    def checked(self, codes: Sequence[str]) -> tuple[Statement, ...]:
        """The statements of these codes, each once, in the given order.

        Raises:
            InputRejected: ``statement_unknown``; ``statements_too_many``; ``statements_contradict``.
        """
        once = tuple(dict.fromkeys(codes))
        if len(once) > LIMIT:
            raise InputRejected("statements_too_many", f"A report has at most {LIMIT} statements.")
        if not all(code in self.statements for code in once):
            raise InputRejected("statement_unknown", "A statement is not in the list.")
        if self.contradictions(once):
            raise InputRejected("statements_contradict", "Two statements of this report exclude each other.")
        return tuple(self.statements[code] for code in once)

    def contradictions(self, codes: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """The pairs that exclude each other."""
        said = tuple(dict.fromkeys(codes))
        return tuple(
            (one, other)
            for place, one in enumerate(said)
            for other in said[place + 1 :]
            if other in self.excludes.get(one, ()) or one in self.excludes.get(other, ())
        )

    def answers(self, flag: str, codes: Iterable[str]) -> bool:
        """Whether one of these statements says what a flag says."""
        return not set(self.flags.get(flag, ())).isdisjoint(codes)

    def suggested(self, flags: Iterable[str], rhythms: Iterable[str]) -> tuple[str, ...]:
        """What the program's flags and rhythms suggest, each once, flags first. Confirms nothing."""
        found = [self.flags.get(code, ())[:1] for code in flags] + [self.rhythms.get(code, ())[:1] for code in rhythms]
        return tuple(dict.fromkeys(code for one in found for code in one))


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The list that is in use."""
    text = (resources.files("teleread.reading") / "statements.toml").read_text(encoding="utf-8")
    return parse(text)


def parse(text: str) -> Lexicon:
    """Read the list.

    Raises:
        ValueError: the file is wrong: a code that is there twice or not at all, a source without its entry.
    """
    data = tomllib.loads(text)
    statements = [_statement(one) for one in data["statement"]]
    by_code = {one.code: one for one in statements}
    if len(by_code) != len(statements):
        raise ValueError("a statement's code is there twice")
    critical = tuple(rule for one in data["critical"] for rule in _critical(one, data["source"]))
    macros = tuple(
        Macro(one["name"], tuple(one["statements"]), one.get("key"), one.get("normal", False)) for one in data["macro"]
    )
    suggests = {
        kind: {code: tuple(codes) for code, codes in data["suggests"][kind].items()} for kind in ("flags", "rhythms")
    }
    named = [rule.code for rule in critical] + [code for macro in macros for code in macro.statements]
    named += [code for kind in suggests.values() for codes in kind.values() for code in codes]
    unknown = sorted(set(named) - by_code.keys())
    if unknown:
        raise ValueError(f"no such statement: {', '.join(unknown)}")
    return Lexicon(
        version=data["version"],
        statements=MappingProxyType(by_code),
        categories=MappingProxyType(data["categories"]),
        critical=critical,
        excludes=MappingProxyType(_excludes(data["excludes"], by_code)),
        macros=macros,
        flags=MappingProxyType(suggests["flags"]),
        rhythms=MappingProxyType(suggests["rhythms"]),
    )


def _statement(one: Mapping[str, Any]) -> Statement:
    age = one.get("age_years")
    return Statement(
        code=one["code"],
        category=one["category"],
        aha=tuple(one["aha"]),
        snomed=one.get("snomed"),
        en=one["en"],
        zh=one["zh"],
        initials=one["initials"],
        age_years=None if age is None else (float(age[0]), float(age[1])),
    )


def _critical(one: Mapping[str, Any], sources: Mapping[str, Any]) -> list[CriticalRule]:
    if one["source"] not in sources:
        raise ValueError(f"no such source: {one['source']}")
    return [CriticalRule(code, one["from"], one.get("until"), one["source"]) for code in one["codes"]]


def _excludes(rules: Sequence[Mapping[str, Any]], known: Mapping[str, Statement]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for rule in rules:
        others = set(known) - set(rule["but"]) if rule["those"] == ["*"] else set(rule["those"])
        unknown = (others | set(rule["these"]) | set(rule.get("but", ()))) - known.keys()
        if unknown:
            raise ValueError(f"no such statement: {', '.join(sorted(unknown))}")
        for code in rule["these"]:
            found.setdefault(code, set()).update(others - {code})
    return {code: frozenset(others) for code, others in found.items()}

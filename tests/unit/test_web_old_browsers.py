"""Pages run in Chrome 109, the last for old Windows: nothing in them is younger than January 2023."""

from __future__ import annotations

import re

import pytest

from teleread.web.render import STATIC_FOLDER

# what came with Chrome 110 and later, and would be used here first
YOUNGER = {
    ".js": (
        r"\.to(Sorted|Reversed|Spliced)\(",  # 110
        r"\.with\(\s*\d",  # 110
        r"Array\.fromAsync",  # 121
        r"(Object|Map)\.groupBy",  # 117
        r"Promise\.(withResolvers|try)",  # 119, 128
        r"AbortSignal\.any",  # 116
        r"URL\.(canParse|parse)\(",  # 120, 126
        r"isWellFormed|toWellFormed",  # 111
        r"\.(union|intersection|difference|isSubsetOf|isDisjointFrom)\(",  # 122
        r"(show|hide|toggle)Popover",  # 114
        r"setHTMLUnsafe|parseHTMLUnsafe|\.setHTML\(",  # 124
        r"Uint8Array\.from(Hex|Base64)|\.to(Hex|Base64)\(",  # 140
        r"Iterator\.(from|prototype)|\.values\(\)\.(map|filter|some|every|toArray)\(",  # 122
        r"scheduler\.yield|documentPictureInPicture|\.moveBefore\(",  # 129, 116, 133
        r"/[a-z]*v[a-z]*\.test",  # 112: regular expressions with v
    ),
    ".css": (
        r"color-mix\(|oklch\(|oklab\(",  # 111
        r"^\s*&|\{\s*&",  # nesting: 112
        r"text-wrap",  # 114
        r"\bsubgrid\b",  # 117
        r"@starting-style|@scope",  # 117, 118
        r"light-dark\(",  # 123
        r"field-sizing",  # 123
        r"anchor-name|position-anchor",  # 125
        r"scripting:",  # 120
        r"interpolate-size|calc-size",  # 129
        r"linear\(",  # 113
        r"\d(dvh|svh|lvh)\b.*\d(dvb)\b",
    ),
}


@pytest.mark.parametrize(
    "path", sorted(p for p in STATIC_FOLDER.rglob("*") if p.suffix in YOUNGER), ids=lambda p: p.name
)
def test_nothing_is_younger_than_chrome_109(path) -> None:  # type: ignore[no-untyped-def]
    source = path.read_text(encoding="utf-8")
    assert [one for one in YOUNGER[path.suffix] if re.search(one, source, re.MULTILINE)] == []


def test_something_younger_is_found() -> None:
    assert re.search(YOUNGER[".js"][0], "x.toSorted()")
    assert re.search(YOUNGER[".css"][1], ".a {\n  & .b { }\n}", re.MULTILINE)

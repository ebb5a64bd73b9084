"""Keeps the translation catalogues: ``python -m teleread.web.catalogue`` merges the texts of code and templates.

A new text comes in without a translation; a text that no longer stands anywhere goes out. The tests name every
text that lacks its Chinese.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages import extract
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from teleread.web.i18n import LANGUAGES, po_path
from teleread.web.render import TEMPLATE_FOLDER

CODE_FOLDER = Path(__file__).parent
# the same texts give the same file
_FIXED = datetime(2026, 1, 1, tzinfo=UTC)
KEYWORDS = {"_": None, "N_": None}


def texts() -> Iterator[str]:
    """Every text that is shown to people and stands in code or templates."""
    for folder, pattern, method in ((CODE_FOLDER, "**/*.py", "python"), (TEMPLATE_FOLDER, "*.html", "jinja2")):
        for path in sorted(folder.glob(pattern)):
            for _line, message, _comments, _context in _extract(path, method):
                yield message if isinstance(message, str) else message[0]


def _extract(path: Path, method: str) -> Iterator[tuple[int, str | tuple[str, ...], list[str], str | None]]:
    with path.open("rb") as source:
        options = {"trim_blocks": "true", "lstrip_blocks": "true"}
        yield from extract.extract(method, source, keywords=KEYWORDS, options=options)


def merged(language: str) -> Catalog:
    """The language's catalogue with exactly the present texts, translations kept."""
    path = po_path(language)
    known = Catalog(locale=language)
    if path.exists():
        with path.open("rb") as source:
            known = read_po(source, locale=language)
    catalogue = Catalog(
        locale=language,
        project="teleread",
        charset="utf-8",
        header_comment="# teleread: texts for people",
        creation_date=_FIXED,
        revision_date=_FIXED,
    )
    for text in dict.fromkeys(texts()):
        message = known.get(text)
        catalogue.add(text, message.string if message else "")
    return catalogue


def main() -> int:
    """Write all catalogues."""
    for language in LANGUAGES:
        catalogue = merged(language)
        path = po_path(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as target:
            write_po(target, catalogue, width=110, omit_header=False)
        missing = [str(message.id) for message in catalogue if message.id and not message.string]
        if language != "en":
            sys.stdout.write(f"{path}: {len(catalogue)} texts, {len(missing)} without translation\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

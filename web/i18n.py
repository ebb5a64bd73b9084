"""Two languages: gettext catalogues are read from .po at start and compiled in memory; nothing compiled is kept.

A text's identifier is its English wording, so English needs no translation and Chinese must have all of them.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Mapping
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LANGUAGES = ("zh", "en")
DEFAULT_LANGUAGE = "zh"
LANGUAGE_COOKIE = "teleread_language"
HTML_LANG = {"zh": "zh-CN", "en": "en"}
LOCALE_FOLDER = Path(__file__).parent / "locale"


def N_(message: str) -> str:  # noqa: N802 - the usual name of this mark
    """Marks a text for translation where it is only named; it is translated where it is shown."""
    return message


def load_translations(folder: Path = LOCALE_FOLDER) -> Mapping[str, gettext.GNUTranslations]:
    """One catalogue per language, compiled in memory.

    Raises:
        OSError: a .po file is missing (a broken installation).
    """
    found = {}
    for language in LANGUAGES:
        compiled = io.BytesIO()
        with po_path(language, folder).open("rb") as source:
            write_mo(compiled, read_po(source, locale=language))
        compiled.seek(0)
        found[language] = gettext.GNUTranslations(compiled)
    return found


def po_path(language: str, folder: Path = LOCALE_FOLDER) -> Path:
    """Where a language's catalogue lies."""
    return folder / language / "LC_MESSAGES" / "teleread.po"


def negotiate(cookie: str | None, accept_language: str | None) -> str:
    """The language of a request: what was chosen, else the browser's first that we speak, else Chinese.

    Quality values (RFC 9110, 12.5.4) order the header; a value that is none counts as zero.
    """
    if cookie in LANGUAGES:
        return cookie
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate((accept_language or "").split(",")[:20]):
        tag, _, parameter = part.strip().partition(";")
        wanted.append((-_quality(parameter), place, tag.strip().lower()))
    for quality, _, tag in sorted(wanted):
        primary = tag.split("-")[0]
        if quality < 0 and primary in LANGUAGES:
            return primary
    return DEFAULT_LANGUAGE


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return max(0.0, min(1.0, float(value)))
    except ValueError:
        return 0.0

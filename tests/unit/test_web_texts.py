"""Both languages are complete: no page, code or finding is without words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from teleread.errors import InputRejected, PeerError, TelereadError
from teleread.signal.ecg import quality
from teleread.web import findings, problems, texts
from teleread.web.catalogue import merged
from teleread.web.catalogue import texts as all_texts
from teleread.web.format import age_text, person_name, wait_text
from teleread.web.i18n import LANGUAGES, load_translations, negotiate
from teleread.web.render import TEMPLATE_FOLDER

TEMPLATES = sorted(TEMPLATE_FOLDER.glob("*.html"))
PLACEHOLDER = re.compile(r"\{\w+\}")
SPOKEN_ATTRIBUTES = {"title", "alt", "placeholder", "aria-label"}
# proper names, units and notations that are the same in every language
SAME_EVERYWHERE = re.compile(r"SHA-256|teleread|English|中文|ECG|Hz|mm/s|mm/mV|1 mV|[36]×[24]|12×1|[CJKNPR]|Enter|Esc")


def test_every_text_has_a_chinese_translation() -> None:
    missing = [message.id for message in merged("zh") if message.id and not message.string]
    assert missing == []


def test_a_text_without_translation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleread.web.catalogue.texts", lambda: iter(["Nobody has translated this."]))
    assert [message.id for message in merged("zh") if message.id and not message.string]


@pytest.mark.parametrize("language", LANGUAGES)
def test_catalogues_hold_exactly_the_texts_in_use(language: str) -> None:
    from babel.messages.pofile import read_po

    from teleread.web.i18n import po_path

    with po_path(language).open("rb") as source:
        held = {message.id for message in read_po(source) if message.id}
    assert held == set(all_texts())


def test_translations_keep_their_placeholders() -> None:
    for message in merged("zh"):
        if message.id:
            wanted, found = PLACEHOLDER.findall(str(message.id)), PLACEHOLDER.findall(str(message.string))
            assert sorted(wanted) == sorted(found), message.id


def test_chinese_is_loaded_and_english_is_the_identifier() -> None:
    translations = load_translations()
    assert translations["zh"].gettext("Worklist") == "待阅列表"
    assert translations["en"].gettext("Worklist") == "Worklist"


class _Untranslated(HTMLParser):
    """Letters in a template that stand outside of every Jinja expression."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in SPOKEN_ATTRIBUTES:
                self._look(value or "")

    def handle_data(self, data: str) -> None:
        self._look(data)

    def _look(self, text: str) -> None:
        rest = SAME_EVERYWHERE.sub("", text)
        if re.search(r"[^\W\d_]", rest):
            self.found.append(text.strip())


def untranslated(source: str) -> list[str]:
    bare = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", "", source, flags=re.DOTALL)
    parser = _Untranslated()
    parser.feed(bare)
    return parser.found


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_untranslated_text(template: Path) -> None:
    assert untranslated(template.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("source", ["<p>Hello {{ name }}</p>", '<img alt="a heart">', '<b>{{ _("x") }}</b> 心'])
def test_untranslated_text_is_found(source: str) -> None:
    assert untranslated(source)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_nothing_inline_and_nothing_from_elsewhere(template: Path) -> None:
    source = template.read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", source)
    assert not re.search(r"\s(?:style|on\w+)\s*=\s*[\"']", source)
    assert "<style" not in source
    assert not re.search(r"(?:src|href|action)\s*=\s*[\"'](?:https?:)?//", source)
    assert not re.search(r"\|\s*safe\b", source)


def raised_codes(root: Path, folder: str, kinds: set[str]) -> Iterator[tuple[str, str]]:
    """Every literal code that a module raises as one of these errors."""
    for path in sorted((root / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds):
                continue
            if node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value), path.name


def test_every_code_a_clinic_or_engineer_may_meet_has_words(root: Path) -> None:
    met = [
        *raised_codes(root, "ingest", {"InputRejected", "PeerError"}),
        *raised_codes(root, "web", {"InputRejected", "AccessDenied", "TelereadError"}),
        *raised_codes(root, "reading", {"InputRejected", "Conflict"}),
        *raised_codes(root, "pipeline", {"InputRejected", "PeerError"}),
    ]
    assert len(met) > 30
    assert [one for one in met if problems.find(one[0]) is None] == []


def test_a_code_without_words_is_found() -> None:
    assert problems.find("nobody_knows_this") is None


@pytest.mark.parametrize("error", [TelereadError("new_code", "x"), InputRejected("new_code", "x"), PeerError("n", "x")])
def test_unknown_codes_get_the_words_of_their_kind(error: TelereadError) -> None:
    words = texts.refusal(error, lambda text: text)
    assert words.code == error.code
    assert words.what
    assert words.lost
    assert words.todo


def test_every_fault_and_remedy_has_words() -> None:
    assert set(quality.FAULTS) == set(findings.FAULTS)
    assert set(quality.REMEDIES) == set(findings.REMEDIES)


def test_findings_of_one_kind_stand_together_in_order() -> None:
    found = findings.grouped(
        [
            {"lead": None, "fault": "all_leads_bad", "remedy": "look_at_patient"},
            {"lead": "V1", "fault": "mains", "remedy": "move_away_from_mains"},
            {"lead": "V2", "fault": "mains", "remedy": "move_away_from_mains"},
        ]
    )
    assert [(one.leads, one.fault) for one in found] == [((), "all_leads_bad"), (("V1", "V2"), "mains")]


@pytest.mark.parametrize(
    ("cookie", "header", "language"),
    [
        (None, None, "zh"),
        (None, "en-GB,en;q=0.9", "en"),
        (None, "fr, zh;q=0.3, en;q=0.8", "en"),
        (None, "en;q=0, zh", "zh"),
        (None, "en;q=rubbish", "zh"),
        ("en", "zh-CN", "en"),
        ("fr", "fr", "zh"),
    ],
)
def test_language_is_the_choice_then_the_browsers_then_chinese(
    cookie: str | None, header: str | None, language: str
) -> None:
    assert negotiate(cookie, header) == language


@pytest.mark.parametrize(
    ("stored", "language", "shown"),
    [
        ("Wang^XiaoDong=王^小东", "zh", "王小东 (Wang XiaoDong)"),
        ("Wang^XiaoDong=王^小东", "en", "Wang XiaoDong (王小东)"),
        ("欧阳修文", "en", "欧阳修文"),
        ("王 小东", "zh", "王小东"),
        ("Doe^Jane^^Dr", "zh", "Doe Jane Dr"),
        ("", "zh", ""),
        (None, "zh", ""),
        ("A\u202eB\x1b[31m\nC", "en", "A B [31m C"),
        ("N" * 500, "en", "N" * 63 + "…"),
    ],
)
def test_person_names_are_readable_and_cannot_rearrange_the_line(stored: str | None, language: str, shown: str) -> None:
    assert person_name(stored, language) == shown


def test_ages_and_waiting_times() -> None:
    assert [age_text(years, str) for years in (None, 0.5, 1.99, 2.0, 63.9)] == [
        "age unknown",
        "6 mo",
        "23 mo",
        "2 y",
        "63 y",
    ]
    assert [wait_text(seconds, str) for seconds in (-5, 59, 3599, 3600, 90_000)] == [
        "0 min 0 s",
        "0 min 59 s",
        "59 min 59 s",
        "1 h 0 min",
        "1 d 1 h",
    ]

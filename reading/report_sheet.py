"""A report as a printed sheet: the geometry of its words, in millimetres, in one language. Pure.

The tracing follows on sheets of its own (``signal/ecg/sheet.py``), at its true scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from teleread.reading.report_text import KINDS, MEASUREMENTS, NOT_QUALIFIED, UNITS
from teleread.reading.reports import Report
from teleread.signal.ecg.sheet_page import Box, Item, Page, Text

WIDTH_MM, HEIGHT_MM = 210.0, 297.0
_LEFT, _TOP, _BOTTOM = 18.0, 20.0, 24.0
_LINE = 1.55  # of the letters' size
_SIZE, _LARGE, _SMALL = 4.2, 6.4, 3.1
_A_LINE = 4  # measurements

_WORDS = {
    "title": {"zh": "心电图诊断报告", "en": "ECG report"},
    "receipt": {"zh": "回执号 {what}", "en": "Receipt {what}"},
    "name": {"zh": "姓名 {what}", "en": "Name {what}"},
    "id": {"zh": "患者编号 {what}", "en": "Patient number {what}"},
    "unknown": {"zh": "不详", "en": "unknown"},
    "sex": {"zh": "性别 {what}", "en": "Sex {what}"},
    "M": {"zh": "男", "en": "male"},
    "F": {"zh": "女", "en": "female"},
    "O": {"zh": "其他", "en": "other"},
    "age": {"zh": "年龄 {what}岁", "en": "Age {what} years"},
    "no_age": {"zh": "年龄不详", "en": "Age unknown"},
    "site": {"zh": "送检单位 {what}", "en": "Sent by {what}"},
    "recorded": {"zh": "采集时间 {what}", "en": "Recorded {what}"},
    "critical": {"zh": "危急值", "en": "CRITICAL RESULT"},
    "statements": {"zh": "诊断", "en": "Statements"},
    "measurements": {"zh": "测量", "en": "Measurements"},
    "text": {"zh": "描述", "en": "Text"},
    "comparison": {"zh": "与前次比较", "en": "Comparison"},
    "technical": {"zh": "技术说明", "en": "Technical note"},
    "reason": {"zh": "原因", "en": "Reason"},
    "signed": {"zh": "签名 {who}　{when}", "en": "Signed by {who}, {when}"},
    "hash": {"zh": "文件摘要 SHA-256 {what}", "en": "Document SHA-256 {what}"},
    "key": {"zh": "签名密钥 {what}", "en": "Signing key {what}"},
    "version": {"zh": "第{n}版", "en": "version {n}"},
    "earlier": {"zh": "此前版本：{what}", "en": "Earlier versions: {what}"},
    "consultation": {"zh": "专科会诊", "en": "Consultation of specialists"},
    "correction": {
        "zh": "患者身份正在核对：核对完成前请勿用于该患者。",
        "en": "Whose recording this is is being corrected: do not use it for this patient until that is settled.",
    },
    "page": {"zh": "第{n}页，共{of}页", "en": "page {n} of {of}"},
}


@dataclass(frozen=True, slots=True)
class Person:
    """Whose recording it is, as far as it is known; ``site`` in Chinese and English."""

    name: str | None
    patient_id: str | None
    sex: str | None
    age_years: float | None
    site: tuple[str, str]
    acquired_at: datetime | None


@dataclass(frozen=True, slots=True)
class Printed:
    """What is printed: the version that holds, what was added to it, and which there were before."""

    alliance: str
    receipt: str
    person: Person
    report: Report
    addenda: Sequence[Report]
    consultations: Sequence[Report]
    earlier: Sequence[Report]
    under_correction: bool
    zone: tzinfo
    language: str


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    size_mm: float = _SIZE
    pen: str = "text"
    bold: bool = False
    gap_mm: float = 0.0  # above it


def draw(printed: Printed) -> tuple[Page, ...]:
    """The pages of the words; a long report goes on on further pages, each of which says whose it is."""
    lines = [wrapped for line in _lines(printed) for wrapped in _wrap(line)]
    sheets: list[list[_Line]] = [[]]
    y = _TOP
    for line in lines:
        height = line.size_mm * _LINE + line.gap_mm
        if y + height > HEIGHT_MM - _BOTTOM and sheets[-1]:
            sheets.append([_Line(_head(printed), _SMALL, "faint")])
            y = _TOP + _SMALL * _LINE
        sheets[-1].append(line)
        y += height
    return tuple(_page(sheet, printed, number, len(sheets)) for number, sheet in enumerate(sheets, 1))


def person_lines(printed: Printed) -> tuple[str, ...]:
    """Whose recording it is, for a sheet."""
    person, language = printed.person, printed.language
    unknown = _word("unknown", language)
    sex = _word(person.sex, language) if person.sex in {"M", "F", "O"} else unknown
    age = _word("no_age", language)
    if person.age_years is not None:
        years = person.age_years if person.age_years < 2 else int(person.age_years)
        age = _word("age", language, what=f"{years:.3g}")
    found = [
        _word("name", language, what=_name(person.name, language)),
        _word("id", language, what=person.patient_id or unknown),
        f"{_word('sex', language, what=sex)}   {age}",
        _word("site", language, what=person.site[0 if language == "zh" else 1]),
    ]
    if person.acquired_at is not None:
        when = person.acquired_at.astimezone(printed.zone)
        found.append(_word("recorded", language, what=f"{when:%Y-%m-%d %H:%M:%S}"))
    return tuple(found)


def facts(document: Mapping[str, Any] | None, language: str) -> tuple[tuple[str, str], ...]:
    """The measurements of a signed document, as (label, value)."""
    found = [] if document is None else document["measurements"]
    return tuple(
        (
            MEASUREMENTS.get(one["name"], {}).get(language, one["name"])
            + (f" ({one['formula']})" if one["formula"] else ""),
            f"{one['value']} {UNITS.get(one['unit'], {}).get(language, one['unit'])}".replace(" °", "°"),
        )
        for one in found
    )


def signed_line(report: Report, printed: Printed) -> str:
    """Who signed what, and that it is no qualified signature."""
    signed = _word("signed", printed.language, who=report.signer, when=_when(report, printed))
    return f"{signed} · {NOT_QUALIFIED[printed.language]}"


def _head(printed: Printed) -> str:
    name = _name(printed.person.name, printed.language)
    return f"{_word('receipt', printed.language, what=printed.receipt)} · {name}"


def _name(name: str | None, language: str) -> str:
    """A name of DICOM's parts (PS3.5 6.2.1) as one reads it; in Chinese its characters, where it has any."""
    groups = [group.strip() for group in (name or "").split("=")] + [""]
    if language == "zh" and groups[1]:
        return groups[1].replace("^", "")
    found = groups[0] or groups[1]
    return found.replace("^", " ").strip() or _word("unknown", language)


def _lines(printed: Printed) -> Iterator[_Line]:
    language = printed.language
    yield _Line(printed.alliance, _SMALL, "faint")
    yield _Line(_word("title", language), _LARGE, bold=True)
    yield _Line(_word("receipt", language, what=printed.receipt), _SIZE, bold=True)
    yield from (_Line(text) for text in person_lines(printed))
    if printed.under_correction:
        yield _Line(_word("correction", language), _SIZE, "alert", bold=True, gap_mm=2)
    for one in (printed.report, *printed.addenda):
        yield from _version(one, printed)
    if printed.consultations:
        yield _Line(_word("consultation", language), 5.0, bold=True, gap_mm=6)
    for one in printed.consultations:
        yield from _version(one, printed)
    if printed.earlier:
        said = "; ".join(
            f"{KINDS[one.kind][language]} {_word('version', language, n=one.version)} {_when(one, printed)}"
            for one in printed.earlier
        )
        yield _Line(_word("earlier", language, what=said), _SMALL, "faint", gap_mm=4)


def _version(report: Report, printed: Printed) -> Iterator[_Line]:
    language, document = printed.language, report.content
    heading = f"{KINDS[report.kind][language]} · {_word('version', language, n=report.version)}"
    yield _Line(heading, 5.0, bold=True, gap_mm=5)
    if report.critical:
        yield _Line(_word("critical", language), 5.0, "alert", bold=True, gap_mm=1)
    if document is None:
        yield from (_Line(text, gap_mm=1) for text in report.text.splitlines())
    else:
        yield from _document(document, language)
    yield _Line(_word("signed", language, who=report.signer, when=_when(report, printed)), gap_mm=3)
    yield _Line(NOT_QUALIFIED[language], _SMALL, bold=True)
    if report.sha256 and report.key_id:
        yield _Line(_word("hash", language, what=report.sha256), _SMALL, "faint")
        yield _Line(_word("key", language, what=report.key_id), _SMALL, "faint")


def _document(document: Mapping[str, Any], language: str) -> Iterator[_Line]:
    content = document["content"]
    if content["statements"]:
        yield _Line(_word("statements", language), _SMALL, "faint", gap_mm=2)
    for one in content["statements"]:
        pen = "alert" if one["critical"] else "text"
        yield _Line(f"{one[language]}{_codes(one)}", _SIZE, pen, bold=True)
    if content["text"]:
        yield _Line(_word("text", language), _SMALL, "faint", gap_mm=2)
        yield from (_Line(text) for text in content["text"].splitlines())
    measured = facts(document, language)
    if measured:
        yield _Line(_word("measurements", language), _SMALL, "faint", gap_mm=2)
        for start in range(0, len(measured), _A_LINE):
            yield _Line("    ".join(f"{label} {value}" for label, value in measured[start : start + _A_LINE]))
    for name in ("comparison", "technical"):
        if content[name]:
            yield _Line(_word(name, language), _SMALL, "faint", gap_mm=2)
            yield from (_Line(text) for text in content[name].splitlines())
    if document["report"]["reason"]:
        yield _Line(_word("reason", language), _SMALL, "faint", gap_mm=2)
        yield from (_Line(text) for text in document["report"]["reason"].splitlines())


def _codes(one: Mapping[str, Any]) -> str:
    aha = f"AHA {'+'.join(str(number) for number in one['aha'])}" if one["aha"] else ""
    snomed = f"SNOMED CT {one['snomed']}" if one["snomed"] else ""
    found = ", ".join(text for text in (aha, snomed) if text)
    return f"  ({found})" if found else ""


def _when(report: Report, printed: Printed) -> str:
    return f"{report.signed_at.astimezone(printed.zone):%Y-%m-%d %H:%M:%S}"


def _wrap(line: _Line) -> list[_Line]:
    """The line in pieces that fit between the margins; a Latin word is not cut where it need not be."""
    room, pieces, start, width, space = WIDTH_MM - 2 * _LEFT, [], 0, 0.0, -1
    k = 0
    while k < len(line.text):
        character = line.text[k]
        width += _width(character) * line.size_mm * (1.06 if line.bold else 1.0)
        if character == " ":
            space = k
        if width > room and k > start:
            end = space if space > start and ord(character) < 0x2E80 else k
            pieces.append(line.text[start:end])
            start = k = end + 1 if end == space else end
            width, space = 0.0, -1
            continue
        k += 1
    pieces.append(line.text[start:])
    gaps = [line.gap_mm] + [0.0] * (len(pieces) - 1)
    return [_Line(text, line.size_mm, line.pen, line.bold, gap) for text, gap in zip(pieces, gaps, strict=True)]


def _width(character: str) -> float:
    """Of a letter, as a part of its size; rather too wide."""
    if ord(character) >= 0x2E80:
        return 1.0
    return 0.72 if character.isupper() or character.isdigit() or character in "mwMW%&@" else 0.54


def _page(lines: Sequence[_Line], printed: Printed, number: int, of: int) -> Page:
    items: list[Item] = [Box(_LEFT - 6, 10, WIDTH_MM - 2 * _LEFT + 12, HEIGHT_MM - 20, "frame")]
    y = _TOP
    for line in lines:
        y += line.gap_mm + line.size_mm * _LINE
        items.append(Text(_LEFT, y, line.text, line.size_mm, line.pen, line.bold))
    foot = HEIGHT_MM - 14
    items.append(Text(_LEFT, foot, NOT_QUALIFIED[printed.language], _SMALL, "faint"))
    where = _word("page", printed.language, n=number, of=of)
    items.append(Text(WIDTH_MM - _LEFT, foot, where, _SMALL, "faint", anchor="end"))
    return Page(WIDTH_MM, HEIGHT_MM, tuple(items))


def _word(name: str | None, language: str, **values: object) -> str:
    return _WORDS[name or "unknown"][language].format(**values)

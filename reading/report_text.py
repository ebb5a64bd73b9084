"""A report's document as plain words, in Chinese or English: what a page, a file or a structured report shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = {
    "preliminary": {"zh": "初步报告", "en": "PRELIMINARY REPORT"},
    "final": {"zh": "最终报告", "en": "Final report"},
    "addendum": {"zh": "补充报告", "en": "ADDENDUM"},
    "corrected": {"zh": "更正报告", "en": "CORRECTED REPORT"},
    "withdrawn": {"zh": "报告已撤回", "en": "REPORT WITHDRAWN"},
}
NOT_QUALIFIED = {"zh": "不是合格的电子签名。", "en": "Not a qualified electronic signature."}
MEASUREMENTS = {
    "heart_rate_bpm": {"zh": "心率", "en": "Rate"},
    "pr_ms": {"zh": "PR", "en": "PR"},
    "qrs_duration_ms": {"zh": "QRS", "en": "QRS"},
    "qt_ms": {"zh": "QT", "en": "QT"},
    "qtc_ms": {"zh": "QTc", "en": "QTc"},
    "qrs_axis_deg": {"zh": "电轴", "en": "Axis"},
    "p_axis_deg": {"zh": "P电轴", "en": "P axis"},
    "t_axis_deg": {"zh": "T电轴", "en": "T axis"},
    "rr_ms": {"zh": "RR", "en": "RR"},
    "time_ms": {"zh": "时间", "en": "Time"},
    "amplitude_mv": {"zh": "振幅", "en": "Amplitude"},
}
UNITS = {"bpm": {"zh": "次/分", "en": "/min"}, "deg": {"zh": "°", "en": "°"}}
_WORDS = {
    "of": {"zh": "第{n}版", "en": "version {n}"},
    "to": {"zh": "（针对第{n}版）", "en": " (to version {n})"},
    "reason": {"zh": "原因：{what}", "en": "Reason: {what}"},
    "comparison": {"zh": "与前次比较：{what}", "en": "Comparison: {what}"},
    "technical": {"zh": "技术说明：{what}", "en": "Technical note: {what}"},
    "by_reader": {"zh": "（读图者测量）", "en": " (reader)"},
    "critical": {"zh": "危急值", "en": "CRITICAL RESULT"},
    "confirm": {"zh": "待最终报告确认。", "en": "To be confirmed by the final report."},
}


def render(document: Mapping[str, Any]) -> str:
    """The words of a document, in the language that its signer wrote in."""
    language = "zh" if document["language"] == "zh" else "en"
    report, content = document["report"], document["content"]
    lines = [heading(document, language)] if report["kind"] != "final" or report["version"] > 1 else []
    if content["critical"]:
        lines.append(_word("critical", language))
    lines += [one[language] for one in content["statements"]]
    if content["text"]:
        lines.append(content["text"])
    if document["measurements"]:
        lines.append("  ".join(measured(one, language) for one in document["measurements"]))
    for name in ("comparison", "technical"):
        if content[name]:
            lines.append(_word(name, language).format(what=content[name]))
    if report["reason"]:
        lines.append(_word("reason", language).format(what=report["reason"]))
    if report["kind"] == "preliminary":
        lines.append(_word("confirm", language))
    lines.append(NOT_QUALIFIED[language])
    return "\n".join(lines)


def heading(document: Mapping[str, Any], language: str) -> str:
    """The kind, the version and what it is about."""
    report = document["report"]
    number = _word("of", language).format(n=report["version"])
    words = (
        f"{KINDS[report['kind']][language]} {number}"
        if language == "en"
        else f"{KINDS[report['kind']]['zh']}，{number}"
    )
    replaced = report["replaces"]
    return words if replaced is None else words + _word("to", language).format(n=replaced["version"])


def measured(one: Mapping[str, str], language: str) -> str:
    """One measurement with its unit, its formula and whose it is."""
    name = MEASUREMENTS.get(one["name"], {}).get(language, one["name"])
    unit = UNITS.get(one["unit"], {}).get(language, one["unit"])
    formula = f" ({one['formula']})" if one["formula"] else ""
    reader = _word("by_reader", language) if one["source"] == "reader" else ""
    return f"{name} {one['value']}{'' if unit == '°' else ' '}{unit}{formula}{reader}"


def _word(name: str, language: str) -> str:
    return _WORDS[name][language]

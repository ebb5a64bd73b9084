"""What the printed sheet says: the texts of one recording and its analysis, in one language. Pure.

Works on the analysis as ``to_json`` gives it, so that a stored analysis prints like a fresh one; what it does not
have is not printed. The patient's name and number stand on the sheet only when asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from teleread.signal.ecg.flag_types import ST_REASONS
from teleread.signal.ecg.record import STANDARD_LEADS, EcgRecord, Filters
from teleread.signal.ecg.sheet import SheetContent, Statement
from teleread.signal.ecg.sheet_words import word

_NOT_OF_THE_SIGNAL = frozenset({"limb_reversal", "precordial_swap", "low_amplitude"})
_INTERVALS = ("p_duration_ms", "pr_ms", "qrs_duration_ms", "qt_ms", "qtc_ms")
_UNITS = MappingProxyType({"bpm": "/min", "deg": "°", "leads": "", "findings": ""})


def sheet_content(
    record: EcgRecord,
    analysis: Mapping[str, Any],
    *,
    language: str = "en",
    identity: bool = False,
    changes: Sequence[str] = (),
) -> SheetContent:
    """The texts of a sheet.

    Args:
        analysis: ``Analysis.to_json()``.
        language: one of ``sheet_words.LANGUAGES``.
        identity: whether name and number are printed.
        changes: lines about what changed since an earlier recording.
    """
    statements = [*_alarms(analysis, language), *_flag_lines(analysis, language), *_rhythm_lines(analysis, language)]
    statements += [Statement(line) for line in _not_judged_lines(analysis, language)]
    if changes:
        statements.append(Statement(f"{word('compare', language)}: {'; '.join(changes)}"))
    return SheetContent(
        signals_mv=record.signals_mv,
        leads=record.leads,
        fs_hz=record.fs_hz,
        title=_title(record, language),
        person=tuple(_person(record, analysis, language, identity)),
        facts=tuple(facts(analysis["measurements"], language)),
        statements=tuple(statements),
        filters=filter_text(record.filters, language),
        doubtful=_doubtful(analysis, language),
        language=language,
    )


def filter_text(filters: Filters, language: str) -> str:
    """What the device did to the signal, and that ST is not judged where that is unknown or too narrow."""
    high, low = filters.high_pass_hz, filters.low_pass_hz
    if high is None and low is None:
        return f"{word('filter_unknown', language)} · {word('st_not_judged', language)}"
    band = f"{'?' if high is None else f'{high:g}'}–{'?' if low is None else f'{low:g}'} Hz"
    text = f"{word('device_filter', language)} {band}"
    text += f", {filters.notch_hz:g} Hz" if filters.notch_hz else ""
    wide = high is not None and low is not None and high <= 0.05 and low >= 150.0
    return text if wide else f"{text} · {word('st_not_judged', language)}"


def facts(measurements: Mapping[str, Any], language: str) -> Iterator[tuple[str, str]]:
    """(label, value) of the usual measurements; what was not measured is a dash."""

    def value(name: str) -> str:
        found = measurements.get(name)
        return word("not_measured", language) if found is None else f"{found['value']:.0f}"

    def with_unit(name: str, unit: str) -> str:
        return f"{value(name)} {unit}" if name in measurements else value(name)

    yield word("heart_rate_bpm", language), with_unit("heart_rate_bpm", "/min")
    for name in _INTERVALS:
        yield word(name, language), with_unit(name, "ms")
    axes = [value(f"{wave}_axis_deg") for wave in ("p", "qrs", "t")]
    yield word("axes", language), " / ".join(axes) + ("°" if any(axis[-1].isdigit() for axis in axes) else "")
    if "rr_min_ms" in measurements and "rr_max_ms" in measurements:
        yield word("rr_range", language), f"{value('rr_min_ms')}–{value('rr_max_ms')} ms"


def flag_line(flag: Mapping[str, Any], language: str) -> str:
    """One flag in a line: what, where, by how much, beside which limit."""
    unit = _UNITS.get(flag.get("unit", ""), flag.get("unit", ""))
    signed = flag.get("unit") == "mV"
    parts = [(item["lead"], item["value"]) for item in flag.get("evidence", ())] if signed else []
    parts = parts or ([(flag["lead"], flag["value"])] if unit or signed else [])
    values = ", ".join(f"{lead} {v:+.2f}" if signed else f"{v:.4g}" for lead, v in parts)
    text = word(flag.get("code", flag["rule_id"]), language)
    if values:
        limit = f"{flag['limit']:.2f}" if signed else f"{flag['limit']:.4g}"
        text += f": {values} {unit} ({limit})"
    if flag.get("assumed"):
        what = ", ".join(word(name, language).lower() for name in flag["assumed"])
        text += f"; {word('assumed', language, what=what)}"
    notes = [word(note, language) for note in flag.get("notes", ())]
    return "; ".join([text, *notes])


def _title(record: EcgRecord, language: str) -> str:
    if all(lead in record.leads for lead in STANDARD_LEADS) and len(record.leads) == len(STANDARD_LEADS):
        return word("title_12", language)
    return word("title_1" if len(record.leads) == 1 else "title_n", language, n=len(record.leads))


def _person(record: EcgRecord, analysis: Mapping[str, Any], language: str, identity: bool) -> Iterator[str]:
    patient = record.patient
    if identity:
        yield f"{word('name', language)} {patient.name or word('unknown', language)}"
        yield f"{word('id', language)} {patient.id or word('unknown', language)}"
    sex = word(f"sex_{patient.sex}", language) if patient.sex else word("unknown", language)
    age = word("unknown", language)
    if record.age_years is not None:
        age = f"{record.age_years:g} {word('years', language)}"
    yield f"{word('sex', language)} {sex}   {word('age', language)} {age}"
    if record.acquired_at is not None:
        yield f"{word('recorded', language)} {record.acquired_at:%Y-%m-%d %H:%M:%S %Z}"
    device = " ".join(text for text in (record.device.manufacturer, record.device.model) if text)
    if device:
        yield f"{word('device', language)} {device[:40]}"
    quality = analysis["quality"]
    yield f"{word('quality_good' if quality['acceptable'] else 'quality_bad', language)} ({quality['score']:.2f})"


def _alarms(analysis: Mapping[str, Any], language: str) -> Iterator[Statement]:
    for finding in analysis["quality"]["findings"]:
        if finding["lead"] is None or finding["fault"] in _NOT_OF_THE_SIGNAL - {"low_amplitude"}:
            yield Statement(word(finding["fault"], language), alert=finding["fault"] == "all_leads_bad")


def _flag_lines(analysis: Mapping[str, Any], language: str) -> Iterator[Statement]:
    """One line for each thing that was flagged, by the most severe rule that says it."""
    said: set[str] = set()
    for flag in analysis["flags"]:
        code = flag.get("code", flag["rule_id"])
        if code not in said:
            said.add(code)
            yield Statement(flag_line(flag, language), alert=flag.get("severity") in ("critical", "urgent"))
    if not said:
        yield Statement(word("no_flags", language))


def _rhythm_lines(analysis: Mapping[str, Any], language: str) -> Iterator[Statement]:
    codes = list(dict.fromkeys(span["code"] for span in analysis["rhythm"]))
    codes += [c for c in dict.fromkeys(f["code"] for f in analysis.get("rhythm_findings", ())) if c not in codes]
    if codes:
        yield Statement(", ".join(word(code, language) for code in codes))


def _not_judged_lines(analysis: Mapping[str, Any], language: str) -> Iterator[str]:
    """Why ST was not judged, and which leads were left out. What needs leads that nobody recorded is not said."""
    rules = [item for item in analysis.get("not_judged", ()) if item["lead"] is None]
    for reason in dict.fromkeys(item["reason"] for item in rules if item["reason"] in ST_REASONS):
        met = list(dict.fromkeys(i["code"] for i in rules if i["reason"] == reason and i.get("met")))
        text = f"{word('st_not_judged', language)}: {word(reason, language)}"
        reached = ", ".join(word(code, language) for code in met)
        yield f"{text}; {word('limits_met', language)}: {reached}" if met else text
    leads = dict.fromkeys(i["lead"] for i in analysis.get("not_judged", ()) if i["reason"] == "lead_quality")
    if any(leads):
        yield f"{word('not_judged', language)}: {', '.join(lead for lead in leads if lead)}"


def _doubtful(analysis: Mapping[str, Any], language: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for finding in analysis["quality"]["findings"]:
        if finding["lead"] is not None and finding["fault"] not in _NOT_OF_THE_SIGNAL:
            found.setdefault(finding["lead"], word(finding["fault"], language))
    return MappingProxyType(found)

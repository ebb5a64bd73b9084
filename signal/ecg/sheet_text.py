"""What the printed sheet says: the texts of one recording and its analysis, in one language. Pure.

Works on the analysis as ``to_json`` gives it, so that a stored analysis prints like a fresh one; what it does not
have is not printed. The patient's name and number stand on the sheet only when asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from teleread.signal.ecg.filters import AppliedFilters
from teleread.signal.ecg.flag_types import ST_REASONS
from teleread.signal.ecg.record import STANDARD_LEADS, EcgRecord, Filters
from teleread.signal.ecg.serial import Change
from teleread.signal.ecg.sheet_layout import SheetContent, Statement
from teleread.signal.ecg.sheet_words import word

_NOT_OF_THE_SIGNAL = frozenset({"limb_reversal", "precordial_swap", "low_amplitude"})
_INTERVALS = ("p_duration_ms", "pr_ms", "qrs_duration_ms", "qt_ms", "qtc_ms")
_CHANGES = 3  # as many as fit beside the rest
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
        more = [word("more", language, n=len(changes) - _CHANGES)] if len(changes) > _CHANGES else []
        statements.append(Statement(f"{word('compare', language)}: {'; '.join([*changes[:_CHANGES], *more])}"))
    return SheetContent(
        signals_mv=record.signals_mv,
        leads=record.leads,
        fs_hz=record.fs_hz,
        title=_title(record, language),
        person=tuple(_person(record, analysis, language, identity)),
        facts=tuple(facts(analysis["measurements"], language)),
        statements=tuple(statements),
        filters=filter_text(record.filters, language, analysis.get("not_judged", ())),
        doubtful=_doubtful(analysis, language),
        language=language,
    )


def filter_text(filters: Filters, language: str, not_judged: Sequence[Mapping[str, Any]] = ()) -> str:
    """What the device did to the signal, and what that means for ST.

    ST is judged where the band is known and as wide as ST needs it. Flags on ST of an unknown band stand all the same,
    because they only ever raise a priority; they say that a limit was reached, and no more.
    """
    high, low = filters.high_pass_hz, filters.low_pass_hz
    known = [] if high is None and low is None else [f"{word('device_filter', language)} {_band(filters)}"]
    if any(item["reason"] == "filter_narrow" for item in not_judged):
        # our own filter may be the narrow one, at a low sampling rate
        return " · ".join([*(known or [word("filter_unknown", language)]), word("st_not_judged", language)])
    if high is None or low is None:
        return " · ".join([*known, word("st_unsure", language)])
    wide = high <= 0.05 and low >= 150.0
    return " · ".join(known if wide else [*known, word("st_not_judged", language)])


def display_text(applied: AppliedFilters, language: str, *, st: bool) -> str:
    """What was done to the samples before they were drawn; without ``st`` also that ST is not to be judged on them."""
    parts = []
    if applied.low_pass_hz is not None or (applied.high_pass_hz is not None and not applied.baseline_removed):
        edges = (f"{edge:g}" if edge is not None else "" for edge in (applied.high_pass_hz, applied.low_pass_hz))
        parts.append(f"{'–'.join(edges)} Hz")
    if applied.baseline_removed:
        parts.append(word("view_wander", language))
    if applied.notch_hz is not None:
        parts.append(word("view_mains", language, hz=f"{applied.notch_hz:g}"))
    said = ", ".join(parts) or word("view_raw", language)
    text = f"{word('display_filter', language)}: {said}"
    return text if st else f"{text} · {word('st_not_judged', language)}"


def _band(filters: Filters) -> str:
    corners = ("?" if corner is None else f"{corner:g}" for corner in (filters.high_pass_hz, filters.low_pass_hz))
    return f"{'–'.join(corners)} Hz" + (f", {filters.notch_hz:g} Hz" if filters.notch_hz else "")


def facts(measurements: Mapping[str, Any], language: str) -> Iterator[tuple[str, str]]:
    """(label, value) of the usual measurements; what was not measured is a dash."""

    def value(name: str) -> str:
        found = measurements.get(name)
        return "–" if found is None else f"{found['value']:.0f}"

    def with_unit(name: str, unit: str) -> str:
        return f"{value(name)} {unit}" if name in measurements else value(name)

    yield word("heart_rate_bpm", language), with_unit("heart_rate_bpm", "/min")
    for name in _INTERVALS:
        yield word(name, language), with_unit(name, "ms")
    axes = [value(f"{wave}_axis_deg") for wave in ("p", "qrs", "t")]
    yield word("axes", language), " / ".join(axes) + ("°" if any(axis[-1].isdigit() for axis in axes) else "")
    if "rr_min_ms" in measurements and "rr_max_ms" in measurements:
        yield word("rr_range", language), f"{value('rr_min_ms')}–{value('rr_max_ms')} ms"


def flag_line(flag: Mapping[str, Any], language: str, *, doubts: bool = True) -> str:
    """One flag in a line: what, where, by how much, beside which limit; with ``doubts`` also what weakens it."""
    unit = _UNITS.get(flag.get("unit", ""), flag.get("unit", ""))
    in_mv, code = flag.get("unit") == "mV", flag.get("code", flag["rule_id"])
    # a lead's first value is that of the limit; a further one is of another wave
    by_lead: dict[str, float] = {}
    for item in flag.get("evidence", ()) if in_mv else ():
        if item["lead"] == "global":
            continue  # the width of QRS, which is no voltage
        by_lead.setdefault(item["lead"], item["value"])
    if in_mv:
        sign = "+" if code.startswith("st_elevation") else ""
        values = ", ".join(f"{lead} {v:{sign}.2f}" for lead, v in (by_lead or {flag["lead"]: flag["value"]}).items())
    else:
        values = f"{flag['value']:.4g}" if unit else ""
    text = word(code, language)
    if values:
        limit = f"{flag['limit']:.2f}" if in_mv else f"{flag['limit']:.4g}"
        text += f": {values} {unit}"
        # a limit of 0 asks only whether it is there
        text += f" ({word('limit', language)} {limit})" if flag["limit"] else ""
    return "; ".join([text, *(_doubts([flag], language) if doubts else ())])


def _doubts(flags: Sequence[Mapping[str, Any]], language: str) -> list[str]:
    """What was unknown or weakens these flags, each once."""
    assumed = dict.fromkeys(name for flag in flags for name in flag.get("assumed", ()))
    notes = dict.fromkeys(note for flag in flags for note in flag.get("notes", ()))
    what = ", ".join(word(name, language).lower() for name in assumed)
    first = [word("assumed", language, what=what)] if assumed else []
    return first + [word("st_reached" if note == "filter_unknown" else note, language) for note in notes]


def change_line(change: Change, language: str, *, short: bool = False) -> str:
    """One change since an earlier recording in a line; ``short`` leaves both values out."""
    name, lead = change.name, "" if change.lead == "global" else f" {change.lead}"
    if isinstance(change.before, str) or isinstance(change.now, str):
        before, now = (word(v, language) if isinstance(v, str) else "" for v in (change.before, change.now))
        text = f"{before} → {now}" if before and now else f"{before or now} {word('new' if now else 'gone', language)}"
        return text if name == "finding" else f"{word(name, language)}: {text}"
    label = f"{word(name, language)}{lead}"
    if change.delta is None:
        return f"{label} {word('gone' if change.now is None else 'new', language)}"
    digits = 2 if change.unit == "mV" else 0
    unit = _UNITS.get(change.unit, change.unit)
    if short:
        return f"{label} {change.delta:+.{digits}f} {unit}"
    return f"{label} {change.before:.{digits}f} → {change.now:.{digits}f} {unit} ({change.delta:+.{digits}f})"


def main_changes(changes: Sequence[Change], language: str) -> list[str]:
    """The significant changes, short: codes first, then ST by its size, then the others."""
    significant = [change for change in changes if change.significant]
    significant.sort(key=lambda c: (not isinstance(c.before or c.now, str), c.name != "st_j_mv", -abs(c.delta or 0.0)))
    return [change_line(change, language, short=True) for change in significant]


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
        age = f"{record.age_years if record.age_years < 2 else int(record.age_years):.3g} {word('years', language)}"
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
            which = f" ({finding['electrode']})" if finding.get("electrode") else ""
            yield Statement(word(finding["fault"], language) + which, alert=finding["fault"] == "all_leads_bad")


def _flag_lines(analysis: Mapping[str, Any], language: str) -> Iterator[Statement]:
    """One line for each thing that was flagged, by the most severe rule that says it."""
    said: set[str] = set()
    for flag in analysis["flags"]:
        code = flag.get("code", flag["rule_id"])
        if code not in said:
            said.add(code)
            severity, text = flag.get("severity"), flag_line(flag, language, doubts=False)
            if severity in ("critical", "urgent"):
                yield Statement(f"{word(severity, language)} · {text}", alert=True, strong=severity == "critical")
            else:
                yield Statement(text)
    if doubts := _doubts(analysis["flags"], language):
        yield Statement("; ".join(doubts))
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
    # beside a flag on ST it is only said which others would have been raised
    raised = any(flag.get("code", "").startswith("st_") for flag in analysis["flags"])
    head = word("not_judged" if raised else "st_not_judged", language)
    for reason in dict.fromkeys(item["reason"] for item in rules if item["reason"] in ST_REASONS):
        met = list(dict.fromkeys(i["code"] for i in rules if i["reason"] == reason and i.get("met")))
        text = f"{head}: {word(reason, language)}"
        reached = ", ".join(word(code, language) for code in met)
        if met or not raised:
            yield f"{text}; {word('limits_met', language)}: {reached}" if met else text
    others = [i for i in analysis.get("not_judged", ()) if i.get("met") and i["reason"] not in ST_REASONS]
    for code, reason in dict.fromkeys((i["code"], i["reason"]) for i in others):
        what = f"{word(reason, language)}; {word('limits_met', language)}: {word(code, language)}"
        yield f"{word('not_judged', language)}: {what}"
    leads = dict.fromkeys(i["lead"] for i in analysis.get("not_judged", ()) if i["reason"] == "lead_quality")
    if any(leads):
        yield f"{word('not_judged', language)}: {', '.join(lead for lead in leads if lead)}"


def _doubtful(analysis: Mapping[str, Any], language: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for finding in analysis["quality"]["findings"]:
        if finding["lead"] is None or finding["fault"] in _NOT_OF_THE_SIGNAL:
            continue
        electrode, text = finding.get("electrode"), word(finding["fault"], language)
        # one bad limb electrode spoils every limb lead, though its finding names but one
        leads = STANDARD_LEADS[:6] if electrode else (finding["lead"],)
        for lead in leads:
            found.setdefault(lead, f"{electrode} {text}" if electrode else text)
    return MappingProxyType(found)

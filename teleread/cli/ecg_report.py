"""What ``teleread ecg`` and ``teleread check`` print for people: one analysis, line after line. Texts only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # imported where needed: other commands should not wait for SciPy
    from teleread.signal.ecg.record import EcgRecord
    from teleread.signal.ecg.serial import Change

_SHOWN = ("heart_rate_bpm", "p_duration_ms", "pr_ms", "qrs_duration_ms", "qt_ms", "qtc_ms")
_SHOWN_AFTER = ("p_axis_deg", "qrs_axis_deg", "t_axis_deg", "rr_min_ms", "rr_max_ms", "rr_sd_ms")
_ASIDE = " " * 10
_DIGITS = {"bpm": 0, "%": 0, "ms": 0, "s": 1}
_JOINT = {"bpm": "/min"}


def report(record: EcgRecord, analysis: Mapping[str, Any]) -> Iterator[str]:
    """The analysis for people, one line after the other: three that say it all, then what they rest on."""
    from teleread.cli.ecg_summary import summary
    from teleread.signal.ecg.sheet_text import filter_text

    quality = analysis["quality"]
    seconds = record.signals_mv.shape[1] / record.fs_hz
    yield from summary(analysis)
    yield ""
    yield f"{record.source_format}: {len(record.leads)} leads, {record.fs_hz:g} Hz, {seconds:.1f} s"
    yield f"filter    {filter_text(record.filters, 'en', analysis['not_judged'])}"
    verdict = "acceptable" if quality["acceptable"] else "NOT acceptable"
    yield f"quality   {verdict}, score {quality['score']:.2f}"
    for finding in quality["findings"]:
        where, text = finding_text(finding)
        yield f"{_ASIDE}{where:<10} {text}"
    yield from _rhythm(analysis)
    yield from _numbers(analysis["measurements"])
    yield from _by_lead(record, analysis["measurements"])
    yield from _flags(analysis)
    yield "unconfirmed aid; a licensed reader decides"


def finding_text(finding: Mapping[str, Any]) -> tuple[str, str]:
    """(electrode or lead, what is wrong with it and what to do), in words."""
    from teleread.signal.ecg.sheet_words import word

    fault, remedy = word(finding["fault"], "en"), word(finding["remedy"], "en")
    where = finding.get("electrode") or finding["lead"] or "all leads"
    return where, fault if fault.lower() == remedy else f"{fault}: {remedy}"


def _rhythm(analysis: Mapping[str, Any]) -> Iterator[str]:
    """One line for each kind of rhythm and of finding: a long recording holds hundreds of each."""
    from teleread.signal.ecg.sheet_words import word

    head = "rhythm    "
    for spans in _by_code(analysis["rhythm"]):
        text, first = word(spans[0]["code"], "en"), spans[0]
        if len(spans) == 1:
            yield f"{head}{first['start_s']:6.1f} to {first['end_s']:6.1f} s  {text}"
        else:
            seconds = sum(span["end_s"] - span["start_s"] for span in spans)
            yield f"{head}{seconds:.1f} s in {len(spans)} spans, first at {first['start_s']:.1f} s  {text}"
        head = _ASIDE
    for findings in _by_code(analysis.get("rhythm_findings", ())):
        text = word(findings[0]["code"], "en") + _range(findings)
        if len(findings) > 1:
            text += f", {len(findings)} times, first at {findings[0]['start_s']:.1f} s"
        yield head + text
        head = _ASIDE


def _by_code(items: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The items of each code, codes in the order of their first, items in the order of time."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for item in sorted(items, key=lambda item: item["start_s"]):
        found.setdefault(item["code"], []).append(item)
    return list(found.values())


def _range(findings: Sequence[Mapping[str, Any]]) -> str:
    values = [finding["value"] for finding in findings if finding["value"] is not None]
    if not values:
        return ""
    unit = findings[0]["unit"]
    digits = _DIGITS.get(unit)
    low, high = (f"{v:.4g}" if digits is None else f"{v:.{digits}f}" for v in (min(values), max(values)))
    # the rate that goes with a block is that of the atria
    whose = ", atria" if findings[0]["code"].startswith("av_block_") and unit == "bpm" else ""
    text = low if low == high else f"{low} to {high}"
    return f"{whose} {text}" + (unit and f"{_JOINT.get(unit, ' ' + unit)}")


def _numbers(measurements: Mapping[str, Any]) -> Iterator[str]:
    """The measurements of the whole recording, the usual ones first."""
    whole = [name for name, one in measurements.items() if one["lead"] == "global"]
    order = [*_SHOWN, *_SHOWN_AFTER]
    names = [name for name in order if name in whole] + [name for name in whole if name not in order]
    head = "measured  "
    for name in names:
        one = measurements[name]
        yield f"{head}{name:<20}{one['value']:9.1f} {one['unit']:<4} confidence {one['confidence']:.2f}"
        head = _ASIDE


def _by_lead(record: EcgRecord, measurements: Mapping[str, Any]) -> Iterator[str]:
    """ST at J and the main waves of each lead in mV."""
    columns = {"ST J": "st_j_mv", "J+80": "st_j80_mv", "Q": "q_amplitude_mv", "R": "r_amplitude_mv"}
    columns |= {"S": "s_amplitude_mv", "T": "t_amplitude_mv"}
    if not any(f"{name}.{lead}" in measurements for lead in record.leads for name in columns.values()):
        return
    yield "mV        lead " + "".join(f"{title:>8}" for title in columns)
    for lead in record.leads:
        cells = [measurements.get(f"{name}.{lead}") for name in columns.values()]
        if any(cell is not None for cell in cells):
            values = "".join("       –" if cell is None else f"{cell['value']:8.2f}" for cell in cells)
            yield f"          {lead:<5}{values}"


def _flags(analysis: Mapping[str, Any]) -> Iterator[str]:
    from teleread.signal.ecg.sheet_text import flag_line
    from teleread.signal.ecg.sheet_words import word

    head = "flags     "
    for flag in analysis["flags"]:
        severity = flag.get("severity", "")
        yield f"{head}{severity:<9} {flag_line(flag, 'en')}  [{flag['rule_id']} {flag['version']}]"
        head = _ASIDE
    if not analysis["flags"]:
        yield f"{head}{word('no_flags', 'en')}"
    yield from _not_judged(analysis.get("not_judged", ()))


def _not_judged(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was not judged and why; rules that need leads that nobody recorded are only counted."""
    from teleread.signal.ecg.sheet_words import word

    head = "not judged "
    for item in items:
        if item["reason"] in ("lead_missing", "switched_off"):
            continue
        where = f" {item['lead']}" if item["lead"] else ""
        met = ", limits reached" if item.get("met") else ""
        yield f"{head}{item['rule_id']}{where}: {word(item['reason'], 'en')}{met}"
        head = f"{_ASIDE} "
    if missing := len({item["rule_id"] for item in items if item["reason"] == "lead_missing"}):
        yield f"{head}{missing} {'rule needs' if missing == 1 else 'rules need'} leads that were not recorded"


def comparison(changes: Sequence[Change]) -> Iterator[str]:
    """The changes beyond chance; then how many lines say that nothing changed, or that it cannot be said."""
    from teleread.signal.ecg.sheet_text import change_line

    head = "changes   "
    for change in changes:
        if change.significant:
            yield head + change_line(change, "en")
            head = _ASIDE
    notes = Counter(change.note for change in changes if change.note)
    for note, count in notes.items():
        yield f"{head}{count} not judged: {note.replace('_', ' ')}"
        head = _ASIDE
    if head.strip():
        yield f"{head}none beyond chance"

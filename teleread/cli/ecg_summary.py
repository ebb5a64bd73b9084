"""The three lines that stand first in ``teleread ecg``: flags, heartbeat, and what the recording is worth.

They are for somebody who has seconds: no line is longer than a terminal, and the worst stands first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 110
"""No line of the three is longer."""

_HEAD = 10
_FINDING = 45
_DOUBTED = 0.5
_SHARE_SHOWN = 0.05
_BESIDE = {"pr_ms": "PR", "qrs_duration_ms": "QRS", "qtc_ms": "QTc"}


def summary(analysis: Mapping[str, Any]) -> Iterator[str]:
    """Three lines; a number that is not sure has a question mark."""
    yield _line(*_flagged(analysis))
    yield _line("rhythm", [_rhythm(analysis["rhythm"]), *_numbers(analysis["measurements"])])
    yield _line("recording", [*_worth(analysis), "unconfirmed aid"], keep=1)


def _line(head: str, parts: Sequence[str], keep: int = 0) -> str:
    """The parts that fit, in their order, then how many do not; the last ``keep`` always stand."""
    first, last = list(parts[: len(parts) - keep]), list(parts[len(parts) - keep :])
    for count in range(len(first), 0, -1):
        more = [f"{len(first) - count} more below"] if count < len(first) else []
        text = f"{head:<{_HEAD}}" + " · ".join([*first[:count], *more, *last])
        if len(text) <= WIDTH:
            return text
    return text[: WIDTH - 1] + "…"


def _flagged(analysis: Mapping[str, Any]) -> tuple[str, list[str]]:
    """(the severity of the worst, each thing once). What was reached and not judged follows: a reader must look."""
    from teleread.signal.ecg.sheet_words import word

    parts: dict[str, str] = {}
    severities = []
    for flag in analysis["flags"]:
        code, severity = flag.get("code", flag["rule_id"]), flag.get("severity", "note")
        if code not in parts:
            urgent = severity == "urgent" and "critical" in severities
            parts[code] = ("urgent: " if urgent else "") + word(code, "en") + _where(flag)
            severities.append(severity)
    reached = {
        item["code"]: f"limits reached, not judged ({word(item['reason'], 'en')}): {word(item['code'], 'en')}"
        for item in analysis.get("not_judged", ())
        if item.get("met") and item["code"] not in parts
    }
    dead = any(one["fault"] == "all_leads_bad" for one in analysis["quality"]["findings"])
    first = [word("all_leads_bad", "en")] if dead else []
    if not parts:
        return "PATIENT" if dead else "flags", [*first, *(reached.values() or [word("no_flags", "en")])]
    worst = next((s for s in ("critical", "urgent") if s in severities), "note")
    return worst.upper() if worst == "critical" else worst, [*first, *parts.values(), *reached.values()]


def _where(flag: Mapping[str, Any]) -> str:
    if flag.get("unit") == "mV":
        return f", {flag['lead']} {flag['value']:.2f} mV"
    return {"bpm": f", {flag['value']:.0f}/min", "ms": f", {flag['value']:.0f} ms"}.get(flag.get("unit", ""), "")


def _rhythm(spans: Sequence[Mapping[str, Any]]) -> str:
    """The rhythms by how long they last, with their shares where there are several."""
    from teleread.signal.ecg.sheet_words import word

    lengths: dict[str, float] = {}
    for span in spans:
        lengths[span["code"]] = lengths.get(span["code"], 0.0) + span["end_s"] - span["start_s"]
    total = sum(lengths.values())
    if total <= 0:
        return word("undetermined", "en")
    shown = {code: length / total for code, length in lengths.items() if length >= _SHARE_SHOWN * total}
    if len(shown) == 1:
        return word(next(iter(shown)), "en")
    ordered = sorted(shown.items(), key=lambda item: -item[1])
    return ", ".join(f"{word(code, 'en')} {100 * share:.0f} %" for code, share in ordered)


def _numbers(measurements: Mapping[str, Any]) -> Iterator[str]:
    def said(name: str) -> str:
        one = measurements[name]
        return f"{one['value']:.0f}" + ("?" if one["confidence"] < _DOUBTED else "")

    if "heart_rate_bpm" in measurements:
        yield f"{said('heart_rate_bpm')}/min"
    for name, label in _BESIDE.items():
        if name in measurements:
            yield f"{label} {said(name)} ms"
    if not measurements:
        yield "nothing measured"


def _worth(analysis: Mapping[str, Any]) -> Iterator[str]:
    from teleread.cli.ecg_report import finding_text

    quality, recording = analysis["quality"], analysis["recording"]
    yield "acceptable" if quality["acceptable"] else "NOT ACCEPTABLE"
    for finding in quality["findings"]:
        if finding["fault"] != "all_leads_bad":
            text = " ".join(finding_text(finding))
            # what to do stands below where there is no room for it
            yield text if len(text) <= _FINDING else text.partition(":")[0]
    count = len(recording["leads"])
    yield f"{count} lead{'' if count == 1 else 's'}, {recording['duration_s']:.0f} s"

"""How values are written for people, in either language. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

from teleread.web.i18n import N_

Translate = Callable[[str], str]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# C0 and C1 controls, and the marks that turn the reading direction: a name may not rearrange the line it stands in
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_CHINESE = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff·]+")
NAME_LIMIT = 64

SEXES = {"M": N_("male"), "F": N_("female"), "O": N_("other sex")}


def person_name(stored: str | None, language: str) -> str:
    """A DICOM person name (PS3.5 6.2.1.2) for reading: the ideographic group first where there is one.

    >>> person_name("Wang^XiaoDong=王^小东", "zh")
    '王小东 (Wang XiaoDong)'
    """
    if not stored:
        return ""
    groups = [_group(part) for part in stored.split("=")[:2]]
    alphabetic = groups[0]
    ideographic = groups[1] if len(groups) > 1 else ""
    pair = [ideographic, alphabetic] if language == "zh" else [alphabetic, ideographic]
    shown = [name for name in pair if name]
    if len(shown) == 2:
        return f"{shown[0]} ({shown[1]})"
    return shown[0] if shown else ""


def _group(text: str) -> str:
    parts = _INVISIBLE.sub(" ", text).replace("^", " ").split()
    # Chinese family and given names are written without a gap
    words = ("" if all(map(_CHINESE.fullmatch, parts)) else " ").join(parts)
    return words if len(words) <= NAME_LIMIT else words[: NAME_LIMIT - 1] + "…"


def sex_text(sex: str | None, _: Translate) -> str:
    """The patient's sex in words."""
    return _(SEXES[sex]) if sex in SEXES else _("sex unknown")


def age_text(years: float | None, _: Translate) -> str:
    """The patient's age: in months below two years, else in whole years."""
    if years is None:
        return _("age unknown")
    if years < 2:
        return _("{n} mo").format(n=int(years * 12))
    return _("{n} y").format(n=int(years))


def age_on(birth_date: date | None, day: date) -> float | None:
    """Age in years, None when unknown or impossible."""
    if birth_date is None or not 0 <= (day - birth_date).days <= 130 * 366:
        return None
    whole = day.year - birth_date.year - ((day.month, day.day) < (birth_date.month, birth_date.day))
    return float(whole) if whole >= 2 else (day - birth_date).days / 365.25


def zone(offset_minutes: int) -> timezone:
    """The alliance's own time zone."""
    return timezone(timedelta(minutes=offset_minutes))


def time_text(moment: datetime | None, tz: timezone) -> str:
    """Date and minute in the alliance's zone."""
    return "" if moment is None else moment.astimezone(tz).strftime("%Y-%m-%d %H:%M")


def clock_text(moment: datetime | None, tz: timezone) -> str:
    """The time of day with its seconds, in the alliance's zone."""
    return "" if moment is None else moment.astimezone(tz).strftime("%H:%M:%S")


def second_text(moment: datetime | None, tz: timezone) -> str:
    """Date and second in the alliance's zone."""
    return "" if moment is None else moment.astimezone(tz).strftime("%Y-%m-%d %H:%M:%S")


def wait_text(seconds: float, _: Translate) -> str:
    """A waiting time; the page's own clock goes on from it in the same form."""
    whole = max(0, int(seconds))
    if whole < 3600:
        return _("{m} min {s} s").format(m=whole // 60, s=whole % 60)
    if whole < 86400:
        return _("{h} h {m} min").format(h=whole // 3600, m=whole % 3600 // 60)
    return _("{d} d {h} h").format(d=whole // 86400, h=whole % 86400 // 3600)


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 for the page's clock."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def size_text(n_bytes: int) -> str:
    """A size in the unit that fits."""
    if n_bytes < 1 << 20:
        return f"{max(1, n_bytes >> 10)} KiB"
    return f"{n_bytes / (1 << 20):.1f} MiB"

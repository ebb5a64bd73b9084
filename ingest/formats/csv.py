"""Tables of numbers as text: leads in columns, one sample per row. Rate and unit must be stated, by file or person."""

from __future__ import annotations

import codecs
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats.csv_header import MAX_FS_HZ, Column, Heading, parse_heading
from teleread.ingest.formats.csv_numbers import MAX_BYTES, Layout, head_lines, layout, parse
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.names import unique_name
from teleread.ingest.formats.persons import age_on
from teleread.signal.ecg.record import STANDARD_LEADS, EcgRecord, OtherChannel, with_derived_leads

MAX_LEADS = 64
_HEADING_BYTES = 256 << 10
_ASCII = bytes(range(128))
_PLAUSIBLE_HZ = (50.0, 20_000.0)  # tells seconds from milliseconds where a time column does not

Samples = NDArray[np.float64]


def recognises(head: Head) -> bool:
    """A table of numbers: several rows of the same number of columns, one column only when its heading is a lead."""
    if head.is_xml or head.size < 16:
        return False
    text = _head_text(head.data)
    if text is None or "\0" in text:
        return False
    lines = head_lines(text if head.size > len(head.data) else text + "\n")
    how = layout(lines)
    if how is None:
        return False
    if how.columns > 1:
        return True
    names = lines[how.first_row - 1].strip().split() if how.first_row else []
    return bool(names) and names[0].strip("\"'#") in STANDARD_LEADS


def read(source: Source) -> EcgRecord:
    """One record.

    Raises:
        InputRejected: ``csv_no_rate`` and ``csv_no_scale`` (neither the file nor ``source.given`` states it),
            ``csv_rate_conflict``, ``csv_rate_invalid``, ``csv_time_uneven``, ``csv_no_ecg_lead``, ``csv_invalid``,
            ``csv_truncated``, ``csv_too_large``.
    """
    if len(source.data) > MAX_BYTES:
        raise InputRejected("csv_too_large", "The CSV file exceeds the size limit.")
    data = _as_bytes(source.data)
    lines = head_lines(_text(_whole_lines(data)) + "\n")
    how = layout(lines)
    if how is None:
        raise InputRejected("csv_invalid", "The CSV file holds no table of numbers.")
    heading = parse_heading(lines[: how.first_row], how.delimiter, source.zone)
    numbers = parse(_from_line(data, how.first_row), how)
    times, table, columns = _split(numbers, how, heading)
    fs = _rate(times, columns, heading, source.given.fs_hz)
    return _record(table, [c for c in columns if c.kind in ("lead", "other")], fs, heading, source)


def _record(table: Samples, columns: list[Column], fs: float, heading: Heading, source: Source) -> EcgRecord:
    by_order = all(c.name.startswith("column ") for c in columns) and _einthoven(table)
    if by_order:
        columns = [Column(lead, "lead") for lead in STANDARD_LEADS[: len(columns)]]
    there = [k for k, c in enumerate(columns) if np.isfinite(table[:, k]).any()]
    named = [k for k in there if columns[k].kind == "lead"] or there
    chosen = named[:MAX_LEADS]
    if not chosen:
        raise InputRejected("csv_no_ecg_lead", "No column of the CSV file holds the voltage of an ECG.")
    if not all(_finite(table[:, k]) for k in chosen):
        raise InputRejected("csv_invalid", "The CSV file holds numbers that no ECG has.")
    signals, names, leads = np.empty((len(chosen), len(table))), set[str](), []
    stated = heading.per_mv(whole=all(_whole(table[:, k]) for k in chosen))
    for row, k in enumerate(chosen):
        per_mv = columns[k].per_mv or stated or source.given.per_mv
        if per_mv is None:
            raise InputRejected("csv_no_scale", "The CSV file does not say in which unit its numbers are.")
        np.multiply(table[:, k], per_mv, out=signals[row])
        leads.append(unique_name(columns[k].name, names))
    others = [
        OtherChannel(unique_name(columns[k].name, names), "", fs, table[:, k].copy()) for k in there if k not in chosen
    ]
    record = EcgRecord(
        signals_mv=signals,
        leads=tuple(leads),
        fs_hz=float(fs),
        source_format="csv",
        other_channels=tuple(others),
        patient=heading.patient,
        age_years=age_on(heading.age_years, heading.patient.birth_date, heading.acquired_at),
        acquired_at=heading.acquired_at,
        extra=MappingProxyType({"lead_names": "by order, which the limb leads confirm"} if by_order else {}),
    )
    return with_derived_leads(record)


def _finite(values: Samples) -> bool:
    return not np.isinf(values).any() and bool(np.nanmax(np.abs(values)) < 1e12)


def _whole(values: Samples) -> bool:
    return bool((np.isnan(values) | (values == np.rint(values))).all())


def _split(numbers: Samples, how: Layout, heading: Heading) -> tuple[Samples | None, Samples, list[Column]]:
    """(times or None, the other columns, what the headings say of those that are not clock times)."""
    columns = list(heading.columns)
    if len(columns) != how.columns:
        # a heading of another length belongs to no column; a spare delimiter at the end of the rows is no column
        spare = len(columns) and len(columns) == how.columns - 1 and np.isnan(numbers[:, -1]).all()
        columns = (
            [*columns, Column("", "other")]
            if spare
            else [Column(f"column {k}", "other") for k in range(1, how.columns + 1)]
        )
    if how.colons:
        clock = numbers[:, 0]
        for k in range(1, how.colons + 1):
            clock = clock * 60.0 + numbers[:, k]
        rest = columns[1:]
        return clock, numbers[:, how.colons + 1 :], [Column("time", "time", seconds=1.0), *rest]
    at = next((k for k, c in enumerate(columns) if c.kind == "time"), None)
    keep = [k for k, c in enumerate(columns) if c.kind in ("lead", "other")]
    table = numbers if len(keep) == numbers.shape[1] else numbers[:, keep]
    return (numbers[:, at] if at is not None else None), table, columns


def _rate(times: Samples | None, columns: list[Column], heading: Heading, given: float | None) -> float:
    stated = heading.fs_hz or given
    if times is not None:
        measured = _rate_of(times, next(c.seconds for c in columns if c.kind == "time"))
        if stated is not None and abs(measured - stated) > 0.01 * stated:
            raise InputRejected("csv_rate_conflict", "The times in the CSV file do not fit the stated sampling rate.")
        return stated if stated is not None else measured
    if stated is None:
        raise InputRejected("csv_no_rate", "Neither the CSV file nor anybody states the sampling rate.")
    if given is not None and abs(stated - given) > 0.001 * given:
        raise InputRejected("csv_rate_conflict", "The CSV file states another sampling rate than the one given.")
    if not 1.0 <= stated <= MAX_FS_HZ:
        raise InputRejected("csv_rate_invalid", "The sampling rate is out of range.")
    return stated


def _rate_of(times: Samples, seconds: float | None) -> float:
    n = times.size
    if n < 3 or not np.isfinite(times).all() or not times[-1] > times[0]:
        raise InputRejected("csv_time_uneven", "The times in the CSV file do not grow evenly.")
    step = (times[-1] - times[0]) / (n - 1)
    # times are written with few digits: each may be off by half of the smallest difference there is
    gaps = np.diff(times)
    off = np.abs(times - (times[0] + step * np.arange(n)))
    spread = float(gaps.max() - gaps.min())
    if gaps.min() <= 0 or off.max() > max(0.75 * spread, 1e-6 * step) or spread > 0.6 * step:
        raise InputRejected("csv_time_uneven", "The times in the CSV file do not grow evenly.")
    if seconds is None:
        fits = [unit for unit in (1.0, 1e-3, 1e-6) if _PLAUSIBLE_HZ[0] <= 1.0 / (step * unit) <= _PLAUSIBLE_HZ[1]]
        if len(fits) != 1:
            raise InputRejected("csv_no_rate", "The CSV file does not say in which unit its times are.")
        seconds = fits[0]
    fs = 1.0 / (step * seconds)
    if not 1.0 <= fs <= MAX_FS_HZ:
        raise InputRejected("csv_rate_invalid", "The sampling rate of the CSV file is out of range.")
    return float(round(fs)) if abs(fs - round(fs)) <= fs * (spread / step / (n - 1) + 1e-6) else fs


def _einthoven(table: Samples) -> bool:
    """Whether six or twelve unnamed columns begin with I, II, III, aVR, aVL, aVF: the law of the limb leads tells."""
    if table.shape[1] not in (6, 12):
        return False
    one, two, three, right, left, foot = (table[:, k] for k in range(6))
    span = float(np.nanmax(np.abs(table[:, :6]), initial=0.0))
    if not 0 < span < 1e12 or min(np.nanstd(one), np.nanstd(two)) < 0.01 * span or not np.isfinite(table[:, :6]).all():
        return False
    whole = bool((table[:, :6] == np.rint(table[:, :6])).all())
    slack = 1.01 if whole else 0.005 * span
    residuals = (three - (two - one), right + (one + two) / 2, left - (one - two / 2), foot - (two - one / 2))
    return all(float(np.abs(r).max()) <= slack for r in residuals)


def _head_text(data: bytes) -> str | None:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data[: len(data) & ~1].decode("utf-16", "replace")
    if b"\0" in data:
        return None
    return _text(_whole_lines(data)).removeprefix("\ufeff")


def _text(data: bytes) -> str:
    """UTF-8, GB18030 or Latin-1. Lead names stand right beside Chinese ones here, so letters tell nothing."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if data.translate(None, _ASCII + b"\xb5\xb0\xb2"):  # more than micro, degree and square
        try:
            return data.decode("gb18030")
        except UnicodeDecodeError:
            pass
    return data.decode("latin-1")


def _whole_lines(data: bytes) -> bytes:
    head = data[:_HEADING_BYTES]
    cut = head.rfind(b"\n") + 1
    return head if len(data) == len(head) or not cut else head[:cut]


def _as_bytes(data: bytes) -> bytes:
    """UTF-16 as UTF-8, a byte order mark away, line ends as they are."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data[: len(data) & ~1].decode("utf-16", "replace").encode("utf-8")
    return data.removeprefix(codecs.BOM_UTF8)


def _from_line(data: bytes, line: int) -> bytes:
    at = 0
    for _ in range(line):
        at = data.index(b"\n", at) + 1
    return data[at:]


FORMAT = Format(
    name="csv",
    title="CSV",
    recognises=recognises,
    read=read,
    seen_from_device=False,
    extensions=(".csv", ".tsv", ".txt"),
)

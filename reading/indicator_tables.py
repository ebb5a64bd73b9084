"""Indicators as people read them: numbers, medians and shares, by site, pool, shift or label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from teleread.reading.indicators import EMPTY, LIMITS_MS, TIMED, Cell, Key
from teleread.storage.catalogue.schema import work_items


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table.

    Args:
        group: what it is of: a site's id, a pool's …
        median_s, p90_s: out of the buckets, None where nothing was timed.
    """

    name: str
    group: str
    label: str
    n: int
    mean_s: float | None
    median_s: float | None
    p90_s: float | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many cases wait now."""

    site_id: str
    pool: str
    priority: str
    n: int


def quantile_s(cell: Cell, share: float) -> float | None:
    """A quantile out of the buckets, drawn straight between their limits; None of nothing.

    What lies above the last limit counts as that limit.
    """
    if cell.n <= 0:
        return None
    wanted = share * cell.n
    below = 0
    for place, n in enumerate(cell.buckets):
        if n and below + n >= wanted:
            low = LIMITS_MS[place - 1] if place else 0
            high = LIMITS_MS[min(place, len(LIMITS_MS) - 1)]
            return (low + (high - low) * max(0.0, wanted - below) / n) / 1000
        below += n
    return LIMITS_MS[-1] / 1000


def within(cell: Cell, limit_s: float) -> float | None:
    """The share of values up to a limit that is one of the buckets' limits; None of nothing."""
    if cell.n <= 0:
        return None
    place = LIMITS_MS.index(int(limit_s * 1000))
    return sum(cell.buckets[: place + 1]) / cell.n


def summed(found: Mapping[Key, Cell], name: str, *, by: str) -> dict[tuple[str, str], Cell]:
    """One indicator, by ``site_id``, ``pool``, ``shift`` or ``day`` (or ``""``: all together) and by label."""
    sums: dict[tuple[str, str], Cell] = {}
    for key, cell in found.items():
        if key.name == name:
            group = (getattr(key, by) if by else "", key.label)
            sums[group] = _plus(sums.get(group, EMPTY), cell)
    return sums


def lines(found: Mapping[Key, Cell], name: str, *, by: str) -> list[Line]:
    """One indicator as lines, the groups in order."""
    return [
        Line(
            name,
            group,
            label,
            cell.n,
            cell.total_ms / cell.n / 1000 if cell.n and cell.total_ms else None,
            quantile_s(cell, 0.5) if cell.total_ms else None,
            quantile_s(cell, 0.9) if cell.total_ms else None,
        )
        for (group, label), cell in sorted(summed(found, name, by=by).items())
        if cell.n
    ]


def shares(found: Mapping[Key, Cell], part: str, whole: str, *, by: str) -> list[tuple[str, int, int]]:
    """How many of what: group, number of ``part``, number of ``whole``; the worst share first."""
    sums: dict[str, list[int]] = {}
    for key, cell in found.items():
        if key.name in {part, whole}:
            sums.setdefault(str(getattr(key, by)), [0, 0])[key.name == whole] += cell.n
    rows = [(group, n, of) for group, (n, of) in sums.items() if of]
    return sorted(rows, key=lambda row: (-row[1] / row[2], row[0]))


def waiting(conn: Connection) -> list[Waiting]:
    """The backlog now."""
    columns = (work_items.c.site_id, func.coalesce(work_items.c.pool, ""), work_items.c.priority)
    query = select(*columns, func.count()).where(work_items.c.state == "SCHEDULED").group_by(*columns)
    return [Waiting(*row) for row in conn.execute(query.order_by(*columns))]


def to_csv(found: Mapping[Key, Cell]) -> Iterable[str]:
    """The cells as lines of CSV (RFC 4180), with a heading; times in seconds."""
    yield "indicator,day,site,pool,shift,label,n,total_s,median_s,p90_s\r\n"
    for key, cell in sorted(found.items()):
        timed = [f"{value:.3f}" if value is not None and cell.total_ms else "" for value in _times(cell)]
        yield ",".join([*(_field(text) for text in key), str(cell.n), *timed]) + "\r\n"


_HELP = {
    "turnaround": "seconds from stored to signed",
    "wait": "seconds from queued to claimed",
    "critical_told": "seconds from a critical value found to its acknowledgement",
    "critical_owned": "seconds from a critical value found to its named owner",
}


def to_prometheus(found: Mapping[Key, Cell], backlog: Iterable[Waiting]) -> Iterable[str]:
    """Prometheus' text format 0.0.4: histograms of what is timed, counters of what is counted, the backlog.

    Days are summed, so that counters only grow; operators are left out.
    """
    yield "# HELP teleread_waiting cases that wait for a reader\n# TYPE teleread_waiting gauge\n"
    for one in backlog:
        labels = _labels(site=one.site_id, pool=one.pool, priority=one.priority)
        yield f"teleread_waiting{labels} {one.n}\n"
    sums: dict[str, dict[tuple[str, str, str, str], Cell]] = {}
    for key, cell in found.items():
        group = (key.site_id, key.pool, key.shift, key.label)
        of_name = sums.setdefault(key.name, {})
        of_name[group] = _plus(of_name.get(group, EMPTY), cell)
    for name, groups in sorted(sums.items()):
        if name.startswith("operator_"):
            continue
        timed = name in TIMED
        metric = f"teleread_{name}_seconds" if timed else f"teleread_{name}_total"
        kind = "histogram" if timed else "counter"
        yield f"# HELP {metric} {_HELP.get(name, name.replace('_', ' '))}\n# TYPE {metric} {kind}\n"
        for (site, pool, shift, label), cell in sorted(groups.items()):
            said = {"site": site, "pool": pool, "shift": shift, "label": label}
            if not timed:
                yield f"{metric}{_labels(**said)} {cell.n}\n"
                continue
            below = 0
            for limit, n in zip(LIMITS_MS, cell.buckets, strict=False):
                below += n
                yield f"{metric}_bucket{_labels(**said, le=f'{limit / 1000:g}')} {below}\n"
            yield f"{metric}_bucket{_labels(**said, le='+Inf')} {cell.n}\n"
            yield f"{metric}_sum{_labels(**said)} {cell.total_ms / 1000}\n"
            yield f"{metric}_count{_labels(**said)} {cell.n}\n"


def _labels(**values: str) -> str:
    said = (value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for value in values.values())
    return "{" + ",".join(f'{name}="{value}"' for name, value in zip(values, said, strict=True)) + "}"


def _times(cell: Cell) -> tuple[float | None, float | None, float | None]:
    return cell.total_ms / 1000, quantile_s(cell, 0.5), quantile_s(cell, 0.9)


def _field(text: str) -> str:
    # a spreadsheet must not take a label for a formula
    safe = f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
    return '"' + safe.replace('"', '""') + '"' if any(one in safe for one in ',"\r\n') else safe


def _plus(one: Cell, other: Cell) -> Cell:
    buckets = tuple(a + b for a, b in zip(one.buckets, other.buckets, strict=True))
    return Cell(one.n + other.n, one.total_ms + other.total_ms, buckets)

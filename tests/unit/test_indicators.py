"""The indicators: running values on SQLite, and what people are shown of them."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta, timezone

import pytest

from teleread.reading import indicator_tables as tables
from teleread.reading.indicators import EMPTY, LIMITS_MS, Cell, Key, shift_of
from tests.contract.indicators_contract import IndicatorsContract

KEY = Key("turnaround", "2026-03-01", "village", "ecg", "night", "urgent")


class TestIndicatorsOnSqlite(IndicatorsContract):
    """On SQLite."""


def of(*values_s: float) -> Cell:
    cell = EMPTY
    for value in values_s:
        cell = cell.plus(int(value * 1000))
    return cell


def test_a_quantile_lies_in_the_bucket_of_its_value() -> None:
    values = [3.0, 8.0, 12.0, 47.0, 100.0, 115.0, 400.0, 800.0, 3000.0]
    cell = of(*values)
    for share in (0.1, 0.5, 0.9):
        exact = sorted(values)[max(0, -(-int(share * 100) * len(values) // 100) - 1)]
        upper = next(limit for limit in LIMITS_MS if limit >= exact * 1000)
        lower = max((limit for limit in LIMITS_MS if limit < upper), default=0)
        found = tables.quantile_s(cell, share)
        assert found is not None
        assert lower <= found * 1000 <= upper


def test_nothing_has_no_median_and_no_share() -> None:
    assert tables.quantile_s(EMPTY, 0.5) is None
    assert tables.within(EMPTY, 900) is None
    assert tables.within(of(10, 899, 901, 2000), 900) == 0.5


@pytest.mark.parametrize(("hour", "shift"), [(0, "night"), (7, "night"), (8, "day"), (16, "evening"), (23, "evening")])
def test_a_shift_is_told_by_the_alliances_clock(hour: int, shift: str) -> None:
    zone = timezone(timedelta(hours=8))
    assert shift_of(datetime(2026, 3, 1, hour, 59, tzinfo=zone).astimezone(UTC), zone) == shift


def test_a_label_is_text_in_every_spreadsheet() -> None:
    rows = "".join(tables.to_csv({KEY._replace(label='=1+1,"x"'): of(5)}))
    (_heading, row) = csv.reader(io.StringIO(rows))
    assert row[5] == '\'=1+1,"x"'
    assert row[6:8] == ["1", "5.000"]


def test_prometheus_takes_it_and_no_operator_is_named() -> None:
    found = {
        KEY: of(5, 50),
        KEY._replace(name="operator_upload", label="nurse"): of(0),
        KEY._replace(label='a"\\\n'): of(1),
    }
    text = "".join(tables.to_prometheus(found, [tables.Waiting("village", "ecg", "urgent", 3)]))
    assert "nurse" not in text
    assert 'teleread_waiting{site="village",pool="ecg",priority="urgent"} 3\n' in text
    assert 'label="urgent",le="5"} 1\n' in text
    assert 'label="urgent",le="+Inf"} 2\n' in text
    assert r'label="a\"\\\n"' in text


def test_the_worst_share_stands_first() -> None:
    found = {
        KEY._replace(name="upload", label="A"): of(*[0] * 10),
        KEY._replace(name="upload_fault", label="A"): of(0),
        KEY._replace(name="upload", label="B"): of(0, 0),
        KEY._replace(name="upload_fault", label="B"): of(0),
    }
    assert tables.shares(found, "upload_fault", "upload", by="label") == [("B", 1, 2), ("A", 1, 10)]

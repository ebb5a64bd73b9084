"""A small count of what ``make prove`` does ten thousand times."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest

from teleread.ingest.formats.formats_table import all_formats
from tests.prove.mutations import MUTATED, begins


def prove(name: str, count: int) -> None:
    opened: AbstractContextManager[Any] = MUTATED[name]()
    with opened as one:
        for number in range(count):
            one(number)


@pytest.mark.parametrize("name", MUTATED)
def test_a_mutated_file_gives_a_record_or_a_coded_error(name: str) -> None:
    prove(name, 60)


@pytest.mark.peers
@pytest.mark.parametrize("name", MUTATED)
def test_300_mutated_files_give_records_or_coded_errors(name: str) -> None:
    prove(name, 300)


def test_every_format_that_is_read_is_mutated() -> None:
    read = {row["name"] for row in all_formats() if row["reads"]}
    assert read <= {name.lower() for name in MUTATED}


def test_a_cut_file_that_reads_otherwise_would_be_caught() -> None:
    before = np.array([1.0, 2.0, 3.0])
    assert begins(before, np.array([1.0, 2.0]))
    assert begins(before, np.array([1.0, np.nan, np.nan]))
    assert not begins(before, np.array([1.0, 2.5]))
    assert not begins(before, np.array([1.0, 2.0, 3.0, 4.0]))

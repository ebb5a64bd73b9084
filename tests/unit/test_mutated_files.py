"""A small count of what ``make prove`` does ten thousand times."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.prove.mutations import MUTATED

COUNT = int(os.environ.get("TEST_MUTATIONS", "60"))


@pytest.mark.parametrize("name", MUTATED)
def test_a_mutated_file_gives_a_record_or_a_coded_error(name: str) -> None:
    opened: AbstractContextManager[Any] = MUTATED[name]()
    with opened as prove:
        for number in range(COUNT):
            prove(number)

"""A small count of what ``make prove`` does ten thousand times."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.prove.mutations import mutated_dicom, mutated_wfdb


@pytest.mark.parametrize("open_proof", [mutated_dicom, mutated_wfdb])
def test_a_mutated_file_gives_a_product_or_a_coded_error(open_proof: Any) -> None:
    opened: AbstractContextManager[Any] = open_proof()
    with opened as prove:
        for number in range(60):
            prove(number)

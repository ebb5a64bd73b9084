from __future__ import annotations

import itertools

import pytest

from teleread.alliance import PRIORITIES, Priority
from teleread.reading.priority import decide

ALL = list(itertools.product(PRIORITIES, [True, False], [True, False, None]))


@pytest.mark.parametrize(("clinic", "analysed", "acceptable"), ALL)
def test_nothing_ever_lowers_the_clinics_priority(clinic: Priority, analysed: bool, acceptable: bool | None) -> None:
    decision = decide(clinic, analysed=analysed, acceptable=acceptable)
    assert PRIORITIES.index(decision.priority) <= PRIORITIES.index(clinic)


@pytest.mark.parametrize(("clinic", "analysed", "acceptable"), ALL)
def test_what_was_not_analysed_or_not_acceptable_is_at_least_high(
    clinic: Priority, analysed: bool, acceptable: bool | None
) -> None:
    decision = decide(clinic, analysed=analysed, acceptable=acceptable)
    if not analysed or acceptable is False:
        assert decision.priority in ("urgent", "high")
        assert {"not_analysed", "poor_quality"} & set(decision.reasons)


def test_a_routine_recording_of_good_quality_stays_routine() -> None:
    assert decide("routine", analysed=True, acceptable=True).priority == "routine"

"""Promises of the record and of derived leads."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from teleread.signal.ecg import STANDARD_LEADS, EcgRecord, simulate, standard_lead_name, with_derived_leads


def eight() -> EcgRecord:
    record, _ = simulate("normal", 1)
    keep = [i for i, lead in enumerate(STANDARD_LEADS) if lead not in ("III", "aVR", "aVL", "aVF")]
    return replace(record, signals_mv=record.signals_mv[keep], leads=tuple(STANDARD_LEADS[i] for i in keep))


def test_four_leads_follow_from_eight_and_are_marked() -> None:
    full = with_derived_leads(eight())
    assert full.leads == STANDARD_LEADS
    assert full.derived_leads == ("III", "aVR", "aVL", "aVF")
    assert np.allclose(full.signals_mv, simulate("normal", 1)[0].signals_mv)


def test_a_stored_lead_is_never_replaced() -> None:
    record, _ = simulate("normal", 1)
    record.signals_mv[2] = 42.0
    assert with_derived_leads(record) is record


@pytest.mark.parametrize("absent", ["I", "II", "III"])
def test_any_one_of_the_limb_leads_follows_from_the_other_two(absent: str) -> None:
    record, _ = simulate("normal", 1)
    keep = [i for i, lead in enumerate(STANDARD_LEADS) if lead not in (absent, "aVR", "aVL", "aVF")]
    full = with_derived_leads(
        replace(record, signals_mv=record.signals_mv[keep], leads=tuple(STANDARD_LEADS[i] for i in keep))
    )
    assert full.derived_leads == (absent, "aVR", "aVL", "aVF")
    assert np.allclose(full.signals_mv, record.signals_mv)


def test_leads_that_do_not_follow_are_not_invented() -> None:
    record = eight()
    two = replace(record, signals_mv=record.signals_mv[:2], leads=("I", "II"))
    assert with_derived_leads(two) is two


@pytest.mark.parametrize(
    ("name", "standard"),
    [("AVR", "aVR"), ("avf", "aVF"), ("Lead II", "II"), ("v3", "V3"), (" I ", "I"), ("MDC_ECG_LEAD_V1", "V1"),
     ("MLII", "MLII"), ("RESP", "RESP"), ("", "")],
)  # fmt: skip
def test_names_become_the_standard_ones_only_where_they_mean_them(name: str, standard: str) -> None:
    assert standard_lead_name(name) == standard


def test_a_record_that_contradicts_itself_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="row"):
        EcgRecord(np.zeros((2, 10)), ("I",), 500.0)
    with pytest.raises(ValueError, match="rate"):
        EcgRecord(np.zeros((1, 10)), ("I",), 0.0)
    with pytest.raises(ValueError, match="aware"):
        EcgRecord(np.zeros((1, 10)), ("I",), 500.0, acquired_at=datetime(2026, 1, 1))

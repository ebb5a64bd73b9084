"""Dates moved for export: intervals stay, days go, nothing else is let through."""

from __future__ import annotations

from datetime import datetime

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from teleread.errors import Misconfigured
from teleread.signal.anonymise import Policy, anonymise

KEY = b"k" * 32


def study(date: str, **more: str) -> Dataset:
    made = Dataset()
    made.SOPInstanceUID = generate_uid()
    made.PatientID = "A1"
    made.StudyDate = date
    made.StudyTime = "101530.25"
    made.AcquisitionDateTime = f"{date}101500+0800"
    for keyword, value in more.items():
        setattr(made, keyword, value)
    made.set_original_encoding(False, True, "utf-8")
    return made


def moved(dataset: Dataset, days: int | None) -> Dataset:
    return anonymise(dataset, Policy(uid_key=KEY, pseudonym="X1", shift_days=days))[0]


@pytest.mark.parametrize("days", [-365, -1, 17, 400])
def test_intervals_between_the_studies_of_a_patient_stay(days: int) -> None:
    first, second = moved(study("20240228"), days), moved(study("20240301"), days)
    then = [datetime.strptime(str(one.StudyDate), "%Y%m%d") for one in (first, second)]
    assert (then[1] - then[0]).days == 2
    assert (then[0] - datetime(2024, 2, 28)).days == days
    assert str(first.AcquisitionDateTime)[:8] == str(first.StudyDate)
    assert str(first.AcquisitionDateTime)[8:] == "101500+0800"
    assert str(first.StudyTime) == "101530.25"


def test_the_original_day_is_nowhere_in_the_copy() -> None:
    copy = moved(study("20240228", SeriesDate="20240228", PerformedProcedureStepStartDate="20240228"), -30)
    assert "20240228" not in str(copy)


def test_birth_dates_and_appointments_go_as_without_the_option() -> None:
    copy = moved(study("20240228", PatientBirthDate="19500101", ScheduledProcedureStepStartDate="20240227"), -30)
    assert not copy.get("PatientBirthDate")
    assert "ScheduledProcedureStepStartDate" not in copy


@pytest.mark.parametrize("value", ["2024", "20241350", "ZHANG SAN", "20240228X", "99990101", "００２４０２２８"])
def test_what_is_no_date_is_treated_as_without_the_option(value: str) -> None:
    dataset = study("20240228")
    dataset["StudyDate"]._value = value
    copy = moved(dataset, 365)
    assert value not in str(copy)
    assert not copy.get("StudyDate")


def test_the_copy_says_what_was_done() -> None:
    codes = [item.CodeValue for item in moved(study("20240228"), 5).DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107"]
    assert moved(study("20240228"), 5).LongitudinalTemporalInformationModified == "MODIFIED"
    plain = moved(study("20240228"), None)
    assert [item.CodeValue for item in plain.DeidentificationMethodCodeSequence] == ["113100"]
    assert plain.LongitudinalTemporalInformationModified == "REMOVED"
    assert not plain.StudyDate


@pytest.mark.parametrize("days", [0, 4000, -4000])
def test_a_shift_that_hides_nothing_or_leaves_the_calendar_is_refused(days: int) -> None:
    with pytest.raises(Misconfigured) as refused:
        Policy(uid_key=KEY, pseudonym="X1", shift_days=days)
    assert refused.value.code == "bad_date_shift"

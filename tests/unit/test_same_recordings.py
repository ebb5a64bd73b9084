"""One recording in several encodings is found by its samples and read once; nothing else ever is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from teleread.ingest.formats import write_wfdb
from teleread.pipeline import same_recordings
from teleread.pipeline.deletion_rows import delete_study, studies_of
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import queue_unseen
from teleread.pipeline.verdict import verdict
from teleread.reading import questions
from teleread.reading.worklist import list_items
from teleread.signal.ecg import EcgRecord, simulate
from teleread.signal.ecg.fingerprint import Tracing, fingerprint, may_be_same, same_recording
from teleread.signal.ecg.record import CALIBRATION_PULSE, INDEPENDENT_LEADS, Annotation, with_derived_leads
from teleread.storage.catalogue import schema
from tests.conftest import Clock
from tests.signing import sign_report

AT = datetime(2026, 11, 1, 1, 0, tzinfo=UTC)
PATIENT = "Name: 张三\nPatientID: 1001"


def recording(seed: int = 1, **changes: Any) -> EcgRecord:
    return replace(simulate("normal", seed)[0], acquired_at=AT, **changes)


def rounded(record: EcgRecord, step_uv: float) -> EcgRecord:
    return replace(record, signals_mv=np.rint(record.signals_mv * 1000 / step_uv) * step_uv / 1000)


def eight(record: EcgRecord) -> EcgRecord:
    rows = [record.leads.index(lead) for lead in INDEPENDENT_LEADS]
    return with_derived_leads(replace(record, signals_mv=record.signals_mv[rows], leads=INDEPENDENT_LEADS))


def cut(record: EcgRecord, start: int, end: int) -> EcgRecord:
    return replace(record, signals_mv=record.signals_mv[:, start : record.signals_mv.shape[1] - end])


def with_pulse(record: EcgRecord, *, marked: bool = True) -> EcgRecord:
    signals = record.signals_mv.copy()
    n = signals.shape[1]
    signals[:, n - 150 : n - 50] = 1.0
    pulse = (Annotation(CALIBRATION_PULSE, n - 150, n - 50),) if marked else ()
    return replace(record, signals_mv=signals, annotations=pulse)


def tracing(record: EcgRecord) -> Tracing:
    about = fingerprint(record)
    assert about is not None
    return Tracing(about, record.leads, record.signals_mv * 1000)


def same(one: EcgRecord, other: EcgRecord) -> bool:
    return same_recording(tracing(one), tracing(other))


@pytest.mark.parametrize("seed", range(4))
def test_another_scale_length_lead_set_or_pulse_is_the_same_recording(seed: int) -> None:
    record = recording(seed)
    for step in (1.0, 2.5, 4.88, 5.0, 10.0):
        assert same(record, rounded(record, step))
        assert same(rounded(record, step), record)
        assert same(rounded(record, 4.88), rounded(record, step))
    assert same(record, eight(rounded(record, 4.88)))
    assert same(eight(rounded(record, 4.88)), record)
    for start, end in ((1, 0), (0, 2), (2, 0), (1, 1)):
        assert same(record, cut(record, start, end))
        assert same(cut(record, start, end), record)
    pulse = with_pulse(record)
    assert same(pulse, with_pulse(record, marked=False))
    assert same(record, pulse)
    assert same(pulse, cut(record, 0, 150))
    assert same(cut(record, 0, 150), pulse)


def test_a_broken_twin_is_another_recording() -> None:
    record = recording(1)
    twin = record.signals_mv.copy()
    twin[1, 2000:2010] += 0.030  # a notch of 30 µV in one lead
    assert not same(record, replace(record, signals_mv=twin))
    assert not same(record, recording(2))
    assert not same(record, replace(record, fs_hz=250.0))
    assert not same(record, cut(record, 3, 0))
    assert not same(record, cut(record, 0, 3))
    assert not same(record, replace(record, signals_mv=record.signals_mv[::-1]))
    assert not same(record, replace(record, signals_mv=-record.signals_mv))


def test_what_brings_more_than_the_earlier_one_is_read() -> None:
    record = recording(1)
    few = replace(record, signals_mv=record.signals_mv[:2], leads=record.leads[:2])
    assert same(record, few)
    assert not same(few, record)


def test_silence_is_no_recording_that_could_come_again() -> None:
    record = recording(1)
    assert fingerprint(replace(record, signals_mv=np.zeros_like(record.signals_mv))) is None
    assert fingerprint(replace(record, signals_mv=np.full_like(record.signals_mv, np.nan))) is None
    noise = np.random.default_rng(1).normal(0, 0.004, record.signals_mv.shape)
    assert fingerprint(replace(record, signals_mv=noise)) is None
    assert fingerprint(cut(record, 0, record.signals_mv.shape[1] - 100)) is None


def test_the_search_never_misses_what_the_comparison_finds() -> None:
    record = recording(3)
    for other in (rounded(record, 10.0), eight(rounded(record, 4.88)), cut(record, 1, 1), with_pulse(record)):
        one, two = fingerprint(record), fingerprint(other)
        assert one is not None
        assert two is not None
        assert may_be_same(one, two)


# -- the whole system ---------------------------------------------------------------------------------------------


def files(record: EcgRecord, name: str = "rec", patient: str = PATIENT) -> dict[str, bytes]:
    made = dict(write_wfdb(record, name))
    comments = "".join(f"# {line}\n" for line in patient.splitlines())
    return made | {f"{name}.hea": made[f"{name}.hea"] + comments.encode()}


def take(services: Services, sent: Mapping[str, bytes], *, priority: Any = "routine", site: str = "village") -> str:
    landed = land(services, site_id=site, source="web", files=sent, clinic_priority=priority, actor="test")
    assert prepare(services, landed.arrival_id) == "prepared"
    enqueue(services, landed.arrival_id)
    return landed.arrival_id


def cases(services: Services) -> dict[str, str | None]:
    with services.catalogue.read() as conn:
        rows = conn.execute(select(schema.arrivals.c.id, schema.arrivals.c.case_id))
        return {row.id: row.case_id for row in rows}


def told(services: Services, arrival_id: str, site: str = "village") -> Any:
    with services.catalogue.read() as conn:
        receipt = conn.scalar(select(schema.arrivals.c.receipt).where(schema.arrivals.c.id == arrival_id))
    return verdict(services, receipt=str(receipt), site_id=site)


def asked(services: Services) -> list[str]:
    with services.catalogue.read() as conn:
        return [one.code for one in questions.open_questions(conn)]


def test_it_is_read_once_and_the_later_receipt_shows_the_earlier_case_and_report(services: Services) -> None:
    first = take(services, files(recording()))
    second = take(services, files(eight(rounded(recording(), 4.88)), "other"))
    assert cases(services) == {first: first, second: first}
    with services.catalogue.read() as conn:
        assert [item.arrival_id for item in list_items(conn)] == [first]
    assert asked(services) == []
    later = told(services, second)
    assert later.case_id == first
    assert later.position == 1
    assert later.same_as == told(services, first).receipt
    assert told(services, first).same_as is None
    with services.catalogue.write() as conn:
        sign_report(conn, first, text="Sinus.", critical=False, signed_by="r", channel="web", at=services.clock())
    from teleread.pipeline.sweep import sweep_web

    sweep_web(services)
    assert told(services, second).report.text.startswith("Sinus.\n")


def test_every_step_again_changes_nothing(services: Services) -> None:
    first = take(services, files(recording()))
    second = take(services, files(rounded(recording(), 5.0), "other"))
    before = cases(services)
    for one in (second, first, second):
        prepare(services, one)
        enqueue(services, one)
    assert cases(services) == before
    with services.catalogue.read() as conn:
        assert len(list_items(conn)) == 1


def test_a_later_one_that_is_more_urgent_raises_the_case(services: Services) -> None:
    take(services, files(recording()))
    take(services, files(rounded(recording(), 5.0), "other"), priority="urgent")
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
    assert (item.priority, item.reasons) == ("urgent", ("clinic",))


def test_one_that_was_queued_unread_joins_the_case_when_it_is_read(services: Services, clock: Clock) -> None:
    first = take(services, files(recording()))
    late = land(
        services,
        site_id="village",
        source="web",
        files=files(rounded(recording(), 5.0), "other"),
        clinic_priority="high",
        actor="test",
    )
    clock.advance(60)
    assert queue_unseen(services) == 1
    assert prepare(services, late.arrival_id) == "prepared"
    assert enqueue(services, late.arrival_id) == first
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
    assert (item.case_id, item.priority) == (first, "high")


def test_another_time_is_another_recording(services: Services) -> None:
    take(services, files(recording()))
    take(services, files(replace(rounded(recording(), 5.0), acquired_at=AT + timedelta(minutes=2)), "other"))
    with services.catalogue.read() as conn:
        assert len(list_items(conn)) == 2


def test_patient_and_time_alone_never_suffice(services: Services) -> None:
    take(services, files(recording(1)))
    take(services, files(recording(2), "other"))
    with services.catalogue.read() as conn:
        assert len(list_items(conn)) == 2
    assert asked(services) == ["same_id_soon"]


def test_a_time_that_one_file_does_not_say_does_not_contradict(services: Services) -> None:
    first = take(services, files(replace(recording(), acquired_at=None)))
    second = take(services, files(rounded(recording(), 5.0), "other"))
    assert cases(services)[second] == first


def test_under_another_patients_number_both_are_read_and_a_person_is_asked(services: Services) -> None:
    first = take(services, files(recording()))
    second = take(services, files(rounded(recording(), 5.0), "other", "Name: 李四\nPatientID: 2002"))
    assert cases(services) == {first: first, second: second}
    assert asked(services) == ["same_recording"]
    with services.catalogue.read() as conn:
        (question,) = questions.questions_of_case(conn, first)
        assert {question.arrival_id, question.other_arrival_id} == {first, second}
        links = conn.execute(select(schema.same_recordings)).all()
    assert [(one.arrival_id, one.other_arrival_id, bool(one.read_once)) for one in links] == [(second, first, False)]


def test_from_another_site_both_are_read_and_linked(services: Services) -> None:
    first = take(services, files(recording()))
    second = take(services, files(rounded(recording(), 5.0), "other"), site="other")
    assert cases(services) == {first: first, second: second}
    with services.catalogue.read() as conn:
        assert conn.execute(select(schema.same_recordings)).one().read_once is False


def test_where_nobody_is_named_nobody_is_asked(services: Services) -> None:
    take(services, files(recording(), patient=""))
    take(services, files(rounded(recording(), 5.0), "other", patient=""))
    assert asked(services) == []
    with services.catalogue.read() as conn:
        assert len(conn.execute(select(schema.same_recordings)).all()) == 1


def test_what_links_a_deleted_study_goes_with_it(services: Services) -> None:
    take(services, files(recording()))
    take(services, files(rounded(recording(), 5.0), "other"), site="other")
    with services.catalogue.write() as conn:
        pseudonym = conn.scalar(select(schema.studies.c.patient_pseudonym).limit(1))
        (study,) = studies_of(conn, str(pseudonym))
        delete_study(conn, study)
        assert conn.execute(select(schema.same_recordings)).all() == []
        assert len(conn.execute(select(schema.fingerprints)).all()) == 1


def test_a_comparison_by_time_alone_would_be_caught(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same_recordings, "may_be_same", lambda *_: True)
    monkeypatch.setattr(same_recordings, "same_recording", lambda *_: True)
    with pytest.raises(AssertionError):
        test_patient_and_time_alone_never_suffice(services)

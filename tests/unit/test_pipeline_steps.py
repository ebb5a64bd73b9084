"""The four steps on real input: each may run twice, and nothing that arrived is ever lost from view."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from sqlalchemy import MetaData, select, update

from teleread.errors import InputRejected, StorageError
from teleread.ingest.formats import write_wfdb
from teleread.pipeline.batches import plan_batches, prepare_batch, retry_quarantined
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.give_back import give_back
from teleread.pipeline.land import Landed, land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import queue_unseen, sweep_all, sweep_web
from teleread.pipeline.verdict import verdict
from teleread.reading.worklist import get_case, list_items
from teleread.signal.ecg import simulate
from teleread.storage.catalogue import schema
from tests.conftest import Clock
from tests.signing import sign_report

BROKEN = b"\0" * 128 + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xff\xff"


def sample(name: str) -> bytes:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def simulated(condition: str = "normal", seed: int = 1) -> dict[str, bytes]:
    record, _truth = simulate(condition, seed)
    return write_wfdb(record, "rec")


def arrive(services: Services, files: dict[str, bytes], site: str = "village", **more: Any) -> Landed:
    return land(
        services,
        site_id=site,
        source=more.get("source", "web"),
        files=files,
        clinic_priority=more.get("priority", "routine"),
        actor="test",
    )


def everything(services: Services) -> dict[str, Any]:
    """All rows but the audit's, and all object keys."""
    with services.catalogue.read() as conn:
        found = MetaData()
        found.reflect(conn)
        rows = {
            name: sorted(map(str, conn.execute(select(table)).all()))
            for name, table in found.tables.items()
            if name not in {"audit_events", "site_status"}
        }
    return {**rows, "keys": [info.key for info in services.store.list()]}


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm", "waveform_ecg.dcm"])
def test_a_real_study_reaches_the_worklist_with_its_pseudonym_and_derived_objects(
    services: Services, name: str
) -> None:
    landed = arrive(services, {name: sample(name)})
    assert prepare(services, landed.arrival_id) == "prepared"
    case_id = enqueue(services, landed.arrival_id)
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
        derived = {row.name for row in conn.execute(select(schema.derived))}
    assert item.case_id == case_id
    assert item.analysed
    assert item.patient_pseudonym is not None
    wanted = {"analysis.json", "display.json", "wave.i16"} if name == "waveform_ecg.dcm" else {"thumbnail.png"}
    assert derived == wanted | {"pseudonymised.dcm"}
    joined = services.vault.join(
        [item.patient_pseudonym], who="reader", why="test", case_ids=[case_id], at=services.clock()
    )
    assert joined[item.patient_pseudonym].issuer == "village"


def test_every_step_twice_changes_nothing(services: Services) -> None:
    inputs = [
        {"a": sample("CT_small.dcm")},
        {"a": sample("MR_small.dcm")},
        {"a": sample("waveform_ecg.dcm")},
        {"a": BROKEN},
        simulated(),
        simulated("lead_off", 2),
    ]
    states = []
    for _ in range(2):
        for files in inputs:
            landed = arrive(services, files)
            prepare(services, landed.arrival_id)
            enqueue(services, landed.arrival_id)
        states.append(everything(services))
    assert states[0] == states[1]
    assert len(states[0]["work_items"]) == len(inputs)


def test_the_same_bytes_give_the_same_receipt_and_another_site_does_not_notice(services: Services) -> None:
    files = simulated()
    first, again = arrive(services, files), arrive(services, files)
    elsewhere = arrive(services, files, site="other")
    assert (first.new, again.new, elsewhere.new) == (True, False, True)
    assert first.receipt == again.receipt != elsewhere.receipt
    assert verdict(services, receipt=first.receipt, site_id="other") is None


def test_sent_again_as_urgent_the_case_rises_and_never_falls(services: Services) -> None:
    files = simulated()
    landed = arrive(services, files)
    prepare(services, landed.arrival_id)
    case_id = enqueue(services, landed.arrival_id)
    for priority in ("urgent", "routine"):
        arrive(services, files, priority=priority)
        enqueue(services, landed.arrival_id)
        with services.catalogue.read() as conn:
            case = get_case(conn, case_id)
        assert case is not None
        assert (case.item.priority, case.item.reasons) == ("urgent", ("clinic",))


def test_what_cannot_be_parsed_reaches_a_person_with_its_reason_and_bytes(services: Services) -> None:
    landed = arrive(services, {"broken.dcm": BROKEN})
    assert prepare(services, landed.arrival_id) == "quarantined"
    case_id = enqueue(services, landed.arrival_id)
    with services.catalogue.read() as conn:
        case = get_case(conn, case_id)
    assert case is not None
    assert case.failure is not None
    assert (case.item.priority, case.item.analysed) == ("high", False)
    assert services.store.get(f"raw/sha256/{landed.sha256[:2]}/{landed.sha256[2:4]}/{landed.sha256}") == BROKEN
    told = verdict(services, receipt=landed.receipt, site_id="village")
    assert told is not None
    assert (told.state, told.failure_code) == ("quarantined", case.failure[0])


def test_one_bad_study_does_not_stop_its_batch(services: Services, clock: Clock) -> None:
    good = [arrive(services, simulated(seed=seed)) for seed in (1, 2)]
    arrive(services, {"x": BROKEN})
    clock.advance(30)
    (batch,) = plan_batches(services)
    outcome = prepare_batch(services, batch)
    assert (outcome.prepared, outcome.quarantined, outcome.failed) == (2, 1, 0)
    assert plan_batches(services) == []
    assert {landed.arrival_id for landed in good} < set(batch)


def test_urgent_arrivals_are_planned_first(services: Services, clock: Clock) -> None:
    routine = arrive(services, simulated(seed=1))
    clock.advance(1)
    urgent = arrive(services, simulated(seed=2), priority="urgent")
    clock.advance(30)
    assert plan_batches(services) == [[urgent.arrival_id, routine.arrival_id]]


def test_a_retried_quarantine_keeps_its_case_and_its_priority(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed = arrive(services, simulated())
    monkeypatch.setattr(services.pool, "run", _reject)
    assert prepare(services, landed.arrival_id) == "quarantined"
    case_id = enqueue(services, landed.arrival_id)
    monkeypatch.undo()
    assert retry_quarantined(services, landed.arrival_id, "test") == "prepared"
    with services.catalogue.read() as conn:
        case = get_case(conn, case_id)
    assert case is not None
    assert (case.item.analysed, case.item.priority, case.failure) == (True, "high", None)
    assert "not_analysed" not in case.item.reasons


def test_images_of_one_study_are_one_case_even_after_a_failure(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = arrive(services, {"a": sample("MR_small.dcm")})
    second = arrive(services, {"a": sample("MR_small_RLE.dcm")})
    prepare(services, first.arrival_id)
    enqueue(services, first.arrival_id)
    monkeypatch.setattr(services.pool, "run", _reject)
    prepare(services, second.arrival_id)
    enqueue(services, second.arrival_id)
    with services.catalogue.read() as conn:
        assert len(list_items(conn)) == 2
    monkeypatch.undo()
    retry_quarantined(services, second.arrival_id, "test")
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
        conflicts = conn.execute(select(schema.conflicts)).all()
        case = get_case(conn, item.case_id)
    assert case is not None
    # the same instance UID with other bytes: both kept, and said
    assert len(case.instances) == 2
    assert [row.arrival_id for row in conflicts] == [second.arrival_id]


def test_an_ecg_that_nobody_prepares_is_seen_within_a_minute(services: Services, clock: Clock) -> None:
    landed = arrive(services, simulated(), site="township", source="folder")
    assert queue_unseen(services) == 0
    clock.advance(50)
    assert queue_unseen(services) == 1
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
    assert (item.arrival_id, item.analysed, item.priority) == (landed.arrival_id, False, "high")


def test_an_upload_left_by_a_dead_process_is_prepared_without_airflow(services: Services, clock: Clock) -> None:
    arrive(services, simulated())
    clock.advance(25)
    sweep_web(services)
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
    assert item.analysed


def test_the_durable_lane_sweeps_every_way_in(services: Services, clock: Clock) -> None:
    arrive(services, simulated(), site="township", source="folder")
    clock.advance(25)
    assert sweep_all(services)["prepared"] == 1
    assert sweep_all(services)["prepared"] == 0


def test_a_storage_failure_leaves_the_arrival_landed_for_the_next_run(
    services: Services, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    landed = arrive(services, simulated())
    monkeypatch.setattr(services.store, "put", _full)
    with pytest.raises(StorageError, match="1 of 1"):
        prepare_batch(services, [landed.arrival_id])
    monkeypatch.undo()
    clock.advance(30)
    assert prepare_batch(services, plan_batches(services)[0]).prepared == 1


def test_an_empty_upload_is_refused(services: Services) -> None:
    with pytest.raises(InputRejected) as caught:
        arrive(services, {"x": b""})
    assert caught.value.code == "empty_upload"


def test_the_derived_bytes_do_not_name_the_patient(services: Services) -> None:
    landed = arrive(services, {"a": sample("waveform_ecg.dcm")})
    prepare(services, landed.arrival_id)
    with services.catalogue.read() as conn:
        keys = [row.object_key for row in conn.execute(select(schema.derived))]
        dump = json.dumps([[str(cell) for cell in row] for t in schema.metadata.sorted_tables
                           for row in conn.execute(select(t))])  # fmt: skip
    blobs = [services.store.get(key) for key in keys]
    for secret in ("642341", "19710123"):  # the file's patient id and birth date
        assert secret in sample("waveform_ecg.dcm").decode("latin-1")
        assert secret not in dump
        assert not any(secret.encode() in blob for blob in blobs)


def test_a_slower_process_that_fails_does_not_undo_what_a_faster_one_prepared(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed = arrive(services, simulated())
    run = services.pool.run

    def overtaken(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(services.pool, "run", run)
        assert prepare(services, landed.arrival_id) == "prepared"
        raise InputRejected("analysis_timeout", "It took too long.")

    monkeypatch.setattr(services.pool, "run", overtaken)
    assert prepare(services, landed.arrival_id) == "prepared"
    with services.catalogue.read() as conn:
        assert conn.execute(select(schema.quarantine)).all() == []


def test_a_failure_of_another_process_does_not_stand_against_what_was_read(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed = arrive(services, simulated())
    run = services.pool.run

    def overtaken(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(services.pool, "run", _reject)
        assert prepare(services, landed.arrival_id) == "quarantined"
        monkeypatch.setattr(services.pool, "run", run)
        return run(*args, **more)

    monkeypatch.setattr(services.pool, "run", overtaken)
    assert prepare(services, landed.arrival_id) == "prepared"
    enqueue(services, landed.arrival_id)
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
        assert [row.resolved_at is None for row in conn.execute(select(schema.quarantine))] == [False]
    assert item.analysed


def test_what_comes_after_the_report_is_waiting_again(services: Services) -> None:
    first = arrive(services, {"a": sample("MR_small.dcm")})
    prepare(services, first.arrival_id)
    case_id = enqueue(services, first.arrival_id)
    with services.catalogue.write() as conn:
        sign_report(conn, case_id, text="done", critical=False, signed_by="reader", channel="web", at=services.clock())
    enqueue(services, first.arrival_id)
    with services.catalogue.read() as conn:
        assert list_items(conn) == []  # the same again is no news
    late = arrive(services, {"a": sample("MR_small_RLE.dcm")}, priority="urgent")
    prepare(services, late.arrival_id)
    for _ in range(2):
        assert enqueue(services, late.arrival_id) == case_id
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
    assert (item.case_id, item.priority) == (case_id, "urgent")


def test_a_report_is_found_under_the_receipt_also_after_a_retry_moved_the_case(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed = arrive(services, {"a": sample("CT_small.dcm")})
    monkeypatch.setattr(services.pool, "run", _reject)
    prepare(services, landed.arrival_id)
    case_id = enqueue(services, landed.arrival_id)
    monkeypatch.undo()
    with services.catalogue.write() as conn:
        report = sign_report(
            conn, case_id, text="bleeding", critical=True, signed_by="reader", channel="web", at=services.clock()
        )
    give_back(services, report.id)
    retry_quarantined(services, landed.arrival_id, "test")
    told = verdict(services, receipt=landed.receipt, site_id="village")
    assert told is not None
    assert told.report is not None
    assert told.report.critical


@pytest.mark.parametrize("name", ["rec?.dat", ".rec.dat", "心电　图.dat", "REC.HEA", "a/b\\c.dat", "\ud800.dat"])
def test_no_file_name_is_a_reason_to_refuse_an_urgent_recording(services: Services, name: str) -> None:
    files = simulated()
    landed = arrive(services, {"rec.hea": files["rec.hea"], name: files["rec.dat"]}, priority="urgent")
    prepare(services, landed.arrival_id)
    enqueue(services, landed.arrival_id)
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
    assert item.priority == "urgent"


def test_a_stored_age_is_the_files_own(services: Services) -> None:
    record, _truth = simulate("normal", 1)
    landed = arrive(services, write_wfdb(dataclasses.replace(record, age_years=54.0), "rec"))
    prepare(services, landed.arrival_id)
    with services.catalogue.read() as conn:
        assert conn.execute(select(schema.studies.c.patient_age_years)).scalar_one() == 54.0


def test_bytes_that_rot_in_the_store_are_in_view(services: Services, tmp_path: Path) -> None:
    landed = arrive(services, {"a": sample("CT_small.dcm")}, priority="urgent")
    services.store.delete(f"raw/sha256/{landed.sha256[:2]}/{landed.sha256[2:4]}/{landed.sha256}")
    assert prepare(services, landed.arrival_id) == "quarantined"
    enqueue(services, landed.arrival_id)
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
    assert (item.priority, item.analysed) == ("urgent", False)


def test_an_arrival_that_is_raised_while_it_is_being_queued_is_queued_as_urgent(services: Services) -> None:
    landed = arrive(services, simulated())
    prepare(services, landed.arrival_id)
    queuing = threading.Thread(target=enqueue, args=(services, landed.arrival_id))
    with services.catalogue.write() as conn:
        this = schema.arrivals.c.id == landed.arrival_id
        conn.execute(update(schema.arrivals).where(this).values(clinic_priority="urgent"))
        queuing.start()
        queuing.join(0.3)  # it must wait for us: it reads what we are about to change
        assert queuing.is_alive()
    queuing.join(30)
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
    assert item.priority == "urgent"


def test_findings_of_an_older_version_stay_in_view(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    landed = arrive(services, simulated("ra_la_swap", 4))
    prepare(services, landed.arrival_id)
    before = verdict(services, receipt=landed.receipt, site_id="village")
    monkeypatch.setattr("teleread.pipeline.prepare.PIPELINE_VERSION", "2")
    after = verdict(services, receipt=landed.receipt, site_id="village")
    assert before is not None
    assert before.findings
    assert after == before


def _reject(*_args: object, **_more: object) -> None:
    raise InputRejected("worker_crashed", "The parser crashed.")


def _full(*_args: object, **_more: object) -> None:
    raise StorageError("store_full", "The disk is full.")


def test_a_header_that_no_database_takes_is_in_view_all_the_same(services: Services) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("MR_small.dcm")))
    dataset.Modality = "M" * 16
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these values are wrong is the point
        dataset.InstanceNumber = "999999999999"
        dataset.BodyPartExamined = "B\0DY" * 16
        dataset.save_as(out)
    landed = arrive(services, {"a": out.getvalue()})
    prepare(services, landed.arrival_id)
    enqueue(services, landed.arrival_id)
    with services.catalogue.read() as conn:
        assert len(list_items(conn)) == 1

"""Whose records were deleted is gone for good, and nobody else's are touched."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from teleread.errors import Conflict, InputRejected, StorageError
from teleread.pipeline import certificates, deletion, deletion_rows
from teleread.pipeline.deletion import begin, refuse_deleted, resume, run
from teleread.pipeline.intake_keys import retire_intake_keys
from teleread.pipeline.keeping import amend_encounter, lift_hold, place_hold, record_encounter, withdraw_encounter
from teleread.pipeline.orphans import sweep_orphans
from teleread.pipeline.prepare import prepare
from teleread.pipeline.reconcile import reconcile
from teleread.pipeline.restored import store_ring
from teleread.pipeline.scrub import scrub
from teleread.pipeline.services import Services
from teleread.reading import clinic, persons
from teleread.reading.symptoms import Form
from teleread.storage.catalogue import schema
from teleread.storage.objects.raw import raw_key
from teleread.storage.vault import recovery
from tests.conftest import Clock
from tests.unit.deleting import LAW, WHO, delete, due, identity, mentions, rows, take_in  # noqa: F401
from tests.unit.test_pipeline_steps import arrive, sample


def test_a_deleted_patient_leaves_rows_bytes_and_name_nowhere(services: Services, due: dict[str, str]) -> None:
    assert identity(services, due["ecg"]) is not None
    identifier = delete(services, due["ecg"])
    assert mentions(services, due["ecg"]) == {"deletions", "audit_events"}
    assert identity(services, due["ecg"]) is None
    with services.catalogue.read() as conn:
        row = conn.execute(select(schema.deletions)).one()
    assert row.state == "forgotten"
    kinds = {one["key"].split("/")[0] for one in row.facts["objects"]}
    assert kinds == {"raw", "derived", "arrivals"}
    for one in row.facts["objects"]:
        assert not services.store.exists(one["key"])
    body = certificates.read(services.store.blobs, certificates.certificate_key(identifier, "forgotten"), services.ring)
    assert (body["pseudonym"], body["decided_by"], body["policy"]["id"]) == (due["ecg"], WHO, LAW.id)
    assert body["facts"]["counts"]["studies"] == 1
    assert body["facts"]["basis"] == "unknown"
    # nobody else's records are touched
    report = reconcile(services, repair=False)
    assert report.left == 0, report.found
    assert identity(services, due["one"]) is not None


def clinics_word(services: Services, site: str, text: str) -> None:
    """All that a clinic and a reader leave beside a critical case."""
    with services.catalogue.write() as conn:
        query = select(schema.arrivals.c.id, schema.arrivals.c.case_id).where(schema.arrivals.c.site_id == site)
        for arrival_id, case_id in conn.execute(query).all():
            now = services.clock()
            clinic.save_form(conn, arrival_id, Form(chest_pain="now", consent="no"), text, now)
            clinic.note_opening(conn, case_id, text, now)
            report_id = conn.scalar(select(schema.reports.c.id).where(schema.reports.c.case_id == case_id))
            read = {"report_id": report_id, "site_id": site, "read_by": text, "read_at": now}
            conn.execute(insert(schema.acknowledgements).values(**read))


CLINICS = ("clinic_forms", "case_openings", "acknowledgements")


def test_what_the_clinic_said_of_a_deleted_patient_goes_too_and_nobody_elses(
    services: Services, due: dict[str, str]
) -> None:
    clinics_word(services, "village", "ours")
    clinics_word(services, "other", "theirs")
    before = {name: len(found) for name, found in rows(services).items() if name in CLINICS}
    assert before == dict.fromkeys(CLINICS, 3)
    delete(services, due["one"])
    after = {name: list(found) for name, found in rows(services).items() if name in CLINICS}
    assert {name: len(found) for name, found in after.items()} == dict.fromkeys(CLINICS, 2)
    for name in CLINICS:
        assert sum("theirs" in str(one) for one in after[name]) == 1


@pytest.mark.parametrize("name", CLINICS)
def test_a_deletion_that_forgets_one_of_the_clinics_tables_is_caught(
    services: Services, due: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    clinics_word(services, "village", "ours")
    real = deletion_rows._deleted
    monkeypatch.setattr(
        deletion_rows, "_deleted", lambda conn, order: real(conn, tuple(one for one in order if one[0].name != name))
    )
    try:
        delete(services, due["one"])
    except (StorageError, Conflict):
        return  # the database itself refuses: other rows refer to it
    assert len(rows(services)[name]) == 2


def test_bytes_that_another_site_sent_too_stay_readable_there(services: Services, due: dict[str, str]) -> None:
    identifier = delete(services, due["one"])
    with services.catalogue.read() as conn:
        facts = conn.scalar(select(schema.deletions.c.facts).where(schema.deletions.c.id == identifier))
        left = conn.execute(select(schema.arrivals).where(schema.arrivals.c.site_id == "other")).one()
    assert facts is not None
    assert facts["shared"] == [left.sha256]
    assert services.store.get(left.object_key) == sample("CT_small.dcm")
    delete(services, due["shared"])
    assert not services.store.exists(left.object_key)


def test_bytes_that_another_site_sent_and_nobody_has_prepared_stay_readable(
    services: Services, due: dict[str, str], clock: Clock
) -> None:
    """The patient's entry alone held their key, for the intake key was retired before they came again."""
    retire_every_key(services, clock)
    landed = arrive(services, {"a": sample("waveform_ecg.dcm")}, site="other")
    delete(services, due["ecg"])
    assert services.store.get(raw_key(landed.sha256)) == sample("waveform_ecg.dcm")
    assert prepare(services, landed.arrival_id) == "prepared"


def retire_every_key(services: Services, clock: Clock) -> None:
    services.ring.new_intake()
    for number in range(2):
        clock.advance(8 * 86400)
        retire_intake_keys(services, older_than=timedelta(days=7))
        with services.catalogue.write() as conn:
            made = {"id": f"backup-{number}", "begun_at": clock(), "made_at": clock(), "facts": {}}
            conn.execute(insert(schema.backups).values(**made))
    assert [key.retired_at is None for key in services.ring.intakes()] == [False, True]


def test_only_who_is_due_is_deleted_and_only_by_a_named_person(services: Services, due: dict[str, str]) -> None:
    for who, reason in ((" ", "over"), (WHO, " "), (WHO, "x" * 501)):
        with pytest.raises(InputRejected):
            begin(services, due["one"], LAW, who=who, reason=reason)
    with services.catalogue.write() as conn:
        place_hold(conn, due["one"], who=WHO, reason="dispute", at=services.clock())
    with pytest.raises(Conflict) as refused:
        begin(services, due["one"], LAW, who=WHO, reason="over")
    assert refused.value.code == "not_due"
    assert mentions(services, due["one"]) >= {"studies", "patients"}


def test_nothing_new_is_added_to_whoever_is_being_deleted(services: Services, due: dict[str, str]) -> None:
    (identifier,) = begin(services, due["ecg"], LAW, who=WHO, reason="over")
    with services.catalogue.write() as conn:
        refuse_deleted(conn, due["one"])
        with pytest.raises(StorageError) as refused:
            refuse_deleted(conn, due["ecg"])
        with pytest.raises(Conflict):
            place_hold(conn, due["ecg"], who=WHO, reason="late", at=services.clock())
    assert refused.value.code == "patient_deleted"
    landed = arrive(services, {"a": sample("waveform_ecg.dcm")}, site="other")
    take_in(services, "MR_small.dcm")
    prepare(services, landed.arrival_id)  # another issuer, another patient
    run(services, identifier)


def test_what_is_sent_again_after_a_deletion_is_a_new_arrival_of_a_new_patient(
    services: Services, due: dict[str, str]
) -> None:
    delete(services, due["ecg"])
    arrival, pseudonym = take_in(services, "waveform_ecg.dcm")
    assert pseudonym != due["ecg"]
    assert identity(services, pseudonym) is not None
    with services.catalogue.read() as conn:
        key = conn.scalar(select(schema.arrivals.c.object_key).where(schema.arrivals.c.id == arrival))
    assert services.store.get(str(key)) == sample("waveform_ecg.dcm")
    assert reconcile(services, repair=False).left == 0


def rot_header(services: Services, pseudonym: str) -> str:
    """The raw object of a patient's study, under another header."""
    with services.catalogue.read() as conn:
        query = select(schema.arrivals.c.object_key).join(schema.studies)
        key = str(conn.scalar(query.where(schema.studies.c.patient_pseudonym == pseudonym)))
    blobs = services.store.blobs
    stored = blobs.get(key)
    blobs.delete(key)
    with blobs.draft() as draft:
        draft.write(bytes([stored[0] ^ 1]) + stored[1:])
        draft.publish(key)
    return key


def test_an_object_whose_header_has_rotted_is_deleted_and_named(services: Services, due: dict[str, str]) -> None:
    key = rot_header(services, due["ecg"])
    identifier = delete(services, due["ecg"])
    assert identity(services, due["ecg"]) is None
    assert services.store.blobs.stat(key) is None
    body = certificates.read(services.store.blobs, certificates.certificate_key(identifier, "forgotten"), services.ring)
    assert body["facts"]["rotten"] == [key]
    assert body["facts"]["intake_keys"] == [services.ring.intake()[0].hex()]


def test_a_deletion_that_fails_does_not_stop_the_others(
    services: Services, due: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [begin(services, due[name], LAW, who=WHO, reason="retention over")[0] for name in ("one", "ecg", "shared")]
    real = deletion.run

    def fails_first(services: Services, identifier: str, *, step: Callable[[str], None]) -> str:
        if identifier == min(ids):
            raise StorageError("store_io", "a disk cannot be read")
        return real(services, identifier, step=step)

    monkeypatch.setattr(deletion, "run", fails_first)
    with pytest.raises(StorageError) as failed:
        resume(services)
    assert failed.value.code == "store_io"
    with services.catalogue.read() as conn:
        states = {row.id: row.state for row in conn.execute(select(schema.deletions))}
    assert [states[one] for one in sorted(ids)] == ["begun", "forgotten", "forgotten"]


def test_nothing_that_counts_for_the_person_is_taken_once_the_deletion_has_begun(
    services: Services, due: dict[str, str]
) -> None:
    said: dict[str, Any] = {"who": WHO, "at": services.clock()}
    long_ago = services.clock() - timedelta(days=365 * 60)
    with services.catalogue.write() as conn:
        stay = record_encounter(conn, due["ecg"], "inpatient", long_ago, **said)
    begin(services, due["ecg"], LAW, who=WHO, reason="retention over")
    acts: tuple[Callable[[Connection], object], ...] = (
        lambda conn: place_hold(conn, due["ecg"], reason="dispute", **said),
        lambda conn: record_encounter(conn, due["ecg"], "outpatient", services.clock(), **said),
        lambda conn: amend_encounter(conn, stay, kind="outpatient", ended_at=long_ago, **said),
        lambda conn: withdraw_encounter(conn, stay, **said),
        lambda conn: persons.link(conn, due["one"], due["ecg"], reason="one person", **said),
    )
    for act in acts:
        with pytest.raises(Conflict) as refused, services.catalogue.write() as conn:
            act(conn)
        assert refused.value.code == "being_deleted"


def test_a_name_that_does_not_fit_is_refused(services: Services, due: dict[str, str]) -> None:
    long = "w" * 65
    said: dict[str, Any] = {"who": long, "at": services.clock()}
    acts: tuple[Callable[[], object], ...] = (
        lambda: begin(services, due["ecg"], LAW, who=long, reason="retention over"),
        lambda: written(services, lambda conn: place_hold(conn, due["ecg"], reason="dispute", **said)),
        lambda: written(services, lambda conn: lift_hold(conn, 1, **said)),
        lambda: written(services, lambda conn: record_encounter(conn, due["ecg"], "inpatient", None, **said)),
    )
    for act in acts:
        with pytest.raises(InputRejected) as refused:
            act()
        assert refused.value.code == "name_too_long"


def written(services: Services, act: Callable[[Connection], object]) -> None:
    with services.catalogue.write() as conn:
        act(conn)


def test_sweeper_and_scrub_leave_certificates_and_ring_copies_alone(
    services: Services, due: dict[str, str], clock: Clock
) -> None:
    services.ring.set_recovery(recovery.new_pair()[1])
    store_ring(services)
    delete(services, due["ecg"])
    clock.advance(7200)
    plain = [info.key for info in services.store.blobs.list() if info.key.startswith(("keyring/", "certificates/"))]
    assert len(plain) == 3
    for _ in range(3):
        sweep_orphans(services)
    outcome = scrub(services)
    assert outcome.faults == 0
    assert [key for key in plain if services.store.blobs.stat(key) is None] == []
    assert reconcile(services, repair=True).left == 0

"""Whose records were deleted is gone for good, and nobody else's are touched, wherever the deletion was interrupted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, func, insert, select, text, update

from teleread.errors import Conflict, InputRejected, StorageError
from teleread.pipeline import certificates, deletion, deletion_rows
from teleread.pipeline.deletion import begin, finalise, refuse_deleted, remaining, replay, resume, run
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.intake_keys import retire_intake_keys
from teleread.pipeline.keeping import amend_encounter, lift_hold, place_hold, record_encounter, withdraw_encounter
from teleread.pipeline.orphans import sweep_orphans
from teleread.pipeline.prepare import prepare
from teleread.pipeline.reconcile import reconcile
from teleread.pipeline.restored import catch_up, store_ring
from teleread.pipeline.retention import law
from teleread.pipeline.scrub import scrub
from teleread.pipeline.services import Services
from teleread.reading import clinic, persons
from teleread.reading.symptoms import Form
from teleread.storage.catalogue import schema, sweeping
from teleread.storage.catalogue.database import Database
from teleread.storage.objects.raw import raw_key
from teleread.storage.vault import recovery
from tests.conftest import Clock
from tests.signing import sign_report
from tests.unit.test_pipeline_steps import arrive, sample

LAW = law()
YEARS_31 = 31 * 365.25 * 86400
WHO = "王医生"


class Killed(BaseException):
    """Ends a step as a kill does: nothing catches it."""


def take_in(services: Services, name: str, site: str = "village") -> tuple[str, str]:
    """One study, read and given back; returns its arrival and its patient."""
    landed = arrive(services, {name: sample(name)}, site=site)
    assert prepare(services, landed.arrival_id) == "prepared"
    case = enqueue(services, landed.arrival_id)
    with services.catalogue.write() as conn:
        sign_report(conn, case, text="normal", critical=False, signed_by="reader", channel="web", at=services.clock())
        conn.execute(update(schema.deliveries).values(delivered_at=services.clock()))
        conn.execute(update(schema.identity_questions).values(answered_at=services.clock(), answer="noted"))
        row = conn.execute(
            select(schema.studies.c.patient_pseudonym)
            .join(schema.arrivals, schema.arrivals.c.study_id == schema.studies.c.id)
            .where(schema.arrivals.c.id == landed.arrival_id)
        ).one()
    return landed.arrival_id, str(row.patient_pseudonym)


@pytest.fixture
def due(services: Services, clock: Clock) -> dict[str, str]:
    """Patients by name; all are due. ``shared`` is another site's patient with the same bytes as ``one``."""
    found = {
        "one": take_in(services, "CT_small.dcm")[1],
        "ecg": take_in(services, "waveform_ecg.dcm")[1],
        "shared": take_in(services, "CT_small.dcm", "other")[1],
    }
    clock.advance(YEARS_31)
    return found


def mentions(services: Services, pseudonym: str) -> set[str]:
    """Tables with a row that names the patient."""
    with services.catalogue.read() as conn:
        found = MetaData()
        found.reflect(conn)
        return {
            name
            for name, table in found.tables.items()
            if any(pseudonym in str(row) for row in conn.execute(select(table)))
        }


def state(services: Services) -> dict[str, Any]:
    """What is left, without times and numbers."""
    skip = {"audit_unsealed", "swept_objects"}
    with services.catalogue.read() as conn:
        found = MetaData()
        found.reflect(conn)
        counts = {
            name: conn.scalar(select(func.count()).select_from(table))
            for name, table in found.tables.items()
            if name not in skip
        }
        gone = conn.scalar(select(func.count()).where(schema.swept_objects.c.gone.is_(False)))
        facts = [
            (row.state, row.facts["counts"], [one["key"] for one in row.facts["objects"]], row.facts["shared"])
            for row in conn.execute(select(schema.deletions).order_by(schema.deletions.c.pseudonym))
        ]
    return {
        "counts": counts,
        "condemned": gone,
        "facts": facts,
        "keys": [re.sub("certificates/[0-9a-f]+", "certificates", info.key) for info in services.store.blobs.list()],
    }


def delete(services: Services, pseudonym: str, step: Callable[[str], None] = lambda _: None) -> str:
    (identifier,) = begin(services, pseudonym, LAW, who=WHO, reason="retention over")
    run(services, identifier, step=step)
    return identifier


def rows(services: Services) -> dict[str, list[dict[str, Any]]]:
    """The whole catalogue, by table."""
    with services.catalogue.read() as conn:
        tables = schema.metadata.sorted_tables
        return {table.name: [dict(row._mapping) for row in conn.execute(select(table))] for table in tables}


def put_back(services: Services, old: dict[str, list[dict[str, Any]]]) -> None:
    """As after a restore: the rows are those of before."""
    keep = {"audit_events", "audit_unsealed", "audit_chain", "audit_head", "swept_objects"}
    tables = [table for table in schema.metadata.sorted_tables if table.name not in keep]
    with services.catalogue.write() as conn:
        # a restore makes the tables anew; here what keeps signed reports stands aside
        if services.catalogue.is_sqlite:
            (kept,) = conn.scalars(text("SELECT sql FROM sqlite_master WHERE name = 'reports_stay'"))
            aside = "DROP TRIGGER reports_stay"
        else:
            aside, kept = (f"ALTER TABLE reports {act} TRIGGER reports_stay" for act in ("DISABLE", "ENABLE"))
        conn.execute(text(aside))
        for table in reversed(tables):
            conn.execute(table.delete())
        conn.execute(text(kept))
        for table in tables:
            if old[table.name]:
                conn.execute(insert(table), old[table.name])


def identity(services: Services, pseudonym: str) -> object:
    found = services.vault.join([pseudonym], who="r", why="test", case_ids=["c"], at=services.clock())
    return found.get(pseudonym)


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


def test_a_deletion_killed_at_any_step_ends_the_same(services: Services, due: dict[str, str]) -> None:
    (identifier,) = begin(services, due["ecg"], LAW, who=WHO, reason="over")
    kills = 0
    # each run ends one step later than the one before: every step is killed once, with all before it done or redone
    while True:
        seen = 0

        def step(_name: str, at: int = kills) -> None:
            nonlocal seen
            seen += 1
            if seen > at:
                raise Killed

        try:
            run(services, identifier, step=step)
            break
        except Killed:
            kills += 1
    killed = state(services)
    assert kills > 5
    assert mentions(services, due["ecg"]) == {"deletions", "audit_events"}
    assert identity(services, due["ecg"]) is None
    assert killed["condemned"] == 0
    assert reconcile(services, repair=False).left == 0
    assert resume(services) == {}
    assert run(services, identifier) == "forgotten"
    assert state(services)["facts"] == killed["facts"]


@pytest.mark.parametrize("number", [1, 4, 7, 11])
def test_a_deletion_killed_once_is_finished_by_the_next_round(
    services: Services, due: dict[str, str], number: int
) -> None:
    left = number

    def step(_name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    (identifier,) = begin(services, due["ecg"], LAW, who=WHO, reason="over")
    try:
        run(services, identifier, step=step)
    except Killed:
        assert resume(services) == {identifier: "forgotten"}
    assert mentions(services, due["ecg"]) == {"deletions", "audit_events"}
    assert identity(services, due["ecg"]) is None
    (row,) = state(services)["facts"]
    assert row[0] == "forgotten"
    assert row[1]["studies"] == 1
    assert not [key for key in state(services)["keys"] if key.startswith("derived") and key in row[2]]


def test_a_deletion_that_condemns_after_its_rows_are_gone_is_caught(
    services: Services, due: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: killed between the two, it never finds the objects again."""
    real = deletion._remove_study

    def rows_only(conn: Any, *more: Any) -> None:
        monkeypatch.setattr(deletion.sweeping, "condemn", lambda *_: [])
        real(conn, *more)
        monkeypatch.undo()

    monkeypatch.setattr(deletion, "_remove_study", rows_only)
    (identifier,) = begin(services, due["ecg"], LAW, who=WHO, reason="over")

    def step(name: str) -> None:
        if name == "study_removed":
            raise Killed

    with pytest.raises(Killed):
        run(services, identifier, step=step)
    resume(services)
    raw = [key for key in state(services)["keys"] if key.startswith("raw/")]
    assert len(raw) == 2  # the harness sees what should have gone


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


def test_final_means_that_no_key_is_left_anywhere(services: Services, due: dict[str, str]) -> None:
    ring = services.ring
    ring.set_recovery(recovery.new_pair()[1])
    store_ring(services)
    backup = {"id": "b", "begun_at": services.clock(), "made_at": services.clock(), "facts": {}}
    with services.catalogue.write() as conn:
        conn.execute(insert(schema.backups).values(**backup))
    copies = {info.key: services.store.blobs.get(info.key) for info in services.store.blobs.list()}
    identifier = delete(services, due["ecg"])
    with services.catalogue.read() as conn:
        row = conn.execute(select(schema.deletions).where(schema.deletions.c.id == identifier)).one()
    assert row.facts["backups"] == [{"id": "b", "until": "it is destroyed"}]
    old = ring.intake()[0]
    assert remaining(services, row) == [f"intake key {old.hex()}", "backup b"]
    assert finalise(services) == []
    ring.new_intake()
    ring.retire_intake(old)
    with services.catalogue.write() as conn:
        conn.execute(update(schema.backups).values(facts={"dropped_at": "now"}))
    assert remaining(services, row) == ["an older copy of the key ring in the store"]
    store_ring(services)
    assert finalise(services) == [identifier]
    # a copy of the bytes from before is noise now
    for one in row.facts["objects"]:
        with services.store.blobs.draft() as draft:
            draft.write(copies[one["key"]])
            draft.publish(one["key"])
        with pytest.raises(StorageError) as refused:
            services.store.get(one["key"])
        assert refused.value.code == "object_key_missing"
    body = certificates.read(services.store.blobs, certificates.certificate_key(identifier, "final"), services.ring)
    assert body["stage"] == "final"
    assert finalise(services) == []


def test_certificates_make_an_older_catalogue_delete_again_but_not_what_came_since(
    services: Services, due: dict[str, str], tmp_path: Any
) -> None:
    """As after a restore: the rows are back, and the bytes were landed anew after the deletion."""
    old = rows(services)
    identifier = delete(services, due["ecg"])
    arrival, _ = take_in(services, "waveform_ecg.dcm")
    put_back(services, old)
    assert "studies" in mentions(services, due["ecg"])
    outcome = replay(services)
    assert outcome.deleted == (identifier,)
    assert mentions(services, due["ecg"]) == {"deletions", "audit_events"}
    assert replay(services).deleted == ()
    report = reconcile(services, repair=True)
    assert report.left == 0, report.found
    with services.catalogue.read() as conn:
        row = conn.execute(select(schema.arrivals).where(schema.arrivals.c.id == arrival)).one()
    assert services.store.get(row.object_key) == sample("waveform_ecg.dcm")


def test_a_deletion_that_the_backup_holds_as_begun_leaves_what_came_since(
    services: Services, due: dict[str, str]
) -> None:
    (identifier,) = begin(services, due["ecg"], LAW, who=WHO, reason="retention over")
    old = rows(services)
    run(services, identifier)
    arrival, _ = take_in(services, "waveform_ecg.dcm")
    put_back(services, old)
    assert replay(services).deleted == (identifier,)
    assert mentions(services, due["ecg"]) == {"deletions", "audit_events"}
    assert reconcile(services, repair=True).left == 0
    with services.catalogue.read() as conn:
        row = conn.execute(select(schema.arrivals).where(schema.arrivals.c.id == arrival)).one()
    assert services.store.get(row.object_key) == sample("waveform_ecg.dcm")


def test_what_lands_again_before_a_deletion_may_remove_is_not_removed(
    services: Services, due: dict[str, str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweeper comes first to the end of what the deletion condemned, and then the bytes arrive again."""
    real = sweeping.sole_remover
    landed: list[str] = []

    def late(database: Database) -> AbstractContextManager[bool]:
        monkeypatch.setattr(sweeping, "sole_remover", real)
        clock.advance(600)
        with real(database) as alone:
            assert alone
            assert sweeping.finish_left(services.catalogue, services.store, clock()) > 0
        landed.append(arrive(services, {"a": sample("waveform_ecg.dcm")}).sha256)
        return real(database)

    monkeypatch.setattr(sweeping, "sole_remover", late)
    delete(services, due["ecg"])
    assert services.store.get(raw_key(landed[0])) == sample("waveform_ecg.dcm")


def test_a_forged_certificate_deletes_nothing(services: Services, due: dict[str, str]) -> None:
    identifier = delete(services, due["ecg"])
    key = certificates.certificate_key(identifier, "forgotten")
    body = json.loads(services.store.blobs.get(key))
    body["pseudonym"], body["id"] = due["one"], "f" * 32
    forged = certificates.certificate_key("f" * 32, "forgotten")
    certificates.keep(services.store.blobs, forged, json.dumps(body).encode())
    outcome = replay(services)
    assert (outcome.deleted, outcome.unreadable, outcome.unknown) == ((), (forged,), ("f" * 32,))
    assert identity(services, due["one"]) is not None
    with pytest.raises(StorageError) as refused:
        catch_up(services, {}, actor="ops")
    assert refused.value.code == "certificate_corrupt"


def test_where_a_certificate_has_rotted_the_stage_before_stands_in(services: Services, due: dict[str, str]) -> None:
    old = rows(services)
    identifier = delete(services, due["ecg"])
    rotten = certificates.certificate_key(identifier, "forgotten")
    services.store.blobs.delete(rotten)
    certificates.keep(services.store.blobs, rotten, b"{}")
    put_back(services, old)
    outcome = replay(services)
    assert (outcome.deleted, outcome.unreadable, outcome.unknown) == ((identifier,), (rotten,), ())
    assert mentions(services, due["ecg"]) == {"deletions", "audit_events"}


def test_a_backup_that_was_begun_and_may_have_ended_keeps_a_deletion_from_being_final(
    services: Services, due: dict[str, str], clock: Clock
) -> None:
    with services.catalogue.write() as conn:
        conn.execute(insert(schema.backups).values(id="killed", begun_at=clock(), facts={}))
    clock.advance(60)
    delete(services, due["ecg"])
    with services.catalogue.read() as conn:
        row = conn.execute(select(schema.deletions)).one()
    assert "backup killed" in remaining(services, row)
    assert [one["id"] for one in row.facts["backups"]] == ["killed"]


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


def test_a_key_that_another_patient_s_entry_still_holds_keeps_a_deletion_from_being_final(
    services: Services, due: dict[str, str]
) -> None:
    """As a corrected identity leaves it."""
    with services.catalogue.read() as conn:
        query = select(schema.arrivals.c.sha256).join(schema.studies, schema.studies.c.id == schema.arrivals.c.study_id)
        root = str(conn.scalar(query.where(schema.studies.c.patient_pseudonym == due["ecg"])))
    services.vault.adopt(due["one"], [services.store.data_key(root)], services.clock())
    identifier = delete(services, due["ecg"])
    with services.catalogue.read() as conn:
        row = conn.execute(select(schema.deletions).where(schema.deletions.c.id == identifier)).one()
    assert f"another patient's entry, which holds the key of {root}" in remaining(services, row)

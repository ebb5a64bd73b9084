"""A deletion is final when no key is left anywhere, and certificates make what is restored delete again."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from teleread.errors import StorageError
from teleread.pipeline import certificates
from teleread.pipeline.deletion import begin, finalise, remaining, replay, run
from teleread.pipeline.reconcile import reconcile
from teleread.pipeline.restored import catch_up, store_ring
from teleread.pipeline.services import Services
from teleread.storage.catalogue import schema, sweeping
from teleread.storage.catalogue.database import Database
from teleread.storage.objects.raw import raw_key
from teleread.storage.vault import recovery
from tests.conftest import Clock
from tests.unit.deleting import LAW, WHO, delete, due, identity, mentions, rows, take_in  # noqa: F401
from tests.unit.test_pipeline_steps import arrive, sample


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

"""What is prepared, kept and restored around a correction belongs to the patient who was named last."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from teleread.errors import Conflict, StorageError
from teleread.pipeline import identity_corrections, products
from teleread.pipeline.correction_notes import correction_notes
from teleread.pipeline.give_back import give_back
from teleread.pipeline.identity_corrections import (
    confirm,
    correct,
    disown_left,
    open_correction,
    reopen_lost_corrections,
)
from teleread.pipeline.intake_keys import retire_intake_keys
from teleread.pipeline.key_holders import placeholder, settle_keys
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.products import EXPORT_PROJECT
from teleread.pipeline.reconcile import reconcile
from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals, derived, studies, work_items
from teleread.storage.catalogue.schema import identity_corrections as corrections_table
from teleread.storage.vault import Identity
from tests.conftest import Clock
from tests.ecgs import ecg
from tests.unit.correcting import NAMED, WRONG, arrive, name_of, pseudonym_of, sha256_of, sign


def test_the_former_patient_keeps_neither_the_name_nor_the_keys(services: Services) -> None:
    """Another name under a known number stays beside it, until it turns out to be somebody else's."""
    own = arrive(services, at="20261001100000", name="Wang Wei")
    case_id = arrive(services, seed=1, name="Zhao Min", born="19900506").arrival_id
    assert name_of(services, own.arrival_id) == "Wang Wei"
    open_correction(services, case_id, reason="wrong sticker", who="reader")
    correct(services, case_id, identity=NAMED, who="reader")
    assert name_of(services, own.arrival_id) == "Wang Wei"
    former = pseudonym_of(services, own.arrival_id)
    (identity,) = services.vault.join([former], who="t", why="t", case_ids=["c"], at=services.clock()).values()
    assert (identity.disputed, identity.stated) == ((), ())
    services.vault.forget(former, services.clock(), who="t", reason="asked for")
    root = sha256_of(services, case_id)
    key = services.store.data_key(root)
    assert services.vault.keys.recover(root, key.id) == key.key
    services.vault.forget(pseudonym_of(services, case_id), services.clock(), who="t", reason="asked for")
    assert services.vault.keys.recover(root, key.id) is None


def test_keys_left_with_the_former_patient_would_be_caught(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_corrections, "settle_keys", lambda *_, who: None)
    with pytest.raises(AssertionError):
        test_the_former_patient_keeps_neither_the_name_nor_the_keys(services)


def holders(services: Services, arrival_id: str) -> set[str]:
    root = sha256_of(services, arrival_id)
    return services.vault.holders([root]).get(root, set())


def lose_analysis(services: Services, arrival_id: str) -> None:
    """A derived object rots away, and reconcile has the arrival prepared again."""
    with services.catalogue.read() as conn:
        query = select(derived.c.object_key).where(
            derived.c.arrival_id == arrival_id, derived.c.name == "analysis.json"
        )
        services.store.delete(str(conn.scalar(query)))
    reconcile(services, repair=True)
    with services.catalogue.read() as conn:
        assert conn.scalar(select(arrivals.c.state).where(arrivals.c.id == arrival_id)) == "landed"


def copies_name(services: Services, pseudonym: str, arrival_id: str) -> bool:
    name = services.vault.project_pseudonym(EXPORT_PROJECT, pseudonym).encode()
    with services.catalogue.read() as conn:
        keys = conn.scalars(
            select(derived.c.object_key).where(
                derived.c.arrival_id == arrival_id, derived.c.name.startswith("pseudonymised.")
            )
        ).all()
    assert keys
    return any(name in services.store.get(key) for key in keys)


def test_what_is_prepared_again_after_a_correction_stays_the_right_patients(services: Services) -> None:
    case_id = arrive(services).arrival_id
    wrong = pseudonym_of(services, case_id)
    assert copies_name(services, wrong, case_id)
    open_correction(services, case_id, reason="mix-up", who="reader")
    right = correct(services, case_id, identity=NAMED, who="reader")
    lose_analysis(services, case_id)
    assert prepare(services, case_id) == "prepared"
    assert holders(services, case_id) == {right}
    assert copies_name(services, right, case_id)
    assert not copies_name(services, wrong, case_id)
    assert pseudonym_of(services, case_id) == right
    # corrected once more, nobody but the last one counts
    open_correction(services, case_id, reason="again", who="reader")
    last = correct(services, case_id, identity=Identity("village", "3003", "Sun Li"), who="reader")
    lose_analysis(services, case_id)
    assert prepare(services, case_id) == "prepared"
    assert holders(services, case_id) == {last}
    assert copies_name(services, last, case_id)


def test_a_later_instance_of_a_corrected_study_is_the_right_patients_too(services: Services) -> None:
    case_id = arrive(services, study_seed=7, name="Zhao Min").arrival_id
    wrong = pseudonym_of(services, case_id)
    open_correction(services, case_id, reason="mix-up", who="reader")
    right = correct(services, case_id, identity=NAMED, who="reader")
    later = land(
        services,
        site_id="village",
        source="web",
        files={"a": ecg(patient_id=WRONG, seed=1, study_seed=7, name="Other Name")},
        clinic_priority="routine",
        actor="nurse",
    ).arrival_id
    assert prepare(services, later) == "prepared"
    assert holders(services, later) == {right}
    assert copies_name(services, right, later)
    assert not copies_name(services, wrong, later)


def test_a_correction_while_an_arrival_is_prepared_makes_it_be_prepared_anew(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = arrive(services).arrival_id
    open_correction(services, case_id, reason="mix-up", who="reader")
    lose_analysis(services, case_id)
    honest = products.pseudonymise

    def overtaken(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(products, "pseudonymise", honest)
        correct(services, case_id, identity=NAMED, who="reader")
        return honest(*args, **more)

    monkeypatch.setattr(products, "pseudonymise", overtaken)
    with pytest.raises(StorageError, match="identity_changed"):
        prepare(services, case_id)
    assert prepare(services, case_id) == "prepared"
    assert holders(services, case_id) == {pseudonym_of(services, case_id)}
    assert copies_name(services, pseudonym_of(services, case_id), case_id)


def test_a_correction_that_comes_too_late_leaves_nothing_with_whom_it_named(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = arrive(services).arrival_id
    own = pseudonym_of(services, case_id)
    open_correction(services, case_id, reason="mix-up", who="reader")
    honest = identity_corrections._enroll

    def overtaken(*args: Any) -> Any:
        named = honest(*args)
        confirm(services, case_id, who="another reader")
        return named

    monkeypatch.setattr(identity_corrections, "_enroll", overtaken)
    with pytest.raises(Conflict, match="no_open_correction"):
        correct(services, case_id, identity=NAMED, who="reader")
    assert holders(services, case_id) == {own}


def test_what_the_vault_did_not_let_go_of_is_let_go_of_the_next_day(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = arrive(services).arrival_id
    wrong = pseudonym_of(services, case_id)
    open_correction(services, case_id, reason="mix-up", who="reader")

    def busy(*_args: Any, **_more: Any) -> None:
        raise StorageError("vault_busy", "busy")

    with monkeypatch.context() as failing:
        failing.setattr(services.vault, "disown", busy)
        right = correct(services, case_id, identity=NAMED, who="reader")
    assert holders(services, case_id) == {right, wrong}
    assert disown_left(services) == 1
    assert holders(services, case_id) == {right}
    assert disown_left(services) == 0


def test_what_stood_for_an_arrival_is_forgotten_once_it_names_somebody(services: Services) -> None:
    landed = land(
        services,
        site_id="village",
        source="web",
        files={"a": ecg(patient_id=WRONG)},
        clinic_priority="routine",
        actor="nurse",
    )
    key = services.store.data_key(sha256_of(services, landed.arrival_id))
    nobody = services.vault.enroll(placeholder(landed.arrival_id), services.clock(), data_keys=[key]).pseudonym
    settle_keys(services, [key.root_sha256], who="teleread")
    assert holders(services, landed.arrival_id) == {nobody}  # nobody else holds it yet
    assert prepare(services, landed.arrival_id) == "prepared"
    with services.catalogue.read() as conn:
        whose = conn.scalar(select(studies.c.patient_pseudonym))
    assert holders(services, landed.arrival_id) == {whose}
    assert nobody in services.vault.forgotten()


def forget_corrections(services: Services, case_id: str, wrong: str) -> None:
    """The catalogue as a backup from before the correction holds it."""
    with services.catalogue.write() as conn:
        conn.execute(corrections_table.delete())
        conn.execute(studies.update().values(patient_pseudonym=wrong))
        conn.execute(work_items.update().values(patient_pseudonym=wrong))


def test_a_case_corrected_after_a_backup_is_under_correction_when_that_is_restored(
    services: Services, clock: Clock
) -> None:
    case_id = arrive(services).arrival_id
    wrong = pseudonym_of(services, case_id)
    for named in (NAMED, Identity("village", "3003", "Sun Li")):
        open_correction(services, case_id, reason="mix-up", who="reader")
        correct(services, case_id, identity=named, who="reader")
        clock.advance(60)
    assert reopen_lost_corrections(services) == 0
    reconciled = reconcile(services, repair=True)
    assert not reconciled.left
    forget_corrections(services, case_id, wrong)
    clock.advance(60)
    assert reopen_lost_corrections(services) == 1
    report = sign(services, case_id, channel="folder")
    assert not give_back(services, report.id)
    assert reopen_lost_corrections(services) == 0
    clock.advance(60)
    right = correct(services, case_id, identity=NAMED, who="reader")
    assert reopen_lost_corrections(services) == 0
    assert pseudonym_of(services, case_id) == right


def test_a_note_of_a_correction_names_nobody_and_dies_with_the_patient(services: Services) -> None:
    case_id = arrive(services).arrival_id
    wrong = pseudonym_of(services, case_id)
    open_correction(services, case_id, reason="mix-up", who="reader")
    right = correct(services, case_id, identity=NAMED, who="reader")
    (note,) = correction_notes(services.store)
    assert set(json.loads(services.store.get(note.key))) == {"at", "case_id", "version"}
    header = services.store.header(note.key)
    assert header.root_sha256 == sha256_of(services, case_id)
    # an intake key that is retired gives its key to nobody else
    services.ring.new_intake()
    services.clock.advance(8 * 86400)  # type: ignore[attr-defined]
    retire_intake_keys(services, older_than=timedelta(days=7))
    assert holders(services, case_id) == {right}
    forget_corrections(services, case_id, wrong)
    retire_intake_keys(services, older_than=timedelta(days=7))
    assert holders(services, case_id) <= {right, wrong}

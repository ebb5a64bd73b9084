"""Every derived value can be made again, bit by bit, from its input and its parameters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select, update

from teleread.errors import Conflict, StorageError
from teleread.ingest.formats import write_wfdb
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.reproduce import reproduce
from teleread.pipeline.services import PIPELINE_VERSION, Services
from teleread.sample.studies import shipped
from teleread.signal.ecg import simulate
from teleread.storage.catalogue.schema import derived, objects, recordings


def prepared(services: Services, files: dict[str, bytes]) -> str:
    arrival = land(
        services, site_id="village", source="web", files=files, clinic_priority="routine", actor="nurse"
    ).arrival_id
    assert prepare(services, arrival) == "prepared"
    return arrival


@pytest.fixture
def ecg(services: Services) -> str:
    return prepared(services, write_wfdb(simulate("af", 3)[0], "rec"))


def test_every_derived_value_is_the_same_again(services: Services, ecg: str) -> None:
    results = reproduce(services, ecg)
    assert {one.name for one in results} == {"analysis.json", "display.json", "wave.i16", "pseudonymised.zip"}
    assert {one.outcome for one in results} == {"same"}
    assert all(one.changed == () and one.made_sha256 == one.stored_sha256 for one in results)


def test_an_image_and_its_copy_with_moved_dates_are_the_same_again(services: Services) -> None:
    arrival = prepared(services, {"x": shipped("CT_small.dcm")})
    results = reproduce(services, arrival)
    assert "pseudonymised.dcm" in {one.name for one in results}
    assert {one.outcome for one in results} == {"same"}


def test_one_value_is_named_by_arrival_and_name_by_receipt_or_by_key(services: Services, ecg: str) -> None:
    with services.catalogue.read() as conn:
        key = conn.execute(select(derived.c.object_key).where(derived.c.name == "wave.i16")).scalar_one()
    assert [one.name for one in reproduce(services, f"{ecg}/wave.i16")] == ["wave.i16"]
    assert [one.name for one in reproduce(services, key)] == ["wave.i16"]
    with pytest.raises(Conflict) as nothing:
        reproduce(services, f"{ecg}/no.such")
    assert nothing.value.code == "nothing_derived"


def test_lineage_says_input_code_and_parameters(services: Services, ecg: str) -> None:
    with services.catalogue.read() as conn:
        rows = conn.execute(select(derived).where(derived.c.arrival_id == ecg)).all()
        values = conn.execute(select(recordings).where(recordings.c.arrival_id == ecg)).one()
    assert values.code_version == PIPELINE_VERSION
    for row in rows:
        assert row.code_version == PIPELINE_VERSION
        assert len(row.input_sha256) == 64
        assert {"issuer", "utc_offset_minutes"} <= row.parameters.keys()
        assert {"teleread", "code", "numpy", "scipy"} <= row.made_with.keys()


def test_a_value_that_is_not_what_its_input_gives_is_told(services: Services, ecg: str) -> None:
    """The twin: an analysis that was changed by hand, under a key and a row that look right."""
    forged = json.dumps({"quality": {"findings": []}, "rhythm": "normal"}).encode()
    with services.catalogue.read() as conn:
        row = conn.execute(select(derived).where(derived.c.name == "analysis.json")).one()
    stored = services.store.put(f"derived/9/{ecg}/forged-analysis.json", forged, root=row.input_sha256)
    with services.catalogue.write() as conn:
        new = {"sha256": stored.sha256, "size_bytes": stored.size_bytes, "key": stored.key, "created_at": row.made_at}
        conn.execute(objects.insert().values(**new))
        conn.execute(update(derived).where(derived.c.name == "analysis.json").values(object_key=stored.key))
    outcomes = {one.name: one.outcome for one in reproduce(services, ecg)}
    assert outcomes.pop("analysis.json") == "different"
    assert set(outcomes.values()) == {"same"}


def test_other_parameters_than_the_recorded_ones_are_told(services: Services, ecg: str) -> None:
    """The twin: lineage that names parameters which did not make the value."""
    with services.catalogue.write() as conn:
        wrong = {"issuer": "village", "utc_offset_minutes": 480, "project": "another-project"}
        conn.execute(update(derived).where(derived.c.name == "pseudonymised.zip").values(parameters=wrong))
    assert {one.name: one.outcome for one in reproduce(services, ecg)}["pseudonymised.zip"] != "same"


def test_what_changed_since_is_named(services: Services, ecg: str) -> None:
    with services.catalogue.write() as conn:
        conn.execute(update(derived).values(made_with={"teleread": "0.0.1"}))
    assert all("numpy" in one.changed and one.outcome == "same" for one in reproduce(services, ecg))


def test_a_damaged_input_is_an_error_and_a_damaged_value_an_outcome(
    services: Services, ecg: str, tmp_path: Path
) -> None:
    with services.catalogue.read() as conn:
        row = conn.execute(select(derived).where(derived.c.name == "wave.i16")).one()
    _flip(tmp_path / "objects" / row.object_key)
    assert {one.name: one.outcome for one in reproduce(services, ecg)}["wave.i16"] == "unreadable"
    digest = row.input_sha256
    _flip(tmp_path / "objects" / "raw" / "sha256" / digest[:2] / digest[2:4] / digest)
    with pytest.raises(StorageError) as damaged:
        reproduce(services, ecg)
    assert damaged.value.code == "object_corrupt"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)

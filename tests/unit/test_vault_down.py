"""While the vault does not answer: everything starts, lands and shows; names come back with it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from teleread import services as shell
from teleread.alliance import Alliance
from teleread.errors import Misconfigured, StorageError
from teleread.pipeline.land import land
from teleread.pipeline.notes import notes_of, read_note
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.settings import load_settings
from teleread.storage.catalogue.schema import studies
from teleread.storage.objects import FileBlobs
from teleread.storage.vault import Identity, KeyRing, Vault
from teleread.web.identity import look_up
from tests.conftest import Clock
from tests.ecgs import ecg


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody writes to the file and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def arrive(services: Services, site: str = "village") -> str:
    files = {"a.dcm": ecg(patient_id="1001")}
    return land(services, site_id=site, source="web", files=files, clinic_priority="urgent", actor="nurse").arrival_id


def test_a_process_starts_and_lands_without_the_vault(
    tmp_path: Path, alliance: Alliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "read_alliance", lambda _settings: alliance)
    settings = load_settings(
        {"TELEREAD_HOME": str(tmp_path), "TELEREAD_VAULT_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    )
    with closing(shell.open_services(settings)) as services:
        assert arrive(services)
        with pytest.raises(StorageError) as failed:
            services.vault.enroll(Identity("village", "1001"), services.clock())
        assert failed.value.code == "vault_unreachable"


def test_a_vault_that_comes_late_is_migrated_at_its_first_use(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "vault.db"
    vault = Vault(f"sqlite:///{path}", KeyRing.open(tmp_path / "ring", clock=clock), wait_s=0.1, page_wait_s=0.1)
    with closing(vault):
        with locked(path):
            vault.migrate_when_it_answers()
            with pytest.raises(StorageError) as failed:
                vault.enroll(Identity("village", "1001"), clock())
            assert failed.value.code == "vault_busy"
        made = vault.enroll(Identity("village", "1001"), clock())
        assert vault.join([made.pseudonym], who="r", why="read", case_ids=["c"], at=clock(), for_page=True)


@contextmanager
def away(services: Services) -> Iterator[None]:
    """The vault's file is somewhere else."""
    path = services.vault.database.path
    assert path is not None
    services.vault.close()
    files = [one for one in path.parent.iterdir() if one.name.startswith(path.name)]
    for one in files:
        one.rename(one.with_name("away-" + one.name))
    yield
    services.vault.close()
    for one in path.parent.iterdir():
        if one.name.startswith(path.name):
            one.unlink()
    for one in files:
        one.with_name("away-" + one.name).rename(one)


def test_bytes_whose_key_is_in_the_vault_alone_are_landed_again_without_it(services: Services) -> None:
    first = arrive(services)
    prepare(services, first)
    old = services.ring.intake()[0]
    services.ring.new_intake()
    services.ring.retire_intake(old)
    with away(services):
        assert arrive(services) == first
        other = arrive(services, "other")
        assert other != first
    keys = list(notes_of(services.store, other))
    assert [read_note(services.store, key).site_id for key in keys] == ["other"]
    assert prepare(services, other) == "prepared"


def test_what_is_no_longer_whole_is_not_landed_without_the_vault(services: Services) -> None:
    prepare(services, arrive(services))
    old = services.ring.intake()[0]
    services.ring.new_intake()
    services.ring.retire_intake(old)
    [key] = [info.key for info in services.store.list("raw/")]
    path = cast(FileBlobs, services.store.blobs).root / key
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    with away(services), pytest.raises(StorageError):
        arrive(services)


def test_a_page_does_not_wait_long_for_names(services: Services) -> None:
    prepare(services, arrive(services))
    with services.catalogue.read() as conn:
        pseudonym = conn.scalar(studies.select().with_only_columns(studies.c.patient_pseudonym))
    assert pseudonym is not None
    seat = cast(Any, SimpleNamespace(services=services, name="reader"))
    path = services.vault.database.path
    assert path is not None
    with locked(path):
        begun = time.monotonic()
        assert look_up(seat, [pseudonym], "read", ["c"]) == ({}, False)
        assert time.monotonic() - begun < 5
    found, answered = look_up(seat, [pseudonym], "read", ["c"])
    assert answered
    assert set(found) == {pseudonym}


@pytest.mark.parametrize("spoil", [lambda path: os.chmod(path, 0o640), lambda path: path.write_bytes(b"")])
def test_a_key_file_that_was_spoilt_stops_neither_landing_nor_pages(services: Services, spoil: Any) -> None:
    arrival_id = arrive(services)
    services.ring.path.chmod(0o600)
    spoil(services.ring.path)
    assert prepare(services, arrival_id) == "prepared"
    with services.catalogue.read() as conn:
        pseudonym = conn.scalar(studies.select().with_only_columns(studies.c.patient_pseudonym))
    assert pseudonym is not None
    seat = cast(Any, SimpleNamespace(services=services, name="reader"))
    assert look_up(seat, [pseudonym], "read", ["c"])[1]
    files = {"a.dcm": ecg(patient_id="77")}
    assert land(services, site_id="village", source="web", files=files, clinic_priority="urgent", actor="n").new


def test_a_page_opens_with_a_foreign_key_ring(services: Services, tmp_path: Path, clock: Clock) -> None:
    prepare(services, arrive(services))
    with services.catalogue.read() as conn:
        pseudonym = conn.scalar(studies.select().with_only_columns(studies.c.patient_pseudonym))
    other = KeyRing.open(tmp_path / "other", clock=clock).path
    os.replace(other, services.ring.path)
    seat = cast(Any, SimpleNamespace(services=services, name="reader"))
    assert look_up(seat, [str(pseudonym)], "read", ["c"]) == ({}, False)


def test_a_vault_that_is_gone_is_not_made_anew_empty(
    tmp_path: Path, alliance: Alliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "read_alliance", lambda _settings: alliance)
    path = tmp_path / "vault" / "vault.db"
    settings = load_settings({"TELEREAD_HOME": str(tmp_path), "TELEREAD_VAULT_URL": f"sqlite:///{path}"})
    with closing(shell.open_services(settings)) as services:  # the very first start makes it
        prepare(services, arrive(services))
    kept = path.read_bytes()
    for left in (lambda: path.unlink(), lambda: path.write_bytes(b"")):
        left()
        was_there = path.exists()
        with pytest.raises(Misconfigured) as refused:
            shell.open_services(settings).close()
        assert refused.value.code == "vault_missing"
        assert path.exists() == was_there  # nothing was put in its place
        path.write_bytes(kept)
    with closing(shell.open_services(settings)) as services:
        assert services.vault.status().entries == 1

"""Promises of the vault, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from teleread.errors import StorageError
from teleread.storage.catalogue.database import Database
from teleread.storage.vault import Enrolled, Identity, KeyRing, Vault
from teleread.storage.vault import schema as vault_schema
from teleread.storage.vault.entries import plain_key
from tests.contract.catalogue_contract import AT
from tests.contract.vault_keys_contract import VaultKeysContract
from tests.contract.vault_patients_contract import VaultPatientsContract


class VaultContract(VaultPatientsContract, VaultKeysContract):
    """Pseudonyms and the one way back."""

    # the one way back

    def test_every_join_says_who_and_why(self, vault: Vault, inside: Database) -> None:
        one, two = vault.enroll(self.zhang, AT).pseudonym, vault.enroll(Identity("H1", "8"), AT).pseudonym
        found = vault.join(
            [one, two, one, "P" + "A" * 12, "nonsense", "x" * 100], who="r1", why="read", case_ids=["c2", "c1"], at=AT
        )
        assert found == {one: self.zhang, two: Identity("H1", "8")}
        assert self.events(inside)[-1] == ("r1", "join", "2 cases", {"why": "read", "cases": ["c1", "c2"]})
        assert [self.joined(inside, pseudonym) for pseudonym in (one, two, "P" + "A" * 12)] == [1, 1, 1]
        vault.join([one], who="r1", why="read", case_ids=["c1"], at=AT)
        assert self.events(inside)[-1][2] == "c1"
        assert vault.join([], who="r1", why="read", case_ids=[], at=AT) == {}
        assert len(self.events(inside)) == 4

    def test_nobody_reads_what_cannot_be_audited(self, vault: Vault, inside: Database) -> None:
        pseudonym = vault.enroll(self.zhang, AT).pseudonym
        with inside.write() as conn:
            conn.execute(text("DROP TABLE joined"))
        with pytest.raises(StorageError):
            self.who_is(vault, pseudonym)

    def test_no_row_says_who_somebody_is(self, vault: Vault, inside: Database) -> None:
        vault.enroll(self.zhang, AT, arrival_id="a1")
        row = self.rows(inside, vault_schema.identities)[0]
        assert [row.patient_key, row.issuer, row.patient_id, row.name, row.birth_date, row.sex] == [None] * 6
        assert "张三".encode() not in bytes(row.sealed) + bytes(row.entry_key)
        assert "张三" not in repr(self.events(inside))

    def test_no_row_can_be_put_in_the_place_of_another(self, vault: Vault, inside: Database) -> None:
        one, two = vault.enroll(self.zhang, AT).pseudonym, vault.enroll(Identity("H1", "8"), AT).pseudonym
        table = vault_schema.identities
        for names in (["sealed"], ["entry_key"], ["sealed", "entry_key"]):
            with inside.write() as conn:
                kept = conn.execute(select(table).where(table.c.pseudonym == two)).one()
                other = conn.execute(select(table).where(table.c.pseudonym == one)).one()
                values = {name: getattr(other, name) for name in names}
                conn.execute(update(table).where(table.c.pseudonym == two).values(**values))
            with pytest.raises(StorageError) as failed:
                self.who_is(vault, two)
            assert failed.value.code == "vault_corrupt"
            assert self.who_is(vault, one) == self.zhang
            with inside.write() as conn:
                back = {name: getattr(kept, name) for name in names}
                conn.execute(update(table).where(table.c.pseudonym == two).values(**back))

    # what the version before wrote

    def old_row(self, identity: Identity, pseudonym: str) -> dict[str, Any]:
        return {
            "pseudonym": pseudonym,
            "patient_key": plain_key(identity),
            "issuer": identity.issuer,
            "patient_id": identity.patient_id,
            "name": identity.name,
            "birth_date": identity.birth_date,
            "sex": identity.sex,
            "enrolled_at": AT,
            "changed_at": AT,
        }

    def write_old(self, inside: Database, *rows: dict[str, Any]) -> None:
        with inside.write() as conn:
            conn.execute(insert(vault_schema.identities), list(rows))

    def test_what_the_version_before_wrote_is_sealed_at_the_next_start(
        self, vault: Vault, inside: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("teleread.storage.vault.older._AT_ONCE", 3)
        people = {f"P{'ABCDEFG'[i] * 12}": replace(self.zhang, patient_id=str(i)) for i in range(7)}
        self.write_old(inside, *(self.old_row(identity, name) for name, identity in people.items()))
        key = secrets.token_bytes(32)
        with inside.write() as conn:
            conn.execute(insert(vault_schema.project_keys).values(name="folder-names", key=key))
        assert vault.project_key("folder-names") == key
        assert vault.status().plain == 7
        vault.migrate()
        vault.migrate()
        assert (vault.status().plain, vault.status().entries) == (0, 7)
        for row in self.rows(inside, vault_schema.identities):
            assert (row.name, row.patient_id, row.birth_date, row.patient_key) == (None,) * 4
        assert [row.key for row in self.rows(inside, vault_schema.project_keys)] == [None]
        assert vault.project_key("folder-names") == key
        assert vault.join(list(people), who="r1", why="read", case_ids=["c1"], at=AT) == people
        for name, identity in people.items():
            assert vault.enroll(identity, AT).pseudonym == name

    def test_the_tables_can_be_written_anew_while_others_are_connected(self, vault: Vault, inside: Database) -> None:
        pseudonym = vault.enroll(self.zhang, AT).pseudonym
        self.rows(inside, vault_schema.identities)
        vault._database.compact()
        vault._database.checkpoint()
        assert self.who_is(vault, pseudonym) == self.zhang

    def test_a_row_written_by_old_code_meanwhile_is_joined_and_found(self, vault: Vault) -> None:
        database = vault._database
        self.write_old(database, self.old_row(self.zhang, "P" + "A" * 12))
        assert self.who_is(vault, "P" + "A" * 12) == self.zhang
        assert vault.enroll(self.zhang, AT) == Enrolled("P" + "A" * 12, False)
        assert vault.status().plain == 0

    def test_a_patient_enrolled_by_old_and_new_code_can_be_joined_by_either_pseudonym(
        self, vault: Vault, inside: Database
    ) -> None:
        new = vault.enroll(self.zhang, AT).pseudonym
        self.write_old(inside, self.old_row(self.zhang, "P" + "A" * 12))
        vault.migrate()
        assert [self.who_is(vault, one) for one in (new, "P" + "A" * 12)] == [self.zhang] * 2
        assert vault.enroll(self.zhang, AT).pseudonym == new
        assert ("vault", "enrolled_twice", "P" + "A" * 12, {"other": new}) in self.events(inside)

    def test_its_errors_name_the_vault(self, vault_url: str, ring: KeyRing) -> None:
        vault = Vault(vault_url, ring)
        with pytest.raises(StorageError) as failed:
            vault.enroll(self.zhang, AT)
        vault.close()
        assert failed.value.code == "vault_unmigrated"

    def test_a_forked_child_and_its_parent_both_go_on(self, vault: Vault) -> None:
        pseudonym = vault.enroll(self.zhang, AT).pseudonym
        child_id = os.fork()
        if child_id == 0:
            os._exit(0 if self.who_is(vault, pseudonym) == self.zhang else 1)
        assert self.who_is(vault, pseudonym) == self.zhang
        assert os.waitpid(child_id, 0)[1] == 0

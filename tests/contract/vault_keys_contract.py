"""Promises of the vault about keys: kept with their patient, forgotten for good, wrapped anew."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from teleread.errors import Conflict, InputRejected, Misconfigured, StorageError, TelereadError
from teleread.storage.catalogue.database import Database
from teleread.storage.objects.protocol import DataKey
from teleread.storage.vault import Enrolled, Identity, KeyRing, Vault, rotation
from teleread.storage.vault import schema as vault_schema
from teleread.storage.vault.database import VaultDatabase
from tests.contract.catalogue_contract import AT, at_once
from tests.contract.storage_child import answer, child, tell
from tests.contract.vaults import VaultFixtures, a_key


class VaultKeysContract(VaultFixtures):
    """Part of the vault's promises."""

    # keys of stored objects

    def test_a_data_key_is_kept_with_its_patient(self, vault: Vault, inside: Database) -> None:
        key, later_key = a_key("ab"), a_key("ab")
        pseudonym = vault.enroll(self.zhang, AT, data_keys=[key]).pseudonym
        later = AT + timedelta(hours=1)
        vault.adopt(pseudonym, [key, later_key], later)
        assert vault.keys.recover(key.root_sha256, key.id) == key.key
        assert vault.keys.recover(later_key.root_sha256, later_key.id) == later_key.key
        assert vault.keys.recover("cd" * 32, key.id) is None
        assert vault.keys.recover(key.root_sha256, b"12345678") is None
        roots = [key.root_sha256, "cd" * 32]
        assert vault.held(roots) == {(key.root_sha256, key.id): AT, (key.root_sha256, later_key.id): later}
        assert key.key not in b"".join(bytes(row.wrapped) for row in self.rows(inside, vault_schema.object_keys))
        with pytest.raises(Conflict):
            vault.adopt("P" + "A" * 12, [key], AT)

    def test_bytes_of_two_issuers_outlive_the_first_of_them(self, vault: Vault) -> None:
        key = a_key()
        one = vault.enroll(self.zhang, AT, data_keys=[key]).pseudonym
        two = vault.enroll(Identity("H2", "1"), AT, data_keys=[key]).pseudonym
        vault.forget(one, AT, who="admin", reason="retention")
        assert vault.keys.recover(key.root_sha256, key.id) == key.key
        vault.forget(two, AT, who="admin", reason="retention")
        assert vault.keys.recover(key.root_sha256, key.id) is None
        assert vault.held([key.root_sha256]) == {}

    def test_intake_keys_come_without_the_database(self, vault_url: str, ring: KeyRing) -> None:
        vault = Vault(vault_url, ring)  # no table yet
        key_id, key = vault.keys.intake()
        assert vault.keys.intake_key(key_id) == key
        with pytest.raises(StorageError) as failed:
            vault.keys.recover("ab" * 32, b"12345678")
        assert failed.value.code == "vault_unmigrated"
        vault.close()

    # projects

    def test_a_project_key_is_made_once(self, vault: Vault, vault_url: str, ring: KeyRing) -> None:
        other = Vault(vault_url, ring)
        keys = set(at_once(6, lambda i: (vault, other)[i % 2].project_key("export-2026")))
        other.close()
        assert len(keys) == 1
        assert len(keys.pop()) == 32
        assert vault.project_key("another") != vault.project_key("export-2026")
        with pytest.raises(InputRejected):
            vault.project_key("no spaces")

    def test_a_project_calls_a_patient_always_the_same_and_no_other_project_does(
        self, vault: Vault, vault_url: str, ring: KeyRing, inside: Database
    ) -> None:
        people = [vault.enroll(Identity("H1", str(i), "张三"), AT).pseudonym for i in range(40)]
        names = {project: [vault.project_pseudonym(project, one) for one in people] for project in ("a", "b")}
        shifts = {project: [vault.date_shift_days(project, one) for one in people] for project in ("a", "b")}
        assert all(len(name) == 21 and name[0] == "X" and int(name[1:], 16) >= 0 for name in names["a"] + names["b"])
        assert len({*names["a"], *names["b"]}) == 80
        assert all(-365 <= days <= -1 for days in shifts["a"] + shifts["b"])
        assert shifts["a"] != shifts["b"]
        vault.enroll(Identity("H1", "0", "another name"), AT)
        vault.rotate()
        again = Vault(vault_url, KeyRing.open(ring.path, clock=lambda: AT))
        assert [again.project_pseudonym("a", one) for one in people] == names["a"]
        assert [again.date_shift_days("b", one) for one in people] == shifts["b"]
        again.close()
        assert vault.project_key("a") not in repr(self.rows(inside, vault_schema.project_keys)).encode()
        with pytest.raises(Conflict):
            vault.project_pseudonym("a", "P" + "A" * 12)

    # forgetting

    def test_a_forgotten_patient_is_gone_and_a_new_one_when_seen_again(self, vault: Vault, inside: Database) -> None:
        key = a_key()
        old = vault.enroll(self.zhang, AT, data_keys=[key]).pseudonym
        called = vault.project_pseudonym("a", old)
        assert self.who_is(vault, old) == self.zhang
        later = AT + timedelta(days=1)
        vault.forget(old, later, who="admin", reason="retention")
        vault.forget(old, later + timedelta(days=1), who="admin", reason="retention")
        assert self.events(inside)[-1] == ("admin", "forget", old, {"reason": "retention", "object_keys": 1})
        assert vault.forgotten() == {old: later}
        assert self.who_is(vault, old) is None
        assert vault.keys.recover(key.root_sha256, key.id) is None
        for act in (vault.project_pseudonym, vault.date_shift_days):
            with pytest.raises(Conflict):
                act("a", old)
        new = vault.enroll(self.zhang, later)
        assert new == Enrolled(new.pseudonym, True)
        assert new.pseudonym != old
        assert vault.project_pseudonym("a", new.pseudonym) != called
        with pytest.raises(Conflict) as refused:
            vault.forget("P" + "A" * 12, AT, who="admin", reason="retention")
        assert refused.value.code == "no_such_patient"
        assert vault.forgotten() == {old: later}

    def test_a_restored_vault_forgets_again(self, vault: Vault, inside: Database) -> None:
        people = [vault.enroll(Identity("H1", str(i)), AT, data_keys=[a_key()]).pseudonym for i in range(3)]
        gone = {people[0]: AT, people[1]: AT, "P" + "A" * 12: AT}
        assert vault.replay_forgotten(gone, AT + timedelta(days=1)) == 2
        assert vault.replay_forgotten(list(gone), AT + timedelta(days=2)) == 0
        assert vault.forgotten() == gone
        assert [self.who_is(vault, one) is None for one in people] == [True, True, False]
        assert [event[:3] for event in self.events(inside) if event[1] == "forget"] == [
            ("restore", "forget", people[0]),
            ("restore", "forget", people[1]),
        ]

    def test_forgetting_beside_adopting_never_leaves_half_an_entry(self, vault: Vault) -> None:
        for number in range(8):
            pseudonym = vault.enroll(Identity("H1", str(number)), AT).pseudonym
            key = a_key()

            def act(i: int, pseudonym: str = pseudonym, key: DataKey = key) -> str:
                try:
                    if i:
                        vault.adopt(pseudonym, [key], AT)
                    else:
                        vault.forget(pseudonym, AT, who="admin", reason="retention")
                except Conflict as error:
                    return error.code
                return "done"

            assert at_once(2, act) in (["done", "done"], ["done", "no_such_patient"])
            assert vault.keys.recover(key.root_sha256, key.id) is None

    # another master key

    def test_a_rotation_wraps_everything_anew_and_destroys_the_old_key(
        self, vault: Vault, ring: KeyRing, inside: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rotation, "_AT_ONCE", 4)
        people = {vault.enroll(Identity("H1", str(i)), AT, data_keys=[a_key()]).pseudonym: str(i) for i in range(10)}
        key = vault.project_key("a")
        before = {row.pseudonym: bytes(row.entry_key) for row in self.rows(inside, vault_schema.identities)}
        old = ring.master()[0]
        seen: list[tuple[int, int]] = []
        assert vault.rotate(lambda done, total: seen.append((done, total))) == 11
        assert seen == [(4, 11), (8, 11), (10, 11), (11, 11)]
        assert ring.master_key(old) is None
        assert vault.status().by_master == {ring.master()[0].hex(): 10}
        after = {row.pseudonym: bytes(row.entry_key) for row in self.rows(inside, vault_schema.identities)}
        assert not set(before.values()) & set(after.values())
        found = vault.join(list(people), who="r1", why="read", case_ids=["c1"], at=AT)
        assert {pseudonym: identity.patient_id for pseudonym, identity in found.items()} == people
        assert vault.project_key("a") == key

    def test_everybody_works_on_during_rotations(
        self, vault: Vault, vault_url: str, ring: KeyRing, inside: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rotation, "_AT_ONCE", 25)
        for i in range(30):
            vault.enroll(Identity("H1", str(i)), AT)
        with ExitStack() as stack:
            workers = [
                stack.enter_context(child("work_in_vault", vault_url, str(ring.path), name)) for name in ("a", "b")
            ]
            assert [answer(worker) for worker in workers] == ["ready"] * 2
            vault.rotate()
            at_once(2, lambda _: vault.rotate())
            for worker in workers:
                tell(worker)
            rounds = [answer(worker) for worker in workers]
        assert all(int(number) > 0 for number in rounds)
        everybody = [row.pseudonym for row in self.rows(inside, vault_schema.identities)]
        found = vault.join(everybody, who="r1", why="read", case_ids=["c1"], at=AT)
        assert len(found) == len(everybody) == 30 + sum(map(int, rounds))
        assert len([one for one in ring.masters() if one.retired_at is None]) == 1

    def test_a_rotation_killed_at_any_step_goes_on_where_it_stood(
        self, vault: Vault, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rotation, "_AT_ONCE", 4)
        people = {vault.enroll(Identity("H1", str(i)), AT).pseudonym: str(i) for i in range(10)}
        key = vault.project_key("a")
        killed = 0
        for step in count():
            if not killed_at(step, vault):
                break
            killed += 1
            found = vault.join(list(people), who="r1", why="read", case_ids=["c1"], at=AT)
            assert {pseudonym: identity.patient_id for pseudonym, identity in found.items()} == people, step
            assert vault.project_key("a") == key
            vault.rotate()
            living = [one.id.hex() for one in ring.masters() if one.retired_at is None]
            assert list(vault.status().by_master) == living, step
        assert killed >= 14  # both keys of the ring, four batches and the end, before and after each

    def test_a_ring_that_does_not_belong_here_is_refused(self, vault: Vault, vault_url: str, ring: KeyRing) -> None:
        pseudonym = vault.enroll(self.zhang, AT).pseudonym
        foreign = Vault(vault_url, KeyRing.open(ring.path.with_name("other"), clock=lambda: AT))
        for act in (foreign.migrate, lambda: self.who_is(foreign, pseudonym), foreign.rotate):
            with pytest.raises(TelereadError) as refused:
                act()
            assert refused.value.code in ("key_ring_foreign", "vault_key_missing")
        assert isinstance(refused.value, StorageError | Misconfigured)
        foreign.close()
        assert self.who_is(vault, pseudonym) == self.zhang


def killed_at(step: int, vault: Vault) -> bool:
    """Rotate in a child that is killed at its n-th step; False when it came to its end first."""
    child_id = os.fork()
    if child_id == 0:
        steps = count()

        def reach() -> None:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        real_write, real_replace = VaultDatabase.write, KeyRing._write

        @contextmanager
        def write(self: VaultDatabase) -> Iterator[Any]:
            with real_write(self) as conn:
                yield conn
                reach()  # all but committed
            reach()

        def replace_file(self: KeyRing, *arguments: Any) -> None:
            reach()
            real_replace(self, *arguments)
            reach()

        changed: list[tuple[type, str, Callable[..., Any]]] = [
            (VaultDatabase, "write", write),
            (KeyRing, "_write", replace_file),
        ]
        for where, name, what in changed:
            setattr(where, name, what)
        try:
            vault.rotate()
            os._exit(0)
        finally:
            os._exit(3)
    outcomes = Counter([os.waitpid(child_id, 0)[1]])
    assert set(outcomes) <= {0, signal.SIGKILL}, outcomes
    return signal.SIGKILL in outcomes

"""Promises of the vault, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import secrets
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update

from teleread.errors import Conflict, InputRejected, Misconfigured, StorageError, TelereadError
from teleread.storage.catalogue.database import Database
from teleread.storage.objects.protocol import DataKey
from teleread.storage.vault import Enrolled, Identity, KeyRing, Statement, Vault, rotation
from teleread.storage.vault import schema as vault_schema
from teleread.storage.vault.database import VaultDatabase
from teleread.storage.vault.entries import plain_key
from tests.contract.catalogue_contract import AT, DatabaseFixtures, at_once
from tests.contract.storage_child import answer, child, tell


def valid(first: str) -> str:
    """17 digits with their check."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return first + "10X98765432"[sum(int(a) * b for a, b in zip(first, weights, strict=True)) % 11]


def a_key(root: str = "ab") -> DataKey:
    return DataKey(root * 32, secrets.token_bytes(8), secrets.token_bytes(32))


class VaultContract(DatabaseFixtures):
    """Pseudonyms and the one way back."""

    zhang = Identity("H1", "0007", "张三", date(1950, 1, 31), "M")

    def events(self, inside: Database) -> list[tuple[str, str, str, dict[str, Any]]]:
        table = vault_schema.vault_events.c
        with inside.read() as conn:
            rows = conn.execute(
                select(table.actor, table.action, table.object_id, table.detail).order_by(table.id)
            ).all()
            return [tuple(row) for row in rows]

    def joined(self, inside: Database, pseudonym: str) -> int:
        with inside.read() as conn:
            table = vault_schema.joined
            return conn.execute(
                select(func.count()).select_from(table).where(table.c.pseudonym == pseudonym)
            ).scalar_one()

    def rows(self, inside: Database, table: Any) -> list[Any]:
        with inside.read() as conn:
            return list(conn.execute(select(table)).all())

    def who_is(self, vault: Vault, pseudonym: str) -> Identity | None:
        return vault.join([pseudonym], who="r1", why="read", case_ids=["c1"], at=AT).get(pseudonym)

    # one patient, one pseudonym

    def test_one_patient_has_one_pseudonym_that_says_nothing(self, vault: Vault, inside: Database) -> None:
        first = vault.enroll(self.zhang, AT)
        assert first == Enrolled(first.pseudonym, True)
        assert vault.enroll(self.zhang, AT) == Enrolled(first.pseudonym, False)
        assert len(first.pseudonym) == 13
        assert first.pseudonym[0] == "P"
        assert self.events(inside) == [("intake", "enroll", first.pseudonym, {})]

    def test_equal_ids_of_two_issuers_are_two_patients(self, vault: Vault) -> None:
        pairs = [
            ("H1", "7"),
            ("H17", ""),
            ("H", "17"),
            ("H1", "07"),
            ("H1", "7 "),
            ("", "H17"),
            ("H1", "7\x00"),
            ("H1", "7\ufffd"),
            ("H1", "7\ud800"),
            ("h1", "7"),
            ("H1", "7" * 5000),
            ("H1", "7" * 5001),
        ]
        assert len({vault.enroll(Identity(*pair), AT).pseudonym for pair in pairs}) == len(pairs)

    def test_eight_processes_and_their_threads_get_one_pseudonym(
        self, vault: Vault, vault_url: str, ring: KeyRing, inside: Database
    ) -> None:
        with ExitStack() as stack:
            rivals = [stack.enter_context(child("enroll", vault_url, str(ring.path), "10")) for _ in range(7)]
            for rival in rivals:
                assert answer(rival) == "ready"
            for rival in rivals:
                tell(rival)
            outcomes = at_once(
                2, lambda _: [vault.enroll(Identity("H1", str(i), "张三"), AT).pseudonym for i in range(10)]
            )
            outcomes += [[answer(rival) for _ in range(10)] for rival in rivals]
        assert all(outcome == outcomes[0] for outcome in outcomes)
        assert len(set(outcomes[0])) == 10
        assert [action for _, action, _, _ in self.events(inside)] == ["enroll"] * 10

    def test_what_is_known_already_is_not_written_again(self, vault: Vault, inside: Database) -> None:
        keys = [a_key("ab"), a_key("cd")]
        pseudonym = vault.enroll(self.zhang, AT, data_keys=keys, arrival_id="a1").pseudonym
        with inside.write():  # nobody else could write now
            for identity in (self.zhang, replace(self.zhang, name=None, sex=None)):
                assert vault.enroll(identity, AT, data_keys=keys, arrival_id="a1").pseudonym == pseudonym
            vault.adopt(pseudonym, keys, AT)

    def test_what_no_database_can_hold_is_replaced(self, vault: Vault) -> None:
        hostile = Identity("H\x00", "\ud800" * 3, "张\x00三\udfff" + "长" * 5000, None, "M" * 100)
        pseudonym = vault.enroll(hostile, AT).pseudonym
        assert vault.enroll(hostile, AT) == Enrolled(pseudonym, False)
        found = self.who_is(vault, pseudonym)
        assert found is not None
        assert (found.issuer, found.patient_id, found.sex) == ("H\ufffd", "\ufffd" * 3, "M" * 16)
        assert found.name == "张\ufffd三\ufffd" + "长" * 1020

    def test_a_repeating_source_of_numbers_never_merges_patients(self, vault_url: str, ring: KeyRing) -> None:
        vault = Vault(vault_url, ring, random_bytes=lambda n: b"\x00" * n)
        vault.migrate()
        vault.enroll(self.zhang, AT)
        with pytest.raises(StorageError) as failed:
            vault.enroll(Identity("H1", "8"), AT)
        vault.close()
        assert failed.value.code == "vault_no_pseudonym"

    # what is said otherwise

    def test_another_name_stays_beside_the_known_one_and_is_said_without_values(
        self, vault: Vault, inside: Database
    ) -> None:
        pseudonym = vault.enroll(self.zhang, AT, arrival_id="a1").pseudonym
        now = Identity("H1", "0007", "李四")
        for arrival in ("a2", "a2", "a3"):  # prepared again after a crash, the same arrival says the same again
            assert vault.enroll(now, AT, arrival_id=arrival) == Enrolled(pseudonym, False, ("name",))
        found = self.who_is(vault, pseudonym)
        assert found == self.zhang
        assert [(one.field, one.value, one.arrivals) for one in found.stated] == [("name", "李四", ("a2", "a3"))]
        told = [act for act in self.events(inside) if act[1] == "identity_disputed"]
        assert [act[:3] for act in told] == [("intake", "identity_disputed", pseudonym)]
        assert told[0][3]["fields"] == ["name"]
        assert "李四" not in str(told)
        vault.accept(pseudonym, found.stated[0], who="doctor", why="seen_card", at=AT)
        accepted = self.who_is(vault, pseudonym)
        assert accepted is not None
        assert accepted.name == "李四"

    def test_another_spelling_of_a_name_is_no_other_name(self, vault: Vault) -> None:
        pseudonym = vault.enroll(Identity("H1", "9", "Wang^Wei", date(1950, 1, 31), "M"), AT).pseudonym
        assert vault.enroll(Identity("H1", "9", "WANG WEI"), AT) == Enrolled(pseudonym, False)
        found = self.who_is(vault, pseudonym)
        assert found is not None
        assert found.name == "WANG WEI"

    def test_what_was_unknown_is_filled_in_and_contradicts_nothing(self, vault: Vault, inside: Database) -> None:
        pseudonym = vault.enroll(Identity("H1", "0007"), AT).pseudonym
        assert vault.enroll(self.zhang, AT) == Enrolled(pseudonym, False)
        assert self.who_is(vault, pseudonym) == self.zhang
        assert self.events(inside)[1][3] == {"fields": ["name", "birth_date", "sex"]}

    def test_another_birth_date_or_sex_replaces_nothing_until_a_person_decides(
        self, vault: Vault, inside: Database
    ) -> None:
        pseudonym = vault.enroll(self.zhang, AT, arrival_id="a1").pseudonym
        other = replace(self.zhang, birth_date=date(1951, 1, 31), sex="F")
        later = AT + timedelta(hours=1)
        for arrival in ("a2", "a2", "a3"):
            assert vault.enroll(other, later, arrival_id=arrival).changed == ("birth_date", "sex")
        found = self.who_is(vault, pseudonym)
        assert found == replace(self.zhang, disputed=("birth_date", "sex"))
        assert found.stated == (
            Statement("birth_date", "1951-01-31", later, ("a2", "a3")),
            Statement("sex", "F", later, ("a2", "a3")),
        )
        disputes = [event for event in self.events(inside) if event[1] == "identity_disputed"]
        assert disputes == [
            ("intake", "identity_disputed", pseudonym, {"fields": ["birth_date", "sex"], "arrival": "a2"})
        ]

        vault.accept(pseudonym, found.stated[0], who="doctor", why="seen_card", at=later)
        found = self.who_is(vault, pseudonym)
        assert found == replace(self.zhang, birth_date=date(1951, 1, 31), disputed=("sex",))
        vault.accept(pseudonym, None, who="doctor", why="seen_card", at=later)
        assert self.who_is(vault, pseudonym) == replace(self.zhang, birth_date=date(1951, 1, 31))
        said = [event for event in self.events(inside) if event[1] == "accept_identity"]
        assert said == [
            ("doctor", "accept_identity", pseudonym, {"why": "seen_card", "fields": [field]})
            for field in ("birth_date", "sex")
        ]
        # what was decided against contradicts still, and asks nothing new
        assert vault.enroll(other, later, arrival_id="a9").changed == ("sex",)
        assert self.who_is(vault, pseudonym) == replace(self.zhang, birth_date=date(1951, 1, 31))

    def test_a_whole_arrival_can_be_accepted(self, vault: Vault) -> None:
        pseudonym = vault.enroll(self.zhang, AT, arrival_id="a1").pseudonym
        vault.enroll(replace(self.zhang, birth_date=date(1951, 1, 31), sex="F"), AT, arrival_id="a2")
        vault.accept(pseudonym, "a2", who="doctor", why="seen_card", at=AT)
        assert self.who_is(vault, pseudonym) == replace(self.zhang, birth_date=date(1951, 1, 31), sex="F")
        vault.accept(pseudonym, "a1", who="doctor", why="seen_card", at=AT)
        assert self.who_is(vault, pseudonym) == self.zhang

    def test_nothing_is_accepted_that_was_never_said(self, vault: Vault) -> None:
        pseudonym = vault.enroll(self.zhang, AT, arrival_id="a1").pseudonym
        for what in ("a2", Statement("sex", "F", AT)):
            with pytest.raises(Conflict) as refused:
                vault.accept(pseudonym, what, who="d", why="w", at=AT)
            assert refused.value.code == "no_such_statement"
        with pytest.raises(Conflict) as refused:
            vault.accept("P" + "A" * 12, None, who="d", why="w", at=AT)
        assert refused.value.code == "no_such_patient"

    def test_a_sender_of_endless_names_fills_no_vault(self, vault: Vault) -> None:
        for number in range(100):
            pseudonym = vault.enroll(replace(self.zhang, name=f"张{number}"), AT, arrival_id=f"a{number}").pseudonym
        found = self.who_is(vault, pseudonym)
        assert found is not None
        assert found.name == "张0"
        assert len(found.stated) <= 64

    # who may be the same

    def test_the_same_name_and_birth_date_are_found_and_stay_two_patients(self, vault: Vault) -> None:
        first = vault.enroll(self.zhang, AT).pseudonym
        second = vault.enroll(Identity("H2", "9", "Zhang^San=张^三", date(1950, 1, 31)), AT)
        assert (second.new, second.same_name_and_birth, second.same_national_id) == (True, (first,), ())
        third = vault.enroll(Identity("H3", "9", "张三", date(1950, 2, 1)), AT)
        assert third.same_name_and_birth == ()
        assert vault.enroll(Identity("H3", "10", "张三"), AT).same_name_and_birth == ()
        assert vault.enroll(self.zhang, AT).same_name_and_birth == (second.pseudonym,)

    def test_a_valid_national_id_is_found_at_other_issuers_wherever_it_stands(self, vault: Vault) -> None:
        number = valid("11010519500131001")
        first = vault.enroll(Identity("H1", number, "张三"), AT).pseudonym
        second = vault.enroll(Identity("H2", "77", "李四", national_id=number.lower()), AT)
        assert second.same_national_id == (first,)
        assert vault.enroll(Identity("H2", "78", national_id=number), AT).same_national_id == (first,)
        wrong = number[:-1] + ("1" if number[-1] != "1" else "2")
        assert vault.enroll(Identity("H3", "1", national_id=wrong), AT).same_national_id == ()
        assert set(vault.enroll(Identity("H1", number), AT).same_national_id) >= {second.pseudonym}

    @pytest.mark.parametrize(
        "stated",
        [
            {"birth_date": date(2026, 10, 20)},
            {"sex": "F"},
            {"sex": "O"},
            {"birth_date": date(1950, 1, 31), "sex": "F"},
        ],
    )
    @pytest.mark.parametrize("contradicted_first", [False, True])
    def test_a_national_id_that_birth_date_or_sex_contradict_is_no_sure_match(
        self, vault: Vault, stated: dict[str, Any], contradicted_first: bool
    ) -> None:
        number = valid("11010519500131001")  # a man's, born on 31 January 1950
        sure = Identity("H1", number, "张三", date(1950, 1, 31), "M")
        doubtful = Identity("H2", number, "张小", **stated)
        one, other = (doubtful, sure) if contradicted_first else (sure, doubtful)
        first = vault.enroll(one, AT).pseudonym
        second = vault.enroll(other, AT)
        assert (second.same_national_id, second.doubtful_national_id) == ((), (first,))
        # nor once somebody else's recording came under a number that fitted before
        third = vault.enroll(Identity("H3", number), AT)
        assert (first in third.same_national_id, second.pseudonym in third.same_national_id) == (
            not contradicted_first,
            contradicted_first,
        )
        vault.enroll(Identity("H3", number, **stated), AT, arrival_id="a1")
        assert vault.enroll(sure, AT).same_national_id == ()

    def test_no_number_of_namesakes_hides_a_national_id(self, vault: Vault) -> None:
        number, born = valid("11010519500131001"), date(1950, 1, 31)
        for place in range(60):
            vault.enroll(Identity("H0", str(place), "张三", born), AT)
        one = vault.enroll(Identity("H1", number, "张三", born), AT + timedelta(seconds=1))
        other = vault.enroll(Identity("H2", number, "张三", born), AT + timedelta(seconds=1))
        assert other.same_national_id == (one.pseudonym,)

    def test_of_two_who_enroll_at_one_moment_at_least_one_sees_the_other(self, vault: Vault) -> None:
        for number in range(10):
            born = date(1960, 1, 1) + timedelta(days=number)

            def one(i: int, born: date = born, number: int = number) -> tuple[str, ...]:
                return vault.enroll(Identity(f"H{i}", str(number), "王五", born), AT).same_name_and_birth

            assert any(at_once(2, one))

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

"""Promises of the vault about who is who: one patient has one pseudonym, and what differs is asked."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from teleread.errors import Conflict, StorageError
from teleread.storage.catalogue.database import Database
from teleread.storage.vault import Enrolled, Identity, KeyRing, Statement, Vault
from tests.contract.catalogue_contract import AT, at_once
from tests.contract.storage_child import answer, child, tell
from tests.contract.vaults import VaultFixtures, a_key, valid


class VaultPatientsContract(VaultFixtures):
    """Part of the vault's promises."""

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

"""The vault at size: nobody is joined to somebody else's name, and an export key alone recovers nobody."""

from __future__ import annotations

import hmac
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

from sqlalchemy import event

from teleread.storage.vault import Identity, KeyRing, Vault

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
ISSUERS = 10
AT_ONCE = 1_000
STEPS = 100  # a hundred thousand patients
_FAMILY = "王李张刘陈杨赵黄周吴"
_GIVEN = ("伟", "芳", "娜", "敏", "静", "^秀英", " 丽", "强")


def patient(number: int) -> Identity:
    """One of the patients. Every id stands at every issuer, names and birth dates repeat by the hundred."""
    own, issuer = divmod(number, ISSUERS)
    source = random.Random(number % 997)  # the same few persons again and again, at all issuers
    name = source.choice(_FAMILY) + source.choice(_GIVEN)
    born = date(1940, 1, 1) + timedelta(days=source.randrange(365))
    return Identity(f"hospital-{issuer}", f"{own:06}", name, born, source.choice("MF"))


class Crowd:
    """Patients enrolled twice, in another order, and joined: each must be who was enrolled."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.pseudonyms: dict[int, str] = {}
        self.taken: set[str] = set()

    def enroll(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            pseudonym = self.vault.enroll(patient(number), AT).pseudonym
            assert pseudonym not in self.taken, "two patients have one pseudonym"
            self.taken.add(pseudonym)
            self.pseudonyms[number] = pseudonym

    def wrong_joins(self, numbers: Sequence[int]) -> int:
        """How many of the numbers are joined to anything but what was enrolled."""
        mixed = random.Random(len(self.taken)).sample(list(numbers), len(numbers))
        again = [self.vault.enroll(patient(number), AT) for number in mixed[: len(mixed) // 10]]
        wrong = sum(
            one.new or one.pseudonym != self.pseudonyms[number] for one, number in zip(again, mixed, strict=False)
        )
        found = self.vault.join(
            [self.pseudonyms[number] for number in mixed], who="prover", why="prove", case_ids=["c"], at=AT
        )
        return wrong + sum(found.get(self.pseudonyms[number]) != patient(number) for number in mixed)


def open_vault(folder: Path, url: str | None = None) -> Vault:
    """A vault of its own, on SQLite unless said."""
    ring = KeyRing.open(folder / "ring.json", clock=lambda: AT)
    vault = Vault(url or f"sqlite:///{folder / 'vault.db'}", ring)
    hurry(vault)
    vault.migrate()
    return vault


def hurry(vault: Vault) -> None:
    """Do without fsync on SQLite: no power cut is proved here, and it would be most of the time."""

    def connected(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    if vault._database.is_sqlite:
        event.listen(vault._database._engine, "connect", connected)
        vault.close()  # what is open already is opened anew


@contextmanager
def wrong_joins() -> Iterator[Callable[[int], None]]:
    """A hundred thousand patients of ten issuers: step n enrolls the n-th thousand and joins it with an older one.

    A run that goes on where it was stopped begins with a new vault and joins what it enrolls from there.
    """
    with tempfile.TemporaryDirectory() as folder:
        vault = open_vault(Path(folder))
        crowd = Crowd(vault)
        done: list[list[int]] = []

        def prove(number: int) -> None:
            numbers = list(range(number * AT_ONCE, (number + 1) * AT_ONCE))
            crowd.enroll(numbers)
            done.append(numbers)
            older = done[random.Random(number).randrange(len(done))]
            assert crowd.wrong_joins(numbers) == 0, number
            assert crowd.wrong_joins(older) == 0, number

        yield prove
        vault.close()


def naive_pseudonym(project_key: bytes, identity: Identity) -> str:
    """The broken twin: a keyed hash of the id. Whoever has the key tries all ids."""
    return "X" + hmac.digest(project_key, f"{identity.issuer}\0{identity.patient_id}".encode(), "sha256").hex()[:20]


def guesses(project_key: bytes, identity: Identity) -> Iterator[str]:
    """What somebody tries who has the project's key and knows everything about a patient but the vault."""
    born = "" if identity.birth_date is None else identity.birth_date.isoformat()
    parts = {
        identity.patient_id,
        f"{identity.issuer}\0{identity.patient_id}",
        f"{identity.issuer}{identity.patient_id}",
        f"{len(identity.issuer)}:{identity.issuer}{identity.patient_id}",
        f"{identity.issuer}|{identity.patient_id}",
        f"{identity.name}",
        f"{identity.name}{born}",
        f"{identity.issuer}\0{identity.patient_id}\0{identity.name}\0{born}",
    }
    prefixes = (b"", b"teleread export 1\0pseudonym\0", b"pseudonym\0")
    for prefix, part in product(prefixes, parts):
        digest = hmac.digest(project_key, prefix + part.encode(), "sha256").hex()
        yield "X" + digest[:20]


def export_key_attack(vault: Vault, at: datetime, *, patients: int, naive: bool = False) -> tuple[int, int]:
    """Guess with the project's key, all ids, names and birth dates; how many patients were recovered, of how many.

    Args:
        naive: attack the broken twin.
    """
    people = [patient(number) for number in range(patients)]
    key = vault.project_key("stolen")
    exported = {
        naive_pseudonym(key, one) if naive else vault.project_pseudonym("stolen", vault.enroll(one, at).pseudonym): one
        for one in people
    }
    assert len(exported) == patients
    recovered = {
        exported[guess].patient_id + exported[guess].issuer
        for one in people
        for guess in guesses(key, one)
        if guess in exported
    }
    return len(recovered), patients


@contextmanager
def export_keys() -> Iterator[Callable[[int], None]]:
    """With a project's key and the list of all patients, nobody is found in the project's exports."""

    def prove(number: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            vault = open_vault(Path(folder))
            assert export_key_attack(vault, AT, patients=200) == (0, 200), number
            assert export_key_attack(vault, AT, patients=200, naive=True) == (200, 200), number
            vault.close()

    yield prove

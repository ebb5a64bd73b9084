"""Patients, keys and what a vault says of them."""

from __future__ import annotations

import secrets
from datetime import date
from typing import Any

from sqlalchemy import func, select

from teleread.storage.catalogue.database import Database
from teleread.storage.objects.protocol import DataKey
from teleread.storage.vault import Identity, Vault
from teleread.storage.vault import schema as vault_schema
from tests.contract.catalogue_contract import AT, DatabaseFixtures


def valid(first: str) -> str:
    """17 digits with their check."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return first + "10X98765432"[sum(int(a) * b for a, b in zip(first, weights, strict=True)) % 11]


def a_key(root: str = "ab") -> DataKey:
    return DataKey(root * 32, secrets.token_bytes(8), secrets.token_bytes(32))


class VaultFixtures(DatabaseFixtures):
    """A vault, looked at from outside and from inside."""

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

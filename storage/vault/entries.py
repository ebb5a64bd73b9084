"""The rows of the vault's entries: found, opened, made and changed. The tables' keeper; knows nothing of why."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from teleread.errors import Conflict, StorageError
from teleread.storage import audit
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.objects.protocol import DataKey
from teleread.storage.vault import schema
from teleread.storage.vault.envelope import Envelopes, MasterGone
from teleread.storage.vault.identity import Entry, Identity, new_entry
from teleread.storage.vault.matching import MatchKeys, fits_resident_id, national_number
from teleread.storage.vault.schema import forgotten, identities, object_keys

Known = tuple[str, bytes]
"""A stored object's root hash and the id of its key."""

_Result = TypeVar("_Result")
_TRIES = 3
_ROTATIONS = 5
_MOST_MATCHES = 50
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Opened:
    """An entry and the key that it is sealed with."""

    pseudonym: str
    entry: Entry
    key: bytes = field(repr=False)


class Entries:
    """What is done to entries inside a transaction of the caller's."""

    def __init__(self, envelopes: Envelopes, match_keys: MatchKeys, random_bytes: Callable[[int], bytes]) -> None:
        self.envelopes = envelopes
        self._match_keys = match_keys
        self._random_bytes = random_bytes

    def lookup(self, identity: Identity) -> str:
        """By what the identity's entry is found."""
        return self._match_keys.lookup_of(identity.issuer, identity.patient_id)

    def find(self, conn: Connection, lookup: str, *, lock: bool = False) -> Opened | None:
        """The entry of a patient; None where there is none."""
        query = select(identities).where(identities.c.lookup == lookup)
        row = conn.execute(query.with_for_update() if lock else query).one_or_none()
        return None if row is None else self.open(row)

    def get(self, conn: Connection, pseudonym: str, *, lock: bool = False) -> Opened:
        """The entry of a pseudonym; raises ``Conflict("no_such_patient")``."""
        query = select(identities).where(identities.c.pseudonym == pseudonym, identities.c.sealed.is_not(None))
        row = conn.execute(query.with_for_update() if lock else query).one_or_none()
        if row is None:
            raise Conflict("no_such_patient", "The vault knows no such pseudonym.")
        return self.open(row)

    def open(self, row: Row[Any]) -> Opened:
        """A row of :data:`identities`, opened."""
        key = self.envelopes.unwrap("entry", row.pseudonym, row.master_id, row.entry_key)
        return Opened(row.pseudonym, self.envelopes.open_entry(key, row.pseudonym, row.sealed), key)

    def identities_of(self, conn: Connection, pseudonyms: Sequence[str]) -> dict[str, Identity]:
        """Whose pseudonyms these are, the older version's plain rows included; unknown ones are left out."""
        found = {}
        for start in range(0, len(pseudonyms), _AT_ONCE):
            some = pseudonyms[start : start + _AT_ONCE]
            for row in conn.execute(select(identities).where(identities.c.pseudonym.in_(some))):
                found[row.pseudonym] = plain_identity(row) if row.sealed is None else self.open(row).entry.identity()
        return found

    def insert(self, conn: Connection, identity: Identity, at: datetime, arrival_id: str | None) -> tuple[Opened, bool]:
        """The patient's entry, made when absent, and whether it was."""
        lookup, entry = self.lookup(identity), new_entry(identity, at, arrival_id, self._random_bytes)
        for _ in range(_TRIES):
            pseudonym = "P" + base64.b32encode(self._random_bytes(8)).decode()[:12]
            key = self.envelopes.new_key()
            if conn.execute(select(forgotten).where(forgotten.c.pseudonym == pseudonym)).first() is None:
                fresh = {"pseudonym": pseudonym, "enrolled_at": at, "lookup": lookup}
                fresh |= self._values(pseudonym, key, entry, at) | self._wrapped(pseudonym, key)
                if insert_missing(conn, identities, [fresh], []):
                    return Opened(pseudonym, entry, key), True
            known = self.find(conn, lookup, lock=True)
            if known is not None:
                return known, False
            # neither made nor there: the pseudonym is another patient's
        raise StorageError("vault_no_pseudonym", "the source of random numbers repeats itself")

    def rewrite(self, conn: Connection, opened: Opened, entry: Entry, at: datetime) -> None:
        """Seal what the entry is now."""
        values = self._values(opened.pseudonym, opened.key, entry, at)
        conn.execute(update(identities).where(identities.c.pseudonym == opened.pseudonym).values(**values))

    def seal_plain(self, conn: Connection, row: Row[Any]) -> str | None:
        """Seal a row that the older version wrote, and empty its columns.

        Returns:
            the pseudonym that the same patient has already, if any: old and new code ran side by side.
        """
        identity = plain_identity(row)
        lookup = self.lookup(identity)
        doubled = conn.execute(select(identities.c.pseudonym).where(identities.c.lookup == lookup)).scalar_one_or_none()
        key, entry = self.envelopes.new_key(), new_entry(identity, row.changed_at, None, self._random_bytes)
        values = self._values(row.pseudonym, key, entry, row.changed_at) | self._wrapped(row.pseudonym, key)
        empty = dict.fromkeys(("patient_key", "issuer", "patient_id", "name", "birth_date", "sex"))
        conn.execute(
            update(identities)
            .where(identities.c.pseudonym == row.pseudonym)
            .values(lookup=None if doubled else lookup, **values, **empty)
        )
        return doubled

    def remove(self, conn: Connection, pseudonym: str, at: datetime) -> tuple[bool, int]:
        """Take an entry and its object keys away for good; whether there was one, and how many keys it had."""
        this = identities.c.pseudonym == pseudonym
        there = conn.execute(select(identities.c.pseudonym).where(this).with_for_update()).one_or_none() is not None
        keys = conn.execute(delete(object_keys).where(object_keys.c.pseudonym == pseudonym)).rowcount
        conn.execute(delete(identities).where(this))
        insert_missing(conn, forgotten, [{"pseudonym": pseudonym, "forgotten_at": at}], ["pseudonym"])
        return there, keys

    # who may be the same person

    def matches(self, conn: Connection, pseudonym: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Who may be the same person, the earliest first.

        Returns:
            pseudonyms of other issuers with the same national id; of anybody with the same name and birth date; and
            of other issuers with the same national id where either side's birth date or sex contradicts it.
        """
        this = conn.execute(select(identities).where(identities.c.pseudonym == pseudonym)).one_or_none()
        if this is None:
            return (), (), ()
        same_name = tuple(row.pseudonym for row in _others(conn, this, "match_key"))
        same_id = _others(conn, this, "national_key")
        if not same_id:
            return (), same_name, ()
        issuer, fits = self._national(this)
        sure: list[str] = []
        doubtful: list[str] = []
        for row in same_id:
            other_issuer, other_fits = self._national(row)
            if other_issuer != issuer:
                (sure if fits and other_fits else doubtful).append(row.pseudonym)
        return tuple(sure), same_name, tuple(doubtful)

    def _national(self, row: Row[Any]) -> tuple[str, bool]:
        """An entry's issuer, and whether all that is stated of its patient agrees with its national id."""
        entry = self.open(row).entry
        number = national_number(entry.values.get("national_id"), entry.patient_id, row.changed_at.date())
        stated = [*entry.values.items(), *((one.field, one.value) for one in entry.said if not one.settled)]
        return entry.issuer, number is not None and all(fits_resident_id(number, *one) for one in stated)

    # the keys of stored objects

    def missing_keys(self, conn: Connection, pseudonym: str, data_keys: Sequence[DataKey]) -> list[DataKey]:
        """Those that the entry does not hold yet."""
        if not data_keys:
            return []
        query = select(object_keys.c.root_sha256, object_keys.c.data_key_id).where(object_keys.c.pseudonym == pseudonym)
        roots = [one.root_sha256 for one in data_keys]
        held = {tuple(row) for row in _in_parts(conn, query, object_keys.c.root_sha256, roots)}
        return [one for one in data_keys if (one.root_sha256, one.id.hex()) not in held]

    def adopt(self, conn: Connection, opened: Opened, data_keys: Sequence[DataKey], at: datetime) -> None:
        """Wrap the objects' keys with the entry's; those that it holds already stay."""
        rows = [
            {
                "root_sha256": one.root_sha256,
                "data_key_id": one.id.hex(),
                "pseudonym": opened.pseudonym,
                "wrapped": self.envelopes.wrap_object_key(
                    opened.key, opened.pseudonym, one.root_sha256, one.id.hex(), one.key
                ),
                "adopted_at": at,
            }
            for one in data_keys
        ]
        insert_missing(conn, object_keys, rows, ["root_sha256", "data_key_id", "pseudonym"])

    def release(self, conn: Connection, pseudonym: str, data_keys: Sequence[DataKey]) -> int:
        """Take keys away from an entry, those that another entry holds too; returns how many."""
        released = 0
        other = object_keys.alias()
        for one in data_keys:
            elsewhere = (
                select(other.c.pseudonym)
                .where(
                    other.c.root_sha256 == one.root_sha256,
                    other.c.data_key_id == one.id.hex(),
                    other.c.pseudonym != pseudonym,
                )
                .exists()
            )
            released += conn.execute(
                delete(object_keys).where(
                    object_keys.c.root_sha256 == one.root_sha256,
                    object_keys.c.data_key_id == one.id.hex(),
                    object_keys.c.pseudonym == pseudonym,
                    elsewhere,
                )
            ).rowcount
        return released

    def object_key(self, conn: Connection, root_sha256: str, data_key_id: str) -> bytes | None:
        """A stored object's key, whoever's it is; None where nobody holds it."""
        query = (
            select(identities.c.pseudonym, identities.c.master_id, identities.c.entry_key, object_keys.c.wrapped)
            .join(identities, identities.c.pseudonym == object_keys.c.pseudonym)
            .where(object_keys.c.root_sha256 == root_sha256, object_keys.c.data_key_id == data_key_id)
            .limit(1)
        )
        row = conn.execute(query).one_or_none()
        if row is None:
            return None
        key = self.envelopes.unwrap("entry", row.pseudonym, row.master_id, row.entry_key)
        return self.envelopes.unwrap_object_key(key, row.pseudonym, root_sha256, data_key_id, row.wrapped)

    def _values(self, pseudonym: str, key: bytes, entry: Entry, at: datetime) -> dict[str, Any]:
        said = entry.values
        return {
            "changed_at": at,
            "sealed": self.envelopes.seal_entry(key, pseudonym, entry),
            "match_key": self._match_keys.match_of(said.get("name"), said.get("birth_date")),
            "national_key": self._match_keys.national_of(said.get("national_id"), entry.patient_id, at.date()),
        }

    def _wrapped(self, pseudonym: str, key: bytes) -> dict[str, Any]:
        master_id, wrapped = self.envelopes.wrap("entry", pseudonym, key)
        return {"master_id": master_id, "entry_key": wrapped}


def held(conn: Connection, roots: Iterable[str]) -> dict[Known, datetime]:
    """Which keys of objects with these roots the vault holds, and since when."""
    query = select(
        object_keys.c.root_sha256, object_keys.c.data_key_id, func.max(object_keys.c.adopted_at).label("adopted_at")
    ).group_by(object_keys.c.root_sha256, object_keys.c.data_key_id)
    rows = _in_parts(conn, query, object_keys.c.root_sha256, sorted(set(roots)))
    return {(row.root_sha256, bytes.fromhex(row.data_key_id)): row.adopted_at for row in rows}


def holders(conn: Connection, roots: Iterable[str]) -> dict[str, set[str]]:
    """Whose entries hold a key of objects with these roots."""
    query = select(object_keys.c.root_sha256, object_keys.c.pseudonym).distinct()
    found: dict[str, set[str]] = {}
    for row in _in_parts(conn, query, object_keys.c.root_sha256, sorted(set(roots))):
        found.setdefault(row.root_sha256, set()).add(row.pseudonym)
    return found


def _others(conn: Connection, this: Row[Any], name: str) -> Sequence[Row[Any]]:
    """Entries with the same value in a column; a limit for each ground, so that none crowds another out."""
    value = this._mapping[name]
    if value is None:
        return ()
    query = select(identities).where(identities.c[name] == value, identities.c.pseudonym != this.pseudonym)
    return conn.execute(query.order_by(identities.c.enrolled_at, identities.c.pseudonym).limit(_MOST_MATCHES)).all()


def plain_identity(row: Row[Any]) -> Identity:
    """Of a row that the older version wrote."""
    return Identity(row.issuer, row.patient_id, row.name, row.birth_date, row.sex)


def plain_key(identity: Identity) -> str:
    """By what the older version found a patient."""
    issuer, patient_id = (text.encode("utf-8", "surrogatepass") for text in (identity.issuer, identity.patient_id))
    return hashlib.sha256(b"%d:%b%b" % (len(issuer), issuer, patient_id)).hexdigest()


def again(act: Callable[[], _Result]) -> _Result:
    """Run a transaction, once more where it met a key that a rotation has dropped meanwhile.

    Raises:
        StorageError: ``vault_key_missing``: the key ring is not the one that the entry was sealed with.
    """
    for _ in range(_ROTATIONS):
        try:
            return act()
        except MasterGone:
            continue
    raise StorageError("vault_key_missing", "the key ring does not hold the key that an entry is sealed with")


def record(
    conn: Connection,
    at: datetime,
    actor: str,
    action: str,
    object_id: str,
    detail: Mapping[str, Any],
    object_type: str = "patient",
) -> int:
    """Write an event of the vault's."""
    return audit.record(
        conn,
        at=at,
        actor=actor,
        action=action,
        object_type=object_type,
        object_id=object_id,
        detail=detail,
        table=schema.vault_events,
    )


def mark_joined(conn: Connection, event: int, pseudonyms: Iterable[str]) -> None:
    """Whose identity the event opened."""
    conn.execute(insert(schema.joined), [{"event_id": event, "pseudonym": name} for name in pseudonyms])


def _in_parts(conn: Connection, query: Select[Any], column: Any, values: Sequence[str]) -> list[Row[Any]]:
    rows: list[Row[Any]] = []
    for start in range(0, len(values), _AT_ONCE):
        rows += conn.execute(query.where(column.in_(values[start : start + _AT_ONCE]))).all()
    return rows

"""Identities and the pseudonyms that stand for them.

Everything outside knows a patient by a random pseudonym. ``Vault.join`` is the only way back, and it writes who
asked, why and for which cases in the transaction that reads.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from teleread.errors import InputRejected, StorageError
from teleread.storage import audit
from teleread.storage.catalogue.database import Database, insert_missing
from teleread.storage.vault import schema
from teleread.storage.vault.schema import VAULT, identities, joined, project_keys

_PSEUDONYM = re.compile(r"P[A-Z2-7]{12}")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PROJECT_KEY_BYTES = 32
_LONGEST_TEXT = 1024
_LONGEST_SEX = 16
_TRIES = 3
_CHANGING = ("name", "birth_date", "sex")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a patient is. Two are the same patient when issuer and patient id are equal, and only then.

    Args:
        issuer: who gave the id; never empty in practice, a site's own id where nothing else is known.
        patient_id: as the issuer wrote it; who has none is given a unique one by the caller.
        name, birth_date, sex: absent when unknown.
    """

    issuer: str
    patient_id: str
    name: str | None = None
    birth_date: date | None = None
    sex: str | None = None


class Vault:
    """The identities' database.

    Args:
        url: as for ``Database``; never the catalogue's.
        wait_s: how long a writer waits for another.
        random_bytes: source of pseudonyms and keys.
    """

    def __init__(
        self, url: str, *, wait_s: float = 30.0, random_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._database = Database(url, wait_s=wait_s, migrations=VAULT)
        self._random_bytes = random_bytes

    def migrate(self) -> None:
        """Bring the vault's tables up to date; see :meth:`Database.migrate`."""
        self._database.migrate()

    def close(self) -> None:
        """Close the pooled connections."""
        self._database.close()

    def enroll(self, identity: Identity, at: datetime) -> str:
        """The patient's pseudonym: ``P`` and 12 random base32 letters, made at the first call.

        Another name, birth date or sex for the same id replaces the one before and is an audit event, which names
        the fields and no values; an unknown one replaces nothing. Texts are cut at 1,024 characters, and what a
        database cannot hold is replaced by U+FFFD; the id is compared as it came.

        Raises:
            StorageError: ``vault_busy``, ``vault_unreachable`` and so on.
        """
        values = _row(identity)
        this = select(identities).where(identities.c.patient_key == values["patient_key"])
        with self._database.read() as conn:  # most patients are known, and readers wait for nobody
            known = conn.execute(this).one_or_none()
        if known is not None and not _news(known, values):
            return str(known.pseudonym)
        with self._database.write() as conn:
            known = self._insert(conn, this, values, at)
            news = _news(known, values)
            if news:
                changed = {field: values[field] for field in news}
                conn.execute(
                    update(identities).where(identities.c.pseudonym == known.pseudonym).values(changed_at=at, **changed)
                )
                _record(conn, at, "intake", "identity_changed", "patient", known.pseudonym, {"fields": news})
            return str(known.pseudonym)

    def join(
        self, pseudonyms: Sequence[str], *, who: str, why: str, case_ids: Sequence[str], at: datetime
    ) -> dict[str, Identity]:
        """The identities behind the pseudonyms; unknown ones are left out.

        One audit event names the reader, the purpose and the cases, and is linked to each pseudonym asked for.
        Nothing is returned unless it was written.

        Args:
            pseudonyms: any number; none reads and writes nothing.
            who: account name.
            why: stable word for the purpose, for example ``"read"``.
            case_ids: the cases in question.
            at: aware time.

        Raises:
            StorageError: ``vault_busy``, ``vault_unreachable`` and so on.
        """
        wanted = sorted({name for name in pseudonyms if _PSEUDONYM.fullmatch(name)})
        if not wanted:
            return {}
        with self._database.write() as conn:
            rows = conn.execute(select(identities).where(identities.c.pseudonym.in_(wanted))).all()
            cases = sorted(set(case_ids))
            event = _record(
                conn,
                at,
                who,
                "join",
                "case",
                cases[0] if len(cases) == 1 else f"{len(cases)} cases",
                {"why": why, "cases": cases},
            )
            conn.execute(insert(joined), [{"event_id": event, "pseudonym": name} for name in wanted])
        return {row.pseudonym: Identity(*(getattr(row, field.name) for field in fields(Identity))) for row in rows}

    def project_key(self, name: str) -> bytes:
        """The project's 32 secret bytes, made at the first call and the same ever after.

        Raises:
            InputRejected: ``bad_project_name``.
        """
        if not _PROJECT.fullmatch(name):
            raise InputRejected("bad_project_name", "a project name has 1 to 64 lower-case letters, digits and ._-")
        this = select(project_keys.c.key).where(project_keys.c.name == name)
        with self._database.read() as conn:
            key = conn.execute(this).scalar_one_or_none()
        if key is None:
            with self._database.write() as conn:
                fresh = {"name": name, "key": self._random_bytes(_PROJECT_KEY_BYTES)}
                insert_missing(conn, project_keys, [fresh], ["name"])
                key = conn.execute(this).scalar_one()
        return bytes(key)

    def _insert(
        self, conn: Connection, this: Select[*tuple[Any, ...]], values: dict[str, Any], at: datetime
    ) -> Row[*tuple[Any, ...]]:
        """The patient's row, made when absent."""
        for _ in range(_TRIES):
            fresh = {"pseudonym": _pseudonym(self._random_bytes), "enrolled_at": at, "changed_at": at, **values}
            made = insert_missing(conn, identities, [fresh], [])
            known = conn.execute(this).one_or_none()
            if known is not None:
                if made:
                    _record(conn, at, "intake", "enroll", "patient", known.pseudonym, {})
                return known
            # neither made nor there: the pseudonym is another patient's
        raise StorageError("vault_no_pseudonym", "the source of random numbers repeats itself")


def _record(
    conn: Connection, at: datetime, actor: str, action: str, object_type: str, object_id: str, detail: dict[str, Any]
) -> int:
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


def _row(identity: Identity) -> dict[str, Any]:
    issuer, patient_id = (text.encode("utf-8", "surrogatepass") for text in (identity.issuer, identity.patient_id))
    return {
        "patient_key": hashlib.sha256(b"%d:%b%b" % (len(issuer), issuer, patient_id)).hexdigest(),
        "issuer": _storable(identity.issuer),
        "patient_id": _storable(identity.patient_id),
        "name": None if identity.name is None else _storable(identity.name),
        "birth_date": identity.birth_date,
        "sex": None if identity.sex is None else _storable(identity.sex)[:_LONGEST_SEX],
    }


def _news(known: Row[*tuple[Any, ...]], values: dict[str, Any]) -> list[str]:
    """Fields that are now known to be something else."""
    return [field for field in _CHANGING if values[field] is not None and getattr(known, field) != values[field]]


def _storable(text: str) -> str:
    """PostgreSQL takes no NUL, and neither database half a surrogate pair."""
    clean = "".join("\ufffd" if sign == "\0" or "\ud800" <= sign <= "\udfff" else sign for sign in text)
    return clean[:_LONGEST_TEXT]


def _pseudonym(random_bytes: Callable[[int], bytes]) -> str:
    return "P" + base64.b32encode(random_bytes(8)).decode()[:12]

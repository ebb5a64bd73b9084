"""Identities and the pseudonyms that stand for them.

Everything outside knows a patient by a random pseudonym. ``Vault.join`` is the only way back, and it writes who
asked, why and for which cases in the transaction that reads.

The database alone says nothing: each entry is sealed under a key of its own, which a master key of the key ring
wraps, and patients are found by keyed hashes. An entry's key also wraps the keys of the patient's stored objects, so
that without the entry neither name nor bytes nor project pseudonyms come back, from whichever copy.

What this cannot reach: a backup of the vault made before an entry was deleted still holds it for whoever also has the
key ring. It loses it when it is restored (:meth:`Vault.replay_forgotten`), and for good once the master key has been
rotated (:meth:`Vault.rotate`) and the old key ring's copies are gone. PostgreSQL keeps removed rows in its files and
write-ahead log until it writes over them; the same rotation makes them useless.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, inspect, select

from teleread.errors import Conflict, Misconfigured, StorageError
from teleread.storage.catalogue.database import Database, sqlite_path
from teleread.storage.objects.protocol import DataKey, ObjectKeys
from teleread.storage.vault import entries, older, recovery, rotation
from teleread.storage.vault.database import VaultDatabase
from teleread.storage.vault.entries import Entries, Known, Opened, again, record
from teleread.storage.vault.envelope import Envelopes
from teleread.storage.vault.identity import Enrolled, Identity, Statement, accepted, disowned, merge
from teleread.storage.vault.keyring import KeyRing
from teleread.storage.vault.matching import MatchKeys
from teleread.storage.vault.projects import Projects
from teleread.storage.vault.rotation import VaultStatus
from teleread.storage.vault.schema import forgotten, identities

log = logging.getLogger(__name__)

_NOT_NOW = ("vault_unreachable", "vault_busy")
_PSEUDONYM = re.compile(r"P[A-Z2-7]{12}")


class Vault:
    """The identities' database. Safe in threads, in several processes and in forked children.

    Every method raises ``StorageError``: ``vault_busy``, ``vault_unreachable`` and so on; ``vault_corrupt`` for an
    entry that is not what was written; ``vault_key_missing`` for one that this key ring does not open.

    Args:
        url: as for ``Database``; never the catalogue's.
        ring: the open key ring that belongs to this database.
        wait_s: how long a writer waits for another.
        page_wait_s: how long a page waits for its names; see :meth:`join`.
        random_bytes: source of pseudonyms and keys.
        expected: whether this database must hold something: then one that is gone or has no tables is not made anew.

    Raises:
        Misconfigured: ``vault_missing``; ``bad_database_url``.
    """

    def __init__(
        self,
        url: str,
        ring: KeyRing,
        *,
        wait_s: float = 30.0,
        page_wait_s: float = 2.0,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        expected: Callable[[], bool] = lambda: False,
    ) -> None:
        path = sqlite_path(url)
        if path is not None and not path.exists() and expected():  # opening it would make the file
            raise _missing()
        self.ring = ring
        self._expected = expected
        self._late = False
        self._here = threading.local()
        self._database = VaultDatabase(url, wait_s=wait_s, before_use=self._catch_up)
        self._for_pages = VaultDatabase(url, wait_s=page_wait_s, before_use=self._catch_up)
        self._entries = Entries(Envelopes(ring, random_bytes), MatchKeys.of(ring), random_bytes)
        self._projects = Projects(self._database, self._entries)
        self._keys = _VaultKeys(ring, self._database, self._entries)

    @property
    def database(self) -> Database:
        """Where the entries lie, for the audit and for backups."""
        return self._database

    @property
    def keys(self) -> ObjectKeys:
        """What the object store takes its keys from. Intake keys come from the ring's file, without the database."""
        return self._keys

    def migrate(self) -> None:
        """Bring the vault's tables up to date; see :meth:`Database.migrate`. Seals what the older version wrote.

        Raises:
            Misconfigured: ``key_ring_foreign``: the key ring does not belong to this database; ``vault_missing``.
        """
        self._migrate(self._database)

    def migrate_when_it_answers(self) -> None:
        """As :meth:`migrate`; a database that does not answer now is migrated at its first use that succeeds.

        What needs no vault, landing above all, goes on meanwhile.

        Raises:
            Misconfigured: as :meth:`migrate`, here or at the first use.
        """
        try:
            self.migrate()
        except StorageError as error:
            if error.code not in _NOT_NOW:
                raise
            log.error("the vault is not there yet: %s", error.code)
            self._late = True

    def close(self) -> None:
        """Close the pooled connections."""
        self._database.close()
        self._for_pages.close()

    def enroll(
        self,
        identity: Identity,
        at: datetime,
        *,
        data_keys: Sequence[DataKey] = (),
        arrival_id: str | None = None,
        typed: bool = False,
    ) -> Enrolled:
        """The patient's pseudonym, made at the first call, and what this says that was not known.

        What was unknown is filled in, and another spelling of a name replaces the one before, unless somebody typed
        it. Another name, birth date, sex or national id does not: it is kept beside, and a person decides
        (:meth:`accept`). Each is an audit event, which names the fields and no values. Nothing is written when all is
        known already.

        Texts are cut at 1,024 characters, and what no database can hold is replaced by U+FFFD; issuer and id are
        compared as they came.

        Args:
            identity: as the arrival states it.
            at: aware time.
            data_keys: of the patient's stored objects; kept for good as by :meth:`adopt`, in the same transaction.
            arrival_id: which arrival states it.
            typed: a person names the patient by hand, so that the known name stays too.
        """

        def look() -> Enrolled | None:  # most patients are known, and readers wait for nobody
            with self._database.read() as conn:
                known = self._entries.find(conn, self._entries.lookup(identity))
                if known is None or self._entries.missing_keys(conn, known.pseudonym, data_keys):
                    return None
                merged = merge(known.entry, identity, at, arrival_id, typed=typed)
                if merged.entry != known.entry:
                    return None
                matches = self._entries.matches(conn, known.pseudonym)
                return Enrolled(known.pseudonym, False, merged.contradicts, *matches)

        def write() -> Enrolled:
            with self._database.write() as conn:
                self._database.keep_masters(conn)
                known, new = self._found_or_made(conn, identity, at, arrival_id)
                merged = merge(known.entry, identity, at, arrival_id, typed=typed)
                if merged.entry != known.entry:
                    self._entries.rewrite(conn, known, merged.entry, at)
                if merged.changed and not new:
                    record(conn, at, "intake", "identity_changed", known.pseudonym, {"fields": list(merged.changed)})
                if merged.newly_disputed:
                    detail = {"fields": list(merged.newly_disputed), "arrival": arrival_id}
                    record(conn, at, "intake", "identity_disputed", known.pseudonym, detail)
                self._entries.adopt(conn, known, self._entries.missing_keys(conn, known.pseudonym, data_keys), at)
                return Enrolled(known.pseudonym, new, merged.contradicts)

        def matched(pseudonym: str) -> tuple[tuple[str, ...], ...]:
            # after the commit: of two who enroll at the same moment, the later one sees the other
            with self._database.read() as conn:
                return self._entries.matches(conn, pseudonym)

        if (seen := again(look)) is not None:
            return seen
        written = again(write)
        return Enrolled(written.pseudonym, written.new, written.changed, *again(lambda: matched(written.pseudonym)))

    def accept(self, pseudonym: str, what: Statement | str | None, *, who: str, why: str, at: datetime) -> None:
        """A person's decision on what was stated otherwise; an audit event names the fields and no values.

        Args:
            pseudonym: whose.
            what: a statement out of ``Identity.stated``, which holds from now on; an arrival's id: what that arrival
                stated holds; None: what is known holds, and nothing is disputed any more.
            who: account name.
            why: stable word for the ground, without identity.
            at: aware time.

        Raises:
            Conflict: ``no_such_patient``, ``no_such_statement``.
        """

        def act() -> None:
            with self._database.write() as conn:
                known = self._entries.get(conn, pseudonym, lock=True)
                entry, fields = accepted(known.entry, what)
                if entry == known.entry:
                    return
                self._entries.rewrite(conn, known, entry, at)
                record(conn, at, who, "accept_identity", pseudonym, {"why": why, "fields": list(fields)})

        again(act)

    def join(
        self,
        pseudonyms: Sequence[str],
        *,
        who: str,
        why: str,
        case_ids: Sequence[str],
        at: datetime,
        for_page: bool = False,
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
            for_page: somebody waits who can go on without names: ``vault_busy`` comes after ``page_wait_s``.
        """
        database = self._for_pages if for_page else self._database
        wanted = sorted({name for name in pseudonyms if _PSEUDONYM.fullmatch(name)})
        if not wanted:
            return {}
        cases = sorted(set(case_ids))
        named = cases[0] if len(cases) == 1 else f"{len(cases)} cases"

        def act() -> dict[str, Identity]:
            with database.write() as conn:
                found = self._entries.identities_of(conn, wanted)
                event = record(conn, at, who, "join", named, {"why": why, "cases": cases}, "case")
                entries.mark_joined(conn, event, wanted)
            return found

        return again(act)

    def adopt(self, pseudonym: str, data_keys: Sequence[DataKey], at: datetime) -> None:
        """Keep the keys of stored objects for good, under the patient's entry: they live and die with it.

        Bytes that two patients' issuers sent are adopted by each. Nothing is written for keys that are held already.

        Raises:
            Conflict: ``no_such_patient``.
        """

        def act() -> None:
            with self._database.read() as conn:
                if not self._entries.missing_keys(conn, pseudonym, data_keys):
                    return
            with self._database.write() as conn:
                self._entries.adopt(conn, self._entries.get(conn, pseudonym, lock=True), data_keys, at)

        again(act)

    def disown(
        self, pseudonym: str, arrival_ids: Sequence[str], data_keys: Sequence[DataKey], *, who: str, at: datetime
    ) -> None:
        """These arrivals are another patient's after all: what only they stated goes, and so do their objects' keys.

        A key stays where no other entry holds it, so that no bytes are lost. The same again changes nothing.

        Raises:
            Conflict: ``no_such_patient``.
        """

        def act() -> None:
            with self._database.write() as conn:
                self._database.keep_masters(conn)
                known = self._entries.get(conn, pseudonym, lock=True)
                entry = disowned(known.entry, frozenset(arrival_ids))
                if entry != known.entry:
                    self._entries.rewrite(conn, known, entry, at)
                released = self._entries.release(conn, pseudonym, data_keys)
                if released or entry != known.entry:
                    detail = {"arrivals": sorted(arrival_ids), "keys": released}
                    record(conn, at, who, "disown_arrivals", pseudonym, detail)

        again(act)

    def holders(self, roots: Iterable[str]) -> dict[str, set[str]]:
        """Whose entries hold keys of objects with these roots; roots of which nobody holds one are left out.

        Args:
            roots: SHA-256 of the raw objects, hexadecimal.
        """
        with self._database.read() as conn:
            return entries.holders(conn, roots)

    def held(self, roots: Iterable[str]) -> Mapping[Known, datetime]:
        """Which object keys the vault holds: (root hash, id of the key) to the time since when.

        Args:
            roots: SHA-256 of the raw objects, hexadecimal.
        """
        with self._database.read() as conn:
            return entries.held(conn, roots)

    def project_key(self, name: str) -> bytes:
        """The project's 32 secret bytes, made at the first call and the same ever after.

        Raises:
            InputRejected: ``bad_project_name``.
        """
        return self._projects.key(name)

    def project_pseudonym(self, project: str, pseudonym: str) -> str:
        """What the patient is called in a project's exports: ``X`` and 20 hexadecimal digits, always the same.

        It follows from the project's key and a random secret of the patient's entry, so nobody finds it by trying
        ids with the project's key, and nobody at all once the entry is deleted.

        Raises:
            InputRejected: ``bad_project_name``.
            Conflict: ``no_such_patient``.
        """
        return self._projects.pseudonym(project, pseudonym)

    def date_shift_days(self, project: str, pseudonym: str) -> int:
        """By how many whole days the patient's dates are moved in a project: -365 to -1, always the same.

        Uniform over patients and independent between projects. Raises as :meth:`project_pseudonym`.
        """
        return self._projects.date_shift_days(project, pseudonym)

    def forget(self, pseudonym: str, at: datetime, *, who: str, reason: str) -> None:
        """Delete an entry for good: its identity, its project pseudonyms and the keys of its objects.

        The bytes of its objects are useless from then on once the intake key in their headers is retired. The same
        issuer and id enrolled later is another patient. Doing it again changes nothing. On SQLite nothing of the
        entry stays in the file.

        Args:
            pseudonym: whose.
            at: aware time.
            who: account name.
            reason: stable word, without identity.

        Raises:
            Conflict: ``no_such_patient``: never was here.
            StorageError: ``vault_busy`` also when the entry is gone but the write-ahead log could not be emptied
                yet: call again.
        """
        with self._database.write() as conn:
            gone = conn.execute(select(forgotten).where(forgotten.c.pseudonym == pseudonym)).first() is not None
            if not gone:
                there, keys = self._entries.remove(conn, pseudonym, at)
                if not there:
                    raise Conflict("no_such_patient", "The vault knows no such pseudonym.")
                record(conn, at, who, "forget", pseudonym, {"reason": reason, "object_keys": keys})
        self._database.checkpoint()

    def forgotten(self) -> dict[str, datetime]:
        """Pseudonyms whose entries were deleted, and when."""
        with self._database.read() as conn:
            return {row.pseudonym: row.forgotten_at for row in conn.execute(select(forgotten))}

    def replay_forgotten(self, pseudonyms: Mapping[str, datetime] | Iterable[str], at: datetime) -> int:
        """After a restore: delete again what had been deleted since the backup; how many entries that was.

        Args:
            pseudonyms: with the times where they are known.
            at: aware time of the restore.
        """
        times = pseudonyms if isinstance(pseudonyms, Mapping) else dict.fromkeys(pseudonyms, at)
        removed = 0
        for pseudonym, forgotten_at in times.items():
            with self._database.write() as conn:
                there, keys = self._entries.remove(conn, pseudonym, forgotten_at)
                if there:
                    removed += 1
                    record(conn, at, "restore", "forget", pseudonym, {"reason": "replayed", "object_keys": keys})
        self._database.checkpoint()
        return removed

    def rotate(self, progress: Callable[[int, int], None] | None = None, *, who: str = "vault") -> int:
        """Wrap every entry's and project's key anew with a new master key and destroy the old one.

        Everybody else goes on meanwhile. Killed at any moment, the next call goes on where it stood.

        Args:
            progress: called with how many are done and how many there were to do.
            who: account name, for the audit event.

        Returns:
            how many keys were wrapped anew.
        """
        return rotation.rotate(self._database, self.ring, self._entries.envelopes, progress, who)

    def new_intake_key(self, *, who: str) -> bytes:
        """Make another intake key, which is used from now on, with an audit event; its id."""
        with self._database.write() as conn:
            made = self.ring.new_intake()
            record(conn, self.ring.clock(), who, "new_intake_key", made.hex(), {}, "key")
        return made

    def retire_intake_key(self, key_id: bytes, *, who: str) -> None:
        """See :meth:`KeyRing.retire_intake`; an audit event tells of it."""
        with self._database.write() as conn:
            record(conn, self.ring.clock(), who, "retire_intake_key", key_id.hex(), {}, "key")
            self.ring.retire_intake(key_id)  # last: nothing that is destroyed goes untold

    def set_recovery_key(self, public: bytes, *, who: str) -> None:
        """See :meth:`KeyRing.set_recovery`; an audit event names the key's fingerprint."""
        with self._database.write() as conn:
            record(conn, self.ring.clock(), who, "set_recovery_key", recovery.fingerprint(public), {}, "key")
            self.ring.set_recovery(public)

    def status(self) -> VaultStatus:
        """Counts for an operator; no identity, no key."""
        return rotation.status(self._database)

    def _migrate(self, database: VaultDatabase) -> None:
        # through a plain connection: this one migrates before its first use
        with Database.read(database) as conn:
            made = inspect(conn).has_table(identities.name)
        if not made and self._expected():
            raise _missing()
        database.migrate()
        rotation.check_ring(database, self.ring)
        older.seal(database, self._entries, self._projects)

    def _catch_up(self, database: VaultDatabase) -> None:
        """Migrate late. Several threads at once do no harm, as several processes do none, and no lock is forked."""
        if not self._late or getattr(self._here, "migrating", False):
            return
        self._here.migrating = True
        try:
            self._migrate(database)
        finally:
            self._here.migrating = False
        self._late = False

    def _found_or_made(
        self, conn: Connection, identity: Identity, at: datetime, arrival_id: str | None
    ) -> tuple[Opened, bool]:
        lookup = self._entries.lookup(identity)
        known = self._entries.find(conn, lookup, lock=True)
        if known is None:
            plain = identities.c.patient_key == entries.plain_key(identity)
            row = conn.execute(select(identities).where(plain, identities.c.sealed.is_(None))).one_or_none()
            if row is not None:  # written by the older version since the vault was opened
                self._entries.seal_plain(conn, row)
                known = self._entries.find(conn, lookup, lock=True)
        if known is not None:
            return known, False
        made, new = self._entries.insert(conn, identity, at, arrival_id)
        if new:
            record(conn, at, "intake", "enroll", made.pseudonym, {})
        return made, new


def _missing() -> Misconfigured:
    return Misconfigured(
        "vault_missing",
        "The vault's database is gone, and the catalogue knows patients whose names it held. Put the database back; or "
        "move the catalogue aside and bring both back from a backup with `teleread restore` (docs/backup.md).",
    )


class _VaultKeys:
    """The vault as the object store's source of keys."""

    def __init__(self, ring: KeyRing, database: VaultDatabase, rows: Entries) -> None:
        self._ring = ring
        self._database = database
        self._entries = rows

    def intake(self) -> tuple[bytes, bytes]:
        return self._ring.intake()

    def intake_key(self, key_id: bytes) -> bytes | None:
        return self._ring.intake_key(key_id)

    def recover(self, root_sha256: str, data_key_id: bytes) -> bytes | None:
        def act() -> bytes | None:
            with self._database.read() as conn:
                return self._entries.object_key(conn, root_sha256, data_key_id.hex())

        return again(act)

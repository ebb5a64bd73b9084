"""The key ring: one small file, readable by the service alone, from which every other key follows.

It holds a root secret that never changes (see :meth:`KeyRing.derive`), the *intake* keys that wrap the keys of stored
objects in their headers, and the *master* keys that wrap the keys of the vault's entries and projects. A key that is
retired or dropped leaves the file; its id and the time stay, so that what it wrapped can be told from damage.

The file is never written in place: a change is written beside it, synced and renamed over it under a file lock, and
every process sees it at its next use. A file that cannot be used any more stops changes and whoever starts; a process
that has read it goes on with what it read and says so in its log. Nothing here waits for a database, so bytes can be
landed while none answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import stat
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from teleread.errors import Conflict, Misconfigured, StorageError
from teleread.storage.vault import recovery
from teleread.storage.vault.ring_content import (
    ID_BYTES,
    KEY_BYTES,
    Kind,
    Ring,
    RingKey,
    decoded,
    encoded,
    find,
    living,
    together,
    without_keys,
)
from teleread.storage.vault.ring_file import blank, check_private, open_or_none, signature, sync_folder, translated

__all__ = ["ID_BYTES", "KEY_BYTES", "Clock", "KeyRing", "RingKey"]

log = logging.getLogger(__name__)

_LARGEST_FILE = 1 << 22
_TRIES = 5
_NEW_FILE_MODE = 0o400

Clock = Callable[[], datetime]


class KeyRing:
    """The open key ring. Safe in threads, in several processes and in forked children; see :meth:`open`."""

    def __init__(self, path: Path, *, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._path = path
        self._clock = clock
        self._random_bytes = random_bytes
        self._locks: set[int] = set()
        self._loaded: tuple[tuple[int, ...], Ring] | None = None
        self._told: tuple[int, ...] | None = None
        _open_rings.add(self)

    @classmethod
    def open(
        cls, path: Path | str, *, clock: Clock, random_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> KeyRing:
        """Open the key ring, made at first: processes that start together agree on one.

        Args:
            path: of the file, made with mode 0400 in a folder of mode 0700; the lock file ``<path>.lock`` stands
                beside it.
            clock: aware time; says when a key was made and retired.
            random_bytes: source of the keys.

        Raises:
            Misconfigured: ``key_file_open_to_others``, ``key_file_damaged``, ``key_file_newer``.
            StorageError: ``key_file_io``.
        """
        ring = cls(Path(os.path.realpath(path)), clock=clock, random_bytes=random_bytes)
        with translated():
            ring._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not ring._path.exists():
                with ring._alone():
                    if not ring._path.exists():
                        ring._write(Ring(random_bytes(KEY_BYTES), (ring._fresh(),), (ring._fresh(),)), _NEW_FILE_MODE)
        ring._now()
        return ring

    @staticmethod
    def united(newest: bytes, others: Iterable[bytes]) -> bytes:
        """The newest ring with every key of older ones that it no longer has.

        For a restore: what an older backup holds may be wrapped by keys that were dropped since. Rings of another
        root secret are left out. Keys in use stay the newest ring's.

        Raises:
            Misconfigured: ``key_file_damaged``, ``key_file_newer``.
        """
        ring = decoded(newest)
        for other in map(decoded, others):
            if other.root == ring.root:
                ring = replace(
                    ring,
                    intake=together(ring.intake, other.intake),
                    master=together(ring.master, other.master),
                    generation=max(ring.generation, other.generation),
                )
        return encoded(replace(ring, generation=ring.generation + 1))

    @classmethod
    def restore(cls, path: Path | str, ring_bytes: bytes, *, clock: Clock) -> KeyRing:
        """Write the key ring that a backup held, where there is none.

        Raises:
            Conflict: ``key_file_exists``; nothing is written over a key ring.
            Misconfigured: ``key_file_damaged``, ``key_file_newer``.
            StorageError: ``key_file_io``.
        """
        kept = decoded(ring_bytes)
        ring = cls(Path(os.path.realpath(path)), clock=clock, random_bytes=secrets.token_bytes)
        with translated():
            ring._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with ring._alone():
                if ring._path.exists():
                    raise Conflict("key_file_exists", "There is a key ring already; move it away first.")
                ring._write(kept, _NEW_FILE_MODE)
        ring._now()
        return ring

    @property
    def path(self) -> Path:
        """Where the file stands."""
        return self._path

    @property
    def generation(self) -> int:
        """Number of the ring's last change; the first ring has 1."""
        return self._now().generation

    @property
    def clock(self) -> Clock:
        """What it takes the time from."""
        return self._clock

    # intake keys: wrap the keys of objects in the objects' headers

    def intake(self) -> tuple[bytes, bytes]:
        """Id and key to wrap with now."""
        return living(self._now().intake)

    def intake_key(self, key_id: bytes) -> bytes | None:
        """The key; None when it was retired or never was here."""
        return find(self._now().intake, key_id)

    def intakes(self) -> tuple[RingKey, ...]:
        """All intake keys without the keys themselves, oldest first, retired ones too."""
        return without_keys(self._now().intake)

    def new_intake(self) -> bytes:
        """Make another intake key, which is used from now on, and return its id."""
        return self._add("intake")

    def retire_intake(self, key_id: bytes) -> None:
        """Destroy an intake key: objects whose key nobody else holds are unreadable from now on.

        One that is retired already is left as it is.

        Raises:
            Conflict: ``key_in_use`` for the newest one, ``no_such_key``.
        """
        self._retire("intake", key_id)

    # master keys: wrap the keys of the vault's entries

    def master(self) -> tuple[bytes, bytes]:
        """Id and key to wrap with now."""
        return living(self._now().master)

    def master_key(self, key_id: bytes) -> bytes | None:
        """The key; None when it was dropped or never was here."""
        return find(self._now().master, key_id)

    def masters(self) -> tuple[RingKey, ...]:
        """All master keys without the keys themselves, oldest first, dropped ones too."""
        return without_keys(self._now().master)

    def add_master(self) -> bytes:
        """Make another master key, which is used from now on, and return its id."""
        return self._add("master")

    def drop_master(self, key_id: bytes) -> None:
        """Destroy a master key; as :meth:`retire_intake`."""
        self._retire("master", key_id)

    def derive(self, purpose: str) -> bytes:
        """32 bytes that never change and say nothing about each other: HKDF-SHA256 (RFC 5869) of the root secret.

        Args:
            purpose: for example ``"audit"``.
        """
        info = b"teleread key ring 1\0" + purpose.encode()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._now().root)

    # the copy that two people together can open

    @property
    def recovery_public(self) -> bytes | None:
        """The public key that backups seal the ring to; None before :meth:`set_recovery`."""
        return self._now().recovery_public

    def set_recovery(self, public: bytes) -> None:
        """Seal the ring to this X25519 public key from now on."""
        if len(public) != KEY_BYTES:
            raise ValueError("an X25519 public key has 32 bytes")
        self._change(lambda ring: replace(ring, recovery_public=public))

    def sealed_for_recovery(self) -> bytes:
        """The whole ring, which only the private key of :attr:`recovery_public` opens.

        Raises:
            Misconfigured: ``no_recovery_key`` before :meth:`set_recovery`.
        """
        ring = self._now()
        if ring.recovery_public is None:
            raise Misconfigured("no_recovery_key", "There is no recovery key: run `teleread vault recovery-key`.")
        return recovery.seal_to(ring.recovery_public, encoded(ring), random_bytes=self._random_bytes)

    # inside

    def _fresh(self) -> RingKey:
        return RingKey(self._random_bytes(ID_BYTES), self._clock(), None, self._random_bytes(KEY_BYTES))

    def _add(self, kind: Kind) -> bytes:
        fresh = self._fresh()
        self._change(lambda ring: ring.with_keys(kind, (*ring.keys(kind), fresh)))
        return fresh.id

    def _retire(self, kind: Kind, key_id: bytes) -> None:
        def retired(ring: Ring) -> Ring:
            keys = ring.keys(kind)
            known = next((one for one in keys if one.id == key_id), None)
            if known is None:
                raise Conflict("no_such_key", "The key ring has no key of this id.")
            if known.key is None:
                return ring
            if living(keys)[0] == key_id:
                raise Conflict("key_in_use", "The newest key is in use; make another before this one is destroyed.")
            gone = replace(known, key=None, retired_at=self._clock())
            return ring.with_keys(kind, tuple(gone if one.id == key_id else one for one in keys))

        self._change(retired)

    def _now(self) -> Ring:
        """The ring as the file has it; where the file cannot be looked at or used, as it was last seen."""
        loaded = self._loaded
        try:
            seen = signature(os.stat(self._path))
        except OSError:
            if loaded is None:
                raise StorageError("key_file_io", "the key file cannot be read") from None
            return loaded[1]  # landing and reading go on; changes are refused
        if loaded is None or loaded[0] != seen:
            try:
                with translated():
                    self._loaded = loaded = self._read()
            except (Misconfigured, StorageError) as error:
                if loaded is None or error.code == "key_file_foreign":
                    raise
                if self._told != seen:
                    log.error("the key file cannot be used, the key ring in memory is: %s", error.code)
                    self._told = seen
        return loaded[1]

    def _read(self) -> tuple[tuple[int, ...], Ring]:
        for last in range(_TRIES):
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                facts = os.fstat(handle)
                check_private(facts)
                text = os.read(handle, _LARGEST_FILE)
                try:
                    ring = decoded(text)
                    break
                except Misconfigured:
                    # a file that was replaced while we held it open is blanked; see _write
                    if os.fstat(handle).st_nlink or last == _TRIES - 1:
                        raise
            finally:
                os.close(handle)
        if self._loaded is not None and self._loaded[1].root != ring.root:
            raise Misconfigured("key_file_foreign", "The key file was replaced by another ring; start again.")
        return signature(facts), ring

    def _change(self, act: Callable[[Ring], Ring]) -> None:
        with translated(), self._alone():
            if not self._path.exists():
                raise Misconfigured("key_file_missing", "The key file is gone; restore it before anything is changed.")
            before = self._read()
            after = act(before[1])
            if after != before[1]:
                mode = stat.S_IMODE(os.stat(self._path).st_mode)
                self._write(replace(after, generation=before[1].generation + 1), mode)
        self._now()

    def _write(self, ring: Ring, mode: int) -> None:
        """Replace the file, durably; what stood in the old one is blanked unless another name holds it."""
        draft = self._path.with_name(f".{self._path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()  # of a process that was killed; the lock is ours
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(encoded(ring))
                out.flush()
                os.fchmod(out.fileno(), mode)
                os.fsync(out.fileno())
            old = open_or_none(self._path)
            try:
                os.replace(draft, self._path)
                sync_folder(self._path.parent)
                if old is not None:
                    blank(old)
            finally:
                if old is not None:
                    os.close(old)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()  # gone already, unless something failed

    @contextmanager
    def _alone(self) -> Iterator[None]:
        handle = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._locks.add(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            # said aloud: a child forked meanwhile shares the lock, and closing ours alone would leave it held
            fcntl.flock(handle, fcntl.LOCK_UN)
            self._locks.discard(handle)
            os.close(handle)

    @classmethod
    def in_memory(cls, ring_bytes: bytes, *, clock: Clock) -> KeyRing:
        """A ring that stands in no file, to be read alone: a change of it fails with ``key_file_io``.

        Raises:
            Misconfigured: ``key_file_damaged``, ``key_file_newer``.
        """
        ring = cls(Path(os.devnull) / "ring", clock=clock, random_bytes=secrets.token_bytes)
        ring._loaded = (), decoded(ring_bytes)
        return ring

    def _leave_parent(self) -> None:
        # closing a shared lock's handle does not release it; the parent goes on holding what it holds
        for handle in self._locks:
            with contextlib.suppress(OSError):
                os.close(handle)
        self._locks = set()


_open_rings: weakref.WeakSet[KeyRing] = weakref.WeakSet()


def _after_fork() -> None:
    for ring in list(_open_rings):
        ring._leave_parent()


os.register_at_fork(after_in_child=_after_fork)

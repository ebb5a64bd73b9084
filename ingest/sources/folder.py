"""Watching a folder into which carts and gateways write.

Nobody tells when a file is finished, so a file is taken only when it is still (unchanged over two looks), readable
without changing, and whole by what it declares itself. One that stays still and cut short is taken as it is after
``whole_wait_s``: it then shows as broken where a person sees it, instead of lying unseen. A file written over is
taken again. Nothing is ever moved, renamed or deleted.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from teleread.alliance import Connection
from teleread.errors import PeerError, TelereadError
from teleread.ingest import formats
from teleread.ingest.dicom_file import sop_class_of
from teleread.ingest.sources.base import Land, Ledger, PullResult, PullStopped, SourceItem
from teleread.ingest.sources.folder_scan import Changed, Seen, Stamp, read_head, read_unchanged, scan

_HEAD_BYTES = 1 << 16
_MAX_PARTS = 64


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a recording; ``known_as`` is what the recording itself calls it."""

    name: str
    stamp: Stamp
    known_as: str


@dataclass(frozen=True, slots=True)
class Group:
    """Files that are one recording, the first naming it; nearly always one file."""

    parts: tuple[Part, ...]
    orphan: bool = False  # WFDB samples whose header has not come

    @property
    def name(self) -> str:
        """Relative path of the file that names the recording."""
        return self.parts[0].name

    @property
    def changed_ns(self) -> int:
        """When its last part was written, by the clock of whoever wrote it: good for an order and nothing else."""
        return max(part.stamp.mtime_ns for part in self.parts)


@dataclass(slots=True)
class _Tally:
    listed: int = 0
    landed: int = 0
    known: int = 0
    unrecognised: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    complete: bool = False

    def result(self) -> PullResult:
        listed = self.listed - self.unrecognised
        waiting = listed - self.known - self.landed
        return PullResult(
            listed=listed,
            landed=self.landed,
            known=self.known,
            waiting=waiting,
            unrecognised=self.unrecognised,
            refused=tuple(sorted(self.refused.items())),
            complete=self.complete and not waiting,
        )


class FolderSource:
    """A folder tree.

    Args:
        connection: of kind ``folder``.
        name_key: keys the hash of file names, because names hold patients' names.
        now: aware UTC clock, compared with the ledger's ``first_seen_at``.
        monotonic, wait: the clock within one pull, and how to let it pass.
    """

    def __init__(
        self,
        connection: Connection,
        name_key: bytes,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.connection = connection
        self.name_key = name_key
        self.now = now
        self.monotonic = monotonic
        self.wait = wait

    def pull(self, ledger: Ledger, land: Land, deadline: float) -> PullResult:
        """Take what is still and whole. See ``Source.pull``.

        Raises:
            PullStopped: ``folder_missing``, ``folder_denied``, ``folder_unreadable``; ``folder_too_large`` after
                everything within the limits of depth and number was dealt with.
        """
        root = self.connection.path
        if root is None:
            raise PullStopped("folder_missing", "No folder is named.")
        run = _Pull(self, root, ledger, land, deadline)
        try:
            too_much = run.go()
        except PeerError as error:
            raise PullStopped(error.code, error.safe_message, run.tally.result()) from error
        if too_much:
            raise PullStopped("folder_too_large", "The folder is too deep or holds too many files.", run.tally.result())
        return run.tally.result()


class _Pull:
    """One pull: look, take what an earlier pull had seen as it is now, wait, look again, take what stood still."""

    def __init__(self, source: FolderSource, root: Path, ledger: Ledger, land: Land, deadline: float) -> None:
        self.source = source
        self.connection = source.connection
        self.root = root
        self.ledger = ledger
        self.land = land
        self.deadline = deadline
        self.tally = _Tally()

    def go(self) -> bool:
        seen = scan(self.root)
        looked = self.source.monotonic()
        self.tally.refused.update((self._key(folder), "folder_denied") for folder in seen.denied)
        groups = sorted(group_files(self.root, seen), key=lambda group: (group.changed_ns, group.name))
        self.tally.listed = len(groups) + seen.left
        self.tally.unrecognised = seen.left
        young = [group for group in groups if not self._deal(group, still=False)]
        left = looked + self.connection.settle_s - self.source.monotonic()
        if young and self.source.monotonic() + max(0.0, left) < self.deadline:
            if left > 0:
                self.source.wait(left)
            again = {group.name: group for group in group_files(self.root, scan(self.root))}
            for group in young:
                if again.get(group.name) == group:
                    self._deal(group, still=True)
        self.tally.complete = True
        return seen.too_much

    def _deal(self, group: Group, *, still: bool) -> bool:
        """Take the group if it can be taken now. False when another look within this pull may help."""
        if self._ended():
            return True
        if self.connection.take == "recognised" and not group.orphan and not self._recognised(group):
            self.tally.unrecognised += 1
            return True
        key, fingerprint = self._key(group.name), self._fingerprint(group)
        row = self.ledger.get(key)
        if row is None or row.fingerprint != fingerprint:
            self.ledger.note(key, fingerprint)
            row = self.ledger.get(key)
        elif row.arrival_id is not None:
            self.tally.known += 1
            return True
        unchanged_s = 0.0 if row is None else (self.source.now() - row.first_seen_at).total_seconds()
        if not still and unchanged_s < self.connection.settle_s:
            return False
        if group.orphan and unchanged_s < self.connection.whole_wait_s:
            return True  # its header may be on the way
        if group.orphan and self.connection.take == "recognised":
            self.tally.unrecognised += 1  # in somebody's own folder it may be anything
        else:
            self._take(group, key, fingerprint, unchanged_s)
        return True

    def _take(self, group: Group, key: str, fingerprint: str, unchanged_s: float) -> None:
        try:
            files = {part.known_as: read_unchanged(self.root, part.name, part.stamp) for part in group.parts}
            if not _is_whole(files) and unchanged_s < self.connection.whole_wait_s:
                return
            item = SourceItem(key, fingerprint, files, self.connection.default_priority)
            self.ledger.landed(key, fingerprint, self.land(item))
        except Changed:
            return
        except TelereadError as error:
            self.tally.refused[key] = error.code
            return
        self.tally.landed += 1

    def _recognised(self, group: Group) -> bool:
        return any(_is_study(_head(self.root, part.name, part.stamp)) for part in group.parts)

    def _ended(self) -> bool:
        return self.tally.landed >= self.connection.max_items or self.source.monotonic() >= self.deadline

    def _key(self, name: str) -> str:
        return hmac.new(self.source.name_key, name.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def _fingerprint(self, group: Group) -> str:
        text = "\0".join(
            f"{part.name}\0{part.stamp.device} {part.stamp.inode} {part.stamp.size} "
            f"{part.stamp.mtime_ns} {part.stamp.ctime_ns}"
            for part in group.parts
        )
        return self._key(text)


def _is_study(head: bytes) -> bool:
    """What somebody could read: an ECG, an image, or DICOM too broken to say. No photo, PDF, archive or DICOMDIR."""
    if formats.sniff(head) not in ("dicom", "wfdb"):
        return False
    return formats.kind_of(head) != "unknown" or not sop_class_of(head)


def _is_whole(files: Mapping[str, bytes]) -> bool:
    return all(files.values()) and formats.is_whole(files)


def group_files(root: Path, seen: Seen) -> list[Group]:
    """WFDB headers with the sample files that they name, samples without header as orphans, all others alone."""
    groups: list[Group] = []
    claimed: set[str] = set()
    folded: dict[str, list[str]] = {}
    for name in seen.files:
        folded.setdefault(name.casefold(), []).append(name)
    for name in seen.files:
        if name.lower().endswith(".hea"):
            parts = _wfdb_parts(root, name, seen.files, folded)
            claimed.update(part.name for part in parts)
            groups.append(Group(parts))
    for name, stamp in seen.files.items():
        if name not in claimed:
            orphan = name.lower().endswith(".dat") and formats.sniff(_head(root, name, stamp)) is None
            groups.append(Group((Part(name, stamp, _plain(name)),), orphan))
    return groups


def _wfdb_parts(
    root: Path, header: str, files: Mapping[str, Stamp], folded: Mapping[str, list[str]]
) -> tuple[Part, ...]:
    plain = _plain(header)
    # nothing refers to the header by its name, so one that could not be stored is replaced
    parts = [Part(header, files[header], plain if formats.safe_name(plain) else "recording.hea")]
    held = {parts[0].known_as: _head(root, header, files[header])}
    while len(parts) < _MAX_PARTS and (missing := formats.missing_part(held)) is not None and missing not in held:
        name = _file_called(missing, header, files, folded)
        if name is None:
            break
        parts.append(Part(name, files[name], missing))
        held[missing] = b""
    return tuple(parts)


def _file_called(wanted: str, header: str, files: Mapping[str, Stamp], folded: Mapping[str, list[str]]) -> str | None:
    """The file in the header's folder that it calls ``wanted``.

    Carts write headers on file systems that ignore case, and names in encodings of their own: without an exact
    match another case will do, then the header's own name with the wanted ending.
    """
    if "/" in wanted or "\\" in wanted:
        return None
    folder = header.rpartition("/")[0]
    path = f"{folder}/{wanted}" if folder else wanted
    if path in files:
        return path
    for guess in (path, header.rpartition(".")[0] + "." + wanted.rpartition(".")[2]):
        same = folded.get(guess.casefold(), [])
        if len(same) == 1:
            return same[0]
    return None


def _head(root: Path, name: str, stamp: Stamp) -> bytes:
    return read_head(root, name, stamp, _HEAD_BYTES)


def _plain(name: str) -> str:
    """The last part of a name, without bytes that are no text."""
    return PurePosixPath(name).name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

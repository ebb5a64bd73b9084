"""Arrival notes: what the catalogue says of an arrival, kept beside its bytes.

Landing writes the raw object, then a note, then the catalogue's row, then acknowledges. So the store alone says what
was acknowledged: a catalogue that was restored from an older backup catches up from the notes, and a raw object
without a note was never acknowledged and may be removed. A higher priority is another note; none is ever changed.

A note lies at ``arrivals/<first two digits>/<arrival id>/<priority>``, sealed with the key of the raw object that it
belongs to: who forgets the patient forgets the note. Its bytes are one JSON object, see :class:`Note`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

from teleread.alliance import PRIORITIES, Priority
from teleread.errors import StorageError
from teleread.pipeline.identifiers import arrival_id
from teleread.storage.objects.protocol import KEYS_SILENT, ObjectStore

NOTES = "arrivals/"
_VERSION = 1
_LIMIT_BYTES = 4096
_KEY = re.compile(r"arrivals/([0-9a-f]{2})/(\1[0-9a-f]{30})/(urgent|high|routine)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SITE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_SOURCES = ("dicom", "folder", "web", "cli")
_KINDS = ("ecg", "image", "unknown")
_BIGGEST = 1 << 50


@dataclass(frozen=True, slots=True)
class Note:
    """One arrival as it was acknowledged. ``arrived_at`` is aware; the arrival's id follows from site and hash."""

    site_id: str
    sha256: str
    size_bytes: int
    source: str  # dicom | folder | web | cli
    kind: str  # ecg | image | unknown
    clinic_priority: Priority
    arrived_at: datetime

    @property
    def arrival_id(self) -> str:
        return arrival_id(self.site_id, self.sha256)

    @property
    def key(self) -> str:
        return note_key(self.arrival_id, self.clinic_priority)


def note_key(arrival: str, priority: Priority) -> str:
    """Where the note of an arrival with this priority lies."""
    return f"{notes_prefix(arrival)}{priority}"


def notes_prefix(arrival: str) -> str:
    """What the keys of all notes of one arrival begin with."""
    return f"{NOTES}{arrival[:2]}/{arrival}/"


def split_key(key: str) -> tuple[str, Priority] | None:
    """Arrival id and priority of a note's key; None when it is not one."""
    found = _KEY.fullmatch(key)
    return (found[2], cast(Priority, found[3])) if found else None


def write_note(store: ObjectStore, note: Note) -> Note:
    """Keep the note; durable when this returns. The raw object is there already.

    Returns:
        The note that stands: an earlier one of the same arrival and priority stays as it is. It is not read while
        its key is in a vault that does not answer.

    Raises:
        StorageError: ``note_corrupt`` when an earlier one is there and cannot be read; otherwise as
            :meth:`ObjectStore.put`, ``object_missing`` when the raw object is not there.
    """
    try:
        store.put(note.key, to_bytes(note), root=note.sha256)
    except StorageError as error:
        if error.code == "object_corrupt":
            raise StorageError("note_corrupt", f"the note {note.key} has rotted") from error
        if error.code in KEYS_SILENT:
            _write_alone(store, note)
            return note
        if error.code != "object_exists":
            raise
        return read_note(store, note.key)
    return note


def _write_alone(store: ObjectStore, note: Note) -> None:
    """Under a data key of its own, because the raw object's is in a vault that does not answer now."""
    try:
        store.put(note.key, to_bytes(note))
    except StorageError as error:
        if error.code not in KEYS_SILENT:  # one is there already, and cannot be read now
            raise


def read_note(store: ObjectStore, key: str) -> Note:
    """Read a note and check it against its key.

    Raises:
        StorageError: ``note_malformed`` (not what this or an older version writes), ``note_newer``, ``note_corrupt``;
            ``object_missing``, ``object_key_missing`` (its patient was forgotten), and the store's own.
    """
    info = store.stat(key)
    if info is not None and info.size_bytes > _LIMIT_BYTES:
        raise _malformed(key)
    try:
        data = store.get(key)
    except StorageError as error:
        if error.code == "object_corrupt":
            raise StorageError("note_corrupt", f"the note {key} has rotted") from error
        raise
    note = from_bytes(data, key)
    if note.key != key:
        raise _malformed(key)
    return note


def notes_of(store: ObjectStore, arrival: str) -> Iterator[str]:
    """Keys of an arrival's notes."""
    for info in store.list(notes_prefix(arrival)):
        if split_key(info.key) is not None:
            yield info.key


def to_bytes(note: Note) -> bytes:
    """The note's bytes: JSON with sorted names, so that equal notes are equal bytes."""
    values = {**asdict(note), "arrived_at": note.arrived_at.astimezone(UTC).isoformat(), "version": _VERSION}
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def from_bytes(data: bytes, key: str) -> Note:
    """Parse a note; errors as :func:`read_note`."""
    try:
        values = json.loads(data.decode("ascii"), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _malformed(key) from error
    if not isinstance(values, dict):
        raise _malformed(key)
    version = values.pop("version", None)
    if type(version) is not int or version < 1:
        raise _malformed(key)
    if version > _VERSION:
        raise StorageError("note_newer", f"the note {key} was written by a newer version of teleread")
    if set(values) != set(Note.__slots__) or not _in_range(values):
        raise _malformed(key)
    arrived_at = _time(values["arrived_at"])
    if arrived_at is None:
        raise _malformed(key)
    return Note(**{**values, "arrived_at": arrived_at})


def _in_range(values: dict[str, Any]) -> bool:
    texts = ("site_id", "sha256", "source", "kind", "clinic_priority", "arrived_at")
    if not all(isinstance(values[name], str) for name in texts):
        return False
    size = values["size_bytes"]
    return (
        _SITE.fullmatch(values["site_id"]) is not None
        and _SHA256.fullmatch(values["sha256"]) is not None
        and values["source"] in _SOURCES
        and values["kind"] in _KINDS
        and values["clinic_priority"] in PRIORITIES
        and type(size) is int
        and 0 < size < _BIGGEST
    )


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return None if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name twice")
    return values


def _refuse(_constant: str) -> NoReturn:
    raise ValueError("not a number of JSON")


def _malformed(key: str) -> StorageError:
    return StorageError("note_malformed", f"the note {key} is not one that teleread writes")

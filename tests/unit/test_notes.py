"""Arrival notes: what is written comes back, and nothing else is taken."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from teleread.errors import StorageError
from teleread.pipeline.notes import Note, from_bytes, note_key, split_key, to_bytes

NOTE = Note("village", "ab" * 32, 5, "web", "ecg", "high", datetime(2026, 3, 1, 8, 0, 0, 250, tzinfo=UTC))
GOOD = json.loads(to_bytes(NOTE))


def test_a_note_comes_back_as_it_was() -> None:
    assert from_bytes(to_bytes(NOTE), NOTE.key) == NOTE
    assert split_key(NOTE.key) == (NOTE.arrival_id, "high")
    assert len(to_bytes(NOTE)) < 400


HOSTILE: dict[str, Any] = {
    "empty": b"",
    "no text": b"\xff\xfe",
    "no object": b"[1]",
    "cut": to_bytes(NOTE)[:-3],
    "deep": b"[" * 100_000,
    "huge number": to_bytes(NOTE).replace(b":5,", b":" + b"9" * 5000 + b","),
    "not a number": to_bytes(NOTE).replace(b":5,", b":NaN,"),
    "a name twice": to_bytes(NOTE)[:-1] + b',"size_bytes":6}',
    "more": {**GOOD, "name": "x"},
    "less": {name: value for name, value in GOOD.items() if name != "kind"},
    "no version": {name: value for name, value in GOOD.items() if name != "version"},
    "version 0": {**GOOD, "version": 0},
    "version true": {**GOOD, "version": True},
    "size negative": {**GOOD, "size_bytes": -1},
    "size a text": {**GOOD, "size_bytes": "5"},
    "size true": {**GOOD, "size_bytes": True},
    "size a fraction": {**GOOD, "size_bytes": 5.0},
    "size too big": {**GOOD, "size_bytes": 1 << 63},
    "site a path": {**GOOD, "site_id": "../x"},
    "site with a line": {**GOOD, "site_id": "village\n"},
    "site null": {**GOOD, "site_id": None},
    "hash short": {**GOOD, "sha256": "ab"},
    "hash upper": {**GOOD, "sha256": "AB" * 32},
    "source unknown": {**GOOD, "source": "fax"},
    "kind unknown": {**GOOD, "kind": "x"},
    "priority unknown": {**GOOD, "clinic_priority": "now"},
    "time naive": {**GOOD, "arrived_at": "2026-03-01T08:00:00"},
    "time a number": {**GOOD, "arrived_at": 5},
    "time none": {**GOOD, "arrived_at": "soon"},
    "time before time": {**GOOD, "arrived_at": "0001-01-01T00:00:00+23:59"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_teleread_does_not_write_is_refused(name: str) -> None:
    given = HOSTILE[name]
    data = given if isinstance(given, bytes) else json.dumps(given).encode()
    with pytest.raises(StorageError, match="note_malformed"):
        from_bytes(data, NOTE.key)


def test_a_note_of_a_newer_version_is_said_to_be_one() -> None:
    with pytest.raises(StorageError, match="note_newer"):
        from_bytes(json.dumps({**GOOD, "version": 2, "more": 1}).encode(), NOTE.key)


@pytest.mark.parametrize(
    "key",
    ["arrivals/ab/cd/high", note_key("ab" * 16, "high") + "x", "arrivals/00/" + "ab" * 16 + "/high", "raw/sha256/ab"],
)
def test_other_keys_are_no_notes(key: str) -> None:
    assert split_key(key) is None

"""Notes that a case's identity was corrected, kept beside its bytes: without them a restored backup forgets it.

A note lies at ``corrections/<first two digits>/<arrival id>/<correction id>``, sealed with the key of the arrival's
raw object: who forgets the patient forgets the note. It says when, and nothing of whose the case was or is.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from teleread.errors import StorageError
from teleread.storage.objects.protocol import ObjectStore

log = logging.getLogger(__name__)

CORRECTION_NOTES = "corrections/"
_KEY = re.compile(r"corrections/([0-9a-f]{2})/(\1[0-9a-f]{30})/([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class CorrectionNote:
    """One correction as the store remembers it; when is in :func:`noted_at`."""

    key: str
    arrival_id: str
    correction_id: str


def note_correction(
    store: ObjectStore, *, correction_id: str, case_id: str, arrival_id: str, sha256: str, at: datetime
) -> None:
    """Keep the note. The correction stands whether or not that succeeds; a failure is logged."""
    key = f"{CORRECTION_NOTES}{arrival_id[:2]}/{arrival_id}/{correction_id}"
    values = {"at": at.astimezone(UTC).isoformat(), "case_id": case_id, "version": 1}
    try:
        store.put(key, json.dumps(values, sort_keys=True, separators=(",", ":")).encode(), root=sha256)
    except StorageError as error:
        log.error("correction %s is not noted beside its bytes: %s", correction_id, error.code)


def correction_notes(store: ObjectStore) -> Iterator[CorrectionNote]:
    """All notes, by their keys."""
    for info in store.list(CORRECTION_NOTES):
        if (found := _KEY.fullmatch(info.key)) is not None:
            yield CorrectionNote(info.key, found[2], found[3])


def noted_at(store: ObjectStore, note: CorrectionNote) -> datetime | None:
    """When the correction was closed; None where the note cannot be read, its patient forgotten perhaps.

    Raises:
        StorageError: the store did not answer.
    """
    try:
        at = datetime.fromisoformat(json.loads(store.get(note.key))["at"])
    except StorageError as error:
        if not error.code.startswith("object_"):
            raise
        return None
    except (ValueError, KeyError, TypeError):
        return None
    return None if at.tzinfo is None else at

"""Certificates of deletion: what was deleted, by whose decision and by which rule, and nothing of whom.

They lie in the store as ``certificates/<deletion>/<stage>``, as plain JSON with a keyed check: no intake key seals
them, since they outlive every key, and after a restore they say what must be deleted again. Stages are ``decision``
(written before anything is removed), ``forgotten`` (everything here is gone) and ``final`` (no key to any copy is
left anywhere that we know of).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from teleread.errors import StorageError
from teleread.storage.objects.protocol import Blobs
from teleread.storage.vault.keyring import KeyRing

PREFIX = "certificates/"
Stage = Literal["decision", "forgotten", "final"]
_KEY = re.compile(r"certificates/([0-9a-f]{32})/(decision|forgotten|final)")
_LATEST_FIRST: tuple[Stage, ...] = ("final", "forgotten", "decision")
_VERSION = 1
_LARGEST = 64 << 20


def certificate_key(deletion_id: str, stage: Stage) -> str:
    """Where the certificate of a stage lies."""
    return f"{PREFIX}{deletion_id}/{stage}"


def certificate(row: Any, stage: Stage, at: datetime, ring: KeyRing) -> bytes:
    """The certificate's bytes; the same row and time give the same bytes.

    Args:
        row: of ``deletions``.
        stage: that was reached.
        at: when.
        ring: whose check it carries.
    """
    facts: Mapping[str, Any] = row.facts
    body = {
        "teleread_certificate": _VERSION,
        "id": row.id,
        "stage": stage,
        "at": at.isoformat(),
        "pseudonym": row.pseudonym,
        "policy": {"id": row.policy_id, "version": row.policy_version},
        "decided_by": row.decided_by,
        "decided_at": row.decided_at.isoformat(),
        "reason": row.reason,
        "facts": dict(facts),
    }
    return json.dumps({**body, "mac": _mac(body, ring)}, sort_keys=True, indent=1).encode() + b"\n"


def keep(blobs: Blobs, key: str, data: bytes) -> str:
    """Keep a certificate; durable when this returns. One that is there stays. Returns the SHA-256 of what is there."""
    with blobs.draft(len(data)) as draft:
        draft.write(data)
        if draft.publish(key):
            return hashlib.sha256(data).hexdigest()
    return hashlib.sha256(blobs.get(key)).hexdigest()


def read(blobs: Blobs, key: str, ring: KeyRing) -> dict[str, Any]:
    """A certificate that this system wrote.

    Raises:
        StorageError: ``certificate_corrupt`` when it is not what was written; ``object_missing``.
    """
    try:
        body = json.loads(blobs.get_range(key, 0, _LARGEST))
        mac = body.pop("mac")
        datetime.fromisoformat(body["decided_at"])
        if body["teleread_certificate"] == _VERSION and hmac.compare_digest(str(mac), _mac(body, ring)):
            return dict(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise StorageError("certificate_corrupt", f"{key} is not what was written, or is of another system")


def latest(blobs: Blobs, stages: Mapping[Stage, str], ring: KeyRing) -> tuple[dict[str, Any] | None, list[str]]:
    """The certificate of the latest stage that can be read, if any, and the keys of later ones that cannot."""
    rotten: list[str] = []
    for stage in _LATEST_FIRST:
        if stage not in stages:
            continue
        try:
            return read(blobs, stages[stage], ring), rotten
        except StorageError as error:
            if error.code != "certificate_corrupt":
                raise
            rotten.append(stages[stage])
    return None, rotten


def kept(blobs: Blobs) -> Iterator[tuple[str, dict[Stage, str]]]:
    """The deletions that the store has certificates of: id, and key by stage."""
    stages: dict[Stage, str] = {}
    last = ""
    for info in blobs.list(PREFIX):
        found = _KEY.fullmatch(info.key)
        if found is None:
            continue
        if found[1] != last and stages:
            yield last, stages
            stages = {}
        last = found[1]
        stages[found[2]] = info.key  # type: ignore[index]
    if stages:
        yield last, stages


def _mac(body: Mapping[str, Any], ring: KeyRing) -> str:
    text = json.dumps(body, sort_keys=True).encode()
    return hmac.new(ring.derive("certificate"), text, "sha256").hexdigest()

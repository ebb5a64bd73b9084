"""What a key ring says, and how it stands in its file: JSON with a check against damage. No I/O."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from teleread.errors import Misconfigured

ID_BYTES = 8
KEY_BYTES = 32

Kind = Literal["intake", "master"]


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key of the ring; ``key`` is None once it was retired."""

    id: bytes
    made_at: datetime
    retired_at: datetime | None = None
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Ring:
    """What the file says. The last living key of a kind is the one in use."""

    root: bytes = field(repr=False)
    intake: tuple[RingKey, ...]
    master: tuple[RingKey, ...]
    recovery_public: bytes | None = None
    generation: int = 1

    def keys(self, kind: Kind) -> tuple[RingKey, ...]:
        return self.intake if kind == "intake" else self.master

    def with_keys(self, kind: Kind, keys: tuple[RingKey, ...]) -> Ring:
        return replace(self, intake=keys) if kind == "intake" else replace(self, master=keys)


def living(keys: tuple[RingKey, ...]) -> tuple[bytes, bytes]:
    for one in reversed(keys):
        if one.key is not None:
            return one.id, one.key
    raise Misconfigured("key_file_damaged", "The key file has no living key.")


def find(keys: tuple[RingKey, ...], key_id: bytes) -> bytes | None:
    return next((one.key for one in keys if one.id == key_id), None)


def together(newer: tuple[RingKey, ...], older: tuple[RingKey, ...]) -> tuple[RingKey, ...]:
    """All keys of both, in the order of their making, but the one in use last of the living."""
    kept = {one.id: one for one in older if one.key is not None}
    joined = [kept.pop(one.id, one) if one.key is None else one for one in newer]
    known = {one.id for one in newer}
    return (*sorted((one for one in kept.values() if one.id not in known), key=lambda one: one.made_at), *joined)


def without_keys(keys: tuple[RingKey, ...]) -> tuple[RingKey, ...]:
    return tuple(replace(one, key=None) for one in keys)


def encoded(ring: Ring) -> bytes:
    def keys(all_of: tuple[RingKey, ...]) -> list[dict[str, str | None]]:
        return [
            {
                "id": one.id.hex(),
                "key": None if one.key is None else one.key.hex(),
                "made_at": one.made_at.astimezone(UTC).isoformat(),
                "retired_at": None if one.retired_at is None else one.retired_at.astimezone(UTC).isoformat(),
            }
            for one in all_of
        ]

    values: dict[str, Any] = {
        "teleread_key_ring": 1,
        "generation": ring.generation,
        "root": ring.root.hex(),
        "intake": keys(ring.intake),
        "master": keys(ring.master),
        "recovery_public": None if ring.recovery_public is None else ring.recovery_public.hex(),
    }
    return json.dumps({**values, "check": _check(values)}, indent=1).encode() + b"\n"


def decoded(text: bytes) -> Ring:
    def keys(rows: list[dict[str, Any]]) -> tuple[RingKey, ...]:
        return tuple(
            RingKey(
                bytes.fromhex(row["id"]),
                datetime.fromisoformat(row["made_at"]),
                None if row["retired_at"] is None else datetime.fromisoformat(row["retired_at"]),
                None if row["key"] is None else bytes.fromhex(row["key"]),
            )
            for row in rows
        )

    damaged = Misconfigured("key_file_damaged", "The key file is damaged; restore it from its two halves.")
    try:
        values = json.loads(text)
        version, check = values["teleread_key_ring"], values.pop("check", None)
        if version != 1:
            raise Misconfigured("key_file_newer", "The key file belongs to a newer version of teleread.")
        if check != _check(values):
            raise damaged
        public = values["recovery_public"]
        ring = Ring(
            bytes.fromhex(values["root"]),
            keys(values["intake"]),
            keys(values["master"]),
            None if public is None else bytes.fromhex(public),
            values["generation"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged from None  # the cause would quote keys
    living(ring.intake), living(ring.master)
    return ring


def _check(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

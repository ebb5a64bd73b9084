"""Make derived bytes again from their input, with their own parameters, and compare them bit by bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, select

from teleread.errors import Conflict, InputRejected, StorageError
from teleread.pipeline import products
from teleread.pipeline.products import Lineage, made_with
from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals, derived, objects, studies
from teleread.storage.objects.raw import get_raw

Outcome = Literal["same", "different", "not_made", "unreadable"]


@dataclass(frozen=True, slots=True)
class Reproduced:
    """One derived object beside what its input gives now.

    ``outcome`` is ``same`` only when every bit is. ``not_made``: the input no longer gives it; ``unreadable``: the
    stored bytes are gone or damaged. ``changed`` names what it was made with and is different today: another code
    or library is the first suspect of a difference, and no excuse for one.
    """

    arrival_id: str
    name: str
    code_version: str
    input_sha256: str
    stored_sha256: str
    made_sha256: str | None
    outcome: Outcome
    changed: tuple[str, ...]


def reproduce(services: Services, identifier: str) -> list[Reproduced]:
    """Recompute derived objects.

    Args:
        identifier: an arrival's id or receipt number (all that was derived from it), ``ARRIVAL/NAME`` or the key of
            one derived object.

    Raises:
        Conflict: ``nothing_derived`` when no derived object has this identifier.
        InputRejected: the input can no longer be read.
        StorageError: the input is missing, damaged, or its key is gone.
    """
    rows = _rows(services, identifier)
    if not rows:
        raise Conflict("nothing_derived", "Nothing that was derived has this identifier.")
    data = get_raw(services.store, rows[0].input_sha256)
    made: dict[Lineage, Mapping[str, bytes]] = {}
    return [_compare(services, row, data, made) for row in rows]


def _rows(services: Services, identifier: str) -> list[Row[Any]]:
    arrival, _, name = identifier.partition("/")
    query = (
        select(derived, objects.c.sha256.label("stored_sha256"), studies.c.patient_pseudonym)
        .join(objects, objects.c.key == derived.c.object_key)
        .join(arrivals, arrivals.c.id == derived.c.arrival_id)
        .join(studies, studies.c.id == arrivals.c.study_id)
        .order_by(derived.c.code_version, derived.c.name)
    )
    if identifier.startswith("derived/"):
        query = query.where(derived.c.object_key == identifier)
    else:
        query = query.where((arrivals.c.id == arrival) | (arrivals.c.receipt == arrival.upper()))
        if name:
            query = query.where(derived.c.name == name)
    with services.catalogue.read() as conn:
        return list(conn.execute(query))


def _compare(services: Services, row: Row[Any], data: bytes, made: dict[Lineage, Mapping[str, bytes]]) -> Reproduced:
    lineage = Lineage(**row.parameters)
    if lineage not in made:
        made[lineage] = dict(_make(services, data, lineage, row.patient_pseudonym))
    blob = made[lineage].get(row.name)
    digest = None if blob is None else hashlib.sha256(blob).hexdigest()
    outcome: Outcome = "not_made"
    if blob is not None:
        try:
            outcome = "same" if services.store.get(row.object_key) == blob else "different"
        except StorageError as error:
            if error.code not in {"object_missing", "object_corrupt", "object_key_missing"}:
                raise
            outcome = "unreadable"
    now = made_with()
    then = row.made_with or {}
    changed = tuple(sorted(part for part in now.keys() | then.keys() if now.get(part) != then.get(part)))
    return Reproduced(
        row.arrival_id,
        row.name,
        row.code_version,
        row.input_sha256,
        row.stored_sha256,
        digest,
        outcome,
        changed,
    )


def _make(services: Services, data: bytes, lineage: Lineage, pseudonym: str) -> Iterator[tuple[str, bytes]]:
    if lineage.project is None:
        yield from products.derive(services, data, lineage).blobs.items()
        return
    try:
        yield from products.pseudonymise(services, data, lineage, pseudonym).items()
    except InputRejected:
        return  # it was made once, so this is a difference, and is told as one
